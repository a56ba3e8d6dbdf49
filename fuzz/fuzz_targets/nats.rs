//! Lines of NATS mean the same however frames cut them, and whatever a server sends ends in no panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sluice_fuzz::{seeds, session};

fuzz_target!(init: seeds::write(|| seeds::streams("nats-websocket")), |input: &[u8]| {
    session::cut_anywhere("nats", &["md.>", "md.btc q"], b"INFO {}\r\n", input);
});
