//! Messages of kind `json` may be any, packed or not.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use sluice_fuzz::decoder::Decoder;

static DECODERS: LazyLock<[Decoder; 2]> = LazyLock::new(|| {
    [Decoder::new("okx", &["trades:BTC-USDT"], &[]), Decoder::new("huobi", &["market.btcusdt.trade.detail"], &[])]
});

fuzz_target!(init: sluice_fuzz::seeds::write(sluice_fuzz::seeds::frames), |input: &[u8]| {
    DECODERS.iter().for_each(|decoder| decoder.feed(input));
});
