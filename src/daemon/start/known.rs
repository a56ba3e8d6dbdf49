//! What a start knows of the time before it, and what checkpoints say of now.

use super::super::switches::Switches;
use super::super::take_over::Subject;
use super::super::units::Places;
use super::super::units::wanted_topics;
use crate::checkpoint::Checkpoint;
use crate::checkpoint::Gather;
use crate::checkpoint::TokenMark;
use crate::clock::UnixNanos;
use crate::config::Settings;
use crate::journal::DurableToken;
use crate::journal::Journal;
use crate::journal::JournalError;
use crate::monitor::event_id::DedupeKey;
use crate::monitor::gap::GapCause;
use crate::monitor::ledger::GapLedger;
use crate::pipeline::dedupe::DedupeWindow;
use crate::recovery::gaps::crash_grace;
use crate::sink::SinkMark;
use crate::sink::Sinks;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// What goes into checkpoints. Tokens and cursors are looked at before the durable offset, so that it covers them.
pub(super) fn gather(
    journal: Arc<Journal>,
    sinks: Arc<Sinks>,
    switches: Arc<Switches>,
    remembered: Vec<SinkMark>,
) -> Gather {
    Box::new(move |cause| {
        let tokens =
            journal.resume_book().all().into_iter().map(|DurableToken { token, offset, received }| TokenMark {
                upstream: token.upstream.to_string(),
                topics: token.topics.iter().map(ToString::to_string).collect(),
                token: token.token,
                offset,
                received,
            });
        let tokens = tokens.collect();
        let mut marks = sinks.marks();
        // Of one that has not said anything yet, what the last checkpoint knew.
        let known = |name: &str| marks.iter().any(|mark| mark.name == name);
        let silent: Vec<SinkMark> = remembered
            .iter()
            .filter(|mark| !known(&mark.name) && sinks.rows().iter().any(|row| row.name == mark.name))
            .cloned()
            .collect();
        marks.extend(silent);
        marks.sort_by(|one, other| one.name.cmp(&other.name));
        Checkpoint {
            journal: journal.id(),
            durable: journal.durable(),
            written: UnixNanos::now(),
            cause,
            program: env!("CARGO_PKG_VERSION").to_owned(),
            sinks: marks,
            tokens,
            settings: switches.for_checkpoint(),
        }
    })
}

/// What was in force when the daemon died is down since then; what is not in the settings any more is not watched any more.
pub(super) fn settle(ledger: &GapLedger, settings: &Settings, places: &Places, journal: &Journal, left: &Left<'_>) {
    let Left { last_received, read_until, behind, in_force } = *left;
    // Nothing is in force after a stop in order: it has said so itself. Up to its own durable token all of a topic is durable,
    // because a link hands its blocks over in order.
    let (book, crashed) = (journal.resume_book(), last_received.saturating_sub(crash_grace(settings.batch.timeout)));
    let crashed =
        |upstream: &str, topic: &str| book.of(upstream, topic).map_or(crashed, |token| token.received.max(crashed));
    let cause = if read_until.is_some() { GapCause::Handover } else { GapCause::Downtime };
    ledger.later(ledger.down_but(cause, |upstream, monitor, topic| {
        let subject = (upstream.to_owned(), monitor.to_owned(), topic.to_owned());
        if let Some(from) = behind.get(&subject) {
            return Some(*from);
        }
        let lost = read_until.unwrap_or_else(|| crashed(upstream, topic));
        // What was in force here by then goes on.
        let since = in_force.and_then(|in_force| in_force.get(&subject));
        since.is_none_or(|since| *since > lost).then_some(lost)
    }));
    ledger.later(ledger.unwatch(wanted_topics(settings, places), last_received));
}

/// How the journal was left.
#[derive(Clone, Copy)]
pub(super) struct Left<'a> {
    /// Its last stamp.
    pub(super) last_received: UnixNanos,
    /// Until when everything that was read is durable, where the process before has said so.
    pub(super) read_until: Option<UnixNanos>,
    /// But for these: until this moment.
    pub(super) behind: &'a BTreeMap<Subject, UnixNanos>,
    /// Since when topics are in force here, where we have opened links beside it.
    pub(super) in_force: Option<&'a BTreeMap<Subject, UnixNanos>>,
}

/// Fills the window with what the journal holds of the last `ttl`, so that repeats across a restart are dropped.
/// Ages are counted from `newest`, the journal's last stamp.
pub(super) fn remember(
    journal: &Journal,
    window: &DedupeWindow,
    ttl: Duration,
    newest: UnixNanos,
) -> Result<u64, JournalError> {
    let now = Instant::now();
    let mut remembered = 0;
    for recent in journal.recent_hashes(ttl)? {
        let (hash, received) = recent?;
        window.remember(
            now,
            newest.since(received),
            DedupeKey { hash: hash.hash, payload_check: hash.payload_check, source: 0 },
        );
        remembered += 1;
    }
    Ok(remembered)
}
