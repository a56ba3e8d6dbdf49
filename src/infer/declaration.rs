//! A proposal as settings, with what it is shown by, and as evidence for programs.

use std::fmt::Write as _;

use serde::Serialize;
use serde_json::Value;

use super::Proposal;
use super::control::ControlRule;
use super::events::{FoundSequence, Rule};
use super::leaves::{at, scalars};
use super::routing::{Learned, Look, Route};

/// What a recording shows, for programs.
#[derive(Debug, Clone, Serialize)]
pub struct Evidence {
    /// Messages of the provider's in the recording.
    pub messages: u64,
    /// How many of them were looked at closely.
    pub looked_at: u64,
    /// Of these: answers, states and heartbeats.
    pub control: u64,
    /// Of these: data of which nothing tells the topic.
    pub unrouted: u64,
    /// Frames that are no JSON.
    pub unreadable: u64,
    /// Whether the file ends in the middle of something.
    pub was_cut: bool,
    /// By what topics are told.
    pub routes: Vec<Value>,
    /// How events are read.
    pub events: Vec<Value>,
    /// By what control messages are told.
    pub controls: Vec<Value>,
    /// Each topic and its messages.
    pub topics: std::collections::BTreeMap<String, u64>,
    /// All of it as settings.
    pub declaration: String,
}

/// A text as TOML has it.
fn quoted(text: &str) -> String {
    if text.contains('\'') || text.chars().any(char::is_control) {
        return toml::Value::from(text).to_string();
    }
    if text.contains(['"', '\\']) { format!("'{text}'") } else { format!("\"{text}\"") }
}

fn list<'a>(texts: impl IntoIterator<Item = &'a str>) -> String {
    let texts: Vec<String> = texts.into_iter().map(quoted).collect();
    if let [one] = &texts[..] { one.clone() } else { format!("[{}]", texts.join(", ")) }
}

fn inline(tests: &[(String, String)]) -> String {
    let tests: Vec<String> = tests.iter().map(|(pointer, value)| format!("{} = {value}", quoted(pointer))).collect();
    format!("{{ {} }}", tests.join(", "))
}

impl Proposal {
    /// The evidence, and the settings.
    pub fn evidence(&self) -> Evidence {
        Evidence {
            messages: self.messages,
            looked_at: self.sample.messages.len() as u64,
            control: self.control_messages,
            unrouted: self.unrouted,
            unreadable: self.sample.unreadable,
            was_cut: self.was_cut,
            routes: self.routes.iter().map(route_evidence).collect(),
            events: self.rules.iter().map(rule_evidence).collect(),
            controls: self.control.iter().map(control_evidence).collect(),
            topics: self.topics.clone(),
            declaration: self.to_toml(),
        }
    }

    /// Settings that `config check` takes: a dialect, an upstream and a monitor.
    pub fn to_toml(&self) -> String {
        let mut out = String::new();
        // A string takes everything.
        self.write(&mut out).ok();
        out
    }

