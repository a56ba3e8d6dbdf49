//! The look once a second: the guard is shown both paths, the plan is told how it finds them, and what they say is done beside the
//! thread that looks.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use super::status::seconds_since;
use super::{Canary, Running, Whereabouts, choose, cooling_until, in_force, way_back};
use crate::alert::book::Found;
use crate::alert::{AlertKind, Severity};
use crate::checkpoint::Cause;
use crate::clock::UnixNanos;
use crate::config::Settings;
use crate::daemon::alerts::Raised;
use crate::rollout::decision::{CanaryEvent, Decider, Decision, RollBack, RolloutRecord, What};
use crate::rollout::guard::{Check, Sight, Verdict};
use crate::rollout::plan::{Conditions, PlanState, Step};
use crate::rollout::way_back::WayBack;
use crate::rollout::{Fraction, choice};
use crate::server::ChangeRefusal;

/// What is done once, as it is listed.
const STAGE: &str = "canary_stage";

/// How far a stage has come is noted so often at most and at least.
const NOTE_MIN: Duration = Duration::from_secs(1);
const NOTE_MAX: Duration = Duration::from_mins(1);

/// And so many times in a stage between the two.
const NOTES_A_STAGE: u32 = 20;

/// A stage that could not begin is tried again after this.
const RETRY: Duration = Duration::from_secs(10);

/// What is to be done.
enum Work {
    /// Monitors are taken back.
    RollBack(Box<Verdict>),
    /// All of them are back.
    RollBackCompleted,
    /// The plan goes on.
    Step(Step),
    /// A fraction has been well for a window.
    NoteGood(Fraction),
    /// How far a stage has come.
    Note,
}

impl Canary {
    /// Takes a look. In a runtime.
    pub(in crate::daemon) fn look(self: &Arc<Self>, now: Instant) {
        let at = &self.whereabouts();
        let settings = self.live.settings();
        let record = self.live.rollout();
        let cooling = cooling_until(&record).is_some();
        let fraction = in_force(&record, &settings);
        let enabled = settings.guard.enabled && settings.fault_tolerance.enabled;
        let mut running = self.lock();
        let sight = Sight { figures: &at.figures, memory: self.memory(), fraction, settled: at.settled() };
        let finding = running.guard.look(now, &settings.guard, enabled, sight);
        let well = finding.state.lets_time_count() && at.settled() && !at.unhealthy && record.roll_back.is_none();
        let step = running.plan.as_mut().and_then(|plan| plan.look(now, Conditions { well, cooling }));
        if finding.good {
            running.good = Some(fraction);
        }
        let verdict = finding.verdict.clone();
        running.finding = Some(finding);
        self.measure(&running, fraction, at, cooling);
        if running.at_work.as_ref().is_some_and(|work| !work.is_finished()) {
            return;
        }
        if self.live.is_taken_over() {
            // The other process decides, by what it sees then.
            return;
        }
        let is_back = record.roll_back.is_some() && at.settled();
        // While monitors go back, what the smart path still brings says nothing new. With a fraction of 0 all that may be taken
        // back has been.
        let verdict = verdict.filter(|_| record.roll_back.is_none() && fraction > Fraction::NONE);
        let rests = running.failed.is_some_and(|failed| now.saturating_duration_since(failed) < RETRY);
        let Some(work) = next(&running, verdict, is_back, step.filter(|_| !rests)) else { return };
        let canary = Arc::clone(self);
        running.at_work = Some(tokio::task::spawn_blocking(move || canary.carry_out(work)));
    }

    fn measure(&self, running: &Running, fraction: Fraction, at: &Whereabouts, cooling: bool) {
        let under_way = running.plan.as_ref().filter(|plan| plan.record().state.is_under_way());
        let stage = under_way.map_or(0, |plan| plan.record().stage + 1);
        self.metrics.set(fraction.get(), stage, |path| at.on(path), at.crossings.len(), cooling);
    }

    /// Blocking. What fails is met again at the next look.
    fn carry_out(&self, work: Work) {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let settings = self.live.settings();
        let done = match work {
            Work::RollBack(verdict) => self.roll_back(&settings, &verdict),
            Work::RollBackCompleted => self.rolled_back(),
            Work::Step(Step::Enter(stage)) => self.enter(&settings, stage),
            Work::Step(Step::Complete) => self.complete(&settings),
            Work::NoteGood(fraction) => self.note_good(fraction),
            Work::Note => self.note(),
        };
        if let Err(error) = &done {
            tracing::warn!("not done, and tried again: {error}");
        }
        self.lock().failed = done.is_err().then(Instant::now);
    }

