//! The folder of a sink, for writing: what was left is settled, lines are appended, files are finished and in time deleted.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use super::compress::Compressor;
use super::names::{Form, Name, Stem, Tag, list};
use super::open_file::{Found, Line, OpenFile};
use super::state::{Before, State, sync_folder, unavailable};
use super::swap::{self, SwapLock};
use crate::clock::UnixNanos;
use crate::config::FileCompression;
use crate::journal::{EventObject, Offset};
use crate::sink::batch::Batch;
use crate::sink::file_work::FileWork;
use crate::sink::store::{Opening, Purpose, StoreError};

/// How long after lines were written the state is. It matters to a folder whose files are moved away while the daemon runs,
/// and to nothing else: the lines themselves say more.
const SAVED_AFTER_LINES: Duration = Duration::from_secs(10);

/// The same where the cursor moved over events that are of no interest.
const SAVED_AFTER_NOTHING: Duration = Duration::from_secs(1);

/// Time between looks for files that are too old.
const RETENTION_CHECK: Duration = Duration::from_mins(10);

/// The longest that closing waits for compression.
const COMPRESSION_PATIENCE: Duration = Duration::from_secs(2);

/// What the settings say.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) folder: PathBuf,
    pub(super) rotate_size: u64,
    pub(super) rotate_interval: Duration,
    pub(super) retention: Option<Duration>,
    pub(super) compression: FileCompression,
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

/// While it is ours.
#[derive(Debug)]
struct Opened {
    /// The next offset; none until the first batch of a journal.
    cursor: Option<Offset>,
    /// As it is on the disk.
    saved: State,
    save_at: Option<Instant>,
    replay: bool,
    file: Option<OpenFile>,
    compressor: Option<Compressor>,
    retention_at: Instant,
    /// Files and bytes of those that are whole.
    whole: (u64, u64),
    /// Some of them are to be compressed.
    waiting: bool,
    /// Released last.
    _lock: File,
}

impl Writer {
    pub(super) fn new(plan: Plan, figures: Arc<Figures>) -> Self {
        Self { plan, figures, opened: None }
    }

    fn tend(&mut self) {
        let Some(opened) = &mut self.opened else { return };
        let due = opened
            .file
            .as_ref()
            .is_some_and(|file| file.len >= self.plan.rotate_size || file.age() >= self.plan.rotate_interval);
        let tended = if due { opened.finish(&self.plan) } else { opened.save_if_due(&self.plan.folder) };
        if let Err(error) = tended {
            tracing::warn!(folder = %self.plan.folder.display(), %error, "a file is not finished yet");
        }
        let (mut files, mut bytes) = opened.whole;
        if let Some(file) = &opened.file {
            files += 1;
            bytes += file.len;
        }
        self.figures.files.store(files, Ordering::Relaxed);
        self.figures.bytes.store(bytes, Ordering::Relaxed);
    }
}

impl FileWork for Writer {
    /// Takes the folder, settles what was left there, and says how far it has the journal.
    fn open(&mut self, opening: &Opening) -> Result<Option<Offset>, StoreError> {
        self.opened = None;
        let folder = &self.plan.folder;
        make_folder(folder)?;
        let lock = lock(folder)?;
        swap::finish(folder)?;
        let mut saved = settle(folder, opening, self.plan.compression)?;
        let journal = Tag::of(opening.journal);
        let (file, last) = settle_lines(folder, journal, &saved, self.plan.compression)?;
        let reached = last.map_or(0, |last| last.0 + 1).max(saved.reached);
        let cursor = (reached > 0).then_some(Offset(reached));
        if saved.reached != reached {
            saved.reached = reached;
            saved.last = last.map(|last| last.0).or(saved.last);
            saved.write(folder)?;
        }
        let compressor = match self.plan.compression {
            FileCompression::None => None,
            compression => Some(
                Compressor::start(folder.clone(), compression)
                    .map_err(|error| unavailable("compress files in", folder, &error))?,
            ),
        };
        let retention_at = Instant::now();
        self.opened = Some(Opened {
            cursor,
            saved,
            save_at: None,
            replay: opening.purpose != Purpose::Live,
            file,
            compressor,
            retention_at,
            whole: (0, 0),
            waiting: false,
            _lock: lock,
        });
        self.tick();
        Ok(cursor)
    }

