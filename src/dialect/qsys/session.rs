//! One link's conversation with a Core.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use serde_json::{Value, json};

use super::{ENGINE_STATUS, QsysSettings};
use crate::dialect::{Frame, Intake, Message, OutFrame, Outbox, ReadingPlan, Session, Topic, TopicId};
use crate::scanner::{Fields, Pointer, PointerSet, Token, Utf8, elements};

/// Requests kept for their answers; without the one of the automatic polls, which is answered again and again. Source: a guess.
const OPEN_MAX: usize = 1024;

/// So many looks later a poll that has no answer is made again: the answer may have come so damaged that nobody can tell that it
/// was one. Source: a guess; ten seconds at the vendor's rate.
const LATE_LOOKS: u32 = 30;

/// Pointers of a frame, in the order of [`At`].
const POINTERS: [&str; 9] = [
    "/id",
    "/method",
    "/result",
    "/result/Changes",
    "/params/Changes",
    "/params",
    "/params/State",
    "/params/DesignCode",
    "/error",
];

/// Places of [`POINTERS`].
enum At {
    Id,
    Method,
    Result,
    ResultChanges,
    ParamsChanges,
    Params,
    State,
    DesignCode,
    Error,
}

/// What a request was for.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Purpose {
    Logon,
    Add(Vec<TopicId>),
    /// Both ways of polling: the answer brings changes.
    Poll,
    /// Asks for the Core's own state.
    Status,
    Other,
}

pub(super) struct QsysSession {
    settings: Arc<QsysSettings>,
    topics: Arc<[Topic]>,
    by_name: HashMap<Arc<str>, TopicId>,
    group: String,
    carried: Vec<TopicId>,
    open: VecDeque<(u64, Purpose)>,
    next_id: u64,
    /// The request under whose id changes keep coming.
    automatic: Option<u64>,
    /// Looks that passed since a poll was made that has no answer.
    late_looks: u32,
    /// Whether the group was told to send all it has when it is looked at first.
    begun: bool,
    design: Option<String>,
    frame: PointerSet,
    fields: Fields,
    change: PointerSet,
    change_fields: Fields,
    name: String,
}

impl QsysSession {
    pub(super) fn new(settings: &Arc<QsysSettings>, topics: &Arc<[Topic]>) -> Self {
        let pointers = |texts: &[&str]| {
            let parse = |text: &&str| Pointer::parse(text).expect("a constant pointer");
            PointerSet::new(&texts.iter().map(parse).collect::<Vec<_>>())
        };
        Self {
            settings: Arc::clone(settings),
            by_name: by_name(topics),
            topics: Arc::clone(topics),
            group: "sluice".to_owned(),
            carried: Vec::new(),
            open: VecDeque::new(),
            next_id: 1,
            automatic: None,
            late_looks: 0,
            begun: false,
            design: None,
            frame: pointers(&POINTERS),
            fields: Fields::default(),
            change: pointers(&["/Component", "/Name"]),
            change_fields: Fields::default(),
            name: String::new(),
        }
    }

