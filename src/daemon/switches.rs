//! Settings that an operator made at run time: journaled, so that they outlive the process, and read back at the start.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::own_events::event_block;
use crate::breaker::{CircuitKind, Forced};
use crate::circuits::CircuitHold;
use crate::clock::{ReceivedClock, UnixNanos};
use crate::journal::{
    BlockFilter, Journal, JournalError, JournalReader, MonitorIdentity, OWN_DOMAIN, SETTINGS_MONITOR, STATE_MONITOR,
};
use crate::sink::SinkSwitch;

/// The topic of settings in the journal, under the domain `_sluice`.
const SETTINGS_TOPIC: &str = "settings";

/// The longest that a change is waited for to become durable.
const DURABLE_TIMEOUT: Duration = Duration::from_secs(3);
/// How often it is looked whether it has.
const DURABLE_POLL: Duration = Duration::from_millis(5);

/// A setting that was made at run time, as the journal holds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "setting", rename_all = "snake_case")]
enum SettingRecord {
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
}

/// All settings that were made at run time, as snapshots hold them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SettingsRecord {
    /// Sinks that were switched.
    #[serde(default)]
    pub(super) sinks: Vec<SinkSwitch>,
    /// Circuit breakers that are held.
    #[serde(default)]
    pub(super) circuits: Vec<CircuitHold>,
}

/// Circuit breakers that are held, and in what.
type Held = BTreeMap<(CircuitKind, String), Forced>;

/// What is in force. Shared with the journal's snapshots, so it holds nothing that holds the journal.
#[derive(Debug, Default)]
pub(super) struct Switches {
    sinks: Mutex<BTreeMap<String, SinkSwitch>>,
    circuits: Mutex<Held>,
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
        Ok(Self { sinks: Mutex::new(found.sinks), circuits: Mutex::new(found.circuits) })
    }

    /// As checkpoints have it.
    pub(super) fn for_checkpoint(&self) -> BTreeMap<String, serde_json::Value> {
        let SettingsRecord { sinks, circuits } = self.record();
        // Strings, numbers and truths: serialization has nothing to refuse.
        let sinks = (!sinks.is_empty()).then(|| ("sinks", serde_json::to_value(sinks).unwrap_or_default()));
        let circuits = (!circuits.is_empty()).then(|| ("circuits", serde_json::to_value(circuits).unwrap_or_default()));
        sinks.into_iter().chain(circuits).map(|(key, value)| (key.to_owned(), value)).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, SinkSwitch>> {
        self.sinks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets what belongs to sinks that are no longer in the settings.
    pub(super) fn keep_sinks(&self, known: impl Fn(&str) -> bool) {
        self.lock().retain(|name, _| known(name));
    }

    /// Sinks that were switched.
    pub(super) fn sinks(&self) -> Vec<SinkSwitch> {
        self.lock().values().cloned().collect()
    }

    fn lock_circuits(&self) -> MutexGuard<'_, Held> {
        self.circuits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets what belongs to circuits of which nothing is in the settings any more.
    pub(super) fn keep_circuits(&self, known: impl Fn(CircuitKind, &str) -> bool) {
        self.lock_circuits().retain(|(kind, name), _| known(*kind, name));
    }

    /// Circuit breakers that are held.
    pub(super) fn circuits(&self) -> Vec<CircuitHold> {
        let held = self.lock_circuits();
        let of = |((kind, name), forced): (&(CircuitKind, String), &Forced)| CircuitHold {
            kind: *kind,
            name: name.clone(),
            forced: Some(*forced),
        };
        held.iter().map(of).collect()
    }

    /// For a snapshot.
    pub(super) fn record(&self) -> SettingsRecord {
        SettingsRecord { sinks: self.sinks(), circuits: self.circuits() }
    }
}

#[derive(Default)]
struct Found {
    snapshot: bool,
    sinks: BTreeMap<String, SinkSwitch>,
    circuits: Held,
}

/// Notes a hold, or that there is none any more; what was held before is given back.
fn put(circuits: &mut Held, hold: &CircuitHold) -> Option<Forced> {
    let key = (hold.kind, hold.name.clone());
    match hold.forced {
        Some(forced) => circuits.insert(key, forced),
        None => circuits.remove(&key),
    }
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
            self.sinks = settings.sinks.into_iter().map(|switch| (switch.sink.clone(), switch)).collect();
            self.circuits.clear();
            for hold in &settings.circuits {
                put(&mut self.circuits, hold);
            }
            return;
        }
        match serde_json::from_slice(payload) {
            Ok(SettingRecord::Sink { switch, .. }) => {
                self.sinks.insert(switch.sink.clone(), switch);
            }
            Ok(SettingRecord::Circuit { hold, .. }) => {
                put(&mut self.circuits, &hold);
            }
            // What a newer release set, this one knows nothing of.
            Err(_) => {}
        }
    }
}

/// Puts changes on record.
pub(super) struct SwitchLog {
    pub(super) switches: Arc<Switches>,
    pub(super) monitor: Arc<MonitorIdentity>,
    pub(super) journal: Arc<Journal>,
    pub(super) clock: Arc<ReceivedClock>,
}

impl SwitchLog {
    /// Journals a change of a sink. Blocking: returns when it is durable, and will be in force after a restart too. False when the
    /// journal does not take it; nothing has changed then.
    pub(super) fn remember(&self, switch: &SinkSwitch) -> bool {
        let record = SettingRecord::Sink { switch: switch.clone(), time: UnixNanos::now().to_string() };
        // One at a time, and never later than the event: a snapshot between the two must not lack it.
        let mut sinks = self.switches.lock();
        let before = sinks.insert(switch.sink.clone(), switch.clone());
        drop(sinks);
        if self.journaled(&record) {
            return true;
        }
        let mut sinks = self.switches.lock();
        match before {
            Some(before) => sinks.insert(switch.sink.clone(), before),
            None => sinks.remove(&switch.sink),
        };
        false
    }

    /// The same for a circuit breaker that is held or let go.
    pub(super) fn remember_circuit(&self, hold: &CircuitHold) -> bool {
        let record = SettingRecord::Circuit { hold: hold.clone(), time: UnixNanos::now().to_string() };
        let before = put(&mut self.switches.lock_circuits(), hold);
        if self.journaled(&record) {
            return true;
        }
        put(&mut self.switches.lock_circuits(), &CircuitHold { forced: before, ..hold.clone() });
        false
    }

    /// Whether the journal takes it, and it becomes durable.
    fn journaled(&self, record: &SettingRecord) -> bool {
        let from = self.journal.durable();
        let block = event_block(&self.monitor, SETTINGS_TOPIC, record, self.clock.stamp());
        self.journal.try_submit_own(block).is_ok() && self.is_durable(from, record)
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