    /// Appends the lines of a batch and makes them durable.
    fn write(&mut self, batch: &Batch) -> Result<(), StoreError> {
        let folder = &self.plan.folder;
        let opened = self.opened.as_mut().ok_or_else(|| StoreError::Moved("the folder is not open".into()))?;
        if opened.cursor.is_some_and(|cursor| cursor != batch.from()) {
            return Err(StoreError::Moved(format!(
                "{} has events up to {}, and a batch begins at {}",
                folder.display(),
                opened.cursor.unwrap_or_default(),
                batch.from()
            )));
        }
        if opened.replay && opened.saved.replay_from.is_none() {
            opened.saved.replay_from = Some(batch.from().0);
            opened.saved.reached = batch.from().0;
            opened.saved.write(folder)?;
        }
        if let Some((lines, first, last)) = lines(batch) {
            let _lock = SwapLock::take(folder).map_err(|error| unavailable("lock", folder, &error))?;
            opened.file = opened.file.take().filter(OpenFile::is_in_place);
            match &mut opened.file {
                Some(file) => file.append(last, &lines)?,
                none => *none = Some(OpenFile::create(folder, Tag::of(opened.saved.journal.0), (first, last), &lines)?),
            }
            opened.save_within(SAVED_AFTER_LINES);
        } else {
            opened.save_within(SAVED_AFTER_NOTHING);
        }
        opened.cursor = Some(batch.to());
        self.tend();
        Ok(())
    }

    /// Finishes the file that is being written, and lets go of the folder.
    fn close(&mut self, _complete: bool) -> Result<(), StoreError> {
        let Some(mut opened) = self.opened.take() else { return Ok(()) };
        opened.finish(&self.plan)?;
        if let Some(compressor) = opened.compressor.take() {
            compressor.finish(COMPRESSION_PATIENCE);
        }
        Ok(())
    }

    /// What time asks for. What cannot be done now is tried again; no line depends on it.
    fn tick(&mut self) {
        if let Some(opened) = &mut self.opened
            && opened.retention_at <= Instant::now()
        {
            opened.retention_at = Instant::now() + RETENTION_CHECK;
            if let Some(retention) = self.plan.retention {
                delete_old(&self.plan.folder, UnixNanos::now().saturating_sub(retention));
            }
        }
        if let Some(opened) = &mut self.opened {
            opened.measure(&self.plan.folder);
            // A replay may have left some.
            if opened.waiting
                && let Some(compressor) = &opened.compressor
            {
                compressor.wake();
            }
        }
        self.tend();
    }
}

impl Opened {
    fn save_within(&mut self, time: Duration) {
        let at = Instant::now() + time;
        self.save_at = Some(self.save_at.map_or(at, |before| before.min(at)));
    }

    fn save_if_due(&mut self, folder: &Path) -> Result<(), StoreError> {
        if self.save_at.is_some_and(|at| at <= Instant::now()) { self.save(folder) } else { Ok(()) }
    }

    fn save(&mut self, folder: &Path) -> Result<(), StoreError> {
        let mut state = self.saved.clone();
        state.reached = self.cursor.map_or(state.reached, |cursor| cursor.0);
        state.last = self.file.as_ref().map(|file| file.last().offset.0).or(state.last);
        state.write(folder)?;
        self.saved = state;
        self.save_at = None;
        Ok(())
    }

    fn finish(&mut self, plan: &Plan) -> Result<(), StoreError> {
        // First the state: once the file has its last name, it may be moved away, and only the state tells that it was here.
        self.save(&plan.folder)?;
        let _lock = SwapLock::take(&plan.folder).map_err(|error| unavailable("lock", &plan.folder, &error))?;
        if let Some(file) = self.file.take().filter(OpenFile::is_in_place) {
            let form = if self.compressor.is_some() { Form::Closed } else { Form::Plain };
            file.finish(&plan.folder, form)?;
        }
        if let Some(compressor) = &self.compressor {
            compressor.wake();
        }
        self.measure(&plan.folder);
        Ok(())
    }

