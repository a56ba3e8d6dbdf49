//! One link's conversation in a declared JSON protocol.

use std::sync::Arc;

use super::rules::{Lead, Rules, Wrapped};
use super::settings::JsonDialectSettings;
use crate::dialect::declaration::Declaration;
use crate::dialect::decoding::Decoder;
use crate::dialect::early::EarlyMessages;
use crate::dialect::requests::{Request, Requests};
use crate::dialect::scanned::Scanned;
use crate::dialect::subscriptions::{Left, Subscriptions};
use crate::dialect::template::IdOnly;
use crate::dialect::topic_book::{Phase, TopicBook};
use crate::dialect::topic_form::{Point, Purpose};
use crate::dialect::{
    Frame, Intake, Message, OutFrame, Outbox, ReadingPlan, ResumeScope, Resumption, Session, SessionToken, Topic,
    TopicId, asking,
};
use crate::scanner::{Fields, Token, TokenKind, Utf8, elements};

/// What an answer is about.
enum About {
    Topics(Vec<TopicId>),
    Request(Request),
    Unknown,
}

/// State of one link.
pub(super) struct JsonSession {
    declaration: Arc<Declaration<JsonDialectSettings>>,
    rules: Arc<Rules>,
    book: TopicBook,
    requests: Requests,
    /// By the ids that acknowledgements gave.
    learned: Subscriptions,
    early: EarlyMessages,
    /// Of binary frames, and of texts inside of messages. Taken out while they are read from.
    decoder: Option<Box<Decoder>>,
    inner_decoder: Option<Box<Decoder>>,
    greeted: bool,
    /// Taken out while a frame is read, so that the rest can be changed meanwhile.
    fields: Fields,
    answer_fields: Fields,
    scratch: Vec<u8>,
    /// Since they were last taken; one, or one a topic.
    tokens: Vec<SessionToken>,
}

impl JsonSession {
    pub(super) fn new(
        declaration: &Arc<Declaration<JsonDialectSettings>>,
        topics: &Arc<[Topic]>,
        plan: &ReadingPlan,
    ) -> Self {
        let bytes_max = declaration.settings.decoded_max.as_usize();
        let decoder = |needed: bool| needed.then(|| Box::new(Decoder::new(bytes_max)));
        Self {
            rules: declaration.rules(plan),
            book: TopicBook::new(declaration.table(topics)),
            declaration: Arc::clone(declaration),
            requests: Requests::default(),
            learned: Subscriptions::default(),
            early: EarlyMessages::new(&declaration.settings.early),
            decoder: decoder(!declaration.settings.decode.is_empty()),
            inner_decoder: decoder(declaration.settings.wrapped.iter().any(|rule| !rule.decode.is_empty())),
            greeted: false,
            fields: Fields::default(),
            answer_fields: Fields::default(),
            scratch: Vec::new(),
            tokens: Vec::new(),
        }
    }

    /// Keeps the token of a message of `topic`, in the place of the one before.
    fn note_token(&mut self, topic: TopicId, scanned: Scanned<'_>) {
        let (Some(resumption), Some((slot, scope))) = (&self.declaration.resumption, self.rules.token) else { return };
        let Some(text) = scanned.plain(slot).filter(|text| resumption.is_token(text.as_bytes())) else { return };
        let topic = (scope == ResumeScope::Topic).then_some(topic);
        match self.tokens.iter_mut().find(|known| known.topic == topic) {
            Some(known) => {
                known.token.clear();
                known.token.extend_from_slice(text.as_bytes());
            }
            None => self.tokens.push(SessionToken { topic, token: text.as_bytes().to_vec() }),
        }
    }

