//! Reading lines back, of finished and unfinished files, compressed or not.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::value::RawValue;

use super::names::{Form, Name, Tag, list};
use super::state::unavailable;
use crate::clock::UnixNanos;
use crate::journal::Offset;
use crate::sink::store::{Opening, StoreError};
use crate::sink::worker::{ReadRow, RowSender};

/// A line, taken apart.
#[derive(Deserialize)]
struct Row<'a> {
    offset: u64,
    monitor: String,
    received_time: jiff_text::Received,
    #[serde(borrow)]
    payload: Option<&'a RawValue>,
    payload_base64: Option<String>,
}

mod jiff_text {
    //! A time as lines write it.

    use serde::{Deserialize, Deserializer, de::Error};

    use crate::clock::UnixNanos;

    pub(super) struct Received(pub(super) UnixNanos);

    impl<'de> Deserialize<'de> for Received {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            let text = String::deserialize(deserializer)?;
            let time: jiff::Timestamp = text.parse().map_err(D::Error::custom)?;
            i64::try_from(time.as_nanosecond()).map(|nanos| Self(UnixNanos(nanos))).map_err(D::Error::custom)
        }
    }
}

/// A file with lines of a journal, and which of them count.
#[derive(Debug, Clone)]
pub(super) struct Source {
    pub(super) path: PathBuf,
    pub(super) form: Option<Form>,
    pub(super) first: Offset,
    /// Lines from here on are another journal's.
    end: Offset,
}

/// Files that may have events of a span, in the order of offsets.
pub(super) fn sources(folder: &Path, opening: &Opening, span: &Range<Offset>) -> Result<Vec<Source>, StoreError> {
    let end_of = |tag: Tag| {
        let before = opening.ancestors.iter().find(|ancestor| Tag::of(ancestor.journal) == tag);
        if tag == Tag::of(opening.journal) { Some(Offset(u64::MAX)) } else { before.map(|ancestor| ancestor.end) }
    };
    let files = list(folder).map_err(|error| unavailable("list", folder, &error))?;
    let mut sources: Vec<Source> = Vec::new();
    for (name, path) in &files {
        let (tag, first, last, form) = match *name {
            Name::Open(tag, first) => (tag, first, Offset(u64::MAX), None),
            Name::Whole(stem, form) => (stem.journal, stem.first, stem.last, Some(form)),
            Name::Temporary => continue,
        };
        let twice = |(other, _): &(Name, PathBuf)| match (*other, *name) {
            (Name::Whole(other, Form::Gzip | Form::Zstd | Form::Plain), Name::Whole(stem, Form::Closed)) => {
                other == stem
            }
            _ => false,
        };
        let Some(end) = end_of(tag) else { continue };
        if first < span.end && last >= span.start && first < end && !files.iter().any(twice) {
            sources.push(Source { path: path.clone(), form, first, end });
        }
    }
    sources.sort_by_key(|source| source.first);
    Ok(sources)
}

/// Lines of a file, decompressed.
pub(super) fn lines(path: &Path, form: Option<Form>) -> io::Result<Box<dyn BufRead>> {
    const BUFFER: usize = 256 << 10;
    let file = BufReader::with_capacity(BUFFER, File::open(path)?);
    Ok(match form {
        None | Some(Form::Closed | Form::Plain) => Box::new(file),
        Some(Form::Gzip) => Box::new(BufReader::with_capacity(BUFFER, flate2::bufread::MultiGzDecoder::new(file))),
        Some(Form::Zstd) => Box::new(BufReader::with_capacity(BUFFER, zstd::stream::read::Decoder::with_buffer(file)?)),
    })
}

/// Reads a span.
pub(super) fn read_back(
    folder: &Path,
    opening: &Opening,
    span: &Range<Offset>,
    out: &mut RowSender,
) -> Result<(), StoreError> {
    let mut next = span.start;
    let mut tries = 0;
    'listing: loop {
        let given = next;
        for source in sources(folder, opening, &(next..span.end))? {
            // What an earlier file has is left out here; a line that is twice in one file is given twice.
            let before_this = next.max(given);
            let mut reader = match lines(&source.path, source.form) {
                Ok(reader) => reader,
                // It was finished, or compressed, since it was listed.
                Err(error) if error.kind() == io::ErrorKind::NotFound && tries < 10 => {
                    tries += 1;
                    continue 'listing;
                }
                Err(error) => return Err(unavailable("read", &source.path, &error)),
            };
            let mut text = Vec::new();
            loop {
                text.clear();
                let behind = next;
                let damaged = |why: &dyn std::fmt::Display| {
                    StoreError::Stop(format!(
                        "{} is damaged after offset {behind}: {why}; move it away, and `sluice replay` writes its events anew as \
                         far as the journal has them",
                        source.path.display()
                    ))
                };
                let taken = reader.read_until(b'\n', &mut text).map_err(|error| damaged(&error))?;
                let Some(line) = text.strip_suffix(b"\n") else {
                    // The last line of a file that is being written may be on its way.
                    if taken > 0 && source.form.is_some() {
                        return Err(damaged(&"its last line is not whole"));
                    }
                    break;
                };
                let row: Row<'_> = serde_json::from_slice(line).map_err(|error| damaged(&error))?;
                let offset = Offset(row.offset);
                if offset >= source.end || offset >= span.end {
                    break;
                }
                if offset < before_this {
                    continue;
                }
                next = next.max(offset.plus(1));
                if !out.push(read_row(&row).map_err(|why| damaged(&why))?) {
                    return Ok(());
                }
            }
        }
        return Ok(());
    }
}

fn read_row(row: &Row<'_>) -> Result<ReadRow, String> {
    let (payload, rewritten) = match (&row.payload, &row.payload_base64) {
        (Some(json), _) => (json.get().as_bytes().to_vec(), true),
        (None, Some(text)) => {
            use base64::Engine as _;
            let bytes = base64::engine::general_purpose::STANDARD.decode(text).map_err(|error| error.to_string())?;
            (bytes, false)
        }
        (None, None) => return Err("a line has no payload".into()),
    };
    let UnixNanos(received) = row.received_time.0;
    Ok(ReadRow {
        offset: Offset(row.offset),
        monitor: row.monitor.clone(),
        received: UnixNanos(received),
        payload,
        rewritten,
    })
}
