//! What a simulated feed says that it sent, and how an event is known again on the other side.

use std::collections::HashMap;

use serde::Deserialize;

use super::processes::Event;
use super::support::Workplace;

/// A line of the simulator's ledger.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Sent {
    pub(crate) connection: u64,
    pub(crate) topic: String,
    pub(crate) id: String,
    pub(crate) crc: u32,
    pub(crate) fault: Option<String>,
}

impl Sent {
    /// A frame that is no event at all.
    pub(crate) fn is_bad(&self) -> bool {
        matches!(self.fault.as_deref(), Some("truncated" | "invalid_utf8" | "junk" | "nested" | "changed_id"))
    }

    /// A frame whose text was sent before.
    pub(crate) fn is_repeat(&self) -> bool {
        self.fault.as_deref() == Some("repeat")
    }

    pub(crate) fn mark(&self) -> Mark {
        (self.topic.clone(), self.id.clone(), self.crc)
    }
}

/// The ledger `ledger.jsonl` of a folder. It is whole when its simulator has stopped.
pub(crate) fn ledger(place: &Workplace) -> Vec<Sent> {
    let text = std::fs::read_to_string(place.path("ledger.jsonl")).expect("the simulator wrote its ledger");
    text.lines().map(|line| serde_json::from_str(line).expect("a JSON line")).collect()
}

/// What identifies an event on both sides: topic, id and the payload's checksum.
pub(crate) type Mark = (String, String, u32);

pub(crate) fn mark_of(event: &Event) -> Mark {
    // The dialect puts the topic before the id: `btcusdt@trade:17`.
    let id = event.id.as_deref().unwrap_or_default();
    let id = id.rsplit_once(':').map_or(id, |(_, id)| id);
    (event.topic.clone(), id.to_owned(), crc32c::crc32c(event.payload.get().as_bytes()))
}

/// Checks events of a feed with one link at a time, whose daemon was killed again and again: of each connection the first so
/// many, none left out, none twice, in the order they were sent; and nothing that was not sent.
pub(crate) fn assert_first_ones_of_each_connection(events: &[Mark], sent: &[Sent], context: &str) {
    let mut connections: HashMap<u64, Vec<Mark>> = HashMap::new();
    let mut connection_of: HashMap<Mark, u64> = HashMap::new();
    for frame in sent.iter().filter(|frame| !frame.is_bad() && !frame.is_repeat()) {
        connections.entry(frame.connection).or_default().push(frame.mark());
        let known = connection_of.insert(frame.mark(), frame.connection);
        assert_eq!(known, None, "{context}: the feed sends each but once: {frame:?}");
    }
    let mut next: HashMap<u64, usize> = HashMap::new();
    for (place, mark) in events.iter().enumerate() {
        let Some(connection) = connection_of.get(mark) else {
            panic!("{context}: event {place} was never sent: {mark:?}");
        };
        let next = next.entry(*connection).or_default();
        let wanted = &connections[connection][*next];
        assert_eq!(
            mark, wanted,
            "{context}: event {place}, {next} of connection {connection}: lost, twice or out of order"
        );
        *next += 1;
    }
}
