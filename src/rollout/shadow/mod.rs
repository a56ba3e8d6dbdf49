//! One path held against the other, out of the journal: a monitor and its shadow, or a monitor that both paths took for a time.
//!
//! Which side an event is of its block says. The shadow's events are those of the same monitor in the domain `_shadow.DOMAIN`. Ids that
//! are hashes differ between the two, since each has a scope of its own: such events are joined by their payloads, as are those without
//! an id. What the smart path drops as a repeat the legacy path keeps: repeats of ids are counted, and are no difference.

mod told;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::Path as FilePath;
use std::time::Duration;

use crate::clock::UnixNanos;
use crate::config::suggestion;
use crate::journal::{JournalError, JournalReader, OWN_DOMAIN, Path, SHADOW_DOMAINS, TimeRange};
use crate::recovery::compare::source::{Ids, JournalSource, Selection};
use crate::recovery::compare::{
    CompareError, Counted, Join, PayloadForm, Progress, Repeats, SourceError, Span, Spans, Terms, Workroom, compare,
};

pub use told::{MonitorOnBoth, PathCounts, PathDifference, PathExample, PathsCompared};

/// Both paths are asked for at a time.
const BOTH: [Path; 2] = [Path::Smart, Path::Legacy];

/// What is to be compared.
#[derive(Debug, Clone)]
pub struct PathsRequest {
    /// These monitors; all that both paths took where none is named.
    pub monitors: Vec<String>,
    /// Only those of these domains, their shadows included.
    pub domains: Vec<String>,
    /// Only these topics.
    pub topics: Vec<String>,
    /// Received in this span. An end that is not named is where the shadow began or ended; without a shadow, where the later path began
    /// or the earlier one ended.
    pub span: Span,
    /// How far outside of the span the other path's event may lie.
    pub tolerance: Duration,
    /// What events are joined by.
    pub join: Join,
    /// How payloads are compared.
    pub payload: PayloadForm,
    /// Monitors whose ids are unique within a topic only.
    pub ids_by_topic: HashSet<String>,
}

/// Why nothing was compared.
#[derive(Debug, thiserror::Error)]
pub enum PathsError {
    /// There is nothing to compare.
    #[error("{0}")]
    Nothing(String),
    /// The journal cannot be read.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// Comparing failed.
    #[error(transparent)]
    Compare(#[from] CompareError),
}

/// When what was received of a monitor, by the headers of blocks.
#[derive(Debug, Default)]
struct Seen {
    domains: BTreeSet<String>,
    smart: Option<TimeRange>,
    legacy: Option<TimeRange>,
    shadow: Option<TimeRange>,
}

impl Seen {
    fn add(&mut self, domain: &str, path: Path, received: TimeRange) {
        let widen = |range: &mut Option<TimeRange>| {
            *range = Some(range.map_or(received, |range| range.joined(received)));
        };
        self.domains.insert(domain.to_owned());
        widen(match path {
            Path::Smart => &mut self.smart,
            Path::Legacy => &mut self.legacy,
        });
        if domain.starts_with(SHADOW_DOMAINS) {
            widen(&mut self.shadow);
        }
    }

