//! Which messages are answers, states and heartbeats, and by what that shows.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::leaves::{at, scalar};
use super::sample::Sample;

/// Members by which requests and their answers are tied together.
const ID_MEMBERS: [&str; 6] = ["id", "req_id", "reqid", "requestId", "request_id", "cid"];

/// Words that say what a message is, where they are a whole member at its root, in small letters.
const WORDS: [&str; 36] = [
    "subscribe",
    "subscribed",
    "unsubscribe",
    "unsubscribed",
    "subscriptions",
    "subscription_ack",
    "subscriptionstatus",
    "systemstatus",
    "subscription_succeeded",
    "subscribe_status",
    "heartbeat",
    "heartbeats",
    "ping",
    "pong",
    "info",
    "welcome",
    "connected",
    "connection",
    "error",
    "status",
    "conf",
    "auth",
    "login",
    "logon",
    "eose",
    "notice",
    "ok",
    "ack",
    "connection_ack",
    "complete",
    "ka",
    "hello",
    "established",
    "closed",
    "response",
    "subscribe_response",
];

/// Words that make a message control however many there are.
const HEARTBEATS: [&str; 5] = ["heartbeat", "heartbeats", "ping", "pong", "ka"];

/// Members that say what kind of message it is.
const SAYING: [&str; 12] =
    ["event", "type", "op", "method", "action", "msg", "channel", "status", "message_type", "cmd", "e", "topic"];

/// Members at the root that only such messages have.
const MEMBERS: [&str; 8] = ["ping", "pong", "subbed", "unsubbed", "success", "subscribe", "info", "error"];

/// A rule that tells control messages, and how many it told.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ControlRule {
    pub(super) pointer: String,
    /// The values; none: that something is there.
    pub(super) values: BTreeSet<String>,
    pub(super) messages: u64,
    /// What the client sent back.
    pub(super) answer: Option<String>,
    pub(super) why: &'static str,
}

/// For each message whether it is control, and the rules that say so.
pub(super) fn tell(sample: &Sample) -> (Vec<bool>, Vec<ControlRule>) {
    let total = sample.messages.len();
    let sent_ids: BTreeSet<(String, String)> = sample.requests.iter().flat_map(ids).collect();
    let mut answered: BTreeMap<(String, String), usize> = BTreeMap::new();
    let mut words: BTreeMap<(String, String), usize> = BTreeMap::new();
    let mut members: BTreeMap<String, usize> = BTreeMap::new();
    for message in &sample.messages {
        for id in ids(&message.value).filter(|id| sent_ids.contains(id)) {
            *answered.entry(id).or_default() += 1;
        }
        for word in root_words(&message.value) {
            *words.entry(word).or_default() += 1;
        }
        for member in root_members(&message.value) {
            *members.entry(member).or_default() += 1;
        }
    }
    // What most messages say is what this feed is about; what answers many times is no answer.
    let is_rare = |count: usize| count * 2 < total || total < 4;
    let answers: usize = answered.values().sum();
    let has_answers = !answered.is_empty() && answers <= answered.len() * 3;
    let mut rules: Vec<ControlRule> = Vec::new();
    let is_control: Vec<bool> = sample
        .messages
        .iter()
        .map(|message| {
            let value = &message.value;
            let id = ids(value).find(|id| has_answers && answered.contains_key(id));
            let word = root_words(value).into_iter().find(|word| {
                HEARTBEATS.contains(&word.1.as_str()) || words.get(word).is_some_and(|count| is_rare(*count))
            });
            let member =
                root_members(value).into_iter().find(|name| members.get(name).is_some_and(|count| is_rare(*count)));
            match (word, member, id) {
                (Some((pointer, value)), ..) => note(&mut rules, pointer, Some(value), "a word that states something"),
                (None, Some(pointer), _) => note(&mut rules, pointer, None, "a member that states something"),
                (None, None, Some((pointer, _))) => {
                    note(&mut rules, pointer, None, "the id of a request that was sent");
                }
                (None, None, None) => return false,
            }
            true
        })
        .collect();
    for rule in &mut rules {
        rule.answer = answer_to(rule, sample);
    }
    (is_control, rules)
}

fn note(rules: &mut Vec<ControlRule>, pointer: String, value: Option<String>, why: &'static str) {
    let same = |rule: &&mut ControlRule| rule.pointer == pointer && rule.values.is_empty() == value.is_none();
    match rules.iter_mut().find(same) {
        Some(rule) => {
            rule.values.extend(value);
            rule.messages += 1;
        }
        None => {
            rules.push(ControlRule { pointer, values: value.into_iter().collect(), messages: 1, answer: None, why });
        }
    }
}

/// The ids that a message has at its root; of a batch, those of its elements.
fn ids(value: &Value) -> impl Iterator<Item = (String, String)> {
    let (elements, place) = match value {
        Value::Array(elements) if elements.iter().all(Value::is_object) => (&elements[..], "/0"),
        other => (std::slice::from_ref(other), ""),
    };
    elements.iter().flat_map(move |element| {
        ID_MEMBERS.iter().filter_map(move |name| {
            let id = element.get(name).and_then(scalar).filter(|id| !id.is_empty())?;
            Some((format!("{place}/{name}"), id))
        })
    })
}

fn root_words(value: &Value) -> Vec<(String, String)> {
    let is_word = |text: &str| {
        let small = text.to_ascii_lowercase();
        let word = small.rsplit(':').next().unwrap_or_default();
        WORDS.contains(&word)
    };
    match value {
        Value::Object(members) => {
            let texts = members.iter().filter(|(name, _)| SAYING.contains(&name.as_str()));
            let texts = texts.filter_map(|(name, member)| Some((name, member.as_str()?)));
            texts.filter(|(_, text)| is_word(text)).map(|(name, text)| (format!("/{name}"), text.to_owned())).collect()
        }
        Value::Array(elements) => match elements.first().and_then(Value::as_str) {
            Some(text) if is_word(text) => vec![("/0".to_owned(), text.to_owned())],
            _ => Vec::new(),
        },
        _ => Vec::new(),
    }
}

fn root_members(value: &Value) -> Vec<String> {
    let present = |name: &&&str| value.get(**name).is_some_and(|member| !member.is_null());
    MEMBERS.iter().filter(present).map(|name| format!("/{name}")).collect()
}

/// A heartbeat that the client gave back under another name: `{"ping":7}`, `{"pong":7}`.
fn answer_to(rule: &ControlRule, sample: &Sample) -> Option<String> {
    if rule.pointer != "/ping" || !rule.values.is_empty() {
        return None;
    }
    let pinged: BTreeSet<String> = sample.messages.iter().filter_map(|message| at(&message.value, "/ping")).collect();
    let gave_back = |request: &Value| at(request, "/pong").is_some_and(|value| pinged.contains(&value));
    sample.requests.iter().any(gave_back).then(|| r#"{"pong":{/ping}}"#.to_owned())
}

impl ControlRule {
    /// Whether a message is one of these.
    pub(super) fn applies(&self, value: &Value) -> bool {
        match value.pointer(&self.pointer) {
            None => false,
            Some(_) if self.values.is_empty() => true,
            Some(found) => scalar(found).is_some_and(|found| self.values.contains(&found)),
        }
    }
}
