//! The decoder of CBOR frames takes any bytes.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use sluice_fuzz::decoder::Decoder;

static DECODER: LazyLock<Decoder> = LazyLock::new(|| Decoder::new("atproto", &["#commit", "*"], &[]));

fuzz_target!(init: sluice_fuzz::seeds::write(|| sluice_fuzz::seeds::recorded("atproto-firehose-binary")), |input: &[u8]| DECODER.feed(input));
