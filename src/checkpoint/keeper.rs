//! Writes checkpoints while the daemon runs. That one could not be written is never fatal: it is only a bookmark.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::content::{Cause, Checkpoint};
use super::folder::{CheckpointError, CheckpointFolder, CheckpointName, Found};
use crate::clock::UnixNanos;
use crate::config::CheckpointSettings;
use crate::telemetry::CheckpointMetrics;

/// Asked for what goes into a checkpoint.
pub type Gather = Box<dyn Fn(Cause) -> Checkpoint + Send + Sync>;

/// A checkpoint that was written.
#[derive(Debug, Clone, PartialEq)]
pub struct Written {
    /// Its id.
    pub name: CheckpointName,
    /// What is in it.
    pub checkpoint: Checkpoint,
}

/// Writes checkpoints, one at a time.
pub struct Keeper {
    dir: PathBuf,
    keep: u32,
    gather: Gather,
    metrics: CheckpointMetrics,
    /// None while it cannot be had. Locked as long as one is written.
    folder: Mutex<Option<CheckpointFolder>>,
    standing: Mutex<Standing>,
}

/// How it goes. Locked for moments only: health asks for it.
#[derive(Debug, Clone, Default)]
struct Standing {
    /// Why the last try failed, if it did.
    problem: Option<String>,
    /// When the newest was written.
    last: Option<UnixNanos>,
    /// Written by this process.
    written: u64,
    /// Tries of this process that failed.
    failed: u64,
}

impl std::fmt::Debug for Keeper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keeper").field("dir", &self.dir).finish_non_exhaustive()
    }
}

impl Keeper {
    /// Writes into `folder` what `gather` says. A folder that could not be had at the start is tried again each time.
    pub fn new(
        settings: &CheckpointSettings,
        folder: Result<CheckpointFolder, CheckpointError>,
        found: &Found,
        gather: Gather,
    ) -> Self {
        let (folder, problem) = match folder {
            Ok(folder) => (Some(folder), None),
            Err(error) => (None, Some(error.to_string())),
        };
        let last = found.newest.as_ref().map(|newest| newest.written);
        Self {
            dir: settings.dir.clone(),
            keep: settings.keep,
            gather,
            metrics: CheckpointMetrics::default(),
            folder: Mutex::new(folder),
            standing: Mutex::new(Standing { problem, last, written: 0, failed: 0 }),
        }
    }

    /// The folder's lock, to be handed to another process; none where the folder cannot be had now.
    ///
    /// # Errors
    /// What the system refused.
    pub fn lock_file(&self) -> std::io::Result<Option<File>> {
        let folder = self.folder.lock().unwrap_or_else(PoisonError::into_inner);
        folder.as_ref().map_or(Ok(None), CheckpointFolder::lock_file)
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Writes one now. Blocking: it syncs.
    ///
    /// # Errors
    /// When it could not be written; the next one may.
    pub fn write(&self, cause: Cause) -> Result<Written, CheckpointError> {
        let written = self.try_write(cause);
        let mut standing = self.standing();
        match &written {
            Ok(written) => {
                (standing.problem, standing.last) = (None, Some(written.checkpoint.written));
                standing.written += 1;
                self.metrics.written();
            }
            Err(error) => {
                let problem = error.to_string();
                // Said once, and again when something else is the matter.
                if standing.problem.as_ref() != Some(&problem) {
                    tracing::warn!("no checkpoint could be written: {problem}");
                }
                standing.problem = Some(problem);
                standing.failed += 1;
                self.metrics.failed();
            }
        }
        drop(standing);
        written
    }

    fn try_write(&self, cause: Cause) -> Result<Written, CheckpointError> {
        let mut owned = self.folder.lock().unwrap_or_else(PoisonError::into_inner);
        let folder = match owned.take() {
            Some(folder) => folder,
            None => CheckpointFolder::open(&self.dir)?,
        };
        let folder = owned.insert(folder);
        let checkpoint = (self.gather)(cause);
        let name = folder.write(&checkpoint, self.keep)?;
        Ok(Written { name, checkpoint })
    }

    /// Why the last one could not be written, if that is so.
    pub fn problem(&self) -> Option<String> {
        self.standing().problem.clone()
    }

    /// How many this process has written, and how often it could not.
    pub fn counts(&self) -> (u64, u64) {
        let standing = self.standing();
        (standing.written, standing.failed)
    }

    /// How long ago the newest was written, by the host's clock.
    pub fn age(&self) -> Option<Duration> {
        self.standing().last.map(|last| UnixNanos::now().since(last))
    }

    /// Brings the age's metric up to date.
    pub fn tend(&self) {
        self.metrics.set_age(self.age());
    }

    fn standing(&self) -> MutexGuard<'_, Standing> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
