//! Listens, and serves each resource.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use super::canary::{self, CanaryAnswer, CanaryRequest, CanaryStatus};
use super::circuits;
use super::gaps::{self, FillRequest, FillRow};
use super::guard::{self, Access};
use super::health::{self, Health};
use super::journal::{self, JournalRow};
use super::metrics;
use super::monitors::MonitorRow;
use super::operations::{self, OperationRow, Refusal, ReplayAnswer};
use super::polls::{self, PollAction, PollRow};
use super::pool::{self, PoolRow};
use super::quarantine::{self, RetryRefusal, RetryReport, RetryRequest};
use super::sequences::{self, TopicSequence};
use super::settings::{self, Control, MonitorVerdict};
use super::sinks;
use super::views::{self, Running};
use crate::checkpoint::CheckpointRow;
use crate::circuits::{CircuitHold, CircuitRefusal, CircuitRow};
use crate::enrich::LookUpRow;
use crate::recovery::gaps::{Completeness, GapQuery, GapRow};
use crate::recovery::replay::ReplayRequest;
use crate::rollout::history::CanaryRow;
use crate::sink::{Parked, SinkChange, SinkRow, SwitchRefusal, SwitchedSink};
use crate::telemetry::MetricsHandle;
use crate::value_cache::CacheFigures;
use crate::views::{CounterNow, LatestNow, StatisticsNow, ViewError};

/// Why nothing is served.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The address is taken, or not ours.
    #[error("cannot listen on {address}: {source}; change `server.listen`")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The accept loop broke.
    #[error("the HTTP server stopped: {0}")]
    Serve(std::io::Error),
}

/// What the server shows. Asked anew for each request.
pub trait View: Send + Sync + 'static {
    /// How the daemon is.
    fn health(&self) -> Health;
    /// How its monitors are.
    fn monitors(&self) -> Vec<MonitorRow>;
    /// How its pools are, or that of one upstream; `topics`: with each topic.
    fn pool(&self, upstream: Option<&str>, topics: bool) -> Vec<PoolRow>;
    /// How its journal is.
    fn journal(&self) -> JournalRow;
    /// Parses quarantined frames again. Blocking.
    ///
    /// # Errors
    /// When that cannot be done, or not now.
    fn retry_quarantined(&self, request: &RetryRequest) -> Result<RetryReport, RetryRefusal>;
    /// What was counted, and how the daemon runs. Blocking.
    ///
    /// # Errors
    /// When the views are not to be had now.
    fn statistics(&self, history: bool) -> Result<(StatisticsNow, Running), ViewError>;
    /// Look-ups of enrichment.
    fn look_ups(&self) -> Vec<LookUpRow>;
    /// Caches, by name.
    fn caches(&self) -> BTreeMap<String, CacheFigures>;
    /// Business counters.
    fn counters(&self) -> Vec<CounterNow>;
    /// Last values, at most so many, newest first. Blocking.
    ///
    /// # Errors
    /// When the views are not to be had now.
    fn latest(&self, monitor: Option<&str>, key: Option<&str>, limit: usize) -> Result<LatestNow, ViewError>;
    /// How its sinks are.
    fn sinks(&self) -> Vec<SinkRow>;
    /// Switches a sink off or on. Blocking.
    ///
    /// # Errors
    /// When that cannot be done, or more must be said.
    fn change_sink(&self, name: &str, change: SinkChange) -> Result<SwitchedSink, SwitchRefusal>;
    /// Rows that a sink's store has put aside, oldest first. Blocking.
    ///
    /// # Errors
    /// When it cannot be asked.
    fn parked(&self, name: &str, limit: usize) -> Result<Vec<Parked>, SwitchRefusal>;
    /// How its circuit breakers are.
    fn circuits(&self) -> Vec<CircuitRow>;
    /// Holds a circuit breaker, or lets it go. Blocking.
    ///
    /// # Errors
    /// When that cannot be done.
    fn change_circuit(&self, hold: &CircuitHold) -> Result<CircuitRow, CircuitRefusal>;
    /// Monitors that have a fall-back over HTTP.
    fn polls(&self) -> Vec<PollRow>;
    /// Holds a monitor to its fall-back, or off it, or lets it go. Blocking.
    ///
    /// # Errors
    /// When that cannot be done.
    fn change_poll(&self, monitor: &str, action: PollAction) -> Result<Vec<PollRow>, Refusal>;
    /// How the change-over to the smart path stands. May wait for a change that is being made.
    fn canary(&self) -> CanaryStatus;
    /// Decides about it. Blocking.
    ///
    /// # Errors
    /// When that cannot be done, or not now.
    fn change_canary(&self, request: &CanaryRequest) -> Result<CanaryAnswer, Refusal>;
    /// What was decided, at most so much: the newest, oldest first. Blocking.
    ///
    /// # Errors
    /// When the journal cannot be read.
    fn canary_history(&self, limit: usize) -> Result<Vec<CanaryRow>, Refusal>;
    /// Every checkpoint in the folder. Blocking.
    ///
    /// # Errors
    /// When the folder cannot be read.
    fn checkpoints(&self) -> Result<Vec<CheckpointRow>, Refusal>;
    /// Writes a checkpoint now. Blocking.
    ///
    /// # Errors
    /// When that cannot be done.
    fn create_checkpoint(&self) -> Result<CheckpointRow, Refusal>;
    /// Begins a replay, or says what it would do. Blocking.
    ///
    /// # Errors
    /// When it cannot be done as it is asked for.
    fn replay(&self, request: &ReplayRequest) -> Result<ReplayAnswer, Refusal>;
    /// What was not seen, at most so many: the newest that are over, and then those that go on. Blocking.
    ///
    /// # Errors
    /// When the journal cannot be read.
    fn gaps(&self, query: &GapQuery, limit: usize) -> Result<Vec<GapRow>, Refusal>;
    /// Has gaps filled, or says what would be asked for. Blocking.
    ///
    /// # Errors
    /// When that cannot be done.
    fn fill_gaps(&self, request: &FillRequest) -> Result<Vec<FillRow>, Refusal>;
    /// What share was seen. Blocking.
    ///
    /// # Errors
    /// When the journal cannot be read.
    fn completeness(&self, query: &GapQuery) -> Result<Completeness, Refusal>;
    /// What the feeds' own numbers tell, by monitor and topic.
    fn sequences(&self) -> Vec<TopicSequence>;
    /// What changes while the daemon runs.
    fn control(&self) -> Arc<dyn Control>;
    /// How well each monitor is.
    fn verify_monitors(&self) -> Vec<MonitorVerdict>;
    /// What is done once: what goes on, and what has ended lately.
    fn operations(&self) -> Vec<OperationRow>;
    /// One of these.
    fn operation(&self, id: &str) -> Option<OperationRow>;
}

