//! The folder of the views: a small sled database that is never the only copy of anything.
//!
//! sled is taken for what it is here: fast and small, but neither its recovery nor its checks are relied on. Beside every
//! state stands a digest over all entries, so that whatever the folder has lost, kept or made up is seen when it is opened;
//! then it is thrown away and built anew. In simulated power cuts sled panics while it opens, so a folder that is there is first
//! opened by a child process ([`mod@super::probe`]).

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use siphasher::sip128::{Hasher128 as _, SipHasher13};

/// Version of what is in the entries. Any other is built anew.
const VERSION: u32 = 1;

/// Where the mark is. Entries of views begin with a lower-case letter.
const MARK_KEY: &[u8] = b"MARK";

/// What sled may keep in memory (durability.md 9).
const CACHE_BYTES: u64 = 16 << 20;

/// Why a folder cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum StoreError {
    /// sled says no.
    #[error("sled: {0}")]
    Sled(String),
    /// It is not what was put there.
    #[error("{0}")]
    Damaged(&'static str),
    /// The system says no.
    #[error("{0}")]
    Io(String),
}

impl From<sled::Error> for StoreError {
    fn from(error: sled::Error) -> Self {
        Self::Sled(error.to_string())
    }
}

impl From<std::io::Error> for StoreError {
    fn from(error: std::io::Error) -> Self {
        Self::Io(error.to_string())
    }
}

/// How far views are built, and of which journal.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Mark {
    version: u32,
    /// Whose.
    pub(super) journal: String,
    /// Statistics count events from here,
    pub(super) statistics_from: u64,
    /// up to here.
    pub(super) statistics_to: u64,
    /// The first event of the last block with events that they counted,
    pub(super) statistics_block: u64,
    /// and the checksum of the last header, which may be of a later block without events; 0: of none.
    pub(super) statistics_header: u32,
    /// Last values are complete for events from here,
    pub(super) last_from: u64,
    /// up to here.
    pub(super) last_to: u64,
    entries: u64,
    /// Hexadecimal.
    digest: String,
}

impl Mark {
    /// Of nothing built yet.
    pub(super) fn new(journal: &str) -> Self {
        Self { version: VERSION, journal: journal.to_owned(), ..Self::default() }
    }
}

/// An entry that changed; none: it went.
pub(super) type Change = (Vec<u8>, Option<Vec<u8>>);

/// Keys and values.
pub(super) type Entries = Vec<(Vec<u8>, Vec<u8>)>;

/// The open folder.
#[derive(Debug)]
pub(super) struct ViewStore {
    db: sled::Db,
    file: PathBuf,
    inode: u64,
    /// By key, so that the whole's can be told without reading it again.
    digests: HashMap<Box<[u8]>, u128>,
    digest: u128,
}

impl ViewStore {
    /// Opens a folder, or makes one, and reads all of it.
    ///
    /// # Errors
    /// When it is not as it was left. Where sled finds that itself, it may panic.
    pub(super) fn open(dir: &Path) -> Result<(Self, Option<Mark>, Entries), StoreError> {
        let config = sled::Config::new().path(dir).cache_capacity(CACHE_BYTES).flush_every_ms(None);
        let db = config.open()?;
        let file = dir.join("db");
        let inode = std::fs::metadata(&file)?.ino();
        let mut store = Self { db, file, inode, digests: HashMap::new(), digest: 0 };
        let mut mark = None;
        let mut entries = Vec::new();
        for entry in store.db.iter() {
            let (key, value) = entry?;
            if key == MARK_KEY {
                let read = serde_json::from_slice::<Mark>(&value);
                mark = Some(read.map_err(|_| StoreError::Damaged("its mark cannot be read"))?);
                continue;
            }
            let digest = digest_of(&key, &value);
            store.digest = store.digest.wrapping_add(digest);
            store.digests.insert(key.as_ref().into(), digest);
            entries.push((key.to_vec(), value.to_vec()));
        }
        match &mark {
            None if entries.is_empty() => {}
            None => return Err(StoreError::Damaged("it has entries and no mark")),
            Some(mark) if mark.version != VERSION => return Err(StoreError::Damaged("it is of another version")),
            Some(mark) if mark.entries != entries.len() as u64 || mark.digest != hex(store.digest) => {
                return Err(StoreError::Damaged("its entries are not those that were written"));
            }
            Some(_) => {}
        }
        Ok((store, mark, entries))
    }

    /// Writes changes and how far they reach, in one step, and has them on disk.
    pub(super) fn commit(
        &mut self,
        changes: impl IntoIterator<Item = Change>,
        mark: &mut Mark,
    ) -> Result<(), StoreError> {
        let mut batch = sled::Batch::default();
        for (key, value) in changes {
            if let Some(before) = self.digests.remove(&key[..]) {
                self.digest = self.digest.wrapping_sub(before);
            }
            match value {
                Some(value) => {
                    let digest = digest_of(&key, &value);
                    self.digest = self.digest.wrapping_add(digest);
                    self.digests.insert(key.as_slice().into(), digest);
                    batch.insert(key, value);
                }
                None => batch.remove(key),
            }
        }
        mark.entries = self.digests.len() as u64;
        mark.digest = hex(self.digest);
        let text = serde_json::to_vec(mark).map_err(|error| StoreError::Io(error.to_string()))?;
        batch.insert(MARK_KEY, text);
        self.db.apply_batch(batch)?;
        self.db.flush()?;
        Ok(())
    }

    /// An entry. One that is not as it was written is an error.
    pub(super) fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let value = self.db.get(key)?.map(|value| value.to_vec());
        let known = self.digests.get(key).copied();
        if value.as_ref().map(|value| digest_of(key, value)) != known {
            return Err(StoreError::Damaged("an entry is not what was written"));
        }
        Ok(value)
    }

    /// Whether the folder is still the one that was opened.
    pub(super) fn is_in_place(&self) -> bool {
        std::fs::metadata(&self.file).is_ok_and(|file| file.ino() == self.inode)
    }
}

fn hex(digest: u128) -> String {
    format!("{digest:032x}")
}

fn digest_of(key: &[u8], value: &[u8]) -> u128 {
    use std::hash::Hasher as _;
    let mut hasher = SipHasher13::new();
    hasher.write_usize(key.len());
    hasher.write(key);
    hasher.write(value);
    hasher.finish128().as_u128()
}
