//! A text with holes that an event fills: `https://host/tokens/{key}`, `{/mint}`.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use url::Url;

use super::endpoint::Endpoint;

/// What a hole is filled with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hole {
    /// `{key}`: the event's key.
    Key,
    /// `{id}`: its id.
    Id,
    /// `{topic}`: its topic.
    Topic,
    /// `{/pointer}`: what is there in its payload.
    Pointer(String),
}

impl Hole {
    /// As it is written, without its braces.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Key => "key",
            Self::Id => "id",
            Self::Topic => "topic",
            Self::Pointer(pointer) => pointer,
        }
    }

    /// What stands between braces; none if it means nothing.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "key" => Some(Self::Key),
            "id" => Some(Self::Id),
            "topic" => Some(Self::Topic),
            pointer if pointer.starts_with('/') => Some(Self::Pointer(pointer.to_owned())),
            _ => None,
        }
    }
}

/// The text.
#[derive(Clone, PartialEq, Eq)]
pub struct HoleTemplate {
    /// As it was written: an address in it may hold a secret.
    text: String,
    /// What stands before each hole, and the hole.
    holes: Vec<(String, Hole)>,
    tail: String,
}

impl HoleTemplate {
    /// Reads it.
    ///
    /// # Errors
    /// When a brace is not closed, or a hole means nothing.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut holes = Vec::new();
        let mut rest = text;
        while let Some((before, inside)) = rest.split_once('{') {
            let (name, behind) = inside.split_once('}').ok_or("a `{` is not closed")?;
            let hole = Hole::parse(name).ok_or_else(|| {
                format!("`{{{name}}}` is no hole; write {{key}}, {{id}}, {{topic}} or a pointer such as {{/mint}}")
            })?;
            holes.push((before.to_owned(), hole));
            rest = behind;
        }
        Ok(Self { text: text.to_owned(), holes, tail: rest.to_owned() })
    }

    /// What it wants of an event, each once, in the order of the text.
    pub fn wants(&self) -> Vec<Hole> {
        let mut wants: Vec<Hole> = Vec::new();
        for (_, hole) in &self.holes {
            if !wants.contains(hole) {
                wants.push(hole.clone());
            }
        }
        wants
    }

    /// The text with its holes filled: `values` are in the order of [`HoleTemplate::wants`]. Each goes through `escape`.
    pub fn fill(&self, values: &[&str], escape: impl Fn(&str) -> String) -> String {
        let wants = self.wants();
        let mut filled = String::with_capacity(self.text.len() + 32);
        for (before, hole) in &self.holes {
            filled.push_str(before);
            let value = wants.iter().position(|wanted| wanted == hole).and_then(|place| values.get(place));
            filled.push_str(&escape(value.copied().unwrap_or_default()));
        }
        filled.push_str(&self.tail);
        filled
    }

    /// Why it is no address over HTTP, if it is none.
    pub fn address_fault(&self) -> Option<String> {
        let filled = self.fill(&vec!["x"; self.wants().len()], str::to_owned);
        match Url::parse(&filled) {
            Err(error) => Some(format!("not an address: {error}")),
            Ok(url) if !["http", "https"].contains(&url.scheme()) || url.host().is_none() => {
                Some(format!("`{}:` is not spoken; write `http://HOST` or `https://HOST`", url.scheme()))
            }
            Ok(_) => None,
        }
    }
}

impl fmt::Display for HoleTemplate {
    /// Secrets of an address are shown as stars.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Url::parse(&self.text) {
            // Braces in a path are written in another way there.
            Ok(url) => f.write_str(&Endpoint::from(url).to_string().replace("%7B", "{").replace("%7D", "}")),
            Err(_) => f.write_str(&self.text),
        }
    }
}

impl fmt::Debug for HoleTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HoleTemplate({self})")
    }
}

impl Serialize for HoleTemplate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for HoleTemplate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holes_are_filled_escaped_and_secrets_are_not_shown() {
        let template = HoleTemplate::parse("http://h/{key}/{/a/b}?again={key}&token=s3cret").unwrap();
        assert_eq!(template.wants(), [Hole::Key, Hole::Pointer("/a/b".into())]);
        let filled = template.fill(&["x/y", "z"], |value| value.replace('/', "%2F"));
        assert_eq!(filled, "http://h/x%2Fy/z?again=x%2Fy&token=s3cret");
        assert!(!format!("{template:?} {template}").contains("s3cret"), "{template}");
        assert!(template.to_string().contains("/{key}/{/a/b}"), "{template}");
        assert_eq!(template.address_fault(), None);
        assert!(HoleTemplate::parse("ws://h/{key}").unwrap().address_fault().is_some());
        for bad in ["{key", "{a}", "{}"] {
            assert!(HoleTemplate::parse(bad).is_err(), "{bad}");
        }
    }
}
