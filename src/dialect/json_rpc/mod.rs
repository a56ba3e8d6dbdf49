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

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

pub use settings::{EarlySettings, JsonRpcDialectSettings, NotificationSettings};

use self::session::{JsonRpcSession, Rules};
use super::declared::{Ping, compile_forms, read_table};
use super::error::Fault;
use super::last::Last;
use super::scanned::PointerList;
use super::topic_book::{self, TopicTable};
use super::topic_form::TopicForm;
use super::{Dialect, Limits, ReadingPlan, Session, Topic};

/// A JSON-RPC upstream as its settings declare it.
#[derive(Debug)]
pub struct JsonRpcDialect {
    declaration: Arc<Declaration>,
}

/// What all sessions of a dialect share.
#[derive(Debug)]
struct Declaration {
    settings: JsonRpcDialectSettings,
    forms: Arc<[TopicForm]>,
    ping: Option<Arc<Ping>>,
    rules: Last<ReadingPlan, Rules>,
    table: Last<Arc<[Topic]>, TopicTable>,
}

impl Declaration {
    fn rules(&self, plan: &ReadingPlan) -> Arc<Rules> {
        self.rules.of(plan, PartialEq::eq, || {
            let pointers = PointerList::of_plan(&plan.pointers)
                .expect("a plan's pointers were parsed when its monitors were read");
            Rules::compile(&self.settings, pointers).expect("the rules were compiled once before")
        })
    }

    fn table(&self, topics: &Arc<[Topic]>) -> Arc<TopicTable> {
        self.table.of(topics, Arc::ptr_eq, || TopicTable::new(topics, Arc::clone(&self.forms)))
    }
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
        let (rules, table) = (Last::default(), Last::default());
        Ok(Self { declaration: Arc::new(Declaration { settings, forms, ping, rules, table }) })
    }
}

impl Dialect for JsonRpcDialect {
    fn limits(&self) -> Limits {
        self.declaration.settings.limits.limits()
    }

    fn handshake_headers(&self) -> Vec<(String, String)> {
        self.declaration.settings.headers.iter().map(|(name, value)| (name.clone(), value.clone())).collect()
    }

    fn keep_alive_interval(&self) -> Option<Duration> {
        self.declaration.ping.as_ref().map(|ping| ping.interval)
    }

    fn default_event_rules(&self) -> &[crate::config::EventRuleSettings] {
        &self.declaration.settings.event
    }

    fn credentials_named(&self) -> BTreeSet<String> {
        self.declaration.forms.iter().flat_map(TopicForm::credentials_named).collect()
    }

    fn check_topic(&self, topic: &str) -> Result<(), String> {
        topic_book::check_topic(&self.declaration.forms, topic)
    }

    fn session(&self, topics: &Arc<[Topic]>, plan: &ReadingPlan) -> Box<dyn Session> {
        Box::new(JsonRpcSession::new(&self.declaration, topics, plan))
    }
}
