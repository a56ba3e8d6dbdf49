//! Settings that an operator made at run time: journaled, so that they outlive the process, and read back at the start.
//!
//! A kind of setting is a variant of [`SettingRecord`], a field of [`SettingsRecord`], and a line in [`State::apply`].

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::own_events::{OwnEvent, events_block};
use crate::breaker::{CircuitKind, Forced};
use crate::circuits::CircuitHold;
use crate::clock::{ReceivedClock, UnixNanos};
use crate::config::{KeyPath, RunTimeLayer, RunTimeValue, Settings};
use crate::journal::{
    self, BlockFilter, Journal, JournalError, JournalReader, MonitorIdentity, OWN_DOMAIN, SETTINGS_MONITOR,
    STATE_MONITOR,
};
use crate::monitor::roster::Pause;
use crate::rollout::decision::RolloutRecord;
use crate::rollout::{self, Fraction, Paths};
use crate::server::{MonitorState, PollAction};
use crate::sink::SinkSwitch;

/// The topic of settings in the journal, under the domain `_sluice`.
const SETTINGS_TOPIC: &str = "settings";

/// The longest that a change is waited for to become durable.
const DURABLE_TIMEOUT: Duration = Duration::from_secs(3);
/// How often it is looked whether it has.
const DURABLE_POLL: Duration = Duration::from_millis(5);

/// Why a change was not made.
const NOT_RECORDED: &str =
    "the change was not made: the journal takes no more of the daemon's own events; see `sluice health`";
/// As well.
const TAKEN_OVER: &str = "the change was not made: another process is taking over from this one; make it again when that is over, which the log says";

/// A setting that was made at run time, as the journal holds it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "setting", rename_all = "snake_case")]
pub(super) enum SettingRecord {
    /// A sink was switched.
    Sink {
        #[serde(flatten)]
        switch: SinkSwitch,
        /// When, RFC 3339.
        time: String,
    },
    /// A circuit breaker was held, or let go.
    Circuit {
        #[serde(flatten)]
        hold: CircuitHold,
        /// When, RFC 3339.
        time: String,
    },
    /// A monitor is held to its fall-back, or off it, or let go.
    Polling {
        #[serde(flatten)]
        switch: PollSwitch,
        /// When, RFC 3339.
        time: String,
    },
    /// A key of the settings was set, taken away, or given back to the other layers.
    Config {
        #[serde(flatten)]
        entry: ConfigEntry,
        /// When, RFC 3339.
        time: String,
    },
    /// The other path takes a monitor as well, to be compared; or no longer.
    Shadow {
        #[serde(flatten)]
        shadow: Shadow,
        /// When, RFC 3339.
        time: String,
    },
    /// Everything was stopped in an emergency, or takes again.
    Emergency {
        stopped: bool,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
        /// When, RFC 3339.
        time: String,
    },
    /// Monitors were stopped, put to rest, or started again.
    Monitors {
        monitors: Vec<String>,
        state: MonitorState,
        by: HeldBy,
        /// When, RFC 3339.
        time: String,
    },
    /// Something was decided about the share of monitors on the smart path, or a plan of it has gone on. All that is remembered
    /// of it, in the place of what was before.
    Rollout {
        rollout: Box<RolloutRecord>,
        /// When, RFC 3339.
        time: String,
    },
}

impl SettingRecord {
    /// A sink was switched, now.
    pub(super) fn sink(switch: SinkSwitch) -> Self {
        Self::Sink { switch, time: UnixNanos::now().to_string() }
    }

    /// A circuit breaker was held or let go, now.
    pub(super) fn circuit(hold: CircuitHold) -> Self {
        Self::Circuit { hold, time: UnixNanos::now().to_string() }
    }

    /// A monitor is held to its fall-back or off it, or let go, now.
    pub(super) fn polling(monitor: &str, action: PollAction) -> Self {
        let switch = PollSwitch { monitor: monitor.to_owned(), action };
        Self::Polling { switch, time: UnixNanos::now().to_string() }
    }

