//! Metrics and the daemon's own events, sent to other systems: from the same snapshot that `/metrics` is written from, so that all agree.
//!
//! Everything is on one thread, on which nothing of the data's way waits. What cannot be handed over costs nobody anything: metrics are sent as
//! they are next time, and events wait in the journal.

mod events;
mod messages;
mod otlp;
mod statsd;

use std::io;
use std::thread::{self, JoinHandle};

use tokio_util::sync::CancellationToken;

use crate::config::ExportSettings;
use crate::http_client::HttpError;
use crate::journal::Journal;
use crate::telemetry::MetricsHandle;

use events::OwnEvents;
use otlp::Otlp;
use statsd::Statsd;

/// Why nothing is exported.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// No client can be set up.
    #[error("nothing can be exported by OTLP: {0}")]
    Client(#[from] HttpError),
    /// There is no thread to be had.
    #[error("nothing can be exported: {0}")]
    Thread(#[from] io::Error),
}

/// What exports, until it is dropped.
#[derive(Debug)]
pub struct Exporters {
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl Exporters {
    /// Begins; none where no exporter is on. Own events count from now on.
    ///
    /// # Errors
    /// When there is no client or no thread to be had.
    pub fn start(
        settings: &ExportSettings,
        metrics: &MetricsHandle,
        journal: &Journal,
    ) -> Result<Option<Self>, ExportError> {
        let ExportSettings { otlp, statsd } = settings;
        if !otlp.enabled && !statsd.enabled {
            return Ok(None);
        }
        let events = || OwnEvents::new(journal.reader(), journal.durable());
        let otlp = otlp.enabled.then(|| Otlp::new(otlp, metrics.clone(), otlp.events.then(events))).transpose()?;
        let statsd = statsd.enabled.then(|| Statsd::new(statsd, metrics.clone(), statsd.has_events().then(events)));
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = thread::Builder::new().name("export".into()).spawn(move || {
            let work = async {
                tokio::join!(
                    async {
                        if let Some(otlp) = otlp {
                            otlp.run().await;
                        }
                    },
                    async {
                        if let Some(statsd) = statsd {
                            statsd.run().await;
                        }
                    },
                );
            };
            // A push that is under way is given up: what it holds is in the journal, and the next process counts anew.
            runtime.block_on(stopped.run_until_cancelled(work));
            runtime.shutdown_background();
        })?;
        Ok(Some(Self { stop, thread: Some(thread) }))
    }
}

impl Drop for Exporters {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that exports panicked; this is a bug");
        }
    }
}

/// Tells once that an exporter fails and once that it no longer does.
#[derive(Debug, Default)]
struct Standing {
    failing: bool,
}

impl Standing {
    fn note(&mut self, exporter: &'static str, outcome: &Result<(), String>) {
        match (outcome, self.failing) {
            (Err(error), false) => tracing::warn!("{exporter}: {error}; nothing is exported until that is over"),
            (Ok(()), true) => tracing::info!("{exporter}: exports arrive again"),
            _ => {}
        }
        self.failing = outcome.is_err();
        crate::telemetry::ExportMetrics::pushed(exporter, outcome.is_ok());
    }
}
