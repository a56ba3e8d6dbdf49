//! Any bytes taken for a journal's only segment are refused, or recovered to what reads the same ever after.
#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use sluice::config::JournalSettings;
use sluice::journal::{BlockFilter, Journal, JournalOptions, JournalReader};
use sluice_fuzz::MemoryStorage;

const WATERMARK_BYTES: usize = 56;

/// The events that can be read before the reader stops, and whether it stopped at the end.
fn read(storage: &MemoryStorage) -> (Vec<(u64, Vec<u8>)>, bool) {
    let mut events = Vec::new();
    let Ok(mut reader) = JournalReader::open_on(Arc::new(storage.clone())) else { return (events, false) };
    // What it says of itself must not bring anybody down.
    let _ = reader.stat();
    loop {
        match reader.next_block(&BlockFilter::all()) {
            Ok(Some(block)) => {
                events.extend(block.events().map(|event| (event.offset.0, event.payload.to_vec())));
            }
            Ok(None) => return (events, true),
            Err(_) => return (events, false),
        }
    }
}

fn open(storage: &MemoryStorage) -> Option<u64> {
    let mut settings = JournalSettings::default();
    // Times may be any: nothing is to go because of them.
    settings.retention = std::time::Duration::MAX;
    let (journal, summary) = Journal::open_on(Arc::new(storage.clone()), JournalOptions::new(settings)).ok()?;
    // Nothing may be pending, and so nothing go wrong.
    journal.close().unwrap();
    Some(summary.durable.0)
}

fuzz_target!(init: sluice_fuzz::seeds::write(sluice_fuzz::seeds::segments), |bytes: &[u8]| {
    let Some((&choice, mut bytes)) = bytes.split_first() else { return };
    let storage = MemoryStorage::default();
    if choice & 1 == 1 {
        let Some((watermark, segment)) = bytes.split_at_checked(WATERMARK_BYTES) else { return };
        storage.put("watermark", watermark);
        bytes = segment;
    }
    // A segment is named as its header says; under another name it would only be refused.
    let word = |at: usize| bytes.get(at..at + 8).map(|word| u64::from_le_bytes(word.try_into().unwrap()));
    let (Some(sequence), Some(base)) = (word(32), word(40)) else { return };
    if sequence > 9_999_999_000 {
        return;
    }
    storage.put(&format!("{base:020}-{sequence:010}.seg"), bytes);

    // As a command reads it that comes beside the daemon, or before it.
    let (before, _) = read(&storage);
    let Some(durable) = open(&storage) else { return };
    let (after, _) = read(&storage);
    assert!(after.len() >= before.len() && after[..before.len()] == before, "what could be read stays");
    assert_eq!(open(&storage), Some(durable), "a second opening finds what the first left");
    assert_eq!(read(&storage).0, after);
});
