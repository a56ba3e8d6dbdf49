//! The newest event of each monitor and key.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde::{Deserialize, Serialize};

use super::store::Change;
use crate::journal::{Block, Event};

/// The most values, of all monitors together; those whose event is oldest go first.
/// Source: the state that sled was measured with.
const VALUES_MAX: usize = 10_000;

/// The most bytes of a payload that are kept. The rest of a longer one is read in the journal.
const PAYLOAD_BYTES_MAX: usize = 4096;

/// Longer keys have no last value.
const KEY_BYTES_MAX: usize = 256;

/// What is known of a value beside its payload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LatestValue {
    /// The event's offset.
    pub offset: u64,
    /// The monitor.
    pub monitor: String,
    /// Its domain.
    pub domain: String,
    /// The key; none: the newest of the monitor's events without one.
    pub key: Option<String>,
    /// The topic.
    pub topic: String,
    /// The event's id.
    pub id: Option<String>,
    /// RFC 3339.
    pub event_time: Option<String>,
    /// RFC 3339.
    pub received_time: String,
    /// Bytes of the payload.
    pub bytes: u64,
    /// Only the first bytes of the payload were kept.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cut: bool,
}

#[derive(Debug)]
struct Held {
    offset: u64,
    /// The entry, until the folder has it.
    unsaved: Option<Box<[u8]>>,
}

/// All last values; payloads only as long as the folder has not got them.
#[derive(Debug, Default)]
pub(super) struct LatestValues {
    held: HashMap<Box<[u8]>, Held>,
    by_offset: BTreeMap<u64, Box<[u8]>>,
    removed: HashSet<Box<[u8]>>,
    unsaved_bytes: usize,
}

/// Where a value is.
pub(super) struct Found<'a> {
    /// Its event.
    pub(super) offset: u64,
    /// The key of its entry in the folder, which is a text.
    pub(super) place: &'a [u8],
    /// The entry, where the folder has not got it yet.
    pub(super) unsaved: Option<&'a [u8]>,
}

impl LatestValues {
    /// Takes a block; blocks come in order.
    pub(super) fn add(&mut self, block: &Block) {
        // The newest of each key is met first.
        let mut seen = HashSet::new();
        for event in block.events().rev() {
            let key = event.key();
            if event.domain.starts_with('_') || key.as_ref().is_some_and(|key| key.len() > KEY_BYTES_MAX) {
                continue;
            }
            if seen.insert((event.domain, event.monitor, key.clone())) {
                self.put(&event, key.as_deref());
            }
        }
        while self.held.len() > VALUES_MAX
            && let Some((_, oldest)) = self.by_offset.pop_first()
        {
            if let Some(held) = self.held.remove(&oldest) {
                self.unsaved_bytes -= held.unsaved.map_or(0, |entry| entry.len());
            }
            self.removed.insert(oldest);
        }
    }

    fn put(&mut self, event: &Event<'_>, key: Option<&str>) {
        let place = place_of(event.domain, event.monitor, key);
        let cut = event.payload.len() > PAYLOAD_BYTES_MAX;
        let value = LatestValue {
            offset: event.offset.0,
            monitor: event.monitor.to_owned(),
            domain: event.domain.to_owned(),
            key: key.map(str::to_owned),
            topic: event.topic.to_owned(),
            id: event.id().map(std::borrow::Cow::into_owned),
            event_time: event.event_time.map(|time| time.to_string()),
            received_time: event.received.to_string(),
            bytes: event.payload.len() as u64,
            cut,
        };
        let entry = entry_of(&value, &event.payload[..event.payload.len().min(PAYLOAD_BYTES_MAX)]);
        self.unsaved_bytes += entry.len();
        let held = Held { offset: event.offset.0, unsaved: Some(entry.into()) };
        self.by_offset.insert(event.offset.0, place.clone());
        self.removed.remove(&place);
        if let Some(before) = self.held.insert(place, held) {
            self.by_offset.remove(&before.offset);
            self.unsaved_bytes -= before.unsaved.map_or(0, |entry| entry.len());
        }
    }

    /// Bytes that the folder has not got.
    pub(super) fn unsaved_bytes(&self) -> usize {
        self.unsaved_bytes
    }

    /// What the folder has to learn.
    pub(super) fn take_changes(&mut self) -> Vec<Change> {
        self.unsaved_bytes = 0;
        let put =
            self.held.iter_mut().filter_map(|(place, held)| Some((place.to_vec(), Some(held.unsaved.take()?.into()))));
        let mut changes: Vec<Change> = put.collect();
        changes.extend(self.removed.drain().map(|place| (place.into(), None)));
        changes
    }

    /// Takes an entry of the folder; none if it is none of these.
    pub(super) fn load(&mut self, place: &[u8], entry: &[u8]) -> Option<()> {
        if place.first() != Some(&b'l') {
            return None;
        }
        let (value, _) = read(entry)?;
        self.by_offset.insert(value.offset, place.into());
        self.held.insert(place.into(), Held { offset: value.offset, unsaved: None });
        Some(())
    }

    /// How many.
    pub(super) fn len(&self) -> usize {
        self.held.len()
    }

    /// Values, newest first.
    pub(super) fn newest(&self) -> impl Iterator<Item = Found<'_>> {
        self.by_offset.iter().rev().filter_map(|(offset, place)| {
            let held = self.held.get(place)?;
            Some(Found { offset: *offset, place, unsaved: held.unsaved.as_deref() })
        })
    }
}

/// What is known of a value and its payload, as an entry.
pub(super) fn entry_of(value: &LatestValue, payload: &[u8]) -> Vec<u8> {
    // Strings and numbers only: serialization has nothing to refuse, and no line ends stand in it.
    let mut entry = serde_json::to_vec(value).unwrap_or_default();
    entry.push(b'\n');
    entry.extend_from_slice(payload);
    entry
}

/// An entry as its two parts.
pub(super) fn read(entry: &[u8]) -> Option<(LatestValue, &[u8])> {
    let line = memchr::memchr(b'\n', entry)?;
    Some((serde_json::from_slice(&entry[..line]).ok()?, &entry[line + 1..]))
}

/// Whether the value at `place` may be of this monitor and key, without its being read.
pub(super) fn is_of(place: &[u8], monitor: Option<&str>, key: Option<&str>) -> bool {
    let mut parts = place.get(1..).unwrap_or_default().splitn(3, |byte| *byte == 0).skip(1);
    let named = parts.next().unwrap_or_default();
    let keyed = parts.next().unwrap_or_default();
    monitor.is_none_or(|monitor| named == monitor.as_bytes())
        && key.is_none_or(|key| keyed.split_first() == Some((&b'k', key.as_bytes())))
}

/// `l`, domain, zero, monitor, zero, and `k` with the key where there is one.
fn place_of(domain: &str, monitor: &str, key: Option<&str>) -> Box<[u8]> {
    let mut place = vec![b'l'];
    place.extend_from_slice(domain.as_bytes());
    place.push(0);
    place.extend_from_slice(monitor.as_bytes());
    place.push(0);
    if let Some(key) = key {
        place.push(b'k');
        place.extend_from_slice(key.as_bytes());
    }
    place.into()
}
