//! A copy of a journal that goes on being written, consistent to one offset; and a new journal made of such a copy.
//!
//! Sealed segments never change in place, so they are linked where the file system can; of the newest only what was durable
//! at the beginning is copied. A restored journal is another journal: it has an identity of its own, since the old one may
//! have gone on, and remembers its ancestors, so that cursors of theirs can be taken over as far as the two are the same.

use std::fs::{self, File};
use std::io::{self, IoSlice, Read, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::ancestors::{self, ANCESTORS_FILE};
use super::check::{CheckReport, check};
use super::error::JournalError;
use super::offset::{Ancestor, JournalId, Offset};
use super::recovery::sync_folder;
use super::scan::BlockCursor;
use super::segment::{OpenSegment, SegmentHeader, SegmentName, list_segments};
use super::segment_copy::{CopyEnd, SegmentCopy};
use super::storage::{Access, DiskStorage, Storage};
use super::watermark::{self, Watermark, WatermarkFile};
use crate::clock::UnixNanos;

/// Says what a backup is of; written last, so that a folder without it is no backup.
pub const MANIFEST_FILE: &str = "backup.json";
const MANIFEST_VERSION: u32 = 1;
/// Where a restore works until all is there.
const RESTORING: &str = "journal.restoring";

/// What a backup is of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Of the backup's form.
    pub version: u32,
    /// Whose events.
    pub journal: String,
    /// The first event in it.
    pub earliest_offset: u64,
    /// The offset after the last event in it.
    pub offset: u64,
    /// When it was begun, RFC 3339.
    pub time: String,
    /// Segments.
    pub segments: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Of these segments, those that share their bytes with the journal, by hard links.
    pub linked: u64,
    /// The checkpoint in it.
    pub checkpoint: Option<String>,
}

/// Why there is no backup, or none was restored.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The journal.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// There is something where the copy is to be.
    #[error("{} is not empty; name a new folder", dir.display())]
    NotEmpty {
        /// The folder.
        dir: PathBuf,
    },
    /// A journal is where one is to be restored.
    #[error("there is a journal in {}; move it away, or set another `daemon.data_dir`", dir.display())]
    Occupied {
        /// The folder.
        dir: PathBuf,
    },
    /// The folder is no whole backup.
    #[error("{} is no backup that was finished: {reason}", dir.display())]
    NoBackup {
        /// The folder.
        dir: PathBuf,
        /// Why.
        reason: String,
    },
    /// What was copied is damaged.
    #[error(
        "{} flaws in {}, the first in {} at byte {}: {}; `sluice journal check` says more", report.flaws.len(), dir.display(),
        report.flaws[0].file, report.flaws[0].position, report.flaws[0].reason
    )]
    Damaged {
        /// The folder.
        dir: PathBuf,
        /// What is wrong; there is at least one flaw.
        report: Box<CheckReport>,
    },
    /// The end of a journal that no daemon runs on is not settled.
    #[error("what is durable of {} is not known before the daemon has started once after a crash; start it, then back up", dir.display())]
    Unsettled {
        /// The journal's folder.
        dir: PathBuf,
    },
    /// The system refused.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> BackupError {
    let path = path.to_owned();
    move |source| BackupError::Io { action, path, source }
}

/// A moment of the journal: all segments before one, and that one up to a byte.
struct Moment {
    journal: JournalId,
    watermark: Watermark,
    segments: Vec<SegmentName>,
    /// Whether the last of them is to be cut at the watermark.
    cut: bool,
}

