//! What was decided about the share of monitors on the smart path: what is in force, and how it is put on record.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Fraction;
use super::plan::PlanRecord;

/// Who decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decider {
    /// A person.
    Operator,
    /// The plan, which a person started.
    Plan,
    /// The guard.
    Guard,
}

impl Decider {
    /// For people and programs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::Plan => "plan",
            Self::Guard => "guard",
        }
    }
}

/// A fraction that was decided at run time. It wins over the settings' own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    /// The share of monitors on the smart path.
    pub fraction: Fraction,
    /// Who decided.
    pub by: Decider,
    /// Why, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When, RFC 3339.
    pub time: String,
}

/// Monitors are being taken back by the guard.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RollBack {
    /// The fraction that was in force.
    pub from: Fraction,
    /// The one that they go back to.
    pub to: Fraction,
    /// What was worse: `parse_rate`, `connection_failures`, `memory`, `errors`.
    pub reason: String,
    /// When it was decided, RFC 3339.
    pub since: String,
    /// How long it takes at least, at the pace that upstreams allow.
    pub expected_seconds: f64,
}

/// All that is remembered of a roll-out, as the journal's settings, its snapshots and checkpoints hold it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RolloutRecord {
    /// What is in force; none: the settings' own fraction is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<Decision>,
    /// The plan that was started last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<PlanRecord>,
    /// Fractions that were in force and well for a window of the guard's, the smallest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub good: Vec<Fraction>,
    /// The guard lets nothing be put on the smart path until then, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cooling_until: Option<String>,
    /// What the guard takes back now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub roll_back: Option<RollBack>,
}

impl RolloutRecord {
    /// The most fractions that are remembered to have been good. Source: a guess; a plan has four stages.
    pub const GOOD_MAX: usize = 32;

    /// Whether there is nothing to remember.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// A fraction was well for a window.
    pub fn note_good(&mut self, fraction: Fraction) {
        if fraction == Fraction::NONE || self.good.contains(&fraction) {
            return;
        }
        if self.good.len() >= Self::GOOD_MAX {
            self.good.remove(0);
        }
        self.good.push(fraction);
        self.good.sort_by(|one, other| one.get().total_cmp(&other.get()));
    }

    /// Where to go back to from a fraction that is not well: the greatest smaller one that was, else nobody is left on the smart
    /// path. What is as great or greater is no longer known to be good.
    pub fn back_from(&mut self, fraction: Fraction) -> Fraction {
        self.good.retain(|good| *good < fraction);
        self.good.last().copied().unwrap_or(Fraction::NONE)
    }
}

/// What happened, as a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// An operator set a fraction.
    Set,
    /// An operator took back what was decided at run time.
    Cleared,
    /// A plan was started.
    PlanStarted,
    /// A stage of it began.
    Stage,
    /// The plan was paused.
    PlanPaused,
    /// It goes on.
    PlanResumed,
    /// It was given up.
    PlanAborted,
    /// Its last stage is complete.
    PlanCompleted,
    /// The guard takes monitors back.
    RolledBack,
    /// All that the guard took back are where they are to be.
    RollBackCompleted,
}

impl What {
    /// For people and programs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Set => "set",
            Self::Cleared => "cleared",
            Self::PlanStarted => "plan_started",
            Self::Stage => "stage",
            Self::PlanPaused => "plan_paused",
            Self::PlanResumed => "plan_resumed",
            Self::PlanAborted => "plan_aborted",
            Self::PlanCompleted => "plan_completed",
            Self::RolledBack => "rolled_back",
            Self::RollBackCompleted => "roll_back_completed",
        }
    }
}

/// An event of the monitor `canary` of `_sluice`. Every decision is one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CanaryEvent {
    /// What happened.
    pub what: What,
    /// The fraction that was in force.
    pub from: Fraction,
    /// The one that is.
    pub to: Fraction,
    /// Who decided.
    pub by: Decider,
    /// Why, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Figures that it was decided by, or that came of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Value>,
    /// Events below this were durable when it was decided: those behind it may be of the new choice.
    pub durable_offset: u64,
    /// When, RFC 3339.
    pub time: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fraction(share: f64) -> Fraction {
        Fraction::new(share).unwrap()
    }

    #[test]
    fn the_way_back_is_the_greatest_smaller_fraction_that_was_well_else_nobody() {
        let mut record = RolloutRecord::default();
        for share in [0.5, 0.25, 0.5, 0.75, 0.0] {
            record.note_good(fraction(share));
        }
        assert_eq!(record.good, [fraction(0.25), fraction(0.5), fraction(0.75)]);
        assert_eq!(record.back_from(fraction(0.75)), fraction(0.5));
        assert_eq!(record.good, [fraction(0.25), fraction(0.5)], "what went bad was not good");
        assert_eq!(record.back_from(fraction(0.5)), fraction(0.25));
        assert_eq!(record.back_from(fraction(0.25)), Fraction::NONE);
        assert_eq!(record.back_from(fraction(1.0)), Fraction::NONE);
    }

    #[test]
    fn what_is_remembered_of_good_fractions_is_bounded() {
        let mut record = RolloutRecord::default();
        for step in 1..=100_u32 {
            record.note_good(fraction(f64::from(step) / 100.0));
        }
        assert_eq!(record.good.len(), RolloutRecord::GOOD_MAX);
        assert_eq!(record.good.last(), Some(&Fraction::ALL));
    }

    #[test]
    fn a_record_of_nothing_is_empty_and_one_of_a_later_release_is_read() {
        let read: RolloutRecord = serde_json::from_str("{\"later\": 1}").unwrap();
        assert!(read.is_empty());
        assert_eq!(serde_json::to_string(&read).unwrap(), "{}");
    }
}
