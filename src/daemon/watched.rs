//! The upstreams that are watched, as the rest of the daemon sees them. Which they are changes while it runs.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::figures::UpstreamFigures;
use super::units::UnitKey;
use crate::dialect::Limits;
use crate::monitor::roster::Roster;
use crate::upstream::{LinkState, UpstreamControl, UpstreamStatus};

/// A unit of an upstream at one moment.
#[derive(Clone)]
pub(super) struct Watched {
    /// The monitor that has it for itself, on the legacy path.
    pub(super) of: Option<String>,
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

/// All of them, by unit. Holds nothing that holds the journal, since the journal's snapshots hold this.
#[derive(Default)]
pub(super) struct WatchedList(Mutex<BTreeMap<UnitKey, UpstreamControl>>);

impl WatchedList {
    /// All that there are now.
    pub(super) fn now(&self) -> Vec<Watched> {
        let watched = |(key, control): (&UnitKey, &UpstreamControl)| Watched {
            of: key.of.clone(),
            roster: control.roster(),
            status: control.status(),
            limits: control.limits(),
        };
        self.lock().iter().map(watched).collect()
    }

    /// Who watches upstreams that can be taken up again.
    pub(super) fn resumable(&self) -> Vec<Arc<Roster>> {
        let resumes = |control: &&UpstreamControl| control.dialect().resumption().is_some();
        self.lock().values().filter(resumes).map(UpstreamControl::roster).collect()
    }

    /// One by its key.
    pub(super) fn unit(&self, key: &UnitKey) -> Option<UpstreamControl> {
        self.lock().get(key).cloned()
    }

    /// Any unit of an upstream, its pool rather than others.
    pub(super) fn control(&self, upstream: &str) -> Option<UpstreamControl> {
        let units = self.lock();
        units
            .range(UnitKey::pool(upstream)..)
            .next()
            .filter(|(key, _)| key.upstream == upstream)
            .map(|(_, control)| control.clone())
    }

    /// The unit of an upstream by which events of a monitor come that count.
    pub(super) fn control_of(&self, upstream: &str, monitor: &str) -> Option<UpstreamControl> {
        let takes = |control: &&UpstreamControl| {
            control.roster().monitors.iter().any(|known| !known.shadow && *known.identity.name == *monitor)
        };
        let units = self.lock();
        let keys = [UnitKey::pool(upstream), UnitKey::dedicated(upstream, monitor)];
        keys.iter().filter_map(|key| units.get(key)).find(takes).cloned()
    }

    /// Adds one, or puts it in the place of the one with its key.
    pub(super) fn insert(&self, key: UnitKey, control: UpstreamControl) {
        self.lock().insert(key, control);
    }

    /// Takes one out.
    pub(super) fn remove(&self, key: &UnitKey) {
        self.lock().remove(key);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<UnitKey, UpstreamControl>> {
        // Whole after every step: a panic elsewhere leaves nothing half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
