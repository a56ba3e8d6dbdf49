//! The `graphql_transport_ws` dialect: GraphQL subscriptions over the WebSocket subprotocol `graphql-transport-ws`.
//!
//! A topic is a subscription: its text, or the whole payload of the request as JSON, `{"query":"…","variables":{…}}`. Each gets an
//! id that is never used again in its connection. Nothing is acknowledged but the connection; a ping that the server answers
//! after it was asked for a subscription says that it is in force, unless the server has said otherwise.
//!
//! Source: the protocol's PROTOCOL.md in the project `graphql-ws`.

mod session;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;

use self::session::GraphqlSession;
use super::declared::{LimitSettings, header_list, read_table};
use super::error::Fault;
use super::template::credentials_in;
use super::{Dialect, Limits, ReadingPlan, Session, Topic};
use crate::config::{EventRuleSettings, units};

/// The subprotocol's name, which the handshake must carry.
const SUBPROTOCOL: &str = "graphql-transport-ws";

/// A declaration of the dialect.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GraphqlSettings {
    /// What the declaration is for, for people.
    pub about: Option<String>,
    /// What the upstream allows.
    pub limits: LimitSettings,
    /// Headers that the handshake must carry, beside the subprotocol.
    pub headers: BTreeMap<String, String>,
    /// The payload of `connection_init`, as JSON, for servers that want one. `{auth.NAME}` inside of its strings is filled.
    pub init: Option<String>,
    /// Time between pings of ours.
    #[serde(with = "units::duration")]
    pub ping_interval: Duration,
    /// Event rules for monitors that declare none.
    #[serde(deserialize_with = "units::one_or_many")]
    pub event: Vec<EventRuleSettings>,
}

impl Default for GraphqlSettings {
    fn default() -> Self {
        Self {
            about: None,
            limits: LimitSettings::default(),
            headers: BTreeMap::new(),
            init: None,
            // A guess; the protocol leaves it open.
            ping_interval: Duration::from_secs(20),
            event: Vec::new(),
        }
    }
}

/// A GraphQL server.
#[derive(Debug)]
pub struct GraphqlDialect {
    settings: Arc<GraphqlSettings>,
}

impl GraphqlDialect {
    /// Reads and checks a declaration.
    pub(crate) fn from_table(table: toml::Table) -> Result<Self, Fault> {
        let settings: GraphqlSettings = read_table(table)?;
        settings.limits.check()?;
        if settings.ping_interval.is_zero() {
            return Err(Fault::new("ping_interval", "is 0; write a duration such as `20s`"));
        }
        if let Some(init) = &settings.init
            && let Err(error) = serde_json::from_str::<&RawValue>(init)
        {
            return Err(Fault::new("init", format!("is no JSON: {error}")));
        }
        Ok(Self { settings: Arc::new(settings) })
    }
}

/// The payload of the request for a topic. The error says how one should look.
fn payload(topic: &str) -> Result<String, String> {
    let topic = topic.trim();
    if topic.starts_with("{\"") {
        let said =
            |error: &str| format!("topic `{topic}`: {error}; a payload is such as {{\"query\":\"subscription{{…}}\"}}");
        let members: BTreeMap<String, &RawValue> =
            serde_json::from_str(topic).map_err(|error| said(&error.to_string()))?;
        return match members.get("query") {
            Some(query) if query.get().starts_with('"') => Ok(topic.to_owned()),
            _ => Err(said("it has no text `query`")),
        };
    }
    let is_named = |word: &str| {
        topic.strip_prefix(word).is_some_and(|rest| rest.starts_with(|next: char| !next.is_ascii_alphanumeric()))
    };
    if !is_named("subscription") {
        return Err(format!(
            "topic `{topic}` is neither a subscription, such as `subscription {{ tick {{ i }} }}`, nor a payload with one, such as \
             `{{\"query\":\"…\",\"variables\":{{…}}}}`"
        ));
    }
    Ok(serde_json::json!({ "query": topic }).to_string())
}

impl Dialect for GraphqlDialect {
    fn limits(&self) -> Limits {
        self.settings.limits.limits()
    }

    fn credentials_named(&self) -> BTreeSet<String> {
        self.settings.init.iter().flat_map(|init| credentials_in(init)).collect()
    }

    fn handshake_headers(&self) -> Vec<(String, String)> {
        let mut headers = header_list(&self.settings.headers);
        headers.push(("Sec-WebSocket-Protocol".to_owned(), SUBPROTOCOL.to_owned()));
        headers
    }

    fn keep_alive_interval(&self) -> Option<Duration> {
        Some(self.settings.ping_interval)
    }

    fn default_event_rules(&self) -> &[EventRuleSettings] {
        &self.settings.event
    }

    fn check_topic(&self, topic: &str) -> Result<(), String> {
        payload(topic).map(drop)
    }

    fn session(&self, topics: &Arc<[Topic]>, plan: &ReadingPlan) -> Box<dyn Session> {
        Box::new(GraphqlSession::new(&self.settings, topics, plan))
    }
}
