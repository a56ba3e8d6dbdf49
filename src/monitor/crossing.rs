//! A monitor on its way from one path to the other, while both take it.
//!
//! Both sides' links say what they bring of it, since the old side may go only when it has brought everything that was sent before
//! the new one was heard: see [`Meeting`]. The new side drops what the old one has brought, and the other way round.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::meeting::{Meeting, Proof, Side};
use crate::clock::UnixNanos;
use crate::journal::Path;

/// A monitor that both paths take for a time.
#[derive(Debug)]
pub struct Crossing {
    /// The upstream that both paths take it from.
    pub upstream: String,
    /// Where it was.
    pub from: Path,
    /// Where it will be.
    pub to: Path,
    /// When it began.
    pub began: UnixNanos,
    draining: AtomicBool,
    topics: Mutex<HashMap<Arc<str>, Meeting>>,
}

impl Crossing {
    /// To the other path than `from`, beginning now.
    pub fn new(upstream: &str, from: Path, began: UnixNanos) -> Self {
        let upstream = upstream.to_owned();
        let (draining, topics) = (AtomicBool::new(false), Mutex::default());
        Self { upstream, from, to: from.other(), began, draining, topics }
    }

    /// The new side is up: the old one only brings what is under way still, as fast as it can.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Release);
    }

    /// Whether a path is the old side, and only brings what is under way.
    pub fn drains(&self, path: Path) -> bool {
        path == self.from && self.draining.load(Ordering::Acquire)
    }

    /// A burst of a path brought an event of a topic, told by a hash of its id.
    pub fn brought(&self, path: Path, topic: &Arc<str>, at: UnixNanos, hash: u64) {
        let side = if path == self.from { Side::Old } else { Side::New };
        self.lock().entry(Arc::clone(topic)).or_default().brought(side, at, hash);
    }

    /// What speaks for the old side having brought all of a topic.
    pub fn proof(&self, topic: &str) -> Proof {
        self.lock().get(topic).map_or(Proof::Quiet, Meeting::proof)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Arc<str>, Meeting>> {
        // Whole between two calls: a panic elsewhere leaves at worst less proof than there is.
        self.topics.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
