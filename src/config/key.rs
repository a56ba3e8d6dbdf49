//! A setting's full name.

use std::fmt;

use toml::de::DeTable;

/// Where in the settings a value is: `monitors."a.b".event[0].id`.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyPath(Vec<Step>);

/// One step of a [`KeyPath`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Step {
    Key(String),
    Index(usize),
}

impl KeyPath {
    /// Reads a dotted key with TOML's own rules for quotes: `monitors."a.b".topics`. None where it is no key.
    pub fn parse(key: &str) -> Option<Self> {
        if key.contains(|character: char| character.is_control()) || key.trim_start().starts_with(['[', '#']) {
            return None;
        }
        let text = format!("{key} = 0");
        let parsed = DeTable::parse(&text).ok()?;
        let mut keys = Vec::new();
        let mut table = parsed.get_ref();
        loop {
            let (name, value) = table.iter().next()?;
            keys.push(name.get_ref().clone().into_owned());
            match value.get_ref().as_table() {
                Some(inner) => table = inner,
                None => return Some(keys.into_iter().collect()),
            }
        }
    }

    /// Whether this is `above`, or something inside it.
    pub fn is_within(&self, above: &Self) -> bool {
        self.0.starts_with(&above.0)
    }

    /// The key at a depth, from 0; none where there is an index or nothing.
    pub fn key_at(&self, depth: usize) -> Option<&str> {
        match self.0.get(depth) {
            Some(Step::Key(key)) => Some(key),
            Some(Step::Index(_)) | None => None,
        }
    }

    /// The path one key further down.
    #[must_use]
    pub fn key(&self, key: &str) -> Self {
        self.step(Step::Key(key.to_owned()))
    }

    /// The path of an element of the list here.
    #[must_use]
    pub fn index(&self, index: usize) -> Self {
        self.step(Step::Index(index))
    }

    /// The path one step up; none of the root.
    pub fn parent(&self) -> Option<Self> {
        self.0.split_last().map(|(_, above)| Self(above.to_vec()))
    }

    /// The last key, indexes not counted.
    pub fn last_key(&self) -> Option<&str> {
        self.0.iter().rev().find_map(|step| match step {
            Step::Key(key) => Some(key.as_str()),
            Step::Index(_) => None,
        })
    }

    /// Whether this is the path of everything.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn steps(&self) -> &[Step] {
        &self.0
    }

    pub(super) fn from_steps(steps: Vec<Step>) -> Self {
        Self(steps)
    }

    fn step(&self, step: Step) -> Self {
        let mut steps = self.0.clone();
        steps.push(step);
        Self(steps)
    }
}

impl<const N: usize> From<[&str; N]> for KeyPath {
    fn from(keys: [&str; N]) -> Self {
        keys.into_iter().collect()
    }
}

impl<K: Into<String>> FromIterator<K> for KeyPath {
    fn from_iter<I: IntoIterator<Item = K>>(keys: I) -> Self {
        Self(keys.into_iter().map(|key| Step::Key(key.into())).collect())
    }
}

/// As TOML writes dotted keys, so that what is shown can be given to `--set`.
impl fmt::Display for KeyPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, step) in self.0.iter().enumerate() {
            match step {
                Step::Index(index) => write!(f, "[{index}]")?,
                Step::Key(key) => {
                    if place > 0 {
                        f.write_str(".")?;
                    }
                    let bare = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
                    if !key.is_empty() && key.bytes().all(bare) {
                        f.write_str(key)?;
                    } else {
                        write!(f, "{key:?}")?;
                    }
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::KeyPath;

    #[test]
    fn keys_are_read_as_toml_writes_them() {
        assert_eq!(KeyPath::parse("batch.timeout").unwrap(), KeyPath::from(["batch", "timeout"]));
        let quoted = KeyPath::parse("monitors.\"a.b\".when.'/x=y'").unwrap();
        assert_eq!(quoted, KeyPath::from(["monitors", "a.b", "when", "/x=y"]));
        assert_eq!(KeyPath::parse(&quoted.to_string()), Some(quoted));
        for bad in ["", ".", "a..b", "[a", "a b", "a\n[b]\nc", "#"] {
            assert_eq!(KeyPath::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn names_with_dots_are_shown_as_toml_writes_them() {
        let path = KeyPath::from(["monitors", "a.b", "event"]).index(2).key("id");
        assert_eq!(path.to_string(), "monitors.\"a.b\".event[2].id");
        assert_eq!(path.last_key(), Some("id"));
        assert_eq!(path.parent().and_then(|above| above.parent()).unwrap().to_string(), "monitors.\"a.b\".event");
    }
}
