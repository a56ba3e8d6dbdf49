//! Which journals this one was restored from: a small file beside the segments, written once, by `restore`.
//!
//! Its text is a line with the version, a line for each ancestor (its UUID and the offset up to which it is the same here),
//! and a line with the checksum of all before it.

use std::fmt::Write as _;

use super::error::JournalError;
use super::offset::{Ancestor, JournalId, Offset};
use super::storage::{Access, Storage};

pub(crate) const ANCESTORS_FILE: &str = "ancestors";
const TITLE: &str = "sluice ancestors ";
const VERSION: u32 = 1;
/// Thousands of restores.
const BYTES_MAX: u64 = 1 << 20;

/// The text of the file.
pub(crate) fn encode(ancestors: &[Ancestor]) -> String {
    let mut text = format!("{TITLE}{VERSION}\n");
    for Ancestor { journal, end } in ancestors {
        // Writing into a string cannot fail.
        writeln!(text, "{journal} {end}").ok();
    }
    let crc = crc32c::crc32c(text.as_bytes());
    writeln!(text, "crc32c {crc:08x}").ok();
    text
}

/// Reads the file; a journal that was never restored has none.
pub(crate) fn read(storage: &dyn Storage) -> Result<Vec<Ancestor>, JournalError> {
    let path = || storage.path(ANCESTORS_FILE);
    let io = |source| JournalError::Io { action: "read", path: path(), source };
    let file = match storage.open(ANCESTORS_FILE, Access::Read) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        opened => opened.map_err(io)?,
    };
    let mut bytes = vec![0; usize::try_from(file.len().map_err(io)?.min(BYTES_MAX)).unwrap_or(0)];
    let read = file.read_at(0, &mut bytes).map_err(io)?;
    let damaged = || JournalError::Damaged {
        segment: path(),
        position: 0,
        offset: Offset::ZERO,
        reason: "it does not say from which journals this one was restored".into(),
    };
    let text = std::str::from_utf8(&bytes[..read]).map_err(|_| damaged())?;
    decode(text).ok_or_else(|| match version_of(text) {
        Some(found) if found > VERSION => JournalError::Version { file: path(), found },
        _ => damaged(),
    })
}

fn version_of(text: &str) -> Option<u32> {
    text.lines().next()?.strip_prefix(TITLE)?.parse().ok()
}

fn decode(text: &str) -> Option<Vec<Ancestor>> {
    if version_of(text) != Some(VERSION) {
        return None;
    }
    let (content, last) = text.strip_suffix('\n')?.rsplit_once('\n')?;
    let content = &text[..=content.len()];
    if last != format!("crc32c {:08x}", crc32c::crc32c(content.as_bytes())) {
        return None;
    }
    let line = |line: &str| {
        let (journal, end) = line.split_once(' ')?;
        Some(Ancestor { journal: JournalId(journal.parse().ok()?), end: Offset(end.parse().ok()?) })
    };
    content.lines().skip(1).map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ancestors_come_back_as_they_were_written_and_not_when_a_bit_is_flipped() {
        let ancestors: Vec<_> =
            (0..3).map(|end| Ancestor { journal: JournalId::random(), end: Offset(end * 1000) }).collect();
        for ancestors in [&ancestors[..], &[]] {
            let text = encode(ancestors);
            assert_eq!(decode(&text).as_deref(), Some(ancestors));
            for at in 0..text.len() {
                let mut flipped = text.clone().into_bytes();
                flipped[at] ^= 1;
                assert_eq!(String::from_utf8(flipped).ok().and_then(|text| decode(&text)), None, "byte {at}");
            }
        }
    }
}
