//! Replay: writes a span of the journal into a sink's store anew, while the sink itself goes on following. The sink's own
//! cursor never moves; the replay has one of its own, kept by the store, so that the same command goes on where it was broken off.
//!
//! | file     | is                                                                 |
//! |----------|--------------------------------------------------------------------|
//! | `plan`   | what is asked for, and the span that it means; kept while unfinished |
//! | `source` | reading the span, a batch ahead of the store                       |
//! | `driver` | writing it: retries, refused rows, progress                        |

mod driver;
mod plan;
mod source;

pub use driver::{Outcome, Progress, run};
pub use plan::{Counted, Plan, ReplayError, ReplayRequest, Scene};
