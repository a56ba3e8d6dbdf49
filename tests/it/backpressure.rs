//! A journal that takes nothing holds links up, and nothing else.
//!
//! The story: a disk was full, the writer's queue was full by bytes, and links asked again and again whether there was room.
//! Both ingest threads spun, an upstream that sent little was never read, and when the disk had room, every link was thrown
//! away because the answer to its ping still lay in the socket.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use sluice::circuits::Circuits;
use sluice::clock::ReceivedClock;
use sluice::config::{
    BatchSettings, JournalSettings, MonitorSettings, PoolSettings, QuarantineSettings, UpstreamSettings,
};
use sluice::dialect::registry;
use sluice::journal::{Journal, JournalOptions, OWN_DOMAIN};
use sluice::monitor::event_id::IdHasher;
use sluice::monitor::roster::{Identities, Roster, RosterParts};
use sluice::pipeline::batcher::OwnIdentities;
use sluice::pipeline::dedupe::DedupeWindow;
use sluice::upstream::{LinkState, Upstream, UpstreamStatus, Wiring};
use tokio_util::sync::CancellationToken;

use crate::journal::sim_storage::SimStorage;
use crate::processes::{Feed, until};
use crate::support::Workplace;

struct Watched {
    roster: Arc<Roster>,
    status: Arc<UpstreamStatus>,
}

impl Watched {
    fn messages(&self) -> u64 {
        self.roster.monitors[0].totals.now().messages
    }

    fn link(&self) -> (LinkState, u64) {
        let links = self.status.links();
        (links[0].state, links[0].connects)
    }
}

/// Watches one topic of a Binance feed over one link that is pinged ten times a second.
fn watch(
    name: &str,
    feed: &Feed,
    wiring: &Wiring,
    runtime: &tokio::runtime::Runtime,
    stop: &CancellationToken,
) -> Watched {
    let settings: UpstreamSettings =
        toml::from_str(&format!("url = \"{}\"\ndialect = \"binance\"\nbuffer = \"2MiB\"", feed.url())).unwrap();
    let monitor: MonitorSettings =
        toml::from_str(&format!("domain = \"d\"\nupstream = \"{name}\"\ntopics = [\"btcusdt@trade\"]")).unwrap();
    let monitors = BTreeMap::from([(name.to_owned(), monitor)]);
    let dialect = registry::build("binance", &BTreeMap::new()).unwrap();
    let (rules, hasher) = (dialect.default_event_rules().to_vec(), IdHasher::new(1));
    let quarantine = QuarantineSettings::default();
    let mut identities = Identities::default();
    // Identities are numbered for the life of a process: the second upstream's come after the first's.
    for other in ["quarantine", "gaps", "flood", "upstream:flood", "quiet"].iter().take_while(|other| **other != name) {
        identities.of(other, if other.len() < 6 { "d" } else { OWN_DOMAIN });
    }
    let parts = RosterParts { default_rules: &rules, ..RosterParts::new(name, &monitors, &quarantine, &hasher) };
    let roster = Arc::new(Roster::new(&parts, &mut identities).unwrap());
    let pool = PoolSettings {
        min_connections: 1,
        max_connections: 1,
        health_check_interval: Duration::from_millis(100),
        pong_timeout: Duration::from_secs(30),
        ..PoolSettings::default()
    };
    let upstream = Upstream::new(&settings, &pool, dialect, Arc::clone(&roster), wiring.clone()).unwrap();
    let status = upstream.control().status();
    runtime.spawn(upstream.run(stop.clone()));
    Watched { roster, status }
}

#[test]
fn a_journal_that_takes_nothing_holds_its_link_up_and_no_other() {
    let place = Workplace::new();
    let flood_feed = Feed::start(&place, &["--dialect", "binance", "--flood"]);
    let quiet_feed = Feed::start(&place, &["--dialect", "binance", "--rate", "50"]);
    let storage = SimStorage::new();
    let (journal, _) =
        Journal::open_on(Arc::new(storage.clone()), JournalOptions::new(JournalSettings::default())).unwrap();
    let mut identities = Identities::default();
    let own = OwnIdentities {
        quarantine: identities.of("quarantine", OWN_DOMAIN),
        gaps: identities.of("gaps", OWN_DOMAIN),
        retries: identities.of("retries", OWN_DOMAIN),
        coverage: identities.of("coverage", OWN_DOMAIN),
        fetched: identities.of("fetched", OWN_DOMAIN),
    };
    let wiring = Wiring {
        journal: Arc::new(journal),
        window: Arc::new(DedupeWindow::new(Duration::from_secs(1), 1 << 20)),
        clock: Arc::new(ReceivedClock::default()),
        batch: BatchSettings::default(),
        own,
        circuits: Arc::new(Circuits::new(true, Vec::new())),
        paces: Arc::default(),
        ledger: Arc::default(),
        sequences: Arc::default(),
        prepared: None,
        counts: Arc::default(),
    };
    // One thread for both, so that a link that does not give way takes the other's turn.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let stop = CancellationToken::new();
    storage.hold_syncs(true);
    let flood = watch("flood", &flood_feed, &wiring, &runtime, &stop);
    until("the flood's link is held", || (flood.link().0 == LinkState::Held).then_some(()));
    let quiet = watch("quiet", &quiet_feed, &wiring, &runtime, &stop);
    until("the quiet upstream is read", || (quiet.messages() > 20).then_some(()));
    assert_eq!(flood.link(), (LinkState::Held, 1));
    let held_at = flood.messages();
    storage.hold_syncs(false);
    until("the flood goes on", || (flood.messages() > held_at + 100_000).then_some(()));
    assert_eq!((flood.link().1, quiet.link().1), (1, 1), "no link was thrown away");
    stop.cancel();
    flood_feed.kill();
    runtime.shutdown_timeout(Duration::from_secs(5));
    wiring.journal.close().unwrap();
}
