//! Server-sent events, cut anywhere.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sluice_fuzz::dialects::{Spoken, read};

const DIALECTS: &[Spoken] = &[("wikimedia", &["recentchange"])];

fuzz_target!(init: sluice_fuzz::seeds::write(sluice_fuzz::seeds::sessions), |input: &[u8]| read(DIALECTS, input));
