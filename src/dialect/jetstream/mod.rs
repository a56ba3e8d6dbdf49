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

use std::sync::Arc;

use self::session::{JetstreamSession, Slots};
use self::topic::Wanted;
use super::addressed::AddressedSettings;
use super::declared::header_list;
use super::error::Fault;
use super::scanned::PointerList;
use super::{Dialect, Limits, Opening, ReadingPlan, Resumption, Session, Topic};
use crate::config::EventRuleSettings;

/// A Jetstream server.
#[derive(Debug)]
pub struct JetstreamDialect {
    settings: Arc<AddressedSettings>,
    resumption: Option<Resumption>,
}

impl JetstreamDialect {
    /// Reads and checks a declaration.
    pub(crate) fn from_table(table: toml::Table) -> Result<Self, Fault> {
        let (settings, resumption) = AddressedSettings::read(table)?;
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
        header_list(&self.settings.headers)
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
