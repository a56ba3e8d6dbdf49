//! Puts the events of one link together into blocks.
//!
//! A batch is closed when the journal's writer can take it and it has `min_size` events, when it is full, or when its
//! oldest event has waited for `timeout`. The writer takes at most one group a commit, so size follows from the arrival
//! rate and the measured commit time: a slow feed gives small batches at once, a fast one or a slow disk large ones.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::dedupe::{BurstOrder, DedupeWindow, Verdict};
use crate::clock::UnixNanos;
use crate::config::{BatchSettings, OnConflict};
use crate::dialect::{SessionToken, TopicId};
use crate::journal::{
    AccountDelta, Awaited, BlockBuilder, DedupeHash, EncodedBlock, Encoder, EventId, MonitorIdentity, NewEvent, Part,
    Path, ResumeToken, SourceSlot, Tracked,
};
use crate::monitor::burst::{Burst, Candidate, CandidateId, Numbered, Piece};
use crate::monitor::fetched::{FETCHED_TOPIC, FetchedRecord};
use crate::monitor::gap::{COVERAGE_TOPIC, GAP_TOPIC, LedgerRecord};
use crate::monitor::quarantine::QUARANTINE_TOPIC;
use crate::monitor::retry::{RETRY_TOPIC, RetryRecord};
use crate::monitor::roster::{Monitor, Roster, Route};
use crate::monitor::sequence::book::{Arrived, Origin, SequenceBook};

/// The longest a count (of heartbeats, of repeats) waits to be journaled when no event comes to carry it.
/// Source: a guess; it bounds what a crash can leave uncounted.
const COUNTS_TIMEOUT: Duration = Duration::from_secs(5);

/// What became of a burst.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Absorbed {
    /// Events put into the batch.
    pub events: u32,
    /// Repeats dropped.
    pub repeats: u32,
    /// Ids that came back with another payload; counted among events or repeats as well.
    pub conflicts: u32,
}

/// Events of the daemon's own that come about on a link.
#[derive(Debug, Clone, Copy)]
enum Own {
    Quarantine = 0,
    Gap = 1,
    Retry = 2,
    Coverage = 3,
    Fetched = 4,
}

/// What the journal calls the daemon's own events.
#[derive(Debug, Clone)]
pub struct OwnIdentities {
    /// Frames that could not be read.
    pub quarantine: Arc<MonitorIdentity>,
    /// Spans that were not seen.
    pub gaps: Arc<MonitorIdentity>,
    /// Quarantined frames that were parsed again.
    pub retries: Arc<MonitorIdentity>,
    /// What else the gap ledger is made of.
    pub coverage: Arc<MonitorIdentity>,
    /// Which events were fetched.
    pub fetched: Arc<MonitorIdentity>,
}

/// The batch of one link.
pub struct Batcher {
    settings: BatchSettings,
    roster: Arc<Roster>,
    own: OwnIdentities,
    window: Arc<DedupeWindow>,
    tracked: Tracked,
    builder: BlockBuilder,
    encoder: Encoder,
    /// Whether repeats are dropped whatever monitor they are of.
    drops_repeats: bool,
    opened: Option<Instant>,
    counted: Option<Instant>,
    order: BurstOrder,
    verdicts: Vec<Verdict>,
    topics: Vec<Arc<str>>,
    /// By [`Own`].
    own_topics: [Arc<str>; 5],
    /// Where the upstream can be taken up again behind what is in the batch.
    tokens: Vec<SessionToken>,
    /// What the link's own token is good for.
    link_topics: Vec<Arc<str>>,
    /// Routes whose events may come over another link as well, and have no ids to tell. Empty where there is none, which is
    /// nearly always.
    handed_over: HashSet<u32>,
    sequences: Option<Sequences>,
}

/// Where a link's batch notes its messages' numbers.
struct Sequences {
    book: Arc<SequenceBook>,
    connection: u64,
    /// Series that are the connection's own, and end with it: one, where it numbers its messages.
    own: HashSet<u64>,
}

