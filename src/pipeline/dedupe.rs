//! Drops repeats: remembers the ids of events for a time, over all links, upstreams and paths of a monitor.
//!
//! A window belongs to a monitor (or to one topic of it) because the monitor's name is part of what is hashed; the memory
//! is one, so that `dedupe.max_bytes` holds for all together and the oldest ids go first wherever they are. It is
//! split into shards by hash, each locked once for a burst of messages, never for a single one.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::window::{Found, Known, Shard};
use crate::journal::ProgressBook;
use crate::monitor::event_id::DedupeKey;

/// A power of two. Source: two cores contend little over eight locks held for microseconds; not measured further.
const SHARDS: usize = 8;

/// What became of a candidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Not seen within the window; remembered from now on.
    New,
    /// Seen with the same payload.
    Repeat,
    /// Seen with another payload, and this pair of id and payload was not seen before.
    Conflict,
}

/// Figures of the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WindowFigures {
    /// Ids remembered.
    pub ids: u64,
    /// Bytes taken.
    pub bytes: u64,
    /// Ids forgotten before their time, for want of room, since the figures were last taken.
    pub crowded_out: u64,
    /// Where ids were crowded out: how far back the window reaches in truth.
    pub reach: Option<Duration>,
}

/// The ids seen lately.
#[derive(Debug)]
pub struct DedupeWindow {
    shards: [Mutex<Shard>; SHARDS],
    ttl_ms: u32,
    progress: ProgressBook,
    /// Ages are told by a clock that only runs on: a host whose clock is set forward must not forget what it saw a second ago.
    started: Instant,
}

/// The longest TTL: ages are kept in milliseconds of 32 bits, and half of those tell old from not yet.
pub const TTL_MAX: Duration = Duration::from_hours(24 * 20);

impl DedupeWindow {
    /// A window that remembers for `ttl` (at most [`TTL_MAX`]) and takes at most `bytes_max`.
    pub fn new(ttl: Duration, bytes_max: usize) -> Self {
        Self {
            shards: std::array::from_fn(|_| Mutex::new(Shard::new(bytes_max / SHARDS))),
            ttl_ms: u32::try_from(ttl.min(TTL_MAX).as_millis()).unwrap_or(u32::MAX / 2),
            progress: ProgressBook::default(),
            started: Instant::now(),
        }
    }

    /// How far what was judged is durable.
    pub fn progress(&self) -> &ProgressBook {
        &self.progress
    }

    /// How long ids are remembered where there is room.
    pub fn ttl(&self) -> Duration {
        Duration::from_millis(u64::from(self.ttl_ms))
    }

    /// Judges a burst: `verdicts` gets one for each key, in order. Repeats within the burst count as repeats.
    pub fn judge(&self, now: Instant, keys: &[DedupeKey], verdicts: &mut Vec<Verdict>, order: &mut BurstOrder) {
        verdicts.clear();
        verdicts.resize(keys.len(), Verdict::New);
        let now_ms = self.milliseconds(now);
        order.sort(keys);
        let mut lost = std::mem::take(&mut order.lost);
        lost.clear();
        for shard_index in 0..SHARDS {
            let indexes = order.of_shard(shard_index);
            if indexes.is_empty() {
                continue;
            }
            let mut shard = lock(&self.shards[shard_index]);
            shard.expire(now_ms, self.ttl_ms);
            shard.touch(indexes.iter().map(|index| keys[*index as usize].hash));
            for &index in indexes {
                let key = keys[index as usize];
                let verdict = judge_one(&mut shard, key, now_ms);
                verdicts[index as usize] = verdict;
                // Upstreams may stamp what they send, so one that comes later may have another text.
                if key.source != 0 && verdict != Verdict::New {
                    let Found { payload_check, age_ms } = shard.found();
                    let first = source_of(payload_check);
                    if first != 0 && first != key.source {
                        lost.push((index, age_ms));
                    }
                }
            }
        }
        lost.sort_unstable();
        order.lost = lost;
    }

