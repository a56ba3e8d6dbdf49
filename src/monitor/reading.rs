//! Reads events out of the messages of one link, for all monitors that want them.

use std::sync::Arc;
use std::time::Duration;

use super::burst::{Burst, CandidateId, Numbered, Piece, QuarantinedFrame};
use super::crossing::Crossing;
use super::event_id::{DedupeKey, IdText};
use super::event_time;
use super::quarantine::Quarantined;
use super::roster::{Roster, Route};
use super::rule::{EachRule, IdRule, Reference, Rule, Scanned, SequenceRule, TimeRule, excerpt};
use crate::clock::UnixNanos;
use crate::config::SequencePer;
use crate::dialect::{Intake, Message, TopicId};
use crate::scanner::{Fields, Pointer, PointerSet, Span, Token, TokenKind, Utf8, elements};

/// The pointers of a roster's rules, to be found in one pass.
fn plan_of(roster: &Roster) -> PointerSet {
    let pointers: Vec<Pointer> =
        roster.plan.pointers.iter().filter_map(|pointer| Pointer::parse(pointer).ok()).collect();
    debug_assert_eq!(pointers.len(), roster.plan.pointers.len(), "a roster's pointers were parsed before");
    PointerSet::new(&pointers)
}

/// The payload checksum: tells a repeat from a conflict.
fn check(payload: &[u8]) -> u32 {
    crc32c::crc32c(payload)
}

/// The most that is kept of an upstream's reason for a refusal. Source: a guess; those recorded have up to 120.
const REFUSAL_CHARACTERS_MAX: usize = 300;

/// What a frame said about a subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SubscriptionNews {
    /// It is in force: acknowledged, or its first data came.
    Live(TopicId),
    /// The upstream refused or ended these; none named: it did not say which.
    Refused(Vec<TopicId>, String),
}

/// The reading side of a link: fills a [`Burst`] with what comes.
#[derive(Debug)]
pub struct Reading {
    roster: Arc<Roster>,
    plan: PointerSet,
    state: State,
}

#[derive(Debug)]
struct State {
    burst: Burst,
    now: UnixNanos,
    /// Fields of messages whose dialect does not scan them.
    fields: Fields,
    element_fields: Fields,
    id_text: IdText,
    live: Vec<Known>,
    /// Messages since they were last asked for, by topic.
    messages: Vec<u32>,
    /// By topic.
    ids: Vec<IdsSeen>,
    news: Vec<SubscriptionNews>,
    /// Whether the upstream announced that it will close the link.
    closing: bool,
    /// Why the link is of no use any more.
    broken: Option<String>,
    /// How long the upstream wants a lost link to stay away, where it said so since it was last asked for.
    reconnect_after: Option<Duration>,
    /// Messages that could not be read, since they were last asked for.
    unreadable: u64,
    /// Whether frames for the quarantine are kept up to a rate only.
    rationed: bool,
}

/// Whether the events of a topic have ids, as far as the rules of its monitors leave that open: a preset has rules for many kinds of
/// messages, of which a topic brings few.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct IdsSeen {
    with: bool,
    without: bool,
}

impl IdsSeen {
    fn note(&mut self, id: CandidateId) {
        match id {
            CandidateId::None => self.without = true,
            CandidateId::PayloadHash | CandidateId::Pieces { .. } => self.with = true,
        }
    }

    /// This, and what was seen elsewhere.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self { with: self.with || other.with, without: self.without || other.without }
    }

    /// Whether events came, and every one had an id.
    pub fn all(self) -> bool {
        self.with && !self.without
    }
}

/// What is journaled of a message.
#[derive(Clone, Copy)]
struct Payload<'a> {
    /// Where it is in the text that pointers look into.
    span: Span,
    bytes: &'a [u8],
}

/// The span of a payload that is no part of that text: nothing lies within it.
const ELSEWHERE: Span = Span { start: u32::MAX, end: u32::MAX };

impl<'a> Payload<'a> {
    #[inline]
    fn within(scanned: &Scanned<'a>, span: Span) -> Self {
        Self { span, bytes: span.of(scanned.frame) }
    }
}

