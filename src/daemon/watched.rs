//! The upstreams that are watched, as the rest of the daemon sees them. Which they are changes while it runs.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::figures::UpstreamFigures;
use crate::dialect::Limits;
use crate::monitor::roster::Roster;
use crate::upstream::{LinkState, UpstreamControl, UpstreamStatus};

/// An upstream at one moment.
#[derive(Clone)]
pub(super) struct Watched {
    pub(super) roster: Arc<Roster>,
    pub(super) status: Arc<UpstreamStatus>,
    pub(super) limits: Limits,
}

impl Watched {
    /// Its links, and what they brought for no monitor.
    pub(super) fn figures(&self) -> UpstreamFigures {
        let links = self.status.links();
        UpstreamFigures {
            name: self.roster.upstream.clone(),
            links: self.status.wanted(),
            open: links.iter().filter(|link| matches!(link.state, LinkState::Open | LinkState::Held)).count(),
            reconnects: links.iter().map(|link| link.connects.saturating_sub(1)).sum(),
            quarantined: self.roster.upstream_totals.now().quarantined,
        }
    }
}

/// All of them, by name. Holds nothing that holds the journal, since the journal's snapshots hold this.
#[derive(Default)]
pub(super) struct WatchedList(Mutex<BTreeMap<String, UpstreamControl>>);

impl WatchedList {
    /// All that there are now.
    pub(super) fn now(&self) -> Vec<Watched> {
        let watched = |control: &UpstreamControl| Watched {
            roster: control.roster(),
            status: control.status(),
            limits: control.limits(),
        };
        self.lock().values().map(watched).collect()
    }

    /// Who watches upstreams that can be taken up again.
    pub(super) fn resumable(&self) -> Vec<Arc<Roster>> {
        let resumes = |control: &&UpstreamControl| control.dialect().resumption().is_some();
        self.lock().values().filter(resumes).map(UpstreamControl::roster).collect()
    }

    /// One by its name.
    pub(super) fn control(&self, name: &str) -> Option<UpstreamControl> {
        self.lock().get(name).cloned()
    }

    /// Adds one, or puts it in the place of the one with its name.
    pub(super) fn insert(&self, control: UpstreamControl) {
        self.lock().insert(control.roster().upstream.clone(), control);
    }

    /// Takes one out.
    pub(super) fn remove(&self, name: &str) {
        self.lock().remove(name);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, UpstreamControl>> {
        // Whole after every step: a panic elsewhere leaves nothing half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
