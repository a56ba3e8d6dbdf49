//! Compares what a sink's store holds with the journal: counts and order-independent hashes for each monitor and hour, and where
//! they differ, which events.
//!
//! Both sides are read in order and summed up; memory is taken for sums and never for events. Only stretches of offsets in which
//! the sums differ are read once more, a bounded number of them, and compared event by event.

pub(super) mod canonical;
mod sums;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ops::Range;

use serde::Serialize;

use self::sums::{Form, Print, Printer, STRETCH, Seen, Side};
use crate::clock::UnixNanos;
use crate::config::{PayloadType, SinkKind, SinkSettings};
use crate::journal::{
    Block, BlockFilter, BlockHeader, JournalError, JournalReader, OWN_DOMAIN, Offset, Passage, SINKS_MONITOR,
};
use crate::sink::{Interest, LOST_TOPIC, LostSpan, Opening, Parked, Store, StoreError, StoredRow};

/// Parked rows that are looked at.
const PARKED_MAX: usize = 100_000;

/// Stretches that are looked at event by event.
const STRETCHES_MAX: usize = 32;

/// Differences that are named, and spans that are.
const NAMED_MAX: usize = 20;

/// Days that the `sqlite` store keeps where nothing is said.
const SQLITE_DAYS: u32 = 14;

const NANOS_PER_DAY: i64 = 24 * 3600 * 1_000_000_000;

/// What is to be compared.
#[derive(Debug, Clone, Default)]
pub struct VerifyRequest {
    /// From this offset on.
    pub from: Option<u64>,
    /// Up to, but without, this one.
    pub to: Option<u64>,
    /// Received at or after.
    pub since: Option<UnixNanos>,
    /// Received before.
    pub until: Option<UnixNanos>,
}

/// A store that is to be compared.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// The sink's name.
    pub name: &'a str,
    /// Its settings.
    pub settings: &'a SinkSettings,
}

/// Why nothing was compared.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The journal.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// How an event differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Difference {
    /// The journal has it, the store has not.
    Missing,
    /// The store has it, and should not.
    Extra,
    /// Both have it, and it is not the same.
    Different,
    /// The store has it more than once.
    Duplicated,
}

impl Difference {
    /// As programs see it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Extra => "extra",
            Self::Different => "different",
            Self::Duplicated => "duplicated",
        }
    }
}

/// An event that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DifferentEvent {
    /// Its offset.
    pub offset: u64,
    /// Its monitor: as the journal has it, else as the store has.
    pub monitor: String,
    /// How.
    pub what: Difference,
    /// In what, if both have it: `monitor`, `received_time`, `payload`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<&'static str>,
}

/// An hour of a monitor in which counts or hashes differ.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DifferentSpan {
    /// When it begins, RFC 3339.
    pub start: String,
    /// The monitor.
    pub monitor: String,
    /// Events that the journal has.
    pub journal_events: u64,
    /// Events that the store has.
    pub sink_events: u64,
}

/// A span of offsets that is not compared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LeftOut {
    /// Its first offset.
    pub from: u64,
    /// The offset after its last.
    pub to: u64,
    /// Why: a cause of a lost span, or `hole`.
    pub cause: String,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verified {
    /// The sink.
    pub sink: String,
    /// `postgres`, `sqlite`, `nats`, `jsonl`.
    pub kind: &'static str,
    /// Whether nothing differs.
    pub equal: bool,
    /// Compared from this offset on,
    pub from: u64,
    /// up to this one: the cursor, or where the span ends.
    pub to: u64,
    /// How far the store says that it is.
    pub cursor: Option<u64>,
    /// The journal's end when this began.
    pub durable_offset: u64,
    /// Events of the journal that were compared.
    pub journal_events: u64,
    /// Events of the store that were.
    pub sink_events: u64,
    /// Rows that the store has put aside, which are no difference.
    pub parked: u64,
    /// Not compared.
    pub left_out: Vec<LeftOut>,
    /// Events received before are not compared, because the store does not keep them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kept_since: Option<String>,
    /// Spans of an hour and a monitor.
    pub spans: u64,
    /// Of these, different ones.
    pub different_spans: u64,
    /// The first of these.
    pub first_spans: Vec<DifferentSpan>,
    /// The first events that differ.
    pub first_events: Vec<DifferentEvent>,
}