/// Whether a topic is in force, as far as frames have said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Known {
    /// Not yet.
    Not,
    /// Not yet, and messages of it do not say so.
    ByAcknowledgement,
    /// It is.
    Live,
}

/// What could not be read.
struct Unreadable<'a> {
    monitor: Option<u32>,
    topic: Option<TopicId>,
    reason: &'a str,
    raw: &'a [u8],
    /// What is around an element.
    envelope: Option<[&'a [u8]; 2]>,
}

impl Reading {
    /// A reading of `roster`'s messages.
    pub fn new(roster: Arc<Roster>) -> Self {
        Self::with_ration(roster, true)
    }

    /// As [`Reading::new`], for frames that were kept before: those still unreadable take nothing from the rate at which new
    /// ones are kept.
    pub fn again(roster: Arc<Roster>) -> Self {
        Self::with_ration(roster, false)
    }

    fn with_ration(roster: Arc<Roster>, rationed: bool) -> Self {
        let state = State {
            burst: Burst::new(roster.monitors.len()),
            now: UnixNanos(0),
            fields: Fields::default(),
            element_fields: Fields::default(),
            id_text: IdText::default(),
            live: vec![Known::Not; roster.topics.len()],
            messages: vec![0; roster.topics.len()],
            ids: vec![IdsSeen::default(); roster.topics.len()],
            news: Vec::new(),
            closing: false,
            broken: None,
            reconnect_after: None,
            unreadable: 0,
            rationed,
        };
        Self { plan: plan_of(&roster), roster, state }
    }

    /// Goes on with the next generation of the roster. What the burst holds must have been taken out of it: it is emptied.
    pub fn adopt(&mut self, roster: Arc<Roster>) {
        self.plan = plan_of(&roster);
        self.state.burst = Burst::new(roster.monitors.len());
        self.state.live.resize(roster.topics.len(), Known::Not);
        self.state.messages.resize(roster.topics.len(), 0);
        // Its rules may be others now.
        self.state.ids.clear();
        self.state.ids.resize(roster.topics.len(), IdsSeen::default());
        self.roster = roster;
    }

    /// Topics that this link no longer carries: what comes of them again is news.
    pub fn forget(&mut self, topics: &[TopicId]) {
        for topic in topics {
            self.state.live[topic.0 as usize] = Known::Not;
        }
    }

    /// What comes of these topics may be left over from before they were asked for: only an acknowledgement is news.
    pub fn await_acknowledgement(&mut self, topics: &[TopicId]) {
        for topic in topics {
            self.state.live[topic.0 as usize] = Known::ByAcknowledgement;
        }
    }

    /// How many messages of a topic came since the last call.
    pub fn take_messages(&mut self, topic: TopicId) -> u32 {
        std::mem::take(&mut self.state.messages[topic.0 as usize])
    }

    /// Whether the events of a topic had ids so far.
    pub fn ids_seen(&self, topic: TopicId) -> IdsSeen {
        self.state.ids[topic.0 as usize]
    }

    /// Begins a burst that is received `now`.
    pub fn begin(&mut self, now: UnixNanos) {
        self.state.now = now;
        self.state.burst.clear();
    }

    /// What the burst gave so far.
    pub fn burst(&mut self) -> &mut Burst {
        &mut self.state.burst
    }

    /// Events of the burst that have ids, told apart by a part of their hash, of topics that are in force. What is left over from
    /// an earlier subscription is not among them.
    pub fn told_apart(&self) -> impl Iterator<Item = (TopicId, u64)> {
        let Self { roster, state, .. } = self;
        state.burst.candidates.iter().filter_map(|candidate| {
            let topic = roster.routes[candidate.route as usize].topic;
            let key = state.burst.keys[candidate.dedupe_index()?];
            #[expect(clippy::cast_possible_truncation, reason = "half of a hash is a hash")]
            (state.live[topic.0 as usize] == Known::Live).then_some((topic, key.hash as u64))
        })
    }

