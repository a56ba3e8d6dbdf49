//! The journal: the only truth. What was received and parsed is appended here once, and is *durable* when the sync of its
//! block has returned. Nothing is promised before that, nothing is lost after it.
//!
//! | file        | is                                                                                    |
//! |-------------|---------------------------------------------------------------------------------------|
//! | `block/`    | the events of one batch: building and compressing them, their header, reading them back |
//! | `checksum`  | whether a checksum fits                                                                 |
//! | `segment`   | a file of blocks: its name, its header, its seal                                        |
//! | `intake`    | the bounded queue from the links to the writer                                          |
//! | `writer`    | the thread that appends and syncs, a group at a time                                    |
//! | `progress`  | how far what links have taken in is durable, for acknowledgements                     |
//! | `room`      | the reserve on the disk, retention                                                      |
//! | `state`     | what the writer tells everybody                                                         |
//! | `watermark` | the durable offset, for other processes                                                 |
//! | `scan`      | walking over a segment's blocks                                                         |
//! | `recovery`  | what opening does: cut, rewrite, seal; `summary` is what it says of that                |
//! | `reader`    | reading from an offset or a time on, following the tail                                 |
//! | `event_object` | an event as JSON                                                                     |
//! | `payload_text` | a payload where only text has a place                                                |
//! | `hole`      | offsets whose events are lost, as a repair records them                               |
//! | `hashes`    | what was deduplicated lately, for a restart                                             |
//! | `tokens`    | where upstreams can be taken up again                                                  |
//! | `stat`      | what is in a journal                                                                    |
//! | `inspect`   | what is whole in a segment, whatever lies between; `survey` which file belongs where     |
//! | `check`     | what is damaged; `repair` makes it openable, `segment_copy` writes a segment anew        |
//! | `backup`    | copies of a journal, and journals out of copies; `ancestors` remembers whose             |
//! | `storage`   | the file system, as little of it as is needed                                           |
//! | `lock`      | one writer at a time                                                                    |
//!
//! The files are described byte by byte in `docs/journal-format.md`.

