//! What came over a link that may not be journaled yet, in the words of its session: kept to be said again, to a reading.
//!
//! Texts are copied once, all of a burst into one buffer. A message's fields are not kept: whoever reads it scans it, as the
//! dialect would have.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::UnixNanos;
use crate::dialect::{Intake, Message, Receipt, SessionToken, TopicId};
use crate::monitor::reading::Reading;
use crate::monitor::roster::Roster;

/// What a call takes beside the texts it has. Source: a guess, above the size of [`Call`].
const CALL_BYTES: usize = 96;

/// Something that a session said of a frame.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Call {
    Message(TopicId, Range<usize>),
    Converted(TopicId, Range<usize>, Range<usize>),
    Control(Option<TopicId>),
    Acknowledged(TopicId),
    Refused(Vec<TopicId>, String),
    Unreadable(Option<TopicId>, String, Range<usize>),
    Closing,
    Alive(TopicId),
    Broken(String),
    ReconnectAfter(Duration),
}

/// What was read in one turn.
#[derive(Debug, Default)]
pub(in crate::upstream) struct RecordedBurst {
    /// By the host's clock.
    pub(in crate::upstream) received: UnixNanos,
    calls: Vec<Call>,
    texts: Vec<u8>,
    /// Frames, and their bytes.
    pub(in crate::upstream) frames: u64,
    pub(in crate::upstream) frame_bytes: u64,
    pub(in crate::upstream) tokens: Vec<SessionToken>,
    pub(in crate::upstream) receipts: Vec<Receipt>,
}

impl RecordedBurst {
    /// What it takes.
    pub(super) fn bytes(&self) -> usize {
        self.texts.len() + self.calls.len() * CALL_BYTES
    }

    pub(super) fn is_empty(&self) -> bool {
        self.calls.is_empty() && self.frames == 0
    }

    /// Says it again.
    pub(in crate::upstream) fn say_to(&self, intake: &mut dyn Intake) {
        let text = |span: &Range<usize>| &self.texts[span.clone()];
        for call in &self.calls {
            match call {
                Call::Message(topic, span) => intake.message(*topic, Message { bytes: text(span), fields: None }),
                Call::Converted(topic, raw, view) => {
                    intake.converted(*topic, text(raw), Message { bytes: text(view), fields: None });
                }
                Call::Control(topic) => intake.control(*topic),
                Call::Acknowledged(topic) => intake.acknowledged(*topic),
                Call::Refused(topics, reason) => intake.refused(topics, reason),
                Call::Unreadable(topic, reason, raw) => intake.unreadable(*topic, reason, text(raw)),
                Call::Closing => intake.closing(),
                Call::Alive(topic) => intake.alive(*topic),
                Call::Broken(reason) => intake.broken(reason),
                Call::ReconnectAfter(wait) => intake.reconnect_after(*wait),
            }
        }
    }
}

/// News of topics since they were last asked for.
#[derive(Debug, Default)]
pub(super) struct News {
    /// In force for the first time.
    pub(super) live: Vec<TopicId>,
    /// Refused, and why; none named: the upstream did not say which.
    pub(super) refused: Vec<(Vec<TopicId>, String)>,
    /// The first event of a topic came.
    pub(super) first: bool,
    /// The link is of no use any more.
    pub(super) broken: Option<String>,
}

/// By what the first event of a topic is told that came: hashes of its id, by monitor. Empty where it has none, and of topics that
/// are watched only to be compared.
pub(super) type FirstEvents = BTreeMap<TopicId, BTreeMap<Arc<str>, u128>>;

/// Writes down what a session says.
pub(super) struct Recorder {
    burst: RecordedBurst,
    roster: Arc<Roster>,
    reading: Reading,
    /// Since when topics are in force, by the host's clock.
    pub(super) in_force: BTreeMap<TopicId, UnixNanos>,
    /// What is there of a topic once its first event came.
    pub(super) first: FirstEvents,
    pub(super) news: News,
}

impl Recorder {
    /// Nothing yet, of a link of this roster's upstream.
    pub(super) fn new(roster: Arc<Roster>) -> Self {
        Self {
            burst: RecordedBurst::default(),
            reading: Reading::new(Arc::clone(&roster)),
            roster,
            in_force: BTreeMap::new(),
            first: BTreeMap::new(),
            news: News::default(),
        }
    }

    /// Notes the first event of a topic. Messages that turn out to be none are passed over.
    fn note_first(&mut self, topic: TopicId, read: impl FnOnce(&mut Reading)) {
        if self.first.contains_key(&topic) {
            return;
        }
        let roster = &self.roster;
        if roster.monitors_of(topic).all(|monitor| monitor.shadow) {
            // The other process may compare something else, or nothing.
            self.first.insert(topic, BTreeMap::new());
            return;
        }
        self.reading.begin(self.burst.received);
        read(&mut self.reading);
        let burst = self.reading.burst();
        let (mut came, mut first) = (false, BTreeMap::new());
        for candidate in &burst.candidates {
            let monitor = &roster.monitors[roster.routes[candidate.route as usize].monitor as usize];
            if monitor.shadow {
                continue;
            }
            came = true;
            if let Some(key) = candidate.dedupe_index() {
                first.entry(Arc::clone(&monitor.identity.name)).or_insert(burst.keys[key].hash);
            }
        }
        if came {
            self.first.insert(topic, first);
            self.news.first = true;
        }
    }

    /// Begins a burst that is received `now`.
    pub(super) fn begin(&mut self, now: UnixNanos) {
        self.burst.received = now;
    }