    /// Events of the burst whose monitors are on their way to the other path, told by a hash of their ids; as
    /// [`Reading::told_apart`].
    pub fn crossing(&self) -> impl Iterator<Item = (&Crossing, &Arc<str>, u64)> {
        let Self { roster, state, .. } = self;
        state.burst.candidates.iter().filter_map(|candidate| {
            let route = &roster.routes[candidate.route as usize];
            let crossing = roster.monitors[route.monitor as usize].crossing.as_deref()?;
            let key = state.burst.keys[candidate.dedupe_index()?];
            #[expect(clippy::cast_possible_truncation, reason = "half of a hash is a hash")]
            (state.live[route.topic.0 as usize] == Known::Live).then_some((
                crossing,
                roster.topic_name(route.topic),
                key.hash as u64,
            ))
        })
    }

    /// What frames said about subscriptions since the last call.
    pub fn take_news(&mut self) -> Vec<SubscriptionNews> {
        std::mem::take(&mut self.state.news)
    }

    /// How many messages could not be read since the last call.
    pub fn take_unreadable(&mut self) -> u64 {
        std::mem::take(&mut self.state.unreadable)
    }

    /// Whether the upstream announced since the last call that it will close the link.
    pub fn take_closing(&mut self) -> bool {
        std::mem::take(&mut self.state.closing)
    }

    /// Why the link is of no use any more, where the session said so since the last call.
    pub fn take_broken(&mut self) -> Option<String> {
        self.state.broken.take()
    }

    /// How long the upstream wants a lost link to stay away, where it said so since the last call.
    pub fn take_reconnect_after(&mut self) -> Option<Duration> {
        self.state.reconnect_after.take()
    }

    /// Reads a message of a topic for one monitor alone, since the others had it when it came. `view` is the text that pointers
    /// look into, where that is not the message. False if the monitor does not watch the topic.
    pub fn message_for(&mut self, monitor: u32, topic: TopicId, bytes: &[u8], view: Option<&[u8]>) -> bool {
        let Self { roster, plan, state } = self;
        let Some(route) = roster.routes_of(topic).find(|route| roster.routes[*route as usize].monitor == monitor)
        else {
            return false;
        };
        let mut fields = std::mem::take(&mut state.fields);
        let (frame, raw) = view.map_or((bytes, None), |view| (view, Some(bytes)));
        match plan.scan(frame, Utf8::Unchecked, &mut fields) {
            Ok(()) => state.read(roster, route, Scanned { frame, raw, frame_fields: &fields, element: None }),
            Err(error) => {
                state.burst.counts(monitor).messages += 1;
                state.quarantine(roster, Some(monitor), Some(topic), &error.to_string(), bytes);
            }
        }
        state.fields = fields;
        true
    }

    /// Counts a message of a topic that could not be made ready for one monitor. Nothing happens if there is no such monitor.
    pub fn unreadable_for(&mut self, monitor: u32, topic: TopicId, reason: &str, raw: &[u8]) {
        let Self { roster, state, .. } = self;
        if (monitor as usize) < roster.monitors.len() {
            state.burst.counts(monitor).messages += 1;
            state.quarantine(roster, Some(monitor), Some(topic), reason, raw);
        }
    }

    /// Counts a frame that came and was none of the dialect's business, such as one beyond the size limit.
    pub fn unreadable_frame(&mut self, reason: &str, raw: &[u8]) {
        self.unreadable(None, reason, raw);
    }
}

impl Reading {
    /// Reads a message for all monitors of its topic. `raw` is what came, where that is not the text that is read.
    #[inline]
    fn read(&mut self, topic: TopicId, raw: Option<&[u8]>, message: Message<'_>) {
        let Self { roster, plan, state } = self;
        state.messages[topic.0 as usize] += 1;
        if state.live[topic.0 as usize] == Known::Not {
            state.live[topic.0 as usize] = Known::Live;
            state.news.push(SubscriptionNews::Live(topic));
        }
        let mut scratch = std::mem::take(&mut state.fields);
        let fields = match message.fields {
            Some(fields) => Ok(fields),
            None => plan.scan(message.bytes, Utf8::Unchecked, &mut scratch).map(|()| &scratch),
        };
        match fields {
            Ok(fields) => {
                for route in roster.routes_of(topic) {
                    let scanned = Scanned { frame: message.bytes, raw, frame_fields: fields, element: None };
                    state.read(roster, route, scanned);
                }
            }
            Err(error) => {
                let reason = error.to_string();
                for route in roster.routes_of(topic) {
                    let monitor = roster.routes[route as usize].monitor;
                    state.burst.counts(monitor).messages += 1;
                    state.quarantine(roster, Some(monitor), Some(topic), &reason, raw.unwrap_or(message.bytes));
                }
            }
        }
        state.fields = scratch;
    }
}

