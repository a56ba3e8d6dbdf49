//! Reading on for a process that takes over: what came to it first of each topic has come here too before links let go.

use std::collections::BTreeMap;

use super::Upstreams;
use crate::upstream::unit_name;

/// The first event of a topic that came to another process, for a monitor that counts it there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::daemon) struct FirstEvent {
    /// The unit there.
    pub(in crate::daemon) unit: String,
    pub(in crate::daemon) monitor: String,
    pub(in crate::daemon) topic: String,
    /// Of its id.
    pub(in crate::daemon) hash: u128,
}

/// A topic of which links here have not read so far: upstream, monitor, topic, as the gap ledger has it.
pub(in crate::daemon) type Unread = (String, String, String);

impl Upstreams {
    /// Takes those out that have been read, and those that there is nothing to be read of: links here do not bring the topic for the
    /// monitor, or bring it only to be compared, or have lost it, which is on record. What is left, by the subject it has here.
    pub(in crate::daemon) fn unread(&self, first: &mut Vec<FirstEvent>) -> Vec<Unread> {
        first.retain(|event| !self.wiring.window.knows(event.hash));
        if first.is_empty() {
            return Vec::new();
        }
        let mut counted = BTreeMap::new();
        for watched in self.list.now() {
            let upstream = &watched.roster.upstream;
            for monitor in watched.roster.monitors.iter().filter(|monitor| !monitor.shadow) {
                let name = monitor.identity.name.to_string();
                let lane = (upstream.clone(), watched.roster.path);
                // It may be another unit's there, by other settings.
                counted.insert((unit_name(upstream, Some(&name)), name.clone()), lane.clone());
                counted.insert((unit_name(upstream, None), name), lane);
            }
        }
        let mut unread = Vec::new();
        first.retain(|FirstEvent { unit, monitor, topic, .. }| {
            let Some((upstream, path)) = counted.get(&(unit.clone(), monitor.clone())) else { return false };
            let waits = self.wiring.ledger.is_in_force((upstream, *path), monitor, topic);
            if waits {
                unread.push((upstream.clone(), monitor.clone(), topic.clone()));
            }
            waits
        });
        unread
    }
}
