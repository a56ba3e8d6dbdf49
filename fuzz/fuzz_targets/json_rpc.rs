//! Kind `json_rpc`: answers, ids that they give, batches.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sluice_fuzz::dialects::{Spoken, read};

const DIALECTS: &[Spoken] =
    &[("ethereum", &["newHeads", "logs {}"]), ("deribit", &["trades.BTC-PERPETUAL.raw"]), ("solana", &["slot"])];

fuzz_target!(init: sluice_fuzz::seeds::write(sluice_fuzz::seeds::sessions), |input: &[u8]| read(DIALECTS, input));
