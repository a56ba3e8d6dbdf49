//! The grammar of RFC 8259 over a text in memory: each function takes the place where something begins and gives the
//! place behind it. Nothing here knows of pointers.
//!
//! A scan is bound by the number of its instructions, and next by how long the place of the next token takes to be known. So
//! strings and numbers are examined a word at a time; what is expected is looked for before white space is; and one-letter
//! keys, which fast feeds have, are told by branches, since a predicted branch waits for nothing.
#![expect(clippy::inline_always, reason = "measured: left to itself the compiler makes calls of the per-token steps")]

mod error;
mod word;

pub(super) use error::Failure;
pub use error::{ScanError, ScanErrorKind};

use word::{below, non_digits, specials, word};

/// Containers that may be open at once. Source: durability rule 16; also what `serde_json` allows, give or take one.
pub(super) const DEPTH_MAX: usize = 128;

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
fn string(text: &[u8], at: usize) -> Place {
    let marks = specials(word(text, at));
    if marks != 0 {
        let end = at + below(marks);
        return if byte(text, end) == b'"' { Ok(end + 1) } else { long_string(text, end) };
    }
    let marks = specials(word(text, at + 8));
    let end = at + 8 + below(marks);
    if marks != 0 && byte(text, end) == b'"' { Ok(end + 1) } else { long_string(text, at + 8) }
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
    // Escapes come in rows, and most strings are short, so the wide step is taken only behind a few plain words.
    let mut words = 0;
    loop {
        // The zeros behind the end are marked, too.
        let marks = specials(word(text, at));
        if marks != 0 {
            return at + below(marks);
        }
        at += 8;
        words += 1;
        if words == 4 {
            at = plain_blocks(text, at);
        }
    }
}

