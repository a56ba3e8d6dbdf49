//! The pool of an upstream: a bounded number of links, each kept open by a task of its own.
//!
//! `deadpool` creates, limits and verifies connections; it knows no minimum. A slot is the place of one link: its task
//! takes a connection from the pool, holds it for as long as it lives, and takes another after a wait.

use std::sync::Arc;

use deadpool::managed::{Object, Pool, PoolError};
use tokio::task::JoinSet;
use tokio_rustls::rustls::ClientConfig;
use tokio_util::sync::CancellationToken;

use super::connect::Connector;
use super::link::{Link, LinkEnd};
use super::placement::{self, Placement};
use super::resume::{Began, QUERY, ResumePoint};
use super::status::{LinkState, TopicState, UpstreamStatus};
use crate::backoff::Backoff;
use crate::clock::ReceivedClock;
use crate::config::{BatchSettings, PoolSettings, UpstreamSettings};
use crate::dialect::{Dialect, Limits, TopicId};
use crate::journal::Journal;
use crate::monitor::roster::Roster;
use crate::pipeline::batcher::{Batcher, OwnIdentities};
use crate::pipeline::dedupe::DedupeWindow;
use crate::telemetry::UpstreamMetrics;
use crate::tls::{self, TlsError};

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
    pub(super) pool: PoolSettings,
    pub(super) limits: Limits,
    pub(super) buffer_bytes_max: usize,
    pub(super) dialect: Arc<dyn Dialect>,
    pub(super) roster: Arc<Roster>,
    pub(super) journal: Arc<Journal>,
    pub(super) clock: Arc<ReceivedClock>,
    pub(super) status: Arc<UpstreamStatus>,
    pub(super) metrics: UpstreamMetrics,
    pub(super) began: Began,
    wiring: Wiring,
}

impl Shared {
    pub(super) fn batcher(&self) -> Batcher {
        let Wiring { batch, own, window, .. } = self.wiring.clone();
        Batcher::new(batch, Arc::clone(&self.roster), own, window)
    }

    pub(super) fn window(&self) -> &DedupeWindow {
        &self.wiring.window
    }
}

/// An upstream, ready to run.
pub struct Upstream {
    shared: Arc<Shared>,
    connections: Pool<Connector>,
    placement: Placement,
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
        let mut limits = dialect.limits();
        limits.topics_per_link = settings.topics_per_link.unwrap_or(limits.topics_per_link);
        let links = placement::links_wanted(
            roster.topics.len(),
            limits.topics_per_link,
            pool.min_connections,
            pool.max_connections,
            limits.idle_links,
        );
        let placement = placement::place(&roster.topic_priorities, links, limits.topics_per_link);
        let tls = trust(&name, settings)?;
        let connector = Connector {
            endpoint: settings.url.clone(),
            headers: dialect.handshake_headers(),
            tls,
            connect_timeout: pool.connect_timeout,
            handshake_timeout: pool.handshake_timeout,
            pong_timeout: pool.pong_timeout,
            message_bytes_max: settings.max_message.as_usize(),
        };
        let status = Arc::new(UpstreamStatus::new(links, roster.topics.len()));
        if !placement.left_out.is_empty() {
            status.set_topics(placement.left_out.iter().copied(), &TopicState::LeftOut);
            tracing::error!(
                upstream = %name, left_out = placement.left_out.len(), links, topics_per_link = limits.topics_per_link,
                "not all topics fit; the least important are left out: raise `pool.max_connections` or `topics_per_link`"
            );
        }
        // Without timeouts, which the connector has itself.
        let connections = Pool::builder(connector)
            .max_size(links)
            .build()
            .map_err(|source| UpstreamError::Pool { upstream: name.clone(), reason: source.to_string() })?;
        let shared = Shared {
            metrics: UpstreamMetrics::new(&name),
            began: Began::now(wiring.clock.last()),
            name,
            pool,
            limits,
            buffer_bytes_max: settings.buffer.as_usize(),
            dialect,
            roster,
            journal: Arc::clone(&wiring.journal),
            clock: Arc::clone(&wiring.clock),
            status,
            wiring,
        };
        Ok(Self { shared: Arc::new(shared), connections, placement })
    }

    /// How it stands, now and later.
    pub fn status(&self) -> Arc<UpstreamStatus> {
        Arc::clone(&self.shared.status)
    }

    /// Links it will open.
    pub fn links(&self) -> usize {
        self.placement.links.len()
    }

    /// Keeps its links open until `stop` is given; what was read before is then in the journal's hands.
    pub async fn run(self, stop: CancellationToken) {
        let mut slots = JoinSet::new();
        for (number, topics) in self.placement.links.into_iter().enumerate() {
            let (shared, connections, stop) = (Arc::clone(&self.shared), self.connections.clone(), stop.clone());
            slots.spawn(keep_open(shared, connections, number, topics, stop));
        }
        while let Some(slot) = slots.join_next().await {
            if let Err(error) = slot {
                // A bug of ours. The others go on until the supervisor, which sees this, stops everything in order.
                tracing::error!(upstream = %self.shared.name, %error, "a link's task ended; this is a bug");
                std::panic::resume_unwind(error.into_panic());
            }
        }
        self.connections.close();
    }
}