/// Copies the journal in the folder `dir` into the folder `to`, which must be new or empty, as far as it is durable now.
/// `checkpoint` names a file to go with it, given the offset that is reached. A daemon may run meanwhile.
///
/// # Errors
/// When it cannot be done, or what was copied is not whole; there is then no manifest.
pub fn back_up(
    dir: &Path,
    to: &Path,
    checkpoint: impl FnOnce(JournalId, Offset) -> Option<PathBuf>,
) -> Result<Manifest, BackupError> {
    if !dir.is_dir() {
        return Err(JournalError::NoJournal { dir: dir.to_owned() }.into());
    }
    fs::create_dir_all(to).map_err(failed("create", to))?;
    if fs::read_dir(to).map_err(failed("list", to))?.next().is_some() {
        return Err(BackupError::NotEmpty { dir: to.to_owned() });
    }
    let time = UnixNanos::now().to_string();
    let storage = DiskStorage::new(dir);
    let Moment { journal, watermark, segments, cut } = moment(&storage, dir)?;
    let target_dir = super::folder(to);
    fs::create_dir(&target_dir).map_err(failed("create", &target_dir))?;
    let (mut kept, mut bytes, mut linked, mut earliest) = (0, 0, 0, watermark.offset);
    // The newest first: retention takes the oldest first, so that one that is gone says that all before it are.
    for (number, name) in segments.iter().enumerate().rev() {
        let (from, into) = (dir.join(name.to_string()), target_dir.join(name.to_string()));
        let only = (cut && number + 1 == segments.len()).then_some(watermark.position);
        match copy_or_link(&from, &into, only) {
            Ok((len, is_link)) => {
                bytes += len;
                linked += u64::from(is_link);
            }
            Err(BackupError::Io { source, .. })
                if source.kind() == io::ErrorKind::NotFound && number + 1 < segments.len() =>
            {
                break;
            }
            Err(error) => return Err(error),
        }
        kept += 1;
        earliest = name.base;
    }
    let target = DiskStorage::new(&target_dir);
    let ancestors = ancestors::read(&storage)?;
    settle(&target, journal, watermark, &ancestors)?;
    let checkpoint = match checkpoint(journal, watermark.offset) {
        Some(from) => Some(keep_checkpoint(&from, &to.join("checkpoints"))?),
        None => None,
    };
    verified(&target, &target_dir, watermark.offset)?;
    let manifest = Manifest {
        version: MANIFEST_VERSION,
        journal: journal.to_string(),
        earliest_offset: earliest.0,
        offset: watermark.offset.0,
        time,
        segments: kept,
        bytes,
        linked,
        checkpoint,
    };
    let path = to.join(MANIFEST_FILE);
    // Names, numbers and times: serialization has nothing to refuse.
    let text = serde_json::to_vec_pretty(&manifest).unwrap_or_default();
    write_whole(&path, &text)?;
    Ok(manifest)
}

/// What is durable now, and in which files.
fn moment(storage: &DiskStorage, dir: &Path) -> Result<Moment, BackupError> {
    // First the watermark: what it speaks of is in files that are there by then.
    let hint = watermark::read(storage)?;
    let mut segments = list_segments(storage)?;
    let Some(&last) = segments.last() else {
        let (journal, watermark) = hint.ok_or_else(|| JournalError::NoJournal { dir: dir.to_owned() })?;
        return Ok(Moment { journal, watermark, segments, cut: false });
    };
    let segment = OpenSegment::open(storage, last)?;
    let journal = segment.header.journal;
    let hint = hint.filter(|(whose, _)| *whose == journal).map(|(_, watermark)| watermark).unwrap_or_default();
    if let Some(seal) = &segment.seal {
        let watermark = Watermark { offset: seal.end, sequence: last.sequence, position: seal.blocks_end };
        return Ok(Moment { journal, watermark, segments, cut: false });
    }
    if hint.sequence == last.sequence && hint.position > 0 {
        return Ok(Moment { journal, watermark: hint, segments, cut: true });
    }
    // Just begun: nothing of it is durable yet. Or the watermark was lost, and blocks in it may be.
    segments.pop();
    let before = match segments.last() {
        Some(&before) => OpenSegment::open(storage, before)?,
        None => return Err(BackupError::Unsettled { dir: dir.to_owned() }),
    };
    match &before.seal {
        Some(seal) if hint.sequence == before.header.name.sequence && hint.offset == seal.end => {
            let watermark = Watermark { offset: seal.end, sequence: hint.sequence, position: seal.blocks_end };
            Ok(Moment { journal, watermark, segments, cut: false })
        }
        _ => Err(BackupError::Unsettled { dir: dir.to_owned() }),
    }
}

