//! Going on where an earlier run, or an earlier reader, had come to.
//!
//! | file     | is                                                                       |
//! |----------|--------------------------------------------------------------------------|
//! | `resume` | where upstreams are taken up again after a start                         |

mod resume;

pub use resume::{ResumeFound, find_tokens};
