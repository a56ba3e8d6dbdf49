//! Payloads that the views keep the first part of only, read in the journal.

use super::latest::LatestValue;
use crate::journal::{BlockFilter, Journal, JournalReader, Offset};

/// A longer payload stays cut: it is not what one asks for the latest value for.
const PAYLOAD_BYTES_MAX: u64 = 1 << 20;

/// The most payloads that are read for one question: each costs a block. The others stay cut.
const READS_MAX: usize = 100;

/// Reads them for one question.
pub(super) struct WholePayloads<'a> {
    journal: &'a Journal,
    reader: Option<JournalReader>,
    reads: usize,
}

impl<'a> WholePayloads<'a> {
    pub(super) fn new(journal: &'a Journal) -> Self {
        Self { journal, reader: None, reads: 0 }
    }

    /// A value with its whole payload, if that is cut and the journal still has it.
    pub(super) fn read(&mut self, value: LatestValue, payload: &[u8]) -> (LatestValue, Vec<u8>) {
        if !value.cut || value.bytes > PAYLOAD_BYTES_MAX || self.reads >= READS_MAX {
            return (value, payload.to_vec());
        }
        self.reads += 1;
        let reader = self.reader.get_or_insert_with(|| self.journal.reader());
        reader.seek(Offset(value.offset));
        let filter = BlockFilter { monitors: vec![value.monitor.clone()], ..BlockFilter::all() };
        // What cannot be read now is shown as far as it is kept.
        let Ok(Some(block)) = reader.next_block(&filter) else { return (value, payload.to_vec()) };
        match block.events().next() {
            Some(event) if event.offset.0 == value.offset => {
                (LatestValue { cut: false, ..value }, event.payload.to_vec())
            }
            _ => (value, payload.to_vec()),
        }
    }
}