/// What of both sides counts.
struct Scope<'a> {
    interest: Interest,
    request: &'a VerifyRequest,
    span: Range<u64>,
    left_out: Vec<LeftOut>,
    parked: HashSet<u64>,
    kept_since: Option<UnixNanos>,
}

impl Scope<'_> {
    fn covers(&self, offset: u64, received: UnixNanos) -> bool {
        self.span.contains(&offset)
            && !self.left_out.iter().any(|span| (span.from..span.to).contains(&offset))
            && self.request.since.is_none_or(|since| received >= since)
            && self.request.until.is_none_or(|until| received < until)
            && self.kept_since.is_none_or(|since| received >= since)
    }
}

/// Compares a store with the journal. Reads files of the journal in between, so it is to run where that may block.
///
/// # Errors
/// When either side cannot be read, or `SQLite` says that a file of its is damaged.
pub async fn verify(
    reader: &mut JournalReader,
    store: &mut impl Store,
    (subject, opening): (Subject<'_>, &Opening),
    request: &VerifyRequest,
) -> Result<Verified, VerifyError> {
    let (earliest, durable) = (reader.earliest()?, reader.durable()?);
    let cursor = store.open(opening).await?;
    // A store without a cursor lacks everything: one that was emptied must not pass for one that is equal.
    let end = cursor.map_or(durable, |cursor| cursor.min(durable));
    let span = earliest.0.max(request.from.unwrap_or(0))..end.0.min(request.to.unwrap_or(u64::MAX));
    let parked = store.parked(opening, PARKED_MAX).await?;
    let mut scope = Scope {
        interest: Interest::new(subject.name, subject.settings),
        request,
        left_out: lost_spans(reader, subject.name, earliest)?,
        parked: parked.iter().map(|parked: &Parked| parked.offset).collect(),
        kept_since: kept_since(subject.settings),
        span,
    };
    let form = form_of(subject.settings);
    let (mut ours, mut theirs) = (Side::new(form), Side::new(form));
    let whole = scope.span.clone();
    let holes = walk(reader, &scope, &whole, |seen| ours.add(seen))?;
    scope.left_out.extend(holes);
    // An event whose place is a hole by now was not met above; rows of it are left out below.
    let mut beyond = BTreeMap::new();
    let open_end = request.to.is_none();
    let read =
        Offset(scope.span.start)..if open_end { Offset(i64::MAX.cast_unsigned()) } else { Offset(scope.span.end) };
    let mut take = |row: StoredRow<'_>| {
        if scope.covers(row.offset.0, row.received) {
            theirs.add(seen_of(&row));
        } else if row.offset.0 >= scope.span.end.max(durable.0) && beyond.len() < NAMED_MAX {
            beyond.insert(row.offset.0, row.monitor.to_owned());
        }
    };
    store.read_back(opening, read, &mut take).await?;
    let (spans_unlike, spans) = ours.spans_unlike(&theirs);
    let mut first_events = Vec::new();
    if ours.stretches_unlike(&theirs).is_empty() {
        debug_assert!(spans_unlike.is_empty(), "spans and stretches hold the same events");
    } else {
        let stretches: BTreeSet<u64> = ours.stretches_unlike(&theirs).into_iter().take(STRETCHES_MAX).collect();
        first_events = name(reader, store, opening, (&scope, form, &stretches)).await?;
    }
    // What became durable since may have reached the store since.
    let durable_now = reader.durable()?.0;
    let beyond = beyond.into_iter().filter(|(offset, _)| *offset >= durable_now);
    first_events.extend(beyond.map(|(offset, monitor)| DifferentEvent {
        offset,
        monitor,
        what: Difference::Extra,
        fields: Vec::new(),
    }));
    first_events.truncate(NAMED_MAX);
    Ok(Verified {
        sink: subject.name.to_owned(),
        kind: subject.settings.kind.as_str(),
        equal: spans_unlike.is_empty() && first_events.is_empty(),
        from: scope.span.start,
        to: scope.span.end.max(scope.span.start),
        cursor: cursor.map(|cursor| cursor.0),
        durable_offset: durable.0,
        journal_events: ours.events,
        sink_events: theirs.events,
        parked: scope.parked.len() as u64,
        left_out: scope.left_out.into_iter().filter(|left| left.from < whole.end && left.to > whole.start).collect(),
        kept_since: scope.kept_since.map(|since| since.to_string()),
        spans,
        different_spans: spans_unlike.len() as u64,
        first_spans: spans_unlike
            .into_iter()
            .take(NAMED_MAX)
            .map(|(start, monitor, journal_events, sink_events)| DifferentSpan {
                start: start.to_string(),
                monitor,
                journal_events,
                sink_events,
            })
            .collect(),
        first_events,
    })
}

