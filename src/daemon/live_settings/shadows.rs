//! Monitors that the other path takes as well, to be compared: begun and ended by operators, and over at their time.

use std::time::Duration;

use super::{LiveSettings, missing};
use crate::clock::UnixNanos;
use crate::daemon::switches::{SettingRecord, Shadow};
use crate::journal::SHADOW_DOMAINS;
use crate::server::{ChangeRefusal, Kind, ShadowRow};

impl LiveSettings {
    /// Blocking.
    pub(super) fn set_shadow(&self, name: &str, span: Duration) -> Result<ShadowRow, ChangeRefusal> {
        let state = self.lock();
        let settings = &state.loaded.settings;
        let Some(monitor) = settings.monitors.get(name) else { return Err(missing(Kind::Monitor, name)) };
        if !settings.smart_streaming.enabled && !span.is_zero() {
            let error = "the smart path is switched off (`smart_streaming.enabled`, USE_SMART_STREAMING): there is nothing to compare with";
            return Err(ChangeRefusal::new(409, error));
        }
        if self.log.switches.emergency().is_some() && !span.is_zero() {
            let error = "everything is stopped in an emergency, and nothing is taken: `sluice start` first";
            return Err(ChangeRefusal::new(409, error));
        }
        let now = UnixNanos::now();
        let until = (!span.is_zero()).then(|| now.saturating_add(span));
        let known = self.log.switches.shadows().iter().any(|shadow| shadow.monitor == name);
        if (until.is_some() || known) && !self.log.remember(&SettingRecord::shadow(name, until)) {
            return Err(self.not_recorded());
        }
        // What is in force was checked, on either path.
        self.set_in_motion(settings).map_err(|error| ChangeRefusal::new(500, error.to_string()))?;
        let path = self.log.switches.paths(settings).of(name).path.other();
        let until = until.map(|until| until.to_string());
        tracing::info!(monitor = name, path = path.as_str(), until, "shadow");
        let (monitor, domain) = (name.to_owned(), format!("{SHADOW_DOMAINS}{}", monitor.domain));
        Ok(ShadowRow { monitor, path, domain, until })
    }

    /// Shadows whose time is over.
    pub(in crate::daemon) fn shadows_over(&self) -> Vec<String> {
        let now = UnixNanos::now();
        let shadows = self.log.switches.shadows().into_iter();
        shadows.filter(|shadow| !shadow.is_at(now)).map(|Shadow { monitor, .. }| monitor).collect()
    }

    /// Ends them. Blocking.
    pub(in crate::daemon) fn end_shadows(&self, names: &[String]) {
        for name in names {
            if let Err(error) = self.set_shadow(name, Duration::ZERO) {
                tracing::warn!(monitor = %name, "its shadow is over and goes on: {error}");
            }
        }
    }
}
