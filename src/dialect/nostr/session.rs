//! One connection to a relay.

use std::collections::HashMap;
use std::sync::Arc;

use super::{CREATED_AT, filter};
use crate::clock::UnixNanos;
use crate::dialect::asked::Asked;
use crate::dialect::scanned::{PointerList, Scanned, undecoded};
use crate::dialect::topic_book::Phase;
use crate::dialect::{Frame, Intake, Message, OutFrame, Outbox, ReadingPlan, Session, SessionToken, Topic, TopicId};
use crate::scanner::{Fields, PointerSet, Token, Utf8};

/// Where in a message is what it is told by.
#[derive(Debug)]
struct Slots {
    pointers: PointerSet,
    verb: usize,
    subscription: usize,
    reason: usize,
    created: usize,
}

impl Slots {
    fn of_plan(plan: &ReadingPlan) -> Self {
        let mut list =
            PointerList::of_plan(&plan.pointers).expect("a plan's pointers were parsed when its monitors were read");
        let mut own = |pointer| list.slot(pointer).expect("these pointers are written well");
        let (verb, subscription, reason, created) = (own("/0"), own("/1"), own("/2"), own(CREATED_AT));
        Self { verb, subscription, reason, created, pointers: list.into_set() }
    }
}

/// State of one link.
pub(super) struct NostrSession {
    resumes: bool,
    slots: Slots,
    asked: Asked,
    /// Subscriptions by number; a number is given once in a connection.
    subscriptions: HashMap<u64, TopicId>,
    last_number: u64,
    since: Option<u64>,
    fields: Fields,
    /// Whether the relay wants to know who we are.
    challenged: bool,
    /// When the newest event seen was made; never later than it came, since anybody may write anything.
    newest: u64,
    has_token: bool,
}

impl NostrSession {
    pub(super) fn new(resumes: bool, topics: &Arc<[Topic]>, plan: &ReadingPlan) -> Self {
        Self {
            resumes,
            slots: Slots::of_plan(plan),
            asked: Asked::new(topics),
            subscriptions: HashMap::new(),
            last_number: 0,
            since: None,
            fields: Fields::default(),
            challenged: false,
            newest: 0,
            has_token: false,
        }
    }

    fn number_of(&self, topic: TopicId) -> Option<u64> {
        self.subscriptions.iter().find(|(_, other)| **other == topic).map(|(number, _)| *number)
    }

    /// What a message's subscription is: ours and in force, ours and over, or nobody's.
    fn subscription(&self, scanned: Scanned<'_>) -> Whose {
        let name = scanned.raw(self.slots.subscription).and_then(undecoded);
        let Some(number) = name.and_then(filter::subscription_number) else { return Whose::Nobodys };
        match self.subscriptions.get(&number) {
            Some(topic) => Whose::Of(number, *topic),
            None if number <= self.last_number => Whose::Over,
            None => Whose::Nobodys,
        }
    }

