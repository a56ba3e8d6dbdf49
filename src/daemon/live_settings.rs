//! The settings in force, and how they change while the daemon runs: one change at a time, checked as a start would check it, put on
//! record where an operator made it, and only then applied.

mod emergency;
mod shadows;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};

use super::fetch_gate::FetchGate;
use super::own_events::OwnEvent;
use super::switches::{HeldBy, HeldMonitor, SettingRecord, SwitchLog};
use super::units::dedicated_links;
use super::upstreams::{Applied, ApplyError, Upstreams};
use super::usable::usable;
use super::watch::in_words;
use super::watched::Watched;
use super::works::Works;
use crate::alert::notify::Notifier;
use crate::circuits::Circuits;
use crate::config::{
    Base, ConfigError, Hidden, KeyPath, Links, LoadOptions, Loaded, MonitorSettings, PathPlan, Plan, RunTimeLayer,
    RunTimeValue, Settings, ShownSetting, show, shown_table,
};
use crate::dialect::registry;
use crate::enrich::Enrichment;
use crate::journal;
use crate::monitor::roster::Pause;
use crate::rollout::Paths;
use crate::rollout::decision::RolloutRecord;
use crate::server::{
    ChangeRefusal, Changed, Control, EmergencyRow, Kind, MonitorState, ProposedFile, ShadowRow, StateAnswer,
    StateRequest,
};
use crate::telemetry;
use crate::upstream::{self, LinkState};
use crate::views::CounterBoard;

const RELOAD: &str = "reload";
const SETTINGS: &str = "settings";

/// What runs by the settings.
pub(super) trait Pools: Send + Sync {
    /// Makes it into what settings say, each monitor on its path, but for monitors that take nothing for now.
    ///
    /// # Errors
    /// When settings cannot be used; nothing has changed then.
    fn apply(
        &self,
        settings: &Settings,
        pauses: &BTreeMap<String, Pause>,
        paths: &Paths,
    ) -> Result<Applied, ApplyError>;

    /// How many links each upstream's pool has, or is to have.
    fn links(&self) -> BTreeMap<String, usize>;

    /// Whether any link is open, or something of what was taken is not durable.
    fn is_taking(&self) -> bool;
}

impl Pools for Upstreams {
    fn apply(
        &self,
        settings: &Settings,
        pauses: &BTreeMap<String, Pause>,
        paths: &Paths,
    ) -> Result<Applied, ApplyError> {
        Self::apply(self, settings, pauses, paths)
    }

    fn links(&self) -> BTreeMap<String, usize> {
        let mut links = BTreeMap::new();
        for watched in self.list().now().into_iter().filter(|watched| watched.of.is_none()) {
            *links.entry(watched.roster.upstream.clone()).or_default() += watched.status.wanted();
        }
        links
    }

    fn is_taking(&self) -> bool {
        let open = |watched: &Watched| watched.status.links().iter().any(|link| link.state != LinkState::Idle);
        self.list().now().iter().any(open) || self.is_ending() || !self.is_durable()
    }
}

/// Settings as they were loaded for a start, and what is needed to read them again.
#[derive(Debug, Clone)]
pub struct SettingsSource {
    /// Where they are read from.
    pub options: LoadOptions,
    /// Every layer but what was set at run time.
    pub base: Base,
    /// What they say without it.
    pub loaded: Loaded,
}

impl SettingsSource {
    /// Loads them.
    ///
    /// # Errors
    /// When they cannot be used.
    pub fn read(options: LoadOptions) -> Result<Self, ConfigError> {
        let base = Base::read(&options)?;
        let loaded = base.with(&RunTimeLayer::default())?;
        // The file that was found, and no other that comes to be found before it.
        let options = LoadOptions { file: loaded.file.clone(), ..options };
        Ok(Self { options, base, loaded })
    }

    /// Whether both have the same folders and address, which nothing changes but a restart.
    pub(super) fn same_places(&self, other: &Self) -> bool {
        let places = |source: &Self| {
            let Settings { daemon, checkpoint, server, .. } = &source.loaded.settings;
            (daemon.data_dir.clone(), checkpoint.dir.clone(), server.listen)
        };
        places(self) == places(other)
    }

