//! Whatever a Core sends is said to be something, and ends in no panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sluice::dialect::{Frame, Outbox};
use sluice_fuzz::{seeds, session};

fuzz_target!(init: seeds::write(seeds::changes), |input: &[u8]| {
    let mut session = session::session("qsys", &["Main Gain", "Mixer/gain", "@EngineStatus"]);
    for frame in input.split(|byte| *byte == 0) {
        let Ok(text) = std::str::from_utf8(frame) else { continue };
        let mut said = session::Said::default();
        session.receive(Frame::Text(text), &mut said, &mut Outbox::new());
        let count = said.messages.len() as u32 + said.control + said.unreadable;
        assert!(count > 0, "a frame is something");
    }
});
