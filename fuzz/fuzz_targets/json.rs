//! Kind `json`: routes, learned ids, packed frames.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sluice_fuzz::dialects::{Spoken, read};

const DIALECTS: &[Spoken] = &[
    ("bitfinex", &["trades:tBTCUSD", "book-P0-F0-25:tBTCUSD"]),
    ("huobi", &["market.btcusdt.trade.detail"]),
    ("kraken", &["trade:BTC/USD"]),
    ("okx", &["trades:BTC-USDT"]),
    ("upbit", &["trade:KRW-BTC"]),
];

fuzz_target!(init: sluice_fuzz::seeds::write(sluice_fuzz::seeds::sessions), |input: &[u8]| read(DIALECTS, input));
