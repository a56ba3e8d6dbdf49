//! Something to watch, for tests: an upstream `u` with two links, a topic `both` that the monitors `a` and `b` want, and one of `b` alone.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::view::Watched;
use crate::config::{MonitorSettings, QuarantineSettings};
use crate::journal::{MonitorIdentity, OWN_DOMAIN};
use crate::monitor::event_id::IdHasher;
use crate::monitor::roster::{Identities, Roster};
use crate::upstream::UpstreamStatus;

/// What is watched, and an identity for the daemon's own events.
pub(super) fn watching() -> (Arc<[Watched]>, Arc<MonitorIdentity>) {
    let monitor = |topics: &str| -> MonitorSettings {
        toml::from_str(&format!("domain = \"d\"\nupstream = \"u\"\ntopics = {topics}\nevent = {{ id = \"/id\" }}"))
            .unwrap()
    };
    let monitors =
        BTreeMap::from([("a".to_owned(), monitor("[\"both\"]")), ("b".to_owned(), monitor("[\"both\", \"of-b\"]"))]);
    let mut identities = Identities::default();
    let own = identities.of("own", OWN_DOMAIN);
    let quarantine = QuarantineSettings::default();
    let roster = Roster::new("u", &monitors, &[], &quarantine, &IdHasher::new(1), &mut identities).unwrap();
    let status = Arc::new(UpstreamStatus::new(2, roster.topics.len()));
    (Arc::new([Watched { roster: Arc::new(roster), status, links: 2 }]), own)
}
