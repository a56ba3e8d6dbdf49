//! Which events a command is about: the filters of `query` and `tail`.

use std::time::Duration;

use crate::clock::UnixNanos;
pub(super) use crate::config::units::parse_moment as moment;
use crate::journal::{BlockFilter, Event, EventFilter, Offset, Path};

/// Filters that `query` and `tail` share.
#[derive(Debug, Clone, Default, clap::Args)]
pub(super) struct Selection {
    /// Only this monitor (may be repeated)
    #[arg(long, value_name = "NAME")]
    pub(super) monitor: Vec<String>,
    /// Only this domain (may be repeated); `_sluice` has the daemon's own events, `_shadow.DOMAIN` what is only compared
    #[arg(long, value_name = "NAME")]
    pub(super) domain: Vec<String>,
    /// Only this topic (may be repeated)
    #[arg(long, value_name = "TOPIC")]
    pub(super) topic: Vec<String>,
    /// Only this key (may be repeated)
    #[arg(long, value_name = "KEY")]
    pub(super) key: Vec<String>,
    /// Only what came by this path
    #[arg(long, value_name = "smart|legacy", value_parser = path)]
    pub(super) path: Option<Path>,
}

/// Spans of time and offsets.
#[derive(Debug, Clone, Default, clap::Args)]
pub(super) struct Span {
    /// Received at or after: `5m` (ago), or RFC 3339
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub(super) since: Option<UnixNanos>,
    /// Received before: `5m` (ago), or RFC 3339
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub(super) until: Option<UnixNanos>,
    /// `--since` and `--until` mean the event's own time
    #[arg(long)]
    pub(super) event_time: bool,
    /// From this offset on
    #[arg(long, value_name = "OFFSET")]
    pub(super) from: Option<u64>,
    /// Up to, but without, this offset
    #[arg(long, value_name = "OFFSET")]
    pub(super) to: Option<u64>,
}

/// Reads the name of a path.
pub(super) fn path(text: &str) -> Result<Path, String> {
    let known = [Path::Smart, Path::Legacy].into_iter().find(|path| path.as_str() == text);
    known.ok_or_else(|| "expected `smart` or `legacy`".to_owned())
}

impl Selection {
    /// The same for the journal.
    pub(super) fn filter<'a>(&'a self, span: &Span) -> EventFilter<'a> {
        EventFilter {
            monitors: &self.monitor,
            domains: &self.domain,
            topics: &self.topic,
            keys: &self.key,
            path: self.path,
            since: span.since,
            until: span.until,
            event_time: span.event_time,
            from: span.from.map(Offset),
            to: span.to.map(Offset),
        }
    }

    /// What whole blocks can be passed over by.
    pub(super) fn block_filter(&self, span: &Span) -> BlockFilter {
        self.filter(span).block_filter()
    }

    /// Whether an event is meant.
    pub(super) fn takes(&self, event: &Event<'_>, span: &Span) -> bool {
        self.filter(span).takes(event)
    }
}

/// How often a reader looks for news. Source: a guess; a person does not see the difference.
pub(super) const FOLLOW_INTERVAL: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_a_time_or_so_long_ago() {
        assert_eq!(moment("1970-01-01T00:00:01Z"), Ok(UnixNanos(1_000_000_000)));
        assert_eq!(moment("1970-01-01T02:00:01+02:00"), Ok(UnixNanos(1_000_000_000)));
        let ago = UnixNanos::now().since(moment("5m").unwrap());
        assert!(ago >= Duration::from_secs(299) && ago < Duration::from_secs(310), "{ago:?}");
        assert!(moment("yesterday").unwrap_err().contains("2026-11-20T12:00:00Z"));
    }
}
