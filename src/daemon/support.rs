//! What the daemon tells those who look for a fault in it.

use std::sync::Arc;

use super::live_settings::LiveSettings;
use crate::credentials::Scrubber;
use crate::server::Support;
use crate::telemetry;

/// The daemon's own account of itself.
pub(super) struct DaemonSupport(pub(super) Arc<LiveSettings>);

impl Support for DaemonSupport {
    fn logs(&self, limit: usize) -> Vec<String> {
        let (hidden, environment) = self.0.hidden();
        let scrubber = Scrubber::new(hidden, &environment);
        telemetry::recent_lines(limit).iter().map(|line| scrubber.scrub(line)).collect()
    }
}
