//! CBOR as JSON, in the way of atproto's data model: bytes are `{"$bytes":"…"}` in base64, links `{"$link":"b…"}`.
//!
//! Written without recursion, so that no message's nesting can exhaust the stack, and straight from the frame into the text:
//! no tree is made.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use minicbor::data::{Tag, Type};
use minicbor::decode::{Decoder, Error};

/// How deep values may lie in each other. Source: what the scanner takes of JSON is 128, and bytes and links become an object,
/// as do the frame's two parts.
const DEPTH_MAX: usize = 120;

/// The tag of links: a content identifier, as bytes behind a zero. Source: IANA's registry of tags.
const LINK: u64 = 42;

const BASE32: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// A list or map that is being written.
struct Open {
    /// Elements, or members, still to come.
    left: u64,
    is_map: bool,
    /// Whether something stands before the next.
    begun: bool,
}

/// Appends the value at the decoder's place, as JSON. The error says why it has no JSON form; what was written by then is to be
/// dropped.
pub(super) fn put_value(decoder: &mut Decoder<'_>, out: &mut Vec<u8>) -> Result<(), String> {
    let mut open: Vec<Open> = Vec::new();
    loop {
        // Where the innermost list has all, it ends, and with it perhaps those around it.
        while let Some(innermost) = open.last_mut() {
            if innermost.left > 0 {
                innermost.left -= 1;
                if std::mem::replace(&mut innermost.begun, true) {
                    out.push(b',');
                }
                if innermost.is_map {
                    put_name(decoder, out)?;
                }
                break;
            }
            out.push(if innermost.is_map { b'}' } else { b']' });
            open.pop();
            if open.is_empty() {
                return Ok(());
            }
        }
        match decoder.datatype().map_err(damaged)? {
            Type::Map | Type::Array if open.len() == DEPTH_MAX => {
                return Err(format!("is nested more than {DEPTH_MAX} deep"));
            }
            Type::Map => {
                let left = decoder.map().map_err(damaged)?.ok_or("has a map of unknown length")?;
                open.push(Open { left, is_map: true, begun: false });
                out.push(b'{');
            }
            Type::Array => {
                let left = decoder.array().map_err(damaged)?.ok_or("has a list of unknown length")?;
                open.push(Open { left, is_map: false, begun: false });
                out.push(b'[');
            }
            scalar => put_scalar(scalar, decoder, out)?,
        }
        if open.is_empty() {
            return Ok(());
        }
    }
}

fn put_name(decoder: &mut Decoder<'_>, out: &mut Vec<u8>) -> Result<(), String> {
    match decoder.datatype().map_err(damaged)? {
        Type::String => put_string(decoder.str().map_err(damaged)?, out),
        other => return Err(format!("has a map whose name is no text but {other}")),
    }
    out.push(b':');
    Ok(())
}