    fn request(&mut self, method: &str, params: &Value, purpose: Purpose, out: &mut Outbox) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        if self.open.len() == OPEN_MAX {
            self.open.pop_front();
        }
        self.open.push_back((id, purpose));
        out.push(OutFrame::Text(json!({"jsonrpc": "2.0", "method": method, "params": params, "id": id}).to_string()));
        id
    }

    fn name_of(&self, topic: TopicId) -> Option<Arc<str>> {
        self.topics.get(topic.0 as usize).map(|topic| Arc::clone(&topic.name))
    }

    /// Puts controls into the group, `at_most` a request: named ones together, those of a component together.
    fn add(&mut self, topics: &[TopicId], at_most: usize, out: &mut Outbox) {
        let mut named: Vec<(TopicId, String)> = Vec::new();
        let mut of_components: BTreeMap<String, Vec<(TopicId, String)>> = BTreeMap::new();
        for topic in topics {
            let Some(name) = self.name_of(*topic).filter(|name| &**name != ENGINE_STATUS) else { continue };
            match name.split_once('/') {
                Some((component, control)) => {
                    of_components.entry(component.to_owned()).or_default().push((*topic, control.to_owned()));
                }
                None => named.push((*topic, name.to_string())),
            }
        }
        for group in named.chunks(at_most) {
            let wanted: Vec<&str> = group.iter().map(|(_, name)| name.as_str()).collect();
            let params = json!({"Id": self.group, "Controls": wanted});
            let topics = group.iter().map(|(topic, _)| *topic).collect();
            self.request("ChangeGroup.AddControl", &params, Purpose::Add(topics), out);
        }
        for (component, controls) in &of_components {
            for group in controls.chunks(at_most) {
                let wanted: Vec<Value> = group.iter().map(|(_, name)| json!({"Name": name})).collect();
                let params = json!({"Id": self.group, "Component": {"Name": component, "Controls": wanted}});
                let topics = group.iter().map(|(topic, _)| *topic).collect();
                self.request("ChangeGroup.AddComponentControl", &params, Purpose::Add(topics), out);
            }
        }
    }

    /// Has the group looked at from now on, once there is something in it.
    fn begin(&mut self, out: &mut Outbox) {
        if std::mem::replace(&mut self.begun, true) {
            return;
        }
        let group = json!({"Id": self.group});
        // A group of this name may be there still, of the connection before: its values were told to that one.
        self.request("ChangeGroup.Invalidate", &group, Purpose::Other, out);
        if !self.settings.poll {
            let params = json!({"Id": self.group, "Rate": self.settings.rate.as_secs_f64()});
            self.automatic = Some(self.request("ChangeGroup.AutoPoll", &params, Purpose::Poll, out));
        }
    }

    /// The Core has lost the group, or has another design: all is asked for again.
    fn rebuild(&mut self, out: &mut Outbox) {
        self.begun = false;
        self.automatic = None;
        self.open.clear();
        let carried = self.carried.clone();
        self.add(&carried, self.per_request(), out);
    }

    fn per_request(&self) -> usize {
        self.settings.limits.topics_per_request.max(1) as usize
    }

    /// Each change of a list is a message of its topic.
    fn changes(&mut self, text: &[u8], at: At, intake: &mut dyn Intake) {
        let fields = std::mem::take(&mut self.fields);
        let mut change_fields = std::mem::take(&mut self.change_fields);
        let list = fields.get(at as usize).filter(|span| span.of(text).starts_with(b"["));
        let mut found = false;
        for element in list.into_iter().flat_map(|list| elements(text, list)) {
            found = true;
            let change = element.of(text);
            // The frame was scanned whole, so a part of it cannot be broken.
            let scanned = self.change.scan(change, Utf8::Checked, &mut change_fields).is_ok();
            self.name.clear();
            if let Some(component) = change_fields.get(0).filter(|_| scanned) {
                self.name.push_str(&Token::new(component.of(change)).text());
                self.name.push('/');
            }
            if let Some(name) = change_fields.get(1).filter(|_| scanned) {
                self.name.push_str(&Token::new(name.of(change)).text());
            }
            match self.by_name.get(self.name.as_str()).copied() {
                Some(topic) if self.carried.contains(&topic) => {
                    intake.message(topic, Message { bytes: change, fields: None });
                }
                Some(topic) => intake.control(Some(topic)),
                None => intake.unreadable(None, "a change of a control that nobody asked for", change),
            }
        }
        // A look at the whole group, whatever has changed in it.
        self.carried.iter().for_each(|topic| intake.alive(*topic));
        if !found {
            intake.control(None);
        }
        (self.fields, self.change_fields) = (fields, change_fields);
    }

    fn field<'a>(&self, text: &'a [u8], at: At) -> Option<Token<'a>> {
        self.fields.get(at as usize).map(|span| Token::new(span.of(text)))
    }

    fn engine_status(&mut self, text: &[u8], intake: &mut dyn Intake, out: &mut Outbox) {
        let state = self.field(text, At::State).map(|state| state.text().into_owned()).unwrap_or_default();
        let design = self.field(text, At::DesignCode).map(|code| code.text().into_owned());
        self.status(text, At::Params, intake);
        // With another design the groups are gone.
        let other = self.design.is_some() && design.is_some() && self.design != design;
        self.design = design.or(self.design.take());
        if state == "Standby" {
            intake.broken("the Core is on standby; the other one of the pair is active");
        } else if other {
            self.rebuild(out);
        }
    }

    fn failed(&mut self, error: &[u8], purpose: &Purpose, intake: &mut dyn Intake, out: &mut Outbox) {
        let error: Value = serde_json::from_slice(error).unwrap_or_default();
        let code = error["code"].as_i64().unwrap_or_default();
        let said = format!("{} ({code})", error["message"].as_str().unwrap_or("the Core gave no reason"));
        match (code, purpose) {
            (_, Purpose::Logon) => intake.broken(&format!("the Core refused the logon: {said}")),
            (10, _) => intake.broken(&format!("the Core wants a logon: {said}; set `logon` of the dialect")),
            (5, _) => intake.broken(&format!("the Core has no change group left for this connection: {said}")),
            (-32604, _) => intake.broken(&format!("the Core is on standby: {said}")),
            // Of several nobody knows which it was.
            (_, Purpose::Add(topics)) if topics.len() > 1 => self.add(&topics.clone(), 1, out),
            (_, Purpose::Add(topics)) => {
                self.carried.retain(|topic| !topics.contains(topic));
                intake.refused(topics, &said);
            }
            (6, Purpose::Poll) => self.rebuild(out),
            _ => {}
        }
    }

    fn answered(&mut self, text: &[u8], id: u64, intake: &mut dyn Intake, out: &mut Outbox) {
        let purpose = if self.automatic == Some(id) {
            Purpose::Poll
        } else {
            let at = self.open.iter().position(|(open, _)| *open == id);
            let Some((_, purpose)) = at.and_then(|at| self.open.remove(at)) else {
                return intake.control(None);
            };
            purpose
        };
        if let Some(error) = self.fields.get(At::Error as usize) {
            intake.control(None);
            return self.failed(error.of(text), &purpose, intake, out);
        }
        match purpose {
            Purpose::Poll => self.changes(text, At::ResultChanges, intake),
            Purpose::Add(topics) => {
                intake.control(None);
                for topic in topics.iter().filter(|topic| self.carried.contains(topic)) {
                    intake.acknowledged(*topic);
                }
                self.begin(out);
            }
            Purpose::Status => self.status(text, At::Result, intake),
            Purpose::Logon | Purpose::Other => intake.control(None),
        }
    }

    /// What the Core says of itself, for whoever wants to know it.
    fn status(&self, text: &[u8], at: At, intake: &mut dyn Intake) {
        let topic = self.by_name.get(ENGINE_STATUS).copied().filter(|topic| self.carried.contains(topic));
        match (topic, self.fields.get(at as usize)) {
            (Some(topic), Some(status)) => {
                intake.message(topic, Message { bytes: status.of(text), fields: None });
            }
            _ => intake.control(None),
        }
    }

    fn read(&mut self, text: &[u8], intake: &mut dyn Intake, out: &mut Outbox) {
        let mut fields = std::mem::take(&mut self.fields);
        let scanned = self.frame.scan(text, Utf8::Unchecked, &mut fields);
        self.fields = fields;
        if let Err(error) = scanned {
            return intake.unreadable(None, &error.to_string(), text);
        }
        let method = self.field(text, At::Method).map(|method| method.text().into_owned());
        let id = self.field(text, At::Id).and_then(|id| id.text().parse().ok());
        match (method.as_deref(), id) {
            (Some("EngineStatus"), _) => self.engine_status(text, intake, out),
            // Some firmware sends what was polled as calls of its own.
            (Some("ChangeGroup.Poll" | "ChangeGroup.AutoPoll"), _) => self.changes(text, At::ParamsChanges, intake),
            (Some(_), _) => intake.control(None),
            (None, Some(id)) => self.answered(text, id, intake, out),
            (None, None) if self.fields.get(At::Error as usize).is_some() => {
                // An answer to something that could not even be read.
                intake.unreadable(None, "an error that names no request", text);
            }
            (None, None) if self.fields.get(At::Result as usize).is_some() => {
                self.changes(text, At::ResultChanges, intake);
            }
            (None, None) => intake.unreadable(None, "neither an answer nor a call", text),
        }
    }
}

