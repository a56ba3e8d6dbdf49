//! An event stream of the AT protocol. All of it is one topic, `*`; messages are made as JSON, in the way in which the daemon's
//! dialect reads them, and become CBOR on their way out, by an encoder of its own.

use std::fmt::Write as _;

use base64::Engine as _;
use serde_json::Value;

use super::market::{Market, hex};
use super::{Desk, Draft, Greeting, Moment, Series, Speaker};

const STREAM: &str = "*";

#[derive(Debug)]
pub(super) struct AtprotoSpeaker;

impl Speaker for AtprotoSpeaker {
    fn greet(&mut self, Greeting { target, .. }: &Greeting, desk: &mut Desk<'_>) {
        let cursor = target.split(['?', '&']).find_map(|pair| pair.strip_prefix("cursor=")?.parse::<u64>().ok());
        // What comes again begins behind the cursor.
        desk.resume(vec![STREAM.to_owned()], "", cursor.map(|cursor| cursor + 1), None);
    }

    fn hear(&mut self, _text: &str, _desk: &mut Desk<'_>) {}
}

struct Commits(Market);

pub(super) fn series(topic: &str, seed: u64, first_id: u64) -> Option<Box<dyn Series>> {
    (topic == STREAM).then(|| Box::new(Commits(Market::new(topic, "", seed, first_id))) as _)
}

impl Series for Commits {
    fn next(&mut self, moment: Moment) -> Draft {
        let Self(market) = self;
        let id = market.next_id();
        let account = format!("did:plc:{}", &hex(id % 500, 12)[2..]);
        let time = moment.rfc3339();
        let mut draft = Draft { position: Some(id), ..Draft::new() };
        if market.rng.u8(0..8) == 0 {
            draft.text.push_str(r##"{"header":{"t":"#identity","op":1},"body":{"seq":"##);
            draft.push_id(&id.to_string(), false);
            _ = write!(draft.text, r#","did":"{account}","time":"{time}"}}}}"#);
            return draft;
        }
        draft.text.push_str(r##"{"header":{"t":"#commit","op":1},"body":{"seq":"##);
        draft.push_id(&id.to_string(), false);
        let bytes = |count: usize, seed: u64| {
            let digits = hex(seed, count);
            (1..=count).map(|at| u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).unwrap_or(0)).collect::<Vec<u8>>()
        };
        let blocks = base64::engine::general_purpose::STANDARD_NO_PAD.encode(bytes(300, id));
        let link = base32(&[&[1, 0x71, 0x12, 0x20][..], &bytes(32, id ^ 1)].concat());
        _ = write!(
            draft.text,
            r#","repo":"{account}","rev":"{}","since":null,"time":"{time}","tooBig":false,"rebase":false,"blobs":[],"commit":{{"$link":"b{link}"}},"ops":[{{"action":"create","path":"app.bsky.feed.like/3s{id}","cid":{{"$link":"b{link}"}}}}],"blocks":{{"$bytes":"{blocks}"}}}}}}"#,
            &hex(id, 6)[2..]
        );
        draft
    }
}

fn base32(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let bit = |at: usize| bytes.get(at / 8).map_or(0, |byte| byte >> (7 - at % 8) & 1);
    let groups =
        (0..(bytes.len() * 8).div_ceil(5)).map(|group| (0..5).fold(0, |word, at| word << 1 | bit(5 * group + at)));
    groups.map(|group| char::from(LETTERS[usize::from(group)])).collect()
}

fn unbase32(text: &str) -> Option<Vec<u8>> {
    let (mut bytes, mut word, mut bits) = (Vec::new(), 0_u32, 0);
    for letter in text.bytes() {
        let value = match letter {
            b'a'..=b'z' => letter - b'a',
            b'2'..=b'7' => letter - b'2' + 26,
            _ => return None,
        };
        word = word << 5 | u32::from(value);
        bits += 5;
        if bits >= 8 {
            bits -= 8;
            bytes.push(u8::try_from(word >> bits & 0xff).unwrap_or(0));
        }
    }
    Some(bytes)
}

/// The two objects of a message; none where its text is no longer one.
pub(super) fn frame(text: &[u8]) -> Option<Vec<u8>> {
    let message: Value = serde_json::from_slice(text).ok()?;
    let mut out = Vec::new();
    put(message.get("header")?, &mut out)?;
    put(message.get("body")?, &mut out)?;
    Some(out)
}

/// Appends a value. What is made here is shallow, and what faults make of it is bounded by the JSON parser.
fn put(value: &Value, out: &mut Vec<u8>) -> Option<()> {
    match value {
        Value::Null => out.push(0xf6),
        Value::Bool(value) => out.push(if *value { 0xf5 } else { 0xf4 }),
        Value::Number(number) => put_head(0, number.as_u64()?, out),
        Value::String(text) => {
            put_head(3, text.len() as u64, out);
            out.extend_from_slice(text.as_bytes());
        }
        Value::Array(elements) => {
            put_head(4, elements.len() as u64, out);
            for element in elements {
                put(element, out)?;
            }
        }
        Value::Object(members) => {
            if let Some(Value::String(text)) = members.get("$bytes") {
                let bytes = base64::engine::general_purpose::STANDARD_NO_PAD.decode(text).ok()?;
                put_head(2, bytes.len() as u64, out);
                out.extend_from_slice(&bytes);
            } else if let Some(Value::String(text)) = members.get("$link") {
                let bytes = unbase32(text.strip_prefix('b')?)?;
                out.extend_from_slice(&[0xd8, 42]);
                put_head(2, bytes.len() as u64 + 1, out);
                out.push(0);
                out.extend_from_slice(&bytes);
            } else {
                put_head(5, members.len() as u64, out);
                for (name, value) in members {
                    put(&Value::from(name.as_str()), out)?;
                    put(value, out)?;
                }
            }
        }
    }
    Some(())
}

/// Appends a value's kind and its length, or itself.
fn put_head(kind: u8, number: u64, out: &mut Vec<u8>) {
    let kind = kind << 5;
    match number {
        0..24 => out.push(kind | number.to_be_bytes()[7]),
        24..0x100 => out.extend_from_slice(&[kind + 24, number.to_be_bytes()[7]]),
        0x100..0x1_0000 => {
            out.push(kind + 25);
            out.extend_from_slice(&number.to_be_bytes()[6..]);
        }
        0x1_0000..0x1_0000_0000 => {
            out.push(kind + 26);
            out.extend_from_slice(&number.to_be_bytes()[4..]);
        }
        _ => {
            out.push(kind + 27);
            out.extend_from_slice(&number.to_be_bytes());
        }
    }
}
