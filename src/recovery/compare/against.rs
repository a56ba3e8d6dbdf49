//! The journal held against a store of somebody else's: what programs and people are told of it.

use serde::Serialize;

use super::delays::{DelayFigures, LengthFigures};
use super::outcome::{Compared, Counts, Example, Kind};
use super::record::{Join, Span, Terms};
use crate::clock::UnixNanos;
use crate::report::{Cell, Mark, Report, ReportTable, cut, short_time};

/// So many characters of names and keys are shown in tables,
pub(crate) const NAME_CHARS: usize = 20;
/// of ids,
pub(crate) const ID_CHARS: usize = 32;
/// and of payloads.
pub(crate) const PAYLOAD_CHARS: usize = 34;

/// How a record differs, as it is told of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StoreDifference {
    /// The journal has it, the store has not.
    Missing,
    /// The store has it, the journal has not.
    Extra,
    /// Both have it, with other payloads.
    Differing,
}

impl StoreDifference {
    /// As programs see it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Extra => "extra",
            Self::Differing => "differing",
        }
    }
}

impl From<Kind> for StoreDifference {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::OnlyLeft => Self::Missing,
            Kind::OnlyRight => Self::Extra,
            Kind::Differing => Self::Differing,
        }
    }
}

/// A record that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StoreExample {
    /// How.
    pub what: StoreDifference,
    /// Its offset in the journal.
    pub offset: Option<u64>,
    /// Its row or line in the store, from 1.
    pub row: Option<u64>,
    /// Its monitor.
    pub monitor: Option<String>,
    /// Its key.
    pub key: Option<String>,
    /// Its id.
    pub id: Option<String>,
    /// When it was received, RFC 3339: as the journal has it, else as the store has.
    pub received_time: Option<String>,
    /// The other side has it too, but not as often.
    pub repeated: bool,
    /// What the journal has, around the first character that differs.
    pub journal_payload: Option<String>,
    /// What the store has.
    pub store_payload: Option<String>,
}

/// Counts of one monitor.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StoreMonitor {
    /// Its name; none for records that tell none.
    pub monitor: Option<String>,
    /// As there.
    #[serde(flatten)]
    pub counts: StoreCounts,
}

/// Counts of what journal and store have.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StoreCounts {
    /// Events of the journal.
    pub journal_events: u64,
    /// Records of the store.
    pub store_records: u64,
    /// Pairs, those that differ included.
    pub in_both: u64,
    /// Events that the store lacks.
    pub missing: u64,
    /// Records that the journal lacks.
    pub extra: u64,
    /// Pairs whose payloads differ.
    pub differing: u64,
    /// Events of the journal that had been there before, by what they are joined by.
    pub journal_repeats: u64,
    /// Records of the store that had been there before.
    pub store_repeats: u64,
    /// Of those in both: how much later or earlier the store has them.
    pub store_delay: DelayFigures,
}

impl From<&Counts> for StoreCounts {
    fn from(counts: &Counts) -> Self {
        Self {
            journal_events: counts.left,
            store_records: counts.right,
            in_both: counts.both,
            missing: counts.only_left,
            extra: counts.only_right,
            differing: counts.differing,
            journal_repeats: counts.left_repeats,
            store_repeats: counts.right_repeats,
            store_delay: counts.delay.clone(),
        }
    }
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AgainstStore {
    /// The store.
    pub against: String,
    /// Whether nothing differs.
    pub equal: bool,
    /// What events were joined by: `monitor`, `key`, `id`, `payload`.
    pub joined_by: Vec<&'static str>,
    /// How payloads were compared: `bytes`, `json`, `none`.
    pub payload: &'static str,
    /// Received at or after, RFC 3339.
    pub since: Option<String>,
    /// Received before, RFC 3339.
    pub until: Option<String>,
    /// Over all monitors.
    #[serde(flatten)]
    pub counts: StoreCounts,
    /// Records without a time that can be read, though the store has times. Where a span was asked for they count in pairs alone.
    pub without_time: u64,
    /// When the first and the last event of the journal was received, of those that were compared.
    pub journal_times: Option<(String, String)>,
    /// The first and the last time of the store.
    pub store_times: Option<(String, String)>,
    /// By monitor.
    pub monitors: Vec<StoreMonitor>,
    /// The first differences of each kind.
    pub first: Vec<StoreExample>,
    /// What there is to know beside.
    pub notes: Vec<String>,
    #[serde(skip)]
    place_name: &'static str,
}

impl AgainstStore {
    /// What comparing with `against`, whose places are `place_name`s, came to.
    pub fn new(against: &str, place_name: &'static str, (terms, span): (&Terms, Span), compared: &Compared) -> Self {
        let mut joined_by = Vec::new();
        joined_by.extend(terms.by_monitor.then_some("monitor"));
        joined_by.extend(terms.by_key.then_some("key"));
        joined_by.push(if terms.join == Join::Id { "id" } else { "payload" });
        let mut notes = compared.notes.clone();
        notes.extend(nothing_alike(place_name, terms, compared));
        let text = |time: Option<UnixNanos>| time.map(|time| time.to_string());
        let times = |times: Option<(UnixNanos, UnixNanos)>| times.map(|(a, b)| (a.to_string(), b.to_string()));
        Self {
            against: against.to_owned(),
            equal: compared.is_equal(),
            joined_by,
            payload: terms.payload.as_str(),
            since: text(span.since),
            until: text(span.until),
            counts: (&compared.total).into(),
            without_time: compared.untimed,
            journal_times: times(compared.left_times),
            store_times: times(compared.right_times),
            monitors: compared
                .monitors
                .iter()
                .map(|(name, counts)| StoreMonitor { monitor: name.clone(), counts: counts.into() })
                .collect(),
            first: compared.examples.iter().map(example).collect(),
            notes,
            place_name,
        }
    }