fn put_scalar(kind: Type, decoder: &mut Decoder<'_>, out: &mut Vec<u8>) -> Result<(), String> {
    match kind {
        Type::String => put_string(decoder.str().map_err(damaged)?, out),
        Type::Bytes => {
            out.extend_from_slice(br#"{"$bytes":""#);
            put_base64(decoder.bytes().map_err(damaged)?, out);
            out.extend_from_slice(b"\"}");
        }
        Type::Tag => match decoder.tag().map_err(damaged)? {
            tag if tag == Tag::new(LINK) => put_link(decoder, out)?,
            tag => return Err(format!("has a value of tag {}, of which only {LINK} is known", tag.as_u64())),
        },
        Type::Bool => out.extend_from_slice(if decoder.bool().map_err(damaged)? { b"true" } else { b"false" }),
        Type::Null => {
            decoder.null().map_err(damaged)?;
            out.extend_from_slice(b"null");
        }
        Type::F16 | Type::F32 | Type::F64 => {
            let number = decoder.f64().map_err(damaged)?;
            if !number.is_finite() {
                return Err(format!("has the number {number}, which JSON has not"));
            }
            // As a float, whatever it says: `1.0` and `1` are two things in this model.
            out.extend_from_slice(format!("{number:?}").as_bytes());
        }
        Type::U8 | Type::U16 | Type::U32 | Type::U64 => {
            let mut digits = itoa(u128::from(decoder.u64().map_err(damaged)?));
            out.append(&mut digits);
        }
        Type::I8 | Type::I16 | Type::I32 | Type::I64 | Type::Int => {
            let number = i128::from(decoder.int().map_err(damaged)?);
            if number < 0 {
                out.push(b'-');
            }
            out.append(&mut itoa(number.unsigned_abs()));
        }
        other => return Err(format!("has a value of kind {other}, which has no JSON form")),
    }
    Ok(())
}

fn itoa(number: u128) -> Vec<u8> {
    number.to_string().into_bytes()
}

fn put_link(decoder: &mut Decoder<'_>, out: &mut Vec<u8>) -> Result<(), String> {
    let bytes = match decoder.datatype().map_err(damaged)? {
        Type::Bytes => decoder.bytes().map_err(damaged)?,
        other => return Err(format!("has a link that is no bytes but {other}")),
    };
    let Some((0, identifier)) = bytes.split_first() else {
        return Err("has a link that does not begin with a zero".to_owned());
    };
    out.extend_from_slice(br#"{"$link":"b"#);
    put_base32(identifier, out);
    out.extend_from_slice(b"\"}");
    Ok(())
}

/// In lower case and without padding, RFC 4648.
fn put_base32(bytes: &[u8], out: &mut Vec<u8>) {
    for five in bytes.chunks(5) {
        let word = five.iter().enumerate().fold(0_u64, |word, (at, byte)| word | u64::from(*byte) << (32 - 8 * at));
        for letter in 0..(five.len() * 8).div_ceil(5) {
            out.push(BASE32[(word >> (35 - 5 * letter) & 31) as usize]);
        }
    }
}

fn put_base64(bytes: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    out.resize(start + bytes.len().div_ceil(3) * 4, 0);
    let written =
        STANDARD_NO_PAD.encode_slice(bytes, &mut out[start..]).expect("four letters for three bytes are enough");
    out.truncate(start + written);
}

fn put_string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    let mut rest = text.as_bytes();
    while let Some(at) = rest.iter().position(|byte| matches!(byte, b'"' | b'\\') || *byte < 0x20) {
        out.extend_from_slice(&rest[..at]);
        match rest[at] {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            control => out.extend_from_slice(format!("\\u{control:04x}").as_bytes()),
        }
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

#[expect(clippy::needless_pass_by_value, reason = "it is what `map_err` hands over")]
fn damaged(error: Error) -> String {
    format!("is no CBOR: {error}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(cbor: &[u8]) -> Result<String, String> {
        let mut out = Vec::new();
        put_value(&mut Decoder::new(cbor), &mut out).map(|()| String::from_utf8(out).unwrap())
    }

    #[test]
    fn every_kind_of_value_has_its_json_form() {
        for (cbor, expected) in [
            (&b"\xa0"[..], "{}"),
            (b"\x80", "[]"),
            (b"\xa2\x61a\x01\x61b\x82\x80\xa1\x61c\xf6", r#"{"a":1,"b":[[],{"c":null}]}"#),
            (b"\x1b\xff\xff\xff\xff\xff\xff\xff\xff", "18446744073709551615"),
            (b"\x3b\xff\xff\xff\xff\xff\xff\xff\xff", "-18446744073709551616"),
            (b"\x20", "-1"),
            (b"\xf5", "true"),
            (b"\xf9\x3c\x00", "1.0"),
            (b"\xfb\x7f\xef\xff\xff\xff\xff\xff\xff", "1.7976931348623157e308"),
            (b"\x67\"\\\n\x01\xc3\xa9x", "\"\\\"\\\\\\n\\u0001\u{e9}x\""),
            (b"\x40", r#"{"$bytes":""}"#),
            (b"\x42\x00\xff", r#"{"$bytes":"AP8"}"#),
        ] {
            assert_eq!(json(cbor).as_deref(), Ok(expected), "{cbor:02x?}");
        }
    }

    /// The identifier of an empty block of kind dag-cbor, whose text is published with the format.
    #[test]
    fn a_link_is_the_text_that_others_write_for_it() {
        let digest = "01711220a3b7d0d4e2b4ee0c4b0d6bd1a3bcd1f7ae8e1ea6e1ab0a3ec5a3c5c5a5a5a5a5";
        let bytes: Vec<u8> = (0..36).map(|at| u8::from_str_radix(&digest[2 * at..2 * at + 2], 16).unwrap()).collect();
        let mut cbor = vec![0xd8, 42, 0x58, 37, 0];
        cbor.extend(bytes);
        let text = json(&cbor).unwrap();
        assert!(text.starts_with(r#"{"$link":"bafyrei"#) && text.len() == r#"{"$link":"b"}"#.len() + 58, "{text}");
    }

    #[test]
    fn what_has_no_json_form_is_refused_with_the_reason() {
        for (cbor, reason) in [
            (&b""[..], "is no CBOR"),
            (b"\xa1\x01\x01", "whose name is no text"),
            (b"\xa2\x61a\x01", "is no CBOR"),
            (b"\x9b\xff\xff\xff\xff\xff\xff\xff\xff\x01", "is no CBOR"),
            (b"\x9f\x01\xff", "no JSON form"),
            (b"\xbf\xff", "no JSON form"),
            (b"\xf9\x7e\x00", "NaN"),
            (b"\xf7", "no JSON form"),
            (b"\xc1\x01", "of tag 1"),
            (b"\xd8\x2a\x01", "a link that is no bytes"),
            (b"\xd8\x2a\x41\x01", "does not begin with a zero"),
            (b"\x62\xff\xfe", "is no CBOR"),
        ] {
            let said = json(cbor).unwrap_err();
            assert!(said.contains(reason), "{cbor:02x?}: {said}");
        }
    }

    #[test]
    fn nesting_is_bounded() {
        let nested = |depth: usize| [vec![0x81; depth], vec![0x80]].concat();
        assert!(json(&nested(DEPTH_MAX - 1)).is_ok());
        assert!(json(&nested(DEPTH_MAX)).unwrap_err().contains("nested"));
        assert!(json(&nested(1_000_000)).unwrap_err().contains("nested"));
    }
}
