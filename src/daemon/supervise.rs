//! Runs a daemon until a signal or a fault ends it.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinSet;

use super::live_settings::SettingsSource;
use super::service_manager::{self, Word, handed_listener};
use super::start::{Daemon, Fault, StartError, Stopped, check_start};
use super::take_over::{self, Asked, Candidate, HandedOver, Inheritance, Offer, Successors, hand_over};
use super::view::DaemonView;
use super::watchdog::{Stage, Stages, Watchdog};
use crate::crash_point::crash_point;
use crate::journal::JournalError;
use crate::server::View as _;
use crate::telemetry::MetricsHandle;

/// How a run ended.
#[derive(Debug)]
pub enum Ending {
    /// A signal asked for it; this is how the stop went.
    Stopped(Stopped),
    /// Another process goes on in our place.
    HandedOver {
        /// Which.
        to: u32,
        /// How the end of our part went.
        stopped: Stopped,
    },
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

/// What a stop needs beyond `daemon.stop_timeout`: the last checkpoint, views, answers under way. Source: their own deadlines, 3 s, and as much
/// again for a slow disk.
const STOP_GRACE: Duration = Duration::from_secs(6);

/// Whether this process may open as many files as it needs to start.
fn enough_files() -> Result<(), StartError> {
    match rustix::process::getrlimit(rustix::process::Resource::Nofile).current {
        Some(allowed) if allowed < FILES_MIN => Err(StartError::Files { allowed, needed: FILES_MIN }),
        _ => Ok(()),
    }
}

/// Whether the daemon is taken over from, and takes over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TakeOvers {
    /// Neither: it ends with the command that runs it.
    Never,
    /// Another process may take over from it.
    Offered,
    /// As well; and it begins by taking over from the one that runs.
    Asked,
}

/// Starts, waits for SIGTERM, Ctrl-C or a fault, and stops. `started` is told once everything runs; `meanwhile` goes on
/// as long as the daemon does.
///
/// # Errors
/// When the daemon does not start.
pub fn run<F, W>(source: SettingsSource, metrics: &MetricsHandle, started: F) -> Result<Ending, StartError>
where
    F: FnOnce(&Daemon) -> W,
    W: Future<Output = ()>,
{
    serve(source, metrics, TakeOvers::Never, started)
}

/// As [`run`], of a daemon that other processes may take over from.
///
/// # Errors
/// When the daemon does not start. Where it was to take over from another one, that one goes on.
pub fn serve<F, W>(
    source: SettingsSource,
    metrics: &MetricsHandle,
    take_overs: TakeOvers,
    started: F,
) -> Result<Ending, StartError>
where
    F: FnOnce(&Daemon) -> W,
    W: Future<Output = ()>,
{
    enough_files()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(StartError::Runtime)?;
    let ending = serve_on(&runtime, source, metrics, take_overs, started);
    // Tasks of links may still be at work after a hurried stop; the process ends under them.
    runtime.shutdown_background();
    ending
}

fn serve_on<F, W>(
    runtime: &Runtime,
    mut source: SettingsSource,
    metrics: &MetricsHandle,
    take_overs: TakeOvers,
    started: F,
) -> Result<Ending, StartError>
where
    F: FnOnce(&Daemon) -> W,
    W: Future<Output = ()>,
{
    let (mut inheritance, mut succession) = (Inheritance::default(), None);
    let watchdog = Watchdog::start().map_err(StartError::Runtime)?;
    if take_overs == TakeOvers::Asked {
        check_start(&source.loaded.settings)?;
        match runtime.block_on(take_over::ask(&source))? {
            Asked::Nobody(why) => tracing::info!("there is nobody to take over from: {why}; starting"),
            Asked::Taking(mut taking) => {
                inheritance = std::mem::take(&mut taking.inheritance);
                succession = Some(taking);
            }
        }
    }
    if inheritance.listener.is_none() {
        inheritance.listener = handed_listener(source.loaded.settings.server.listen)?;
    }
    let mut daemon = match Daemon::start_with(source.clone(), metrics.clone(), inheritance) {
        Ok(daemon) => daemon,
        Err(error) => {
            if let Some(succession) = succession {
                runtime.block_on(succession.given_up(error.to_string()));
            }
            return Err(error);
        }
    };
    let mut meanwhile = Box::pin(started(&daemon));
    let _entered = runtime.enter();
    let mut signals = Signals::new().map_err(StartError::Runtime)?;
    let mut offer = (take_overs != TakeOvers::Never).then(|| offer_in(&source)).flatten();
    let mut successors = Successors::of_this_process(&source.options.environment);
    crash_point!("take_over.started");
    service_manager::tell(&Word::Ready);
    if let Some(mut succession) = succession {
        runtime.block_on(succession.taken());
    }
    loop {
        watchdog.watch(stages(&daemon, runtime));
        if let Some(offer) = &offer {
            offer.describe(daemon.standing());
        }
        let wakes = Wakes { signals: &mut signals, offer: offer.as_mut(), successors: &mut successors };
        let woken = runtime.block_on(wakes.wait(&mut daemon, meanwhile.as_mut()));
        let reason = match woken {
            Woken::Candidate(candidate) => {
                source = daemon.source(&source);
                let timeout = source.loaded.settings.daemon.take_over_timeout;
                watchdog.yielding(timeout + daemon.stop_timeout());
                match runtime.block_on(hand_over(daemon, candidate, &mut signals, timeout)) {
                    HandedOver::Ended(ending) => return Ok(ending),
                    HandedOver::NotYet { daemon: still, stop: false } => {
                        daemon = *still;
                        continue;
                    }
                    HandedOver::NotYet { daemon: still, stop: true } => {
                        daemon = *still;
                        None
                    }
                    HandedOver::Failed { reason, inheritance } => {
                        tracing::error!("not taken over, so we start again: {reason}");
                        watchdog.starting();
                        daemon = Daemon::start_with(source.clone(), metrics.clone(), *inheritance)?;
                        // The other process may have put its own in the place of ours.
                        offer = offer_in(&source);
                        for line in daemon.summary.to_string().lines() {
                            tracing::info!("{line}");
                        }
                        continue;
                    }
                }
            }
            Woken::Stop => None,
            Woken::Fault(fault) => Some(fault),
        };
        if let Some(offer) = &offer {
            offer.close();
        }
        watchdog.over();
        service_manager::tell(&Word::Stopping { within: daemon.stop_timeout() + STOP_GRACE });
        return Ok(runtime.block_on(stop(daemon, reason, &mut signals)));
    }
}