/// Returns how long the copy is, and whether it shares its bytes.
fn copy_or_link(from: &Path, into: &Path, only: Option<u64>) -> Result<(u64, bool), BackupError> {
    if only.is_none() && fs::hard_link(from, into).is_ok() {
        return Ok((fs::metadata(into).map_err(failed("measure", into))?.len(), true));
    }
    let source = File::open(from).map_err(failed("open", from))?;
    let mut copy = File::create_new(into).map_err(failed("create", into))?;
    let len = io::copy(&mut source.take(only.unwrap_or(u64::MAX)), &mut copy).map_err(failed("copy", from))?;
    copy.sync_all().map_err(failed("sync", into))?;
    Ok((len, false))
}

/// What stands beside the segments.
fn settle(
    storage: &DiskStorage,
    journal: JournalId,
    watermark: Watermark,
    ancestors: &[Ancestor],
) -> Result<(), JournalError> {
    let path = storage.path(watermark::WATERMARK_FILE);
    let mut file = WatermarkFile::open(storage, journal)?;
    file.write(watermark).map_err(|source| JournalError::Io { action: "write", path: path.clone(), source })?;
    file.sync().map_err(|source| JournalError::SyncFailed { segment: path, source })?;
    if !ancestors.is_empty() {
        let path = storage.path(ANCESTORS_FILE);
        let io = |source| JournalError::Io { action: "write", path: path.clone(), source };
        let mut file = storage.open(ANCESTORS_FILE, Access::Create).map_err(io)?;
        file.append(&mut [IoSlice::new(ancestors::encode(ancestors).as_bytes())]).map_err(io)?;
        file.sync().map_err(|source| JournalError::SyncFailed { segment: path.clone(), source })?;
    }
    sync_folder(storage, "")
}

fn keep_checkpoint(from: &Path, folder: &Path) -> Result<String, BackupError> {
    fs::create_dir(folder).map_err(failed("create", folder))?;
    let name = from.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let into = folder.join(&name);
    copy_or_link(from, &into, Some(u64::MAX))?;
    sync_dir(folder)?;
    Ok(name)
}

fn sync_dir(dir: &Path) -> Result<(), BackupError> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(failed("sync", dir))
}

/// Writes a file under another name first.
fn write_whole(path: &Path, content: &[u8]) -> Result<(), BackupError> {
    let unfinished = path.with_extension("tmp");
    let mut file = File::create(&unfinished).map_err(failed("create", &unfinished))?;
    file.write_all(content).and_then(|()| file.sync_all()).map_err(failed("write", &unfinished))?;
    fs::rename(&unfinished, path).map_err(failed("rename", &unfinished))?;
    path.parent().map_or(Ok(()), sync_dir)
}

/// Reads all that was copied.
fn verified(storage: &DiskStorage, dir: &Path, end: Offset) -> Result<CheckReport, BackupError> {
    let report = check(storage, &[], |_| {})?;
    if !report.is_whole() {
        return Err(BackupError::Damaged { dir: dir.to_owned(), report: Box::new(report) });
    }
    if report.durable != end {
        let reason = format!("its events go up to {}, and should go up to {end}", report.durable);
        return Err(BackupError::NoBackup { dir: dir.to_owned(), reason });
    }
    Ok(report)
}

/// A journal that was made of a backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// Its own identity.
    pub journal: JournalId,
    /// What the backup is of.
    pub backup: Manifest,
    /// Journals whose cursors it takes over, each up to its end; the one that was backed up is the last.
    pub ancestors: Vec<Ancestor>,
}

/// What a backup's folder says of itself.
///
/// # Errors
/// [`BackupError::NoBackup`].
pub fn read_manifest(from: &Path) -> Result<Manifest, BackupError> {
    let no_backup = |reason: String| BackupError::NoBackup { dir: from.to_owned(), reason };
    let text = fs::read(from.join(MANIFEST_FILE)).map_err(|error| no_backup(format!("{MANIFEST_FILE}: {error}")))?;
    let manifest: Manifest =
        serde_json::from_slice(&text).map_err(|error| no_backup(format!("{MANIFEST_FILE}: {error}")))?;
    if manifest.version > MANIFEST_VERSION {
        return Err(no_backup(format!("its form has version {}, newer than this release reads", manifest.version)));
    }
    Ok(manifest)
}

