//! The grammar of RFC 8259 over a text in memory: each function takes the place where something begins and gives the
//! place behind it. Nothing here knows of pointers.
//!
//! The critical path of a scan is the place itself: the next load cannot start before the end of the current token is
//! known. So strings and numbers are examined eight bytes at a time in a register, and where a branch is well predicted
//! (one-letter keys, the absence of white space) it is used in place of arithmetic, since a predicted branch waits for nothing.
#![expect(clippy::inline_always, reason = "measured: left to itself the compiler makes calls of the per-token steps")]

use std::fmt;

/// Containers that may be open at once. Source: durability rule 16; also what `serde_json` allows, give or take one.
pub(super) const DEPTH_MAX: usize = 128;

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
    /// The text is larger than a [`Span`](super::scanner::Span) can address.
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
pub(super) struct Failure(u64);

impl Failure {
    #[cold]
    pub(super) fn new(at: usize, kind: ScanErrorKind) -> Self {
        Self((at as u64) << 8 | kind as u64)
    }

    /// The same, or [`ScanErrorKind::UnexpectedEnd`] where the text has no such byte.
    #[cold]
    pub(super) fn at_byte(text: &[u8], at: usize, kind: ScanErrorKind) -> Self {
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

/// The place behind something, or why it is wrong.
pub(super) type Place = Result<usize, Failure>;

/// The byte at a place; 0, which is valid nowhere outside of strings, behind the end.
#[inline(always)]
pub(super) fn byte(text: &[u8], at: usize) -> u8 {
    match text.get(at) {
        Some(byte) => *byte,
        None => 0,
    }
}

/// The highest bit of each byte of a word.
const HIGH_BITS: u64 = in_each(0x80);

/// A word of eight equal bytes.
const fn in_each(byte: u8) -> u64 {
    u64::from_le_bytes([byte; 8])
}

/// Eight bytes from a place on, the first one lowest; zeros stand in for what is behind the end.
#[inline(always)]
fn word(text: &[u8], at: usize) -> u64 {
    match text.get(at..).and_then(<[u8]>::first_chunk) {
        Some(bytes) => u64::from_le_bytes(*bytes),
        None => last_word(text, at),
    }
}

fn last_word(text: &[u8], at: usize) -> u64 {
    let rest = text.get(at..).unwrap_or_default();
    match text.last_chunk() {
        Some(_) if rest.is_empty() => 0,
        Some(bytes) => u64::from_le_bytes(*bytes) >> (64 - 8 * rest.len()),
        None => rest.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte)),
    }
}

/// Marks, by their highest bit, bytes that a run of plain string bytes ends at: quotes, backslashes, control characters.
/// Right up to the lowest mark; a borrow may set false ones above it.
#[inline(always)]
fn specials(word: u64) -> u64 {
    // Flipping this bit puts the quote just above the control characters and nothing else there, for one comparison.
    let low = word ^ in_each(2);
    let backslash = word ^ in_each(b'\\');
    ((low.wrapping_sub(in_each(0x21)) & !low) | (backslash.wrapping_sub(in_each(1)) & !backslash)) & HIGH_BITS
}

/// Marks, by their highest bit, bytes that are not decimal digits. Right up to the lowest mark.
#[inline(always)]
fn non_digits(word: u64) -> u64 {
    let value = word ^ in_each(b'0');
    (value.wrapping_add(in_each(0x76)) | value) & HIGH_BITS
}

/// How many bytes lie below the lowest mark.
#[inline(always)]
fn below(marks: u64) -> usize {
    (marks.trailing_zeros() / 8) as usize
}

/// Whether the byte at this distance within the word is a quote.
#[inline(always)]
fn quote_at(word: u64, distance: usize) -> bool {
    (word >> (8 * distance)).to_le_bytes()[0] == b'"'
}

/// Behind white space.
#[inline(always)]
pub(super) fn blank(text: &[u8], at: usize) -> usize {
    if byte(text, at) > b' ' { at } else { blank_run(text, at) }
}

#[inline(never)]
fn blank_run(text: &[u8], mut at: usize) -> usize {
    while matches!(byte(text, at), b' ' | b'\n' | b'\r' | b'\t') {
        at += 1;
    }
    at
}

