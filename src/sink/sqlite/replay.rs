//! Writing a span anew: rows go into the file that has, or had, their offset; the sink's own cursor stays where it is.

use std::path::{Path, PathBuf};

use super::day::Day;
use super::day_file::{DayFile, Move};
use super::writer::{Plan, list, standing, sync_folder};
use crate::clock::UnixNanos;
use crate::journal::{Ancestor, Event, JournalId, Offset};
use crate::sink::batch::Batch;
use crate::sink::file_work::FileWork;
use crate::sink::store::{Opening, Purpose, StoreError};

/// The folder, for a replay.
#[derive(Debug)]
pub(super) struct Replay {
    folder: PathBuf,
    retention_days: u32,
    opened: Option<Opened>,
}

#[derive(Debug)]
struct Opened {
    id: String,
    journal: JournalId,
    ancestors: Vec<Ancestor>,
    cursor: Option<Offset>,
    /// Events from here on are left to the live sink, which may put them into a file that there is not yet.
    live: Offset,
    /// Days, each with the offset that its file ends before; oldest first.
    ranges: Vec<(Day, Offset)>,
    file: Option<DayFile>,
}

impl Replay {
    pub(super) fn new(plan: Plan) -> Self {
        Self { folder: plan.folder, retention_days: plan.retention_days, opened: None }
    }
}

impl FileWork for Replay {
    /// Finds out which file has which offsets, and how far the replay is.
    fn open(&mut self, opening: &Opening) -> Result<Option<Offset>, StoreError> {
        self.opened = None;
        let Purpose::Replay { id, .. } = &opening.purpose else {
            return Err(StoreError::Stop("it was not opened for a replay".into()));
        };
        let live = standing(&self.folder, opening, true)?.cursor.unwrap_or_default();
        let mut ranges = Vec::new();
        let mut cursor = None;
        for day in list(&self.folder)? {
            let file = DayFile::open(&self.folder, day)?;
            let ends = file.cursors()?.into_iter().filter_map(|(journal, next)| {
                if journal == opening.journal {
                    return Some(next);
                }
                let ancestor = opening.ancestors.iter().find(|ancestor| ancestor.journal == journal)?;
                Some(next.min(ancestor.end))
            });
            if let Some(end) = ends.max() {
                ranges.push((day, end.min(live)));
            }
            cursor = cursor.max(file.replay(id)?);
        }
        self.opened = Some(Opened {
            id: id.clone(),
            journal: opening.journal,
            ancestors: opening.ancestors.to_vec(),
            cursor,
            live,
            ranges,
            file: None,
        });
        Ok(cursor)
    }

    /// Writes a batch, a transaction for each file that its events belong into.
    fn write(&mut self, batch: &Batch) -> Result<(), StoreError> {
        let opened = self.opened.as_mut().ok_or_else(|| StoreError::Moved("the replay is not open".into()))?;
        if opened.cursor.is_some_and(|cursor| cursor != batch.from()) {
            return Err(StoreError::Moved(format!("the replay is not at {}", batch.from())));
        }
        let oldest = Day::of(UnixNanos::now()).back(self.retention_days);
        let mut rest = Some(batch.clone());
        while let Some(batch) = rest.take() {
            let mut events = batch.events();
            let day = match events.next() {
                Some(event) => opened.day_of(&self.folder, &event, oldest)?,
                None => None,
            };
            let mut same = usize::from(!batch.is_empty());
            for event in events {
                if opened.day_of(&self.folder, &event, oldest)? != day {
                    break;
                }
                same += 1;
            }
            let (today, behind) = if same < batch.len() {
                let (today, behind) = batch.split_at(same);
                (today, Some(behind))
            } else {
                (batch, None)
            };
            if let Some(day) = day {
                opened.write(&self.folder, &today, day)?;
            }
            opened.cursor = Some(today.to());
            rest = behind;
        }
        Ok(())
    }

    /// Forgets the replay where it is complete.
    fn close(&mut self, complete: bool) -> Result<(), StoreError> {
        let Some(opened) = self.opened.take() else { return Ok(()) };
        if complete {
            for day in list(&self.folder)? {
                DayFile::open(&self.folder, day)?.forget_replay(&opened.id)?;
            }
        }
        Ok(())
    }
}

impl Opened {
    /// Whose file an event belongs into; none for one that is not ours to write.
    fn day_of(&mut self, folder: &Path, event: &Event<'_>, oldest: Day) -> Result<Option<Day>, StoreError> {
        let own = Day::of(event.received);
        let range = self.ranges.iter().find(|(_, end)| event.offset < *end);
        let Some((day, _)) = range.filter(|_| event.offset < self.live).copied() else { return Ok(None) };
        if day <= own {
            return Ok(Some(day));
        }
        // Around midnight events of the day before may be in a day's file. Else the file that had it is gone: deleted by
        // retention, which would do so again, or moved away, and then it is made again.
        let before = self.file.as_ref().map(|file| file.day);
        if before == Some(day) || DayFile::read(folder, day)?.has(self.journal, &self.ancestors, event.offset)? {
            return Ok(Some(day));
        }
        let day = before.max(Some(own));
        Ok(day.filter(|day| *day >= oldest))
    }

    fn write(&mut self, folder: &Path, batch: &Batch, day: Day) -> Result<(), StoreError> {
        let Some(last) = batch.events().next_back().map(|event| event.offset) else { return Ok(()) };
        let mut file = if let Some(file) = self.file.take().filter(|file| file.day == day && file.is_in_place()) {
            file
        } else {
            let file = DayFile::create(folder, day)?;
            sync_folder(folder)?;
            file
        };
        let cursor = Move::Replay { id: &self.id, to: batch.to(), next: last.plus(1), before: &self.ancestors };
        let written = file.write(self.journal, batch, cursor);
        self.file = Some(file);
        written
    }
}
