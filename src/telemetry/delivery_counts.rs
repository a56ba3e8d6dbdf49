//! What became of notifications: counted by whoever tells, read by alert rules.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// What became of notifications, by channel: counted by whoever tells, read by alert rules.
#[derive(Debug, Default)]
pub struct DeliveryCounts(Mutex<BTreeMap<String, (u64, u64)>>);

impl DeliveryCounts {
    /// A notification over a channel has ended: somebody has got it, or nobody.
    pub fn ended(&self, channel: &str, sent: bool) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (ended, failed) = counts.entry(channel.to_owned()).or_default();
        *ended += 1;
        *failed += u64::from(!sent);
    }

    /// By channel, how many have ended, and how many of them nobody has got.
    pub fn now(&self) -> Vec<(String, u64, u64)> {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts.iter().map(|(channel, (ended, failed))| (channel.clone(), *ended, *failed)).collect()
    }
}
