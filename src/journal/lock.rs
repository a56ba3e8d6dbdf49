//! One process at a time writes a journal, or whatever else has a folder of its own.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::error::JournalError;

const LOCK_FILE: &str = "lock";

/// How long the lock of a dead process is waited for, in looks. Source: a guess, far above what `exec` takes on a busy machine.
const HEIR_LOOKS: u32 = 100;
const HEIR_WAIT: Duration = Duration::from_millis(20);

/// Held as long as what is in the folder is open; the system takes it back when the process ends, however it ends.
#[derive(Debug)]
pub struct LockGuard {
    /// None for storage that no other process can reach.
    file: Option<File>,
}

impl LockGuard {
    /// For storage that no other process can reach.
    pub fn unshared() -> Self {
        Self { file: None }
    }

    /// The same lock once more, to be handed to another process: it is held until the last of them is closed. None for storage that
    /// no other process can reach.
    ///
    /// # Errors
    /// What the system refused.
    pub fn another(&self) -> std::io::Result<Option<File>> {
        self.file.as_ref().map(File::try_clone).transpose()
    }
}

/// Why a folder could not be locked.
#[derive(Debug)]
pub enum LockFailure {
    /// Another process has it; its id, when it has said so.
    Held(Option<u32>),
    /// The system refused.
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

/// Whether a process has the folder. One that looks for it at this very moment waits a little for us.
pub fn is_locked(dir: &Path) -> bool {
    let Ok(file) = File::open(dir.join(LOCK_FILE)) else { return false };
    matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock))
}

/// The process that has the folder, where one has, and has said so.
pub fn holder_of(dir: &Path) -> Option<u32> {
    let mut file = File::open(dir.join(LOCK_FILE)).ok().filter(|_| is_locked(dir))?;
    holder(&mut file)
}

/// Locks the journal's folder.
pub(super) fn take(dir: &Path) -> Result<LockGuard, JournalError> {
    of_journal(dir, lock_folder(dir))
}

/// Goes on with the lock of the journal's folder that another process has handed over.
pub(super) fn inherit(dir: &Path, file: File) -> Result<LockGuard, JournalError> {
    of_journal(dir, inherit_folder(dir, file))
}

fn of_journal(dir: &Path, locked: Result<LockGuard, LockFailure>) -> Result<LockGuard, JournalError> {
    locked.map_err(|failure| match failure {
        LockFailure::Held(pid) => JournalError::Locked { dir: dir.to_owned(), pid },
        LockFailure::Io { action, path, source } => JournalError::Io { action, path, source },
    })
}

/// Locks a folder and writes our process id into its lock file, for whoever comes second.
///
/// # Errors
/// When another process has it, or the system refuses.
pub fn lock_folder(dir: &Path) -> Result<LockGuard, LockFailure> {
    let path = dir.join(LOCK_FILE);
    let io = |action| {
        let path = path.clone();
        move |source| LockFailure::Io { action, path, source }
    };
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(io("open the lock file"))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => wait_for_the_dead(&mut file)?,
        Err(TryLockError::Error(source)) => return Err(io("lock")(source)),
    }
    sign(&mut file).map_err(io("write the process id to"))?;
    Ok(LockGuard { file: Some(file) })
}

/// Goes on with the lock of a folder that another process has handed to us: it was never free in between.
///
/// # Errors
/// When it is not the lock of this folder or not held by that file, or the system refuses.
pub fn inherit_folder(dir: &Path, mut file: File) -> Result<LockGuard, LockFailure> {
    let path = dir.join(LOCK_FILE);
    let io = |action| {
        let path = path.clone();
        move |source| LockFailure::Io { action, path, source }
    };
    let named = path.metadata().map_err(io("look at the lock file"))?;
    let handed = file.metadata().map_err(io("look at the lock handed over for"))?;
    if (named.dev(), named.ino()) != (handed.dev(), handed.ino()) {
        let source = std::io::Error::other("the lock that was handed over is another folder's");
        return Err(io("go on with")(source));
    }
    // Nothing changes where it is held by this file; where another one holds it, it was never handed over.
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(LockFailure::Held(holder(&mut file))),
        Err(TryLockError::Error(source)) => return Err(io("lock")(source)),
    }
    sign(&mut file).map_err(io("write the process id to"))?;
    Ok(LockGuard { file: Some(file) })
}

/// Writes our process id into a lock file.
fn sign(file: &mut File) -> std::io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())
}

/// The lock of a process that was killed just as it started another is held by that one until it runs a program of its own,
/// which is a matter of moments: it is waited for. A holder that lives has it.
fn wait_for_the_dead(file: &mut File) -> Result<(), LockFailure> {
    for _ in 0..HEIR_LOOKS {
        let holder = holder(file);
        let dead = holder.is_some_and(|pid| !lives(pid));
        if !dead {
            return Err(LockFailure::Held(holder));
        }
        std::thread::sleep(HEIR_WAIT);
        if file.try_lock().is_ok() {
            return Ok(());
        }
    }
    Err(LockFailure::Held(holder(file)))
}

fn lives(pid: u32) -> bool {
    let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw);
    // Another user's process may not be asked, but is there.
    pid.is_some_and(|pid| rustix::process::test_kill_process(pid) != Err(rustix::io::Errno::SRCH))
}

/// Who holds the lock. Between taking the lock and writing its id the holder is nameless, so look again a few times.
fn holder(file: &mut File) -> Option<u32> {
    for _ in 0..20 {
        let mut text = String::new();
        if file.rewind().is_ok() && file.read_to_string(&mut text).is_ok() && text.ends_with('\n') {
            return text.trim().parse().ok();
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_that_is_handed_over_is_never_free_in_between() {
        let dir = tempfile::tempdir().unwrap();
        let first = lock_folder(dir.path()).unwrap();
        let handed = first.another().unwrap().unwrap();
        drop(first);
        assert!(is_locked(dir.path()), "what was handed over holds it");
        let second = inherit_folder(dir.path(), handed).unwrap();
        assert!(matches!(lock_folder(dir.path()), Err(LockFailure::Held(_))));
        drop(second);
        lock_folder(dir.path()).unwrap();
    }

    #[test]
    fn neither_another_folders_lock_nor_one_that_is_not_held_is_gone_on_with() {
        let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (ours, theirs) = (lock_folder(dir.path()).unwrap(), lock_folder(other.path()).unwrap());
        let of_another = inherit_folder(dir.path(), theirs.another().unwrap().unwrap());
        assert!(matches!(of_another, Err(LockFailure::Io { .. })), "{of_another:?}");
        let not_held = inherit_folder(dir.path(), File::open(dir.path().join(LOCK_FILE)).unwrap());
        assert!(matches!(not_held, Err(LockFailure::Held(Some(pid))) if pid == std::process::id()), "{not_held:?}");
        drop(ours);
    }
}
