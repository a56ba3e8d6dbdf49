//! One event, as readers see it.

use std::borrow::Cow;

use super::builder::DedupeHash;
use super::columns;
use super::decoded::{Block, EventRow};
use crate::clock::UnixNanos;
use crate::journal::identity::Path;
use crate::journal::offset::Offset;

/// A part of an id, or a key, as the columns refer to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StoredPart {
    /// Inside the payload.
    Payload { start: u32, len: u32 },
    /// Inside the block's literals.
    Literal { start: u32, len: u32 },
}

/// An event of a [`Block`].
#[derive(Debug, Clone, Copy)]
pub struct Event<'a> {
    block: &'a Block,
    row: &'a EventRow,
    /// Its number in the journal.
    pub offset: Offset,
    /// Which way it came.
    pub path: Path,
    /// The monitor's name.
    pub monitor: &'a str,
    /// The monitor's domain.
    pub domain: &'a str,
    /// The topic, in the upstream's own words.
    pub topic: &'a str,
    /// When it says it happened.
    pub event_time: Option<UnixNanos>,
    /// When it was read from the socket.
    pub received: UnixNanos,
    /// Its raw text, to the byte.
    pub payload: &'a [u8],
    /// Kept although its id was seen with another payload.
    pub conflict: bool,
    /// Taken from both sides of a hand-over.
    pub handover: bool,
}

impl<'a> Event<'a> {
    pub(super) fn new(block: &'a Block, index: usize) -> Self {
        let row = &block.rows[index];
        let source = &block.sources[row.source as usize];
        let start = row.payload as usize;
        Self {
            block,
            row,
            offset: block.header().base().plus(index as u64),
            path: block.header().path(),
            monitor: &source.monitor.name,
            domain: &source.monitor.domain,
            topic: &source.topic,
            event_time: row.event_time,
            received: row.received,
            payload: &block.payloads[start..start + row.payload_len as usize],
            conflict: row.flags & columns::CONFLICT != 0,
            handover: row.flags & columns::HANDOVER != 0,
        }
    }

    /// The block that it is in.
    pub fn block(&self) -> &'a Block {
        self.block
    }

    /// Its key: a string without its quotes, any other token as it stands.
    pub fn key(&self) -> Option<Cow<'a, str>> {
        self.parts().last().filter(|_| self.row.flags & columns::KEYED != 0).map(|part| self.text(*part))
    }

    /// Its id: the parts joined by `:`, strings without their quotes; or the hash of the payload in hexadecimal.
    pub fn id(&self) -> Option<Cow<'a, str>> {
        if self.row.flags & columns::ID_IS_HASH != 0 {
            return self.hash().map(|hash| format!("{:032x}", hash.hash).into());
        }
        if self.row.flags & columns::ID_HAS_PARTS == 0 {
            return None;
        }
        let parts = self.parts();
        match &parts[..parts.len() - usize::from(self.row.flags & columns::KEYED != 0)] {
            [one] => Some(self.text(*one)),
            many => {
                let texts: Vec<_> = many.iter().map(|part| self.text(*part)).collect();
                Some(texts.join(":").into())
            }
        }
    }

    /// Whether its id is a hash of its payload, which is another one in another scope.
    pub fn id_is_hash(&self) -> bool {
        self.row.flags & columns::ID_IS_HASH != 0
    }

    /// Its dedupe hash, where it has one.
    pub fn hash(&self) -> Option<DedupeHash> {
        self.block.hash(self.row)
    }

    fn parts(&self) -> &'a [StoredPart] {
        let start = self.row.parts as usize;
        &self.block.parts[start..start + usize::from(self.row.parts_len)]
    }

    fn text(&self, part: StoredPart) -> Cow<'a, str> {
        let (bytes, start, len) = match part {
            StoredPart::Payload { start, len } => (self.payload, start, len),
            StoredPart::Literal { start, len } => (&self.block.literals[..], start, len),
        };
        token_text(&bytes[start as usize..start as usize + len as usize])
    }
}

/// A raw JSON token as text: strings unquoted, all else as it stands.
fn token_text(token: &[u8]) -> Cow<'_, str> {
    match token {
        [b'"', inner @ .., b'"'] if memchr::memchr(b'\\', inner).is_none() => String::from_utf8_lossy(inner),
        [b'"', ..] => match serde_json::from_slice::<String>(token) {
            Ok(text) => text.into(),
            Err(_) => String::from_utf8_lossy(token),
        },
        _ => String::from_utf8_lossy(token),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_lose_their_quotes_and_numbers_stay_as_written() {
        assert_eq!(token_text(br#""BTC""#), "BTC");
        assert_eq!(token_text(br#""a\u00e9\"b""#), "aé\"b");
        assert_eq!(token_text(b"18446744073709551616"), "18446744073709551616");
        assert_eq!(token_text(b"1.50"), "1.50");
        assert_eq!(token_text(b"\""), "\"");
    }
}
