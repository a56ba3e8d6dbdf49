//! Finds JSON Pointers in a raw text in one validating pass.
//!
//! A scan checks that the whole text is one JSON value (RFC 8259), and on the way notes where the values are that the pointers
//! of a [`PointerSet`] name. It builds nothing, calls itself never, and nests at most 128 containers deep. Of repeated keys
//! the first counts, also on the way to a pointer's end: in `{"a":{"b":1},"a":{"c":2}}` there is no `/a/c`.

mod grammar;
mod pointer;
mod pointer_set;
mod token;

pub use grammar::{ScanError, ScanErrorKind};
pub use pointer::{Pointer, PointerError};
pub use pointer_set::PointerSet;
pub use token::{Token, TokenKind};

use grammar::{DEPTH_MAX, Failure, Found, Next, Place};
use pointer_set::{Children, NO_SLOT, ROOT};

/// Where a raw token is in its text: strings with their quotes, containers with their brackets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Span {
    /// The place of its first byte.
    pub start: u32,
    /// The place behind its last byte.
    pub end: u32,
}

impl Span {
    /// What no token has: tokens are not empty.
    const NOWHERE: Self = Self { start: 0, end: 0 };

    /// The bytes it marks.
    ///
    /// # Panics
    /// When `text` is not the one that was scanned, but a shorter one.
    pub fn of(self, text: &[u8]) -> &[u8] {
        &text[self.start as usize..self.end as usize]
    }

    /// The token it marks.
    ///
    /// # Panics
    /// As [`Span::of`].
    pub fn token(self, text: &[u8]) -> Token<'_> {
        Token::new(self.of(text))
    }

    /// How many bytes it has.
    pub fn len(self) -> u32 {
        self.end - self.start
    }

    /// Whether it has none, which no span that a scan gave is.
    pub fn is_empty(self) -> bool {
        self.start == self.end
    }

    /// `false` for places beyond 4 GiB, which a scan refuses beforehand.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "a scan begins by refusing texts that a u32 cannot address")]
    fn new(start: usize, end: usize) -> Self {
        Self { start: start as u32, end: end as u32 }
    }
}

/// Where pointers were found in a text. Made once and given to scan after scan, since it keeps its memory.
#[derive(Debug, Clone, Default)]
pub struct Fields {
    spans: Vec<Span>,
    /// For each node of the pointers' tree the scan that saw it last.
    seen: Vec<u32>,
    /// The number of the scan, so that nothing has to be cleared between two.
    scan: u32,
    /// The levels around the one that the scan is in: as many as there are containers around the value it is at.
    outer: Vec<Level>,
}

impl Fields {
    /// Where the pointer of a slot was found in the last text; none also after an error, and beyond the last slot.
    #[inline]
    pub fn get(&self, slot: usize) -> Option<Span> {
        self.spans.get(slot).copied().filter(|span| !span.is_empty())
    }

    fn begin(&mut self, set: &PointerSet) {
        self.spans.clear();
        self.spans.resize(set.len(), Span::NOWHERE);
        self.outer.clear();
        self.scan = self.scan.wrapping_add(1);
        if self.scan == 0 {
            self.seen.fill(0);
            self.scan = 1;
        }
        if self.seen.len() < set.nodes() {
            self.seen.resize(set.nodes(), 0);
        }
    }

    /// Whether this is the first time in this scan that a node is met.
    #[inline]
    fn first_sight(&mut self, node: u32) -> bool {
        std::mem::replace(&mut self.seen[node as usize], self.scan) != self.scan
    }

    #[inline]
    fn fill(&mut self, slot: u32, start: usize, end: usize) {
        if slot != NO_SLOT {
            self.spans[slot as usize] = Span::new(start, end);
        }
    }
}

/// Whether a text is known to be UTF-8.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Utf8 {
    /// The caller has it as a `&str`, or had one.
    Checked,
    /// The scan has to see to it.
    Unchecked,
}

/// A container that pointers lead through.
#[derive(Debug, Clone, Copy)]
struct Level {
    /// Where it begins, and the slot it fills itself.
    start: usize,
    slot: u32,
    /// The children of its node, and how many have not been met yet.
    inside: Children,
    missing: u32,
    /// The number of the element that is next, in an array.
    index: u32,
    object: bool,
}

impl Level {
    /// Around the text's value.
    const OUTSIDE: Self = Self { start: 0, slot: NO_SLOT, inside: Children::NONE, missing: 0, index: 0, object: false };
}

impl PointerSet {
    /// Checks that `text` is one JSON value and finds the pointers' places.
    ///
    /// # Errors
    /// When `text` is anything else. `fields` then holds nothing.
    #[inline]
    pub fn scan(&self, text: &[u8], utf8: Utf8, fields: &mut Fields) -> Result<(), ScanError> {
        fields.begin(self);
        self.scan_text(text, utf8, fields).map_err(|failure| {
            fields.spans.clear();
            failure.into()
        })
    }

