//! The store: what once came over the bad line is not waited for again.

pub mod body;
pub mod condition;
pub mod dictionary;
pub mod directives;
pub mod disk;
pub mod freshness;
pub mod key;
pub mod memory;
pub mod object;
pub mod octets;
pub mod playlist;
pub mod s3fifo;
pub mod shelf;
pub mod tags;
pub mod variant;