    fn measure(&mut self, folder: &Path) {
        (self.whole, self.waiting) = ((0, 0), false);
        for (name, path) in list(folder).unwrap_or_default() {
            let Name::Whole(_, form) = name else { continue };
            self.whole.0 += 1;
            self.whole.1 += std::fs::metadata(path).map_or(0, |metadata| metadata.len());
            self.waiting |= form == Form::Closed;
        }
    }
}

/// The lines of a batch, with the first and the last of them; none where it has no event.
fn lines(batch: &Batch) -> Option<(Vec<u8>, Line, Line)> {
    /// Around a payload.
    const LINE_BYTES: usize = 320;
    let mut lines = Vec::with_capacity(batch.bytes() + batch.len() * LINE_BYTES);
    let mut ends = None;
    for (event, enriched) in batch.enriched_events() {
        let line = Line { offset: event.offset, received: event.received };
        ends = Some((ends.map_or(line, |(first, _)| first), line));
        serde_json::to_writer(&mut lines, &EventObject::from(&event).enriched(enriched))
            .expect("texts and numbers go into memory");
        lines.push(b'\n');
    }
    ends.map(|(first, last)| (lines, first, last))
}

fn make_folder(folder: &Path) -> Result<(), StoreError> {
    let make = || {
        std::fs::create_dir_all(folder)?;
        match folder.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => sync_folder(parent),
            _ => Ok(()),
        }
    };
    make().map_err(|error| unavailable("create", folder, &error))
}

/// One writer at a time. The system takes the lock back when the process ends, however it ends.
fn lock(folder: &Path) -> Result<File, StoreError> {
    let path = folder.join("lock");
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(|error| unavailable("open", &path, &error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::Unavailable(format!(
            "another sink or daemon writes into {}; give each a folder of its own",
            folder.display()
        ))),
        Err(TryLockError::Error(error)) => Err(unavailable("lock", &path, &error)),
    }
}

/// Whose folder it is, and whose it becomes.
fn settle(folder: &Path, opening: &Opening, compression: FileCompression) -> Result<State, StoreError> {
    let wanted = opening.journal;
    let Some(state) = State::read(folder)? else {
        let files = list(folder).map_err(|error| unavailable("list", folder, &error))?;
        if files.iter().any(|(name, _)| *name != Name::Temporary) {
            return Err(StoreError::Stop(format!(
                "{} has events of a sink but no {}, which says of which journal; move its files away, or set another `folder`",
                folder.display(),
                super::state::FILE
            )));
        }
        let state = State::new(wanted);
        state.write(folder)?;
        return Ok(state);
    };
    if state.journal.0 == wanted {
        return Ok(state);
    }
    let ancestor = opening.ancestors.iter().find(|ancestor| ancestor.journal == state.journal.0);
    let Some(end) = ancestor.map(|ancestor| ancestor.end).or(opening.anew.then_some(Offset::ZERO)) else {
        return Err(StoreError::Stop(format!(
            "{} has events of the journal {}, and this one is {wanted}; give this sink another `folder`, or move the files of \
             that one away",
            folder.display(),
            state.journal.0
        )));
    };
    // What the journal had below its end is the same here; its later lines stay in files of its own.
    let tag = Tag::of(state.journal.0);
    let (file, last) = settle_lines(folder, tag, &state, compression)?;
    if let Some(file) = file {
        let form = if compression == FileCompression::None { Form::Plain } else { Form::Closed };
        file.finish(folder, form)?;
    }
    let reached = last.map_or(0, |last| last.0 + 1).max(state.reached);
    let mut taken = State::new(wanted);
    taken.before = state.before;
    taken.reached = reached.min(end.0);
    taken.before.push(Before { journal: state.journal, next: taken.reached });
    taken.write(folder)?;
    Ok(taken)
}

