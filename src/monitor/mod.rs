//! Monitors: which messages are theirs, and how an event is read out of a message.
//!
//! `scanner` finds JSON Pointers in a raw text; `rule` says which of them make an event; `reading` fills a `burst` with
//! what one link's messages gave; `roster` knows who wants what.

pub mod burst;
mod event_time;
pub mod gap;
mod grammar;
pub mod pointer;
pub mod pointer_set;
pub mod quarantine;
pub mod reading;
pub mod roster;
mod rule;
pub mod scanner;
pub mod token;
pub mod totals;

pub use rule::RuleError;
