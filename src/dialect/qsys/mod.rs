//! The `qsys` dialect: Q-SYS Core's QRC, JSON-RPC 2.0 over TCP with NUL ends, or over WebSocket.
//!
//! A topic is a named control, `component/control`, or `@EngineStatus`. Each link has one change group, which is built anew with
//! the connection, and when the Core has lost it; every change in it is a message: `{"Component":…,"Name":…,"Value":…,"String":…}`.
//!
//! Source: "QRC Commands" of the Q-SYS help.

mod session;

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;

use self::session::QsysSession;
use super::declared::{LimitSettings, read_table};
use super::error::Fault;
use super::{Dialect, Limits, ReadingPlan, Session, Topic, Transport};
use crate::config::{EventRuleSettings, units};

/// The topic of the Core's own state.
const ENGINE_STATUS: &str = "@EngineStatus";

/// A Core closes a connection over which nothing came for a minute.
const SILENCE_MAX: Duration = Duration::from_mins(1);

/// A whole declaration.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct QsysSettings {
    /// What the declaration is for, for people.
    pub about: Option<String>,
    /// What the upstream allows.
    pub limits: LimitSettings,
    /// Time between two looks at the controls.
    #[serde(with = "units::duration")]
    pub rate: Duration,
    /// Whether we ask at each look, where the Core does not send by itself.
    pub poll: bool,
    /// Sent first, where the Core wants to know who we are.
    pub logon: Option<LogonSettings>,
    /// Event rules for monitors that declare none.
    #[serde(deserialize_with = "units::one_or_many")]
    pub event: Vec<EventRuleSettings>,
}

/// `[logon]`: may name what the upstream's credentials are: `{auth.password}`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogonSettings {
    /// The user.
    pub user: String,
    /// Its PIN.
    pub password: String,
}

impl Default for QsysSettings {
    fn default() -> Self {
        Self {
            about: None,
            limits: LimitSettings::default(),
            // What the vendor's own client uses.
            rate: Duration::from_millis(350),
            poll: false,
            logon: None,
            event: Vec::new(),
        }
    }
}

/// QRC as the settings declare it.
#[derive(Debug)]
pub struct QsysDialect {
    settings: Arc<QsysSettings>,
}

impl QsysDialect {
    /// Reads and checks a declaration.
    pub(crate) fn from_table(table: toml::Table) -> Result<Self, Fault> {
        let settings: QsysSettings = read_table(table)?;
        settings.limits.check()?;
        if settings.rate < Duration::from_millis(100) || settings.rate >= SILENCE_MAX {
            return Err(Fault::new("rate", "must be from \"100ms\" to less than \"1m\""));
        }
        Ok(Self { settings: Arc::new(settings) })
    }
}

impl Dialect for QsysDialect {
    fn limits(&self) -> Limits {
        self.settings.limits.limits()
    }

    fn transports(&self) -> &'static [Transport] {
        &[Transport::NulEnded, Transport::WebSocket]
    }

    fn greeting(&self) -> Vec<String> {
        self.settings.logon.iter().flat_map(|logon| [logon.user.clone(), logon.password.clone()]).collect()
    }

    fn keep_alive_interval(&self) -> Option<Duration> {
        // Any request counts.
        Some(if self.settings.poll { self.settings.rate } else { SILENCE_MAX / 2 })
    }

    fn default_event_rules(&self) -> &[EventRuleSettings] {
        &self.settings.event
    }

    fn check_topic(&self, topic: &str) -> Result<(), String> {
        let whole = topic
            .split_once('/')
            .map_or(!topic.is_empty(), |(component, control)| !component.is_empty() && !control.is_empty());
        if !whole || topic.contains(char::is_control) || topic.starts_with('@') && topic != ENGINE_STATUS {
            return Err(format!("is neither a named control, nor `component/control`, nor `{ENGINE_STATUS}`"));
        }
        Ok(())
    }

    fn session(&self, topics: &Arc<[Topic]>, _plan: &ReadingPlan) -> Box<dyn Session> {
        Box::new(QsysSession::new(&self.settings, topics))
    }
}

#[cfg(test)]
mod tests;
