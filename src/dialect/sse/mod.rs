//! The `sse` dialect: server-sent events over HTTP.
//!
//! A topic is what is asked for, a path behind the address, and has a connection of its own, since a request cannot be changed. A
//! lost one is taken up again with the id of the last durable event in `Last-Event-ID`; that id says nothing to us, need not be one
//! of an event, and may be the same for many.

mod decoder;

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;

use self::decoder::{Decoder, Item};
use super::MESSAGE_BYTES_MAX;
use super::declared::{LimitSettings, read_table};
use super::envelope::Envelope;
use super::error::Fault;
use super::{
    Dialect, Frame, Intake, Limits, Message, Opening, OutFrame, Outbox, ReadingPlan, Resumption, Session, SessionToken,
    Topic, TopicId, Transport,
};
use crate::config::{EventRuleSettings, units};

/// A whole declaration.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SseSettings {
    /// What the declaration is for, for people.
    pub about: Option<String>,
    /// What the upstream allows. A link carries one topic.
    pub limits: LimitSettings,
    /// Put before each topic, to make the path behind the address.
    pub path: String,
    /// Whether messages are the events' data as it came (JSON), or objects of `event`, `id`, and the data under `payload`,
    /// `text` or `base64`.
    pub envelope: bool,
    /// Whether the stream goes on from a `Last-Event-ID`.
    #[serde(default = "yes")]
    pub resume: bool,
    /// Event rules for monitors that declare none.
    #[serde(deserialize_with = "units::one_or_many")]
    pub event: Vec<EventRuleSettings>,
}

fn yes() -> bool {
    true
}

/// Server-sent events as the settings declare them.
#[derive(Debug)]
pub struct SseDialect {
    settings: SseSettings,
    resumption: Option<Resumption>,
}

impl SseDialect {
    /// Reads and checks a declaration.
    pub(crate) fn from_table(mut table: toml::Table) -> Result<Self, Fault> {
        table.entry("resume").or_insert(toml::Value::Boolean(true));
        let of_links = table.get("limits").and_then(|limits| limits.get("topics_per_link"));
        if of_links.and_then(toml::Value::as_integer).is_some_and(|topics| topics > 1) {
            let reason = "must be 1 or be left out: a request of server-sent events is for one topic";
            return Err(Fault::new("limits.topics_per_link", reason));
        }
        let settings: SseSettings = read_table(table)?;
        settings.limits.check()?;
        let resumption = settings.resume.then(|| Resumption::by_header("Last-Event-ID"));
        Ok(Self { settings, resumption })
    }
}

impl Dialect for SseDialect {
    fn limits(&self) -> Limits {
        Limits {
            topics_per_link: 1,
            idle_links: false,
            // Nothing is sent but requests, each in the place of the one before.
            send_interval: Duration::ZERO,
            ..self.settings.limits.limits()
        }
    }

    fn transports(&self) -> &'static [Transport] {
        &[Transport::EventStream]
    }

    fn opening(&self, topics: &[&str], point: Option<&str>) -> Opening {
        let path = topics.first().map(|topic| format!("{}{topic}", self.settings.path));
        Opening { path, ..Opening::resuming(self.resumption(), point) }
    }

    fn default_event_rules(&self) -> &[EventRuleSettings] {
        &self.settings.event
    }

    fn check_topic(&self, topic: &str) -> Result<(), String> {
        let plain =
            |character: char| !character.is_whitespace() && !character.is_control() && !"?#".contains(character);
        if topic.is_empty() || !topic.chars().all(plain) {
            return Err("is no path; write what stands behind the address, such as `recentchange`".to_owned());
        }
        Ok(())
    }

    fn resumption(&self) -> Option<&Resumption> {
        self.resumption.as_ref()
    }

    fn session(&self, topics: &Arc<[Topic]>, _plan: &ReadingPlan) -> Box<dyn Session> {
        Box::new(SseSession {
            path: self.settings.path.clone(),
            envelope: self.settings.envelope.then(Envelope::default),
            resumes: self.settings.resume,
            topics: Arc::clone(topics),
            topic: None,
            decoder: Decoder::new(MESSAGE_BYTES_MAX),
            message_bytes_max: MESSAGE_BYTES_MAX,
            token: None,
            broken: false,
        })
    }
}

