//! One connection to a GraphQL server.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::{GraphqlSettings, payload};
use crate::dialect::asked::Asked;
use crate::dialect::scanned::{PointerList, Scanned, undecoded};
use crate::dialect::topic_book::Phase;
use crate::dialect::{Frame, Intake, Message, OutFrame, Outbox, ReadingPlan, Session, Topic, TopicId};
use crate::scanner::{Fields, PointerSet, Utf8};

/// Pings whose answers are waited for; a server that answers none must not make us grow. Source: a guess, more than there are
/// requests before the first is given up.
const PINGS_MAX: usize = 64;

/// Where in a message is what it is told by.
#[derive(Debug)]
struct Slots {
    pointers: PointerSet,
    kind: usize,
    id: usize,
    message: usize,
}

impl Slots {
    fn of_plan(plan: &ReadingPlan) -> Self {
        let mut list =
            PointerList::of_plan(&plan.pointers).expect("a plan's pointers were parsed when its monitors were read");
        let mut own = |pointer| list.slot(pointer).expect("these pointers are written well");
        let (kind, id, message) = (own("/type"), own("/id"), own("/payload/0/message"));
        Self { kind, id, message, pointers: list.into_set() }
    }
}

/// How far the connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    Fresh,
    /// Asked for; subscriptions wait until the server has agreed. A second time would have it close the connection.
    Begun,
    Agreed,
}

/// State of one link.
pub(super) struct GraphqlSession {
    settings: Arc<GraphqlSettings>,
    slots: Slots,
    asked: Asked,
    standing: Standing,
    /// Asked for before the server had agreed.
    early: Vec<TopicId>,
    /// Operations that are going on.
    operations: HashMap<u64, TopicId>,
    /// The id given last.
    last_id: u64,
    /// What each ping on its way, the oldest first, was sent behind.
    pings: VecDeque<Vec<TopicId>>,
    fields: Fields,
}

impl GraphqlSession {
    pub(super) fn new(settings: &Arc<GraphqlSettings>, topics: &Arc<[Topic]>, plan: &ReadingPlan) -> Self {
        Self {
            settings: Arc::clone(settings),
            slots: Slots::of_plan(plan),
            asked: Asked::new(topics),
            standing: Standing::Fresh,
            early: Vec::new(),
            operations: HashMap::new(),
            last_id: 0,
            pings: VecDeque::new(),
            fields: Fields::default(),
        }
    }

    fn operation_of(&self, topic: TopicId) -> Option<u64> {
        self.operations.iter().find(|(_, other)| **other == topic).map(|(id, _)| *id)
    }