fn seen_of<'a>(row: &StoredRow<'a>) -> Seen<'a> {
    let StoredRow { offset, monitor, received, payload } = *row;
    Seen { offset, monitor, received, payload: Seen::payload_of(payload) }
}

/// Gives the journal's events of a span that the store should have. Returns holes that were gone by.
fn walk(
    reader: &mut JournalReader,
    scope: &Scope<'_>,
    span: &Range<u64>,
    mut take: impl FnMut(Seen<'_>),
) -> Result<Vec<LeftOut>, JournalError> {
    if span.is_empty() {
        return Ok(Vec::new());
    }
    reader.seek(Offset(span.start));
    reader.take_holes();
    let wanted = |header: &BlockHeader| header.base().0 < span.end && scope.interest.may_want(header);
    while let Some(passage) = reader.next_passage(wanted)? {
        let at = match &passage {
            Passage::Passed(to) => *to,
            Passage::Block(block) => {
                give(block, scope, span, &mut take);
                block.header().end()
            }
        };
        if at.0 >= span.end {
            break;
        }
    }
    let hole = |hole: crate::journal::Hole| LeftOut { from: hole.from.0, to: hole.to.0, cause: "hole".to_owned() };
    Ok(reader.take_holes().into_iter().filter(|hole| !hole.is_empty()).map(hole).collect())
}

fn give(block: &Block, scope: &Scope<'_>, span: &Range<u64>, take: &mut impl FnMut(Seen<'_>)) {
    for event in block.events() {
        let offset = event.offset;
        if span.contains(&offset.0)
            && scope.covers(offset.0, event.received)
            && !scope.parked.contains(&offset.0)
            && scope.interest.wants(&event)
        {
            take(Seen { offset, monitor: event.monitor, received: event.received, payload: event.payload });
        }
    }
}

