//! The file that lines are appended to.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::Deserialize;

use super::names::{Form, Stem, Tag, open_name};
use super::state::{sync_folder, unavailable};
use crate::clock::UnixNanos;
use crate::crash_point::crash_point;
use crate::journal::Offset;
use crate::sink::store::StoreError;

/// As much of the end is looked at when a file is opened again; what stands before it was synced long ago. No write is
/// larger, but one whose single event is.
const LOOK_BACK_BYTES: u64 = 64 << 20;

/// A file with whole lines, all of them durable up to `len`.
#[derive(Debug)]
pub(super) struct OpenFile {
    file: File,
    pub(super) path: PathBuf,
    inode: u64,
    journal: Tag,
    pub(super) len: u64,
    first: Line,
    last: Line,
    since: SystemTime,
}

/// What is known of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) offset: Offset,
    pub(super) received: UnixNanos,
}

/// What a line must have; the rest is validated and passed over.
#[derive(Deserialize)]
struct Head {
    offset: u64,
    received_time: String,
}

impl Line {
    /// Reads a line, its end not included. None: it is no line of ours.
    pub(super) fn parse(text: &[u8]) -> Option<Self> {
        let head: Head = serde_json::from_slice(text).ok()?;
        let received: jiff::Timestamp = head.received_time.parse().ok()?;
        let received = UnixNanos(i64::try_from(received.as_nanosecond()).ok()?);
        Some(Self { offset: Offset(head.offset), received })
    }
}

/// A file that was found unfinished.
#[derive(Debug)]
pub(super) enum Found {
    /// With whole lines; what stood behind them was cut off.
    Lines {
        /// The file.
        file: OpenFile,
        /// Bytes that were cut off.
        cut: u64,
    },
    /// Without a single whole line. Removed.
    Nothing,
}

impl OpenFile {
    /// Begins a file with these lines, and makes it durable with its name.
    pub(super) fn create(
        folder: &Path,
        journal: Tag,
        (first, last): (Line, Line),
        lines: &[u8],
    ) -> Result<Self, StoreError> {
        let path = folder.join(open_name(journal, first.offset));
        let create = || {
            let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path)?;
            let inode = file.metadata()?.ino();
            let mut open =
                Self { file, path: path.clone(), inode, journal, len: 0, first, last, since: SystemTime::now() };
            crash_point!("jsonl.created");
            open.append_bytes(lines)?;
            sync_folder(folder)?;
            crash_point!("jsonl.begun");
            Ok(open)
        };
        create().map_err(|error| unavailable("write", &path, &error))
    }

    /// Opens a file that an earlier process, or an earlier try, left behind, cut to its last whole line. `durable` is a line
    /// that it surely had: a file that is damaged before it was not torn by a crash, and is left as it is.
    pub(super) fn reopen(path: &Path, journal: Tag, durable: Option<Offset>) -> Result<Found, StoreError> {
        let io = |action| move |error: io::Error| unavailable(action, path, &error);
        let file = OpenOptions::new().read(true).write(true).open(path).map_err(io("open"))?;
        let metadata = file.metadata().map_err(io("read"))?;
        let scanned = scan(&file, metadata.len()).map_err(io("read"))?;
        if let Some(durable) = durable
            && scanned.lines.is_none_or(|(_, last)| last.offset < durable)
        {
            return Err(StoreError::Stop(format!(
                "{} is damaged at byte {}: it had whole lines up to offset {durable}. Nothing was changed; move the file out \
                 of its folder, switch the sink on again, and `sluice replay` writes its events anew as far as the journal \
                 has them",
                path.display(),
                scanned.good
            )));
        }
        let Some((first, last)) = scanned.lines else {
            std::fs::remove_file(path).map_err(io("remove"))?;
            return Ok(Found::Nothing);
        };
        let cut = metadata.len() - scanned.good;
        if cut > 0 {
            file.set_len(scanned.good).map_err(io("cut"))?;
        }
        // Whole lines may never have reached the disk: they count from here on, so they are made durable first.
        file.sync_all().map_err(io("sync"))?;
        let since = metadata.created().or_else(|_| metadata.modified()).unwrap_or_else(|_| SystemTime::now());
        let (path, inode, len) = (path.to_owned(), metadata.ino(), scanned.good);
        Ok(Found::Lines { file: Self { file, path, inode, journal, len, first, last, since }, cut })
    }

    /// The last whole line of a file that another may be writing.
    pub(super) fn last_line(path: &Path) -> Result<Option<Line>, StoreError> {
        let read = || {
            let file = File::open(path)?;
            scan(&file, file.metadata()?.len())
        };
        match read() {
            Ok(scanned) => Ok(scanned.lines.map(|(_, last)| last)),
            // It was finished just now.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(unavailable("read", path, &error)),
        }
    }

    /// Appends lines and makes them durable, or leaves the file as it was.
    pub(super) fn append(&mut self, last: Line, lines: &[u8]) -> Result<(), StoreError> {
        self.append_bytes(lines).map_err(|error| unavailable("write", &self.path, &error))?;
        self.last = last;
        Ok(())
    }

    fn append_bytes(&mut self, lines: &[u8]) -> io::Result<()> {
        let written = self.file.write_all_at(lines, self.len).and_then(|()| {
            crash_point!("jsonl.appended");
            self.file.sync_data()
        });
        crash_point!("jsonl.synced");
        if let Err(error) = written {
            // After a failed sync nobody knows what of it is on the disk, while the system's cache shows all of it. Cut
            // off, it cannot be taken for durable by whoever opens the file next.
            self.file.set_len(self.len).ok();
            return Err(error);
        }
        self.len += lines.len() as u64;
        Ok(())
    }

    /// Whether its name still leads to it: a person, or a replay that needs it finished, may have taken it away.
    pub(super) fn is_in_place(&self) -> bool {
        std::fs::metadata(&self.path).is_ok_and(|found| found.ino() == self.inode)
    }

    /// The last line.
    pub(super) fn last(&self) -> Line {
        self.last
    }

    /// How long ago it was begun.
    pub(super) fn age(&self) -> Duration {
        self.since.elapsed().unwrap_or(Duration::ZERO)
    }

    /// Gives it its last name. All its lines are durable already.
    pub(super) fn finish(self, folder: &Path, form: Form) -> Result<Stem, StoreError> {
        let Self { journal, first, last, path, .. } = self;
        let stem = Stem { journal, first: first.offset, last: last.offset, begin: first.received, end: last.received };
        let finished = folder.join(stem.name(form));
        let renamed = std::fs::rename(&path, &finished).and_then(|()| {
            crash_point!("jsonl.renamed");
            sync_folder(folder)
        });
        renamed.map_err(|error| unavailable("rename", &path, &error))?;
        crash_point!("jsonl.finished");
        Ok(stem)
    }
}

