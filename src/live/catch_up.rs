//! What a client has missed, read from the journal at its own pace.
//!
//! Clients come back all at once when a daemon was away. So few read at a time, and blocks that were read lately are kept, with what was
//! encoded of them, for those who come to the same place.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use tokio::sync::Semaphore;

use super::hub::Hub;
use super::message::LiveMessage;
use super::wanted::Wanted;
use crate::journal::{Block, JournalError, JournalReader, Offset, Passage};
use crate::monitor::retry::RetryMarks;

/// How many read at once.
const READERS_MAX: usize = 4;

/// Blocks that are kept, and their bytes.
const BLOCKS_MAX: usize = 32;
const BYTES_MAX: usize = 32 << 20;

/// Blocks that are passed over in one turn, so that a client that wants little does not keep others from reading.
const PASSED_MAX: u32 = 1_000;

/// Why a client cannot be given what it missed.
#[derive(Debug, thiserror::Error)]
pub enum CatchUpError {
    /// It is no longer kept.
    #[error("event {asked} is no longer in the journal, which begins at {earliest}; go on from there")]
    Gone {
        /// What was asked for.
        asked: Offset,
        /// The first event that is kept.
        earliest: Offset,
    },
    /// The journal cannot be read.
    #[error("the journal cannot be read: {0}")]
    Journal(JournalError),
}

impl From<JournalError> for CatchUpError {
    fn from(error: JournalError) -> Self {
        match error {
            JournalError::OffsetGone { asked, earliest } => Self::Gone { asked, earliest },
            other => Self::Journal(other),
        }
    }
}

/// A stretch of what was missed.
#[derive(Debug)]
pub struct Stretch {
    /// Events that are wanted, in order.
    pub messages: Vec<Arc<LiveMessage>>,
    /// What comes next.
    pub next: Offset,
    /// Whether this was all that is durable.
    pub ended: bool,
}

/// Reads for all clients.
pub struct CatchUp {
    hub: Arc<Hub>,
    turns: Semaphore,
    /// Readers that rest.
    readers: Mutex<Vec<JournalReader>>,
    kept: Mutex<VecDeque<Arc<ReadBlock>>>,
}

/// A block that was read.
struct ReadBlock {
    block: Block,
    marks: RetryMarks,
    messages: Vec<OnceLock<Arc<LiveMessage>>>,
    bytes: usize,
}

impl CatchUp {
    /// Of the hub's journal.
    pub fn new(hub: Arc<Hub>) -> Self {
        Self { hub, turns: Semaphore::new(READERS_MAX), readers: Mutex::default(), kept: Mutex::default() }
    }

    /// Events that are wanted, from `from` up to `until`, so many bytes or one event at most. Waits for its turn. May end before `until`
    /// with nothing found: ask again from `next`. Cancelling loses nothing.
    ///
    /// # Errors
    /// When they are no longer kept, or cannot be read.
    pub async fn read(
        self: &Arc<Self>,
        wanted: &Arc<Wanted>,
        from: Offset,
        until: Offset,
        bytes_max: usize,
    ) -> Result<Stretch, CatchUpError> {
        // The semaphore is never closed.
        let turn = self.turns.acquire().await;
        let (reading, wanted) = (Arc::clone(self), Arc::clone(wanted));
        let read = tokio::task::spawn_blocking(move || reading.read_now(&wanted, from, until, bytes_max));
        let stretch = read.await.unwrap_or(Ok(Stretch { messages: Vec::new(), next: from, ended: false }));
        drop(turn);
        stretch
    }

    /// The first event that is kept. Blocking.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn earliest(&self) -> Result<Offset, CatchUpError> {
        Ok(self.hub.journal().reader().earliest()?)
    }

    fn read_now(
        &self,
        wanted: &Wanted,
        from: Offset,
        until: Offset,
        bytes_max: usize,
    ) -> Result<Stretch, CatchUpError> {
        let mut reader = lock(&self.readers).pop();
        let mut stretch = Stretch { messages: Vec::new(), next: from, ended: false };
        let (mut bytes, mut passed) = (0, 0);
        while stretch.next < until && passed < PASSED_MAX {
            let Some(read) = self.block_at(&mut reader, wanted, stretch.next, &mut passed)? else {
                stretch.ended = true;
                break;
            };
            let read = match read {
                Found::Block(read) => read,
                Found::Passed(to) => {
                    stretch.next = to;
                    continue;
                }
            };
            let header = read.block.header();
            for event in read.block.events().filter(|event| event.offset >= stretch.next && event.offset < until) {
                if !wanted.takes(&event) {
                    continue;
                }
                let at = usize::try_from(event.offset.0 - header.base().0).unwrap_or(usize::MAX);
                let Some(place) = read.messages.get(at) else { continue };
                let message = place.get_or_init(|| {
                    let priority = self.hub.priority(event.monitor, event.domain);
                    let retried = read.marks.retried_from(event.offset);
                    Arc::new(LiveMessage::new(&event, self.hub.source(), priority, retried))
                });
                if bytes > 0 && bytes + message.bytes() > bytes_max {
                    stretch.next = event.offset;
                    lock(&self.readers).extend(reader);
                    return Ok(stretch);
                }
                bytes += message.bytes();
                stretch.messages.push(Arc::clone(message));
            }
            stretch.next = header.end().min(until);
        }
        stretch.ended |= stretch.next >= until;
        let mut resting = lock(&self.readers);
        if resting.len() < READERS_MAX {
            resting.extend(reader);
        }
        Ok(stretch)
    }

    fn block_at(
        &self,
        reader: &mut Option<JournalReader>,
        wanted: &Wanted,
        offset: Offset,
        passed: &mut u32,
    ) -> Result<Option<Found>, CatchUpError> {
        let holds = |read: &Arc<ReadBlock>| {
            let header = read.block.header();
            header.base() <= offset && offset < header.end()
        };
        if let Some(kept) = lock(&self.kept).iter().find(|read| holds(read)) {
            return Ok(Some(Found::Block(Arc::clone(kept))));
        }
        let reader = reader.get_or_insert_with(|| self.hub.journal().reader());
        if reader.position() != offset {
            reader.seek(offset);
        }
        // A reader that failed stands where it stood, and is given back only by those that did not.
        *passed += 1;
        match reader.next_passage(|header| wanted.may_take(header))? {
            None => Ok(None),
            Some(Passage::Passed(to)) => Ok(Some(Found::Passed(to))),
            Some(Passage::Block(block)) => Ok(Some(Found::Block(self.keep(block)))),
        }
    }

    fn keep(&self, block: Block) -> Arc<ReadBlock> {
        // Others begin elsewhere in it.
        let block = block.starting_at(Offset::ZERO);
        let events = usize::try_from(block.header().events()).unwrap_or(usize::MAX);
        // As a text and as the block has it.
        let bytes = block.bytes() * 3;
        let messages = std::iter::repeat_with(OnceLock::new).take(events).collect();
        let read = Arc::new(ReadBlock { marks: RetryMarks::of(&block), block, messages, bytes });
        let mut kept = lock(&self.kept);
        kept.push_back(Arc::clone(&read));
        let mut sum: usize = kept.iter().map(|read| read.bytes).sum();
        while kept.len() > BLOCKS_MAX || (sum > BYTES_MAX && kept.len() > 1) {
            sum -= kept.pop_front().map_or(0, |read| read.bytes);
        }
        read
    }
}

enum Found {
    Block(Arc<ReadBlock>),
    Passed(Offset),
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
