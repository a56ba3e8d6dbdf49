//! `decode = ["gzip"]`: what is inside of binary frames, or of a text within a message.
//!
//! A few bytes may unpack to gigabytes, so that what comes out is bounded before it is made.

use std::fmt;

use base64::Engine as _;
use flate2::{Crc, Decompress, FlushDecompress, Status};
use serde::Deserialize;

/// One step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DecodeStep {
    /// RFC 1952, of one or several members.
    Gzip,
    /// RFC 1950.
    Zlib,
    /// RFC 1951, without header and checksum.
    Deflate,
    /// RFC 4648 with the standard alphabet, with or without padding.
    Base64,
}

impl fmt::Display for DecodeStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gzip => "gzip",
            Self::Zlib => "zlib",
            Self::Deflate => "deflate",
            Self::Base64 => "base64",
        })
    }
}

/// Memory that is kept from frame to frame; what a larger one took is given back.
/// Source: a guess, several times the largest frame that was recorded (60 KiB unpacked).
const KEPT_BYTES: usize = 1 << 20;

/// By how much room grows while something is unpacked whose size nobody tells.
const STRIDE: usize = 16 << 10;

/// Undoes the steps of a declaration. It keeps its memory; one a link.
pub(crate) struct Decoder {
    bytes_max: usize,
    zlib: Decompress,
    raw: Decompress,
    /// What the last step gave, and what the one before it did.
    made: Vec<u8>,
    spare: Vec<u8>,
}

impl fmt::Debug for Decoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decoder").field("bytes_max", &self.bytes_max).finish_non_exhaustive()
    }
}

impl Decoder {
    /// No step may give more than `bytes_max`.
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self {
            bytes_max,
            zlib: Decompress::new(true),
            raw: Decompress::new(false),
            made: Vec::new(),
            spare: Vec::new(),
        }
    }

    /// What is inside of `packed`. The error says which step failed, and why.
    pub(crate) fn decode(&mut self, steps: &[DecodeStep], packed: &[u8]) -> Result<&[u8], String> {
        for buffer in [&mut self.made, &mut self.spare] {
            buffer.clear();
            buffer.shrink_to(KEPT_BYTES);
        }
        for (number, step) in steps.iter().enumerate() {
            let before = std::mem::take(&mut self.made);
            let mut made = std::mem::take(&mut self.spare);
            made.clear();
            let undone = self.undo(*step, if number == 0 { packed } else { &before }, &mut made);
            (self.made, self.spare) = (made, before);
            undone.map_err(|reason| format!("{step}: {reason}"))?;
        }
        Ok(&self.made)
    }

    fn undo(&mut self, step: DecodeStep, packed: &[u8], made: &mut Vec<u8>) -> Result<(), String> {
        let bytes_max = self.bytes_max;
        match step {
            DecodeStep::Base64 => {
                let engine = base64::engine::GeneralPurpose::new(
                    &base64::alphabet::STANDARD,
                    base64::engine::GeneralPurposeConfig::new()
                        .with_decode_padding_mode(base64::engine::DecodePaddingMode::Indifferent),
                );
                if packed.len() / 4 * 3 > bytes_max {
                    return Err(too_much(bytes_max));
                }
                engine.decode_vec(packed, made).map_err(|error| error.to_string())
            }
            DecodeStep::Zlib => whole(inflate(&mut self.zlib, true, packed, made, bytes_max)?, packed),
            DecodeStep::Deflate => whole(inflate(&mut self.raw, false, packed, made, bytes_max)?, packed),
            DecodeStep::Gzip => gunzip(&mut self.raw, packed, made, bytes_max),
        }
    }
}

fn too_much(bytes_max: usize) -> String {
    format!("gives more than {bytes_max} bytes, which `decoded_max` allows")
}

/// Nothing may stand behind the end.
fn whole(read: usize, packed: &[u8]) -> Result<(), String> {
    if read == packed.len() { Ok(()) } else { Err(format!("ends at byte {read} of {}", packed.len())) }
}

/// Unpacks one stream behind what `made` holds already; gives how many bytes of `packed` it took.
fn inflate(
    state: &mut Decompress,
    zlib_header: bool,
    packed: &[u8],
    made: &mut Vec<u8>,
    bytes_max: usize,
) -> Result<usize, String> {
    state.reset(zlib_header);
    loop {
        let read = usize::try_from(state.total_in()).unwrap_or(usize::MAX);
        if made.len() == made.capacity() {
            // One byte beyond the bound is enough to see that there is more.
            let room = (bytes_max + 1).saturating_sub(made.len()).min(STRIDE.max(made.len()).max(packed.len() * 4));
            made.reserve_exact(room);
        }
        let before = (state.total_in(), made.len());
        let status = state
            .decompress_vec(packed.get(read..).unwrap_or_default(), made, FlushDecompress::None)
            .map_err(|error| error.to_string())?;
        if made.len() > bytes_max {
            return Err(too_much(bytes_max));
        }
        match status {
            Status::StreamEnd => return Ok(usize::try_from(state.total_in()).unwrap_or(usize::MAX)),
            // It has room and cannot go on: something is missing.
            _ if before == (state.total_in(), made.len()) && made.len() < made.capacity() => {
                return Err("ends in the middle".to_owned());
            }
            _ => {}
        }
    }
}

