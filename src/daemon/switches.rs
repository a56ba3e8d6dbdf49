//! Settings that an operator made at run time: journaled, so that they outlive the process, and read back at the start.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::own_events::event_block;
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
}

/// All settings that were made at run time, as snapshots hold them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SettingsRecord {
    /// Sinks that were switched.
    #[serde(default)]
    pub(super) sinks: Vec<SinkSwitch>,
}

/// What is in force. Shared with the journal's snapshots, so it holds nothing that holds the journal.
#[derive(Debug, Default)]
pub(super) struct Switches {
    sinks: Mutex<BTreeMap<String, SinkSwitch>>,
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
        Ok(Self { sinks: Mutex::new(found.sinks) })
    }

    /// As checkpoints have it.
    pub(super) fn for_checkpoint(&self) -> BTreeMap<String, serde_json::Value> {
        let sinks: Vec<SinkSwitch> = self.lock().values().cloned().collect();
        // Strings, numbers and truths: serialization has nothing to refuse.
        let sinks = (!sinks.is_empty()).then(|| serde_json::to_value(sinks).unwrap_or_default());
        sinks.map(|sinks| ("sinks".to_owned(), sinks)).into_iter().collect()
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

    /// For a snapshot.
    pub(super) fn record(&self) -> SettingsRecord {
        SettingsRecord { sinks: self.sinks() }
    }
}

#[derive(Default)]
struct Found {
    snapshot: bool,
    sinks: BTreeMap<String, SinkSwitch>,
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
        } else if let Ok(SettingRecord::Sink { switch, .. }) = serde_json::from_slice(payload) {
            self.sinks.insert(switch.sink.clone(), switch);
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
        let from = self.journal.durable();
        let block = event_block(&self.monitor, SETTINGS_TOPIC, &record, self.clock.stamp());
        if self.journal.try_submit_own(block).is_ok() && self.is_durable(from, &record) {
            return true;
        }
        let mut sinks = self.switches.lock();
        match before {
            Some(before) => sinks.insert(switch.sink.clone(), before),
            None => sinks.remove(&switch.sink),
        };
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
