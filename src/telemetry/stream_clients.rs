//! How many stream from the HTTP port: counted by the server, read by alert rules.

use std::sync::atomic::{AtomicU64, Ordering};

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
