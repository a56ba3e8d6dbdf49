//! A GraphQL server's messages may be any.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use sluice_fuzz::decoder::Decoder;

static DECODER: LazyLock<Decoder> = LazyLock::new(|| {
    Decoder::new(
        "graphql-transport-ws",
        &["subscription { tick { i } }", "subscription { tock { i } }"],
        &[r#"{"type":"connection_ack"}"#],
    )
});

/// Recorded, under the ids that our operations have.
fn graphql_seeds() -> Vec<Vec<u8>> {
    let frames =
        sluice_fuzz::seeds::recorded("graphql-transport-ws").into_iter().map(|frame| String::from_utf8(frame).unwrap());
    frames.map(|frame| frame.replacen("\"a1\"", "\"1\"", 1).replacen("\"b2\"", "\"2\"", 1).into_bytes()).collect()
}

fuzz_target!(init: sluice_fuzz::seeds::write(graphql_seeds), |input: &[u8]| DECODER.feed(input));
