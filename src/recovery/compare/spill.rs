//! Entries put in order in bounded memory: sorted runs in one file that has no name any more, merged when they are read.
//!
//! The file is taken from the folder as soon as it is open, so that nothing of it stays behind, however the process ends. All runs
//! are in it, so that a side never has more than two files open, however many runs there are.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::entry::{ENTRY_BYTES, Entry};

/// Runs that are merged at a time. More are merged into longer ones first.
const FAN_IN: usize = 64;

/// Entries that are written, and read of each run, at a time.
const CHUNK: usize = 1024;

/// What is being compared cannot be kept.
#[derive(Debug, thiserror::Error)]
#[error("what is being compared cannot be kept in {}: {source}; another folder can be named by --tmp", folder.display())]
pub struct SpillError {
    folder: PathBuf,
    source: io::Error,
}

/// A run: entries in order, one behind the other in the file.
#[derive(Debug, Clone, Copy)]
struct Run {
    start: u64,
    entries: u64,
}

/// A file without a name, written from its beginning to its end, read anywhere.
#[derive(Debug)]
struct Runs {
    file: Arc<File>,
    folder: PathBuf,
    len: u64,
    runs: Vec<Run>,
    bytes: Vec<u8>,
}

impl Runs {
    fn create(folder: &Path) -> Result<Self, SpillError> {
        let fail = |source| SpillError { folder: folder.to_owned(), source };
        let path = folder.join(format!(".sluice-compare-{}", uuid::Uuid::new_v4()));
        let file = OpenOptions::new().create_new(true).read(true).write(true).mode(0o600).open(&path).map_err(fail)?;
        fs::remove_file(&path).map_err(fail)?;
        Ok(Self { file: Arc::new(file), folder: folder.to_owned(), len: 0, runs: Vec::new(), bytes: Vec::new() })
    }

    fn begin(&mut self) {
        self.runs.push(Run { start: self.len, entries: 0 });
    }

    fn put(&mut self, entry: &Entry) -> Result<(), SpillError> {
        entry.put(&mut self.bytes);
        if let Some(run) = self.runs.last_mut() {
            run.entries += 1;
        }
        if self.bytes.len() >= CHUNK * ENTRY_BYTES { self.write() } else { Ok(()) }
    }

    fn write(&mut self) -> Result<(), SpillError> {
        let fail = |source| SpillError { folder: self.folder.clone(), source };
        self.file.write_all_at(&self.bytes, self.len).map_err(fail)?;
        self.len += self.bytes.len() as u64;
        self.bytes.clear();
        Ok(())
    }

    fn merge(&self, runs: &[Run]) -> Result<Merge, SpillError> {
        let readers: Vec<_> = runs
            .iter()
            .map(|run| RunReader {
                file: Arc::clone(&self.file),
                folder: self.folder.clone(),
                position: run.start,
                left: run.entries,
                bytes: Vec::new(),
                at: 0,
            })
            .collect();
        let mut merge = Merge { heap: BinaryHeap::with_capacity(readers.len()), readers };
        for index in 0..merge.readers.len() {
            merge.refill(index)?;
        }
        Ok(merge)
    }
}

/// Takes entries in any order.
#[derive(Debug)]
pub(super) struct Sorter {
    folder: PathBuf,
    most: usize,
    fan_in: usize,
    buffer: Vec<Entry>,
    runs: Option<Runs>,
}

impl Sorter {
    /// One that keeps at most so many entries in memory, and others in `folder`.
    pub(super) fn new(folder: &Path, most: usize) -> Self {
        Self { folder: folder.to_owned(), most: most.max(CHUNK), fan_in: FAN_IN, buffer: Vec::new(), runs: None }
    }

    pub(super) fn push(&mut self, entry: Entry) -> Result<(), SpillError> {
        if self.buffer.len() >= self.most {
            self.spill()?;
        }
        self.buffer.push(entry);
        Ok(())
    }

    fn spill(&mut self) -> Result<(), SpillError> {
        self.buffer.sort_unstable();
        let runs = match &mut self.runs {
            Some(runs) => runs,
            none => none.insert(Runs::create(&self.folder)?),
        };
        runs.begin();
        for entry in &self.buffer {
            runs.put(entry)?;
        }
        runs.write()?;
        self.buffer.clear();
        Ok(())
    }

