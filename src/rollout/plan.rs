//! A plan: stages that are entered one after the other while all is well. Pure; time comes in.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::Fraction;
use crate::config::StageSettings;

/// So often the guard may take monitors back before the plan waits for a person. Source: a guess; a fault that comes back three times
/// does not go away by waiting.
pub const ROLL_BACKS_MAX: u32 = 3;

/// How a plan stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PlanState {
    /// Its next stage is to be entered as soon as the guard lets it.
    Entering,
    /// A stage lasts.
    Running,
    /// It waits for an operator.
    Paused,
    /// It was given up.
    Aborted,
    /// All its stages are behind it.
    Completed,
}

impl PlanState {
    /// For people and programs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Entering => "entering",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Aborted => "aborted",
            Self::Completed => "completed",
        }
    }

    /// Whether it goes on, now or when it is resumed.
    pub fn is_under_way(self) -> bool {
        matches!(self, Self::Entering | Self::Running | Self::Paused)
    }
}

/// A plan as it is put on record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlanRecord {
    /// Its stages, as they were declared when it was started.
    pub stages: Vec<StageSettings>,
    /// The one that lasts or is to be entered, from 0.
    pub stage: usize,
    /// How it stands.
    pub state: PlanState,
    /// How long all has been well in this stage.
    #[serde(with = "crate::config::units::duration")]
    pub well: Duration,
    /// How often the guard took monitors back.
    #[serde(default)]
    pub roll_backs: u32,
    /// The fraction that was in force before it; none: the settings' own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Fraction>,
    /// When it was started, RFC 3339.
    pub started: String,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The stage is to be entered.
    Enter(usize),
    /// The last stage has lasted.
    Complete,
}

/// What a plan is told each time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conditions {
    /// Whether all is well, and every monitor is where it is to be.
    pub well: bool,
    /// Whether the guard lets nothing be put on the smart path.
    pub cooling: bool,
}

/// A plan as it goes on.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    record: PlanRecord,
    /// All was well at that look; not on record, so time when nobody looked does not count.
    well_at: Option<Instant>,
}

impl Plan {
    /// One that begins at its first stage above `from`, or as much as it.
    ///
    /// # Errors
    /// When there is no such stage.
    pub fn start(
        stages: &[StageSettings],
        from: Fraction,
        before: Option<Fraction>,
        now: &str,
    ) -> Result<Self, NoStage> {
        let stage = stages.iter().position(|stage| stage.fraction >= from).ok_or(NoStage(from))?;
        if from == Fraction::ALL {
            return Err(NoStage(from));
        }
        let record = PlanRecord {
            stages: stages.to_vec(),
            stage,
            state: PlanState::Entering,
            well: Duration::ZERO,
            roll_backs: 0,
            before,
            started: now.to_owned(),
        };
        Ok(Self::of(record))
    }

    /// One that was on record.
    pub fn of(record: PlanRecord) -> Self {
        Self { record, well_at: None }
    }

    /// As it is put on record.
    pub fn record(&self) -> &PlanRecord {
        &self.record
    }

    /// The stage that lasts or is to be entered.
    pub fn stage(&self) -> Option<&StageSettings> {
        self.record.stages.get(self.record.stage)
    }

    /// How long all must be well from now on before the next stage; none where it has no end or none lasts.
    pub fn left(&self) -> Option<Duration> {
        if self.record.state != PlanState::Running && self.record.state != PlanState::Paused {
            return None;
        }
        Some(self.stage()?.lasts?.saturating_sub(self.record.well))
    }

    /// Takes a look. What it says is to be done is said again until [`Plan::done`]: it may fail.
    pub fn look(&mut self, now: Instant, conditions: Conditions) -> Option<Step> {
        match self.record.state {
            PlanState::Entering => (!conditions.cooling).then_some(Step::Enter(self.record.stage)),
            PlanState::Running => {
                let before = self.well_at.take();
                if conditions.well {
                    // Counted between two looks that both found it so.
                    let since = before.map_or(Duration::ZERO, |before| now.saturating_duration_since(before));
                    self.record.well += since;
                    self.well_at = Some(now);
                }
                let last = self.record.stage + 1 >= self.record.stages.len();
                let over = match self.stage().and_then(|stage| stage.lasts) {
                    Some(lasts) => conditions.well && self.record.well >= lasts,
                    // Without an end it is complete when it was well at all.
                    None => conditions.well && before.is_some(),
                };
                match (over, last) {
                    (false, _) => None,
                    (true, true) => Some(Step::Complete),
                    (true, false) => (!conditions.cooling).then_some(Step::Enter(self.record.stage + 1)),
                }
            }
            PlanState::Paused | PlanState::Aborted | PlanState::Completed => None,
        }
    }

