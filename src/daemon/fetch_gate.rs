//! Whether anything may be fetched over HTTP: not while everything stands still.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

/// What fetches stop by, and begin by.
#[derive(Debug)]
pub(super) struct FetchGate {
    /// Given at the daemon's stop.
    stop: CancellationToken,
    /// Given also when everything is to stand still.
    now: Mutex<CancellationToken>,
}

impl FetchGate {
    /// An open one, until `stop` is given.
    pub(super) fn new(stop: CancellationToken) -> Self {
        let now = Mutex::new(stop.child_token());
        Self { stop, now }
    }

    /// What a fetch that begins now has to stop by; none where it may not begin.
    pub(super) fn begin(&self) -> Option<CancellationToken> {
        Some(self.lock().clone()).filter(|now| !now.is_cancelled())
    }

    /// Breaks off what is under way, and lets nothing begin.
    pub(super) fn close(&self) {
        self.lock().cancel();
    }

    /// Lets fetches begin again.
    pub(super) fn open(&self) {
        let mut now = self.lock();
        if now.is_cancelled() && !self.stop.is_cancelled() {
            *now = self.stop.child_token();
        }
    }

    fn lock(&self) -> MutexGuard<'_, CancellationToken> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