impl Sequences {
    fn note(&mut self, roster: &Roster, burst: &Burst, verdicts: &[Verdict], received: UnixNanos, now: Instant) {
        let mut noting = self.book.begin(received, now);
        for Numbered { candidate, route, series, counting, numbers } in burst.numbered.iter().copied() {
            let verdict = candidate.and_then(|index| Some(verdicts[burst.candidates[index as usize].dedupe_index()?]));
            let route = &roster.routes[route as usize];
            let identity = &roster.monitors[route.monitor as usize].identity;
            let series = series.unwrap_or_else(|| {
                // The number is not anybody's to choose; any mixture will do.
                let series = self.connection.wrapping_mul(0x9e37_79b9_7f4a_7c15);
                self.own.insert(series);
                series
            });
            let (monitor, topic) = (&identity.name, roster.topic_name(route.topic));
            noting.note(
                Origin { series, monitor, topic, upstream: &roster.upstream },
                Arrived { counting, numbers, repeat: verdict == Some(Verdict::Repeat) },
            );
        }
    }
}

impl Drop for Sequences {
    fn drop(&mut self) {
        self.own.iter().for_each(|series| self.book.end(*series));
    }
}

impl Batcher {
    /// An empty batch for a link of `roster`'s upstream. `own` names the daemon's own events.
    pub fn new(settings: BatchSettings, roster: Arc<Roster>, own: OwnIdentities, window: Arc<DedupeWindow>) -> Self {
        let topics = roster.routes.iter().map(|route| Arc::clone(roster.topic_name(route.topic))).collect();
        let (roster_path, handed_over) = (roster.path, crossing_without_ids(&roster));
        Self {
            settings,
            roster,
            own,
            tracked: window.progress().join(),
            window,
            builder: BlockBuilder::new(roster_path),
            encoder: if roster_path == Path::Smart { Encoder::new() } else { Encoder::storing() },
            drops_repeats: roster_path == Path::Smart,
            opened: None,
            counted: None,
            order: BurstOrder::default(),
            verdicts: Vec::new(),
            topics,
            own_topics: [
                QUARANTINE_TOPIC.into(),
                GAP_TOPIC.into(),
                RETRY_TOPIC.into(),
                COVERAGE_TOPIC.into(),
                FETCHED_TOPIC.into(),
            ],
            tokens: Vec::new(),
            link_topics: Vec::new(),
            handed_over,
            sequences: None,
        }
    }

    /// Has the numbers of its messages noted, as those of a connection of its own.
    #[must_use]
    pub fn with_sequences(mut self, book: Arc<SequenceBook>) -> Self {
        self.sequences = Some(Sequences { connection: book.connection(), book, own: HashSet::new() });
        self
    }

    /// Drops repeats whatever the path: what is fetched may have come.
    #[must_use]
    pub fn dropping_repeats(mut self) -> Self {
        self.drop_repeats();
        self
    }

    /// Drops repeats whatever the path: the upstream was asked to send again what may have come.
    pub fn drop_repeats(&mut self) {
        self.drops_repeats = true;
    }

    /// The topics of the link, which its resume tokens are good for. What was read before is closed first: its tokens are good
    /// for the topics of then.
    pub fn carry(&mut self, topics: impl Iterator<Item = TopicId>, closed: &mut Vec<EncodedBlock>) {
        closed.extend(self.close());
        self.link_topics = topics.map(|topic| Arc::clone(self.roster.topic_name(topic))).collect();
    }

    /// Goes on with the next generation of the roster; what was read with the one before is closed.
    pub fn adopt(&mut self, roster: Arc<Roster>, closed: &mut Vec<EncodedBlock>) {
        closed.extend(self.close());
        self.topics = roster.routes.iter().map(|route| Arc::clone(roster.topic_name(route.topic))).collect();
        self.handed_over = crossing_without_ids(&roster);
        self.roster = roster;
    }

    /// From here on events of a topic may come over another link as well: those that have no ids are marked. Or no longer.
    pub fn mark_handover(&mut self, topic: TopicId, marked: bool) {
        for route in self.roster.routes_of(topic) {
            let monitor = &self.roster.monitors[self.roster.routes[route as usize].monitor as usize];
            if (marked || monitor.crossing.is_some()) && !monitor.has_ids {
                self.handed_over.insert(route);
            } else {
                self.handed_over.remove(&route);
            }
        }
    }

