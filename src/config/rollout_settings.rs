//! `[rollout]` and `[guard]`: how the smart path is taken into use by steps, and what takes it back.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::units;
use crate::rollout::Fraction;

/// `[rollout]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RolloutSettings {
    /// What `sluice canary plan start` does, one after the other.
    pub stages: Vec<StageSettings>,
}

impl RolloutSettings {
    /// The most stages of a plan. Source: a guess; a plan is read by a person.
    pub const STAGES_MAX: usize = 100;
}

/// One stage of a plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StageSettings {
    /// The share of monitors on the smart path.
    pub fraction: Fraction,
    /// How long all must have been well before the next stage; of the last one absent: it has no end.
    #[serde(rename = "for", default, with = "units::optional_duration", skip_serializing_if = "Option::is_none")]
    pub lasts: Option<Duration>,
}

/// `[guard]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GuardSettings {
    /// Whether monitors are taken back from the smart path by themselves.
    pub enabled: bool,
    /// The least share of messages that can be read; 0: is not looked at.
    pub parse_rate: f64,
    /// The most connections lost in an hour beyond what the other side loses.
    pub connection_failures: u32,
    /// The most memory, as a share of the control group's limit or else of the host's memory; 1: is not looked at.
    pub memory: f64,
    /// By how much errors may be more than on the other side: 0.5 is half as many again.
    pub errors: f64,
    /// The span that both sides are compared over.
    #[serde(with = "units::duration")]
    pub window: Duration,
    /// Messages that a side must have got within the window to be judged.
    pub min_samples: u64,
    /// How long nothing is put on the smart path after it was taken back.
    #[serde(with = "units::duration")]
    pub cooldown: Duration,
}

impl Default for RolloutSettings {
    fn default() -> Self {
        let stage = |share, hours: Option<u64>| StageSettings {
            fraction: Fraction::new(share).unwrap_or(Fraction::NONE),
            lasts: hours.map(Duration::from_hours),
        };
        Self { stages: vec![stage(0.25, Some(12)), stage(0.5, Some(8)), stage(0.75, Some(4)), stage(1.0, None)] }
    }
}

impl Default for GuardSettings {
    fn default() -> Self {
        Self {
            enabled: true,
            parse_rate: 0.9,
            connection_failures: 3,
            memory: 0.8,
            errors: 0.5,
            window: Duration::from_mins(5),
            min_samples: 200,
            cooldown: Duration::from_hours(1),
        }
    }
}