impl Intake for Reading {
    #[inline]
    fn message(&mut self, topic: TopicId, message: Message<'_>) {
        self.read(topic, None, message);
    }

    fn converted(&mut self, topic: TopicId, raw: &[u8], view: Message<'_>) {
        self.read(topic, Some(raw), view);
    }

    fn control(&mut self, topic: Option<TopicId>) {
        let Some(topic) = topic else {
            self.state.burst.upstream_counts.messages += 1;
            self.state.burst.upstream_counts.control += 1;
            return;
        };
        for route in self.roster.routes_of(topic) {
            let counts = self.state.burst.counts(self.roster.routes[route as usize].monitor);
            counts.messages += 1;
            counts.control += 1;
        }
    }

    fn acknowledged(&mut self, topic: TopicId) {
        if std::mem::replace(&mut self.state.live[topic.0 as usize], Known::Live) != Known::Live {
            self.state.news.push(SubscriptionNews::Live(topic));
        }
    }

    fn refused(&mut self, topics: &[TopicId], reason: &str) {
        for topic in topics {
            self.state.live[topic.0 as usize] = Known::Not;
        }
        // It goes into the log and into health; how long it is, the upstream says.
        let reason = reason.chars().take(REFUSAL_CHARACTERS_MAX).collect();
        self.state.news.push(SubscriptionNews::Refused(topics.to_vec(), reason));
    }

    fn closing(&mut self) {
        self.state.closing = true;
    }

    fn alive(&mut self, topic: TopicId) {
        self.state.messages[topic.0 as usize] += 1;
    }

    fn broken(&mut self, reason: &str) {
        let reason = || reason.chars().take(REFUSAL_CHARACTERS_MAX).collect();
        self.state.broken.get_or_insert_with(reason);
    }

    fn reconnect_after(&mut self, wait: Duration) {
        self.state.reconnect_after = Some(wait);
    }

    fn unreadable(&mut self, topic: Option<TopicId>, reason: &str, raw: &[u8]) {
        let Self { roster, state, .. } = self;
        let Some(topic) = topic else {
            state.burst.upstream_counts.messages += 1;
            state.quarantine(roster, None, None, reason, raw);
            return;
        };
        for route in roster.routes_of(topic) {
            let monitor = roster.routes[route as usize].monitor;
            state.burst.counts(monitor).messages += 1;
            state.quarantine(roster, Some(monitor), Some(topic), reason, raw);
        }
    }
}

impl State {
    /// Reads a message for one monitor. Counts it once, or once for each of its elements.
    #[inline]
    fn read(&mut self, roster: &Roster, route_index: u32, scanned: Scanned<'_>) {
        let route = roster.routes[route_index as usize];
        let monitor = &roster.monitors[route.monitor as usize];
        let Some(chosen) = monitor.rules.iter().position(|rule| rule.fits_frame(&scanned)) else {
            self.burst.counts(route.monitor).messages += 1;
            return self.quarantine(
                roster,
                Some(route.monitor),
                Some(route.topic),
                "no event rule fits",
                scanned.message(),
            );
        };
        let rule = &monitor.rules[chosen];
        match &rule.each {
            None => {
                let counts = self.burst.counts(route.monitor);
                counts.messages += 1;
                if rule.ignore {
                    counts.control += 1;
                    self.number_ignored(roster, route_index, rule, &scanned);
                } else if let Err(reason) = self.read_one(roster, route_index, rule, scanned) {
                    self.quarantine(roster, Some(route.monitor), Some(route.topic), &reason, scanned.message());
                }
            }
            Some(each) => self.read_each(roster, route_index, each, &monitor.rules[chosen..], scanned),
        }
    }

