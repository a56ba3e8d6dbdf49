//! One value as it stands in a text, read without building anything.

use std::borrow::Cow;

/// What kind of value a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TokenKind {
    /// `null`
    Null,
    /// `true` or `false`
    Bool,
    /// A number.
    Number,
    /// A string.
    String,
    /// An array.
    Array,
    /// An object.
    Object,
}

/// A value's raw bytes, as a scan found them: strings with their quotes and escapes, containers whole. Equality is that
/// of the bytes, so `1` is neither `"1"` nor `1.0`.
///
/// Made of anything else than a span of a validated text it does not panic, but says nothing of use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Token<'a>(&'a [u8]);

impl<'a> Token<'a> {
    /// A token of the bytes that a [`Span`](super::Span) marks.
    pub fn new(raw: &'a [u8]) -> Self {
        Self(raw)
    }

    /// The bytes as they stand in the text.
    pub fn raw(self) -> &'a [u8] {
        self.0
    }

    /// What it is, which its first byte tells.
    pub fn kind(self) -> TokenKind {
        match self.0.first() {
            Some(b'"') => TokenKind::String,
            Some(b'{') => TokenKind::Object,
            Some(b'[') => TokenKind::Array,
            Some(b't' | b'f') => TokenKind::Bool,
            Some(b'n') | None => TokenKind::Null,
            Some(_) => TokenKind::Number,
        }
    }

    /// Whether it is `null`, which most readers treat as absent.
    pub fn is_null(self) -> bool {
        self.kind() == TokenKind::Null
    }

    /// A string's characters; none for other kinds.
    pub fn as_str(self) -> Option<Cow<'a, str>> {
        let inner = self.string_inner()?;
        if memchr::memchr(b'\\', inner).is_none() {
            return std::str::from_utf8(inner).ok().map(Cow::Borrowed);
        }
        let mut decoded = Vec::with_capacity(inner.len());
        for piece in Unescaped::new(inner) {
            decoded.extend_from_slice(piece.bytes());
        }
        String::from_utf8(decoded).ok().map(Cow::Owned)
    }

    /// What a person would call the value: strings without their quotes and escapes, others as they stand.
    pub fn text(self) -> Cow<'a, str> {
        self.as_str().unwrap_or_else(|| String::from_utf8_lossy(self.0))
    }

    /// Whether [`Token::text`] is the given one, without building it.
    pub fn same_text(self, other: &str) -> bool {
        let Some(inner) = self.string_inner() else { return self.0 == other.as_bytes() };
        // Only a string with escapes can be longer than its text.
        inner == other.as_bytes() && !other.contains('\\')
            || inner.len() > other.len() && Unescaped::new(inner).equals(other.as_bytes())
    }

    /// The number, if it is a whole one spelt without point and exponent, and in range.
    pub fn as_i64(self) -> Option<i64> {
        self.number()?.parse().ok()
    }

    /// As [`Token::as_i64`], for numbers without a sign.
    pub fn as_u64(self) -> Option<u64> {
        self.number()?.parse().ok()
    }

    fn number(self) -> Option<&'a str> {
        if self.kind() == TokenKind::Number { std::str::from_utf8(self.0).ok() } else { None }
    }

    fn string_inner(self) -> Option<&'a [u8]> {
        self.0.strip_prefix(b"\"")?.strip_suffix(b"\"")
    }
}

/// Decodes what is between a string's quotes, piece by piece.
pub(super) struct Unescaped<'a> {
    rest: &'a [u8],
}

pub(super) enum Piece<'a> {
    Plain(&'a [u8]),
    Decoded { utf8: [u8; 4], length: usize },
}

impl<'a> Unescaped<'a> {
    pub(super) fn new(inner: &'a [u8]) -> Self {
        Self { rest: inner }
    }

    /// Whether the decoded bytes are the given ones.
    pub(super) fn equals(self, mut other: &[u8]) -> bool {
        for piece in self {
            match other.strip_prefix(piece.bytes()) {
                Some(rest) => other = rest,
                None => return false,
            }
        }
        other.is_empty()
    }

    /// The character of a `\u` escape whose digits are next, and of its other half.
    fn code_point(&mut self) -> char {
        let high = self.code_unit();
        let code_point = match high {
            0xD800..=0xDBFF if self.rest.starts_with(b"\\u") => {
                self.rest = &self.rest[2..];
                0x1_0000 + ((high - 0xD800) << 10) + (self.code_unit().wrapping_sub(0xDC00) & 0x3FF)
            }
            unit => unit,
        };
        // Only a lone half is no character, and a scan lets none through.
        char::from_u32(code_point).unwrap_or(char::REPLACEMENT_CHARACTER)
    }

