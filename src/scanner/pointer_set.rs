//! Pointers compiled into a tree that a scan walks along.

use super::grammar::{Key, KeyWord, Spelling};
use super::pointer::Pointer;
use super::token::Unescaped;

/// Pointers that are looked up together. The slot of each is its number in the list.
#[derive(Debug, Clone)]
pub struct PointerSet {
    slots: usize,
    nodes: Vec<Node>,
    /// Children of all nodes, those of one node side by side.
    by_key: Vec<KeyChild>,
    /// Likewise, ascending by index within a node.
    by_index: Vec<IndexChild>,
    /// Slots of pointers that equal an earlier one's.
    pub(super) copies: Vec<SlotCopy>,
}

/// A place that a pointer leads to or through.
#[derive(Debug, Clone, Copy)]
pub(super) struct Node {
    /// The slot to be filled here, or [`NO_SLOT`].
    pub(super) slot: u32,
    keys: Children,
    indexes: Children,
}

/// The node of the whole text.
pub(super) const ROOT: u32 = 0;

/// No pointer ends here.
pub(super) const NO_SLOT: u32 = u32::MAX;

/// A range in one of the lists of children.
#[derive(Debug, Clone, Copy)]
pub(super) struct Children {
    first: u32,
    pub(super) count: u32,
}

impl Children {
    pub(super) const NONE: Self = Self { first: 0, count: 0 };
}

#[derive(Debug, Clone)]
struct KeyChild {
    word: KeyWord,
    node: u32,
    key: Box<str>,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct IndexChild {
    pub(super) index: u32,
    pub(super) node: u32,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct SlotCopy {
    pub(super) from: u32,
    pub(super) to: u32,
}

impl Default for PointerSet {
    fn default() -> Self {
        Self::new(&[])
    }
}

impl PointerSet {
    /// Compiles pointers; slot `i` is pointer `i`, also where it equals another one.
    ///
    /// # Panics
    /// When there are more than four thousand million places, which memory does not hold.
    pub fn new(pointers: &[Pointer]) -> Self {
        let mut drafts = vec![Draft::default()];
        let mut copies = Vec::new();
        for (slot, pointer) in pointers.iter().enumerate() {
            let mut at = 0;
            for token in pointer.tokens() {
                let known = drafts[at].children.iter().find(|(key, _)| key == token).map(|(_, child)| *child);
                at = known.unwrap_or_else(|| {
                    let child = drafts.len();
                    drafts[at].children.push((token.to_owned(), child));
                    drafts.push(Draft::default());
                    child
                });
            }
            match drafts[at].slot {
                Some(first) => copies.push(SlotCopy { from: number(first), to: number(slot) }),
                None => drafts[at].slot = Some(slot),
            }
        }

        let mut set =
            Self { slots: pointers.len(), nodes: Vec::new(), by_key: Vec::new(), by_index: Vec::new(), copies };
        for draft in drafts {
            let keys = Children { first: number(set.by_key.len()), count: number(draft.children.len()) };
            let first_index = set.by_index.len();
            for (key, node) in draft.children {
                let node = number(node);
                set.by_index.extend(array_index(&key).map(|index| IndexChild { index, node }));
                set.by_key.push(KeyChild { word: KeyWord::of(key.as_bytes()), node, key: key.into() });
            }
            set.by_index[first_index..].sort_unstable_by_key(|child| child.index);
            let indexes = Children { first: number(first_index), count: number(set.by_index.len() - first_index) };
            set.nodes.push(Node { slot: draft.slot.map_or(NO_SLOT, number), keys, indexes });
        }
        set
    }

    /// How many slots a scan fills.
    pub fn len(&self) -> usize {
        self.slots
    }

    /// Whether nothing is looked up: a scan then only validates.
    pub fn is_empty(&self) -> bool {
        self.slots == 0
    }

    /// How many nodes there are; they are numbered from [`ROOT`] on.
    pub(super) fn nodes(&self) -> usize {
        self.nodes.len()
    }

    #[inline]
    pub(super) fn node(&self, number: u32) -> Node {
        self.nodes[number as usize]
    }

    /// The child that a key leads to. `raw` gives the key as it stands in the text, without its quotes.
    #[inline]
    pub(super) fn by_key<'a>(&self, children: Children, key: Key, raw: impl FnOnce() -> &'a [u8]) -> Option<u32> {
        let children = &self.by_key[children.first as usize..][..children.count as usize];
        if key.spelling == Spelling::Escaped {
            return by_escaped_key(children, raw());
        }
        let same_word = children.iter().position(|child| child.word == key.word)?;
        match key.spelling {
            Spelling::Short => Some(children[same_word].node),
            _ => by_long_key(&children[same_word..], raw()),
        }
    }

    /// The child with the given position among those of a node, which ascend by index.
    #[inline]
    pub(super) fn by_index(&self, children: Children, position: u32) -> IndexChild {
        self.by_index[(children.first + position) as usize]
    }
}

impl Node {
    /// The children that count in an object or an array.
    #[inline]
    pub(super) fn children(&self, object: bool) -> Children {
        if object { self.keys } else { self.indexes }
    }
}

#[inline(never)]
fn by_long_key(children: &[KeyChild], raw: &[u8]) -> Option<u32> {
    children.iter().find(|child| child.key.as_bytes() == raw).map(|child| child.node)
}

#[cold]
fn by_escaped_key(children: &[KeyChild], raw: &[u8]) -> Option<u32> {
    children.iter().find(|child| Unescaped::new(raw).equals(child.key.as_bytes())).map(|child| child.node)
}

/// A node while pointers are still being added.
#[derive(Default)]
struct Draft {
    slot: Option<usize>,
    children: Vec<(String, usize)>,
}

fn number(index: usize) -> u32 {
    u32::try_from(index).expect("each place takes memory of its own, so there are not that many")
}

/// The array element that a reference token names: decimal, without leading zeros (RFC 6901, section 4). An index beyond 32
/// bits names none, since no text is long enough.
fn array_index(token: &str) -> Option<u32> {
    let canonical = token.bytes().all(|b| b.is_ascii_digit()) && (token == "0" || !token.starts_with('0'));
    if canonical { token.parse().ok() } else { None }
}
