//! Reads a span of the journal.

use std::time::Duration;

use super::counts::Counts;
use super::history::History;
use super::losses::Losses;
use super::points;
use super::runs::{Runs, covered};
use crate::clock::UnixNanos;
use crate::journal::{JournalError, JournalReader, Offset};
use crate::recovery::gaps::{Completeness, GapQuery, completeness};

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Asked {
    /// From then on.
    pub since: UnixNanos,
    /// Up to then.
    pub until: UnixNanos,
    /// Whether the newest process is still there: the journal's lock is held.
    pub running: bool,
    /// Share of events that both paths have alike, where that was found out.
    pub data_match: Option<f64>,
}

/// What a span came to.
#[derive(Debug)]
pub struct Measured {
    pub(super) asked: Asked,
    /// From when on anything is known.
    pub(super) known_from: UnixNanos,
    /// Whether the journal's oldest part was deleted.
    pub(super) trimmed: bool,
    pub(super) counts: Counts,
    pub(super) runs: Runs,
    pub(super) history: History,
    pub(super) losses: Losses,
    pub(super) completeness: Completeness,
    /// Whether all of as long a span before it is known too.
    pub(super) before_known: bool,
    /// For how long of what is known a process was up; none where no process is known.
    pub(super) up: Option<Duration>,
}

impl Measured {
    /// Whether any event of the span was only taken to be compared.
    pub fn was_shadowed(&self) -> bool {
        self.counts.shadowed
    }

    /// What share of events both paths have alike.
    pub fn set_data_match(&mut self, share: Option<f64>) {
        self.asked.data_match = share;
    }

    /// How long the span is of which anything is known.
    pub(super) fn known(&self) -> Duration {
        self.asked.until.since(self.known_from)
    }
}

/// Reads what is asked for.
///
/// # Errors
/// When the journal cannot be read.
pub fn measure(reader: &mut JournalReader, asked: Asked) -> Result<Measured, JournalError> {
    let Asked { since, until, running, .. } = asked;
    let before = since.saturating_sub(until.since(since));
    let from = segment_at(reader, before)?;
    let (mut runs, mut history) = (Runs::default(), History::default());
    points::each(reader, from, |made, point| {
        runs.take(made, point);
        history.take(made, point, (since, until));
    })?;
    let counts = Counts::read(reader, from, (before, since, until), &mut runs)?;
    let trimmed = reader.earliest()? != Offset::ZERO;
    let first_kept = first_received(reader)?;
    // Before the first process nobody asked for anything; of what was deleted nobody knows.
    let begins = if trimmed { first_kept } else { runs.first_start().filter(|_| from == Offset::ZERO).or(first_kept) };
    let known_from = begins.map_or(since, |begins| begins.max(since)).min(until);
    let before_known = begins.is_some_and(|begins| begins <= before);
    let up_spans = runs.up(until, running);
    let up = (!up_spans.is_empty()).then(|| covered(&up_spans, known_from, until));
    let losses = Losses::read(reader, since, until)?;
    let query = GapQuery { since: Some(since), until: Some(until), ..GapQuery::default() };
    let completeness = completeness(reader, &query, until)?;
    Ok(Measured { asked, known_from, trimmed, counts, runs, history, losses, completeness, before_known, up })
}

/// The beginning of the segment in which what was received at a time is: it begins with what was live then.
fn segment_at(reader: &mut JournalReader, time: UnixNanos) -> Result<Offset, JournalError> {
    reader.seek_received(time)?;
    let at = reader.position();
    let bases = reader.segment_bases()?;
    let base = bases.into_iter().filter(|base| *base <= at).max();
    Ok(base.unwrap_or(reader.earliest()?))
}

/// When the first event that is kept was received.
fn first_received(reader: &mut JournalReader) -> Result<Option<UnixNanos>, JournalError> {
    reader.seek(reader.earliest()?);
    while let Some(header) = reader.next_header()? {
        if header.events() > 0 {
            return Ok(Some(header.received().least));
        }
    }
    Ok(None)
}
