//! The few things that the journal asks of a file system, as a trait, so that tests can tear writes, fail syncs and fill the
//! disk at any step.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSlice, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::error::JournalError;
use super::lock::{self, LockGuard};

/// How a file is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// To be read.
    Read,
    /// A new file, to be appended to and read. Fails if there is one.
    Create,
    /// A file that is there, to be cut and appended to.
    Repair,
    /// A small file that is overwritten in place; made if there is none.
    Overwrite,
}

/// A folder of files. Names are relative to it; only `cut/…` and `damaged/…` have a folder in them.
pub trait Storage: fmt::Debug + Send + Sync {
    /// Names of the files of the folder, in any order.
    ///
    /// # Errors
    /// As the system has them; the same goes for every function here.
    fn names(&self) -> io::Result<Vec<String>>;
    /// Opens a file.
    ///
    /// # Errors
    /// As above.
    fn open(&self, name: &str, access: Access) -> io::Result<Box<dyn StorageFile>>;
    /// Gives a file another name, replacing what has it.
    ///
    /// # Errors
    /// As above.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a file.
    ///
    /// # Errors
    /// As above.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Makes a folder inside this one, if it is not there. Opening a file to create it does so by itself.
    ///
    /// # Errors
    /// As above.
    fn create_folder(&self, _folder: &str) -> io::Result<()> {
        Ok(())
    }
    /// Makes the names of a folder durable: `""` for the folder itself, or `cut`.
    ///
    /// # Errors
    /// As above.
    fn sync_folder(&self, folder: &str) -> io::Result<()>;
    /// Bytes that may still be written.
    ///
    /// # Errors
    /// As above.
    fn free_bytes(&self) -> io::Result<u64>;
    /// What to call a file when speaking to people; `""` for the folder.
    fn path(&self, name: &str) -> PathBuf;
    /// Takes the folder for this process alone.
    ///
    /// # Errors
    /// [`JournalError::Locked`] when another has it.
    fn lock(&self) -> Result<LockGuard, JournalError>;
}

/// An open file.
#[expect(clippy::len_without_is_empty, reason = "a file is measured, not asked whether it is empty")]
pub trait StorageFile: fmt::Debug + Send + Sync {
    /// Its length.
    ///
    /// # Errors
    /// As the system has them; the same goes for every function here.
    fn len(&self) -> io::Result<u64>;
    /// Reads at a position until `buffer` is full or the file ends; returns how much.
    ///
    /// # Errors
    /// As above.
    fn read_at(&self, position: u64, buffer: &mut [u8]) -> io::Result<usize>;
    /// Appends all slices, in order.
    ///
    /// # Errors
    /// As above. How much was written is then unknown.
    fn append(&mut self, slices: &mut [IoSlice<'_>]) -> io::Result<()>;
    /// Writes at a position, of a file opened with [`Access::Overwrite`].
    ///
    /// # Errors
    /// As above.
    fn write_at(&mut self, position: u64, bytes: &[u8]) -> io::Result<()>;
    /// Cuts it.
    ///
    /// # Errors
    /// As above.
    fn truncate(&mut self, len: u64) -> io::Result<()>;
    /// Makes what was written durable (`fdatasync`).
    ///
    /// # Errors
    /// As above. Final: what was written before may be lost even if another call succeeds.
    fn sync(&mut self) -> io::Result<()>;
}

/// A folder on disk.
#[derive(Debug, Clone)]
pub struct DiskStorage {
    dir: PathBuf,
}

impl DiskStorage {
    /// The folder at `dir`, which must be there.
    pub fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned() }
    }

    /// Makes the folder and those above it.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn create(dir: &Path) -> Result<Self, JournalError> {
        fs::create_dir_all(dir).map_err(|source| JournalError::Io {
            action: "create",
            path: dir.to_owned(),
            source,
        })?;
        // The folder's own name must outlive a power cut too. A parent that cannot be opened is one we did not make.
        if let Some(parent) = dir.parent().filter(|parent| !parent.as_os_str().is_empty())
            && let Ok(parent) = File::open(parent)
        {
            parent.sync_all().map_err(|source| JournalError::SyncFailed { segment: dir.to_owned(), source })?;
        }
        Ok(Self::new(dir))
    }
}

impl Storage for DiskStorage {
    fn names(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            if let Ok(name) = entry?.file_name().into_string() {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn open(&self, name: &str, access: Access) -> io::Result<Box<dyn StorageFile>> {
        let path = self.dir.join(name);
        let mut options = OpenOptions::new();
        match access {
            Access::Read => options.read(true),
            Access::Create => {
                if let Some(folder) = path.parent() {
                    fs::create_dir_all(folder)?;
                }
                options.read(true).append(true).create_new(true)
            }
            Access::Repair => options.read(true).append(true),
            Access::Overwrite => options.read(true).write(true).create(true).truncate(false),
        };
        Ok(Box::new(DiskFile(options.open(path)?)))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.dir.join(from), self.dir.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.dir.join(name))
    }

    fn create_folder(&self, folder: &str) -> io::Result<()> {
        fs::create_dir_all(self.dir.join(folder))
    }

    fn sync_folder(&self, folder: &str) -> io::Result<()> {
        File::open(self.dir.join(folder))?.sync_all()
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let stat = rustix::fs::statvfs(&self.dir)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    fn path(&self, name: &str) -> PathBuf {
        if name.is_empty() { self.dir.clone() } else { self.dir.join(name) }
    }

    fn lock(&self) -> Result<LockGuard, JournalError> {
        lock::take(&self.dir)
    }
}

#[derive(Debug)]
struct DiskFile(File);

impl StorageFile for DiskFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read_at(&self, position: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let mut done = 0;
        while done < buffer.len() {
            match self.0.read_at(&mut buffer[done..], position + done as u64) {
                Ok(0) => break,
                Ok(read) => done += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    fn append(&mut self, mut slices: &mut [IoSlice<'_>]) -> io::Result<()> {
        // Empty slices at the front would make a write of nothing look like a full disk.
        IoSlice::advance_slices(&mut slices, 0);
        while !slices.is_empty() {
            match self.0.write_vectored(slices) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => IoSlice::advance_slices(&mut slices, written),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn write_at(&mut self, position: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all_at(bytes, position)
    }

    fn truncate(&mut self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.0.sync_data()
    }
}
