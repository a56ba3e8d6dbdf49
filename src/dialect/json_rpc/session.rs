//! One link's conversation in JSON-RPC 2.0.

use std::sync::Arc;

use super::settings::JsonRpcDialectSettings;
use crate::dialect::declaration::Declaration;
use crate::dialect::declared::{Control, Reason};
use crate::dialect::early::EarlyMessages;
use crate::dialect::error::Fault;
use crate::dialect::pattern::TopicPattern;
use crate::dialect::requests::{Request, Requests};
use crate::dialect::scanned::{PointerList, Scanned, undecoded};
use crate::dialect::subscriptions::{Left, Subscriptions};
use crate::dialect::topic_book::{Phase, TopicBook};
use crate::dialect::topic_form::Purpose;
use crate::dialect::{Frame, Intake, Message, Outbox, ReadingPlan, Session, Topic, TopicId, asking};
use crate::scanner::{Fields, PointerSet, Span, Utf8, elements};

/// Slots of everything that is looked at in a message. Notifications are found with one scan; what is only in answers is
/// looked for in a second scan of the few messages that are none.
#[derive(Debug)]
pub(crate) struct Rules {
    notifications: PointerSet,
    notification: Naming,
    answers: PointerSet,
    id: usize,
    result: usize,
    error: usize,
    /// What an answer's result lists, where notifications name their channels.
    accepted: TopicPattern,
    reason: Reason,
    controls: Vec<Control>,
}

/// How a notification says what it is about.
#[derive(Debug, Clone, Copy)]
enum Naming {
    /// By the id that the answer gave.
    Subscription(usize),
    /// By the topic's own name.
    Channel(usize),
}

impl Rules {
    pub(super) fn compile(settings: &JsonRpcDialectSettings, mut plan: PointerList) -> Result<Self, Fault> {
        let mut slot = |key: &str, text: &str| plan.slot(text).map_err(|reason| Fault::new(key, reason));
        let notification = match (&settings.notification.subscription, &settings.notification.channel) {
            (Some(pointer), None) => Naming::Subscription(slot("notification.subscription", pointer)?),
            (None, Some(pointer)) => Naming::Channel(slot("notification.channel", pointer)?),
            _ => {
                let reason = "needs either `subscription`, such as \"/params/subscription\", or `channel`";
                return Err(Fault::new("notification", reason));
            }
        };
        let pointers = &mut PointerList::default();
        let mut slot = |key: &str, text: &str| pointers.slot(text).map_err(|reason| Fault::new(key, reason));
        let (id, result, error) = (slot("id", "/id")?, slot("result", "/result")?, slot("error", "/error")?);
        let accepted =
            TopicPattern::compile("{/result}", pointers).map_err(|reason| Fault::new("notification", reason))?;
        let reason = Reason::compile(&settings.reason, "", pointers)?;
        let compile = |(index, control)| Control::compile(control, &format!("controls[{index}]"), pointers);
        let controls = settings.controls.iter().enumerate().map(compile).collect::<Result<_, _>>()?;
        Ok(Self {
            notifications: plan.into_set(),
            notification,
            answers: std::mem::take(pointers).into_set(),
            id,
            result,
            error,
            accepted,
            reason,
            controls,
        })
    }
}

/// State of one link.
pub(super) struct JsonRpcSession {
    declaration: Arc<Declaration<JsonRpcDialectSettings>>,
    rules: Arc<Rules>,
    book: TopicBook,
    requests: Requests,
    subscriptions: Subscriptions,
    early: EarlyMessages,
    /// Taken out while a frame is read, so that the rest can be changed meanwhile.
    fields: Fields,
    answer_fields: Fields,
}

impl JsonRpcSession {
    pub(super) fn new(
        declaration: &Arc<Declaration<JsonRpcDialectSettings>>,
        topics: &Arc<[Topic]>,
        plan: &ReadingPlan,
    ) -> Self {
        Self {
            rules: declaration.rules(plan),
            book: TopicBook::new(declaration.table(topics)),
            requests: Requests::default(),
            subscriptions: Subscriptions::default(),
            early: EarlyMessages::new(&declaration.settings.early),
            declaration: Arc::clone(declaration),
            fields: Fields::default(),
            answer_fields: Fields::default(),
        }
    }

