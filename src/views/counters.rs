//! Business counters: of the events of a monitor those with a certain value somewhere, or with a value that is new.
//!
//! Only durable events are counted, each once: a counter's total goes with the offset up to which it is built, in one entry of the
//! folder, and both move on together. So a kill costs nothing but counting the last seconds again. Where the folder is lost
//! the total goes on from the newest record in the journal ([`CounterRecord`]); keys
//! that were seen are read again out of the events that the journal still has.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::counter_board::{CounterName, CounterNow, CounterRecord, Wanted};
use super::first_seen::SeenKeys;
use super::store::Change;
use crate::clock::UnixNanos;
use crate::config::{CounterSettings, CounterValue};
use crate::journal::{Block, BlockHeader, Event, JournalError, JournalReader, Offset, Passage};
use crate::scanner::{Fields, Pointer, PointerSet, Token, TokenKind, Utf8};

/// The most keys that are remembered, of all counters together; the oldest of the counter with the most go first. They take
/// some 40 MiB.
const KEYS_MAX: usize = 1_000_000;

/// Hours that are kept behind the newest, and minutes.
const HOURS_KEPT: i64 = 48;
const MINUTES_KEPT: i64 = 60;

const NANOS_PER_MINUTE: i64 = 60_000_000_000;
const NANOS_PER_HOUR: i64 = 60 * NANOS_PER_MINUTE;

/// A counter as the folder keeps it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Standing {
    counts: CounterSettings,
    /// Events before this are done.
    up_to: u64,
    /// Events before this only tell which keys there are and what hours had: a total was taken over that counts them.
    count_from: u64,
    total: u64,
    forgotten: u64,
    missed: u64,
    hours: BTreeMap<i64, u64>,
    minutes: BTreeMap<i64, u64>,
}

#[derive(Debug)]
struct Counter {
    name: CounterName,
    rule: Rule,
    standing: Standing,
    seen: SeenKeys,
    unsaved: bool,
}

#[derive(Debug)]
enum Rule {
    Equals(CounterValue),
    FirstSeen,
}

/// Counters of a monitor, with their pointers in one set: slot `i` is that of counter `i`.
#[derive(Debug)]
struct OfMonitor {
    monitor: Box<str>,
    pointers: PointerSet,
    counters: Vec<Counter>,
}

/// What the folder has of a counter, and its pages of keys, by number.
type Stored = (Option<Standing>, BTreeMap<u64, Vec<u8>>);

/// All counters.
#[derive(Debug, Default)]
pub(super) struct Counters {
    monitors: Vec<OfMonitor>,
    fields: Fields,
    /// Of the folder, until it is known what is wanted.
    stored: BTreeMap<CounterName, Stored>,
    /// Entries of counters that are wanted no longer.
    gone: Vec<Vec<u8>>,
    /// The most keys.
    keys_max: Option<usize>,
}

/// Where a counter begins that the folder has not got, or not well.
pub(super) struct Beginnings {
    /// The first event that is kept.
    pub(super) earliest: Offset,
    /// The first event of about the last hour.
    pub(super) hour_ago: Offset,
}

impl Counters {
    /// Counts what is wanted from now on, and nothing else. `on_record` says what the journal knows of a counter.
    pub(super) fn adopt(
        &mut self,
        wanted: &[Wanted],
        on_record: impl Fn(&Wanted) -> Option<CounterRecord>,
        beginnings: &Beginnings,
    ) {
        let mut known: BTreeMap<CounterName, (Standing, SeenKeys)> = BTreeMap::new();
        for (name, (standing, pages)) in std::mem::take(&mut self.stored) {
            match standing {
                Some(standing) => drop(known.insert(name, (standing, SeenKeys::load(pages)))),
                None => self.gone.extend(pages.into_keys().map(|page| page_key(&name, page))),
            }
        }
        for counter in std::mem::take(&mut self.monitors).into_iter().flat_map(|of| of.counters) {
            known.insert(counter.name, (counter.standing, counter.seen));
        }
        for wanted in wanted {
            let before = known.remove(&wanted.name);
            let kept = before.filter(|(standing, _)| standing.counts == wanted.settings);
            let (standing, seen) = begin(wanted, kept, on_record(wanted), beginnings);
            let Some(counter) = Counter::new(wanted, standing, seen) else { continue };
            match self.monitors.iter_mut().find(|of| of.monitor == wanted.name.0) {
                Some(of) => of.counters.push(counter),
                None => self.monitors.push(OfMonitor {
                    monitor: wanted.name.0.clone(),
                    pointers: PointerSet::default(),
                    counters: vec![counter],
                }),
            }
        }
        for of in &mut self.monitors {
            let pointers: Vec<Pointer> = of.counters.iter().filter_map(|counter| counter.pointer().ok()).collect();
            of.pointers = PointerSet::new(&pointers);
        }
        for (name, (_, seen)) in known {
            self.gone.push(standing_key(&name));
            self.gone.extend(seen.pages().map(|page| page_key(&name, page)));
        }
    }