    /// A key was set or taken away, now; none: it was given back.
    pub(super) fn config(key: &KeyPath, value: Option<RunTimeValue>) -> Self {
        let (change, value) = match value {
            Some(RunTimeValue::Set(value)) => (ConfigChange::Set, Some(value)),
            Some(RunTimeValue::Removed) => (ConfigChange::Removed, None),
            None => (ConfigChange::Unset, None),
        };
        let entry = ConfigEntry { key: key.to_string(), change, value };
        Self::Config { entry, time: UnixNanos::now().to_string() }
    }

    /// The other path is to take a monitor as well until then; or no longer, from now on.
    pub(super) fn shadow(monitor: &str, until: Option<UnixNanos>) -> Self {
        let shadow = Shadow { monitor: monitor.to_owned(), until: until.map(|until| until.to_string()) };
        Self::Shadow { shadow, time: UnixNanos::now().to_string() }
    }

    /// Everything stands still, or takes again, from now on.
    pub(super) fn emergency(stopped: bool, reason: Option<&str>) -> Self {
        Self::Emergency { stopped, reason: reason.map(str::to_owned), time: UnixNanos::now().to_string() }
    }

    /// A roll-out stands like this, now.
    pub(super) fn rollout(rollout: RolloutRecord) -> Self {
        Self::Rollout { rollout: Box::new(rollout), time: UnixNanos::now().to_string() }
    }

    /// Monitors are to be in a state, from now on.
    pub(super) fn monitors(monitors: Vec<String>, state: MonitorState, by: HeldBy) -> Self {
        Self::Monitors { monitors, state, by, time: UnixNanos::now().to_string() }
    }
}

/// A monitor that both paths take, to be compared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Shadow {
    pub(super) monitor: String,
    /// Until when, RFC 3339; none: not any longer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) until: Option<String>,
}

impl Shadow {
    /// Whether it is taken at a moment.
    pub(super) fn is_at(&self, moment: UnixNanos) -> bool {
        let until = self.until.as_deref().and_then(|until| until.parse::<UnixNanos>().ok());
        until.is_some_and(|until| moment < until)
    }
}

/// That everything stands still.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Emergency {
    /// Since when, RFC 3339.
    pub(super) since: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) reason: Option<String>,
}

/// What a monitor's fall-back is held to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PollSwitch {
    pub(super) monitor: String,
    pub(super) action: PollAction,
}

/// What became of a key of the settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum ConfigChange {
    /// It has a value.
    Set,
    /// It is as if nothing had set it.
    Removed,
    /// It is what the other layers say.
    Unset,
}

/// A key of the settings, as TOML writes it, and what became of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct ConfigEntry {
    key: String,
    change: ConfigChange,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    value: Option<serde_json::Value>,
}

/// Who holds a monitor back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum HeldBy {
    /// Somebody asked for it.
    Operator,
    /// `[shedding]`.
    Rule,
}

/// A monitor that is not to run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct HeldMonitor {
    pub(super) monitor: String,
    pub(super) state: MonitorState,
    pub(super) by: HeldBy,
}

/// All settings that were made at run time, as snapshots and checkpoints hold them.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct SettingsRecord {
    /// Sinks that were switched.
    #[serde(default)]
    pub(super) sinks: Vec<SinkSwitch>,
    /// Circuit breakers that are held.
    #[serde(default)]
    pub(super) circuits: Vec<CircuitHold>,
    /// Monitors that are held to their fall-back, or off it.
    #[serde(default)]
    pub(super) polling: Vec<PollSwitch>,
    /// Keys of the settings.
    #[serde(default)]
    pub(super) config: Vec<ConfigEntry>,
    /// Monitors that are stopped or at rest.
    #[serde(default)]
    pub(super) monitors: Vec<HeldMonitor>,
    /// Monitors that both paths take, to be compared.
    #[serde(default)]
    pub(super) shadows: Vec<Shadow>,
    /// That everything stands still.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) emergency: Option<Emergency>,
    /// What was decided about the share of monitors on the smart path.
    #[serde(default, skip_serializing_if = "RolloutRecord::is_empty")]
    pub(super) rollout: RolloutRecord,
}

