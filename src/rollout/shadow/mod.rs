//! One path held against the other, out of the journal: a monitor and its shadow, or a monitor that both paths took for a time.
//!
//! Which side an event is of its block says. The shadow's events are those of the same monitor in the domain `_shadow.DOMAIN`. Ids that
//! are hashes differ between the two, since each has a scope of its own: such events are joined by their payloads, as are those without
//! an id. What the smart path drops as a repeat the legacy path keeps: repeats of ids are counted, and are no difference.

mod runs;
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

use self::runs::Runs;

pub use told::{MonitorOnBoth, PathCounts, PathDifference, PathExample, PathsCompared};

/// A shorter pause ends no shadow, however small the tolerance is.
const PAUSE_MIN: Duration = Duration::from_secs(2);

/// So much around the span is looked at, to know whether a shadow began before it or went on behind it.
const AROUND: Duration = Duration::from_mins(10);

/// More notes on single monitors tell nobody anything.
const NOTES_MAX: usize = 20;

/// Both paths are asked for at a time.
const BOTH: [Path; 2] = [Path::Smart, Path::Legacy];

/// What is to be compared.
#[derive(Debug, Clone)]
pub struct PathsRequest {
    /// These monitors; all that had a shadow where none is named.
    pub monitors: Vec<String>,
    /// Only those of these domains, their shadows included.
    pub domains: Vec<String>,
    /// Only these topics.
    pub topics: Vec<String>,
    /// Received in this span, as far as both paths took the monitor then. Without a span it is the last time that they did without a
    /// pause: the last shadow; without one, of a monitor that is named, the last crossing.
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
#[derive(Debug)]
struct Seen {
    domains: BTreeSet<String>,
    smart: Runs,
    legacy: Runs,
    shadow: Runs,
    /// Which paths brought something in the span that was asked for.
    in_span: BTreeSet<&'static str>,
}

/// What is compared, by the monitor's name.
type SpansByMonitor = BTreeMap<String, Vec<Counted>>;

/// What is compared of a monitor.
struct Chosen {
    counted: Vec<Counted>,
    notes: Vec<String>,
}

impl Seen {
    fn new(pause_nanos: i64) -> Self {
        let runs = || Runs::new(pause_nanos);
        Self { domains: BTreeSet::new(), smart: runs(), legacy: runs(), shadow: runs(), in_span: BTreeSet::new() }
    }

    fn add(&mut self, domain: &str, path: Path, received: TimeRange) {
        self.domains.insert(domain.to_owned());
        match path {
            _ if domain.starts_with(SHADOW_DOMAINS) => self.shadow.add(received),
            Path::Smart => self.smart.add(received),
            Path::Legacy => self.legacy.add(received),
        }
    }

