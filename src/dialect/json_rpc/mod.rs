//! The `json_rpc` dialect: JSON-RPC 2.0 subscriptions, declared by settings.
//!
//! A request's id leads to its topic; the answer gives a subscription's id; notifications carry that id, or name their
//! channel themselves. [`settings`] says what is declared.

mod early;
mod session;
mod settings;
mod subscriptions;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

pub use settings::{EarlySettings, JsonRpcDialectSettings, NotificationSettings};

use self::session::{JsonRpcSession, Rules};
use super::declared::{Ping, compile_forms, read_table};
use super::error::Fault;
use super::scanned::PointerList;
use super::topic_book;
use super::topic_form::TopicForm;
use super::{Dialect, Limits, ReadingPlan, Session, Topic};

/// A JSON-RPC upstream as its settings declare it.
#[derive(Debug)]
pub struct JsonRpcDialect {
    settings: JsonRpcDialectSettings,
    forms: Arc<[TopicForm]>,
    ping: Option<Arc<Ping>>,
}

impl JsonRpcDialect {
    /// Reads and checks a declaration.
    pub(crate) fn from_table(table: toml::Table) -> Result<Self, Fault> {
        let settings: JsonRpcDialectSettings = read_table(table)?;
        settings.limits.check()?;
        let forms = compile_forms(&settings.topics)?;
        let ping = settings.ping.as_ref().map(Ping::compile).transpose()?.map(Arc::new);
        // Compiled again for each session, with the monitors' pointers in front; here for its mistakes.
        Rules::compile(&settings, PointerList::default())?;
        Ok(Self { settings, forms, ping })
    }
}

impl Dialect for JsonRpcDialect {
    fn limits(&self) -> Limits {
        self.settings.limits.limits()
    }

    fn handshake_headers(&self) -> Vec<(String, String)> {
        self.settings.headers.iter().map(|(name, value)| (name.clone(), value.clone())).collect()
    }

    fn keep_alive_interval(&self) -> Option<Duration> {
        self.ping.as_ref().map(|ping| ping.interval)
    }

    fn default_event_rules(&self) -> &[crate::config::EventRuleSettings] {
        &self.settings.event
    }

    fn check_topic(&self, topic: &str) -> Result<(), String> {
        topic_book::check_topic(&self.forms, topic)
    }

    fn session(&self, topics: &[Topic], plan: &ReadingPlan) -> Box<dyn Session> {
        let pointers =
            PointerList::of_plan(&plan.pointers).expect("a plan's pointers were parsed when its monitors were read");
        let rules = Rules::compile(&self.settings, pointers).expect("the rules were compiled once before");
        Box::new(JsonRpcSession::new(&self.settings, &self.forms, self.ping.clone(), topics, rules))
    }
}