/// Names the events that differ in some stretches.
async fn name(
    reader: &mut JournalReader,
    store: &mut impl Store,
    opening: &Opening,
    (scope, form, stretches): (&Scope<'_>, Form, &BTreeSet<u64>),
) -> Result<Vec<DifferentEvent>, VerifyError> {
    let bounds = stretches.first().zip(stretches.last()).map(|(first, last)| first * STRETCH..(last + 1) * STRETCH);
    let bounds = bounds.unwrap_or(0..0);
    let bounds = bounds.start.max(scope.span.start)..bounds.end.min(scope.span.end);
    let mut printer = Printer::new(form);
    let mut ours: BTreeMap<u64, (Print, Box<str>)> = BTreeMap::new();
    walk(reader, scope, &bounds, |seen| {
        if stretches.contains(&(seen.offset.0 / STRETCH)) {
            ours.insert(seen.offset.0, (printer.print(seen), seen.monitor.into()));
        }
    })?;
    let mut met = HashSet::new();
    let mut differences = BTreeMap::new();
    let mut take = |row: StoredRow<'_>| {
        let offset = row.offset.0;
        if !scope.covers(offset, row.received) || !stretches.contains(&(offset / STRETCH)) {
            return;
        }
        let again = !met.insert(offset);
        let known = ours.get(&offset);
        let (what, fields) = match known {
            _ if again => (Difference::Duplicated, Vec::new()),
            None => (Difference::Extra, Vec::new()),
            Some((print, _)) => {
                let theirs = printer.print(seen_of(&row));
                let parts = [
                    ("monitor", print.monitor == theirs.monitor),
                    ("received_time", print.received == theirs.received),
                    ("payload", print.payload == theirs.payload),
                ];
                (Difference::Different, parts.into_iter().filter(|(_, same)| !same).map(|(field, _)| field).collect())
            }
        };
        if what != Difference::Different || !fields.is_empty() {
            let monitor = known.map_or_else(|| row.monitor.to_owned(), |(_, monitor)| monitor.to_string());
            differences.entry((offset, what)).or_insert(DifferentEvent { offset, monitor, what, fields });
        }
    };
    store.read_back(opening, Offset(bounds.start)..Offset(bounds.end), &mut take).await?;
    for (offset, (_, monitor)) in ours.iter().filter(|(offset, _)| !met.contains(offset)) {
        let missing = DifferentEvent {
            offset: *offset,
            monitor: monitor.to_string(),
            what: Difference::Missing,
            fields: Vec::new(),
        };
        differences.insert((*offset, Difference::Missing), missing);
    }
    Ok(differences.into_values().take(NAMED_MAX).collect())
}

/// Spans that the sink did not get, as the journal has them on record.
fn lost_spans(reader: &mut JournalReader, sink: &str, earliest: Offset) -> Result<Vec<LeftOut>, JournalError> {
    reader.seek(earliest);
    let filter = BlockFilter {
        monitors: vec![SINKS_MONITOR.to_owned()],
        domains: vec![OWN_DOMAIN.to_owned()],
        ..BlockFilter::all()
    };
    let mut spans = Vec::new();
    while let Some(block) = reader.next_block(&filter)? {
        let events = block.events().filter(|event| event.domain == OWN_DOMAIN && event.topic == LOST_TOPIC);
        for event in events {
            let Ok(lost) = serde_json::from_slice::<LostSpan>(event.payload) else { continue };
            let cause = serde_json::to_value(lost.cause).ok().and_then(|cause| Some(cause.as_str()?.to_owned()));
            let span = LeftOut { from: lost.from, to: lost.to, cause: cause.unwrap_or_default() };
            // After a crash it may be told twice.
            if lost.sink == sink && !spans.contains(&span) {
                spans.push(span);
            }
        }
    }
    Ok(spans)
}

/// From when on the store surely keeps everything.
fn kept_since(settings: &SinkSettings) -> Option<UnixNanos> {
    let days = match settings.kind {
        SinkKind::Sqlite => Some(settings.retention_days.unwrap_or(SQLITE_DAYS)),
        SinkKind::Jsonl => settings.retention_days,
        SinkKind::Postgres | SinkKind::Nats => None,
    };
    let today = UnixNanos::now().0.div_euclid(NANOS_PER_DAY);
    days.map(|days| UnixNanos((today + 1 - i64::from(days.max(1))).saturating_mul(NANOS_PER_DAY)))
}

/// How a store gives payloads back.
fn form_of(settings: &SinkSettings) -> Form {
    match (settings.kind, settings.payload) {
        (SinkKind::Jsonl, _) | (SinkKind::Postgres, Some(PayloadType::Jsonb)) => Form::Value,
        _ => Form::Bytes,
    }
}
