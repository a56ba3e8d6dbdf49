//! A Mastodon server's messages may be any, and so may what is in their strings.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use sluice_fuzz::decoder::Decoder;

static DECODER: LazyLock<Decoder> = LazyLock::new(|| Decoder::new("mastodon", &["public", "hashtag:rust"], &[]));

fn mastodon_seeds() -> Vec<Vec<u8>> {
    let texts = [
        r#"{"stream":["public"],"event":"update","payload":"{\"id\":\"1\",\"created_at\":\"2019-12-05T11:34:47.196Z\"}"}"#,
        r#"{"stream":["hashtag","rust"],"event":"delete","payload":"1"}"#,
        r#"{"stream":["hashtag","rust"],"event":"update","payload":"[{\"a\\u0062\":\"\\\"\"}]"}"#,
        r#"{"error":"Unknown stream type","status":400}"#,
    ];
    texts.map(|text| text.as_bytes().to_vec()).to_vec()
}

fuzz_target!(init: sluice_fuzz::seeds::write(mastodon_seeds), |input: &[u8]| DECODER.feed(input));
