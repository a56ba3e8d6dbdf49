//! Any bytes taken for a checkpoint are refused, or mean the same when they are written anew.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sluice::checkpoint::{decode, encode};

fuzz_target!(init: sluice_fuzz::seeds::write(sluice_fuzz::seeds::checkpoints), |bytes: &[u8]| {
    let _ = decode(bytes);
    // Behind its checksum, which would keep a fuzzer out.
    let content = [bytes, b"\n"].concat();
    let checked = [&content[..], format!("crc32c {:08x}\n", crc32c::crc32c(&content)).as_bytes()].concat();
    if let Ok(mut checkpoint) = decode(&checked) {
        // A long number with a fraction is read to the last digit but one, by choice of the crate; no setting is one.
        checkpoint.settings.retain(|_, value| !has_fraction(value));
        let text = encode(&checkpoint);
        assert_eq!(decode(text.as_bytes()), Ok(checkpoint), "{text}");
    }
});

fn has_fraction(value: &serde_json::Value) -> bool {
    match value {
        serde_json::Value::Number(number) => number.is_f64(),
        serde_json::Value::Array(values) => values.iter().any(has_fraction),
        serde_json::Value::Object(members) => members.values().any(has_fraction),
        _ => false,
    }
}
