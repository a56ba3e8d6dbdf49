//! The one thread that appends. It takes all blocks that wait, gives each its offset, its place in the chain and its header,
//! writes them with one call, syncs, and only then says that they are durable. While it syncs the next group gathers.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::JournalOptions;
use super::block::{Dictionary, EncodedBlock, HeaderPlace, ReceivedRun, compose_header};
use super::error::JournalError;
use super::intake::{Taken, Wanted};
use super::offset::{JournalId, Offset};
use super::progress::Mark;
use super::recovery::Recovered;
use super::room::{Due, Limits, OWN_RESERVE_BYTES, RESERVE_BYTES, Sealed};
use super::segment::{FooterBuilder, FooterEnd, SEGMENT_HEADER_BYTES, SegmentHeader, SegmentName};
use super::state::{CommitReport, DropRecord, DroppedSpan, HeldBack, JournalState, Notice, Observer, Shared, Snapshot};
use super::storage::{Access, Storage, StorageFile};
use super::tokens::DurableToken;
use super::watermark::{Watermark, WatermarkFile};
use crate::clock::UnixNanos;
use crate::config::{JournalSettings, WhenFull};
use crate::crash_point::crash_point;

/// How often a full disk is looked at.
const FULL_POLL: Duration = Duration::from_millis(200);
/// How often segments are looked at for their age, beside at each seal.
const RETENTION_INTERVAL: Duration = Duration::from_mins(1);
/// A header is far shorter than this unless a block has very many monitors; counted with each block when room is measured.
const HEADER_BYTES_GUESS: u64 = 4096;

pub(crate) struct Writer {
    storage: Arc<dyn Storage>,
    shared: Arc<Shared>,
    settings: JournalSettings,
    observer: Observer,
    snapshot: Option<Snapshot>,
    drop_record: Option<DropRecord>,
    /// Deleted by `drop_oldest` and not on record yet.
    dropped: Option<DroppedSpan>,
    journal: JournalId,
    watermark_file: WatermarkFile,
    sealed: Sealed,
    active: Option<Active>,
    durable: Watermark,
    next_offset: Offset,
    next_sequence: u64,
    chain: u32,
    received_up_to: UnixNanos,
    headers: Vec<u8>,
    /// Written and not yet synced.
    unsynced: Group,
    /// Taken from the queue and not yet written, because the disk is full.
    waiting: Taken,
    full: bool,
    last_sync_started: Option<Instant>,
    retention_due: Instant,
}

/// The segment that is appended to.
struct Active {
    name: SegmentName,
    file: Box<dyn StorageFile>,
    position: u64,
    dictionary: Dictionary,
    footer: FooterBuilder,
}

/// Who gave blocks to the writer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Giver {
    /// Links: their events came from a socket.
    Links,
    /// The daemon itself.
    Own,
}

/// Blocks with their headers, to be written with one call: where each header stands in [`Writer::headers`].
type Composed = Vec<(Range<usize>, EncodedBlock)>;

#[derive(Debug, Default)]
struct Group {
    events: u64,
    blocks: u64,
    bytes: u64,
    payload_bytes: u64,
    write: Duration,
    received: Vec<ReceivedRun>,
    tokens: Vec<DurableToken>,
    marks: Vec<Mark>,
}

impl Writer {
    pub(crate) fn new(
        storage: Arc<dyn Storage>,
        shared: Arc<Shared>,
        options: JournalOptions,
        recovered: Recovered,
    ) -> Self {
        Self {
            storage,
            shared,
            settings: options.settings,
            observer: options.observer,
            snapshot: options.snapshot,
            drop_record: options.drop_record,
            dropped: None,
            journal: recovered.journal,
            watermark_file: recovered.watermark_file,
            sealed: Sealed::new(&recovered.segments),
            active: None,
            durable: recovered.watermark,
            next_offset: recovered.watermark.offset,
            next_sequence: recovered.next_sequence,
            chain: recovered.chain,
            received_up_to: recovered.received_up_to,
            headers: Vec::new(),
            unsynced: Group::default(),
            waiting: Taken::default(),
            full: false,
            last_sync_started: None,
            retention_due: Instant::now(),
        }
    }

