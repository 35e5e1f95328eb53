//! The origin's side, in the order of a request: [`fetch`] (the way of it), [`slots`] (how many at once) and
//! [`collapse`] (one for all who wait for the same), [`pool`] and
//! [`connect`] (with [`resolver`] and [`tls`]) for a [`connection`], [`exchange`] (which lends it to awc until the
//! head is there), and for the body [`source`]: a [`reader`] of one connection, [`resume`] for what breaks, and [`parallel`]
//! for what one connection cannot carry.

pub mod collapse;
pub mod connect;
pub mod connection;
pub mod exchange;
pub mod fetch;
mod first_part;
mod holder;
pub mod lately;
pub mod memory;
pub mod pace;
pub mod parallel;
mod part;
pub mod pool;
pub mod reader;
pub mod resolver;
pub mod resume;
mod send;
pub mod settings;
pub mod shared;
mod slot_queue;
pub mod slots;
pub mod source;
pub mod tls;
mod turn;
mod warm;
pub mod worker;

pub use fetch::Fetched;
pub use settings::Settings;
pub use worker::Origin;
