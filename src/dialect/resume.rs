//! Taking an upstream up again: where its tokens are in messages, how they are compared and moved back, and how it is told.

use std::time::Duration;

use serde::Deserialize;

use super::error::Fault;
use crate::config::units;

/// `[resume]`: the upstream sends again what came after a token.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResumeSettings {
    /// Pointer to the token of a message: a number, or a string.
    pub token: String,
    /// What a token is.
    #[serde(default)]
    pub unit: ResumeUnit,
    /// How far before the last token it is taken up, because tokens need not come in order. For units of time. Shorter than
    /// the time that ids are remembered, since what comes twice is told by its id.
    #[serde(default, with = "units::optional_duration")]
    pub overlap: Option<Duration>,
    /// The same for tokens that count.
    #[serde(default)]
    pub overlap_count: Option<u64>,
    /// What a message's token is good for.
    #[serde(default)]
    pub scope: ResumeScope,
    /// Name of the parameter of the address by which the upstream is told. Else by `subscribe_from` of `[[topics]]`.
    #[serde(default)]
    pub query: Option<String>,
}

/// What a token is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResumeUnit {
    /// A text that says nothing to us; it is given back as it came.
    #[default]
    Opaque,
    /// A whole number that grows.
    Count,
    /// Seconds since 1970.
    S,
    /// Milliseconds since 1970.
    Ms,
    /// Microseconds since 1970.
    Us,
    /// Nanoseconds since 1970.
    Ns,
}

/// What a token is good for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResumeScope {
    /// All topics of the link: the upstream sends them in one order.
    #[default]
    Link,
    /// The topic of the message only.
    Topic,
}

/// A checked `[resume]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resumption {
    unit: ResumeUnit,
    overlap: Duration,
    back: u128,
    query: Option<String>,
    header: Option<String>,
}

impl Resumption {
    pub(super) fn compile(settings: &ResumeSettings) -> Result<Self, Fault> {
        let units = |nanoseconds| settings.overlap.unwrap_or_default().as_nanos().div_ceil(nanoseconds);
        let back = match settings.unit {
            ResumeUnit::Opaque => 0,
            ResumeUnit::Count => settings.overlap_count.unwrap_or(0).into(),
            ResumeUnit::S => units(1_000_000_000),
            ResumeUnit::Ms => units(1_000_000),
            ResumeUnit::Us => units(1_000),
            ResumeUnit::Ns => units(1),
        };
        let in_time = !matches!(settings.unit, ResumeUnit::Opaque | ResumeUnit::Count);
        if settings.overlap.is_some() && !in_time {
            return Err(Fault::new("resume.overlap", "is a time, and the tokens are not; say what they are by `unit`"));
        }
        if settings.overlap_count.is_some() && settings.unit != ResumeUnit::Count {
            return Err(Fault::new("resume.overlap_count", "goes with `unit = \"count\"` only"));
        }
        if settings.query.as_ref().is_some_and(String::is_empty) {
            return Err(Fault::new("resume.query", "is empty; write the parameter's name, such as `cursor`"));
        }
        Ok(Self {
            unit: settings.unit,
            overlap: settings.overlap.unwrap_or_default(),
            back,
            query: settings.query.clone(),
            header: None,
        })
    }

    /// Where a new connection gives back, by a header, the last opaque token as it came.
    pub(super) fn by_header(name: &str) -> Self {
        let header = Some(name.to_owned());
        Self { unit: ResumeUnit::Opaque, overlap: Duration::ZERO, back: 0, query: None, header }
    }

    /// How far back it reaches behind the last token.
    pub fn overlap(&self) -> Duration {
        self.overlap
    }

    /// The parameter of the address that tells the upstream.
    pub fn query(&self) -> Option<&str> {
        self.query.as_deref()
    }

    /// The header of a new connection's request that tells the upstream.
    pub fn header(&self) -> Option<&str> {
        self.header.as_deref()
    }

    /// Whether only a new connection can be told where to go on from.
    pub fn is_by_opening(&self) -> bool {
        self.query.is_some() || self.header.is_some()
    }

    /// Whether a text can be a token.
    pub(super) fn is_token(&self, text: &[u8]) -> bool {
        !text.is_empty() && (self.unit == ResumeUnit::Opaque || number(text).is_some())
    }

    /// Where to take up: at the least of these tokens, moved back. `tokens` are in the order in which they were journaled,
    /// which decides where they cannot be compared. None where there is nothing to go by.
    pub fn point<'a>(&self, tokens: impl IntoIterator<Item = &'a [u8]>) -> Option<String> {
        let mut tokens = tokens.into_iter();
        if self.unit == ResumeUnit::Opaque {
            return tokens.next().and_then(|token| String::from_utf8(token.to_vec()).ok());
        }
        let least = tokens.filter_map(number).min()?;
        Some(least.saturating_sub(self.back).to_string())
    }

    /// Whether a point may stand for a JSON value as it is.
    pub(super) fn is_number(&self) -> bool {
        self.unit != ResumeUnit::Opaque
    }
}

fn number(text: &[u8]) -> Option<u128> {
    std::str::from_utf8(text).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(unit: ResumeUnit) -> ResumeSettings {
        ResumeSettings {
            token: "/t".into(),
            unit,
            overlap: None,
            overlap_count: None,
            scope: ResumeScope::Link,
            query: None,
        }
    }

    fn point(settings: &ResumeSettings, tokens: &[&str]) -> Option<String> {
        Resumption::compile(settings).unwrap().point(tokens.iter().map(|token| token.as_bytes()))
    }

    #[test]
    fn it_is_taken_up_at_the_least_token_less_the_overlap() {
        let us = ResumeSettings { overlap: Some(Duration::from_secs(5)), ..settings(ResumeUnit::Us) };
        assert_eq!(point(&us, &["1725519626134432", "1725519626000000"]), Some("1725519621000000".into()));
        assert_eq!(point(&us, &["7"]), Some("0".into()), "never before the beginning");
        assert_eq!(point(&us, &["x", ""]), None);
        let ms = ResumeSettings { overlap: Some(Duration::from_micros(1500)), ..settings(ResumeUnit::Ms) };
        assert_eq!(point(&ms, &["10"]), Some("8".into()), "rather too far than too short");
        let count = ResumeSettings { overlap_count: Some(3), ..settings(ResumeUnit::Count) };
        assert_eq!(point(&count, &["100", "99"]), Some("96".into()));
        assert_eq!(point(&settings(ResumeUnit::Opaque), &["b", "a"]), Some("b".into()), "the one journaled first");
    }

    #[test]
    fn an_overlap_that_means_nothing_is_refused() {
        let time = ResumeSettings { overlap: Some(Duration::from_secs(1)), ..settings(ResumeUnit::Count) };
        assert!(Resumption::compile(&time).is_err());
        let count = ResumeSettings { overlap_count: Some(1), ..settings(ResumeUnit::Us) };
        assert!(Resumption::compile(&count).is_err());
    }
}
