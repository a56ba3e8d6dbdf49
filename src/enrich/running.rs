//! All look-ups of a daemon: started, changed, stopped; the follower that finds what to look up; what is known for an event.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use tokio::runtime::{self, Handle, Runtime};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::answer::AnswerRecord;
use super::asking::{self, Source, Tell};
use super::log::AnswerLog;
use super::look_up::{LookUp, LookUpRow, News};
use super::recorded::{RecordedAnswers, nested};
use super::subject::{Subject, key_of_values};
use crate::breaker::CircuitKind;
use crate::circuits::Circuits;
use crate::clock::{ReceivedClock, UnixNanos};
use crate::config::{EnrichSettings, Hole, KeyPath, Settings};
use crate::http_client::HttpError;
use crate::journal::{Block, BlockFilter, Event, Journal, JournalError, JournalReader, MonitorIdentity, Offset};
use crate::scanner::Fields;
use crate::value_cache::CacheFigures;

/// Time between two jobs of the follower, so that keys that come often are met together.
const FOLLOW_INTERVAL: Duration = Duration::from_millis(20);

/// Blocks of such a job.
const JOB_BLOCKS_MAX: usize = 64;

/// How far back answers are recalled at a start.
const RECALLED: Duration = Duration::from_hours(24);

/// How far back a start looks for keys whose look-up may not have been answered.
const LOOKED_BACK: Duration = Duration::from_secs(30);

/// Further behind than this it goes on closer to the end: what is passed over is looked up with its next event.
const BEHIND_MAX: u64 = 500_000;
const BEHIND_AFTER: u64 = 100_000;

/// The longest a stop waits for tasks, which wait for nothing themselves.
const STOP_PATIENCE: Duration = Duration::from_secs(1);

/// Why look-ups cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum EnrichError {
    /// A look-up's settings.
    #[error("`monitors.{monitor}.enrich.{look_up}`: {source}")]
    Settings {
        /// Whose.
        monitor: String,
        /// Which.
        look_up: String,
        /// Why.
        source: HttpError,
    },
    /// A look-up's file is not there.
    #[error("`monitors.{monitor}.enrich.{look_up}.file`: {} cannot be read: {source}", .file.display())]
    File {
        /// Whose.
        monitor: String,
        /// Which.
        look_up: String,
        /// As it is named.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Threads.
    #[error("threads cannot be started: {0}")]
    Runtime(std::io::Error),
}

impl EnrichError {
    /// The key that is meant.
    pub fn key(&self) -> KeyPath {
        match self {
            Self::Settings { monitor, look_up, .. } => KeyPath::from(["monitors", monitor, "enrich", look_up]),
            Self::File { monitor, look_up, .. } => KeyPath::from(["monitors", monitor, "enrich", look_up, "file"]),
            Self::Runtime(_) => KeyPath::from(["monitors"]),
        }
    }
}

/// What look-ups are made of.
pub struct EnrichmentParts {
    /// What is followed, and takes the answers.
    pub journal: Arc<Journal>,
    /// Under which answers are journaled.
    pub monitor: Arc<MonitorIdentity>,
    /// Stamps of events.
    pub clock: Arc<ReceivedClock>,
    /// Where breakers are listed.
    pub circuits: Arc<Circuits>,
}

/// Whether every look-up's settings can be used. Nothing is asked.
///
/// # Errors
/// When those of one cannot.
pub fn check(settings: &Settings) -> Result<(), EnrichError> {
    each(settings).try_for_each(|(monitor, name, look_up)| {
        if let Some(file) = &look_up.file {
            // What is in it may be wrong for a while, and is told while it runs; one that is not there was named wrongly.
            std::fs::File::open(file).map_err(|source| EnrichError::File {
                monitor: monitor.to_owned(),
                look_up: name.to_owned(),
                file: file.clone(),
                source,
            })?;
        }
        source(monitor, name, look_up).map(drop)
    })
}

/// Whether settings have a look-up of this name, `MONITOR.LOOKUP`.
pub fn is_declared(settings: &Settings, full_name: &str) -> bool {
    each(settings).any(|(monitor, name, _)| format!("{monitor}.{name}") == full_name)
}

fn each(settings: &Settings) -> impl Iterator<Item = (&str, &str, &EnrichSettings)> {
    settings.monitors.iter().flat_map(|(monitor, of)| {
        of.enrich.iter().map(move |(name, look_up)| (monitor.as_str(), name.as_str(), look_up))
    })
}

fn source(monitor: &str, name: &str, settings: &EnrichSettings) -> Result<Option<Source>, EnrichError> {
    let refused = |source| EnrichError::Settings { monitor: monitor.to_owned(), look_up: name.to_owned(), source };
    Source::new(settings).map_err(refused)
}

