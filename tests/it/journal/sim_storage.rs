//! Storage in memory that can be killed, cut from its power, made to fail and filled up at any step.
//!
//! A kill keeps everything written, as the page cache does. A power cut keeps what was synced and, of the rest, what the
//! seed says: each sector of a write on its own, and of the changes to the folder some first ones. A failed sync
//! forgets what it should have made durable, as Linux does: a later sync succeeds without it.

use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use sluice::journal::storage::{Access, Storage, StorageFile};
use sluice::journal::{JournalError, LockGuard};

const SECTOR: usize = 64;

#[derive(Debug, Clone)]
pub(crate) struct SimStorage {
    shared: Arc<(Mutex<Disk>, Condvar)>,
}

#[derive(Debug, Clone, Default)]
struct Disk {
    nodes: Vec<Node>,
    names: BTreeMap<String, usize>,
    synced_names: BTreeMap<String, usize>,
    name_changes: Vec<NameChange>,
    /// Steps that changed something.
    steps: u64,
    /// From this step on nothing happens any more; the step itself happens in part.
    dies_at: Option<u64>,
    dead: bool,
    fail_sync_at: Option<u64>,
    fail_write_at: Option<u64>,
    syncs_held: bool,
    reads: u64,
    lists: u64,
    pub(super) free: Option<u64>,
}

#[derive(Debug, Clone, Default)]
struct Node {
    content: Vec<u8>,
    synced: Vec<u8>,
    pending: Vec<Change>,
}

#[derive(Debug, Clone)]
enum Change {
    Write(usize, Vec<u8>),
    Truncate(usize),
}

#[derive(Debug, Clone)]
enum NameChange {
    Add(String, usize),
    Remove(String),
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Crash {
    Kill,
    PowerCut(u64),
}

impl SimStorage {
    pub(crate) fn new() -> Self {
        Self::of(Disk::default())
    }

    fn of(disk: Disk) -> Self {
        Self { shared: Arc::new((Mutex::new(disk), Condvar::new())) }
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.shared.0.lock().unwrap()
    }

    pub(super) fn die_at(&self, step: u64) {
        self.disk().dies_at = Some(step);
    }

    pub(super) fn is_dead(&self) -> bool {
        self.disk().dead
    }

    pub(super) fn steps(&self) -> u64 {
        self.disk().steps
    }

    pub(super) fn reads_and_lists(&self) -> (u64, u64) {
        let disk = self.disk();
        (disk.reads, disk.lists)
    }

    pub(super) fn fail_sync_at(&self, step: u64) {
        self.disk().fail_sync_at = Some(step);
    }

    pub(super) fn fail_write_at(&self, step: u64) {
        self.disk().fail_write_at = Some(step);
    }

    pub(crate) fn hold_syncs(&self, held: bool) {
        self.disk().syncs_held = held;
        self.shared.1.notify_all();
    }

    pub(super) fn set_free(&self, free: u64) {
        self.disk().free = Some(free);
    }

    pub(super) fn segments(&self) -> Vec<String> {
        self.disk().segments().map(|(name, _)| name.clone()).collect()
    }

    pub(super) fn content(&self, name: &str) -> Vec<u8> {
        let disk = self.disk();
        disk.nodes[disk.names[name]].content.clone()
    }

    pub(super) fn set_content(&self, name: &str, content: Vec<u8>) {
        let mut disk = self.disk();
        let node = Node { synced: content.clone(), content, pending: Vec::new() };
        disk.nodes.push(node);
        let id = disk.nodes.len() - 1;
        disk.names.insert(name.to_owned(), id);
        disk.synced_names.insert(name.to_owned(), id);
    }

    pub(super) fn forget(&self, name: &str) {
        let mut disk = self.disk();
        disk.names.remove(name);
        disk.synced_names.remove(name);
    }

    pub(super) fn bytes_of_segments(&self) -> usize {
        let disk = self.disk();
        disk.segments().map(|(_, id)| disk.nodes[*id].content.len()).sum()
    }

