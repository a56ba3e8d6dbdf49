//! Monitors: which messages are theirs, and how an event is read out of a message.

pub mod scanner;
