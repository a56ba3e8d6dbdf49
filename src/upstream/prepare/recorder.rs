//! What came over a link that may not be journaled yet, in the words of its session: kept to be said again, to a reading.
//!
//! Texts are copied once, all of a burst into one buffer. A message's fields are not kept: whoever reads it scans it, as the
//! dialect would have.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use crate::clock::UnixNanos;
use crate::dialect::{Intake, Message, Receipt, SessionToken, TopicId};

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
    /// The link is of no use any more.
    pub(super) broken: Option<String>,
}

/// Writes down what a session says.
#[derive(Debug, Default)]
pub(super) struct Recorder {
    burst: RecordedBurst,
    /// Since when topics are in force, by the host's clock.
    pub(super) in_force: BTreeMap<TopicId, UnixNanos>,
    pub(super) news: News,
}

impl Recorder {
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
        let Self { in_force, burst, news } = self;
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
        let span = self.keep(message.bytes);
        self.note(Call::Message(topic, span));
    }

    fn converted(&mut self, topic: TopicId, raw: &[u8], view: Message<'_>) {
        self.live(topic);
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

    #[test]
    fn what_was_said_is_said_again_word_for_word_and_in_order() {
        let mut first = Recorder::default();
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
        let mut again = Recorder::default();
        said.say_to(&mut again);
        let again = again.take();
        assert_eq!((said.calls, said.texts), (again.calls, again.texts));
        assert!(first.take().is_empty());
    }
}
