//! One shard of remembered ids: a queue in order of arrival, and an index over it.
//!
//! The queue makes forgetting cheap (the oldest are at its head), the index makes finding cheap. An index slot holds
//! 32 bits of the hash beside the entry's number, so that a probe that does not match seldom touches the queue: at a
//! million ids every touch is a cache miss, and those are the whole cost of dedupe.

use std::collections::VecDeque;

/// Entries of one chunk of the queue. Chunks are freed as their entries are forgotten, and nothing is copied when the
/// queue grows.
const CHUNK_ENTRIES: usize = 4096;

/// Bytes an entry takes in the queue.
const ENTRY_BYTES: usize = size_of::<Entry>();

/// Bytes a slot takes in the index.
const SLOT_BYTES: usize = size_of::<u64>();

/// The fewest slots an index has.
const SLOTS_MIN: usize = 256;

/// A remembered id.
#[derive(Debug, Clone, Copy, Default)]
struct Entry {
    hash: [u64; 2],
    payload_check: u32,
    /// Received time in milliseconds, wrapping after 49 days; only differences are used, and the TTL bounds those.
    stamp_ms: u32,
}

/// What is known of an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Known {
    /// It was not there, and is now.
    New,
    /// It was there with this payload check.
    Seen(u32),
}

/// The entry that was seen last.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Found {
    /// Its payload check.
    pub(super) payload_check: u32,
    /// How long before.
    pub(super) age_ms: u32,
}

/// Ids of one shard, oldest first.
#[derive(Debug)]
pub(super) struct Shard {
    chunks: VecDeque<Box<[Entry]>>,
    /// Number of the oldest entry; entries are numbered in order of arrival, wrapping.
    head: u32,
    len: usize,
    /// 0 is empty; else the hash's tag in the upper half and the entry's number plus one, modulo 2³², in the lower.
    /// The tag is never 0, so that a full slot never is.
    slots: Vec<u64>,
    entries_max: usize,
    /// Ids forgotten for want of room since last asked.
    crowded_out: u64,
    found: Found,
}

impl Shard {
    /// A shard that takes at most `bytes`.
    pub(super) fn new(bytes: usize) -> Self {
        Self {
            chunks: VecDeque::new(),
            head: 0,
            len: 0,
            slots: vec![0; SLOTS_MIN],
            entries_max: entries_in(bytes),
            crowded_out: 0,
            found: Found::default(),
        }
    }

    /// Ids remembered.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Bytes taken.
    pub(super) fn bytes(&self) -> usize {
        self.chunks.len() * CHUNK_ENTRIES * ENTRY_BYTES + self.slots.len() * SLOT_BYTES
    }

    /// What `admit` has seen last.
    pub(super) fn found(&self) -> Found {
        self.found
    }

    /// Ids forgotten before their time, for want of room, since the last call.
    pub(super) fn take_crowded_out(&mut self) -> u64 {
        std::mem::take(&mut self.crowded_out)
    }

    /// Age of the oldest id in milliseconds.
    pub(super) fn oldest_age_ms(&self, now_ms: u32) -> Option<u32> {
        (self.len > 0).then(|| now_ms.wrapping_sub(self.entry(self.head).stamp_ms))
    }

    /// Forgets what is older than `ttl_ms`.
    pub(super) fn expire(&mut self, now_ms: u32, ttl_ms: u32) {
        while self.len > 0 {
            let age = now_ms.wrapping_sub(self.entry(self.head).stamp_ms);
            // A stamp after `now` (another link's burst was stamped later) shows as a huge age: it is not old.
            if age <= ttl_ms || age > u32::MAX / 2 {
                break;
            }
            self.forget_oldest();
        }
    }

    /// Touches the slots that a burst's ids, and the oldest ids that may have to go for them, live in.
    ///
    /// Each is a cache miss, and whether a slot is taken is a coin toss: in the loop that judges, every wrong guess waits
    /// for its miss to end before the next can begin. Here nothing depends on what is found, so the misses overlap.
    /// Measured at a million ids: the whole of dedupe costs about half as much.
    pub(super) fn touch(&self, hashes: impl ExactSizeIterator<Item = u128>) {
        let mut touched = 0;
        if self.len + hashes.len() > self.entries_max {
            for ahead in 0..hashes.len().min(self.len) {
                let number = self.head.wrapping_add(u32::try_from(ahead).unwrap_or(u32::MAX));
                touched ^= self.slots[self.home(self.entry(number).hash)];
            }
        }
        for hash in hashes {
            touched ^= self.slots[self.home(split(hash))];
        }
        std::hint::black_box(touched);
    }

