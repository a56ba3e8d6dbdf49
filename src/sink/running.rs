//! All sinks of a daemon: made ready, asked for their cursors, started, told what to do, stopped.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, TryLockError};
use std::time::Duration;

use tokio::runtime::{self, Handle, Runtime};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::any_store::AnyStore;
use super::batch::Parked;
use super::interest::Interest;
use super::lost::{LostLog, LostWhy};
use super::runner::{Orders, Parts, Runner};
use super::status::{SinkMark, SinkRow, SinkStatus};
use super::store::{Opening, Purpose, Store, StoreError};
use super::switch::{Resume, SinkChange, SinkSwitch, SwitchRefusal, SwitchedSink};
use crate::breaker::CircuitKind;
use crate::circuits::Circuits;
use crate::config::Settings;
use crate::enrich::Enrichment;
use crate::journal::{Ancestor, Journal, JournalId, KnownDurable, Offset};
use crate::telemetry::{LatencyCounts, SinkMetrics};

/// The longest that a sink is waited for at the start. One that does not answer is heard later.
const ASK_TIMEOUT: Duration = Duration::from_secs(2);

/// The longest that a store may take to tell of its parked rows: less than the command line waits for the daemon.
const PARKED_TIMEOUT: Duration = Duration::from_secs(4);

/// Why sinks cannot be made ready.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// Its settings.
    #[error("sinks.{sink}: {reason}")]
    Settings {
        /// Which.
        sink: String,
        /// Why.
        reason: StoreError,
    },
    /// Threads.
    #[error("threads cannot be started: {0}")]
    Runtime(std::io::Error),
}

/// Sinks as settings have them, ready to be started.
pub struct ReadySinks {
    threads: Threads,
    settings: Settings,
    stores: BTreeMap<String, AnyStore>,
}

/// What sinks are started with.
pub struct SinkStart {
    /// What they follow.
    pub journal: Arc<Journal>,
    /// Journals that it was restored from.
    pub ancestors: Arc<[Ancestor]>,
    /// When its last event was received.
    pub last_received: Option<crate::clock::UnixNanos>,
    /// What the newest checkpoint says of them.
    pub remembered: Vec<SinkMark>,
    /// How operators switched them, which goes before their settings.
    pub switches: Vec<SinkSwitch>,
    /// Where their breakers are listed.
    pub circuits: Arc<Circuits>,
    /// Puts lost spans on record.
    pub lost_log: LostLog,
    /// Tells why what was before an offset is gone.
    pub lost_why: LostWhy,
    /// What is known beside the payloads.
    pub enrichment: Option<Arc<Enrichment>>,
}

/// Whether every sink's settings can be used. Nothing is touched.
///
/// # Errors
/// When those of one cannot.
pub fn check(settings: &Settings) -> Result<(), SinkError> {
    stores(settings).map(drop)
}

fn stores(settings: &Settings) -> Result<BTreeMap<String, AnyStore>, SinkError> {
    let store = |(name, sink): (&String, _)| match AnyStore::new(name, sink, settings) {
        Ok(store) => Ok((name.clone(), store)),
        Err(reason) => Err(SinkError::Settings { sink: name.clone(), reason }),
    };
    settings.sinks.iter().map(store).collect()
}

impl ReadySinks {
    /// Makes every sink's store, without touching it, and threads for them.
    ///
    /// # Errors
    /// When settings cannot be used.
    pub fn new(settings: &Settings) -> Result<Self, SinkError> {
        let stores = stores(settings)?;
        let threads = Threads::new(stores.len())?;
        Ok(Self { threads, settings: settings.clone(), stores })
    }

    /// Asks every sink that is on how far it is, all at once and not for long. What does not answer, or not about this journal,
    /// is left out. Blocking.
    pub fn ask(&self, journal: JournalId) -> Vec<KnownDurable> {
        let Some(runtime) = &self.threads.0 else { return Vec::new() };
        let mut asked = JoinSet::new();
        for (name, sink) in self.settings.sinks.iter().filter(|(_, sink)| sink.enabled) {
            // One of its own: where it is interrupted, nothing of it is left in the one that is used later.
            let Ok(mut store) = AnyStore::new(name, sink, &self.settings) else { continue };
            let opening = Opening { purpose: Purpose::Inspect, ..Opening::live(name, journal) };
            let name = name.clone();
            asked.spawn_on(
                async move {
                    let answer = tokio::time::timeout(ASK_TIMEOUT, store.open(&opening)).await;
                    let offset = answer.ok()?.ok()??;
                    Some(KnownDurable { who: format!("sink {name}"), journal, offset })
                },
                runtime.handle(),
            );
        }
        runtime.block_on(async {
            let mut known = Vec::new();
            while let Some(answer) = asked.join_next().await {
                known.extend(answer.ok().flatten());
            }
            known
        })
    }