    /// For people.
    pub fn report(&self) -> Report {
        let counts = &self.counts;
        let verdict = if self.equal {
            Cell::marked(format!("equal: {} events in both", counts.in_both), Mark::Good)
        } else {
            let words = format!(
                "different: {} missing, {} extra, {} differing",
                counts.missing, counts.extra, counts.differing
            );
            Cell::marked(words, Mark::Bad)
        };
        let mut facts: Vec<(String, Cell)> = vec![
            ("events in the journal".into(), with_repeats(counts.journal_events, counts.journal_repeats)),
            ("records in the store".into(), with_repeats(counts.store_records, counts.store_repeats)),
            ("in both".into(), counts.in_both.to_string().into()),
            ("missing in the store".into(), counted(counts.missing)),
            ("extra in the store".into(), counted(counts.extra)),
            ("differing payloads".into(), counted(counts.differing)),
            ("joined by".into(), self.joined_by.join(", ").into()),
            ("payloads compared".into(), self.payload.into()),
            ("received".into(), span_words(self.since.as_deref(), self.until.as_deref()).into()),
        ];
        for (name, times) in [("journal", &self.journal_times), ("store", &self.store_times)] {
            facts.extend(times.iter().map(|(first, last)| {
                (format!("times of the {name}"), format!("{} to {}", short_time(first, 3), short_time(last, 3)).into())
            }));
        }
        let mut notes = self.notes.clone();
        if self.without_time > 0 {
            let what = match (&self.since, &self.until) {
                (None, None) => "how much later or earlier they are is not told",
                _ => "they count only where the journal has them",
            };
            notes.push(format!("{} records of the store have no time that can be read: {what}", self.without_time));
        }
        Report {
            title: format!("The journal against {}", self.against),
            verdict,
            facts,
            tables: vec![
                self.monitor_table(),
                delay_table("the store", &counts.store_delay),
                self.example_table(),
                self.payload_table(),
            ],
            charts: Vec::new(),
            notes,
        }
    }

    fn monitor_table(&self) -> ReportTable {
        let rows = self.monitors.iter().filter(|_| self.joined_by.contains(&"monitor")).map(|row| {
            let counts = &row.counts;
            vec![
                cut(row.monitor.as_deref(), NAME_CHARS),
                counts.journal_events.to_string().into(),
                counts.store_records.to_string().into(),
                counts.in_both.to_string().into(),
                counted(counts.missing),
                counted(counts.extra),
                counted(counts.differing),
            ]
        });
        ReportTable {
            heading: "By monitor".into(),
            columns: vec!["Monitor", "Journal", "Store", "Both", "Missing", "Extra", "Differing"],
            rows: rows.collect(),
        }
    }

    fn example_table(&self) -> ReportTable {
        let rows = self.first.iter().map(|example| {
            let what = if example.repeated {
                format!("{}, repeated", example.what.as_str())
            } else {
                example.what.as_str().into()
            };
            vec![
                Cell::marked(what, Mark::Bad),
                self.place(example).into(),
                cut(example.monitor.as_deref(), NAME_CHARS),
                cut(example.key.as_deref(), NAME_CHARS),
                cut(example.id.as_deref(), ID_CHARS),
                example.received_time.as_deref().map_or_else(|| "-".to_owned(), |time| short_time(time, 3)).into(),
            ]
        });
        ReportTable {
            heading: "The first differences".into(),
            columns: vec!["What", "Where", "Monitor", "Key", "Id", "Received"],
            rows: rows.collect(),
        }
    }