use std::fs::File;
use std::path::{Path as FilePath, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::watch;

use crate::config::JournalSettings;
use crate::pulse::Pulse;

mod ancestors;
mod backup;
mod block;
mod check;
mod checksum;
mod error;
mod event_filter;
mod event_object;
mod filter;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod hashes;
mod hole;
mod identity;
mod inspect;
mod intake;
mod lock;
mod offset;
mod payload_text;
mod progress;
mod reader;
mod recovery;
mod repair;
mod room;
mod scan;
mod segment;
mod segment_copy;
mod stat;
mod state;
pub mod storage;
mod summary;
mod survey;
mod tokens;
mod varint;
mod watermark;
mod writer;

pub use backup::{BackupError, MANIFEST_FILE, Manifest, Restored, back_up, read_manifest, restore};
pub use block::{
    AccountDelta, Block, BlockBuilder, BlockHeader, DedupeHash, EncodedBlock, Encoder, Event, EventId, MonitorRow,
    NewEvent, PAYLOAD_BYTES_MAX, Part, ReceivedRun, ResumeToken, SourceIndex, SourceSlot, TimeRange,
};
pub use check::{CheckReport, SegmentReport, check};
pub use error::JournalError;
pub use event_filter::EventFilter;
pub use event_object::EventObject;
pub use filter::BlockFilter;
pub use hashes::RecentHashes;
pub use hole::Hole;
pub use identity::{
    ALERTS_MONITOR, AUDIT_MONITOR, CANARY_MONITOR, CONSUMERS_MONITOR, COVERAGE_MONITOR, ENRICHMENTS_MONITOR,
    FETCHED_MONITOR, GAPS_MONITOR, JOURNAL_MONITOR, METRICS_MONITOR, MonitorIdentity, NOTIFICATIONS_MONITOR,
    OPERATIONS_MONITOR, OWN_DOMAIN, OWN_MONITORS, PATHS_MONITOR, POLLING_MONITOR, Path, QUARANTINE_MONITOR,
    RETRIES_MONITOR, SETTINGS_MONITOR, SHADOW_DOMAINS, SINKS_MONITOR, STATE_MONITOR, TAKE_OVERS_MONITOR,
    THRESHOLDS_MONITOR,
};
pub use inspect::Flaw;
pub use intake::Pace;
pub use lock::{LockFailure, LockGuard, holder_of, inherit_folder, is_locked, lock_folder};
pub use offset::{Ancestor, JournalId, Offset};
pub use payload_text::{payload_of_text, payload_text};
pub use progress::{Awaited, Mark, ProgressBook, Tracked};
pub use reader::{JournalReader, Passage};
pub use repair::{RepairReport, repair};
pub(crate) use room::RESERVE_BYTES;
pub use stat::{DomainStat, JournalStat, MonitorStat};
pub use state::{
    CommitReport, DropRecord, DroppedSpan, HeldBack, Hold, JournalState, Notice, Observer, RetentionStatus, Snapshot,
};
pub use summary::{CutTail, KnownDurable, RecoverySummary, Rewritten};
pub use tokens::{DurableToken, ResumeBook, TopicToken};

use state::Shared;
use storage::{DiskStorage, Storage};
use writer::Writer;

/// Where the journal is in a data folder.
pub fn folder(data_dir: &FilePath) -> PathBuf {
    data_dir.join("journal")
}

/// What a journal is opened with.
pub struct JournalOptions {
    /// `[journal]`
    pub settings: JournalSettings,
    /// Told what the writer does, on the writer's thread.
    pub observer: Observer,
    /// Others that remember how far the journal was durable. One that is ahead of it, or of another journal, stops the
    /// opening.
    pub known_durable: Vec<KnownDurable>,
    /// Asked for what every new segment begins with, so that what is live outlives the segments that told how it came about.
    /// No segment is begun for it alone.
    pub snapshot: Option<Snapshot>,
    /// Asked for a record of what `drop_oldest` has deleted.
    pub drop_record: Option<DropRecord>,
    /// Retention waits for [`Journal::begin_retention`], so that readers that need old segments can say so first.
    pub retention_waits: bool,
}

impl JournalOptions {
    /// With these settings, nobody listening, and segments that begin with what is submitted.
    pub fn new(settings: JournalSettings) -> Self {
        Self {
            settings,
            observer: Box::new(|_| {}),
            known_durable: Vec::new(),
            snapshot: None,
            drop_record: None,
            retention_waits: false,
        }
    }
}

impl std::fmt::Debug for JournalOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JournalOptions").field("settings", &self.settings).finish_non_exhaustive()
    }
}

type WriterThread = JoinHandle<Result<(), Arc<JournalError>>>;

/// The journal, open for writing. Dropping it closes it, but says nothing of how that went; see [`Journal::close`].
#[derive(Debug)]
pub struct Journal {
    id: JournalId,
    ancestors: Arc<[Ancestor]>,
    shared: Arc<Shared>,
    storage: Arc<dyn Storage>,
    thread: Mutex<Option<WriterThread>>,
    held_at_start: Mutex<Option<Hold>>,
    /// Released last.
    lock: LockGuard,
}

/// A journal's folder that is locked for this process, and not opened yet: what others remember of the journal can be
/// asked for meanwhile, by its identity.
#[derive(Debug)]
pub struct LockedJournal {
    storage: Arc<dyn Storage>,
    lock: LockGuard,
}

impl LockedJournal {
    /// Locks the folder `dir` (see [`folder`]); makes it if there is none.
    ///
    /// # Errors
    /// [`JournalError::Locked`], or what the system refused.
    pub fn take(dir: &FilePath) -> Result<Self, JournalError> {
        Self::take_on(Arc::new(DiskStorage::create(dir)?))
    }

    /// As [`LockedJournal::take`], with the lock that another process has handed over.
    ///
    /// # Errors
    /// As there; also where it is not the lock of this folder.
    pub fn inherit(dir: &FilePath, lock: File) -> Result<Self, JournalError> {
        let storage = Arc::new(DiskStorage::create(dir)?);
        Ok(Self { storage, lock: lock::inherit(dir, lock)? })
    }

    /// As [`LockedJournal::take`], on any storage.
    ///
    /// # Errors
    /// As there.
    pub fn take_on(storage: Arc<dyn Storage>) -> Result<Self, JournalError> {
        let lock = storage.lock()?;
        Ok(Self { storage, lock })
    }

