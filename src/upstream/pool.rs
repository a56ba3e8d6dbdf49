//! The pool of an upstream: what its links share, and how the daemon sees and steers it.
//!
//! `deadpool` creates, limits and verifies connections; it knows no minimum. A slot is the place of one link. Which slots
//! have one, and which topics are where, the [`Keeper`](super::keeper) decides.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use deadpool::managed::Pool;
use tokio::sync::watch;
use tokio_rustls::rustls::ClientConfig;
use tokio_util::sync::CancellationToken;

use super::connect::{Connection, Connector};
use super::counts::{PathCounts, PathCountsBook};
use super::keeper::Keeper;
use super::meeting::Meetings;
use super::pace::{ConnectPace, Paces};
use super::placement::SlotNumber;
use super::placement::links_wanted;
use super::prepare::{Held, Prepared, Taken, unit_name};
use super::resume::{Began, ResumePoint};
use super::status::UpstreamStatus;
use crate::breaker::{Breaker, CircuitKind};
use crate::circuits::Circuits;
use crate::clock::{ReceivedClock, UnixNanos};
use crate::config::{BatchSettings, KeyPath, PoolSettings, Settings, UpstreamSettings};
use crate::credentials::{Credentials, CredentialsError};
use crate::dialect::registry;
use crate::dialect::template::credentials_in;
use crate::dialect::{Dialect, Limits, Opening, TopicId, Transport};
use crate::journal::{Journal, Path};
use crate::monitor::ledger::GapLedger;
use crate::monitor::roster::Roster;
use crate::monitor::sequence::book::SequenceBook;
use crate::pipeline::batcher::{Batcher, OwnIdentities};
use crate::pipeline::dedupe::DedupeWindow;
use crate::telemetry::UpstreamMetrics;
use crate::tls::{self, ClientIdentity, TlsError};

/// What all upstreams share.
#[derive(Clone)]
pub struct Wiring {
    /// Where events go.
    pub journal: Arc<Journal>,
    /// What was seen lately.
    pub window: Arc<DedupeWindow>,
    /// Stamps what is received.
    pub clock: Arc<ReceivedClock>,
    /// When a batch is closed.
    pub batch: BatchSettings,
    /// What the journal calls the daemon's own events.
    pub own: OwnIdentities,
    /// Breakers.
    pub circuits: Arc<Circuits>,
    /// How often each host is connected to.
    pub paces: Arc<Paces>,
    /// What was not seen.
    pub ledger: Arc<GapLedger>,
    /// What the feeds' own numbers tell of that.
    pub sequences: Arc<SequenceBook>,
    /// Links that were opened beside another process's.
    pub prepared: Option<Arc<Prepared>>,
    /// What went wrong with connections.
    pub counts: Arc<PathCountsBook>,
}

/// Why an upstream cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// Its pool.
    #[error("upstream `{upstream}`: the pool of connections cannot be built: {reason}")]
    Pool {
        /// Its name.
        upstream: String,
        /// Why.
        reason: String,
    },
    /// Its address. `config check` says more.
    #[error("upstream `{upstream}`: its dialect is not spoken over `{scheme}:`")]
    Scheme {
        /// Its name.
        upstream: String,
        /// Of its address.
        scheme: String,
    },
    /// More topics on a link than its dialect can have there.
    #[error(
        "upstream `{upstream}`: `topics_per_link` is {topics}, but a request of server-sent events is for one topic; leave it \
         out, and raise `pool.max_connections` for more topics"
    )]
    OneTopicLinks {
        /// Its name.
        upstream: String,
        /// How many were asked for.
        topics: u32,
    },
    /// Our credentials.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// Its trust.
    #[error("upstream `{upstream}`: {source}")]
    Tls {
        /// Its name.
        upstream: String,
        /// Why.
        source: TlsError,
    },
}

/// What the links of an upstream share.
pub(super) struct Shared {
    pub(super) name: String,
    /// On the legacy path, the monitor whose links these are.
    pub(super) of: Option<Arc<str>>,
    pub(super) counts: Arc<PathCounts>,
    pub(super) pool: PoolSettings,
    pub(super) limits: Limits,
    pub(super) buffer_bytes_max: usize,
    pub(super) message_bytes_max: usize,
    pub(super) dialect: Arc<dyn Dialect>,
    /// The generation that links begin with.
    roster: Mutex<Arc<Roster>>,
    pub(super) journal: Arc<Journal>,
    pub(super) clock: Arc<ReceivedClock>,
    pub(super) status: Arc<UpstreamStatus>,
    pub(super) metrics: UpstreamMetrics,
    pub(super) began: Began,
    pub(super) breaker: Breaker,
    pub(super) pace: ConnectPace,
    /// Topics that change links.
    pub(super) meetings: Meetings,
    pub(super) credentials: Arc<Credentials>,
    /// What messages of the dialect may name of them.
    pub(super) credentials_named: BTreeSet<String>,
    wiring: Wiring,
}