/// One request's answer.
struct SseSession {
    path: String,
    envelope: Option<Envelope>,
    resumes: bool,
    topics: Arc<[Topic]>,
    /// What is asked for.
    topic: Option<TopicId>,
    decoder: Decoder,
    message_bytes_max: usize,
    /// Of the last event that had one, since it was last taken.
    token: Option<Vec<u8>>,
    broken: bool,
}

impl SseSession {
    fn path_of(&self, topic: TopicId) -> Option<String> {
        let name = &self.topics.get(topic.0 as usize)?.name;
        Some(format!("{}{name}", self.path))
    }
}

impl Session for SseSession {
    fn bound_messages(&mut self, bytes_max: usize) {
        self.message_bytes_max = bytes_max;
        self.decoder = Decoder::new(bytes_max);
    }

    fn subscribe(&mut self, topics: &[TopicId], out: &mut Outbox) {
        let Some(path) = topics.first().and_then(|topic| self.path_of(*topic)) else { return };
        if self.topic != topics.first().copied() {
            // Another stream, or the same from its beginning.
            self.topic = topics.first().copied();
            self.token = None;
        }
        let last_id = self.decoder.last_id().filter(|_| self.resumes).and_then(|id| std::str::from_utf8(id).ok());
        let text = last_id.map_or_else(|| path.clone(), |id| format!("{path}\n{id}"));
        out.push(OutFrame::Text(text));
    }

    fn unsubscribe(&mut self, topics: &[TopicId], out: &mut Outbox) {
        if self.topic.is_some_and(|topic| topics.contains(&topic)) {
            self.topic = None;
            out.push(OutFrame::Text(String::new()));
        }
    }

    fn adopt(&mut self, topics: &Arc<[Topic]>, _plan: &ReadingPlan) {
        self.topics = Arc::clone(topics);
    }

    fn keep_alive(&mut self, _out: &mut Outbox) {}

    fn take_tokens(&mut self) -> Vec<SessionToken> {
        match (self.token.take(), self.topic) {
            (Some(token), Some(topic)) => vec![SessionToken { topic: Some(topic), token }],
            _ => Vec::new(),
        }
    }

    fn receive(&mut self, frame: Frame<'_>, intake: &mut dyn Intake, _out: &mut Outbox) {
        let piece = match frame {
            Frame::Text(path) => {
                // A new answer: nothing of the one before is left.
                self.decoder = Decoder::new(self.message_bytes_max);
                self.broken = false;
                let topic = self.topic.filter(|topic| self.path_of(*topic).is_some_and(|own| own == path));
                if let Some(topic) = topic {
                    intake.acknowledged(topic);
                }
                return intake.control(topic);
            }
            Frame::Binary(piece) => piece,
        };
        if self.broken {
            return;
        }
        let Self { envelope, topic, decoder, token, resumes, .. } = self;
        let read = decoder.read(piece, |item, decoder| match item {
            Item::Comment | Item::Empty => {
                if let Some(topic) = *topic {
                    intake.alive(topic);
                }
                intake.control(*topic);
            }
            Item::Retry(wait) => intake.reconnect_after(wait),
            Item::Event { name, data } => {
                let Some(topic) = *topic else { return intake.control(None) };
                let id = decoder.last_id().and_then(|id| std::str::from_utf8(id).ok());
                let bytes = match envelope {
                    None => data,
                    Some(envelope) => {
                        let mut envelope = envelope.begin().text("event", name);
                        if let Some(id) = id {
                            envelope = envelope.text("id", id);
                        }
                        envelope.payload(data).end()
                    }
                };
                intake.message(topic, Message { bytes, fields: None });
                if let Some(id) = id.filter(|_| *resumes) {
                    let token = token.get_or_insert_default();
                    token.clear();
                    token.extend_from_slice(id.as_bytes());
                }
            }
        });
        if read.is_err() {
            self.broken = true;
            let limit = self.message_bytes_max;
            intake.broken(&format!(
                "an event of the stream is longer than {limit} bytes; raise `max_message` if it is meant"
            ));
        }
    }
}

#[cfg(test)]
mod tests;
