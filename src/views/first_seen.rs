//! Keys that a counter has seen, in the order they came: in memory to be asked, in pages to be kept.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::hash::Hasher as _;

use siphasher::sip128::{Hasher128 as _, SipHasher13};

use crate::scanner::Token;

/// Keys of a page: an entry of 4 KiB in the folder, written anew while it fills.
const PAGE_KEYS: usize = 256;

/// Bytes of a key.
const KEY_BYTES: usize = 16;

/// Keys, each as a 128-bit hash: with a million of them the odds of two being taken for one are below 10^-26.
#[derive(Debug, Default)]
pub(super) struct SeenKeys {
    known: HashSet<u128>,
    pages: VecDeque<Page>,
    next_page: u64,
    /// Pages that went since the folder was last told.
    gone: Vec<u64>,
}

#[derive(Debug)]
struct Page {
    number: u64,
    keys: Vec<u128>,
    unsaved: bool,
}

impl SeenKeys {
    /// The key of a JSON value; none of `null`. The number 1 is not the text "1".
    pub(super) fn key_of(token: Token<'_>) -> Option<u128> {
        if token.is_null() {
            return None;
        }
        let mut hasher = SipHasher13::new();
        hasher.write_u8(u8::from(token.as_str().is_some()));
        hasher.write(token.text().as_bytes());
        Some(hasher.finish128().as_u128())
    }

    /// Notes a key. Whether it is new.
    pub(super) fn insert(&mut self, key: u128) -> bool {
        if !self.known.insert(key) {
            return false;
        }
        match self.pages.back_mut() {
            Some(page) if page.keys.len() < PAGE_KEYS => {
                page.keys.push(key);
                page.unsaved = true;
            }
            _ => {
                self.pages.push_back(Page { number: self.next_page, keys: vec![key], unsaved: true });
                self.next_page += 1;
            }
        }
        true
    }

    /// How many.
    pub(super) fn len(&self) -> usize {
        self.known.len()
    }

    /// Forgets the oldest page. How many keys that were.
    pub(super) fn forget_oldest(&mut self) -> usize {
        let Some(page) = self.pages.pop_front() else { return 0 };
        for key in &page.keys {
            self.known.remove(key);
        }
        self.gone.push(page.number);
        page.keys.len()
    }

    /// Pages that the folder has to learn, by number; none: it went.
    pub(super) fn take_changes(&mut self) -> Vec<(u64, Option<Vec<u8>>)> {
        let gone = std::mem::take(&mut self.gone).into_iter().map(|number| (number, None));
        let written = self.pages.iter_mut().filter(|page| page.unsaved).map(|page| {
            page.unsaved = false;
            (page.number, Some(page.keys.iter().flat_map(|key| key.to_le_bytes()).collect()))
        });
        gone.chain(written).collect()
    }

    /// Numbers of all pages that the folder has.
    pub(super) fn pages(&self) -> impl Iterator<Item = u64> {
        self.pages.iter().map(|page| page.number)
    }

    /// As the folder has them.
    pub(super) fn load(pages: BTreeMap<u64, Vec<u8>>) -> Self {
        let mut seen = Self::default();
        for (number, bytes) in pages {
            let (keys, _) = bytes.as_chunks::<KEY_BYTES>();
            let keys: Vec<u128> = keys.iter().map(|key| u128::from_le_bytes(*key)).collect();
            seen.known.extend(&keys);
            seen.pages.push_back(Page { number, keys, unsaved: false });
            seen.next_page = number + 1;
        }
        seen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> Option<u128> {
        SeenKeys::key_of(Token::new(text.as_bytes()))
    }

    #[test]
    fn a_text_is_no_number_and_null_is_nothing() {
        assert_ne!(key("1"), key(r#""1""#));
        assert_eq!(key(r#""é""#), key(r#""\u00e9""#));
        assert_eq!(key("null"), None);
    }

    #[test]
    fn pages_come_back_as_they_were_and_the_oldest_is_forgotten_first() {
        let mut seen = SeenKeys::default();
        let count = u128::try_from(PAGE_KEYS).unwrap() * 2 + 10;
        assert!((0..count).all(|key| seen.insert(key)));
        let saved: BTreeMap<u64, Vec<u8>> =
            seen.take_changes().into_iter().map(|(number, bytes)| (number, bytes.unwrap())).collect();
        assert_eq!(saved.len(), 3);
        assert!(seen.take_changes().is_empty());
        let mut again = SeenKeys::load(saved);
        assert!((0..count).all(|key| !again.insert(key)));
        assert!(again.insert(count));
        assert_eq!(again.forget_oldest(), PAGE_KEYS);
        assert_eq!(again.take_changes().iter().map(|(number, _)| *number).collect::<Vec<_>>(), [0, 2]);
        assert!(again.insert(0), "forgotten");
        assert_eq!(again.len(), usize::try_from(count).unwrap() + 2 - PAGE_KEYS);
    }
}
