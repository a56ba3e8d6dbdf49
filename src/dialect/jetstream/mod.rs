//! The `jetstream` dialect: Bluesky's Jetstream, version 1, the AT protocol's events as JSON.
//!
//! The address says what is wanted (`wantedCollections`, `wantedDids`) and from where on (`cursor`, microseconds); a link whose
//! topics change says so by `options_update`. Nothing is acknowledged: an address that is not understood is refused by the
//! handshake. What a link asks for may be more than its topics are (both filters apply at once), so that each message is
//! matched with the topics again ([`topic`]); what is left over is control, as are the messages of kinds `identity` and
//! `account` that come whatever is asked for.
//!
//! Source: the server's README.

mod session;
#[cfg(test)]
mod tests;
mod topic;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;

use self::session::{JetstreamSession, Slots};
use self::topic::Wanted;
use super::declared::{LimitSettings, read_table};
use super::error::Fault;
use super::resume::ResumeSettings;
use super::scanned::PointerList;
use super::{Dialect, Limits, Opening, ReadingPlan, Resumption, Session, Topic};
use crate::config::{EventRuleSettings, units};

/// A declaration of the dialect.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct JetstreamSettings {
    /// What the declaration is for, for people.
    pub about: Option<String>,
    /// What the upstream allows.
    pub limits: LimitSettings,
    /// Headers that the handshake must carry.
    pub headers: BTreeMap<String, String>,
    /// How it is taken up again after a loss; absent: it cannot be.
    pub resume: Option<ResumeSettings>,
    /// Event rules for monitors that declare none.
    #[serde(deserialize_with = "units::one_or_many")]
    pub event: Vec<EventRuleSettings>,
}

/// A Jetstream server.
#[derive(Debug)]
pub struct JetstreamDialect {
    settings: Arc<JetstreamSettings>,
    resumption: Option<Resumption>,
}

impl JetstreamDialect {
    /// Reads and checks a declaration.
    pub(crate) fn from_table(table: toml::Table) -> Result<Self, Fault> {
        let settings: JetstreamSettings = read_table(table)?;
        settings.limits.check()?;
        let resumption = settings.resume.as_ref().map(Resumption::compile).transpose()?;
        if resumption.as_ref().is_some_and(|resumption| resumption.query().is_none()) {
            return Err(Fault::new("resume", "names no `query`: the upstream is told by its address only"));
        }
        // Compiled again for each session, with the monitors' pointers in front; here for its mistakes.
        Slots::compile(settings.resume.as_ref(), PointerList::default())?;
        Ok(Self { settings: Arc::new(settings), resumption })
    }
}

impl Dialect for JetstreamDialect {
    fn limits(&self) -> Limits {
        self.settings.limits.limits()
    }

    fn handshake_headers(&self) -> Vec<(String, String)> {
        self.settings.headers.iter().map(|(name, value)| (name.clone(), value.clone())).collect()
    }

    fn asks_by_opening(&self) -> bool {
        true
    }

    fn opening(&self, topics: &[&str], point: Option<&str>) -> Opening {
        let mut opening = Opening::resuming(self.resumption(), point);
        let Wanted { collections, accounts } = Wanted::of(topics.iter().copied());
        let collections = collections.into_iter().map(|name| ("wantedCollections".to_owned(), name));
        let accounts = accounts.into_iter().map(|name| ("wantedDids".to_owned(), name));
        opening.query.extend(collections.chain(accounts));
        opening
    }

    fn keep_alive_interval(&self) -> Option<Duration> {
        None
    }

    fn default_event_rules(&self) -> &[EventRuleSettings] {
        &self.settings.event
    }

    fn resumption(&self) -> Option<&Resumption> {
        self.resumption.as_ref()
    }

    fn check_topic(&self, topic: &str) -> Result<(), String> {
        topic::read(topic).map(drop)
    }

    fn session(&self, topics: &Arc<[Topic]>, plan: &ReadingPlan) -> Box<dyn Session> {
        Box::new(JetstreamSession::new(&self.settings, self.resumption.clone(), topics, plan))
    }
}
