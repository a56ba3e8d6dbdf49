//! Fields taken out of an answer, and the record of them in the journal.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::scanner::{Fields, Pointer, PointerSet, Span, Token, Utf8};

/// The most bytes of a field. A longer one is left out.
const FIELD_BYTES_MAX: usize = 16 << 10;

/// The most bytes of all fields of an answer. A longer one is no answer.
const FIELDS_BYTES_MAX: usize = 32 << 10;

/// What a look-up says of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    /// These fields, as a JSON object.
    Fields(Box<str>),
    /// There is nothing.
    Nothing,
}

/// Takes fields out of JSON texts.
#[derive(Debug)]
pub(super) struct FieldPicker {
    names: Vec<String>,
    pointers: PointerSet,
}

impl FieldPicker {
    /// Of names and pointers. None where one is no pointer, which settings are checked for.
    pub(super) fn new(fields: &BTreeMap<String, String>) -> Option<Self> {
        let pointers: Vec<Pointer> = fields.values().map(|text| Pointer::parse(text)).collect::<Result<_, _>>().ok()?;
        Some(Self { names: fields.keys().cloned().collect(), pointers: PointerSet::new(&pointers) })
    }

    /// The fields of a text; nothing where it has none of them.
    ///
    /// # Errors
    /// When it is no JSON, or its fields are too long.
    pub(super) fn pick(&self, text: &[u8]) -> Result<Answer, String> {
        let mut found = Fields::default();
        self.pointers
            .scan(text, Utf8::Unchecked, &mut found)
            .map_err(|error| format!("the answer is no JSON: {error}"))?;
        let values = self.names.iter().enumerate().filter_map(|(slot, name)| {
            let value = found.get(slot).map(|span: Span| span.token(text)).filter(|token| !token.is_null())?;
            Some((name.as_str(), storable(value)?))
        });
        object(values)
    }
}

/// An object of names and JSON texts.
///
/// # Errors
/// When it is too long.
pub(super) fn object<'a>(values: impl Iterator<Item = (&'a str, String)>) -> Result<Answer, String> {
    let mut text = String::from("{");
    for (name, value) in values {
        if text.len() > 1 {
            text.push(',');
        }
        // A text has nothing that serialization refuses.
        text.push_str(&serde_json::to_string(name).unwrap_or_default());
        text.push(':');
        text.push_str(&value);
    }
    if text.len() == 1 {
        return Ok(Answer::Nothing);
    }
    text.push('}');
    if text.len() > FIELDS_BYTES_MAX {
        return Err(format!("its fields have {} bytes; at most {FIELDS_BYTES_MAX} are taken", text.len()));
    }
    Ok(Answer::Fields(text.into()))
}

/// A value as it stands, on one line, if every store takes it: PostgreSQL has no U+0000 in its `jsonb`, and no half characters.
fn storable(value: Token<'_>) -> Option<String> {
    let raw = std::str::from_utf8(value.raw()).ok()?;
    if raw.len() > FIELD_BYTES_MAX || raw.contains("\\u0000") || serde_json::from_str::<serde_json::Value>(raw).is_err()
    {
        return None;
    }
    Some(raw.replace(['\n', '\r'], " "))
}

/// A new or changed answer, as the journal has it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct AnswerRecord {
    /// Of which monitor's events.
    pub(super) monitor: String,
    /// Which look-up.
    pub(super) look_up: String,
    /// What of an event was looked up: `key`, `id`, `topic`, or a pointer.
    pub(super) on: Vec<String>,
    /// Its values.
    pub(super) key: Vec<String>,
    /// What was found; none: that there is nothing any more.
    pub(super) fields: Option<Box<RawValue>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pick(fields: &[(&str, &str)], text: &str) -> Result<Answer, String> {
        let fields = fields.iter().map(|(name, pointer)| ((*name).to_owned(), (*pointer).to_owned())).collect();
        FieldPicker::new(&fields).unwrap().pick(text.as_bytes())
    }

    #[test]
    fn fields_stay_as_they_are_written_and_what_is_missing_is_left_out() {
        let text = r#"{"a":{"b":18446744073709551616.50},"s":"x\ny","n":null,"list":[1,
2]}"#;
        let taken = pick(&[("big", "/a/b"), ("text", "/s"), ("none", "/n"), ("no", "/z"), ("list", "/list")], text);
        let expected = r#"{"big":18446744073709551616.50,"list":[1, 2],"text":"x\ny"}"#;
        assert_eq!(taken, Ok(Answer::Fields(expected.into())));
        assert_eq!(pick(&[("none", "/n")], text), Ok(Answer::Nothing));
        assert!(pick(&[("a", "/a")], "<html>").unwrap_err().contains("no JSON"));
    }

    #[test]
    fn what_a_store_would_refuse_is_left_out_so_that_no_event_is() {
        for bad in [r#""a\u0000b""#, "1e999", &format!("\"{}\"", "x".repeat(FIELD_BYTES_MAX))] {
            assert_eq!(pick(&[("a", "/a")], &format!(r#"{{"a":{bad}}}"#)), Ok(Answer::Nothing), "{bad:.20}");
        }
    }
}
