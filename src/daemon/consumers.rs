//! Offsets that programs have committed by name: on record in the journal, a few times a second for all together.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::own_events::event_block;
use crate::clock::{ReceivedClock, UnixNanos};
use crate::journal::{
    BlockFilter, CONSUMERS_MONITOR, Journal, JournalError, JournalReader, MonitorIdentity, OWN_DOMAIN, Offset,
    STATE_MONITOR,
};
use crate::live::{ConsumerBook, ConsumerRecord};

/// The topic of commits in the journal, under the domain `_sluice`.
const CONSUMERS_TOPIC: &str = "consumers";

/// Commits are gathered for so long. Source: a guess; who waits for one does not notice.
const GATHER: Duration = Duration::from_millis(50);

/// How often it is looked who has not come for long.
const EXPIRY_INTERVAL: Duration = Duration::from_mins(1);

/// How long a record is waited for before it is written again: the disk may be full for long.
const DURABLE_PATIENCE: Duration = Duration::from_secs(30);

/// Wait after the journal took no record.
const RETRY: Duration = Duration::from_secs(1);

/// Consumers whose offsets changed.
#[derive(Debug, Serialize, Deserialize)]
struct CommitsRecord {
    consumers: Vec<ConsumerRecord>,
    /// By which whoever wrote it finds it again.
    id: String,
}

/// What of the daemon's state matters here.
#[derive(Debug, Deserialize)]
struct Recorded {
    #[serde(default)]
    consumers: Vec<ConsumerRecord>,
}

/// Consumers as the journal has them on record. Reads back to the newest segment with a snapshot, and no further.
pub(super) fn consumers_on_record(reader: &mut JournalReader) -> Result<Vec<ConsumerRecord>, JournalError> {
    let filter = filter(&[STATE_MONITOR, CONSUMERS_MONITOR]);
    for base in reader.segment_bases()?.into_iter().rev() {
        let mut known: Option<BTreeMap<String, ConsumerRecord>> = None;
        reader.seek(base);
        while let Some(block) = reader.next_block(&filter)? {
            for event in block.events().filter(|event| filter.admits(event)) {
                let Ok(Recorded { consumers }) = serde_json::from_slice(event.payload) else { continue };
                let named = consumers.into_iter().map(|record| (record.name.clone(), record));
                match &mut known {
                    Some(known) if event.monitor == CONSUMERS_MONITOR => known.extend(named),
                    _ if event.monitor == STATE_MONITOR => known = Some(named.collect()),
                    // Before its segment's snapshot: an older release wrote none.
                    _ => known = Some(named.collect()),
                }
            }
        }
        if let Some(known) = known {
            return Ok(known.into_values().filter(|record| !record.gone).collect());
        }
    }
    Ok(Vec::new())
}

fn filter(monitors: &[&str]) -> BlockFilter {
    BlockFilter {
        monitors: monitors.iter().map(|name| (*name).to_owned()).collect(),
        domains: vec![OWN_DOMAIN.to_owned()],
        ..BlockFilter::all()
    }
}

/// Writes commits.
pub(super) struct CommitLog {
    pub(super) book: Arc<ConsumerBook>,
    pub(super) journal: Arc<Journal>,
    pub(super) identity: Arc<MonitorIdentity>,
    pub(super) clock: Arc<ReceivedClock>,
}

impl CommitLog {
    /// Writes until `stop` is given, and a last time then. `ttl`: how long consumers are kept that do not come.
    pub(super) async fn run(self, ttl: impl Fn() -> Duration, stop: CancellationToken) {
        let mut expiry = tokio::time::interval(EXPIRY_INTERVAL);
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                _ = expiry.tick() => self.book.expire(ttl(), UnixNanos::now()),
                () = self.book.news() => {
                    tokio::time::sleep(GATHER).await;
                    if !self.write().await {
                        tokio::select! {
                            () = stop.cancelled() => {}
                            () = tokio::time::sleep(RETRY) => {}
                        }
                    }
                }
            }
        }
        // The journal is open until links have ended; where it is not, the offsets before count.
        self.submit();
    }

    fn submit(&self) -> Option<(Vec<ConsumerRecord>, u64, String, Offset)> {
        let Some((records, change)) = self.book.unwritten() else {
            // It was written with what came before it.
            self.book.settled();
            return None;
        };
        let from = self.journal.durable();
        let id = Uuid::now_v7().to_string();
        let record = CommitsRecord { consumers: records, id };
        let block = event_block(&self.identity, CONSUMERS_TOPIC, &record, self.clock.stamp());
        let CommitsRecord { consumers: records, id } = record;
        if self.journal.try_submit_own(block).is_err() {
            self.book.write_again(&records);
            return None;
        }
        Some((records, change, id, from))
    }

    /// False when it has to be tried again.
    async fn write(&self) -> bool {
        let Some((records, change, id, from)) = self.submit() else {
            return !self.book.is_unwritten();
        };
        if self.is_durable(from, &id).await {
            self.book.written(change);
            return true;
        }
        self.book.write_again(&records);
        false
    }

    async fn is_durable(&self, from: Offset, id: &str) -> bool {
        let mut durable = self.journal.watch_durable();
        let mut reader = self.journal.reader();
        reader.seek(from);
        let filter = filter(&[CONSUMERS_MONITOR]);
        let found = async {
            loop {
                durable.mark_unchanged();
                while let Ok(Some(block)) = reader.next_block(&filter) {
                    let same = |payload| serde_json::from_slice::<CommitsRecord>(payload).is_ok_and(|one| one.id == id);
                    if block.events().any(|event| filter.admits(&event) && same(event.payload)) {
                        return true;
                    }
                }
                if durable.changed().await.is_err() {
                    return false;
                }
            }
        };
        tokio::time::timeout(DURABLE_PATIENCE, found).await.unwrap_or(false)
    }
}
