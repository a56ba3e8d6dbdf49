//! What the fuzz targets share: a journal's folder in memory, and what they begin with.

pub mod decoder;
pub mod seeds;
pub mod session;

use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use sluice::journal::storage::{Access, Storage, StorageFile};
use sluice::journal::{JournalError, LockGuard};

type Content = Arc<Mutex<Vec<u8>>>;

/// A folder of files in memory.
#[derive(Debug, Clone, Default)]
pub struct MemoryStorage(Arc<Mutex<BTreeMap<String, Content>>>);

impl MemoryStorage {
    /// Puts a file there.
    pub fn put(&self, name: &str, content: &[u8]) {
        self.0.lock().unwrap().insert(name.to_owned(), Arc::new(Mutex::new(content.to_vec())));
    }

    /// What a file has.
    pub fn content(&self, name: &str) -> Vec<u8> {
        self.0.lock().unwrap()[name].lock().unwrap().clone()
    }
}

impl Storage for MemoryStorage {
    fn names(&self) -> io::Result<Vec<String>> {
        Ok(self.0.lock().unwrap().keys().cloned().collect())
    }

    fn open(&self, name: &str, access: Access) -> io::Result<Box<dyn StorageFile>> {
        let mut files = self.0.lock().unwrap();
        let content = match (files.get(name), access) {
            (Some(_), Access::Create) => return Err(io::ErrorKind::AlreadyExists.into()),
            (Some(content), _) => Arc::clone(content),
            (None, Access::Create | Access::Overwrite) => Arc::clone(files.entry(name.to_owned()).or_default()),
            (None, _) => return Err(io::ErrorKind::NotFound.into()),
        };
        Ok(Box::new(MemoryFile(content)))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut files = self.0.lock().unwrap();
        let content = files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        files.insert(to.to_owned(), content);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.0.lock().unwrap().remove(name).map(drop).ok_or(io::ErrorKind::NotFound.into())
    }

    fn sync_folder(&self, _folder: &str) -> io::Result<()> {
        Ok(())
    }

    fn free_bytes(&self) -> io::Result<u64> {
        Ok(1 << 40)
    }

    fn path(&self, name: &str) -> PathBuf {
        PathBuf::from("memory").join(name)
    }

    fn lock(&self) -> Result<LockGuard, JournalError> {
        Ok(LockGuard::unshared())
    }
}

#[derive(Debug)]
struct MemoryFile(Content);

impl StorageFile for MemoryFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().unwrap().len() as u64)
    }

    fn read_at(&self, position: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let content = self.0.lock().unwrap();
        let from = usize::try_from(position).unwrap_or(usize::MAX).min(content.len());
        let len = buffer.len().min(content.len() - from);
        buffer[..len].copy_from_slice(&content[from..from + len]);
        Ok(len)
    }

    fn append(&mut self, slices: &mut [IoSlice<'_>]) -> io::Result<()> {
        let mut content = self.0.lock().unwrap();
        for slice in slices {
            content.extend_from_slice(slice);
        }
        Ok(())
    }

    fn write_at(&mut self, position: u64, bytes: &[u8]) -> io::Result<()> {
        let mut content = self.0.lock().unwrap();
        let (from, to) = (position as usize, position as usize + bytes.len());
        if content.len() < to {
            content.resize(to, 0);
        }
        content[from..to].copy_from_slice(bytes);
        Ok(())
    }

    fn truncate(&mut self, len: u64) -> io::Result<()> {
        self.0.lock().unwrap().truncate(len as usize);
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }
}
