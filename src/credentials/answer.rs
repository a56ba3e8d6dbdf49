//! Answers in JSON to what we asked with our credentials. They are few, so that they are read as trees.

use std::collections::BTreeMap;

use serde_json::Value;

use super::values::Fault;
use crate::config::Condition;

/// Whether every pointer finds what it must.
pub(super) fn holds(conditions: &BTreeMap<String, Condition>, answer: &Value) -> bool {
    conditions.iter().all(|(pointer, condition)| is(condition, answer.pointer(pointer)))
}

fn is(condition: &Condition, found: Option<&Value>) -> bool {
    match (condition, found) {
        (Condition::Present(wanted), found) => *wanted == found.is_some(),
        (Condition::AnyOf(several), found) => several.iter().any(|one| is(one, found)),
        (_, None) => false,
        (Condition::Integer(number), Some(found)) => found.as_i64() == Some(*number),
        // The words too, as everywhere in settings.
        (Condition::Text(text), Some(found)) => {
            found.as_str().map_or_else(|| word(found) == Some(text.as_str()), |found| found == text)
        }
    }
}

fn word(value: &Value) -> Option<&'static str> {
    match value {
        Value::Bool(true) => Some("true"),
        Value::Bool(false) => Some("false"),
        Value::Null => Some("null"),
        _ => None,
    }
}

/// The texts at several pointers, joined; none where there are none.
pub(super) fn reason(pointers: &[String], answer: &Value) -> Option<String> {
    const REASON_CHARACTERS_MAX: usize = 300;
    let texts = pointers.iter().filter_map(|pointer| match answer.pointer(pointer)? {
        Value::String(text) => Some(text.clone()),
        Value::Null => None,
        Value::Array(list) if list.is_empty() => None,
        other => Some(other.to_string()),
    });
    let text = texts.collect::<Vec<_>>().join(": ");
    let printable = text.chars().map(|character| if character.is_control() { ' ' } else { character });
    (!text.is_empty()).then(|| printable.take(REASON_CHARACTERS_MAX).collect())
}

/// A number, also one that is written as a text.
pub(super) fn number(pointer: &str, answer: &Value) -> Option<f64> {
    let found = answer.pointer(pointer)?;
    let number = found.as_f64().or_else(|| found.as_str()?.parse().ok())?;
    (number.is_finite() && number >= 0.0).then_some(number)
}

/// Whether pointers of settings are some.
pub(super) fn check_pointers<'a>(key: &str, pointers: impl IntoIterator<Item = &'a String>) -> Result<(), Fault> {
    for pointer in pointers {
        if let Err(error) = crate::scanner::Pointer::parse(pointer) {
            return Err((key.to_owned(), format!("`{pointer}` is no JSON Pointer: {error}")));
        }
    }
    Ok(())
}
