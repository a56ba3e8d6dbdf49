//! One link's conversation in a declared JSON protocol.

use std::sync::Arc;

use super::Declaration;
use super::settings::{AcknowledgementSettings, AnswerTo, JsonDialectSettings, RefusalSettings};
use crate::dialect::condition::When;
use crate::dialect::declared::{Control, Reason, compile_patterns, compile_when};
use crate::dialect::error::Fault;
use crate::dialect::pattern::TopicPattern;
use crate::dialect::requests::{Request, Requests};
use crate::dialect::scanned::{PointerList, Scanned};
use crate::dialect::topic_book::{Phase, TopicBook};
use crate::dialect::topic_form::{Point, Purpose};
use crate::dialect::{
    Frame, Intake, Message, Outbox, ReadingPlan, ResumeScope, Resumption, Session, SessionToken, Topic, TopicId, asking,
};
use crate::scanner::{Fields, PointerSet, Utf8, elements};

/// Everything that reads frames. Data is found with one scan for what monitors and routes look at; all that is only in
/// answers and heartbeats is looked for in a second scan of the few frames that no route takes, so that it costs data
/// nothing.
#[derive(Debug)]
pub(super) struct Rules {
    data: PointerSet,
    routes: Vec<Route>,
    /// Where a message's resume token is.
    token: Option<(usize, ResumeScope)>,
    answers: PointerSet,
    refusals: Vec<Refusal>,
    acknowledgements: Vec<Acknowledgement>,
    controls: Vec<Control>,
}

#[derive(Debug)]
struct Route {
    when: When,
    topics: Vec<TopicPattern>,
}

#[derive(Debug)]
struct Refusal {
    when: When,
    topics: Vec<TopicPattern>,
    id: Option<usize>,
    parts: Vec<(String, usize)>,
    in_order: bool,
    reason: Reason,
}

#[derive(Debug)]
struct Acknowledgement {
    when: When,
    purpose: Purpose,
    each: Option<Each>,
    topics: Vec<TopicPattern>,
    id: Option<usize>,
    in_order: bool,
}

/// A list whose elements name topics, with pointers of its own.
#[derive(Debug)]
struct Each {
    list: usize,
    pointers: PointerSet,
}

/// What an answer is about.
enum About {
    Topics(Vec<TopicId>),
    Request(Request),
    Unknown,
}

impl Rules {
    pub(super) fn compile(settings: &JsonDialectSettings, mut plan: PointerList) -> Result<Self, Fault> {
        let pointers = &mut plan;
        let mut routes = Vec::new();
        for (index, route) in settings.routes.iter().enumerate() {
            let key = format!("routes[{index}]");
            let when = compile_when(&route.when, &key, pointers)?;
            if route.topic.is_empty() {
                return Err(Fault::new(format!("{key}.topic"), "is missing; write one such as `{/stream}`"));
            }
            routes.push(Route { when, topics: compile_patterns(&route.topic, &key, pointers)? });
        }
        let token = settings.resume.as_ref().map(|resume| Ok((pointers.slot(&resume.token)?, resume.scope)));
        let token = token.transpose().map_err(|reason: String| Fault::new("resume.token", reason))?;
        let pointers = &mut PointerList::default();
        let compile = |(index, refusal)| Refusal::compile(refusal, &format!("refusals[{index}]"), pointers);
        let refusals = settings.refusals.iter().enumerate().map(compile).collect::<Result<_, _>>()?;
        let compile = |(index, rule)| Acknowledgement::compile(rule, &format!("acknowledgements[{index}]"), pointers);
        let acknowledgements = settings.acknowledgements.iter().enumerate().map(compile).collect::<Result<_, _>>()?;
        let compile = |(index, control)| Control::compile(control, &format!("controls[{index}]"), pointers);
        let controls = settings.controls.iter().enumerate().map(compile).collect::<Result<_, _>>()?;
        let answers = std::mem::take(pointers).into_set();
        Ok(Self { data: plan.into_set(), routes, token, answers, refusals, acknowledgements, controls })
    }
}

