//! What a store must do. The runner does all else: reading, filtering, retrying, halving.

use std::ops::Range;
use std::sync::Arc;

use super::batch::Batch;
use crate::clock::UnixNanos;
use crate::journal::{Ancestor, JournalId, Offset};

/// A place that events are written to, with the cursor up to which it has them.
///
/// Futures are run to their end and not dropped in between, unless the process ends or `timeout` of the sink has passed; after
/// a drop, as after any error, the store is opened again before it is written to.
pub trait Store: Send {
    /// Connects, creates or checks what is needed, and tells the store's own cursor: the offset after the last event that it
    /// surely has, or none when it has never had any of this journal. Whatever an earlier, interrupted write left behind is
    /// settled here, so that the cursor and the rows agree.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] to try again, [`StoreError::Stop`] where a person must decide: it belongs to another journal
    /// that is no ancestor of this one, or its form is not ours.
    fn open(&mut self, opening: &Opening) -> impl Future<Output = Result<Option<Offset>, StoreError>> + Send;

    /// Takes `batch`, its parked rows included, and moves the cursor from `batch.from()` to `batch.to()`, in one atomic step.
    /// A batch may have no rows at all. When this returns `Ok`, all of it outlives a crash of the store.
    ///
    /// # Errors
    /// Nothing of the batch was taken, or it is not known: the store is opened again to find out.
    fn write(&mut self, batch: &Batch) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Ends well: finishes files, closes connections. Of a replay that came to its end: puts what was written in place and
    /// forgets the replay's cursor.
    ///
    /// # Errors
    /// As for [`Store::write`].
    fn close(&mut self, complete: bool) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// What it holds of this journal (and of its ancestors, as far as they are the same) in a span of offsets, in the order of
    /// offsets. For `verify`.
    ///
    /// # Errors
    /// As for [`Store::open`], or what `take` says.
    fn read_back(
        &mut self,
        opening: &Opening,
        span: Range<Offset>,
        take: &mut (dyn FnMut(StoredRow<'_>) + Send),
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Parked rows that it holds, at most so many, oldest first.
    ///
    /// # Errors
    /// As for [`Store::open`].
    fn parked(
        &mut self,
        opening: &Opening,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<super::Parked>, StoreError>> + Send;

    /// Files and bytes, where it knows them. Cheap.
    fn figures(&self) -> StoreFigures;
}

/// What a store is opened for.
#[derive(Debug, Clone)]
pub struct Opening {
    /// The sink's name.
    pub sink: Arc<str>,
    /// Whose offsets these are.
    pub journal: JournalId,
    /// Journals that this one was restored from; a cursor of theirs is taken over, up to their end.
    pub ancestors: Arc<[Ancestor]>,
    /// What for.
    pub purpose: Purpose,
    /// What the newest checkpoint remembers of a message broker's own sequence number after the last event.
    pub known_sequence: Option<u64>,
    /// The sink's cursor of the same moment, for when the broker has that sequence number but no longer the event.
    pub known_next: Option<Offset>,
    /// A person has decided to go on although what the store remembers cannot be reconciled with what is there: nothing that
    /// was known counts any more, and what is missing is created.
    pub anew: bool,
}

impl Opening {
    /// For following `journal`, with nothing known of it.
    pub fn live(sink: &str, journal: JournalId) -> Self {
        Self {
            sink: sink.into(),
            journal,
            ancestors: Arc::new([]),
            purpose: Purpose::Live,
            known_sequence: None,
            known_next: None,
            anew: false,
        }
    }
}

/// What a store is opened for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Purpose {
    /// Following the journal. One at a time.
    Live,
    /// Writing a span anew. The live cursor stays where it is; the replay's own is kept under `id`, so that it can be resumed.
    Replay {
        /// The same for the same replay.
        id: String,
        /// Where else it goes: for `nats` the name of an empty stream.
        to: Option<String>,
    },
    /// Reading back only: nothing is created or changed.
    Inspect,
}

/// Why a store did not do what it was asked to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// It is not there, too slow, or busy: it is tried again.
    #[error("{0}")]
    Unavailable(String),
    /// The cursor was not where we left it: somebody else was there. It is opened and read again.
    #[error("{0}")]
    Moved(String),
    /// It refuses rows, and will do so again.
    #[error("{reason}")]
    Refused {
        /// In its own words.
        reason: String,
        /// Which, if it says so.
        offset: Option<Offset>,
    },
    /// A person must decide; says what and how.
    #[error("{0}")]
    Stop(String),
}

/// What a store knows of its size.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StoreFigures {
    /// Files that hold events.
    pub files: Option<u64>,
    /// Bytes of them.
    pub bytes: Option<u64>,
    /// A message broker's own sequence number of the last event. It goes with the cursor of the same moment: take both between
    /// two calls of [`Store::write`].
    pub sequence: Option<u64>,
}

/// An event as a store gives it back.
#[derive(Debug, Clone, Copy)]
pub struct StoredRow<'a> {
    /// Its offset.
    pub offset: Offset,
    /// The monitor.
    pub monitor: &'a str,
    /// When it was read from the socket, at least to the microsecond.
    pub received: UnixNanos,
    /// Its payload.
    pub payload: StoredPayload<'a>,
}

/// A payload as a store gives it back.
#[derive(Debug, Clone, Copy)]
pub enum StoredPayload<'a> {
    /// To the byte.
    Raw(&'a [u8]),
    /// The same JSON value, written anew: compared as values.
    Json(&'a [u8]),
}