impl Session for QsysSession {
    fn opened(&mut self, name: &str, greeting: &[String], out: &mut Outbox) {
        // Not that of another link, whose group it would be as well.
        name.clone_into(&mut self.group);
        if let [user, password] = greeting {
            let params = json!({"User": user, "Password": password});
            self.request("Logon", &params, Purpose::Logon, out);
        }
    }

    fn subscribe(&mut self, topics: &[TopicId], out: &mut Outbox) {
        let new = topics.iter().filter(|topic| !self.carried.contains(topic));
        let new: Vec<TopicId> = new.copied().collect();
        self.carried.extend(new);
        self.add(topics, self.per_request(), out);
        // What the Core tells by itself only when it changes.
        if topics.iter().any(|topic| self.name_of(*topic).is_some_and(|name| &*name == ENGINE_STATUS)) {
            self.request("StatusGet", &json!(0), Purpose::Status, out);
        }
    }

    fn unsubscribe(&mut self, topics: &[TopicId], out: &mut Outbox) {
        self.carried.retain(|topic| !topics.contains(topic));
        let mut named = Vec::new();
        for topic in topics {
            let Some(name) = self.name_of(*topic).filter(|name| &**name != ENGINE_STATUS) else { continue };
            match name.split_once('/') {
                Some((component, control)) => {
                    let component = json!({"Name": component, "Controls": [{"Name": control}]});
                    let params = json!({"Id": self.group, "Component": component});
                    self.request("ChangeGroup.Remove", &params, Purpose::Other, out);
                }
                None => named.push(name.to_string()),
            }
        }
        if !named.is_empty() {
            let params = json!({"Id": self.group, "Controls": named});
            self.request("ChangeGroup.Remove", &params, Purpose::Other, out);
        }
    }

