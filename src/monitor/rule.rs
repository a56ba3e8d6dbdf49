//! An event rule as settings write it, made ready for reading: every pointer is a slot of a scan.

use std::borrow::Cow;

use super::sequence::numbers::{self, Counting, Number, Numbers};
use crate::config::{Condition, EventRuleSettings, SequencePer, SequenceSettings, SequenceTable, TimeUnit};
use crate::scanner::{Fields, Pointer, PointerSet, Span, Token};

/// The prefix of a pointer that reaches the whole message from within an element.
const FRAME_PREFIX: &str = "frame:";

/// The id that means: the payload itself.
const PAYLOAD_HASH: &str = "hash";

/// A rule that cannot be made ready.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{key}`: {what}")]
pub struct RuleError {
    /// The key of the rule.
    pub key: &'static str,
    /// What is wrong with it.
    pub what: String,
}

/// Pointers that all monitors of an upstream read out of whole messages, each once.
#[derive(Debug, Clone, Default)]
pub(super) struct FramePointers {
    texts: Vec<String>,
}

impl FramePointers {
    /// The pointers, in the order of their slots.
    pub(super) fn texts(&self) -> &[String] {
        &self.texts
    }

    fn slot(&mut self, key: &'static str, text: &str) -> Result<usize, RuleError> {
        parse(key, text)?;
        Ok(slot_of(&mut self.texts, text))
    }
}

/// Where a pointer's find is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// A slot of the message's scan.
    Frame(usize),
    /// A slot of the element's scan.
    Element(usize),
}

/// A pointer with its text for messages.
#[derive(Debug, Clone)]
pub(super) struct Reference {
    place: Place,
    /// As the settings write it.
    pub(super) text: Box<str>,
}

/// Where an event's id is.
#[derive(Debug, Clone)]
pub(super) enum IdRule {
    /// It has none.
    None,
    /// It is the payload's hash.
    PayloadHash,
    /// In these places.
    Parts(Vec<Reference>),
}

/// Where an event's time is.
#[derive(Debug, Clone)]
pub(super) struct TimeRule {
    pub(super) reference: Reference,
    pub(super) unit: TimeUnit,
    pub(super) optional: bool,
}

/// Where a message's numbers are.
#[derive(Debug, Clone)]
pub(super) struct SequenceRule {
    pub(super) counting: Counting,
    pub(super) per: SequencePer,
    /// Of its first number, or of the one before it.
    from: Option<Reference>,
    last: Reference,
}

/// The array whose elements are events.
#[derive(Debug, Clone)]
pub(super) struct EachRule {
    pub(super) array: Reference,
    /// Fills the element's slots.
    pub(super) pointers: PointerSet,
}

/// A rule made ready.
#[derive(Debug, Clone)]
pub(super) struct Rule {
    when: Vec<(Reference, Condition)>,
    pub(super) ignore: bool,
    pub(super) each: Option<EachRule>,
    pub(super) payload: Option<Reference>,
    pub(super) id: IdRule,
    pub(super) key: Option<Reference>,
    pub(super) time: Option<TimeRule>,
    pub(super) sequence: Option<SequenceRule>,
}

/// One scanned text, and for an element the message around it.
#[derive(Clone, Copy)]
pub(super) struct Scanned<'a> {
    /// The text that pointers look into.
    pub(super) frame: &'a [u8],
    /// The message as it came, where that is another one than the text.
    pub(super) raw: Option<&'a [u8]>,
    pub(super) frame_fields: &'a Fields,
    /// The element's place in the frame, with its fields; those are relative to its start.
    pub(super) element: Option<(Span, &'a Fields)>,
}

impl Scanned<'_> {
    /// Where a pointer's find is in the frame.
    #[inline]
    pub(super) fn find(&self, reference: &Reference) -> Option<Span> {
        match (reference.place, self.element) {
            (Place::Frame(slot), _) => self.frame_fields.get(slot),
            (Place::Element(slot), Some((element, fields))) => {
                let span = fields.get(slot)?;
                Some(Span { start: element.start + span.start, end: element.start + span.end })
            }
            (Place::Element(_), None) => None,
        }
    }

    /// The message as it came.
    #[inline]
    pub(super) fn message(&self) -> &[u8] {
        self.raw.unwrap_or(self.frame)
    }

    /// The text at a place.
    #[inline]
    pub(super) fn text(&self, span: Span) -> &[u8] {
        &self.frame[span.start as usize..span.end as usize]
    }
}

