//! Writing a span anew: a set of files of its own, in a folder inside the sink's, which takes the place of what was there when
//! it is complete.
//!
//! Lines of the replay replace those of the same offsets; what it does not have (of monitors that it was not about) stays. Lines
//! that the live sink has not reached yet are left to it.

use std::fs::File;
use std::io::{self, BufRead, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::names::{Form, Name, Stem, Tag, list};
use super::open_file::{Found, Line, OpenFile};
use super::read;
use super::state::{State, sync_folder, unavailable};
use super::swap::{self, Swap, SwapLock};
use super::writer::{Figures, Plan, Writer};
use crate::config::FileCompression;
use crate::journal::Offset;
use crate::sink::batch::Batch;
use crate::sink::file_work::FileWork;
use crate::sink::store::{Opening, Purpose, StoreError};

/// A replay into a sink's folder.
#[derive(Debug)]
pub(super) struct Replay {
    plan: Plan,
    opened: Option<(String, Writer)>,
}

impl Replay {
    pub(super) fn new(plan: Plan) -> Self {
        Self { plan, opened: None }
    }
}

impl FileWork for Replay {
    /// Says how far the replay is.
    fn open(&mut self, opening: &Opening) -> Result<Option<Offset>, StoreError> {
        self.opened = None;
        let Purpose::Replay { id, .. } = &opening.purpose else {
            return Err(StoreError::Stop("it was not opened for a replay".into()));
        };
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        if id.is_empty() || !id.bytes().all(plain) {
            return Err(StoreError::Stop(format!("{id:?} cannot be part of a folder's name")));
        }
        swap::finish(&self.plan.folder)?;
        match State::read(&self.plan.folder)? {
            Some(state) if state.journal.0 == opening.journal => {}
            _ => {
                return Err(StoreError::Stop(format!(
                    "{} has nothing of this journal yet; switch the sink on, which takes all that the journal has",
                    self.plan.folder.display()
                )));
            }
        }
        let name = format!("replay-{id}");
        let aside = Plan { folder: self.plan.folder.join(&name), retention: None, ..self.plan.clone() };
        let mut writer = Writer::new(aside, Arc::new(Figures::default()));
        let cursor = writer.open(opening)?;
        self.opened = Some((name, writer));
        Ok(cursor)
    }

    fn write(&mut self, batch: &Batch) -> Result<(), StoreError> {
        let (_, writer) = self.opened.as_mut().ok_or_else(|| StoreError::Moved("the replay is not open".into()))?;
        writer.write(batch)
    }

    /// Where it is complete, puts its lines in place.
    fn close(&mut self, complete: bool) -> Result<(), StoreError> {
        let Some((name, mut writer)) = self.opened.take() else { return Ok(()) };
        writer.close(complete)?;
        if complete { place(&self.plan, &name) } else { Ok(()) }
    }
}

/// A span of offsets whose lines are in files of one journal.
struct Region {
    tag: Tag,
    from: Offset,
    to: Offset,
}

/// Merges the replay's lines with those that are there, and swaps the files.
fn place(plan: &Plan, name: &str) -> Result<(), StoreError> {
    let folder = &plan.folder;
    let own = folder.join(name);
    let replay = State::read(&own)?.ok_or_else(|| StoreError::Moved(format!("{} is gone", own.display())))?;
    let Some(from) = replay.replay_from.map(Offset) else { return discard(&own) };
    let regions = regions(plan, from, Offset(replay.reached))?;
    let merged = own.join(swap::MERGED);
    std::fs::remove_dir_all(&merged).or_else(|error| match error.kind() {
        io::ErrorKind::NotFound => Ok(()),
        _ => Err(unavailable("remove", &merged, &error)),
    })?;
    std::fs::create_dir(&merged).map_err(|error| unavailable("create", &merged, &error))?;
    let mut remove = Vec::new();
    for region in &regions {
        let old =
            whole(folder, |stem| stem.journal == region.tag && stem.first < region.to && stem.last >= region.from)?;
        let new = whole(&own, |stem| stem.first < region.to && stem.last >= region.from)?;
        let mut output = Output::new(plan, &merged, region.tag);
        merge(&mut Lines::new(old.clone()), &mut Lines::new(new), region, &mut output)?;
        output.finish()?;
        remove.extend(old.iter().map(|(stem, _, _)| stem.to_string()));
    }
    sync_folder(&merged).map_err(|error| unavailable("sync", &merged, &error))?;
    Swap::new(name, remove).begin(folder)?;
    swap::finish(folder)
}

fn discard(own: &Path) -> Result<(), StoreError> {
    std::fs::remove_dir_all(own).map_err(|error| unavailable("remove", own, &error))
}

/// What of a replay's span is in which journal's files, up to where the live sink is.
fn regions(plan: &Plan, from: Offset, to: Offset) -> Result<Vec<Region>, StoreError> {
    let folder = &plan.folder;
    let _lock = SwapLock::take(folder).map_err(|error| unavailable("lock", folder, &error))?;
    let state = State::read(folder)?.ok_or_else(|| StoreError::Moved(format!("{} is gone", folder.display())))?;
    let current = Tag::of(state.journal.0);
    let mut reached = Offset(state.reached);
    for (name, path) in list(folder).map_err(|error| unavailable("list", folder, &error))? {
        match name {
            Name::Whole(stem, _) if stem.journal == current => reached = reached.max(stem.last.plus(1)),
            // The live sink begins another file with its next line.
            Name::Open(tag, _) if tag == current => {
                if let Found::Lines { file, .. } = OpenFile::reopen(&path, tag, None)? {
                    reached = reached.max(file.last().offset.plus(1));
                    let form = if plan.compression == FileCompression::None { Form::Plain } else { Form::Closed };
                    file.finish(folder, form)?;
                }
            }
            _ => {}
        }
    }
    let to = to.min(reached);
    let mut regions = Vec::new();
    let mut begin = Offset::ZERO;
    let before = state.before.iter().map(|before| (Tag::of(before.journal.0), Offset(before.next)));
    for (tag, end) in before.chain([(current, reached)]) {
        let (from, to) = (from.max(begin), to.min(end));
        if from < to {
            regions.push(Region { tag, from, to });
        }
        begin = begin.max(end);
    }
    Ok(regions)
}

type Whole = (Stem, Form, PathBuf);

/// Whole files, in the order of offsets; of two forms of the same lines, one.
fn whole(folder: &Path, wanted: impl Fn(&Stem) -> bool) -> Result<Vec<Whole>, StoreError> {
    let files = list(folder).map_err(|error| unavailable("list", folder, &error))?;
    let mut whole: Vec<Whole> = files
        .into_iter()
        .filter_map(|(name, path)| match name {
            Name::Whole(stem, form) if wanted(&stem) => Some((stem, form, path)),
            _ => None,
        })
        .collect();
    whole.sort_by(|one, other| (one.0.first, &one.0, one.1).cmp(&(other.0.first, &other.0, other.1)));
    whole.dedup_by(|next, kept| next.0 == kept.0);
    Ok(whole)
}

/// The lines of several files, one after the other.
struct Lines {
    files: std::vec::IntoIter<Whole>,
    reader: Option<(Box<dyn BufRead>, PathBuf)>,
    text: Vec<u8>,
    line: Option<Line>,
}

impl Lines {
    fn new(files: Vec<Whole>) -> Self {
        Self { files: files.into_iter(), reader: None, text: Vec::new(), line: None }
    }

    /// The line that comes next.
    fn peek(&mut self) -> Result<Option<Line>, StoreError> {
        while self.line.is_none() {
            let Some((reader, path)) = &mut self.reader else {
                let Some((stem, form, path)) = self.files.next() else { return Ok(None) };
                self.reader = Some(open(&stem, form, path)?);
                continue;
            };
            self.text.clear();
            reader.read_until(b'\n', &mut self.text).map_err(|error| damaged(path, &error))?;
            if self.text.is_empty() {
                self.reader = None;
                continue;
            }
            let line = self.text.strip_suffix(b"\n").and_then(Line::parse);
            self.line = Some(line.ok_or_else(|| damaged(path, &"it has something that is no line"))?);
        }
        Ok(self.line)
    }

    /// Passes over it.
    fn next(&mut self) {
        self.line = None;
    }
}

/// Opens a file that may have been compressed since it was listed.
fn open(stem: &Stem, form: Form, path: PathBuf) -> Result<(Box<dyn BufRead>, PathBuf), StoreError> {
    let error = match read::lines(&path, Some(form)) {
        Ok(reader) => return Ok((reader, path)),
        Err(error) => error,
    };
    for other in [Form::Gzip, Form::Zstd, Form::Plain] {
        let renamed = path.with_file_name(stem.name(other));
        if let Ok(reader) = read::lines(&renamed, Some(other)) {
            return Ok((reader, renamed));
        }
    }
    Err(unavailable("read", &path, &error))
}

fn damaged(path: &Path, what: &dyn std::fmt::Display) -> StoreError {
    StoreError::Stop(format!(
        "{} is damaged ({what}). Nothing was changed; move it out of its folder and start the replay again",
        path.display()
    ))
}

/// Both in the order of offsets; of two lines with the same, the replay's.
fn merge(old: &mut Lines, new: &mut Lines, region: &Region, output: &mut Output<'_>) -> Result<(), StoreError> {
    loop {
        let replayed = new.peek()?.filter(|line| line.offset < region.to);
        if replayed.is_some_and(|line| line.offset < region.from) {
            new.next();
            continue;
        }
        match (old.peek()?, replayed) {
            (None, None) => return Ok(()),
            (Some(kept), replayed) if replayed.is_none_or(|line| kept.offset < line.offset) => {
                output.push(kept, &old.text)?;
                old.next();
            }
            (kept, Some(line)) => {
                output.push(line, &new.text)?;
                if kept.is_some_and(|kept| kept.offset == line.offset) {
                    old.next();
                }
                new.next();
            }
            (Some(_), None) => unreachable!("a kept line comes first where there is no other"),
        }
    }
}

/// Files being made of lines.
struct Output<'p> {
    plan: &'p Plan,
    folder: &'p Path,
    tag: Tag,
    file: Option<(BufWriter<File>, u64, Line, Line)>,
}

