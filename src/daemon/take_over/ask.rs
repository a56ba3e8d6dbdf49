//! The new side: asks the running daemon, opens links beside its own, and gets what it hands over.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::runtime::Runtime;
use tokio::time::{Instant, sleep, timeout};

use super::offer::at_address;
use super::protocol::{Behind, Channel, First, Handed, UpstreamNow, VERSION, Word};
use super::standing::CROSSINGS_MAX;
use super::{Beside, Inheritance, Predecessor, socket_path};
use crate::breaker::{CircuitKind, Forced};
use crate::circuits::CircuitHold;
use crate::clock::UnixNanos;
use crate::config::{Settings, TakeOver};
use crate::crash_point::crash_point;
use crate::daemon::assembly::{Assembled, AssemblyError, AssemblyParts, assemble};
use crate::daemon::live_settings::SettingsSource;
use crate::daemon::switches::Switches;
use crate::daemon::units::{Place, Places, dedicated};
use crate::journal::{self, JournalError, JournalReader, is_locked};
use crate::monitor::event_id::IdHasher;
use crate::monitor::roster::Identities;
use crate::upstream::{Preparation, Prepared, UpstreamError, unit_name};

/// How long the running daemon may take to answer: it waits for monitors on their way between paths first. Source: a guess for the
/// rest.
const ANSWER_TIMEOUT: Duration = CROSSINGS_MAX.saturating_add(Duration::from_secs(30));

/// Topics are in force here for at least so long before the old process is asked to let go, so that what was under way to it then has
/// come there or here. Source: a guess, above what a message is under way on two connections of one provider.
const SETTLING: Duration = Duration::from_millis(500);

/// How long a dead process may take to be gone with its locks. Source: a guess; it may be writing out what it had in memory.
const GONE_TIMEOUT: Duration = Duration::from_secs(30);

