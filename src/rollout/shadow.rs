//! One path held against the other, out of the journal: a monitor and its shadow, or a monitor that both paths took for a time.
//!
//! Which side an event is of its block says. The shadow's events are those of the same monitor in the domain `_shadow.DOMAIN`. Ids that
//! are hashes differ between the two, since each has a scope of its own: such events are joined by their payloads, as are those without
//! an id. What the smart path drops as a repeat the legacy path keeps: repeats of ids are counted, and are no difference.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::Path as FilePath;
use std::time::Duration;

use serde::Serialize;

use crate::clock::UnixNanos;
use crate::config::suggestion;
use crate::journal::{JournalError, JournalReader, OWN_DOMAIN, Path, TimeRange};
use crate::recovery::compare::source::{Ids, JournalSource, SHADOW_DOMAINS, Selection};
use crate::recovery::compare::{
    CompareError, Compared, Counted, Counts, Example, Join, Kind, LengthFigures, PayloadForm, Progress, Repeats,
    SourceError, Span, Spans, Terms, Workroom, compare, counted, delay_table,
};
use crate::report::{Cell, Mark, Report, ReportTable};

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

/// Which path has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PathDifference {
    /// Only the smart path.
    OnlySmart,
    /// Only the legacy path.
    OnlyLegacy,
    /// Both, with other payloads.
    Differing,
}

impl PathDifference {
    /// As programs see it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OnlySmart => "only_smart",
            Self::OnlyLegacy => "only_legacy",
            Self::Differing => "differing",
        }
    }
}

/// Counts of what both paths have.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PathCounts {
    /// Events of the smart path.
    pub smart: u64,
    /// Events of the legacy path.
    pub legacy: u64,
    /// Pairs, those that differ included.
    pub in_both: u64,
    /// Events that only the smart path has.
    pub only_smart: u64,
    /// Events that only the legacy path has.
    pub only_legacy: u64,
    /// Pairs whose payloads differ.
    pub differing: u64,
    /// Events of the smart path whose id it had before.
    pub smart_repeats: u64,
    /// Events of the legacy path whose id it had before.
    pub legacy_repeats: u64,
    /// Events of one path at the edge of the span, where the other's may lie outside: no difference.
    pub at_edge: u64,
    /// Of all events, the share that both have alike; none without events.
    pub data_match: Option<f64>,
    /// Of those that the legacy path had later: how much.
    pub legacy_later: Option<LengthFigures>,
    /// Of those that the legacy path had earlier: how much.
    pub legacy_earlier: Option<LengthFigures>,
    /// That both had at the same time.
    pub at_once: u64,
}

impl From<&Counts> for PathCounts {
    fn from(counts: &Counts) -> Self {
        let all = counts.both + counts.only_left + counts.only_right;
        #[expect(clippy::cast_precision_loss, reason = "a share has a few digits")]
        let data_match = (all > 0).then(|| (counts.both - counts.differing) as f64 / all as f64);
        Self {
            smart: counts.left,
            legacy: counts.right,
            in_both: counts.both,
            only_smart: counts.only_left,
            only_legacy: counts.only_right,
            differing: counts.differing,
            smart_repeats: counts.left_repeats,
            legacy_repeats: counts.right_repeats,
            at_edge: counts.at_edge,
            data_match,
            legacy_later: counts.delay.later.clone(),
            legacy_earlier: counts.delay.earlier.clone(),
            at_once: counts.delay.at_once,
        }
    }
}

/// A monitor on both paths.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MonitorOnBoth {
    /// Its name.
    pub monitor: String,
    /// The span that was compared, RFC 3339,
    pub since: String,
    /// up to, but without, this.
    pub until: String,
    /// Counts within it.
    #[serde(flatten)]
    pub counts: PathCounts,
}

