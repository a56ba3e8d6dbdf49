//! The `mastodon` dialect: a Mastodon server's streaming API over WebSocket.
//!
//! A topic is a stream, with its tag or list behind a colon: `public:local`, `hashtag:rust`, `list:12`. A message's payload is
//! JSON inside of a string; what is journaled is the message, to the byte, and pointers look into a text in which the payload
//! is a value ([`view`]): `/payload/account/acct`. Nothing is acknowledged, and nothing can be taken up again.
//!
//! Source: the server's documentation of its streaming API.

mod session;
#[cfg(test)]
mod tests;
mod view;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;

use self::session::MastodonSession;
use super::declared::{LimitSettings, header_list, read_table};
use super::error::Fault;
use super::{Dialect, Limits, ReadingPlan, Session, Topic};
use crate::config::{EventRuleSettings, units};

/// A declaration of the dialect.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MastodonSettings {
    /// What the declaration is for, for people.
    pub about: Option<String>,
    /// What the upstream allows.
    pub limits: LimitSettings,
    /// Headers that the handshake must carry.
    pub headers: BTreeMap<String, String>,
    /// Event rules for monitors that declare none.
    #[serde(deserialize_with = "units::one_or_many")]
    pub event: Vec<EventRuleSettings>,
}

/// A Mastodon server.
#[derive(Debug)]
pub struct MastodonDialect {
    settings: MastodonSettings,
}

impl MastodonDialect {
    /// Reads and checks a declaration.
    pub(crate) fn from_table(table: toml::Table) -> Result<Self, Fault> {
        let settings: MastodonSettings = read_table(table)?;
        settings.limits.check()?;
        Ok(Self { settings })
    }
}

/// A stream, with what it needs beside its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stream<'a> {
    name: &'a str,
    /// The name of the parameter, and its value.
    with: Option<(&'a str, &'a str)>,
}

/// Streams that need nothing.
const PLAIN: [&str; 9] = [
    "public",
    "public:media",
    "public:local",
    "public:local:media",
    "public:remote",
    "public:remote:media",
    "user",
    "user:notification",
    "direct",
];

/// Streams that need something, and what; the longer names first.
const WITH: [(&str, &str); 3] = [("hashtag:local", "tag"), ("hashtag", "tag"), ("list", "list")];

impl<'a> Stream<'a> {
    /// Reads a topic. The error says how it should look.
    fn read(topic: &'a str) -> Result<Self, String> {
        if let Some(name) = PLAIN.iter().copied().find(|name| *name == topic) {
            return Ok(Self { name, with: None });
        }
        for (name, parameter) in WITH {
            let value = topic.strip_prefix(name).and_then(|rest| rest.strip_prefix(':'));
            if let Some(value) = value.filter(|value| !value.is_empty() && !value.contains(char::is_whitespace)) {
                return Ok(Self { name, with: Some((parameter, value)) });
            }
        }
        Err(format!(
            "topic `{topic}` is no stream; there are {}, `hashtag:TAG`, `hashtag:local:TAG` and `list:ID`",
            PLAIN.map(|name| format!("`{name}`")).join(", ")
        ))
    }

    fn request(self, kind: &str) -> String {
        let mut request = serde_json::json!({ "type": kind, "stream": self.name });
        if let Some((parameter, value)) = self.with {
            request[parameter] = value.into();
        }
        request.to_string()
    }
}

impl Dialect for MastodonDialect {
    fn limits(&self) -> Limits {
        self.settings.limits.limits()
    }

    fn handshake_headers(&self) -> Vec<(String, String)> {
        header_list(&self.settings.headers)
    }

    fn default_event_rules(&self) -> &[EventRuleSettings] {
        &self.settings.event
    }

    fn check_topic(&self, topic: &str) -> Result<(), String> {
        Stream::read(topic).map(drop)
    }

    fn session(&self, topics: &Arc<[Topic]>, plan: &ReadingPlan) -> Box<dyn Session> {
        Box::new(MastodonSession::new(topics, plan))
    }
}