    /// Starts them. What they may need of the journal is held when this returns.
    pub fn start(self, start: &SinkStart) -> RunningSinks {
        let Self { threads, settings, stores } = self;
        let journal = &start.journal;
        let durable_at_start = journal.durable();
        let mut tasks = JoinSet::new();
        let mut list = Vec::new();
        for (name, store) in stores {
            // Made from these settings.
            let Some(sink) = settings.sinks.get(&name) else { continue };
            let mark = start
                .remembered
                .iter()
                .find(|mark| mark.name == name && mark.kind == sink.kind && mark.journal == journal.id());
            let switch = start.switches.iter().find(|switch| switch.sink == name);
            let enabled = switch.map_or(sink.enabled, |switch| switch.enabled);
            let breaker = start.circuits.register(CircuitKind::Sink, &name);
            let status = Arc::new(SinkStatus::new(&name, sink.kind, breaker, enabled));
            let (sender, orders) = watch::channel(Orders {
                enabled,
                start_at: switch.map_or(Offset::ZERO, SinkSwitch::start_at),
                nudges: 0,
                anew: 0,
                draining: false,
            });
            let opening = Opening {
                ancestors: Arc::clone(&start.ancestors),
                known_sequence: mark.and_then(|mark| mark.sequence),
                known_next: mark.map(|mark| mark.next),
                ..Opening::live(&name, journal.id())
            };
            let runner = Runner::new(Parts {
                store,
                opening: opening.clone(),
                settings: sink.clone(),
                interest: Arc::new(Interest::new(&name, sink)),
                journal: Arc::clone(journal),
                durable_at_start,
                last_received: start.last_received,
                remembered: mark.map(|mark| mark.next),
                status: Arc::clone(&status),
                metrics: SinkMetrics::new(&name),
                orders,
                lost_log: Arc::clone(&start.lost_log),
                lost_why: Arc::clone(&start.lost_why),
                enrichment: start.enrichment.clone(),
            });
            if let Some(runtime) = &threads.0 {
                tasks.spawn_on(runner.run(), runtime.handle());
            }
            list.push(Entry { status, orders: sender, opening, asked: Mutex::default() });
        }
        let handle = threads.0.as_ref().map(|runtime| runtime.handle().clone());
        let sinks = Arc::new(Sinks { list, settings, journal: Arc::clone(journal), handle });
        RunningSinks { threads, tasks, sinks }
    }
}

/// The sinks' own threads; none where there are no sinks. Dropping them waits for nobody: a store may hang.
struct Threads(Option<Runtime>);

impl Threads {
    fn new(sinks: usize) -> Result<Self, SinkError> {
        if sinks == 0 {
            return Ok(Self(None));
        }
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let runtime = runtime::Builder::new_multi_thread()
            .worker_threads(cores.min(sinks))
            // Reading the journal, and stores that block: a hung one of these must leave room for the others.
            .max_blocking_threads(4 + 4 * sinks)
            .thread_name("sinks")
            .enable_all()
            .build();
        runtime.map(|runtime| Self(Some(runtime))).map_err(SinkError::Runtime)
    }

    fn shut_down(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.shut_down();
    }
}

/// Sinks at work.
pub struct RunningSinks {
    threads: Threads,
    tasks: JoinSet<()>,
    sinks: Arc<Sinks>,
}

/// What others may ask of sinks, and tell them. Outlives them.
pub struct Sinks {
    list: Vec<Entry>,
    settings: Settings,
    journal: Arc<Journal>,
    handle: Option<Handle>,
}

struct Entry {
    status: Arc<SinkStatus>,
    orders: watch::Sender<Orders>,
    opening: Opening,
    /// Held while its store is asked something beside its work: once at a time.
    asked: Mutex<()>,
}

impl RunningSinks {
    /// What others may ask of them.
    pub fn sinks(&self) -> Arc<Sinks> {
        Arc::clone(&self.sinks)
    }

    /// Ends when a sink's task has, which it should not. Cancel safe.
    pub async fn broken(&mut self) -> String {
        match self.tasks.join_next().await {
            Some(Err(error)) => error.to_string(),
            Some(Ok(())) => "it ended without being told to".into(),
            None => std::future::pending().await,
        }
    }

    /// Lets every sink take what is durable, the journal being closed, and ends them. One that cannot, or not before `deadline`,
    /// goes on from its own cursor next time. True when all were in time.
    pub async fn stop(&mut self, deadline: Instant) -> bool {
        for entry in &self.sinks.list {
            entry.orders.send_modify(|orders| orders.draining = true);
        }
        let tasks = &mut self.tasks;
        let drained = tokio::time::timeout_at(deadline, async { while tasks.join_next().await.is_some() {} }).await;
        self.threads.shut_down();
        drained.is_ok()
    }
}

impl Sinks {
    /// Every sink as it stands.
    pub fn rows(&self) -> Vec<SinkRow> {
        let durable = self.journal.durable();
        self.list.iter().map(|entry| entry.status.row(durable)).collect()
    }

    /// How long every sink's transactions took, as it was counted until now.
    pub fn latencies(&self) -> Vec<(String, LatencyCounts)> {
        self.list.iter().map(|entry| (entry.status.name.clone(), entry.status.latency.counts())).collect()
    }