/// An event that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PathExample {
    /// How.
    pub what: PathDifference,
    /// The smart path's offset.
    pub smart_offset: Option<u64>,
    /// The legacy path's offset.
    pub legacy_offset: Option<u64>,
    /// The monitor.
    pub monitor: Option<String>,
    /// The key.
    pub key: Option<String>,
    /// The id.
    pub id: Option<String>,
    /// When the smart path received it, else the legacy path, RFC 3339.
    pub received_time: Option<String>,
    /// What the smart path has, around the first character that differs.
    pub smart_payload: Option<String>,
    /// What the legacy path has.
    pub legacy_payload: Option<String>,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PathsCompared {
    /// Whether nothing differs.
    pub equal: bool,
    /// How payloads were compared: `bytes`, `json`, `none`.
    pub payload: &'static str,
    /// How far outside of the span the other path's event may lie, in milliseconds.
    pub tolerance_ms: u64,
    /// Over all monitors.
    #[serde(flatten)]
    pub counts: PathCounts,
    /// By monitor.
    pub monitors: Vec<MonitorOnBoth>,
    /// The first differences of each kind.
    pub first: Vec<PathExample>,
    /// What there is to know beside.
    pub notes: Vec<String>,
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
    Ok(told(&compared, &spans, request))
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

fn told(compared: &Compared, spans: &BTreeMap<String, Counted>, request: &PathsRequest) -> PathsCompared {
    let counts: HashMap<&str, &Counts> =
        compared.monitors.iter().filter_map(|(name, counts)| Some((name.as_deref()?, counts))).collect();
    let nothing = Counts::default();
    let monitors = spans.iter().map(|(name, counted)| {
        let text = |time: Option<UnixNanos>| time.map(|time| time.to_string()).unwrap_or_default();
        MonitorOnBoth {
            monitor: name.clone(),
            since: text(counted.paired.since),
            until: text(counted.paired.until),
            counts: (*counts.get(name.as_str()).unwrap_or(&&nothing)).into(),
        }
    });
    PathsCompared {
        equal: compared.is_equal(),
        payload: request.payload.as_str(),
        tolerance_ms: u64::try_from(request.tolerance.as_millis()).unwrap_or(u64::MAX),
        counts: (&compared.total).into(),
        monitors: monitors.collect(),
        first: compared.examples.iter().map(example).collect(),
        notes: compared.notes.clone(),
    }
}

fn example(example: &Example) -> PathExample {
    PathExample {
        what: match example.kind {
            Kind::OnlyLeft => PathDifference::OnlySmart,
            Kind::OnlyRight => PathDifference::OnlyLegacy,
            Kind::Differing => PathDifference::Differing,
        },
        smart_offset: example.left_place,
        legacy_offset: example.right_place,
        monitor: example.monitor.clone(),
        key: example.key.clone(),
        id: example.id.clone(),
        received_time: example.time.map(|time| time.to_string()),
        smart_payload: example.left_payload.clone(),
        legacy_payload: example.right_payload.clone(),
    }
}

impl PathsCompared {
    /// For people.
    pub fn report(&self) -> Report {
        let counts = &self.counts;
        let verdict = if self.equal {
            Cell::marked(format!("equal: {} events on both paths", counts.in_both), Mark::Good)
        } else {
            let words = format!(
                "different: {} only on smart, {} only on legacy, {} differing",
                counts.only_smart, counts.only_legacy, counts.differing
            );
            Cell::marked(words, Mark::Bad)
        };
        let percent = |share: Option<f64>| share.map_or_else(|| "-".to_owned(), percent);
        let facts = [
            ("events of path smart", Cell::from(counts.smart.to_string())),
            ("events of path legacy", counts.legacy.to_string().into()),
            ("on both", counts.in_both.to_string().into()),
            ("only on smart", counted(counts.only_smart)),
            ("only on legacy", counted(counts.only_legacy)),
            ("differing payloads", counted(counts.differing)),
            ("alike on both", percent(counts.data_match).into()),
            ("repeats", format!("{} on smart, {} on legacy", counts.smart_repeats, counts.legacy_repeats).into()),
            ("at the edge of the span", counts.at_edge.to_string().into()),
            ("payloads compared", self.payload.into()),
        ];
        let rows = self.monitors.iter().map(|row| {
            let counts = &row.counts;
            vec![
                row.monitor.clone().into(),
                row.since.clone().into(),
                row.until.clone().into(),
                counts.in_both.to_string().into(),
                counted(counts.only_smart),
                counted(counts.only_legacy),
                counted(counts.differing),
                percent(counts.data_match).into(),
                late(counts.legacy_later.as_ref()).into(),
                late(counts.legacy_earlier.as_ref()).into(),
            ]
        });
        let monitors = ReportTable {
            heading: "By monitor".into(),
            columns: vec![
                "Monitor",
                "From",
                "To",
                "Both",
                "Only smart",
                "Only legacy",
                "Differing",
                "Alike",
                "Legacy later p50/p95/p99 ms",
                "Legacy earlier p50/p95/p99 ms",
            ],
            rows: rows.collect(),
        };
        let delay = crate::recovery::compare::DelayFigures {
            later: counts.legacy_later.clone(),
            earlier: counts.legacy_earlier.clone(),
            at_once: counts.at_once,
        };
        Report {
            title: "The smart path against the legacy path".into(),
            verdict,
            facts: facts.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
            tables: vec![monitors, delay_table("the legacy path", &delay), self.example_table()],
            notes: self.notes.clone(),
        }
    }

    fn example_table(&self) -> ReportTable {
        let dash = |text: &Option<String>| Cell::from(text.clone().unwrap_or_else(|| "-".into()));
        let rows = self.first.iter().map(|example| {
            let place = [("smart", example.smart_offset), ("legacy", example.legacy_offset)];
            let place: Vec<String> =
                place.iter().filter_map(|(path, offset)| Some(format!("{path} {}", (*offset)?))).collect();
            vec![
                Cell::marked(example.what.as_str(), Mark::Bad),
                place.join(", ").into(),
                dash(&example.monitor),
                dash(&example.key),
                dash(&example.id),
                dash(&example.received_time),
                dash(&example.smart_payload),
                dash(&example.legacy_payload),
            ]
        });
        ReportTable {
            heading: "The first differences".into(),
            columns: vec!["What", "Offset", "Monitor", "Key", "Id", "Received", "Smart has", "Legacy has"],
            rows: rows.collect(),
        }
    }
}

fn late(figures: Option<&LengthFigures>) -> String {
    figures.map_or_else(
        || "-".to_owned(),
        |figures| format!("{} / {} / {} ({} events)", figures.p50_ms, figures.p95_ms, figures.p99_ms, figures.events),
    )
}

/// Never 100 % when something is not alike.
fn percent(share: f64) -> String {
    if share >= 1.0 { "100 %".to_owned() } else { format!("{:.3} %", (share * 100_000.0).floor() / 1000.0) }
}
