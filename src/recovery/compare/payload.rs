//! How payloads are compared, and shown where they differ.

use std::borrow::Cow;

use crate::recovery::verify::canonical;

/// Characters of a payload that are shown.
const VIEW_CHARACTERS: usize = 120;
/// Of these, before the first that differs.
const VIEW_BEFORE: usize = 40;

/// How payloads are compared.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum PayloadForm {
    /// To the byte.
    #[default]
    Bytes,
    /// As JSON values: blanks, the order of members and ways to write a number do not count. A string that holds an object or an
    /// array counts as what it holds, since stores keep texts so.
    Json,
    /// Not at all.
    Ignored,
}

impl PayloadForm {
    /// `bytes`, `json`, `none`
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Bytes => "bytes",
            Self::Json => "json",
            Self::Ignored => "none",
        }
    }

    /// Whether payloads that differ are a difference.
    pub fn is_compared(self) -> bool {
        self != Self::Ignored
    }

    /// The bytes that a payload is told by.
    pub(super) fn shape<'a>(self, payload: &'a [u8], scratch: &'a mut Vec<u8>) -> &'a [u8] {
        match self {
            Self::Json => {
                scratch.clear();
                canonical::put_payload(&inner(payload), scratch);
                scratch
            }
            Self::Bytes | Self::Ignored => payload,
        }
    }
}

/// What a string holds that is an object or an array; anything else as it is.
fn inner(payload: &[u8]) -> Cow<'_, [u8]> {
    let trimmed = payload.trim_ascii();
    if !trimmed.starts_with(b"\"") {
        return Cow::Borrowed(payload);
    }
    match serde_json::from_slice::<String>(trimmed) {
        Ok(text) if text.trim_start().starts_with(['{', '[']) && is_json(&text) => Cow::Owned(text.into_bytes()),
        _ => Cow::Borrowed(payload),
    }
}

fn is_json(text: &str) -> bool {
    serde_json::from_str::<&serde_json::value::RawValue>(text).is_ok()
}

/// Of two payloads what is around the place where they first differ, for people.
pub(super) fn views(left: &[u8], right: &[u8]) -> (String, String) {
    let (left, right) = (String::from_utf8_lossy(left), String::from_utf8_lossy(right));
    let same = left.chars().zip(right.chars()).take_while(|(left, right)| left == right).count();
    let from = if same <= VIEW_BEFORE { 0 } else { same - VIEW_BEFORE };
    (view(&left, from), view(&right, from))
}

/// The beginning of a payload, for people.
pub(super) fn beginning(payload: &[u8]) -> String {
    view(&String::from_utf8_lossy(payload), 0)
}

fn view(text: &str, from: usize) -> String {
    let mut rest = text.chars().skip(from);
    let mut view: String = rest.by_ref().take(VIEW_CHARACTERS).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if from > 0 {
        view.insert(0, '…');
    }
    if rest.next().is_some() {
        view.push('…');
    }
    view
}

#[cfg(test)]
mod tests {
    use super::*;

    fn same(form: PayloadForm, left: &str, right: &str) -> bool {
        let (mut a, mut b) = (Vec::new(), Vec::new());
        form.shape(left.as_bytes(), &mut a) == form.shape(right.as_bytes(), &mut b)
    }

    #[test]
    fn as_json_only_values_count() {
        for (left, right) in [
            (r#"{"a":1.50,"b":[1,2]}"#, r#"{ "b": [1, 2], "a": 15e-1 }"#),
            (r#""{\"a\":1}""#, r#"{"a":1}"#),
            ("not JSON", r#""not JSON""#),
        ] {
            assert!(same(PayloadForm::Json, left, right), "{left} {right}");
            assert!(!same(PayloadForm::Bytes, left, right), "{left} {right}");
        }
        for (left, right) in [(r#"{"a":1}"#, r#"{"a":"1"}"#), (r#""1""#, "1"), ("[1,2]", "[2,1]")] {
            assert!(!same(PayloadForm::Json, left, right), "{left} {right}");
        }
    }

    #[test]
    fn views_show_where_two_payloads_part() {
        let long = "x".repeat(100);
        let (left, right) = views(format!("{long}1{long}{long}").as_bytes(), format!("{long}2").as_bytes());
        assert!(left.starts_with("…x") && left.ends_with("x…") && left.contains("x1x"), "{left}");
        assert_eq!(right, format!("…{}2", "x".repeat(40)));
        assert_eq!(views(b"{\"a\":\n1}", b"{}").0, "{\"a\": 1}");
        assert_eq!(beginning(&[0xff, b'a']), "\u{fffd}a");
    }
}
