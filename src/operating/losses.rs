//! What was not seen in a span: gaps by their cause, connections that were lost.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::time::Duration;

use crate::clock::UnixNanos;
use crate::journal::{JournalError, JournalReader};
use crate::recovery::gaps::{GapQuery, each_gap};

/// Connections that are lost within this span are held against the target.
pub(super) const DROPS_SPAN: Duration = Duration::from_hours(24);

/// The most lost connections that are told apart. Source: a guess; beyond it the number is a lower bound.
const LOST_MAX: usize = 100_000;

/// Of one cause.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct OfCause {
    pub(super) gaps: u64,
    pub(super) open: u64,
    /// Of all topics together, within the span.
    pub(super) seconds: f64,
    pub(super) filled: u64,
    pub(super) missing: Option<u64>,
}

/// All of it.
#[derive(Debug, Default)]
pub(super) struct Losses {
    pub(super) causes: BTreeMap<String, OfCause>,
    /// Connections lost within the last [`DROPS_SPAN`] of the span, each once: upstream and moment, since every topic has a gap.
    lost: BTreeSet<(String, String)>,
    /// The longest until data came again over a connection that was lost, in seconds.
    pub(super) longest: f64,
}

impl Losses {
    pub(super) fn read(reader: &mut JournalReader, since: UnixNanos, until: UnixNanos) -> Result<Self, JournalError> {
        let mut losses = Self::default();
        let query = GapQuery { since: Some(since), until: Some(until), ..GapQuery::default() };
        let late = until.saturating_sub(DROPS_SPAN);
        each_gap(reader, &query, until, |gap| {
            let time = |text: &str| text.parse::<UnixNanos>().ok();
            let start = time(&gap.start).unwrap_or(since);
            let end = gap.end.as_deref().and_then(time).unwrap_or(until).min(until);
            let of = losses.causes.entry(gap.cause.clone()).or_default();
            of.gaps += 1;
            of.open += u64::from(gap.end.is_none());
            of.seconds += end.since(start.max(since)).as_secs_f64();
            of.filled += u64::from(gap.filled.is_some());
            if let Some(missing) = gap.missing {
                *of.missing.get_or_insert(0) += missing;
            }
            if matches!(gap.cause.as_str(), "disconnect" | "silence") {
                losses.longest = losses.longest.max(end.since(start).as_secs_f64());
                if start >= late && start >= since && losses.lost.len() < LOST_MAX {
                    losses.lost.insert((gap.upstream, gap.start));
                }
            }
            ControlFlow::Continue(())
        })?;
        Ok(losses)
    }

    pub(super) fn lost_connections(&self) -> u64 {
        self.lost.len() as u64
    }
}
