//! The gap ledger read back: at a start, for whoever asks what was missed, and what share was seen.
//!
//! | file           | is                                                                       |
//! |----------------|--------------------------------------------------------------------------|
//! | `journaled`    | what the journal's records say together, in whatever order they come     |
//! | `listing`      | every gap of a span, closed and open                                     |
//! | `completeness` | what share of the time a topic was seen, and of its messages where a sequence tells |

mod completeness;
mod journaled;
mod listing;

pub use completeness::{Completeness, CompletenessRow, completeness};
pub use journaled::{crash_grace, last_received, read_standing};
pub use listing::{GapQuery, GapRow, each_gap};
