//! A session of a dialect, and all that it says of what it is given.

use std::collections::BTreeMap;
use std::sync::Arc;

use sluice::dialect::{Frame, Intake, Message, Outbox, ReadingPlan, Session, Topic, TopicId, registry};

/// What a session said.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Said {
    pub messages: Vec<(TopicId, Vec<u8>)>,
    pub control: u32,
    pub unreadable: u32,
    pub broken: u32,
}

impl Intake for Said {
    fn message(&mut self, topic: TopicId, message: Message<'_>) {
        self.messages.push((topic, message.bytes.to_vec()));
    }

    fn converted(&mut self, topic: TopicId, raw: &[u8], _view: Message<'_>) {
        self.messages.push((topic, raw.to_vec()));
    }

    fn control(&mut self, _topic: Option<TopicId>) {
        self.control += 1;
    }

    fn acknowledged(&mut self, _topic: TopicId) {}

    fn refused(&mut self, _topics: &[TopicId], _reason: &str) {}

    fn unreadable(&mut self, _topic: Option<TopicId>, reason: &str, _raw: &[u8]) {
        assert!(!reason.is_empty());
        self.unreadable += 1;
    }

    fn broken(&mut self, reason: &str) {
        assert!(!reason.is_empty());
        self.broken += 1;
    }
}

/// A session of a preset that has asked for topics.
pub fn session(preset: &str, topics: &[&str]) -> Box<dyn Session> {
    let dialect = registry::build(preset, &BTreeMap::new()).unwrap();
    let topics: Arc<[Topic]> =
        (0..).zip(topics).map(|(id, name)| Topic { id: TopicId(id), name: Arc::from(*name) }).collect();
    let mut session = dialect.session(&topics, &ReadingPlan::default());
    let mut out = Outbox::new();
    session.opened("sl00000000000000000", &dialect.greeting(), &mut out);
    session.subscribe(&topics.iter().map(|topic| topic.id).collect::<Vec<_>>(), &mut out);
    session
}

/// What a session makes of a stream that comes in pieces of so many bytes. What it wants acknowledged is.
pub fn read(session: &mut dyn Session, stream: &[u8], piece: usize) -> Said {
    let (mut said, mut out) = (Said::default(), Outbox::new());
    for piece in stream.chunks(piece.max(1)) {
        session.receive(Frame::Binary(piece), &mut said, &mut out);
        let receipts = session.take_receipts();
        session.durable(&receipts, &mut out);
        session.take_tokens();
        out.clear();
    }
    said
}

/// A stream means the same however it is cut. The first byte says how.
pub fn cut_anywhere(preset: &str, topics: &[&str], hello: &[u8], input: &[u8]) {
    let Some((piece, stream)) = input.split_first() else { return };
    let made_of = |piece| {
        let mut session = session(preset, topics);
        read(&mut *session, hello, usize::MAX);
        read(&mut *session, stream, piece)
    };
    let (whole, cut) = (made_of(usize::MAX), made_of(usize::from(*piece)));
    // What is no message of the protocol is kept as it came, so how it was cut shows in how often.
    assert_eq!((&whole.messages, whole.broken), (&cut.messages, cut.broken), "in pieces of {piece}");
}
