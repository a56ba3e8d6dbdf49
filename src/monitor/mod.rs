//! Monitors: which messages are theirs, and how an event is read out of a message.

pub mod burst;
mod event_time;
pub mod gap;
pub mod quarantine;
pub mod reading;
pub mod roster;
mod rule;
pub mod scanner;
pub mod totals;

pub use rule::RuleError;