    /// Runs until the journal is closed or fails. Whatever way it ends, everybody is told.
    pub(crate) fn run(mut self) -> Result<(), Arc<JournalError>> {
        let mut farewell = Farewell { shared: Arc::clone(&self.shared), dir: self.storage.path(""), state: None };
        let result = self.work();
        match result {
            Ok(()) => {
                farewell.state = Some(JournalState::Closed);
                Ok(())
            }
            Err(error) => {
                (self.observer)(&Notice::Failed(&error));
                let error = Arc::new(error);
                farewell.state = Some(JournalState::Failed(Arc::clone(&error)));
                Err(error)
            }
        }
    }

    fn work(&mut self) -> Result<(), JournalError> {
        loop {
            let now = Instant::now();
            if now >= self.retention_due {
                self.retire();
            }
            let not_before = self.last_sync_started.map_or(now, |started| started + self.settings.sync_interval);
            let own_wait = !self.waiting.own.is_empty();
            let until = if self.full || own_wait { now + FULL_POLL } else { self.retention_due };
            let wanted = Wanted { blocks: !self.full, own: !own_wait, not_before, until };
            let mut taken = self.shared.intake.take(wanted);
            self.waiting.own.append(&mut taken.own);
            self.waiting.blocks.append(&mut taken.blocks);
            self.write_own()?;
            let room = !self.waiting.blocks.is_empty() && self.has_room()?;
            // What was dropped to make room is told ahead of what the room is for.
            self.write_own()?;
            if room {
                let blocks = std::mem::take(&mut self.waiting.blocks);
                self.write(blocks, Giver::Links)?;
            }
            self.sync()?;
            if taken.closing {
                return self.close();
            }
        }
    }

    /// Puts on record what was dropped since there was last room: once, and not again and again while the disk stays full.
    fn record_dropped(&mut self) {
        let Some(span) = self.dropped.take() else { return };
        if let Some(record) = self.drop_record.as_mut().and_then(|record| record(&span)) {
            self.waiting.own.push_back(record);
        }
    }

    fn write_own(&mut self) -> Result<(), JournalError> {
        let own = std::mem::take(&mut self.waiting.own);
        if self.has_room_for_own(&own)? {
            self.write(own, Giver::Own)
        } else {
            self.waiting.own = own;
            Ok(())
        }
    }

    fn close(&mut self) -> Result<(), JournalError> {
        self.record_dropped();
        self.write_own()?;
        self.seal()?;
        // Of the daemon's own nothing was received from anybody: that it found no room at last is no loss to speak of.
        let lost = self.waiting.blocks.iter().map(|block| u64::from(block.events())).sum();
        if lost > 0 {
            return Err(JournalError::NoRoom { dir: self.storage.path(""), events: lost });
        }
        Ok(())
    }

    // --- room ---

    fn free_bytes(&self) -> Result<u64, JournalError> {
        self.storage.free_bytes().map_err(|source| JournalError::Io {
            action: "measure the free space of",
            path: self.storage.path(""),
            source,
        })
    }

    fn has_room_for_own(&self, blocks: &VecDeque<EncodedBlock>) -> Result<bool, JournalError> {
        Ok(blocks.is_empty() || self.free_bytes()? >= OWN_RESERVE_BYTES + written_bytes(blocks))
    }

