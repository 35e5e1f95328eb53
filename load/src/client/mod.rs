//! The clients: they ask as browsers and players do, and check every byte that comes.

pub mod body;
pub mod connection;
pub mod verdict;
