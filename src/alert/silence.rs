//! Silences: alerts that fit one are recorded and shown, and nobody is told of them until it ends.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Alert, Severity};
use crate::clock::UnixNanos;

/// A name with `*` for any run of characters.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Pattern(String);

impl Pattern {
    /// Of a text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a name is meant.
    pub fn fits(&self, name: &str) -> bool {
        let mut parts = self.0.split('*');
        let Some(mut rest) = name.strip_prefix(parts.next().unwrap_or_default()) else { return false };
        let mut parts = parts.peekable();
        if parts.peek().is_none() {
            return rest.is_empty();
        }
        while let Some(part) = parts.next() {
            if parts.peek().is_none() {
                return rest.ends_with(part);
            }
            // The first place is as good as any: what follows has the most room then.
            let Some(at) = rest.find(part) else { return false };
            rest = &rest[at + part.len()..];
        }
        true
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Which alerts nobody is to be told of, until when, and why. Of what it does not say any will do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Silence {
    /// Its id, a UUID.
    pub id: String,
    /// The rule's name; for built-in rules the type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<Pattern>,
    /// What the alert is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Pattern>,
    /// How bad it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub severity: Option<Severity>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Who.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// Since when, RFC 3339.
    pub since: String,
    /// Until when.
    pub until: String,
}

impl Silence {
    /// Whether it is in force at a moment.
    pub fn is_at(&self, time: UnixNanos) -> bool {
        self.until.parse::<UnixNanos>().is_ok_and(|until| time < until)
    }

    /// Whether an alert of a rule is meant.
    pub fn fits(&self, rule: &str, alert: &Alert) -> bool {
        self.rule.as_ref().is_none_or(|pattern| pattern.fits(rule))
            && self.subject.as_ref().is_none_or(|pattern| pattern.fits(&alert.subject))
            && self.severity.is_none_or(|severity| severity == alert.severity)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_run_of_characters() {
        let fits = |pattern: &str, name: &str| Pattern::new(pattern).fits(name);
        assert!(fits("a", "a") && !fits("a", "ab") && !fits("a", "ba"));
        assert!(fits("*", "") && fits("*", "anything"));
        assert!(fits("a*", "abc") && !fits("a*", "ba") && fits("*c", "abc") && !fits("*c", "cb"));
        assert!(fits("a*b*c", "a-b-b-c") && !fits("a*b*c", "a-c"));
        assert!(!fits("ab*b", "ab"), "one character is not two");
        assert!(fits("upstream:*", "upstream:binance"));
    }
}