    /// Begins operations for topics that have none, and asks the server for a sign that it has read that.
    fn begin(&mut self, topics: &[TopicId], out: &mut Outbox) {
        for topic in topics {
            if self.operation_of(*topic).is_some() || !matches!(self.asked.phase(*topic), Phase::Asked(_)) {
                continue;
            }
            let Some(payload) = self.asked.name(*topic).and_then(|name| payload(name).ok()) else { continue };
            self.last_id += 1;
            self.operations.insert(self.last_id, *topic);
            out.push(OutFrame::Text(format!(r#"{{"id":"{}","type":"subscribe","payload":{payload}}}"#, self.last_id)));
        }
        self.ping(topics.to_vec(), out);
    }

    fn ping(&mut self, behind: Vec<TopicId>, out: &mut Outbox) {
        if self.pings.len() < PINGS_MAX {
            self.pings.push_back(behind);
            out.push(OutFrame::Text(r#"{"type":"ping"}"#.to_owned()));
        }
    }

    fn confirm(&mut self, topic: TopicId, intake: &mut dyn Intake) {
        if self.asked.confirm(topic) {
            intake.acknowledged(topic);
        }
    }

    fn read(&mut self, scanned: Scanned<'_>, intake: &mut dyn Intake, out: &mut Outbox) {
        match scanned.raw(self.slots.kind) {
            Some(br#""next""#) => match self.operation(scanned) {
                Whose::Of(_, topic) => {
                    self.confirm(topic, intake);
                    intake.message(topic, Message { bytes: scanned.text, fields: Some(scanned.fields) });
                }
                // Under way when we ended it.
                Whose::Over => intake.control(None),
                Whose::Nobodys => {
                    intake.unreadable(None, "data of an operation that nobody asked for", scanned.text);
                }
            },
            Some(kind @ (br#""error""# | br#""complete""#)) => {
                if let Whose::Of(id, topic) = self.operation(scanned) {
                    self.operations.remove(&id);
                    self.asked.set(topic, Phase::Idle);
                    let reason = if kind == br#""error""# {
                        scanned.plain(self.slots.message).unwrap_or("the upstream gave no reason".into())
                    } else {
                        "the upstream completed it: nothing more will come".into()
                    };
                    intake.refused(&[topic], &reason);
                }
                intake.control(None);
            }
            Some(br#""connection_ack""#) => {
                intake.control(None);
                if self.standing == Standing::Begun {
                    self.standing = Standing::Agreed;
                    let early = std::mem::take(&mut self.early);
                    self.begin(&early, out);
                }
            }
            Some(br#""ping""#) => {
                out.push(OutFrame::Text(r#"{"type":"pong"}"#.to_owned()));
                intake.control(None);
            }
            Some(br#""pong""#) => {
                for topic in self.pings.pop_front().into_iter().flatten() {
                    if self.operation_of(topic).is_some() {
                        self.confirm(topic, intake);
                    }
                }
                intake.control(None);
            }
            _ => intake.unreadable(None, "is none of the messages of this protocol", scanned.text),
        }
    }

    fn operation(&self, scanned: Scanned<'_>) -> Whose {
        let id = scanned.raw(self.slots.id).and_then(undecoded).and_then(|id| std::str::from_utf8(id).ok());
        let Some(id) = id.and_then(|id| id.parse().ok()) else { return Whose::Nobodys };
        match self.operations.get(&id) {
            Some(topic) => Whose::Of(id, *topic),
            None if id <= self.last_id => Whose::Over,
            None => Whose::Nobodys,
        }
    }
}

enum Whose {
    Of(u64, TopicId),
    Over,
    Nobodys,
}

impl Session for GraphqlSession {
    fn subscribe(&mut self, topics: &[TopicId], out: &mut Outbox) {
        for topic in topics {
            self.asked.ask(*topic);
        }
        match self.standing {
            Standing::Agreed => self.begin(topics, out),
            Standing::Begun | Standing::Fresh => {
                self.early
                    .extend(topics.iter().filter(|topic| !self.early.contains(topic)).copied().collect::<Vec<_>>());
                if self.standing == Standing::Fresh {
                    self.standing = Standing::Begun;
                    let payload =
                        self.settings.init.as_ref().map(|init| format!(r#","payload":{init}"#)).unwrap_or_default();
                    out.push(OutFrame::Text(format!(r#"{{"type":"connection_init"{payload}}}"#)));
                }
            }
        }
    }

    fn unsubscribe(&mut self, topics: &[TopicId], out: &mut Outbox) {
        for topic in topics {
            self.asked.set(*topic, Phase::Ended);
            self.early.retain(|early| early != topic);
            if let Some(id) = self.operation_of(*topic) {
                self.operations.remove(&id);
                out.push(OutFrame::Text(format!(r#"{{"id":"{id}","type":"complete"}}"#)));
            }
        }
    }

    fn adopt(&mut self, topics: &Arc<[Topic]>, plan: &ReadingPlan) {
        self.slots = Slots::of_plan(plan);
        self.asked.adopt(topics);
    }

    fn keep_alive(&mut self, out: &mut Outbox) {
        // Before it has agreed, a server takes nothing but the beginning.
        if self.standing == Standing::Agreed {
            self.ping(Vec::new(), out);
        }
    }

    fn receive(&mut self, frame: Frame<'_>, intake: &mut dyn Intake, out: &mut Outbox) {
        let (text, utf8) = match frame {
            Frame::Text(text) => (text.as_bytes(), Utf8::Checked),
            Frame::Binary(bytes) => (bytes, Utf8::Unchecked),
        };
        let mut fields = std::mem::take(&mut self.fields);
        match self.slots.pointers.scan(text, utf8, &mut fields) {
            Ok(()) => self.read(Scanned { text, fields: &fields }, intake, out),
            Err(error) => intake.unreadable(None, &error.to_string(), text),
        }
        self.fields = fields;
    }
}