    /// Whose offsets these are; none where no journal was begun yet, or nothing of it can be read.
    ///
    /// # Errors
    /// What the system refused.
    pub fn id(&self) -> Result<Option<JournalId>, JournalError> {
        identity_on(self.storage.as_ref())
    }

    /// Brings the journal's end into order and starts its writer. Blocking, as [`Journal::open`].
    ///
    /// # Errors
    /// As there.
    pub fn open(self, options: JournalOptions) -> Result<(Journal, RecoverySummary), JournalError> {
        let Self { storage, lock } = self;
        let ancestors = ancestors::read(storage.as_ref())?.into();
        let recovered = recovery::recover(storage.as_ref(), &options.known_durable)?;
        let summary = recovered.summary.clone();
        let shared = Arc::new(Shared::new(recovered.watermark));
        let id = recovered.journal;
        // Before the writer runs, which begins with retention.
        let held_at_start = Mutex::new(options.retention_waits.then(|| shared.hold("start", Offset::ZERO)));
        let writer = Writer::new(Arc::clone(&storage), Arc::clone(&shared), options, recovered);
        let thread = std::thread::Builder::new()
            .name("journal-writer".into())
            .spawn(move || writer.run())
            .map_err(|source| JournalError::Io { action: "start the writer of", path: storage.path(""), source })?;
        Ok((Journal { id, ancestors, shared, storage, thread: Mutex::new(Some(thread)), held_at_start, lock }, summary))
    }
}

/// The identity of the journal in the folder `dir`; none where there is none. Needs no lock.
///
/// # Errors
/// What the system refused.
pub fn identity(dir: &FilePath) -> Result<Option<JournalId>, JournalError> {
    if dir.is_dir() { identity_on(&DiskStorage::new(dir)) } else { Ok(None) }
}

