//! Which file of a journal's folder belongs where, by what the files themselves say: names may be swapped, doubled, missing.

use std::collections::BTreeMap;

use super::error::JournalError;
use super::hole::Hole;
use super::inspect::{Flaw, Inspected, Subject, header_of, inspect};
use super::offset::{JournalId, Offset};
use super::segment::{HeaderFound, SegmentHeader, SegmentName};
use super::storage::Storage;
use super::summary::KnownDurable;
use super::watermark::{self, Watermark};

/// A file on its way to the name it should have.
pub(crate) const FOUND: &str = ".found";
/// More than any journal has segments. Source: 10 TB of segments of 1 MiB.
const MISSING_MAX: u64 = 10_000_000;

/// What is in the folder.
#[derive(Debug)]
pub(crate) struct Survey {
    pub(crate) journal: JournalId,
    /// What the watermark file says, if it is of this journal.
    pub(crate) watermark: Watermark,
    /// One for each sequence number that a file has, in order.
    pub(crate) places: Vec<Place>,
    /// Files that are not where they belong.
    pub(crate) strays: Vec<Stray>,
}

/// A segment's place, and the file that is to be there.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) name: SegmentName,
    pub(crate) file: String,
}

/// A file that is not where it belongs.
#[derive(Debug, Clone)]
pub(crate) struct Stray {
    pub(crate) file: String,
    /// None: nowhere in this journal.
    pub(crate) to: Option<SegmentName>,
    pub(crate) reason: String,
}

impl Stray {
    pub(crate) fn flaw(&self) -> Flaw {
        let lost = Hole { from: Offset::ZERO, to: Offset::ZERO };
        Flaw { file: self.file.clone(), position: 0, bytes: 0, lost, reason: self.reason.clone() }
    }
}

struct Candidate {
    file: String,
    /// By its name.
    named: SegmentName,
    header: Option<SegmentHeader>,
}

impl Survey {
    /// Looks at names and headers.
    pub(crate) fn of(storage: &dyn Storage, known: &[KnownDurable]) -> Result<Self, JournalError> {
        let hint = watermark::read(storage)?;
        let mut candidates = candidates(storage)?;
        let journal = whose(storage, &candidates, hint, known)?;
        let mut strays = Vec::new();
        candidates.retain(|candidate| {
            let foreign = candidate.header.filter(|header| header.journal != journal);
            if let Some(header) = foreign {
                let reason = format!("this is a segment of another journal, {}", header.journal);
                strays.push(Stray { file: candidate.file.clone(), to: None, reason });
            }
            foreign.is_none()
        });
        let mut by_sequence: BTreeMap<u64, Vec<Candidate>> = BTreeMap::new();
        // A header is believed before a name.
        candidates.sort_by_key(|candidate| candidate.header.is_none());
        for candidate in candidates {
            let place = candidate.header.map_or(candidate.named, |header| header.name);
            by_sequence.entry(place.sequence).or_default().push(candidate);
        }
        let mut places: Vec<Place> = Vec::new();
        for rivals in by_sequence.into_values() {
            let (chosen, rest) = choose(storage, journal, rivals)?;
            let name = chosen.header.map_or(chosen.named, |header| header.name);
            for other in rest {
                let reason = format!("a copy of {name}, or damaged in its place");
                strays.push(Stray { file: other.file, to: None, reason });
            }
            if chosen.file != name.to_string() {
                let reason = format!("this is {name} under another name");
                strays.push(Stray { file: chosen.file.clone(), to: Some(name), reason });
            }
            places.push(Place { name, file: chosen.file });
        }
        for pair in places.windows(2) {
            let [before, after] = pair else { continue };
            if after.name.base < before.name.base || after.name.sequence - before.name.sequence > MISSING_MAX {
                let reason = format!("{} and {} cannot be of one journal's history", before.file, after.file);
                return Err(JournalError::Unrepairable { dir: storage.path(""), reason });
            }
        }
        let watermark = hint.filter(|(whose, _)| *whose == journal).map(|(_, watermark)| watermark).unwrap_or_default();
        Ok(Self { journal, watermark, places, strays })
    }
}

impl Survey {
    /// The file with the highest sequence number; empty where there is none.
    pub(crate) fn newest_file(&self) -> &str {
        self.places.last().map_or("", |place| &place.file)
    }
}

