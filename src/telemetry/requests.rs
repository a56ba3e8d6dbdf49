//! What the HTTP port has answered, and how many stream from it: counted by the server, read by alert rules.

use std::sync::atomic::{AtomicU64, Ordering};

/// Requests that were answered, since the start.
#[derive(Debug, Default)]
pub struct RequestCounts {
    requests: AtomicU64,
    server_errors: AtomicU64,
}

impl RequestCounts {
    /// Those of this process's HTTP port.
    pub fn of_process() -> &'static Self {
        static COUNTS: RequestCounts = RequestCounts { requests: AtomicU64::new(0), server_errors: AtomicU64::new(0) };
        &COUNTS
    }

    /// A request was answered with this status.
    pub fn answered(&self, status: u16) {
        if status >= 500 {
            self.server_errors.fetch_add(1, Ordering::Relaxed);
        }
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    /// All that were answered, and those of them that were answered with 5xx.
    pub fn now(&self) -> (u64, u64) {
        // Errors first, so that there are never more of them than requests.
        let errors = self.server_errors.load(Ordering::Relaxed);
        (self.requests.load(Ordering::Relaxed), errors)
    }
}

/// Clients that stream, and how many there may be.
#[derive(Debug, Default)]
pub struct StreamClients {
    open: AtomicU64,
    limit: AtomicU64,
}

impl StreamClients {
    /// Those of this process's HTTP port.
    pub fn of_process() -> &'static Self {
        static CLIENTS: StreamClients = StreamClients { open: AtomicU64::new(0), limit: AtomicU64::new(0) };
        &CLIENTS
    }

    /// So many may be there; 0: nothing is streamed.
    pub fn set_limit(&self, limit: u64) {
        self.limit.store(limit, Ordering::Relaxed);
    }

    /// One has come.
    pub fn opened(&self) {
        self.open.fetch_add(1, Ordering::Relaxed);
    }

    /// One has gone.
    pub fn closed(&self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }

    /// Those that are there, and how many there may be.
    pub fn now(&self) -> (u64, u64) {
        (self.open.load(Ordering::Relaxed), self.limit.load(Ordering::Relaxed))
    }
}

/// What became of notifications, by channel: counted by whoever tells, read by alert rules.
#[derive(Debug, Default)]
pub struct DeliveryCounts(std::sync::Mutex<std::collections::BTreeMap<String, (u64, u64)>>);

impl DeliveryCounts {
    /// A notification over a channel has ended: somebody has got it, or nobody.
    pub fn ended(&self, channel: &str, sent: bool) {
        let mut counts = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let (ended, failed) = counts.entry(channel.to_owned()).or_default();
        *ended += 1;
        *failed += u64::from(!sent);
    }

    /// By channel, how many have ended, and how many of them nobody has got.
    pub fn now(&self) -> Vec<(String, u64, u64)> {
        let counts = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        counts.iter().map(|(channel, (ended, failed))| (channel.clone(), *ended, *failed)).collect()
    }
}