fn identity_on(storage: &dyn Storage) -> Result<Option<JournalId>, JournalError> {
    let names = segment::list_segments(storage)?;
    // The newest may be without a header after a crash; what is damaged further back is not found out here.
    for &name in names.iter().rev().take(2) {
        match segment::OpenSegment::open(storage, name) {
            Ok(segment) => return Ok(Some(segment.header.journal)),
            Err(JournalError::Damaged { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(watermark::read(storage)?.map(|(journal, _)| journal))
}

impl Journal {
    /// Opens the journal in the folder `dir` (see [`folder`]), or begins one there: takes its lock, brings its end into order,
    /// starts the writer thread. Blocking, and no longer for a large journal than for a small one.
    ///
    /// # Errors
    /// [`JournalError::Locked`]; [`JournalError::Damaged`] and its kin, when what was durable is not there, in which case
    /// nothing was changed; or what the system refused.
    pub fn open(dir: &FilePath, options: JournalOptions) -> Result<(Self, RecoverySummary), JournalError> {
        Self::open_on(Arc::new(DiskStorage::create(dir)?), options)
    }

    /// As [`Journal::open`], on any storage.
    ///
    /// # Errors
    /// As there.
    pub fn open_on(
        storage: Arc<dyn Storage>,
        options: JournalOptions,
    ) -> Result<(Self, RecoverySummary), JournalError> {
        LockedJournal::take_on(storage)?.open(options)
    }

    /// Whose offsets these are.
    pub fn id(&self) -> JournalId {
        self.id
    }

    /// Its lock, to be handed to another process once this one has closed it. None where no other process can reach it.
    ///
    /// # Errors
    /// What the system refused.
    pub fn lock_file(&self) -> std::io::Result<Option<File>> {
        self.lock.another()
    }

    /// Journals that this one was restored from, whose cursors are good here up to their ends.
    pub fn ancestors(&self) -> Arc<[Ancestor]> {
        Arc::clone(&self.ancestors)
    }

    /// Gives a block to the writer. It comes back when there is no room, or the journal is closed or has failed: wait for
    /// [`Journal::room`], then look at [`Journal::state`].
    ///
    /// # Errors
    /// The block.
    pub fn try_submit(&self, block: EncodedBlock) -> Result<(), EncodedBlock> {
        self.shared.intake.try_submit(block)
    }

    /// As [`Journal::try_submit`], for the daemon's own events: a queue of their own, and on a full disk the reserve.
    ///
    /// # Errors
    /// The block.
    pub fn try_submit_own(&self, block: EncodedBlock) -> Result<(), EncodedBlock> {
        self.shared.intake.try_submit_own(block)
    }

    /// Waits until a block of so many bytes ([`EncodedBlock::bytes`]) may be taken, or until none ever will be again. Cancel
    /// safe.
    pub async fn room(&self, bytes: usize) {
        self.shared.intake.room(bytes).await;
    }

    /// The most bytes that wait for the writer.
    pub const QUEUE_BYTES_MAX: usize = intake::QUEUE_BYTES_MAX;

    /// Bytes and blocks that wait for the writer.
    pub fn queued(&self) -> (usize, usize) {
        self.shared.intake.queued()
    }

    /// The offset after the last durable event.
    pub fn durable(&self) -> Offset {
        *self.shared.durable.borrow()
    }

    /// The durable offset, and every change of it.
    pub fn watch_durable(&self) -> watch::Receiver<Offset> {
        self.shared.durable.subscribe()
    }

    /// What the writer answers whenever it comes for more; [`Journal::wake`] has it come.
    pub(crate) fn pulse(&self) -> Arc<Pulse> {
        Arc::clone(&self.shared.intake.pulse)
    }

    /// Has the writer look up, where it waits for something to come.
    pub(crate) fn wake(&self) {
        self.shared.intake.wake();
    }

    /// How quickly the writer takes what it is given. Cheap: a few loads and a look at the clock.
    pub fn pace(&self) -> Pace {
        self.shared.intake.pace()
    }

    /// Whether the journal takes more.
    pub fn state(&self) -> JournalState {
        self.shared.state.borrow().clone()
    }

    /// The state, and every change of it.
    pub fn watch_state(&self) -> watch::Receiver<JournalState> {
        self.shared.state.subscribe()
    }

    /// Waits until a write or a sync fails, and says how. Never returns as long as all goes well. Cancel safe.
    pub async fn failed(&self) -> Arc<JournalError> {
        let mut state = self.shared.state.subscribe();
        loop {
            if let JournalState::Failed(error) = &*state.borrow_and_update() {
                return Arc::clone(error);
            }
            // The sender lives as long as we do.
            if state.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Keeps retention from deleting events from `from` on, as long as the answer lives. `who` is how to call the reader:
    /// `sink warehouse`.
    pub fn hold(&self, who: &str, from: Offset) -> Hold {
        self.shared.hold(who, from)
    }

    /// Where upstreams can be taken up again, as far as is durable. Empty at the opening: what older blocks have is noted by
    /// whoever opens the journal, see [`JournalReader::tokens_backwards`].
    pub fn resume_book(&self) -> &ResumeBook {
        &self.shared.resume
    }

    /// Lets retention begin, where [`JournalOptions::retention_waits`]: whoever needs old segments holds them by now.
    pub fn begin_retention(&self) {
        self.held_at_start.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// What retention did and does, as of its last look.
    pub fn retention(&self) -> RetentionStatus {
        self.shared.retention().clone()
    }

    /// A reader in this process. It knows what is durable without asking the disk; wait for more by
    /// [`Journal::watch_durable`].
    pub fn reader(&self) -> JournalReader {
        JournalReader::following(Arc::clone(&self.storage), self.id, self.shared.watermark.subscribe())
    }

    /// Dedupe hashes of events received within `ttl` before the journal's last event, oldest first. Reads headers and
    /// hashes only. Meant for the start, before anything is submitted.
    ///
    /// # Errors
    /// When the files cannot be read.
    pub fn recent_hashes(&self, ttl: Duration) -> Result<RecentHashes, JournalError> {
        RecentHashes::find(Arc::clone(&self.storage), ttl)
    }

    /// Writes and syncs what was submitted, seals the segment, ends the thread. Blocking. A second call does nothing.
    ///
    /// # Errors
    /// When the journal had failed before, or does now; or there was no room for what waited.
    pub fn close(&self) -> Result<Offset, Arc<JournalError>> {
        self.shared.intake.close();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            match thread.join() {
                Ok(result) => result?,
                Err(_panic) => return Err(Arc::new(JournalError::WriterDied { dir: self.storage.path("") })),
            }
        }
        Ok(self.durable())
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        if let Err(error) = self.close() {
            tracing::error!(%error, "the journal was not closed cleanly");
        }
    }
}
