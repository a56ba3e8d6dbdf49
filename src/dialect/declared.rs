//! Settings that every declared dialect has, whatever its nature.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::condition::When;
use super::error::Fault;
use super::pattern::TopicPattern;
use super::requests::Requests;
use super::scanned::{PointerList, Scanned};
use super::template::{Fill, IdOnly, Template};
use super::topic_form::{TopicForm, TopicFormSettings};
use super::{Limits, MaxAge, OutFrame, Outbox};
use crate::config::{Condition, EventRuleSettings, Rate, units};

/// What the settings of every nature have.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CommonSettings<'a> {
    pub(crate) limits: &'a LimitSettings,
    pub(crate) headers: &'a BTreeMap<String, String>,
    pub(crate) ping: Option<&'a PingSettings>,
    pub(crate) topics: &'a [TopicFormSettings],
    pub(crate) event: &'a [EventRuleSettings],
}

/// Headers as a handshake takes them.
pub(crate) fn header_list(headers: &BTreeMap<String, String>) -> Vec<(String, String)> {
    headers.iter().map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// `[limits]`: what the upstream allows.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitSettings {
    /// Topics a link may carry.
    pub topics_per_link: u32,
    /// Topics one request may name.
    pub topics_per_request: u32,
    /// Whether a link may stay open with no topic subscribed.
    pub idle_links: bool,
    /// The shortest time between two frames that we send.
    #[serde(with = "units::duration")]
    pub send_interval: Duration,
    /// Connections that may be attempted; absent: the upstream publishes no number.
    pub connects: Option<Rate>,
    /// Frames that we may send over a link.
    pub messages: Option<Rate>,
    /// Requests over a link that subscribe or end a subscription.
    pub subscriptions: Option<Rate>,
    /// The age at which the upstream closes a link.
    #[serde(with = "units::optional_duration")]
    pub max_age: Option<Duration>,
    /// How long before that a link is replaced; absent: a tenth of `max_age`, at most 10 minutes.
    #[serde(with = "units::optional_duration")]
    pub max_age_margin: Option<Duration>,
}

impl Default for LimitSettings {
    /// Guesses, for upstreams that publish nothing.
    fn default() -> Self {
        Self {
            topics_per_link: 200,
            topics_per_request: 50,
            idle_links: true,
            send_interval: Duration::from_millis(100),
            connects: None,
            messages: None,
            subscriptions: None,
            max_age: None,
            max_age_margin: None,
        }
    }
}

impl LimitSettings {
    pub(crate) fn limits(&self) -> Limits {
        Limits {
            topics_per_link: self.topics_per_link,
            idle_links: self.idle_links,
            send_interval: self.send_interval,
            connects: self.connects,
            messages: self.messages,
            subscriptions: self.subscriptions,
            max_age: self.max_age.and_then(|age| MaxAge::new(age, self.max_age_margin)),
        }
    }

    pub(crate) fn check(&self) -> Result<(), Fault> {
        for (key, value) in [("topics_per_link", self.topics_per_link), ("topics_per_request", self.topics_per_request)]
        {
            if value == 0 {
                return Err(Fault::new(format!("limits.{key}"), "is 0; a link that may carry nothing is of no use"));
            }
        }
        if let (Some(age), Some(margin)) = (self.max_age, self.max_age_margin)
            && !age.is_zero()
            && margin >= age
        {
            return Err(Fault::new("limits.max_age_margin", "must be less than `limits.max_age`"));
        }
        Ok(())
    }
}

/// `[ping]`: the word that keeps the upstream from closing a link.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PingSettings {
    /// What is sent: JSON, with `{id}` for a request's id, or a literal text.
    pub send: String,
    /// Time between them.
    #[serde(with = "units::duration")]
    pub interval: Duration,
}

/// `[[controls]]`: messages that are no events: heartbeats, states, answers to our pings.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ControlSettings {
    /// What must be in the message.
    #[serde(default)]
    pub when: BTreeMap<String, Condition>,
    /// What is sent back, where the upstream expects an answer: a template whose holes are pointers (`{/ping}`) and `{id}`.
    #[serde(default)]
    pub answer: Option<String>,
    /// Whether it announces that the upstream will close the link, which is then replaced.
    #[serde(default)]
    pub closing: bool,
}

/// A checked ping.
#[derive(Debug, Clone)]
pub(crate) struct Ping {
    pub(crate) interval: Duration,
    template: Template,
}

impl Ping {
    pub(crate) fn compile(settings: &PingSettings) -> Result<Self, Fault> {
        let template = Template::request(&settings.send).map_err(|reason| Fault::new("ping.send", reason))?;
        if let Some(hole) = template.names().find(|hole| *hole != "id") {
            return Err(Fault::new("ping.send", format!("knows no `{{{hole}}}`; known is `{{id}}`")));
        }
        if settings.interval.is_zero() {
            return Err(Fault::new("ping.interval", "is 0; write a duration such as `20s`"));
        }
        Ok(Self { interval: settings.interval, template })
    }

    pub(crate) fn say(&self, requests: &mut Requests, out: &mut Outbox) {
        let id = requests.spare_id().to_string();
        if let Some(text) = self.template.render(&IdOnly(&id)) {
            out.push(OutFrame::Text(text));
        }
    }
}