/// What is in force.
#[derive(Debug, Clone, Default)]
struct State {
    sinks: BTreeMap<String, SinkSwitch>,
    /// Circuit breakers that are held, and in what.
    circuits: BTreeMap<(CircuitKind, String), Forced>,
    polling: BTreeMap<String, PollAction>,
    config: RunTimeLayer,
    held: BTreeMap<String, HeldMonitor>,
    shadows: BTreeMap<String, Shadow>,
    emergency: Option<Emergency>,
    rollout: RolloutRecord,
}

impl State {
    fn of(record: SettingsRecord) -> Self {
        let mut state = Self::default();
        for entry in record.config {
            state.configure(entry);
        }
        for hold in record.circuits {
            state.hold(hold);
        }
        for switch in record.polling {
            state.poll(switch);
        }
        state.sinks = record.sinks.into_iter().map(|switch| (switch.sink.clone(), switch)).collect();
        state.shadows = record.shadows.into_iter().map(|shadow| (shadow.monitor.clone(), shadow)).collect();
        state.emergency = record.emergency;
        state.held = record.monitors.into_iter().map(|held| (held.monitor.clone(), held)).collect();
        state.rollout = record.rollout;
        state
    }

    fn record(&self) -> SettingsRecord {
        let entry = |(key, value): (&KeyPath, &RunTimeValue)| match SettingRecord::config(key, Some(value.clone())) {
            SettingRecord::Config { entry, .. } => Some(entry),
            _ => None,
        };
        SettingsRecord {
            sinks: self.sinks.values().cloned().collect(),
            circuits: self.circuits(),
            polling: self
                .polling
                .iter()
                .map(|(monitor, action)| PollSwitch { monitor: monitor.clone(), action: *action })
                .collect(),
            config: self.config.iter().filter_map(entry).collect(),
            monitors: self.held.values().cloned().collect(),
            shadows: self.shadows.values().cloned().collect(),
            emergency: self.emergency.clone(),
            rollout: self.rollout.clone(),
        }
    }

    fn apply(&mut self, record: SettingRecord) {
        match record {
            SettingRecord::Sink { switch, .. } => drop(self.sinks.insert(switch.sink.clone(), switch)),
            SettingRecord::Circuit { hold, .. } => self.hold(hold),
            SettingRecord::Polling { switch, .. } => self.poll(switch),
            SettingRecord::Config { entry, .. } => self.configure(entry),
            SettingRecord::Shadow { shadow, .. } if shadow.until.is_some() => {
                self.shadows.insert(shadow.monitor.clone(), shadow);
            }
            SettingRecord::Shadow { shadow, .. } => drop(self.shadows.remove(&shadow.monitor)),
            SettingRecord::Emergency { stopped, reason, time } => {
                self.emergency = stopped.then_some(Emergency { since: time, reason });
            }
            SettingRecord::Rollout { rollout, .. } => self.rollout = *rollout,
            SettingRecord::Monitors { monitors, state, by, .. } => {
                for monitor in monitors {
                    if state == MonitorState::Running {
                        self.held.remove(&monitor);
                    } else {
                        self.held.insert(monitor.clone(), HeldMonitor { monitor, state, by });
                    }
                }
            }
        }
    }

    fn poll(&mut self, PollSwitch { monitor, action }: PollSwitch) {
        match action {
            PollAction::Auto => drop(self.polling.remove(&monitor)),
            held => drop(self.polling.insert(monitor, held)),
        }
    }

    fn circuits(&self) -> Vec<CircuitHold> {
        let of = |((kind, name), forced): (&(CircuitKind, String), &Forced)| CircuitHold {
            kind: *kind,
            name: name.clone(),
            forced: Some(*forced),
        };
        self.circuits.iter().map(of).collect()
    }

    fn hold(&mut self, CircuitHold { kind, name, forced }: CircuitHold) {
        match forced {
            Some(forced) => drop(self.circuits.insert((kind, name), forced)),
            None => drop(self.circuits.remove(&(kind, name))),
        }
    }

    fn configure(&mut self, ConfigEntry { key, change, value }: ConfigEntry) {
        // Of a key that this release cannot read nothing can be said.
        let Some(key) = KeyPath::parse(&key) else { return };
        match (change, value) {
            (ConfigChange::Set, Some(value)) => self.config.set(key, RunTimeValue::Set(value)),
            (ConfigChange::Removed, _) => self.config.set(key, RunTimeValue::Removed),
            (ConfigChange::Unset, _) | (ConfigChange::Set, None) => drop(self.config.unset(&key)),
        }
    }
}