/// What a `wss://` upstream's links trust; none for `ws://`.
fn trust(name: &str, settings: &UpstreamSettings) -> Result<Option<Arc<ClientConfig>>, UpstreamError> {
    if settings.url.reveal().scheme() != "wss" {
        return Ok(None);
    }
    let config = tls::client_config(settings.ca_file.as_deref());
    config.map(Some).map_err(|source| UpstreamError::Tls { upstream: name.to_owned(), source })
}

/// Whether an upstream's certificates can be read.
///
/// # Errors
/// When they cannot.
pub fn check_trust(name: &str, settings: &UpstreamSettings) -> Result<(), UpstreamError> {
    trust(name, settings).map(drop)
}

/// Keeps one link open: connects, works, and after a loss waits and connects again.
async fn keep_open(
    shared: Arc<Shared>,
    connections: Pool<Connector>,
    number: usize,
    topics: Vec<TopicId>,
    stop: CancellationToken,
) {
    let mut backoff = Backoff::new(shared.pool.backoff_min, shared.pool.backoff_max);
    shared.status.update_link(number, |link| link.topics = topics.len());
    while !stop.is_cancelled() {
        shared.status.set_link(number, LinkState::Connecting);
        let resume = ResumePoint::of(&shared, &topics);
        if let Some(resume) = &resume {
            resume.remember_ids(&shared).await;
        }
        let query = resume.as_ref().and_then(|resume| resume.query(&shared));
        let connection = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            connection = QUERY.scope(query, connections.get()) => connection,
        };
        let was_open = connection.is_ok();
        let (reason, cause, stay_away) = match connection {
            Ok(mut connection) => {
                shared.status.set_link(number, LinkState::Open);
                shared.metrics.connected();
                tracing::info!(upstream = %shared.name, link = number, topics = topics.len(), "link open");
                if let Some(ResumePoint { point, .. }) = &resume {
                    tracing::info!(upstream = %shared.name, link = number, point, "asked to go on from there");
                }
                let end = Link::new(&shared, number, &topics, resume).run(&mut connection, &stop).await;
                backoff.was_up(connection.opened.elapsed());
                // A connection is never shared or handed on: what it was subscribed to would come to another.
                drop(Object::take(connection));
                match end {
                    LinkEnd::Stopped => break,
                    LinkEnd::Lost { reason, cause } => (reason, cause, None),
                }
            }
            Err(PoolError::Backend(error)) => {
                (error.to_string(), error.cause(), error.stay_away(shared.pool.backoff_max))
            }
            Err(PoolError::Closed) => break,
            Err(error) => (error.to_string(), "pool", None),
        };
        let wait = backoff.next(stay_away);
        let what = if was_open { "link lost" } else { "no link" };
        shared.metrics.failed(cause);
        shared.status.set_link(number, LinkState::Waiting);
        shared.status.update_link(number, |link| link.last_error = Some(reason.clone()));
        tracing::warn!(
            upstream = %shared.name, link = number, cause, "{what}: {reason}; trying again in {:.1} s", wait.as_secs_f64()
        );
        tokio::select! {
            () = stop.cancelled() => break,
            () = tokio::time::sleep(wait) => {}
        }
    }
    shared.status.set_link(number, LinkState::Idle);
}