    /// These settings with what operators set at run time, as far as it fits.
    pub(super) fn with_run_time(self, run_time: &RunTimeLayer) -> Origin {
        let Self { options, base, loaded } = self;
        match base.fit(run_time, usable) {
            Ok(fitted) => {
                for left in &fitted.left_out {
                    tracing::warn!(
                        "`{}` was set at run time and no longer fits; it is left out until it does, or is unset by `sluice config unset`: {}",
                        left.key,
                        left.reason
                    );
                }
                Origin { options, base, loaded: fitted.loaded, run_time: fitted.run_time }
            }
            // Of settings that cannot be used by themselves the start says it where it meets them.
            Err(_) => Origin { options, base, loaded, run_time: RunTimeLayer::default() },
        }
    }
}

/// Settings at a start.
pub(super) struct Origin {
    options: LoadOptions,
    base: Base,
    /// With as much of the run-time layer as fits.
    pub(super) loaded: Loaded,
    /// What of it fits.
    pub(super) run_time: RunTimeLayer,
}

struct State {
    base: Base,
    /// Its settings are those in force: what needs a restart is as it was at the start.
    loaded: Loaded,
    run_time: RunTimeLayer,
}

/// Who is told of settings when they change, and does as they say from then on.
pub(super) struct Followers {
    pub(super) pools: Arc<dyn Pools>,
    pub(super) counters: Arc<CounterBoard>,
    pub(super) enrichment: Arc<Enrichment>,
    pub(super) notifier: Arc<Notifier>,
    pub(super) works: Arc<Works>,
    pub(super) circuits: Arc<Circuits>,
}

/// The settings in force.
pub(super) struct LiveSettings {
    options: LoadOptions,
    /// Held while a change is made.
    state: Mutex<State>,
    /// A copy for those who do not wait for that.
    in_force: Mutex<Arc<Settings>>,
    log: Arc<SwitchLog>,
    followers: Followers,
    pub(super) gate: FetchGate,
}

/// Settings that are checked and not in force yet.
struct Candidate {
    base: Base,
    loaded: Loaded,
    run_time: RunTimeLayer,
    notes: Vec<String>,
}