    /// Whether an id is remembered.
    pub(super) fn knows(&self, hash: u128) -> bool {
        let hash = split(hash);
        let mut at = self.home(hash);
        loop {
            let slot = self.slots[at];
            if slot == 0 {
                return false;
            }
            if slot & TAG_MASK == tag(hash) && self.entry(number(slot)).hash == hash {
                return true;
            }
            at = (at + 1) & (self.slots.len() - 1);
        }
    }

    /// Looks an id up and remembers it if it is new.
    pub(super) fn admit(&mut self, hash: u128, payload_check: u32, now_ms: u32) -> Known {
        let hash = split(hash);
        let mut at = self.home(hash);
        let tag = tag(hash);
        loop {
            let slot = self.slots[at];
            if slot == 0 {
                break;
            }
            if slot & TAG_MASK == tag {
                let entry = self.entry(number(slot));
                if entry.hash == hash {
                    let Entry { payload_check, stamp_ms, .. } = *entry;
                    let age_ms = now_ms.wrapping_sub(stamp_ms);
                    // As in `expire`: another link's burst was stamped later.
                    let age_ms = if age_ms > u32::MAX / 2 { 0 } else { age_ms };
                    self.found = Found { payload_check, age_ms };
                    return Known::Seen(payload_check);
                }
            }
            at = (at + 1) & (self.slots.len() - 1);
        }
        if self.len >= self.entries_max {
            self.forget_oldest();
            self.crowded_out += 1;
            // Forgetting may have moved slots, so the place found above may not be free any more.
            at = self.free_slot(hash);
        } else if (self.len + 1) * 4 > self.slots.len() * 3 {
            self.grow();
            at = self.free_slot(hash);
        }
        let entry_number = self.push(Entry { hash, payload_check, stamp_ms: now_ms });
        self.slots[at] = tag | u64::from(entry_number.wrapping_add(1));
        Known::New
    }

    /// As `admit`, but one that is there counts as having come now, and is forgotten last.
    pub(super) fn renew(&mut self, hash: u128, payload_check: u32, now_ms: u32) -> Known {
        let known = self.admit(hash, payload_check, now_ms);
        if let Known::Seen(first) = known {
            let parts = split(hash);
            let number = self.number_of(parts);
            // An entry without a slot: it is found by nobody, and goes when it is the oldest.
            self.remove_slot(parts, number);
            self.admit(hash, first, now_ms);
        }
        known
    }

    /// The number of an entry that is there.
    fn number_of(&self, hash: [u64; 2]) -> u32 {
        let mut at = self.home(hash);
        loop {
            let slot = self.slots[at];
            debug_assert!(slot != 0, "the caller has found it");
            if slot & TAG_MASK == tag(hash) && self.entry(number(slot)).hash == hash {
                return number(slot);
            }
            at = (at + 1) & (self.slots.len() - 1);
        }
    }

    fn push(&mut self, entry: Entry) -> u32 {
        let position = self.head as usize % CHUNK_ENTRIES + self.len;
        if position / CHUNK_ENTRIES == self.chunks.len() {
            self.chunks.push_back(vec![Entry::default(); CHUNK_ENTRIES].into_boxed_slice());
        }
        self.chunks[position / CHUNK_ENTRIES][position % CHUNK_ENTRIES] = entry;
        let number = self.head.wrapping_add(u32::try_from(self.len).unwrap_or(u32::MAX));
        self.len += 1;
        number
    }

    fn entry(&self, number: u32) -> &Entry {
        let position = self.head as usize % CHUNK_ENTRIES + number.wrapping_sub(self.head) as usize;
        &self.chunks[position / CHUNK_ENTRIES][position % CHUNK_ENTRIES]
    }

    fn forget_oldest(&mut self) {
        let hash = self.entry(self.head).hash;
        self.remove_slot(hash, self.head);
        self.head = self.head.wrapping_add(1);
        self.len -= 1;
        if (self.head as usize).is_multiple_of(CHUNK_ENTRIES) {
            self.chunks.pop_front();
        }
    }

    /// Empties the slot of an entry, if it has one, and moves those behind it up, so that no probe meets a hole before its goal.
    /// One that was renewed has none any more: its id's slot says the newer entry.
    fn remove_slot(&mut self, hash: [u64; 2], number: u32) {
        let mask = self.slots.len() - 1;
        let wanted = tag(hash) | u64::from(number.wrapping_add(1));
        let mut hole = self.home(hash);
        while self.slots[hole] != wanted {
            if self.slots[hole] == 0 {
                return;
            }
            hole = (hole + 1) & mask;
        }
        let mut next = (hole + 1) & mask;
        loop {
            let slot = self.slots[next];
            if slot == 0 {
                break;
            }
            let wants = self.home_of_slot(slot);
            // The slot may move into the hole only if its home is not between the hole (exclusive) and itself.
            if (next.wrapping_sub(wants) & mask) >= (next.wrapping_sub(hole) & mask) {
                self.slots[hole] = slot;
                hole = next;
            }
            next = (next + 1) & mask;
        }
        self.slots[hole] = 0;
    }

