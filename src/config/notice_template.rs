//! What a message about an alert says: a text with holes, `{type}`, `{subject}`.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::problem::suggestion;

/// Every hole.
pub(super) const HOLES: [&str; 19] = [
    "id",
    "type",
    "severity",
    "status",
    "occasion",
    "subject",
    "message",
    "value",
    "threshold",
    "created_at",
    "acknowledged_at",
    "acknowledged_by",
    "notes",
    "resolved_at",
    "resolved_by",
    "resolution",
    "link",
    "runbook",
    "phone",
];

/// What [`HOLES`] has not: the whole message in short, which only a provider of short messages is told.
pub(super) const TEXT: &str = "text";

/// The text. `{{` and `}}` stand for braces.
#[derive(Clone, PartialEq, Eq)]
pub struct NoticeTemplate {
    text: String,
    parts: Vec<Part>,
}

#[derive(Clone, PartialEq, Eq)]
enum Part {
    Plain(String),
    Hole(String),
}

impl NoticeTemplate {
    /// Reads it.
    ///
    /// # Errors
    /// When a brace has no other, or a hole means nothing.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            let (before, behind) = rest.split_at(at);
            plain.push_str(before);
            if let Some(after) = behind.strip_prefix("{{").or_else(|| behind.strip_prefix("}}")) {
                plain.push_str(&behind[..1]);
                rest = after;
                continue;
            }
            let Some(inside) = behind.strip_prefix('{') else {
                return Err("a `}` has no `{` before it; write `}}` for the brace itself".into());
            };
            let Some((name, after)) = inside.split_once('}') else {
                return Err("a `{` is not closed; write `{{` for the brace itself".into());
            };
            if name != TEXT && !HOLES.contains(&name) {
                let shown: String = name.chars().take(40).collect();
                return Err(format!("`{{{shown}}}` stands for nothing{}", suggestion(&shown, HOLES)));
            }
            if !plain.is_empty() {
                parts.push(Part::Plain(std::mem::take(&mut plain)));
            }
            parts.push(Part::Hole(name.to_owned()));
            rest = after;
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            parts.push(Part::Plain(plain));
        }
        Ok(Self { text: text.to_owned(), parts })
    }

    /// One of ours.
    pub(super) fn built_in(text: &str) -> Self {
        Self::parse(text).expect("a text of the program's own is a template; a test holds that")
    }

    /// The text with its holes filled.
    pub fn fill(&self, value: impl Fn(&str) -> String) -> String {
        self.parts
            .iter()
            .map(|part| match part {
                Part::Plain(text) => text.clone(),
                Part::Hole(name) => value(name),
            })
            .collect()
    }

    /// The same, without lines whose holes are all empty: a label says nothing where there is nothing to say.
    pub fn fill_lines(&self, value: impl Fn(&str) -> String) -> String {
        let mut lines = vec![(String::new(), 0, 0)];
        for part in &self.parts {
            match part {
                Part::Plain(text) => {
                    for (index, piece) in text.split('\n').enumerate() {
                        if index > 0 {
                            lines.push((String::new(), 0, 0));
                        }
                        if let Some((line, ..)) = lines.last_mut() {
                            line.push_str(piece);
                        }
                    }
                }
                Part::Hole(name) => {
                    let value = value(name);
                    if let Some((line, holes, filled)) = lines.last_mut() {
                        *holes += 1;
                        *filled += usize::from(!value.is_empty());
                        line.push_str(&value);
                    }
                }
            }
        }
        let said = lines.into_iter().filter(|(_, holes, filled)| *holes == 0 || *filled > 0);
        said.map(|(line, ..)| line).collect::<Vec<_>>().join("\n")
    }

    /// Whether it has this hole.
    pub fn wants(&self, hole: &str) -> bool {
        self.parts.iter().any(|part| matches!(part, Part::Hole(name) if name == hole))
    }
}

impl fmt::Display for NoticeTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for NoticeTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NoticeTemplate({:?})", self.text)
    }
}

impl Serialize for NoticeTemplate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for NoticeTemplate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(name: &str) -> String {
        match name {
            "type" => "HIGH_CPU".into(),
            "value" => "93".into(),
            _ => String::new(),
        }
    }

    #[test]
    fn holes_are_filled_and_doubled_braces_are_braces() {
        let template = NoticeTemplate::parse("{{{type}}} {value}% }}{{").unwrap();
        assert_eq!(template.fill(value), "{HIGH_CPU} 93% }{");
        assert!(template.wants("value") && !template.wants("id"));
    }

    #[test]
    fn an_unknown_hole_is_refused_with_the_one_that_is_near() {
        let error = NoticeTemplate::parse("{severty}").unwrap_err();
        assert!(error.contains("`{severty}`") && error.contains("`severity`"), "{error}");
        for text in ["{", "}", "{type", "type}", "{}"] {
            assert!(NoticeTemplate::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_line_that_has_nothing_to_say_is_left_out() {
        let template = NoticeTemplate::parse("{type}\n\nNotes: {notes}\nValue: {value}{notes}\nend").unwrap();
        assert_eq!(template.fill_lines(value), "HIGH_CPU\n\nValue: 93\nend");
    }

    #[test]
    fn the_built_in_texts_are_templates() {
        drop(crate::config::NotifySettings::default());
    }
}