/// Makes a journal in the folder `data_dir` out of the backup in `from`; there must be none. Its files appear all at once, at
/// the end; before that `beside` may bring along what goes with it.
///
/// # Errors
/// When it cannot be done; the folder is then as it was, but for one of a name of its own that the next try replaces.
///
/// # Panics
/// When it did not write what it read, which is a mistake of ours; the folder is then as it was too.
pub fn restore(
    from: &Path,
    data_dir: &Path,
    beside: impl FnOnce(&Restored) -> Result<(), BackupError>,
) -> Result<Restored, BackupError> {
    let backup = read_manifest(from)?;
    let target = super::folder(data_dir);
    let occupied = match fs::read_dir(&target) {
        Ok(mut entries) => entries.next().is_some(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => false,
        Err(error) => return Err(failed("list", &target)(error)),
    };
    if occupied {
        return Err(BackupError::Occupied { dir: target });
    }
    let source_dir = super::folder(from);
    let source = DiskStorage::new(&source_dir);
    let checked = verified(&source, &source_dir, Offset(backup.offset))?;
    if checked.journal.to_string() != backup.journal {
        let reason = format!("its segments are of journal {}", checked.journal);
        return Err(BackupError::NoBackup { dir: from.to_owned(), reason });
    }
    let end = checked.durable;
    let unfinished = data_dir.join(RESTORING);
    match fs::remove_dir_all(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed("remove", &unfinished)(error)),
        _ => {}
    }
    let storage = DiskStorage::create(&unfinished)?;
    let journal = JournalId::random();
    let mut ancestors = ancestors::read(&source)?;
    for ancestor in &mut ancestors {
        ancestor.end = ancestor.end.min(end);
    }
    ancestors.push(Ancestor { journal: checked.journal, end });
    let mut chain = None;
    let mut watermark = Watermark { offset: end, ..Watermark::default() };
    for name in list_segments(&source)? {
        let copied = copy_segment(&source, name, &storage, journal, chain)?;
        chain = Some(copied.chain);
        watermark = Watermark { offset: end, sequence: name.sequence, position: copied.position };
    }
    settle(&storage, journal, watermark, &ancestors)?;
    let report = verified(&storage, &unfinished, end)?;
    let events = |report: &CheckReport| report.segments.iter().map(|segment| segment.events).sum::<u64>();
    assert!(events(&report) == events(&checked), "every event that was backed up is restored");
    let restored = Restored { journal, backup, ancestors };
    beside(&restored)?;
    // Takes the place of an empty folder, and of no other.
    fs::rename(&unfinished, &target).map_err(failed("rename", &unfinished))?;
    sync_dir(data_dir)?;
    Ok(restored)
}

/// Writes a segment as one of another journal. Bodies are copied as they are.
fn copy_segment(
    source: &DiskStorage,
    name: SegmentName,
    into: &DiskStorage,
    journal: JournalId,
    chain: Option<u32>,
) -> Result<CopyEnd, JournalError> {
    let segment = OpenSegment::open(source, name)?;
    // Of the oldest that is kept, what came before is unknown, and its chain value as good as any.
    let chain = chain.unwrap_or(segment.header.chain);
    let mut copy = SegmentCopy::create(into, SegmentHeader { journal, chain, ..segment.header })?;
    let limit = segment.seal.as_ref().map_or(segment.len, |seal| seal.blocks_end);
    let mut cursor = BlockCursor::start(&segment);
    let mut holes = 0;
    loop {
        cursor.pass_holes(&segment, limit)?;
        for (_, record) in &cursor.holes[holes..] {
            copy.hole(record.clone())?;
        }
        holes = cursor.holes.len();
        if cursor.position >= limit {
            return copy.finish();
        }
        let header = cursor.header(&segment, limit)?;
        let mut bytes = vec![0; header.header_len as usize];
        let read = segment.file.read_at(cursor.position, &mut bytes).map_err(|source| segment.io("read", source))?;
        assert!(read == bytes.len(), "the header was whole a moment ago");
        let body = cursor.body(&segment, &header)?;
        copy.block(&bytes, body)?;
        cursor.pass(&header);
    }
}
