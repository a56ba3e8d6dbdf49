//! A dialect's session that is fed any bytes: it never panics, says something of each frame, and what it hands over is one JSON
//! text with pointers inside of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use sluice::dialect::{Dialect, Frame, Intake, Message, Outbox, ReadingPlan, Topic, TopicId, registry};

/// Separates frames in the fuzzer's input. No frame of a protocol needs it.
const SEPARATOR: u8 = 0x1e;

/// A dialect with topics, of which all are asked for.
pub struct Decoder {
    dialect: Arc<dyn Dialect>,
    topics: Arc<[Topic]>,
    plan: ReadingPlan,
    /// What a server says first.
    greeting: &'static [&'static str],
}

impl Decoder {
    /// Of a preset.
    pub fn new(preset: &str, topics: &[&str], greeting: &'static [&'static str]) -> Self {
        let dialect = registry::build(preset, &BTreeMap::new()).unwrap();
        let topics: Arc<[Topic]> =
            (0..).zip(topics).map(|(id, name)| Topic { id: TopicId(id), name: Arc::from(*name) }).collect();
        topics.iter().for_each(|topic| dialect.check_topic(&topic.name).unwrap());
        let rules = dialect.default_event_rules();
        let pointers = rules.iter().flat_map(|rule| rule.id.iter().chain(&rule.key).chain(&rule.time));
        let mut pointers: Vec<String> = pointers.filter(|text| text.starts_with('/')).cloned().collect();
        pointers.sort();
        pointers.dedup();
        Self { dialect, topics, plan: ReadingPlan { pointers }, greeting }
    }

    /// Feeds frames to a new session.
    pub fn feed(&self, input: &[u8]) {
        let mut session = self.dialect.session(&self.topics, &self.plan);
        let (mut out, mut told) = (Outbox::new(), Told { pointers: self.plan.pointers.len(), calls: 0 });
        let ids: Vec<TopicId> = self.topics.iter().map(|topic| topic.id).collect();
        session.resume_from("1");
        session.subscribe(&ids, &mut out);
        for text in self.greeting {
            session.receive(Frame::Text(text), &mut told, &mut out);
        }
        for frame in input.split(|byte| *byte == SEPARATOR) {
            let before = told.calls;
            // As a socket would have it: a text frame is UTF-8, and a binary one may be.
            if let Ok(text) = std::str::from_utf8(frame) {
                session.receive(Frame::Text(text), &mut told, &mut out);
                assert!(told.calls > before, "nothing was said of a frame");
            }
            session.receive(Frame::Binary(frame), &mut told, &mut out);
            let mut view = Vec::new();
            if session.view(frame, &mut view) == Ok(true) {
                serde_json::from_slice::<serde::de::IgnoredAny>(&view).expect("a view is JSON");
            }
            session.take_tokens();
            out.clear();
        }
        session.unsubscribe(&ids, &mut out);
    }
}

struct Told {
    pointers: usize,
    calls: usize,
}

impl Intake for Told {
    fn message(&mut self, _topic: TopicId, message: Message<'_>) {
        self.calls += 1;
        if let Some(fields) = message.fields {
            serde_json::from_slice::<serde::de::IgnoredAny>(message.bytes).expect("what was scanned is JSON");
            for slot in 0..self.pointers {
                assert!(fields.get(slot).is_none_or(|span| !span.of(message.bytes).is_empty()));
            }
        }
    }

    fn converted(&mut self, topic: TopicId, _raw: &[u8], view: Message<'_>) {
        self.message(topic, view);
    }

    fn control(&mut self, _topic: Option<TopicId>) {
        self.calls += 1;
    }

    fn acknowledged(&mut self, _topic: TopicId) {}

    fn refused(&mut self, _topics: &[TopicId], _reason: &str) {}

    fn unreadable(&mut self, _topic: Option<TopicId>, reason: &str, _raw: &[u8]) {
        assert!(!reason.is_empty());
        self.calls += 1;
    }
}