fn candidates(storage: &dyn Storage) -> Result<Vec<Candidate>, JournalError> {
    let mut files =
        storage.names().map_err(|source| JournalError::Io { action: "list", path: storage.path(""), source })?;
    files.sort_unstable();
    let mut candidates = Vec::new();
    for file in files {
        let Some(named) = SegmentName::parse(file.strip_suffix(FOUND).unwrap_or(&file)) else { continue };
        let header = match header_of(storage, &file) {
            Ok(HeaderFound::Whole(header)) => Some(header),
            Ok(HeaderFound::Damaged(_)) => None,
            Ok(HeaderFound::Newer(found)) => {
                return Err(JournalError::Version { file: storage.path(&file), found });
            }
            // Retention was faster.
            Err(error) if error.is_not_found() => continue,
            Err(error) => return Err(error),
        };
        candidates.push(Candidate { file, named, header });
    }
    Ok(candidates)
}

/// The journal whose folder this is: as the watermark says, if any segment agrees; else as most segments say.
fn whose(
    storage: &dyn Storage,
    candidates: &[Candidate],
    hint: Option<(JournalId, Watermark)>,
    known: &[KnownDurable],
) -> Result<JournalId, JournalError> {
    let mut counts: Vec<(JournalId, usize)> = Vec::new();
    for header in candidates.iter().filter_map(|candidate| candidate.header) {
        match counts.iter_mut().find(|(journal, _)| *journal == header.journal) {
            Some((_, count)) => *count += 1,
            None => counts.push((header.journal, 1)),
        }
    }
    let said = hint.map(|(journal, _)| journal);
    if let Some(journal) = said.filter(|said| counts.is_empty() || counts.iter().any(|(journal, _)| journal == said)) {
        return Ok(journal);
    }
    if let Some((journal, _)) = counts.iter().max_by_key(|(_, count)| *count) {
        return Ok(*journal);
    }
    // Nothing in the folder says it; a sink or a checkpoint may.
    if let Some(known) = known.first() {
        return Ok(known.journal);
    }
    let dir = storage.path("");
    Err(if candidates.is_empty() {
        JournalError::NoJournal { dir }
    } else {
        JournalError::Unrepairable { dir, reason: "nothing in it says any more which journal it is".into() }
    })
}

/// Of several files that claim one place, the one with the most whole events; if they are equal, the one that is there.
fn choose(
    storage: &dyn Storage,
    journal: JournalId,
    mut rivals: Vec<Candidate>,
) -> Result<(Candidate, Vec<Candidate>), JournalError> {
    if rivals.len() > 1 {
        let mut ranked = Vec::new();
        for rival in rivals {
            let place = rival.header.map_or(rival.named, |header| header.name);
            let inspected = inspect(storage, Subject { place, file: &rival.file, journal, limit: None })?;
            let in_place = rival.file == place.to_string();
            ranked.push(((inspected.events(), rival.header.is_some(), in_place), rival));
        }
        ranked.sort_by(|(a, _), (b, _)| b.cmp(a));
        rivals = ranked.into_iter().map(|(_, rival)| rival).collect();
    }
    let mut rivals = rivals.into_iter();
    let Some(chosen) = rivals.next() else { unreachable!("each place has a file that claims it") };
    Ok((chosen, rivals.collect()))
}

/// A segment that was looked at, and where it has to begin and end so that its neighbours follow.
#[derive(Debug)]
pub(crate) struct Judged {
    pub(crate) inspected: Inspected,
    /// The chain value that it begins with.
    pub(crate) chain: u32,
    /// Offset and chain value that it must end with.
    pub(crate) end: (Offset, u32),
    /// Segments that are missing behind it.
    pub(crate) missing: u64,
    /// Whether it is the newest.
    pub(crate) newest: bool,
    /// What is wrong with it, losses told.
    pub(crate) flaws: Vec<Flaw>,
}

/// Walks over all places in order, each with its successor in view.
pub(crate) struct Judge<'a> {
    storage: &'a dyn Storage,
    survey: &'a Survey,
    /// Beside a daemon: only what is durable of the newest.
    only_durable: bool,
    at: usize,
    next: Option<Inspected>,
    /// A file was gone when it was to be read: all before it are, too.
    retired: bool,
    chain: u32,
    /// The highest durable offset that anything has told so far.
    pub(crate) durable: Offset,
}

