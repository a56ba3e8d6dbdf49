//! A payload where only text has a place: columns of a store, a table on a terminal.
//!
//! A payload that is UTF-8 stands as it is. Any other stands as `{"$bytes":"…"}`, its bytes in base64 (with padding), which is JSON
//! as well and can be told from every payload that is text.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

const BEFORE: &str = "{\"$bytes\":\"";
const BEHIND: &str = "\"}";

/// A payload as text.
pub fn payload_text(payload: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(payload) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => Cow::Owned(format!("{BEFORE}{}{BEHIND}", STANDARD.encode(payload))),
    }
}

/// The payload that stands as this text, where that is not the text itself. A store may have put blanks between the tokens.
pub fn payload_of_text(text: &[u8]) -> Option<Vec<u8>> {
    let inside =
        text.strip_prefix(b"{\"$bytes\":")?.trim_ascii_start().strip_prefix(b"\"")?.strip_suffix(BEHIND.as_bytes())?;
    // One that is UTF-8 stood there by itself.
    STANDARD.decode(inside).ok().filter(|payload| std::str::from_utf8(payload).is_err())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_text_is_marked_and_comes_back_to_the_byte() {
        assert_eq!(payload_text(b"{\"a\":1}"), "{\"a\":1}");
        let frame = [0xa2, 0x00, 0xff];
        let text = payload_text(&frame);
        assert_eq!(text, r#"{"$bytes":"ogD/"}"#);
        assert_eq!(payload_of_text(text.as_bytes()).as_deref(), Some(&frame[..]));
        assert_eq!(payload_of_text(br#"{"$bytes": "ogD/"}"#).as_deref(), Some(&frame[..]), "as jsonb writes it");
    }

    #[test]
    fn a_text_that_looks_like_the_mark_is_itself() {
        for text in [r#"{"$bytes":"YWJj"}"#, r#"{"$bytes":"?"}"#, r#"{"$bytes":"ogD/","a":1}"#, "{}"] {
            assert_eq!(payload_of_text(text.as_bytes()), None, "{text}");
        }
    }
}
