//! What there is to be measured now. Series of what was removed are let go, so that their number is bounded by what is there.

use std::collections::{BTreeMap, BTreeSet};

use metrics::Key;

/// Names of what there is, as labels call it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Living {
    /// By label: a series with another value of it belongs to nothing. Labels that are not in here bind nothing.
    names: BTreeMap<&'static str, BTreeSet<String>>,
    /// Links by upstream and path, as `sluice_link_…` calls them.
    links: BTreeSet<[String; 3]>,
    /// Circuits by kind and name.
    circuits: BTreeSet<(String, String)>,
}

impl Living {
    /// There is something of this name. The first of a label binds all series that have it.
    pub fn add(&mut self, label: &'static str, name: &str) {
        self.names.entry(label).or_default().insert(name.to_owned());
    }

    /// There is nothing but what is added of this label.
    pub fn bind(&mut self, label: &'static str) {
        self.names.entry(label).or_default();
    }

    /// There is a link.
    pub fn add_link(&mut self, upstream: &str, path: &str, link: String) {
        self.links.insert([upstream.to_owned(), path.to_owned(), link]);
    }

    /// There is a circuit breaker.
    pub fn add_circuit(&mut self, kind: &str, name: &str) {
        self.circuits.insert((kind.to_owned(), name.to_owned()));
    }

    /// Whether there is something of this name.
    pub fn contains(&self, label: &str, name: &str) -> bool {
        self.names.get(label).is_none_or(|names| names.contains(name))
    }

    /// Whether a series belongs to what there is.
    pub(super) fn has(&self, key: &Key) -> bool {
        let value = |name: &str| key.labels().find(|label| label.key() == name).map(metrics::Label::value);
        if key.labels().any(|label| !self.contains(label.key(), label.value())) {
            return false;
        }
        match (value("upstream"), value("path"), value("link")) {
            (Some(upstream), Some(path), Some(link)) => {
                self.links.contains(&[upstream.to_owned(), path.to_owned(), link.to_owned()])
            }
            _ => match (value("kind"), value("name")) {
                (Some(kind), Some(name)) => self.circuits.contains(&(kind.to_owned(), name.to_owned())),
                _ => true,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use metrics::Label;

    use super::*;

    fn key(labels: &[(&'static str, &'static str)]) -> Key {
        Key::from_parts("x", labels.iter().map(|(name, value)| Label::new(*name, *value)).collect::<Vec<_>>())
    }

    #[test]
    fn only_series_of_what_is_there_are_kept() {
        let mut living = Living::default();
        living.add("monitor", "a");
        living.add("upstream", "up");
        living.bind("sink");
        living.add_link("up", "smart", "0".into());
        living.add_circuit("upstream", "up");
        for (labels, kept) in [
            (&[][..], true),
            (&[("cause", "whatever")], true),
            (&[("monitor", "a"), ("upstream", "up")], true),
            (&[("monitor", "b"), ("upstream", "up")], false),
            (&[("sink", "s")], false),
            (&[("upstream", "up"), ("path", "smart"), ("link", "0")], true),
            (&[("upstream", "up"), ("path", "smart"), ("link", "1"), ("state", "open")], false),
            (&[("kind", "upstream"), ("name", "up")], true),
            (&[("kind", "upstream"), ("name", "gone")], false),
            (&[("kind", "sink"), ("name", "s")], false),
        ] {
            assert_eq!(living.has(&key(labels)), kept, "{labels:?}");
        }
    }
}