/// Behind a string, from behind its opening quote.
#[inline(always)]
pub(super) fn string(text: &[u8], at: usize) -> Place {
    let first = word(text, at);
    let marks = specials(first);
    if marks != 0 {
        let length = below(marks);
        return if quote_at(first, length) { Ok(at + length + 1) } else { long_string(text, at + length) };
    }
    let second = word(text, at + 8);
    let marks = specials(second);
    let length = below(marks);
    if marks != 0 && quote_at(second, length) { Ok(at + length + 9) } else { long_string(text, at + 8) }
}

/// [`string`] for what its first words do not settle: length, escapes, the end of the text.
#[inline(never)]
fn long_string(text: &[u8], mut at: usize) -> Place {
    loop {
        at = plain_run(text, at);
        match byte(text, at) {
            b'"' => return Ok(at + 1),
            b'\\' => at = escape(text, at + 1)?,
            _ => return Err(Failure::at_byte(text, at, ScanErrorKind::ControlCharacter)),
        }
    }
}

/// The next byte that [`specials`] marks, or the end of the text.
#[inline(always)]
fn plain_run(text: &[u8], mut at: usize) -> usize {
    // Escapes come in rows, and most strings are short, so the wide step is tried only behind a plain word.
    let mut marks = specials(word(text, at));
    if marks == 0 {
        at += 8;
        while let Some(block) = text.get(at..).and_then(<[u8]>::first_chunk::<32>) {
            // Without an early exit, so that the compiler can use vectors.
            let special = |byte: &u8| u8::from(*byte < 0x20) | u8::from(*byte == b'"') | u8::from(*byte == b'\\');
            if block.iter().map(special).fold(0, |any, one| any | one) != 0 {
                break;
            }
            at += 32;
        }
        marks = specials(word(text, at));
        while marks == 0 {
            at += 8;
            marks = specials(word(text, at));
        }
    }
    // The zeros behind the end are marked, too.
    at + below(marks)
}

/// Behind an escape, from behind its backslash.
fn escape(text: &[u8], at: usize) -> Place {
    match byte(text, at) {
        b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Ok(at + 1),
        b'u' => match code_unit(text, at + 1)? {
            0xD800..=0xDBFF => {
                let low = at + 5;
                for (at, expected) in (low..).zip(*b"\\u") {
                    if byte(text, at) != expected {
                        return Err(Failure::at_byte(text, at, ScanErrorKind::LoneSurrogate));
                    }
                }
                match code_unit(text, low + 2)? {
                    0xDC00..=0xDFFF => Ok(low + 6),
                    _ => Err(Failure::new(low, ScanErrorKind::LoneSurrogate)),
                }
            }
            0xDC00..=0xDFFF => Err(Failure::new(at + 1, ScanErrorKind::LoneSurrogate)),
            _ => Ok(at + 5),
        },
        _ => Err(Failure::at_byte(text, at, ScanErrorKind::InvalidEscape)),
    }
}

/// The four hexadecimal digits from a place on.
fn code_unit(text: &[u8], at: usize) -> Result<u32, Failure> {
    let mut unit = 0;
    for at in at..at + 4 {
        let Some(digit) = char::from(byte(text, at)).to_digit(16) else {
            return Err(Failure::at_byte(text, at, ScanErrorKind::InvalidEscape));
        };
        unit = unit << 4 | digit;
    }
    Ok(unit)
}

/// A key's first bytes in a form that is compared at once: up to seven bytes with the closing quote and zeros above it, or
/// eight bytes. A key without escapes has no quote within, so the form of a shorter key equals no other's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct KeyWord(u64);

impl KeyWord {
    /// That of a key spelt without escapes. One that cannot be spelt so gets a form that no key in a text has.
    pub(super) fn of(key: &[u8]) -> Self {
        if key.iter().any(|byte| matches!(byte, 0..=0x1F | b'"' | b'\\')) {
            return Self(0);
        }
        let quoted: Vec<u8> = key.iter().copied().chain([b'"']).collect();
        Self(word(&quoted, 0))
    }
}

/// How far the [`KeyWord`] of a key in the text goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spelling {
    /// It is the whole key.
    Short,
    /// It is the beginning of the key.
    Long,
    /// It says nothing, because there are escapes.
    Escaped,
}

/// A key as it stands in the text.
#[derive(Debug, Clone, Copy)]
pub(super) struct Key {
    pub(super) word: KeyWord,
    /// Behind the closing quote.
    pub(super) end: usize,
    pub(super) spelling: Spelling,
}

