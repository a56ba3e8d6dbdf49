//! The `atproto` dialect: event streams of the AT protocol, whose frames are two CBOR objects, a header and a body.
//!
//! What is journaled is the frame, to the byte. Pointers look into a JSON text that is made of it,
//! `{"header":{"op":1,"t":"#commit"},"body":{"seq":1,…}}`, in the protocol's own data model: bytes as
//! `{"$bytes":"…"}`, links as `{"$link":"…"}`. An event rule with `payload = ""` has that text journaled instead.
//!
//! A topic is a kind of message, `#commit`, or `*` for all. Nothing is asked for: the address says which stream it is, and
//! by `cursor` from where on. Source: the protocol's specification of event streams.

mod cbor;
mod session;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use self::session::{AtprotoSession, Slots};
use super::addressed::AddressedSettings;
use super::declared::header_list;
use super::error::Fault;
use super::scanned::PointerList;
use super::{Dialect, Limits, ReadingPlan, Resumption, Session, Topic};
use crate::config::EventRuleSettings;

/// An event stream of the AT protocol.
#[derive(Debug)]
pub struct AtprotoDialect {
    settings: AddressedSettings,
    resumption: Option<Resumption>,
}

impl AtprotoDialect {
    /// Reads and checks a declaration.
    pub(crate) fn from_table(table: toml::Table) -> Result<Self, Fault> {
        let (settings, resumption) = AddressedSettings::read(table)?;
        // Compiled again for each session, with the monitors' pointers in front; here for its mistakes.
        Slots::compile(settings.resume.as_ref(), PointerList::default())?;
        Ok(Self { settings, resumption })
    }
}

impl Dialect for AtprotoDialect {
    fn limits(&self) -> Limits {
        self.settings.limits.limits()
    }

    fn handshake_headers(&self) -> Vec<(String, String)> {
        header_list(&self.settings.headers)
    }

    fn asks_by_opening(&self) -> bool {
        true
    }

    fn default_event_rules(&self) -> &[EventRuleSettings] {
        &self.settings.event
    }

    fn resumption(&self) -> Option<&Resumption> {
        self.resumption.as_ref()
    }

    fn check_topic(&self, topic: &str) -> Result<(), String> {
        let kind = topic.strip_prefix('#').filter(|kind| !kind.is_empty());
        let letters = kind.is_some_and(|kind| kind.chars().all(|letter| letter.is_ascii_alphanumeric()));
        if topic == "*" || letters {
            return Ok(());
        }
        Err(format!("topic `{topic}` is neither a kind of message, such as `#commit`, nor `*` for all of them"))
    }

    fn session(&self, topics: &Arc<[Topic]>, plan: &ReadingPlan) -> Box<dyn Session> {
        Box::new(AtprotoSession::new(self.settings.resume.clone(), self.resumption.clone(), topics, plan))
    }
}
