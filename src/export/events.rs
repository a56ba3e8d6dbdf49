//! The daemon's own events, followed behind the journal: what an operator would want to see beside the curves.

use crate::clock::UnixNanos;
use crate::journal::{
    ALERTS_MONITOR, BlockFilter, CANARY_MONITOR, GAPS_MONITOR, JOURNAL_MONITOR, JournalReader, OWN_DOMAIN, Offset,
    PATHS_MONITOR, POLLING_MONITOR, SETTINGS_MONITOR, SINKS_MONITOR, TAKE_OVERS_MONITOR,
};

/// The most that is handed over at once, and that waits in memory; all else waits in the journal.
const TAKEN_MAX: usize = 256;

/// The journal is looked at for no longer than so many blocks a round.
const BLOCKS_MAX: usize = 10_000;

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct OwnEvent {
    pub(super) offset: u64,
    pub(super) monitor: String,
    pub(super) topic: String,
    pub(super) at: UnixNanos,
    /// JSON.
    pub(super) text: String,
}

impl OwnEvent {
    /// Whether somebody should look at it.
    pub(super) fn is_warning(&self) -> bool {
        [ALERTS_MONITOR, GAPS_MONITOR].contains(&self.monitor.as_str())
    }
}

/// Where the reading is.
pub(super) struct OwnEvents {
    reader: JournalReader,
    filter: BlockFilter,
    from: Offset,
    /// Read, and not yet handed over.
    taken: Vec<OwnEvent>,
}

impl OwnEvents {
    pub(super) fn new(mut reader: JournalReader, from: Offset) -> Self {
        reader.seek(from);
        let monitors = [
            ALERTS_MONITOR,
            CANARY_MONITOR,
            GAPS_MONITOR,
            JOURNAL_MONITOR,
            PATHS_MONITOR,
            POLLING_MONITOR,
            SETTINGS_MONITOR,
            SINKS_MONITOR,
            TAKE_OVERS_MONITOR,
        ];
        let filter = BlockFilter {
            monitors: monitors.map(str::to_owned).into(),
            domains: vec![OWN_DOMAIN.to_owned()],
            ..BlockFilter::all()
        };
        Self { reader, filter, from, taken: Vec::new() }
    }

    /// What is to be handed over next: what was not confirmed, else what the journal has. Reads files.
    pub(super) fn next(&mut self) -> &[OwnEvent] {
        if self.taken.is_empty() {
            self.read();
        }
        &self.taken
    }

    /// What [`Self::next`] gave was handed over, or is given up.
    pub(super) fn confirm(&mut self) -> u64 {
        std::mem::take(&mut self.taken).len() as u64
    }

    fn read(&mut self) {
        for _ in 0..BLOCKS_MAX {
            let block = match self.reader.next_block(&self.filter) {
                Ok(Some(block)) => block,
                Ok(None) => return,
                Err(error) => {
                    // Retention, or a repair; the next round looks again.
                    tracing::debug!("own events cannot be read for exports: {error}");
                    return;
                }
            };
            self.reader.take_holes();
            let events = block.events().filter(|event| event.offset >= self.from && self.filter.admits(event));
            self.taken.extend(events.map(|event| OwnEvent {
                offset: event.offset.0,
                monitor: event.monitor.to_owned(),
                topic: event.topic.to_owned(),
                at: event.event_time.unwrap_or(event.received),
                text: String::from_utf8_lossy(event.payload).into_owned(),
            }));
            self.from = block.header().end();
            // A block is the least that is read, so there may be more than the bound by one block of our own, which is small.
            if self.taken.len() >= TAKEN_MAX {
                return;
            }
        }
    }
}
