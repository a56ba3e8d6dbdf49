//! What is in an answer: an error, items, and where it goes on.

use std::collections::BTreeMap;

use super::declaration::{DeclarationError, fault};
use super::place::{Measure, Place};
use super::template::{Filling, Template};
use crate::config::BackfillSettings;
use crate::scanner::{Fields, Pointer, PointerSet, Span, Token, TokenKind, Utf8, elements};

/// Where an error says something that is put into a message: as much of it. Source: a guess.
const EXCERPT_CHARACTERS_MAX: usize = 200;

/// Slots of [`AnswerForm`]'s scan.
const EACH: usize = 0;
const ERROR: usize = 1;
const NEXT: usize = 2;

/// How an answer is read.
#[derive(Debug, Clone)]
pub(super) struct AnswerForm {
    pointers: PointerSet,
    each: String,
    has_next: bool,
}

/// What an answer is.
#[derive(Debug)]
pub(super) struct Answer<'a> {
    /// Every item, as it stands in the text.
    pub(super) items: Vec<&'a [u8]>,
    /// Where it goes on, where the body says so: a raw token.
    pub(super) next: Option<&'a [u8]>,
}

/// Why there are no items.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum NoItems {
    /// It says itself that it is an error, and why.
    Error(String),
    /// It is not what was declared.
    Broken(String),
}

impl AnswerForm {
    pub(super) fn compile(settings: &BackfillSettings) -> Result<Self, DeclarationError> {
        let parse = |key: &str, text: &str| Pointer::parse(text).map_err(|error| fault(key, error.to_string()));
        let each = settings.each.clone().unwrap_or_default();
        let next = settings.pages.as_ref().and_then(|pages| pages.next.as_deref());
        let mut pointers = vec![parse("each", &each)?, parse("error", settings.error.as_deref().unwrap_or("/error"))?];
        pointers.extend(next.map(|next| parse("pages.next", next)).transpose()?);
        Ok(Self { pointers: PointerSet::new(&pointers), each, has_next: next.is_some() })
    }

    /// Takes an answer's body apart.
    pub(super) fn read<'a>(&self, body: &'a [u8]) -> Result<Answer<'a>, NoItems> {
        let mut fields = Fields::default();
        self.pointers
            .scan(body, Utf8::Unchecked, &mut fields)
            .map_err(|error| NoItems::Broken(format!("the answer is no JSON: {error}")))?;
        let given = |slot: usize| fields.get(slot).map(|span| span.of(body)).filter(|raw| !is_nothing(raw));
        if let Some(error) = given(ERROR) {
            return Err(NoItems::Error(excerpt(error)));
        }
        let Some(span) = fields.get(EACH) else {
            return Err(NoItems::Broken(format!("the answer has nothing at `{}`: {}", self.each, excerpt(body))));
        };
        let raw = span.of(body);
        let items = match Token::new(raw).kind() {
            TokenKind::Array => elements(body, span).map(|span: Span| span.of(body)).collect(),
            TokenKind::Object => vec![raw],
            TokenKind::Null => Vec::new(),
            _ => {
                return Err(NoItems::Broken(format!(
                    "`{}` is neither an array nor an object: {}",
                    self.each,
                    excerpt(raw)
                )));
            }
        };
        Ok(Answer { items, next: if self.has_next { given(NEXT) } else { None } })
    }
}

/// Providers write in several ways that there is no error and no next page.
fn is_nothing(raw: &[u8]) -> bool {
    matches!(raw, b"null" | b"false" | b"\"\"" | b"[]" | b"{}")
}

