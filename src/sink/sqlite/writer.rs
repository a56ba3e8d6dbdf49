//! The folder of a sink, for writing: which day an event belongs to, and which file's cursor counts.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use super::day::{self, Day};
use super::day_file::{DayFile, Move};
use crate::clock::UnixNanos;
use crate::journal::{JournalId, Offset};
use crate::sink::batch::Batch;
use crate::sink::file_work::FileWork;
use crate::sink::store::{Opening, StoreError};

/// How long a cursor that moved over events of no interest may be ahead of the one on disk. After a crash they are passed
/// over once more, nothing else.
const SAVED_AFTER_NOTHING: Duration = Duration::from_secs(1);

/// Time between looks for files that are too old.
const RETENTION_CHECK: Duration = Duration::from_mins(10);

/// What the settings say.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) folder: PathBuf,
    pub(super) retention_days: u32,
}

/// Files and bytes, for whoever asks while the thread works.
#[derive(Debug, Default)]
pub(super) struct Figures {
    pub(super) files: AtomicU64,
    pub(super) bytes: AtomicU64,
}

/// The folder, for writing.
#[derive(Debug)]
pub(super) struct Writer {
    plan: Plan,
    figures: Arc<Figures>,
    opened: Option<Opened>,
}

#[derive(Debug)]
struct Opened {
    journal: JournalId,
    /// The next offset; none until the first batch of a journal.
    cursor: Option<Offset>,
    /// The newest day that has a file.
    newest: Option<Day>,
    file: Option<Current>,
    /// Where the cursor was found.
    found: Option<(Day, Offset)>,
    save_at: Option<Instant>,
    retention_at: Instant,
    /// Bytes of all files but the open one, and how many these are.
    others: (u64, u64),
}

/// The file that is being written.
#[derive(Debug)]
struct Current {
    file: DayFile,
    /// The cursor in it.
    saved: Option<Offset>,
}

/// How far the files of a folder have a journal.
#[derive(Debug, Default)]
pub(super) struct Standing {
    /// The newest day that has a file.
    pub(super) newest: Option<Day>,
    /// The cursor, if there is one.
    pub(super) cursor: Option<Offset>,
    /// The day in whose file it is, as this journal's own.
    found: Option<(Day, Offset)>,
}

impl Writer {
    pub(super) fn new(plan: Plan, figures: Arc<Figures>) -> Self {
        Self { plan, figures, opened: None }
    }

    fn tend(&mut self) {
        let Some(opened) = &mut self.opened else { return };
        if opened.save_at.is_some_and(|at| at <= Instant::now())
            && let Err(error) = opened.save(&self.plan.folder)
        {
            tracing::warn!(folder = %self.plan.folder.display(), %error, "a cursor is not saved yet");
        }
        let (mut files, mut bytes) = opened.others;
        if let Some(current) = &opened.file {
            files += 1;
            bytes += size(&current.file.path);
        }
        self.figures.files.store(files, Ordering::Relaxed);
        self.figures.bytes.store(bytes, Ordering::Relaxed);
    }
}

impl FileWork for Writer {
    /// Finds the cursor.
    fn open(&mut self, opening: &Opening) -> Result<Option<Offset>, StoreError> {
        self.opened = None;
        make_folder(&self.plan.folder)?;
        let standing = standing(&self.plan.folder, opening, true)?;
        self.opened = Some(Opened {
            journal: opening.journal,
            cursor: standing.cursor,
            newest: standing.newest,
            file: None,
            found: standing.found,
            save_at: None,
            retention_at: Instant::now(),
            others: (0, 0),
        });
        self.tick();
        Ok(standing.cursor)
    }

