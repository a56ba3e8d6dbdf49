//! One connection to a Jetstream server.

use std::collections::HashMap;
use std::hash::BuildHasherDefault;
use std::sync::Arc;

use super::topic::{self, Collection, Said, Shape, Wanted};
use crate::dialect::addressed::AddressedSettings;
use crate::dialect::asked::Asked;
use crate::dialect::error::Fault;
use crate::dialect::resume::ResumeSettings;
use crate::dialect::scanned::{PointerList, Scanned, undecoded};
use crate::dialect::topic_book::{KeyHasher, Phase};
use crate::dialect::{
    Frame, Intake, Message, OutFrame, Outbox, ReadingPlan, Resumption, Session, SessionToken, Topic, TopicId,
};
use crate::scanner::{Fields, PointerSet, Utf8};

/// Where in a message is what it is told by.
#[derive(Debug)]
pub(super) struct Slots {
    pointers: PointerSet,
    kind: usize,
    account: usize,
    collection: usize,
    token: Option<usize>,
}

impl Slots {
    pub(super) fn compile(resume: Option<&ResumeSettings>, mut plan: PointerList) -> Result<Self, Fault> {
        let token = resume.map(|resume| plan.slot(&resume.token)).transpose();
        let token = token.map_err(|reason| Fault::new("resume.token", reason))?;
        let mut own = |pointer| plan.slot(pointer).map_err(|reason| Fault::new("", reason));
        let (kind, account, collection) = (own("/kind")?, own("/did")?, own("/commit/collection")?);
        Ok(Self { kind, account, collection, token, pointers: plan.into_set() })
    }

    fn of_plan(resume: Option<&ResumeSettings>, plan: &ReadingPlan) -> Self {
        let plan =
            PointerList::of_plan(&plan.pointers).expect("a plan's pointers were parsed when its monitors were read");
        Self::compile(resume, plan).expect("they were compiled once before")
    }
}

type Names = HashMap<Box<[u8]>, Vec<TopicId>, BuildHasherDefault<KeyHasher>>;

/// Topics in force, put so that a message finds its own without asking all of them: there may be 10,000 accounts.
#[derive(Debug, Default)]
struct Routes {
    collections: Names,
    accounts: Names,
    /// Prefixes, kinds and everything, which are few.
    others: Vec<TopicId>,
}

/// State of one link.
pub(super) struct JetstreamSession {
    settings: Arc<AddressedSettings>,
    resumption: Option<Resumption>,
    slots: Slots,
    asked: Asked,
    routes: Routes,
    /// Whether the address has been followed by what it asked for.
    begun: bool,
    fields: Fields,
    token: Vec<u8>,
    has_token: bool,
}

impl JetstreamSession {
    pub(super) fn new(
        settings: &Arc<AddressedSettings>,
        resumption: Option<Resumption>,
        topics: &Arc<[Topic]>,
        plan: &ReadingPlan,
    ) -> Self {
        Self {
            slots: Slots::of_plan(settings.resume.as_ref(), plan),
            settings: Arc::clone(settings),
            resumption,
            asked: Asked::new(topics),
            routes: Routes::default(),
            begun: false,
            fields: Fields::default(),
            token: Vec::new(),
            has_token: false,
        }
    }

    fn set_routes(&mut self) {
        self.routes = Routes::default();
        let routes = &mut self.routes;
        for (topic, name) in self.asked.expected() {
            let list = match topic::read(name) {
                Ok(Shape::Commits { collection: Collection::One(name), .. }) => {
                    routes.collections.entry(name.as_bytes().into()).or_default()
                }
                Ok(Shape::Account(name)) => routes.accounts.entry(name.as_bytes().into()).or_default(),
                Ok(_) => &mut routes.others,
                Err(_) => continue,
            };
            list.push(topic);
        }
    }

