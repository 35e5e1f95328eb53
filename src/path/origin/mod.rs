//! The origin's side, in the order of a request: [`fetch`] (the whole exchange), [`slots`] (how many at once), [`pool`] and
//! [`connect`] (with [`resolver`] and [`tls`]) for a [`connection`], [`exchange`] (request head out, response head in; `sending`
//! sends the request's body), and for the response body [`source`]: a [`reader`] of one connection, `recovery` after breaks (with
//! [`overlap`] for repeated bytes), and [`parallel`] for bodies over several connections, with [`parts_under_way`], which makes parts give
//! way to other requests.

mod answer_head;
mod attempts;
pub mod body;
pub mod body_error;
pub mod connect;
pub mod connection;
mod connector;
pub mod exchange;
mod extra_requests;
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
pub mod parts_under_way;
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
