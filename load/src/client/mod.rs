//! The clients: they ask as browsers and players do, and check every byte that comes.
//!
//! They run as a process of their own (`load clients --plan FILE`) in the client's namespace, and tell the run what
//! happens in JSON lines ([`event`]).

pub mod body;
pub mod connection;
pub mod crowd;
pub mod download;
pub mod event;
pub mod mix;
pub mod plan;
pub mod tally;
pub mod verdict;
pub mod viewers;
