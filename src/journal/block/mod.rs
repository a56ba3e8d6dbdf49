//! A block: the events of one batch, as they stand in the journal.
//!
//! The task that owns a link fills a [`BlockBuilder`] and lets an [`Encoder`] compress it; the writer gives the
//! [`EncodedBlock`] its offset, its place in the chain and its header; a reader gets a [`BlockHeader`] and, where it
//! wants the events, a [`Block`]. `docs/journal-format.md` has the bytes.

mod builder;
mod columns;
mod decoded;
mod encoder;
mod event;
mod header;
mod row;
mod stored;
#[cfg(test)]
mod tests;

pub use builder::{
    BlockBuilder, DedupeHash, EventId, NewEvent, Part, ReceivedRun, ResumeToken, SourceIndex, SourceSlot,
};
pub use decoded::Block;
pub(crate) use decoded::read_hash;
pub use encoder::{EncodedBlock, Encoder};
pub use event::Event;
pub use header::BlockHeader;
pub(crate) use header::{BLOCK_MAGIC, Dictionary, HEADER_FIXED_BYTES, HeaderPlace, compose_header, replace_header};
pub use row::{AccountDelta, MonitorRow, TimeRange};

/// Bytes of one entry of the section of hashes: the hash and the check of the payload.
pub(crate) const HASH_BYTES: usize = 20;

/// The most that the payloads of one block may be, uncompressed. Far above any batch; it bounds what a reader will allocate
/// for a header that lies.
pub const PAYLOAD_BYTES_MAX: u32 = 1 << 30;

/// The same for the columns.
pub(crate) const COLUMN_BYTES_MAX: u32 = 1 << 28;

/// The most that a block's body may be on disk.
pub(crate) const BODY_BYTES_MAX: u32 = PAYLOAD_BYTES_MAX + COLUMN_BYTES_MAX;
