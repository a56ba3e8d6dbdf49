//! Eight bytes of a text at a time, examined in a register.

/// The highest bit of each byte of a word.
const HIGH_BITS: u64 = in_each(0x80);

/// A word of eight equal bytes.
const fn in_each(byte: u8) -> u64 {
    u64::from_le_bytes([byte; 8])
}

/// Eight bytes from a place on, the first one lowest; zeros stand in for what is behind the end.
#[inline(always)]
pub(super) fn word(text: &[u8], at: usize) -> u64 {
    // Were the sum to wrap, the range would be refused; spelt so, it is checked in the fewest instructions.
    match text.get(at..at.wrapping_add(8)).and_then(<[u8]>::first_chunk) {
        Some(bytes) => u64::from_le_bytes(*bytes),
        None => last_word(text, at),
    }
}

#[inline(never)]
fn last_word(text: &[u8], at: usize) -> u64 {
    let rest = text.get(at..).unwrap_or_default();
    match text.last_chunk() {
        Some(_) if rest.is_empty() => 0,
        // What is before the place is shifted out.
        Some(bytes) => u64::from_le_bytes(*bytes) >> (64 - 8 * rest.len()),
        None => rest.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte)),
    }
}

/// Marks, by their highest bit, bytes that a run of plain string bytes ends at: quotes, backslashes, control characters.
/// Right up to the lowest mark; a borrow may set false ones above it.
#[inline(always)]
pub(super) fn specials(word: u64) -> u64 {
    // Flipping this bit puts the quote just above the control characters and nothing else there, for one comparison.
    let low = word ^ in_each(2);
    let backslash = word ^ in_each(b'\\');
    ((low.wrapping_sub(in_each(0x21)) & !low) | (backslash.wrapping_sub(in_each(1)) & !backslash)) & HIGH_BITS
}

/// Marks, by their highest bit, bytes that are not decimal digits. Right up to the lowest mark.
#[inline(always)]
pub(super) fn non_digits(word: u64) -> u64 {
    let value = word ^ in_each(b'0');
    (value.wrapping_add(in_each(0x76)) | value) & HIGH_BITS
}

/// How many bytes lie below the lowest mark.
#[inline(always)]
pub(super) fn below(marks: u64) -> usize {
    (marks.trailing_zeros() / 8) as usize
}
