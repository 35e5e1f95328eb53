//! The store: what once came over the bad line is not waited for again.

pub mod dictionary;
pub mod directives;
pub mod freshness;