    /// Beside the table of examples, which would be too wide with it.
    fn payload_table(&self) -> ReportTable {
        let rows = self.first.iter().map(|example| {
            vec![
                self.place(example).into(),
                cut(example.journal_payload.as_deref(), PAYLOAD_CHARS),
                cut(example.store_payload.as_deref(), PAYLOAD_CHARS),
            ]
        });
        ReportTable {
            heading: "Their payloads".into(),
            columns: vec!["Where", "Journal has", "Store has"],
            rows: rows.collect(),
        }
    }

    fn place(&self, example: &StoreExample) -> String {
        let place = [
            example.offset.map(|offset| format!("offset {offset}")),
            example.row.map(|row| format!("{} {row}", self.place_name)),
        ];
        place.into_iter().flatten().collect::<Vec<_>>().join(", ")
    }
}

/// What to say where each side has something, and none of it is in both.
fn nothing_alike(place_name: &str, terms: &Terms, compared: &Compared) -> Option<String> {
    let total = &compared.total;
    if total.both > 0 || total.left == 0 || total.right == 0 {
        return None;
    }
    let of = |kind: Kind| compared.examples.iter().find(|example| example.kind == kind);
    let words = |example: &Example| {
        let mut words = Vec::new();
        let named = [
            ("monitor", terms.by_monitor, &example.monitor),
            ("key", terms.by_key, &example.key),
            ("id", terms.join == Join::Id, &example.id),
        ];
        for (name, used, value) in named {
            words.extend(used.then(|| format!("{name} {}", cut(value.as_deref(), ID_CHARS).text)));
        }
        if terms.join == Join::Payload {
            let payload = example.left_payload.as_ref().or(example.right_payload.as_ref());
            words.push(format!("payload {}", cut(payload.map(String::as_str), PAYLOAD_CHARS).text));
        }
        words.join(", ")
    };
    let examples = of(Kind::OnlyLeft).zip(of(Kind::OnlyRight)).map(|(journal, store)| {
        let (offset, place) = (journal.left_place.unwrap_or_default(), store.right_place.unwrap_or_default());
        format!(
            ": the journal's offset {offset} has {}; the store's {place_name} {place} has {}",
            words(journal),
            words(store)
        )
    });
    let what = if terms.join == Join::Id { "key or id" } else { "key or payload" };
    Some(format!("nothing is in both: the mapping of {what} may be wrong{}", examples.unwrap_or_default()))
}

fn example(example: &Example) -> StoreExample {
    StoreExample {
        what: example.kind.into(),
        offset: example.left_place,
        row: example.right_place,
        monitor: example.monitor.clone(),
        key: example.key.clone(),
        id: example.id.clone(),
        received_time: example.time.map(|time| time.to_string()),
        repeated: example.repeated,
        journal_payload: example.left_payload.clone(),
        store_payload: example.right_payload.clone(),
    }
}

/// A count that should be nothing.
pub(crate) fn counted(count: u64) -> Cell {
    Cell::marked(count.to_string(), if count == 0 { Mark::Good } else { Mark::Bad })
}

fn with_repeats(count: u64, repeats: u64) -> Cell {
    match repeats {
        0 => count.to_string().into(),
        repeats => format!("{count}, {repeats} of them repeats").into(),
    }
}

/// A span in words.
fn span_words(since: Option<&str>, until: Option<&str>) -> String {
    let short = |time: Option<&str>| time.map(|time| short_time(time, 3));
    match (short(since), short(until)) {
        (None, None) => "at any time".into(),
        (Some(since), None) => format!("from {since} on"),
        (None, Some(until)) => format!("before {until}"),
        (Some(since), Some(until)) => format!("from {since} to {until}"),
    }
}

/// How much later or earlier `who` had what both have.
pub(crate) fn delay_table(who: &str, delay: &DelayFigures) -> ReportTable {
    let row = |what: &str, figures: &LengthFigures| {
        let millis = |value: f64| Cell::from(format!("{value} ms"));
        vec![
            what.into(),
            figures.events.to_string().into(),
            millis(figures.p50_ms),
            millis(figures.p95_ms),
            millis(figures.p99_ms),
            millis(figures.max_ms),
        ]
    };
    let rows = [("later", &delay.later), ("earlier", &delay.earlier)];
    let rows = rows.into_iter().filter_map(|(what, figures)| figures.as_ref().map(|figures| row(what, figures)));
    ReportTable {
        heading: format!("How much later or earlier {who} had what both have"),
        columns: vec!["Which", "Events", "p50", "p95", "p99", "Most"],
        rows: rows.collect(),
    }
}
