//! A file of the folder, for people and programs.

use serde::{Deserialize, Serialize};

use super::content::Cause;
use super::folder::{CheckpointName, Entry, EntryState};
use super::keeper::Written;
use super::text::{FORMAT_VERSION, Refused};

/// A checkpoint as `sluice checkpoint list` and `/api/v1/checkpoints` have it. What stands in the file is absent where that was
/// not read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckpointRow {
    /// Its file's name.
    pub id: String,
    /// `good`, `damaged`, `newer`, `foreign`.
    pub state: String,
    /// Whose.
    pub journal: String,
    /// The offset after the last event that was durable.
    pub durable_offset: u64,
    /// When it was written, RFC 3339.
    pub written: Option<String>,
    /// `periodic`, `shutdown`, `demand`.
    pub cause: Option<Cause>,
    /// Sinks whose cursors it holds.
    pub sinks: Option<usize>,
    /// Resume tokens that it holds.
    pub resume_tokens: Option<usize>,
    /// The format's version.
    pub version: Option<u32>,
    /// The file's length.
    pub bytes: Option<u64>,
    /// Why it is not used.
    pub reason: Option<String>,
}

impl CheckpointRow {
    fn nameless(name: CheckpointName, state: &str) -> Self {
        Self {
            id: name.to_string(),
            state: state.to_owned(),
            journal: name.journal.to_string(),
            durable_offset: name.durable.0,
            written: None,
            cause: None,
            sinks: None,
            resume_tokens: None,
            version: None,
            bytes: None,
            reason: None,
        }
    }

    /// Of a file that was listed.
    pub fn of(entry: &Entry) -> Self {
        let row = match &entry.state {
            EntryState::Good(checkpoint) => Self {
                written: Some(checkpoint.written.to_string()),
                cause: Some(checkpoint.cause),
                sinks: Some(checkpoint.sinks.len()),
                resume_tokens: Some(checkpoint.tokens.len()),
                version: Some(FORMAT_VERSION),
                ..Self::nameless(entry.name, "good")
            },
            EntryState::Refused(refused) => {
                let (state, version) = match refused {
                    Refused::Newer(version) => ("newer", Some(*version)),
                    Refused::Damaged(_) => ("damaged", None),
                };
                Self { version, reason: Some(refused.to_string()), ..Self::nameless(entry.name, state) }
            }
            EntryState::Foreign => Self {
                reason: Some("it belongs to another journal, and is left alone".to_owned()),
                ..Self::nameless(entry.name, "foreign")
            },
        };
        Self { bytes: Some(entry.bytes), ..row }
    }
}

impl From<&Written> for CheckpointRow {
    fn from(Written { name, checkpoint }: &Written) -> Self {
        let state = EntryState::Good(Box::new(checkpoint.clone()));
        Self { bytes: None, ..Self::of(&Entry { name: *name, bytes: 0, state }) }
    }
}