    fn free_slot(&self, hash: [u64; 2]) -> usize {
        let mut at = self.home(hash);
        while self.slots[at] != 0 {
            at = (at + 1) & (self.slots.len() - 1);
        }
        at
    }

    fn grow(&mut self) {
        let slots = self.slots.len() * 2;
        let old = std::mem::replace(&mut self.slots, vec![0; slots]);
        for slot in old.into_iter().filter(|slot| *slot != 0) {
            let mut at = self.home_of_slot(slot);
            while self.slots[at] != 0 {
                at = (at + 1) & (self.slots.len() - 1);
            }
            self.slots[at] = slot;
        }
    }

    /// Homes come from the tag's bits, so that moving slots needs no look at the queue.
    fn home(&self, hash: [u64; 2]) -> usize {
        self.home_of_slot(tag(hash))
    }

    fn home_of_slot(&self, slot: u64) -> usize {
        (slot >> 32) as usize & (self.slots.len() - 1)
    }
}

const TAG_MASK: u64 = 0xffff_ffff_0000_0000;

/// The upper half of the slot: 32 bits of the hash that choose neither shard nor entry, with 0 kept for "empty".
fn tag(hash: [u64; 2]) -> u64 {
    let bits = hash[0] & TAG_MASK;
    if bits == 0 { 1 << 32 } else { bits }
}

fn number(slot: u64) -> u32 {
    #[expect(clippy::cast_possible_truncation, reason = "the lower half is the number")]
    let number = slot as u32;
    number.wrapping_sub(1)
}

#[expect(clippy::cast_possible_truncation, reason = "it is split into halves")]
fn split(hash: u128) -> [u64; 2] {
    [(hash >> 64) as u64, hash as u64]
}

/// The most entries whose queue and index (at most three quarters full) fit into `bytes`.
fn entries_in(bytes: usize) -> usize {
    let mut slots = SLOTS_MIN;
    let mut best = SLOTS_MIN / 2;
    while slots * SLOT_BYTES < bytes {
        let room = (bytes - slots * SLOT_BYTES) / ENTRY_BYTES;
        best = best.max(room.min(slots / 4 * 3));
        slots *= 2;
    }
    best.min(u32::MAX as usize / 4)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::VecDeque;

    #[test]
    fn sixty_four_mebibytes_hold_over_a_million_and_a_half_ids() {
        assert!(8 * entries_in(8 << 20) > 1_500_000);
    }

    #[test]
    fn at_the_byte_limit_the_oldest_goes_first_and_is_counted() {
        let mut shard = Shard::new(32 << 10);
        let most = u32::try_from(shard.entries_max).unwrap();
        for number in 0..=most {
            assert_eq!(shard.admit(hash_of(number), 0, 0), Known::New);
        }
        assert_eq!(shard.take_crowded_out(), 1);
        assert_eq!(shard.admit(hash_of(1), 0, 0), Known::Seen(0));
        assert_eq!(shard.admit(hash_of(0), 0, 0), Known::New, "the oldest was forgotten");
    }

    fn hash_of(number: u32) -> u128 {
        u128::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835)
    }

    proptest! {
        /// A plain list is the model: whatever is admitted and forgotten, both say the same.
        #[test]
        fn a_shard_agrees_with_a_plain_list(
            steps in proptest::collection::vec((0_u32..400, 0_u32..50), 1..2000),
            start in prop_oneof![Just(0_u32), Just(u32::MAX - 20)],
        ) {
            const TTL: u32 = 3000;
            let mut shard = Shard::new(0);
            shard.head = start / 4096 * 4096;
            shard.entries_max = 100;
            let mut model: VecDeque<(u32, u32, u32)> = VecDeque::new();
            let mut now = start;
            for (id, wait) in steps {
                now = now.wrapping_add(wait);
                shard.expire(now, TTL);
                while model.front().is_some_and(|(_, _, at)| now.wrapping_sub(*at) > TTL) {
                    model.pop_front();
                }
                let expected = if let Some((_, check, _)) = model.iter().find(|(known, _, _)| *known == id) { Known::Seen(*check) } else {
                    if model.len() == 100 {
                        model.pop_front();
                    }
                    model.push_back((id, wait, now));
                    Known::New
                };
                prop_assert_eq!(shard.admit(hash_of(id), wait, now), expected);
                prop_assert_eq!(shard.len(), model.len());
            }
        }
    }
}