    /// One message: a frame, or an element of one that is a batch.
    fn message(&mut self, text: &[u8], fields: &mut Fields, intake: &mut dyn Intake, out: &mut Outbox) {
        let scanned = Scanned { text, fields };
        match self.rules.notification {
            Naming::Subscription(slot) => {
                if let Some(id) = scanned.raw(slot) {
                    self.notification(id, scanned, intake);
                    return;
                }
            }
            Naming::Channel(slot) => {
                if let Some(raw) = scanned.raw(slot) {
                    self.channel(raw, slot, scanned, intake);
                    return;
                }
            }
        }
        let mut answer_fields = std::mem::take(&mut self.answer_fields);
        // The text is known to be valid, so the scan cannot fail.
        if self.rules.answers.scan(text, Utf8::Checked, &mut answer_fields).is_ok() {
            self.answer(Scanned { text, fields: &answer_fields }, fields, intake, out);
        }
        self.answer_fields = answer_fields;
    }

    /// A message that is no notification. `fields` are for notifications that are delivered because of it.
    fn answer(&mut self, scanned: Scanned<'_>, fields: &mut Fields, intake: &mut dyn Intake, out: &mut Outbox) {
        let id = scanned.raw(self.rules.id).filter(|raw| *raw != b"null");
        if scanned.raw(self.rules.error).is_some_and(|raw| raw != b"null") {
            self.error(scanned, intake, out);
        } else if id.is_some() && scanned.raw(self.rules.result).is_some() {
            self.result(scanned, fields, intake, out);
        } else if let Some(control) =
            self.rules.controls.iter().find(|control| control.applies(scanned, &mut self.requests, out))
        {
            if control.closing {
                intake.closing();
            }
            intake.control(None);
        } else {
            intake.unreadable(None, "is neither a notification nor an answer of this dialect", scanned.text);
        }
    }

    #[inline]
    fn notification(&mut self, id: &[u8], scanned: Scanned<'_>, intake: &mut dyn Intake) {
        if let Some(topics) = self.subscriptions.topics(id) {
            for topic in topics {
                intake.message(*topic, Message { bytes: scanned.text, fields: Some(scanned.fields) });
            }
        } else if self.subscriptions.has_ended(id) {
            match self.subscriptions.late(id) {
                Some(topic) => intake.message(topic, Message { bytes: scanned.text, fields: Some(scanned.fields) }),
                None => intake.control(None),
            }
        } else if self.requests.any(Purpose::Subscribe) {
            let reason = "came before its subscription was acknowledged, and too much was kept for that already";
            self.early.keep(id, scanned.text, |text| intake.unreadable(None, reason, text));
        } else {
            intake.unreadable(None, &nobodys(id), scanned.text);
        }
    }

    fn channel(&mut self, raw: &[u8], slot: usize, scanned: Scanned<'_>, intake: &mut dyn Intake) {
        let topic = match undecoded(raw) {
            Some(name) => self.book.routed(name),
            None => scanned.plain(slot).and_then(|name| self.book.routed(name.as_bytes())),
        };
        match topic {
            Some(topic) if self.book.phase(topic) == Phase::Ended => intake.control(Some(topic)),
            Some(topic) => {
                intake.message(topic, Message { bytes: scanned.text, fields: Some(scanned.fields) });
            }
            None => {
                let reason = format!("data of channel {}, which nobody asked for", shorten(raw));
                intake.unreadable(None, &reason, scanned.text);
            }
        }
    }

