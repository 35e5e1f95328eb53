//! Wires everything together: sockets, actors, workers, reload, drain.

mod application;
pub mod browser;
mod certificate;
mod dispatch;
mod preflight;
pub mod pulse;
mod reload;
mod sockets;
mod systemd;
mod workers;

pub use application::{Application, StartError};
pub use preflight::{Findings, preflight};
pub use reload::Source;