    /// What is compared: as asked for, but no more than the time in which both took it. Of a monitor that was named that may be while it
    /// crossed; one that was not must have had a shadow.
    fn chosen(&self, name: &str, named: bool, asked: Span, tolerance: Duration) -> Option<Chosen> {
        // A shadow's own span: should the path that it is held against have stopped earlier, that shows.
        let both = match () {
            () if !self.shadow.is_empty() => self.shadow.while_others([&self.smart, &self.legacy]),
            () if named => self.smart.common(&self.legacy),
            () => return None,
        };
        let asked_range = range_of(asked);
        let within: Vec<TimeRange> = both.into_iter().filter(|both| both.overlaps(asked_range)).collect();
        // Without a span it is the last one.
        let first = if asked.is_open() { within.len().saturating_sub(1) } else { 0 };
        let (earlier, chosen) = within.split_at(first);
        let (begin, end) = (chosen.first()?.least, chosen.last()?.greatest);
        let mut notes = Vec::new();
        if let Some(last) = earlier.last() {
            notes.push(format!(
                "{name}: both paths took it {} times, with pauses between; the last one is compared, the one before ended at {}; \
                 name a span by `--since` and `--until` for others",
                within.len(),
                last.greatest
            ));
        }
        if chosen.len() > 1 {
            notes.push(format!(
                "{name}: both paths took it {} times in the span; the time between is not compared",
                chosen.len()
            ));
        }
        if asked.since.is_some_and(|since| since.saturating_add(tolerance) < begin)
            || asked.until.is_some_and(|until| until.saturating_sub(tolerance) > end)
        {
            notes.push(format!(
                "{name}: only what lies between {begin} and {end} is compared; before and behind it one path took it alone"
            ));
        }
        Some(Chosen { counted: chosen.iter().map(|both| counted(*both, asked, tolerance)).collect(), notes })
    }
}

/// What counts while both paths took a monitor, no more than was asked for.
fn counted(both: TimeRange, asked: Span, tolerance: Duration) -> Counted {
    let behind = UnixNanos(both.greatest.0.saturating_add(1));
    let since = asked.since.filter(|since| *since > both.least);
    let until = asked.until.filter(|until| *until < behind);
    let span = Span { since: Some(since.unwrap_or(both.least)), until: Some(until.unwrap_or(behind)) };
    // At an end where one path had only begun, or was about to stop, what the other has before or after it is no loss.
    let single = Span {
        since: since.or_else(|| Some(both.least.saturating_add(tolerance))),
        until: until.or_else(|| Some(behind.saturating_sub(tolerance))),
    };
    Counted { single, ..Counted::within(span, tolerance) }
}

fn range_of(span: Span) -> TimeRange {
    TimeRange { least: span.since.unwrap_or(UnixNanos(i64::MIN)), greatest: span.until.unwrap_or(UnixNanos(i64::MAX)) }
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
    let (spans, mut notes) = spans(&seen, request)?;
    let named = || spans.keys().cloned();
    let domains: BTreeSet<String> =
        named().filter_map(|name| seen.get(&name)).flat_map(|seen| seen.domains.iter().cloned()).collect();
    let read = Span {
        since: spans.values().flatten().filter_map(|counted| counted.read.since).min(),
        until: spans.values().flatten().filter_map(|counted| counted.read.until).max(),
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
    let mut told = told::told(&compared, &spans, request);
    if notes.len() > NOTES_MAX {
        let more = notes.split_off(NOTES_MAX).len();
        notes.push(format!("{more} more notes of this kind"));
    }
    told.notes.extend(notes);
    Ok(told)
}

/// Goes through headers alone.
fn survey(folder: &FilePath, request: &PathsRequest) -> Result<BTreeMap<String, Seen>, JournalError> {
    let mut reader = JournalReader::open(folder)?;
    let (asked, looked_at) = (range_of(request.span.widened(request.tolerance)), request.span.widened(AROUND));
    let pause = request.tolerance.max(PAUSE_MIN).as_nanos();
    let pause_nanos = i64::try_from(pause).unwrap_or(i64::MAX);
    match looked_at.since {
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
            if of != OWN_DOMAIN && wanted && received.overlaps(range_of(looked_at)) {
                let seen = seen.entry(row.monitor.name.to_string()).or_insert_with(|| Seen::new(pause_nanos));
                seen.add(domain, header.path(), received);
                if received.overlaps(asked) {
                    seen.in_span.insert(header.path().as_str());
                }
            }
        }
    }
    Ok(seen)
}

/// The spans of each monitor that are compared, and what there is to say of them.
fn spans(seen: &BTreeMap<String, Seen>, request: &PathsRequest) -> Result<(SpansByMonitor, Vec<String>), PathsError> {
    let (mut spans, mut notes) = (BTreeMap::new(), Vec::new());
    for (name, seen) in seen {
        let named = request.monitors.contains(name);
        if (request.monitors.is_empty() || named)
            && seen.in_span.len() == BOTH.len()
            && let Some(chosen) = seen.chosen(name, named, request.span, request.tolerance)
        {
            spans.insert(name.clone(), chosen.counted);
            notes.extend(chosen.notes);
        }
    }
    for name in &request.monitors {
        if spans.contains_key(name) {
            continue;
        }
        let Some(one) = seen.get(name).filter(|one| !one.in_span.is_empty()) else {
            let known = seen.iter().filter(|(_, seen)| !seen.in_span.is_empty()).map(|(name, _)| name.as_str());
            let hint = suggestion(name, known);
            return Err(PathsError::Nothing(format!(
                "the journal has no event of a monitor `{name}` in the span{hint}"
            )));
        };
        let why = match one.in_span.first() {
            Some(path) if one.in_span.len() == 1 => {
                format!("the journal has only events of path {path} of the monitor `{name}` in the span")
            }
            _ => format!("the monitor `{name}` had no shadow in the span, and never came by both paths at once"),
        };
        return Err(PathsError::Nothing(format!("{why}; shadow it, and compare then")));
    }
    if spans.is_empty() {
        return Err(PathsError::Nothing(
            "no monitor had a shadow in the span, and so there is nothing to compare; shadow one (`sluice monitors shadow NAME \
             --for 1h`), and compare then"
                .into(),
        ));
    }
    Ok((spans, notes))
}
