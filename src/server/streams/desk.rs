//! What all streams share: the hub, limits, counts; and `/v1/health/streaming`.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::config::StreamSettings;
use crate::journal::Offset;
use crate::live::{CatchUp, ConsumerBook, Hub};
use crate::server::serve::Shown;
use crate::telemetry::StreamClients;

/// What carries a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Carrier {
    WebSocket,
    Sse,
}

impl Carrier {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::WebSocket => "websocket",
            Self::Sse => "sse",
        }
    }
}

/// What was counted of streams since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct StreamFigures {
    /// Events that some client wanted, each once.
    pub emitted: u64,
    /// Clients now.
    pub websocket_clients: u64,
    /// Clients now.
    pub sse_clients: u64,
    /// Clients that there may be, of each of both.
    pub clients_max: u64,
    /// Events sent, to each client one by one.
    pub websocket_sent: u64,
    /// Events sent, to each client one by one.
    pub sse_sent: u64,
    /// Events that slow clients were not given.
    pub dropped: u64,
    /// Clients that were cut off.
    pub cut_off: u64,
    /// Events of the journal's end that no listening client was given yet.
    pub lag: u64,
}

#[derive(Debug, Default)]
struct Counts {
    clients: AtomicU64,
    sent: AtomicU64,
}

/// Where streams are served from.
pub struct StreamDesk {
    hub: Arc<Hub>,
    catch_up: Arc<CatchUp>,
    consumers: Arc<ConsumerBook>,
    settings: Box<dyn Fn() -> StreamSettings + Send + Sync>,
    websocket: Counts,
    sse: Counts,
    cut_off: AtomicU64,
    /// What a snapshot shows, as of this moment: clients may come by the thousand.
    seen: Mutex<Option<(Instant, Arc<Value>)>>,
    /// Asks for it anew.
    look: OnceLock<Box<dyn Fn() -> Value + Send + Sync>>,
}

/// A snapshot is looked up anew after this.
const SNAPSHOT_AGE_MAX: Duration = Duration::from_secs(1);

impl StreamDesk {
    /// Over a hub; `settings` says what is allowed now.
    pub fn new(
        hub: Arc<Hub>,
        consumers: Arc<ConsumerBook>,
        settings: impl Fn() -> StreamSettings + Send + Sync + 'static,
    ) -> Self {
        Self {
            catch_up: Arc::new(CatchUp::new(Arc::clone(&hub))),
            hub,
            consumers,
            settings: Box::new(settings),
            websocket: Counts::default(),
            sse: Counts::default(),
            cut_off: AtomicU64::new(0),
            seen: Mutex::default(),
            look: OnceLock::new(),
        }
    }

    /// Says how the daemon is, for snapshots; the first one counts.
    pub fn show(&self, look: impl Fn() -> Value + Send + Sync + 'static) {
        let _first = self.look.set(Box::new(look)).is_ok();
    }

    /// Sends all clients away.
    pub fn stop(&self) {
        self.hub.stop();
    }

    pub(super) fn hub(&self) -> &Hub {
        &self.hub
    }

    pub(super) fn catch_up(&self) -> &Arc<CatchUp> {
        &self.catch_up
    }

    /// Named consumers.
    pub fn consumers(&self) -> &Arc<ConsumerBook> {
        &self.consumers
    }

    pub(super) fn settings(&self) -> StreamSettings {
        (self.settings)()
    }

    pub(super) fn durable(&self) -> Offset {
        self.hub.journal().durable()
    }

    /// How the daemon is, not older than a second.
    pub(super) fn state(&self) -> Arc<Value> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        match &*seen {
            Some((at, value)) if at.elapsed() < SNAPSHOT_AGE_MAX => Arc::clone(value),
            _ => {
                let value = Arc::new(self.look.get().map_or(Value::Null, |look| look()));
                *seen = Some((Instant::now(), Arc::clone(&value)));
                value
            }
        }
    }

    /// What was counted.
    pub fn figures(&self) -> StreamFigures {
        let now = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        StreamFigures {
            emitted: self.hub.emitted(),
            websocket_clients: now(&self.websocket.clients),
            sse_clients: now(&self.sse.clients),
            clients_max: self.settings().clients_max.into(),
            websocket_sent: now(&self.websocket.sent),
            sse_sent: now(&self.sse.sent),
            dropped: self.hub.dropped(),
            cut_off: now(&self.cut_off),
            lag: self.hub.lag(),
        }
    }

    fn counts(&self, carrier: Carrier) -> &Counts {
        match carrier {
            Carrier::WebSocket => &self.websocket,
            Carrier::Sse => &self.sse,
        }
    }

    /// A seat for a client; none when all are taken.
    pub(super) fn seat(self: &Arc<Self>, carrier: Carrier) -> Option<Seat> {
        let max = u64::from(self.settings().clients_max);
        let clients = &self.counts(carrier).clients;
        let more = |taken| (taken < max).then_some(taken + 1);
        clients.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok()?;
        let all = StreamClients::of_process();
        all.set_limit(max * 2);
        all.opened();
        Some(Seat { desk: Arc::clone(self), carrier })
    }
}

/// A client's place; given back when it goes.
pub(super) struct Seat {
    desk: Arc<StreamDesk>,
    carrier: Carrier,
}

impl Seat {
    pub(super) fn sent(&self, events: usize) {
        self.desk.counts(self.carrier).sent.fetch_add(events as u64, Ordering::Relaxed);
    }

    pub(super) fn cut_off(&self, reason: &str) {
        self.desk.cut_off.fetch_add(1, Ordering::Relaxed);
        tracing::info!(carrier = self.carrier.as_str(), "a client is cut off: {reason}");
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.desk.counts(self.carrier).clients.fetch_sub(1, Ordering::Relaxed);
        StreamClients::of_process().closed();
    }
}

pub(super) fn routes() -> Router<Shown> {
    Router::new().route("/v1/health/streaming", get(health))
}

async fn health(State(shown): State<Shown>) -> Json<Value> {
    let desk = shown.view.streams();
    let (settings, figures) = (desk.settings(), desk.figures());
    let on = |carrier: bool| settings.enabled && carrier;
    let (websocket, sse) = (on(settings.websocket), on(settings.sse));
    let full = figures.websocket_clients.max(figures.sse_clients) >= figures.clients_max;
    let status = if full && settings.enabled { "degraded" } else { "healthy" };
    Json(json!({
        "status": status,
        "event_streaming": {"enabled": settings.enabled, "websocket": websocket, "sse": sse},
        "connection": {
            "mode": if websocket { "websocket" } else { "polling" },
            "status": if websocket || sse { "available" } else { "off" },
        },
        "events": {"total_processed": figures.emitted},
        "metrics": {
            "events_emitted_total": figures.emitted,
            "websocket_connections": figures.websocket_clients,
            "sse_connections": figures.sse_clients,
            "websocket_messages_sent_total": figures.websocket_sent,
            "sse_messages_sent_total": figures.sse_sent,
            "events_dropped_total": figures.dropped,
            "clients_cut_off_total": figures.cut_off,
        },
    }))
}
