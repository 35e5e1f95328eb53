//! From records to something to read.

pub mod markdown;
