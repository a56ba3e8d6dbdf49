//! Monitors: which messages are theirs, and how an event is read out of a message.

mod grammar;
pub mod pointer;
pub mod pointer_set;
pub mod scanner;
pub mod token;
