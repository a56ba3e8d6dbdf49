//! Which events a client wants.

use std::borrow::Cow;

use crate::journal::{
    ALERTS_MONITOR, BlockHeader, CANARY_MONITOR, Event, GAPS_MONITOR, OPERATIONS_MONITOR, OWN_DOMAIN, PATHS_MONITOR,
    SHADOW_DOMAINS, THRESHOLDS_MONITOR,
};

/// The daemon's own kinds of events, by the names that clients ask for them by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum OwnKind {
    /// Alerts: opened, acknowledged, resolved.
    Alerts,
    /// Who is on which path, and what was decided about it.
    Canary,
    /// Spans that were not seen.
    Gaps,
    /// What is done once: its begin and its end.
    Operations,
    /// A rule's figure went over its threshold, or came back.
    Thresholds,
}

impl OwnKind {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Alerts, Self::Canary, Self::Gaps, Self::Operations, Self::Thresholds];

    /// Its name outside.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Alerts => "alerts",
            Self::Canary => "canary",
            Self::Gaps => "gaps",
            Self::Operations => "operations",
            Self::Thresholds => "thresholds",
        }
    }

    /// The monitors of the daemon's own domain that it stands for.
    fn monitors(self) -> &'static [&'static str] {
        match self {
            Self::Alerts => &[ALERTS_MONITOR],
            Self::Canary => &[CANARY_MONITOR, PATHS_MONITOR],
            Self::Gaps => &[GAPS_MONITOR],
            Self::Operations => &[OPERATIONS_MONITOR],
            Self::Thresholds => &[THRESHOLDS_MONITOR],
        }
    }
}

/// Why nobody can want that.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WantedError {
    /// Too many names.
    #[error("`{parameter}` names {count}; at most {} are taken", Wanted::NAMES_MAX)]
    TooMany {
        /// The parameter.
        parameter: &'static str,
        /// How many there are.
        count: usize,
    },
    /// An empty name.
    #[error("`{parameter}` has an empty name in it")]
    Empty {
        /// The parameter.
        parameter: &'static str,
    },
}

/// Which events a client wants. Two that want the same are equal, so that it is found out once for both.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Wanted {
    /// Every feed's.
    all: bool,
    domains: Vec<String>,
    monitors: Vec<String>,
    kinds: Vec<OwnKind>,
    /// Of these, only those with one of these domains, monitors, topics, keys; an empty list restricts nothing.
    only_domains: Vec<String>,
    only_monitors: Vec<String>,
    only_topics: Vec<String>,
    only_keys: Vec<String>,
}

/// What a client asked for, in its words. Each value may hold several, separated by commas.
#[derive(Debug, Clone, Default)]
pub struct Asked<'a> {
    /// `all`, a domain, `monitor:NAME`, or one of the daemon's own kinds. Absent: `all`.
    pub events: Option<&'a str>,
    /// Only these domains.
    pub domain: Option<&'a str>,
    /// Only these monitors.
    pub monitor: Option<&'a str>,
    /// Only these topics.
    pub topic: Option<&'a str>,
    /// Only these keys.
    pub key: Option<&'a str>,
}

impl Wanted {
    /// The most names in one parameter. Source: a guess; who wants more wants a domain.
    pub const NAMES_MAX: usize = 100;

    /// What a client's words mean.
    ///
    /// # Errors
    /// Where they mean nothing.
    pub fn new(asked: &Asked<'_>) -> Result<Self, WantedError> {
        let mut wanted = Self {
            only_domains: names("domain", asked.domain)?,
            only_monitors: names("monitor", asked.monitor)?,
            only_topics: names("topic", asked.topic)?,
            only_keys: names("key", asked.key)?,
            ..Self::default()
        };
        for name in names("events", asked.events)? {
            match (name.as_str(), name.strip_prefix("monitor:")) {
                ("all", _) => wanted.all = true,
                (_, Some(monitor)) if !monitor.is_empty() => wanted.monitors.push(monitor.to_owned()),
                (_, Some(_)) => return Err(WantedError::Empty { parameter: "events" }),
                (kind, None) => match OwnKind::ALL.into_iter().find(|known| known.as_str() == kind) {
                    Some(kind) => wanted.kinds.push(kind),
                    None => wanted.domains.push(name),
                },
            }
        }
        wanted.all |= asked.events.is_none();
        wanted.kinds.sort_unstable();
        wanted.domains.sort_unstable();
        wanted.monitors.sort_unstable();
        Ok(wanted)
    }

