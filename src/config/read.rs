//! Typed values out of the merged tree.
//!
//! The crate `config` deserializes too, but takes `2.5` for a whole number, `1` for `true` and a number for a text, and
//! its errors know no place. This reader converts nothing and says at which path it was refused.

use std::fmt;

use config::{Map, Value, ValueKind};
use serde::de::value::StrDeserializer;
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, Error as _, Expected, MapAccess, SeqAccess, Unexpected, Visitor,
};
use serde::forward_to_deserialize_any;

use super::key::{KeyPath, Step};
use super::problem::suggestion;

/// Reads a `T`, or says what is wrong first.
pub(super) fn read<T: DeserializeOwned>(root: &Value) -> Result<T, Refusal> {
    T::deserialize(Node(root))
}

/// What was refused and where.
#[derive(Debug)]
pub(super) struct Refusal {
    /// Steps from the innermost outwards.
    steps: Vec<Step>,
    pub(super) reason: Reason,
}

#[derive(Debug)]
pub(super) enum Reason {
    /// The key is none of those known at its place.
    Unknown { known: &'static [&'static str] },
    /// The table lacks this key.
    Lacks { key: &'static str },
    /// Another value is expected.
    Value { message: String },
}

impl Refusal {
    pub(super) fn path(&self) -> KeyPath {
        KeyPath::from_steps(self.steps.iter().rev().cloned().collect())
    }

    pub(super) fn message(&self) -> String {
        match &self.reason {
            Reason::Unknown { known } => {
                let path = self.path();
                format!("no such setting{}", suggestion(path.last_key().unwrap_or_default(), known.iter().copied()))
            }
            Reason::Lacks { key } => format!("`{key}` is missing"),
            Reason::Value { message } => message.clone(),
        }
    }

    fn inside(mut self, step: Step) -> Self {
        self.steps.push(step);
        self
    }

    fn expects(expected: &dyn Expected) -> Self {
        let expected = expected.to_string();
        // The words of Rust's types, in those of settings.
        let words = match expected.as_str() {
            "u8" => "a whole number from 0 to 255",
            "u16" => "a whole number from 0 to 65535",
            "u32" => "a whole number from 0 to 4294967295",
            "u64" | "usize" => "a whole number, 0 or more",
            "i64" => "a whole number",
            "f64" => "a number",
            "a boolean" => "`true` or `false`",
            "a string" | "path string" => "a text in quotes",
            "a sequence" => "a list",
            "a map" => "a table",
            "socket address" => "an address with a port, such as \"127.0.0.1:9464\"",
            table if table.starts_with("struct ") => "a table",
            other => other,
        };
        Self { steps: Vec::new(), reason: Reason::Value { message: format!("expected {words}") } }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path(), self.message())
    }
}

impl std::error::Error for Refusal {}

impl serde::de::Error for Refusal {
    fn custom<T: fmt::Display>(message: T) -> Self {
        let message = match message.to_string() {
            text if text.starts_with("invalid socket address") => {
                "expected an address with a port, such as \"127.0.0.1:9464\"".to_owned()
            }
            text => text,
        };
        Self { steps: Vec::new(), reason: Reason::Value { message } }
    }

    fn invalid_type(_: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::expects(expected)
    }

    fn invalid_value(_: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::expects(expected)
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        let names: Vec<String> = expected.iter().map(|name| format!("`{name}`")).collect();
        let near = match super::problem::nearest(variant, expected.iter().copied()) {
            Some(name) => format!("; did you mean `{name}`?"),
            None => String::new(),
        };
        Self::custom(format!("expected one of {}{near}", names.join(", ")))
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        Self { steps: vec![Step::Key(field.to_owned())], reason: Reason::Unknown { known: expected } }
    }

    fn missing_field(field: &'static str) -> Self {
        Self { steps: Vec::new(), reason: Reason::Lacks { key: field } }
    }
}

/// A value as a deserializer.
#[derive(Clone, Copy)]
struct Node<'v>(&'v Value);

impl<'de> Deserializer<'de> for Node<'_> {
    type Error = Refusal;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        match &self.0.kind {
            ValueKind::Nil => visitor.visit_unit(),
            ValueKind::Boolean(truth) => visitor.visit_bool(*truth),
            ValueKind::I64(number) => visitor.visit_i64(*number),
            ValueKind::I128(number) => visitor.visit_i128(*number),
            ValueKind::U64(number) => visitor.visit_u64(*number),
            ValueKind::U128(number) => visitor.visit_u128(*number),
            ValueKind::Float(number) => visitor.visit_f64(*number),
            ValueKind::String(text) => visitor.visit_str(text),
            ValueKind::Array(list) => visitor.visit_seq(Elements { list: list.iter(), index: 0 }),
            ValueKind::Table(table) => visitor.visit_map(Entries::new(table)),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        match self.0.kind {
            ValueKind::Nil => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Refusal> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Refusal> {
        match &self.0.kind {
            ValueKind::String(text) => visitor.visit_enum(StrDeserializer::new(text)),
            // No name at all is nearest to none.
            _ => Err(Refusal::unknown_variant("", variants)),
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf
        unit unit_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

struct Elements<'v> {
    list: std::slice::Iter<'v, Value>,
    index: usize,
}

impl<'de> SeqAccess<'de> for Elements<'_> {
    type Error = Refusal;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Refusal> {
        let Some(item) = self.list.next() else { return Ok(None) };
        let step = Step::Index(self.index);
        self.index += 1;
        seed.deserialize(Node(item)).map(Some).map_err(|refusal| refusal.inside(step))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.list.len())
    }
}

struct Entries<'v> {
    entries: std::vec::IntoIter<(&'v String, &'v Value)>,
    value: Option<(&'v String, &'v Value)>,
}

impl<'v> Entries<'v> {
    fn new(table: &'v Map<String, Value>) -> Self {
        let mut entries: Vec<_> = table.iter().collect();
        // The tree's maps have no order; the first of several problems should be the same each time.
        entries.sort_unstable_by_key(|(key, _)| *key);
        Self { entries: entries.into_iter(), value: None }
    }
}

impl<'de> MapAccess<'de> for Entries<'_> {
    type Error = Refusal;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Refusal> {
        let Some((key, value)) = self.entries.next() else { return Ok(None) };
        self.value = Some((key, value));
        seed.deserialize(StrDeserializer::new(key)).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Refusal> {
        let (key, value) = self.value.take().ok_or_else(|| Refusal::custom("a value was asked for before its key"))?;
        seed.deserialize(Node(value)).map_err(|refusal| refusal.inside(Step::Key(key.clone())))
    }
}