    /// Reads every element of an array: by the first of `rules`, the first of which is chosen, that fits the message, has
    /// the same array, and fits the element.
    fn read_each(&mut self, roster: &Roster, route_index: u32, each: &EachRule, rules: &[Rule], scanned: Scanned<'_>) {
        let route = roster.routes[route_index as usize];
        let array = scanned.find(&each.array).filter(|span| Token::new(scanned.text(*span)).kind() == TokenKind::Array);
        let Some(array) = array else {
            self.burst.counts(route.monitor).messages += 1;
            let reason = format!("each: there is no array at `{}`", each.array.text);
            return self.quarantine(roster, Some(route.monitor), Some(route.topic), &reason, scanned.message());
        };
        let mut found = 0;
        for element in elements(scanned.frame, array) {
            found += 1;
            self.burst.counts(route.monitor).messages += 1;
            let mut fields = std::mem::take(&mut self.element_fields);
            let outcome = self.read_element(roster, route_index, (each, rules), scanned, element, &mut fields);
            self.element_fields = fields;
            if let Err(reason) = outcome {
                // With the list's brackets and without its elements.
                let (before, behind) =
                    (&scanned.frame[..=array.start as usize], &scanned.frame[array.end as usize - 1..]);
                let (monitor, topic) = (Some(route.monitor), Some(route.topic));
                let raw = scanned.text(element);
                let envelope = Some([before, behind]);
                self.keep(roster, &Unreadable { monitor, topic, reason: &reason, raw, envelope });
            }
        }
        if found == 0 {
            // Nothing happened, and the upstream said so.
            let counts = self.burst.counts(route.monitor);
            counts.messages += 1;
            counts.control += 1;
        }
    }

    fn read_element(
        &mut self,
        roster: &Roster,
        route: u32,
        (chosen, rules): (&EachRule, &[Rule]),
        scanned: Scanned<'_>,
        element: Span,
        fields: &mut Fields,
    ) -> Result<(), String> {
        for (number, rule) in rules.iter().enumerate() {
            let Some(each) = &rule.each else { continue };
            // The first was chosen for the message; the others have their own conditions on it.
            if number > 0 && (each.array.text != chosen.array.text || !rule.fits_frame(&scanned)) {
                continue;
            }
            // The frame was validated whole, so a scan of a part of it finds nothing wrong.
            each.pointers.scan(scanned.text(element), Utf8::Checked, fields).map_err(|error| error.to_string())?;
            let scanned = Scanned { element: Some((element, &*fields)), ..scanned };
            if !rule.fits_element(&scanned) {
                continue;
            }
            if rule.ignore {
                self.burst.counts(roster.routes[route as usize].monitor).control += 1;
                self.number_ignored(roster, route, rule, &scanned);
                return Ok(());
            }
            return self.read_one(roster, route, rule, scanned);
        }
        Err("no event rule fits this element".to_owned())
    }

    /// Reads one event.
    #[inline]
    fn read_one(&mut self, roster: &Roster, route: u32, rule: &Rule, scanned: Scanned<'_>) -> Result<(), String> {
        let payload = match (&rule.payload, scanned.element, scanned.raw) {
            (Some(reference), ..) => Payload::within(&scanned, required(&scanned, "payload", reference)?),
            (None, Some((element, _)), _) => Payload::within(&scanned, element),
            (None, None, Some(raw)) => Payload { span: ELSEWHERE, bytes: raw },
            (None, None, None) => Payload { span: whole(scanned.frame), bytes: scanned.frame },
        };
        let event_time = match &rule.time {
            Some(time) => read_time(&scanned, time)?,
            None => None,
        };
        let key = match &rule.key {
            Some(reference) => {
                optional_scalar(&scanned, "key", reference)?.map(|key| self.piece(&scanned, payload.span, key))
            }
            None => None,
        };
        let by = &roster.routes[route as usize];
        let id = self.read_id(by, roster, rule, &scanned, payload)?;
        // A monitor that overlaps in any case has no say.
        if !roster.monitors[by.monitor as usize].overlaps {
            self.ids[by.topic.0 as usize].note(id.0);
        }
        self.burst.add(route, payload.bytes, event_time, id, key);
        if let Some(sequence) = &rule.sequence {
            let candidate = Some(small(self.burst.candidates.len() - 1));
            self.number(roster, (route, candidate), (rule, sequence), &scanned);
        }
        Ok(())
    }