impl Refusal {
    fn compile(settings: &RefusalSettings, key: &str, pointers: &mut PointerList) -> Result<Self, Fault> {
        let parts = settings.parts.iter().map(|(part, pointer)| Ok((part.clone(), pointers.slot(pointer)?)));
        Ok(Self {
            parts: parts.collect::<Result<_, String>>().map_err(|reason| Fault::new(format!("{key}.parts"), reason))?,
            when: compile_when(&settings.when, key, pointers)?,
            topics: compile_patterns(&settings.topic, key, pointers)?,
            id: compile_id(settings.id.as_deref(), key, pointers)?,
            in_order: settings.in_order,
            reason: Reason::compile(&settings.reason, key, pointers)?,
        })
    }
}

impl Acknowledgement {
    fn compile(settings: &AcknowledgementSettings, key: &str, pointers: &mut PointerList) -> Result<Self, Fault> {
        let (each, topics) = match &settings.each {
            None => (None, compile_patterns(&settings.topic, key, pointers)?),
            Some(list) => {
                let list = pointers.slot(list).map_err(|reason| Fault::new(format!("{key}.each"), reason))?;
                let mut inner = PointerList::default();
                let topics = compile_patterns(&settings.topic, key, &mut inner)?;
                (Some(Each { list, pointers: inner.into_set() }), topics)
            }
        };
        Ok(Self {
            when: compile_when(&settings.when, key, pointers)?,
            purpose: match settings.of {
                AnswerTo::Subscribe => Purpose::Subscribe,
                AnswerTo::Unsubscribe => Purpose::Unsubscribe,
            },
            each,
            topics,
            id: compile_id(settings.id.as_deref(), key, pointers)?,
            in_order: settings.in_order,
        })
    }

    /// All texts that the message gives for topics.
    fn named(&self, scanned: Scanned<'_>) -> Vec<Vec<u8>> {
        let Some(each) = &self.each else {
            return self.topics.iter().flat_map(|pattern| pattern.keys(scanned)).collect();
        };
        let Some(list) = scanned.fields.get(each.list) else { return Vec::new() };
        if !list.of(scanned.text).starts_with(b"[") {
            return Vec::new();
        }
        let mut keys = Vec::new();
        let mut fields = Fields::default();
        for element in elements(scanned.text, list) {
            let text = element.of(scanned.text);
            if each.pointers.scan(text, Utf8::Checked, &mut fields).is_ok() {
                let element = Scanned { text, fields: &fields };
                keys.extend(self.topics.iter().flat_map(|pattern| pattern.keys(element)));
            }
        }
        keys
    }
}

fn compile_id(pointer: Option<&str>, key: &str, pointers: &mut PointerList) -> Result<Option<usize>, Fault> {
    let slot = pointer.map(|pointer| pointers.slot(pointer)).transpose();
    slot.map_err(|reason| Fault::new(format!("{key}.id"), reason))
}

/// State of one link.
pub(super) struct JsonSession {
    declaration: Arc<Declaration>,
    rules: Arc<Rules>,
    book: TopicBook,
    requests: Requests,
    /// Taken out while a frame is read, so that the rest can be changed meanwhile.
    fields: Fields,
    answer_fields: Fields,
    scratch: Vec<u8>,
    /// Since they were last taken; one, or one a topic.
    tokens: Vec<SessionToken>,
}

