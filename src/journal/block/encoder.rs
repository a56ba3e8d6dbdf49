//! Compresses a finished block. Runs in the task of the link, so that the writer has only bytes to append.

use zstd::bulk::Compressor;

use super::HASH_BYTES;
use super::builder::{BlockBuilder, BlockContent, ReceivedRun, ResumeToken};
use super::header::BlockHeader;
use super::row::{MonitorRow, TimeRange};
use super::stored::store;
use crate::journal::identity::Path;
use crate::journal::progress::Mark;
use crate::journal::varint::len32;

/// Source: measured on synthetic trade messages of 165 bytes, about 1.0 ns a byte in blocks of 128 to 256 KiB. Level -1 saves 5% of
/// that and writes a third more; level 2 saves nothing.
const ZSTD_LEVEL: i32 = 1;

/// A compressor with its memory, reused for every block of a link.
pub struct Encoder {
    /// None where blocks are stored as they are.
    zstd: Option<Compressor<'static>>,
    columns: Vec<u8>,
    compressed: Vec<u8>,
}

impl std::fmt::Debug for Encoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Encoder").finish_non_exhaustive()
    }
}

impl Default for Encoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Encoder {
    /// A compressor.
    ///
    /// # Panics
    /// When there is no memory for it.
    pub fn new() -> Self {
        let zstd = Compressor::new(ZSTD_LEVEL).expect("zstd knows level 1 and there is memory for its tables");
        Self { zstd: Some(zstd), columns: Vec::new(), compressed: Vec::new() }
    }

    /// One that stores blocks as they are.
    pub fn storing() -> Self {
        Self { zstd: None, columns: Vec::new(), compressed: Vec::new() }
    }

    pub(super) fn encode(&mut self, builder: &BlockBuilder, content: BlockContent) -> EncodedBlock {
        let mut body = Vec::new();
        let (mut columns_len, mut columns_raw) = (0, 0);
        if content.count > 0 {
            self.columns.clear();
            builder.columns.write(&mut self.columns);
            columns_raw = len32(self.columns.len());
            columns_len = encode(self.zstd.as_mut(), &self.columns, &mut self.compressed);
            // Kept apart from the payloads' buffer only as long as it takes to know the exact length of the body.
            let columns_end = self.compressed.len();
            self.columns.clear();
            self.columns.extend_from_slice(&self.compressed[..columns_end]);
            let payloads_len = encode(self.zstd.as_mut(), &builder.payloads, &mut self.compressed);
            body.reserve_exact(builder.hashes.len() + columns_end + payloads_len as usize);
            body.extend_from_slice(&builder.hashes);
            body.extend_from_slice(&self.columns);
            body.extend_from_slice(&self.compressed);
        }
        let hashes_len = builder.hashes.len();
        EncodedBlock(Box::new(BlockParts {
            path: content.path,
            count: content.count,
            received: content.received,
            hashes: len32(hashes_len / HASH_BYTES),
            columns_len,
            columns_raw,
            payloads_raw: len32(builder.payloads.len()),
            hashes_crc: crc32c::crc32c(&body[..hashes_len]),
            body_crc: crc32c::crc32c(&body[hashes_len..]),
            body,
            rows: content.rows,
            tokens: content.tokens,
            runs: content.runs,
            mark: None,
        }))
    }
}

/// Compresses or stores `raw` into `out`, replacing what was there.
fn encode(zstd: Option<&mut Compressor<'_>>, raw: &[u8], out: &mut Vec<u8>) -> u32 {
    let Some(zstd) = zstd else {
        store(raw, out);
        return len32(out.len());
    };
    out.clear();
    out.reserve(zstd::zstd_safe::compress_bound(raw.len()));
    let len = zstd.compress_to_buffer(raw, out).expect("the buffer is as long as the bound says");
    len32(len)
}

/// A block that wants only its place in the journal.
#[derive(Debug)]
pub struct EncodedBlock(Box<BlockParts>);

#[derive(Debug)]
pub(crate) struct BlockParts {
    pub(crate) path: Path,
    pub(crate) count: u32,
    pub(crate) received: TimeRange,
    pub(crate) hashes: u32,
    pub(crate) columns_len: u32,
    pub(crate) columns_raw: u32,
    pub(crate) payloads_raw: u32,
    pub(crate) hashes_crc: u32,
    pub(crate) body_crc: u32,
    pub(crate) body: Vec<u8>,
    pub(crate) rows: Vec<MonitorRow>,
    pub(crate) tokens: Vec<ResumeToken>,
    pub(crate) runs: Vec<ReceivedRun>,
    pub(crate) mark: Option<Mark>,
}

impl EncodedBlock {
    /// A block that was read and is to be written to another place.
    pub(crate) fn from_header(header: &BlockHeader, body: Vec<u8>) -> Self {
        Self(Box::new(BlockParts {
            path: header.path,
            count: header.count,
            received: header.received,
            hashes: header.hashes,
            columns_len: header.columns_len,
            columns_raw: header.columns_raw,
            payloads_raw: header.payloads_raw,
            hashes_crc: header.hashes_crc,
            body_crc: header.body_crc,
            body,
            rows: header.rows.clone(),
            tokens: header.tokens.clone(),
            runs: Vec::new(),
            mark: None,
        }))
    }

    /// Has `mark` told when it is durable.
    #[must_use]
    pub fn with_mark(mut self, mark: Mark) -> Self {
        self.0.mark = Some(mark);
        self
    }

    /// Who is to be told when it is durable.
    pub(crate) fn take_mark(&mut self) -> Option<Mark> {
        self.0.mark.take()
    }

    pub(crate) fn parts(&self) -> &BlockParts {
        &self.0
    }

    /// Whether its link reads nothing more until it is durable.
    pub(crate) fn is_awaited(&self) -> bool {
        self.0.path == Path::Legacy && self.0.count > 0
    }

    /// How many events.
    pub fn events(&self) -> u32 {
        self.0.count
    }

    /// Bytes it holds in memory and, but for its header, on disk.
    pub fn bytes(&self) -> usize {
        // A row in memory is about as long as several on disk; counted, so that queues are bounded by what they hold.
        self.0.body.len() + self.0.rows.len() * std::mem::size_of::<MonitorRow>()
    }

    /// Bytes of the payloads before compression.
    pub fn payload_bytes(&self) -> usize {
        self.0.payloads_raw as usize
    }

    /// When its events were read from the socket.
    pub fn received_runs(&self) -> &[ReceivedRun] {
        &self.0.runs
    }
}
