//! What backfill and polling share: what is declared for a topic now, who asks, and who takes what comes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::live_settings::LiveSettings;
use super::upstreams::Upstreams;
use crate::breaker::CircuitKind;
use crate::circuits::Circuits;
use crate::config::{BackfillSettings, PollSettings, Settings};
use crate::credentials::Credentials;
use crate::dialect::registry;
use crate::http_client::{HttpClient, HttpSettings};
use crate::monitor::fetched::FetchedBy;
use crate::recovery::backfill::{Asker, Bench, Declaration, Scene, Taker};
use crate::upstream::Paces;

/// The longest answer that is taken. Source: a guess; ten thousand items of 1 KiB are 10 MiB.
const BODY_BYTES_MAX: usize = 32 << 20;

/// Whose topic, and from where.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) monitor: Arc<str>,
    pub(super) upstream: Arc<str>,
    pub(super) topic: Arc<str>,
}

/// A client, and what it was made of.
struct Made {
    credentials: Option<Arc<Credentials>>,
    timeout: Duration,
    client: HttpClient,
}

/// The means of fetching.
pub(super) struct Fetching {
    pub(super) live: Arc<LiveSettings>,
    pub(super) upstreams: Arc<Upstreams>,
    pub(super) circuits: Arc<Circuits>,
    pub(super) bench: Bench,
    pub(super) stop: CancellationToken,
    paces: Paces,
    /// The last one of each upstream, so that its connections are kept.
    clients: Mutex<BTreeMap<String, Made>>,
}

impl Fetching {
    pub(super) fn new(
        live: Arc<LiveSettings>,
        upstreams: Arc<Upstreams>,
        circuits: Arc<Circuits>,
        bench: Bench,
        stop: CancellationToken,
    ) -> Self {
        Self { live, upstreams, circuits, bench, stop, paces: Paces::default(), clients: Mutex::default() }
    }

    /// How a topic's gaps are filled; none where nothing is declared. The error says what is wrong, in words.
    pub(super) fn backfill(&self, place: &Place) -> Result<Option<Declaration>, String> {
        let settings = self.live.settings();
        let Some(monitor) = settings.monitors.get(&*place.monitor) else { return Ok(None) };
        if monitor.backfill.is_empty() {
            return Ok(None);
        }
        Self::declared(&settings, place, &monitor.backfill)
    }

    /// How a topic is polled; none where it is not. The error as above.
    pub(super) fn poll(&self, place: &Place) -> Result<Option<(PollSettings, Declaration)>, String> {
        let settings = self.live.settings();
        let Some(monitor) = settings.monitors.get(&*place.monitor) else { return Ok(None) };
        let Some(poll) = &monitor.poll else { return Ok(None) };
        let declared = Self::declared(&settings, place, &poll.requests(&monitor.backfill))?;
        Ok(declared.map(|declaration| (poll.clone(), declaration)))
    }

    fn declared(settings: &Settings, place: &Place, own: &[BackfillSettings]) -> Result<Option<Declaration>, String> {
        let Some(upstream) = settings.upstreams.get(&*place.upstream) else { return Ok(None) };
        let of_dialect =
            registry::backfills(&upstream.dialect, &settings.dialects).map_err(|error| error.to_string())?;
        Declaration::for_topic(own, &of_dialect, &upstream.url, &place.topic).map_err(|error| error.to_string())
    }

    /// What fetching by a declaration needs. The error is in words.
    pub(super) fn scene(&self, kind: CircuitKind, upstream: &str, declaration: &Declaration) -> Result<Scene, String> {
        let breaker = self.circuits.register(kind, upstream);
        let pace = self.paces.of(&declaration.host(), Some(declaration.rate));
        let stop = self.live.gate.begin().ok_or("everything stands still until `sluice start`")?;
        let asker = Asker::new(self.client(upstream, declaration)?, pace, breaker, stop);
        let Bench { journal, window, .. } = &self.bench;
        Ok(Scene { journal: Arc::clone(journal), window: Arc::clone(window), asker, stop: self.stop.clone() })
    }

    fn client(
        &self,
        upstream: &str,
        declaration: &Declaration,
    ) -> Result<(HttpClient, Option<Arc<Credentials>>), String> {
        let credentials = self.upstreams.list().control(upstream).and_then(|control| control.credentials());
        let timeout = declaration.timeout;
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        let of_same = |made: &&Made| {
            let same = match (&made.credentials, &credentials) {
                (Some(one), Some(other)) => Arc::ptr_eq(one, other),
                (None, None) => true,
                _ => false,
            };
            same && made.timeout == timeout
        };
        let client = if let Some(made) = clients.get(upstream).filter(of_same) {
            made.client.clone()
        } else {
            let client = match &credentials {
                Some(credentials) => credentials.http_client(timeout, BODY_BYTES_MAX),
                None => HttpClient::new(&HttpSettings { ca_file: None, timeout, body_bytes_max: BODY_BYTES_MAX }),
            };
            let client = client.map_err(|error| error.to_string())?;
            let made = Made { credentials: credentials.clone(), timeout, client: client.clone() };
            clients.insert(upstream.to_owned(), made);
            client
        };
        Ok((client, credentials.filter(|_| declaration.auth)))
    }

    /// Who takes what comes for a topic. The error is in words.
    pub(super) fn taker(
        &self,
        place: &Place,
        declaration: &Declaration,
        by: (FetchedBy, Option<u64>),
    ) -> Result<Taker, String> {
        let settings = self.live.settings();
        let roster = self.upstreams.reading_roster(&settings, (&place.upstream, &place.monitor), &declaration.event)?;
        Taker::new(&self.bench, roster, (&place.monitor, &place.topic), by)
    }
}