/// What handlers share.
#[derive(Clone)]
pub(super) struct Shown {
    pub(super) view: Arc<dyn View>,
    pub(super) metrics: MetricsHandle,
}

/// Takes the address.
///
/// # Errors
/// When it cannot be had.
pub fn listen(address: SocketAddr) -> Result<std::net::TcpListener, ServerError> {
    let listen = || {
        let listener = std::net::TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    };
    listen().map_err(|source| ServerError::Listen { address, source })
}

/// A socket that is listened on until another process does: what comes then is left to that one.
pub struct Listening {
    /// The socket.
    pub listener: TcpListener,
    /// Given when no more connections are to be taken from it.
    pub leave: CancellationToken,
}

impl axum::serve::Listener for Listening {
    type Io = TcpStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (TcpStream, SocketAddr) {
        tokio::select! {
            biased;
            () = self.leave.cancelled() => std::future::pending().await,
            accepted = axum::serve::Listener::accept(&mut self.listener) => accepted,
        }
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// Serves until `stop` is given.
///
/// # Errors
/// When accepting connections fails for good.
pub async fn serve(
    listener: Listening,
    view: Arc<dyn View>,
    metrics: MetricsHandle,
    access: Access,
    stop: CancellationToken,
) -> Result<(), ServerError> {
    let open = Router::new().merge(metrics::routes()).merge(health::routes());
    let guarded = Router::new()
        .merge(canary::routes())
        .merge(circuits::routes())
        .merge(gaps::routes())
        .merge(journal::routes())
        .merge(operations::routes())
        .merge(polls::routes())
        .merge(pool::routes())
        .merge(quarantine::routes())
        .merge(sequences::routes())
        .merge(settings::routes())
        .merge(sinks::routes())
        .merge(views::routes())
        .layer(axum::middleware::from_fn_with_state(Arc::new(access), guard::authorize));
    let router = open.merge(guarded).with_state(Shown { view, metrics });
    axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await.map_err(ServerError::Serve)
}