/// What is in force. Shared with the journal's snapshots, so it holds nothing that holds the journal.
#[derive(Debug, Default)]
pub(super) struct Switches {
    state: Mutex<State>,
}

/// What operators set at run time, out of the journal in a data folder that another process may be writing. Nothing where there is
/// none, or it cannot be read.
pub fn run_time_layer(data_dir: &Path) -> RunTimeLayer {
    let read = || Switches::read(&mut JournalReader::open(&journal::folder(data_dir))?);
    read().map(|switches| switches.config()).unwrap_or_default()
}

impl Switches {
    /// What the journal says was in force. Reads back to the newest snapshot and no further.
    pub(super) fn read(reader: &mut JournalReader) -> Result<Self, JournalError> {
        let filter = BlockFilter {
            monitors: vec![STATE_MONITOR.into(), SETTINGS_MONITOR.into()],
            domains: vec![OWN_DOMAIN.into()],
            ..BlockFilter::all()
        };
        let mut found = Found::default();
        // A segment that recovery made has no snapshot; the one before it then has.
        for base in reader.segment_bases()?.into_iter().rev() {
            found = Found::default();
            reader.seek(base);
            while let Some(block) = reader.next_block(&filter)? {
                for event in block.events().filter(|event| filter.admits(event)) {
                    found.take(event.monitor, event.payload);
                }
            }
            if found.snapshot {
                break;
            }
        }
        Ok(Self { state: Mutex::new(found.state) })
    }

