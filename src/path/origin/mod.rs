//! The origin's side: [`slots`] (how many at once), [`resolver`], [`connect`], [`tls`], [`pool`], [`connection`] and
//! [`exchange`], which hands a connection to awc for one request.

pub mod connect;
pub mod connection;
pub mod exchange;
pub mod fetch;
pub mod pool;
pub mod resolver;
pub mod settings;
pub mod slots;
pub mod tls;

pub use fetch::{Fetched, Origin};
pub use settings::Settings;
