//! What one read burst gave: candidates for events, with their payloads copied once out of the socket's buffer.
//!
//! A burst is read whole before it is deduplicated, so that the window's locks are taken once for all of it. Its memory
//! is reused from burst to burst.

use super::event_id::DedupeKey;
use super::sequence::numbers::{Counting, Numbers};
use crate::clock::UnixNanos;

/// No dedupe key: the event has no id.
const NO_KEY: u32 = u32::MAX;

/// A piece of a candidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// In the payload, relative to its start; or in the burst's literals.
    pub literal: bool,
    /// First byte.
    pub start: u32,
    /// Behind the last byte.
    pub end: u32,
}

/// How a candidate is identified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CandidateId {
    /// Not at all.
    None,
    /// By its payload's hash.
    PayloadHash,
    /// By these of [`Burst::pieces`].
    Pieces {
        /// The first piece.
        start: u32,
        /// How many.
        len: u32,
    },
}

/// A message that was read, and may be a repeat.
#[derive(Debug, Clone, Copy)]
pub struct Candidate {
    /// Which monitor and topic: an index of `Roster::routes`.
    pub route: u32,
    payload_start: u32,
    payload_end: u32,
    /// The event's own time.
    pub event_time: Option<UnixNanos>,
    /// Its id.
    pub id: CandidateId,
    /// Its key.
    pub key: Option<Piece>,
    dedupe: u32,
}

impl Candidate {
    /// The place of its dedupe key in [`Burst::keys`].
    pub fn dedupe_index(&self) -> Option<usize> {
        (self.dedupe != NO_KEY).then_some(self.dedupe as usize)
    }
}

/// A message that has numbers of a sequence.
#[derive(Debug, Clone, Copy)]
pub struct Numbered {
    /// Its place in [`Burst::candidates`]; none where a rule ignores it.
    pub candidate: Option<u32>,
    /// Which monitor and topic: an index of `Roster::routes`.
    pub route: u32,
    /// The series they are of; none: that of the link.
    pub series: Option<u64>,
    /// What they count.
    pub counting: Counting,
    /// Which they are.
    pub numbers: Numbers,
}

/// A frame for the quarantine.
#[derive(Debug, Clone)]
pub struct QuarantinedFrame {
    /// The monitor it was for; none: the upstream's.
    pub monitor: Option<u32>,
    /// The journal's payload.
    pub payload: Vec<u8>,
}

/// What was counted of one monitor in a burst, beside its candidates.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Messages of any kind.
    pub messages: u32,
    /// Of these, acknowledgements, heartbeats and what a rule ignores.
    pub control: u32,
    /// Of these, unreadable ones.
    pub quarantined: u32,
}

/// A burst being read.
#[derive(Debug, Default)]
pub struct Burst {
    bytes: Vec<u8>,
    literals: Vec<u8>,
    /// Messages that were read.
    pub candidates: Vec<Candidate>,
    /// Pieces of ids.
    pub pieces: Vec<Piece>,
    /// One for each candidate with an id, in order.
    pub keys: Vec<DedupeKey>,
    /// The numbers of those that have some, and of ignored ones, in order of arrival.
    pub numbered: Vec<Numbered>,
    /// Frames that were not.
    pub quarantined: Vec<QuarantinedFrame>,
    counts: Vec<Counts>,
    touched: Vec<u32>,
    /// What belongs to no monitor.
    pub upstream_counts: Counts,
}

impl Burst {
    /// An empty burst for `monitors` monitors.
    pub fn new(monitors: usize) -> Self {
        Self { counts: vec![Counts::default(); monitors], ..Self::default() }
    }

    /// Bytes of payloads.
    pub fn payload_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Whether nothing at all was read.
    pub fn is_empty(&self) -> bool {
        self.candidates.is_empty()
            && self.numbered.is_empty()
            && self.quarantined.is_empty()
            && self.touched.is_empty()
            && self.upstream_counts.messages == 0
    }

    /// A candidate's payload.
    pub fn payload(&self, candidate: &Candidate) -> &[u8] {
        &self.bytes[candidate.payload_start as usize..candidate.payload_end as usize]
    }

    /// A literal piece's bytes.
    pub fn literal(&self, piece: Piece) -> &[u8] {
        &self.literals[piece.start as usize..piece.end as usize]
    }

    /// The counts of a monitor, to be added to.
    #[inline]
    pub(super) fn counts(&mut self, monitor: u32) -> &mut Counts {
        let counts = &mut self.counts[monitor as usize];
        if counts.messages == 0 {
            self.touched.push(monitor);
        }
        counts
    }

    /// Copies a text that is not in the payload.
    pub(super) fn add_literal(&mut self, text: &[u8]) -> Piece {
        let start = length(self.literals.len());
        self.literals.extend_from_slice(text);
        Piece { literal: true, start, end: length(self.literals.len()) }
    }

    /// Adds what was read. `key` where it has an id.
    #[inline]
    pub(super) fn add(
        &mut self,
        route: u32,
        payload: &[u8],
        event_time: Option<UnixNanos>,
        (id, dedupe): (CandidateId, Option<DedupeKey>),
        key: Option<Piece>,
    ) {
        let payload_start = length(self.bytes.len());
        self.bytes.extend_from_slice(payload);
        let dedupe = match dedupe {
            Some(dedupe) => {
                self.keys.push(dedupe);
                length(self.keys.len() - 1)
            }
            None => NO_KEY,
        };
        let payload_end = length(self.bytes.len());
        self.candidates.push(Candidate { route, payload_start, payload_end, event_time, id, key, dedupe });
    }

    /// Messages that are no events and nothing else, of all monitors and of none.
    pub fn control(&self) -> u32 {
        let of_monitors = self.touched.iter().map(|monitor| self.counts[*monitor as usize].control);
        of_monitors.sum::<u32>() + self.upstream_counts.control
    }

    /// Counts of the monitors that had any, which are set back to zero.
    pub fn drain_counts(&mut self) -> impl Iterator<Item = (u32, Counts)> {
        self.touched.drain(..).map(|monitor| (monitor, std::mem::take(&mut self.counts[monitor as usize])))
    }

    /// Empties the burst and keeps its memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.literals.clear();
        self.candidates.clear();
        self.pieces.clear();
        self.keys.clear();
        self.numbered.clear();
        self.quarantined.clear();
        let counts = &mut self.counts;
        self.touched.drain(..).for_each(|monitor| counts[monitor as usize] = Counts::default());
        self.upstream_counts = Counts::default();
    }
}

/// Lengths within a burst: a burst ends far below 4 GiB, at the latest after a message of `max_message`, which settings
/// keep below 1 GiB.
fn length(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}