/// Reads a key from behind its opening quote.
#[inline(always)]
pub(super) fn key(text: &[u8], at: usize) -> Result<Key, Failure> {
    let first = word(text, at);
    let marks = specials(first);
    if marks & 0xFFFF == 0x8000 && quote_at(first, 1) {
        return Ok(Key { word: KeyWord(first & 0xFFFF), end: at + 2, spelling: Spelling::Short });
    }
    let length = below(marks);
    if marks != 0 && quote_at(first, length) {
        let word = KeyWord(first & (u64::MAX >> (56 - 8 * length)));
        return Ok(Key { word, end: at + length + 1, spelling: Spelling::Short });
    }
    long_key(text, at)
}

#[inline(never)]
fn long_key(text: &[u8], at: usize) -> Result<Key, Failure> {
    let plain_end = plain_run(text, at);
    let end = long_string(text, plain_end)?;
    let spelling = if end == plain_end + 1 { Spelling::Long } else { Spelling::Escaped };
    Ok(Key { word: KeyWord(word(text, at)), end, spelling })
}

/// Behind a key, from behind its opening quote; [`key`] for when nobody asks which it is.
#[inline(always)]
fn skip_key(text: &[u8], at: usize) -> Place {
    let first = word(text, at);
    let marks = specials(first);
    if marks & 0xFFFF == 0x8000 && quote_at(first, 1) {
        return Ok(at + 2);
    }
    let length = below(marks);
    if marks != 0 && quote_at(first, length) { Ok(at + length + 1) } else { long_string(text, at) }
}

/// From behind a key to its value.
#[inline(always)]
pub(super) fn colon(text: &[u8], at: usize) -> Place {
    let at = blank(text, at);
    if byte(text, at) == b':' {
        Ok(blank(text, at + 1))
    } else {
        Err(Failure::at_byte(text, at, ScanErrorKind::ExpectedColon))
    }
}

/// Behind a number, from its sign or first digit.
#[inline(always)]
fn number(text: &[u8], mut at: usize) -> Place {
    let mut first = byte(text, at);
    if first == b'-' {
        at += 1;
        first = byte(text, at);
    }
    at = match first {
        // What follows a zero is looked at by the caller, who refuses another digit.
        b'0' => at + 1,
        b'1'..=b'9' => digits(text, at + 1),
        _ => return Err(Failure::at_byte(text, at, ScanErrorKind::ExpectedDigit)),
    };
    match byte(text, at) {
        b'.' | b'e' | b'E' => fraction(text, at),
        _ => Ok(at),
    }
}

/// Behind any digits there are.
#[inline(always)]
fn digits(text: &[u8], mut at: usize) -> usize {
    loop {
        let marks = non_digits(word(text, at));
        if marks != 0 {
            return at + below(marks);
        }
        at += 8;
    }
}

/// Behind the part of a number that begins with a point or an exponent.
fn fraction(text: &[u8], mut at: usize) -> Place {
    if byte(text, at) == b'.' {
        at = some_digits(text, at + 1)?;
    }
    if matches!(byte(text, at), b'e' | b'E') {
        at += 1;
        if matches!(byte(text, at), b'+' | b'-') {
            at += 1;
        }
        at = some_digits(text, at)?;
    }
    Ok(at)
}

fn some_digits(text: &[u8], at: usize) -> Place {
    let end = digits(text, at);
    if end > at { Ok(end) } else { Err(Failure::at_byte(text, at, ScanErrorKind::ExpectedDigit)) }
}

/// Behind a value that is no container, from its first byte, which is given.
#[inline(always)]
fn scalar(text: &[u8], at: usize, first: u8) -> Place {
    if first == b'"' {
        string(text, at + 1)
    } else if first.is_ascii_digit() || first == b'-' {
        number(text, at)
    } else {
        literal(text, at)
    }
}

#[inline(always)]
fn literal(text: &[u8], at: usize) -> Place {
    let word = word(text, at).to_le_bytes();
    if word.starts_with(b"true") || word.starts_with(b"null") {
        Ok(at + 4)
    } else if word.starts_with(b"false") {
        Ok(at + 5)
    } else {
        Err(no_value(text, at))
    }
}

/// Where exactly a value is wrong that is of no kind: in its first byte, or within a literal.
#[cold]
fn no_value(text: &[u8], at: usize) -> Failure {
    let rest = text.get(at..).unwrap_or_default();
    let cut = [&b"true"[..], b"false", b"null"].iter().any(|literal| literal.starts_with(rest));
    if cut {
        Failure::at_byte(text, text.len(), ScanErrorKind::UnexpectedEnd)
    } else {
        Failure::new(at, ScanErrorKind::ExpectedValue)
    }
}

