//! The frames that are looked at: the first of a recording, bounded.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;

use serde_json::Value;

use crate::recording::{Direction, RecordedFrame};

/// Messages that are looked at. Source: a guess; what cannot be told by so many is not told by more.
pub(super) const MESSAGES_MAX: usize = 10_000;
/// Their texts together. As trees they take about ten times that.
const TEXT_BYTES_MAX: usize = 16 << 20;
/// Frames of the client's that are looked at.
const SENT_MAX: usize = 1000;
/// The most that a packed frame may give.
const UNPACKED_MAX: u64 = 4 << 20;
/// Different texts that are no JSON.
const LITERALS_MAX: usize = 8;

/// One message of the provider's.
pub(super) struct Message {
    /// Its place among all.
    pub(super) number: usize,
    pub(super) value: Value,
    /// When it came, in seconds since 1970.
    pub(super) at: Option<f64>,
}

/// What is looked at.
#[derive(Default)]
pub(super) struct Sample {
    pub(super) url: Option<String>,
    /// What the client said, each text once, in order.
    pub(super) sent: Vec<String>,
    /// The same as JSON, where it is.
    pub(super) requests: Vec<Value>,
    pub(super) messages: Vec<Message>,
    /// Frames that are short texts and no JSON, and how often they came.
    pub(super) literals: BTreeMap<String, u64>,
    /// Frames that could not be read.
    pub(super) unreadable: u64,
    /// How binary frames are packed: `gzip`, `zlib`, `deflate`; empty: not at all.
    pub(super) packing: BTreeSet<&'static str>,
    pub(super) binary: u64,
    /// Whether the recording goes on behind it.
    pub(super) is_full: bool,
    bytes: usize,
}

impl Sample {
    /// Takes a frame; false: it wants no more.
    pub(super) fn take(&mut self, frame: RecordedFrame) -> bool {
        let RecordedFrame { at, direction, payload, is_binary } = frame;
        match direction {
            Direction::Open => self.url = self.url.take().or_else(|| String::from_utf8(payload).ok()),
            Direction::Close => {}
            Direction::Out => {
                if let Ok(text) = String::from_utf8(payload)
                    && !is_binary
                    && self.sent.len() < SENT_MAX
                    && !self.sent.contains(&text)
                {
                    self.requests.extend(serde_json::from_str::<Value>(&text));
                    self.sent.push(text);
                }
            }
            Direction::In => {
                if self.messages.len() >= MESSAGES_MAX || self.bytes >= TEXT_BYTES_MAX {
                    self.is_full = true;
                    return false;
                }
                self.binary += u64::from(is_binary);
                self.message(&payload, at.and_then(|at| at.parse().ok()), is_binary);
            }
        }
        true
    }

    fn message(&mut self, payload: &[u8], at: Option<f64>, is_binary: bool) {
        let unpacked = if is_binary { unpacked(payload) } else { None };
        let text = match &unpacked {
            Some((packing, text)) => {
                self.packing.insert(packing);
                &text[..]
            }
            None => payload,
        };
        self.bytes += text.len();
        match serde_json::from_slice::<Value>(text) {
            Ok(value) if value.is_object() || value.is_array() => {
                let number = self.messages.len();
                self.messages.push(Message { number, value, at });
            }
            _ => match std::str::from_utf8(text) {
                Ok(text)
                    if text.len() <= 32 && (self.literals.len() < LITERALS_MAX || self.literals.contains_key(text)) =>
                {
                    *self.literals.entry(text.to_owned()).or_default() += 1;
                }
                _ => self.unreadable += 1,
            },
        }
    }
}

/// What is inside of a binary frame that is packed, and how.
pub(super) fn unpacked(payload: &[u8]) -> Option<(&'static str, Vec<u8>)> {
    if serde_json::from_slice::<&serde_json::value::RawValue>(payload).is_ok() {
        return None;
    }
    let read = |reader: &mut dyn std::io::Read| {
        let mut text = Vec::new();
        reader.take(UNPACKED_MAX).read_to_end(&mut text).ok()?;
        serde_json::from_slice::<&serde_json::value::RawValue>(&text).is_ok().then_some(text)
    };
    let gzip = || Some(("gzip", read(&mut flate2::read::MultiGzDecoder::new(payload))?));
    let zlib = || Some(("zlib", read(&mut flate2::read::ZlibDecoder::new(payload))?));
    let deflate = || Some(("deflate", read(&mut flate2::read::DeflateDecoder::new(payload))?));
    gzip().or_else(zlib).or_else(deflate)
}
