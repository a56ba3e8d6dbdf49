//! Reads the journal ahead of a store: so much that the store never waits for it, and no more than is allowed.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::batch::{Batch, BatchBuilder, BatchLimits};
use super::interest::Interest;
use crate::clock::UnixNanos;
use crate::journal::{Block, Hole, Journal, JournalError, JournalReader, Offset, Passage};

/// A reading job ends after so many blocks, wanted or not, so that it can be told to stop. Source: a guess, some milliseconds.
const JOB_BLOCKS_MAX: usize = 256;

/// How soon to look again where events are said to be durable and are not found. It should not happen.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// The events that a sink will take next, read from the journal by jobs on threads that may block.
pub(super) struct ReadAhead {
    interest: Arc<Interest>,
    durable: watch::Receiver<Offset>,
    /// None while a job has it.
    reader: Option<JournalReader>,
    job: Option<JoinHandle<(JournalReader, Chunk)>>,
    queue: VecDeque<Piece>,
    /// Memory of `queue`.
    bytes: usize,
    bytes_max: usize,
    /// Everything before this was read.
    reached: Offset,
    /// What was passed over because no file has it any longer, and was not asked for yet.
    holes: Vec<Hole>,
    /// The last job found nothing, although there should have been something.
    look_again_at: Option<Instant>,
}

/// What was read, in the order of the journal.
enum Piece {
    Block(Waiting),
    /// Nothing up to here is wanted.
    Passed(Offset),
}

struct Waiting {
    block: Arc<Block>,
    bytes: usize,
    /// Wanted events in it that were not taken yet.
    rows: usize,
    /// When it was read.
    since: Instant,
    received: UnixNanos,
}

/// What a job brings.
struct Chunk {
    pieces: Vec<Piece>,
    holes: Vec<Hole>,
    error: Option<JournalError>,
}

impl ReadAhead {
    /// Reads from `from` on.
    pub(super) fn new(journal: &Journal, interest: Arc<Interest>, bytes_max: usize, from: Offset) -> Self {
        let mut reader = journal.reader();
        reader.seek(from);
        Self {
            interest,
            durable: journal.watch_durable(),
            reader: Some(reader),
            job: None,
            queue: VecDeque::new(),
            bytes: 0,
            bytes_max,
            reached: from,
            holes: Vec::new(),
            look_again_at: None,
        }
    }

    /// Everything before this was read.
    pub(super) fn reached(&self) -> Offset {
        self.reached
    }

    /// How many wanted events wait.
    pub(super) fn rows(&self) -> usize {
        self.waiting().map(|waiting| waiting.rows).sum()
    }

    /// Since when the first one does.
    pub(super) fn waiting_since(&self) -> Option<Instant> {
        self.waiting().next().map(|waiting| waiting.since)
    }

    /// When it was received.
    pub(super) fn oldest_received(&self) -> Option<UnixNanos> {
        self.waiting().next().map(|waiting| waiting.received)
    }

    fn waiting(&self) -> impl Iterator<Item = &Waiting> {
        self.queue.iter().filter_map(|piece| match piece {
            Piece::Block(waiting) => Some(waiting),
            Piece::Passed(_) => None,
        })
    }

    /// Whether as much waits as may.
    pub(super) fn is_full(&self) -> bool {
        self.bytes >= self.bytes_max
    }

    /// The memory of what waits.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// In how many blocks it waits.
    #[cfg(test)]
    pub(super) fn blocks(&self) -> usize {
        self.waiting().count()
    }

    /// The next events behind `from`, at most so many; the batch also speaks of what is not wanted around them.
    pub(super) fn take(&mut self, from: Offset, limits: BatchLimits) -> Batch {
        let mut batch = BatchBuilder::new(from);
        while let Some(piece) = self.queue.front_mut() {
            match piece {
                Piece::Passed(to) => batch.reach(*to),
                Piece::Block(waiting) => {
                    let before = batch.len();
                    let whole = batch.fill(&waiting.block, |event| self.interest.wants(event), limits);
                    if !whole {
                        waiting.rows -= batch.len() - before;
                        break;
                    }
                    self.bytes -= waiting.bytes;
                }
            }
            self.queue.pop_front();
        }
        batch.finish()
    }

