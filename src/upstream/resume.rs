//! Taking an upstream up again where its topics were durable last.
//!
//! What comes twice is told by its id, so the ids of everything from that point on must be remembered. The window forgets by
//! time; where the last token is old, because its topics were silent, what it has forgotten is read back from the journal.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::pool::Shared;
use crate::clock::UnixNanos;
use crate::dialect::TopicId;
use crate::journal::{BlockFilter, JournalError, TimeRange};
use crate::monitor::event_id::DedupeKey;
use crate::monitor::roster::Roster;

/// When this run began.
#[derive(Debug, Clone, Copy)]
pub(super) struct Began {
    /// The journal's last received time before it.
    journal_end: UnixNanos,
    at: UnixNanos,
}

impl Began {
    /// At this moment, before anything is received.
    pub(super) fn now(journal_end: UnixNanos) -> Self {
        Self { journal_end, at: UnixNanos::now() }
    }

    /// How long ago something was received, in journal time: being down does not count, as in the dedupe window.
    fn age_of(self, received: UnixNanos, now: UnixNanos) -> Duration {
        if received >= self.at { now.since(received) } else { self.journal_end.since(received) + now.since(self.at) }
    }
}

/// Where a link goes on from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ResumePoint {
    /// As the dialect tells the upstream.
    pub(super) point: String,
    /// When the event was received that the least token belongs to.
    pub(super) oldest: UnixNanos,
    /// From when on everything comes again. Earlier than that: the point is moved back by the dialect's overlap, of which half is
    /// left for messages that were longer under way than the one with the token.
    pub(super) whole_from: UnixNanos,
}

impl ResumePoint {
    /// Of a link with these topics; none where there is nothing to go on from, or the upstream cannot.
    pub(super) fn of(shared: &Shared, roster: &Roster, topics: &[TopicId]) -> Option<Self> {
        let resumption = shared.dialect.resumption()?;
        let book = shared.journal.resume_book();
        let name = |topic: &TopicId| roster.topic_name(*topic);
        let mut tokens: Vec<_> = topics.iter().filter_map(|topic| book.of(&shared.name, name(topic))).collect();
        tokens.sort_by_key(|token| token.offset);
        let point = resumption.point(tokens.iter().map(|token| &*token.token))?;
        let oldest = tokens.iter().map(|token| token.received).min()?;
        Some(Self { point, oldest, whole_from: oldest.saturating_sub(resumption.overlap() / 2) })
    }

    /// Whether ids of what may come again are remembered as it is.
    pub(super) fn is_remembered(&self, shared: &Shared) -> bool {
        let overlap = shared.dialect.resumption().map_or(Duration::ZERO, crate::dialect::Resumption::overlap);
        // Twice as early as it would have to be: ages of links differ a little.
        (shared.began.age_of(self.oldest, UnixNanos::now()) + overlap) * 2 < shared.window().ttl()
    }

    /// Sees to it that ids of what may come again are remembered.
    pub(super) async fn remember_ids(&self, shared: &Arc<Shared>) {
        if self.is_remembered(shared) {
            return;
        }
        let (task, from) = (Arc::clone(shared), self.oldest.saturating_sub(shared.window().ttl()));
        let remembered = tokio::task::spawn_blocking(move || remember_from(&task, from)).await;
        match remembered {
            Ok(Ok(ids)) => tracing::info!(
                upstream = %shared.name, ids, since = %self.oldest, "read back ids for an upstream that was silent for long"
            ),
            Ok(Err(error)) => tracing::warn!(
                upstream = %shared.name, "ids from before {} cannot be read back, so events may come twice: {error}", self.oldest
            ),
            // The process is ending.
            Err(_) => {}
        }
    }
}

fn remember_from(shared: &Shared, from: UnixNanos) -> Result<u64, JournalError> {
    let filter = BlockFilter {
        monitors: shared.roster().monitors.iter().map(|monitor| monitor.identity.name.to_string()).collect(),
        received: Some(TimeRange { least: from, greatest: UnixNanos(i64::MAX) }),
        ..BlockFilter::all()
    };
    let mut reader = shared.journal.reader();
    reader.seek_received(from)?;
    let (now, mut ids) = (Instant::now(), 0);
    while let Some(block) = reader.next_block(&filter)? {
        for event in block.events().filter(|event| filter.admits(event)) {
            if let Some(hash) = event.hash() {
                let key = DedupeKey { hash: hash.hash, payload_check: hash.payload_check, source: 0 };
                shared.window().remember_anew(now, key);
                ids += 1;
            }
        }
    }
    Ok(ids)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn being_down_does_not_make_a_token_older() {
        let second = |seconds: i64| UnixNanos(seconds * 1_000_000_000);
        let began = Began { journal_end: second(100), at: second(1000) };
        assert_eq!(began.age_of(second(90), second(1005)), Duration::from_secs(15));
        assert_eq!(began.age_of(second(1002), second(1005)), Duration::from_secs(3));
    }
}