    fn scan_text(&self, text: &[u8], utf8: Utf8, fields: &mut Fields) -> Result<(), Failure> {
        if u32::try_from(text.len()).is_err() {
            return Err(Failure::new(0, ScanErrorKind::TooLarge));
        }
        if utf8 == Utf8::Unchecked
            && let Err(error) = std::str::from_utf8(text)
        {
            return Err(Failure::new(error.valid_up_to(), ScanErrorKind::InvalidUtf8));
        }
        let end = self.walk(text, fields)?;
        let rest = grammar::blank(text, end);
        if rest < text.len() {
            return Err(Failure::new(rest, ScanErrorKind::TrailingData));
        }
        for copy in &self.copies {
            fields.spans[copy.to as usize] = fields.spans[copy.from as usize];
        }
        Ok(())
    }

    /// Behind the text's one value. Goes into containers in which something is looked for, and past all others.
    fn walk(&self, text: &[u8], fields: &mut Fields) -> Place {
        let mut at = 0;
        let mut node = Some(ROOT);
        let mut level = Level::OUTSIDE;
        loop {
            // A value begins at `at`, that of `node`.
            let passed = match grammar::scalar_or_bracket(text, at)? {
                Found::Scalar { start, end } => Some((start, end)),
                Found::Bracket { at: start, object } => {
                    let inside = node.map_or(Children::NONE, |node| self.node(node).children(object));
                    let room = DEPTH_MAX - fields.outer.len();
                    if inside.count == 0 || room == 0 {
                        Some((start, grammar::container(text, start, object, room)?))
                    } else {
                        match grammar::open(text, start, object) {
                            Next::Closed(end) => Some((start, end)),
                            Next::Member(first) => {
                                let slot = node.map_or(NO_SLOT, |node| self.node(node).slot);
                                fields.outer.push(level);
                                level = Level { start, slot, inside, missing: inside.count, index: 0, object };
                                at = first;
                                None
                            }
                        }
                    }
                }
            };
            if let Some((start, end)) = passed {
                if let Some(node) = node {
                    fields.fill(self.node(node).slot, start, end);
                }
                match leave(text, end, &mut level, fields)? {
                    Left::Member(next) => at = next,
                    Left::Text(end) => return Ok(end),
                }
            }
            // A member or an element of `level` begins at `at`.
            if level.object {
                let key = grammar::key(text, at)?;
                at = key.value;
                node = self.by_key(level.inside, key, || &text[key.start..key.end]);
                node = node.filter(|node| fields.first_sight(*node));
            } else {
                let child = self.by_index(level.inside, level.inside.count - level.missing);
                node = (child.index == level.index).then_some(child.node);
                level.index += 1;
            }
            level.missing -= u32::from(node.is_some());
        }
    }
}

/// From behind a value to the next member or element of a container in which something is missing yet, out of as many
/// containers as it takes.
#[inline]
fn leave(text: &[u8], mut end: usize, level: &mut Level, fields: &mut Fields) -> Result<Left, Failure> {
    while !fields.outer.is_empty() {
        end = match grammar::after_value(text, end, level.object)? {
            Next::Member(member) if level.missing > 0 => return Ok(Left::Member(member)),
            // Everything is found: the rest has only to be valid.
            Next::Member(member) => {
                grammar::rest_of_container(text, member, level.object, DEPTH_MAX + 1 - fields.outer.len())?
            }
            Next::Closed(end) => end,
        };
        fields.fill(level.slot, level.start, end);
        *level = fields.outer.pop().unwrap_or(Level::OUTSIDE);
    }
    Ok(Left::Text(end))
}

enum Left {
    /// At a member or element, or white space before it.
    Member(usize),
    /// Behind the text's value.
    Text(usize),
}

/// The elements of an array in a text that was scanned; nothing, where the span is no array's.
pub fn elements(text: &[u8], array: Span) -> impl Iterator<Item = Span> {
    let text = text.get(..array.end as usize).unwrap_or_default();
    let start = array.start as usize;
    let next = match grammar::byte(text, start) {
        b'[' => match grammar::open(text, start, false) {
            Next::Member(first) => Some(first),
            Next::Closed(_) => None,
        },
        _ => None,
    };
    Elements { text, next }
}

struct Elements<'a> {
    text: &'a [u8],
    /// Where the next one begins, or white space before it.
    next: Option<usize>,
}

impl Iterator for Elements<'_> {
    type Item = Span;

    fn next(&mut self) -> Option<Span> {
        let start = grammar::blank(self.text, self.next.take()?);
        // The text was valid when it was scanned; were it another one, the elements would end here.
        let end = grammar::value(self.text, start, DEPTH_MAX).ok()?;
        if let Ok(Next::Member(next)) = grammar::after_value(self.text, end, false) {
            self.next = Some(next);
        }
        Some(Span::new(start, end))
    }
}

#[cfg(test)]
mod tests;
