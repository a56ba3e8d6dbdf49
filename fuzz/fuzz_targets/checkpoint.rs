//! Any bytes taken for a checkpoint are refused, or mean the same when they are written anew.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sluice::checkpoint::{decode, encode};

fuzz_target!(init: sluice_fuzz::seeds::write(sluice_fuzz::seeds::checkpoints), |bytes: &[u8]| {
    let _ = decode(bytes);
    // Behind its checksum, which would keep a fuzzer out.
    let content = [bytes, b"\n"].concat();
    let checked = [&content[..], format!("crc32c {:08x}\n", crc32c::crc32c(&content)).as_bytes()].concat();
    if let Ok(checkpoint) = decode(&checked) {
        let text = encode(&checkpoint);
        assert_eq!(decode(text.as_bytes()), Ok(checkpoint), "{text}");
    }
});