    /// All of them, in order.
    pub(super) fn finish(mut self) -> Result<Sorted, SpillError> {
        if self.runs.is_none() {
            self.buffer.sort_unstable();
            return Ok(Sorted::Memory(self.buffer.into_iter()));
        }
        if !self.buffer.is_empty() {
            self.spill()?;
        }
        self.buffer = Vec::new();
        let mut runs = self.runs.take().expect("it was looked at above");
        while runs.runs.len() > self.fan_in {
            let mut longer = Runs::create(&self.folder)?;
            for some in runs.runs.chunks(self.fan_in) {
                let mut merge = runs.merge(some)?;
                longer.begin();
                while let Some(entry) = merge.next()? {
                    longer.put(&entry)?;
                }
                longer.write()?;
            }
            runs = longer;
        }
        Ok(Sorted::Merged(runs.merge(&runs.runs)?))
    }
}

/// Entries in their order.
#[derive(Debug)]
pub(super) enum Sorted {
    /// They all fit.
    Memory(std::vec::IntoIter<Entry>),
    /// Out of runs.
    Merged(Merge),
}

impl Sorted {
    pub(super) fn next(&mut self) -> Result<Option<Entry>, SpillError> {
        match self {
            Self::Memory(entries) => Ok(entries.next()),
            Self::Merged(merge) => merge.next(),
        }
    }
}

/// Runs as one.
#[derive(Debug)]
pub(super) struct Merge {
    readers: Vec<RunReader>,
    heap: BinaryHeap<Reverse<(Entry, usize)>>,
}

impl Merge {
    fn next(&mut self) -> Result<Option<Entry>, SpillError> {
        let Some(Reverse((entry, index))) = self.heap.pop() else { return Ok(None) };
        self.refill(index)?;
        Ok(Some(entry))
    }

    fn refill(&mut self, index: usize) -> Result<(), SpillError> {
        if let Some(entry) = self.readers[index].next()? {
            self.heap.push(Reverse((entry, index)));
        }
        Ok(())
    }
}

#[derive(Debug)]
struct RunReader {
    file: Arc<File>,
    folder: PathBuf,
    position: u64,
    left: u64,
    bytes: Vec<u8>,
    at: usize,
}

impl RunReader {
    fn next(&mut self) -> Result<Option<Entry>, SpillError> {
        if self.at == self.bytes.len() {
            if self.left == 0 {
                return Ok(None);
            }
            let entries = usize::try_from(self.left).map_or(CHUNK, |left| left.min(CHUNK));
            self.bytes.resize(entries * ENTRY_BYTES, 0);
            let read = self.file.read_exact_at(&mut self.bytes, self.position);
            read.map_err(|source| SpillError { folder: self.folder.clone(), source })?;
            self.position += self.bytes.len() as u64;
            self.left -= entries as u64;
            self.at = 0;
        }
        let entry = Entry::of_bytes(&self.bytes[self.at..self.at + ENTRY_BYTES]);
        self.at += ENTRY_BYTES;
        Ok(Some(entry))
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::{Record, Terms};
    use super::*;
    use crate::recovery::compare::entry::Hasher;

    fn entries(count: u64) -> Vec<Entry> {
        let (mut hasher, terms) = (Hasher::new(), Terms::default());
        let entry = |place: u64| {
            let id = (place % 1000).to_string();
            hasher.entry(&Record { place, id: Some(&id), ..Record::default() }, &terms, 0, 0)
        };
        (0..count).map(entry).collect()
    }

    fn sorted(folder: &Path, most: usize, fan_in: usize, entries: &[Entry]) -> Vec<Entry> {
        let mut sorter = Sorter { fan_in, ..Sorter::new(folder, most) };
        for entry in entries {
            sorter.push(*entry).unwrap();
            assert!(sorter.buffer.len() <= most);
        }
        let mut all = sorter.finish().unwrap();
        std::iter::from_fn(|| all.next().unwrap()).collect()
    }

    #[test]
    fn entries_come_in_order_however_little_memory_there_is() {
        let folder = tempfile::tempdir().unwrap();
        let given = entries(20_000);
        let mut expected = given.clone();
        expected.sort_unstable();
        assert!(sorted(folder.path(), 30_000, FAN_IN, &given) == expected, "all in memory");
        assert!(sorted(folder.path(), CHUNK, FAN_IN, &given) == expected, "out of runs");
        assert!(sorted(folder.path(), CHUNK, 3, &given) == expected, "out of runs of runs of runs");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing of it has a name");
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_named() {
        let mut sorter = Sorter::new(Path::new("/nowhere/at/all"), CHUNK);
        let error = entries(2000).into_iter().try_for_each(|entry| sorter.push(entry)).unwrap_err().to_string();
        assert!(error.contains("/nowhere/at/all") && error.contains("--tmp"), "{error}");
    }
}
