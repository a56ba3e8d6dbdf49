//! Listens, shakes hands, and gives each connection to what serves it.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::connection::{Connection, End};
use super::dialects::{Greeting, Moment, Standing};
use super::figures::{Counters, Figures, Ledger, LedgerEntry, Made, add, sub};
use super::flood::Flood;
use super::frames::Framing;
use super::hub::Hub;
use super::opening::{Opened, open};
use super::polled::Boards;
use super::recording::Recording;
use super::settings::{Faults, LedgerSettings, SimulatorSettings, Source};

/// The pause after a connection could not be accepted, so that a process without file descriptors does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Why a simulator could not start, or not end well.
#[derive(Debug, thiserror::Error)]
pub enum SimulatorError {
    /// The address cannot be had.
    #[error("cannot listen on {address}: {source}; choose another with --listen")]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The recording cannot be read.
    #[error("cannot read the recording {path}: {reason}")]
    Recording {
        /// The file.
        path: PathBuf,
        /// What is wrong, and in which line.
        reason: String,
    },
    /// The ledger cannot be written.
    #[error("cannot write the ledger {path}: {source}")]
    Ledger {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Settings that make no sense.
    #[error("{0}")]
    Settings(String),
}

/// What all connections of a simulator share.
pub(crate) struct Shared {
    /// As it was started; see [`Shared::faults`] for what of it may have changed.
    pub(crate) settings: SimulatorSettings,
    faults: Mutex<Arc<Faults>>,
    /// Connections are to be broken; grows each time.
    pub(crate) break_now: watch::Sender<u64>,
    /// Everything is to end at once, as if the process had been killed.
    killed: CancellationToken,
    pub(crate) counters: Arc<Counters>,
    pub(crate) ledger: Ledger,
    pub(crate) cancel: CancellationToken,
    pub(crate) kind: Kind,
    /// What is kept of clients from connection to connection.
    pub(crate) standing: Standing,
    /// What those who poll are shown.
    pub(crate) boards: Boards,
    /// Whether the one giant frame has been sent.
    pub(crate) giant_sent: AtomicBool,
    /// Connections broken so far, so that ways of breaking them take turns.
    pub(crate) breaks: AtomicU64,
    pub(crate) attempts: AtomicU64,
    connections: AtomicU64,
}

impl Shared {
    /// The faults to be made now.
    pub(crate) fn faults(&self) -> Arc<Faults> {
        Arc::clone(&self.faults.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What serves connections.
pub(crate) enum Kind {
    Synthetic(Hub),
    Recording(Recording),
    Flood(Flood),
}

/// The feed simulator.
#[derive(Debug)]
pub struct Simulator;

impl Simulator {
    /// Starts a simulator. It is ready when this returns.
    ///
    /// # Errors
    /// When the address cannot be had, a file cannot be opened, or the settings make no sense.
    pub async fn start(settings: SimulatorSettings) -> Result<Running, SimulatorError> {
        check(&settings)?;
        let counters = Arc::new(Counters::default());
        let kind = match &settings.source {
            Source::Synthetic(dialect) => {
                let first_id = settings.first_id.unwrap_or_else(first_id_now);
                let hub = Hub::new(*dialect, &settings, first_id, Arc::clone(&counters));
                Kind::Synthetic(hub.map_err(SimulatorError::Settings)?)
            }
            Source::Recording(recording) => {
                let recording = recording.clone();
                let path = recording.path.clone();
                let loaded = tokio::task::spawn_blocking(move || Recording::load(&recording)).await;
                let reason = match loaded {
                    Ok(Ok(recording)) => Ok(recording),
                    Ok(Err(reason)) => Err(reason),
                    Err(error) => Err(error.to_string()),
                };
                Kind::Recording(reason.map_err(|reason| SimulatorError::Recording { path, reason })?)
            }
            Source::Flood(flood) => Kind::Flood(Flood::new(flood)),
        };
        let ledger = Ledger::open(&settings.ledger).map_err(|source| ledger_error(&settings.ledger, source))?;
        let address = settings.listen;
        let listener = TcpListener::bind(address).await.map_err(|source| SimulatorError::Listen { address, source })?;
        let address = listener.local_addr().map_err(|source| SimulatorError::Listen { address, source })?;
        let rate = settings.rate;
        let shared = Arc::new(Shared {
            faults: Mutex::new(Arc::new(settings.faults.clone())),
            break_now: watch::channel(0).0,
            killed: CancellationToken::new(),
            settings,
            counters,
            ledger,
            cancel: CancellationToken::new(),
            kind,
            standing: Standing::default(),
            boards: Boards::default(),
            giant_sent: AtomicBool::new(false),
            breaks: AtomicU64::new(0),
            attempts: AtomicU64::new(0),
            connections: AtomicU64::new(0),
        });
        let tasks = TaskTracker::new();
        tasks.spawn(listen(listener, Arc::clone(&shared), tasks.clone()));
        if matches!(shared.kind, Kind::Synthetic(_)) {
            let shared = Arc::clone(&shared);
            tasks.spawn(async move {
                if let Kind::Synthetic(hub) = &shared.kind {
                    shared.killed.run_until_cancelled(hub.run(rate, shared.cancel.clone())).await;
                }
            });
        }
        Ok(Running { address, shared, tasks })
    }
}

fn check(settings: &SimulatorSettings) -> Result<(), SimulatorError> {
    check_faults(&settings.faults)
}

fn check_faults(faults: &Faults) -> Result<(), SimulatorError> {
    for (name, fraction) in [
        ("repeats", faults.repeats),
        ("drop", faults.drop),
        ("disorder", faults.disorder),
        ("bad-frames", faults.bad_frames),
        ("conflicts", faults.conflicts),
    ] {
        if !(0.0..=1.0).contains(&fraction) {
            return Err(SimulatorError::Settings(format!("`{name}` is {fraction}; a fraction is from 0 to 1")));
        }
    }
    if let Some(status) = faults.handshake.status
        && !(300..600).contains(&status)
    {
        let reason = format!("the handshake status {status} refuses nothing; give one from 300 to 599");
        return Err(SimulatorError::Settings(reason));
    }
    Ok(())
}

fn ledger_error(settings: &LedgerSettings, source: io::Error) -> SimulatorError {
    let path = match settings {
        LedgerSettings::File(path) => path.clone(),
        LedgerSettings::Off | LedgerSettings::Memory { .. } => PathBuf::new(),
    };
    SimulatorError::Ledger { path, source }
}

/// Ids grow by one an event, this by 10,000 a second: a simulator started later begins after one that made fewer.
fn first_id_now() -> u64 {
    const START_MILLIS: i64 = 1_600_000_000_000;
    u64::try_from(Moment::now().millis() - START_MILLIS).unwrap_or(0) * 10
}

/// A simulator that serves. Dropping it stops it, without waiting.
pub struct Running {
    address: SocketAddr,
    shared: Arc<Shared>,
    tasks: TaskTracker,
}

impl Running {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it has done so far.
    pub fn figures(&self) -> Figures {
        self.shared.counters.figures()
    }

    /// What was sent so far, where the ledger is kept in memory.
    pub fn ledger(&self) -> Vec<LedgerEntry> {
        self.shared.ledger.entries()
    }

    /// What a synthetic feed made so far, in that order, sent or not, as far as `made_max` allows.
    pub fn made(&self) -> Vec<Made> {
        match &self.shared.kind {
            Kind::Synthetic(hub) => hub.made(),
            Kind::Recording(_) | Kind::Flood(_) => Vec::new(),
        }
    }

    /// A synthetic feed makes other faults from now on, also on connections that are open; but `disconnect_every` is of
    /// connections to come, and one that has gone silent stays so. What was held back comes now. Handshakes are counted
    /// anew.
    ///
    /// # Errors
    /// When they make no sense; then nothing changes.
    pub fn set_faults(&self, faults: Faults) -> Result<(), SimulatorError> {
        check_faults(&faults)?;
        *self.shared.faults.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(faults);
        self.shared.attempts.store(0, Ordering::Relaxed);
        Ok(())
    }

    /// While it pauses, a synthetic feed makes no events; what was made before still comes.
    pub fn pause(&self, paused: bool) {
        if let Kind::Synthetic(hub) = &self.shared.kind {
            hub.pause(paused);
        }
    }

    /// Breaks every open connection of a synthetic feed: in turn by a close frame, a reset in mid-frame, and an end of
    /// stream.
    pub fn break_connections(&self) {
        self.shared.break_now.send_modify(|times| *times += 1);
    }

    /// Ends at once, as if the process had been killed: connections end without a word. What was made is given.
    pub async fn kill(self) -> Vec<Made> {
        // Not `cancel`, which would have connections say goodbye.
        self.shared.killed.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        self.made()
    }

    /// The address as a URL, with the path that the real upstream has.
    pub fn url(&self) -> String {
        let (scheme, path) = match &self.shared.settings.source {
            Source::Synthetic(dialect) => (dialect.scheme(), dialect.path()),
            Source::Recording(recording) => ("ws", recording.dialect.map_or("/", super::SimulatedDialect::path)),
            Source::Flood(_) => ("ws", "/stream"),
        };
        format!("{scheme}://{}{path}", self.address)
    }

    /// Closes all connections, stops listening, and writes out the ledger.
    ///
    /// # Errors
    /// When the ledger could not be written.
    pub async fn stop(self) -> Result<Figures, SimulatorError> {
        self.shared.cancel.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        self.shared.ledger.flush().map_err(|source| ledger_error(&self.shared.settings.ledger, source))?;
        Ok(self.figures())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.shared.cancel.cancel();
        self.tasks.close();
    }
}

async fn listen(listener: TcpListener, shared: Arc<Shared>, tasks: TaskTracker) {
    loop {
        let accepted = tokio::select! {
            () = shared.cancel.cancelled() => return,
            () = shared.killed.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) if tasks.len() <= shared.settings.connections_max => {
                let shared = Arc::clone(&shared);
                tasks.spawn(async move {
                    let (cancel, killed) = (shared.cancel.clone(), shared.killed.clone());
                    let served = async {
                        if let Some(Some((opened, greeting))) = cancel.run_until_cancelled(open(stream, &shared)).await
                        {
                            serve(opened, &greeting, &shared).await;
                        }
                    };
                    killed.run_until_cancelled(served).await;
                });
            }
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve(opened: Opened, greeting: &Greeting, shared: &Arc<Shared>) {
    let number = 1 + shared.connections.fetch_add(1, Ordering::Relaxed);
    add(&shared.counters.accepted, 1);
    add(&shared.counters.open, 1);
    let mut connection = Connection::new(opened, number, Arc::clone(shared));
    let end = match &shared.kind {
        Kind::Synthetic(hub) if connection.framing == Framing::Requests => {
            super::polled::answer_polls(&mut connection, hub).await
        }
        Kind::Synthetic(hub) => super::conversation::converse(&mut connection, hub, greeting).await,
        Kind::Recording(recording) => super::replay::replay(&mut connection, recording, &greeting.target).await,
        Kind::Flood(flood) => super::flood::pour(&mut connection, flood, &greeting.target).await,
    };
    if matches!(end, End::Slow) {
        add(&shared.counters.slow_readers, 1);
    }
    tracing::debug!(connection = number, ?end, "simulator: connection ended");
    connection.finish(end).await;
    sub(&shared.counters.open, 1);
}
