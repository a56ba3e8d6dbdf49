//! What happens between finding the files and writing the next block.
//!
//! Only the newest segments are touched, so that opening takes as long for a large journal as for a small one. Each step
//! leaves the folder in a state from which all steps can begin again:
//!
//! 1. What cannot be read above the watermark is kept aside under `cut/`, synced.
//! 2. Whole blocks above the watermark may never have reached the disk: they are written into a new segment, sealed and
//!    synced under another name, and then renamed.
//! 3. The old segment is cut behind its last durable block and sealed.
//!
//! A crash after 2 leaves an unsealed segment with one behind it: the later one's chain value says where the old one ends.

use std::io::IoSlice;
use std::path::PathBuf;

use tokio::time::Instant;

use super::block::{Dictionary, EncodedBlock, HeaderPlace, compose_header};
use super::error::JournalError;
use super::offset::{JournalId, Offset};
use super::scan::{Scan, WholeBlock, durable_offset_spoken_of};
use super::segment::{FooterBuilder, FooterEnd, OpenSegment, SegmentHeader, SegmentName, list_segments};
use super::storage::{Access, Storage};
use super::summary::{CutTail, KnownDurable, RecoverySummary, Rewritten};
use super::watermark::{self, Watermark, WatermarkFile};
use crate::clock::UnixNanos;
use crate::crash_point::crash_point;

/// Files that are made under another name first. One that is found was never finished.
pub(crate) const UNFINISHED: &str = ".tmp";
pub(crate) const CUT_FOLDER: &str = "cut";

/// Where the writer goes on.
#[derive(Debug)]
pub(crate) struct Recovered {
    pub(crate) journal: JournalId,
    pub(crate) segments: Vec<SegmentName>,
    pub(crate) watermark: Watermark,
    pub(crate) next_sequence: u64,
    pub(crate) chain: u32,
    pub(crate) received_up_to: UnixNanos,
    pub(crate) watermark_file: WatermarkFile,
    pub(crate) summary: RecoverySummary,
}

/// Brings the folder into order. The caller holds the lock.
pub(crate) fn recover(storage: &dyn Storage, known: &[KnownDurable]) -> Result<Recovered, JournalError> {
    let started = Instant::now();
    remove_unfinished(storage)?;
    crash_point!("recovery.begun");
    let mut names = list_segments(storage)?;
    let hint = watermark::read(storage)?;
    let mut recovery = Recovery { storage, cut: None, rewritten: None, clean: true };

    let (end, journal) = loop {
        let Some(&last) = names.last() else {
            break (None, recovery.found_journal(hint, known)?);
        };
        match recovery.settle(&names, last, hint, known)? {
            Settled::Ends(end) => break (Some(end), end.journal),
            Settled::Anew => names = list_segments(storage)?,
            Settled::Removed => {
                names.pop();
            }
        }
    };
    if end.is_some() {
        names = list_segments(storage)?;
    }
    let end = end.unwrap_or(End {
        journal,
        offset: Offset::ZERO,
        sequence: 0,
        position: 0,
        chain: 0,
        received_up_to: UnixNanos(i64::MIN),
    });
    for known in known {
        check_known(known, journal, end.offset)?;
    }
    let watermark = Watermark { offset: end.offset, sequence: end.sequence, position: end.position };
    let mut watermark_file = WatermarkFile::open(storage, journal)?;
    let path = || storage.path(watermark::WATERMARK_FILE);
    watermark_file.write(watermark).map_err(|source| JournalError::Io { action: "write", path: path(), source })?;
    crash_point!("recovery.watermark_written");
    if names.is_empty() {
        // Nothing else says yet who this journal is.
        watermark_file.sync().map_err(|source| JournalError::SyncFailed { segment: path(), source })?;
        sync_folder(storage, "")?;
    }
    let summary = RecoverySummary {
        journal,
        durable: end.offset,
        earliest: names.first().map_or(end.offset, |name| name.base),
        segments: names.len(),
        last_received: (end.received_up_to.0 != i64::MIN).then_some(end.received_up_to),
        cut: recovery.cut,
        rewritten: recovery.rewritten,
        clean: recovery.clean,
        took: started.elapsed(),
    };
    Ok(Recovered {
        journal,
        next_sequence: names.last().map_or(0, |name| name.sequence + 1),
        segments: names,
        watermark,
        chain: end.chain,
        received_up_to: end.received_up_to,
        watermark_file,
        summary,
    })
}