    /// The guard's decision, its evidence and its alert are on record before a monitor moves.
    fn roll_back(&self, settings: &Settings, verdict: &Verdict) -> Result<(), ChangeRefusal> {
        let mut record = self.live.rollout();
        let from = in_force(&record, settings);
        // An operator may have been quicker.
        if from == Fraction::NONE || record.roll_back.is_some() {
            return Ok(());
        }
        let now_paths = choose(&record, settings);
        let to = record.back_from(from);
        let time = UnixNanos::now();
        let until = time.saturating_add(settings.guard.cooldown);
        let reason = verdict.message();
        let way = WayBack::between(settings, &now_paths, &choice::choose(settings, Some(to.get())));
        record.decision =
            Some(Decision { fraction: to, by: Decider::Guard, reason: Some(reason.clone()), time: time.to_string() });
        record.cooling_until = Some(until.to_string());
        record.roll_back = Some(RollBack {
            from,
            to,
            reason: verdict.check.as_str().to_owned(),
            since: time.to_string(),
            expected_seconds: way.seconds,
        });
        let mut plan = self.lock().plan.clone();
        if let Some(plan) = &mut plan {
            plan.rolled_back(to);
        }
        record.plan = plan.as_ref().map(|plan| plan.record().clone());
        let evidence = json!({ "verdict": verdict, "way_back": way, "cooling_until": until.to_string() });
        let event = self.event(What::RolledBack, (from, to), Decider::Guard, Some(reason.clone()), Some(evidence));
        let event = CanaryEvent { time: time.to_string(), ..event };
        let (alert, alert_event) = self.raise(verdict, (from, to)).map(|raised| (raised.change, raised.event)).unzip();
        let told = [self.told(&event)].into_iter().chain(alert_event).collect();
        let began = Instant::now();
        let decided = self.live.decide(record, told);
        if let Some(alert) = alert {
            self.alerts.settle(alert, decided.is_ok());
        }
        let decided = decided.inspect_err(|error| {
            tracing::error!(%from, %to, "monitors could not be taken back from the smart path: {error}; {reason}");
        });
        decided?;
        self.metrics.rolled_back(verdict.check);
        tracing::error!(
            %from, %to, reason = verdict.check.as_str(), expected_seconds = way.seconds,
            "the guard takes monitors back from the smart path: {reason}; none is put there again before {until}"
        );
        for warning in way.warnings() {
            tracing::warn!("{warning}");
        }
        let mut running = self.lock();
        running.guard.begin_anew();
        (running.plan, running.noted, running.good) = (plan, Duration::ZERO, None);
        running.roll_back = Some(began);
        Ok(())
    }

    fn raise(&self, verdict: &Verdict, (from, to): (Fraction, Fraction)) -> Option<Raised> {
        let is_critical = verdict.check == Check::Memory || to == Fraction::NONE;
        let severity = if is_critical { Severity::Critical } else { Severity::Warning };
        let message =
            format!("monitors are taken back from the smart path, from {from} to {to}: {}", verdict.message());
        let subject = verdict.upstream.as_deref().unwrap_or("process");
        let found = Found { subject, value: verdict.value, message: &message };
        self.alerts.raise(AlertKind::CanaryRolledBack, severity, found, verdict.threshold)
    }

    fn rolled_back(&self) -> Result<(), ChangeRefusal> {
        let mut record = self.live.rollout();
        let Some(roll_back) = record.roll_back.take() else { return Ok(()) };
        let began = self.lock().roll_back;
        // After a restart only the host's clock knows.
        let took = began.map_or_else(|| seconds_since(&roll_back.since), |began| began.elapsed());
        let evidence = json!({
            "seconds": took.as_secs_f64(), "expected_seconds": roll_back.expected_seconds, "reason": roll_back.reason,
        });
        let event = self.event(
            What::RollBackCompleted,
            (roll_back.from, roll_back.to),
            Decider::Guard,
            Some(format!("all are back after {:.1} s", took.as_secs_f64())),
            Some(evidence),
        );
        self.live.note(record, vec![self.told(&event)])?;
        self.metrics.rollback_took(took);
        tracing::warn!(to = %roll_back.to, seconds = took.as_secs_f64(), "all monitors that the guard took back are back");
        let mut running = self.lock();
        running.guard.begin_anew();
        running.roll_back = None;
        Ok(())
    }