    /// Whether the waiting blocks may be written; tells everybody when the answer changes. With `drop_oldest` it makes room.
    fn has_room(&mut self) -> Result<bool, JournalError> {
        let needed = RESERVE_BYTES + written_bytes(&self.waiting.blocks);
        let mut free = self.free_bytes()?;
        while free < needed && self.settings.when_full == WhenFull::DropOldest {
            let next = self.active.as_ref().map_or(self.next_offset, |active| active.name.base);
            let Some((from, to)) = self.sealed.oldest(self.active.is_some(), next) else { break };
            let span = DroppedSpan { from, to, holders: self.shared.holders_before(to) };
            (self.observer)(&Notice::Dropping(&span));
            match self.sealed.delete_oldest(self.storage.as_ref(), self.active.is_some(), next) {
                Ok(Some(dropped)) => {
                    self.note_deleted(dropped.bytes);
                    (self.observer)(&Notice::Dropped { from: dropped.from, to: dropped.to, bytes: dropped.bytes });
                    self.dropped = Some(match self.dropped.take() {
                        Some(before) => before.join(span),
                        None => span,
                    });
                }
                Ok(None) => break,
                Err(error) => {
                    (self.observer)(&Notice::RetentionFailed(&error));
                    break;
                }
            }
            free = self.free_bytes()?;
        }
        let full = free < needed;
        if !full {
            self.record_dropped();
        }
        if full != self.full {
            self.full = full;
            let (state, notice) = if full {
                (JournalState::Full { free, needed }, Notice::Full { free, needed })
            } else {
                (JournalState::Writable, Notice::Room)
            };
            self.shared.state.send_replace(state);
            (self.observer)(&notice);
        }
        Ok(!full)
    }

    /// Deletes segments that are too old or too many. A failure is told and tried again: nothing depends on it.
    fn retire(&mut self) {
        self.retention_due = Instant::now() + RETENTION_INTERVAL;
        let held = self.shared.held_from();
        let limits = Limits {
            now: UnixNanos::now(),
            retention: self.settings.retention,
            bytes_max: self.settings.max_size.0,
            active_bytes: self.active.as_ref().map_or(0, |active| active.position),
            next: self.active.as_ref().map_or(self.next_offset, |active| active.name.base),
            held_from: held.as_ref().map(|(_, from)| *from),
        };
        let (mut is_held, mut failure) = (false, None);
        loop {
            let deleted = match self.sealed.oldest_is_due(self.storage.as_ref(), limits) {
                Ok(Due::Yes) => self.sealed.delete_oldest(self.storage.as_ref(), self.active.is_some(), limits.next),
                Ok(Due::Held) => {
                    is_held = true;
                    break;
                }
                Ok(Due::No) => break,
                Err(error) => Err(error),
            };
            match deleted {
                Ok(Some(deleted)) => {
                    self.note_deleted(deleted.bytes);
                    let (from, to, bytes) = (deleted.from, deleted.to, deleted.bytes);
                    (self.observer)(&Notice::Retired { from, to, bytes });
                }
                Ok(None) => break,
                Err(error) => {
                    failure = Some(error);
                    break;
                }
            }
        }
        let kept = match (is_held, held) {
            (true, Some(held)) => {
                self.sealed.kept_for_holds(self.storage.as_ref(), limits).map(|kept| Some((held, kept)))
            }
            _ => Ok(None),
        };
        let status = {
            let mut status = self.shared.retention();
            status.last_run = Some(limits.now);
            status.held = None;
            match kept {
                Ok(Some(((who, from), kept))) => {
                    let above_max_size =
                        self.sealed.known_bytes().saturating_add(limits.active_bytes) > limits.bytes_max;
                    let (segments, bytes) = (kept.segments, kept.bytes);
                    status.held = Some(HeldBack { who, from, segments, bytes, above_max_size });
                }
                Ok(None) => {}
                Err(error) => failure = failure.or(Some(error)),
            }
            status.clone()
        };
        (self.observer)(&Notice::Retention(&status));
        if let Some(error) = failure {
            (self.observer)(&Notice::RetentionFailed(&error));
        }
    }

    fn note_deleted(&self, bytes: u64) {
        let mut status = self.shared.retention();
        status.deleted_segments += 1;
        status.deleted_bytes = status.deleted_bytes.saturating_add(bytes);
    }

    // --- appending ---

