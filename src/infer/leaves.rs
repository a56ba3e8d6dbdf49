//! Where things stand in a message: JSON Pointers and what they find.

use serde_json::Value;

/// How deep is looked.
const DEPTH_MAX: usize = 6;
/// Places of one message that are looked at.
const PLACES_MAX: usize = 400;
/// Elements of an array at the root, each of which means something of its own.
const ROOT_ELEMENTS_MAX: usize = 16;

/// All places of a value, its own (the empty pointer) left out: every member, of an array at the root every element, of others the
/// first.
pub(super) fn places(value: &Value) -> Vec<(String, &Value)> {
    let mut found = Vec::new();
    descend(value, "", 0, &mut found);
    found
}

fn descend<'a>(value: &'a Value, at: &str, depth: usize, found: &mut Vec<(String, &'a Value)>) {
    if depth > 0 {
        if found.len() >= PLACES_MAX {
            return;
        }
        found.push((at.to_owned(), value));
    }
    if depth == DEPTH_MAX {
        return;
    }
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                let name = name.replace('~', "~0").replace('/', "~1");
                descend(member, &format!("{at}/{name}"), depth + 1, found);
            }
        }
        Value::Array(elements) => {
            let most = if depth == 0 { ROOT_ELEMENTS_MAX } else { 1 };
            for (index, element) in elements.iter().take(most).enumerate() {
                descend(element, &format!("{at}/{index}"), depth + 1, found);
            }
        }
        _ => {}
    }
}

/// A scalar as it is compared: strings without quotes. None for `null`, objects and arrays.
pub(super) fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(truth.to_string()),
        _ => None,
    }
}

/// What a pointer finds, as it is compared.
pub(super) fn at(value: &Value, pointer: &str) -> Option<String> {
    value.pointer(pointer).and_then(scalar)
}

/// A whole number, also one in a string.
pub(super) fn integer(value: &Value) -> Option<i64> {
    match value {
        Value::Number(number) => number.as_i64(),
        Value::String(text) if text.len() <= 19 && !text.is_empty() => text.parse().ok(),
        _ => None,
    }
}

/// Strings and numbers anywhere in a value.
pub(super) fn scalars(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(members) => members.values().for_each(|member| scalars(member, found)),
        Value::Array(elements) => elements.iter().for_each(|element| scalars(element, found)),
        other => found.extend(scalar(other)),
    }
}

/// How deep a pointer goes.
pub(super) fn depth(pointer: &str) -> usize {
    pointer.matches('/').count()
}

/// The last step of a pointer.
pub(super) fn last_step(pointer: &str) -> &str {
    pointer.rsplit('/').next().unwrap_or_default()
}
