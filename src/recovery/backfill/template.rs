//! Texts with holes: addresses, parameters, bodies, and messages made of items.
//!
//! In a JSON text a `{hole}` inside a string is filled with escaped text, one outside of strings with a whole JSON value: what fills it can
//! never end the string it stands in or add a member. In a part of an address it is filled as it is, and escaped where it is put into
//! the address.

use std::borrow::Cow;
use std::fmt::Write as _;

use crate::scanner::Token;

/// What fills a hole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Filling<'a> {
    /// As text.
    pub(super) text: Cow<'a, str>,
    /// As a JSON value, where it is one; else the text becomes a JSON string.
    pub(super) json: Option<Cow<'a, str>>,
}

impl<'a> Filling<'a> {
    /// A text, which is a JSON value only if it is a number, an object or an array.
    pub(super) fn text(text: impl Into<Cow<'a, str>>) -> Self {
        let text = text.into();
        let begins = text.as_bytes().first().copied();
        let is_value = matches!(begins, Some(b'0'..=b'9' | b'-' | b'{' | b'['))
            && serde_json::from_str::<serde::de::IgnoredAny>(&text).is_ok();
        let json = is_value.then(|| text.clone());
        Self { text, json }
    }

    /// A token as it stands in a JSON text.
    pub(super) fn token(raw: &'a [u8]) -> Option<Self> {
        let raw = std::str::from_utf8(raw).ok()?;
        Some(Self { text: Token::new(raw.as_bytes()).text(), json: Some(Cow::Borrowed(raw)) })
    }
}

/// Fills holes by name; none where there is nothing for it.
pub(super) type Fill<'f> = dyn Fn(&str) -> Option<Filling<'f>> + 'f;

/// How a hole is filled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Plain,
    Upper,
    Lower,
    /// An object's members, each after a comma.
    Members,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Outside of JSON strings: a whole value.
    Value,
    /// Inside of a JSON string.
    InString,
    /// In a text that is no JSON.
    Text,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Fixed(String),
    Hole { name: String, form: Form, place: Place },
}

/// A checked template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Template {
    pieces: Vec<Piece>,
}

impl Template {
    /// Reads a JSON text with holes.
    pub(super) fn json(text: &str) -> Result<Self, String> {
        let template = Self { pieces: pieces(text, true)? };
        let sample =
            template.render(&|_| Some(Filling { text: "0".into(), json: Some("0".into()) })).unwrap_or_default();
        match serde_json::from_str::<serde::de::IgnoredAny>(&sample) {
            Ok(_) => Ok(template),
            Err(error) => Err(format!("is no JSON once its `{{…}}` are filled: {error}")),
        }
    }

    /// Reads a text whose holes are filled as they are.
    pub(super) fn plain(text: &str) -> Result<Self, String> {
        Ok(Self { pieces: pieces(text, false)? })
    }

    /// Names of all holes.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Fixed(_) => None,
            Piece::Hole { name, .. } => Some(name.as_str()),
        })
    }

    /// The text with its holes filled; none when something is missing.
    pub(super) fn render<'f>(&self, fill: &Fill<'f>) -> Option<String> {
        let mut out = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Fixed(text) => out.push_str(text),
                Piece::Hole { name, form, place } => {
                    let filling = fill(name)?;
                    match (form, place) {
                        (Form::Members, _) => push_members(&mut out, filling.json.as_deref().unwrap_or_default()),
                        (Form::Plain, Place::Value) => match filling.json {
                            Some(json) => out.push_str(&json),
                            None => push_string(&mut out, &filling.text),
                        },
                        (form, Place::Value) => push_string(&mut out, &form.of(&filling.text)),
                        (form, Place::InString) => push_escaped(&mut out, &form.of(&filling.text)),
                        (form, Place::Text) => out.push_str(&form.of(&filling.text)),
                    }
                }
            }
        }
        Some(out)
    }
}

impl Form {
    fn of(self, text: &str) -> Cow<'_, str> {
        match self {
            Self::Upper => Cow::Owned(text.to_uppercase()),
            Self::Lower => Cow::Owned(text.to_lowercase()),
            Self::Plain | Self::Members => Cow::Borrowed(text),
        }
    }
}

/// The members of an object after a comma; nothing of an empty one, and of what is none.
fn push_members(out: &mut String, object: &str) {
    let inside = object.trim().strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).map_or("", str::trim);
    if !inside.is_empty() {
        out.push(',');
        out.push_str(inside);
    }
}

fn push_string(out: &mut String, text: &str) {
    out.push('"');
    push_escaped(out, text);
    out.push('"');
}

fn push_escaped(out: &mut String, text: &str) {
    for char in text.chars() {
        match char {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            control if control < ' ' => {
                // Writing into a string cannot fail.
                let _infallible = write!(out, "\\u{:04x}", u32::from(control));
            }
            other => out.push(other),
        }
    }
}