    /// Waits until something more was read. Never returns while as much waits as may. Cancel safe.
    ///
    /// # Errors
    /// As reading the journal; what is read next begins at the same place.
    pub(super) async fn more(&mut self) -> Result<(), JournalError> {
        loop {
            if let Some(job) = &mut self.job {
                let ended = job.await;
                self.job = None;
                let (reader, chunk) = match ended {
                    Ok(read) => read,
                    Err(error) => match error.try_into_panic() {
                        Ok(panic) => std::panic::resume_unwind(panic),
                        // The runtime is shutting down: nobody waits for us any longer.
                        Err(_) => std::future::pending().await,
                    },
                };
                self.reader = Some(reader);
                return self.absorb(chunk);
            }
            if self.is_full() {
                std::future::pending::<()>().await;
            }
            if let Some(at) = self.look_again_at {
                tokio::time::sleep_until(at).await;
                self.look_again_at = None;
            }
            if *self.durable.borrow_and_update() <= self.reached {
                // The sender lives as long as the journal, which whoever calls us has.
                if self.durable.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
                continue;
            }
            self.start();
        }
    }

    /// Jobs are short, so that a store that waits gets its first events soon, and that the next job runs while it writes.
    fn start(&mut self) {
        let Some(mut reader) = self.reader.take() else { unreachable!("a reader is here or with the job") };
        let interest = Arc::clone(&self.interest);
        let room = (self.bytes_max - self.bytes).min(self.bytes_max / 4).max(1);
        self.job = Some(tokio::task::spawn_blocking(move || {
            let chunk = read(&mut reader, &interest, room);
            (reader, chunk)
        }));
    }

    fn absorb(&mut self, chunk: Chunk) -> Result<(), JournalError> {
        if chunk.pieces.is_empty() && chunk.error.is_none() {
            self.look_again_at = Some(Instant::now() + LOOK_AGAIN);
        }
        self.holes.extend(chunk.holes);
        for piece in chunk.pieces {
            match &piece {
                Piece::Passed(to) => {
                    self.reached = *to;
                    // One is enough for a run of them.
                    if let Some(Piece::Passed(before)) = self.queue.back_mut() {
                        *before = *to;
                        continue;
                    }
                }
                Piece::Block(waiting) => {
                    self.reached = waiting.block.header().end();
                    self.bytes += waiting.bytes;
                }
            }
            self.queue.push_back(piece);
        }
        chunk.error.map_or(Ok(()), Err)
    }

    /// Holes that were passed over, oldest first. Whoever has told of one takes it out.
    pub(super) fn holes(&mut self) -> &mut Vec<Hole> {
        &mut self.holes
    }

    /// Events before `to` are not there any longer; what was read before is kept.
    pub(super) fn skip_to(&mut self, to: Offset) {
        if let Some(reader) = &mut self.reader {
            reader.seek(to);
        }
        self.reached = to;
        self.queue.push_back(Piece::Passed(to));
    }
}

fn read(reader: &mut JournalReader, interest: &Interest, room: usize) -> Chunk {
    let mut chunk = Chunk { pieces: Vec::new(), holes: Vec::new(), error: None };
    let mut bytes = 0;
    for _ in 0..JOB_BLOCKS_MAX {
        match reader.next_passage(|header| interest.may_want(header)) {
            Ok(Some(Passage::Passed(to))) => match chunk.pieces.last_mut() {
                Some(Piece::Passed(before)) => *before = to,
                _ => chunk.pieces.push(Piece::Passed(to)),
            },
            Ok(Some(Passage::Block(block))) => {
                let (mut rows, mut received) = (0, UnixNanos::default());
                for event in block.events().filter(|event| interest.wants(event)) {
                    if rows == 0 {
                        received = event.received;
                    }
                    rows += 1;
                }
                if rows == 0 {
                    chunk.pieces.push(Piece::Passed(block.header().end()));
                    continue;
                }
                let memory = block.bytes();
                bytes += memory;
                chunk.pieces.push(Piece::Block(Waiting {
                    block: Arc::new(block),
                    bytes: memory,
                    rows,
                    since: Instant::now(),
                    received,
                }));
                if bytes >= room {
                    break;
                }
            }
            Ok(None) => break,
            Err(error) => {
                chunk.error = Some(error);
                break;
            }
        }
    }
    chunk.holes = reader.take_holes();
    chunk
}
