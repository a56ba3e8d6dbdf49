//! Packets of MQTT mean the same however frames cut them, and whatever a broker sends ends in no panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sluice_fuzz::{seeds, session};

fuzz_target!(init: seeds::write(|| seeds::streams("mqtt-websocket")), |input: &[u8]| {
    session::cut_anywhere("mqtt", &["md/#", "a/+/b"], &[0x20, 2, 0, 0], input);
});
