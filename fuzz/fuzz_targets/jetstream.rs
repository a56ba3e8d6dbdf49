//! Jetstream: collections and cursors.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sluice_fuzz::dialects::{Spoken, read};

const DIALECTS: &[Spoken] = &[("jetstream", &["app.bsky.feed.post", "#identity"])];

fuzz_target!(init: sluice_fuzz::seeds::write(sluice_fuzz::seeds::sessions), |input: &[u8]| read(DIALECTS, input));