    /// The learned id that requests name, and not answers: JSON-RPC.
    fn by_answers(&self) -> Option<&Learned> {
        let learned = self.routes.iter().filter_map(|route| route.learned.as_ref());
        learned.into_iter().find(|learned| learned.answer == "/result" && learned.named_by.is_empty())
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        let Self { name, file, sample, messages, .. } = self;
        let looked_at = sample.messages.len();
        writeln!(out, "# Proposed for {file}: {messages} messages, {looked_at} of them looked at closely.")?;
        writeln!(
            out,
            "# {} are control, {} are of no topic that was found, {} frames are no JSON.",
            self.control_messages, self.unrouted, sample.unreadable
        )?;
        if self.was_cut {
            writeln!(out, "# The file ends in the middle of something, which was left out.")?;
        }
        writeln!(out, "# What each line is shown by stands beside it. Where nothing is said, nothing was found.\n")?;
        writeln!(out, "[smart_streaming]\nenabled = true\n")?;
        writeln!(out, "[dialects.{name}]")?;
        let by_answers = self.by_answers().cloned();
        if let Some(learned) = &by_answers {
            writeln!(out, "kind = \"json_rpc\"    # {} ids are results of requests", learned.distinct)?;
            writeln!(out, "notification = {{ subscription = {} }}", quoted(&learned.pointer))?;
        } else {
            self.write_json_head(out)?;
        }
        let topics = if let Some(learned) = &by_answers {
            self.write_requests(out, learned)?
        } else {
            writeln!(out, "\n[[dialects.{name}.topics]]\nform = \"{{topic}}\"")?;
            if sample.sent.is_empty() {
                writeln!(
                    out,
                    "subscribe = \"{{subscription}}\"    # cannot be filled, so that nothing is sent: the recording has no request"
                )?;
            } else {
                writeln!(
                    out,
                    "subscribe = \"{{subscription}}\"    # cannot be filled, so that nothing is sent but `hello`; write what asks for one topic"
                )?;
            }
            self.write_routes(out)?;
            self.topic_names()
        };
        for rule in &self.control {
            let value = match rule.values.len() {
                0 => "true".to_owned(),
                _ => list(rule.values.iter().map(String::as_str)),
            };
            if by_answers.is_some() && ["/id", "/0/id", "/error", "/error/message"].contains(&rule.pointer.as_str()) {
                continue;
            }
            writeln!(out, "\n[[dialects.{name}.controls]]    # {} messages: {}", rule.messages, rule.why)?;
            writeln!(out, "when = {}", inline(&[(rule.pointer.clone(), value)]))?;
            if let Some(answer) = &rule.answer {
                writeln!(out, "answer = {}    # as the client did", quoted(answer))?;
            }
        }
        let mut rules: Vec<&Rule> = self.rules.iter().collect();
        // What has no condition of its own takes all that is left.
        rules.sort_by_key(|rule| rule.when.is_empty());
        for rule in rules {
            self.write_rule(out, rule)?;
        }
        let url = sample.url.as_deref().filter(|url| url.contains("://")).unwrap_or("wss://HOST.invalid/");
        writeln!(out, "\n[upstreams.{name}]\nurl = {}\ndialect = \"{name}\"", quoted(url))?;
        writeln!(out, "\n[monitors.{name}]\ndomain = \"{name}\"\nupstream = \"{name}\"")?;
        writeln!(out, "topics = [")?;
        for topic in topics {
            writeln!(out, "    {},", quoted(&topic))?;
        }
        writeln!(out, "]")
    }

    fn write_json_head(&self, out: &mut String) -> std::fmt::Result {
        let sample = &self.sample;
        writeln!(out, "kind = \"json\"")?;
        if !sample.packing.is_empty() {
            let packing = sample.packing.iter().copied().next().unwrap_or_default();
            writeln!(out, "decode = \"{packing}\"    # {} binary frames", sample.binary)?;
        }
        if !sample.literals.is_empty() {
            let texts = list(sample.literals.keys().map(String::as_str));
            writeln!(out, "literals = {texts}    # {} frames", sample.literals.values().sum::<u64>())?;
        }
        let is_answer = |text: &&String| {
            let pong = || serde_json::from_str::<Value>(text).ok().is_some_and(|value| value.get("pong").is_some());
            self.control.iter().any(|rule| rule.answer.is_some()) && pong()
        };
        let said: Vec<&String> = sample.sent.iter().filter(|text| !is_answer(text)).collect();
        if !said.is_empty() {
            writeln!(out, "hello = [    # what the recording's client said")?;
            for text in said {
                writeln!(out, "    {},", quoted(text))?;
            }
            writeln!(out, "]")?;
        }
        Ok(())
    }

