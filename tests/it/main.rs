//! The promises, a module each.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod journal;
