//! A dialect that is declared by settings: what its nature adds, and what is the same for every nature.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;

use super::declared::{CommonSettings, Ping, compile_forms, header_list, read_table};
use super::error::Fault;
use super::last::Last;
use super::resume::ResumeSettings;
use super::scanned::PointerList;
use super::topic_book::{self, TopicTable};
use super::topic_form::TopicForm;
use super::{Dialect, Limits, ReadingPlan, Resumption, Session, Topic};
use crate::config::EventRuleSettings;

/// Settings that declare a dialect of one nature.
pub(crate) trait Nature: DeserializeOwned + Debug + Send + Sync + Sized + 'static {
    /// Everything that reads frames, compiled for a plan.
    type Rules: Debug + Send + Sync;

    /// What every nature has.
    fn common(&self) -> CommonSettings<'_>;

    /// How it is taken up again after a loss.
    fn resume(&self) -> Option<&ResumeSettings> {
        None
    }

    /// Compiles the rules, with the monitors' pointers in the first slots.
    fn compile(&self, plan: PointerList) -> Result<Self::Rules, Fault>;

    /// A new link's conversation.
    fn session(declaration: &Arc<Declaration<Self>>, topics: &Arc<[Topic]>, plan: &ReadingPlan) -> Box<dyn Session>;
}

/// What all sessions of a dialect share.
#[derive(Debug)]
pub(crate) struct Declaration<N: Nature> {
    pub(crate) settings: N,
    pub(crate) ping: Option<Arc<Ping>>,
    pub(crate) resumption: Option<Resumption>,
    forms: Arc<[TopicForm]>,
    rules: Last<ReadingPlan, N::Rules>,
    table: Last<Arc<[Topic]>, TopicTable>,
}

impl<N: Nature> Declaration<N> {
    /// The rules for a plan.
    pub(crate) fn rules(&self, plan: &ReadingPlan) -> Arc<N::Rules> {
        self.rules.of(plan, PartialEq::eq, || {
            let pointers = PointerList::of_plan(&plan.pointers)
                .expect("a plan's pointers were parsed when its monitors were read");
            self.settings.compile(pointers).expect("the rules were compiled once before")
        })
    }

    /// All topics, worded.
    pub(crate) fn table(&self, topics: &Arc<[Topic]>) -> Arc<TopicTable> {
        self.table.of(topics, Arc::ptr_eq, || TopicTable::new(topics, Arc::clone(&self.forms)))
    }
}

/// A dialect as its settings declare it.
#[derive(Debug)]
pub(crate) struct DeclaredDialect<N: Nature> {
    declaration: Arc<Declaration<N>>,
}

impl<N: Nature> DeclaredDialect<N> {
    /// Reads and checks a declaration.
    pub(crate) fn from_table(table: toml::Table) -> Result<Self, Fault> {
        let settings: N = read_table(table)?;
        let common = settings.common();
        common.limits.check()?;
        let forms = compile_forms(common.topics)?;
        let ping = common.ping.map(Ping::compile).transpose()?.map(Arc::new);
        // Compiled again for each session, with the monitors' pointers in front; here for its mistakes.
        settings.compile(PointerList::default())?;
        let resumption = settings.resume().map(Resumption::compile).transpose()?;
        if resumption.as_ref().is_some_and(|resumption| resumption.query().is_none())
            && !forms.iter().any(TopicForm::resumes)
        {
            let reason =
                "names neither a `query` nor, in `[[topics]]`, a `subscribe_from`: the upstream would not be told";
            return Err(Fault::new("resume", reason));
        }
        let (rules, table) = (Last::default(), Last::default());
        Ok(Self { declaration: Arc::new(Declaration { settings, ping, resumption, forms, rules, table }) })
    }
}

impl<N: Nature> Dialect for DeclaredDialect<N> {
    fn limits(&self) -> Limits {
        self.declaration.settings.common().limits.limits()
    }

    fn handshake_headers(&self) -> Vec<(String, String)> {
        header_list(self.declaration.settings.common().headers)
    }

    fn keep_alive_interval(&self) -> Option<Duration> {
        self.declaration.ping.as_ref().map(|ping| ping.interval)
    }

    fn default_event_rules(&self) -> &[EventRuleSettings] {
        self.declaration.settings.common().event
    }

    fn resumption(&self) -> Option<&Resumption> {
        self.declaration.resumption.as_ref()
    }

    fn credentials_named(&self) -> BTreeSet<String> {
        self.declaration.forms.iter().flat_map(TopicForm::credentials_named).collect()
    }

    fn check_topic(&self, topic: &str) -> Result<(), String> {
        topic_book::check_topic(&self.declaration.forms, topic)
    }

    fn session(&self, topics: &Arc<[Topic]>, plan: &ReadingPlan) -> Box<dyn Session> {
        N::session(&self.declaration, topics, plan)
    }
}
