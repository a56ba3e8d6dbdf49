//! Events that the server refuses for ever, in a file of the sink's own state: the stream holds events only.
//!
//! `DATA_DIR/sinks/NAME/parked.jsonl`, an object a line. A line is written and synced before the cursor passes its event. The
//! cursor itself is what the stream says, so after a crash the same event may be refused a second time: it is written once.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::journal::{Ancestor, JournalId, Offset};
use crate::sink::Parked;

/// The file.
#[derive(Debug)]
pub(super) struct ParkedFile {
    path: PathBuf,
    /// Offsets of this journal at or above the cursor that it was opened with: only these can be refused again before it is
    /// opened anew.
    known: HashSet<u64>,
}

#[derive(Serialize, Deserialize)]
struct Line {
    journal: String,
    #[serde(flatten)]
    parked: Parked,
}

impl ParkedFile {
    /// Opens it for writing: cuts a line that a crash left unfinished, and looks up what must not be written again. Blocking.
    pub(super) fn open(path: &Path, journal: JournalId, cursor: Offset) -> io::Result<Self> {
        let (mut known, ours) = (HashSet::new(), journal.to_string());
        let whole = each_line(path, |line| {
            if line.journal == ours && line.parked.offset >= cursor.0 {
                known.insert(line.parked.offset);
            }
            true
        })?;
        if let Some(whole) = whole {
            let file = OpenOptions::new().write(true).open(path)?;
            if file.metadata()?.len() > whole {
                file.set_len(whole)?;
                file.sync_all()?;
            }
        }
        Ok(Self { path: path.to_owned(), known })
    }

    /// Writes and syncs those that are not there yet. Blocking.
    pub(super) fn append(&mut self, journal: JournalId, parked: &[Parked]) -> io::Result<()> {
        let fresh: Vec<&Parked> = parked.iter().filter(|parked| !self.known.contains(&parked.offset)).collect();
        if fresh.is_empty() {
            return Ok(());
        }
        let mut lines = Vec::new();
        for parked in &fresh {
            serde_json::to_writer(&mut lines, &Line { journal: journal.to_string(), parked: (*parked).clone() })?;
            lines.push(b'\n');
        }
        let mut file = match OpenOptions::new().append(true).open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => create(&self.path)?,
            Err(error) => return Err(error),
        };
        let before = file.seek(SeekFrom::End(0))?;
        let written = file.write_all(&lines).and_then(|()| file.sync_all());
        if let Err(error) = written {
            // Half a line must not stand before the next one. What cannot be cut now is cut when it is opened again, which
            // comes before any other write.
            file.set_len(before).ok();
            return Err(error);
        }
        self.known.extend(fresh.iter().map(|parked| parked.offset));
        Ok(())
    }
}

/// At most `limit` events of this journal and its ancestors, oldest first. Blocking.
pub(super) fn read(path: &Path, journal: JournalId, ancestors: &[Ancestor], limit: usize) -> io::Result<Vec<Parked>> {
    let mut ends: HashMap<String, u64> =
        ancestors.iter().map(|ancestor| (ancestor.journal.to_string(), ancestor.end.0)).collect();
    ends.insert(journal.to_string(), u64::MAX);
    let ours = |line: &Line| ends.get(&line.journal).is_some_and(|&end| line.parked.offset < end);
    let mut found = Vec::new();
    if limit > 0 {
        each_line(path, |line| {
            if ours(&line) {
                found.push(line.parked);
            }
            found.len() < limit
        })?;
    }
    found.sort_by_key(|parked| parked.offset);
    Ok(found)
}

/// Gives all whole lines to `take` until it has enough. The length of those, or none when there is no file.
fn each_line(path: &Path, mut take: impl FnMut(Line) -> bool) -> io::Result<Option<u64>> {
    let mut file = match File::open(path) {
        Ok(file) => BufReader::new(file),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let (mut text, mut whole) = (Vec::new(), 0);
    while file.read_until(b'\n', &mut text)? > 0 && text.ends_with(b"\n") {
        whole += text.len() as u64;
        let line = serde_json::from_slice(&text)
            .map_err(|error| io::Error::other(format!("a line before byte {whole} is none of Sluice's: {error}")))?;
        if !take(line) {
            break;
        }
        text.clear();
    }
    Ok(Some(whole))
}

/// The file and the folders above it, so that they outlive a crash.
fn create(path: &Path) -> io::Result<File> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let file = OpenOptions::new().create(true).append(true).open(path)?;
    // The sink's folder, the one of all sinks, and the data folder.
    for folder in folder.ancestors().take(3).filter(|folder| !folder.as_os_str().is_empty()) {
        File::open(folder)?.sync_all()?;
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parked(offset: u64) -> Parked {
        let text = || "x".to_owned();
        let payload = format!("{{\"n\":{offset}}}\n");
        Parked { offset, monitor: text(), domain: text(), parked_time: text(), reason: text(), payload }
    }

    #[test]
    fn an_event_refused_again_after_a_crash_is_parked_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sinks/bus/parked.jsonl");
        let (journal, other) = (JournalId::random(), JournalId::random());
        let mut file = ParkedFile::open(&path, journal, Offset(0)).unwrap();
        file.append(journal, &[parked(3), parked(7)]).unwrap();
        // Half a line, as a crash leaves it.
        fs::write(&path, [fs::read(&path).unwrap(), b"{\"journal\":".to_vec()].concat()).unwrap();

        let mut file = ParkedFile::open(&path, journal, Offset(5)).unwrap();
        file.append(journal, &[parked(7), parked(9)]).unwrap();
        let mut file = ParkedFile::open(&path, other, Offset(0)).unwrap();
        file.append(other, &[parked(7)]).unwrap();

        let offsets = |journal, ancestors: &[Ancestor], limit| {
            let read = read(&path, journal, ancestors, limit).unwrap();
            read.iter().map(|parked| parked.offset).collect::<Vec<_>>()
        };
        assert_eq!(offsets(journal, &[], 10), [3, 7, 9]);
        assert_eq!(offsets(journal, &[], 2), [3, 7]);
        assert_eq!(offsets(other, &[Ancestor { journal, end: Offset(7) }], 10), [3, 7]);
    }
}
