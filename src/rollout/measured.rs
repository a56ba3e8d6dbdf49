//! What the journal tells of both paths over a span, for a report: counts out of headers, lost connections out of the gaps.
//!
//! A gap is recorded by the link that sees its end, so its block says the path. Memory and latency are not in the journal by path.

use std::collections::BTreeSet;
use std::time::Duration;

use super::report::{CanaryFigures, MeasuredPath};
use crate::clock::UnixNanos;
use crate::journal::{
    AccountDelta, BlockFilter, GAPS_MONITOR, JournalError, JournalReader, OWN_DOMAIN, Path, TimeRange,
};
use crate::monitor::gap::{GapCause, GapRecord};

/// Of one path.
#[derive(Default)]
struct Counted {
    account: AccountDelta,
    events: u64,
    seen: Option<TimeRange>,
    /// Losses of a connection: upstream and moment, since each of its topics has a gap.
    lost: BTreeSet<(String, String)>,
    longest: Duration,
}

/// What came over both paths since a moment. `data_match`: as [`super::shadow`] found it.
///
/// # Errors
/// When the journal cannot be read.
pub fn measure(
    reader: &mut JournalReader,
    since: UnixNanos,
    until: UnixNanos,
    data_match: Option<f64>,
) -> Result<CanaryFigures, JournalError> {
    let (mut smart, mut legacy) = (Counted::default(), Counted::default());
    reader.seek_received(since)?;
    while let Some(header) = reader.next_header()? {
        let counted = match header.path() {
            Path::Smart => &mut smart,
            Path::Legacy => &mut legacy,
        };
        // Neither the daemon's own events nor what is only compared count.
        for row in header.rows().iter().filter(|row| !row.monitor.domain.starts_with('_')) {
            counted.account.messages += row.account.messages;
            counted.account.control += row.account.control;
            counted.account.quarantined += row.account.quarantined;
            counted.events += row.events;
            if let Some(TimeRange { least, greatest }) = row.received {
                let seen = counted.seen.get_or_insert(TimeRange { least, greatest });
                (seen.least, seen.greatest) = (seen.least.min(least), seen.greatest.max(greatest));
            }
        }
    }
    reader.seek_received(since)?;
    let filter =
        BlockFilter { monitors: vec![GAPS_MONITOR.into()], domains: vec![OWN_DOMAIN.into()], ..BlockFilter::all() };
    while let Some(block) = reader.next_block(&filter)? {
        for event in block.events().filter(|event| filter.admits(event)) {
            let Ok(gap) = serde_json::from_slice::<GapRecord>(event.payload) else { continue };
            if !matches!(gap.cause, GapCause::Disconnect | GapCause::Silence) {
                continue;
            }
            let counted = if event.path == Path::Smart { &mut smart } else { &mut legacy };
            let span = |text: &str| text.parse::<UnixNanos>().unwrap_or_default();
            counted.longest = counted.longest.max(span(&gap.end).since(span(&gap.start)));
            counted.lost.insert((gap.upstream, gap.start));
        }
    }
    let observed = until.since(since);
    Ok(CanaryFigures { observed, smart: smart.measured(), legacy: legacy.measured(), data_match })
}

impl Counted {
    fn measured(self) -> MeasuredPath {
        let Some(seen) = self.seen else { return MeasuredPath::default() };
        let data = self.account.messages.saturating_sub(self.account.control);
        #[expect(clippy::cast_precision_loss, reason = "a share of counts that a float holds well enough")]
        let (events, data, quarantined) = (self.events as f64, data as f64, self.account.quarantined as f64);
        let seconds = seen.greatest.since(seen.least).as_secs_f64();
        MeasuredPath {
            events_per_second: (seconds > 0.0).then(|| events / seconds),
            parse_rate: (data > 0.0).then(|| 1.0 - quarantined / data),
            dropped_connections: Some(self.lost.len() as u64),
            recovery: Some(self.longest),
            ..MeasuredPath::default()
        }
    }
}
