//! How the change-over stands, for people and programs.

use std::time::Duration;

use tokio::time::Instant;

use super::{Canary, Whereabouts, choose, cooling_until, in_force, way_back};
use crate::clock::UnixNanos;
use crate::config::{KeyPath, Settings};
use crate::journal::Path;
use crate::rollout::decision::{Decision, RolloutRecord};
use crate::rollout::guard::{GuardState, MemoryUse};
use crate::rollout::plan::{Plan, PlanState};
use crate::server::{CanarySettings, CanaryStatus, GuardShown, MemoryShown, PathCount, PlanShown, RollBackShown};
use crate::telemetry::Memory;

impl Canary {
    /// As it is now. Blocking: a change that is being made is waited for.
    pub(in crate::daemon) fn status(&self) -> CanaryStatus {
        let at = &self.whereabouts();
        let settings = self.live.settings();
        let record = self.live.rollout();
        let origin = |name: &str| self.live.origin_of(&KeyPath::from(["smart_streaming", name]));
        let wanted = choose(&record, &settings);
        let count = |path: Path| PathCount {
            path,
            wanted: wanted.count(path),
            now: at.on(path),
            pinned: settings.monitors.values().filter(|monitor| monitor.path == Some(path)).count(),
        };
        let memory = self.memory();
        let mut notes = Vec::new();
        if let Some(emergency) = self.live.emergency_now() {
            let since = emergency.since;
            notes.push(format!("stopped in an emergency at {since}: nothing is taken until `sluice start`"));
        }
        if !settings.smart_streaming.enabled {
            notes.push(self.disabled_note());
        }
        let way_back = way_back(&settings, &wanted);
        notes.extend(way_back.warnings());
        let (plan, guard, figures) = {
            let running = self.lock();
            let finding = running.finding.as_ref();
            let guard = GuardShown {
                state: finding.map_or(GuardState::Waiting, |finding| finding.state),
                words: finding.and_then(|finding| finding.words.clone()),
                cooling_until: cooling_until(&record).cloned(),
                good: record.good.clone(),
            };
            let waits_for = running.plan.as_ref().and_then(|plan| waits_for(plan, &record, &guard, at));
            (plan_shown(running.plan.as_ref(), waits_for, &settings), guard, running.guard.rates(Instant::now()))
        };
        let fraction = in_force(&record, &settings);
        let decided = record.decision.clone();
        CanaryStatus {
            fraction,
            by: decided.as_ref().map(|Decision { by, .. }| *by),
            since: decided.as_ref().map(|decision| decision.time.clone()),
            reason: decided.and_then(|decision| decision.reason),
            settings: CanarySettings {
                fraction: settings.smart_streaming.canary,
                origin: origin("canary"),
                enabled: settings.smart_streaming.enabled,
                enabled_origin: origin("enabled"),
            },
            paths: vec![count(Path::Smart), count(Path::Legacy)],
            crossings: at.crossings.clone(),
            plan,
            guard,
            roll_back: record.roll_back.map(|roll_back| {
                let seconds = seconds_since(&roll_back.since).as_secs_f64();
                let left = at.crossings.iter().filter(|crossing| crossing.to == Path::Legacy).count();
                RollBackShown { roll_back, seconds, left }
            }),
            way_back,
            figures,
            memory: MemoryShown { used: memory.used, limit: memory.limit, share: memory.share() },
            notes,
        }
    }

    pub(super) fn memory(&self) -> MemoryUse {
        MemoryUse { used: Memory::now().used, limit: self.memory_limit }
    }
}

/// How long ago a moment on record was; by the host's clock.
pub(super) fn seconds_since(time: &str) -> Duration {
    time.parse().map_or(Duration::ZERO, |time| UnixNanos::now().since(time))
}

fn plan_shown(plan: Option<&Plan>, waits_for: Option<String>, settings: &Settings) -> PlanShown {
    let Some(plan) = plan else {
        return PlanShown {
            state: None,
            stage: 0,
            stages: settings.rollout.stages.clone(),
            well_seconds: 0.0,
            left_seconds: None,
            waits_for: None,
            roll_backs: 0,
            started: None,
        };
    };
    let record = plan.record();
    PlanShown {
        state: Some(record.state),
        stage: record.stage + 1,
        stages: record.stages.clone(),
        well_seconds: record.well.as_secs_f64(),
        left_seconds: plan.left().map(|left| left.as_secs_f64()),
        waits_for,
        roll_backs: record.roll_backs,
        started: Some(record.started.clone()),
    }
}

/// Why a plan does not come on just now.
fn waits_for(plan: &Plan, record: &RolloutRecord, guard: &GuardShown, at: &Whereabouts) -> Option<String> {
    match plan.record().state {
        PlanState::Entering | PlanState::Running => {}
        PlanState::Paused => return Some("an operator: `sluice canary resume`".into()),
        PlanState::Aborted | PlanState::Completed => return None,
    }
    if record.roll_back.is_some() {
        return Some("monitors that the guard takes back".into());
    }
    let ready = plan.record().state == PlanState::Entering || plan.left() == Some(Duration::ZERO);
    if let Some(until) = guard.cooling_until.as_ref().filter(|_| ready) {
        return Some(format!("the guard, until {until}"));
    }
    if at.unhealthy {
        return Some("the daemon, which is unhealthy: `sluice health`".into());
    }
    if !at.settled() {
        return Some(format!("{} monitors that are changing paths", at.crossings.len()));
    }
    if !guard.state.lets_time_count() {
        return Some(format!("the guard: {}", guard.words.as_deref().unwrap_or(guard.state.as_str())));
    }
    None
}
