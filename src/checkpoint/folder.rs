//! The folder of checkpoints: one daemon's at a time, a file a checkpoint, named `<journal>-<offset>`.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use super::content::Checkpoint;
use super::text::{self, Refused};
use crate::crash_point::crash_point;
use crate::journal::{JournalId, LockFailure, LockGuard, Offset, inherit_folder, lock_folder};

/// Files are made under another name first. One that is found was never finished.
const UNFINISHED: &str = ".tmp";

/// Why a checkpoint could not be written, or the folder not be used.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// Another process owns the folder.
    #[error(
        "the folder of checkpoints {} is locked by {}; stop that one or change `checkpoint.dir`",
        dir.display(),
        pid.map_or_else(|| "a process that has not yet said its id".to_owned(), |pid| format!("process {pid}"))
    )]
    Locked {
        /// The folder.
        dir: PathBuf,
        /// Who holds it, when it has said so.
        pid: Option<u32>,
    },
    /// The system refused.
    #[error("cannot {action} {}: {source}; see to `checkpoint.dir`", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file that was asked for cannot be used.
    #[error("checkpoint {} is not used: {reason}", path.display())]
    Refused {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: Refused,
    },
    /// There is no such file.
    #[error("there is no checkpoint `{id}` in {}; see `sluice checkpoint list`", dir.display())]
    Unknown {
        /// What was asked for.
        id: String,
        /// Where.
        dir: PathBuf,
    },
}

/// A file's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CheckpointName {
    /// Whose.
    pub journal: JournalId,
    /// The offset after the last event that was durable.
    pub durable: Offset,
}

impl CheckpointName {
    /// `3f0e…-00000000000000001234`
    pub fn parse(name: &str) -> Option<Self> {
        let (journal, offset) = name.rsplit_once('-')?;
        if offset.len() != 20 || !offset.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        // Other ways of writing an id would be other names of the same file.
        let id: uuid::Uuid = journal.parse().ok().filter(|id: &uuid::Uuid| id.to_string() == journal)?;
        Some(Self { journal: JournalId(id), durable: Offset(offset.parse().ok()?) })
    }
}

impl fmt::Display for CheckpointName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{:020}", self.journal, self.durable.0)
    }
}

/// A file of the folder.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Its name, which is the checkpoint's id.
    pub name: CheckpointName,
    /// Bytes.
    pub bytes: u64,
    /// What it is good for.
    pub state: EntryState,
}

/// What a file is good for.
#[derive(Debug, Clone, PartialEq)]
pub enum EntryState {
    /// It can be used.
    Good(Box<Checkpoint>),
    /// It cannot.
    Refused(Refused),
    /// It belongs to another journal, and was not read.
    Foreign,
}

/// What was found for a start.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Found {
    /// The newest that can be used.
    pub newest: Option<Box<Checkpoint>>,
    /// Newer ones that cannot, newest first, with the reason.
    pub skipped: Vec<(PathBuf, Refused)>,
    /// How many belong to other journals.
    pub foreign: usize,
}

impl Found {
    /// The newest one's id.
    pub fn name(&self) -> Option<CheckpointName> {
        self.newest.as_ref().map(|newest| CheckpointName { journal: newest.journal, durable: newest.durable })
    }
}

/// The folder, owned by this process.
#[derive(Debug)]
pub struct CheckpointFolder {
    dir: PathBuf,
    lock: LockGuard,
}

impl CheckpointFolder {
    /// Makes the folder if there is none, and locks it.
    ///
    /// # Errors
    /// [`CheckpointError::Locked`] when another process has it, or what the system refused.
    pub fn open(dir: &Path) -> Result<Self, CheckpointError> {
        Self::open_with(dir, None)
    }