    pub(super) fn count_frame(&mut self, bytes: usize) {
        self.burst.frames += 1;
        self.burst.frame_bytes += bytes as u64;
    }

    /// What was said since the last call.
    pub(super) fn take(&mut self) -> RecordedBurst {
        std::mem::take(&mut self.burst)
    }

    /// What the burst takes so far.
    pub(super) fn bytes(&self) -> usize {
        self.burst.bytes()
    }

    fn keep(&mut self, text: &[u8]) -> Range<usize> {
        let start = self.burst.texts.len();
        self.burst.texts.extend_from_slice(text);
        start..self.burst.texts.len()
    }

    fn live(&mut self, topic: TopicId) {
        let Self { in_force, burst, news, .. } = self;
        in_force.entry(topic).or_insert_with(|| {
            news.live.push(topic);
            burst.received
        });
    }

    fn note(&mut self, call: Call) {
        self.burst.calls.push(call);
    }
}

impl Intake for Recorder {
    fn message(&mut self, topic: TopicId, message: Message<'_>) {
        self.live(topic);
        self.note_first(topic, |reading| reading.message(topic, Message { fields: None, ..message }));
        let span = self.keep(message.bytes);
        self.note(Call::Message(topic, span));
    }

    fn converted(&mut self, topic: TopicId, raw: &[u8], view: Message<'_>) {
        self.live(topic);
        self.note_first(topic, |reading| reading.converted(topic, raw, Message { fields: None, ..view }));
        let (raw, view) = (self.keep(raw), self.keep(view.bytes));
        self.note(Call::Converted(topic, raw, view));
    }

    fn control(&mut self, topic: Option<TopicId>) {
        self.note(Call::Control(topic));
    }

    fn acknowledged(&mut self, topic: TopicId) {
        self.live(topic);
        self.note(Call::Acknowledged(topic));
    }

    fn refused(&mut self, topics: &[TopicId], reason: &str) {
        for topic in topics {
            self.in_force.remove(topic);
        }
        self.news.refused.push((topics.to_vec(), reason.to_owned()));
        self.note(Call::Refused(topics.to_vec(), reason.to_owned()));
    }

    fn unreadable(&mut self, topic: Option<TopicId>, reason: &str, raw: &[u8]) {
        let raw = self.keep(raw);
        self.note(Call::Unreadable(topic, reason.to_owned(), raw));
    }

    fn closing(&mut self) {
        self.note(Call::Closing);
    }

    fn alive(&mut self, topic: TopicId) {
        self.note(Call::Alive(topic));
    }

    fn broken(&mut self, reason: &str) {
        self.news.broken.get_or_insert_with(|| reason.to_owned());
        self.note(Call::Broken(reason.to_owned()));
    }

    fn reconnect_after(&mut self, wait: Duration) {
        self.note(Call::ReconnectAfter(wait));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{MonitorSettings, QuarantineSettings};
    use crate::monitor::event_id::IdHasher;
    use crate::monitor::roster::{Identities, RosterParts};

    /// Of an upstream that three topics are watched of.
    fn recorder() -> Recorder {
        let monitor: MonitorSettings = toml::from_str(
            "domain = \"d\"\nupstream = \"u\"\ntopics = [\"a\", \"b\", \"c\", \"d\"]\nevent = { id = \"/id\" }",
        )
        .unwrap();
        let (monitors, quarantine) = (BTreeMap::from([("m".to_owned(), monitor)]), QuarantineSettings::default());
        let hasher = IdHasher::new(1);
        let parts = RosterParts::new("u", &monitors, &quarantine, &hasher);
        Recorder::new(Arc::new(Roster::new(&parts, &mut Identities::default()).unwrap()))
    }

    #[test]
    fn what_was_said_is_said_again_word_for_word_and_in_order() {
        let mut first = recorder();
        first.begin(UnixNanos(7));
        let say = |to: &mut dyn Intake| {
            to.control(None);
            to.acknowledged(TopicId(1));
            to.message(TopicId(1), Message { bytes: b"one", fields: None });
            to.converted(TopicId(2), b"raw", Message { bytes: b"{}", fields: None });
            to.unreadable(Some(TopicId(2)), "why", b"??");
            to.alive(TopicId(1));
            to.refused(&[TopicId(3)], "no");
            to.reconnect_after(Duration::from_secs(3));
            to.closing();
            to.broken("over");
        };
        say(&mut first);
        assert_eq!(first.in_force, BTreeMap::from([(TopicId(1), UnixNanos(7)), (TopicId(2), UnixNanos(7))]));
        assert_eq!(first.news.live, [TopicId(1), TopicId(2)], "each once");
        let said = first.take();
        let mut again = recorder();
        said.say_to(&mut again);
        let again = again.take();
        assert_eq!((said.calls, said.texts), (again.calls, again.texts));
        assert!(first.take().is_empty());
    }

    #[test]
    fn the_first_event_of_a_topic_is_known_by_its_id() {
        let mut recorder = recorder();
        let mut say = |topic, text: &str| {
            recorder.message(topic, Message { bytes: text.as_bytes(), fields: None });
            recorder.first.clone()
        };
        assert!(say(TopicId(0), "no event").is_empty());
        let first = say(TopicId(0), r#"{"id": 1}"#);
        assert!(first.get(&TopicId(0)).is_some_and(|monitors| monitors.contains_key("m")), "{first:?}");
        assert_eq!(say(TopicId(0), r#"{"id": 2}"#), first, "the second is not the first");
        assert_eq!(say(TopicId(1), r#"{"id": 1}"#).len(), 2);
    }
}
