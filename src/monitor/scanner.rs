//! Finds JSON Pointers in a raw text in one validating pass.
//!
//! A scan checks that the whole text is one JSON value (RFC 8259), and on the way notes where the values are that the pointers
//! of a [`PointerSet`] name. It builds nothing, calls itself never, and nests at most 128 containers deep. Of repeated keys
//! the first counts, also on the way to a pointer's end: in `{"a":{"b":1},"a":{"c":2}}` there is no `/a/c`.

pub use super::grammar::{ScanError, ScanErrorKind};
pub use super::pointer::{Pointer, PointerError};
pub use super::pointer_set::PointerSet;
pub use super::token::{Token, TokenKind};

use super::grammar::{self, DEPTH_MAX, Failure, Next, Opened, Place};
use super::pointer_set::{Children, NO_SLOT};

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
    /// Containers around the one that the scan is in, as far as pointers lead through them.
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
    children: Children,
    /// How many children have not been met yet.
    missing: u32,
    /// The number of the element that is next, in an array.
    index: u32,
    object: bool,
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
        let start = grammar::blank(text, 0);
        let end = self.scan_root(text, start, fields)?;
        let rest = grammar::blank(text, end);
        if rest < text.len() {
            return Err(Failure::new(rest, ScanErrorKind::TrailingData));
        }
        for copy in &self.copies {
            fields.spans[copy.to as usize] = fields.spans[copy.from as usize];
        }
        Ok(())
    }

    #[inline]
    fn scan_root(&self, text: &[u8], start: usize, fields: &mut Fields) -> Place {
        match self.enter(text, start, 0, 0)? {
            Entered::Passed { end } => {
                fields.fill(self.node(0).slot, start, end);
                Ok(end)
            }
            Entered::Inside { level, at } => self.walk(text, at, level, fields),
        }
    }

    /// Goes into a node's value, if it is a container in which something is looked for, and past it otherwise.
    #[inline]
    fn enter(&self, text: &[u8], start: usize, node: u32, depth: usize) -> Result<Entered, Failure> {
        let node = self.node(node);
        let bracket = grammar::byte(text, start);
        let children = node.children(bracket == b'{');
        if children.count == 0 || !matches!(bracket, b'{' | b'[') {
            return grammar::value(text, start, DEPTH_MAX - depth).map(|end| Entered::Passed { end });
        }
        if depth == DEPTH_MAX {
            return Err(Failure::new(start, ScanErrorKind::TooDeep));
        }
        Ok(match grammar::open(text, start) {
            Opened::Empty { end } => Entered::Passed { end },
            Opened::Filled { first, object } => {
                let level = Level { start, slot: node.slot, children, missing: children.count, index: 0, object };
                Entered::Inside { level, at: first }
            }
        })
    }

    /// Behind the outermost container, from its first member or element.
    fn walk(&self, text: &[u8], mut at: usize, mut level: Level, fields: &mut Fields) -> Place {
        loop {
            let depth = fields.outer.len() + 1;
            let (start, node) = self.step(text, at, &mut level, fields)?;
            let end = match node {
                None => grammar::value(text, start, DEPTH_MAX - depth)?,
                Some(node) => match self.enter(text, start, node, depth)? {
                    Entered::Passed { end } => {
                        fields.fill(self.node(node).slot, start, end);
                        end
                    }
                    Entered::Inside { level: inner, at: first } => {
                        fields.outer.push(std::mem::replace(&mut level, inner));
                        at = first;
                        continue;
                    }
                },
            };
            match leave(text, end, &mut level, fields)? {
                Left::Member(next) => at = next,
                Left::Root(end) => return Ok(end),
            }
        }
    }

    /// From a member or element to its value, and which node that is.
    #[inline]
    fn step(
        &self,
        text: &[u8],
        at: usize,
        level: &mut Level,
        fields: &mut Fields,
    ) -> Result<(usize, Option<u32>), Failure> {
        if level.object {
            let start = grammar::key_quote(text, at)?;
            let key = grammar::key(text, start)?;
            let at = grammar::colon(text, key.end)?;
            let node = self.by_key(level.children, key, || &text[start..key.end - 1]);
            let node = node.filter(|node| fields.first_sight(*node));
            level.missing -= u32::from(node.is_some());
            Ok((at, node))
        } else {
            let child = self.by_index(level.children, level.children.count - level.missing);
            let hit = child.index == level.index;
            level.index += 1;
            level.missing -= u32::from(hit);
            Ok((at, hit.then_some(child.node)))
        }
    }
}

/// From behind a value to the next member or element of a container in which something is missing yet, out of as many
/// containers as it takes.
#[inline]
fn leave(text: &[u8], mut at: usize, level: &mut Level, fields: &mut Fields) -> Result<Left, Failure> {
    loop {
        let end = match grammar::after_value(text, at, level.object)? {
            Next::Member(member) if level.missing > 0 => return Ok(Left::Member(member)),
            Next::Member(member) => {
                grammar::rest_of_container(text, member, level.object, DEPTH_MAX - fields.outer.len())?
            }
            Next::Closed(end) => end,
        };
        fields.fill(level.slot, level.start, end);
        match fields.outer.pop() {
            Some(outer) => *level = outer,
            None => return Ok(Left::Root(end)),
        }
        at = end;
    }
}

enum Entered {
    /// Past the whole value.
    Passed { end: usize },
    /// At its first member or element.
    Inside { level: Level, at: usize },
}

enum Left {
    /// At a member or element.
    Member(usize),
    /// Behind the outermost container.
    Root(usize),
}

/// The elements of an array in a text that was scanned; nothing, where the span is no array's.
pub fn elements(text: &[u8], array: Span) -> impl Iterator<Item = Span> {
    let text = text.get(..array.end as usize).unwrap_or_default();
    let start = array.start as usize;
    let first = match grammar::byte(text, start) {
        b'[' => match grammar::open(text, start) {
            Opened::Filled { first, .. } => Some(first),
            Opened::Empty { .. } => None,
        },
        _ => None,
    };
    Elements { text, next: first }
}

struct Elements<'a> {
    text: &'a [u8],
    /// Where the next one begins.
    next: Option<usize>,
}

impl Iterator for Elements<'_> {
    type Item = Span;

    fn next(&mut self) -> Option<Span> {
        let start = self.next.take()?;
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