/// Behind a value, from its first byte. `room` says how many more containers may be open.
#[inline(always)]
pub(super) fn value(text: &[u8], at: usize, room: usize) -> Place {
    match byte(text, at) {
        b'{' | b'[' => container(text, at, room),
        first => scalar(text, at, first),
    }
}

/// Behind a container, from its bracket.
#[inline(never)]
pub(super) fn container(text: &[u8], at: usize, room: usize) -> Place {
    if room == 0 {
        return Err(Failure::new(at, ScanErrorKind::TooDeep));
    }
    match open(text, at) {
        Opened::Empty { end } => Ok(end),
        Opened::Filled { first, object } => rest_of_container(text, first, object, room),
    }
}

/// What is behind an opening bracket.
pub(super) enum Opened {
    /// Nothing: the container ends at once.
    Empty {
        /// Behind its closing bracket.
        end: usize,
    },
    /// A member or an element, or something wrong.
    Filled {
        /// Where it begins.
        first: usize,
        /// Whether the container is an object.
        object: bool,
    },
}

#[inline(always)]
pub(super) fn open(text: &[u8], at: usize) -> Opened {
    let object = byte(text, at) == b'{';
    let first = blank(text, at + 1);
    if byte(text, first) == closing(object) {
        Opened::Empty { end: first + 1 }
    } else {
        Opened::Filled { first, object }
    }
}

#[inline(always)]
fn closing(object: bool) -> u8 {
    if object { b'}' } else { b']' }
}

/// What is behind a value within a container.
pub(super) enum Next {
    /// Another member or element begins here.
    Member(usize),
    /// The container ended; this is behind its bracket.
    Closed(usize),
}

#[inline(always)]
pub(super) fn after_value(text: &[u8], at: usize, object: bool) -> Result<Next, Failure> {
    let at = blank(text, at);
    let found = byte(text, at);
    if found == b',' {
        Ok(Next::Member(blank(text, at + 1)))
    } else if found == closing(object) {
        Ok(Next::Closed(at + 1))
    } else {
        Err(unfinished(text, at, object))
    }
}

#[cold]
fn unfinished(text: &[u8], at: usize, object: bool) -> Failure {
    let kind = if object { ScanErrorKind::ExpectedCommaOrBrace } else { ScanErrorKind::ExpectedCommaOrBracket };
    Failure::at_byte(text, at, kind)
}

/// Behind the opening quote of a key.
#[inline(always)]
pub(super) fn key_quote(text: &[u8], at: usize) -> Place {
    if byte(text, at) == b'"' { Ok(at + 1) } else { Err(Failure::at_byte(text, at, ScanErrorKind::ExpectedKey)) }
}

/// Behind a container, from one of its members or elements. `room`, at least 1, counts this container, too.
///
/// Open containers are bits of one number, not calls, so that no text can exhaust the stack.
#[inline(never)]
pub(super) fn rest_of_container(text: &[u8], mut at: usize, mut object: bool, room: usize) -> Place {
    let mut depth = 1;
    let mut outer_objects = 0_u128;
    loop {
        if object {
            at = key_quote(text, at)?;
            at = skip_key(text, at)?;
            at = colon(text, at)?;
        }
        let first = byte(text, at);
        if matches!(first, b'{' | b'[') {
            if depth == room {
                return Err(Failure::new(at, ScanErrorKind::TooDeep));
            }
            match open(text, at) {
                Opened::Empty { end } => at = end,
                Opened::Filled { first, object: inner } => {
                    outer_objects = outer_objects << 1 | u128::from(object);
                    object = inner;
                    depth += 1;
                    at = first;
                    continue;
                }
            }
        } else {
            at = scalar(text, at, first)?;
        }
        at = loop {
            match after_value(text, at, object)? {
                Next::Member(at) => break at,
                Next::Closed(end) => {
                    depth -= 1;
                    if depth == 0 {
                        return Ok(end);
                    }
                    object = outer_objects & 1 == 1;
                    outer_objects >>= 1;
                    at = end;
                }
            }
        };
    }
}

const _: () = assert!(DEPTH_MAX <= 128, "the open containers fit the bits of a u128");
