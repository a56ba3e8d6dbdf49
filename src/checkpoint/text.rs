//! How a checkpoint stands in a file: a line with the version, the JSON, a line with the checksum of both.
//!
//! The first and the last line are the same in every version, so that a file of a newer release is told from a damaged one.

use std::fmt::Write as _;

use super::content::Checkpoint;

/// The version that this release writes, and the newest that it reads.
pub const FORMAT_VERSION: u32 = 1;

const TITLE: &str = "sluice checkpoint ";
const CHECKSUM: &str = "crc32c ";

/// The title is not longer.
pub(super) const TITLE_BYTES_MAX: u64 = 64;

/// The longest file that is read: ten thousand topics with tokens of their own stay well below it.
pub(super) const FILE_BYTES_MAX: u64 = 64 << 20;

/// Why a file is not used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// A newer release wrote it. It is left as it is.
    #[error("it has format version {0}, newer than this release reads")]
    Newer(u32),
    /// It is not what was written.
    #[error("it is damaged: {0}")]
    Damaged(String),
}

fn damaged(reason: impl Into<String>) -> Refused {
    Refused::Damaged(reason.into())
}

/// A checkpoint as the text of its file.
pub fn encode(checkpoint: &Checkpoint) -> String {
    let mut text = format!("{TITLE}{FORMAT_VERSION}\n{:#}\n", checkpoint.to_json());
    let crc = crc32c::crc32c(text.as_bytes());
    // Writing into a string cannot fail.
    let _infallible = writeln!(text, "{CHECKSUM}{crc:08x}");
    text
}

/// Reads the text of a file.
///
/// # Errors
/// When a newer release wrote it, or it is not what was written.
pub fn decode(bytes: &[u8]) -> Result<Checkpoint, Refused> {
    let whole = bytes.strip_suffix(b"\n").ok_or_else(|| damaged("its last line is cut short"))?;
    let last_line = memchr::memrchr(b'\n', whole).ok_or_else(|| damaged("it has no checksum"))? + 1;
    let (content, line) = whole.split_at(last_line);
    let crc = line.strip_prefix(CHECKSUM.as_bytes()).ok_or_else(|| damaged("it does not end with a checksum"))?;
    if crc != format!("{:08x}", crc32c::crc32c(content)).as_bytes() {
        return Err(damaged("its checksum does not fit"));
    }
    // From here on it is as somebody wrote it.
    let first_line = memchr::memchr(b'\n', content).ok_or_else(|| damaged("it has no version"))?;
    let (title, body) = content.split_at(first_line);
    match version_of(title).ok_or_else(|| damaged("it does not begin as a checkpoint does"))? {
        FORMAT_VERSION => Checkpoint::from_json(body).map_err(damaged),
        version if version > FORMAT_VERSION => Err(Refused::Newer(version)),
        version => Err(damaged(format!("there is no version {version}"))),
    }
}

fn version_of(title: &[u8]) -> Option<u32> {
    std::str::from_utf8(title.strip_prefix(TITLE.as_bytes())?).ok()?.parse().ok()
}

/// Whether a file that begins so says that a newer release wrote it.
pub(super) fn is_newer(beginning: &[u8]) -> bool {
    let title = beginning.split(|byte| *byte == b'\n').next().unwrap_or_default();
    version_of(title).is_some_and(|version| version > FORMAT_VERSION)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::super::content::{Cause, TokenMark};
    use super::*;
    use crate::clock::UnixNanos;
    use crate::config::SinkKind;
    use crate::journal::{JournalId, Offset};
    use crate::sink::SinkMark;

    fn checkpoint() -> Checkpoint {
        let journal = JournalId(uuid::Uuid::from_u128(7));
        Checkpoint {
            journal,
            durable: Offset(u64::MAX),
            written: UnixNanos(1_723_161_255_342_000_000),
            cause: Cause::Periodic,
            program: "0.1.0".into(),
            sinks: vec![SinkMark {
                name: "ware\"house\n".into(),
                kind: SinkKind::Nats,
                journal,
                next: Offset(17),
                sequence: Some(u64::MAX),
            }],
            tokens: [b"1723161255342000".to_vec(), vec![0xff, 0]]
                .map(|token| TokenMark {
                    upstream: "u".into(),
                    topics: vec!["a".into(), "b".into()],
                    token,
                    offset: Offset(5),
                    received: UnixNanos(1),
                })
                .to_vec(),
            settings: BTreeMap::from([("sinks".to_owned(), json!({"warehouse": {"enabled": false}}))]),
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let written = checkpoint();
        assert_eq!(decode(encode(&written).as_bytes()), Ok(written));
    }

    #[test]
    fn a_flipped_bit_anywhere_and_a_cut_anywhere_is_seen() {
        let text = encode(&checkpoint()).into_bytes();
        for at in 0..text.len() {
            for bit in 0..8 {
                let mut flipped = text.clone();
                flipped[at] ^= 1 << bit;
                assert!(matches!(decode(&flipped), Err(Refused::Damaged(_))), "byte {at}, bit {bit}");
            }
            assert!(matches!(decode(&text[..at]), Err(Refused::Damaged(_))), "cut at {at}");
        }
    }

    #[test]
    fn a_newer_version_is_told_from_damage_whatever_is_in_it() {
        let mut text = "sluice checkpoint 2\nanother form".to_owned();
        text.push('\n');
        let crc = crc32c::crc32c(text.as_bytes());
        let text = format!("{text}crc32c {crc:08x}\n");
        assert_eq!(decode(text.as_bytes()), Err(Refused::Newer(2)));
    }
}