/// A short piece of what came, for people.
pub(super) fn excerpt(raw: &[u8]) -> String {
    let text = String::from_utf8_lossy(raw);
    let mut short: String = text.chars().take(EXCERPT_CHARACTERS_MAX).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

/// How an item is read.
#[derive(Debug, Clone)]
pub(super) struct ItemForm {
    pointers: PointerSet,
    /// Slots of what it must have, and the text.
    only: Vec<(usize, String)>,
    position: Option<(usize, Measure)>,
    message: Option<Template>,
    /// Slots of the message's pointers.
    slots: BTreeMap<String, usize>,
    holes: BTreeMap<String, String>,
    fields: Fields,
}

/// What an item is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Item {
    /// What was asked for, and where it stands.
    Ours(Option<Place>),
    /// Of something else.
    Foreign,
}

impl ItemForm {
    pub(super) fn compile(
        settings: &BackfillSettings,
        measure: Option<Measure>,
        holes: &BTreeMap<String, String>,
    ) -> Result<Self, DeclarationError> {
        let mut pointers = Vec::new();
        let mut slots = BTreeMap::new();
        let mut slot = |key: &str, text: &str| -> Result<usize, DeclarationError> {
            let pointer = Pointer::parse(text).map_err(|error| fault(key, error.to_string()))?;
            Ok(*slots.entry(text.to_owned()).or_insert_with(|| {
                pointers.push(pointer);
                pointers.len() - 1
            }))
        };
        let mut only = Vec::new();
        for (pointer, text) in &settings.only {
            let key = format!("only.\"{pointer}\"");
            let template = Template::plain(text).map_err(|reason| fault(&key, reason))?;
            let fill = |name: &str| holes.get(name).map(|text| Filling::text(text.as_str()));
            let text = template.render(&fill).ok_or_else(|| {
                let unknown = template.names().find(|name| !holes.contains_key(*name)).unwrap_or_default();
                fault(&key, format!("knows no `{{{unknown}}}`"))
            })?;
            only.push((slot(&key, pointer)?, text));
        }
        let position = settings.range.as_ref().and_then(|range| range.position.as_deref());
        let position = match (position, measure) {
            (Some(text), Some(measure)) => Some((slot("range.position", text)?, measure)),
            _ => None,
        };
        let message = settings.message.as_deref().map(Template::json).transpose();
        let message = message.map_err(|reason| fault("message", reason))?;
        for name in message.iter().flat_map(Template::names) {
            if name.starts_with('/') {
                slot("message", name)?;
            } else if name != "item" && !holes.contains_key(name) {
                let known: Vec<String> = holes.keys().map(|name| format!("`{{{name}}}`")).collect();
                let known = known.join(", ");
                return Err(fault(
                    "message",
                    format!(
                        "knows no `{{{name}}}`; known are `{{item}}`, pointers into it such as `{{/price}}`, {known}"
                    ),
                ));
            }
        }
        Ok(Self {
            pointers: PointerSet::new(&pointers),
            only,
            position,
            message,
            slots,
            holes: holes.clone(),
            fields: Fields::default(),
        })
    }

