//! The `nostr` dialect: relays of NIP-01.
//!
//! A topic is what a subscription filters by ([`filter`]). Each has a subscription of its own, whose id is ours. The relay sends
//! what it has stored, says that this was all (`EOSE`, which is taken for the acknowledgement), and then what comes live.
//! After a loss a subscription begins `since` the newest event seen, less an overlap, since events may come late and say
//! themselves when they were made; what comes twice is told by its id.
//!
//! Sources: NIP-01 (messages), NIP-42 (`AUTH`), NIP-11 (limits).

mod filter;
mod session;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;

use self::session::NostrSession;
use super::declared::{LimitSettings, header_list, read_table};
use super::error::Fault;
use super::resume::{ResumeScope, ResumeSettings, ResumeUnit};
use super::{Dialect, Limits, ReadingPlan, Resumption, Session, Topic};
use crate::config::{EventRuleSettings, units};

/// Where an event says when it was made, in seconds since 1970.
const CREATED_AT: &str = "/2/created_at";

/// A declaration of the dialect.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NostrSettings {
    /// What the declaration is for, for people.
    pub about: Option<String>,
    /// What the relay allows.
    pub limits: LimitSettings,
    /// Headers that the handshake must carry.
    pub headers: BTreeMap<String, String>,
    /// How far behind the newest event seen a subscription is taken up again; absent: it begins anew.
    #[serde(with = "units::optional_duration")]
    pub overlap: Option<Duration>,
    /// Event rules for monitors that declare none.
    #[serde(deserialize_with = "units::one_or_many")]
    pub event: Vec<EventRuleSettings>,
}

/// A relay.
#[derive(Debug)]
pub struct NostrDialect {
    settings: NostrSettings,
    resumption: Option<Resumption>,
}

impl NostrDialect {
    /// Reads and checks a declaration.
    pub(crate) fn from_table(table: toml::Table) -> Result<Self, Fault> {
        let settings: NostrSettings = read_table(table)?;
        settings.limits.check()?;
        let resumption = settings.overlap.map(|overlap| {
            Resumption::compile(&ResumeSettings {
                token: CREATED_AT.to_owned(),
                unit: ResumeUnit::S,
                overlap: Some(overlap),
                overlap_count: None,
                scope: ResumeScope::Link,
                query: None,
            })
        });
        Ok(Self { settings, resumption: resumption.transpose()? })
    }
}

impl Dialect for NostrDialect {
    fn limits(&self) -> Limits {
        self.settings.limits.limits()
    }

    fn handshake_headers(&self) -> Vec<(String, String)> {
        header_list(&self.settings.headers)
    }

    fn default_event_rules(&self) -> &[EventRuleSettings] {
        &self.settings.event
    }

    fn resumption(&self) -> Option<&Resumption> {
        self.resumption.as_ref()
    }

    fn check_topic(&self, topic: &str) -> Result<(), String> {
        filter::read(topic).map(drop)
    }

    fn session(&self, topics: &Arc<[Topic]>, plan: &ReadingPlan) -> Box<dyn Session> {
        Box::new(NostrSession::new(self.resumption.is_some(), topics, plan))
    }
}
