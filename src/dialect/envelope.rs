//! What goes around a message of a protocol that is no JSON, so that monitors can point into all of it.
//!
//! An envelope is a JSON object: what the protocol says of the message by its own names, and the message itself, under
//! `payload` where it is JSON (to the byte), else under `text` where it is UTF-8, else under `base64`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::scanner::{Fields, PointerSet, Utf8};

/// A buffer for envelopes, one after the other.
#[derive(Debug)]
pub(crate) struct Envelope {
    text: Vec<u8>,
    nothing: PointerSet,
    fields: Fields,
}

impl Default for Envelope {
    fn default() -> Self {
        Self { text: Vec::new(), nothing: PointerSet::new(&[]), fields: Fields::default() }
    }
}

impl Envelope {
    /// Begins an envelope.
    pub(crate) fn begin(&mut self) -> &mut Self {
        self.text.clear();
        self.text.push(b'{');
        self
    }

    fn name(&mut self, name: &str) {
        if self.text.len() > 1 {
            self.text.push(b',');
        }
        self.text.push(b'"');
        self.text.extend_from_slice(name.as_bytes());
        self.text.extend_from_slice(b"\":");
    }

    /// A member that is a text.
    pub(crate) fn text(&mut self, name: &str, text: &str) -> &mut Self {
        self.name(name);
        write_string(&mut self.text, text);
        self
    }

    /// A member whose name is none of ours.
    pub(crate) fn named(&mut self, name: &str, text: &str) -> &mut Self {
        if self.text.len() > 1 {
            self.text.push(b',');
        }
        write_string(&mut self.text, name);
        self.text.push(b':');
        write_string(&mut self.text, text);
        self
    }

    /// A member that is a number, `true`, or JSON already.
    pub(crate) fn plain(&mut self, name: &str, value: impl std::fmt::Display) -> &mut Self {
        use std::io::Write as _;
        self.name(name);
        write!(self.text, "{value}").expect("a vector takes everything");
        self
    }

    /// The message itself. An empty one is left out.
    pub(crate) fn payload(&mut self, bytes: &[u8]) -> &mut Self {
        if bytes.is_empty() {
            return self;
        }
        let looks_like_json =
            matches!(bytes.trim_ascii().first(), Some(b'{' | b'[' | b'"' | b'-' | b't' | b'f' | b'n' | b'0'..=b'9'));
        if looks_like_json && self.nothing.scan(bytes, Utf8::Unchecked, &mut self.fields).is_ok() {
            self.name("payload");
            self.text.extend_from_slice(bytes);
        } else if let Ok(text) = std::str::from_utf8(bytes) {
            self.text("text", text);
        } else {
            let encoded = STANDARD.encode(bytes);
            self.text("base64", &encoded);
        }
        self
    }

    /// The whole.
    pub(crate) fn end(&mut self) -> &[u8] {
        self.text.push(b'}');
        &self.text
    }
}

fn write_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0..=0x1f => {
                const HEX: &[u8; 16] = b"0123456789abcdef";
                out.extend_from_slice(&[
                    b'\\',
                    b'u',
                    b'0',
                    b'0',
                    HEX[usize::from(byte >> 4)],
                    HEX[usize::from(byte & 15)],
                ]);
            }
            _ => out.push(byte),
        }
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_that_is_json_is_kept_to_the_byte_and_any_other_as_text_or_base64() {
        let mut envelope = Envelope::default();
        let mut shown = |payload: &[u8]| {
            String::from_utf8(envelope.begin().text("t", "a\"\\\n\u{1}é").plain("n", 7).payload(payload).end().to_vec())
                .unwrap()
        };
        let begin = r#"{"t":"a\"\\\n\u0001é","n":7"#;
        assert_eq!(shown(br#"{"a": 1.50}"#), format!(r#"{begin},"payload":{{"a": 1.50}}}}"#));
        assert_eq!(shown(b"1},{"), format!(r#"{begin},"text":"1}},{{"}}"#), "nothing closes the envelope but we");
        assert_eq!(shown(b"true story"), format!(r#"{begin},"text":"true story"}}"#));
        assert_eq!(shown(b"\xff\x00"), format!(r#"{begin},"base64":"/wA="}}"#));
        assert_eq!(shown(b""), format!("{begin}}}"));
        for payload in [&b"{}"[..], b"x", b"\xff", b""] {
            let text = shown(payload);
            serde_json::from_str::<serde_json::Value>(&text).unwrap_or_else(|error| panic!("{text}: {error}"));
        }
    }
}
