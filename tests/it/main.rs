//! The promises, a module each.

mod journal;