    /// Whether events of a topic are marked, since some of them have no ids.
    pub fn marks_handover(&self, topic: TopicId) -> bool {
        self.roster.routes_of(topic).any(|route| self.handed_over.contains(&route))
    }

    /// Notes resume tokens of the burst that was absorbed last. They go with the block that has its last event.
    pub fn resume_behind(&mut self, tokens: Vec<SessionToken>, now: Instant) {
        if tokens.is_empty() {
            return;
        }
        for token in tokens {
            match self.tokens.iter_mut().find(|known| known.topic == token.topic) {
                Some(known) => *known = token,
                None => self.tokens.push(token),
            }
        }
        self.counted.get_or_insert(now);
    }

    /// The most messages of a burst: one that fits into a batch, so that counts and events stay in one block.
    pub fn burst_messages_max(&self) -> usize {
        self.settings.max_size as usize
    }

    /// The most payload bytes of a burst.
    pub fn burst_bytes_max(&self) -> usize {
        self.settings.max_bytes.as_usize()
    }

    /// Bytes of payloads waiting.
    pub fn bytes(&self) -> usize {
        self.builder.payload_bytes()
    }

    /// Drops the burst's repeats and adds the rest to the batch. Batches that are full on the way go to `closed`.
    pub fn absorb(
        &mut self,
        burst: &mut Burst,
        received: UnixNanos,
        now: Instant,
        closed: &mut Vec<EncodedBlock>,
    ) -> Absorbed {
        let mut absorbed = Absorbed::default();
        if burst.is_empty() {
            return absorbed;
        }
        if !self.has_room_for(burst.candidates.len(), burst.payload_bytes()) {
            closed.extend(self.close());
        }
        self.tracked.begin();
        let mut verdicts = std::mem::take(&mut self.verdicts);
        self.window.judge(now, &burst.keys, &mut verdicts, &mut self.order);
        self.count(burst);
        let roster = Arc::clone(&self.roster);
        if let Some(sequences) = self.sequences.as_mut().filter(|_| !burst.numbered.is_empty()) {
            sequences.note(&roster, burst, &verdicts, received, now);
        }
        for candidate in &burst.candidates {
            let route = &roster.routes[candidate.route as usize];
            let monitor = &roster.monitors[route.monitor as usize];
            let mut verdict = candidate.dedupe_index().map_or(Verdict::New, |index| verdicts[index]);
            if verdict != Verdict::New && !self.drops_repeats && !monitor.drops_repeats(roster.path) {
                verdict = Verdict::New;
            }
            if let Some(race) = &monitor.race {
                match (verdict, candidate.dedupe_index().and_then(|index| self.order.lost_by(index))) {
                    (Verdict::New, _) => race.won(),
                    (_, Some(lag)) => race.lost(lag),
                    _ => {}
                }
            }
            let conflict = verdict == Verdict::Conflict;
            if conflict {
                absorbed.conflicts += 1;
                monitor.totals.add_conflict();
                monitor.path_totals.add_conflict();
            }
            if verdict == Verdict::Repeat || (conflict && monitor.on_conflict == OnConflict::Drop) {
                absorbed.repeats += 1;
                monitor.totals.add_repeat();
                monitor.path_totals.add_repeat();
                self.builder.account(&monitor.identity, AccountDelta { repeats: 1, ..AccountDelta::default() });
                continue;
            }
            let payload = burst.payload(candidate);
            if !self.has_room_for(1, payload.len()) {
                closed.extend(self.close());
            }
            self.push(burst, candidate, &monitor.identity, payload, received, conflict);
            absorbed.events += 1;
        }
        self.verdicts = verdicts;
        for frame in std::mem::take(&mut burst.quarantined) {
            if !self.has_room_for(1, frame.payload.len()) {
                closed.extend(self.close());
            }
            self.push_own(Own::Quarantine, roster.quarantine_key(&frame), &frame.payload, received);
        }
        if self.builder.events() > 0 {
            self.opened.get_or_insert(now);
        }
        self.counted.get_or_insert(now);
        self.tracked.end();
        absorbed
    }