/// A checked control rule.
#[derive(Debug, Clone)]
pub(crate) struct Control {
    when: When,
    answer: Option<Answer>,
    pub(crate) closing: bool,
}

#[derive(Debug, Clone)]
struct Answer {
    template: Template,
    slots: Vec<(String, usize)>,
}

impl Control {
    pub(crate) fn compile(settings: &ControlSettings, key: &str, pointers: &mut PointerList) -> Result<Self, Fault> {
        if settings.when.is_empty() {
            return Err(Fault::new(format!("{key}.when"), "is missing; without it every message would be control"));
        }
        let when = compile_when(&settings.when, key, pointers)?;
        let answer = settings.answer.as_deref().map(|text| {
            let template = Template::request(text)?;
            let mut slots = Vec::new();
            for hole in template.names().filter(|hole| *hole != "id") {
                if !hole.starts_with('/') {
                    return Err(format!("knows no `{{{hole}}}`; a hole is a pointer such as `{{/ping}}`, or `{{id}}`"));
                }
                slots.push((hole.to_owned(), pointers.slot(hole)?));
            }
            Ok(Answer { template, slots })
        });
        let answer = answer.transpose().map_err(|reason| Fault::new(format!("{key}.answer"), reason))?;
        Ok(Self { when, answer, closing: settings.closing })
    }

    /// Whether the message is one of these; answers it.
    pub(crate) fn applies(&self, scanned: Scanned<'_>, requests: &mut Requests, out: &mut Outbox) -> bool {
        if !self.when.holds(scanned) {
            return false;
        }
        if let Some(answer) = &self.answer {
            let id = requests.spare_id().to_string();
            if let Some(text) = answer.template.render(&Fields { scanned, slots: &answer.slots, id: &id }) {
                out.push(OutFrame::Text(text));
            }
        }
        true
    }
}

struct Fields<'a> {
    scanned: Scanned<'a>,
    slots: &'a [(String, usize)],
    id: &'a str,
}

impl Fields<'_> {
    fn slot(&self, name: &str) -> Option<usize> {
        self.slots.iter().find(|(hole, _)| hole == name).map(|(_, slot)| *slot)
    }
}

impl Fill for Fields<'_> {
    fn json(&self, name: &str) -> Option<std::borrow::Cow<'_, str>> {
        match self.slot(name) {
            Some(slot) => self.scanned.raw(slot).map(String::from_utf8_lossy),
            None => Some(std::borrow::Cow::Borrowed(self.id)),
        }
    }

    fn text(&self, name: &str) -> Option<std::borrow::Cow<'_, str>> {
        match self.slot(name) {
            Some(slot) => self.scanned.plain(slot),
            None => Some(std::borrow::Cow::Borrowed(self.id)),
        }
    }
}

/// Why something was refused: the texts of several pointers, joined.
#[derive(Debug, Clone)]
pub(crate) struct Reason {
    slots: Vec<usize>,
}

impl Reason {
    pub(crate) fn compile(texts: &[String], key: &str, pointers: &mut PointerList) -> Result<Self, Fault> {
        let slots = texts.iter().map(|text| pointers.slot(text)).collect::<Result<_, _>>();
        Ok(Self { slots: slots.map_err(|reason| Fault::new(format!("{key}.reason"), reason))? })
    }

    pub(crate) fn read(&self, scanned: Scanned<'_>) -> String {
        let texts: Vec<_> = self.slots.iter().filter_map(|slot| scanned.plain(*slot)).collect();
        if texts.is_empty() { "the upstream gave no reason".to_owned() } else { texts.join(": ") }
    }
}

/// Compiles conditions; a fault names the rule and the pointer.
pub(crate) fn compile_when(
    when: &BTreeMap<String, Condition>,
    key: &str,
    pointers: &mut PointerList,
) -> Result<When, Fault> {
    When::compile(when, pointers).map_err(|(pointer, reason)| Fault::new(format!("{key}.when.\"{pointer}\""), reason))
}

/// Compiles patterns; a fault names the rule and which of its patterns.
pub(crate) fn compile_patterns(
    texts: &[String],
    key: &str,
    pointers: &mut PointerList,
) -> Result<Vec<TopicPattern>, Fault> {
    let compile = |text: &String| TopicPattern::compile(text, pointers);
    texts.iter().map(compile).collect::<Result<_, _>>().map_err(|reason| Fault::new(format!("{key}.topic"), reason))
}

/// Compiles a dialect's forms of topics.
pub(crate) fn compile_forms(settings: &[TopicFormSettings]) -> Result<Arc<[TopicForm]>, Fault> {
    if settings.is_empty() {
        return Err(Fault::new("topics", "is missing; it says how topics are worded and subscribed to"));
    }
    settings.iter().enumerate().map(|(index, form)| TopicForm::compile(form, &format!("topics[{index}]"))).collect()
}

/// Reads a dialect's table into its settings; a fault names the key.
pub(crate) fn read_table<T: DeserializeOwned>(table: toml::Table) -> Result<T, Fault> {
    serde_path_to_error::deserialize(toml::Value::Table(table)).map_err(|error| {
        let key = error.path().to_string();
        let reason = error.inner().message().to_owned();
        Fault::new(if key == "." { String::from("(the table)") } else { key }, reason)
    })
}
