//! Frames out of quarantine that were parsed again: what the journal says of it, and which events came of it.
//!
//! A record stands in the same block as the events that it is about, directly behind them: so neither is ever durable without
//! the other, and the format needs no mark of its own.

use serde::{Deserialize, Serialize};

use crate::journal::{Block, OWN_DOMAIN, Offset, RETRIES_MONITOR};

/// The topic of these records in the journal, under the domain `_sluice`.
pub const RETRY_TOPIC: &str = "retry";

/// That a quarantined frame was parsed again and need not be once more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetryRecord {
    /// The offset of the quarantined frame.
    pub retried: u64,
    /// As in the frame's record.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub monitor: Option<String>,
    /// As in the frame's record.
    pub upstream: String,
    /// Events that came of it.
    pub events: u32,
    /// Messages in it that were repeats.
    pub repeats: u32,
    /// Messages in it that are no events by today's rules.
    pub control: u32,
    /// Parts of it that still could not be read; they are quarantined anew, each by itself.
    pub quarantined: u32,
    /// So many events directly before this one, in its block, came of the frame.
    pub marks: u32,
}

impl RetryRecord {
    /// The journal's payload.
    pub fn to_payload(&self) -> Vec<u8> {
        // Strings and numbers only: serialization has nothing to refuse.
        serde_json::to_vec(self).unwrap_or_default()
    }
}

/// Which events of a block came out of quarantine.
#[derive(Debug, Default)]
pub struct RetryMarks {
    /// Events from one offset up to another, and the frame's offset; in order.
    spans: Vec<(std::ops::Range<Offset>, u64)>,
}

impl RetryMarks {
    /// Those of a block; nearly always none, which costs a look at its monitors.
    pub fn of(block: &Block) -> Self {
        if !block.has_monitor(RETRIES_MONITOR, OWN_DOMAIN) {
            return Self::default();
        }
        let records = Self::records(block);
        let span = |(at, record): (Offset, RetryRecord)| {
            let first = Offset(at.0.saturating_sub(record.marks.into())).max(block.header().base());
            (first..at, record.retried)
        };
        Self { spans: records.map(span).collect() }
    }

    /// The records of a block with their offsets. All of it, also where a reader began in its middle.
    pub fn records(block: &Block) -> impl Iterator<Item = (Offset, RetryRecord)> {
        (0..block.header().events() as usize).filter_map(|number| {
            let event = block.event(number);
            let is_one = event.domain == OWN_DOMAIN && event.monitor == RETRIES_MONITOR;
            is_one.then(|| Some((event.offset, serde_json::from_slice(event.payload).ok()?)))?
        })
    }

    /// The quarantined frame that an event came of, if it did.
    pub fn retried_from(&self, offset: Offset) -> Option<u64> {
        self.spans.iter().find(|(span, _)| span.contains(&offset)).map(|(_, frame)| *frame)
    }

    /// Events that came of a frame.
    pub fn events_of(&self, frame: u64) -> Option<std::ops::Range<Offset>> {
        self.spans.iter().find(|(_, of)| *of == frame).map(|(span, _)| span.clone())
    }
}
