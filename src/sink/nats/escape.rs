//! Texts in the places that NATS has for them: header values and tokens of a subject. What cannot stand there is written as in
//! addresses, `%` and two hexadecimal digits for each byte; `%` itself is `%25`. So the text can be read back.

/// The token of a text that is empty or not there; no other text has it.
const NOTHING: &str = "%";

/// A header's value: printable ASCII. Spaces at its ends would be trimmed by readers, so they are escaped too.
pub(super) fn header_value(text: &str, into: &mut String) {
    let last = text.len().saturating_sub(1);
    push(text, into, |at, byte| match byte {
        b' ' => at != 0 && at != last,
        b'%' => false,
        _ => byte.is_ascii_graphic(),
    });
}

/// A token of a subject: printable ASCII without what subjects give a meaning to.
pub(super) fn token(text: &str, into: &mut String) {
    if text.is_empty() {
        return into.push_str(NOTHING);
    }
    push(text, into, |_, byte| byte.is_ascii_graphic() && !matches!(byte, b'.' | b'*' | b'>' | b'$' | b'%'));
}

fn push(text: &str, into: &mut String, stands: impl Fn(usize, u8) -> bool) {
    // Most texts are plain: they are taken as a whole.
    if text.bytes().enumerate().all(|(at, byte)| stands(at, byte)) {
        return into.push_str(text);
    }
    for (at, byte) in text.bytes().enumerate() {
        if stands(at, byte) {
            into.push(char::from(byte));
        } else {
            const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
            into.push('%');
            into.push(char::from(DIGITS[usize::from(byte >> 4)]));
            into.push(char::from(DIGITS[usize::from(byte & 15)]));
        }
    }
}

/// The text that was escaped; none if this is none of ours.
pub(super) fn unescape(escaped: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(escaped.len());
    let mut rest = escaped.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let mut digit = || char::from(rest.next()?).to_digit(16);
            let (high, low) = (digit()?, digit()?);
            bytes.push(u8::try_from(high << 4 | low).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn as_token(text: &str) -> String {
        let mut escaped = String::new();
        token(text, &mut escaped);
        escaped
    }

    fn as_value(text: &str) -> String {
        let mut escaped = String::new();
        header_value(text, &mut escaped);
        escaped
    }

    #[test]
    fn a_token_has_nothing_that_subjects_give_a_meaning_to() {
        assert_eq!(as_token("spot-trades"), "spot-trades");
        assert_eq!(as_token("BTC/USD"), "BTC/USD");
        assert_eq!(as_token("v1.trades *>"), "v1%2Etrades%20%2A%3E");
        assert_eq!(as_token("$JS"), "%24JS");
        assert_eq!(as_token("Zürich\r\n"), "Z%C3%BCrich%0D%0A");
        assert_eq!(as_token(""), "%");
        assert_eq!(as_token("%"), "%25");
    }

    #[test]
    fn a_header_value_has_no_line_of_its_own_and_comes_back_as_it_was() {
        assert_eq!(as_value("trades of BTC"), "trades of BTC");
        assert_eq!(as_value("a\r\nNats-Rollup: all"), "a%0D%0ANats-Rollup: all");
        for text in ["", " a ", " ", "100 %", "ключ", "\0\u{7f}", "a%20b"] {
            let escaped = as_value(text);
            assert!(escaped.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()), "{escaped}");
            assert_eq!(escaped.trim(), escaped);
            assert_eq!(unescape(&escaped).as_deref(), Some(text));
        }
        assert_eq!(unescape("%2"), None);
        assert_eq!(unescape("%FF"), None, "not UTF-8");
    }
}
