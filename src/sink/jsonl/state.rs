//! What the store remembers beside its lines, in the file `state.json` of its folder: whose offsets they are, and how far
//! the journal was taken. Lines alone could not tell the second where the newest events were of no interest to the sink, or
//! where finished files were moved elsewhere.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::crash_point::crash_point;
use crate::journal::JournalId;
use crate::sink::store::StoreError;

/// The name of the file.
pub(super) const FILE: &str = "state.json";

/// The form that this version writes and reads.
const FORMAT: u32 = 1;

/// What is remembered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct State {
    format: u32,
    /// The journal whose offsets are being taken.
    pub(super) journal: JournalText,
    /// Journals that it was restored from, whose lines are here too, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) before: Vec<Before>,
    /// Everything below this offset was taken, or was of no interest, and is durable.
    pub(super) reached: u64,
    /// The last line that was durable when this was written.
    pub(super) last: Option<u64>,
    /// Of a replay: the offset that it began with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) replay_from: Option<u64>,
}

/// A journal whose lines come before those of the next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Before {
    pub(super) journal: JournalText,
    /// From this offset on, lines of the next journal count.
    pub(super) next: u64,
}

/// A journal's id as text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(super) struct JournalText(pub(super) JournalId);

impl From<JournalText> for String {
    fn from(id: JournalText) -> Self {
        id.0.to_string()
    }
}

impl TryFrom<String> for JournalText {
    type Error = uuid::Error;

    fn try_from(text: String) -> Result<Self, uuid::Error> {
        Uuid::try_parse(&text).map(|id| Self(JournalId(id)))
    }
}

impl State {
    /// Of a folder that begins.
    pub(super) fn new(journal: JournalId) -> Self {
        Self {
            format: FORMAT,
            journal: JournalText(journal),
            before: Vec::new(),
            reached: 0,
            last: None,
            replay_from: None,
        }
    }

    /// Reads it; none where there is none.
    pub(super) fn read(folder: &Path) -> Result<Option<Self>, StoreError> {
        let path = folder.join(FILE);
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(unavailable("read", &path, &error)),
        };
        let damaged = |why: String| {
            StoreError::Stop(format!(
                "{} {why}; move the folder {} away, and the sink takes all events anew, as far as the journal has them",
                path.display(),
                folder.display()
            ))
        };
        let state: Self =
            serde_json::from_slice(&text).map_err(|error| damaged(format!("cannot be understood ({error})")))?;
        if state.format != FORMAT {
            return Err(damaged(format!("has the form {} of another version of the program", state.format)));
        }
        Ok(Some(state))
    }

    /// Replaces what is there, all or nothing, and makes it durable.
    pub(super) fn write(&self, folder: &Path) -> Result<(), StoreError> {
        let path = folder.join(FILE);
        let text = serde_json::to_vec(self).expect("numbers and texts are representable");
        replace(folder, FILE, &text).map_err(|error| unavailable("write", &path, &error))
    }
}

/// Writes a small file under another name, syncs it and puts it in place.
pub(super) fn replace(folder: &Path, name: &str, text: &[u8]) -> io::Result<()> {
    let temporary = folder.join(format!("{name}.tmp"));
    let mut file = File::create(&temporary)?;
    file.write_all(text)?;
    file.write_all(b"\n")?;
    crash_point!("jsonl.state_written");
    file.sync_all()?;
    std::fs::rename(&temporary, folder.join(name))?;
    crash_point!("jsonl.state_renamed");
    sync_folder(folder)
}

/// Makes the names in a folder durable.
pub(super) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// What the system refused, for people; it is tried again.
pub(super) fn unavailable(action: &str, path: &Path, error: &io::Error) -> StoreError {
    let todo = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "; free some room on that disk",
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            "; let the daemon's user write there, or set another `folder`"
        }
        _ => "",
    };
    StoreError::Unavailable(format!("cannot {action} {}: {error}{todo}", path.display()))
}
