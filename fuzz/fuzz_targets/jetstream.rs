//! A Jetstream server's messages may be any.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use sluice_fuzz::decoder::Decoder;

static DECODER: LazyLock<Decoder> =
    LazyLock::new(|| Decoder::new("jetstream", &["app.bsky.feed.post", "app.bsky.graph.*", "*"], &[]));

fuzz_target!(init: sluice_fuzz::seeds::write(|| sluice_fuzz::seeds::recorded("bluesky-jetstream")), |input: &[u8]| DECODER.feed(input));
