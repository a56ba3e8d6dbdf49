//! From parsed events to batches: repeats are dropped, and a policy decides when a batch is full enough for the journal.

pub mod batcher;
pub mod dedupe;
mod window;
