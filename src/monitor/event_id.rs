//! What tells an event from others: its id, hashed with the name of whoever it is unique for.

use siphasher::sip128::SipHasher13;

/// What identifies an event among those of its window, and tells whether a repeat carries the same payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DedupeKey {
    /// Keyed hash of monitor, scope and id.
    pub hash: u128,
    /// Checksum of the payload.
    pub payload_check: u32,
    /// Which of the monitor's upstreams brings it, from 1; 0 where there is but one, or nobody knows.
    pub source: u8,
}

impl DedupeKey {
    /// The checksum of a payload that is compared with nothing: the same id is the same event.
    pub const ANY_PAYLOAD: u32 = 0;
}

/// Hashes ids. The key is secret and belongs to the journal, so that nobody who can choose ids can make two of them
/// meet, and hashes in the journal's blocks stay comparable across restarts.
#[derive(Debug, Clone)]
pub struct IdHasher {
    sip: SipHasher13,
    payload_hash: SipHasher13,
}

impl IdHasher {
    /// A hasher for the journal whose id is `journal`.
    pub fn new(journal: u128) -> Self {
        let bytes = journal.to_le_bytes();
        let (low, high) = bytes.split_at(8);
        // `split_at(8)` of 16 bytes gives 8 and 8.
        let word = |half: &[u8]| half.iter().rev().fold(0_u64, |word, byte| word << 8 | u64::from(*byte));
        Self {
            sip: SipHasher13::new_with_keys(word(low), word(high)),
            payload_hash: SipHasher13::new_with_keys(word(high), !word(low)),
        }
    }

    /// Hash of an id already put together by [`IdText`].
    pub fn hash(&self, id: &IdText) -> u128 {
        self.sip.hash(&id.bytes).as_u128()
    }

    /// Hash of a payload that is its own id.
    pub fn hash_payload(&self, scope: u64, payload: &[u8]) -> u128 {
        // Another key than `hash`, so that a payload never equals an id put together by `IdText`.
        let mut id = [0; 24];
        id[..8].copy_from_slice(&scope.to_le_bytes());
        id[8..].copy_from_slice(&self.payload_hash.hash(payload).as_bytes());
        self.payload_hash.hash(&id).as_u128()
    }

    /// Hash of what has a sequence of its own, put together by [`IdText`].
    pub fn series(&self, name: &IdText) -> u64 {
        self.sip.hash(&name.bytes).h1
    }

    /// A number for a monitor (and topic, where ids are unique only within one) that stays the same across restarts.
    pub fn scope(&self, monitor: &str, topic: Option<&str>) -> u64 {
        let mut text = IdText::default();
        text.start(u64::from(topic.is_some()));
        text.part(monitor.as_bytes());
        text.part(topic.unwrap_or_default().as_bytes());
        self.sip.hash(&text.bytes).h1
    }
}

/// Parts of an id, put together so that no two lists of parts give the same bytes. Reused from message to message.
#[derive(Debug, Clone, Default)]
pub struct IdText {
    bytes: Vec<u8>,
}

impl IdText {
    /// Begins the id of an event in `scope`.
    pub fn start(&mut self, scope: u64) {
        self.bytes.clear();
        self.bytes.extend_from_slice(&scope.to_le_bytes());
    }

    /// Adds a part: a raw token, so that `1` and `"1"` differ.
    pub fn part(&mut self, raw: &[u8]) {
        let len = u32::try_from(raw.len()).unwrap_or(u32::MAX);
        self.bytes.extend_from_slice(&len.to_le_bytes());
        self.bytes.extend_from_slice(raw);
    }
}
