//! A relay's messages may be any.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use sluice_fuzz::decoder::Decoder;

static DECODER: LazyLock<Decoder> = LazyLock::new(|| Decoder::new("nostr", &["kinds=1", "kinds=7"], &[]));

/// Recorded, under the names that our subscriptions have.
fn nostr_seeds() -> Vec<Vec<u8>> {
    let frames = sluice_fuzz::seeds::recorded("nostr").into_iter().map(|frame| String::from_utf8(frame).unwrap());
    frames
        .map(|frame| {
            frame.replacen("\"notes\"", "\"sluice-1\"", 1).replacen("\"reactions\"", "\"sluice-2\"", 1).into_bytes()
        })
        .collect()
}

fuzz_target!(init: sluice_fuzz::seeds::write(nostr_seeds), |input: &[u8]| DECODER.feed(input));
