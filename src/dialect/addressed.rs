//! What is declared of dialects whose upstream is told by its address what to send, and from where.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::Resumption;
use super::declared::{LimitSettings, read_table};
use super::error::Fault;
use super::resume::ResumeSettings;
use crate::config::{EventRuleSettings, units};

/// A declaration of such a dialect.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct AddressedSettings {
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

impl AddressedSettings {
    /// Reads and checks a declaration.
    pub(crate) fn read(table: toml::Table) -> Result<(Self, Option<Resumption>), Fault> {
        let settings: Self = read_table(table)?;
        settings.limits.check()?;
        let resumption = settings.resume.as_ref().map(Resumption::compile).transpose()?;
        if resumption.as_ref().is_some_and(|resumption| resumption.query().is_none()) {
            return Err(Fault::new("resume", "names no `query`: the upstream is told by its address only"));
        }
        Ok((settings, resumption))
    }
}