    /// A step was carried out.
    pub fn done(&mut self, step: Step) {
        self.well_at = None;
        match step {
            Step::Enter(stage) => {
                (self.record.stage, self.record.state, self.record.well) = (stage, PlanState::Running, Duration::ZERO);
            }
            Step::Complete => self.record.state = PlanState::Completed,
        }
    }

    /// Waits for a person. False where it does not go on anyway.
    pub fn pause(&mut self) -> bool {
        let goes_on = matches!(self.record.state, PlanState::Entering | PlanState::Running);
        if goes_on {
            self.record.state = PlanState::Paused;
            self.well_at = None;
        }
        goes_on
    }

    /// Goes on. `in_force`: the fraction that is; where it is not the stage's, the stage begins anew. False where it was not paused.
    pub fn resume(&mut self, in_force: Fraction) -> bool {
        if self.record.state != PlanState::Paused {
            return false;
        }
        let here = self.stage().is_some_and(|stage| stage.fraction == in_force);
        if here {
            self.record.state = PlanState::Running;
        } else {
            (self.record.state, self.record.well) = (PlanState::Entering, Duration::ZERO);
        }
        self.record.roll_backs = 0;
        true
    }

    /// Is given up. False where that is so already, or it is complete.
    pub fn abort(&mut self) -> bool {
        let under_way = self.record.state.is_under_way();
        if under_way {
            self.record.state = PlanState::Aborted;
            self.well_at = None;
        }
        under_way
    }

    /// The guard has taken monitors back to a fraction. The first stage above it is entered again when the guard lets it; after
    /// [`ROLL_BACKS_MAX`] times a person is waited for.
    pub fn rolled_back(&mut self, to: Fraction) {
        if !self.record.state.is_under_way() {
            return;
        }
        self.well_at = None;
        self.record.roll_backs += 1;
        self.record.well = Duration::ZERO;
        let again = self.record.stages.iter().position(|stage| stage.fraction > to);
        self.record.stage = again.unwrap_or(self.record.stage).min(self.record.stage);
        if self.record.state != PlanState::Paused {
            let tired = self.record.roll_backs >= ROLL_BACKS_MAX;
            self.record.state = if tired { PlanState::Paused } else { PlanState::Entering };
        }
    }
}

/// Why a plan is not started.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[error(
    "{0} of the monitors are on the smart path already, and the plan has no stage above; to begin anew, take them back first: `sluice canary set 0`"
)]
pub struct NoStage(Fraction);

#[cfg(test)]
mod tests {
    use super::*;

    const WELL: Conditions = Conditions { well: true, cooling: false };
    const BAD: Conditions = Conditions { well: false, cooling: false };
    const COOLING: Conditions = Conditions { well: true, cooling: true };

    fn fraction(share: f64) -> Fraction {
        Fraction::new(share).unwrap()
    }

    fn stages() -> Vec<StageSettings> {
        let stage = |share, seconds: Option<u64>| StageSettings {
            fraction: fraction(share),
            lasts: seconds.map(Duration::from_secs),
        };
        vec![stage(0.25, Some(10)), stage(0.5, Some(5)), stage(1.0, None)]
    }

    fn started() -> Plan {
        Plan::start(&stages(), Fraction::NONE, None, "t").unwrap()
    }

    /// A look each second; the first step that is said, and at which look.
    fn run(plan: &mut Plan, begin: Instant, looks: &[Conditions]) -> Option<(usize, Step)> {
        let at = |second: usize| begin + Duration::from_secs(second as u64);
        looks.iter().enumerate().find_map(|(second, look)| Some((second, plan.look(at(second), *look)?)))
    }

    #[test]
    fn a_plan_enters_one_stage_after_the_other_and_is_complete_behind_the_last() {
        let (mut plan, begin) = (started(), Instant::now());
        assert_eq!(plan.look(begin, WELL), Some(Step::Enter(0)));
        assert_eq!(plan.look(begin, WELL), Some(Step::Enter(0)), "until it is done");
        plan.done(Step::Enter(0));
        assert_eq!(run(&mut plan, begin, &[WELL; 30]), Some((10, Step::Enter(1))));
        plan.done(Step::Enter(1));
        assert_eq!(plan.left(), Some(Duration::from_secs(5)));
        assert_eq!(run(&mut plan, begin, &[WELL; 30]), Some((5, Step::Enter(2))));
        plan.done(Step::Enter(2));
        assert_eq!(plan.left(), None, "the last has no end");
        assert_eq!(run(&mut plan, begin, &[WELL; 30]), Some((1, Step::Complete)));
        plan.done(Step::Complete);
        assert_eq!(run(&mut plan, begin, &[WELL; 30]), None);
        assert_eq!(plan.record().state, PlanState::Completed);
    }

