//! What the writer tells everybody: how far is durable, whether more is taken, and what happened.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use super::block::{EncodedBlock, ReceivedRun};
use super::error::JournalError;
use super::intake::Intake;
use super::offset::Offset;
use super::tokens::ResumeBook;
use super::watermark::Watermark;
use crate::clock::UnixNanos;

/// Whether the journal takes more.
#[derive(Debug, Clone)]
pub enum JournalState {
    /// It does.
    Writable,
    /// The disk is full: taking goes on by itself when there is room.
    Full {
        /// Bytes that are free.
        free: u64,
        /// Bytes that must be.
        needed: u64,
    },
    /// A write or a sync failed: nothing more is promised. The process must end and recover from disk.
    Failed(Arc<JournalError>),
    /// It was closed.
    Closed,
}

/// A group of blocks became durable.
#[derive(Debug, Clone, Copy)]
pub struct CommitReport<'a> {
    /// Events.
    pub events: u64,
    /// Blocks.
    pub blocks: u64,
    /// Bytes written.
    pub bytes: u64,
    /// Bytes of payload in them, before compression.
    pub payload_bytes: u64,
    /// How long the writing took.
    pub write: Duration,
    /// How long the sync took.
    pub sync: Duration,
    /// The offset after the last of them.
    pub durable: Offset,
    /// When the sync had returned: an event's time from socket to durable is this less its stamp.
    pub at: UnixNanos,
    /// When the events that links brought had been read from the socket.
    pub received: &'a [ReceivedRun],
}

/// What the writer has to say. It is said on the writer's thread: listen briefly.
#[derive(Debug)]
pub enum Notice<'a> {
    /// Events became durable.
    Committed(CommitReport<'a>),
    /// The disk is full.
    Full {
        /// Bytes that are free.
        free: u64,
        /// Bytes that must be.
        needed: u64,
    },
    /// There is room again.
    Room,
    /// A segment was sealed.
    Sealed {
        /// The file.
        segment: PathBuf,
        /// Its length.
        bytes: u64,
    },
    /// Retention deleted a segment.
    Retired {
        /// Its first event.
        from: Offset,
        /// The offset after its last.
        to: Offset,
        /// Its length.
        bytes: u64,
    },
    /// A full disk makes `drop_oldest` delete a segment: said before it is done.
    Dropping(&'a DroppedSpan),
    /// A full disk made `drop_oldest` delete a segment. Whoever had not read so far has lost these events.
    Dropped {
        /// Its first event.
        from: Offset,
        /// The offset after its last.
        to: Offset,
        /// Its length.
        bytes: u64,
    },
    /// Retention has looked at all segments.
    Retention(&'a RetentionStatus),
    /// A segment should have been deleted and could not be; it is tried again later.
    RetentionFailed(&'a JournalError),
    /// Nothing more will be written.
    Failed(&'a JournalError),
}

/// Tells what is live, as a block of the daemon's own events; none when there is nothing to tell. Asked on the writer's
/// thread while others wait for it: answer quickly, and wait for nobody who may wait for the journal.
pub type Snapshot = Box<dyn FnMut() -> Option<EncodedBlock> + Send>;

/// Events that a full disk makes `drop_oldest` delete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DroppedSpan {
    /// The first of them.
    pub from: Offset,
    /// The offset after the last.
    pub to: Offset,
    /// Who held some of them back, and from which on: by name, as in [`super::Journal::hold`].
    pub holders: Vec<(Arc<str>, Offset)>,
}

impl DroppedSpan {
    /// This span and one that follows it.
    #[must_use]
    pub(crate) fn join(mut self, next: Self) -> Self {
        self.to = next.to;
        for (who, from) in next.holders {
            // Of each the earliest: from there on it loses something.
            if !self.holders.iter().any(|(known, _)| *known == who) {
                self.holders.push((who, from));
            }
        }
        self
    }
}

/// Makes a record of what `drop_oldest` deleted, as a block of the daemon's own events. Asked on the writer's thread, as
/// [`Snapshot`]; the writer appends it itself, ahead of what waits.
pub type DropRecord = Box<dyn FnMut(&DroppedSpan) -> Option<EncodedBlock> + Send>;

/// What retention did and does.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RetentionStatus {
    /// When it last looked; none before the first time.
    pub last_run: Option<UnixNanos>,
    /// Segments that it deleted since the start, `drop_oldest` included.
    pub deleted_segments: u64,
    /// Bytes of them.
    pub deleted_bytes: u64,
    /// What keeps it from deleting more.
    pub held: Option<HeldBack>,
}

/// Somebody needs what would be deleted by age or size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldBack {
    /// Who, as in [`super::Journal::hold`]: the one furthest behind.
    pub who: Arc<str>,
    /// From which event on.
    pub from: Offset,
    /// Segments kept beyond the limits for it.
    pub segments: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Whether they make the journal larger than `max_size`.
    pub above_max_size: bool,
}

/// Who listens to the writer.
pub type Observer = Box<dyn Fn(&Notice<'_>) + Send>;

/// What the writer thread and everybody else share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) intake: Intake,
    pub(crate) durable: watch::Sender<Offset>,
    pub(crate) watermark: watch::Sender<Watermark>,
    pub(crate) state: watch::Sender<JournalState>,
    pub(crate) resume: ResumeBook,
    holds: Mutex<Holds>,
    retention: Mutex<RetentionStatus>,
}

#[derive(Debug, Default)]
struct Holds {
    next: u64,
    held: BTreeMap<u64, (Arc<str>, Offset)>,
}

impl Shared {
    pub(crate) fn new(watermark: Watermark) -> Self {
        Self {
            intake: Intake::new(),
            durable: watch::Sender::new(watermark.offset),
            watermark: watch::Sender::new(watermark),
            state: watch::Sender::new(JournalState::Writable),
            resume: ResumeBook::default(),
            holds: Mutex::default(),
            retention: Mutex::default(),
        }
    }

    pub(crate) fn publish(&self, watermark: Watermark) {
        self.watermark.send_replace(watermark);
        if *self.durable.borrow() != watermark.offset {
            self.durable.send_replace(watermark.offset);
        }
    }

    fn holds(&self) -> MutexGuard<'_, Holds> {
        self.holds.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Retention keeps what is at or after this, for this one.
    pub(crate) fn held_from(&self) -> Option<(Arc<str>, Offset)> {
        self.holds().held.values().min_by_key(|(_, from)| *from).cloned()
    }

    /// Who holds something before `to`.
    pub(crate) fn holders_before(&self, to: Offset) -> Vec<(Arc<str>, Offset)> {
        self.holds().held.values().filter(|(_, from)| *from < to).cloned().collect()
    }

    pub(crate) fn retention(&self) -> MutexGuard<'_, RetentionStatus> {
        self.retention.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn hold(self: &Arc<Self>, who: &str, from: Offset) -> Hold {
        let mut holds = self.holds();
        let number = holds.next;
        holds.next += 1;
        holds.held.insert(number, (who.into(), from));
        drop(holds);
        Hold { shared: Arc::clone(self), number }
    }
}

/// Keeps retention from deleting what a sink or a running replay has not read yet; `drop_oldest` on a full disk goes
/// before it. Ends when dropped.
#[derive(Debug)]
pub struct Hold {
    shared: Arc<Shared>,
    number: u64,
}

impl Hold {
    /// What is before `from` is no longer needed.
    pub fn advance(&self, from: Offset) {
        if let Some(held) = self.shared.holds().held.get_mut(&self.number) {
            held.1 = from;
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.shared.holds().held.remove(&self.number);
    }
}
