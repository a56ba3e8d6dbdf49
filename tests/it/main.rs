//! Promises kept by the built program and its rooms, a module each. `support` is how tests reach it.

mod demo;
mod journal;
mod readme;
mod settings;
mod simulator;
mod support;
