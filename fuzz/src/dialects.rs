//! A dialect's session is given frames: whatever they are, it neither breaks nor names what is not there.

use std::collections::BTreeMap;
use std::sync::Arc;

use sluice::dialect::{Frame, Intake, Message, Outbox, ReadingPlan, Topic, TopicId, registry};

/// Ends a frame in an input: no JSON has this byte.
const FRAME_END: u8 = 0x1e;

/// A dialect and topics that are asked for.
pub type Spoken = (&'static str, &'static [&'static str]);

/// Lets a session read the frames of an input. Its first byte says which of `dialects` is spoken, and whether frames are text.
pub fn read(dialects: &[Spoken], input: &[u8]) {
    let Some((first, rest)) = input.split_first() else { return };
    let (name, topics) = dialects[usize::from(first >> 1) % dialects.len()];
    let dialect = registry::build(name, &BTreeMap::new()).expect("a preset");
    let topics: Arc<[Topic]> =
        (0..).zip(topics).map(|(id, name)| Topic { id: TopicId(id), name: Arc::from(*name) }).collect();
    let plan = ReadingPlan { pointers: ["/data", "/payload/a", "/params/result", "/0"].map(str::to_owned).to_vec() };
    let mut session = dialect.session(&topics, &plan);
    let mut said = Said { topics: topics.len() };
    let mut out = Outbox::new();
    session.opened("fuzz", &mut out);
    session.subscribe(&topics.iter().map(|topic| topic.id).collect::<Vec<_>>(), &mut out);
    let mut view = Vec::new();
    for frame in rest.split(|byte| *byte == FRAME_END) {
        match std::str::from_utf8(frame) {
            Ok(text) if first & 1 == 0 => session.receive(Frame::Text(text), &mut said, &mut out),
            _ => session.receive(Frame::Binary(frame), &mut said, &mut out),
        }
        view.clear();
        session.view(frame, &mut view).ok();
        session.take_tokens();
        session.keep_alive(&mut out);
        out.clear();
    }
    session.unsubscribe(&[TopicId(0)], &mut out);
}

/// Checks what a session says.
struct Said {
    topics: usize,
}

impl Said {
    fn is_known(&self, topic: TopicId) {
        assert!((topic.0 as usize) < self.topics, "{topic:?} was never asked for");
    }
}

impl Intake for Said {
    fn message(&mut self, topic: TopicId, message: Message<'_>) {
        self.is_known(topic);
        let fields = message.fields.into_iter().flat_map(|fields| (0..4).filter_map(|slot| fields.get(slot)));
        for span in fields {
            assert!(!span.of(message.bytes).is_empty(), "a JSON value has bytes");
        }
    }

    fn converted(&mut self, topic: TopicId, _raw: &[u8], view: Message<'_>) {
        self.message(topic, view);
    }

    fn control(&mut self, topic: Option<TopicId>) {
        topic.into_iter().for_each(|topic| self.is_known(topic));
    }

    fn acknowledged(&mut self, topic: TopicId) {
        self.is_known(topic);
    }

    fn refused(&mut self, topics: &[TopicId], _reason: &str) {
        topics.iter().for_each(|topic| self.is_known(*topic));
    }

    fn unreadable(&mut self, topic: Option<TopicId>, _reason: &str, _raw: &[u8]) {
        topic.into_iter().for_each(|topic| self.is_known(topic));
    }
}