    fn write_routes(&self, out: &mut String) -> std::fmt::Result {
        let name = &self.name;
        for route in &self.routes {
            let Route { look, messages, parts, learned, present, absent } = route;
            writeln!(out, "\n[[dialects.{name}.routes]]    # {messages} messages")?;
            for part in parts {
                let named = if self.sample.requests.is_empty() {
                    String::new()
                } else {
                    format!(", {:.0} % named in what was sent", part.named * 100.0)
                };
                writeln!(out, "# {}: in {}, {} values{named}", part.pointer, part.present, part.distinct)?;
            }
            let mut when: Vec<(String, String)> = Vec::new();
            if let Look::Array(length) = look {
                when.push((format!("/{}", length.saturating_sub(1)), "true".into()));
                when.push((format!("/{length}"), "false".into()));
            }
            when.extend(present.clone().map(|pointer| (pointer, "true".to_owned())));
            when.extend(absent.clone().map(|pointer| (pointer, "false".to_owned())));
            when.dedup_by(|one, other| one.0 == other.0);
            if !when.is_empty() {
                writeln!(out, "when = {}", inline(&when))?;
            }
            match learned {
                Some(learned) => {
                    writeln!(
                        out,
                        "learned = {}    # {} values, all given by {} of answers",
                        quoted(&learned.pointer),
                        learned.distinct,
                        learned.answer
                    )?;
                }
                None if parts.is_empty() => writeln!(out, "topic = \"all\"    # nothing tells topics apart")?,
                None => {
                    let names: Vec<String> = parts.iter().map(|part| format!("{{{}}}", part.pointer)).collect();
                    let texts: Vec<String> = (1..=names.len()).rev().map(|count| names[..count].join(":")).collect();
                    writeln!(out, "topic = {}", list(texts.iter().map(String::as_str)))?;
                }
            }
        }
        let mut told: Vec<&Learned> = Vec::new();
        for learned in self.routes.iter().filter_map(|route| route.learned.as_ref()) {
            if !told.iter().any(|other| other.answer == learned.answer) {
                told.push(learned);
                let names: Vec<String> = learned.named_by.iter().map(|pointer| format!("{{{pointer}}}")).collect();
                writeln!(out, "\n[[dialects.{name}.acknowledgements]]")?;
                writeln!(out, "when = {}", inline(&[(learned.answer.clone(), "true".into())]))?;
                writeln!(out, "topic = {}\nlearn = {}", quoted(&names.join(":")), quoted(&learned.answer))?;
            }
        }
        Ok(())
    }

    /// Topics as the dialect will call them.
    fn topic_names(&self) -> Vec<String> {
        let mut names: std::collections::BTreeSet<String> = std::collections::BTreeSet::new();
        let mut learned_any = false;
        for learned in self.routes.iter().filter_map(|route| route.learned.as_ref()) {
            learned_any = true;
            for message in &self.sample.messages {
                if message.value.pointer(&learned.answer).is_some() {
                    let parts: Option<Vec<String>> =
                        learned.named_by.iter().map(|pointer| at(&message.value, pointer)).collect();
                    names.extend(parts.filter(|parts| !parts.is_empty()).map(|parts| parts.join(":")));
                }
            }
        }
        if !learned_any {
            names.extend(self.topics.keys().cloned());
        }
        if self.routes.iter().any(|route| route.learned.is_none() && route.parts.is_empty()) {
            names.insert("all".to_owned());
        }
        names.into_iter().collect()
    }

    /// A form for each request whose result is a subscription's id.
    fn write_requests(&self, out: &mut String, learned: &Learned) -> Result<Vec<String>, std::fmt::Error> {
        let mut names: Vec<String> = Vec::new();
        let ids: std::collections::BTreeSet<&str> = self.topics.keys().map(String::as_str).collect();
        for request in &self.sample.requests {
            let Some(id) = at(request, "/id") else { continue };
            let answers = self.sample.messages.iter().filter(|message| at(&message.value, "/id").as_ref() == Some(&id));
            let given = answers.filter_map(|message| at(&message.value, &learned.answer));
            if !given.into_iter().any(|given| ids.contains(given.as_str()) || learned.distinct == 0) {
                continue;
            }
            let mut words = Vec::new();
            request.get("params").into_iter().for_each(|params| scalars(params, &mut words));
            let method = at(request, "/method").unwrap_or_default();
            let plain = |text: &String| {
                !text.is_empty()
                    && text.len() <= 40
                    && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
            };
            let mut own = words.into_iter().find(|word| plain(word)).unwrap_or(method);
            while names.contains(&own) {
                own.push_str("_more");
            }
            let mut wanted = request.clone();
            if let Some(slot) = wanted.get_mut("id") {
                *slot = Value::from("{id}");
            }
            let text = wanted.to_string().replace("\"id\":\"{id}\"", "\"id\":{id}");
            writeln!(out, "\n[[dialects.{}.topics]]\nform = {}", self.name, quoted(&own))?;
            writeln!(out, "subscribe = {}", quoted(&text))?;
            names.push(own);
        }
        Ok(names)
    }