fn gunzip(state: &mut Decompress, packed: &[u8], made: &mut Vec<u8>, bytes_max: usize) -> Result<(), String> {
    let mut rest = packed;
    loop {
        rest = &rest[gzip_header(rest).ok_or("has no gzip header, or half of one")?..];
        let begin = made.len();
        rest = &rest[inflate(state, false, rest, made, bytes_max)?..];
        let (trailer, behind) = rest.split_first_chunk::<8>().ok_or("ends before its checksum")?;
        let mut crc = Crc::new();
        crc.update(&made[begin..]);
        let [check, size] = [&trailer[..4], &trailer[4..]]
            .map(|word| word.iter().rev().fold(0_u32, |number, byte| number << 8 | u32::from(*byte)));
        // `amount` is the length modulo 2^32, as the trailer has it.
        if (check, size) != (crc.sum(), crc.amount()) {
            return Err("its checksum is another".to_owned());
        }
        if behind.is_empty() {
            return Ok(());
        }
        rest = behind;
    }
}

/// How long a member's header is; none where it is none.
fn gzip_header(text: &[u8]) -> Option<usize> {
    let [0x1f, 0x8b, 8, flags, ..] = *text else { return None };
    let mut at = 10;
    if flags & 4 != 0 {
        at += 2 + usize::from(u16::from_le_bytes([*text.get(at)?, *text.get(at + 1)?]));
    }
    // A name and a comment, each up to a zero.
    for flag in [8, 16] {
        if flags & flag != 0 {
            at += text.get(at..)?.iter().position(|byte| *byte == 0)? + 1;
        }
    }
    if flags & 2 != 0 {
        at += 2;
    }
    (at <= text.len()).then_some(at)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};

    use super::*;

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn deflate(text: &[u8]) -> Vec<u8> {
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn zlib(text: &[u8]) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn what_was_packed_comes_out_as_it_was() {
        let mut decoder = Decoder::new(1 << 20);
        let mut random = fastrand::Rng::with_seed(3);
        for length in [0, 1, 7, 300, 70_000, 1 << 20] {
            let text: Vec<u8> = (0..length).map(|_| random.u8(b'a'..b'f')).collect();
            assert_eq!(decoder.decode(&[DecodeStep::Gzip], &gzip(&text)), Ok(&text[..]));
            assert_eq!(decoder.decode(&[DecodeStep::Zlib], &zlib(&text)), Ok(&text[..]));
            assert_eq!(decoder.decode(&[DecodeStep::Deflate], &deflate(&text)), Ok(&text[..]));
            let packed = base64::engine::general_purpose::STANDARD_NO_PAD.encode(deflate(&text));
            assert_eq!(
                decoder.decode(&[DecodeStep::Base64, DecodeStep::Deflate], packed.as_bytes()),
                Ok(&text[..]),
                "{length}"
            );
            assert_eq!(decoder.decode(&[], &text), Ok(&b""[..]), "no step gives nothing");
        }
        let two = [gzip(b"{\"a\":"), gzip(b"1}")].concat();
        assert_eq!(decoder.decode(&[DecodeStep::Gzip], &two), Ok(&b"{\"a\":1}"[..]), "several members are one text");
    }

    #[test]
    fn a_bomb_is_refused_before_it_has_gone_off() {
        let bomb = gzip(&vec![0; 64 << 20]);
        assert!(bomb.len() < 1 << 20);
        let mut decoder = Decoder::new(100_000);
        let error = decoder.decode(&[DecodeStep::Gzip], &bomb).unwrap_err();
        assert!(error.contains("gzip: gives more than 100000 bytes"), "{error}");
        assert!(decoder.made.capacity() + decoder.spare.capacity() < 1 << 20);
        assert!(decoder.decode(&[DecodeStep::Base64], &vec![b'A'; 200_000]).is_err());
        let exact = gzip(&vec![b'x'; 100_000]);
        assert_eq!(decoder.decode(&[DecodeStep::Gzip], &exact).map(<[u8]>::len), Ok(100_000));
    }

    #[test]
    fn what_is_damaged_is_refused_and_the_next_one_is_read() {
        let mut decoder = Decoder::new(1 << 20);
        let good = gzip(b"{\"ch\":\"market.btcusdt.trade.detail\"}");
        for at in 0..good.len() {
            assert!(decoder.decode(&[DecodeStep::Gzip], &good[..at]).is_err(), "{at} bytes of it");
            let mut bad = good.clone();
            bad[at] ^= 0x55;
            if let Ok(text) = decoder.decode(&[DecodeStep::Gzip], &bad) {
                // Time, system and hints of the header are not checked by anything.
                assert!(at < 10 && text.starts_with(b"{\"ch\""), "byte {at}");
            }
            assert!(decoder.decode(&[DecodeStep::Gzip], &good).is_ok());
        }
        assert!(decoder.decode(&[DecodeStep::Deflate], &[&deflate(b"7")[..], b"7"].concat()).is_err());
        assert!(decoder.decode(&[DecodeStep::Base64], b"a*b").is_err());
    }
}
