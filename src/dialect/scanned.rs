//! A scanned text: what dialects ask of the pointers that were found in it.

use std::borrow::Cow;
use std::collections::HashMap;

use crate::scanner::{Fields, Pointer, PointerSet, Token};

/// A text together with where its pointers are.
#[derive(Clone, Copy)]
pub(crate) struct Scanned<'a> {
    pub(crate) text: &'a [u8],
    pub(crate) fields: &'a Fields,
}

impl<'a> Scanned<'a> {
    /// The raw token of a slot.
    #[inline]
    pub(crate) fn raw(self, slot: usize) -> Option<&'a [u8]> {
        self.fields.get(slot).map(|span| span.of(self.text))
    }

    /// A token's text: strings without quotes and escapes, all else as it stands.
    pub(crate) fn plain(self, slot: usize) -> Option<Cow<'a, str>> {
        self.raw(slot).map(|raw| Token::new(raw).text())
    }
}

/// A string token's content where it holds no escapes; else the token itself when it is no string; none for a string
/// with escapes, which has to be decoded.
#[inline]
pub(crate) fn undecoded(raw: &[u8]) -> Option<&[u8]> {
    match raw {
        [b'"', inside @ .., b'"'] => {
            if inside.contains(&b'\\') {
                None
            } else {
                Some(inside)
            }
        }
        other => Some(other),
    }
}

/// Pointers on their way to becoming one [`PointerSet`]: equal ones share a slot.
#[derive(Debug, Default)]
pub(crate) struct PointerList {
    pointers: Vec<Pointer>,
    slots: HashMap<String, usize>,
}

impl PointerList {
    /// The plan's pointers keep their own slots, from 0.
    pub(crate) fn of_plan(plan: &[String]) -> Result<Self, String> {
        let mut list = Self::default();
        for text in plan {
            let slot = list.pointers.len();
            list.pointers.push(parse(text)?);
            list.slots.entry(text.clone()).or_insert(slot);
        }
        Ok(list)
    }

    /// The slot of a pointer.
    pub(crate) fn slot(&mut self, text: &str) -> Result<usize, String> {
        if let Some(slot) = self.slots.get(text) {
            return Ok(*slot);
        }
        let slot = self.pointers.len();
        self.pointers.push(parse(text)?);
        self.slots.insert(text.to_owned(), slot);
        Ok(slot)
    }

    pub(crate) fn into_set(self) -> PointerSet {
        PointerSet::new(&self.pointers)
    }
}

fn parse(text: &str) -> Result<Pointer, String> {
    Pointer::parse(text).map_err(|error| format!("`{text}` is no JSON Pointer: {error}"))
}
