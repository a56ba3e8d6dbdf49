//! Offsets that programs have committed by name, so that they go on there whoever of them comes back.
//!
//! What is committed is an event of the daemon's own, and in the snapshot that each segment begins with. Commits of many are written
//! together, a few times a second: a program that commits each event costs the journal no more than one that commits now and then.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::clock::UnixNanos;
use crate::journal::Offset;

/// A consumer as the journal has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsumerRecord {
    /// Its name.
    pub name: String,
    /// The next event that it gets.
    pub next: u64,
    /// When it was last heard of, nanoseconds since 1970.
    pub seen: i64,
    /// It is forgotten.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub gone: bool,
}

/// A consumer as it is shown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ConsumerRow {
    /// Its name.
    pub name: String,
    /// The next event that it gets when it comes again.
    pub next: u64,
    /// Events behind that which are durable.
    pub lag_events: u64,
    /// Whether a client listens under this name now.
    pub connected: bool,
    /// When it was last heard of, RFC 3339.
    pub seen: String,
    /// When it is forgotten if it does not come, RFC 3339.
    pub expires: String,
}

/// Why a consumer cannot be had, or not moved.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConsumerError {
    /// No name.
    #[error("`{0}` cannot name a consumer: 1 to 64 of A-Z, a-z, 0-9, `.`, `_` and `-` can")]
    Name(String),
    /// There are as many as there may be.
    #[error("there are {0} consumers, and there may be no more; delete one, or raise server.streams.consumers_max")]
    TooMany(usize),
    /// Nobody knows it.
    #[error("there is no consumer `{0}`")]
    Unknown(String),
    /// Nothing of that is durable.
    #[error("event {asked} is not durable; {durable} is the next one that will be")]
    Ahead {
        /// What was committed.
        asked: u64,
        /// Events below are durable.
        durable: u64,
    },
}

