//! Makes a damaged journal one that can be opened again: keeps every whole block under its offset, records what is lost as
//! holes, and keeps the damaged files aside under `damaged/`.
//!
//! Files are put in their places first; then each segment that is not whole is written anew beside itself, from what is
//! whole in it, and takes its own place by a rename, after the damaged one was copied. Missing ones are filled with a
//! hole. Each step leaves a folder from which all can begin again, and a second run finds nothing to do. Sequence numbers,
//! offsets, and the blocks themselves stay what they were, so segments that are whole are not touched.

use std::io::{self, IoSlice};

use super::check::flaw_of_ancestors;
use super::error::JournalError;
use super::hole::{Hole, HoleRecord};
use super::inspect::{Content, Flaw, Inspected};
use super::offset::{JournalId, Offset};
use super::recovery::{UNFINISHED, sync_folder};
use super::segment::{SEGMENT_HEADER_BYTES, SegmentHeader, SegmentName};
use super::segment_copy::{CopyEnd, SegmentCopy};
use super::storage::{Access, Storage};
use super::summary::KnownDurable;
use super::survey::{FOUND, Judge, Judged, Stray, Survey};
use super::watermark::{WATERMARK_FILE, Watermark, WatermarkFile};
use crate::clock::UnixNanos;

/// Where files are kept that were repaired or belong nowhere.
pub(crate) const DAMAGED_FOLDER: &str = "damaged";

/// Bytes of a file that are copied at once.
const COPY_BYTES: usize = 1 << 20;

/// What a repair did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepairReport {
    /// Whose.
    pub journal: JournalId,
    /// What was wrong.
    pub flaws: Vec<Flaw>,
    /// Holes that were recorded.
    pub holes: Vec<Hole>,
    /// Where damaged files are kept.
    pub kept: Vec<std::path::PathBuf>,
    /// Segments that were written: those that were damaged or missing.
    pub segments: Vec<String>,
    /// Where the journal goes on.
    pub end: Offset,
}

impl RepairReport {
    /// How many events are lost.
    pub fn lost(&self) -> u64 {
        self.holes.iter().map(|hole| hole.len()).sum()
    }
}

/// Repairs a journal that no process has open: takes its lock. `known` are others who remember how far it was durable; it goes
/// on behind the highest of them. A journal that is whole is left as it is.
///
/// # Errors
/// [`JournalError::Locked`], [`JournalError::Unrepairable`] and [`JournalError::Version`] before anything is changed; or what the
/// system refused, after which it can be run again.
pub fn repair(storage: &dyn Storage, known: &[KnownDurable]) -> Result<RepairReport, JournalError> {
    let _lock = storage.lock()?;
    let mut survey = Survey::of(storage, known)?;
    // Contradictions show before anything is changed.
    let mut rehearsal = Judge::new(storage, &survey, known, false);
    while rehearsal.next()?.is_some() {}
    let mut repair = Repair {
        storage,
        report: RepairReport {
            journal: survey.journal,
            flaws: survey.strays.iter().map(Stray::flaw).collect(),
            holes: Vec::new(),
            kept: Vec::new(),
            segments: Vec::new(),
            end: Offset::ZERO,
        },
    };
    repair.put_in_place(&survey.strays)?;
    if let Some(flaw) = flaw_of_ancestors(storage)? {
        // Cursors of those journals are refused from now on.
        repair.set_aside(&flaw.file)?;
        repair.report.flaws.push(flaw);
    }
    if !survey.strays.is_empty() {
        survey = Survey::of(storage, known)?;
    }
    repair.segments(&survey, known)?;
    Ok(repair.report)
}

struct Repair<'a> {
    storage: &'a dyn Storage,
    report: RepairReport,
}