/// Brings the files of a journal into order: at most one is unfinished, and cut to its last whole line. Says which line is
/// the last of all.
fn settle_lines(
    folder: &Path,
    journal: Tag,
    state: &State,
    compression: FileCompression,
) -> Result<(Option<OpenFile>, Option<Offset>), StoreError> {
    let io = |action, path: &Path| {
        let path = path.to_owned();
        move |error| unavailable(action, &path, &error)
    };
    let files = list(folder).map_err(io("list", folder))?;
    let whole: Vec<(Stem, Form)> = files
        .iter()
        .filter_map(|(name, _)| if let Name::Whole(stem, form) = name { Some((*stem, *form)) } else { None })
        .collect();
    let mut last = whole.iter().filter(|(stem, _)| stem.journal == journal).map(|(stem, _)| stem.last).max();
    let mut open = None;
    for (name, path) in &files {
        match name {
            Name::Temporary => std::fs::remove_file(path).map_err(io("remove", path))?,
            Name::Whole(stem, Form::Closed) => {
                if whole.iter().any(|(other, form)| other == stem && *form != Form::Closed) {
                    std::fs::remove_file(path).map_err(io("remove", path))?;
                } else if compression == FileCompression::None {
                    std::fs::rename(path, folder.join(stem.name(Form::Plain))).map_err(io("rename", path))?;
                }
            }
            Name::Open(tag, first) if *tag == journal => {
                let durable = state.last.map(Offset).filter(|last| last >= first);
                let Found::Lines { file, cut } = OpenFile::reopen(path, journal, durable)? else { continue };
                if cut > 0 {
                    tracing::info!(file = %path.display(), bytes = cut, "cut off what a crash left of a line");
                }
                last = last.max(Some(file.last().offset));
                let form = if compression == FileCompression::None { Form::Plain } else { Form::Closed };
                if let Some(before) = open.replace(file) {
                    OpenFile::finish(before, folder, form)?;
                }
            }
            Name::Open(..) | Name::Whole(..) => {}
        }
    }
    Ok((open, last))
}

/// Deletes files whose last event was received before `limit`.
fn delete_old(folder: &Path, limit: UnixNanos) {
    for (name, path) in list(folder).unwrap_or_default() {
        let Name::Whole(stem, _) = name else { continue };
        if stem.end < limit {
            match std::fs::remove_file(&path) {
                Ok(()) => tracing::info!(file = %path.display(), "deleted: older than retention_days"),
                Err(error) => tracing::warn!(file = %path.display(), %error, "cannot delete a file that is too old"),
            }
        }
    }
}

/// How far a folder has the journal, without changing anything.
pub(super) fn inspect(folder: &Path, opening: &Opening) -> Result<Option<Offset>, StoreError> {
    let Some(state) = State::read(folder)? else { return Ok(None) };
    if swap::is_begun(folder) {
        return Err(StoreError::Unavailable(format!(
            "a replay into {} was interrupted while its files were put in place; switch the sink on, which finishes it",
            folder.display()
        )));
    }
    let ancestor = || opening.ancestors.iter().find(|ancestor| ancestor.journal == state.journal.0);
    let end =
        if state.journal.0 == opening.journal { Some(Offset(u64::MAX)) } else { ancestor().map(|found| found.end) };
    let Some(end) = end else {
        return Err(StoreError::Stop(format!(
            "{} has events of the journal {}, and this one is {}",
            folder.display(),
            state.journal.0,
            opening.journal
        )));
    };
    let mut reached = Offset(state.reached);
    for (name, path) in list(folder).map_err(|error| unavailable("list", folder, &error))? {
        let last = match name {
            Name::Whole(stem, _) if stem.journal == Tag::of(state.journal.0) => Some(stem.last),
            Name::Open(tag, _) if tag == Tag::of(state.journal.0) => {
                OpenFile::last_line(&path)?.map(|line| line.offset)
            }
            _ => None,
        };
        reached = reached.max(last.map_or(Offset::ZERO, |last| last.plus(1)));
    }
    Ok((reached > Offset::ZERO).then_some(reached.min(end)))
}