impl Shared {
    pub(super) fn batcher(&self, roster: &Arc<Roster>) -> Batcher {
        let Wiring { batch, own, window, sequences, .. } = self.wiring.clone();
        Batcher::new(batch, Arc::clone(roster), own, window).with_sequences(sequences)
    }

    pub(super) fn roster(&self) -> Arc<Roster> {
        Arc::clone(&self.roster.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn set_roster(&self, roster: Arc<Roster>) {
        *self.roster.lock().unwrap_or_else(PoisonError::into_inner) = roster;
    }

    pub(super) fn ledger(&self) -> &GapLedger {
        &self.wiring.ledger
    }

    /// What a link with these topics is opened with.
    pub(super) fn opening(&self, topics: &[TopicId], resume: Option<&ResumePoint>) -> Opening {
        let roster = self.roster();
        let names: Vec<&str> = topics.iter().map(|topic| &**roster.topic_name(*topic)).collect();
        self.dialect.opening(&names, resume.map(|resume| &*resume.point))
    }

    /// What a link of this place calls itself: the same after every restart, and no other link of this or another daemon.
    pub(super) fn link_name(&self, slot: SlotNumber) -> String {
        let journal = self.journal.id().0;
        let mut digest = crc32c::crc32c(journal.as_bytes());
        digest = crc32c::crc32c_append(digest, self.name.as_bytes());
        if let Some(monitor) = &self.of {
            // No name of an upstream has a byte of 0.
            digest = crc32c::crc32c_append(digest, b"\0");
            digest = crc32c::crc32c_append(digest, monitor.as_bytes());
        }
        format!("sl{:08x}{digest:08x}{slot}", journal.as_fields().0)
    }

    fn unit(&self) -> String {
        unit_name(&self.name, self.of.as_deref())
    }

    /// Whether a link was opened beside for this place.
    pub(super) fn has_prepared(&self, slot: SlotNumber) -> bool {
        self.wiring.prepared.as_ref().is_some_and(|prepared| prepared.has(&self.unit(), slot))
    }

    /// The link that was opened beside for this place, if there is one.
    pub(super) async fn take_prepared(&self, slot: SlotNumber) -> Option<(Connection, Held)> {
        self.wiring.prepared.as_ref()?.take(&self.unit(), slot).await
    }

    /// What was read of such a link is in the link's hands.
    pub(super) fn note_taken(&self, taken: Taken) {
        if let Some(prepared) = &self.wiring.prepared {
            prepared.note_taken(&self.unit(), taken);
        }
    }

    /// Until when the process before us has read, where one let go for us.
    pub(super) fn let_go_at(&self) -> Option<UnixNanos> {
        self.wiring.prepared.as_ref()?.let_go_at()
    }

    pub(super) fn window(&self) -> &DedupeWindow {
        &self.wiring.window
    }
}

/// An upstream, ready to run.
pub struct Upstream {
    shared: Arc<Shared>,
    connections: Pool<Connector>,
    wanted: watch::Sender<Arc<Roster>>,
}

/// An upstream as the daemon sees and steers it. Outlives its links.
#[derive(Clone)]
pub struct UpstreamControl {
    status: Arc<UpstreamStatus>,
    dialect: Arc<dyn Dialect>,
    limits: Limits,
    credentials: Option<Arc<Credentials>>,
    wanted: watch::Sender<Arc<Roster>>,
}

impl UpstreamControl {
    /// Of an upstream with so many links that nobody opens.
    #[cfg(test)]
    pub(crate) fn idle(links: usize, dialect: Arc<dyn Dialect>, roster: Arc<Roster>) -> Self {
        let status = UpstreamStatus::new(links, roster.topics.len());
        status.set_wanted(links);
        let limits = dialect.limits();
        Self { status: Arc::new(status), dialect, limits, credentials: None, wanted: watch::Sender::new(roster) }
    }

    /// How it stands, now and later.
    pub fn status(&self) -> Arc<UpstreamStatus> {
        Arc::clone(&self.status)
    }

    /// How it speaks.
    pub fn dialect(&self) -> Arc<dyn Dialect> {
        Arc::clone(&self.dialect)
    }

    /// What it allows.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// Who we are to it, for whatever else is asked of it; none where nobody opens links.
    pub fn credentials(&self) -> Option<Arc<Credentials>> {
        self.credentials.clone()
    }

    /// Who watches it: the generation that was wanted last.
    pub fn roster(&self) -> Arc<Roster> {
        Arc::clone(&self.wanted.borrow())
    }

    /// Has another generation take the place of the one before; links go on with it between two bursts.
    pub fn adopt(&self, roster: Arc<Roster>) {
        self.status.grow(roster.topics.len());
        self.wanted.send_replace(roster);
    }
}

impl UpstreamError {
    /// The key that is wrong.
    pub fn key(&self) -> KeyPath {
        match self {
            Self::Pool { upstream, .. } => KeyPath::from(["upstreams", upstream, "pool"]),
            Self::Scheme { upstream, .. } => KeyPath::from(["upstreams", upstream, "url"]),
            Self::OneTopicLinks { upstream, .. } => KeyPath::from(["upstreams", upstream, "topics_per_link"]),
            Self::Tls { upstream, .. } => KeyPath::from(["upstreams", upstream, "ca_file"]),
            Self::Credentials(error) => {
                let (upstream, keys) = error.place();
                keys.iter().fold(KeyPath::from(["upstreams", upstream]), |path, key| path.key(key))
            }
        }
    }
}

impl Upstream {
    /// Sets up the pool. Nothing is connected yet.
    ///
    /// # Errors
    /// When its certificates cannot be read.
    pub fn new(
        settings: &UpstreamSettings,
        pool: &PoolSettings,
        dialect: Arc<dyn Dialect>,
        roster: Arc<Roster>,
        wiring: Wiring,
    ) -> Result<Self, UpstreamError> {
        let name = roster.upstream.clone();
        let pool = pool.overridden_by(&settings.pool);
        let mut limits = dialect.limits().overridden_by(&settings.limits);
        limits.topics_per_link = settings.topics_per_link.unwrap_or(limits.topics_per_link);
        let slots = pool.max_connections.max(pool.min_connections).max(1) as usize;
        // What is wrong with the smart path must not keep the legacy one from connecting.
        let circuits = match roster.path {
            Path::Smart => Arc::clone(&wiring.circuits),
            Path::Legacy => Arc::new(Circuits::new(false, Vec::new())),
        };
        let credentials = Arc::new(Credentials::new(&name, settings, &pool, &circuits)?);
        check_named(&name, settings, &*dialect, &credentials)?;
        check_links(&name, settings, &*dialect)?;
        let connector = connector(&name, settings, &pool, &*dialect, Arc::clone(&credentials))?;
        // Without timeouts, which the connector has itself.
        let connections = Pool::builder(connector)
            .max_size(slots)
            .build()
            .map_err(|source| UpstreamError::Pool { upstream: name.clone(), reason: source.to_string() })?;
        let links = links_wanted(
            roster.wanted().len(),
            limits.topics_per_link,
            pool.min_connections,
            pool.max_connections,
            limits.idle_links,
        );
        let status = UpstreamStatus::new(slots, roster.topics.len());
        status.set_wanted(links);
        let dedicated = (roster.path == Path::Legacy).then(|| roster.monitors.first()).flatten();
        let of = dedicated.map(|monitor| Arc::clone(&monitor.identity.name));
        let shared = Shared {
            metrics: UpstreamMetrics::new(&name, roster.path, of.as_deref()),
            counts: wiring.counts.of(&name, roster.path),
            of,
            began: Began::now(wiring.clock.last()),
            breaker: circuits.register(CircuitKind::Upstream, &name),
            pace: wiring.paces.of(&connections.manager().address(), limits.connects),
            meetings: Meetings::default(),
            status: Arc::new(status),
            name,
            pool,
            limits,
            credentials,
            credentials_named: credentials_named(&*dialect),
            buffer_bytes_max: settings.buffer.as_usize(),
            message_bytes_max: settings.max_message.as_usize(),
            dialect,
            roster: Mutex::new(Arc::clone(&roster)),
            journal: Arc::clone(&wiring.journal),
            clock: Arc::clone(&wiring.clock),
            wiring,
        };
        Ok(Self { shared: Arc::new(shared), connections, wanted: watch::Sender::new(roster) })
    }

    /// How it is seen and steered, now and later.
    pub fn control(&self) -> UpstreamControl {
        let Shared { status, dialect, limits, credentials, .. } = &*self.shared;
        UpstreamControl {
            status: Arc::clone(status),
            dialect: Arc::clone(dialect),
            limits: *limits,
            credentials: Some(Arc::clone(credentials)),
            wanted: self.wanted.clone(),
        }
    }

    /// Keeps its links open until `stop` is given; what was read before is then in the journal's hands.
    pub async fn run(self, stop: CancellationToken) {
        let Self { shared, connections, wanted } = self;
        let credentials = Arc::clone(&shared.credentials);
        tokio::select! {
            () = Keeper::new(shared, connections.clone(), wanted.subscribe()).run(stop) => {}
            // Ends never.
            () = credentials.keep_fresh() => {}
        }
        connections.close();
    }
}

/// How many links an upstream opens for so many topics, as long as they bring no more than a link may carry.
pub fn links_for(settings: &UpstreamSettings, pool: &PoolSettings, limits: Limits, topics: usize) -> usize {
    let pool = pool.overridden_by(&settings.pool);
    let per_link = settings.topics_per_link.unwrap_or(limits.topics_per_link);
    match topics {
        0 => 0,
        _ => links_wanted(topics, per_link, pool.min_connections, pool.max_connections, limits.idle_links),
    }
}

/// How an upstream is reached.
pub(super) fn connector(
    name: &str,
    settings: &UpstreamSettings,
    pool: &PoolSettings,
    dialect: &dyn Dialect,
    credentials: Arc<Credentials>,
) -> Result<Connector, UpstreamError> {
    Ok(Connector {
        endpoint: settings.url.clone(),
        transport: transport(name, settings, dialect)?,
        headers: dialect.handshake_headers(),
        tls: trust(name, settings, credentials.identity())?,
        credentials,
        connect_timeout: pool.connect_timeout,
        handshake_timeout: pool.handshake_timeout,
        pong_timeout: pool.pong_timeout,
        message_bytes_max: settings.max_message.as_usize(),
    })
}

/// What carries the dialect's frames to this address.
fn transport(name: &str, settings: &UpstreamSettings, dialect: &dyn Dialect) -> Result<Transport, UpstreamError> {
    let scheme = settings.url.reveal().scheme();
    Transport::of(dialect.transports(), scheme)
        .ok_or_else(|| UpstreamError::Scheme { upstream: name.to_owned(), scheme: scheme.to_owned() })
}

/// What the links of an upstream trust that is reached over TLS; none in the clear.
fn trust(
    name: &str,
    settings: &UpstreamSettings,
    identity: Option<&Arc<ClientIdentity>>,
) -> Result<Option<Arc<ClientConfig>>, UpstreamError> {
    if !Transport::is_secure(settings.url.reveal().scheme()) {
        return Ok(None);
    }
    let config = tls::client_config_with(settings.ca_file.as_deref(), identity);
    config.map(Some).map_err(|source| UpstreamError::Tls { upstream: name.to_owned(), source })
}

/// Whether links can carry as many topics as the upstream's settings say.
fn check_links(name: &str, settings: &UpstreamSettings, dialect: &dyn Dialect) -> Result<(), UpstreamError> {
    match settings.topics_per_link {
        Some(topics) if topics > 1 && dialect.transports().contains(&Transport::EventStream) => {
            Err(UpstreamError::OneTopicLinks { upstream: name.to_owned(), topics })
        }
        _ => Ok(()),
    }
}

/// Whether an upstream's certificates can be read, and what it says of its credentials can be meant.
///
/// # Errors
/// When they cannot.
pub fn check_trust(name: &str, settings: &UpstreamSettings, all: &Settings) -> Result<(), UpstreamError> {
    let pool = all.pool.overridden_by(&settings.pool);
    let credentials = Credentials::new(name, settings, &pool, &Circuits::new(false, Vec::new()))?;
    // One that cannot be built is told of with its own mistake.
    if let Ok(dialect) = registry::build(&settings.dialect, &all.dialects) {
        check_named(name, settings, &*dialect, &credentials)?;
        check_links(name, settings, &*dialect)?;
    }
    // Links in the clear trust nobody, but what is asked over HTTP for them may; and a file that is named is meant to be there.
    if settings.ca_file.is_some() {
        tls::client_config_with(settings.ca_file.as_deref(), None)
            .map_err(|source| UpstreamError::Tls { upstream: name.to_owned(), source })?;
    }
    trust(name, settings, credentials.identity()).map(drop)
}

/// Whether the credentials are there that messages of the dialect name.
pub(super) fn check_named(
    name: &str,
    settings: &UpstreamSettings,
    dialect: &dyn Dialect,
    credentials: &Credentials,
) -> Result<(), CredentialsError> {
    let named = credentials_named(dialect);
    let Some(unknown) = credentials.unknown(&named) else { return Ok(()) };
    let dialect = &settings.dialect;
    let reason = format!("messages of the dialect `{dialect}` name `{{auth.{unknown}}}`, and there is no `{unknown}`");
    Err(CredentialsError::Settings { upstream: name.to_owned(), key: "auth".into(), reason })
}

/// Names of credentials that a dialect's messages, or what it begins a connection with, need.
pub(super) fn credentials_named(dialect: &dyn Dialect) -> BTreeSet<String> {
    let mut named = dialect.credentials_named();
    for text in dialect.greeting() {
        named.extend(credentials_in(&text));
    }
    named
}