/// As far as whole blocks are plain.
fn plain_blocks(text: &[u8], mut at: usize) -> usize {
    while let Some(block) = text.get(at..).and_then(<[u8]>::first_chunk::<32>) {
        // Without an early exit, so that the compiler can use vectors.
        let special = |byte: &u8| u8::from(*byte < 0x20) | u8::from(*byte == b'"') | u8::from(*byte == b'\\');
        if block.iter().map(special).fold(0, |any, one| any | one) != 0 {
            break;
        }
        at += 32;
    }
    at
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

    /// That of a key of at most seven bytes, from a word that begins with them.
    #[inline(always)]
    fn short(word: u64, length: usize) -> Self {
        let quote_bit = 8 * length;
        Self(word & ((1 << quote_bit) - 1) | u64::from(b'"') << quote_bit)
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
    pub(super) spelling: Spelling,
    /// Of what is between the quotes.
    pub(super) start: usize,
    pub(super) end: usize,
    /// Behind the colon, where the value or white space begins.
    pub(super) value: usize,
}

/// Reads a key and its colon, from the key or white space before it.
#[inline(always)]
pub(super) fn key(text: &[u8], at: usize) -> Result<Key, Failure> {
    const ONE_LETTER: u64 = u64::from_le_bytes(*b"\"\0\":\0\0\0\0");
    const AROUND_THE_LETTER: u64 = 0xFFFF_00FF;
    let quoted = word(text, at);
    let inner = quoted >> 8;
    let start = at + 1;
    if quoted & AROUND_THE_LETTER == ONE_LETTER && inner.to_le_bytes()[0].is_ascii_alphabetic() {
        let word = KeyWord(inner & 0xFFFF);
        return Ok(Key { word, spelling: Spelling::Short, start, end: at + 2, value: at + 4 });
    }
    // Seven bytes and a zero, which is marked; in its place the text may well have the quote of a key of seven bytes.
    let length = below(specials(inner));
    let end = start + length;
    if quoted.to_le_bytes()[0] == b'"' && text.get(end..end + 2) == Some(b"\":") {
        let word = KeyWord::short(inner, length);
        return Ok(Key { word, spelling: Spelling::Short, start, end, value: end + 2 });
    }
    any_key(text, at)
}

/// [`key`] for long ones, ones with escapes, white space, and whatever is wrong.
#[inline(never)]
fn any_key(text: &[u8], at: usize) -> Result<Key, Failure> {
    let quote = blank(text, at);
    if byte(text, quote) != b'"' {
        return Err(Failure::at_byte(text, quote, ScanErrorKind::ExpectedKey));
    }
    let start = quote + 1;
    let plain_end = plain_run(text, start);
    let first = word(text, start);
    let (end, spelling, word) = if byte(text, plain_end) != b'"' {
        (long_string(text, plain_end)? - 1, Spelling::Escaped, KeyWord(0))
    } else if plain_end - start < 8 {
        (plain_end, Spelling::Short, KeyWord::short(first, plain_end - start))
    } else {
        (plain_end, Spelling::Long, KeyWord(first))
    };
    let colon = blank(text, end + 1);
    if byte(text, colon) != b':' {
        return Err(Failure::at_byte(text, colon, ScanErrorKind::ExpectedColon));
    }
    Ok(Key { word, spelling, start, end, value: colon + 1 })
}

/// Whether a number, or at least something like it, begins with this.
#[inline(always)]
fn begins_number(first: u8) -> bool {
    matches!(first, b'-'..=b'9')
}

/// Behind a number, from its sign or first digit, which is given.
#[inline(always)]
fn number(text: &[u8], at: usize, first: u8) -> Place {
    let end = match first {
        b'1'..=b'9' => digits(text, at + 1),
        // What follows a zero is looked at by the caller, who refuses another digit.
        b'0' => at + 1,
        _ => minus(text, at)?,
    };
    match byte(text, end) {
        b'.' | b'e' | b'E' => fraction(text, end),
        _ => Ok(end),
    }
}

/// Behind the whole part of a number that has a sign.
#[inline(never)]
fn minus(text: &[u8], at: usize) -> Place {
    match (byte(text, at), byte(text, at + 1)) {
        (b'-', b'0') => Ok(at + 2),
        (b'-', b'1'..=b'9') => Ok(digits(text, at + 2)),
        (b'-', _) => Err(Failure::at_byte(text, at + 1, ScanErrorKind::ExpectedDigit)),
        _ => Err(Failure::new(at, ScanErrorKind::ExpectedValue)),
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
#[inline(never)]
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

/// Behind `true`, `false` or `null`.
#[inline(always)]
fn literal(text: &[u8], at: usize) -> Place {
    let rest = text.get(at..).unwrap_or_default();
    if rest.starts_with(b"true") || rest.starts_with(b"null") {
        Ok(at + 4)
    } else if rest.starts_with(b"false") {
        Ok(at + 5)
    } else {
        Err(no_value(text, at))
    }
}

#[cold]
fn no_value(text: &[u8], at: usize) -> Failure {
    let rest = text.get(at..).unwrap_or_default();
    let cut = [&b"true"[..], b"false", b"null"].iter().any(|literal| literal.starts_with(rest));
    Failure::at_byte(text, if cut { text.len() } else { at }, ScanErrorKind::ExpectedValue)
}

/// What is where a value is expected.
pub(super) enum Found {
    /// A value that has no brackets.
    Scalar {
        /// Its first byte.
        start: usize,
        /// Behind it.
        end: usize,
    },
    /// An opening bracket.
    Bracket {
        /// Its place.
        at: usize,
        /// Whether it is that of an object.
        object: bool,
    },
}

/// Takes a value that has no brackets; white space may be before it.
#[inline(always)]
pub(super) fn scalar_or_bracket(text: &[u8], mut at: usize) -> Result<Found, Failure> {
    loop {
        let first = byte(text, at);
        if first == b'"' {
            return string(text, at + 1).map(|end| Found::Scalar { start: at, end });
        }
        if begins_number(first) {
            return number(text, at, first).map(|end| Found::Scalar { start: at, end });
        }
        if first == b'{' || first == b'[' {
            return Ok(Found::Bracket { at, object: first == b'{' });
        }
        if first > b' ' {
            return literal(text, at).map(|end| Found::Scalar { start: at, end });
        }
        let past = blank_run(text, at);
        if past == at {
            return Err(Failure::at_byte(text, at, ScanErrorKind::ExpectedValue));
        }
        at = past;
    }
}

/// Behind a value, from its first byte or white space before it. `room` says how many more containers may be open.
#[inline(always)]
pub(super) fn value(text: &[u8], at: usize, room: usize) -> Place {
    match scalar_or_bracket(text, at)? {
        Found::Scalar { end, .. } => Ok(end),
        Found::Bracket { at, object } => container(text, at, object, room),
    }
}

/// Behind a container, from its bracket.
#[inline(never)]
pub(super) fn container(text: &[u8], at: usize, object: bool, room: usize) -> Place {
    if room == 0 {
        return Err(Failure::new(at, ScanErrorKind::TooDeep));
    }
    match open(text, at, object) {
        Next::Closed(end) => Ok(end),
        Next::Member(first) => rest_of_container(text, first, object, room),
    }
}

/// What is behind a value within a container, or behind its opening bracket.
pub(super) enum Next {
    /// A member, an element, or white space before it.
    Member(usize),
    /// The container ended; this is behind its bracket.
    Closed(usize),
}

#[inline(always)]
pub(super) fn open(text: &[u8], at: usize, object: bool) -> Next {
    let first = blank(text, at + 1);
    if byte(text, first) == closing(object) { Next::Closed(first + 1) } else { Next::Member(first) }
}

#[inline(always)]
fn closing(object: bool) -> u8 {
    if object { b'}' } else { b']' }
}

#[inline(always)]
pub(super) fn after_value(text: &[u8], mut at: usize, object: bool) -> Result<Next, Failure> {
    loop {
        let found = byte(text, at);
        if found == b',' {
            return Ok(Next::Member(at + 1));
        }
        if found == closing(object) {
            return Ok(Next::Closed(at + 1));
        }
        let past = blank_run(text, at);
        if past == at {
            return Err(unfinished(text, at, object));
        }
        at = past;
    }
}

#[cold]
fn unfinished(text: &[u8], at: usize, object: bool) -> Failure {
    let kind = if object { ScanErrorKind::ExpectedCommaOrBrace } else { ScanErrorKind::ExpectedCommaOrBracket };
    Failure::at_byte(text, at, kind)
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
            at = key(text, at)?.value;
        }
        match scalar_or_bracket(text, at)? {
            Found::Scalar { end, .. } => at = end,
            Found::Bracket { at: bracket, .. } if depth == room => {
                return Err(Failure::new(bracket, ScanErrorKind::TooDeep));
            }
            Found::Bracket { at: bracket, object: inner } => match open(text, bracket, inner) {
                Next::Closed(end) => at = end,
                Next::Member(first) => {
                    outer_objects = outer_objects << 1 | u128::from(object);
                    object = inner;
                    depth += 1;
                    at = first;
                    continue;
                }
            },
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