    /// All that was absorbed until now, to be waited for. `everywhere`: also what any other link had absorbed, which has the
    /// originals of repeats.
    pub fn awaited(&self, everywhere: bool) -> Awaited {
        if everywhere { self.window.progress().all() } else { self.tracked.own() }
    }

    /// Whether nothing more fits.
    pub fn is_full(&self) -> bool {
        self.builder.events() >= self.settings.max_size || self.bytes() >= self.settings.max_bytes.as_usize()
    }

    /// Records what the gap ledger answered, at the moment `received`.
    pub fn record_ledger(
        &mut self,
        records: &[LedgerRecord],
        received: UnixNanos,
        now: Instant,
        closed: &mut Vec<EncodedBlock>,
    ) {
        if records.is_empty() {
            return;
        }
        // A token counts as received when its block was. A record that is stamped later would have it look newer than what it
        // stands for, and a gap that is filled by going on from it would not be told as filled.
        if !self.tokens.is_empty() {
            closed.extend(self.close());
        }
        for record in records {
            let payload = record.to_payload();
            if !self.has_room_for(1, payload.len()) {
                closed.extend(self.close());
            }
            let kind = match record {
                LedgerRecord::Gap(_) => Own::Gap,
                LedgerRecord::Coverage(_) => Own::Coverage,
            };
            self.push_own(kind, record.monitor(), &payload, received);
        }
        self.opened.get_or_insert(now);
        self.counted.get_or_insert(now);
    }

    /// Records that a quarantined frame was parsed again, in the block and directly behind what came of it, so that one is
    /// never without the other. `key` is whose frame it was.
    pub fn record_retry(&mut self, record: &RetryRecord, key: &str, received: UnixNanos, now: Instant) {
        self.push_own(Own::Retry, key, &record.to_payload(), received);
        self.opened.get_or_insert(now);
        self.counted.get_or_insert(now);
    }

    /// Records that events were fetched, in their block and directly behind them.
    pub fn record_fetched(&mut self, record: &FetchedRecord, received: UnixNanos, now: Instant) {
        self.push_own(Own::Fetched, &record.monitor, &record.to_payload(), received);
        self.opened.get_or_insert(now);
        self.counted.get_or_insert(now);
    }

    /// Events of the batch.
    pub fn events(&self) -> u32 {
        self.builder.events()
    }

    /// When the batch wants to be closed, given when the writer can take one; none while there is nothing in it.
    pub fn due(&self, writer_takes_at: Instant) -> Option<Instant> {
        let Some(opened) = self.opened else {
            return self.counted.map(|since| since + COUNTS_TIMEOUT);
        };
        let latest = opened + self.settings.timeout;
        if self.is_full() {
            Some(opened)
        } else if self.builder.events() >= self.settings.min_size {
            Some(latest.min(writer_takes_at))
        } else {
            Some(latest)
        }
    }

    /// Closes the batch: encodes and compresses it. None when there is nothing to journal.
    pub fn close(&mut self) -> Option<EncodedBlock> {
        self.opened = None;
        self.counted = None;
        for SessionToken { topic, token } in self.tokens.drain(..) {
            let topics = match topic {
                Some(topic) => vec![Arc::clone(self.roster.topic_name(topic))],
                None => self.link_topics.clone(),
            };
            let upstream = self.roster.upstream.as_str().into();
            self.builder.resume(ResumeToken { upstream, topics, token });
        }
        (!self.builder.is_empty()).then(|| self.builder.finish(&mut self.encoder).with_mark(self.tracked.mark()))
    }

    fn has_room_for(&self, events: usize, bytes: usize) -> bool {
        self.builder.events() == 0
            || (self.builder.events() as usize + events <= self.settings.max_size as usize
                && self.bytes() + bytes <= self.settings.max_bytes.as_usize())
    }