    /// As checkpoints have it.
    pub(super) fn for_checkpoint(&self) -> BTreeMap<String, serde_json::Value> {
        // Maps of strings, numbers and truths: serialization has nothing to refuse. What nobody set is not in it.
        match serde_json::to_value(self.record()) {
            Ok(serde_json::Value::Object(kinds)) => {
                kinds.into_iter().filter(|(_, list)| list.as_array().is_none_or(|list| !list.is_empty())).collect()
            }
            _ => BTreeMap::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets what belongs to sinks that are no longer in the settings.
    pub(super) fn keep_sinks(&self, known: impl Fn(&str) -> bool) {
        self.lock().sinks.retain(|name, _| known(name));
    }

    /// Sinks that were switched.
    pub(super) fn sinks(&self) -> Vec<SinkSwitch> {
        self.lock().sinks.values().cloned().collect()
    }

    /// Forgets what belongs to circuits of which nothing is in the settings any more.
    pub(super) fn keep_circuits(&self, known: impl Fn(CircuitKind, &str) -> bool) {
        self.lock().circuits.retain(|(kind, name), _| known(*kind, name));
    }

    /// Circuit breakers that are held.
    pub(super) fn circuits(&self) -> Vec<CircuitHold> {
        self.lock().circuits()
    }

    /// Forgets what belongs to monitors that have no fall-back any more.
    pub(super) fn keep_polling(&self, known: impl Fn(&str) -> bool) {
        self.lock().polling.retain(|name, _| known(name));
    }

    /// Monitors that are held to their fall-back, or off it.
    pub(super) fn polling(&self) -> BTreeMap<String, PollAction> {
        self.lock().polling.clone()
    }

    /// Keys of the settings.
    pub(super) fn config(&self) -> RunTimeLayer {
        self.lock().config.clone()
    }

    /// Monitors that are not to run, by name.
    pub(super) fn held(&self) -> BTreeMap<String, HeldMonitor> {
        self.lock().held.clone()
    }

    /// Monitors that both paths take, to be compared, and until when.
    pub(super) fn shadows(&self) -> Vec<Shadow> {
        self.lock().shadows.values().cloned().collect()
    }

    /// Whether everything stands still.
    pub(super) fn emergency(&self) -> Option<Emergency> {
        self.lock().emergency.clone()
    }

    /// The same as upstreams take it.
    pub(super) fn pauses(&self, settings: &Settings) -> BTreeMap<String, Pause> {
        if self.emergency().is_some() {
            return settings.monitors.keys().map(|name| (name.clone(), Pause::Stopped)).collect();
        }
        let pause = |held: &HeldMonitor| match held.state {
            MonitorState::Stopped => Some(Pause::Stopped),
            MonitorState::Resting => Some(Pause::Resting),
            MonitorState::Running => None,
        };
        self.lock().held.iter().filter_map(|(name, held)| Some((name.clone(), pause(held)?))).collect()
    }

    /// What was decided about the share of monitors on the smart path, and what of a plan and the guard is remembered.
    pub(super) fn rollout(&self) -> RolloutRecord {
        self.lock().rollout.clone()
    }

    /// Who is on which path, by settings and what was decided at run time.
    pub(super) fn paths(&self, settings: &Settings) -> Paths {
        let decided = self.rollout().decision.map(|decision| decision.fraction);
        let mut paths = rollout::choice::choose(settings, decided.map(Fraction::get));
        let now = UnixNanos::now();
        // Where the smart path is switched off, it takes nothing, not even to be compared.
        let shadows = self.shadows().into_iter().filter(|shadow| settings.smart_streaming.enabled && shadow.is_at(now));
        for shadow in shadows {
            if settings.monitors.contains_key(&shadow.monitor) {
                paths.shadow(&shadow.monitor);
            }
        }
        paths
    }

    /// For a snapshot.
    pub(super) fn record(&self) -> SettingsRecord {
        self.lock().record()
    }
}

#[derive(Default)]
struct Found {
    snapshot: bool,
    state: State,
}

impl Found {
    fn take(&mut self, monitor: &str, payload: &[u8]) {
        #[derive(Deserialize)]
        struct Snapshot {
            #[serde(default)]
            settings: SettingsRecord,
        }
        if monitor == STATE_MONITOR {
            // A snapshot has all; one that an older release wrote knows of none.
            let Ok(Snapshot { settings }) = serde_json::from_slice(payload) else { return };
            self.snapshot = true;
            self.state = State::of(settings);
        } else if let Ok(record) = serde_json::from_slice(payload) {
            self.state.apply(record);
        }
    }
}

/// Puts changes on record, one at a time.
pub(super) struct SwitchLog {
    pub(super) switches: Arc<Switches>,
    pub(super) monitor: Arc<MonitorIdentity>,
    pub(super) journal: Arc<Journal>,
    pub(super) clock: Arc<ReceivedClock>,
    pub(super) turn: Mutex<()>,
    /// Whether another process takes over from this one, so that nothing is to change.
    pub(super) taking_over: AtomicBool,
}

impl SwitchLog {
    /// Whether nothing is to change, because another process takes over.
    pub(super) fn is_taken_over(&self) -> bool {
        self.taking_over.load(Ordering::Acquire)
    }

    /// Why a change was not put on record.
    pub(super) fn not_recorded(&self) -> &'static str {
        if self.is_taken_over() { TAKEN_OVER } else { NOT_RECORDED }
    }

    /// Journals a change. Blocking: returns when it is durable, and will be in force after a restart too. False when the
    /// journal does not take it; nothing has changed then.
    pub(super) fn remember(&self, record: &SettingRecord) -> bool {
        self.remember_with(record, Vec::new())
    }

    /// As [`SwitchLog::remember`]; `told` becomes durable with it, or none of both.
    pub(super) fn remember_with(&self, record: &SettingRecord, told: Vec<OwnEvent>) -> bool {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        // An emergency does not wait; it has no monitor change paths.
        if self.is_taken_over() && !matches!(record, SettingRecord::Emergency { stopped: true, .. }) {
            return false;
        }
        // Never later than the event: a snapshot between the two must not lack it.
        let before = {
            let mut state = self.switches.lock();
            let before = state.clone();
            state.apply(record.clone());
            before
        };
        let from = self.journal.durable();
        let events: Vec<OwnEvent> =
            std::iter::once(OwnEvent::new(&self.monitor, SETTINGS_TOPIC, record)).chain(told).collect();
        let block = events_block(&events, self.clock.stamp());
        if self.journal.try_submit_own(block).is_ok() && self.is_durable(from, record) {
            return true;
        }
        *self.switches.lock() = before;
        false
    }

    fn is_durable(&self, from: crate::journal::Offset, record: &SettingRecord) -> bool {
        let filter = BlockFilter {
            monitors: vec![SETTINGS_MONITOR.into()],
            domains: vec![OWN_DOMAIN.into()],
            ..BlockFilter::all()
        };
        let mut reader = self.journal.reader();
        reader.seek(from);
        let deadline = Instant::now() + DURABLE_TIMEOUT;
        while Instant::now() < deadline {
            match reader.next_block(&filter) {
                Ok(Some(block)) => {
                    let same =
                        |payload| serde_json::from_slice::<SettingRecord>(payload).is_ok_and(|found| found == *record);
                    if block.events().any(|event| filter.admits(&event) && same(event.payload)) {
                        return true;
                    }
                }
                Ok(None) => std::thread::sleep(DURABLE_POLL),
                Err(_) => return false,
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn key(text: &str) -> KeyPath {
        KeyPath::parse(text).unwrap()
    }

    #[test]
    fn a_snapshot_has_all_that_was_set_at_run_time_and_gives_it_back() {
        let mut state = State::default();
        let set = |text: &str, value| SettingRecord::config(&key(text), Some(RunTimeValue::Set(value)));
        let records = [
            set("log.level", json!("debug")),
            set("monitors.\"a.b\"", json!({"domain": "d", "topics": ["x"]})),
            set("monitors.\"a.b\".priority", json!("low")),
            SettingRecord::config(&key("monitors.c"), Some(RunTimeValue::Removed)),
            set("pool.max_connections", json!(3)),
            SettingRecord::config(&key("pool"), None),
            SettingRecord::monitors(vec!["m".into(), "n".into()], MonitorState::Stopped, HeldBy::Operator),
            SettingRecord::monitors(vec!["n".into()], MonitorState::Running, HeldBy::Operator),
            SettingRecord::monitors(vec!["o".into()], MonitorState::Resting, HeldBy::Rule),
            SettingRecord::polling("p", PollAction::Off),
            SettingRecord::polling("q", PollAction::On),
            SettingRecord::polling("p", PollAction::Auto),
            SettingRecord::sink(SinkSwitch { sink: "s".into(), enabled: false, start_at: None }),
            SettingRecord::rollout(RolloutRecord::default()),
            SettingRecord::rollout(RolloutRecord { good: vec![Fraction::ALL], ..RolloutRecord::default() }),
        ];
        for record in records {
            // As the journal holds it.
            let text = serde_json::to_vec(&record).unwrap();
            assert_eq!(serde_json::from_slice::<SettingRecord>(&text).unwrap(), record);
            state.apply(record);
        }
        let keys: Vec<String> = state.config.iter().map(|(key, _)| key.to_string()).collect();
        assert_eq!(keys, ["log.level", "monitors.\"a.b\"", "monitors.\"a.b\".priority", "monitors.c"]);
        assert_eq!(state.held.keys().collect::<Vec<_>>(), ["m", "o"]);
        assert_eq!(state.polling, BTreeMap::from([("q".to_owned(), PollAction::On)]));
        let text = serde_json::to_vec(&json!({"settings": state.record()})).unwrap();
        let mut found = Found::default();
        found.take(STATE_MONITOR, &text);
        assert!(found.snapshot);
        assert_eq!(found.state.record(), state.record());
        assert_eq!(found.state.config, state.config);
        assert_eq!(found.state.rollout.good, [Fraction::ALL]);
    }

    #[test]
    fn a_snapshot_of_an_older_release_knows_of_nothing_that_was_set() {
        let mut found = Found::default();
        found.take(STATE_MONITOR, b"{\"settings\": {\"sinks\": [{\"sink\": \"s\", \"enabled\": false}]}}");
        assert!(found.snapshot && found.state.config.is_empty() && found.state.held.is_empty());
        assert_eq!(found.state.sinks.len(), 1);
        found.take(SETTINGS_MONITOR, b"{\"setting\": \"of a later release\", \"x\": 1}");
        assert_eq!(found.state.sinks.len(), 1);
    }
}