    /// What they run on; none where there are no sinks.
    pub fn handle(&self) -> Option<Handle> {
        self.handle.clone()
    }

    /// Up to where every sink has the journal, as far as they have said.
    pub fn marks(&self) -> Vec<SinkMark> {
        self.list.iter().filter_map(|entry| entry.status.mark(self.journal.id())).collect()
    }

    fn entry(&self, name: &str) -> Result<&Entry, SwitchRefusal> {
        let found = self.list.iter().find(|entry| entry.status.name == name);
        found.ok_or_else(|| SwitchRefusal::Unknown(name.to_owned()))
    }

    /// What a change of a sink comes to; it is to be remembered before it is [made](Sinks::switch).
    ///
    /// # Errors
    /// When it cannot be made, or more must be said.
    pub fn plan(&self, name: &str, change: SinkChange) -> Result<SinkSwitch, SwitchRefusal> {
        let entry = self.entry(name)?;
        let (was_on, start_at) = {
            let orders = entry.orders.borrow();
            (orders.enabled, orders.start_at)
        };
        let durable = self.journal.durable();
        let unchanged = (start_at > Offset::ZERO).then_some(start_at.0);
        let start_at = match (change.enabled, was_on, change.resume) {
            (false, ..) | (true, true, None | Some(Resume::CatchUp | Resume::Anew)) => unchanged,
            (true, true, Some(Resume::StartNow)) => return Err(SwitchRefusal::IsOn(name.to_owned())),
            (true, false, Some(Resume::StartNow)) => Some(durable.0),
            (true, false, Some(Resume::CatchUp | Resume::Anew)) => None,
            (true, false, None) => {
                let behind = match entry.status.row(durable).lag_events {
                    Some(0) => None,
                    Some(1) => Some("1 event".to_owned()),
                    Some(events) => Some(format!("{events} events")),
                    // It has never said where it is.
                    None if durable == Offset::ZERO => None,
                    None => Some("an unknown number of events".to_owned()),
                };
                match behind {
                    Some(behind) => return Err(SwitchRefusal::AsksResume { sink: name.to_owned(), behind }),
                    None => unchanged,
                }
            }
        };
        Ok(SinkSwitch { sink: name.to_owned(), enabled: change.enabled, start_at })
    }

    /// Makes a change that was planned. One that is on and stays so tries again at once.
    ///
    /// # Errors
    /// When there is no such sink, or the journal cannot be read. Blocking.
    pub fn switch(&self, switch: &SinkSwitch, resume: Option<Resume>) -> Result<SwitchedSink, SwitchRefusal> {
        let entry = self.entry(&switch.sink)?;
        let now = entry.status.now();
        let mut note = None;
        if switch.enabled
            && resume != Some(Resume::StartNow)
            && let Some(cursor) = now.cursor
            && let Ok(earliest) = self.journal.reader().earliest()
            && earliest > cursor
        {
            note =
                Some(format!("events from {cursor} up to {earliest} are no longer in the journal, and are lost to it"));
        }
        entry.orders.send_modify(|orders| {
            orders.enabled = switch.enabled;
            orders.start_at = switch.start_at();
            orders.nudges += 1;
            orders.anew += u64::from(switch.enabled && resume == Some(Resume::Anew));
        });
        entry.status.change(|now| now.enabled = switch.enabled);
        Ok(SwitchedSink { row: entry.status.row(self.journal.durable()), note })
    }

    /// Rows that a sink's store has put aside, oldest first. Asks the store; blocking, and never on one of the sinks' threads.
    ///
    /// # Errors
    /// When there is no such sink, or its store does not answer.
    pub fn parked(&self, name: &str, limit: usize) -> Result<Vec<Parked>, SwitchRefusal> {
        let entry = self.entry(name)?;
        let settings = self.settings.sinks.get(name).zip(self.handle.as_ref());
        let Some((sink, handle)) = settings else { return Err(SwitchRefusal::Unknown(name.to_owned())) };
        let _alone = match entry.asked.try_lock() {
            Ok(alone) => alone,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => {
                return Err(SwitchRefusal::NoAnswer(format!("sink `{name}` is being asked already; try again")));
            }
        };
        let no_answer = |reason: String| SwitchRefusal::NoAnswer(format!("sink `{name}` cannot be asked: {reason}"));
        let mut store = AnyStore::new(name, sink, &self.settings).map_err(|error| no_answer(error.to_string()))?;
        let opening = Opening { purpose: Purpose::Inspect, ..entry.opening.clone() };
        let asked =
            handle.block_on(async { tokio::time::timeout(PARKED_TIMEOUT, store.parked(&opening, limit)).await });
        match asked {
            Ok(answered) => answered.map_err(|error| no_answer(error.to_string())),
            Err(_) => Err(no_answer(format!("no answer within {PARKED_TIMEOUT:?}"))),
        }
    }
}
