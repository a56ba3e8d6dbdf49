//! Messages of kind `json_rpc` may be any.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use sluice_fuzz::decoder::Decoder;

static DECODER: LazyLock<Decoder> = LazyLock::new(|| Decoder::new("deribit", &["trades.BTC-PERPETUAL.raw"], &[]));

fuzz_target!(init: sluice_fuzz::seeds::write(sluice_fuzz::seeds::frames), |input: &[u8]| DECODER.feed(input));
