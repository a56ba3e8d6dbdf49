//! Tells the operator which monitor loses messages, and what to do: at once, and then once a minute while it goes on.

use std::time::Duration;

use tokio::time::Instant;

use crate::monitor::totals::TotalsNow;

/// A feed may fail with every message; the log may not.
const SAY_AGAIN_AFTER: Duration = Duration::from_mins(1);

/// What was last said of one monitor.
#[derive(Debug, Default)]
pub(super) struct Troubles {
    unreadable: Said,
    conflicts: Said,
}

#[derive(Debug, Default)]
struct Said {
    count: u64,
    at: Option<Instant>,
}

impl Said {
    /// How many came since this was last said, if it is to be said now.
    fn news(&mut self, count: u64, now: Instant) -> Option<u64> {
        let more = count - self.count.min(count);
        if more == 0 || self.at.is_some_and(|at| now.saturating_duration_since(at) < SAY_AGAIN_AFTER) {
            return None;
        }
        *self = Self { count, at: Some(now) };
        Some(more)
    }
}

impl Troubles {
    /// Looks at a monitor's counts, and logs what is new.
    pub(super) fn look(&mut self, monitor: &str, totals: &TotalsNow, now: Instant) {
        if let Some(messages) = self.unreadable.news(totals.quarantined, now) {
            tracing::warn!(
                monitor,
                messages,
                "messages could not be read; `sluice quarantine list --monitor {monitor}` shows them with their reasons"
            );
        }
        if let Some(conflicts) = self.conflicts.news(totals.conflicts, now) {
            tracing::warn!(
                monitor,
                conflicts,
                "ids came back with another payload: if they are unique within a topic only, set dedupe = \"topic\"; if these \
                 are updates, add what tells them apart to `id`, or set on_conflict = \"keep\""
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trouble_is_told_at_once_and_then_once_a_minute_with_all_that_came_since() {
        let start = Instant::now();
        let mut said = Said::default();
        assert_eq!(said.news(0, start), None);
        assert_eq!(said.news(2, start), Some(2));
        assert_eq!(said.news(9, start + Duration::from_secs(59)), None);
        assert_eq!(said.news(9, start + Duration::from_mins(1)), Some(7));
        assert_eq!(said.news(9, start + Duration::from_mins(10)), None);
    }
}
