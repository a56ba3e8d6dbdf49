//! What processes said of themselves, as it is read back: the records `state` and `metrics`. Fields of other releases are passed over,
//! and those that an older one lacks are unknown.

use serde::Deserialize;

use crate::clock::UnixNanos;
use crate::journal::{BlockFilter, JournalError, JournalReader, METRICS_MONITOR, OWN_DOMAIN, Offset, STATE_MONITOR};

/// A record of either kind.
#[derive(Debug, Deserialize)]
pub(super) struct Point {
    started: String,
    ready: Option<String>,
    first_durable: Option<String>,
    ended: Option<String>,
    #[serde(default)]
    pub(super) journal: JournalPoint,
    pub(super) memory_bytes: Option<u64>,
    #[serde(default)]
    pub(super) circuits: Vec<OpeningsPoint>,
    pub(super) checkpoints: Option<CheckpointsPoint>,
    #[serde(default)]
    pub(super) sinks: Vec<SinkPoint>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct JournalPoint {
    #[serde(default)]
    pub(super) latency_steps: Vec<(u64, u64)>,
}

#[derive(Debug, Deserialize)]
pub(super) struct OpeningsPoint {
    pub(super) kind: String,
    pub(super) name: String,
    pub(super) openings: u64,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
pub(super) struct CheckpointsPoint {
    pub(super) written: u64,
    pub(super) failed: u64,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct SinkPoint {
    pub(super) name: String,
    pub(super) state: String,
    pub(super) lag_events: Option<u64>,
    pub(super) lag_seconds: Option<f64>,
    pub(super) latency_p95_ms: Option<f64>,
    #[serde(default)]
    pub(super) rows: u64,
    #[serde(default)]
    pub(super) parked: u64,
}

/// Where and when a record was made, and by which process.
#[derive(Debug, Clone, Copy)]
pub(super) struct Made {
    pub(super) offset: Offset,
    pub(super) received: UnixNanos,
    /// When its process began: no two have the same.
    pub(super) started: UnixNanos,
    /// Whether it is a record of figures; else one of state.
    pub(super) figures: bool,
}

impl Point {
    pub(super) fn ready(&self) -> Option<UnixNanos> {
        time(self.ready.as_deref())
    }

    pub(super) fn first_durable(&self) -> Option<UnixNanos> {
        time(self.first_durable.as_deref())
    }

    pub(super) fn ended(&self) -> Option<UnixNanos> {
        time(self.ended.as_deref())
    }
}

fn time(text: Option<&str>) -> Option<UnixNanos> {
    text?.parse().ok()
}

/// Gives every record from `from` on, in order. One that cannot be read is of a newer release.
pub(super) fn each(
    reader: &mut JournalReader,
    from: Offset,
    mut take: impl FnMut(Made, &Point),
) -> Result<(), JournalError> {
    let filter = BlockFilter {
        monitors: vec![STATE_MONITOR.into(), METRICS_MONITOR.into()],
        domains: vec![OWN_DOMAIN.into()],
        ..BlockFilter::all()
    };
    reader.seek(from);
    while let Some(block) = reader.next_block(&filter)? {
        for event in block.events().filter(|event| filter.admits(event)) {
            let Ok(point) = serde_json::from_slice::<Point>(event.payload) else { continue };
            let Some(started) = time(Some(&point.started)) else { continue };
            let figures = event.monitor == METRICS_MONITOR;
            take(Made { offset: event.offset, received: event.received, started, figures }, &point);
        }
    }
    Ok(())
}
