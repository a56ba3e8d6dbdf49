//! Promises kept by the built program, a module each. `support` is how tests reach it.

mod settings;
mod simulated_dialects;
mod simulator;
mod support;
