//! `{/arg/channel}:{/arg/instId}`: how a topic is named by what stands in a message.

use super::scanned::{PointerList, Scanned, undecoded};
use crate::scanner::{Token, elements};

/// Topics that one text may name. Two lists multiply, and an upstream could make much of that.
/// Source: a guess, several times what any published limit allows on one link.
const KEYS_MAX: usize = 10_000;

/// Pieces of a topic's text, fixed or pointed at.
#[derive(Debug, Clone)]
pub(crate) struct TopicPattern {
    pieces: Vec<Piece>,
}

#[derive(Debug, Clone)]
enum Piece {
    Fixed(Box<[u8]>),
    Field(usize),
}

impl TopicPattern {
    /// Reads a pattern and gives its pointers their slots; `{}` is the whole text.
    pub(crate) fn compile(text: &str, pointers: &mut PointerList) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some(at) = rest.find('{') {
            if at > 0 {
                pieces.push(Piece::Fixed(rest.as_bytes()[..at].into()));
            }
            let end = rest[at..].find('}').ok_or_else(|| format!("`{text}` has a `{{` that is never closed"))? + at;
            pieces.push(Piece::Field(pointers.slot(&rest[at + 1..end])?));
            rest = &rest[end + 1..];
        }
        if !rest.is_empty() {
            pieces.push(Piece::Fixed(rest.as_bytes().into()));
        }
        if pieces.is_empty() {
            return Err("is empty; write a topic's text with pointers in braces, such as `{/stream}`".into());
        }
        Ok(Self { pieces })
    }

    /// The topic's text; none when something that it needs is not there. Nothing is copied where one pointer is all of
    /// the text, as it mostly is; else `scratch` holds it.
    #[inline]
    pub(crate) fn key<'a>(&self, scanned: Scanned<'a>, scratch: &'a mut Vec<u8>) -> Option<&'a [u8]> {
        if let [Piece::Field(slot)] = self.pieces[..]
            && let Some(inside) = undecoded(scanned.raw(slot)?)
        {
            return Some(inside);
        }
        scratch.clear();
        for piece in &self.pieces {
            match piece {
                Piece::Fixed(bytes) => scratch.extend_from_slice(bytes),
                Piece::Field(slot) => push_token(scratch, scanned.raw(*slot)?),
            }
        }
        Some(scratch)
    }

    /// All topics that a text names, where a pointer may lead to an array of names.
    pub(crate) fn keys(&self, scanned: Scanned<'_>) -> Vec<Vec<u8>> {
        let mut keys = vec![Vec::new()];
        for piece in &self.pieces {
            match piece {
                Piece::Fixed(bytes) => {
                    for key in &mut keys {
                        key.extend_from_slice(bytes);
                    }
                }
                Piece::Field(slot) => {
                    let Some(span) = scanned.fields.get(*slot) else { return Vec::new() };
                    let raw = span.of(scanned.text);
                    if raw.first() == Some(&b'[') {
                        let mut grown = Vec::new();
                        for element in elements(scanned.text, span) {
                            for key in keys.iter().take(KEYS_MAX.saturating_sub(grown.len())) {
                                let mut key = key.clone();
                                push_token(&mut key, element.of(scanned.text));
                                grown.push(key);
                            }
                        }
                        keys = grown;
                    } else {
                        for key in &mut keys {
                            push_token(key, raw);
                        }
                    }
                }
            }
        }
        keys
    }
}

fn push_token(out: &mut Vec<u8>, raw: &[u8]) {
    match undecoded(raw) {
        Some(inside) => out.extend_from_slice(inside),
        None => out.extend_from_slice(Token::new(raw).text().as_bytes()),
    }
}