    /// What a new process finds. This one can do nothing more.
    pub(super) fn after(&self, crash: Crash) -> Self {
        let mut disk = self.disk();
        disk.dead = true;
        self.shared.1.notify_all();
        let mut after = disk.clone();
        drop(disk);
        after.steps = 0;
        after.reads = 0;
        after.lists = 0;
        (after.dies_at, after.dead, after.syncs_held) = (None, false, false);
        (after.fail_sync_at, after.fail_write_at) = (None, None);
        if let Crash::PowerCut(seed) = crash {
            after.cut_power(&mut fastrand::Rng::with_seed(seed));
        }
        Self::of(after)
    }

    fn step(disk: &mut Disk) -> io::Result<bool> {
        if disk.dead {
            return Err(io::Error::other("the process is dead"));
        }
        disk.steps += 1;
        if disk.dies_at.is_some_and(|at| disk.steps >= at) {
            disk.dead = true;
        }
        Ok(disk.dead)
    }
}

impl Disk {
    fn segments(&self) -> impl Iterator<Item = (&String, &usize)> {
        self.names.iter().filter(|(name, _)| Path::new(name).extension().is_some_and(|extension| extension == "seg"))
    }

    fn cut_power(&mut self, rng: &mut fastrand::Rng) {
        for node in &mut self.nodes {
            let mut content = node.synced.clone();
            for change in node.pending.drain(..) {
                match change {
                    Change::Truncate(len) if rng.bool() => content.truncate(len),
                    Change::Truncate(_) => {}
                    Change::Write(at, bytes) => {
                        for (number, sector) in bytes.chunks(SECTOR).enumerate() {
                            if rng.u8(..) < 160 {
                                let at = at + number * SECTOR;
                                if content.len() < at + sector.len() {
                                    content.resize(at + sector.len(), 0);
                                }
                                content[at..at + sector.len()].copy_from_slice(sector);
                            }
                        }
                    }
                }
            }
            node.content.clone_from(&content);
            node.synced = content;
        }
        let kept = rng.usize(..=self.name_changes.len());
        let changes: Vec<_> = self.name_changes.drain(..).take(kept).collect();
        let mut names = self.synced_names.clone();
        for change in changes {
            change.apply(&mut names);
        }
        self.names.clone_from(&names);
        self.synced_names = names;
    }

    fn count_read(&mut self) {
        self.reads += u64::from(!on_writer());
    }

    fn change_names(&mut self, change: NameChange) {
        change.apply(&mut self.names);
        self.name_changes.push(change);
    }
}

/// The writer reads on its own time, for retention; what opening reads is counted without it.
fn on_writer() -> bool {
    std::thread::current().name() == Some("journal-writer")
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<String, usize>) {
        match self {
            Self::Add(name, id) => {
                names.insert(name.clone(), *id);
            }
            Self::Remove(name) => {
                names.remove(name);
            }
        }
    }
}

impl Storage for SimStorage {
    fn names(&self) -> io::Result<Vec<String>> {
        let mut disk = self.disk();
        disk.lists += u64::from(!on_writer());
        Ok(disk.names.keys().filter(|name| !name.contains('/')).cloned().collect())
    }

