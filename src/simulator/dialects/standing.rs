//! What brokers keep of clients from connection to connection: which events they were sent and have not acknowledged.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Clients that are remembered; those who come later are clients without a standing.
const CLIENTS_MAX: usize = 1000;

/// Of one topic.
#[derive(Debug, Default)]
struct Deliveries {
    /// What the subscription was made with.
    token: String,
    /// Positions that were sent and are not acknowledged.
    owed: BTreeSet<u64>,
    /// The last position sent.
    newest: Option<u64>,
}

type Clients = HashMap<String, BTreeMap<String, Deliveries>>;

/// All clients by name, each with its topics.
#[derive(Debug, Default)]
pub(crate) struct Standing(Mutex<Clients>);

impl Standing {
    fn clients(&self) -> MutexGuard<'_, Clients> {
        // No section below leaves it half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A subscription is in force. Gives the position from which on its events are to be sent again; none for a new one.
    pub(super) fn subscribed(&self, client: &str, topic: &str, token: &str) -> Option<u64> {
        let mut clients = self.clients();
        if !clients.contains_key(client) && clients.len() == CLIENTS_MAX {
            return None;
        }
        let deliveries = clients.entry(client.to_owned()).or_default().entry(topic.to_owned()).or_default();
        token.clone_into(&mut deliveries.token);
        deliveries.owed.first().copied().or(deliveries.newest.map(|newest| newest + 1))
    }

    /// An event is sent that is to be acknowledged. Says whether it was sent before, and was not acknowledged.
    pub(super) fn sent(&self, client: &str, topic: &str, position: u64) -> bool {
        let mut clients = self.clients();
        let Some(deliveries) = clients.get_mut(client).and_then(|topics| topics.get_mut(topic)) else { return false };
        deliveries.newest = deliveries.newest.max(Some(position));
        !deliveries.owed.insert(position)
    }

    /// It is acknowledged.
    pub(super) fn acknowledged(&self, client: &str, topic: &str, position: u64) {
        if let Some(deliveries) = self.clients().get_mut(client).and_then(|topics| topics.get_mut(topic)) {
            deliveries.owed.remove(&position);
        }
    }

    /// A subscription is over.
    pub(super) fn unsubscribed(&self, client: &str, topic: &str) {
        if let Some(topics) = self.clients().get_mut(client) {
            topics.remove(topic);
        }
    }

    /// The topics of a client that is known, each with what its subscription was made with.
    pub(super) fn of(&self, client: &str) -> Option<Vec<(String, String)>> {
        let clients = self.clients();
        let topics = clients.get(client)?;
        Some(topics.iter().map(|(topic, deliveries)| (topic.clone(), deliveries.token.clone())).collect())
    }

    /// Forgets a client.
    pub(super) fn forget(&self, client: &str) {
        self.clients().remove(client);
    }
}