    fn all(&self) -> impl Iterator<Item = &Counter> {
        self.monitors.iter().flat_map(|of| &of.counters)
    }

    fn all_mut(&mut self) -> impl Iterator<Item = &mut Counter> {
        self.monitors.iter_mut().flat_map(|of| &mut of.counters)
    }

    /// Where those stand that are furthest, and where the one stands that is least so. None without counters.
    pub(super) fn places(&self) -> Option<(Offset, Offset)> {
        let places = || self.all().map(|counter| counter.standing.up_to);
        Some((Offset(places().max()?), Offset(places().min()?)))
    }

    /// Counts some blocks from where counters stand at `at` on. Whether there may be more.
    pub(super) fn follow(
        &mut self,
        reader: &mut JournalReader,
        at: Offset,
        blocks: usize,
    ) -> Result<bool, JournalError> {
        if reader.position() != at {
            reader.seek(at);
        }
        for _ in 0..blocks {
            let from = reader.position();
            match reader.next_passage(|header| self.wants(header, from)) {
                Ok(Some(Passage::Block(block))) => self.count(&block, from),
                Ok(Some(Passage::Passed(to))) => self.pass(from, to),
                Ok(None) => return Ok(false),
                Err(JournalError::OffsetGone { earliest, .. }) if earliest > from => {
                    self.miss(earliest);
                    reader.seek(earliest);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// A hole may be between `from` and the block.
    fn wants(&self, header: &BlockHeader, from: Offset) -> bool {
        let has = |of: &OfMonitor| header.rows().iter().any(|row| row.events > 0 && *row.monitor.name == *of.monitor);
        let waits = |of: &OfMonitor| of.counters.iter().any(|counter| counter.is_within(from, header.end()));
        self.monitors.iter().any(|of| has(of) && waits(of))
    }

    /// Counters that have everything before the block have everything before its end.
    fn count(&mut self, block: &Block, from: Offset) {
        let end = block.header().end();
        let Self { monitors, fields, .. } = self;
        for of in monitors.iter_mut().filter(|of| of.counters.iter().any(|counter| counter.is_within(from, end))) {
            for event in block.events().filter(|event| *event.monitor == *of.monitor && !event.domain.starts_with('_'))
            {
                // A payload that is no JSON has nothing to count.
                if of.pointers.scan(event.payload, Utf8::Unchecked, fields).is_err() {
                    continue;
                }
                for (slot, counter) in of.counters.iter_mut().enumerate() {
                    if counter.is_within(from, end)
                        && event.offset.0 >= counter.standing.up_to
                        && let Some(found) = fields.get(slot)
                    {
                        counter.count(&event, found.token(event.payload));
                    }
                }
            }
        }
        self.pass(from, end);
        self.forget_keys();
    }

    fn pass(&mut self, from: Offset, to: Offset) {
        for counter in self.all_mut().filter(|counter| counter.is_within(from, to)) {
            counter.standing.up_to = to.0;
            counter.unsaved = true;
        }
    }

    /// Retention was faster.
    fn miss(&mut self, earliest: Offset) {
        for counter in self.all_mut() {
            let standing = &mut counter.standing;
            if standing.up_to < earliest.0 {
                // What a total was taken over for is in it.
                standing.missed += earliest.0.saturating_sub(standing.up_to.max(standing.count_from));
                tracing::warn!(
                    monitor = &*counter.name.0,
                    counter = &*counter.name.1,
                    from = standing.up_to,
                    to = earliest.0,
                    "retention deleted events before they were counted"
                );
                standing.up_to = earliest.0;
                counter.unsaved = true;
            }
        }
    }

    fn forget_keys(&mut self) {
        let most = self.keys_max.unwrap_or(KEYS_MAX);
        while self.all().map(|counter| counter.seen.len()).sum::<usize>() > most {
            let Some(largest) = self.all_mut().max_by_key(|counter| counter.seen.len()) else { return };
            let forgotten = largest.seen.forget_oldest() as u64;
            if largest.standing.forgotten == 0 {
                tracing::warn!(
                    monitor = &*largest.name.0,
                    counter = &*largest.name.1,
                    "more than {most} keys were seen: the oldest are forgotten, and count again when they come again"
                );
            }
            largest.standing.forgotten += forgotten;
            largest.unsaved = true;
        }
    }

    /// What the folder has to learn.
    pub(super) fn take_changes(&mut self) -> Vec<Change> {
        let mut changes: Vec<Change> = std::mem::take(&mut self.gone).into_iter().map(|key| (key, None)).collect();
        for counter in self.all_mut() {
            if std::mem::take(&mut counter.unsaved) {
                // Strings and numbers only: serialization has nothing to refuse.
                let standing = serde_json::to_vec(&counter.standing).unwrap_or_default();
                changes.push((standing_key(&counter.name), Some(standing)));
            }
            let pages = counter.seen.take_changes();
            changes.extend(pages.into_iter().map(|(number, page)| (page_key(&counter.name, number), page)));
        }
        changes
    }

    /// Takes an entry of the folder; none if it is none of these.
    pub(super) fn load(&mut self, key: &[u8], value: &[u8]) -> Option<()> {
        let (kind, rest) = key.split_first()?;
        match kind {
            b'c' => {
                let standing = serde_json::from_slice(value).ok()?;
                self.stored.entry(read_name(rest)?).or_default().0 = Some(standing);
            }
            b'k' => {
                let (rest, number) = rest.split_last_chunk::<8>()?;
                let pages = &mut self.stored.entry(read_name(rest)?).or_default().1;
                pages.insert(u64::from_be_bytes(*number), value.to_vec());
            }
            _ => return None,
        }
        Some(())
    }

    /// The furthest of what the folder said.
    pub(super) fn stored_up_to(&self) -> u64 {
        self.stored.values().filter_map(|(standing, _)| Some(standing.as_ref()?.up_to)).max().unwrap_or(0)
    }

    /// As they stand.
    pub(super) fn now(&self) -> Vec<CounterNow> {
        let minute = UnixNanos::now().0.div_euclid(NANOS_PER_MINUTE);
        let now = self.all().map(|Counter { name, rule, standing, seen, .. }| CounterNow {
            monitor: name.0.to_string(),
            counter: name.1.to_string(),
            total: standing.total,
            last_hour: standing.minutes.range(minute - MINUTES_KEPT + 1..).map(|(_, count)| count).sum(),
            up_to: standing.up_to.max(standing.count_from),
            keys: matches!(rule, Rule::FirstSeen).then_some(seen.len() as u64),
            forgotten: standing.forgotten,
            missed: standing.missed,
            hours: standing
                .hours
                .iter()
                .map(|(hour, count)| (UnixNanos(hour * NANOS_PER_HOUR).to_string(), *count))
                .collect(),
        });
        now.collect()
    }

    /// For the journal.
    pub(super) fn records(&self) -> Vec<CounterRecord> {
        let records = self.all().map(|Counter { name, standing, .. }| CounterRecord {
            monitor: name.0.to_string(),
            counter: name.1.to_string(),
            counts: standing.counts.clone(),
            up_to: standing.up_to.max(standing.count_from),
            total: standing.total,
        });
        records.collect()
    }
}

/// Where a counter goes on, or begins. A new one begins with the first event that the journal still has.
fn begin(
    wanted: &Wanted,
    kept: Option<(Standing, SeenKeys)>,
    record: Option<CounterRecord>,
    beginnings: &Beginnings,
) -> (Standing, SeenKeys) {
    let earliest = beginnings.earliest.0;
    match (kept, record) {
        // The journal knows more of what retention has deleted meanwhile.
        (Some((standing, seen)), Some(record)) if standing.up_to < earliest && record.up_to > standing.up_to => {
            let missed = standing.missed + earliest.saturating_sub(record.up_to);
            let taken = Standing { up_to: earliest, count_from: record.up_to, total: record.total, missed, ..standing };
            (taken, seen)
        }
        (Some(kept), _) => kept,
        (None, Some(record)) => {
            // Keys may be anywhere; of one that compares only the last hour is worth reading again.
            let up_to = match wanted.settings.first_seen {
                Some(_) => earliest,
                None => record.up_to.min(beginnings.hour_ago.0).max(earliest),
            };
            let standing = Standing {
                counts: wanted.settings.clone(),
                up_to,
                count_from: record.up_to,
                total: record.total,
                missed: earliest.saturating_sub(record.up_to),
                ..Standing::default()
            };
            (standing, SeenKeys::default())
        }
        (None, None) => {
            let standing = Standing { counts: wanted.settings.clone(), up_to: earliest, ..Standing::default() };
            (standing, SeenKeys::default())
        }
    }
}

impl Counter {
    /// None where the settings say nothing that can be counted, which they are checked for.
    fn new(wanted: &Wanted, standing: Standing, seen: SeenKeys) -> Option<Self> {
        let CounterSettings { equals, first_seen, .. } = &wanted.settings;
        let rule = match (equals, first_seen) {
            (_, Some(_)) => Rule::FirstSeen,
            (Some(equals), None) => Rule::Equals(equals.clone()),
            (None, None) => return None,
        };
        let counter = Self { name: wanted.name.clone(), rule, standing, seen, unsaved: true };
        counter.pointer().is_ok().then_some(counter)
    }

    fn pointer(&self) -> Result<Pointer, crate::scanner::PointerError> {
        let CounterSettings { pointer, first_seen, .. } = &self.standing.counts;
        Pointer::parse(first_seen.as_deref().or(pointer.as_deref()).unwrap_or_default())
    }

    /// Whether what is next for it is in this span.
    fn is_within(&self, from: Offset, to: Offset) -> bool {
        (from.0..to.0).contains(&self.standing.up_to)
    }

    fn count(&mut self, event: &Event<'_>, found: Token<'_>) {
        let counts = match &self.rule {
            Rule::Equals(wanted) => is(found, wanted),
            Rule::FirstSeen => SeenKeys::key_of(found).is_some_and(|key| self.seen.insert(key)),
        };
        if !counts {
            return;
        }
        let standing = &mut self.standing;
        if event.offset.0 >= standing.count_from {
            standing.total += 1;
        }
        let (hour, minute) =
            (event.received.0.div_euclid(NANOS_PER_HOUR), event.received.0.div_euclid(NANOS_PER_MINUTE));
        for (buckets, bucket, kept) in
            [(&mut standing.hours, hour, HOURS_KEPT), (&mut standing.minutes, minute, MINUTES_KEPT)]
        {
            *buckets.entry(bucket).or_default() += 1;
            while let Some(first) = buckets.first_entry().filter(|first| *first.key() <= bucket - kept) {
                first.remove();
            }
        }
    }
}

fn is(found: Token<'_>, wanted: &CounterValue) -> bool {
    match wanted {
        CounterValue::Truth(wanted) => {
            found.kind() == TokenKind::Bool && found.raw() == if *wanted { &b"true"[..] } else { b"false" }
        }
        CounterValue::Integer(wanted) => found.as_i64() == Some(*wanted),
        CounterValue::Text(wanted) => found.same_text(wanted),
        CounterValue::AnyOf(wanted) => wanted.iter().any(|wanted| is(found, wanted)),
    }
}

/// `c`, monitor, zero, counter.
fn standing_key(name: &CounterName) -> Vec<u8> {
    [b"c", name.0.as_bytes(), &[0], name.1.as_bytes()].concat()
}

/// `k`, monitor, zero, counter, number.
fn page_key(name: &CounterName, number: u64) -> Vec<u8> {
    [b"k", name.0.as_bytes(), &[0], name.1.as_bytes(), &number.to_be_bytes()].concat()
}

fn read_name(text: &[u8]) -> Option<CounterName> {
    let (monitor, counter) = std::str::from_utf8(text).ok()?.split_once('\0')?;
    Some((monitor.into(), counter.into()))
}

#[cfg(test)]
mod tests;
