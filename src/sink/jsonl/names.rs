//! Names of the files, which say what is in them.
//!
//! | name                                                 | is                                        |
//! |------------------------------------------------------|-------------------------------------------|
//! | `events-JOURNAL-FIRST.jsonl.open`                     | being written                             |
//! | `events-JOURNAL-FIRST-LAST-BEGIN-END.jsonl.closed`    | whole, and about to be compressed         |
//! | `events-JOURNAL-FIRST-LAST-BEGIN-END.jsonl[.gz\|.zst]` | finished: never touched again             |
//! | `….tmp`                                              | of no meaning; removed                    |
//!
//! JOURNAL is the first eight digits of the journal's id, FIRST and LAST are offsets of 20 digits, BEGIN and END when those
//! two events were received (`20261120T120000Z`, whole seconds).

use std::fmt;
use std::path::{Path, PathBuf};

use crate::clock::UnixNanos;
use crate::config::FileCompression;
use crate::journal::{JournalId, Offset};

const PREFIX: &str = "events-";
const NANOS: i64 = 1_000_000_000;

/// What a whole file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Stem {
    pub(super) journal: Tag,
    pub(super) first: Offset,
    pub(super) last: Offset,
    pub(super) begin: UnixNanos,
    pub(super) end: UnixNanos,
}

/// The part of a journal's id that names carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Tag(u32);

/// Which form a whole file has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Form {
    /// About to be compressed.
    Closed,
    /// `.jsonl`
    Plain,
    /// `.jsonl.gz`
    Gzip,
    /// `.jsonl.zst`
    Zstd,
}

/// A file of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Name {
    Open(Tag, Offset),
    Whole(Stem, Form),
    Temporary,
}

impl Tag {
    pub(super) fn of(journal: JournalId) -> Self {
        Self(journal.0.as_fields().0)
    }

    fn parse(text: &str) -> Option<Self> {
        (text.len() == 8).then(|| u32::from_str_radix(text, 16).ok().map(Self)).flatten()
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

impl fmt::Display for Stem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { journal, first, last, begin, end } = self;
        write!(f, "{PREFIX}{journal}-{:020}-{:020}-{}-{}", first.0, last.0, moment(*begin), moment(*end))
    }
}

impl Stem {
    pub(super) fn name(&self, form: Form) -> String {
        let ending = match form {
            Form::Closed => "jsonl.closed",
            Form::Plain => "jsonl",
            Form::Gzip => "jsonl.gz",
            Form::Zstd => "jsonl.zst",
        };
        format!("{self}.{ending}")
    }
}

impl Form {
    /// The form of what is finished now.
    pub(super) fn finished(compression: FileCompression) -> Self {
        match compression {
            FileCompression::None => Self::Plain,
            FileCompression::Gzip => Self::Gzip,
            FileCompression::Zstd => Self::Zstd,
        }
    }
}

impl Name {
    /// What a name says; none for files that are not ours.
    pub(super) fn parse(name: &str) -> Option<Self> {
        let (stem, ending) = name.strip_prefix(PREFIX)?.split_once('.')?;
        if ending.rsplit('.').next() == Some("tmp") {
            return Some(Self::Temporary);
        }
        let mut parts = stem.split('-');
        let journal = Tag::parse(parts.next()?)?;
        let first = offset(parts.next()?)?;
        if ending == "jsonl.open" {
            return parts.next().is_none().then_some(Self::Open(journal, first));
        }
        let form = match ending {
            "jsonl.closed" => Form::Closed,
            "jsonl" => Form::Plain,
            "jsonl.gz" => Form::Gzip,
            "jsonl.zst" => Form::Zstd,
            _ => return None,
        };
        let last = offset(parts.next()?)?;
        let (begin, end) = (parse_moment(parts.next()?)?, parse_moment(parts.next()?)?);
        let whole = Self::Whole(Stem { journal, first, last, begin, end }, form);
        (parts.next().is_none() && first <= last).then_some(whole)
    }
}

/// The name of a file that is being written.
pub(super) fn open_name(journal: Tag, first: Offset) -> String {
    format!("{PREFIX}{journal}-{:020}.jsonl.open", first.0)
}

/// Files of ours in a folder, in the order of their names; none where there is no folder.
pub(super) fn list(folder: &Path) -> std::io::Result<Vec<(Name, PathBuf)>> {
    let mut names = Vec::new();
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(names),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        if let Some(name) = entry.file_name().to_str().and_then(Name::parse) {
            names.push((name, entry.path()));
        }
    }
    names.sort_by(|(_, one), (_, other)| one.cmp(other));
    Ok(names)
}

fn offset(text: &str) -> Option<Offset> {
    (text.len() == 20 && text.bytes().all(|byte| byte.is_ascii_digit()))
        .then(|| text.parse().ok().map(Offset))
        .flatten()
}

fn moment(time: UnixNanos) -> String {
    match jiff::Timestamp::from_second(time.0.div_euclid(NANOS)) {
        Ok(timestamp) => timestamp.strftime("%Y%m%dT%H%M%SZ").to_string(),
        Err(_) => "00000000T000000Z".to_owned(),
    }
}

fn parse_moment(text: &str) -> Option<UnixNanos> {
    let civil = jiff::civil::DateTime::strptime("%Y%m%dT%H%M%SZ", text).ok()?;
    let seconds = civil.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_second();
    seconds.checked_mul(NANOS).map(UnixNanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_what_is_in_the_file() {
        let stem = Stem {
            journal: Tag(0x1f0c_2d3e),
            first: Offset(5),
            last: Offset(4999),
            begin: UnixNanos(1_767_225_600 * NANOS),
            end: UnixNanos(1_767_229_200 * NANOS),
        };
        let name = stem.name(Form::Zstd);
        assert_eq!(
            name,
            "events-1f0c2d3e-00000000000000000005-00000000000000004999-20260101T000000Z-20260101T010000Z.jsonl.zst"
        );
        assert_eq!(Name::parse(&name), Some(Name::Whole(stem, Form::Zstd)));
        assert_eq!(Name::parse(&open_name(stem.journal, stem.first)), Some(Name::Open(stem.journal, stem.first)));
        assert_eq!(Name::parse(&format!("{name}.tmp")), Some(Name::Temporary));
    }

    #[test]
    fn files_of_others_are_not_ours() {
        for name in ["events.jsonl", "state.json", "events-2026-01-01.db", "events-1f0c2d3e-5.jsonl.open"] {
            assert_eq!(Name::parse(name), None, "{name}");
        }
    }
}