    fn error(&mut self, scanned: Scanned<'_>, intake: &mut dyn Intake, out: &mut Outbox) {
        let reason = self.rules.reason.read(scanned);
        match self.request(scanned) {
            // What could not be ended has mostly ended already; nothing is left to be done.
            Some(request) if request.purpose == Purpose::Unsubscribe => {}
            Some(request) => match request.topics[..] {
                [topic] => {
                    if self.book.asked(topic) && self.subscriptions.id_of(topic).is_none() {
                        self.book.set_phase(topic, Phase::Idle);
                        self.requests.settle(Purpose::Subscribe, topic);
                        intake.refused(&[topic], &reason);
                    }
                }
                _ => asking::narrow(&mut self.book, &mut self.requests, &request.topics, out),
            },
            None => intake.refused(&[], &reason),
        }
        intake.control(None);
        self.give_up_early(intake);
    }

    fn request(&mut self, scanned: Scanned<'_>) -> Option<Request> {
        scanned.plain(self.rules.id).and_then(|id| self.requests.take(&id))
    }

    fn result(&mut self, scanned: Scanned<'_>, fields: &mut Fields, intake: &mut dyn Intake, out: &mut Outbox) {
        match self.request(scanned) {
            Some(request) if request.purpose == Purpose::Subscribe => match self.rules.notification {
                Naming::Channel(_) => self.accepted(request, scanned, intake),
                Naming::Subscription(_) => {
                    let id: Box<[u8]> = scanned.raw(self.rules.result).unwrap_or_default().into();
                    let one = if let [topic] = request.topics[..] { Some(topic) } else { None };
                    intake.control(one);
                    for topic in request.topics {
                        self.subscribed(topic, &id, fields, intake, out);
                    }
                }
            },
            // An end, or the answer to a ping, or to something that another program asked on this link.
            _ => intake.control(None),
        }
        self.give_up_early(intake);
    }

    /// The upstream lists the channels that are in force; those asked for and not listed are refused.
    fn accepted(&mut self, request: Request, scanned: Scanned<'_>, intake: &mut dyn Intake) {
        let names = self.rules.accepted.keys(scanned);
        let listed: Vec<TopicId> = names.iter().filter_map(|name| self.book.named(name)).collect();
        intake.control(None);
        let (done, refused): (Vec<_>, Vec<_>) = request.topics.into_iter().partition(|topic| listed.contains(topic));
        for topic in done {
            self.requests.settle(Purpose::Subscribe, topic);
            if matches!(self.book.phase(topic), Phase::Asked(_)) {
                self.book.set_phase(topic, Phase::Active);
                intake.acknowledged(topic);
            }
        }
        let refused: Vec<_> =
            refused.into_iter().filter(|topic| matches!(self.book.phase(*topic), Phase::Asked(_))).collect();
        if !refused.is_empty() {
            for topic in &refused {
                self.book.set_phase(*topic, Phase::Idle);
                self.requests.settle(Purpose::Subscribe, *topic);
            }
            intake.refused(&refused, "the upstream's answer does not list it among the channels in force");
        }
    }

    /// A subscription has its id: what came early is delivered.
    fn subscribed(
        &mut self,
        topic: TopicId,
        id: &[u8],
        fields: &mut Fields,
        intake: &mut dyn Intake,
        out: &mut Outbox,
    ) {
        if self.book.phase(topic) == Phase::Ended {
            // Ended before it began; now that it has an id, the upstream can be told.
            self.end_if_alone(topic, id, out);
        } else if self.subscriptions.id_of(topic).is_some_and(|other| other != id) {
            // Asked for twice, answered twice: one is enough.
            self.end_if_alone(topic, id, out);
        } else {
            self.subscriptions.add(topic, id);
            if matches!(self.book.phase(topic), Phase::Asked(_)) {
                self.book.set_phase(topic, Phase::Active);
                intake.acknowledged(topic);
            }
        }
        let early = self.early.take(id);
        for early in early {
            if self.subscriptions.topics(id).is_none() {
                intake.control(None);
            } else if self.rules.notifications.scan(&early.text, Utf8::Checked, fields).is_ok() {
                self.notification(id, Scanned { text: &early.text, fields }, intake);
            }
        }
    }

    fn end_if_alone(&mut self, topic: TopicId, id: &[u8], out: &mut Outbox) {
        if self.subscriptions.topics(id).is_none() {
            self.subscriptions.end(id);
            self.say_end(topic, id, out);
        }
    }

