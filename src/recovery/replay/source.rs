//! Reads the span of a replay, one batch ahead of the store: two batches are all that is ever in memory.

use std::sync::Arc;

use tokio::task::JoinHandle;

use super::plan::Plan;
use crate::journal::{Block, JournalError, JournalReader, Offset, Passage};
use crate::sink::{Batch, BatchBuilder, BatchLimits, Interest};

/// A job ends after so many blocks, wanted or not, so that there is progress to tell. Source: a guess, some milliseconds.
const JOB_BLOCKS_MAX: usize = 256;

/// What a job brings: a batch, which may have no events.
type Read = Result<Batch, JournalError>;

/// The batches of a span, in order.
pub(super) struct Source {
    /// None while a job has it.
    at: Option<Place>,
    job: Option<JoinHandle<(Place, Read)>>,
}

struct Place {
    plan: Arc<Plan>,
    interest: Arc<Interest>,
    limits: BatchLimits,
    reader: JournalReader,
    /// A block of which the rest was too much for the batch before.
    rest: Option<Arc<Block>>,
    next: Offset,
    /// Offsets that no event has any longer.
    holes: u64,
}

impl Source {
    pub(super) fn new(
        plan: Arc<Plan>,
        interest: Arc<Interest>,
        limits: BatchLimits,
        reader: JournalReader,
        from: Offset,
    ) -> Self {
        let mut source =
            Self { at: Some(Place { plan, interest, limits, reader, rest: None, next: from, holes: 0 }), job: None };
        source.seek(from);
        source
    }

    fn seek(&mut self, from: Offset) {
        if let Some(place) = &mut self.at {
            place.reader.seek(from);
            (place.rest, place.next) = (None, from);
        }
    }

    /// Goes to an offset; what was read ahead is forgotten.
    pub(super) async fn go_to(&mut self, from: Offset) {
        if let Some(job) = self.job.take() {
            self.at = Some(finished(job).await.0);
        }
        self.seek(from);
    }

    /// The next batch, which may have no events; none at the end of the span.
    pub(super) async fn next(&mut self) -> Result<Option<Batch>, JournalError> {
        self.read_ahead();
        let Some(job) = self.job.take() else { return Ok(None) };
        let (place, read) = finished(job).await;
        self.at = Some(place);
        self.read_ahead();
        read.map(Some)
    }

    /// Lost offsets that were passed over.
    pub(super) async fn holes(&mut self) -> u64 {
        if let Some(job) = self.job.take() {
            self.at = Some(finished(job).await.0);
        }
        self.at.as_ref().map_or(0, |place| place.holes)
    }

    fn read_ahead(&mut self) {
        if let Some(mut place) = self.at.take_if(|place| place.next.0 < place.plan.to) {
            self.job = Some(tokio::task::spawn_blocking(move || {
                let read = place.read();
                (place, read)
            }));
        }
    }
}

async fn finished<T>(job: JoinHandle<T>) -> T {
    match job.await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime is shutting down: nobody waits for us any longer.
            Err(_) => std::future::pending().await,
        },
    }
}

impl Place {
    fn read(&mut self) -> Read {
        let end = Offset(self.plan.to);
        let mut batch = BatchBuilder::new(self.next).ending_at(end);
        let wants = |plan: &Plan, interest: &Interest, event: &crate::journal::Event<'_>| {
            plan.names(event.monitor) && interest.wants(event)
        };
        for _ in 0..JOB_BLOCKS_MAX {
            if batch.to() >= end {
                break;
            }
            let block = match self.rest.take() {
                Some(block) => block,
                None => match self.reader.next_passage(|header| self.plan.may_want(&self.interest, header))? {
                    Some(Passage::Block(block)) => Arc::new(block),
                    Some(Passage::Passed(to)) => {
                        batch.reach(to);
                        continue;
                    }
                    // All of the span was durable when it was fixed: what is not there is a hole at its end.
                    None => {
                        batch.reach(end);
                        break;
                    }
                },
            };
            if !batch.fill(&block, |event| wants(&self.plan, &self.interest, event), self.limits) {
                self.rest = Some(block);
                break;
            }
        }
        self.holes += self.reader.take_holes().iter().map(|hole| hole.len()).sum::<u64>();
        self.next = batch.to();
        Ok(batch.finish())
    }
}
