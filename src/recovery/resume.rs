//! Where upstreams are taken up again after a start: the newest durable token of every topic that is asked for.
//!
//! The journal alone suffices: tokens stand in the headers of its blocks, so that a few of the newest segments' footers are
//! read. A checkpoint makes it quicker: nothing before it has to be looked at.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;

use crate::checkpoint::Checkpoint;
use crate::clock::UnixNanos;
use crate::journal::{DurableToken, Journal, JournalError, Offset, ResumeToken};
use crate::monitor::roster::Roster;

/// The most segments that are looked at for tokens, so that a start does not take longer with a larger journal. A link's
/// token is in each of its blocks; one that is not in a gibibyte of the newest events belongs to a topic that was silent
/// for long, or is new. Source: a guess.
const SEGMENTS_MAX: usize = 16;

/// What was found for one upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResumeFound {
    /// The upstream.
    pub upstream: String,
    /// Its topics.
    pub topics: usize,
    /// How many of them have a token.
    pub with_token: usize,
    /// Of these, how many have it out of the checkpoint.
    pub from_checkpoint: usize,
    /// When the event was received that the oldest token belongs to.
    pub oldest: Option<UnixNanos>,
}

/// Fills the journal's resume book with the tokens of all topics of `rosters`, which are those of upstreams that can be
/// taken up again. Meant for the start.
///
/// # Errors
/// When the journal cannot be read.
pub fn find_tokens<'a>(
    journal: &Journal,
    checkpoint: Option<&Checkpoint>,
    rosters: impl IntoIterator<Item = &'a Arc<Roster>>,
) -> Result<Vec<ResumeFound>, JournalError> {
    let rosters: Vec<&Arc<Roster>> = rosters.into_iter().collect();
    let mut missing: BTreeSet<(Arc<str>, Arc<str>)> = BTreeSet::new();
    for roster in &rosters {
        let upstream: Arc<str> = roster.upstream.as_str().into();
        missing.extend(roster.topics.iter().map(|topic| (Arc::clone(&upstream), Arc::clone(&topic.name))));
    }
    if missing.is_empty() {
        return Ok(Vec::new());
    }
    let until = checkpoint.map_or(Offset::ZERO, |checkpoint| checkpoint.durable);
    let book = journal.resume_book();
    let seen_from = journal.reader().tokens_backwards(until, SEGMENTS_MAX, |found| {
        for topic in &found.token.topics {
            missing.remove(&(Arc::clone(&found.token.upstream), Arc::clone(topic)));
        }
        book.note(&found);
        if missing.is_empty() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    let mut bookmarked = BTreeSet::new();
    // Where the walk did not reach the checkpoint, its tokens may be older than others between: what was taken since would
    // be fetched again, and the ids of it are forgotten.
    for mark in checkpoint.iter().filter(|_| seen_from <= until).flat_map(|checkpoint| &checkpoint.tokens) {
        let upstream: Arc<str> = mark.upstream.as_str().into();
        let topics = mark.topics.iter().map(|topic| Arc::from(topic.as_str()));
        let topics: Vec<Arc<str>> =
            topics.filter(|topic| missing.remove(&(Arc::clone(&upstream), Arc::clone(topic)))).collect();
        if topics.is_empty() {
            continue;
        }
        bookmarked.extend(topics.iter().map(|topic| (Arc::clone(&upstream), Arc::clone(topic))));
        let token = ResumeToken { upstream, topics, token: mark.token.clone() };
        book.note(&DurableToken { token, offset: mark.offset, received: mark.received });
    }
    let found = rosters.iter().map(|roster| {
        let upstream: Arc<str> = roster.upstream.as_str().into();
        let tokens = roster.topics.iter().filter_map(|topic| Some((topic, book.of(&roster.upstream, &topic.name)?)));
        let mut found = ResumeFound {
            upstream: roster.upstream.clone(),
            topics: roster.topics.len(),
            with_token: 0,
            from_checkpoint: 0,
            oldest: None,
        };
        for (topic, token) in tokens {
            found.with_token += 1;
            let key = (Arc::clone(&upstream), Arc::clone(&topic.name));
            found.from_checkpoint += usize::from(bookmarked.contains(&key));
            found.oldest = Some(found.oldest.map_or(token.received, |oldest| oldest.min(token.received)));
        }
        found
    });
    Ok(found.collect())
}