    /// As [`CheckpointFolder::open`], with the lock that another process has handed over, if it is of this folder.
    ///
    /// # Errors
    /// As there.
    pub fn open_with(dir: &Path, handed: Option<File>) -> Result<Self, CheckpointError> {
        fs::create_dir_all(dir).map_err(|source| io_error("create", dir, source))?;
        let inherited = handed.and_then(|lock| inherit_folder(dir, lock).ok());
        let lock = inherited.map_or_else(|| lock_folder(dir), Ok).map_err(|failure| match failure {
            LockFailure::Held(pid) => CheckpointError::Locked { dir: dir.to_owned(), pid },
            LockFailure::Io { action, path, source } => CheckpointError::Io { action, path, source },
        })?;
        Ok(Self { dir: dir.to_owned(), lock })
    }

    /// Its lock, to be handed to another process.
    ///
    /// # Errors
    /// What the system refused.
    pub fn lock_file(&self) -> io::Result<Option<File>> {
        self.lock.another()
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The newest that can be used of a journal; where it is not known which journal is ours, of any.
    ///
    /// # Errors
    /// When the folder cannot be listed.
    pub fn newest(&self, journal: Option<JournalId>) -> Result<Found, CheckpointError> {
        let mut found = Found::default();
        for name in names(&self.dir)?.into_iter().rev() {
            if journal.is_some_and(|journal| journal != name.journal) {
                found.foreign += 1;
            } else if found.newest.is_none() {
                let path = self.dir.join(name.to_string());
                match read_named(&path, name) {
                    Ok(checkpoint) => found.newest = Some(Box::new(checkpoint)),
                    Err(reason) => found.skipped.push((path, reason)),
                }
            }
        }
        Ok(found)
    }

    /// Writes a checkpoint so that it is there whole or not at all, whatever happens, and leaves only the newest `keep` of its
    /// journal.
    ///
    /// # Errors
    /// What the system refused.
    pub fn write(&self, checkpoint: &Checkpoint, keep: u32) -> Result<CheckpointName, CheckpointError> {
        let name = CheckpointName { journal: checkpoint.journal, durable: checkpoint.durable };
        let path = self.dir.join(name.to_string());
        let unfinished = self.dir.join(format!("{name}{UNFINISHED}"));
        let write = || {
            let mut file = File::create(&unfinished)?;
            file.write_all(text::encode(checkpoint).as_bytes())?;
            crash_point!("checkpoint.written");
            file.sync_all()
        };
        write().map_err(|source| io_error("write", &unfinished, source))?;
        crash_point!("checkpoint.synced");
        fs::rename(&unfinished, &path).map_err(|source| io_error("put in place", &path, source))?;
        crash_point!("checkpoint.renamed");
        self.sync()?;
        crash_point!("checkpoint.in_place");
        self.prune(name, keep)?;
        crash_point!("checkpoint.pruned");
        Ok(name)
    }

    /// Removes what is older than the newest `keep`, and what was never finished, of the journal of `written` only.
    fn prune(&self, written: CheckpointName, keep: u32) -> Result<(), CheckpointError> {
        let mut kept = 0;
        for name in names(&self.dir)?.into_iter().rev().filter(|name| name.journal == written.journal) {
            let path = self.dir.join(name.to_string());
            // A newer release's file is neither ours to count nor to remove.
            let is_newer = || text::is_newer(&beginning(&path));
            if name == written || kept < keep {
                kept += u32::from(!is_newer());
            } else if !is_newer() {
                remove(&path)?;
            }
        }
        let prefix = written.journal.to_string();
        for entry in fs::read_dir(&self.dir).map_err(|source| io_error("list", &self.dir, source))? {
            let entry = entry.map_err(|source| io_error("list", &self.dir, source))?;
            if entry.file_name().to_str().is_some_and(|name| name.starts_with(&prefix) && name.ends_with(UNFINISHED)) {
                remove(&entry.path())?;
            }
        }
        Ok(())
    }

    fn sync(&self) -> Result<(), CheckpointError> {
        let synced = File::open(&self.dir).and_then(|dir| dir.sync_all());
        synced.map_err(|source| io_error("sync", &self.dir, source))
    }
}

/// Everything in a folder, oldest first; of journals other than ours by name only. Needs no lock.
///
/// # Errors
/// When the folder cannot be listed. One that is not there is empty.
pub fn list(dir: &Path, journal: Option<JournalId>) -> Result<Vec<Entry>, CheckpointError> {
    let entries = names(dir)?.into_iter().filter_map(|name| {
        let path = dir.join(name.to_string());
        // Pruned meanwhile.
        let bytes = path.metadata().ok()?.len();
        let state = if journal.is_some_and(|journal| journal != name.journal) {
            EntryState::Foreign
        } else {
            match read_named(&path, name) {
                Ok(checkpoint) => EntryState::Good(Box::new(checkpoint)),
                Err(reason) => EntryState::Refused(reason),
            }
        };
        Some(Entry { name, bytes, state })
    });
    Ok(entries.collect())
}

/// One checkpoint: by its name, or by its offset alone; without either the newest that can be used. Needs no lock.
///
/// # Errors
/// When there is none, or it cannot be used.
pub fn read(dir: &Path, journal: Option<JournalId>, id: Option<&str>) -> Result<Checkpoint, CheckpointError> {
    let names = names(dir)?;
    let ours = |name: &&CheckpointName| journal.is_none_or(|journal| journal == name.journal);
    let unknown = |id: &str| CheckpointError::Unknown { id: id.to_owned(), dir: dir.to_owned() };
    let Some(id) = id else {
        let good = names.iter().rev().filter(ours).find_map(|name| read_named(&dir.join(name.to_string()), *name).ok());
        return good.ok_or_else(|| unknown("newest"));
    };
    let by_offset = || {
        let offset = Offset(id.parse().ok()?);
        names.iter().filter(ours).find(|name| name.durable == offset).copied()
    };
    let name = CheckpointName::parse(id).filter(|name| names.contains(name)).or_else(by_offset);
    let name = name.ok_or_else(|| unknown(id))?;
    let path = dir.join(name.to_string());
    read_named(&path, name).map_err(|reason| CheckpointError::Refused { path, reason })
}

/// Names of checkpoints in a folder, oldest first.
fn names(dir: &Path) -> Result<Vec<CheckpointName>, CheckpointError> {
    let listed = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        listed => listed.map_err(|source| io_error("list", dir, source))?,
    };
    let mut names = Vec::new();
    for entry in listed {
        let entry = entry.map_err(|source| io_error("list", dir, source))?;
        names.extend(entry.file_name().to_str().and_then(CheckpointName::parse));
    }
    names.sort_unstable_by_key(|name| (name.durable, name.journal.0));
    Ok(names)
}

