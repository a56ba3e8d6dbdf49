//! Doors for the fuzz targets in `fuzz/`. With the feature that opens them every checksum fits: not for use.

use zstd::bulk::Decompressor;

use super::block::{Block, BlockHeader, Dictionary};

/// The block that `bytes` are, its header and its body.
pub fn read_block(bytes: &[u8]) -> Option<Block> {
    let len = BlockHeader::len_of(bytes).ok()?;
    let (header, body) = bytes.split_at_checked(len as usize)?;
    let header = BlockHeader::read(header, &mut Dictionary::default()).ok()?;
    Block::decode(header, body, &mut Decompressor::new().ok()?).ok()
}