/// Why nothing is taken over. The running daemon goes on.
#[derive(Debug, thiserror::Error)]
pub enum TakeOverError {
    /// It does not want to.
    #[error("the running daemon is not taken over: {0}; it goes on")]
    Refused(String),
    /// It does not answer.
    #[error("the running daemon cannot be asked over {}: {source}; it goes on", path.display())]
    Channel {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A link of the old process's has no counterpart.
    #[error("upstream `{upstream}`: {reason}; {}", whom(upstream, *elsewhere))]
    Upstream {
        /// Which.
        upstream: String,
        /// Why.
        reason: String,
        /// Whether the running daemon is connected to another address.
        elsewhere: bool,
    },
    /// Settings.
    #[error(transparent)]
    Assembly(#[from] AssemblyError),
    /// An upstream.
    #[error(transparent)]
    Setup(#[from] UpstreamError),
    /// The journal.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// Threads.
    #[error("threads cannot be started: {0}")]
    Runtime(io::Error),
    /// It died, and its locks stay.
    #[error("the daemon that was to be taken over is gone, and its lock of the journal is still held after {0:?}")]
    StillLocked(Duration),
}

/// What the running daemon is connected to.
fn whom(upstream: &str, elsewhere: bool) -> String {
    if elsewhere {
        return "the running daemon is connected to another address than these settings name, and goes on".into();
    }
    format!(
        "the running daemon is connected to it and goes on. If it may not be connected to twice, set \
         `upstreams.{upstream}.take_over = \"after\"`"
    )
}

/// What came of asking.
pub(in crate::daemon) enum Asked {
    /// There is no daemon to take over from; why.
    Nobody(String),
    /// We go on in its place.
    Taking(Box<Succession>),
}

/// What the old process left us.
pub(in crate::daemon) struct Succession {
    pub(in crate::daemon) inheritance: Inheritance,
    /// None where it died.
    channel: Option<Channel>,
}

impl Succession {
    /// We run: the old process ends.
    pub(in crate::daemon) async fn taken(&mut self) {
        if let Some(channel) = &mut self.channel {
            // Where it died meanwhile nobody is to be told, and we hold the lock.
            channel.say(&Word::Taken).await.ok();
        }
    }

    /// We cannot. The old process goes on when we are gone: its socket stays open until then.
    pub(in crate::daemon) async fn given_up(self, reason: String) {
        if let Some(mut channel) = self.channel {
            // As above.
            channel.say(&Word::GivenUp { reason }).await.ok();
            // What of us may still be writing ends with the process and not before, so neither may the socket.
            std::mem::forget(channel);
        }
    }
}

/// Asks the running daemon to hand over, and gets it ready. Settings are checked before.
///
/// # Errors
/// When it goes on.
pub(in crate::daemon) async fn ask(source: &SettingsSource) -> Result<Asked, TakeOverError> {
    let data_dir = &source.loaded.settings.daemon.data_dir;
    let path = socket_path(data_dir);
    let connected = at_address(&path, |address| std::os::unix::net::UnixStream::connect(address));
    let stream = match connected {
        Ok(stream) => stream,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
            let why = if is_locked(&journal::folder(data_dir)) {
                "the process that has the journal offers it to nobody".to_owned()
            } else {
                format!("no daemon runs on {}", data_dir.display())
            };
            return Ok(Asked::Nobody(why));
        }
        Err(source) => return Err(TakeOverError::Channel { path, source }),
    };
    let broken = |source| TakeOverError::Channel { path: path.clone(), source };
    stream.set_nonblocking(true).map_err(broken)?;
    let mut channel = Channel::new(UnixStream::from_std(stream).map_err(broken)?);
    let journal_dir = journal::folder(data_dir);
    let journal = journal::identity(&journal_dir)?;
    let (program, ours) = (env!("CARGO_PKG_VERSION").to_owned(), journal.map(|id| id.0.to_string()));
    channel.say(&Word::Hello { version: VERSION, program, journal: ours }).await.map_err(broken)?;
    let answer = timeout(ANSWER_TIMEOUT, channel.hear()).await;
    let answer = answer.unwrap_or_else(|late| Err(io::Error::other(late))).map_err(broken)?;
    let (program, theirs) = match answer {
        Some(Word::Welcome { version: _, program, upstreams }) => (program, upstreams),
        Some(Word::Refused { reason }) => return Err(TakeOverError::Refused(reason)),
        Some(word) => return Err(TakeOverError::Refused(format!("it says {word:?}"))),
        None => return Err(TakeOverError::Refused("it ended the conversation".into())),
    };
    let pid = channel.peer().map_err(broken)?.1.unwrap_or_default();
    tracing::info!(pid, program, "taking over from the running daemon: opening links beside its own");

    let hasher = IdHasher::new(journal.map_or(0, |id| id.0.as_u128()));
    let preparing = Preparing::begin(source, &hasher, theirs)?;
    let mut taking = Taking { channel, preparing, predecessor: Predecessor { pid, program, handed_over: false } };
    match taking.prepare().await {
        Ok(alive) => taking.take(alive, &journal_dir).await.map(Asked::Taking),
        Err(error) => {
            let reason = error.to_string();
            // Who is gone needs no word.
            taking.channel.say(&Word::GivenUp { reason }).await.ok();
            taking.preparing.end();
            Err(error)
        }
    }
}

/// Links that are being opened.
struct Preparing {
    prepared: Arc<Prepared>,
    ingest: Runtime,
    theirs: BTreeMap<String, UpstreamNow>,
    /// Where upstreams are, by our settings.
    addresses: BTreeMap<String, String>,
}

impl Preparing {
    /// Begins to open what the settings say, with what operators have set at run time.
    fn begin(
        source: &SettingsSource,
        hasher: &IdHasher,
        theirs: BTreeMap<String, UpstreamNow>,
    ) -> Result<Self, TakeOverError> {
        let data_dir = source.loaded.settings.daemon.data_dir.clone();
        let switches = Switches::read(&mut JournalReader::open(&journal::folder(&data_dir))?)?;
        let origin = source.clone().with_run_time(&switches.config());
        let ingest = crate::daemon::start::ingest_runtime().map_err(TakeOverError::Runtime)?;
        let settings = &origin.loaded.settings;
        let addresses =
            settings.upstreams.iter().map(|(name, upstream)| (name.clone(), upstream.url.address())).collect();
        let preparing = Self { prepared: Arc::default(), ingest, theirs, addresses };
        match preparing.open(settings, &switches, hasher) {
            Ok(()) => Ok(preparing),
            Err(error) => {
                preparing.end();
                Err(error)
            }
        }
    }

    fn open(&self, settings: &Settings, switches: &Switches, hasher: &IdHasher) -> Result<(), TakeOverError> {
        let (pauses, paths, circuits) = (switches.pauses(settings), switches.paths(settings), switches.circuits());
        // At a start each monitor is where it is wanted.
        let places: Places =
            settings.monitors.keys().map(|name| (name.clone(), Place::On(paths.of(name).path))).collect();
        let parts = AssemblyParts { pauses: &pauses, places: &places, paths: &paths, hasher, before: &|_| None };
        let assembled = assemble(settings, &parts, &mut Identities::default())?;
        for (key, Assembled { dialect, roster }) in assembled {
            // Assembled from the settings' own upstreams.
            let Some(upstream) = settings.upstreams.get(&key.upstream) else { continue };
            let unit = unit_name(&key.upstream, key.of.as_deref());
            let held_open = |hold: &CircuitHold| {
                let of_it = hold.kind == CircuitKind::Upstream && hold.name == key.upstream;
                of_it && key.of.is_none() && hold.forced == Some(Forced::Open)
            };
            let after = match upstream.take_over {
                _ if circuits.iter().any(held_open) => Some("an operator holds its circuit open"),
                TakeOver::After => Some("`take_over = \"after\"`"),
                TakeOver::Beside if !dialect.connects_beside() => {
                    Some("its links have names, and another of the same name would end the first")
                }
                TakeOver::Beside => None,
            };
            if let Some(why) = after {
                tracing::info!(upstream = unit, "connected to once the running daemon has let go: {why}");
                continue;
            }
            let told_apart: BTreeSet<String> =
                self.theirs.get(&unit).map(|theirs| theirs.told_apart.iter().cloned().collect()).unwrap_or_default();
            let of_its_own = key.of.as_ref().and_then(|monitor| settings.monitors.get(monitor));
            let of_its_own = of_its_own.map(|monitor| dedicated(upstream, dialect.limits(), monitor.topics.len()));
            let preparation = Preparation {
                of: key.of,
                settings: of_its_own.as_ref().unwrap_or(upstream),
                pool: &settings.pool,
                dialect,
                roster,
                told_apart: &told_apart,
            };
            self.prepared.begin(&preparation, self.ingest.handle())?;
        }
        Ok(())
    }

    /// Whether every link is there that the old process has; the error says of which upstream one cannot be had.
    fn is_ready(&self) -> Result<bool, TakeOverError> {
        let none = UpstreamNow::default();
        let mut ready = true;
        for (unit, standing) in self.prepared.standing() {
            let theirs = self.theirs.get(&unit).unwrap_or(&none);
            let upstream = standing.upstream;
            let elsewhere = self.addresses.get(&upstream).is_some_and(|address| *address != theirs.address);
            if let (Some(reason), true) = (&standing.failed, theirs.connected) {
                return Err(TakeOverError::Upstream { upstream, reason: reason.clone(), elsewhere });
            }
            if let Some((topic, why)) = standing.refused.iter().find(|(topic, _)| !theirs.refused.contains(topic)) {
                let reason = format!("topic `{topic}` was refused: {why}");
                return Err(TakeOverError::Upstream { upstream, reason, elsewhere });
            }
            // One that neither can reach is no reason to wait.
            ready &= standing.up == standing.links || standing.failed.is_some();
        }
        Ok(ready)
    }

    /// Dropping a runtime waits, which is not allowed where another is driven.
    fn end(self) {
        self.ingest.shutdown_background();
    }
}

struct Taking {
    channel: Channel,
    preparing: Preparing,
    predecessor: Predecessor,
}

impl Taking {
    /// Waits for all links. False: the old process has died meanwhile.
    async fn prepare(&mut self) -> Result<bool, TakeOverError> {
        let begun = Instant::now();
        let mut changes = self.preparing.prepared.changes();
        loop {
            changes.borrow_and_update();
            let ready = self.preparing.is_ready()?;
            tokio::select! {
                // Anything that changes in that time is looked at.
                () = sleep(SETTLING), if ready => break,
                Ok(()) = changes.changed() => {}
                heard = self.channel.hear() => match heard {
                    Ok(Some(Word::Refused { reason })) => return Err(TakeOverError::Refused(reason)),
                    Ok(Some(word)) => return Err(TakeOverError::Refused(format!("it says {word:?}"))),
                    Ok(None) | Err(_) => {
                        tracing::warn!("the daemon that was to be taken over has died: going on as after a crash");
                        return Ok(false);
                    }
                }
            }
        }
        for (upstream, standing) in self.preparing.prepared.standing() {
            tracing::info!(
                upstream,
                links = standing.links,
                up = standing.up,
                later = standing.later,
                "links are open beside those of the running daemon"
            );
        }
        tracing::info!(seconds = begun.elapsed().as_secs_f64(), "ready to take over");
        crash_point!("take_over.ready");
        // That it has died is heard next.
        let first = self.preparing.prepared.first_events().into_iter().flat_map(|(unit, first)| {
            first.into_iter().map(move |(topic, monitor, hash)| {
                let (unit, hash) = (unit.clone(), format!("{hash:x}"));
                First { unit, monitor, topic, hash }
            })
        });
        self.channel.say(&Word::Ready { first: first.collect() }).await.ok();
        Ok(true)
    }

    /// Has the old process let go, and takes what it hands over; where it dies, what it leaves.
    async fn take(mut self, alive: bool, journal_dir: &std::path::Path) -> Result<Box<Succession>, TakeOverError> {
        let mut in_force = None;
        let mut read_until = None;
        let mut behind = BTreeMap::new();
        let mut handed = BTreeMap::new();
        loop {
            let heard = if alive { self.channel.hear().await } else { Ok(None) };
            match heard {
                Ok(Some(Word::LetGo(let_go))) => {
                    crash_point!("take_over.let_go");
                    read_until = let_go.read_until();
                    in_force = Some(self.preparing.prepared.let_go(UnixNanos(let_go.stopped)));
                    for Behind { upstream, monitor, topic, from } in let_go.behind {
                        behind.insert((upstream, monitor, topic), UnixNanos(from));
                    }
                }
                Ok(Some(Word::Handed { durable, files })) => {
                    crash_point!("take_over.handed");
                    tracing::info!(durable, "the daemon before has handed over");
                    handed = files.into_iter().zip(self.channel.take_files()).collect();
                    self.predecessor.handed_over = true;
                    break;
                }
                Ok(Some(Word::Refused { reason })) => {
                    self.preparing.end();
                    return Err(TakeOverError::Refused(reason));
                }
                Ok(Some(word)) => {
                    self.preparing.end();
                    return Err(TakeOverError::Refused(format!("it says {word:?}")));
                }
                Ok(None) | Err(_) => {
                    tracing::warn!("the daemon that was to hand over has died: going on as after a crash");
                    break;
                }
            }
        }
        let Self { channel, preparing, predecessor } = self;
        let channel = if predecessor.handed_over {
            Some(channel)
        } else {
            // What it had read and was not durable is lost with it.
            read_until = None;
            behind = BTreeMap::new();
            if let Err(error) = wait_for_the_lock(journal_dir).await {
                preparing.end();
                return Err(error);
            }
            None
        };
        let in_force = in_force.unwrap_or_else(|| preparing.prepared.let_go(UnixNanos::now()));
        let mut file = |what| handed.remove(&what).map(File::from);
        let inheritance = Inheritance {
            journal_lock: file(Handed::JournalLock),
            checkpoint_lock: file(Handed::CheckpointLock),
            listener: handed.remove(&Handed::Listener).map(TcpListener::from),
            read_until,
            behind,
            beside: Some(Beside { prepared: preparing.prepared, ingest: preparing.ingest, in_force, predecessor }),
        };
        Ok(Box::new(Succession { inheritance, channel }))
    }
}

async fn wait_for_the_lock(journal_dir: &std::path::Path) -> Result<(), TakeOverError> {
    let deadline = Instant::now() + GONE_TIMEOUT;
    while is_locked(journal_dir) {
        if Instant::now() >= deadline {
            return Err(TakeOverError::StillLocked(GONE_TIMEOUT));
        }
        sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}