/// What is watched of a daemon, and the thread that hears signals.
fn stages(daemon: &Daemon, runtime: &Runtime) -> Stages {
    let mut fixed = daemon.stages();
    fixed.push(Stage::runtime("main", runtime.handle().clone()));
    Stages { fixed, upstreams: daemon.watched() }
}

/// Lets other processes take over, where that can be had.
fn offer_in(source: &SettingsSource) -> Option<Offer> {
    let data_dir = &source.loaded.settings.daemon.data_dir;
    let offered = Offer::new(data_dir);
    if let Err(error) = &offered {
        tracing::warn!("no process can take over from this one: no socket in {}: {error}", data_dir.display());
    }
    offered.ok()
}

/// What the daemon is woken by.
enum Woken {
    Stop,
    Fault(Fault),
    Candidate(Candidate),
}

struct Wakes<'a> {
    signals: &'a mut Signals,
    offer: Option<&'a mut Offer>,
    successors: &'a mut Successors,
}

impl Wakes<'_> {
    /// Waits for the end, or for another process that is ready to take over.
    async fn wait<W: Future<Output = ()>>(mut self, daemon: &mut Daemon, mut meanwhile: Pin<&mut W>) -> Woken {
        let mut reloads = JoinSet::new();
        loop {
            let candidate = async {
                match &mut self.offer {
                    Some(offer) => offer.next().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                name = self.signals.stop.next() => {
                    tracing::info!("{name}: stopping; once more to stop at once");
                    return Woken::Stop;
                }
                fault = daemon.fault() => return Woken::Fault(fault),
                () = &mut meanwhile => return Woken::Stop,
                candidate = candidate => return Woken::Candidate(candidate),
                _ = self.signals.hangup.recv() => {
                    while reloads.try_join_next().is_some() {}
                    // One goes on, and the one behind it reads what is there then.
                    if reloads.len() < 2 {
                        let view = daemon.view();
                        reloads.spawn_blocking(move || reload(&view));
                    }
                }
                _ = self.signals.succeed.recv() => {
                    if self.offer.is_some() {
                        self.successors.start();
                    } else {
                        tracing::error!("SIGUSR2: no process can take over from this one");
                    }
                }
            }
        }
    }
}

async fn stop(daemon: Daemon, fault: Option<Fault>, signals: &mut Signals) -> Ending {
    match &fault {
        Some(Fault::Link(error)) => tracing::error!(error, "a link's task broke; this is a bug: stopping in order"),
        Some(Fault::Sink(error)) => tracing::error!(error, "a sink's task broke; this is a bug: stopping in order"),
        Some(Fault::Journal(_)) | None => {}
    }
    let stopped = tokio::select! {
        stopped = daemon.stop() => stopped,
        _ = signals.stop.next() => return Ending::Hurried,
    };
    match (fault, stopped) {
        (Some(Fault::Journal(error)), _) | (_, Err(error)) => Ending::JournalFailed(error),
        (Some(Fault::Link(error) | Fault::Sink(error)), Ok(_)) => Ending::Fault(error),
        (None, Ok(stopped)) => Ending::Stopped(stopped),
    }
}

/// What SIGHUP asks for.
fn reload(view: &DaemonView) {
    service_manager::tell(&Word::Reloading);
    tracing::info!("SIGHUP: reading the settings again");
    if let Err(error) = view.control().reload(false) {
        tracing::error!("the settings cannot be used, so nothing is changed: {error}");
        // The protocol knows no reload that failed.
        service_manager::tell(&Word::Status(format!("the settings cannot be used, so nothing is changed: {error}")));
    }
    service_manager::tell(&Word::Reloaded);
}

/// Signals that are heard.
pub(super) struct Signals {
    pub(super) stop: StopSignals,
    /// To read the settings again.
    hangup: Signal,
    /// To start a process that takes over.
    succeed: Signal,
}

/// Those that ask for the end.
pub(super) struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            stop: StopSignals {
                terminate: signal(SignalKind::terminate())?,
                interrupt: signal(SignalKind::interrupt())?,
            },
            hangup: signal(SignalKind::hangup())?,
            succeed: signal(SignalKind::user_defined2())?,
        })
    }
}

impl StopSignals {
    /// The next one's name. Cancel safe.
    pub(super) async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "Ctrl-C",
        }
    }
}
