//! One connection to a Mastodon server.

use std::collections::HashMap;
use std::hash::BuildHasherDefault;
use std::sync::Arc;

use super::Stream;
use super::view::put_view;
use crate::dialect::asked::Asked;
use crate::dialect::scanned::{PointerList, Scanned};
use crate::dialect::topic_book::{KeyHasher, Phase};
use crate::dialect::{Frame, Intake, Message, OutFrame, Outbox, ReadingPlan, Session, Topic, TopicId};
use crate::scanner::{Fields, PointerSet, Token, Utf8, elements};

/// Where in a message is what it is told by.
#[derive(Debug)]
struct Slots {
    /// Of a message as it came.
    frame: PointerSet,
    stream: usize,
    payload: usize,
    error: usize,
    /// The monitors' pointers, and the ones above behind them.
    plan: PointerSet,
}

impl Slots {
    fn of_plan(plan: &ReadingPlan) -> Self {
        let plan =
            PointerList::of_plan(&plan.pointers).expect("a plan's pointers were parsed when its monitors were read");
        let mut list = PointerList::default();
        let mut own = |pointer| list.slot(pointer).expect("these pointers are written well");
        let (stream, payload, error) = (own("/stream"), own("/payload"), own("/error"));
        Self { stream, payload, error, frame: list.into_set(), plan: plan.into_set() }
    }
}

/// State of one link.
pub(super) struct MastodonSession {
    slots: Slots,
    asked: Asked,
    /// Topics by what messages call their stream.
    streams: HashMap<Box<[u8]>, TopicId, BuildHasherDefault<KeyHasher>>,
    fields: Fields,
    view_fields: Fields,
    view: Vec<u8>,
    key: Vec<u8>,
}

impl MastodonSession {
    pub(super) fn new(topics: &Arc<[Topic]>, plan: &ReadingPlan) -> Self {
        let mut session = Self {
            slots: Slots::of_plan(plan),
            asked: Asked::new(topics),
            streams: HashMap::default(),
            fields: Fields::default(),
            view_fields: Fields::default(),
            view: Vec::new(),
            key: Vec::new(),
        };
        session.learn(topics);
        session
    }

    fn learn(&mut self, topics: &[Topic]) {
        for topic in topics {
            // A tag is the same in capitals, and comes in small letters.
            self.streams.insert(topic.name.to_lowercase().into_bytes().into(), topic.id);
        }
    }

    /// The topic of a message: its stream's name and what belongs to it, which come as a list.
    fn topic(&mut self, scanned: Scanned<'_>) -> Option<TopicId> {
        let list = scanned.fields.get(self.slots.stream)?;
        self.key.clear();
        for element in elements(scanned.text, list) {
            if !self.key.is_empty() {
                self.key.push(b':');
            }
            self.key.extend_from_slice(Token::new(element.of(scanned.text)).as_str()?.to_lowercase().as_bytes());
        }
        self.streams.get(&*self.key).copied()
    }

    fn read(&mut self, scanned: Scanned<'_>, intake: &mut dyn Intake) {
        if let Some(error) = scanned.plain(self.slots.error) {
            // It does not say which; where one alone is waited for, it is about that.
            let waiting = self.asked.unconfirmed();
            let topics = if let [topic] = waiting[..] { vec![topic] } else { Vec::new() };
            for topic in &topics {
                self.asked.set(*topic, Phase::Idle);
            }
            intake.refused(&topics, &error);
            return intake.control(None);
        }
        let Some(topic) = self.topic(scanned) else {
            let reason = "is neither an error nor of a stream that somebody asked for";
            return intake.unreadable(None, reason, scanned.text);
        };
        if !matches!(self.asked.phase(topic), Phase::Asked(_) | Phase::Active) {
            return intake.control(Some(topic));
        }
        self.asked.confirm(topic);
        self.hand_over(topic, scanned, intake);
    }

    fn hand_over(&mut self, topic: TopicId, scanned: Scanned<'_>, intake: &mut dyn Intake) {
        let raw = scanned.text;
        let Self { slots, view, view_fields: fields, .. } = self;
        let has_view = scanned.fields.get(slots.payload).is_some_and(|payload| put_view(raw, payload, view));
        if has_view && slots.plan.scan(view, Utf8::Checked, fields).is_ok() {
            return intake.converted(topic, raw, Message { bytes: view, fields: Some(fields) });
        }
        // The text is known to be sound, so that the scan cannot fail.
        if slots.plan.scan(raw, Utf8::Checked, fields).is_ok() {
            intake.message(topic, Message { bytes: raw, fields: Some(fields) });
        }
    }

    fn say(&self, topic: TopicId, kind: &str, out: &mut Outbox) {
        if let Some(stream) = self.asked.name(topic).and_then(|name| Stream::read(name).ok()) {
            out.push(OutFrame::Text(stream.request(kind)));
        }
    }
}

impl Session for MastodonSession {
    fn subscribe(&mut self, topics: &[TopicId], out: &mut Outbox) {
        for topic in topics {
            self.asked.ask(*topic);
            self.say(*topic, "subscribe", out);
        }
    }

    fn unsubscribe(&mut self, topics: &[TopicId], out: &mut Outbox) {
        for topic in topics {
            self.asked.set(*topic, Phase::Ended);
            self.say(*topic, "unsubscribe", out);
        }
    }

    fn adopt(&mut self, topics: &Arc<[Topic]>, plan: &ReadingPlan) {
        self.slots = Slots::of_plan(plan);
        self.asked.adopt(topics);
        self.learn(topics);
    }

    fn keep_alive(&mut self, _out: &mut Outbox) {}

    fn view(&self, message: &[u8], view: &mut Vec<u8>) -> Result<bool, String> {
        let mut fields = Fields::default();
        self.slots.frame.scan(message, Utf8::Unchecked, &mut fields).map_err(|error| error.to_string())?;
        let made = fields.get(self.slots.payload).is_some_and(|payload| put_view(message, payload, view));
        Ok(made && self.slots.frame.scan(view, Utf8::Checked, &mut fields).is_ok())
    }

    fn receive(&mut self, frame: Frame<'_>, intake: &mut dyn Intake, _out: &mut Outbox) {
        let (text, utf8) = match frame {
            Frame::Text(text) => (text.as_bytes(), Utf8::Checked),
            Frame::Binary(bytes) => (bytes, Utf8::Unchecked),
        };
        let mut fields = std::mem::take(&mut self.fields);
        match self.slots.frame.scan(text, utf8, &mut fields) {
            Ok(()) => self.read(Scanned { text, fields: &fields }, intake),
            Err(error) => intake.unreadable(None, &error.to_string(), text),
        }
        self.fields = fields;
    }
}