impl JsonSession {
    pub(super) fn new(declaration: &Arc<Declaration>, topics: &Arc<[Topic]>, plan: &ReadingPlan) -> Self {
        Self {
            rules: declaration.rules(plan),
            book: TopicBook::new(declaration.table(topics)),
            declaration: Arc::clone(declaration),
            requests: Requests::default(),
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
            for pattern in &route.topics {
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
            Routed::To(topic) if self.book.phase(topic) == Phase::Ended => intake.control(Some(topic)),
            Routed::To(topic) => {
                intake.message(topic, Message { bytes: text, fields: Some(scanned.fields) });
                if self.rules.token.is_some() {
                    self.note_token(topic, scanned);
                }
            }
            _ if self.answered(text, intake, out) => {}
            Routed::Unasked(key) => {
                let reason = format!("data of topic `{}`, which nobody asked for", shorten(&key));
                intake.unreadable(None, &reason, text);
            }
            Routed::NoRoute => intake.unreadable(None, "no rule of the dialect says what this message is", text),
        }
    }

    /// Whether the message, which no route takes, is an answer or control.
    fn answered(&mut self, text: &[u8], intake: &mut dyn Intake, out: &mut Outbox) -> bool {
        let mut fields = std::mem::take(&mut self.answer_fields);
        // The text is known to be valid, so the scan cannot fail.
        let answered = self.rules.answers.scan(text, Utf8::Checked, &mut fields).is_ok()
            && self.answer(Scanned { text, fields: &fields }, intake, out);
        self.answer_fields = fields;
        answered
    }

    /// What follows from an answer.
    fn answer(&mut self, scanned: Scanned<'_>, intake: &mut dyn Intake, out: &mut Outbox) -> bool {
        if let Some(at) = self.rules.refusals.iter().position(|rule| rule.when.holds(scanned)) {
            self.refusal(at, scanned, intake, out);
            return true;
        }
        if let Some(at) = self.rules.acknowledgements.iter().position(|rule| rule.when.holds(scanned)) {
            self.acknowledgement(at, scanned, intake);
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

    fn acknowledgement(&mut self, at: usize, scanned: Scanned<'_>, intake: &mut dyn Intake) {
        let rule = &self.rules.acknowledgements[at];
        let purpose = rule.purpose;
        let keys = rule.named(scanned);
        let topics = match self.about(&keys, rule.id, rule.in_order, purpose, scanned) {
            About::Topics(topics) => topics,
            About::Request(request) if request.purpose == purpose => request.topics,
            About::Request(_) | About::Unknown => Vec::new(),
        };
        for topic in &topics {
            self.requests.settle(purpose, *topic);
            if purpose == Purpose::Subscribe && matches!(self.book.phase(*topic), Phase::Asked(_)) {
                self.book.set_phase(*topic, Phase::Active);
                intake.acknowledged(*topic);
            }
        }
        let one = if let [topic] = topics[..] { Some(topic) } else { None };
        intake.control(one);
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
    /// A route fits, but nobody asked for what it leads to.
    Unasked(String),
    NoRoute,
}

impl Session for JsonSession {
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
            self.requests.settle(Purpose::Subscribe, *topic);
        }
        for group in
            self.book.groups(Purpose::Unsubscribe, topics, self.declaration.settings.limits.topics_per_request as usize)
        {
            asking::send(&self.book, &mut self.requests, Purpose::Unsubscribe, &group, None, out);
        }
    }

    fn hand_over(&mut self, topics: &[TopicId], out: &mut Outbox) {
        self.unsubscribe(topics, out);
        for topic in topics {
            self.book.set_phase(*topic, Phase::Idle);
        }
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
        let (text, utf8) = match frame {
            Frame::Text(text) => (text.as_bytes(), Utf8::Checked),
            Frame::Binary(bytes) => (bytes, Utf8::Unchecked),
        };
        let literals = &self.declaration.settings.literals;
        if !literals.is_empty() && literals.iter().any(|literal| literal.as_bytes() == text) {
            intake.control(None);
            return;
        }
        let mut fields = std::mem::take(&mut self.fields);
        if let Err(error) = self.rules.data.scan(text, utf8, &mut fields) {
            intake.unreadable(None, &error.to_string(), text);
        } else {
            self.read(Scanned { text, fields: &fields }, intake, out);
        }
        self.fields = fields;
    }
}

/// A topic's text out of a message may have any length; a reason should not.
fn shorten(text: &str) -> &str {
    &text[..text.floor_char_boundary(200)]
}