    /// Writes a batch, one transaction for each day that it has events of.
    fn write(&mut self, batch: &Batch) -> Result<(), StoreError> {
        let folder = self.plan.folder.clone();
        let opened = self.opened.as_mut().ok_or_else(|| StoreError::Moved("the folder is not open".into()))?;
        if opened.cursor.is_some_and(|cursor| cursor != batch.from()) {
            return Err(StoreError::Moved(format!(
                "{} has events up to {}, and a batch begins at {}",
                folder.display(),
                opened.cursor.unwrap_or_default(),
                batch.from()
            )));
        }
        let mut rest = Some(batch.clone());
        while let Some(batch) = rest.take() {
            // The day never goes back, whatever the clock did: else an older file would have newer offsets.
            let day = batch.events().next().map(|event| Day::of(event.received)).max(opened.newest);
            let same = batch.events().take_while(|event| Some(Day::of(event.received)) <= day).count();
            let (today, behind) = if same < batch.len() {
                let (today, behind) = batch.split_at(same);
                (today, Some(behind))
            } else {
                (batch, None)
            };
            opened.write(&folder, &today, day)?;
            rest = behind;
        }
        self.tend();
        Ok(())
    }

    /// Saves the cursor and lets go of the file, which leaves it without companions.
    fn close(&mut self, _complete: bool) -> Result<(), StoreError> {
        let Some(mut opened) = self.opened.take() else { return Ok(()) };
        opened.save(&self.plan.folder)
    }

    /// What time asks for. What cannot be done now is tried again; no row depends on it.
    fn tick(&mut self) {
        if let Some(opened) = &mut self.opened {
            if opened.retention_at <= Instant::now() {
                opened.retention_at = Instant::now() + RETENTION_CHECK;
                delete_old(&self.plan.folder, self.plan.retention_days);
            }
            opened.measure(&self.plan.folder);
        }
        self.tend();
    }
}

impl Opened {
    fn write(&mut self, folder: &Path, batch: &Batch, day: Option<Day>) -> Result<(), StoreError> {
        if batch.is_empty() && batch.parked().is_empty() {
            self.cursor = Some(batch.to());
            let at = Instant::now() + SAVED_AFTER_NOTHING;
            self.save_at.get_or_insert(at);
            return Ok(());
        }
        // Without an event nothing tells the day of what was put aside, unless there is a file already.
        let day = day.unwrap_or_else(|| Day::of(UnixNanos::now()));
        let journal = self.journal;
        let fresh = self.turn_to(folder, day)?;
        let Some(current) = &mut self.file else { return Err(StoreError::Moved("the file is not open".into())) };
        let cursor = Move::Live { from: current.saved, to: batch.to() };
        current.file.write(journal, batch, cursor)?;
        if fresh {
            // The names of the file and of its log must outlive a power cut too.
            sync_folder(folder)?;
        }
        current.saved = Some(batch.to());
        self.cursor = Some(batch.to());
        self.save_at = None;
        Ok(())
    }

    /// Opens the file of a day, unless it is open. Says whether its name may be new.
    fn turn_to(&mut self, folder: &Path, day: Day) -> Result<bool, StoreError> {
        if let Some(current) = &self.file {
            if !current.file.is_in_place() {
                return Err(StoreError::Moved(format!("{} was moved away or deleted", current.file.path.display())));
            }
            if current.file.day == day {
                return Ok(false);
            }
        }
        let next = DayFile::create(folder, day)?;
        let saved = next.cursors()?.into_iter().find(|(id, _)| *id == self.journal).map(|(_, cursor)| cursor);
        if let Some((found, cursor)) = self.found.take()
            && found == day
            && saved != Some(cursor)
        {
            return Err(StoreError::Moved(format!("somebody else moved the cursor in {}", next.path.display())));
        }
        // Closes the one before, which writes its log into it.
        self.file = Some(Current { file: next, saved });
        self.newest = self.newest.max(Some(day));
        self.measure(folder);
        Ok(true)
    }

    /// Makes a cursor durable that moved over events of no interest.
    fn save(&mut self, folder: &Path) -> Result<(), StoreError> {
        self.save_at = None;
        let (Some(cursor), Some(newest)) = (self.cursor, self.newest) else { return Ok(()) };
        self.turn_to(folder, newest)?;
        let Some(current) = &mut self.file else { return Ok(()) };
        if current.saved == Some(cursor) {
            return Ok(());
        }
        let nothing = crate::sink::batch::BatchBuilder::new(cursor).finish();
        current.file.write(self.journal, &nothing, Move::Live { from: current.saved, to: cursor })?;
        current.saved = Some(cursor);
        Ok(())
    }