    /// A checkpoint first, then the decision, then monitors move.
    fn enter(&self, settings: &Settings, stage: usize) -> Result<(), ChangeRefusal> {
        let Some(mut plan) = self.lock().plan.clone() else { return Ok(()) };
        // An operator may have been quicker.
        let goes_on = matches!(plan.record().state, PlanState::Entering | PlanState::Running);
        let mut record = self.live.rollout();
        if !goes_on || stage > plan.record().stage + 1 || cooling_until(&record).is_some() {
            return Ok(());
        }
        let from = in_force(&record, settings);
        plan.done(Step::Enter(stage));
        let Some(entered) = plan.stage().cloned() else { return Ok(()) };
        let to = entered.fraction;
        let number = format!("{} of {}", stage + 1, plan.record().stages.len());
        self.works.operations.record(STAGE, &number, || {
            let written = self.works.keeper.write(Cause::Stage);
            let written = written.map_err(|error| {
                ChangeRefusal::new(503, format!("the stage does not begin without a checkpoint: {error}"))
            })?;
            let reason = format!("stage {number} of the plan");
            let time = UnixNanos::now().to_string();
            record.decision =
                Some(Decision { fraction: to, by: Decider::Plan, reason: Some(reason.clone()), time: time.clone() });
            record.plan = Some(plan.record().clone());
            let way = way_back(settings, &choose(&record, settings));
            for warning in way.warnings() {
                tracing::warn!(stage = %number, "{warning}");
            }
            let checkpoint = written.name.to_string();
            let evidence = json!({
                "stage": stage + 1, "of": plan.record().stages.len(), "checkpoint": checkpoint,
                "way_back_seconds": way.seconds, "warnings": way.warnings(),
            });
            let event = self.event(What::Stage, (from, to), Decider::Plan, Some(reason), Some(evidence));
            let event = CanaryEvent { time: time.clone(), ..event };
            self.live.decide(record, vec![self.told(&event)])?;
            tracing::info!(stage = %number, %from, %to, %checkpoint, "the plan goes on");
            let mut running = self.lock();
            (running.plan, running.noted) = (Some(plan), Duration::ZERO);
            Ok(((), json!({ "fraction": to, "checkpoint": checkpoint })))
        })
    }

    fn complete(&self, settings: &Settings) -> Result<(), ChangeRefusal> {
        let Some(mut plan) = self.lock().plan.clone() else { return Ok(()) };
        if plan.record().state != PlanState::Running {
            return Ok(());
        }
        plan.done(Step::Complete);
        let mut record = self.live.rollout();
        let at = in_force(&record, settings);
        record.plan = Some(plan.record().clone());
        let event = self.event(What::PlanCompleted, (at, at), Decider::Plan, None, None);
        self.live.note(record, vec![self.told(&event)])?;
        tracing::info!(fraction = %at, "the plan is complete");
        self.lock().plan = Some(plan);
        Ok(())
    }

    fn note_good(&self, fraction: Fraction) -> Result<(), ChangeRefusal> {
        let before = self.live.rollout();
        let mut record = before.clone();
        record.note_good(fraction);
        if record != before {
            self.live.note(record, Vec::new())?;
        }
        self.lock().good = None;
        Ok(())
    }

    fn note(&self) -> Result<(), ChangeRefusal> {
        let Some(plan) = self.lock().plan.as_ref().map(|plan| plan.record().clone()) else { return Ok(()) };
        let well = plan.well;
        self.live.note(RolloutRecord { plan: Some(plan), ..self.live.rollout() }, Vec::new())?;
        self.lock().noted = well;
        Ok(())
    }
}

/// What is most urgent.
fn next(running: &Running, verdict: Option<Verdict>, is_back: bool, step: Option<Step>) -> Option<Work> {
    if let Some(verdict) = verdict {
        return Some(Work::RollBack(Box::new(verdict)));
    }
    if is_back {
        return Some(Work::RollBackCompleted);
    }
    // Before the next stage, so that there is something to go back to.
    if let Some(good) = running.good {
        return Some(Work::NoteGood(good));
    }
    if let Some(step) = step {
        return Some(Work::Step(step));
    }
    let plan = running.plan.as_ref().filter(|plan| plan.record().state == PlanState::Running)?;
    let lasts = plan.stage()?.lasts?;
    let due = (lasts / NOTES_A_STAGE).clamp(NOTE_MIN, NOTE_MAX);
    (plan.record().well.saturating_sub(running.noted) >= due).then_some(Work::Note)
}