    /// What a rule ignores has its place in the feed's counting all the same.
    fn number_ignored(&mut self, roster: &Roster, route: u32, rule: &Rule, scanned: &Scanned<'_>) {
        if let Some(sequence) = &rule.sequence {
            self.number(roster, (route, None), (rule, sequence), scanned);
        }
    }

    /// Notes a message's numbers, if it has some.
    fn number(
        &mut self,
        roster: &Roster,
        (route, candidate): (u32, Option<u32>),
        (rule, sequence): (&Rule, &SequenceRule),
        scanned: &Scanned<'_>,
    ) {
        let Some(numbers) = sequence.read(scanned) else { return };
        let of_topic = roster.routes[route as usize].series;
        let series = match sequence.per {
            SequencePer::Topic => Some(of_topic),
            SequencePer::Key => {
                self.id_text.start(of_topic);
                let key = rule.key.as_ref().and_then(|key| scanned.find(key));
                self.id_text.part(key.map_or(&[][..], |span| scanned.text(span)));
                Some(roster.hasher.series(&self.id_text))
            }
            // A rule without it would leave holes in the row.
            SequencePer::Link if !roster.numbers_links => return,
            SequencePer::Link => None,
        };
        self.burst.numbered.push(Numbered { candidate, route, series, counting: sequence.counting, numbers });
    }

    #[inline]
    fn read_id(
        &mut self,
        route: &Route,
        roster: &Roster,
        rule: &Rule,
        scanned: &Scanned<'_>,
        payload: Payload<'_>,
    ) -> Result<(CandidateId, Option<DedupeKey>), String> {
        match &rule.id {
            IdRule::None => Ok((CandidateId::None, None)),
            IdRule::PayloadHash => {
                let hash = roster.hasher.hash_payload(route.scope, payload.bytes);
                Ok((
                    CandidateId::PayloadHash,
                    Some(DedupeKey {
                        hash,
                        payload_check: check(payload.bytes),
                        source: roster.monitors[route.monitor as usize].source,
                    }),
                ))
            }
            IdRule::Parts(parts) => {
                let start = self.burst.pieces.len();
                self.id_text.start(route.scope);
                for part in parts {
                    let span = match required_scalar(scanned, "id", part) {
                        Ok(span) => span,
                        Err(reason) => {
                            self.burst.pieces.truncate(start);
                            return Err(reason);
                        }
                    };
                    self.id_text.part(scanned.text(span));
                    let piece = self.piece(scanned, payload.span, span);
                    self.burst.pieces.push(piece);
                }
                let hash = roster.hasher.hash(&self.id_text);
                let payload_check = check(payload.bytes);
                let id = CandidateId::Pieces { start: small(start), len: small(parts.len()) };
                let source = roster.monitors[route.monitor as usize].source;
                Ok((id, Some(DedupeKey { hash, payload_check, source })))
            }
        }
    }

    /// Where a token is in the payload; copied when it is outside.
    #[inline]
    fn piece(&mut self, scanned: &Scanned<'_>, payload: Span, token: Span) -> Piece {
        if token.start >= payload.start && token.end <= payload.end {
            Piece { literal: false, start: token.start - payload.start, end: token.end - payload.start }
        } else {
            self.burst.add_literal(scanned.text(token))
        }
    }

    /// Counts an unreadable message (its `messages` has been counted) and keeps it within the monitor's budget.
    fn quarantine(&mut self, roster: &Roster, monitor: Option<u32>, topic: Option<TopicId>, reason: &str, raw: &[u8]) {
        self.keep(roster, &Unreadable { monitor, topic, reason, raw, envelope: None });
    }