    fn measure(&mut self, folder: &Path) {
        let current = self.file.as_ref().map(|current| current.file.day);
        let others = day::list(folder).unwrap_or_default().into_iter().filter(|day| Some(*day) != current);
        self.others = others.fold((0, 0), |(files, bytes), day| (files + 1, bytes + size(&day.path(folder))));
    }
}

/// Finds the cursor: the newest file's that has one counts. `write` is whether the files may be brought into order.
pub(super) fn standing(folder: &Path, opening: &Opening, write: bool) -> Result<Standing, StoreError> {
    let days = list(folder)?;
    let mut standing = Standing { newest: days.last().copied(), ..Standing::default() };
    for (place, day) in days.iter().rev().enumerate() {
        let file = if write { DayFile::open(folder, *day)? } else { DayFile::read(folder, *day)? };
        if place == 0 && write {
            file.check()?;
        }
        let cursors = file.cursors()?;
        if cursors.is_empty() {
            // A crash came before its first row; or a replay, or a person, made it.
            continue;
        }
        let ours = cursors.iter().find(|(id, _)| *id == opening.journal).map(|(_, cursor)| *cursor);
        let taken_over = || {
            let ancestors = opening.ancestors.iter();
            let ends = ancestors.filter_map(|ancestor| {
                let (_, cursor) = cursors.iter().find(|(id, _)| *id == ancestor.journal)?;
                Some((*cursor).min(ancestor.end))
            });
            ends.max()
        };
        let Some(cursor) = ours.or_else(taken_over) else {
            if opening.anew {
                break;
            }
            let (other, _) = cursors[0];
            return Err(StoreError::Stop(format!(
                "{} has events of the journal {other}, and this one is {}; give this sink another `folder`, or move the files \
                 of that one away",
                file.path.display(),
                opening.journal
            )));
        };
        standing.cursor = Some(cursor);
        standing.found = ours.map(|cursor| (*day, cursor));
        break;
    }
    Ok(standing)
}

/// Days with a file, oldest first.
pub(super) fn list(folder: &Path) -> Result<Vec<Day>, StoreError> {
    day::list(folder).map_err(|error| StoreError::Unavailable(format!("cannot list {}: {error}", folder.display())))
}

pub(super) fn make_folder(folder: &Path) -> Result<(), StoreError> {
    std::fs::create_dir_all(folder).map_err(|error| {
        StoreError::Unavailable(format!(
            "cannot create {}: {error}; let the daemon's user write there, or set another `folder`",
            folder.display()
        ))
    })?;
    folder.parent().map_or(Ok(()), sync_folder)
}

pub(super) fn sync_folder(folder: &Path) -> Result<(), StoreError> {
    if folder.as_os_str().is_empty() {
        return Ok(());
    }
    let synced = std::fs::File::open(folder).and_then(|folder| folder.sync_all());
    synced.map_err(|error| StoreError::Unavailable(format!("cannot sync {}: {error}", folder.display())))
}

/// Bytes of a file and of its companions.
pub(super) fn size(file: &Path) -> u64 {
    let companions = day::companions(file);
    let all = std::iter::once(file).chain(companions.iter().map(PathBuf::as_path));
    all.map(|path| std::fs::metadata(path).map_or(0, |metadata| metadata.len())).sum()
}

/// Deletes the files of days that are too old; never the newest.
fn delete_old(folder: &Path, retention_days: u32) {
    let limit = Day::of(UnixNanos::now()).back(retention_days);
    let days = day::list(folder).unwrap_or_default();
    let Some((_, older)) = days.split_last() else { return };
    for day in older.iter().filter(|day| **day < limit) {
        let path = day.path(folder);
        // A log without its file is ignored, a file with a log of another is not: the log goes first.
        let [log, index] = day::companions(&path);
        let removed = [&log, &index, &path].into_iter().try_for_each(|path| match std::fs::remove_file(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        });
        match removed {
            Ok(()) => tracing::info!(file = %path.display(), "deleted: older than retention_days"),
            Err(error) => tracing::warn!(file = %path.display(), %error, "cannot delete a file that is too old"),
        }
    }
}