    /// What is compared: as asked for, else while both took it.
    fn counted(&self, asked: Span, tolerance: Duration) -> Option<Counted> {
        let (smart, legacy) = (self.smart?, self.legacy?);
        // A shadow's own span: should the path that it is held against have stopped earlier, that shows.
        let both = self.shadow.unwrap_or(TimeRange {
            least: smart.least.max(legacy.least),
            greatest: smart.greatest.min(legacy.greatest),
        });
        let since = asked.since.unwrap_or(both.least);
        let until = asked.until.unwrap_or(UnixNanos(both.greatest.0.saturating_add(1)));
        let span = Span { since: Some(since), until: Some(until) };
        // At an end where one path had only begun, or was about to stop, what the other has before or after it is no loss.
        let single = Span {
            since: Some(if asked.since.is_some() { since } else { since.saturating_add(tolerance) }),
            until: Some(if asked.until.is_some() { until } else { until.saturating_sub(tolerance) }),
        };
        Some(Counted { single, ..Counted::within(span, tolerance) })
    }
}

/// Compares the events of both paths. Blocking, and long.
///
/// # Errors
/// [`PathsError::Nothing`] where no monitor has events of both; else when the journal cannot be read, or what is compared not kept.
pub fn compare_paths(
    folder: &FilePath,
    request: &PathsRequest,
    room: &Workroom,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<PathsCompared, PathsError> {
    let seen = survey(folder, request)?;
    let spans = spans(&seen, request)?;
    let named = || spans.keys().cloned();
    let domains: BTreeSet<String> =
        named().filter_map(|name| seen.get(&name)).flat_map(|seen| seen.domains.iter().cloned()).collect();
    let read = Span {
        since: spans.values().filter_map(|counted| counted.read.since).min(),
        until: spans.values().filter_map(|counted| counted.read.until).max(),
    };
    let side = |path: Path| -> Result<JournalSource, JournalError> {
        let selection = Selection {
            monitors: named().collect(),
            domains: domains.iter().cloned().collect(),
            topics: request.topics.clone(),
            path: Some(path),
        };
        let name = format!("the journal's events of path {}", path.as_str());
        let source = JournalSource::new(JournalReader::open(folder)?, &name, selection, read, Ids::OfParts)?;
        Ok(source.telling_topics_of(request.ids_by_topic.clone()))
    };
    let [mut smart, mut legacy] = [side(BOTH[0])?, side(BOTH[1])?];
    let terms = Terms {
        join: request.join,
        by_monitor: true,
        by_topic: true,
        by_key: true,
        payload: request.payload,
        repeats: Repeats::Counted,
        spans: Spans::ByMonitor(spans.clone().into_iter().collect()),
    };
    let compared = compare(&mut smart, &mut legacy, &terms, room, progress).map_err(|error| match error {
        CompareError::Source(SourceError::Journal(error)) => PathsError::Journal(error),
        other => PathsError::Compare(other),
    })?;
    Ok(told::told(&compared, &spans, request))
}

/// Goes through headers alone.
fn survey(folder: &FilePath, request: &PathsRequest) -> Result<BTreeMap<String, Seen>, JournalError> {
    let mut reader = JournalReader::open(folder)?;
    let span = request.span.widened(request.tolerance);
    match span.since {
        Some(since) => reader.seek_received(since)?,
        None => reader.seek(reader.earliest()?),
    }
    let mut seen: BTreeMap<String, Seen> = BTreeMap::new();
    while let Some(header) = reader.next_header()? {
        for row in header.rows() {
            let Some(received) = row.received.filter(|_| row.events > 0) else { continue };
            let domain = &*row.monitor.domain;
            let of = domain.strip_prefix(SHADOW_DOMAINS).unwrap_or(domain);
            let wanted = request.domains.is_empty() || request.domains.iter().any(|wanted| wanted == of);
            let asked = TimeRange {
                least: span.since.unwrap_or(UnixNanos(i64::MIN)),
                greatest: span.until.unwrap_or(UnixNanos(i64::MAX)),
            };
            if of != OWN_DOMAIN && wanted && received.overlaps(asked) {
                seen.entry(row.monitor.name.to_string()).or_default().add(domain, header.path(), received);
            }
        }
    }
    Ok(seen)
}

/// The span of each monitor that is compared.
fn spans(seen: &BTreeMap<String, Seen>, request: &PathsRequest) -> Result<BTreeMap<String, Counted>, PathsError> {
    let mut spans = BTreeMap::new();
    for (name, seen) in seen {
        if (request.monitors.is_empty() || request.monitors.contains(name))
            && let Some(counted) = seen.counted(request.span, request.tolerance)
        {
            spans.insert(name.clone(), counted);
        }
    }
    for name in &request.monitors {
        match seen.get(name) {
            None => {
                let hint = suggestion(name, seen.keys().map(String::as_str));
                return Err(PathsError::Nothing(format!(
                    "the journal has no event of a monitor `{name}` in the span{hint}"
                )));
            }
            Some(one) if !spans.contains_key(name) => {
                let path = if one.smart.is_some() { Path::Smart } else { Path::Legacy };
                return Err(PathsError::Nothing(format!(
                    "the journal has only events of path {} of the monitor `{name}` in the span; shadow it, and compare then",
                    path.as_str()
                )));
            }
            Some(_) => {}
        }
    }
    if spans.is_empty() {
        return Err(PathsError::Nothing(
            "no monitor has events of both paths in the span; shadow one, and compare then".into(),
        ));
    }
    Ok(spans)
}
