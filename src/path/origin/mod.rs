//! The origin's side, in the order of a request: [`fetch`] (the way of it), [`slots`] (how many at once), [`pool`] and
//! [`connect`] (with [`resolver`] and [`tls`]) for a [`connection`], [`exchange`] (the request's head out, the response's head in; `sending` sends the request's body beside it), and for the body [`source`]: a [`reader`] of one connection,
//! `recovery` for what breaks (with [`overlap`] for what comes twice), and [`parallel`] for what one connection cannot carry, with
//! [`crowd`] that keeps its parts from taking others' places.

mod answer_head;
mod attempts;
pub mod body;
pub mod body_error;
pub mod connect;
pub mod connection;
mod connector;
pub mod crowd;
mod divisible;
pub mod exchange;
pub mod fetch;
pub mod fetch_error;
mod first;
mod grant;
pub mod head_error;
mod holder;
pub mod memory;
mod name_files;
pub mod overlap;
pub mod pace;
pub mod parallel;
pub mod parallel_plan;
mod part;
pub mod pool;
pub mod reader;
mod recovery;
mod refused;
pub mod replay;
mod request_head;
mod reserve;
pub mod resolver;
pub mod rest_error;
mod send;
mod sending;
pub mod settings;
pub mod shared;
mod slot_queue;
pub mod slots;
pub mod sockets;
pub mod source;
pub mod stream;
mod target;
pub mod tls;
pub mod transfer_state;
mod turn;
mod turned_away;
mod warm;
mod widen;
pub mod worker;

pub use fetch::Fetched;
pub use settings::Settings;
pub use worker::Origin;