    fn write(&mut self, blocks: VecDeque<EncodedBlock>, giver: Giver) -> Result<(), JournalError> {
        if blocks.is_empty() {
            return Ok(());
        }
        let started = Instant::now();
        self.headers.clear();
        let mut composed = Composed::with_capacity(blocks.len() + 1);
        for block in blocks {
            if self.active.is_none() {
                self.active = Some(self.begin_segment()?);
                if let Some(snapshot) = self.snapshot.as_mut().and_then(|snapshot| snapshot()) {
                    self.compose(snapshot, &mut composed);
                }
            }
            if giver == Giver::Links {
                self.unsynced.received.extend_from_slice(&block.parts().runs);
            }
            let position = self.compose(block, &mut composed);
            if position >= self.settings.segment_size.0 {
                self.append(&mut composed)?;
                self.unsynced.write += started.elapsed();
                self.seal()?;
            }
        }
        self.append(&mut composed)?;
        self.unsynced.write += started.elapsed();
        Ok(())
    }

    /// Gives a block its place behind all before it. Returns where the segment then ends.
    fn compose(&mut self, mut block: EncodedBlock, composed: &mut Composed) -> u64 {
        self.unsynced.marks.extend(block.take_mark());
        let Some(active) = &mut self.active else { unreachable!("blocks are composed for a segment") };
        let parts = block.parts();
        let start = self.headers.len();
        let place = HeaderPlace {
            journal_check: self.journal.check(),
            base: self.next_offset,
            durable_before: self.durable.offset,
            chain: self.chain,
        };
        self.chain = compose_header(&block, place, &mut active.dictionary, &mut self.headers);
        let header = start..self.headers.len();
        active.footer.add(active.position, &self.headers[header.clone()], &parts.rows, &active.dictionary);
        let bytes = (header.len() + parts.body.len()) as u64;
        active.position += bytes;
        self.next_offset = self.next_offset.plus(u64::from(parts.count));
        if parts.count > 0 {
            self.received_up_to = self.received_up_to.max(parts.received.greatest);
        }
        for token in &parts.tokens {
            let (offset, received) = (self.next_offset, parts.received.greatest);
            self.unsynced.tokens.push(DurableToken { token: token.clone(), offset, received });
        }
        self.unsynced.events += u64::from(parts.count);
        self.unsynced.blocks += 1;
        self.unsynced.bytes += bytes;
        self.unsynced.payload_bytes += u64::from(parts.payloads_raw);
        composed.push((header, block));
        active.position
    }

    fn append(&mut self, composed: &mut Composed) -> Result<(), JournalError> {
        if composed.is_empty() {
            return Ok(());
        }
        let Some(active) = &mut self.active else { unreachable!("blocks are composed for a segment") };
        let mut slices = Vec::with_capacity(composed.len() * 2);
        for (header, block) in &*composed {
            slices.push(IoSlice::new(&self.headers[header.clone()]));
            slices.push(IoSlice::new(&block.parts().body));
        }
        active.file.append(&mut slices).map_err(|source| JournalError::WriteFailed {
            segment: self.storage.path(&active.name.to_string()),
            source,
        })?;
        crash_point!("journal.appended");
        drop(slices);
        composed.clear();
        self.headers.clear();
        Ok(())
    }

    /// A new segment gets its name only when its header is on disk, so that a named one always has a whole header.
    fn begin_segment(&mut self) -> Result<Active, JournalError> {
        let name = SegmentName { sequence: self.next_sequence, base: self.next_offset };
        let (text, unfinished) = (name.to_string(), format!("{name}.tmp"));
        let header = SegmentHeader {
            journal: self.journal,
            name,
            durable_before: self.durable.offset,
            created: UnixNanos::now(),
            received_before: self.received_up_to,
            chain: self.chain,
            whole_to: None,
        };
        let segment = self.storage.path(&text);
        let write_failed = |source| JournalError::WriteFailed { segment: segment.clone(), source };
        let sync_failed = |source| JournalError::SyncFailed { segment: segment.clone(), source };
        let mut file = self.storage.open(&unfinished, Access::Create).map_err(write_failed)?;
        crash_point!("journal.segment_opened");
        file.append(&mut [IoSlice::new(&header.write())]).map_err(write_failed)?;
        crash_point!("journal.segment_header_appended");
        file.sync().map_err(sync_failed)?;
        crash_point!("journal.segment_header_synced");
        self.storage.rename(&unfinished, &text).map_err(write_failed)?;
        crash_point!("journal.segment_renamed");
        self.storage.sync_folder("").map_err(sync_failed)?;
        crash_point!("journal.segment_begun");
        self.next_sequence += 1;
        Ok(Active {
            name,
            file,
            position: SEGMENT_HEADER_BYTES as u64,
            dictionary: Dictionary::default(),
            footer: FooterBuilder::default(),
        })
    }

