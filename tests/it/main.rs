//! Promises kept by the built program and its rooms, a module each. `support` is how tests reach it.

mod journal;
mod processes;
mod recordings;
mod settings;
mod simulator;
mod support;