    #[test]
    fn a_span_that_is_not_well_does_not_count() {
        let (mut plan, begin) = (started(), Instant::now());
        plan.done(Step::Enter(0));
        let looks = [[WELL; 6].as_slice(), &[BAD; 100], &[WELL; 6]].concat();
        // Five seconds before, five behind: the eleventh well look.
        assert_eq!(run(&mut plan, begin, &looks), Some((111, Step::Enter(1))));
        let mut plan = started();
        plan.done(Step::Enter(0));
        assert_eq!(run(&mut plan, begin, &[BAD; 1000]), None);
        assert_eq!(plan.record().well, Duration::ZERO);
    }

    #[test]
    fn a_plan_goes_on_where_it_was_after_a_restart_and_the_time_between_does_not_count() {
        let (mut plan, begin) = (started(), Instant::now());
        plan.done(Step::Enter(0));
        assert_eq!(run(&mut plan, begin, &[WELL; 8]), None);
        let text = serde_json::to_string(plan.record()).unwrap();
        let mut again = Plan::of(serde_json::from_str(&text).unwrap());
        assert_eq!(again.record(), plan.record());
        assert_eq!(again.left(), Some(Duration::from_secs(3)));
        let later = begin + Duration::from_hours(24);
        assert_eq!(run(&mut again, later, &[WELL; 30]), Some((3, Step::Enter(1))));
    }

    #[test]
    fn a_plan_that_is_paused_stands_still_and_goes_on_where_it_was() {
        let (mut plan, begin) = (started(), Instant::now());
        plan.done(Step::Enter(0));
        run(&mut plan, begin, &[WELL; 5]);
        assert!(plan.pause());
        assert!(!plan.pause(), "it is");
        assert_eq!(run(&mut plan, begin, &[WELL; 1000]), None);
        assert!(plan.resume(fraction(0.25)));
        assert_eq!(run(&mut plan, begin + Duration::from_hours(1), &[WELL; 30]), Some((6, Step::Enter(1))));
        assert!(!plan.resume(fraction(0.25)), "it is not paused");
    }

    #[test]
    fn a_stage_begins_anew_where_another_fraction_was_set_meanwhile() {
        let (mut plan, begin) = (started(), Instant::now());
        plan.done(Step::Enter(1));
        run(&mut plan, begin, &[WELL; 4]);
        plan.pause();
        assert!(plan.resume(fraction(0.1)));
        assert_eq!(plan.look(begin, WELL), Some(Step::Enter(1)));
        plan.done(Step::Enter(1));
        assert_eq!(run(&mut plan, begin, &[WELL; 30]), Some((5, Step::Enter(2))));
    }

    #[test]
    fn a_plan_that_is_given_up_does_nothing_more() {
        let (mut plan, begin) = (started(), Instant::now());
        assert!(plan.abort());
        assert!(!plan.abort());
        assert!(!plan.resume(Fraction::NONE) && !plan.pause());
        assert_eq!(run(&mut plan, begin, &[WELL; 100]), None);
    }

    #[test]
    fn behind_a_roll_back_the_stage_is_tried_again_when_the_guard_lets_it() {
        let (mut plan, begin) = (started(), Instant::now());
        plan.done(Step::Enter(1));
        plan.rolled_back(fraction(0.25));
        assert_eq!(run(&mut plan, begin, &[COOLING; 1000]), None);
        assert_eq!(plan.look(begin, WELL), Some(Step::Enter(1)));
        plan.done(Step::Enter(1));
        plan.rolled_back(Fraction::NONE);
        assert_eq!(plan.look(begin, WELL), Some(Step::Enter(0)), "from the first stage that is lost");
        plan.done(Step::Enter(0));
        plan.rolled_back(Fraction::NONE);
        assert_eq!(plan.record().state, PlanState::Paused, "the third time a person is waited for");
        assert_eq!(run(&mut plan, begin, &[WELL; 1000]), None);
        assert!(plan.resume(Fraction::NONE));
        assert_eq!(plan.look(begin, WELL), Some(Step::Enter(0)));
    }

    #[test]
    fn no_stage_is_entered_while_the_guard_cools() {
        let (mut plan, begin) = (started(), Instant::now());
        plan.done(Step::Enter(0));
        assert_eq!(run(&mut plan, begin, &[COOLING; 30]), None);
        assert_eq!(
            plan.look(begin + Duration::from_secs(31), WELL),
            Some(Step::Enter(1)),
            "the time counted all the same"
        );
    }

    #[test]
    fn a_plan_begins_behind_what_is_on_the_smart_path_already() {
        let at = |share| Plan::start(&stages(), fraction(share), None, "t").map(|plan| plan.record().stage);
        assert_eq!((at(0.0), at(0.25), at(0.3), at(0.6)), (Ok(0), Ok(0), Ok(1), Ok(2)));
        let refused = at(1.0).unwrap_err().to_string();
        assert!(refused.contains("100 %") && refused.contains("canary set 0"), "{refused}");
        let short = &stages()[..1];
        assert!(Plan::start(short, fraction(0.5), None, "t").is_err());
    }
}