/// What a look at a file's end found.
#[derive(Clone, Copy)]
struct Scanned {
    /// Bytes up to the end of the last good line.
    good: u64,
    /// The first and the last of them.
    lines: Option<(Line, Line)>,
}

/// Walks over the lines at the end of a file, up to the first that is none of ours or is out of order.
fn scan(file: &File, len: u64) -> io::Result<Scanned> {
    let mut reader = BufReader::with_capacity(1 << 20, file);
    reader.seek(SeekFrom::Start(0))?;
    let begin = Scanned { good: 0, lines: None };
    let from = len.saturating_sub(LOOK_BACK_BYTES);
    if from == 0 {
        return walk(&mut reader, begin, 0, len, usize::MAX);
    }
    let head = walk(&mut reader, begin, 0, len, 1)?;
    reader.seek(SeekFrom::Start(from))?;
    let position = from + reader.read_until(b'\n', &mut Vec::new())? as u64;
    let tail = walk(&mut reader, head, position, len, usize::MAX)?;
    if tail.good > position || head.lines.is_none() {
        return Ok(tail);
    }
    // Not one good line within reach: a line longer than that was torn.
    reader.seek(SeekFrom::Start(0))?;
    walk(&mut reader, begin, 0, len, usize::MAX)
}

/// Goes on from `position` for at most so many lines.
fn walk(
    reader: &mut BufReader<&File>,
    mut scanned: Scanned,
    mut position: u64,
    len: u64,
    lines_max: usize,
) -> io::Result<Scanned> {
    let mut text = Vec::new();
    for _ in 0..lines_max {
        if position >= len {
            break;
        }
        text.clear();
        position += reader.by_ref().take(len - position).read_until(b'\n', &mut text)? as u64;
        let line = text.strip_suffix(b"\n").and_then(Line::parse);
        let Some(line) = line.filter(|line| scanned.lines.is_none_or(|(_, last)| line.offset > last.offset)) else {
            break;
        };
        scanned.good = position;
        scanned.lines = Some((scanned.lines.map_or(line, |(first, _)| first), line));
    }
    Ok(scanned)
}