impl Rule {
    /// Makes a rule ready; its pointers into whole messages are added to `frame`.
    pub(super) fn new(settings: &EventRuleSettings, frame: &mut FramePointers) -> Result<Self, RuleError> {
        let mut element = settings.each.is_some().then(Vec::new);
        let mut reference = |key, text: &str| Reference::new(key, text, frame, element.as_mut());
        let when = settings
            .when
            .iter()
            .map(|(pointer, condition)| Ok((reference("when", pointer)?, condition.clone())))
            .collect::<Result<_, _>>()?;
        let id = match settings.id.as_slice() {
            [] => IdRule::None,
            [only] if only == PAYLOAD_HASH => IdRule::PayloadHash,
            parts => IdRule::Parts(parts.iter().map(|part| reference("id", part)).collect::<Result<_, _>>()?),
        };
        let optional = |key, text: &Option<String>, reference: &mut dyn FnMut(&'static str, &str) -> _| {
            text.as_deref().map(|text| reference(key, text)).transpose()
        };
        let payload = optional("payload", &settings.payload, &mut reference)?;
        let key = optional("key", &settings.key, &mut reference)?;
        let time = optional("time", &settings.time, &mut reference)?.map(|reference| TimeRule {
            reference,
            unit: settings.time_unit,
            optional: settings.time_optional,
        });
        let sequence = match &settings.sequence {
            None => None,
            Some(SequenceSettings::Value(value)) => {
                let table = SequenceTable { value: Some(value.clone()), ..SequenceTable::default() };
                Some(SequenceRule::new(&table, &mut reference)?)
            }
            Some(SequenceSettings::Table(table)) => Some(SequenceRule::new(table, &mut reference)?),
        };
        let each = match (&settings.each, element) {
            (Some(array), Some(texts)) => {
                let pointers: Vec<Pointer> =
                    texts.iter().map(|text| parse("each", text)).collect::<Result<_, RuleError>>()?;
                // The array is in the whole message, whatever it is written like.
                let text = array.strip_prefix(FRAME_PREFIX).unwrap_or(array);
                let place = Place::Frame(frame.slot("each", text)?);
                let array = Reference { place, text: array.as_str().into() };
                Some(EachRule { array, pointers: PointerSet::new(&pointers) })
            }
            _ => None,
        };
        Ok(Self { when, ignore: settings.ignore, each, payload, id, key, time, sequence })
    }

    /// Whether the conditions on the whole message hold.
    #[inline]
    pub(super) fn fits_frame(&self, scanned: &Scanned<'_>) -> bool {
        self.when.iter().all(|(reference, condition)| match reference.place {
            Place::Frame(_) => holds(condition, scanned, scanned.find(reference)),
            Place::Element(_) => true,
        })
    }

    /// Whether the conditions on an element hold.
    pub(super) fn fits_element(&self, scanned: &Scanned<'_>) -> bool {
        self.when.iter().all(|(reference, condition)| match reference.place {
            Place::Frame(_) => true,
            Place::Element(_) => holds(condition, scanned, scanned.find(reference)),
        })
    }
}

impl SequenceRule {
    fn new(
        table: &SequenceTable,
        reference: &mut dyn FnMut(&'static str, &str) -> Result<Reference, RuleError>,
    ) -> Result<Self, RuleError> {
        let SequenceTable { value, previous, first, last, per } = table;
        let (counting, from, last) = match (value, previous, first, last) {
            (Some(value), None, None, None) => (Counting::Messages, None, value),
            (Some(value), Some(previous), None, None) => (Counting::Chain, Some(previous), value),
            (None, None, Some(first), Some(last)) => (Counting::Ranges, Some(first), last),
            _ => {
                let what = "it needs `value`, or `value` and `previous`, or `first` and `last`".to_owned();
                return Err(RuleError { key: "sequence", what });
            }
        };
        let from = from.map(|from| reference("sequence", from)).transpose()?;
        Ok(Self { counting, per: *per, from, last: reference("sequence", last)? })
    }

    /// A message's numbers; none where it has none, such as a snapshot: it is an event all the same.
    pub(super) fn read(&self, scanned: &Scanned<'_>) -> Option<Numbers> {
        let number = |reference: &Reference| -> Option<Number> {
            scanned.find(reference).and_then(|span| numbers::read(scanned.text(span)))
        };
        let last = number(&self.last)?;
        let behind = match (&self.from, self.counting) {
            (None, _) => last - 1,
            (Some(previous), Counting::Chain) => number(previous)?,
            (Some(first), _) => number(first)? - 1,
        };
        // One that ends before it begins has no number. A chain may step back.
        (self.counting == Counting::Chain || behind < last).then_some(Numbers { behind, last })
    }
}

impl Reference {
    fn new(
        key: &'static str,
        text: &str,
        frame: &mut FramePointers,
        element: Option<&mut Vec<String>>,
    ) -> Result<Self, RuleError> {
        let place = match (text.strip_prefix(FRAME_PREFIX), element) {
            (Some(rest), _) => Place::Frame(frame.slot(key, rest)?),
            (None, None) => Place::Frame(frame.slot(key, text)?),
            (None, Some(element)) => {
                parse(key, text)?;
                Place::Element(slot_of(element, text))
            }
        };
        Ok(Self { place, text: text.into() })
    }
}

fn parse(key: &'static str, text: &str) -> Result<Pointer, RuleError> {
    Pointer::parse(text).map_err(|error| RuleError { key, what: error.to_string() })
}

fn slot_of(texts: &mut Vec<String>, text: &str) -> usize {
    texts.iter().position(|known| known == text).unwrap_or_else(|| {
        texts.push(text.to_owned());
        texts.len() - 1
    })
}

fn holds(condition: &Condition, scanned: &Scanned<'_>, found: Option<Span>) -> bool {
    match condition {
        Condition::Present(wanted) => found.is_some() == *wanted,
        Condition::Integer(wanted) => {
            found.is_some_and(|span| Token::new(scanned.text(span)).as_i64() == Some(*wanted))
        }
        Condition::Text(wanted) => found.is_some_and(|span| Token::new(scanned.text(span)).same_text(wanted)),
        Condition::AnyOf(conditions) => conditions.iter().any(|condition| holds(condition, scanned, found)),
    }
}

/// A short piece of a raw text for a message.
pub(super) fn excerpt(raw: &[u8]) -> Cow<'_, str> {
    const MOST: usize = 40;
    if raw.len() <= MOST {
        return String::from_utf8_lossy(raw);
    }
    Cow::Owned(format!("{}…", String::from_utf8_lossy(&raw[..MOST])))
}
