//! What became of notices: the last ones, counts by channel, and whoever wants to be told.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Delivery, Outcome};
use crate::telemetry::NotificationMetrics;

/// So many are remembered. All are in the journal.
const KEPT_MAX: usize = 1000;

/// What a channel did since the start.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChannelFigures {
    /// Its name.
    pub channel: String,
    /// Notices that its server has taken.
    pub sent: u64,
    /// That it has not.
    pub failed: u64,
    /// That were not tried.
    pub dropped: u64,
    /// That wait now.
    pub waiting: u64,
}

/// Is told of every delivery.
pub(super) type Listener = Arc<dyn Fn(&Delivery) + Send + Sync>;

/// The log.
#[derive(Default)]
pub(super) struct Log {
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    last: VecDeque<Delivery>,
    channels: BTreeMap<String, (ChannelFigures, NotificationMetrics)>,
    listeners: Vec<Listener>,
}

impl Log {
    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has `listener` told of every delivery from now on.
    pub(super) fn listen(&self, listener: Listener) {
        self.lock().listeners.push(listener);
    }

    /// Counts for a channel from now on, if not yet.
    pub(super) fn begin(&self, channel: &str) {
        self.lock().channel(channel);
    }

    /// Notes a delivery that was over after so long.
    pub(super) fn note(&self, delivery: &Delivery, took: Duration) {
        let listeners = {
            let mut known = self.lock();
            let (figures, metrics) = known.channel(&delivery.channel);
            match delivery.outcome {
                Outcome::Sent => figures.sent += 1,
                Outcome::Failed => figures.failed += 1,
                Outcome::Dropped => figures.dropped += 1,
            }
            metrics.ended(delivery.outcome, took);
            if known.last.len() == KEPT_MAX {
                known.last.pop_front();
            }
            known.last.push_back(delivery.clone());
            known.listeners.clone()
        };
        // Not under the lock: they may ask us something.
        for listener in listeners {
            listener(delivery);
        }
        let Delivery { alert, channel, occasion, attempts, outcome, error, .. } = delivery;
        let occasion = occasion.as_str();
        match outcome {
            Outcome::Sent => tracing::debug!(channel, alert, occasion, attempts, "told"),
            Outcome::Failed | Outcome::Dropped => {
                let error = error.as_deref().unwrap_or_default();
                tracing::warn!(channel, alert, occasion, attempts, "nobody was told of an alert: {error}");
            }
        }
    }

    /// The last ones, at most so many, the newest first.
    pub(super) fn last(&self, limit: usize) -> Vec<Delivery> {
        self.lock().last.iter().rev().take(limit).cloned().collect()
    }

    /// What each channel did.
    pub(super) fn figures(&self) -> Vec<ChannelFigures> {
        self.lock().channels.values().map(|(figures, _)| figures.clone()).collect()
    }
}

impl Known {
    fn channel(&mut self, name: &str) -> &mut (ChannelFigures, NotificationMetrics) {
        self.channels.entry(name.to_owned()).or_insert_with(|| {
            let figures = ChannelFigures { channel: name.to_owned(), ..ChannelFigures::default() };
            (figures, NotificationMetrics::new(name))
        })
    }
}
