//! Placeholder until the store benchmark below is written.
fn main() {}
