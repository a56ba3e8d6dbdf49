//! What a feed's own numbers tell of messages that did not come.
//!
//! A rule says where a message has its numbers; reading notes them with the burst. One [`book::SequenceBook`] for the daemon
//! holds a [`series::Series`] for each monitor and topic (or key, or connection), whichever link and upstream brings its
//! messages: topics change links, and where two links bring the same, so do its numbers. What is missing may still be under
//! way on another link, so a leap is told only after [`book::SETTLING`].
//!
//! The book is in memory only. After a start a series begins with the first number that comes: what was missed before that is
//! in the gap of the downtime. To go on instead, each topic's last event would have to be found and read again.

pub mod book;
pub mod numbers;
mod series;