impl<'p> Output<'p> {
    /// What a file is called before its last line is known.
    const NAME: &'static str = "unfinished";

    fn new(plan: &'p Plan, folder: &'p Path, tag: Tag) -> Self {
        Self { plan, folder, tag, file: None }
    }

    fn push(&mut self, line: Line, text: &[u8]) -> Result<(), StoreError> {
        let io = |error: io::Error| unavailable("write", self.folder, &error);
        let (file, len, _, last) = match &mut self.file {
            Some(open) => open,
            none => {
                let file = File::create(self.folder.join(Self::NAME)).map_err(io)?;
                none.insert((BufWriter::with_capacity(256 << 10, file), 0, line, line))
            }
        };
        file.write_all(text).map_err(io)?;
        *last = line;
        *len += text.len() as u64;
        if *len >= self.plan.rotate_size { self.finish() } else { Ok(()) }
    }

    fn finish(&mut self) -> Result<(), StoreError> {
        let io = |error: io::Error| unavailable("write", self.folder, &error);
        let Some((file, _, first, last)) = self.file.take() else { return Ok(()) };
        let file = file.into_inner().map_err(|error| io(error.into_error()))?;
        file.sync_all().map_err(io)?;
        let (journal, begin, end) = (self.tag, first.received, last.received);
        let stem = Stem { journal, first: first.offset, last: last.offset, begin, end };
        // The live sink compresses it in time.
        let form = if self.plan.compression == FileCompression::None { Form::Plain } else { Form::Closed };
        std::fs::rename(self.folder.join(Self::NAME), self.folder.join(stem.name(form))).map_err(io)
    }
}