    /// The topic that a message's routes lead to: one asked for here if there is any, else the first that is known at all.
    #[inline]
    fn route(&mut self, scanned: Scanned<'_>) -> Routed {
        let mut routed = Routed::NoRoute;
        for route in self.rules.routes.iter().filter(|route| route.when.holds(scanned)) {
            let patterns = match &route.lead {
                Lead::Named(patterns) => patterns,
                Lead::Learned(slot) => {
                    let Some(id) = scanned.raw(*slot) else { continue };
                    match self.learned.topics(id) {
                        Some([topic]) => return Routed::To(*topic),
                        Some(_) => return Routed::Learned(*slot),
                        None => {}
                    }
                    if self.learned.has_ended(id) {
                        return self.learned.late(id).map_or(Routed::Over, Routed::To);
                    }
                    if matches!(routed, Routed::NoRoute) {
                        routed = if self.requests.any(Purpose::Subscribe) {
                            Routed::Early(*slot)
                        } else {
                            Routed::Unasked(String::from_utf8_lossy(id).into_owned())
                        };
                    }
                    continue;
                }
            };
            for pattern in patterns {
                let Some(key) = pattern.key(scanned, &mut self.scratch) else { continue };
                match self.book.routed(key) {
                    Some(topic) if self.book.asked(topic) => return Routed::To(topic),
                    Some(topic) if !matches!(routed, Routed::To(_)) => routed = Routed::To(topic),
                    None if matches!(routed, Routed::NoRoute) => {
                        routed = Routed::Unasked(String::from_utf8_lossy(key).into_owned());
                    }
                    _ => {}
                }
            }
        }
        routed
    }

    #[inline]
    fn read(&mut self, scanned: Scanned<'_>, intake: &mut dyn Intake, out: &mut Outbox) {
        let text = scanned.text;
        match self.route(scanned) {
            Routed::To(topic) => self.data(topic, scanned, intake),
            Routed::Learned(slot) => {
                let id = scanned.raw(slot).unwrap_or_default();
                let mut at = 0;
                while let Some(topic) = self.learned.topics(id).and_then(|topics| topics.get(at)).copied() {
                    self.data(topic, scanned, intake);
                    at += 1;
                }
            }
            Routed::Over => intake.control(None),
            _ if self.answered(text, intake, out) => {}
            Routed::Early(slot) => {
                let reason = "came before its topic's id was acknowledged, and too much was kept for that already";
                let id = scanned.raw(slot).unwrap_or_default();
                self.early.keep(id, text, |text| intake.unreadable(None, reason, text));
            }
            Routed::Unasked(key) => unasked(&key, text, intake),
            Routed::NoRoute => intake.unreadable(None, "no rule of the dialect says what this message is", text),
        }
    }

    #[inline]
    fn data(&mut self, topic: TopicId, scanned: Scanned<'_>, intake: &mut dyn Intake) {
        if self.book.phase(topic) == Phase::Ended {
            intake.control(Some(topic));
            return;
        }
        intake.message(topic, Message { bytes: scanned.text, fields: Some(scanned.fields) });
        if self.rules.token.is_some() {
            self.note_token(topic, scanned);
        }
    }

    /// One text, packed by nothing any more.
    fn text(&mut self, text: &[u8], utf8: Utf8, intake: &mut dyn Intake, out: &mut Outbox) {
        let literals = &self.declaration.settings.literals;
        if !literals.is_empty() && literals.iter().any(|literal| literal.as_bytes() == text) {
            intake.control(None);
            return;
        }
        let mut fields = std::mem::take(&mut self.fields);
        if let Err(error) = self.rules.data.scan(text, utf8, &mut fields) {
            intake.unreadable(None, &error.to_string(), text);
        } else {
            let scanned = Scanned { text, fields: &fields };
            match self.rules.wrapped.iter().position(|rule| rule.when.holds(scanned)) {
                Some(rule) => self.unwrap(rule, scanned, intake, out),
                None => self.read(scanned, intake, out),
            }
        }
        self.fields = fields;
    }

    /// Reads the messages inside of one.
    fn unwrap(&mut self, rule: usize, scanned: Scanned<'_>, intake: &mut dyn Intake, out: &mut Outbox) {
        let rules = Arc::clone(&self.rules);
        let rule = &rules.wrapped[rule];
        let (mut fields, mut inner) = (Fields::default(), Fields::default());
        let Some(each) = &rule.each else {
            let found = scanned.fields.get(rule.at).map(|span| span.of(scanned.text));
            return self.inside(rule, found.unwrap_or_default(), &mut fields, intake, out);
        };
        let mut empty = true;
        for element in scanned.fields.get(each.list).into_iter().flat_map(|list| elements(scanned.text, list)) {
            empty = false;
            let element = element.of(scanned.text);
            // The whole text was valid, so a part of it is.
            let found = match each.pointers.scan(element, Utf8::Checked, &mut inner) {
                Ok(()) => inner.get(rule.at).map(|span| span.of(element)),
                Err(_) => None,
            };
            self.inside(rule, found.unwrap_or(element), &mut fields, intake, out);
        }
        if empty {
            intake.control(None);
        }
    }