    fn say_end(&mut self, topic: TopicId, id: &[u8], out: &mut Outbox) {
        let id = String::from_utf8_lossy(id).into_owned();
        asking::send(&self.book, &mut self.requests, Purpose::Unsubscribe, &[topic], Some(&id), out);
    }

    /// When no answer is awaited, nobody will ever claim what was kept.
    fn give_up_early(&mut self, intake: &mut dyn Intake) {
        if self.early.is_empty() || self.requests.any(Purpose::Subscribe) {
            return;
        }
        for early in self.early.take_all() {
            if self.subscriptions.has_ended(&early.subscription) {
                intake.control(None);
            } else {
                intake.unreadable(None, &nobodys(&early.subscription), &early.text);
            }
        }
    }
}

impl Session for JsonRpcSession {
    fn subscribe(&mut self, topics: &[TopicId], out: &mut Outbox) {
        asking::subscribe(
            &mut self.book,
            &mut self.requests,
            topics,
            self.declaration.settings.limits.topics_per_request,
            out,
        );
    }

    fn unsubscribe(&mut self, topics: &[TopicId], out: &mut Outbox) {
        for topic in topics {
            self.book.set_phase(*topic, Phase::Ended);
        }
        match self.rules.notification {
            Naming::Channel(_) => {
                for group in self.book.groups(
                    Purpose::Unsubscribe,
                    topics,
                    self.declaration.settings.limits.topics_per_request as usize,
                ) {
                    asking::send(&self.book, &mut self.requests, Purpose::Unsubscribe, &group, None, out);
                }
            }
            // A topic without an id yet is ended when its answer comes.
            Naming::Subscription(_) => {
                for topic in topics {
                    if let Left::Last(id) = self.subscriptions.remove(*topic) {
                        self.say_end(*topic, &id, out);
                    }
                }
            }
        }
    }

    fn hand_over(&mut self, topics: &[TopicId], out: &mut Outbox) {
        let ids = self.subscriptions.ids_of(topics);
        self.unsubscribe(topics, out);
        for topic in topics {
            self.book.set_phase(*topic, Phase::Idle);
        }
        self.subscriptions.take_late(ids);
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

    fn receive(&mut self, frame: Frame<'_>, intake: &mut dyn Intake, out: &mut Outbox) {
        let (text, utf8) = match frame {
            Frame::Text(text) => (text.as_bytes(), Utf8::Checked),
            Frame::Binary(bytes) => (bytes, Utf8::Unchecked),
        };
        let mut fields = std::mem::take(&mut self.fields);
        match self.rules.notifications.scan(text, utf8, &mut fields) {
            Err(error) => intake.unreadable(None, &error.to_string(), text),
            Ok(()) => match whole_array(text) {
                None => self.message(text, &mut fields, intake, out),
                Some(batch) => {
                    let mut empty = true;
                    for element in elements(text, batch) {
                        empty = false;
                        let element = element.of(text);
                        // Valid, since the whole is; scanned again so that places are counted from its own beginning.
                        match self.rules.notifications.scan(element, Utf8::Checked, &mut fields) {
                            Ok(()) => self.message(element, &mut fields, intake, out),
                            Err(error) => intake.unreadable(None, &error.to_string(), element),
                        }
                    }
                    if empty {
                        intake.unreadable(None, "is an empty batch", text);
                    }
                }
            },
        }
        self.fields = fields;
    }
}

/// The span of a text that is an array.
fn whole_array(text: &[u8]) -> Option<Span> {
    let start = text.iter().position(|byte| !byte.is_ascii_whitespace())?;
    if text[start] != b'[' {
        return None;
    }
    let end = text.iter().rposition(|byte| !byte.is_ascii_whitespace())? + 1;
    Some(Span { start: u32::try_from(start).ok()?, end: u32::try_from(end).ok()? })
}

fn nobodys(id: &[u8]) -> String {
    format!("notification of subscription {}, which nobody asked for", shorten(id))
}

/// An id out of a message may have any length; a reason should not.
fn shorten(raw: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(&raw[..raw.len().min(200)])
}