    #[cold]
    fn keep(&mut self, roster: &Roster, unreadable: &Unreadable<'_>) {
        let Unreadable { monitor, topic, reason, raw, envelope } = *unreadable;
        let (counts, budget) = match monitor {
            Some(monitor) => (self.burst.counts(monitor), &roster.monitors[monitor as usize].quarantine),
            None => (&mut self.burst.upstream_counts, &roster.upstream_quarantine),
        };
        counts.quarantined += 1;
        self.unreadable += 1;
        let keep = roster.quarantine_frame_bytes;
        // The message was checked to be UTF-8, but it is the upstream that says how long it is.
        let envelope = envelope
            .filter(|envelope| envelope.iter().map(|part| part.len()).sum::<usize>() + raw.len() <= keep)
            .map(|envelope| envelope.map(|part| String::from_utf8_lossy(part).into_owned()));
        let envelope_bytes = envelope.iter().flatten().map(String::len).sum::<usize>();
        if self.rationed && !budget.take((raw.len().min(keep) + envelope_bytes) as u64, self.now) {
            return;
        }
        let frame = Quarantined {
            monitor: monitor.map(|monitor| roster.monitors[monitor as usize].identity.name.to_string()),
            upstream: roster.upstream.clone(),
            topic: topic.map(|topic| roster.topic_name(topic).to_string()),
            reason: reason.to_owned(),
            bytes: 0,
            frame: None,
            frame_base64: None,
            envelope,
        };
        let payload = frame.with_frame(raw, keep).to_payload();
        self.burst.quarantined.push(QuarantinedFrame { monitor, payload });
    }
}

fn whole(frame: &[u8]) -> Span {
    Span { start: 0, end: small(frame.len()) }
}

/// Lengths within a message, which settings keep below 1 GiB.
fn small(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

#[inline]
fn required(scanned: &Scanned<'_>, what: &str, reference: &Reference) -> Result<Span, String> {
    scanned.find(reference).ok_or_else(|| format!("{what}: there is nothing at `{}`", reference.text))
}

/// As [`required_scalar`]; a message without it is all the same an event: a key sorts events, it does not tell them apart.
#[inline]
fn optional_scalar(scanned: &Scanned<'_>, what: &str, reference: &Reference) -> Result<Option<Span>, String> {
    match scanned.find(reference) {
        Some(span) if scanned.text(span) != b"null" => required_scalar(scanned, what, reference).map(Some),
        _ => Ok(None),
    }
}

/// A string, a number or a boolean: what can name something.
#[inline]
fn required_scalar(scanned: &Scanned<'_>, what: &str, reference: &Reference) -> Result<Span, String> {
    let span = required(scanned, what, reference)?;
    match Token::new(scanned.text(span)).kind() {
        TokenKind::Object | TokenKind::Array | TokenKind::Null => Err(format!(
            "{what}: `{}` at `{}` is neither a string nor a number",
            excerpt(scanned.text(span)),
            reference.text
        )),
        _ => Ok(span),
    }
}

#[inline]
fn read_time(scanned: &Scanned<'_>, time: &TimeRule) -> Result<Option<UnixNanos>, String> {
    let reference = &time.reference;
    let Some(span) = scanned.find(reference) else {
        return if time.optional { Ok(None) } else { Err(format!("time: there is nothing at `{}`", reference.text)) };
    };
    let token = scanned.text(span);
    if time.optional && Token::new(token).kind() == TokenKind::Null {
        return Ok(None);
    }
    event_time::read(token, time.unit).map(Some).ok_or_else(|| {
        format!("time: `{}` at `{}` is no time in {}", excerpt(token), reference.text, unit_name(time.unit))
    })
}

fn unit_name(unit: crate::config::TimeUnit) -> &'static str {
    use crate::config::TimeUnit;
    match unit {
        TimeUnit::S => "seconds (s)",
        TimeUnit::Ms => "milliseconds (ms)",
        TimeUnit::Us => "microseconds (us)",
        TimeUnit::Ns => "nanoseconds (ns)",
        TimeUnit::Rfc3339 => "RFC 3339 (rfc3339)",
        TimeUnit::HexS => "hexadecimal seconds (hex_s)",
    }
}

#[cfg(test)]
mod tests;
