//! Sluice turns many live feeds into a durable, queryable, replayable record of events.

pub mod cli;
pub mod clock;
pub mod config;
pub mod dialect;
pub mod monitor;
pub mod simulator;
