//! Texts with holes, as settings write the requests of a dialect.
//!
//! `{"op":"subscribe","args":{topics},"req_id":"{id}"}`: a `{name}` inside a JSON string is filled with escaped text, one
//! outside of strings with a whole JSON value. What fills a hole can therefore never end the string it stands in or
//! add a member: a topic with quotes in it stays one topic.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Names of credentials in a text that is sent as it stands: `{auth.NAME}`.
pub(crate) fn credentials_in(text: &str) -> impl Iterator<Item = String> {
    text.split("{auth.").skip(1).filter_map(|rest| rest.split_once('}').map(|(name, _)| name.to_owned()))
}

/// What a template's holes are filled with.
pub(crate) trait Fill {
    /// The hole's content as a JSON value.
    fn json(&self, name: &str) -> Option<Cow<'_, str>>;
    /// The hole's content as text.
    fn text(&self, name: &str) -> Option<Cow<'_, str>>;
}

/// A checked template.
#[derive(Debug, Clone)]
pub(crate) struct Template {
    pieces: Vec<Piece>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Fixed(String),
    /// Outside of JSON strings: a whole value.
    Value(String),
    /// Inside a JSON string: escaped.
    InString(String),
    /// In a text that is no JSON: as it is.
    Plain(String),
}

impl Template {
    /// Reads a JSON template, or a literal text (`ping`) where it begins with neither bracket, brace nor quote.
    pub(crate) fn request(text: &str) -> Result<Self, String> {
        if !text.trim_start().starts_with(['{', '[', '"']) {
            return Self::plain(text);
        }
        let template = Self { pieces: json_pieces(text)? };
        let sample = template.render(&Sample).unwrap_or_default();
        match serde_json::from_str::<serde::de::IgnoredAny>(&sample) {
            Ok(_) => Ok(template),
            Err(error) => Err(format!("is no JSON once its `{{…}}` are filled: {error}")),
        }
    }

    /// Reads a text whose holes are filled as they are.
    pub(crate) fn plain(text: &str) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some(at) = rest.find('{') {
            let (before, after) = rest.split_at(at);
            push_fixed(&mut pieces, before);
            let end = after.find('}').ok_or("has a `{` that is never closed")?;
            pieces.push(Piece::Plain(after[1..end].to_owned()));
            rest = &after[end + 1..];
        }
        push_fixed(&mut pieces, rest);
        Ok(Self { pieces })
    }

    /// Names of all holes.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Fixed(_) => None,
            Piece::Value(name) | Piece::InString(name) | Piece::Plain(name) => Some(name.as_str()),
        })
    }

    /// Names of holes that want a whole JSON value.
    pub(crate) fn value_names(&self) -> impl Iterator<Item = &str> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Value(name) => Some(name.as_str()),
            _ => None,
        })
    }

    /// The text with its holes filled; none when something is missing.
    pub(crate) fn render(&self, fill: &dyn Fill) -> Option<String> {
        let mut out = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Fixed(text) => out.push_str(text),
                Piece::Value(name) => out.push_str(&fill.json(name)?),
                Piece::InString(name) => push_escaped(&mut out, &fill.text(name)?),
                Piece::Plain(name) => out.push_str(&fill.text(name)?),
            }
        }
        Some(out)
    }
}

/// Fills `{id}` only.
pub(crate) struct IdOnly<'a>(pub(crate) &'a str);

impl Fill for IdOnly<'_> {
    fn json(&self, name: &str) -> Option<Cow<'_, str>> {
        self.text(name)
    }

    fn text(&self, name: &str) -> Option<Cow<'_, str>> {
        (name == "id").then_some(Cow::Borrowed(self.0))
    }
}

/// Fills every hole with something that fits, to see whether the result is JSON.
struct Sample;

impl Fill for Sample {
    fn json(&self, _name: &str) -> Option<Cow<'_, str>> {
        Some(Cow::Borrowed("0"))
    }

    fn text(&self, _name: &str) -> Option<Cow<'_, str>> {
        Some(Cow::Borrowed("0"))
    }
}

fn json_pieces(text: &str) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    let mut fixed_from = 0;
    let mut at = 0;
    let mut in_string = false;
    let bytes = text.as_bytes();
    while at < bytes.len() {
        match bytes[at] {
            b'\\' if in_string => at += 1,
            b'"' => in_string = !in_string,
            // An object begins with a quote, a space or its end, never with a name: no hole can be taken for one.
            b'{' if bytes.get(at + 1).is_some_and(|next| next.is_ascii_lowercase() || *next == b'/') => {
                let end = text[at..].find('}').ok_or("has a `{` that is never closed")? + at;
                push_fixed(&mut pieces, &text[fixed_from..at]);
                let name = text[at + 1..end].to_owned();
                pieces.push(if in_string { Piece::InString(name) } else { Piece::Value(name) });
                fixed_from = end + 1;
                at = end;
            }
            _ => {}
        }
        at += 1;
    }
    push_fixed(&mut pieces, &text[fixed_from.min(text.len())..]);
    Ok(pieces)
}

fn push_fixed(pieces: &mut Vec<Piece>, text: &str) {
    if !text.is_empty() {
        pieces.push(Piece::Fixed(text.to_owned()));
    }
}

fn push_escaped(out: &mut String, text: &str) {
    for char in text.chars() {
        match char {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            control if control < ' ' => {
                // Writing into a string cannot fail.
                let _infallible = write!(out, "\\u{:04x}", u32::from(control));
            }
            other => out.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Names(&'static [(&'static str, &'static str)]);

    impl Fill for Names {
        fn json(&self, name: &str) -> Option<Cow<'_, str>> {
            self.text(name)
        }

        fn text(&self, name: &str) -> Option<Cow<'_, str>> {
            self.0.iter().find(|(key, _)| *key == name).map(|(_, value)| Cow::Borrowed(*value))
        }
    }

    #[test]
    fn a_hole_in_a_string_is_escaped_and_one_outside_is_a_value() {
        let template = Template::request(r#"{"op":"sub","id":{id},"args":["{topic}"],"empty":{}}"#).unwrap();
        let text = template.render(&Names(&[("id", "7"), ("topic", "a\"],\"op\":\"x\\\n\u{1}")])).unwrap();
        assert_eq!(text, r#"{"op":"sub","id":7,"args":["a\"],\"op\":\"x\\\n\u0001"],"empty":{}}"#);
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["args"][0], "a\"],\"op\":\"x\\\n\u{1}", "the text stays one argument");
    }

    #[test]
    fn a_template_that_is_no_json_is_refused_with_the_reason() {
        let error = Template::request(r#"{"op":"sub","args":[{topics}}"#).unwrap_err();
        assert!(error.contains("is no JSON"), "{error}");
        let error = Template::request(r#"{"op":{id"#).unwrap_err();
        assert!(error.contains("never closed"), "{error}");
    }

    #[test]
    fn a_literal_text_stays_as_it_is() {
        let template = Template::request("ping").unwrap();
        assert_eq!(template.render(&Names(&[])).unwrap(), "ping");
    }
}