    fn code_unit(&mut self) -> u32 {
        let (digits, rest) = self.rest.split_at(self.rest.len().min(4));
        self.rest = rest;
        digits.iter().fold(0, |unit, digit| unit << 4 | char::from(*digit).to_digit(16).unwrap_or(0))
    }
}

impl<'a> Iterator for Unescaped<'a> {
    type Item = Piece<'a>;

    fn next(&mut self) -> Option<Piece<'a>> {
        let plain = memchr::memchr(b'\\', self.rest).unwrap_or(self.rest.len());
        if plain > 0 {
            let (piece, rest) = self.rest.split_at(plain);
            self.rest = rest;
            return Some(Piece::Plain(piece));
        }
        let letter = *self.rest.get(1)?;
        self.rest = &self.rest[2..];
        let decoded = match letter {
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => self.code_point(),
            itself => char::from(itself),
        };
        let mut utf8 = [0; 4];
        let length = decoded.encode_utf8(&mut utf8).len();
        Some(Piece::Decoded { utf8, length })
    }
}

impl Piece<'_> {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Plain(bytes) => bytes,
            Self::Decoded { utf8, length } => &utf8[..*length],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_compared_as_they_stand() {
        assert_ne!(Token::new(b"1"), Token::new(b"\"1\""));
        assert_ne!(Token::new(b"1"), Token::new(b"1.0"));
        assert_eq!(Token::new(b"1"), Token::new(b"1"));
    }

    #[test]
    fn the_first_byte_tells_the_kind() {
        for (raw, kind) in [
            ("null", TokenKind::Null),
            ("true", TokenKind::Bool),
            ("false", TokenKind::Bool),
            ("-1.5", TokenKind::Number),
            ("\"\"", TokenKind::String),
            ("[]", TokenKind::Array),
            ("{}", TokenKind::Object),
        ] {
            assert_eq!(Token::new(raw.as_bytes()).kind(), kind);
        }
        assert!(Token::new(b"null").is_null());
        assert!(!Token::new(b"\"null\"").is_null());
    }

    #[test]
    fn text_drops_the_quotes_of_strings_only() {
        assert_eq!(Token::new(br#""a""#).text(), "a");
        assert_eq!(Token::new(br#"{"a":"b"}"#).text(), r#"{"a":"b"}"#);
        assert!(Token::new(b"true").same_text("true"));
        assert!(Token::new(br#""true""#).same_text("true"));
        assert!(!Token::new(br#""a\\b""#).same_text(r"a\\b"));
        assert!(Token::new(br#""a\\b""#).same_text(r"a\b"));
    }

    #[test]
    fn a_string_without_escapes_is_read_without_a_copy() {
        assert!(matches!(Token::new("\"grüße\"".as_bytes()).as_str(), Some(Cow::Borrowed("grüße"))));
        assert!(matches!(Token::new(br#""\u00fc""#).as_str(), Some(Cow::Owned(text)) if text == "ü"));
        assert_eq!(Token::new(b"1").as_str(), None);
    }

    #[test]
    fn whole_numbers_are_read_within_their_range() {
        assert_eq!(Token::new(b"-9223372036854775808").as_i64(), Some(i64::MIN));
        assert_eq!(Token::new(b"9223372036854775808").as_i64(), None);
        assert_eq!(Token::new(b"18446744073709551615").as_u64(), Some(u64::MAX));
        for other in ["1.0", "1e3", "\"1\"", "-1", "null", "[1]"] {
            assert_eq!(Token::new(other.as_bytes()).as_u64(), None, "{other}");
        }
    }

    #[test]
    fn what_is_no_token_does_no_harm() {
        for raw in [
            &b""[..],
            b"\"",
            b"\"\\",
            b"\"\\\"",
            b"\"\\u12\"",
            b"\"\\ud800\"",
            b"\"\\ud800\\u0041\"",
            b"\xff",
            b"\"\xff\"",
        ] {
            let token = Token::new(raw);
            assert!(!token.same_text("a"));
            assert_eq!((token.as_i64(), token.as_u64()), (None, None));
            assert!(token.as_str().is_none_or(|text| text == token.text()));
        }
    }
}