    /// Remembers an id that the journal holds: for rebuilding after a restart, oldest first. `age` is its age in journal time,
    /// by how much it is older than the journal's newest event: the time that we were down does not count.
    pub fn remember(&self, now: Instant, age: Duration, key: DedupeKey) {
        let then_ms = self.milliseconds(now).wrapping_sub(u32::try_from(age.as_millis()).unwrap_or(u32::MAX / 2));
        // Judged as then, so that a conflicting payload that was kept is remembered as one.
        judge_one(&mut lock(&self.shards[shard_of(key.hash)]), key, then_ms);
    }

    /// Remembers an id that the journal holds as if it had come now, however long ago that was: its upstream is about to send
    /// it again.
    pub fn remember_anew(&self, now: Instant, key: DedupeKey) {
        let now_ms = self.milliseconds(now);
        judge_by(&mut lock(&self.shards[shard_of(key.hash)]), key, |shard, hash, check| {
            shard.renew(hash, check, now_ms)
        });
    }

    /// Whether an id was seen lately. Changes nothing.
    pub fn knows(&self, hash: u128) -> bool {
        lock(&self.shards[shard_of(hash)]).knows(hash)
    }

    /// Ids remembered.
    pub fn ids(&self) -> u64 {
        self.shards.iter().map(|shard| lock(shard).len() as u64).sum()
    }

    /// Milliseconds on the window's clock, wrapping.
    #[expect(clippy::cast_possible_truncation, reason = "it wraps by design")]
    fn milliseconds(&self, now: Instant) -> u32 {
        now.saturating_duration_since(self.started).as_millis() as u32
    }

    /// Forgets what is too old, also where nothing arrives any more, and tells how the window stands.
    pub fn tend(&self, now: Instant) -> WindowFigures {
        let mut figures = WindowFigures::default();
        let now_ms = self.milliseconds(now);
        for shard in &self.shards {
            let mut shard = lock(shard);
            shard.expire(now_ms, self.ttl_ms);
            figures.ids += shard.len() as u64;
            figures.bytes += shard.bytes() as u64;
            let crowded_out = shard.take_crowded_out();
            figures.crowded_out += crowded_out;
            if crowded_out > 0
                && let Some(age) = shard.oldest_age_ms(now_ms)
            {
                let reach = Duration::from_millis(u64::from(age));
                figures.reach = Some(figures.reach.map_or(reach, |other| other.min(reach)));
            }
        }
        figures
    }
}

fn judge_one(shard: &mut Shard, key: DedupeKey, now_ms: u32) -> Verdict {
    judge_by(shard, key, |shard, hash, check| shard.admit(hash, check, now_ms))
}

/// Bits of an entry's check that are the payload's; those above say which of the monitor's upstreams brought it first, so that
/// this takes no memory. Two payloads then agree by accident once in 2²⁸.
const CHECK_BITS: u32 = 28;

fn pack(key: DedupeKey) -> u32 {
    check_of(key.payload_check) | u32::from(key.source) << CHECK_BITS
}

/// What was fetched has another text than what a link brings, and is the same all the same: it agrees with any.
fn agree(one: u32, other: u32) -> bool {
    one == other || one == DedupeKey::ANY_PAYLOAD || other == DedupeKey::ANY_PAYLOAD
}

fn check_of(packed: u32) -> u32 {
    packed & ((1 << CHECK_BITS) - 1)
}

fn source_of(packed: u32) -> u8 {
    (packed >> CHECK_BITS) as u8
}

#[inline]
fn judge_by(shard: &mut Shard, key: DedupeKey, mut look: impl FnMut(&mut Shard, u128, u32) -> Known) -> Verdict {
    let packed = pack(key);
    match look(shard, key.hash, packed) {
        Known::New => Verdict::New,
        Known::Seen(first) if agree(check_of(first), check_of(packed)) => Verdict::Repeat,
        // The pair of id and payload is remembered too, so that a conflicting payload sent twice is one conflict. The
        // upper bits choose the shard: only lower ones are changed.
        Known::Seen(_) => {
            let pair = key.hash ^ (u128::from(key.payload_check) << 16 | 1);
            match look(shard, pair, packed) {
                Known::New => Verdict::Conflict,
                Known::Seen(_) => Verdict::Repeat,
            }
        }
    }
}