    fn read(&mut self, scanned: Scanned<'_>, intake: &mut dyn Intake) {
        match scanned.raw(self.slots.verb) {
            Some(br#""EVENT""#) => self.event(scanned, intake),
            Some(br#""EOSE""#) => match self.subscription(scanned) {
                Whose::Of(_, topic) => {
                    if self.asked.confirm(topic) {
                        intake.acknowledged(topic);
                    }
                    intake.control(Some(topic));
                    // What was stored is here, the newest first: from now on nothing older is under way.
                    self.has_token |= self.newest > 0;
                }
                _ => intake.control(None),
            },
            Some(br#""CLOSED""#) => {
                if let Whose::Of(number, topic) = self.subscription(scanned) {
                    self.subscriptions.remove(&number);
                    self.asked.set(topic, Phase::Idle);
                    intake.refused(&[topic], &self.reason(scanned));
                }
                intake.control(None);
            }
            Some(br#""AUTH""#) => {
                self.challenged = true;
                intake.control(None);
            }
            Some(br#""NOTICE""#) => {
                // Meant for people. While something is unanswered it is likely to be the answer.
                if self.asked.is_waiting() {
                    let said = scanned.plain(self.slots.subscription).unwrap_or_default();
                    intake.refused(&[], &format!("NOTICE: {said}"));
                }
                intake.control(None);
            }
            Some(br#""OK""# | br#""COUNT""#) => intake.control(None),
            _ => intake.unreadable(None, "is none of the messages that a relay sends", scanned.text),
        }
    }

    fn event(&mut self, scanned: Scanned<'_>, intake: &mut dyn Intake) {
        match self.subscription(scanned) {
            Whose::Of(_, topic) => {
                intake.message(topic, Message { bytes: scanned.text, fields: Some(scanned.fields) });
                if self.resumes {
                    self.note(scanned);
                }
            }
            Whose::Over => intake.control(None),
            Whose::Nobodys => {
                intake.unreadable(None, "an event of a subscription that nobody asked for", scanned.text);
            }
        }
    }

    fn note(&mut self, scanned: Scanned<'_>) {
        let Some(created) = scanned.raw(self.slots.created).and_then(|raw| Token::new(raw).as_u64()) else { return };
        let now = u64::try_from(UnixNanos::now().0 / 1_000_000_000).unwrap_or(0);
        self.newest = self.newest.max(created.min(now));
        // While stored events are on their way, the newest first, what is older is still to come.
        self.has_token = !self.asked.is_waiting();
    }

    /// Why a subscription was refused or ended.
    fn reason(&self, scanned: Scanned<'_>) -> String {
        let said = scanned.plain(self.slots.reason).unwrap_or("the relay gave no reason".into());
        if said.starts_with("auth-required") || (self.challenged && said.starts_with("restricted")) {
            return format!(
                "{said} (the relay asks for a NIP-42 login, which has to be signed with a key of yours; Sluice holds no such \
                 keys: choose filters or a relay that need no login)"
            );
        }
        said.into_owned()
    }
}

enum Whose {
    Of(u64, TopicId),
    Over,
    Nobodys,
}

impl Session for NostrSession {
    fn subscribe(&mut self, topics: &[TopicId], out: &mut Outbox) {
        for topic in topics {
            let Some(filters) = self.asked.name(*topic).and_then(|name| filter::read(name).ok()) else { continue };
            self.asked.ask(*topic);
            // The same number again takes the place of the subscription that was not answered.
            let number = self.number_of(*topic).unwrap_or_else(|| {
                self.last_number += 1;
                self.subscriptions.insert(self.last_number, *topic);
                self.last_number
            });
            out.push(OutFrame::Text(filter::request(&filters, number, self.since)));
        }
    }

    fn unsubscribe(&mut self, topics: &[TopicId], out: &mut Outbox) {
        for topic in topics {
            self.asked.set(*topic, Phase::Ended);
            if let Some(number) = self.number_of(*topic) {
                self.subscriptions.remove(&number);
                out.push(OutFrame::Text(filter::close(number)));
            }
        }
    }

    fn adopt(&mut self, topics: &Arc<[Topic]>, plan: &ReadingPlan) {
        self.slots = Slots::of_plan(plan);
        self.asked.adopt(topics);
    }

    fn keep_alive(&mut self, _out: &mut Outbox) {}

    fn resume_from(&mut self, point: &str) {
        self.since = point.parse().ok();
    }

    fn take_tokens(&mut self) -> Vec<SessionToken> {
        if !std::mem::take(&mut self.has_token) || self.asked.is_waiting() {
            return Vec::new();
        }
        vec![SessionToken { topic: None, token: self.newest.to_string().into_bytes() }]
    }

    fn receive(&mut self, frame: Frame<'_>, intake: &mut dyn Intake, _out: &mut Outbox) {
        let (text, utf8) = match frame {
            Frame::Text(text) => (text.as_bytes(), Utf8::Checked),
            Frame::Binary(bytes) => (bytes, Utf8::Unchecked),
        };
        let mut fields = std::mem::take(&mut self.fields);
        match self.slots.pointers.scan(text, utf8, &mut fields) {
            Ok(()) => self.read(Scanned { text, fields: &fields }, intake),
            Err(error) => intake.unreadable(None, &error.to_string(), text),
        }
        self.fields = fields;
    }
}