/// All of them.
#[derive(Debug)]
pub struct ConsumerBook {
    entries: Mutex<BTreeMap<String, Entry>>,
    /// Counts changes, and how many of them are durable.
    changes: watch::Sender<Changes>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Changes {
    made: u64,
    durable: u64,
}

#[derive(Debug)]
struct Entry {
    next: Offset,
    seen: UnixNanos,
    /// It changed since it was last written.
    unwritten: bool,
    /// Forgotten, but not yet on record as such.
    gone: bool,
    lease: Option<CancellationToken>,
}

/// A client's hold on a name; another one that comes takes it over.
#[derive(Debug)]
pub struct Lease {
    /// The name.
    pub name: String,
    /// Where it goes on.
    pub next: Offset,
    /// Given when another client has come under this name.
    pub taken: CancellationToken,
    book: Arc<ConsumerBook>,
}

/// A commit that is on its way to the journal.
#[derive(Debug)]
pub struct Commit {
    change: u64,
    changes: watch::Receiver<Changes>,
}

impl Commit {
    /// Waits until it is durable. Never ends when the daemon stops before: whoever waits is stopped, too.
    pub async fn durable(mut self) {
        // The book outlives whoever waits.
        let _known = self.changes.wait_for(|changes| changes.durable >= self.change).await.is_ok();
    }
}

impl ConsumerBook {
    /// With what the journal has on record.
    pub fn new(records: impl IntoIterator<Item = ConsumerRecord>) -> Self {
        let live = records.into_iter().filter(|record| !record.gone).map(|record| {
            let entry = Entry {
                next: Offset(record.next),
                seen: UnixNanos(record.seen),
                unwritten: false,
                gone: false,
                lease: None,
            };
            (record.name, entry)
        });
        Self { entries: Mutex::new(live.collect()), changes: watch::Sender::new(Changes::default()) }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn changed(&self) -> Commit {
        self.changes.send_modify(|changes| changes.made += 1);
        let changes = self.changes.subscribe();
        let change = changes.borrow().made;
        Commit { change, changes }
    }

    /// Lets a client listen under a name. One that is new begins at `from`.
    ///
    /// # Errors
    /// When there can be no such consumer.
    pub fn claim(self: &Arc<Self>, name: &str, from: Offset, max: usize) -> Result<Lease, ConsumerError> {
        check_name(name)?;
        let mut entries = self.lock();
        let count = entries.values().filter(|entry| !entry.gone).count();
        let known = entries.get(name).is_some_and(|entry| !entry.gone);
        if !known && count >= max {
            return Err(ConsumerError::TooMany(count));
        }
        let taken = CancellationToken::new();
        let fresh = || Entry { next: from, seen: UnixNanos::now(), unwritten: true, gone: false, lease: None };
        let entry = entries.entry(name.to_owned()).or_insert_with(fresh);
        if entry.gone {
            *entry = fresh();
        }
        if let Some(before) = entry.lease.replace(taken.clone()) {
            before.cancel();
        }
        (entry.seen, entry.unwritten) = (UnixNanos::now(), true);
        let next = entry.next;
        drop(entries);
        drop(self.changed());
        Ok(Lease { name: name.to_owned(), next, taken, book: Arc::clone(self) })
    }

    /// Puts a consumer before the event `next`, which may be back or forth.
    ///
    /// # Errors
    /// When it is unknown, or that is not durable.
    pub fn put(&self, name: &str, next: Offset, durable: Offset) -> Result<Commit, ConsumerError> {
        if next > durable {
            return Err(ConsumerError::Ahead { asked: next.0.saturating_sub(1), durable: durable.0 });
        }
        let mut entries = self.lock();
        let entry = entries.get_mut(name).filter(|entry| !entry.gone);
        let entry = entry.ok_or_else(|| ConsumerError::Unknown(name.to_owned()))?;
        (entry.next, entry.seen, entry.unwritten) = (next, UnixNanos::now(), true);
        drop(entries);
        Ok(self.changed())
    }

    /// Forgets a consumer; a client that listens under its name is sent away.
    ///
    /// # Errors
    /// When it is unknown.
    pub fn remove(&self, name: &str) -> Result<Commit, ConsumerError> {
        let mut entries = self.lock();
        let entry = entries.get_mut(name).filter(|entry| !entry.gone);
        let entry = entry.ok_or_else(|| ConsumerError::Unknown(name.to_owned()))?;
        (entry.gone, entry.unwritten) = (true, true);
        if let Some(lease) = entry.lease.take() {
            lease.cancel();
        }
        drop(entries);
        Ok(self.changed())
    }

    /// Forgets those who have not come for `ttl`.
    pub fn expire(&self, ttl: Duration, now: UnixNanos) {
        let mut forgotten = false;
        for (name, entry) in self.lock().iter_mut() {
            if entry.lease.is_none() && !entry.gone && now.since(entry.seen) > ttl {
                tracing::info!(consumer = name, "forgotten: it has not come for {} s", ttl.as_secs());
                (entry.gone, entry.unwritten, forgotten) = (true, true, true);
            }
        }
        if forgotten {
            drop(self.changed());
        }
    }

    /// As they are shown.
    pub fn rows(&self, durable: Offset, ttl: Duration) -> Vec<ConsumerRow> {
        let entries = self.lock();
        let live = entries.iter().filter(|(_, entry)| !entry.gone);
        live.map(|(name, entry)| ConsumerRow {
            name: name.clone(),
            next: entry.next.0,
            lag_events: durable.0.saturating_sub(entry.next.0),
            connected: entry.lease.is_some(),
            seen: entry.seen.to_string(),
            expires: entry.seen.saturating_add(ttl).to_string(),
        })
        .collect()
    }

    /// All that are not forgotten, for the snapshot of the daemon's state.
    pub fn records(&self) -> Vec<ConsumerRecord> {
        let entries = self.lock();
        entries.iter().filter(|(_, entry)| !entry.gone).map(|(name, entry)| entry.record(name)).collect()
    }

    /// What changed since this was last asked, and the number of the last change in it.
    pub fn unwritten(&self) -> Option<(Vec<ConsumerRecord>, u64)> {
        let mut entries = self.lock();
        // Before the entries are looked at, so that what comes in between is written again and not forgotten.
        let change = self.changes.borrow().made;
        let records: Vec<_> = entries
            .iter_mut()
            .filter(|(_, entry)| entry.unwritten)
            .map(|(name, entry)| {
                entry.unwritten = false;
                entry.record(name)
            })
            .collect();
        entries.retain(|_, entry| !entry.gone);
        (!records.is_empty()).then_some((records, change))
    }

    /// Whether something changed since it was last written.
    pub fn is_unwritten(&self) -> bool {
        self.lock().values().any(|entry| entry.unwritten)
    }

    /// Records that could not be written are to be written again.
    pub fn write_again(&self, records: &[ConsumerRecord]) {
        let mut entries = self.lock();
        for record in records {
            let lost = || Entry {
                next: Offset(record.next),
                seen: UnixNanos(record.seen),
                unwritten: true,
                gone: record.gone,
                lease: None,
            };
            entries.entry(record.name.clone()).or_insert_with(lost).unwritten = true;
        }
    }

    /// Nothing is unwritten: all that was changed so far is durable.
    pub fn settled(&self) {
        let entries = self.lock();
        // Who marks an entry counts the change afterwards.
        if !entries.values().any(|entry| entry.unwritten) {
            self.changes.send_modify(|changes| changes.durable = changes.made);
        }
    }

    /// Changes up to this number are durable.
    pub fn written(&self, change: u64) {
        self.changes.send_modify(|changes| changes.durable = changes.durable.max(change));
    }

    /// Waits until there is something to write.
    pub async fn news(&self) {
        let mut changes = self.changes.subscribe();
        // The book outlives whoever waits.
        let _known = changes.wait_for(|changes| changes.made > changes.durable).await.is_ok();
    }
}

impl Entry {
    fn record(&self, name: &str) -> ConsumerRecord {
        ConsumerRecord { name: name.to_owned(), next: self.next.0, seen: self.seen.0, gone: self.gone }
    }
}

impl Lease {
    /// Commits that all up to and with the event `last` are done. What is behind what was committed before changes nothing.
    ///
    /// # Errors
    /// When it is not durable, or the consumer is gone.
    pub fn commit(&self, last: Offset, durable: Offset) -> Result<Commit, ConsumerError> {
        if last >= durable {
            return Err(ConsumerError::Ahead { asked: last.0, durable: durable.0 });
        }
        let mut entries = self.book.lock();
        let entry = entries.get_mut(&self.name).filter(|entry| !entry.gone && !self.taken.is_cancelled());
        let entry = entry.ok_or_else(|| ConsumerError::Unknown(self.name.clone()))?;
        entry.next = entry.next.max(last.plus(1));
        (entry.seen, entry.unwritten) = (UnixNanos::now(), true);
        drop(entries);
        Ok(self.book.changed())
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if self.taken.is_cancelled() {
            return;
        }
        if let Some(entry) = self.book.lock().get_mut(&self.name) {
            entry.lease = None;
            (entry.seen, entry.unwritten) = (UnixNanos::now(), true);
        }
        drop(self.book.changed());
    }
}

fn check_name(name: &str) -> Result<(), ConsumerError> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    if (1..=64).contains(&name.len()) && name.bytes().all(fits) {
        return Ok(());
    }
    Err(ConsumerError::Name(name.chars().take(64).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DURABLE: Offset = Offset(100);

    fn book() -> Arc<ConsumerBook> {
        Arc::new(ConsumerBook::new([]))
    }

    #[test]
    fn a_consumer_goes_on_behind_what_it_committed_also_after_a_restart() {
        let one = book();
        let lease = one.claim("billing", Offset(7), 10).unwrap();
        assert_eq!(lease.next, Offset(7));
        lease.commit(Offset(41), DURABLE).unwrap();
        // Out of order, as answers may be.
        lease.commit(Offset(12), DURABLE).unwrap();
        drop(lease);
        let again = Arc::new(ConsumerBook::new(one.records()));
        assert_eq!(again.claim("billing", Offset(0), 10).unwrap().next, Offset(42));
    }

    #[test]
    fn who_comes_last_has_the_name() {
        let book = book();
        let first = book.claim("a", Offset(0), 1).unwrap();
        let second = book.claim("a", Offset(0), 1).unwrap();
        assert!(first.taken.is_cancelled() && !second.taken.is_cancelled());
        assert!(first.commit(Offset(5), DURABLE).is_err());
        drop(first);
        assert!(book.rows(DURABLE, Duration::from_secs(1))[0].connected);
    }

    #[test]
    fn what_cannot_be_is_refused_with_what_can() {
        let book = book();
        assert!(matches!(book.claim("a b", Offset(0), 1), Err(ConsumerError::Name(_))));
        assert!(matches!(book.claim("", Offset(0), 1), Err(ConsumerError::Name(_))));
        let lease = book.claim("a", Offset(0), 1).unwrap();
        assert_eq!(book.claim("b", Offset(0), 1).unwrap_err(), ConsumerError::TooMany(1));
        assert!(matches!(lease.commit(DURABLE, DURABLE), Err(ConsumerError::Ahead { asked: 100, durable: 100 })));
        assert!(book.put("nobody", Offset(0), DURABLE).is_err());
    }

    #[test]
    fn who_does_not_come_is_forgotten_and_that_is_put_on_record() {
        let book = book();
        let lease = book.claim("a", Offset(0), 1).unwrap();
        let later = UnixNanos::now().saturating_add(Duration::from_secs(100));
        book.expire(Duration::from_secs(10), later);
        assert_eq!(book.rows(DURABLE, Duration::from_secs(10)).len(), 1, "one that listens is not forgotten");
        drop(lease);
        book.unwritten();
        book.expire(Duration::from_secs(10), later);
        let (records, _) = book.unwritten().unwrap();
        assert!(records[0].gone && book.rows(DURABLE, Duration::from_secs(10)).is_empty());
    }
}
