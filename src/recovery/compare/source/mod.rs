//! Records out of what there is: the journal, a table in SQLite or PostgreSQL, a file of JSON lines.

mod journal;
mod lines;
mod postgres;
mod sqlite;
mod time;

use crate::journal::{OWN_DOMAIN, Path};

pub use journal::{Ids, JournalSource};
pub use lines::LinesSource;
pub use postgres::PostgresSource;
pub use sqlite::SqliteSource;

use super::mapping::{Columns, Part};
use super::payload::PayloadForm;
use super::record::Source;

/// Domains of shadows begin with this.
pub const SHADOW_DOMAINS: &str = "_shadow.";

/// Which records are compared. Empty lists admit all; the daemon's own events, and those of shadows, only where they are named.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// Names of monitors.
    pub monitors: Vec<String>,
    /// Domains.
    pub domains: Vec<String>,
    /// Topics.
    pub topics: Vec<String>,
    /// The path that they came by.
    pub path: Option<Path>,
}

impl Selection {
    /// Whether a record is meant. What the source does not tell admits it.
    pub fn takes(&self, monitor: Option<&str>, domain: Option<&str>, topic: Option<&str>, path: Option<&str>) -> bool {
        let admits = |list: &[String], name: Option<&str>| {
            list.is_empty() || name.is_none_or(|name| list.iter().any(|wanted| wanted == name))
        };
        let hidden = domain.is_some_and(|domain| {
            domain.starts_with(SHADOW_DOMAINS) || domain == OWN_DOMAIN && self.monitors.is_empty()
        });
        admits(&self.monitors, monitor)
            && admits(&self.domains, domain)
            && admits(&self.topics, topic)
            && (!hidden || !self.domains.is_empty())
            && self.path.is_none_or(|wanted| path.is_none_or(|path| path == wanted.as_str()))
    }

    /// Filters that a source of these columns cannot tell: all of its records are compared.
    fn blind(&self, columns: &Columns) -> Vec<&'static str> {
        [
            (Part::Monitor, !self.monitors.is_empty()),
            (Part::Domain, !self.domains.is_empty()),
            (Part::Topic, !self.topics.is_empty()),
            (Part::Path, self.path.is_some()),
        ]
        .into_iter()
        .filter(|(part, asked)| *asked && !columns.has(*part))
        .map(|(part, _)| part.as_str())
        .collect()
    }

    /// That in words.
    fn blind_note(&self, columns: &Columns) -> Option<String> {
        let blind = self.blind(columns);
        (!blind.is_empty()).then(|| format!("no column tells the {}: all rows are compared", blind.join(", the ")))
    }
}

/// What of a source's records is of use.
#[derive(Debug, Clone)]
pub struct Request {
    /// Which columns are what.
    pub mapping: super::mapping::Mapping,
    /// Which records.
    pub selection: Selection,
    /// Whether records are joined by ids, so that there must be some.
    pub needs_id: bool,
    /// Whether payloads are looked at. Where not, they are not read.
    pub needs_payload: bool,
}

/// A source that is a store of somebody else's.
pub trait StoreSource: Source {
    /// Whether it tells this part of its records.
    fn has(&self, part: Part) -> bool;

    /// How payloads are compared where nobody said.
    fn payload_form(&self) -> PayloadForm;
}

/// The parts of an id as one text, or none where one is missing. The same that [`crate::journal::Event::id`] makes.
fn joined_id<'a>(parts: impl Iterator<Item = Option<&'a str>>, out: &mut String) -> bool {
    out.clear();
    let mut any = false;
    for (number, part) in parts.enumerate() {
        let Some(part) = part else { return false };
        if number > 0 {
            out.push(':');
        }
        out.push_str(part);
        any = true;
    }
    any
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_daemons_own_events_and_shadows_are_compared_only_where_they_are_named() {
        let all = Selection::default();
        let takes = |selection: &Selection, monitor, domain| selection.takes(Some(monitor), Some(domain), None, None);
        assert!(takes(&all, "trades", "spot") && all.takes(None, None, None, None));
        assert!(!takes(&all, "gaps", OWN_DOMAIN) && !takes(&all, "trades", "_shadow.spot"));
        let trades = Selection { monitors: vec!["trades".into()], ..Selection::default() };
        assert!(takes(&trades, "trades", "spot") && !takes(&trades, "book", "spot"));
        assert!(!takes(&trades, "trades", "_shadow.spot"));
        let shadow = Selection { domains: vec!["_shadow.spot".into()], ..Selection::default() };
        assert!(takes(&shadow, "trades", "_shadow.spot") && !takes(&shadow, "trades", "spot"));
        let legacy = Selection { path: Some(Path::Legacy), ..Selection::default() };
        assert!(legacy.takes(None, None, None, Some("legacy")) && !legacy.takes(None, None, None, Some("smart")));
    }

    #[test]
    fn an_id_is_the_same_text_as_the_journals() {
        let mut out = String::new();
        assert!(joined_id([Some("BTC"), Some("7")].into_iter(), &mut out) && out == "BTC:7");
        assert!(joined_id([Some("7")].into_iter(), &mut out) && out == "7");
        assert!(!joined_id([Some("BTC"), None].into_iter(), &mut out));
        assert!(!joined_id([].into_iter(), &mut out));
    }
}