impl Repair<'_> {
    /// Files go where they belong. By another name first, so that two that were swapped do not meet.
    fn put_in_place(&mut self, strays: &[Stray]) -> Result<(), JournalError> {
        for stray in strays {
            match stray.to {
                Some(place) => {
                    let found = format!("{place}{FOUND}");
                    if stray.file != found {
                        self.rename(&stray.file, &found)?;
                    }
                }
                None => self.set_aside(&stray.file)?,
            }
        }
        if !strays.is_empty() {
            sync_folder(self.storage, "")?;
        }
        for place in strays.iter().filter_map(|stray| stray.to) {
            self.rename(&format!("{place}{FOUND}"), &place.to_string())?;
        }
        if !strays.is_empty() {
            sync_folder(self.storage, "")?;
        }
        Ok(())
    }

    fn segments(&mut self, survey: &Survey, known: &[KnownDurable]) -> Result<(), JournalError> {
        let mut judge = Judge::new(self.storage, survey, known, false);
        let (mut received, mut newest) = (UnixNanos(i64::MIN), None);
        while let Some(mut judged) = judge.next()? {
            let behind = survey.watermark.sequence > judged.inspected.place.sequence || judge.durable > judged.end.0;
            // What comes behind it says where an unsealed one ends; none is left without a seal.
            let unsealed = judged.newest && behind && !judged.inspected.sealed;
            if !judged.flaws.is_empty() || unsealed {
                let end = self.rebuild(&judged, received)?;
                received = end.received_up_to;
            } else {
                received = judged.received_up_to(received);
            }
            self.report.flaws.append(&mut judged.flaws);
            let (place, (offset, chain)) = (judged.inspected.place, judged.end);
            newest = Some((place, (offset, chain), received));
            if judged.missing > 0 {
                let next = survey.places.iter().find(|next| next.name.sequence > place.sequence);
                let Some(next) = next else { unreachable!("what is missing is missing before something") };
                let end = (next.name.base, judge.chain_of_next().unwrap_or(chain));
                judge.begin_at(end.1);
                self.fill(survey.journal, place.sequence + 1..next.name.sequence, (offset, chain), end, received)?;
            }
        }
        let Some((place, end, received)) = newest else {
            return self.begin_anew(survey, judge.durable);
        };
        let last = survey.watermark.sequence.max(place.sequence);
        if judge.durable > end.0 || last > place.sequence {
            let last = last.max(place.sequence + 1);
            let to = (judge.durable.max(end.0), end.1);
            self.fill(survey.journal, place.sequence + 1..last + 1, end, to, received)?;
            self.report.end = to.0;
            return self.tell(survey.journal, to.0, last);
        }
        self.report.end = end.0;
        Ok(())
    }

    /// Readers in other processes go by this file, which named a segment that is missing or shorter now.
    fn tell(&self, journal: JournalId, offset: Offset, sequence: u64) -> Result<(), JournalError> {
        let position = SEGMENT_HEADER_BYTES as u64;
        let mut file = WatermarkFile::open(self.storage, journal)?;
        file.write(Watermark { offset, sequence, position }).map_err(|source| JournalError::Io {
            action: "write",
            path: self.storage.path(WATERMARK_FILE),
            source,
        })
    }

    /// Not one segment is left, and somebody knows that there were events.
    fn begin_anew(&mut self, survey: &Survey, durable: Offset) -> Result<(), JournalError> {
        self.report.end = durable;
        if durable == Offset::ZERO {
            return Ok(());
        }
        let (start, last) = ((Offset::ZERO, 0), survey.watermark.sequence);
        // As old as can be told: retention would take it away at once if it were older.
        self.fill(survey.journal, 0..last + 1, start, (durable, 0), UnixNanos::now())?;
        self.tell(survey.journal, durable, last)
    }

    /// Writes a segment anew out of what is whole in it.
    fn rebuild(&mut self, judged: &Judged, received_before: UnixNanos) -> Result<CopyEnd, JournalError> {
        let Judged { inspected, chain, end, .. } = judged;
        let name = inspected.file.clone();
        let mut at = (inspected.place.base, *chain);
        let mut gaps = false;
        for piece in &inspected.pieces {
            gaps |= (piece.from, piece.chain) != at || matches!(piece.content, Content::Hole(_));
            at = (piece.to, piece.chain_after);
        }
        gaps |= at != *end;
        let old = inspected.header;
        let whole_to = gaps.then_some(end.0).or(old.and_then(|old| old.whole_to));
        let header = SegmentHeader {
            journal: self.report.journal,
            name: inspected.place,
            durable_before: old.map_or(inspected.place.base, |old| old.durable_before),
            created: old.map_or_else(UnixNanos::now, |old| old.created),
            received_before: old.map_or(received_before, |old| old.received_before),
            chain: *chain,
            whole_to: whole_to.map(|_| end.0),
        };
        let io = |source| JournalError::Io { action: "read", path: self.storage.path(&name), source };
        let source = self.storage.open(&name, Access::Read).map_err(io)?;
        let mut copy = SegmentCopy::create(self.storage, header)?;
        let mut body = Vec::new();
        for piece in &inspected.pieces {
            if (piece.from, piece.chain) != copy.end() {
                self.record(&mut copy, (piece.from, piece.chain), &inspected.names)?;
            }
            match &piece.content {
                Content::Block { header, body_at, body_len } => {
                    body.resize(*body_len as usize, 0);
                    let read = source.read_at(*body_at, &mut body).map_err(io)?;
                    if read < body.len() {
                        return Err(io(io::ErrorKind::UnexpectedEof.into()));
                    }
                    copy.block(header, &body)?;
                }
                Content::Hole(record) => copy.hole(record.clone())?,
            }
        }
        if copy.end() != *end {
            self.record(&mut copy, *end, &inspected.names)?;
        }
        self.keep_copy(&name)?;
        let end = copy.finish()?;
        self.report.segments.push(name);
        Ok(end)
    }

    fn record(
        &mut self,
        copy: &mut SegmentCopy<'_>,
        (to, chain_after): (Offset, u32),
        names: &[(String, String)],
    ) -> Result<(), JournalError> {
        let hole = Hole { from: copy.end().0, to };
        if !hole.is_empty() {
            self.report.holes.push(hole);
        }
        copy.hole(HoleRecord { hole, chain: 0, chain_after, recorded: UnixNanos::now(), names: names.to_vec() })
    }

    /// Puts segments in the place of missing ones: the first has the hole, the others nothing.
    fn fill(
        &mut self,
        journal: JournalId,
        sequences: std::ops::Range<u64>,
        mut start: (Offset, u32),
        end: (Offset, u32),
        received_before: UnixNanos,
    ) -> Result<(), JournalError> {
        for sequence in sequences {
            let name = SegmentName { sequence, base: start.0 };
            let (durable_before, created) = (end.0, UnixNanos::now());
            let whole_to = Some(end.0);
            let header =
                SegmentHeader { journal, name, durable_before, created, received_before, chain: start.1, whole_to };
            let mut copy = SegmentCopy::create(self.storage, header)?;
            if copy.end() != end {
                self.record(&mut copy, end, &[])?;
            }
            copy.finish()?;
            self.report.segments.push(name.to_string());
            start = end;
        }
        Ok(())
    }

    // --- keeping ---

    /// Copies a file into `damaged/`. Doing it twice gives the same file.
    fn keep_copy(&mut self, name: &str) -> Result<(), JournalError> {
        let failed = |source| JournalError::Io { action: "keep a copy of", path: self.storage.path(name), source };
        let kept = format!("{DAMAGED_FOLDER}/{name}-{:08x}", self.checksum(name)?);
        let unfinished = format!("{kept}{UNFINISHED}");
        let source = self.storage.open(name, Access::Read).map_err(failed)?;
        match self.storage.remove(&unfinished) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        let mut copy = self.storage.open(&unfinished, Access::Create).map_err(failed)?;
        let (mut position, mut bytes) = (0, vec![0; COPY_BYTES]);
        loop {
            let read = source.read_at(position, &mut bytes).map_err(failed)?;
            if read == 0 {
                break;
            }
            copy.append(&mut [IoSlice::new(&bytes[..read])]).map_err(failed)?;
            position += read as u64;
        }
        let path = self.storage.path(&kept);
        copy.sync().map_err(|source| JournalError::SyncFailed { segment: path.clone(), source })?;
        self.storage.rename(&unfinished, &kept).map_err(failed)?;
        self.sync_kept(path)
    }

    /// Moves a file into `damaged/`.
    fn set_aside(&mut self, name: &str) -> Result<(), JournalError> {
        let failed = |source| JournalError::Io { action: "set aside", path: self.storage.path(name), source };
        self.storage.create_folder(DAMAGED_FOLDER).map_err(failed)?;
        let kept = format!("{DAMAGED_FOLDER}/{name}-{:08x}", self.checksum(name)?);
        self.rename(name, &kept)?;
        let path = self.storage.path(&kept);
        self.sync_kept(path)
    }

    fn sync_kept(&mut self, path: std::path::PathBuf) -> Result<(), JournalError> {
        sync_folder(self.storage, DAMAGED_FOLDER)?;
        sync_folder(self.storage, "")?;
        self.report.kept.push(path);
        Ok(())
    }

    fn checksum(&self, name: &str) -> Result<u32, JournalError> {
        let failed = |source| JournalError::Io { action: "read", path: self.storage.path(name), source };
        let source = self.storage.open(name, Access::Read).map_err(failed)?;
        let (mut position, mut bytes, mut crc) = (0, vec![0; COPY_BYTES], 0);
        loop {
            let read = source.read_at(position, &mut bytes).map_err(failed)?;
            if read == 0 {
                return Ok(crc);
            }
            crc = crc32c::crc32c_append(crc, &bytes[..read]);
            position += read as u64;
        }
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), JournalError> {
        let failed = |source| JournalError::Io { action: "rename", path: self.storage.path(from), source };
        self.storage.rename(from, to).map_err(failed)
    }
}

impl Judged {
    /// The greatest received time up to the end of this segment.
    fn received_up_to(&self, before: UnixNanos) -> UnixNanos {
        let Inspected { pieces, header, .. } = &self.inspected;
        let start = header.map_or(before, |header| header.received_before);
        pieces.iter().filter_map(|piece| piece.received).fold(start, UnixNanos::max)
    }
}
