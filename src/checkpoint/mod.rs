//! Checkpoints: small files that remember how far everything had come. The journal is the truth, a checkpoint is a bookmark;
//! without any the daemon starts all the same, and only has to look further.
//!
//! | file      | is                                                                                     |
//! |-----------|----------------------------------------------------------------------------------------|
//! | `content` | what a checkpoint holds                                                                |
//! | `text`    | how it stands in a file: version, JSON, checksum                                       |
//! | `folder`  | the folder: its lock, writing a file, the newest good one, leaving the newest           |
//! | `row`     | a file of the folder, for people and programs                                          |
//! | `keeper`  | writes them while the daemon runs, and says how that goes                              |
//!
//! The files are described in `docs/checkpoint-format.md`.

mod content;
mod folder;
mod keeper;
mod row;
mod text;

pub use content::{Cause, Checkpoint, TokenMark};
pub use folder::{CheckpointError, CheckpointFolder, CheckpointName, Entry, EntryState, Found, list, read};
pub use keeper::{Gather, Keeper, Written};
pub use row::CheckpointRow;
pub use text::{FORMAT_VERSION, Refused, decode, encode};
