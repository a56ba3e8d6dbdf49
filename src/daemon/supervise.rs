//! Runs a daemon until a signal or a fault ends it.

use std::pin::pin;
use std::sync::Arc;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinSet;

use super::live_settings::SettingsSource;
use super::start::{Daemon, Fault, StartError, Stopped};
use super::view::DaemonView;
use crate::journal::JournalError;
use crate::server::View as _;
use crate::telemetry::MetricsHandle;

/// How a run ended.
#[derive(Debug)]
pub enum Ending {
    /// A signal asked for it; this is how the stop went.
    Stopped(Stopped),
    /// A second signal: nothing more was waited for.
    Hurried,
    /// The journal cannot take any more, now or at the stop; a restart recovers from disk.
    JournalFailed(Arc<JournalError>),
    /// A bug of ours.
    Fault(String),
}

/// File descriptors without which there is no point in starting. Source: counted, a daemon with one link has 25 open; a library
/// panics where it cannot have those that signals need.
const FILES_MIN: u64 = 64;

/// Whether this process may open as many files as it needs to start.
fn enough_files() -> Result<(), StartError> {
    match rustix::process::getrlimit(rustix::process::Resource::Nofile).current {
        Some(allowed) if allowed < FILES_MIN => Err(StartError::Files { allowed, needed: FILES_MIN }),
        _ => Ok(()),
    }
}

/// Starts, waits for SIGTERM, Ctrl-C or a fault, and stops. `started` is told once everything runs; `meanwhile` goes on
/// as long as the daemon does.
///
/// # Errors
/// When the daemon does not start.
pub fn run<F, W>(source: SettingsSource, metrics: MetricsHandle, started: F) -> Result<Ending, StartError>
where
    F: FnOnce(&Daemon) -> W,
    W: Future<Output = ()>,
{
    enough_files()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(StartError::Runtime)?;
    let mut daemon = Daemon::start(source, metrics)?;
    let meanwhile = started(&daemon);
    let ending = runtime.block_on(async move {
        let mut signals = Signals::new().map_err(StartError::Runtime)?;
        let mut hangup = signal(SignalKind::hangup()).map_err(StartError::Runtime)?;
        let mut meanwhile = pin!(meanwhile);
        let mut reloads = JoinSet::new();
        let fault = loop {
            tokio::select! {
                name = signals.next() => {
                    tracing::info!("{name}: stopping; once more to stop at once");
                    break None;
                }
                fault = daemon.fault() => break Some(fault),
                () = &mut meanwhile => break None,
                _ = hangup.recv() => {
                    while reloads.try_join_next().is_some() {}
                    // One goes on, and the one behind it reads what is there then.
                    if reloads.len() < 2 {
                        let view = daemon.view();
                        reloads.spawn_blocking(move || reload(&view));
                    }
                }
            }
        };
        match &fault {
            Some(Fault::Link(error)) => tracing::error!(error, "a link's task broke; this is a bug: stopping in order"),
            Some(Fault::Sink(error)) => tracing::error!(error, "a sink's task broke; this is a bug: stopping in order"),
            Some(Fault::Journal(_)) | None => {}
        }
        let stopped = tokio::select! {
            stopped = daemon.stop() => stopped,
            _ = signals.next() => return Ok(Ending::Hurried),
        };
        Ok(match (fault, stopped) {
            (Some(Fault::Journal(error)), _) | (_, Err(error)) => Ending::JournalFailed(error),
            (Some(Fault::Link(error) | Fault::Sink(error)), Ok(_)) => Ending::Fault(error),
            (None, Ok(stopped)) => Ending::Stopped(stopped),
        })
    });
    // Tasks of links may still be at work after a hurried stop; the process ends under them.
    runtime.shutdown_background();
    ending
}

/// What SIGHUP asks for.
fn reload(view: &DaemonView) {
    tracing::info!("SIGHUP: reading the settings again");
    if let Err(error) = view.control().reload(false) {
        tracing::error!("the settings cannot be used, so nothing is changed: {error}");
    }
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "Ctrl-C",
        }
    }
}