/// The keys of a burst grouped by shard; reused from burst to burst.
#[derive(Debug, Default)]
pub struct BurstOrder {
    indexes: Vec<u32>,
    starts: [usize; SHARDS + 1],
    /// Repeats of what another upstream of the same monitor had brought: place of the key, milliseconds since; sorted.
    lost: Vec<(u32, u32)>,
}

impl BurstOrder {
    /// How long before another upstream of the monitor brought what the key at this place is a repeat of; none where it was
    /// no other, or nobody knows.
    pub fn lost_by(&self, index: usize) -> Option<Duration> {
        let place = self.lost.binary_search_by_key(&index, |(key, _)| *key as usize).ok()?;
        Some(Duration::from_millis(self.lost[place].1.into()))
    }

    /// A counting sort: arrival order is kept within a shard, so that of two equal ids the first is the original.
    fn sort(&mut self, keys: &[DedupeKey]) {
        let mut counts = [0_usize; SHARDS];
        for key in keys {
            counts[shard_of(key.hash)] += 1;
        }
        let mut next = [0_usize; SHARDS];
        let mut sum = 0;
        for shard in 0..SHARDS {
            self.starts[shard] = sum;
            next[shard] = sum;
            sum += counts[shard];
        }
        self.starts[SHARDS] = sum;
        self.indexes.clear();
        self.indexes.resize(keys.len(), 0);
        for (index, key) in (0_u32..).zip(keys) {
            let place = &mut next[shard_of(key.hash)];
            self.indexes[*place] = index;
            *place += 1;
        }
    }

    fn of_shard(&self, shard: usize) -> &[u32] {
        &self.indexes[self.starts[shard]..self.starts[shard + 1]]
    }
}

/// The upper half's lowest bits; the shard's index uses that half's upper bits.
#[expect(clippy::cast_possible_truncation, reason = "only three bits are taken")]
fn shard_of(hash: u128) -> usize {
    (hash >> 64) as usize & (SHARDS - 1)
}

