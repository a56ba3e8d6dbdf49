//! Reads a journal to its last byte and says what is not as it was written. Changes nothing, needs no lock, and goes beside a
//! running daemon as far as is durable.

use super::ancestors::{self, ANCESTORS_FILE};
use super::error::JournalError;
use super::hole::Hole;
use super::inspect::Flaw;
use super::offset::{JournalId, Offset};
use super::segment::SegmentName;
use super::storage::Storage;
use super::summary::KnownDurable;
use super::survey::{Judge, Survey};

/// What a journal's files are like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckReport {
    /// Whose.
    pub journal: JournalId,
    /// Every segment that is there, in order.
    pub segments: Vec<SegmentReport>,
    /// Everything that is wrong, in the order of the segments. None: the journal is whole.
    pub flaws: Vec<Flaw>,
    /// Holes that an earlier repair recorded. They are no damage: readers know of them.
    pub holes: Vec<Hole>,
    /// The offset after the last event that anything says was durable.
    pub durable: Offset,
    /// Bytes at the newest segment's end that are above what was durable, and were not looked at: a daemon is about to make them
    /// durable, or the next start settles them.
    pub above_durable: u64,
}

/// One segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentReport {
    /// Its file.
    pub file: String,
    /// Bytes looked at.
    pub bytes: u64,
    /// Blocks that are whole.
    pub blocks: u64,
    /// Events in them.
    pub events: u64,
    /// Its first offset.
    pub from: Offset,
    /// The offset after the last event that is whole.
    pub to: Offset,
    /// Whether it is sealed. The newest of a journal that is written to is not.
    pub sealed: bool,
    /// How many things are wrong in it.
    pub flaws: usize,
}

impl CheckReport {
    /// Whether nothing is wrong.
    pub fn is_whole(&self) -> bool {
        self.flaws.is_empty()
    }

    /// How many events are lost by what is wrong.
    pub fn lost(&self) -> u64 {
        self.flaws.iter().map(|flaw| flaw.lost.len()).sum()
    }
}

/// Looks at everything, block by block. `known` are others who remember how far the journal was durable; `progress` is told
/// of each file that is done.
///
/// # Errors
/// [`JournalError::NoJournal`], [`JournalError::Version`], [`JournalError::Unrepairable`] where files contradict each other, or
/// what the system refused. Damage is no error but the answer.
pub fn check(
    storage: &dyn Storage,
    known: &[KnownDurable],
    mut progress: impl FnMut(&str),
) -> Result<CheckReport, JournalError> {
    let survey = Survey::of(storage, known)?;
    let mut report = CheckReport {
        journal: survey.journal,
        segments: Vec::new(),
        flaws: survey.strays.iter().map(super::survey::Stray::flaw).collect(),
        holes: Vec::new(),
        durable: Offset::ZERO,
        above_durable: 0,
    };
    report.flaws.extend(flaw_of_ancestors(storage)?);
    let mut judge = Judge::new(storage, &survey, known, true);
    let mut newest = None;
    while let Some(judged) = judge.next()? {
        let segment = &judged.inspected;
        progress(&segment.file);
        report.holes.extend(segment.holes());
        report.above_durable = segment.above_limit;
        report.segments.push(SegmentReport {
            file: segment.file.clone(),
            bytes: segment.len,
            blocks: segment.blocks(),
            events: segment.events(),
            from: segment.place.base,
            to: segment.end(),
            sealed: segment.sealed,
            flaws: judged.flaws.len(),
        });
        let place = segment.place;
        report.flaws.extend(judged.flaws);
        if judged.missing > 0 {
            let next = survey.places.iter().find(|next| next.name.sequence > place.sequence);
            let to = next.map_or(judged.end.0, |next| next.name.base);
            report.flaws.push(missing(place, Hole { from: judged.end.0, to }, judged.missing));
        }
        newest = Some((place, judged.end.0));
    }
    report.durable = judge.durable.max(newest.map_or(Offset::ZERO, |(_, end)| end));
    let (place, end) = newest.unwrap_or((SegmentName { sequence: 0, base: Offset::ZERO }, Offset::ZERO));
    let of_newest = |flaw: &&mut Flaw| flaw.file == survey.newest_file();
    let told = report.flaws.iter_mut().filter(of_newest).map(|flaw| flaw.lost.to).fold(end, Offset::max);
    let lost = Hole { from: told, to: judge.durable.max(told) };
    let absent = survey.watermark.sequence.saturating_sub(place.sequence);
    match report.flaws.iter_mut().rfind(of_newest) {
        // The newest ends in what cannot be read: that is where they were.
        Some(flaw) if absent == 0 && !lost.is_empty() && flaw.lost.is_empty() => flaw.lost = lost,
        _ if !lost.is_empty() || absent > 0 => report.flaws.push(missing(place, lost, absent)),
        _ => {}
    }
    Ok(report)
}

/// Whether it is still known from which journals this one was restored.
pub(crate) fn flaw_of_ancestors(storage: &dyn Storage) -> Result<Option<Flaw>, JournalError> {
    match ancestors::read(storage) {
        Err(JournalError::Damaged { reason, .. }) => {
            let lost = Hole { from: Offset::ZERO, to: Offset::ZERO };
            Ok(Some(Flaw { file: ANCESTORS_FILE.into(), position: 0, bytes: 0, lost, reason }))
        }
        read => read.map(|_| None),
    }
}

fn missing(before: SegmentName, lost: Hole, segments: u64) -> Flaw {
    let file = SegmentName { sequence: before.sequence + 1, base: lost.from }.to_string();
    let reason = match segments {
        0 => "events were durable that no segment has".to_owned(),
        1 => "the segment is missing".to_owned(),
        more => format!("{more} segments are missing from here on"),
    };
    Flaw { file, position: 0, bytes: 0, lost, reason }
}
