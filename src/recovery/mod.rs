//! Going on where an earlier run, or an earlier reader, had come to.
//!
//! | file       | is                                                                       |
//! |------------|--------------------------------------------------------------------------|
//! | `bookmark` | the newest good checkpoint at a start, and what it says                  |
//! | `resume`   | where upstreams are taken up again after a start                         |
//! | `gaps/`    | what was not seen, read back: the ledger at a start, lists, completeness  |
//! | `backfill/` | fetching what was not seen                                            |
//! | `replay/`  | writing a span of the journal into a sink's store anew                   |
//! | `compare/` | comparing the journal with what others wrote, and one path with the other |
//! | `verify/`  | comparing what a sink's store holds with the journal                     |

pub mod backfill;
mod bookmark;
pub mod compare;
pub mod gaps;
pub mod replay;
mod resume;
pub mod verify;

pub use bookmark::Bookmarks;
pub use resume::{ResumeFound, find_tokens};
