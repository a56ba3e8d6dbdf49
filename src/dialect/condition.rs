//! `when = { "/type" = ["match", "last_match"] }`: what must be in a text for a rule to be about it.

use std::collections::BTreeMap;

use super::scanned::{PointerList, Scanned};
use crate::config::Condition;
use crate::scanner::Token;

/// All tests of a rule; every one must hold.
#[derive(Debug, Clone, Default)]
pub(crate) struct When {
    tests: Vec<(usize, Test)>,
}

#[derive(Debug, Clone)]
enum Test {
    Present,
    Absent,
    Integer(Box<[u8]>),
    /// A string, or one of the words `true`, `false` and `null`: a settings file's own `true` already means "present".
    Text(Text),
    AnyOf(Vec<Test>),
}

impl When {
    /// Gives each pointer its slot.
    pub(crate) fn compile(
        settings: &BTreeMap<String, Condition>,
        pointers: &mut PointerList,
    ) -> Result<Self, (String, String)> {
        let mut tests = Vec::with_capacity(settings.len());
        for (pointer, condition) in settings {
            let slot = pointers.slot(pointer).map_err(|reason| (pointer.clone(), reason))?;
            tests.push((slot, Test::compile(condition)));
        }
        Ok(Self { tests })
    }

    /// Whether the text is what the rule is about.
    #[inline]
    pub(crate) fn holds(&self, scanned: Scanned<'_>) -> bool {
        self.tests.iter().all(|(slot, test)| test.holds(scanned.raw(*slot)))
    }
}

/// A text and how it looks as a token.
#[derive(Debug, Clone)]
struct Text {
    text: Box<str>,
    token: Box<[u8]>,
}

impl Text {
    fn new(text: &str) -> Self {
        Self { text: text.into(), token: format!("\"{text}\"").into_bytes().into() }
    }

    #[inline]
    fn is(&self, raw: &[u8]) -> bool {
        match raw {
            // Escapes only make a string longer: what is not longer and not the same is another text.
            [b'"', ..] if raw.len() <= self.token.len() => raw == &*self.token && !raw.contains(&b'\\'),
            [b'"', ..] => raw.contains(&b'\\') && Token::new(raw).text() == *self.text,
            b"true" | b"false" | b"null" => raw == self.text.as_bytes(),
            _ => false,
        }
    }
}

impl Test {
    fn compile(condition: &Condition) -> Self {
        match condition {
            Condition::Present(true) => Self::Present,
            Condition::Present(false) => Self::Absent,
            Condition::Integer(number) => Self::Integer(number.to_string().into_bytes().into()),
            Condition::Text(text) => Self::Text(Text::new(text)),
            Condition::AnyOf(several) => Self::AnyOf(several.iter().map(Self::compile).collect()),
        }
    }

    #[inline]
    fn holds(&self, raw: Option<&[u8]>) -> bool {
        match (self, raw) {
            (Self::Present, found) => found.is_some(),
            (Self::Absent, found) => found.is_none(),
            (Self::AnyOf(tests), found) => tests.iter().any(|test| test.holds(found)),
            (_, None) => false,
            (Self::Integer(digits), Some(raw)) => raw == &**digits,
            (Self::Text(text), Some(raw)) => text.is(raw),
        }
    }
}
