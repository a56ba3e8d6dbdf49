//! What went wrong with the connections of an upstream's paths since the start. It outlives pools and dedicated links.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::journal::Path;

/// Of one path of an upstream.
#[derive(Debug, Default)]
pub struct PathCounts {
    failures: AtomicU64,
    refused: AtomicU64,
}

impl PathCounts {
    pub(super) fn failed(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn refused(&self, topics: usize) {
        self.refused.fetch_add(topics as u64, Ordering::Relaxed);
    }

    /// Connections that were lost, or could not be had.
    pub fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    /// Subscriptions that were refused.
    pub fn refusals(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }
}

/// Of all upstreams.
#[derive(Debug, Default)]
pub struct PathCountsBook(Mutex<BTreeMap<(String, Path), Arc<PathCounts>>>);

impl PathCountsBook {
    /// Of one path of an upstream, always the same.
    pub fn of(&self, upstream: &str, path: Path) -> Arc<PathCounts> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(known.entry((upstream.to_owned(), path)).or_default())
    }
}
