//! The origin's side, in the order of a request: [`fetch`] (the way of it), [`slots`] (how many at once), [`pool`] and
//! [`connect`] (with [`resolver`] and [`tls`]) for a [`connection`], [`exchange`] (which lends it to awc until the
//! head is there; `sending` sends the request's body beside it), and for the body [`source`]: a [`reader`] of one connection,
//! [`resume`] for what breaks (with [`overlap`] for what comes twice), and [`parallel`] for what one connection cannot carry.

mod answer_head;
pub mod connect;
pub mod connection;
pub mod exchange;
pub mod fetch;
mod first_part;
mod head_alone;
pub mod lately;
pub mod memory;
mod name_files;
pub mod overlap;
pub mod pace;
pub mod parallel;
mod part;
pub mod pool;
pub mod reader;
pub mod resolver;
pub mod resume;
mod send;
mod sending;
pub mod settings;
pub mod shared;
pub mod slots;
pub mod source;
pub mod tls;
mod turn;
mod warm;
pub mod worker;

pub use fetch::Fetched;
pub use settings::Settings;
pub use worker::Origin;
