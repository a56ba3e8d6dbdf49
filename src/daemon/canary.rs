//! What is decided about the share of monitors on the smart path while the daemon runs: by operators, by the plan, by the guard. A
//! decision is put on record together with the event that tells of it, and only then followed.

mod attend;
mod status;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::alerts::Alerts;
use super::live_settings::LiveSettings;
use super::own_events::OwnEvent;
use super::upstreams::Upstreams;
use super::works::Works;
use crate::clock::UnixNanos;
use crate::config::Settings;
use crate::journal::{JournalState, MonitorIdentity, Path};
use crate::rollout::decision::{CanaryEvent, Decider, Decision, RolloutRecord, What};
use crate::rollout::figures::{CrossingRow, PathFigures};
use crate::rollout::guard::{Finding, Guard};
use crate::rollout::plan::{Plan, PlanState};
use crate::rollout::way_back::WayBack;
use crate::rollout::{Fraction, Paths, choice};
use crate::server::{CanaryAction, CanaryAnswer, CanaryRequest, ChangeRefusal};
use crate::telemetry::{CanaryMetrics, memory_limit};

/// The topic of decisions in the journal, under the domain `_sluice`.
const CANARY_TOPIC: &str = "canary";

/// Where monitors are, and what both paths do.
pub(super) struct Whereabouts {
    pub(super) figures: Vec<PathFigures>,
    pub(super) crossings: Vec<CrossingRow>,
    /// Monitors on a path now.
    pub(super) on: [(Path, usize); 2],
    /// Whether what comes does not become durable.
    pub(super) unhealthy: bool,
}

impl Whereabouts {
    /// Whether every monitor is where it is to be.
    fn settled(&self) -> bool {
        self.crossings.is_empty()
    }

    fn on(&self, path: Path) -> usize {
        self.on.iter().filter(|(known, _)| *known == path).map(|(_, monitors)| monitors).sum()
    }
}

/// Under whose names it is told what was decided.
pub(super) struct Identities {
    pub(super) canary: Arc<MonitorIdentity>,
}

/// What goes on between two looks.
struct Running {
    guard: Guard,
    plan: Option<Plan>,
    /// What the guard found last.
    finding: Option<Finding>,
    /// A fraction that has been well for a window, until that is on record.
    good: Option<Fraction>,
    /// How much of the stage was on record last.
    noted: Duration,
    /// When the roll back under way was decided, if this process did.
    roll_back: Option<Instant>,
    /// When something could not be done.
    failed: Option<Instant>,
    /// What is being done: one thing at a time.
    at_work: Option<JoinHandle<()>>,
}

/// What decides.
pub(super) struct Canary {
    live: Arc<LiveSettings>,
    works: Arc<Works>,
    upstreams: Arc<Upstreams>,
    alerts: Arc<Alerts>,
    identities: Identities,
    metrics: CanaryMetrics,
    memory_limit: u64,
    /// Held while something is decided: it waits for the journal.
    turn: Mutex<()>,
    /// Held for moments only.
    running: Mutex<Running>,
}

