//! Something to watch, for tests: an upstream `u` with two links, a topic `both` that the monitors `a` and `b` want, and one of `b` alone.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::units::UnitKey;
use super::watched::WatchedList;
use crate::config::{MonitorSettings, QuarantineSettings};
use crate::dialect::registry;
use crate::journal::{MonitorIdentity, OWN_DOMAIN};
use crate::monitor::event_id::IdHasher;
use crate::monitor::roster::{Identities, Roster, RosterParts};
use crate::upstream::UpstreamControl;

/// What is watched, and an identity for the daemon's own events.
pub(super) fn watching() -> (Arc<WatchedList>, Arc<MonitorIdentity>) {
    let monitor = |topics: &str| -> MonitorSettings {
        toml::from_str(&format!("domain = \"d\"\nupstream = \"u\"\ntopics = {topics}\nevent = {{ id = \"/id\" }}"))
            .unwrap()
    };
    let monitors =
        BTreeMap::from([("a".to_owned(), monitor("[\"both\"]")), ("b".to_owned(), monitor("[\"both\", \"of-b\"]"))]);
    let mut identities = Identities::default();
    let own = identities.of("own", OWN_DOMAIN);
    let quarantine = QuarantineSettings::default();
    let hasher = IdHasher::new(1);
    let parts = RosterParts::new("u", &monitors, &quarantine, &hasher);
    let roster = Arc::new(Roster::new(&parts, &mut identities).unwrap());
    let list = WatchedList::default();
    list.insert(
        UnitKey::pool("u"),
        UpstreamControl::idle(2, registry::build("binance", &BTreeMap::new()).unwrap(), roster),
    );
    (Arc::new(list), own)
}