/// The end of the newest segment.
#[derive(Debug, Clone, Copy)]
struct End {
    journal: JournalId,
    offset: Offset,
    sequence: u64,
    position: u64,
    chain: u32,
    received_up_to: UnixNanos,
}

enum Settled {
    /// The newest segment is sealed and so is the one before.
    Ends(End),
    /// Files were changed: look again.
    Anew,
    /// The newest segment had nothing in it and is gone.
    Removed,
}

struct Recovery<'a> {
    storage: &'a dyn Storage,
    cut: Option<CutTail>,
    rewritten: Option<Rewritten>,
    clean: bool,
}

impl Recovery<'_> {
    /// The identity of a journal that has no segments.
    fn found_journal(
        &self,
        hint: Option<(JournalId, Watermark)>,
        known: &[KnownDurable],
    ) -> Result<JournalId, JournalError> {
        let Some((journal, watermark)) = hint else {
            // A new journal must not begin where others remember an old one.
            if let Some(known) = known.iter().find(|known| known.offset > Offset::ZERO) {
                let end = Offset::ZERO;
                return Err(JournalError::Ahead { who: known.who.clone(), offset: known.offset, end });
            }
            return Ok(JournalId::random());
        };
        if watermark.offset > Offset::ZERO {
            let reason = format!("events up to {} were durable, but no segment is there", watermark.offset);
            return Err(JournalError::Incomplete { dir: self.storage.path(""), reason });
        }
        Ok(journal)
    }

    fn settle(
        &mut self,
        names: &[SegmentName],
        last: SegmentName,
        hint: Option<(JournalId, Watermark)>,
        known: &[KnownDurable],
    ) -> Result<Settled, JournalError> {
        let segment = match OpenSegment::open(self.storage, last) {
            Err(JournalError::Damaged { reason, .. }) => {
                return self.set_aside_headless(last, hint, known, &reason);
            }
            opened => opened?,
        };
        if let Some((journal, _)) = hint
            && journal != segment.header.journal
        {
            let who = self.storage.path(watermark::WATERMARK_FILE).display().to_string();
            return Err(JournalError::Foreign { who, found: journal, journal: segment.header.journal });
        }
        if let [.., before, _] = names {
            self.settle_before(*before, &segment)?;
        }
        let watermark = known_watermark(&segment, hint, known);
        if segment.seal.is_some() {
            let end = self.sealed_end(&segment)?;
            if watermark.offset > end.offset {
                let reason = format!(
                    "events up to {} were durable, but the newest segment {last} ends at {}",
                    watermark.offset, end.offset
                );
                // Others than the journal itself get their own message, which says who knows more.
                for known in known {
                    check_known(known, end.journal, end.offset)?;
                }
                return Err(JournalError::Incomplete { dir: self.storage.path(""), reason });
            }
            return Ok(Settled::Ends(end));
        }
        self.clean = false;
        self.settle_unsealed(&segment, watermark, known, names.len() == 1)
    }

    /// The newest segment is sealed. Its seal may have been written without being synced.
    fn sealed_end(&self, segment: &OpenSegment) -> Result<End, JournalError> {
        let Some(seal) = &segment.seal else { unreachable!("the caller has looked") };
        let mut file = self.open_for_repair(segment)?;
        file.sync().map_err(|source| JournalError::SyncFailed { segment: segment.path.clone(), source })?;
        Ok(End {
            journal: segment.header.journal,
            offset: seal.end,
            sequence: segment.header.name.sequence,
            position: seal.blocks_end,
            chain: seal.chain,
            received_up_to: seal.received_up_to,
        })
    }

    /// The segment before the newest one must be sealed and end where that one begins.
    fn settle_before(&mut self, name: SegmentName, after: &OpenSegment) -> Result<(), JournalError> {
        let segment = OpenSegment::open(self.storage, name)?;
        if segment.header.journal != after.header.journal {
            let who = segment.path.display().to_string();
            let (found, journal) = (segment.header.journal, after.header.journal);
            return Err(JournalError::Foreign { who, found, journal });
        }
        let (base, chain) = (after.header.name.base, after.header.chain);
        if let Some(seal) = &segment.seal {
            if seal.end == base && seal.chain == chain {
                return Ok(());
            }
            let reason = format!("{} does not follow {name}, which ends at {}", after.header.name, seal.end);
            return Err(JournalError::Incomplete { dir: self.storage.path(""), reason });
        }
        // A recovery was cut short behind its second step, or a power cut took a seal.
        self.clean = false;
        let mut found = Scan::start(&segment);
        while !(found.cursor.offset == base && found.cursor.chain == chain) {
            found.step(&segment, segment.len)?;
        }
        self.cut_and_seal(&segment, &found)
    }

    /// The newest segment has no header that can be read: it was being made, or it is damaged.
    fn set_aside_headless(
        &mut self,
        name: SegmentName,
        hint: Option<(JournalId, Watermark)>,
        known: &[KnownDurable],
        reason: &str,
    ) -> Result<Settled, JournalError> {
        let text = name.to_string();
        let path = self.storage.path(&text);
        let damaged = || JournalError::Damaged {
            segment: path.clone(),
            position: 0,
            offset: name.base,
            reason: reason.to_owned(),
        };
        // A segment gets its name after its header is synced, so no crash of ours leaves this behind with events in it. It
        // is taken for a torn tail only if nobody says that something in it was durable, and it is too short for a block.
        let file = self.storage.open(&text, Access::Read).map_err(|source| self.io("open", &text, source))?;
        let len = file.len().map_err(|source| self.io("read", &text, source))?;
        let durable = hint.is_some_and(|(_, watermark)| watermark.offset > name.base)
            || known.iter().any(|known| known.offset > name.base);
        if durable || len > super::segment::SEGMENT_HEADER_BYTES as u64 {
            return Err(damaged());
        }
        self.clean = false;
        let kept_at = self.keep_aside(file.as_ref(), &text, 0, len)?;
        self.cut = Some(CutTail { segment: path, position: 0, bytes: len, reason: reason.to_owned(), kept_at });
        self.remove(&text)?;
        Ok(Settled::Removed)
    }

    fn settle_unsealed(
        &mut self,
        segment: &OpenSegment,
        mut watermark: Watermark,
        known: &[KnownDurable],
        only: bool,
    ) -> Result<Settled, JournalError> {
        let name = segment.header.name;
        let mut found = Scan::start(segment);
        let mut torn = None;
        while found.cursor.position < segment.len {
            match found.step_checked(segment) {
                Ok(()) => {}
                Err(JournalError::Damaged { reason, .. }) => {
                    torn = Some(reason);
                    break;
                }
                Err(other) => return Err(other),
            }
        }
        for block in &found.blocks {
            watermark.offset = watermark.offset.max(block.header.durable_before);
        }
        if torn.is_some() {
            // From here on lengths cannot be trusted, but a whole header further back still can say what was durable.
            watermark.offset = watermark.offset.max(durable_offset_spoken_of(segment, found.cursor.position)?);
        }
        let durable_position = if watermark.sequence == name.sequence { watermark.position } else { 0 };
        let (end_position, end_offset) = (found.cursor.position, found.cursor.offset);
        if watermark.offset > end_offset || durable_position > end_position || watermark.sequence > name.sequence {
            if torn.is_none() {
                for known in known {
                    check_known(known, segment.header.journal, end_offset)?;
                }
            }
            let reason = torn.unwrap_or_else(|| "the segment is cut short".to_owned());
            return Err(JournalError::Damaged {
                segment: segment.path.clone(),
                position: end_position,
                offset: end_offset,
                reason: format!("{reason}, and events up to {} were durable", watermark.offset.max(end_offset)),
            });
        }
        if let Some(reason) = torn {
            let bytes = segment.len - end_position;
            let kept_at = self.keep_aside(segment.file.as_ref(), &name.to_string(), end_position, bytes)?;
            self.cut = Some(CutTail { segment: segment.path.clone(), position: end_position, bytes, reason, kept_at });
        }
        let unproven = found.blocks.partition_point(|block| {
            let end = block.position + block.header.total_len();
            end <= durable_position || block.header.base < watermark.offset
        });
        if unproven < found.blocks.len() {
            self.rewrite(segment, &found.blocks[..unproven], &found.blocks[unproven..])?;
            // The new segment's chain value now says where this one ends, and the next round cuts it there.
            return Ok(Settled::Anew);
        }
        // The only segment says where the journal goes on, even if nothing is in it.
        if found.blocks.is_empty() && !(only && name.base > Offset::ZERO) {
            self.remove(&name.to_string())?;
            return Ok(Settled::Removed);
        }
        self.cut_and_seal(segment, &found)?;
        Ok(Settled::Anew)
    }

    /// Writes whole blocks into a segment of their own behind `old`.
    fn rewrite(&mut self, old: &OpenSegment, kept: &[WholeBlock], blocks: &[WholeBlock]) -> Result<(), JournalError> {
        let [first, ..] = blocks else { unreachable!("the caller has some") };
        let received = |blocks: &[WholeBlock], before: UnixNanos| {
            let events = blocks.iter().filter(|block| block.header.count > 0);
            events.fold(before, |most, block| most.max(block.header.received.greatest))
        };
        let name = SegmentName { sequence: old.header.name.sequence + 1, base: first.header.base };
        let header = SegmentHeader {
            journal: old.header.journal,
            name,
            durable_before: first.header.base,
            created: UnixNanos::now(),
            received_before: received(kept, old.header.received_before),
            chain: first.header.chain,
            whole_to: None,
        };
        let mut out = header.write();
        let mut dictionary = Dictionary::default();
        let mut footer = FooterBuilder::default();
        let mut chain = header.chain;
        let mut events = 0;
        let (text, unfinished) = (name.to_string(), format!("{name}{UNFINISHED}"));
        let mut file =
            self.storage.open(&unfinished, Access::Create).map_err(|source| self.io("create", &unfinished, source))?;
        let write_failed = |source| JournalError::WriteFailed { segment: self.storage.path(&unfinished), source };
        let mut position = 0;
        for block in blocks {
            let at = block.position + u64::from(block.header.header_len);
            let mut body = vec![0; block.header.body_len as usize];
            let read = old.file.read_at(at, &mut body).map_err(|source| old.io("read", source))?;
            assert_eq!(read, body.len(), "the block was whole a moment ago");
            let encoded = EncodedBlock::from_header(&block.header, body);
            let header_at = out.len();
            let place = HeaderPlace {
                journal_check: header.journal.check(),
                base: block.header.base,
                durable_before: header.durable_before,
                chain,
            };
            chain = compose_header(&encoded, place, &mut dictionary, &mut out);
            let header_bytes = &out[header_at..];
            footer.add(position + header_at as u64, header_bytes, &block.header.rows, &dictionary);
            events += u64::from(block.header.count);
            let body = &encoded.parts().body;
            file.append(&mut [IoSlice::new(&out), IoSlice::new(body)]).map_err(write_failed)?;
            crash_point!("recovery.block_rewritten");
            position += (out.len() + body.len()) as u64;
            out.clear();
        }
        let end = FooterEnd {
            journal: header.journal,
            position,
            offset: first.header.base.plus(events),
            received_up_to: received(blocks, header.received_before),
            chain,
        };
        file.append(&mut [IoSlice::new(&footer.write(end))]).map_err(write_failed)?;
        crash_point!("recovery.rewrite_sealed");
        file.sync().map_err(|source| JournalError::SyncFailed { segment: self.storage.path(&unfinished), source })?;
        crash_point!("recovery.rewrite_synced");
        self.storage.rename(&unfinished, &text).map_err(|source| self.io("rename", &unfinished, source))?;
        crash_point!("recovery.rewrite_renamed");
        sync_folder(self.storage, "")?;
        crash_point!("recovery.rewritten");
        self.rewritten = Some(Rewritten { blocks: blocks.len(), events, segment: self.storage.path(&text) });
        Ok(())
    }

    /// Cuts a segment behind the blocks found and seals it.
    fn cut_and_seal(&self, segment: &OpenSegment, found: &Scan) -> Result<(), JournalError> {
        let write_failed = |source| JournalError::WriteFailed { segment: segment.path.clone(), source };
        let mut file = self.open_for_repair(segment)?;
        file.truncate(found.cursor.position).map_err(write_failed)?;
        crash_point!("recovery.tail_cut");
        let mut footer = FooterBuilder::default();
        let mut received_up_to = segment.header.received_before;
        let mut holes = found.cursor.holes.iter().peekable();
        for block in &found.blocks {
            while let Some((position, record)) = holes.next_if(|(position, _)| *position < block.position) {
                footer.add_hole(*position, &record.write(segment.header.journal));
            }
            let mut bytes = vec![0; block.header.header_len as usize];
            let read = segment.file.read_at(block.position, &mut bytes).map_err(|source| segment.io("read", source))?;
            assert_eq!(read, bytes.len(), "the block was whole a moment ago");
            footer.add(block.position, &bytes, &block.header.rows, &found.cursor.dictionary);
            if block.header.count > 0 {
                received_up_to = received_up_to.max(block.header.received.greatest);
            }
        }
        for (position, record) in holes {
            footer.add_hole(*position, &record.write(segment.header.journal));
        }
        let end = FooterEnd {
            journal: segment.header.journal,
            position: found.cursor.position,
            offset: found.cursor.offset,
            received_up_to,
            chain: found.cursor.chain,
        };
        file.append(&mut [IoSlice::new(&footer.write(end))]).map_err(write_failed)?;
        crash_point!("recovery.old_sealed");
        file.sync().map_err(|source| JournalError::SyncFailed { segment: segment.path.clone(), source })?;
        crash_point!("recovery.old_synced");
        Ok(())
    }

    /// Copies bytes into `cut/` and makes them durable there. Doing it twice gives the same file.
    fn keep_aside(
        &self,
        file: &dyn super::storage::StorageFile,
        name: &str,
        position: u64,
        bytes: u64,
    ) -> Result<PathBuf, JournalError> {
        let text = format!("{CUT_FOLDER}/{name}-{position}");
        let unfinished = format!("{text}{UNFINISHED}");
        let mut content = vec![0; usize::try_from(bytes).unwrap_or(0)];
        let path = self.storage.path(&text);
        let mut keep = || {
            let read = file.read_at(position, &mut content)?;
            match self.storage.remove(&unfinished) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let mut aside = self.storage.open(&unfinished, Access::Create)?;
            aside.append(&mut [IoSlice::new(&content[..read])])?;
            Ok(aside)
        };
        let failed = |source| self.io("keep the cut bytes in", &text, source);
        let mut aside = keep().map_err(failed)?;
        crash_point!("recovery.tail_kept");
        aside.sync().map_err(|source| JournalError::SyncFailed { segment: path.clone(), source })?;
        crash_point!("recovery.tail_synced");
        self.storage.rename(&unfinished, &text).map_err(failed)?;
        crash_point!("recovery.tail_renamed");
        sync_folder(self.storage, CUT_FOLDER)?;
        sync_folder(self.storage, "")?;
        Ok(path)
    }

    fn remove(&self, name: &str) -> Result<(), JournalError> {
        self.storage.remove(name).map_err(|source| self.io("remove", name, source))?;
        sync_folder(self.storage, "")
    }

    fn open_for_repair(&self, segment: &OpenSegment) -> Result<Box<dyn super::storage::StorageFile>, JournalError> {
        let name = segment.header.name.to_string();
        self.storage.open(&name, Access::Repair).map_err(|source| self.io("open", &name, source))
    }

    fn io(&self, action: &'static str, name: &str, source: std::io::Error) -> JournalError {
        JournalError::Io { action, path: self.storage.path(name), source }
    }
}