    /// Reads the message in a string token.
    fn inside(&mut self, rule: &Wrapped, token: &[u8], fields: &mut Fields, intake: &mut dyn Intake, out: &mut Outbox) {
        let string = Token::new(token);
        if token.is_empty() || string.kind() != TokenKind::String {
            return intake.unreadable(None, "has no text inside where one was declared", token);
        }
        let packed = string.text();
        let mut decoder = self.inner_decoder.take();
        let text = match &mut decoder {
            Some(decoder) if !rule.decode.is_empty() => decoder.decode(&rule.decode, packed.as_bytes()),
            _ => Ok(packed.as_bytes()),
        };
        match text.and_then(|text| match self.rules.data.scan(text, Utf8::Unchecked, fields) {
            Ok(()) => Ok(text),
            Err(error) => Err(error.to_string()),
        }) {
            Ok(text) => self.read(Scanned { text, fields }, intake, out),
            Err(reason) => intake.unreadable(None, &reason, token),
        }
        self.inner_decoder = decoder;
    }

    /// Whether the message, which no route takes, is an answer or control.
    fn answered(&mut self, text: &[u8], intake: &mut dyn Intake, out: &mut Outbox) -> bool {
        let mut fields = std::mem::take(&mut self.answer_fields);
        // The text is known to be valid, so the scan cannot fail.
        let answered = self.rules.answers.scan(text, Utf8::Checked, &mut fields).is_ok()
            && self.answer(Scanned { text, fields: &fields }, intake, out);
        self.answer_fields = fields;
        if answered && !self.early.is_empty() && !self.requests.any(Purpose::Subscribe) {
            // Nobody will ever claim the rest.
            self.read_early(None, intake, out);
        }
        answered
    }

    /// What follows from an answer.
    fn answer(&mut self, scanned: Scanned<'_>, intake: &mut dyn Intake, out: &mut Outbox) -> bool {
        if let Some(at) = self.rules.refusals.iter().position(|rule| rule.when.holds(scanned)) {
            self.refusal(at, scanned, intake, out);
            return true;
        }
        if let Some(at) = self.rules.acknowledgements.iter().position(|rule| rule.when.holds(scanned)) {
            self.acknowledgement(at, scanned, intake, out);
            return true;
        }
        if let Some(control) =
            self.rules.controls.iter().find(|control| control.applies(scanned, &mut self.requests, out))
        {
            if control.closing {
                intake.closing();
            }
            intake.control(None);
            return true;
        }
        false
    }

    fn refusal(&mut self, at: usize, scanned: Scanned<'_>, intake: &mut dyn Intake, out: &mut Outbox) {
        let rule = &self.rules.refusals[at];
        let reason = rule.reason.read(scanned);
        let keys: Vec<_> = rule.topics.iter().flat_map(|pattern| pattern.keys(scanned)).collect();
        let parts: Vec<_> =
            rule.parts.iter().filter_map(|(part, slot)| Some((part.clone(), scanned.plain(*slot)?))).collect();
        match self.about(&keys, rule.id, rule.in_order, Purpose::Subscribe, scanned) {
            About::Topics(topics) => self.refuse(&topics, &reason, intake),
            // What could not be ended has mostly ended already; nothing is left to be done.
            About::Request(request) if request.purpose == Purpose::Unsubscribe => {}
            About::Request(mut request) => {
                let meant: Vec<TopicId> = request
                    .topics
                    .iter()
                    .copied()
                    .filter(|topic| {
                        self.book.entry(*topic).is_some_and(|entry| {
                            let form = self.book.form(entry);
                            parts.iter().all(|(part, text)| form.part(&entry.words, part) == Some(text))
                        })
                    })
                    .collect();
                if !parts.is_empty() && !meant.is_empty() {
                    request.topics.retain(|topic| !meant.contains(topic));
                    if !request.topics.is_empty() {
                        self.requests.put_back(request);
                    }
                    self.refuse(&meant, &reason, intake);
                } else if let [topic] = request.topics[..] {
                    self.refuse(&[topic], &reason, intake);
                } else {
                    asking::narrow(&mut self.book, &mut self.requests, &request.topics, out);
                }
            }
            About::Unknown => intake.refused(&[], &reason),
        }
        intake.control(None);
    }

