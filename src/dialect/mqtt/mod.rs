//! The `mqtt` dialect: MQTT 3.1.1 over WebSocket.
//!
//! A topic is a filter. A message is an envelope (see `envelope`) of `topic`, `qos`, `retain` and `dup` where they are set, and its
//! payload. Of several filters of a link that mean a message the first that was asked for gets it.
//!
//! What came with quality of service 1 is acknowledged when it is durable, so that a broker keeps what we might still lose: nothing is lost, and
//! what it sends again because our acknowledgement was lost comes twice where the monitor's rule has no id. A link keeps one
//! session at the broker (clean session off), by a client id that is the same after every restart.

mod filter;
mod session;

use std::sync::Arc;
use std::time::Duration;

use rumqttc::mqttbytes::QoS;
use serde::Deserialize;

use self::session::MqttSession;
use super::declared::{LimitSettings, read_table};
use super::error::Fault;
use super::{Dialect, Limits, ReadingPlan, Session, Topic};
use crate::config::{EventRuleSettings, units};

/// A whole declaration.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MqttSettings {
    /// What the declaration is for, for people.
    pub about: Option<String>,
    /// What the upstream allows.
    pub limits: LimitSettings,
    /// The highest quality of service asked for: 0, or 1.
    pub qos: u8,
    /// The longest that the broker hears nothing of us; it is pinged in half of it.
    #[serde(with = "units::duration")]
    pub keep_alive: Duration,
    /// Whether the broker is to forget a link that is away, with all that comes meanwhile.
    pub clean_session: bool,
    /// Who we are, where the broker wants to know; may name credentials of the upstream: `{auth.user}`.
    pub username: Option<String>,
    /// The same of the password: `{auth.password}`.
    pub password: Option<String>,
    /// How a link calls itself, in the place of a name of the daemon's own; the number of the link is put behind it.
    pub client_id: Option<String>,
    /// Event rules for monitors that declare none.
    #[serde(deserialize_with = "units::one_or_many")]
    pub event: Vec<EventRuleSettings>,
}

impl Default for MqttSettings {
    fn default() -> Self {
        Self {
            about: None,
            limits: LimitSettings::default(),
            qos: 1,
            keep_alive: Duration::from_mins(1),
            clean_session: false,
            username: None,
            password: None,
            client_id: None,
            event: Vec::new(),
        }
    }
}

/// MQTT as the settings declare it.
#[derive(Debug)]
pub struct MqttDialect {
    settings: Arc<MqttSettings>,
    qos: QoS,
}

impl MqttDialect {
    /// Reads and checks a declaration.
    pub(crate) fn from_table(table: toml::Table) -> Result<Self, Fault> {
        let settings: MqttSettings = read_table(table)?;
        settings.limits.check()?;
        let qos = match settings.qos {
            0 => QoS::AtMostOnce,
            1 => QoS::AtLeastOnce,
            other => return Err(Fault::new("qos", format!("is {other}; it is 0 or 1"))),
        };
        let keep_alive = settings.keep_alive;
        if keep_alive < Duration::from_secs(2) || keep_alive.as_secs() > u64::from(u16::MAX) {
            return Err(Fault::new("keep_alive", "must be from \"2s\" to \"18h\""));
        }
        if settings.password.is_some() && settings.username.is_none() {
            return Err(Fault::new("password", "goes with a `username` only"));
        }
        Ok(Self { settings: Arc::new(settings), qos })
    }
}

impl Dialect for MqttDialect {
    fn limits(&self) -> Limits {
        self.settings.limits.limits()
    }

    fn connects_beside(&self) -> bool {
        // A broker ends a client whose name another one comes with.
        false
    }

    fn handshake_headers(&self) -> Vec<(String, String)> {
        vec![("Sec-WebSocket-Protocol".to_owned(), "mqtt".to_owned())]
    }

    fn greeting(&self) -> Vec<String> {
        self.settings.username.iter().chain(&self.settings.password).cloned().collect()
    }

    fn keep_alive_interval(&self) -> Option<Duration> {
        Some(self.settings.keep_alive / 2)
    }

    fn default_event_rules(&self) -> &[EventRuleSettings] {
        &self.settings.event
    }

    fn check_topic(&self, topic: &str) -> Result<(), String> {
        filter::check(topic)
    }

    fn session(&self, topics: &Arc<[Topic]>, _plan: &ReadingPlan) -> Box<dyn Session> {
        Box::new(MqttSession::new(&self.settings, self.qos, topics))
    }
}

#[cfg(test)]
mod tests;
