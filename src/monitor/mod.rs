//! Monitors: which messages are theirs, and how an event is read out of a message.
//!
//! `rule` says which JSON Pointers of a message make an event; `reading` fills a `burst` with
//! what one link's messages gave; `roster` knows who wants what. `ledger` knows what of it was not seen,
//! and `sequence` what a feed's own numbers tell of that.

pub mod burst;
pub mod crossing;
pub mod event_id;
pub(crate) mod event_time;
pub mod fetched;
pub mod gap;
pub mod ledger;
pub mod meeting;
pub mod quarantine;
pub mod races;
pub mod reading;
pub mod retry;
pub mod roster;
mod rule;
pub mod sequence;
pub mod totals;

pub use rule::RuleError;
