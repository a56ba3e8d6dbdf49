//! Promises of the whole, one module each.

mod simulator;