    fn refuse(&mut self, topics: &[TopicId], reason: &str, intake: &mut dyn Intake) {
        for topic in topics {
            self.book.set_phase(*topic, Phase::Idle);
            self.requests.settle(Purpose::Subscribe, *topic);
        }
        intake.refused(topics, reason);
    }

    fn acknowledgement(&mut self, at: usize, scanned: Scanned<'_>, intake: &mut dyn Intake, out: &mut Outbox) {
        let rule = &self.rules.acknowledgements[at];
        let (purpose, learn, numbered) = (rule.purpose, rule.learn, rule.numbered);
        let keys = rule.named(scanned);
        let topics = match self.about(&keys, rule.id, rule.in_order, purpose, scanned) {
            About::Topics(topics) => topics,
            About::Request(request) if request.purpose == purpose => request.topics,
            About::Request(_) | About::Unknown => Vec::new(),
        };
        for topic in &topics {
            self.requests.settle(purpose, *topic);
            if purpose == Purpose::Subscribe {
                if let Some(id) = learn.and_then(|slot| scanned.raw(slot)) {
                    self.learn(*topic, id, intake, out);
                }
                if matches!(self.book.phase(*topic), Phase::Asked(_)) {
                    self.book.set_phase(*topic, Phase::Active);
                    intake.acknowledged(*topic);
                }
            }
        }
        match topics[..] {
            // Rare enough that it may be scanned once more, by the monitors.
            [first, ..] if numbered => intake.message(first, Message { bytes: scanned.text, fields: None }),
            [topic] => intake.control(Some(topic)),
            _ => intake.control(None),
        }
    }

    /// The upstream calls a topic so from here on.
    fn learn(&mut self, topic: TopicId, id: &[u8], intake: &mut dyn Intake, out: &mut Outbox) {
        if self.book.phase(topic) == Phase::Ended {
            // Ended before it had an id; now the upstream can be told.
            if self.learned.topics(id).is_none() {
                self.learned.end(id);
                self.say_end(topic, id, out);
            }
            return;
        }
        if self.learned.id_of(topic).is_some_and(|known| known != id) {
            // Subscribed anew: what still comes under the old id is over.
            self.learned.remove(topic);
        }
        self.learned.add(topic, id);
        self.read_early(Some(id), intake, out);
    }

    /// Reads what came before its id was given: of this id, or, as no more can be given, all.
    fn read_early(&mut self, id: Option<&[u8]>, intake: &mut dyn Intake, out: &mut Outbox) {
        if self.early.is_empty() {
            return;
        }
        let mut fields = Fields::default();
        let claimed = match id {
            Some(id) => self.early.take(id),
            None => self.early.take_all(),
        };
        for early in claimed {
            // It was valid when it came.
            if self.rules.data.scan(&early.text, Utf8::Checked, &mut fields).is_ok() {
                self.read(Scanned { text: &early.text, fields: &fields }, intake, out);
            }
        }
    }

    fn say_end(&mut self, topic: TopicId, id: &[u8], out: &mut Outbox) {
        let id = String::from_utf8_lossy(id).into_owned();
        asking::send(&self.book, &mut self.requests, Purpose::Unsubscribe, &[topic], Some(&id), out);
    }

    /// What an answer is about: topics that it names, else the request whose id it has, else the oldest.
    fn about(
        &mut self,
        keys: &[Vec<u8>],
        id: Option<usize>,
        in_order: bool,
        purpose: Purpose,
        scanned: Scanned<'_>,
    ) -> About {
        let mut topics: Vec<TopicId> = keys.iter().filter_map(|key| self.book.named(key)).collect();
        topics.sort_unstable();
        topics.dedup();
        if !topics.is_empty() {
            return About::Topics(topics);
        }
        let id = id.filter(|slot| scanned.raw(*slot) != Some(b"null")).and_then(|slot| scanned.plain(slot));
        let request = match id {
            Some(id) if !id.is_empty() => self.requests.take(&id),
            _ if in_order => self.requests.take_oldest(purpose),
            _ => None,
        };
        request.map_or(About::Unknown, About::Request)
    }
}

