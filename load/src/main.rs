//! The load lab.
fn main() {}