    fn write_rule(&self, out: &mut String, rule: &Rule) -> std::fmt::Result {
        let Rule { messages, events, each, id, key, time, sequence, is_heartbeat, .. } = rule;
        let many = if each.is_some() { format!(", {events} events") } else { String::new() };
        writeln!(out, "\n[[dialects.{}.event]]    # {messages} messages{many}", self.name)?;
        // With `each`, conditions look at the whole message only where they say so.
        let place = |pointer: &String| if each.is_some() { format!("frame:{pointer}") } else { pointer.clone() };
        let mut when: Vec<(String, String)> = Vec::new();
        for (pointer, values) in &rule.when {
            let value = match values {
                None => "false".to_owned(),
                Some(values) if values.is_empty() => "true".to_owned(),
                Some(values) => list(values.iter().map(String::as_str)),
            };
            if !when.iter().any(|(other, _)| *other == place(pointer)) {
                when.push((place(pointer), value));
            }
        }
        if *is_heartbeat {
            when.insert(0, ("/1".into(), "\"hb\"".into()));
            when.dedup_by(|one, other| one.0 == other.0);
        }
        if !when.is_empty() {
            writeln!(out, "when = {}", inline(&when))?;
        }
        if *is_heartbeat {
            writeln!(out, "ignore = true    # a heartbeat of the topic")?;
        }
        if let Some(each) = each {
            writeln!(out, "each = {}    # what a message has beside it is not kept", quoted(each))?;
        }
        if let Some(id) = id {
            let mut pointers: Vec<String> = rule.scope.iter().map(place).collect();
            pointers.extend(id.pointers.iter().cloned());
            let grows = if id.increasing { ", growing" } else { "" };
            writeln!(
                out,
                "id = {}    # {} distinct of {events}{grows}",
                list(pointers.iter().map(String::as_str)),
                id.distinct
            )?;
        }
        if let Some(key) = key {
            writeln!(out, "key = {}", quoted(key))?;
        }
        if let Some(time) = time {
            let lag = time.lag.map_or(String::new(), |lag| format!(", {lag:.3} s before it came"));
            writeln!(out, "time = {}    # in {} of {events}{lag}", quoted(&time.pointer), time.present)?;
            writeln!(out, "time_unit = \"{}\"", time.unit)?;
            if time.present < *events {
                writeln!(out, "time_optional = true")?;
            }
        }
        match sequence {
            None => Ok(()),
            Some(FoundSequence::Counts { value, per_link: false, steps }) => {
                writeln!(out, "sequence = {}    # up by one in {steps} steps", quoted(value))
            }
            Some(FoundSequence::Counts { value, per_link: true, steps }) => {
                writeln!(
                    out,
                    "sequence = {{ value = {}, per = \"link\" }}    # growing over all topics in {steps} steps",
                    quoted(value)
                )
            }
            Some(FoundSequence::Previous { value, previous, steps }) => {
                writeln!(
                    out,
                    "sequence = {{ value = {}, previous = {} }}    # in {steps} steps",
                    quoted(value),
                    quoted(previous)
                )
            }
            Some(FoundSequence::Span { first, last, steps }) => {
                writeln!(
                    out,
                    "sequence = {{ first = {}, last = {} }}    # without a hole in {steps} steps",
                    quoted(first),
                    quoted(last)
                )
            }
        }
    }
}

fn route_evidence(route: &Route) -> Value {
    let parts: Vec<Value> = route
        .parts
        .iter()
        .map(|part| serde_json::json!({ "pointer": part.pointer, "present": part.present, "distinct": part.distinct, "named": part.named }))
        .collect();
    let learned = route.learned.as_ref().map(|learned| {
        serde_json::json!({ "pointer": learned.pointer, "answer": learned.answer, "named_by": learned.named_by, "distinct": learned.distinct })
    });
    serde_json::json!({ "messages": route.messages, "parts": parts, "learned": learned, "look": format!("{:?}", route.look) })
}

fn control_evidence(rule: &ControlRule) -> Value {
    serde_json::json!({ "pointer": rule.pointer, "values": rule.values, "messages": rule.messages, "why": rule.why })
}

fn rule_evidence(rule: &Rule) -> Value {
    let id = rule
        .id
        .as_ref()
        .map(|id| serde_json::json!({ "pointers": id.pointers, "distinct": id.distinct, "increasing": id.increasing }));
    let time = rule.time.as_ref().map(|time| {
        serde_json::json!({ "pointer": time.pointer, "unit": time.unit, "present": time.present, "lag_s": time.lag })
    });
    serde_json::json!({
        "messages": rule.messages, "events": rule.events, "each": rule.each, "id": id, "key": rule.key, "time": time,
        "sequence": rule.sequence.as_ref().map(|sequence| format!("{sequence:?}")),
    })
}