    fn count(&mut self, burst: &mut Burst) {
        for (monitor, counts) in burst.drain_counts() {
            let Monitor { identity, totals, path_totals, .. } = &self.roster.monitors[monitor as usize];
            totals.add(counts);
            path_totals.add(counts);
            let delta = AccountDelta {
                messages: counts.messages.into(),
                repeats: 0,
                control: counts.control.into(),
                quarantined: counts.quarantined.into(),
            };
            self.builder.account(identity, delta);
        }
        let counts = burst.upstream_counts;
        if counts.messages > 0 {
            self.roster.upstream_totals.add(counts);
            self.roster.upstream_path_totals.add(counts);
            let delta = AccountDelta {
                messages: counts.messages.into(),
                repeats: 0,
                control: counts.control.into(),
                quarantined: counts.quarantined.into(),
            };
            self.builder.account(&self.roster.upstream_identity, delta);
        }
    }

    #[inline]
    fn push(
        &mut self,
        burst: &Burst,
        candidate: &Candidate,
        monitor: &Arc<MonitorIdentity>,
        payload: &[u8],
        received: UnixNanos,
        conflict: bool,
    ) {
        const PARTS_INLINE: usize = 4;
        let topic = &self.topics[candidate.route as usize];
        let source = self.builder.source(monitor, topic, SourceSlot(candidate.route));
        let mut inline = [Part::Literal(&[]); PARTS_INLINE];
        let longer: Vec<Part<'_>>;
        let id = match candidate.id {
            CandidateId::None => EventId::None,
            CandidateId::PayloadHash => EventId::PayloadHash,
            CandidateId::Pieces { start, len } => {
                let pieces = &burst.pieces[start as usize..(start + len) as usize];
                if pieces.len() <= PARTS_INLINE {
                    for (part, piece) in inline.iter_mut().zip(pieces) {
                        *part = part_of(burst, *piece);
                    }
                    EventId::Parts(&inline[..pieces.len()])
                } else {
                    longer = pieces.iter().map(|piece| part_of(burst, *piece)).collect();
                    EventId::Parts(&longer)
                }
            }
        };
        let hash = candidate.dedupe_index().map(|index| {
            let key = burst.keys[index];
            DedupeHash { hash: key.hash, payload_check: key.payload_check }
        });
        self.builder.push(&NewEvent {
            source,
            received,
            event_time: candidate.event_time,
            payload,
            id,
            key: candidate.key.map(|piece| part_of(burst, piece)),
            hash,
            conflict,
            handover: candidate.id == CandidateId::None && self.handed_over.contains(&candidate.route),
        });
    }

    /// Adds an event of the daemon's own, about `key`.
    fn push_own(&mut self, kind: Own, key: &str, payload: &[u8], received: UnixNanos) {
        // The slots behind those of the routes.
        let slot = SourceSlot(u32::try_from(self.topics.len() + kind as usize).unwrap_or(u32::MAX));
        let own = match kind {
            Own::Quarantine => &self.own.quarantine,
            Own::Gap => &self.own.gaps,
            Own::Retry => &self.own.retries,
            Own::Coverage => &self.own.coverage,
            Own::Fetched => &self.own.fetched,
        };
        let source = self.builder.source(own, &self.own_topics[kind as usize], slot);
        self.builder.account(own, AccountDelta { messages: 1, ..AccountDelta::default() });
        self.builder.push(&NewEvent {
            source,
            received,
            event_time: None,
            payload,
            id: EventId::None,
            key: Some(Part::Literal(key.as_bytes())),
            hash: None,
            conflict: false,
            handover: false,
        });
    }
}

/// Routes of monitors that both paths take for a time, and whose events need not have ids.
fn crossing_without_ids(roster: &Roster) -> HashSet<u32> {
    let crosses = |route: &Route| {
        let monitor = &roster.monitors[route.monitor as usize];
        monitor.crossing.is_some() && !monitor.has_ids
    };
    (0..).zip(&roster.routes).filter(|(_, route)| crosses(route)).map(|(number, _)| number).collect()
}

#[inline]
fn part_of(burst: &Burst, piece: Piece) -> Part<'_> {
    if piece.literal { Part::Literal(burst.literal(piece)) } else { Part::Span { start: piece.start, end: piece.end } }
}

#[cfg(test)]
mod tests;