    /// Tells the upstream what is wanted from now on, in the place of all that was.
    fn say(&self, out: &mut Outbox) {
        let Wanted { collections, accounts } = Wanted::of(self.asked.expected().map(|(_, name)| &**name));
        let update = serde_json::json!({
            "type": "options_update",
            "payload": { "wantedCollections": collections, "wantedDids": accounts },
        });
        out.push(OutFrame::Text(update.to_string()));
    }

    fn read(&mut self, scanned: Scanned<'_>, intake: &mut dyn Intake) {
        let plain = |slot| scanned.raw(slot).and_then(undecoded);
        let (Some(kind), Some(account)) = (plain(self.slots.kind), plain(self.slots.account)) else {
            return intake.unreadable(None, "has no `kind` or no `did`, which each message has", scanned.text);
        };
        let said = Said { kind, account, collection: plain(self.slots.collection) };
        let Self { routes, asked, .. } = self;
        let by_collection = said.collection.and_then(|name| routes.collections.get(name));
        let by_account = routes.accounts.get(said.account);
        let mut wanted = false;
        for topic in by_collection.into_iter().chain(by_account).flatten().chain(&routes.others) {
            let takes = |name: &Arc<str>| topic::read(name).is_ok_and(|shape| shape.takes(said));
            if asked.name(*topic).is_some_and(takes) {
                wanted = true;
                intake.message(*topic, Message { bytes: scanned.text, fields: Some(scanned.fields) });
            }
        }
        if !wanted {
            intake.control(None);
        }
        let Some(token) = self.slots.token.and_then(|slot| scanned.raw(slot)) else { return };
        if self.resumption.as_ref().is_some_and(|resumption| resumption.is_token(token)) {
            self.token.clear();
            self.token.extend_from_slice(token);
            self.has_token = true;
        }
    }
}

impl Session for JetstreamSession {
    fn subscribe(&mut self, topics: &[TopicId], out: &mut Outbox) {
        let fresh = topics.iter().any(|topic| !matches!(self.asked.phase(*topic), Phase::Asked(_) | Phase::Active));
        for topic in topics {
            self.asked.ask(*topic);
        }
        self.set_routes();
        // The first topics are in the address, and asking once more would change nothing.
        if std::mem::replace(&mut self.begun, true) && fresh {
            self.say(out);
        }
    }

    fn unsubscribe(&mut self, topics: &[TopicId], out: &mut Outbox) {
        for topic in topics {
            self.asked.set(*topic, Phase::Ended);
        }
        self.set_routes();
        self.say(out);
    }

    fn adopt(&mut self, topics: &Arc<[Topic]>, plan: &ReadingPlan) {
        self.slots = Slots::of_plan(self.settings.resume.as_ref(), plan);
        self.asked.adopt(topics);
    }

    fn keep_alive(&mut self, _out: &mut Outbox) {}

    fn take_tokens(&mut self) -> Vec<SessionToken> {
        if !std::mem::take(&mut self.has_token) {
            return Vec::new();
        }
        vec![SessionToken { topic: None, token: self.token.clone() }]
    }

    fn receive(&mut self, frame: Frame<'_>, intake: &mut dyn Intake, _out: &mut Outbox) {
        let text = match frame {
            Frame::Text(text) => text.as_bytes(),
            Frame::Binary(bytes) => {
                let reason =
                    "is a binary frame; take `compress=true` out of the address, its dictionary is not built in";
                return intake.unreadable(None, reason, bytes);
            }
        };
        let mut fields = std::mem::take(&mut self.fields);
        match self.slots.pointers.scan(text, Utf8::Checked, &mut fields) {
            Ok(()) => self.read(Scanned { text, fields: &fields }, intake),
            Err(error) => intake.unreadable(None, &error.to_string(), text),
        }
        self.fields = fields;
        // One filter for all of them: a frame that came behind it says that it was taken.
        if self.asked.is_waiting() {
            for topic in self.asked.unconfirmed() {
                self.asked.confirm(topic);
                intake.acknowledged(topic);
            }
        }
    }
}