/// What is known to be durable before the newest segment's blocks are read.
fn known_watermark(segment: &OpenSegment, hint: Option<(JournalId, Watermark)>, known: &[KnownDurable]) -> Watermark {
    let mut watermark = hint.map(|(_, watermark)| watermark).unwrap_or_default();
    watermark.offset = watermark.offset.max(segment.header.durable_before);
    watermark.offset = watermark.offset.max(segment.header.whole_to.unwrap_or_default());
    for known in known.iter().filter(|known| known.journal == segment.header.journal) {
        watermark.offset = watermark.offset.max(known.offset);
    }
    watermark
}

/// Somebody else's memory must be of this journal and not ahead of it.
fn check_known(known: &KnownDurable, journal: JournalId, end: Offset) -> Result<(), JournalError> {
    if known.journal != journal {
        return Err(JournalError::Foreign { who: known.who.clone(), found: known.journal, journal });
    }
    if known.offset > end {
        return Err(JournalError::Ahead { who: known.who.clone(), offset: known.offset, end });
    }
    Ok(())
}

/// A folder whose sync fails is a sync that failed, like a file's: what is in it may be lost.
pub(crate) fn sync_folder(storage: &dyn Storage, folder: &str) -> Result<(), JournalError> {
    let failed = |source| JournalError::SyncFailed { segment: storage.path(folder), source };
    storage.sync_folder(folder).map_err(failed)
}

fn remove_unfinished(storage: &dyn Storage) -> Result<(), JournalError> {
    let io = |action, name: &str, source| JournalError::Io { action, path: storage.path(name), source };
    for name in storage.names().map_err(|source| io("list", "", source))? {
        if name.ends_with(UNFINISHED) {
            storage.remove(&name).map_err(|source| io("remove", &name, source))?;
        }
    }
    Ok(())
}