impl Canary {
    /// Goes on with what is on record.
    pub(super) fn new(
        live: Arc<LiveSettings>,
        works: Arc<Works>,
        upstreams: Arc<Upstreams>,
        alerts: Arc<Alerts>,
        identities: Identities,
    ) -> Self {
        let plan = live.rollout().plan.map(Plan::of);
        let noted = plan.as_ref().map_or(Duration::ZERO, |plan| plan.record().well);
        let running = Running {
            guard: Guard::default(),
            plan,
            finding: None,
            good: None,
            noted,
            roll_back: None,
            failed: None,
            at_work: None,
        };
        Self {
            live,
            works,
            upstreams,
            alerts,
            identities,
            metrics: CanaryMetrics::default(),
            memory_limit: memory_limit(),
            turn: Mutex::default(),
            running: Mutex::new(running),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Running> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does what a person asks for. Blocking.
    pub(super) fn change(&self, request: &CanaryRequest) -> Result<CanaryAnswer, ChangeRefusal> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let settings = self.live.settings();
        let before = self.live.rollout();
        let from = in_force(&before, &settings);
        let mut ask =
            Asked { record: before.clone(), plan: self.lock().plan.clone(), notes: Vec::new(), warnings: Vec::new() };
        let what = ask.by(request, &settings, from)?;
        let to = in_force(&ask.record, &settings);
        let cooling = cooling_until(&before);
        if let Some(until) = cooling.filter(|_| to > from && !request.force) {
            let error = format!(
                "the guard took monitors back a short time ago, and lets none be put on the smart path until {until}; \
                 `sluice canary status` says why; to do it all the same, use `--force`"
            );
            return Err(ChangeRefusal::new(409, error));
        }
        if request.force && cooling.is_some() {
            ask.record.cooling_until = None;
        }
        let (now, then) = (choose(&before, &settings), choose(&ask.record, &settings));
        let way_back = way_back(&settings, &then);
        ask.warnings.extend(way_back.warnings());
        if !settings.smart_streaming.enabled {
            ask.notes.push(self.disabled_note());
        }
        if !request.dry_run {
            ask.record.plan = ask.plan.as_ref().map(|plan| plan.record().clone());
            let evidence = evidence(&ask.record, &way_back);
            let mut event = self.event(what, (from, to), Decider::Operator, request.reason.clone(), evidence);
            if let Some(decision) = ask.record.decision.as_ref().filter(|_| ask.record.decision != before.decision) {
                event.time.clone_from(&decision.time);
            }
            self.live.decide(ask.record.clone(), vec![self.told(&event)])?;
            tracing::info!(what = what.as_str(), from = %from, to = %to, reason = request.reason.as_deref(), "decided by an operator");
            for warning in &ask.warnings {
                tracing::warn!("{warning}");
            }
            let mut running = self.lock();
            running.noted = ask.plan.as_ref().map_or(Duration::ZERO, |plan| plan.record().well);
            running.plan = ask.plan;
            if ask.record.roll_back.is_none() {
                running.roll_back = None;
            }
        }
        let goes = |path: Path| {
            let goes = then.iter().filter(|(name, to)| to.path == path && now.of(name).path != path);
            goes.map(|(name, _)| name.to_owned()).collect()
        };
        Ok(CanaryAnswer {
            dry_run: request.dry_run,
            fraction: to,
            to_smart: goes(Path::Smart),
            to_legacy: goes(Path::Legacy),
            way_back,
            warnings: ask.warnings,
            notes: ask.notes,
            status: self.status(),
        })
    }

    /// Where monitors are now, and what both paths did so far.
    fn whereabouts(&self) -> Whereabouts {
        let unhealthy = !matches!(self.works.journal.state(), JournalState::Writable);
        let figures = self.upstreams.path_figures(&self.live.settings());
        let places = self.upstreams.places();
        let on = [Path::Smart, Path::Legacy].map(|path| {
            let there = places.values().filter(|place| place.counts() == path).count();
            (path, there)
        });
        Whereabouts { figures, crossings: self.upstreams.crossings(), on, unhealthy }
    }

    fn disabled_note(&self) -> String {
        let key = crate::config::KeyPath::from(["smart_streaming", "enabled"]);
        format!(
            "`smart_streaming.enabled` is false ({}): every monitor is on the legacy path, whatever the fraction, until it is true",
            self.live.origin_of(&key)
        )
    }

    fn event(
        &self,
        what: What,
        (from, to): (Fraction, Fraction),
        by: Decider,
        reason: Option<String>,
        evidence: Option<Value>,
    ) -> CanaryEvent {
        let durable_offset = self.works.journal.durable().0;
        CanaryEvent { what, from, to, by, reason, evidence, durable_offset, time: UnixNanos::now().to_string() }
    }

    fn told(&self, event: &CanaryEvent) -> OwnEvent {
        OwnEvent::new(&self.identities.canary, CANARY_TOPIC, event)
    }
}

/// What a person asked for, worked out and not in force yet.
struct Asked {
    record: RolloutRecord,
    plan: Option<Plan>,
    notes: Vec<String>,
    warnings: Vec<String>,
}

impl Asked {
    fn by(&mut self, request: &CanaryRequest, settings: &Settings, from: Fraction) -> Result<What, ChangeRefusal> {
        if request.fraction.is_some() && request.action != CanaryAction::Set {
            return Err(ChangeRefusal::new(400, "`fraction` goes with the action `set` only"));
        }
        match request.action {
            CanaryAction::Set => self.set(request),
            CanaryAction::Clear => self.clear(),
            CanaryAction::Start => self.start(settings, from),
            CanaryAction::Pause => self.pause(),
            CanaryAction::Resume => self.resume(from),
            CanaryAction::Abort => self.abort(request),
        }
    }

    fn put(&mut self, fraction: Fraction, request: &CanaryRequest) {
        let time = UnixNanos::now().to_string();
        self.record.decision = Some(Decision { fraction, by: Decider::Operator, reason: request.reason.clone(), time });
        // It is no longer what the guard does.
        self.record.roll_back = None;
    }

    fn set(&mut self, request: &CanaryRequest) -> Result<What, ChangeRefusal> {
        let Some(fraction) = request.fraction else {
            return Err(ChangeRefusal::new(400, "say which `fraction` of the monitors, from 0 to 1"));
        };
        if self.plan.as_mut().is_some_and(Plan::pause) {
            self.notes.push(
                "the plan is paused: `sluice canary resume` enters its stage anew, `sluice canary abort` ends it"
                    .into(),
            );
        }
        self.put(fraction, request);
        Ok(What::Set)
    }

