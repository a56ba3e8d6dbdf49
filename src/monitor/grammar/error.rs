//! Why and where a text is refused.

use std::fmt;

/// Why a text is not one valid JSON value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum ScanErrorKind {
    /// The text ends within the value.
    UnexpectedEnd,
    /// No value begins here.
    ExpectedValue,
    /// A key in quotes must stand here.
    ExpectedKey,
    /// A colon must stand here.
    ExpectedColon,
    /// The object must go on or end here.
    ExpectedCommaOrBrace,
    /// The array must go on or end here.
    ExpectedCommaOrBracket,
    /// A number lacks a digit.
    ExpectedDigit,
    /// A control character stands bare in a string.
    ControlCharacter,
    /// A backslash begins no escape that JSON knows.
    InvalidEscape,
    /// An escaped half of a surrogate pair lacks the other half.
    LoneSurrogate,
    /// Containers are nested too deep.
    TooDeep,
    /// Something follows the value.
    TrailingData,
    /// The bytes are not UTF-8.
    InvalidUtf8,
    /// The text is larger than a [`Span`](crate::monitor::scanner::Span) can address.
    TooLarge,
}

impl ScanErrorKind {
    const ALL: [Self; 14] = [
        Self::UnexpectedEnd,
        Self::ExpectedValue,
        Self::ExpectedKey,
        Self::ExpectedColon,
        Self::ExpectedCommaOrBrace,
        Self::ExpectedCommaOrBracket,
        Self::ExpectedDigit,
        Self::ControlCharacter,
        Self::InvalidEscape,
        Self::LoneSurrogate,
        Self::TooDeep,
        Self::TrailingData,
        Self::InvalidUtf8,
        Self::TooLarge,
    ];
}

impl fmt::Display for ScanErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UnexpectedEnd => "the text ends within a value",
            Self::ExpectedValue => "expected a value",
            Self::ExpectedKey => "expected a key in quotes",
            Self::ExpectedColon => "expected `:`",
            Self::ExpectedCommaOrBrace => "expected `,` or `}`",
            Self::ExpectedCommaOrBracket => "expected `,` or `]`",
            Self::ExpectedDigit => "expected a digit",
            Self::ControlCharacter => "bare control character in a string",
            Self::InvalidEscape => "invalid escape in a string",
            Self::LoneSurrogate => "half a surrogate pair in a string",
            Self::TooDeep => "nested deeper than 128 containers",
            Self::TrailingData => "something follows the value",
            Self::InvalidUtf8 => "not UTF-8",
            Self::TooLarge => "larger than 4 GiB",
        })
    }
}

/// Why and where a text is not one valid JSON value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("invalid JSON at byte {at}: {kind}")]
pub struct ScanError {
    /// The byte, counted from 0.
    pub at: usize,
    /// The reason.
    pub kind: ScanErrorKind,
}

/// A [`ScanError`] in one word, so that a `Result` of a place travels in two registers: the place in the upper bits (texts
/// are below 4 GiB), the kind in the lowest eight.
#[derive(Debug, Clone, Copy)]
pub(in crate::monitor) struct Failure(u64);

impl Failure {
    #[cold]
    pub(in crate::monitor) fn new(at: usize, kind: ScanErrorKind) -> Self {
        Self((at as u64) << 8 | kind as u64)
    }

    /// The same, or [`ScanErrorKind::UnexpectedEnd`] where the text has no such byte.
    #[cold]
    pub(in crate::monitor) fn at_byte(text: &[u8], at: usize, kind: ScanErrorKind) -> Self {
        if at < text.len() { Self::new(at, kind) } else { Self::new(text.len(), ScanErrorKind::UnexpectedEnd) }
    }
}

impl From<Failure> for ScanError {
    #[cold]
    fn from(failure: Failure) -> Self {
        let [kind, at @ ..] = failure.0.to_le_bytes();
        let at = at.iter().rev().fold(0, |at, byte| at << 8 | usize::from(*byte));
        Self { at, kind: ScanErrorKind::ALL[usize::from(kind)] }
    }
}