/// Reads a file, which must be what its name says.
fn read_named(path: &Path, name: CheckpointName) -> Result<Checkpoint, Refused> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(text::FILE_BYTES_MAX + 1).read_to_end(&mut bytes));
    read.map_err(|error| Refused::Damaged(format!("it cannot be read: {error}")))?;
    if bytes.len() as u64 > text::FILE_BYTES_MAX {
        return Err(Refused::Damaged("it is far too long".to_owned()));
    }
    let checkpoint = text::decode(&bytes)?;
    if (checkpoint.journal, checkpoint.durable) != (name.journal, name.durable) {
        return Err(Refused::Damaged("its name is another one's: it was renamed or copied".to_owned()));
    }
    Ok(checkpoint)
}

/// As much of a file as says its version; nothing where it cannot be read.
fn beginning(path: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    // What cannot be read says no version.
    File::open(path).and_then(|file| file.take(text::TITLE_BYTES_MAX).read_to_end(&mut bytes)).ok();
    bytes
}

fn remove(path: &Path) -> Result<(), CheckpointError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed.map_err(|source| io_error("remove", path, source)),
    }
}

fn io_error(action: &'static str, path: &Path, source: io::Error) -> CheckpointError {
    CheckpointError::Io { action, path: path.to_owned(), source }
}
