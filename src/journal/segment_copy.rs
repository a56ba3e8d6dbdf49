//! Writes a whole segment out of blocks that were read elsewhere, as they are: what repair and restore do. It gets its name
//! only when all of it is on disk.

use std::io::IoSlice;

use super::block::{BlockHeader, Dictionary, replace_header};
use super::error::JournalError;
use super::hole::HoleRecord;
use super::offset::Offset;
use super::recovery::UNFINISHED;
use super::segment::{FooterBuilder, FooterEnd, SegmentHeader};
use super::storage::{Access, Storage, StorageFile};
use crate::clock::UnixNanos;

/// A segment that is being written.
pub(crate) struct SegmentCopy<'a> {
    storage: &'a dyn Storage,
    header: SegmentHeader,
    name: String,
    unfinished: String,
    file: Box<dyn StorageFile>,
    position: u64,
    offset: Offset,
    chain: u32,
    received_up_to: UnixNanos,
    dictionary: Dictionary,
    footer: FooterBuilder,
}

/// Where a segment ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CopyEnd {
    pub(crate) chain: u32,
    pub(crate) received_up_to: UnixNanos,
    /// Where its blocks end in the file.
    pub(crate) position: u64,
}

impl<'a> SegmentCopy<'a> {
    pub(crate) fn create(storage: &'a dyn Storage, header: SegmentHeader) -> Result<Self, JournalError> {
        let name = header.name.to_string();
        let unfinished = format!("{name}{UNFINISHED}");
        // One that is found was left behind by a process that died.
        match storage.remove(&unfinished) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                return Err(JournalError::Io { action: "remove", path: storage.path(&unfinished), source });
            }
            _ => {}
        }
        let file = storage.open(&unfinished, Access::Create).map_err(|source| JournalError::Io {
            action: "create",
            path: storage.path(&unfinished),
            source,
        })?;
        let mut copy = Self {
            storage,
            header,
            name,
            unfinished,
            file,
            position: 0,
            offset: header.name.base,
            chain: header.chain,
            received_up_to: header.received_before,
            dictionary: Dictionary::default(),
            footer: FooterBuilder::default(),
        };
        copy.append(&[&header.write()])?;
        Ok(copy)
    }

    /// Where the next block belongs: its offset, and the chain value that it follows.
    pub(crate) fn end(&self) -> (Offset, u32) {
        (self.offset, self.chain)
    }

    fn append(&mut self, parts: &[&[u8]]) -> Result<(), JournalError> {
        let mut slices: Vec<_> = parts.iter().map(|part| IoSlice::new(part)).collect();
        self.file
            .append(&mut slices)
            .map_err(|source| JournalError::WriteFailed { segment: self.storage.path(&self.unfinished), source })?;
        self.position += parts.iter().map(|part| part.len() as u64).sum::<u64>();
        Ok(())
    }

    /// Appends a block with the header that it had, made to follow the one before and to be of this journal.
    pub(crate) fn block(&mut self, header: &[u8], body: &[u8]) -> Result<(), JournalError> {
        let mut header = header.to_vec();
        let chain = replace_header(&mut header, self.header.journal.check(), self.chain);
        let path = || self.storage.path(&self.unfinished);
        let read = BlockHeader::read(&header, &mut self.dictionary).map_err(|reason| JournalError::Damaged {
            segment: path(),
            position: self.position,
            offset: self.offset,
            reason: reason.to_string(),
        })?;
        assert!(read.base == self.offset, "what lies between two blocks is recorded as a hole");
        assert!(read.body_len as usize == body.len(), "the body was whole when it was read");
        self.footer.add(self.position, &header, &read.rows, &self.dictionary);
        self.append(&[&header, body])?;
        self.chain = chain;
        self.offset = read.end();
        if read.count > 0 {
            self.received_up_to = self.received_up_to.max(read.received.greatest);
        }
        Ok(())
    }

    /// Records a hole. What it says of what came before is set here.
    pub(crate) fn hole(&mut self, mut record: HoleRecord) -> Result<(), JournalError> {
        assert!(self.header.whole_to.is_some(), "only a segment that says so may have holes");
        (record.hole.from, record.chain) = self.end();
        assert!(record.hole.from <= record.hole.to, "a hole does not end before it begins");
        let position = self.position;
        record.teach(&mut self.dictionary).map_err(|reason| JournalError::Damaged {
            segment: self.storage.path(&self.unfinished),
            position,
            offset: self.offset,
            reason: reason.to_string(),
        })?;
        let bytes = record.write(self.header.journal);
        self.footer.add_hole(position, &bytes);
        self.append(&[&bytes])?;
        (self.offset, self.chain) = (record.hole.to, record.chain_after);
        Ok(())
    }

    /// Seals it, makes it durable, and lets it take its place, over what has it now.
    pub(crate) fn finish(mut self) -> Result<CopyEnd, JournalError> {
        if let Some(whole_to) = self.header.whole_to {
            assert!(whole_to == self.offset, "the header says where the segment ends");
        }
        let end = CopyEnd { chain: self.chain, received_up_to: self.received_up_to, position: self.position };
        let seal = self.footer.write(FooterEnd {
            journal: self.header.journal,
            position: self.position,
            offset: self.offset,
            received_up_to: self.received_up_to,
            chain: self.chain,
        });
        self.append(&[&seal])?;
        let sync_failed = |source| JournalError::SyncFailed { segment: self.storage.path(&self.unfinished), source };
        self.file.sync().map_err(sync_failed)?;
        self.storage.rename(&self.unfinished, &self.name).map_err(|source| JournalError::Io {
            action: "rename",
            path: self.storage.path(&self.unfinished),
            source,
        })?;
        self.storage
            .sync_folder("")
            .map_err(|source| JournalError::SyncFailed { segment: self.storage.path(""), source })?;
        Ok(end)
    }
}
