//! Promises kept by the built program, a module each. `support` is how tests reach it.

mod settings;
mod simulator;
mod support;