impl<'a> Judge<'a> {
    pub(crate) fn new(
        storage: &'a dyn Storage,
        survey: &'a Survey,
        known: &[KnownDurable],
        only_durable: bool,
    ) -> Self {
        let ours = known.iter().filter(|known| known.journal == survey.journal).map(|known| known.offset);
        let durable = ours.fold(survey.watermark.offset, Offset::max);
        Self { storage, survey, only_durable, at: 0, next: None, retired: false, chain: 0, durable }
    }

    fn inspect_next(&mut self) -> Result<Option<Inspected>, JournalError> {
        while let Some(place) = self.survey.places.get(self.at) {
            self.at += 1;
            let watermark = self.survey.watermark;
            let newest = self.at == self.survey.places.len() && place.name.sequence == watermark.sequence;
            let limit = (self.only_durable && newest).then_some(watermark.position);
            let subject = Subject { place: place.name, file: &place.file, journal: self.survey.journal, limit };
            match inspect(self.storage, subject) {
                // Retention was faster.
                Err(error) if error.is_not_found() => self.retired = true,
                inspected => return inspected.map(Some),
            }
        }
        Ok(None)
    }

    /// The chain value that the next segment begins with, if it still says so.
    pub(crate) fn chain_of_next(&self) -> Option<u32> {
        self.next.as_ref().and_then(Inspected::chain)
    }

    /// What stands before the next segment ends with this chain value.
    pub(crate) fn begin_at(&mut self, chain: u32) {
        self.chain = chain;
    }

    /// The next segment. None behind the newest.
    pub(crate) fn next(&mut self) -> Result<Option<Judged>, JournalError> {
        let current = match self.next.take() {
            Some(current) => current,
            None => match self.inspect_next()? {
                Some(first) => first,
                None => return Ok(None),
            },
        };
        // Those before the first that is there do not count.
        self.retired = false;
        self.next = self.inspect_next()?;
        if std::mem::take(&mut self.retired) && self.next.is_some() {
            return self.next();
        }
        self.durable = self.durable.max(current.durable);
        let chain = current.chain().unwrap_or(self.chain);
        let natural = (current.end(), current.chain_after(chain));
        let (end, missing) = match &self.next {
            Some(next) => match next.place.sequence - current.place.sequence - 1 {
                0 => ((next.place.base, next.chain().unwrap_or(natural.1)), 0),
                missing => (natural, missing),
            },
            None => (natural, 0),
        };
        let behind = self.next.as_ref().map(|next| next.place.base);
        if natural.0 > behind.unwrap_or(natural.0) {
            let reason = format!("{} has events that the segment behind it has too", current.file);
            return Err(JournalError::Unrepairable { dir: self.storage.path(""), reason });
        }
        self.chain = end.1;
        let newest = self.next.is_none();
        let flaws = self.flaws_of(&current, natural, end, newest);
        Ok(Some(Judged { inspected: current, chain, end, missing, newest, flaws }))
    }

    fn flaws_of(&self, segment: &Inspected, natural: (Offset, u32), end: (Offset, u32), newest: bool) -> Vec<Flaw> {
        let mut flaws = segment.flaws.clone();
        if newest && !segment.sealed {
            // Above what was durable it is a torn tail, which the next start cuts.
            let watermark = self.survey.watermark;
            let durable_bytes = if watermark.sequence == segment.place.sequence { watermark.position } else { 0 };
            let damage = |flaw: &Flaw| flaw.lost.from < self.durable || flaw.position < durable_bytes;
            if !flaws.iter().any(damage) {
                flaws.clear();
            }
            return flaws;
        }
        let told = flaws.iter().map(|flaw| flaw.lost.to).fold(natural.0, Offset::max);
        let lost = Hole { from: told, to: end.0.max(told) };
        let more = |reason: &str| Flaw {
            file: segment.file.clone(),
            position: segment.len,
            bytes: 0,
            lost,
            reason: reason.to_owned(),
        };
        let tail = flaws.iter_mut().find(|flaw| Some(flaw.position) == segment.tail);
        if let Some(tail) = tail {
            tail.lost.to = end.0.max(tail.lost.from);
            if tail.lost.is_empty() && natural == end {
                tail.reason = "the seal cannot be read; the blocks before it are whole".into();
            }
        } else if natural == end && !segment.sealed && flaws.is_empty() {
            flaws.push(more("the segment has no seal"));
        } else if !lost.is_empty() || natural != end && flaws.is_empty() {
            flaws.push(more("the segment behind it follows blocks that are not there"));
        }
        flaws
    }
}
