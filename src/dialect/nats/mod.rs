//! The `nats` dialect: the NATS client protocol over WebSocket.
//!
//! A topic is a subject, or a subject and a queue group with a space between. A message is an envelope (see `envelope`) of
//! `subject`, `reply` and `headers` where it has them, and its payload; one that a JetStream consumer delivers also has `stream`,
//! `consumer`, `sequence`, `delivered` and `time` (nanoseconds since 1970), which its reply subject tells, and is acknowledged when it
//! is durable. The consumer is not ours to make: a topic is its deliver subject.

mod jetstream;
mod reader;
mod session;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;

use self::session::NatsSession;
use super::declared::{LimitSettings, read_table};
use super::error::Fault;
use super::{Dialect, Limits, ReadingPlan, Session, Topic};
use crate::config::{EventRuleSettings, units};

/// A whole declaration.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NatsSettings {
    /// What the declaration is for, for people.
    pub about: Option<String>,
    /// What the upstream allows.
    pub limits: LimitSettings,
    /// Further members of CONNECT, such as `user` and `pass`, or `auth_token`; may name credentials of the upstream:
    /// `{auth.password}`.
    pub connect: BTreeMap<String, String>,
    /// Event rules for monitors that declare none.
    #[serde(deserialize_with = "units::one_or_many")]
    pub event: Vec<EventRuleSettings>,
}

/// NATS as the settings declare it.
#[derive(Debug)]
pub struct NatsDialect {
    settings: NatsSettings,
}

impl NatsDialect {
    /// Reads and checks a declaration.
    pub(crate) fn from_table(table: toml::Table) -> Result<Self, Fault> {
        let settings: NatsSettings = read_table(table)?;
        settings.limits.check()?;
        Ok(Self { settings })
    }
}

impl Dialect for NatsDialect {
    fn limits(&self) -> Limits {
        self.settings.limits.limits()
    }

    fn greeting(&self) -> Vec<String> {
        self.settings.connect.values().cloned().collect()
    }

    fn default_event_rules(&self) -> &[EventRuleSettings] {
        &self.settings.event
    }

    fn check_topic(&self, topic: &str) -> Result<(), String> {
        check_topic(topic)
    }

    fn session(&self, topics: &Arc<[Topic]>, _plan: &ReadingPlan) -> Box<dyn Session> {
        Box::new(NatsSession::new(self.settings.connect.keys().cloned().collect(), topics))
    }
}

fn check_topic(topic: &str) -> Result<(), String> {
    let mut parts = topic.split(' ');
    let subject = parts.next().unwrap_or_default();
    let plain = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte > b' ' && byte != 0x7f);
    if !plain(subject) || !parts.next().is_none_or(plain) || parts.next().is_some() {
        return Err(
            "is no subject; write one such as `sensors.>`, with a queue group behind a space where there is one".into(),
        );
    }
    let mut tokens = subject.split('.').peekable();
    while let Some(token) = tokens.next() {
        if token.is_empty() || token == ">" && tokens.peek().is_some() {
            return Err("is no subject: no part may be empty, and `>` may only be its end".into());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