    fn adopt(&mut self, topics: &Arc<[Topic]>, _plan: &ReadingPlan) {
        self.topics = Arc::clone(topics);
        self.by_name = by_name(topics);
    }

    fn keep_alive(&mut self, out: &mut Outbox) {
        if self.settings.poll && self.begun {
            // A Core that is late is not asked again, or not soon.
            if self.open.iter().any(|(_, purpose)| *purpose == Purpose::Poll) {
                self.late_looks += 1;
            } else {
                self.late_looks = 0;
            }
            if self.late_looks == 0 || self.late_looks > LATE_LOOKS {
                self.late_looks = 0;
                self.open.retain(|(_, purpose)| *purpose != Purpose::Poll);
                let group = json!({"Id": self.group});
                self.request("ChangeGroup.Poll", &group, Purpose::Poll, out);
            }
        } else {
            self.request("NoOp", &json!({}), Purpose::Other, out);
        }
    }

    fn receive(&mut self, frame: Frame<'_>, intake: &mut dyn Intake, out: &mut Outbox) {
        let text = frame.bytes();
        if text.trim_ascii().is_empty() {
            return intake.control(None);
        }
        self.read(text, intake, out);
    }
}

fn by_name(topics: &[Topic]) -> HashMap<Arc<str>, TopicId> {
    topics.iter().map(|topic| (Arc::clone(&topic.name), topic.id)).collect()
}
