//! fileproxy.
fn main() {}
