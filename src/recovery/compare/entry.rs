//! A record as comparing keeps it: of one size, whatever the record's own.

use siphasher::sip128::SipHasher13;

use super::record::{Join, Record, Terms};
use crate::clock::UnixNanos;

/// Bytes of an entry in a file.
pub(super) const ENTRY_BYTES: usize = 56;

/// Of a time that nobody knows.
const NO_TIME: i64 = i64::MIN;

/// Pairs with it count: it lies in the span.
pub(super) const PAIRED: u32 = 1;
/// It counts where it has no partner.
pub(super) const SINGLE: u32 = 2;
/// It has an id, so that one of the sides may have dropped its repeats.
pub(super) const IDENTIFIED: u32 = 4;

/// A record by its hashes. In the order of entries those of one identity stand together, equal payloads of it one behind the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Entry {
    /// Of what it is joined by.
    pub(super) hash: [u64; 2],
    /// Of its payload; zeros where payloads are not compared.
    pub(super) digest: [u64; 2],
    time: i64,
    /// Its number on its side.
    pub(super) place: u64,
    /// Its monitor's number.
    pub(super) group: u32,
    pub(super) flags: u32,
}

impl Entry {
    /// When it was received, where that is known.
    pub(super) fn time(&self) -> Option<UnixNanos> {
        (self.time != NO_TIME).then_some(UnixNanos(self.time))
    }

    pub(super) fn has(&self, flag: u32) -> bool {
        self.flags & flag != 0
    }

    pub(super) fn put(&self, out: &mut Vec<u8>) {
        for word in self.hash.into_iter().chain(self.digest) {
            out.extend_from_slice(&word.to_le_bytes());
        }
        out.extend_from_slice(&self.time.to_le_bytes());
        out.extend_from_slice(&self.place.to_le_bytes());
        out.extend_from_slice(&self.group.to_le_bytes());
        out.extend_from_slice(&self.flags.to_le_bytes());
    }

    /// # Panics
    /// When there are not [`ENTRY_BYTES`].
    pub(super) fn of_bytes(bytes: &[u8]) -> Self {
        let word = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
        let half = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
        Self {
            hash: [word(0), word(8)],
            digest: [word(16), word(24)],
            time: word(32).cast_signed(),
            place: word(40),
            group: half(48),
            flags: half(52),
        }
    }
}

/// Makes entries. Its keys are of this run alone, so that nobody who can choose ids can make two of them meet.
#[derive(Debug)]
pub(super) struct Hasher {
    ids: SipHasher13,
    payloads: SipHasher13,
    scratch: Vec<u8>,
}

impl Hasher {
    pub(super) fn new() -> Self {
        let word = || uuid::Uuid::new_v4().as_u64_pair();
        let ((a, b), (c, d)) = (word(), word());
        Self { ids: SipHasher13::new_with_keys(a, b), payloads: SipHasher13::new_with_keys(c, d), scratch: Vec::new() }
    }

    /// The entry of a record that belongs to the group of this number.
    pub(super) fn entry(&mut self, record: &Record<'_>, terms: &Terms, group: u32, flags: u32) -> Entry {
        let digest = match record.payload {
            Some(payload) => {
                let payload = terms.payload.shape(payload, &mut self.scratch);
                let hash = self.payloads.hash(payload);
                [hash.h1, hash.h2]
            }
            None => [0, 0],
        };
        self.scratch.clear();
        for (joined, part) in
            [(terms.by_monitor, record.monitor), (terms.by_topic, record.topic), (terms.by_key, record.key)]
        {
            put_part(part.filter(|_| joined), &mut self.scratch);
        }
        let id = record.id.filter(|_| terms.join == Join::Id);
        put_part(id, &mut self.scratch);
        if id.is_none() {
            // Whatever the payload says is all that tells it from others.
            self.scratch.extend(digest.iter().flat_map(|word| word.to_le_bytes()));
        }
        let hash = self.ids.hash(&self.scratch);
        Entry {
            hash: [hash.h1, hash.h2],
            digest: if terms.payload.is_compared() { digest } else { [0, 0] },
            time: record.time.map_or(NO_TIME, |UnixNanos(time)| time.max(NO_TIME + 1)),
            place: record.place,
            group,
            flags: flags | if record.repeats_dropped { IDENTIFIED } else { 0 },
        }
    }
}

/// By its length, so that no two lists of parts look alike.
fn put_part(part: Option<&str>, out: &mut Vec<u8>) {
    match part {
        Some(text) => {
            out.push(1);
            out.extend_from_slice(&(text.len() as u64).to_le_bytes());
            out.extend_from_slice(text.as_bytes());
        }
        None => out.push(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_comes_back_from_its_bytes() {
        let entry =
            Entry { hash: [1, u64::MAX], digest: [3, 4], time: -5, place: 6, group: 7, flags: PAIRED | IDENTIFIED };
        let mut bytes = Vec::new();
        entry.put(&mut bytes);
        assert_eq!(bytes.len(), ENTRY_BYTES);
        assert_eq!(Entry::of_bytes(&bytes), entry);
    }

    #[test]
    fn no_two_identities_look_alike() {
        let terms = Terms { by_monitor: true, by_key: true, ..Terms::default() };
        let mut hasher = Hasher::new();
        let mut hash = |monitor, key, id, payload: &[u8]| {
            let record = Record { monitor, key, id, payload: Some(payload), ..Record::default() };
            hasher.entry(&record, &terms, 0, 0).hash
        };
        let first = hash(Some("a"), Some("b"), Some("c"), b"1");
        assert_eq!(first, hash(Some("a"), Some("b"), Some("c"), b"2"), "the payload is no part of it");
        for other in [
            hash(Some("ab"), None, Some("c"), b"1"),
            hash(Some("a"), None, Some("bc"), b"1"),
            hash(Some("a"), Some(""), Some("bc"), b"1"),
            hash(Some("a"), Some("b"), None, b"1"),
        ] {
            assert_ne!(first, other);
        }
        assert_ne!(hash(None, None, None, b"1"), hash(None, None, None, b"2"), "without an id it is the payload");
    }
}
