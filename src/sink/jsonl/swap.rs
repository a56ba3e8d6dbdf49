//! Putting files in place while others look at the same folder.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::names::{Form, Name, list};
use super::state::{replace, sync_folder, unavailable};
use crate::sink::store::StoreError;

/// Held for the moments in which files get other names or lines are appended, so that the live sink, its compression and a
/// replay that comes to its end do not meet half-way.
#[derive(Debug)]
pub(super) struct SwapLock {
    _file: File,
}

impl SwapLock {
    /// Waits for it. Nobody holds it for long.
    pub(super) fn take(folder: &Path) -> io::Result<Self> {
        let path = folder.join("swap.lock");
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(path)?;
        file.lock()?;
        Ok(Self { _file: file })
    }
}

/// The folder, inside a replay's, with the files that come in.
pub(super) const MERGED: &str = "merged";

/// The file that says that a swap was begun.
const FILE: &str = "swap.json";

/// A swap of files, which is finished by whoever opens the folder next when it is interrupted. It is begun when all that comes
/// in is durable; first all that goes is removed, then all that comes in gets its place, since both may have the same names.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Swap {
    phase: Phase,
    /// The replay's folder.
    replay: String,
    /// Names, without endings, of the files that go.
    remove: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Phase {
    Remove,
    Add,
}

impl Swap {
    pub(super) fn new(replay: &str, remove: Vec<String>) -> Self {
        Self { phase: Phase::Remove, replay: replay.to_owned(), remove }
    }

    /// From here on it is finished, come what may.
    pub(super) fn begin(&self, folder: &Path) -> Result<(), StoreError> {
        self.save(folder).map_err(|error| unavailable("write", &folder.join(FILE), &error))
    }

    fn save(&self, folder: &Path) -> io::Result<()> {
        replace(folder, FILE, &serde_json::to_vec(self)?)
    }

    fn run(&mut self, folder: &Path) -> io::Result<()> {
        let replay = folder.join(&self.replay);
        if self.phase == Phase::Remove {
            for (name, path) in list(folder)? {
                if let Name::Whole(stem, _) = name
                    && self.remove.contains(&stem.to_string())
                {
                    std::fs::remove_file(path)?;
                }
            }
            sync_folder(folder)?;
            self.phase = Phase::Add;
            self.save(folder)?;
        }
        for (name, path) in list(&replay.join(MERGED))? {
            if let (Name::Whole(_, Form::Plain | Form::Closed), Some(file)) = (name, path.file_name()) {
                std::fs::rename(&path, folder.join(file))?;
            }
        }
        sync_folder(folder)?;
        match std::fs::remove_dir_all(&replay) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        std::fs::remove_file(folder.join(FILE))?;
        sync_folder(folder)
    }
}

/// Finishes a swap that was begun, if one was.
pub(super) fn finish(folder: &Path) -> Result<(), StoreError> {
    let path = folder.join(FILE);
    let io = |error: io::Error| unavailable("finish the replay of", &path, &error);
    if !path.exists() {
        return Ok(());
    }
    let _lock = SwapLock::take(folder).map_err(io)?;
    let text = match std::fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(io(error)),
    };
    let mut swap: Swap = serde_json::from_slice(&text).map_err(|error| {
        StoreError::Stop(format!(
            "{} cannot be understood ({error}); it was written at the end of a replay. Move it away, compare the files beside \
             it with those in the replay's folder, and start the replay again",
            path.display()
        ))
    })?;
    swap.run(folder).map_err(io)
}

/// Whether a swap was begun and is not finished.
pub(super) fn is_begun(folder: &Path) -> bool {
    folder.join(FILE).exists()
}
