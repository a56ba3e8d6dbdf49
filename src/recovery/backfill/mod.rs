//! Backfill: what was not seen is fetched over HTTP, read by the monitor's own rules, and goes through the same dedupe window as
//! what a link brings, so that nothing is in the journal twice.
//!
//! | file          | is                                                                     |
//! |---------------|------------------------------------------------------------------------|
//! | `template`    | texts with holes: addresses, bodies, messages                            |
//! | `place`       | where something stands in a span: times, ids, blocks, numbers            |
//! | `declaration` | a range query as settings declare it                                     |
//! | `items`       | what is in an answer                                                    |
//! | `walk`        | from one part of a span to the next, in every style of pages             |
//! | `asking`      | one request: pace, breaker, attempts                                    |
//! | `edges`       | the journal around a gap: where it begins and ends, ids that are known   |
//! | `taking`      | items on their way into the journal                                     |
//! | `fill`        | one gap, from its edges to its end in the ledger                         |

mod asking;
mod declaration;
mod edges;
mod fill;
mod items;
mod place;
mod taking;
mod template;
mod walk;

pub use asking::{AskError, Asker};
pub use declaration::{Declaration, DeclarationError};
pub use edges::Known;
pub use fill::{FillError, FillOutcome, Gap, PROGRESS_TOTAL, Scene, fill, poll, preview};
pub use taking::{Bench, Taker};
