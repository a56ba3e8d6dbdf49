//! Any bytes taken for a block are refused, or give events that can be looked at.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sluice::journal::fuzzing::read_block;

fuzz_target!(init: sluice_fuzz::seeds::write(sluice_fuzz::seeds::blocks), |bytes: &[u8]| {
    let Some(block) = read_block(bytes) else { return };
    let header = block.header();
    let events = block.events();
    assert_eq!(events.len(), header.events() as usize);
    let mut payloads = 0;
    for (place, event) in events.enumerate() {
        assert_eq!(event.offset.0, header.base().0 + place as u64);
        assert!(header.rows().iter().any(|row| *row.monitor.name == *event.monitor));
        payloads += event.payload.len();
        let _ = (event.id(), event.key(), event.hash(), event.received.to_string());
        let _ = event.event_time.map(|time| time.to_string());
    }
    assert!(payloads <= sluice::journal::PAYLOAD_BYTES_MAX as usize);
});
