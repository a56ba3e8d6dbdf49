//! How long things took lately: histograms count since the start, so what they were a while ago is taken from what they are.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use crate::telemetry::LatencyCounts;

/// The span that is looked at.
const WINDOW: Duration = Duration::from_mins(1);
/// How precise its end is.
const STEP: Duration = Duration::from_secs(5);

/// What a histogram was, from time to time.
#[derive(Debug, Default)]
pub(super) struct Lately {
    /// Oldest first.
    counts: VecDeque<(Instant, LatencyCounts)>,
}

impl Lately {
    /// What this fraction stayed within in the last minute; none where nothing was counted.
    pub(super) fn quantile(&mut self, now: Instant, counts: &LatencyCounts, fraction: f64) -> Option<Duration> {
        let ago = |at: Instant| now.saturating_duration_since(at);
        while self.counts.get(1).is_some_and(|(at, _)| ago(*at) >= WINDOW) {
            self.counts.pop_front();
        }
        if self.counts.back().is_none_or(|(at, _)| ago(*at) >= STEP) {
            self.counts.push_back((now, counts.clone()));
        }
        let (_, before) = self.counts.front()?;
        counts.since(before).quantile(fraction)
    }
}
