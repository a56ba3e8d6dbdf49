//! Journals made up of given events, and what the commands say of them.

use std::path::Path as FilePath;
use std::sync::Arc;

use serde_json::Value;
use sluice::clock::UnixNanos;
use sluice::journal::{
    BlockBuilder, DedupeHash, Encoder, EventId, Journal, MonitorIdentity, NewEvent, Offset, Part, Path as Way,
    SourceSlot,
};

pub(super) use crate::journal::support::START;
use crate::journal::support::{open, wait_for};
use crate::processes::Settings;
use crate::support::{Outcome, Workplace};

/// An event that a test makes up.
#[derive(Debug, Clone)]
pub(super) struct Given {
    pub(super) way: Way,
    pub(super) monitor: &'static str,
    pub(super) domain: &'static str,
    pub(super) key: Option<String>,
    /// A raw token.
    pub(super) id: Id,
    /// Milliseconds after [`START`].
    pub(super) at: i64,
    pub(super) payload: String,
}

/// What an event is told by.
#[derive(Debug, Clone)]
pub(super) enum Id {
    /// A raw token.
    Token(String),
    /// A hash of the payload, another one in each scope.
    Hash,
    /// Nothing.
    None,
}

/// Trade `number` of the monitor `trades`, received `number` milliseconds after [`START`].
pub(super) fn trade(number: u64) -> Given {
    Given {
        way: Way::Smart,
        monitor: "trades",
        domain: "spot",
        key: Some(format!("\"PAIR{}\"", number % 3)),
        id: Id::Token(number.to_string()),
        at: i64::try_from(number).unwrap(),
        payload: payload(number),
    }
}

/// The payload of trade `number`.
pub(super) fn payload(number: u64) -> String {
    format!(r#"{{"t":{number},"p":"{}.50"}}"#, 40_000 + number % 7919)
}

impl Given {
    /// The same as its shadow on the legacy path, so much later.
    pub(super) fn shadow(&self, later: i64) -> Self {
        let domain = if self.domain == "spot" { "_shadow.spot" } else { "_shadow.book" };
        Self { way: Way::Legacy, domain, at: self.at + later, ..self.clone() }
    }
}

/// A folder with settings.
pub(super) fn place() -> Workplace {
    let place = Workplace::new();
    Settings::new().write(&place);
    place
}

/// A folder with settings and a journal of these events, in this order.
pub(super) fn journal_of(given: &[Given]) -> Workplace {
    let place = place();
    write(&place.path("data/journal"), given);
    place
}

/// Writes a journal of these events, in this order: a block for each run of one path.
pub(super) fn write(folder: &FilePath, given: &[Given]) {
    std::fs::create_dir_all(folder).unwrap();
    let journal = open(folder);
    let mut monitors: Vec<Arc<MonitorIdentity>> = Vec::new();
    let mut encoder = Encoder::new();
    for run in given.chunk_by(|a, b| a.way == b.way && a.at <= b.at) {
        for some in run.chunks(5000) {
            let mut builder = BlockBuilder::new(some[0].way);
            for event in some {
                put(&mut builder, &mut monitors, event);
            }
            append(&journal, builder, &mut encoder);
        }
    }
    journal.close().unwrap();
}

fn put(builder: &mut BlockBuilder, monitors: &mut Vec<Arc<MonitorIdentity>>, event: &Given) {
    let known = monitors.iter().position(|known| &*known.name == event.monitor && &*known.domain == event.domain);
    let index = known.unwrap_or_else(|| {
        let index = u32::try_from(monitors.len()).unwrap();
        monitors.push(Arc::new(MonitorIdentity { index, name: event.monitor.into(), domain: event.domain.into() }));
        monitors.len() - 1
    });
    let source = builder.source(&monitors[index], "topic", SourceSlot(u32::try_from(index).unwrap()));
    let parts;
    let (id, hash) = match &event.id {
        Id::Token(token) => {
            parts = [Part::Literal(token.as_bytes())];
            // The legacy path drops no repeats, and needs nothing to tell them by.
            (EventId::Parts(&parts), (event.way == Way::Smart).then_some(7))
        }
        // As two scopes have it: another one each.
        Id::Hash => (EventId::PayloadHash, Some(if event.way == Way::Smart { 8 } else { 9 })),
        Id::None => (EventId::None, None),
    };
    builder.push(&NewEvent {
        source,
        received: UnixNanos(START + event.at * 1_000_000),
        event_time: None,
        payload: event.payload.as_bytes(),
        id,
        key: event.key.as_ref().map(|key| Part::Literal(key.as_bytes())),
        hash: hash.map(|hash| DedupeHash { hash, payload_check: 1 }),
        conflict: false,
        handover: false,
    });
}

pub(super) fn append(journal: &Journal, mut builder: BlockBuilder, encoder: &mut Encoder) {
    let block = builder.finish(encoder);
    let until = Offset(journal.durable().0 + u64::from(block.events()));
    journal.try_submit(block).unwrap();
    wait_for(|| journal.durable() >= until);
}

/// A moment so many milliseconds after [`START`], RFC 3339.
pub(super) fn moment(millis: i64) -> String {
    UnixNanos(START + millis * 1_000_000).to_string()
}

/// Runs a command on the place's settings.
pub(super) fn run(place: &Workplace, command: &[&str]) -> Outcome {
    place.run(["--config", "sluice.toml"].iter().chain(command))
}

/// `sluice verify --against WHAT`: its exit code, and what it says to programs.
pub(super) fn verify(place: &Workplace, against: &str, more: &[&str]) -> (Option<i32>, Value) {
    told(&run(place, &[&["verify", "--output", "json", "--against", against], more].concat()))
}

/// `sluice monitors compare`, the same.
pub(super) fn compare(place: &Workplace, more: &[&str]) -> (Option<i32>, Value) {
    told(&run(place, &[&["monitors", "compare", "--format", "json"], more].concat()))
}

fn told(outcome: &Outcome) -> (Option<i32>, Value) {
    let value = serde_json::from_str(&outcome.stdout).unwrap_or_else(|error| panic!("{error}: {outcome:?}"));
    (outcome.code, value)
}

/// The examples as (what, id).
pub(super) fn examples(told: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let first = told["first"].as_array().unwrap_or_else(|| panic!("{told}"));
    first.iter().map(|example| (text(&example["what"]), text(&example["id"]))).collect()
}

/// As [`examples`] gives them.
pub(super) fn named(examples: &[(&str, u64)]) -> Vec<(String, String)> {
    examples.iter().map(|(what, id)| ((*what).to_owned(), id.to_string())).collect()
}

/// in both, missing, extra, differing
pub(super) fn counts(told: &Value) -> [u64; 4] {
    ["in_both", "missing", "extra", "differing"].map(|name| told[name].as_u64().unwrap_or_else(|| panic!("{told}")))
}

/// A report for people fits an ordinary terminal, and times have no digits that nobody reads.
pub(super) fn is_narrow(report: &str) {
    let widest = report.lines().max_by_key(|line| line.chars().count()).unwrap_or_default();
    assert!(widest.chars().count() <= 100, "{} columns: {widest}", widest.chars().count());
    assert!(!report.contains("000000Z"), "{report}");
    assert!(report.contains("THEIR PAYLOADS") || report.contains("Their payloads"), "{report}");
}
