//! Everything stands still until somebody says `start`, over restarts too.

use std::thread;
use std::time::Duration;

use tokio::time::Instant;

use super::LiveSettings;
use crate::daemon::switches::{Emergency, SettingRecord};
use crate::server::{ChangeRefusal, EmergencyRow};

/// The longest that is waited for links to end and for what they had taken to become durable.
const DRAIN_MAX: Duration = Duration::from_secs(10);
/// How often it is looked whether it has.
const DRAIN_POLL: Duration = Duration::from_millis(10);

impl LiveSettings {
    /// Whether everything stands still.
    pub(in crate::daemon) fn emergency_now(&self) -> Option<Emergency> {
        self.log.switches.emergency()
    }

    /// Blocking.
    pub(super) fn stand_still(&self, stopped: bool, reason: Option<&str>) -> Result<EmergencyRow, ChangeRefusal> {
        let state = self.lock();
        let switches = &self.log.switches;
        if !stopped && switches.emergency().is_none() {
            return Err(ChangeRefusal::new(
                409,
                "nothing was stopped in an emergency: monitors are taken as they should be",
            ));
        }
        if switches.emergency().is_some() != stopped {
            if !self.log.remember(&SettingRecord::emergency(stopped, reason)) {
                return Err(self.not_recorded());
            }
            if stopped {
                tracing::warn!(reason, "emergency stop: nothing is taken until `sluice start`");
                self.gate.close();
            } else {
                tracing::info!("taken again, after an emergency stop");
                self.gate.open();
            }
            // What is in force was checked, and monitors that take nothing need nothing.
            let applied = self.set_in_motion(&state.loaded.settings);
            applied.map_err(|error| ChangeRefusal::new(500, error.to_string()))?;
        }
        drop(state);
        let drained = if stopped { self.drain() } else { true };
        let emergency = switches.emergency();
        Ok(EmergencyRow {
            stopped: emergency.is_some(),
            since: emergency.as_ref().map(|emergency| emergency.since.clone()),
            reason: emergency.and_then(|emergency| emergency.reason),
            durable_offset: self.log.journal.durable().0,
            drained,
        })
    }

    /// Waits until no link is open any more, and all that was taken is durable. Whether that came about.
    fn drain(&self) -> bool {
        let deadline = Instant::now() + DRAIN_MAX;
        while self.followers.pools.is_taking() {
            if Instant::now() >= deadline {
                return false;
            }
            thread::sleep(DRAIN_POLL);
        }
        true
    }
}
