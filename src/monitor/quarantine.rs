//! Frames that could not be read: kept raw, with the reason, up to a rate.

use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::clock::UnixNanos;
use crate::config::QuarantineSettings;

/// The topic of quarantined frames in the journal, under the domain `_sluice`.
pub const QUARANTINE_TOPIC: &str = "quarantine";

/// A frame, or a part of one, that could not be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quarantined {
    /// The monitor it was for, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub monitor: Option<String>,
    /// The upstream it came from.
    pub upstream: String,
    /// The topic it was for, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
    /// Why it could not be read.
    pub reason: String,
    /// Bytes of the whole frame.
    pub bytes: u64,
    /// The raw text; absent when it is not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frame: Option<String>,
    /// The raw bytes in base64, when they are not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frame_base64: Option<String>,
    /// Of an element of an `each` rule: what stood before and behind it in its message, without the other elements. With
    /// these around it, it is a message of its own again, in which `frame:` pointers find what they did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub envelope: Option<[String; 2]>,
}

impl Quarantined {
    /// Keeps `raw` as text where it is one. Of more than `keep` bytes the first are kept; `bytes` tells how many there were.
    #[must_use]
    pub fn with_frame(mut self, raw: &[u8], keep: usize) -> Self {
        use base64::Engine as _;
        self.bytes = raw.len() as u64;
        let mut kept = &raw[..raw.len().min(keep)];
        if let Err(error) = std::str::from_utf8(kept)
            && kept.len() < raw.len()
            && error.error_len().is_none()
        {
            // The cut went through a character.
            kept = &kept[..error.valid_up_to()];
        }
        match std::str::from_utf8(kept) {
            Ok(text) => self.frame = Some(text.to_owned()),
            Err(_) => self.frame_base64 = Some(base64::engine::general_purpose::STANDARD.encode(kept)),
        }
        self
    }

    /// The message to be parsed again: the frame to the byte, within its envelope where it has one.
    ///
    /// # Errors
    /// Why there is none, for people: it was not kept, or not all of it.
    pub fn message(&self) -> Result<Vec<u8>, String> {
        use base64::Engine as _;
        let raw = match (&self.frame, &self.frame_base64) {
            (Some(text), _) => text.clone().into_bytes(),
            (None, Some(encoded)) => base64::engine::general_purpose::STANDARD
                .decode(encoded)
                .map_err(|error| format!("what was kept of it cannot be decoded: {error}"))?,
            (None, None) => Vec::new(),
        };
        if raw.is_empty() {
            return Err("nothing of it was kept".to_owned());
        }
        if (raw.len() as u64) < self.bytes {
            return Err(format!("cut: it had {} bytes, of which {} were kept", self.bytes, raw.len()));
        }
        Ok(match &self.envelope {
            Some([before, behind]) => [before.as_bytes(), &raw, behind.as_bytes()].concat(),
            None => raw,
        })
    }

    /// The journal's payload.
    pub fn to_payload(&self) -> Vec<u8> {
        // Strings and numbers only: serialization has nothing to refuse.
        serde_json::to_vec(self).unwrap_or_default()
    }
}

/// How many raw bytes of a monitor may still be kept. Refilled by time; a burst may use ten seconds' worth.
#[derive(Debug)]
pub struct QuarantineBudget {
    bytes_per_second: u64,
    state: Mutex<(u64, UnixNanos)>,
}

/// What keeping a frame costs beside its own bytes: names and reason. So that a flood of empty frames has a bound too.
const FRAME_OVERHEAD_BYTES: u64 = 256;

/// Seconds of the rate that may be used at once.
const BURST_SECONDS: u64 = 10;

impl QuarantineBudget {
    /// A full budget.
    pub fn new(settings: &QuarantineSettings) -> Self {
        let bytes_per_second = settings.bytes_per_second.0;
        Self { bytes_per_second, state: Mutex::new((bytes_per_second * BURST_SECONDS, UnixNanos(0))) }
    }

    /// Takes a frame of `bytes` from the budget, if it has them.
    pub fn take(&self, bytes: u64, now: UnixNanos) -> bool {
        let bytes = bytes + FRAME_OVERHEAD_BYTES;
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (left, since) = *state;
        let millis = u64::try_from(now.since(since).as_millis()).unwrap_or(u64::MAX);
        let refill = self.bytes_per_second.saturating_mul(millis) / 1000;
        let left = left.saturating_add(refill).min(self.bytes_per_second.saturating_mul(BURST_SECONDS));
        let since = if refill > 0 || since.0 == 0 { now } else { since };
        let granted = left >= bytes;
        *state = (if granted { left - bytes } else { left }, since);
        granted
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ByteSize;

    fn frame(raw: &[u8], keep: usize) -> Quarantined {
        let empty = Quarantined {
            monitor: None,
            upstream: "u".into(),
            topic: None,
            reason: "r".into(),
            bytes: 0,
            frame: None,
            frame_base64: None,
            envelope: None,
        };
        empty.with_frame(raw, keep)
    }

    #[test]
    fn text_is_kept_as_text_and_anything_else_to_the_byte() {
        assert_eq!(frame(b"{\"a\":", 100).frame.as_deref(), Some("{\"a\":"));
        assert_eq!(frame(&[0xff, 0x00], 100).frame_base64.as_deref(), Some("/wA="));
        assert_eq!(frame("aé".as_bytes(), 2).frame.as_deref(), Some("a"), "a cut never goes through a character");
        assert_eq!(frame(b"abcdef", 2).bytes, 6);
    }

    #[test]
    fn what_was_kept_whole_can_be_parsed_again_and_what_was_cut_says_so() {
        assert_eq!(frame(b"{\"a\":", 100).message().as_deref(), Ok(&b"{\"a\":"[..]));
        assert_eq!(frame(&[0xff, 0x00], 100).message().as_deref(), Ok(&[0xff, 0x00][..]));
        assert!(frame(b"abcdef", 2).message().unwrap_err().contains("6 bytes, of which 2"));
        assert!(frame(b"", 2).message().unwrap_err().contains("nothing"));
        let element = Quarantined { envelope: Some(["{\"data\":[".into(), "]}".into()]), ..frame(b"7", 100) };
        assert_eq!(element.message().as_deref(), Ok(&b"{\"data\":[7]}"[..]));
    }

    #[test]
    fn beyond_the_rate_frames_are_only_counted_until_time_passes() {
        let settings = QuarantineSettings { bytes_per_second: ByteSize(1000), ..QuarantineSettings::default() };
        let budget = QuarantineBudget::new(&settings);
        let at = |seconds: i64| UnixNanos(1_000_000_000 * (1_000 + seconds));
        assert!(budget.take(10_000 - FRAME_OVERHEAD_BYTES, at(0)));
        assert!(!budget.take(0, at(0)));
        assert!(budget.take(1000 - FRAME_OVERHEAD_BYTES, at(1)));
        assert!(!budget.take(0, at(1)), "an empty frame costs something too");
        assert!(budget.take(10_000 - FRAME_OVERHEAD_BYTES, at(60)));
    }
}