    /// Makes durable what was written, and says so.
    fn sync(&mut self) -> Result<(), JournalError> {
        if self.unsynced.blocks == 0 {
            return Ok(());
        }
        let Some(active) = &mut self.active else { unreachable!("what is unsynced is in the active segment") };
        let started = Instant::now();
        self.last_sync_started = Some(started);
        let segment = self.storage.path(&active.name.to_string());
        if let Err(source) = active.file.sync() {
            return Err(JournalError::SyncFailed { segment, source });
        }
        crash_point!("journal.synced");
        let sync = started.elapsed();
        let watermark =
            Watermark { offset: self.next_offset, sequence: active.name.sequence, position: active.position };
        assert!(watermark.offset >= self.durable.offset, "the durable offset never goes back");
        self.durable = watermark;
        // Readers in other processes go by this file. If it cannot be written the disk is not to be trusted.
        self.watermark_file.write(watermark).map_err(|source| JournalError::WriteFailed {
            segment: self.storage.path(super::watermark::WATERMARK_FILE),
            source,
        })?;
        crash_point!("journal.watermark_written");
        self.shared.publish(watermark);
        crash_point!("journal.published");
        let group = &mut self.unsynced;
        for token in group.tokens.drain(..) {
            self.shared.resume.note(&token);
        }
        group.marks.drain(..).for_each(Mark::is_durable);
        self.shared.intake.committed_in(group.write + sync);
        (self.observer)(&Notice::Committed(CommitReport {
            events: group.events,
            blocks: group.blocks,
            bytes: group.bytes,
            payload_bytes: group.payload_bytes,
            write: group.write,
            sync,
            durable: watermark.offset,
            at: UnixNanos::now(),
            received: &group.received,
        }));
        group.received.clear();
        *group = Group { received: std::mem::take(&mut group.received), ..Group::default() };
        Ok(())
    }

    /// Ends the active segment, if there is one. Its blocks are synced before the seal is written: a seal says that all before
    /// it is durable, even if the seal alone reaches the disk.
    fn seal(&mut self) -> Result<(), JournalError> {
        self.sync()?;
        let Some(mut active) = self.active.take() else { return Ok(()) };
        let segment = self.storage.path(&active.name.to_string());
        let footer = active.footer.write(FooterEnd {
            journal: self.journal,
            position: active.position,
            offset: self.next_offset,
            received_up_to: self.received_up_to,
            chain: self.chain,
        });
        let write_failed = |source| JournalError::WriteFailed { segment: segment.clone(), source };
        active.file.append(&mut [IoSlice::new(&footer)]).map_err(write_failed)?;
        crash_point!("journal.seal_appended");
        active.file.sync().map_err(|source| JournalError::SyncFailed { segment: segment.clone(), source })?;
        crash_point!("journal.seal_synced");
        let bytes = active.position + footer.len() as u64;
        self.sealed.push(active.name, bytes);
        (self.observer)(&Notice::Sealed { segment, bytes });
        self.retention_due = Instant::now();
        Ok(())
    }
}

fn written_bytes(blocks: &VecDeque<EncodedBlock>) -> u64 {
    blocks.iter().map(|block| block.parts().body.len() as u64 + HEADER_BYTES_GUESS).sum()
}

/// Tells everybody that the writer is gone, also when it panics: nobody may wait for it for ever.
struct Farewell {
    shared: Arc<Shared>,
    dir: std::path::PathBuf,
    state: Option<JournalState>,
}

impl Drop for Farewell {
    fn drop(&mut self) {
        let died = || JournalState::Failed(Arc::new(JournalError::WriterDied { dir: self.dir.clone() }));
        let state = self.state.take().unwrap_or_else(died);
        self.shared.state.send_replace(state);
        self.shared.intake.die();
    }
}
