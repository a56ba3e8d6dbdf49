//! `[monitors.NAME]`: a named watcher of a domain.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::backfill_settings::{BackfillSettings, PollSettings};
use super::counter_settings::CounterSettings;
use super::enrich_settings::EnrichSettings;
use super::event_rule_settings::EventRuleSettings;
use super::sink_settings::FieldSettings;
use super::units;
use crate::journal::Path;

/// `[monitors.NAME]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MonitorSettings {
    /// The family the monitor belongs to.
    pub domain: String,
    /// Name under `[upstreams]`. Of several each brings the same topics, and what comes first counts.
    #[serde(deserialize_with = "units::one_or_many", serialize_with = "units::one_as_itself")]
    pub upstream: Vec<String>,
    /// Who is subscribed first and who stays when slots are short.
    #[serde(default)]
    pub priority: Priority,
    /// The path that it is on whatever the fraction is; absent: the fraction decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<Path>,
    /// What to subscribe to, in the upstream's own words.
    pub topics: Vec<String>,
    /// How an event is read out of a message; absent: the dialect's own rules, if it has any.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "units::one_or_many")]
    pub event: Vec<EventRuleSettings>,
    /// Fields of the payload that stores with columns give one of its own, by the column's name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub fields: BTreeMap<String, FieldSettings>,
    /// What of the events is counted as business, by the counter's name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub counters: BTreeMap<String, CounterSettings>,
    /// What is looked up and added beside the payload, by the look-up's name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub enrich: BTreeMap<String, EnrichSettings>,
    /// Over what an id is unique.
    #[serde(default)]
    pub dedupe: DedupeScope,
    /// What happens to an id that returns with another payload.
    #[serde(default)]
    pub on_conflict: OnConflict,
    /// How topics change links where events have no ids.
    #[serde(default)]
    pub handover: Handover,
    /// How spans that were not seen are fetched; absent: they are not. Of several the first that is for a topic counts.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "units::one_or_many")]
    pub backfill: Vec<BackfillSettings>,
    /// What is fetched at an interval while the upstream cannot be connected to; absent: nothing is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub poll: Option<PollSettings>,
}

impl MonitorSettings {
    /// The most upstreams of a monitor: so many can be told apart in the dedupe window.
    pub const UPSTREAMS_MAX: usize = 15;

    /// Whether an upstream is one of its own.
    pub fn watches(&self, upstream: &str) -> bool {
        self.upstream.iter().any(|name| name == upstream)
    }

    /// Whether several upstreams bring the same.
    pub fn is_redundant(&self) -> bool {
        self.upstream.len() > 1
    }
}

/// Decides who is subscribed first; never the journal's order, never what is taken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    /// First.
    High,
    /// After high.
    #[default]
    Medium,
    /// Last.
    Low,
}

/// Over what an id is unique.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DedupeScope {
    /// Over all topics of the monitor.
    #[default]
    Monitor,
    /// Over one topic.
    Topic,
}

/// What happens to an id that returns with another payload.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnConflict {
    /// Dropped, counted and logged.
    #[default]
    Drop,
    /// Kept, marked `conflict`, counted and logged.
    Keep,
}

/// How a topic changes links where its events have no ids, so that what comes twice cannot be told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Handover {
    /// It ends on the old link and then begins on the new one; the span between is recorded.
    #[default]
    Gap,
    /// It begins on the new link and then ends on the old one; events of the overlap are marked `handover`.
    Overlap,
}
