//! A stream of events means the same however it is cut, and whatever a server sends ends in no panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sluice_fuzz::{seeds, session};

fuzz_target!(init: seeds::write(seeds::event_streams), |input: &[u8]| {
    session::cut_anywhere("wikimedia", &["recentchange"], b"", input);
});