/// A shard is whole after every step, so a panic elsewhere while it was locked leaves nothing half done.
fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::event_id::{IdHasher, IdText};

    /// Judges so many seconds after the window's start.
    fn judge(window: &DedupeWindow, seconds: u64, keys: &[DedupeKey]) -> Vec<Verdict> {
        let mut verdicts = Vec::new();
        window.judge(at(window, seconds), keys, &mut verdicts, &mut BurstOrder::default());
        verdicts
    }

    fn at(window: &DedupeWindow, seconds: u64) -> Instant {
        window.started + Duration::from_secs(seconds)
    }

    fn key(hasher: &IdHasher, scope: u64, parts: &[&str], payload_check: u32) -> DedupeKey {
        let mut text = IdText::default();
        text.start(scope);
        for part in parts {
            text.part(part.as_bytes());
        }
        DedupeKey { hash: hasher.hash(&text), payload_check, source: 0 }
    }

    #[test]
    fn an_id_that_is_remembered_anew_is_forgotten_a_ttl_later() {
        let window = DedupeWindow::new(Duration::from_secs(10), 1 << 20);
        let hasher = IdHasher::new(7);
        let [old, new, unknown] = ["old", "new", "unknown"].map(|id| key(&hasher, 1, &[id], 1));
        judge(&window, 0, &[old, new]);
        window.remember_anew(at(&window, 9), old);
        window.remember_anew(at(&window, 9), unknown);
        assert_eq!(judge(&window, 15, &[old, new, unknown]), [Verdict::Repeat, Verdict::New, Verdict::Repeat]);
        assert_eq!(window.ids(), 3);
        assert_eq!(judge(&window, 30, &[old]), [Verdict::New]);
    }

    #[test]
    fn a_repeat_within_the_ttl_is_dropped_and_after_it_is_not() {
        let window = DedupeWindow::new(Duration::from_mins(5), 1 << 20);
        let hasher = IdHasher::new(7);
        let id = key(&hasher, 1, &["42"], 9);
        assert_eq!(judge(&window, 0, &[id, id]), [Verdict::New, Verdict::Repeat], "also within one burst");
        assert_eq!(judge(&window, 300, &[id]), [Verdict::Repeat]);
        assert_eq!(judge(&window, 301, &[id]), [Verdict::New]);
    }

    #[test]
    fn the_same_id_with_another_payload_is_a_conflict_once() {
        let window = DedupeWindow::new(Duration::from_mins(5), 1 << 20);
        let hasher = IdHasher::new(7);
        let (first, second) = (key(&hasher, 1, &["42"], 1), key(&hasher, 1, &["42"], 2));
        assert_eq!(
            judge(&window, 0, &[first, second, second, first]),
            [Verdict::New, Verdict::Conflict, Verdict::Repeat, Verdict::Repeat]
        );
    }

    #[test]
    fn a_repeat_from_another_upstream_lost_by_its_age_and_one_from_the_same_or_from_before_the_start_did_not() {
        let window = DedupeWindow::new(Duration::from_mins(5), 1 << 20);
        let hasher = IdHasher::new(7);
        let from = |id: &str, source| DedupeKey { source, ..key(&hasher, 1, &[id], u32::MAX) };
        let (mut verdicts, mut order) = (Vec::new(), BurstOrder::default());
        window.remember(at(&window, 0), Duration::ZERO, from("journaled", 0));
        window.judge(at(&window, 1), &[from("a", 1), from("b", 2)], &mut verdicts, &mut order);
        assert_eq!((order.lost_by(0), order.lost_by(1)), (None, None));
        let again = ["a", "a", "b", "journaled"].map(|id| from(id, 2));
        window.judge(at(&window, 4), &again, &mut verdicts, &mut order);
        assert_eq!(verdicts, [Verdict::Repeat; 4]);
        let lag = Some(Duration::from_secs(3));
        assert_eq!([0, 1, 2, 3].map(|index| order.lost_by(index)), [lag, lag, None, None]);
    }

    #[test]
    fn ids_are_compared_as_raw_tokens_part_by_part_and_monitor_by_monitor() {
        let hasher = IdHasher::new(7);
        let ids = [
            key(&hasher, hasher.scope("a", None), &["1"], 0),
            key(&hasher, hasher.scope("a", None), &["\"1\""], 0),
            key(&hasher, hasher.scope("a", None), &["1", ""], 0),
            key(&hasher, hasher.scope("a", None), &["", "1"], 0),
            key(&hasher, hasher.scope("b", None), &["1"], 0),
            key(&hasher, hasher.scope("a", Some("")), &["1"], 0),
            key(&hasher, hasher.scope("a", Some("x")), &["1"], 0),
            DedupeKey { hash: hasher.hash_payload(hasher.scope("a", None), b"1"), payload_check: 0, source: 0 },
        ];
        let window = DedupeWindow::new(Duration::from_mins(5), 1 << 20);
        assert_eq!(judge(&window, 0, &ids), [Verdict::New; 8]);
    }

    #[test]
    fn a_window_smaller_than_the_ttl_says_how_far_it_reaches() {
        let window = DedupeWindow::new(Duration::from_mins(5), 64 << 10);
        let hasher = IdHasher::new(7);
        for second in 0..200_u64 {
            let keys: Vec<_> = (0..100).map(|n| key(&hasher, 1, &[&second.to_string(), &n.to_string()], 0)).collect();
            judge(&window, second, &keys);
        }
        let figures = window.tend(at(&window, 200));
        assert!(figures.crowded_out > 0);
        assert!(figures.bytes <= (64 << 10) + 8 * 4096 * 24, "a chunk a shard is the grain: {figures:?}");
        assert!(figures.reach.is_some_and(|reach| reach < Duration::from_secs(100)), "{figures:?}");
    }

    #[test]
    fn what_the_journal_holds_is_a_repeat_after_a_restart() {
        let window = DedupeWindow::new(Duration::from_mins(5), 1 << 20);
        let id = key(&IdHasher::new(7), 1, &["42"], 1);
        window.remember(at(&window, 0), Duration::from_mins(4), id);
        let after_restart = key(&IdHasher::new(7), 1, &["42"], 1);
        assert_eq!(judge(&window, 1, &[after_restart]), [Verdict::Repeat], "being down does not count");
        assert_eq!(judge(&window, 120, &[after_restart]), [Verdict::New], "being up does");
        let another_journal = key(&IdHasher::new(8), 1, &["42"], 1);
        assert_eq!(judge(&window, 120, &[another_journal]), [Verdict::New]);
    }
}
