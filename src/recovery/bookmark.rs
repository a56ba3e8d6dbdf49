//! The newest good checkpoint at a start: what it says of how far the journal was durable, and what became of those that were
//! passed over.

use std::fs::File;
use std::path::Path;

use crate::checkpoint::{Checkpoint, CheckpointError, CheckpointFolder, Found, Gather, Keeper};
use crate::clock::UnixNanos;
use crate::config::CheckpointSettings;
use crate::journal::{JournalId, KnownDurable};

/// Checkpoints as a start finds them. Holds the folder's lock.
#[derive(Debug)]
pub struct Bookmarks {
    folder: Result<CheckpointFolder, CheckpointError>,
    /// What was found.
    pub found: Found,
}

impl Bookmarks {
    /// Locks the folder and looks for the newest good checkpoint of a journal; of any, where there is no journal yet: a new one
    /// must not begin where another is remembered.
    ///
    /// # Errors
    /// [`CheckpointError::Locked`]. A folder that cannot be had for another reason is no reason not to start.
    pub fn open(dir: &Path, journal: Option<JournalId>) -> Result<Self, CheckpointError> {
        Self::open_with(dir, None, journal)
    }

    /// As [`Bookmarks::open`], with the folder's lock that another process has handed over.
    ///
    /// # Errors
    /// As there.
    pub fn open_with(dir: &Path, lock: Option<File>, journal: Option<JournalId>) -> Result<Self, CheckpointError> {
        let opened = CheckpointFolder::open_with(dir, lock).and_then(|folder| Ok((folder.newest(journal)?, folder)));
        match opened {
            Ok((found, folder)) => Ok(Self { folder: Ok(folder), found }),
            Err(error @ CheckpointError::Locked { .. }) => Err(error),
            Err(error) => {
                tracing::warn!("checkpoints are of no use now, and the start goes on without: {error}");
                Ok(Self { folder: Err(error), found: Found::default() })
            }
        }
    }

    /// What the journal's opening is told.
    pub fn known_durable(&self) -> Option<KnownDurable> {
        let newest = self.found.newest.as_ref()?;
        let name = self.found.name()?.to_string();
        let path =
            self.folder.as_ref().map_or_else(|_| name.clone(), |folder| folder.dir().join(&name).display().to_string());
        Some(KnownDurable { who: format!("checkpoint {path}"), journal: newest.journal, offset: newest.durable })
    }

    /// The newest good checkpoint, if it is of this journal. Where there was no journal it may be of another, which had nothing.
    pub fn of_journal(&self, journal: JournalId) -> Option<Checkpoint> {
        self.found.newest.as_deref().filter(|newest| newest.journal == journal).cloned()
    }

    /// What is written from now on; `gather` says what goes into it.
    pub fn keeper(self, settings: &CheckpointSettings, gather: Gather) -> Keeper {
        Keeper::new(settings, self.folder, &self.found, gather)
    }

    /// What was chosen, for a person to read.
    pub fn lines(&self, now: UnixNanos) -> Vec<String> {
        let mut lines = Vec::new();
        let (dir, error) = match &self.folder {
            Ok(folder) => (folder.dir().display().to_string(), None),
            Err(error) => (String::new(), Some(error)),
        };
        match (&self.found.newest, self.found.name(), error) {
            (Some(newest), Some(name), _) => {
                let age = now.since(newest.written).as_secs();
                let (sinks, tokens) = (newest.sinks.len(), newest.tokens.len());
                let cause = newest.cause;
                lines.push(format!(
                    "{name}, written {age} s ago ({cause}); cursors of sinks: {sinks}, resume tokens: {tokens}"
                ));
            }
            (_, _, Some(error)) => lines.push(format!("none: {error}")),
            _ => lines.push(format!("none of this journal in {dir}")),
        }
        for (path, reason) in &self.found.skipped {
            lines.push(format!("passed over {}: {reason}", path.display()));
        }
        if self.found.foreign > 0 {
            lines.push(format!("{} of other journals in {dir} are left alone", self.found.foreign));
        }
        lines
    }
}
