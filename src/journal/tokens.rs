//! Where upstreams can be taken up again: the resume tokens of durable events.
//!
//! A token goes with the block that carries its last event, so it counts as soon as that block is durable, and never before.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::block::{BlockHeader, ResumeToken};
use super::error::JournalError;
use super::offset::Offset;
use super::reader::JournalReader;
use super::segment::{OpenSegment, list_segments};
use crate::clock::UnixNanos;

/// A resume token whose last event is durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DurableToken {
    /// The token, with what it is good for.
    pub token: ResumeToken,
    /// The offset after the last event of its block.
    pub offset: Offset,
    /// When that event was received.
    pub received: UnixNanos,
}

/// Where one topic can be taken up again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicToken {
    /// In the dialect's own form.
    pub token: Arc<[u8]>,
    /// The offset after the last event of its block.
    pub offset: Offset,
    /// When that event was received.
    pub received: UnixNanos,
}

/// The newest durable token of every topic. The writer keeps it true; links read it when they connect.
#[derive(Debug, Default)]
pub struct ResumeBook {
    upstreams: Mutex<ByUpstream>,
}

/// By upstream, by topic.
type ByUpstream = BTreeMap<Arc<str>, BTreeMap<Arc<str>, TopicToken>>;

/// Topics that share a token, and when its event was received.
type Sharing = (UnixNanos, Vec<Arc<str>>);

impl ResumeBook {
    /// Takes a durable token over; of each topic the one that was journaled last counts.
    pub fn note(&self, durable: &DurableToken) {
        let DurableToken { token: ResumeToken { upstream, topics, token }, offset, received } = durable;
        let mut upstreams = self.lock();
        let of_upstream = upstreams.entry(Arc::clone(upstream)).or_default();
        let token: Arc<[u8]> = token.as_slice().into();
        for topic in topics {
            if of_upstream.get(topic).is_some_and(|known| known.offset > *offset) {
                continue;
            }
            let mark = TopicToken { token: Arc::clone(&token), offset: *offset, received: *received };
            of_upstream.insert(Arc::clone(topic), mark);
        }
    }

    /// The token of a topic.
    pub fn of(&self, upstream: &str, topic: &str) -> Option<TopicToken> {
        self.lock().get(upstream)?.get(topic).cloned()
    }

    /// All tokens, topics that share one together.
    pub fn all(&self) -> Vec<DurableToken> {
        let mut all = Vec::new();
        for (upstream, topics) in &*self.lock() {
            let mut shared: BTreeMap<(Offset, &[u8]), Sharing> = BTreeMap::new();
            for (topic, mark) in topics {
                let entry = shared.entry((mark.offset, &mark.token)).or_insert((mark.received, Vec::new()));
                entry.1.push(Arc::clone(topic));
            }
            all.extend(shared.into_iter().map(|((offset, token), (received, topics))| DurableToken {
                token: ResumeToken { upstream: Arc::clone(upstream), topics, token: token.to_vec() },
                offset,
                received,
            }));
        }
        all
    }

    /// Plain values, whole after every insertion: a panic elsewhere leaves nothing half done.
    fn lock(&self) -> MutexGuard<'_, ByUpstream> {
        self.upstreams.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl JournalReader {
    /// Tokens from the newest on backwards, until `take` breaks off, so many segments were looked at, or all that is left was
    /// durable before `until`. Reads headers only. Tells from which offset on everything was seen.
    ///
    /// # Errors
    /// What the system refused, or damage found on the way.
    pub fn tokens_backwards(
        &self,
        until: Offset,
        segments_max: usize,
        mut take: impl FnMut(DurableToken) -> ControlFlow<()>,
    ) -> Result<Offset, JournalError> {
        let mut seen_from = self.durable()?;
        for &name in list_segments(self.storage().as_ref())?.iter().rev().take(segments_max) {
            let segment = match OpenSegment::open(self.storage().as_ref(), name) {
                // Retention was faster, and takes the oldest first.
                Err(JournalError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => break,
                opened => opened?,
            };
            let headers: Vec<BlockHeader> = match segment.index()? {
                Some(index) => index.blocks.into_iter().map(|(_, header)| header).collect(),
                None => self.headers_of(name)?.0,
            };
            for header in headers.into_iter().rev() {
                let (offset, received) = (header.end(), header.received().greatest);
                if offset < until {
                    return Ok(until);
                }
                for token in header.tokens {
                    if take(DurableToken { token, offset, received }).is_break() {
                        return Ok(header.base);
                    }
                }
            }
            seen_from = name.base;
        }
        Ok(seen_from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn durable(topics: &[&str], token: &str, offset: u64) -> DurableToken {
        let topics = topics.iter().map(|topic| Arc::from(*topic)).collect();
        let token = ResumeToken { upstream: "u".into(), topics, token: token.into() };
        DurableToken { token, offset: Offset(offset), received: UnixNanos(0) }
    }

    #[test]
    fn of_each_topic_the_token_that_was_journaled_last_counts() {
        let book = ResumeBook::default();
        book.note(&durable(&["a", "b"], "10", 5));
        book.note(&durable(&["b", "c"], "9", 7));
        // What a walk backwards finds later is older.
        book.note(&durable(&["a", "d"], "8", 4));
        let token = |topic: &str| book.of("u", topic).map(|mark| mark.token.to_vec());
        assert_eq!(token("a"), Some(b"10".to_vec()));
        assert_eq!(token("b"), Some(b"9".to_vec()));
        assert_eq!(token("d"), Some(b"8".to_vec()));
        assert_eq!((token("e"), book.of("v", "a")), (None, None));
        assert_eq!(book.all(), [durable(&["d"], "8", 4), durable(&["a"], "10", 5), durable(&["b", "c"], "9", 7)]);
    }
}
