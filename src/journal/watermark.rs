//! The durable offset, for readers in other processes: a small file, overwritten after each sync and never synced itself.
//!
//! It is never ahead of what is durable, since it is written after the sync. A power cut may leave an old one or rubbish;
//! the blocks carry the durable offset too, so that at recovery it is only one more hint.

use uuid::Uuid;

use super::checksum;
use super::error::JournalError;
use super::offset::{JournalId, Offset};
use super::storage::{Access, Storage, StorageFile};
use super::varint::{Input, Malformed};

pub(crate) const WATERMARK_FILE: &str = "watermark";
const WATERMARK_MAGIC: [u8; 8] = *b"SLUICEW\n";
const WATERMARK_BYTES: usize = 56;

/// How far the journal is durable: all segments before `sequence`, and that one up to `position`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Watermark {
    /// The offset after the last durable event.
    pub(crate) offset: Offset,
    pub(crate) sequence: u64,
    pub(crate) position: u64,
}

/// The file, open for writing.
#[derive(Debug)]
pub(crate) struct WatermarkFile {
    file: Box<dyn StorageFile>,
    journal: JournalId,
}

impl WatermarkFile {
    pub(crate) fn open(storage: &dyn Storage, journal: JournalId) -> Result<Self, JournalError> {
        let file = storage.open(WATERMARK_FILE, Access::Overwrite).map_err(|source| io(storage, "open", source))?;
        Ok(Self { file, journal })
    }

    pub(crate) fn write(&mut self, watermark: Watermark) -> std::io::Result<()> {
        self.file.write_at(0, &encode(self.journal, watermark))
    }

    /// Only for a new journal, whose identity stands nowhere else yet.
    pub(crate) fn sync(&mut self) -> std::io::Result<()> {
        self.file.sync()
    }
}

/// Reads the file. None when there is none or it is not whole.
pub(crate) fn read(storage: &dyn Storage) -> Result<Option<(JournalId, Watermark)>, JournalError> {
    // Read while it is overwritten, it may be half of each; the next look finds it whole.
    for _ in 0..3 {
        let file = match storage.open(WATERMARK_FILE, Access::Read) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(io(storage, "open", source)),
        };
        let mut bytes = [0; WATERMARK_BYTES];
        let read = file.read_at(0, &mut bytes).map_err(|source| io(storage, "read", source))?;
        if let Ok(found) = decode(&bytes[..read]) {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

fn encode(journal: JournalId, watermark: Watermark) -> [u8; WATERMARK_BYTES] {
    let mut out = [0; WATERMARK_BYTES];
    out[..8].copy_from_slice(&WATERMARK_MAGIC);
    out[8..24].copy_from_slice(journal.0.as_bytes());
    out[24..32].copy_from_slice(&watermark.offset.0.to_le_bytes());
    out[32..40].copy_from_slice(&watermark.sequence.to_le_bytes());
    out[40..48].copy_from_slice(&watermark.position.to_le_bytes());
    let crc = crc32c::crc32c(&out[..WATERMARK_BYTES - 4]);
    out[WATERMARK_BYTES - 4..].copy_from_slice(&crc.to_le_bytes());
    out
}

fn decode(bytes: &[u8]) -> Result<(JournalId, Watermark), Malformed> {
    const BAD: Malformed = Malformed("this is no watermark");
    let (content, crc) = bytes.split_at_checked(WATERMARK_BYTES - 4).ok_or(BAD)?;
    let mut input = Input::new(content);
    if input.take(8)? != WATERMARK_MAGIC || !checksum::fits(content, Input::new(crc).u32()?) {
        return Err(BAD);
    }
    let journal = JournalId(Uuid::from_slice(input.take(16)?).map_err(|_| BAD)?);
    Ok((journal, Watermark { offset: Offset(input.u64()?), sequence: input.u64()?, position: input.u64()? }))
}

fn io(storage: &dyn Storage, action: &'static str, source: std::io::Error) -> JournalError {
    JournalError::Io { action, path: storage.path(WATERMARK_FILE), source }
}
