//! Which events a sink takes.

use crate::config::SinkSettings;
use crate::journal::{BlockHeader, Event, OWN_DOMAIN, SHADOW_DOMAINS, SINKS_MONITOR};

/// Which events a sink takes: by monitor and by domain. The daemon's own, and those of shadows, only where they are named.
#[derive(Debug, Clone)]
pub struct Interest {
    sink: String,
    monitors: Vec<String>,
    domains: Vec<String>,
}

impl Interest {
    /// What the sink `name` takes.
    pub fn new(name: &str, settings: &SinkSettings) -> Self {
        Self { sink: name.to_owned(), monitors: settings.monitors.clone(), domains: settings.domains.clone() }
    }

    /// Whether some event of the block may be wanted.
    pub fn may_want(&self, header: &BlockHeader) -> bool {
        header.rows().iter().any(|row| row.events > 0 && self.admits(&row.monitor.name, &row.monitor.domain))
    }

    /// Whether the event is wanted.
    pub fn wants(&self, event: &Event<'_>) -> bool {
        self.admits(event.monitor, event.domain) && !self.is_news_of_itself(event)
    }

    /// Whether events of this monitor are taken.
    pub fn admits(&self, monitor: &str, domain: &str) -> bool {
        let by_monitor = self.monitors.iter().any(|named| named == monitor);
        let by_domain = self.domains.iter().any(|named| named == domain);
        // A shadow has its monitor's name, and goes only where its domain is named.
        if domain.starts_with(SHADOW_DOMAINS) {
            return by_domain && (by_monitor || self.monitors.is_empty());
        }
        // No domain of a user's begins so.
        if domain == OWN_DOMAIN {
            return match (self.monitors.is_empty(), self.domains.is_empty()) {
                (true, _) => by_domain,
                (false, true) => by_monitor,
                (false, false) => by_monitor && by_domain,
            };
        }
        (by_monitor || self.monitors.is_empty()) && (by_domain || self.domains.is_empty())
    }

    /// A sink never gets news of its own failure: each would bring another.
    fn is_news_of_itself(&self, event: &Event<'_>) -> bool {
        #[derive(serde::Deserialize)]
        struct Subject {
            sink: String,
        }
        event.domain == OWN_DOMAIN
            && event.monitor == SINKS_MONITOR
            && serde_json::from_slice::<Subject>(event.payload).is_ok_and(|subject| subject.sink == self.sink)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interest(monitors: &[&str], domains: &[&str]) -> Interest {
        let all = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        Interest { sink: "warehouse".into(), monitors: all(monitors), domains: all(domains) }
    }

    #[test]
    fn the_daemons_own_events_and_shadows_go_only_where_they_are_named() {
        let all = interest(&[], &[]);
        assert!(all.admits("trades", "trading"));
        assert!(!all.admits("gaps", OWN_DOMAIN) && !all.admits("trades", "_shadow.trading"));
        assert!(!interest(&["trades"], &[]).admits("trades", "_shadow.trading"));
        let own = interest(&[], &[OWN_DOMAIN]);
        assert!(own.admits("gaps", OWN_DOMAIN) && !own.admits("trades", "trading"));
        let gaps = interest(&["gaps", "trades"], &[]);
        assert!(gaps.admits("gaps", OWN_DOMAIN) && gaps.admits("trades", "trading"));
        assert!(!gaps.admits("state", OWN_DOMAIN) && !gaps.admits("books", "trading"));
    }

    #[test]
    fn both_filters_must_hold_where_both_are_given() {
        let both = interest(&["trades"], &["trading"]);
        assert!(both.admits("trades", "trading"));
        assert!(!both.admits("trades", "chain") && !both.admits("books", "trading"));
        assert!(!both.admits("gaps", OWN_DOMAIN));
    }
}