    /// Whether an event is wanted.
    pub fn takes(&self, event: &Event<'_>) -> bool {
        self.takes_monitor(event.monitor, event.domain)
            && among(&self.only_topics, event.topic)
            && (self.only_keys.is_empty() || event.key().is_some_and(|key: Cow<'_, str>| among(&self.only_keys, &key)))
    }

    /// Whether some event of a block may be.
    pub fn may_take(&self, header: &BlockHeader) -> bool {
        header.rows().iter().any(|row| row.events > 0 && self.takes_monitor(&row.monitor.name, &row.monitor.domain))
    }

    /// Whether a monitor's events are, but for their topics and keys.
    pub fn takes_monitor(&self, monitor: &str, domain: &str) -> bool {
        let own = domain == OWN_DOMAIN;
        // What is only compared is not told to anybody who did not name it.
        let named = if own || domain.starts_with(SHADOW_DOMAINS) {
            self.domains.iter().any(|named| named == domain)
                || own && self.kinds.iter().any(|kind| kind.monitors().contains(&monitor))
        } else {
            self.all
                || self.domains.iter().any(|named| named == domain)
                || self.monitors.iter().any(|named| named == monitor)
        };
        named && among(&self.only_domains, domain) && among(&self.only_monitors, monitor)
    }

    /// The only key that is wanted, where there is one: clients that differ only by it need not be asked one by one.
    pub fn only_key(&self) -> Option<&str> {
        match self.only_keys.as_slice() {
            [key] => Some(key),
            _ => None,
        }
    }
}

fn among(names: &[String], name: &str) -> bool {
    names.is_empty() || names.iter().any(|known| known == name)
}

fn names(parameter: &'static str, text: Option<&str>) -> Result<Vec<String>, WantedError> {
    let Some(text) = text else { return Ok(Vec::new()) };
    let mut names: Vec<String> = text.split(',').map(|name| name.trim().to_owned()).collect();
    if names.iter().any(String::is_empty) {
        return Err(WantedError::Empty { parameter });
    }
    if names.len() > Wanted::NAMES_MAX {
        return Err(WantedError::TooMany { parameter, count: names.len() });
    }
    names.sort_unstable();
    names.dedup();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(events: Option<&str>, monitor: Option<&str>) -> Wanted {
        Wanted::new(&Asked { events, monitor, ..Asked::default() }).unwrap()
    }

    #[test]
    fn who_says_nothing_wants_every_feed_and_nothing_of_the_daemon_s_own() {
        let all = wanted(None, None);
        assert!(all.takes_monitor("trades", "trading"));
        assert!(!all.takes_monitor("alerts", "_sluice") && !all.takes_monitor("trades", "_shadow.trading"));
    }

    #[test]
    fn a_domain_a_monitor_and_a_kind_are_told_apart_by_how_they_are_written() {
        let some = wanted(Some("trading, monitor:pools,gaps"), None);
        assert!(some.takes_monitor("x", "trading") && some.takes_monitor("pools", "liquidity"));
        assert!(some.takes_monitor("gaps", "_sluice") && !some.takes_monitor("alerts", "_sluice"));
        assert!(!some.takes_monitor("other", "liquidity"));
        assert!(!wanted(Some("all"), Some("a,b")).takes_monitor("c", "trading"));
        assert!(wanted(Some("canary"), None).takes_monitor("paths", "_sluice"));
    }

    #[test]
    fn the_same_in_another_order_is_the_same() {
        assert_eq!(wanted(Some("b,a"), Some("y,x")), wanted(Some("a, b"), Some("x,y,x")));
    }

    #[test]
    fn an_empty_name_and_too_many_are_refused() {
        let refused = |events: &str| Wanted::new(&Asked { events: Some(events), ..Asked::default() }).unwrap_err();
        assert_eq!(refused("a,,b"), WantedError::Empty { parameter: "events" });
        assert_eq!(refused("monitor:"), WantedError::Empty { parameter: "events" });
        assert!(refused(&["x"; 101].join(",")).to_string().contains("at most 100"));
    }
}
