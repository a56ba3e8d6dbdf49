//! What comparing two paths came to, as programs and people are told.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;

use super::PathsRequest;
use crate::clock::UnixNanos;
use crate::recovery::compare::{
    Compared, Counted, Counts, DelayFigures, Example, ID_CHARS, Kind, LengthFigures, NAME_CHARS, PAYLOAD_CHARS,
    counted, delay_table,
};
use crate::report::{Cell, Mark, Report, ReportTable, cut, short_time};

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

/// Says what came of it.
pub(super) fn told(
    compared: &Compared,
    spans: &BTreeMap<String, Vec<Counted>>,
    request: &PathsRequest,
) -> PathsCompared {
    let counts: HashMap<&str, &Counts> =
        compared.monitors.iter().filter_map(|(name, counts)| Some((name.as_deref()?, counts))).collect();
    let nothing = Counts::default();
    let monitors = spans.iter().map(|(name, counted)| {
        let text = |time: Option<UnixNanos>| time.map(|time| time.to_string()).unwrap_or_default();
        MonitorOnBoth {
            monitor: name.clone(),
            since: text(counted.first().and_then(|first| first.paired.since)),
            until: text(counted.last().and_then(|last| last.paired.until)),
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
                cut(Some(&row.monitor), NAME_CHARS),
                counts.in_both.to_string().into(),
                counted(counts.only_smart),
                counted(counts.only_legacy),
                counted(counts.differing),
                percent(counts.data_match).into(),
            ]
        });
        let monitors = ReportTable {
            heading: "By monitor".into(),
            columns: vec!["Monitor", "Both", "Only smart", "Only legacy", "Differing", "Alike"],
            rows: rows.collect(),
        };
        let rows = self.monitors.iter().map(|row| {
            vec![
                cut(Some(&row.monitor), NAME_CHARS),
                short_time(&row.since, 0).into(),
                short_time(&row.until, 0).into(),
                late(row.counts.legacy_later.as_ref()).into(),
                late(row.counts.legacy_earlier.as_ref()).into(),
            ]
        });
        // Beside the counts, or it were too wide.
        let times = ReportTable {
            heading: "By monitor: the span, and how much later or earlier legacy had them (p50/p95/p99 ms)".into(),
            columns: vec!["Monitor", "From", "To", "Later", "Earlier"],
            rows: rows.collect(),
        };
        let delay = DelayFigures {
            later: counts.legacy_later.clone(),
            earlier: counts.legacy_earlier.clone(),
            at_once: counts.at_once,
        };
        Report {
            title: "The smart path against the legacy path".into(),
            verdict,
            facts: facts.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
            tables: vec![
                monitors,
                times,
                delay_table("the legacy path", &delay),
                self.example_table(),
                self.payload_table(),
            ],
            charts: Vec::new(),
            notes: self.notes.clone(),
        }
    }

    fn example_table(&self) -> ReportTable {
        let rows = self.first.iter().map(|example| {
            vec![
                Cell::marked(example.what.as_str(), Mark::Bad),
                place(example).into(),
                cut(example.monitor.as_deref(), NAME_CHARS),
                cut(example.key.as_deref(), NAME_CHARS),
                cut(example.id.as_deref(), ID_CHARS),
                example.received_time.as_deref().map_or_else(|| "-".to_owned(), |time| short_time(time, 3)).into(),
            ]
        });
        ReportTable {
            heading: "The first differences".into(),
            columns: vec!["What", "Offset", "Monitor", "Key", "Id", "Received"],
            rows: rows.collect(),
        }
    }

    /// Beside the table of examples, which would be too wide with it.
    fn payload_table(&self) -> ReportTable {
        let rows = self.first.iter().map(|example| {
            vec![
                place(example).into(),
                cut(example.smart_payload.as_deref(), PAYLOAD_CHARS),
                cut(example.legacy_payload.as_deref(), PAYLOAD_CHARS),
            ]
        });
        ReportTable {
            heading: "Their payloads".into(),
            columns: vec!["Offset", "Smart has", "Legacy has"],
            rows: rows.collect(),
        }
    }
}

fn place(example: &PathExample) -> String {
    let place = [("smart", example.smart_offset), ("legacy", example.legacy_offset)];
    let place: Vec<String> = place.iter().filter_map(|(path, offset)| Some(format!("{path} {}", (*offset)?))).collect();
    place.join(", ")
}

fn late(figures: Option<&LengthFigures>) -> String {
    figures
        .map_or_else(|| "-".to_owned(), |figures| format!("{}/{}/{}", figures.p50_ms, figures.p95_ms, figures.p99_ms))
}

/// Never 100 % when something is not alike.
fn percent(share: f64) -> String {
    if share >= 1.0 { "100 %".to_owned() } else { format!("{:.3} %", (share * 100_000.0).floor() / 1000.0) }
}