/// Look-ups by monitor.
type ByMonitor = HashMap<String, Vec<Arc<LookUp>>>;

/// A look-up that is to be asked for.
type Begun = (Arc<LookUp>, Source, mpsc::Receiver<Box<str>>, CancellationToken);

/// All look-ups of a daemon.
pub struct Enrichment {
    parts: EnrichmentParts,
    log: Arc<AnswerLog>,
    by_monitor: RwLock<Arc<ByMonitor>>,
    /// Counts answers.
    answers: Arc<watch::Sender<u64>>,
    tasks: Mutex<Tasks>,
    stop: CancellationToken,
}

struct Tasks {
    /// None until there is something to look up.
    runtime: Option<Runtime>,
    all: JoinSet<()>,
    stops: HashMap<String, CancellationToken>,
}

/// Answers that a sink may wait for.
#[derive(Debug, Default)]
pub struct Pending {
    keys: Vec<(Arc<LookUp>, String)>,
    wait: Duration,
}

impl Pending {
    /// Whether there is nothing to wait for.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }
}

impl Enrichment {
    /// None yet.
    pub fn new(parts: EnrichmentParts) -> Arc<Self> {
        let log = AnswerLog::new(Arc::clone(&parts.monitor), Arc::clone(&parts.journal), Arc::clone(&parts.clock));
        Arc::new(Self {
            parts,
            log: Arc::new(log),
            by_monitor: RwLock::default(),
            answers: Arc::new(watch::Sender::new(0)),
            tasks: Mutex::new(Tasks { runtime: None, all: JoinSet::new(), stops: HashMap::new() }),
            stop: CancellationToken::new(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Tasks> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn look_ups(&self) -> Arc<ByMonitor> {
        Arc::clone(&self.by_monitor.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// What look-ups run on; none until there is something to look up.
    pub fn handle(&self) -> Option<Handle> {
        self.lock().runtime.as_ref().map(|runtime| runtime.handle().clone())
    }

    /// Makes look-ups what settings say. One that stays as it is keeps what it knows.
    ///
    /// # Errors
    /// When one cannot be used; nothing has changed then.
    pub fn apply(self: &Arc<Self>, settings: &Settings) -> Result<(), EnrichError> {
        let mut tasks = self.lock();
        if self.stop.is_cancelled() {
            return Ok(());
        }
        // Those that have ended are let go of.
        while tasks.all.try_join_next().is_some() {}
        let before = self.look_ups();
        let known = |monitor: &str, name: &str| {
            before.get(monitor).and_then(|of| of.iter().find(|look_up| look_up.name == name))
        };
        let mut sources = Vec::new();
        for (monitor, name, look_up) in each(settings) {
            if known(monitor, name).is_none_or(|known| known.settings != *look_up)
                && let Some(source) = source(monitor, name, look_up)?
            {
                sources.push((monitor, name, look_up, source));
            }
        }
        if tasks.runtime.is_none() && !sources.is_empty() {
            let runtime = runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .max_blocking_threads(4)
                .thread_name("enrich")
                .enable_all()
                .build();
            let runtime = runtime.map_err(EnrichError::Runtime)?;
            let follower = Arc::clone(self);
            tasks.all.spawn_on(async move { follower.follow().await }, runtime.handle());
            tasks.runtime = Some(runtime);
        }
        let mut now: ByMonitor = HashMap::new();
        let (mut kept, mut begun) = (HashSet::new(), Vec::new());
        for (monitor, name, look_up) in each(settings) {
            if let Some(same) = known(monitor, name).filter(|known| known.settings == *look_up) {
                kept.insert(same.full_name());
                now.entry(monitor.to_owned()).or_default().push(Arc::clone(same));
            }
        }
        for gone in before.values().flatten().filter(|gone| !kept.contains(&gone.full_name())) {
            if let Some(stop) = tasks.stops.remove(&gone.full_name()) {
                stop.cancel();
            }
            if !each(settings).any(|(monitor, name, _)| gone.monitor == monitor && gone.name == name) {
                self.parts.circuits.remove(CircuitKind::LookUp, &gone.full_name());
            }
        }
        for (monitor, name, look_up, source) in sources {
            let holes = look_up
                .url
                .as_ref()
                .or(look_up.key.as_ref())
                .map_or(vec![Hole::Key], crate::config::HoleTemplate::wants);
            let Some(subject) = Subject::new(holes) else { continue };
            let breaker = self.parts.circuits.register(CircuitKind::LookUp, &format!("{monitor}.{name}"));
            let (look_up, asked) = LookUp::new((monitor, name), look_up, &settings.cache, subject, breaker);
            let (look_up, stop) = (Arc::new(look_up), self.stop.child_token());
            tasks.stops.insert(look_up.full_name(), stop.clone());
            now.entry(monitor.to_owned()).or_default().push(Arc::clone(&look_up));
            begun.push((look_up, source, asked, stop));
        }
        *self.by_monitor.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(now);
        let Tasks { runtime: Some(runtime), all, .. } = &mut *tasks else { return Ok(()) };
        if !begun.is_empty() {
            all.spawn_on(Arc::clone(self).begin(begun), runtime.handle());
        }
        Ok(())
    }

    /// Recalls what is on record before anything is asked anew, and then asks until all of them are stopped.
    async fn begin(self: Arc<Self>, begun: Vec<Begun>) {
        let recalling = Arc::clone(&self);
        let look_ups: Vec<Arc<LookUp>> = begun.iter().map(|(look_up, ..)| Arc::clone(look_up)).collect();
        if tokio::task::spawn_blocking(move || recalling.recall(&look_ups)).await.is_err() {
            tracing::error!("look-ups: recalling answers panicked; this is a bug");
        }
        let asking = begun
            .into_iter()
            .map(|(look_up, source, asked, stop)| asking::run(look_up, source, asked, self.tell(), stop));
        futures_util::future::join_all(asking).await;
    }

    fn tell(self: &Arc<Self>) -> Tell {
        let (log, answers) = (Arc::clone(&self.log), Arc::clone(&self.answers));
        Arc::new(move |look_up, key, news| {
            if let News::Fields(fields) = news {
                log.note(look_up, key, fields.as_deref());
            }
            answers.send_modify(|count| *count += 1);
        })
    }

    /// Takes over what the journal has on record, as far as nothing newer is known.
    fn recall(&self, look_ups: &[Arc<LookUp>]) {
        let now = UnixNanos::now();
        let filter = RecordedAnswers::filter();
        let read = || -> Result<u64, JournalError> {
            let mut reader = self.parts.journal.reader();
            reader.seek_received(now.saturating_sub(RECALLED))?;
            let mut count = 0;
            while let Some(block) = reader.next_block(&filter)? {
                if self.stop.is_cancelled() {
                    break;
                }
                for event in block.events().filter(|event| filter.admits(event)) {
                    let Ok(record) = serde_json::from_slice::<AnswerRecord>(event.payload) else { continue };
                    let is_of = |look_up: &&Arc<LookUp>| {
                        look_up.monitor == record.monitor
                            && look_up.name == record.look_up
                            && look_up.subject.names().iter().eq(record.on.iter())
                    };
                    let Some(look_up) = look_ups.iter().find(is_of) else { continue };
                    let (key, fields) = (key_of_values(&record.key), record.fields.as_ref().map(|fields| fields.get()));
                    look_up.recall(&key, fields, now.since(event.received));
                    count += 1;
                }
            }
            Ok(count)
        };
        match read() {
            Ok(0) => {}
            Ok(count) => tracing::info!(answers = count, "look-ups: answers recalled from the journal"),
            Err(error) => tracing::warn!(%error, "look-ups: answers cannot be recalled from the journal"),
        }
    }

    // --- following the journal ---

    async fn follow(self: Arc<Self>) {
        let mut durable = self.parts.journal.watch_durable();
        let mut reader = self.parts.journal.reader();
        let stop = self.stop.clone();
        let sought = tokio::task::spawn_blocking(move || {
            let begin = reader.seek_received(UnixNanos::now().saturating_sub(LOOKED_BACK));
            (reader, begin)
        });
        // Where it cannot be sought, it follows from the beginning, or from where it is not too far behind.
        let Ok((back, _)) = sought.await else { return };
        reader = back;
        loop {
            let this = Arc::clone(&self);
            let job = tokio::task::spawn_blocking(move || {
                let more = this.look(&mut reader);
                (reader, more)
            });
            let Ok((back, more)) = job.await else { return };
            reader = back;
            let wait = async {
                if !more {
                    durable.changed().await.ok();
                }
                tokio::time::sleep(FOLLOW_INTERVAL).await;
            };
            // Answers do not wait for events.
            let done = tokio::time::timeout(Duration::from_millis(200), stop.run_until_cancelled(wait)).await;
            if matches!(done, Ok(None)) {
                return;
            }
            self.log.flush();
        }
    }

    /// Wants what the next blocks are about. Whether there may be more.
    fn look(&self, reader: &mut JournalReader) -> bool {
        let look_ups = self.look_ups();
        let end = self.parts.journal.durable();
        if end.0.saturating_sub(reader.position().0) > BEHIND_MAX {
            reader.seek(Offset(end.0 - BEHIND_AFTER));
        }
        let filter = BlockFilter { monitors: look_ups.keys().cloned().collect(), ..BlockFilter::all() };
        if filter.monitors.is_empty() {
            reader.seek(end);
            return false;
        }
        let mut fields = Fields::default();
        for _ in 0..JOB_BLOCKS_MAX {
            match reader.next_block(&filter) {
                Ok(Some(block)) => want(&look_ups, &block, &mut fields),
                Ok(None) => return false,
                Err(JournalError::OffsetGone { earliest, .. }) => reader.seek(earliest),
                Err(error) => {
                    // The journal's own troubles are told by those who need it more.
                    tracing::debug!(%error, "look-ups cannot follow the journal");
                    return false;
                }
            }
        }
        true
    }

    // --- what is known ---

    /// Whether nothing is looked up.
    pub fn is_idle(&self) -> bool {
        self.by_monitor.read().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// Has what events are about looked up, and says what a sink may wait for.
    pub fn ask<'a>(&self, events: impl Iterator<Item = Event<'a>>) -> Pending {
        let look_ups = self.look_ups();
        let (mut fields, mut pending, mut seen) = (Fields::default(), Pending::default(), HashSet::new());
        for event in events.filter(|event| !event.domain.starts_with('_')) {
            for look_up in look_ups.get(event.monitor).into_iter().flatten() {
                if let Some(key) = look_up.subject.key_of(&event, &mut fields)
                    && seen.insert((Arc::as_ptr(look_up), key.clone()))
                    && look_up.want_at_once(&key)
                    && !look_up.settings.wait.is_zero()
                {
                    pending.wait = pending.wait.max(look_up.settings.wait);
                    pending.keys.push((Arc::clone(look_up), key));
                }
            }
        }
        pending
    }

    /// Ends when all of it was answered, or failed, or is not waited for any longer. Cancel safe.
    pub async fn answered(&self, mut pending: Pending) {
        let deadline = Instant::now() + pending.wait;
        let mut answers = self.answers.subscribe();
        loop {
            pending.keys.retain(|(look_up, key)| look_up.is_waiting(key));
            if pending.is_empty() || !matches!(tokio::time::timeout_at(deadline, answers.changed()).await, Ok(Ok(()))) {
                return;
            }
        }
    }

    /// What is known for events, as a JSON object of objects by look-up each.
    pub fn known<'a>(&self, events: impl Iterator<Item = Event<'a>>) -> Vec<Option<Box<str>>> {
        let look_ups = self.look_ups();
        let mut fields = Fields::default();
        let of = |event: Event<'a>| {
            if event.domain.starts_with('_') {
                return None;
            }
            let known: Vec<(&str, String)> = look_ups
                .get(event.monitor)?
                .iter()
                .filter_map(|look_up| {
                    Some((look_up.name.as_str(), look_up.fields(&look_up.subject.key_of(&event, &mut fields)?)?))
                })
                .collect();
            nested(known.iter().map(|(name, fields)| (*name, fields.as_str()))).map(String::into_boxed_str)
        };
        events.map(of).collect()
    }

    /// Every look-up as it stands.
    pub fn rows(&self) -> Vec<LookUpRow> {
        let mut rows: Vec<LookUpRow> = self.look_ups().values().flatten().map(|look_up| look_up.row()).collect();
        rows.sort_by(|one, other| (&one.monitor, &one.look_up).cmp(&(&other.monitor, &other.look_up)));
        rows
    }

    /// How each cache is used, by `MONITOR.LOOKUP`.
    pub fn caches(&self) -> Vec<(String, CacheFigures)> {
        self.look_ups().values().flatten().map(|look_up| (look_up.full_name(), look_up.cache_figures())).collect()
    }

    /// Ends at once, of a daemon that is not stopped in order. Dropping a runtime would wait.
    pub fn abandon(&self) {
        self.stop.cancel();
        if let Some(runtime) = self.lock().runtime.take() {
            runtime.shutdown_background();
        }
    }

    /// Ends. What was found is given to the journal, which must still be open.
    pub async fn stop(&self) {
        self.stop.cancel();
        let (runtime, mut all) = {
            let mut tasks = self.lock();
            (tasks.runtime.take(), std::mem::take(&mut tasks.all))
        };
        tokio::time::timeout(STOP_PATIENCE, async { while all.join_next().await.is_some() {} }).await.ok();
        self.log.flush();
        if let Some(runtime) = runtime {
            runtime.shutdown_background();
        }
    }
}

fn want(look_ups: &ByMonitor, block: &Block, fields: &mut Fields) {
    let mut seen = HashSet::new();
    for event in block.events().filter(|event| !event.domain.starts_with('_')) {
        for look_up in look_ups.get(event.monitor).into_iter().flatten() {
            if let Some(key) = look_up.subject.key_of(&event, fields)
                && !seen.contains(&(Arc::as_ptr(look_up), key.clone()))
            {
                look_up.want(&key);
                seen.insert((Arc::as_ptr(look_up), key));
            }
        }
    }
}