    fn open(&self, name: &str, access: Access) -> io::Result<Box<dyn StorageFile>> {
        let mut disk = self.disk();
        let id = match (disk.names.get(name).copied(), access) {
            (Some(_), Access::Create) => return Err(io::ErrorKind::AlreadyExists.into()),
            (Some(id), _) => id,
            (None, Access::Create | Access::Overwrite) => {
                SimStorage::step(&mut disk)?;
                disk.nodes.push(Node::default());
                let id = disk.nodes.len() - 1;
                disk.change_names(NameChange::Add(name.to_owned(), id));
                id
            }
            (None, _) => return Err(io::ErrorKind::NotFound.into()),
        };
        drop(disk);
        Ok(Box::new(SimFile { storage: self.clone(), id }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut disk = self.disk();
        SimStorage::step(&mut disk)?;
        let Some(&id) = disk.names.get(from) else { return Err(io::ErrorKind::NotFound.into()) };
        // One change on disk too: the journal of a file system holds both halves of a rename or neither.
        disk.change_names(NameChange::Add(to.to_owned(), id));
        disk.change_names(NameChange::Remove(from.to_owned()));
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut disk = self.disk();
        if !disk.names.contains_key(name) {
            return Err(io::ErrorKind::NotFound.into());
        }
        SimStorage::step(&mut disk)?;
        disk.change_names(NameChange::Remove(name.to_owned()));
        Ok(())
    }

    fn sync_folder(&self, _folder: &str) -> io::Result<()> {
        let mut disk = self.disk();
        if SimStorage::step(&mut disk)? {
            return Ok(());
        }
        if disk.fail_sync_at.is_some_and(|at| disk.steps >= at) {
            return Err(io::Error::other("injected: input/output error"));
        }
        let changes: Vec<_> = disk.name_changes.drain(..).collect();
        for change in changes {
            change.apply(&mut disk.synced_names);
        }
        Ok(())
    }

    fn free_bytes(&self) -> io::Result<u64> {
        Ok(self.disk().free.unwrap_or(1 << 40))
    }

    fn path(&self, name: &str) -> PathBuf {
        PathBuf::from("sim").join(name)
    }

    fn lock(&self) -> Result<LockGuard, JournalError> {
        Ok(LockGuard::unshared())
    }
}

#[derive(Debug)]
struct SimFile {
    storage: SimStorage,
    id: usize,
}

impl StorageFile for SimFile {
    fn len(&self) -> io::Result<u64> {
        let mut disk = self.storage.disk();
        disk.count_read();
        Ok(disk.nodes[self.id].content.len() as u64)
    }

    fn read_at(&self, position: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let mut disk = self.storage.disk();
        disk.count_read();
        let content = &disk.nodes[self.id].content;
        let from = usize::try_from(position).unwrap().min(content.len());
        let len = buffer.len().min(content.len() - from);
        buffer[..len].copy_from_slice(&content[from..from + len]);
        Ok(len)
    }

    fn append(&mut self, slices: &mut [IoSlice<'_>]) -> io::Result<()> {
        let at = self.storage.disk().nodes[self.id].content.len() as u64;
        let bytes: Vec<u8> = slices.iter().flat_map(|slice| slice.iter().copied()).collect();
        self.write_at(at, &bytes)
    }

    fn write_at(&mut self, position: u64, bytes: &[u8]) -> io::Result<()> {
        let mut disk = self.storage.disk();
        let dying = SimStorage::step(&mut disk)?;
        let failing = disk.fail_write_at.is_some_and(|at| disk.steps == at);
        let bytes = if dying || failing { &bytes[..bytes.len() / 2] } else { bytes };
        let at = usize::try_from(position).unwrap();
        let node = &mut disk.nodes[self.id];
        if node.content.len() < at + bytes.len() {
            node.content.resize(at + bytes.len(), 0);
        }
        node.content[at..at + bytes.len()].copy_from_slice(bytes);
        node.pending.push(Change::Write(at, bytes.to_vec()));
        if failing { Err(io::Error::other("injected: input/output error")) } else { Ok(()) }
    }

    fn truncate(&mut self, len: u64) -> io::Result<()> {
        let mut disk = self.storage.disk();
        SimStorage::step(&mut disk)?;
        let len = usize::try_from(len).unwrap();
        let node = &mut disk.nodes[self.id];
        node.content.truncate(len);
        node.pending.push(Change::Truncate(len));
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut disk = self.storage.disk();
        while disk.syncs_held && !disk.dead {
            disk = self.storage.shared.1.wait(disk).unwrap();
        }
        if SimStorage::step(&mut disk)? {
            return Err(io::Error::other("the process is dead"));
        }
        let failing = disk.fail_sync_at.is_some_and(|at| disk.steps >= at);
        let node = &mut disk.nodes[self.id];
        node.pending.clear();
        if failing {
            return Err(io::Error::other("injected: input/output error"));
        }
        node.synced.clone_from(&node.content);
        Ok(())
    }
}
