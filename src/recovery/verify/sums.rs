//! Counts and order-independent hashes of events, by monitor and hour and by stretches of offsets.

use std::collections::{BTreeMap, HashMap};

use siphasher::sip128::SipHasher13;

use super::canonical;
use crate::clock::UnixNanos;
use crate::journal::Offset;
use crate::sink::StoredPayload;

/// What an hour is cut by.
pub(super) const SPAN_NANOS: i64 = 3600 * 1_000_000_000;

/// Offsets that are summed up together; a stretch that differs is looked at event by event.
pub(super) const STRETCH: u64 = 4096;

/// How payloads are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// To the byte.
    Bytes,
    /// As JSON values.
    Value,
}

/// An event as both sides see it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen<'a> {
    pub(super) offset: Offset,
    pub(super) monitor: &'a str,
    pub(super) received: UnixNanos,
    pub(super) payload: &'a [u8],
}

impl<'a> Seen<'a> {
    pub(super) fn payload_of(payload: StoredPayload<'a>) -> &'a [u8] {
        match payload {
            StoredPayload::Raw(bytes) | StoredPayload::Json(bytes) => bytes,
        }
    }
}

/// Fingerprints of an event's parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Print {
    pub(super) monitor: u64,
    /// Microseconds: no store keeps less.
    pub(super) received: i64,
    pub(super) payload: u128,
}

impl Print {
    fn hash(self, offset: Offset) -> u128 {
        let mut bytes = [0; 40];
        bytes[..8].copy_from_slice(&offset.0.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.monitor.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.received.to_le_bytes());
        bytes[24..].copy_from_slice(&self.payload.to_le_bytes());
        SipHasher13::new().hash(&bytes).as_u128()
    }
}

/// Makes prints; keeps its memory.
#[derive(Debug)]
pub(super) struct Printer {
    form: Form,
    scratch: Vec<u8>,
}

impl Printer {
    pub(super) fn new(form: Form) -> Self {
        Self { form, scratch: Vec::new() }
    }

    pub(super) fn print(&mut self, seen: Seen<'_>) -> Print {
        let payload = match self.form {
            Form::Bytes => seen.payload,
            Form::Value => {
                self.scratch.clear();
                canonical::put_payload(seen.payload, &mut self.scratch);
                &self.scratch
            }
        };
        Print {
            monitor: SipHasher13::new().hash(seen.monitor.as_bytes()).h1,
            received: seen.received.0.div_euclid(1000),
            payload: SipHasher13::new().hash(payload).as_u128(),
        }
    }
}

/// How many, and a sum of hashes that does not depend on their order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Sum {
    pub(super) events: u64,
    hash: u128,
}

impl Sum {
    fn add(&mut self, hash: u128) {
        self.events += 1;
        // A sum and no exclusive or: two equal rows must not cancel out.
        self.hash = self.hash.wrapping_add(hash);
    }
}

/// One side. Bounded by monitors times hours, and by a sum for each 4,096 offsets; never by events.
#[derive(Debug)]
pub(super) struct Side {
    printer: Printer,
    pub(super) events: u64,
    numbers: HashMap<Box<str>, usize>,
    names: Vec<Box<str>>,
    spans: BTreeMap<(usize, i64), Sum>,
    stretches: BTreeMap<u64, Sum>,
}

impl Side {
    pub(super) fn new(form: Form) -> Self {
        Self {
            printer: Printer::new(form),
            events: 0,
            numbers: HashMap::new(),
            names: Vec::new(),
            spans: BTreeMap::new(),
            stretches: BTreeMap::new(),
        }
    }

    pub(super) fn add(&mut self, seen: Seen<'_>) {
        let hash = self.printer.print(seen).hash(seen.offset);
        let known = self.numbers.get(seen.monitor).copied();
        let number = known.unwrap_or_else(|| {
            self.names.push(seen.monitor.into());
            self.numbers.insert(seen.monitor.into(), self.names.len() - 1);
            self.names.len() - 1
        });
        self.events += 1;
        self.spans.entry((number, seen.received.0.div_euclid(SPAN_NANOS))).or_default().add(hash);
        self.stretches.entry(seen.offset.0 / STRETCH).or_default().add(hash);
    }

    /// By monitor and hour.
    fn by_name(&self) -> BTreeMap<(i64, &str), Sum> {
        self.spans.iter().map(|((number, hour), sum)| ((*hour, &*self.names[*number]), *sum)).collect()
    }

    /// Spans in which two sides differ, earliest first, with the events of each; and how many spans there are.
    pub(super) fn spans_unlike(&self, other: &Self) -> (Vec<(UnixNanos, String, u64, u64)>, u64) {
        let (ours, theirs) = (self.by_name(), other.by_name());
        let mut all: Vec<_> = ours.keys().chain(theirs.keys().filter(|key| !ours.contains_key(key))).copied().collect();
        all.sort_unstable();
        let spans = all.len() as u64;
        let unlike = all.into_iter().filter_map(|key| {
            let ours = ours.get(&key).copied().unwrap_or_default();
            let theirs = theirs.get(&key).copied().unwrap_or_default();
            let start = UnixNanos(key.0.saturating_mul(SPAN_NANOS));
            (ours != theirs).then(|| (start, key.1.to_owned(), ours.events, theirs.events))
        });
        (unlike.collect(), spans)
    }

    /// Stretches in which two sides differ, by number, first ones first.
    pub(super) fn stretches_unlike(&self, other: &Self) -> Vec<u64> {
        let (ours, theirs) = (&self.stretches, &other.stretches);
        let mut unlike: Vec<u64> =
            ours.iter().filter(|(at, sum)| theirs.get(at) != Some(sum)).map(|(at, _)| *at).collect();
        unlike.extend(theirs.keys().filter(|at| !ours.contains_key(at)));
        unlike.sort_unstable();
        unlike
    }
}
