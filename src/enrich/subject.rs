//! What a look-up is about: the values that an event fills its holes with.

use std::borrow::Cow;

use crate::config::Hole;
use crate::journal::Event;
use crate::scanner::{Fields, Pointer, PointerSet, Utf8};

/// Between the values of a key of several: no text of a feed has it, and if one has, keys are only mixed up with their like.
const SEPARATOR: char = '\u{1f}';

/// Longer keys are not looked up.
const KEY_BYTES_MAX: usize = 512;

/// Reads the values of some holes out of events.
#[derive(Debug)]
pub(super) struct Subject {
    holes: Vec<Hole>,
    /// Of the holes that are pointers, in their order.
    pointers: PointerSet,
    scans: bool,
}

impl Subject {
    /// None where a pointer is none, which settings are checked for.
    pub(super) fn new(holes: Vec<Hole>) -> Option<Self> {
        let pointers = holes.iter().filter_map(|hole| match hole {
            Hole::Pointer(pointer) => Some(Pointer::parse(pointer)),
            Hole::Key | Hole::Id | Hole::Topic => None,
        });
        let pointers: Vec<Pointer> = pointers.collect::<Result<_, _>>().ok()?;
        let scans = !pointers.is_empty();
        Some(Self { holes, pointers: PointerSet::new(&pointers), scans })
    }

    /// As the journal names them.
    pub(super) fn names(&self) -> Vec<&str> {
        self.holes.iter().map(Hole::as_str).collect()
    }

    /// The key of an event: its values together. None where one of them is missing, or they are too long.
    pub(super) fn key_of(&self, event: &Event<'_>, fields: &mut Fields) -> Option<String> {
        if self.scans && self.pointers.scan(event.payload, Utf8::Unchecked, fields).is_err() {
            return None;
        }
        let mut slot = 0;
        let mut key = String::new();
        for (place, hole) in self.holes.iter().enumerate() {
            let value: Cow<'_, str> = match hole {
                Hole::Key => event.key()?,
                Hole::Id => event.id()?,
                Hole::Topic => event.topic.into(),
                Hole::Pointer(_) => {
                    let token = fields.get(slot)?.token(event.payload);
                    slot += 1;
                    if token.is_null() {
                        return None;
                    }
                    token.text()
                }
            };
            if place > 0 {
                key.push(SEPARATOR);
            }
            key.push_str(&value);
        }
        (!key.is_empty() && key.len() <= KEY_BYTES_MAX).then_some(key)
    }
}

/// The values of a key.
pub(super) fn values_of(key: &str) -> Vec<&str> {
    key.split(SEPARATOR).collect()
}

/// The key of these values.
pub(super) fn key_of_values(values: &[String]) -> String {
    values.join(&SEPARATOR.to_string())
}