impl LiveSettings {
    pub(super) fn new(origin: Origin, log: Arc<SwitchLog>, followers: Followers) -> Self {
        let Origin { options, base, loaded, run_time } = origin;
        let in_force = Mutex::new(Arc::new(loaded.settings.clone()));
        let gate = FetchGate::new(followers.works.operations.stop.clone());
        if log.switches.emergency().is_some() {
            gate.close();
        }
        Self { options, state: Mutex::new(State { base, loaded, run_time }), in_force, log, followers, gate }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn not_recorded(&self) -> ChangeRefusal {
        ChangeRefusal::new(503, self.log.not_recorded())
    }

    /// From here on nothing is changed but by an emergency, for another process that takes over. Blocking: changes that are being made
    /// are made when this returns.
    pub(super) fn hold_still(&self) {
        let _state = self.lock();
        self.log.taking_over.store(true, Ordering::Release);
    }

    /// Changes are made again.
    pub(super) fn let_change(&self) {
        self.log.taking_over.store(false, Ordering::Release);
    }

    /// Whether another process takes over, so that nothing is decided here.
    pub(super) fn is_taken_over(&self) -> bool {
        self.log.is_taken_over()
    }

    /// What is in force now. Waits for no change.
    pub(super) fn settings(&self) -> Arc<Settings> {
        Arc::clone(&self.in_force.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Files that settings are read from, whether they are there or not.
    pub(super) fn watched_files(&self) -> Vec<std::path::PathBuf> {
        self.lock().base.watched_files()
    }

    /// What settings have of secrets, and the environment that they were read with.
    pub(super) fn hidden(&self) -> (Hidden, Vec<(OsString, OsString)>) {
        (self.lock().base.hidden(), self.options.environment.clone())
    }

    /// What a start would begin with now, but for what was set at run time, which is in the journal.
    pub(super) fn source(&self) -> Option<SettingsSource> {
        let base = self.lock().base.clone();
        let loaded = base.with(&RunTimeLayer::default()).ok()?;
        Some(SettingsSource { options: self.options.clone(), base, loaded })
    }

    /// Monitors that are not to run, by name.
    pub(super) fn held(&self) -> BTreeMap<String, HeldMonitor> {
        self.log.switches.held()
    }

    fn plan_of(&self, state: &State, candidate: &Candidate) -> Plan {
        let then = &candidate.loaded.settings;
        let switches = &self.log.switches;
        let (paths_now, paths) = (switches.paths(&state.loaded.settings), switches.paths(then));
        let goes_over = |name: &&String| {
            state.loaded.settings.monitors.contains_key(*name) && paths_now.of(name).path != paths.of(name).path
        };
        let moved = then.monitors.keys().filter(goes_over);
        let pauses = |settings: &Settings| switches.pauses(settings);
        let links = Links {
            now: self.followers.pools.links(),
            then: links_of(then, &pauses(then), &paths),
            dedicated_now: dedicated_of(&state.loaded.settings, &pauses(&state.loaded.settings), &paths_now),
            dedicated_then: dedicated_of(then, &pauses(then), &paths),
            paths: moved.map(|name| PathPlan { monitor: name.clone(), to: paths.of(name).path }).collect(),
        };
        Plan::between(&state.loaded.settings, then, &links)
    }

    /// Has what runs follow a candidate.
    fn apply(&self, state: &mut State, candidate: Candidate) -> Result<(), ChangeRefusal> {
        let Candidate { base, loaded, run_time, notes: _ } = candidate;
        let in_force = state.loaded.settings.with_live_parts_of(&loaded.settings);
        let applied = self.set_in_motion(&in_force);
        applied.map_err(|error| ChangeRefusal::new(422, error.to_string()))?;
        self.followers.counters.want(&in_force);
        self.followers.circuits.set_enabled(in_force.fault_tolerance.enabled);
        self.followers.works.set_periodic(in_force.fault_tolerance.enabled);
        // Checked before; what can still be refused is a thread.
        if let Err(error) = self.followers.enrichment.apply(&in_force) {
            tracing::error!("look-ups stay as they were: {error}");
        }
        if let Err(error) = self.followers.notifier.apply(&in_force.notify) {
            tracing::error!("notifications stay as they were: {error}");
        }
        if in_force.log.level != state.loaded.settings.log.level {
            telemetry::set_log_level(&in_force.log.level);
        }
        *self.in_force.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(in_force.clone());
        *state = State { base, loaded: Loaded { settings: in_force, ..loaded }, run_time };
        Ok(())
    }

    /// Has what runs follow settings, and what was decided beside them.
    fn set_in_motion(&self, settings: &Settings) -> Result<Applied, ApplyError> {
        let switches = &self.log.switches;
        self.followers.pools.apply(settings, &switches.pauses(settings), &switches.paths(settings))
    }

    /// What all layers say now, the run-time layer as far as it fits.
    fn read_again(&self, base: Base) -> Result<Candidate, ChangeRefusal> {
        let fitted = base.fit(&self.log.switches.config(), usable).map_err(|error| refusal(&error))?;
        let note =
            |left: &crate::config::LeftOut| format!("set at run time and left out: `{}`: {}", left.key, left.reason);
        let notes = fitted.left_out.iter().map(note).collect();
        if fitted.loaded.settings.monitors.is_empty() {
            let error = "there is no monitor left in the settings; to stop one, use `sluice monitors stop`";
            return Err(ChangeRefusal::new(422, error));
        }
        Ok(Candidate { base, loaded: fitted.loaded, run_time: fitted.run_time, notes })
    }

    /// Settings with other things set at run time, on the layers as they were last read.
    fn with_run_time(state: &State, run_time: RunTimeLayer) -> Result<Candidate, ChangeRefusal> {
        let checked = state.base.with(&run_time).and_then(|loaded| usable(&loaded).map(|()| loaded));
        let loaded = checked.map_err(|error| refusal(&error))?;
        Ok(Candidate { base: state.base.clone(), loaded, run_time, notes: Vec::new() })
    }

    /// Makes one change of the run-time layer: checks it, puts it on record, applies it.
    fn change(&self, key: &KeyPath, value: Option<RunTimeValue>, dry_run: bool) -> Result<Changed, ChangeRefusal> {
        let mut state = self.lock();
        self.change_in(&mut state, key, value, dry_run)
    }

    fn change_in(
        &self,
        state: &mut State,
        key: &KeyPath,
        value: Option<RunTimeValue>,
        dry_run: bool,
    ) -> Result<Changed, ChangeRefusal> {
        let mut run_time = state.run_time.clone();
        match value.clone() {
            Some(value) => run_time.set(key.clone(), value),
            None => drop(run_time.unset(key)),
        }
        let candidate = Self::with_run_time(state, run_time)?;
        let plan = self.plan_of(state, &candidate);
        if dry_run {
            return Ok(Changed { plan, dry_run, notes: candidate.notes });
        }
        self.followers.works.operations.record(SETTINGS, &key.to_string(), || {
            let before = self.log.switches.config();
            if !self.log.remember(&SettingRecord::config(key, value)) {
                return Err(self.not_recorded());
            }
            if let Err(error) = self.apply(state, candidate) {
                self.take_back(key, &before);
                return Err(error);
            }
            tracing::info!(%key, risk = plan.risk.as_str(), "set by an operator");
            let outcome = json!({ "key": key.to_string(), "risk": plan.risk });
            Ok((Changed { plan, dry_run, notes: Vec::new() }, outcome))
        })
    }

    /// Puts what was on record of a key back, after a change of it could not be applied.
    fn take_back(&self, key: &KeyPath, before: &RunTimeLayer) {
        let known = before.iter().filter(|(known, _)| known.is_within(key));
        let again = known.map(|(known, value)| SettingRecord::config(known, Some(value.clone())));
        for record in std::iter::once(SettingRecord::config(key, None)).chain(again) {
            if !self.log.remember(&record) {
                tracing::error!(%key, "a change that was not applied stays on record: the journal takes nothing; unset it");
                return;
            }
        }
    }

    /// Puts monitors into a state, and everything that runs with them.
    pub(super) fn hold(&self, monitors: &[String], to: MonitorState, by: HeldBy) -> Result<(), ChangeRefusal> {
        let state = self.lock();
        self.hold_in(&state, monitors, to, by)
    }

    fn hold_in(&self, state: &State, monitors: &[String], to: MonitorState, by: HeldBy) -> Result<(), ChangeRefusal> {
        if monitors.is_empty() {
            return Ok(());
        }
        if !self.log.remember(&SettingRecord::monitors(monitors.to_vec(), to, by)) {
            return Err(self.not_recorded());
        }
        // What is in force was checked, and a monitor that takes nothing needs nothing.
        let applied = self.set_in_motion(&state.loaded.settings);
        applied.map_err(|error| ChangeRefusal::new(500, error.to_string()))?;
        tracing::info!(monitors = %monitors.join(", "), by = ?by, "now {}", to.as_str());
        Ok(())
    }

    /// Puts what was decided about paths on record, with what is told of it, and has monitors follow. Blocking.
    pub(super) fn decide(&self, rollout: RolloutRecord, told: Vec<OwnEvent>) -> Result<(), ChangeRefusal> {
        let state = self.lock();
        let before = self.log.switches.rollout();
        if !self.log.remember_with(&SettingRecord::rollout(rollout), told) {
            return Err(self.not_recorded());
        }
        if let Err(error) = self.set_in_motion(&state.loaded.settings) {
            if !self.log.remember(&SettingRecord::rollout(before)) {
                tracing::error!(
                    "a decision about paths that was not carried out stays on record: the journal takes nothing"
                );
            }
            return Err(ChangeRefusal::new(500, error.to_string()));
        }
        Ok(())
    }

    /// Puts on record how far a roll-out has come; nothing follows from it. Blocking.
    pub(super) fn note(&self, rollout: RolloutRecord, told: Vec<OwnEvent>) -> Result<(), ChangeRefusal> {
        let noted = self.log.remember_with(&SettingRecord::rollout(rollout), told);
        if noted { Ok(()) } else { Err(self.not_recorded()) }
    }

    /// What is remembered of a roll-out.
    pub(super) fn rollout(&self) -> RolloutRecord {
        self.log.switches.rollout()
    }

    /// The layer that a setting comes from, in words.
    pub(super) fn origin_of(&self, key: &KeyPath) -> String {
        self.lock().loaded.origins.of_setting(key).to_owned()
    }

    fn in_state(state: &State, held: &BTreeMap<String, HeldMonitor>, name: &str) -> Option<MonitorState> {
        state.loaded.settings.monitors.get(name)?;
        Some(held.get(name).map_or(MonitorState::Running, |held| held.state))
    }
}

impl Control for LiveSettings {
    fn shown(&self) -> Vec<ShownSetting> {
        show(&self.lock().loaded)
    }

    fn declared(&self, kind: Kind) -> BTreeMap<String, Value> {
        shown_table(&self.lock().loaded, kind.section())
    }

    fn reload(&self, dry_run: bool) -> Result<Changed, ChangeRefusal> {
        let mut state = self.lock();
        let read = || Base::read(&self.options).map_err(|error| refusal(&error));
        if dry_run {
            let candidate = self.read_again(read()?)?;
            return Ok(Changed { plan: self.plan_of(&state, &candidate), dry_run, notes: candidate.notes });
        }
        if self.is_taken_over() {
            return Err(self.not_recorded());
        }
        self.followers.works.operations.record(RELOAD, "", || {
            let candidate = self.read_again(read()?)?;
            let plan = self.plan_of(&state, &candidate);
            let notes = candidate.notes.clone();
            self.apply(&mut state, candidate)?;
            let outcome = json!({ "risk": plan.risk, "restart_needed": plan.restart_needed });
            for note in &notes {
                tracing::warn!("settings read again: {note}");
            }
            let changed = Changed { plan, dry_run, notes };
            tracing::info!("settings read again: {}", in_words(&changed));
            Ok((changed, outcome))
        })
    }

    fn plan(&self, ProposedFile { file, text }: &ProposedFile) -> Result<Changed, ChangeRefusal> {
        let state = self.lock();
        let base = Base::proposed(&self.options, file.as_ref(), text).map_err(|error| refusal(&error))?;
        let candidate = self.read_again(base)?;
        Ok(Changed { plan: self.plan_of(&state, &candidate), dry_run: true, notes: candidate.notes })
    }

    fn set(&self, key: &str, value: Option<Value>, dry_run: bool) -> Result<Changed, ChangeRefusal> {
        let no_key = || ChangeRefusal::new(400, crate::config::RunTimeRefusal::NoKey(key.to_owned()).to_string());
        let key = KeyPath::parse(key).ok_or_else(no_key)?;
        let Some(value) = value else { return self.unset(&key, dry_run) };
        RunTimeLayer::check(&key, &value).map_err(|refused| ChangeRefusal::new(422, refused.to_string()))?;
        self.change(&key, Some(RunTimeValue::Set(value)), dry_run)
    }

    fn create(&self, kind: Kind, name: &str, settings: Value, dry_run: bool) -> Result<Changed, ChangeRefusal> {
        let mut state = self.lock();
        if exists(&state, kind, name) {
            return Err(ChangeRefusal::new(409, format!("there is a {} `{name}` already", kind.word())));
        }
        self.declare(&mut state, kind, name, settings, dry_run)
    }

    fn replace(&self, kind: Kind, name: &str, settings: Value, dry_run: bool) -> Result<Changed, ChangeRefusal> {
        let mut state = self.lock();
        if !exists(&state, kind, name) {
            return Err(missing(kind, name));
        }
        self.declare(&mut state, kind, name, settings, dry_run)
    }

    fn delete(&self, kind: Kind, name: &str, dry_run: bool) -> Result<Changed, ChangeRefusal> {
        let mut state = self.lock();
        if !exists(&state, kind, name) {
            return Err(missing(kind, name));
        }
        if kind == Kind::Upstream {
            let watch = |(_, monitor): &(&String, &MonitorSettings)| monitor.watches(name);
            let watchers: Vec<&str> =
                state.loaded.settings.monitors.iter().filter(watch).map(|(name, _)| name.as_str()).collect();
            if !watchers.is_empty() {
                let error = format!("upstream `{name}` is watched by {}; delete these first", watchers.join(", "));
                return Err(ChangeRefusal::new(409, error));
            }
        }
        let key = KeyPath::from([kind.section(), name]);
        // What only an operator made is gone with what was said of it; what another layer declares has to be taken away.
        let value = state.base.origin_of(&key).map(|_| RunTimeValue::Removed);
        let changed = self.change_in(&mut state, &key, value, dry_run)?;
        if kind == Kind::Monitor && !dry_run && self.held().contains_key(name) {
            // Another one of this name is another monitor.
            self.hold_in(&state, &[name.to_owned()], MonitorState::Running, HeldBy::Operator)?;
        }
        Ok(changed)
    }

    fn set_states(&self, request: &StateRequest) -> Result<StateAnswer, ChangeRefusal> {
        let StateRequest { state: to, names, priority, path, from, dry_run } = request;
        let state = self.lock();
        let paths = self.log.switches.paths(&state.loaded.settings);
        let held = self.held();
        if names.is_empty() && priority.is_none() && path.is_none() && from.is_none() {
            return Err(ChangeRefusal::new(400, "name monitors, or say of which priority or path"));
        }
        for name in names {
            if !state.loaded.settings.monitors.contains_key(name) {
                return Err(missing(Kind::Monitor, name));
            }
        }
        let wanted = |name: &String, monitor: &MonitorSettings| {
            let now = Self::in_state(&state, &held, name);
            (names.is_empty() || names.contains(name))
                && priority.is_none_or(|least| monitor.priority >= least)
                && path.is_none_or(|path| paths.of(name).path == path)
                && from.is_none_or(|from| now == Some(from))
                && now != Some(*to)
        };
        let all = state.loaded.settings.monitors.iter();
        let monitors: Vec<String> =
            all.filter(|(name, monitor)| wanted(name, monitor)).map(|(name, _)| name.clone()).collect();
        if !dry_run {
            self.hold_in(&state, &monitors, *to, HeldBy::Operator)?;
        }
        Ok(StateAnswer { state: *to, monitors, dry_run: *dry_run })
    }

    fn shadow(&self, monitor: &str, span: Duration) -> Result<ShadowRow, ChangeRefusal> {
        self.set_shadow(monitor, span)
    }

    fn emergency(&self, stopped: bool, reason: Option<&str>) -> Result<EmergencyRow, ChangeRefusal> {
        self.stand_still(stopped, reason)
    }
}

impl LiveSettings {
    fn unset(&self, key: &KeyPath, dry_run: bool) -> Result<Changed, ChangeRefusal> {
        let mut state = self.lock();
        if !self.log.switches.config().unset(key) {
            let set = match state.base.origin_of(key) {
                Some(origin) => format!("; it is set by {origin}"),
                None => String::new(),
            };
            return Err(ChangeRefusal::new(404, format!("nothing was set at run time at `{key}`{set}")));
        }
        self.change_in(&mut state, key, None, dry_run)
    }

    fn declare(
        &self,
        state: &mut State,
        kind: Kind,
        name: &str,
        settings: Value,
        dry_run: bool,
    ) -> Result<Changed, ChangeRefusal> {
        let key = KeyPath::from([kind.section(), name]);
        RunTimeLayer::check(&key, &settings).map_err(|refused| ChangeRefusal::new(422, refused.to_string()))?;
        self.change_in(state, &key, Some(RunTimeValue::Set(settings)), dry_run)
    }
}

fn exists(state: &State, kind: Kind, name: &str) -> bool {
    match kind {
        Kind::Monitor => state.loaded.settings.monitors.contains_key(name),
        Kind::Upstream => state.loaded.settings.upstreams.contains_key(name),
    }
}

fn missing(kind: Kind, name: &str) -> ChangeRefusal {
    ChangeRefusal::new(404, format!("there is no {} `{name}`", kind.word()))
}

fn refusal(error: &ConfigError) -> ChangeRefusal {
    ChangeRefusal { status: 422, error: error.to_string(), problems: error.problems().to_vec() }
}

/// How many links each upstream's pool would have with settings, but for monitors that take nothing.
fn links_of(settings: &Settings, pauses: &BTreeMap<String, Pause>, paths: &Paths) -> BTreeMap<String, usize> {
    let links = |name: &String| {
        let upstream = settings.upstreams.get(name)?;
        let mut watching = settings.monitors.iter().filter(|(_, monitor)| monitor.watches(name));
        watching.clone().next()?;
        let on_smart = |monitor: &str| !pauses.contains_key(monitor) && paths.of(monitor).path == journal::Path::Smart;
        let smart = watching.by_ref().filter(|(monitor, _)| on_smart(monitor));
        let topics: std::collections::BTreeSet<&String> = smart.flat_map(|(_, monitor)| &monitor.topics).collect();
        let dialect = registry::build(&upstream.dialect, &settings.dialects).ok()?;
        Some(upstream::links_for(upstream, &settings.pool, dialect.limits(), topics.len()))
    };
    settings.upstreams.keys().filter_map(|name| Some((name.clone(), links(name)?))).collect()
}

/// How many links monitors on the legacy path would have for themselves, but for those that take nothing.
fn dedicated_of(settings: &Settings, pauses: &BTreeMap<String, Pause>, paths: &Paths) -> BTreeMap<String, usize> {
    let links = |(name, monitor): (&String, &MonitorSettings)| {
        let takes = !pauses.contains_key(name) && paths.of(name).path == journal::Path::Legacy;
        // Of redundant upstreams the legacy path takes the first.
        let upstream = settings.upstreams.get(monitor.upstream.first().filter(|_| takes)?)?;
        let dialect = registry::build(&upstream.dialect, &settings.dialects).ok()?;
        Some((name.clone(), dedicated_links(upstream, dialect.limits(), monitor.topics.len())))
    };
    settings.monitors.iter().filter_map(links).collect()
}