fn pieces(text: &str, json: bool) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    let (bytes, mut at, mut fixed_from, mut in_string) = (text.as_bytes(), 0, 0, false);
    let push_fixed = |pieces: &mut Vec<Piece>, text: &str| {
        if !text.is_empty() {
            pieces.push(Piece::Fixed(text.to_owned()));
        }
    };
    while at < bytes.len() {
        match bytes[at] {
            b'\\' if in_string => at += 1,
            b'"' if json => in_string = !in_string,
            // An object begins with a quote, a space or its end, never with a name: no hole can be taken for one.
            b'{' if bytes.get(at + 1).is_some_and(|next| next.is_ascii_lowercase() || *next == b'/') => {
                let end = text[at..].find('}').ok_or("has a `{` that is never closed")? + at;
                push_fixed(&mut pieces, &text[fixed_from..at]);
                let (name, form) = match text[at + 1..end].split_once('|') {
                    None => (&text[at + 1..end], Form::Plain),
                    Some((name, "upper")) => (name, Form::Upper),
                    Some((name, "lower")) => (name, Form::Lower),
                    Some((name, "members")) if json && !in_string => (name, Form::Members),
                    Some((name, form)) => {
                        return Err(format!(
                            "fills `{{{name}}}` as `{form}`; known are `upper`, `lower`, and `members` between an object's members"
                        ));
                    }
                };
                let place = match (json, in_string) {
                    (true, false) => Place::Value,
                    (true, true) => Place::InString,
                    (false, _) => Place::Text,
                };
                pieces.push(Piece::Hole { name: name.to_owned(), form, place });
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

/// How a topic is taken apart: `{symbol}@{stream}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TopicForm {
    pieces: Vec<Piece>,
}

impl TopicForm {
    /// Reads a form.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let pieces = pieces(text, false)?;
        let is_part = |piece: &Piece| matches!(piece, Piece::Hole { .. });
        if pieces.windows(2).any(|pair| pair.iter().all(is_part)) {
            return Err("has two parts with nothing between them".into());
        }
        if pieces.is_empty() {
            return Err("is empty; leave it out where every topic is meant".into());
        }
        Ok(Self { pieces })
    }

    /// Names of its parts.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Fixed(_) => None,
            Piece::Hole { name, .. } => Some(name.as_str()),
        })
    }

    /// The parts of a topic that has this form. A part ends where the text after it begins; the last one takes the rest.
    pub(super) fn split(&self, topic: &str) -> Option<Vec<(String, String)>> {
        let (mut parts, mut rest) = (Vec::new(), topic);
        let mut pieces = self.pieces.iter().peekable();
        while let Some(piece) = pieces.next() {
            match piece {
                Piece::Fixed(text) => rest = rest.strip_prefix(text.as_str())?,
                Piece::Hole { name, .. } => {
                    let end = match pieces.peek() {
                        Some(Piece::Fixed(text)) => {
                            let first = rest.chars().next()?.len_utf8();
                            rest[first..].find(text.as_str())? + first
                        }
                        _ => rest.len(),
                    };
                    if end == 0 {
                        return None;
                    }
                    parts.push((name.clone(), rest[..end].to_owned()));
                    rest = &rest[end..];
                }
            }
        }
        rest.is_empty().then_some(parts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(template: &Template, holes: &[(&str, &'static str)]) -> Option<String> {
        let holes: Vec<(String, &'static str)> = holes.iter().map(|(name, text)| ((*name).to_owned(), *text)).collect();
        template.render(&|name| holes.iter().find(|(known, _)| known == name).map(|(_, text)| Filling::text(*text)))
    }

    #[test]
    fn what_fills_a_hole_never_changes_what_is_around_it() {
        let template = Template::json(r#"{"a":"{topic}","b":{from},"c":{cursor}}"#).unwrap();
        let text = filled(&template, &[("topic", "x\",\"d\":\"\n"), ("from", "7"), ("cursor", "abc\"")]).unwrap();
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value, serde_json::json!({"a": "x\",\"d\":\"\n", "b": 7, "c": "abc\""}));
        assert_eq!(filled(&template, &[("topic", "x")]), None, "what is missing is not made up");
    }

    #[test]
    fn an_objects_members_join_those_that_are_there() {
        let template = Template::json(r#"[{"fromBlock":"{from}"{filter|members}}]"#).unwrap();
        let with = |filter| filled(&template, &[("from", "0x1"), ("filter", filter)]).unwrap();
        assert_eq!(with("{}"), r#"[{"fromBlock":"0x1"}]"#);
        assert_eq!(with(r#"{"address":"0x2"}"#), r#"[{"fromBlock":"0x1","address":"0x2"}]"#);
        assert_eq!(with("nonsense"), r#"[{"fromBlock":"0x1"}]"#);
    }

    #[test]
    fn a_topic_is_taken_apart_by_its_form_and_its_letters_can_be_changed() {
        let form = TopicForm::parse("{symbol}@trade").unwrap();
        assert_eq!(form.split("btcusdt@trade"), Some(vec![("symbol".into(), "btcusdt".into())]));
        assert_eq!(form.split("btcusdt@aggTrade"), None);
        assert_eq!(form.split("@trade"), None);
        let template = Template::plain("/trades/{symbol|upper}").unwrap();
        assert_eq!(filled(&template, &[("symbol", "btc")]).unwrap(), "/trades/BTC");
    }

    #[test]
    fn mistakes_are_named() {
        assert!(Template::json(r#"{"a":[{from}}"#).unwrap_err().contains("is no JSON"));
        assert!(Template::json(r#"{"a":{from"#).unwrap_err().contains("never closed"));
        assert!(Template::plain("{from|capital}").unwrap_err().contains("`capital`"));
        assert!(TopicForm::parse("{a}{b}").unwrap_err().contains("nothing between"));
    }
}