enum Routed {
    To(TopicId),
    /// To the several topics that share the id in this slot, since they were asked for in equal words.
    Learned(usize),
    /// To a topic that has ended, by its id.
    Over,
    /// Perhaps to a topic whose id in this slot is still to be acknowledged.
    Early(usize),
    /// A route fits, but nobody asked for what it leads to.
    Unasked(String),
    NoRoute,
}

impl Session for JsonSession {
    fn subscribe(&mut self, topics: &[TopicId], out: &mut Outbox) {
        if !std::mem::replace(&mut self.greeted, true) {
            for hello in &self.rules.hello {
                let id = self.requests.spare_id().to_string();
                out.extend(hello.render(&IdOnly(&id)).map(OutFrame::Text));
            }
        }
        let at_most = self.declaration.settings.limits.topics_per_request;
        asking::subscribe(&mut self.book, &mut self.requests, topics, at_most, out);
    }

    fn unsubscribe(&mut self, topics: &[TopicId], out: &mut Outbox) {
        for topic in topics {
            self.book.set_phase(*topic, Phase::Ended);
            self.requests.settle(Purpose::Subscribe, *topic);
        }
        let at_most = self.declaration.settings.limits.topics_per_request;
        asking::unsubscribe(&self.book, &mut self.requests, topics, at_most, out);
        // A topic without an id yet is ended when it gets one.
        for topic in topics {
            if let Left::Last(id) = self.learned.remove(*topic)
                && self.book.ends_by_id(*topic)
            {
                self.say_end(*topic, &id, out);
            }
        }
    }

    fn hand_over(&mut self, topics: &[TopicId], out: &mut Outbox) {
        let ids = self.learned.ids_of(topics);
        self.unsubscribe(topics, out);
        for topic in topics {
            self.book.set_phase(*topic, Phase::Idle);
        }
        self.learned.take_late(ids);
    }

    fn adopt(&mut self, topics: &Arc<[Topic]>, plan: &ReadingPlan) {
        self.rules = self.declaration.rules(plan);
        self.book.adopt(self.declaration.table(topics));
    }

    fn keep_alive(&mut self, out: &mut Outbox) {
        if let Some(ping) = &self.declaration.ping {
            ping.say(&mut self.requests, out);
        }
    }

    fn resume_from(&mut self, point: &str) {
        let is_number = self.declaration.resumption.as_ref().is_some_and(Resumption::is_number);
        // A string has nothing that serialization could refuse.
        let json = if is_number { point.to_owned() } else { serde_json::to_string(point).unwrap_or_default() };
        self.book.resume_from(Point { text: point.to_owned(), json });
    }

    fn take_tokens(&mut self) -> Vec<SessionToken> {
        std::mem::take(&mut self.tokens)
    }

    fn receive(&mut self, frame: Frame<'_>, intake: &mut dyn Intake, out: &mut Outbox) {
        match frame {
            Frame::Text(text) => self.text(text.as_bytes(), Utf8::Checked, intake, out),
            Frame::Binary(bytes) if self.declaration.settings.decode.is_empty() => {
                self.text(bytes, Utf8::Unchecked, intake, out);
            }
            Frame::Binary(bytes) => {
                let declaration = Arc::clone(&self.declaration);
                // There is one wherever something is to be decoded.
                let Some(mut decoder) = self.decoder.take() else { return };
                match decoder.decode(&declaration.settings.decode, bytes) {
                    Ok(text) => self.text(text, Utf8::Unchecked, intake, out),
                    Err(reason) => intake.unreadable(None, &reason, bytes),
                }
                self.decoder = Some(decoder);
            }
        }
    }
}

#[cold]
fn unasked(key: &str, text: &[u8], intake: &mut dyn Intake) {
    intake.unreadable(None, &format!("data of topic `{}`, which nobody asked for", shorten(key)), text);
}

/// A topic's text out of a message may have any length; a reason should not.
fn shorten(text: &str) -> &str {
    &text[..text.floor_char_boundary(200)]
}
