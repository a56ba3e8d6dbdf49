//! Zstandard frames whose content is stored as it is. A block of the legacy path costs no compression then, and readers need not
//! know: the format is one. See RFC 8878, sections 3.1.1.1 and 3.1.1.2.

/// Begins every frame.
const MAGIC: [u8; 4] = 0xfd2f_b528_u32.to_le_bytes();
/// In the frame's descriptor: the content is one segment, and its length follows.
const SINGLE_SEGMENT: u8 = 1 << 5;
/// The most bytes of one of a frame's blocks.
const PIECE_BYTES_MAX: usize = 128 << 10;

/// Wraps `raw` into a frame in `out`, replacing what was there.
pub(super) fn store(raw: &[u8], out: &mut Vec<u8>) {
    out.clear();
    out.reserve(raw.len() + raw.len() / PIECE_BYTES_MAX * 3 + 16);
    out.extend_from_slice(&MAGIC);
    let len = raw.len() as u64;
    match len {
        0..=255 => out.extend_from_slice(&[SINGLE_SEGMENT, len.to_le_bytes()[0]]),
        256..=65_791 => {
            out.push(SINGLE_SEGMENT | 1 << 6);
            out.extend_from_slice(&(len - 256).to_le_bytes()[..2]);
        }
        _ => {
            out.push(SINGLE_SEGMENT | 3 << 6);
            out.extend_from_slice(&len.to_le_bytes());
        }
    }
    if raw.is_empty() {
        out.extend_from_slice(&piece_header(0, true));
    }
    let pieces = raw.len().div_ceil(PIECE_BYTES_MAX);
    for (number, piece) in (1..).zip(raw.chunks(PIECE_BYTES_MAX)) {
        out.extend_from_slice(&piece_header(piece.len(), number == pieces));
        out.extend_from_slice(piece);
    }
}

/// Of a piece that is stored: bit 0 says whether it is the last, bits 1 and 2 its kind, which is 0.
fn piece_header(len: usize, last: bool) -> [u8; 3] {
    let header = (len as u64) << 3 | u64::from(last);
    let [low, middle, high, ..] = header.to_le_bytes();
    [low, middle, high]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zstd_reads_what_was_stored_whatever_its_length() {
        let (mut stored, text) = (Vec::new(), (0..=255_u8).cycle().take(400_000).collect::<Vec<u8>>());
        for len in [0, 1, 255, 256, 300, 65_791, 65_792, 131_071, 131_072, 131_073, 262_144, 400_000] {
            store(&text[..len], &mut stored);
            assert_eq!(zstd::bulk::decompress(&stored, len).unwrap(), text[..len], "{len} bytes");
            assert!(stored.len() <= len + 32);
        }
    }
}
