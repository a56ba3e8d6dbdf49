//! Figures of the whole way, beside a bare baseline.
fn main() {}