    /// Looks at an item; its message goes into `message`. The error says what of it cannot be read.
    pub(super) fn read(&mut self, item: &[u8], message: &mut Vec<u8>) -> Result<Item, String> {
        message.clear();
        self.pointers.scan(item, Utf8::Unchecked, &mut self.fields).map_err(|error| error.to_string())?;
        let raw = |slot: usize| self.fields.get(slot).map(|span| span.of(item));
        let is_same = |(slot, text): &(usize, String)| raw(*slot).is_some_and(|raw| Token::new(raw).text() == *text);
        if !self.only.iter().all(is_same) {
            return Ok(Item::Foreign);
        }
        let position = match self.position {
            None => None,
            Some((slot, measure)) => Some(
                raw(slot)
                    .and_then(|raw| measure.read(raw))
                    .ok_or("range.position: there is nothing that tells where it stands")?,
            ),
        };
        let Some(template) = &self.message else {
            message.extend_from_slice(item);
            return Ok(Item::Ours(position));
        };
        let fill = |name: &str| match name {
            "item" => Filling::token(item),
            pointer if pointer.starts_with('/') => {
                self.slots.get(pointer).and_then(|slot| raw(*slot)).and_then(Filling::token)
            }
            part => self.holes.get(part).map(|text| Filling::text(text.as_str())),
        };
        match template.render(&fill) {
            Some(text) => message.extend_from_slice(text.as_bytes()),
            None => {
                let missing = template.names().find(|name| fill(name).is_none()).unwrap_or_default();
                return Err(format!("message: the item has nothing at `{missing}`"));
            }
        }
        Ok(Item::Ours(position))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(toml: &str) -> BackfillSettings {
        toml::from_str(toml).unwrap()
    }

    fn items(toml: &str, body: &str) -> Result<(Vec<String>, Option<String>), NoItems> {
        let form = AnswerForm::compile(&settings(toml)).unwrap();
        let answer = form.read(body.as_bytes())?;
        let text = |raw: &&[u8]| String::from_utf8_lossy(raw).into_owned();
        Ok((answer.items.iter().map(text).collect(), answer.next.as_ref().map(text)))
    }

    #[test]
    fn items_are_an_arrays_elements_or_one_object_or_none() {
        assert_eq!(items("", "[1, {\"a\": 2}]").unwrap().0, ["1", "{\"a\": 2}"]);
        assert_eq!(items("each = \"/result\"", "{\"result\": {\"a\": 1}}").unwrap().0, ["{\"a\": 1}"]);
        assert!(items("each = \"/result\"", "{\"result\": null}").unwrap().0.is_empty());
        let paged = "each = \"/data\"\npages = { by = \"cursor\", next = \"/next\" }";
        assert_eq!(items(paged, "{\"data\": [], \"next\": \"x\"}").unwrap().1.as_deref(), Some("\"x\""));
        assert_eq!(items(paged, "{\"data\": [], \"next\": \"\"}").unwrap().1, None);
    }

    #[test]
    fn what_is_no_answer_is_told_from_one_that_says_it_is_an_error() {
        let error = items("each = \"/result\"", "{\"error\": {\"code\": -32005}}").unwrap_err();
        assert_eq!(error, NoItems::Error("{\"code\": -32005}".into()));
        for broken in ["<html>", "{\"result\": [", "{\"other\": 1}", "{\"result\": 7}", ""] {
            assert!(matches!(items("each = \"/result\"", broken), Err(NoItems::Broken(_))), "{broken}");
        }
    }

    #[test]
    fn an_item_becomes_the_message_that_it_would_have_been() {
        let settings = settings(
            "only = { \"/s\" = \"{symbol|upper}\" }\nrange = { by = \"time\", position = \"/T\" }\n\
             message = '{\"stream\":\"{topic}\",\"data\":{\"t\":{/id},\"all\":{item}}}'",
        );
        let holes =
            BTreeMap::from([("symbol".to_owned(), "btc".to_owned()), ("topic".to_owned(), "btc@trade".to_owned())]);
        let measure = settings.range.as_ref().map(Measure::of);
        let mut form = ItemForm::compile(&settings, measure, &holes).unwrap();
        let mut message = Vec::new();
        let ours = form.read(b"{\"id\":\"7\",\"s\":\"BTC\",\"T\":5}", &mut message).unwrap();
        assert_eq!(ours, Item::Ours(Some(Place::At(5_000_000))));
        let text = String::from_utf8(message.clone()).unwrap();
        assert_eq!(text, r#"{"stream":"btc@trade","data":{"t":"7","all":{"id":"7","s":"BTC","T":5}}}"#);
        assert_eq!(form.read(b"{\"id\":7,\"s\":\"ETH\",\"T\":5}", &mut message), Ok(Item::Foreign));
        assert!(form.read(b"{\"s\":\"BTC\",\"T\":5}", &mut message).unwrap_err().contains("`/id`"));
        assert!(form.read(b"{\"id\":7,\"s\":\"BTC\"}", &mut message).unwrap_err().contains("position"));
    }
}