    fn clear(&mut self) -> Result<What, ChangeRefusal> {
        let had_plan = self.plan.as_mut().is_some_and(Plan::abort);
        if self.record.decision.is_none() && !had_plan {
            return Err(ChangeRefusal::new(
                404,
                "nothing was decided at run time; the settings' own fraction is in force",
            ));
        }
        if had_plan {
            self.notes.push("the plan is given up".into());
        }
        (self.record.decision, self.record.roll_back) = (None, None);
        Ok(What::Cleared)
    }

    fn start(&mut self, settings: &Settings, from: Fraction) -> Result<What, ChangeRefusal> {
        if let Some(plan) = self.plan.as_ref().filter(|plan| plan.record().state.is_under_way()) {
            let error = format!("a plan is {} already; `sluice canary abort` ends it", plan.record().state.as_str());
            return Err(ChangeRefusal::new(409, error));
        }
        if !settings.smart_streaming.enabled {
            let error = "`smart_streaming.enabled` is false, so that no monitor can be on the smart path; have the plan begin with \
                         `sluice canary set 0`, set it true, and start the plan then";
            return Err(ChangeRefusal::new(409, error));
        }
        let before = self.record.decision.as_ref().map(|decision| decision.fraction);
        let now = UnixNanos::now().to_string();
        let plan = Plan::start(&settings.rollout.stages, from, before, &now);
        let plan = plan.map_err(|error| ChangeRefusal::new(409, error.to_string()))?;
        for stage in &plan.record().stages[plan.record().stage..] {
            let then = choice::choose(settings, Some(stage.fraction.get()));
            let told = way_back(settings, &then).warnings();
            self.warnings.extend(told.into_iter().map(|warning| format!("at {}: {warning}", stage.fraction)));
        }
        self.plan = Some(plan);
        Ok(What::PlanStarted)
    }

    fn pause(&mut self) -> Result<What, ChangeRefusal> {
        let paused = self.plan.as_mut().is_some_and(Plan::pause);
        if paused { Ok(What::PlanPaused) } else { Err(self.no_plan("goes on")) }
    }

    fn resume(&mut self, from: Fraction) -> Result<What, ChangeRefusal> {
        let resumed = self.plan.as_mut().is_some_and(|plan| plan.resume(from));
        if resumed { Ok(What::PlanResumed) } else { Err(self.no_plan("is paused")) }
    }

    fn abort(&mut self, request: &CanaryRequest) -> Result<What, ChangeRefusal> {
        if !self.plan.as_mut().is_some_and(Plan::abort) {
            return Err(self.no_plan("is under way"));
        }
        if request.stay {
            return Ok(What::PlanAborted);
        }
        if let Some(before) = self.plan.as_ref().and_then(|plan| plan.record().before) {
            self.put(before, request);
        } else {
            (self.record.decision, self.record.roll_back) = (None, None);
        }
        self.notes.push("monitors go back to where they were before the plan".into());
        Ok(What::PlanAborted)
    }

    fn no_plan(&self, wanted: &str) -> ChangeRefusal {
        let is = match self.plan.as_ref().map(|plan| plan.record().state) {
            None => "none was started".to_owned(),
            Some(state) => format!("it is {}", state.as_str()),
        };
        ChangeRefusal::new(409, format!("no plan {wanted}: {is}"))
    }
}

/// The share of monitors that is to be on the smart path.
pub(super) fn in_force(record: &RolloutRecord, settings: &Settings) -> Fraction {
    let own = || Fraction::new(settings.smart_streaming.canary).unwrap_or(Fraction::NONE);
    record.decision.as_ref().map_or_else(own, |decision| decision.fraction)
}

fn choose(record: &RolloutRecord, settings: &Settings) -> Paths {
    choice::choose(settings, record.decision.as_ref().map(|decision| decision.fraction.get()))
}

/// What it would take to have everybody back who may be taken back.
fn way_back(settings: &Settings, then: &Paths) -> WayBack {
    WayBack::between(settings, then, &choice::choose(settings, Some(0.0)))
}

/// Until when the guard lets nothing be put on the smart path, if it does now.
pub(super) fn cooling_until(record: &RolloutRecord) -> Option<&String> {
    let until = record.cooling_until.as_ref()?;
    let over = until.parse::<UnixNanos>().is_ok_and(|until| until <= UnixNanos::now());
    (!over).then_some(until)
}

/// What goes with a decision about the plan or the fraction.
fn evidence(record: &RolloutRecord, way_back: &WayBack) -> Option<Value> {
    let plan = record.plan.as_ref().filter(|plan| plan.state != PlanState::Aborted);
    let plan = plan.map(|plan| json!({ "stage": plan.stage + 1, "of": plan.stages.len(), "state": plan.state }));
    let seconds = (way_back.seconds > 0.0).then_some(way_back.seconds);
    match (plan, seconds) {
        (None, None) => None,
        (plan, seconds) => Some(json!({ "plan": plan, "way_back_seconds": seconds })),
    }
}
