//! Listens, and serves each resource.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::{HeaderName, HeaderValue, Method, header};
use axum::middleware::from_fn_with_state;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower_http::cors::{AllowOrigin, CorsLayer};

use super::accept::{ConnectionLimits, accept};
use super::alerts::{self, Alerts};
use super::audit::{self, AuditRecord};
use super::body::{self, BodyLimits};
use super::canary::{self, CanaryAnswer, CanaryRequest, CanaryStatus};
use super::circuits;
use super::events;
use super::gaps::{self, FillRequest, FillRow};
use super::guard::{self, Access};
use super::health::{self, Health};
use super::journal::{self, JournalRow};
use super::metrics;
use super::monitoring;
use super::monitors::MonitorRow;
use super::notifications::{self, NotificationsView};
use super::observe;
use super::openapi;
use super::operations::{self, OperationRow, Refusal, ReplayAnswer};
use super::page;
use super::polls::{self, PollAction, PollRow};
use super::pool::{self, PoolRow};
use super::quarantine::{self, RetryRefusal, RetryReport, RetryRequest};
use super::sequences::{self, TopicSequence};
use super::settings::{self, Control, MonitorVerdict};
use super::sinks;
use super::streams::{self, StreamDesk, Tickets};
use super::support::{self, Support};
use super::tls;
use super::views::{self, Running};
use crate::checkpoint::CheckpointRow;
use crate::circuits::{CircuitHold, CircuitRefusal, CircuitRow};
use crate::config::ServerSettings;
use crate::enrich::LookUpRow;
use crate::journal::JournalReader;
use crate::recovery::gaps::{Completeness, GapQuery, GapRow};
use crate::recovery::replay::ReplayRequest;
use crate::rollout::history::CanaryRow;
use crate::sink::{Parked, SinkChange, SinkRow, SwitchRefusal, SwitchedSink};
use crate::telemetry::{HostSample, MetricsHandle, RequestCounts};
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
    /// The socket cannot be listened on.
    #[error("the HTTP server stopped: {0}")]
    Serve(std::io::Error),
    /// The certificate.
    #[error("`server.tls`: {0}")]
    Tls(#[from] super::tls::ServerTlsError),
}

/// What the server shows. Asked anew for each request.
pub trait View: Send + Sync + 'static {
    /// How the daemon is.
    fn health(&self) -> Health;
    /// How busy the host and the process are.
    fn host(&self) -> HostSample;
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
    /// What became of notices of alerts.
    fn notifications(&self) -> Arc<dyn NotificationsView>;
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
    /// What those are told who look for a fault.
    fn support(&self) -> Arc<dyn Support>;
    /// How well each monitor is.
    fn verify_monitors(&self) -> Vec<MonitorVerdict>;
    /// What a person should know of.
    fn alerts(&self) -> Arc<dyn Alerts>;
    /// What is done once: what goes on, and what has ended lately.
    fn operations(&self) -> Vec<OperationRow>;
    /// One of these.
    fn operation(&self, id: &str) -> Option<OperationRow>;
    /// Streams of events.
    fn streams(&self) -> Arc<StreamDesk>;
    /// Journals who changed what. Waits for nothing.
    fn audit(&self, record: &AuditRecord);
    /// The journal, to be read. Reading it blocks.
    fn reader(&self) -> JournalReader;
}

/// What handlers share.
#[derive(Clone)]
pub(super) struct Shown {
    pub(super) view: Arc<dyn View>,
    pub(super) metrics: MetricsHandle,
    /// What was asked of this server.
    pub(super) requests: Arc<RequestCounts>,
    /// Given when answers that go on have to end.
    pub(super) stop: CancellationToken,
    /// Passes that were given to browsers.
    pub(super) tickets: Arc<Tickets>,
    /// Connections that are no HTTP any more.
    pub(super) upgraded: TaskTracker,
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

/// How it is served.
pub struct Serving {
    /// Who may ask.
    pub access: Access,
    /// Limits and TLS.
    pub settings: ServerSettings,
    /// Where requests are counted.
    pub requests: Arc<RequestCounts>,
}

/// Serves until `stop` is given.
///
/// # Errors
/// When the certificate cannot be used.
pub async fn serve(
    listener: Listening,
    view: Arc<dyn View>,
    metrics: MetricsHandle,
    serving: Serving,
    stop: CancellationToken,
) -> Result<(), ServerError> {
    let Serving { access, settings, requests } = serving;
    let tls = tls::acceptor(&settings.tls)?;
    let limits = ConnectionLimits {
        head_timeout: settings.head_timeout,
        stall_timeout: settings.streams.stall_timeout,
        connections_max: settings.connections_max as usize,
        per_peer_max: settings.connections_per_peer as usize,
    };
    let (tickets, upgraded) = (Arc::clone(&access.tickets), TaskTracker::new());
    let shown = Shown { view, metrics, requests, stop: stop.clone(), tickets, upgraded: upgraded.clone() };
    accept(listener, router(shown, access, &settings), limits, tls, stop).await;
    upgraded.close();
    upgraded.wait().await;
    Ok(())
}

/// All that is served. A request goes through what is added last first.
fn router(shown: Shown, access: Access, settings: &ServerSettings) -> Router {
    let body = BodyLimits { bytes_max: settings.body_max.as_usize(), timeout: settings.body_timeout };
    routes()
        .layer(DefaultBodyLimit::max(body.bytes_max))
        .layer(from_fn_with_state(body, body::whole))
        .layer(from_fn_with_state(shown.clone(), audit::audit))
        .layer(from_fn_with_state(Arc::new(access), guard::authorize))
        .layer(cross_origin(&settings.cors_origins))
        .layer(from_fn_with_state(Arc::clone(&shown.requests), observe::observe))
        .with_state(shown)
}

/// What the browser is told of pages of other origins.
fn cross_origin(origins: &[String]) -> tower::util::Either<CorsLayer, tower::layer::util::Identity> {
    if origins.is_empty() {
        return tower::util::Either::Right(tower::layer::util::Identity::new());
    }
    let origins: Vec<HeaderValue> = origins.iter().filter_map(|origin| origin.parse().ok()).collect();
    let request_id = HeaderName::from_static(observe::REQUEST_ID);
    let layer = CorsLayer::new()
        .allow_origin(AllowOrigin::list(origins))
        .allow_methods([Method::GET, Method::POST, Method::PUT, Method::DELETE])
        .allow_headers([header::AUTHORIZATION, header::CONTENT_TYPE, request_id.clone()])
        .expose_headers([request_id, header::RETRY_AFTER])
        .max_age(Duration::from_mins(10));
    tower::util::Either::Left(layer)
}

/// Every resource.
fn routes() -> Router<Shown> {
    Router::new()
        .merge(metrics::routes())
        .merge(health::routes())
        .merge(alerts::routes())
        .merge(canary::routes())
        .merge(circuits::routes())
        .merge(events::routes())
        .merge(gaps::routes())
        .merge(journal::routes())
        .merge(notifications::routes())
        .merge(monitoring::routes())
        .merge(openapi::routes())
        .merge(operations::routes())
        .merge(page::routes())
        .merge(polls::routes())
        .merge(pool::routes())
        .merge(quarantine::routes())
        .merge(sequences::routes())
        .merge(settings::routes())
        .merge(sinks::routes())
        .merge(streams::routes())
        .merge(support::routes())
        .merge(views::routes())
}
