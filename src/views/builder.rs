//! The thread that builds the views, and what answers out of them.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread;
use std::time::Duration;

use tokio::time::Instant;

use super::counter_board::CounterBoard;
use super::counters::{Beginnings, Counters};
use super::latest::{self, Found, LatestValues};
use super::probe::Probe;
use super::statistics::Statistics;
use super::store::{Change, Mark, StoreError, ViewStore};
use super::whole_payloads::WholePayloads;
use super::{LatestNow, MonitorStatistics, StatisticsNow, ViewError};
use crate::clock::UnixNanos;
use crate::config::CacheSettings;
use crate::journal::{BlockFilter, Journal, JournalError, JournalReader, Offset};
use crate::telemetry::ViewMetrics;
use crate::value_cache::{CacheFigures, ValueCache, multiplied};

/// Time between two rounds.
const ROUND_INTERVAL: Duration = Duration::from_secs(1);

/// The longest a round works: a tenth of a core.
const ROUND_WORK: Duration = Duration::from_millis(100);

/// The longest that it counts business, beside that: counters fall behind no retention, and are waited for by alerts.
const COUNTING_WORK: Duration = Duration::from_millis(100);

/// How far back a counter whose folder is lost reads again, for what the last hour had.
const HOUR: Duration = Duration::from_hours(1);

/// Time between two writes of the folder, and unsaved bytes that do not wait for it. Source: a guess; ten seconds of the
/// journal are built again in some milliseconds, and sled costs 13 µs an entry.
const SAVE_INTERVAL: Duration = Duration::from_secs(10);
const UNSAVED_BYTES_MAX: usize = 4 << 20;

/// How far last values may be behind before they go on closer to the end, and where.
const BEHIND_MAX: u64 = 2_000_000;
const BEHIND_AFTER: u64 = 1_000_000;

/// Wait after a folder could not even be built anew.
const RETRY_INTERVAL: Duration = Duration::from_secs(30);

/// The longest a stop waits for the folder: sled may hang.
const STOP_PATIENCE: Duration = Duration::from_secs(2);

/// Memory of latest values that were asked for.
const VALUES_BYTES_MAX: usize = 16 << 20;

/// The longest a question waits for the thread.
const ASK_PATIENCE: Duration = Duration::from_secs(2);
const ASK_INTERVAL: Duration = Duration::from_millis(5);

/// As of Linux: from -20 to 19, who waits for others.
const NICE: i32 = 10;

/// Blocks between two looks at the clock.
const BLOCKS_AT_ONCE: usize = 32;

/// The views of a running daemon.
#[derive(Debug)]
pub struct Views {
    shared: Arc<Shared>,
    journal: Arc<Journal>,
    /// Values that were asked for, with their whole payloads.
    values: ValueCache,
    values_ttl: Duration,
    thread: Mutex<Option<thread::JoinHandle<()>>>,
}

#[derive(Debug)]
struct Shared {
    /// None: there is no view now, for this reason.
    built: Mutex<Result<Built, String>>,
    stopping: Mutex<bool>,
    wake: Condvar,
}

#[derive(Debug)]
struct Built {
    store: ViewStore,
    mark: Mark,
    statistics: Statistics,
    last: LatestValues,
    counters: Counters,
    /// Of the wanted counters that were adopted last.
    counters_generation: u64,
    saved: Instant,
    /// An entry that was asked for was not what had been written.
    broken: Option<StoreError>,
}

/// Where the thread reads.
struct Readers {
    statistics: JournalReader,
    last: JournalReader,
    /// Of counters that are as far as any,
    counters: JournalReader,
    /// and of those that have to catch up.
    late_counters: JournalReader,
}

/// A folder that is no good, or a journal that cannot be read.
#[derive(Debug)]
enum RoundError {
    Store(StoreError),
    Journal(JournalError),
}

impl From<StoreError> for RoundError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<JournalError> for RoundError {
    fn from(error: JournalError) -> Self {
        Self::Journal(error)
    }
}

/// Where the folder is.
fn folder(data_dir: &Path) -> PathBuf {
    data_dir.join("views")
}

impl Views {
    /// Starts the thread. Nothing waits for it.
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub fn start(
        data_dir: &Path,
        journal: Arc<Journal>,
        probe: Probe,
        board: Arc<CounterBoard>,
        cache: &CacheSettings,
    ) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            built: Mutex::new(Err("they are being opened".to_owned())),
            stopping: Mutex::default(),
            wake: Condvar::new(),
        });
        let builder = Builder {
            shared: Arc::clone(&shared),
            dir: folder(data_dir),
            journal: Arc::clone(&journal),
            probe,
            board,
            metrics: ViewMetrics::default(),
        };
        let thread = thread::Builder::new().name("views".into()).spawn(move || builder.run())?;
        let values = ValueCache::new(VALUES_BYTES_MAX, cache);
        let values_ttl = multiplied(cache.ttl, cache);
        Ok(Self { shared, journal, values, values_ttl, thread: Mutex::new(Some(thread)) })
    }

    /// Has the folder written a last time and ends the thread, if that does not take long.
    pub fn stop(&self) {
        *self.shared.stopping.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.shared.wake.notify_all();
        let Some(thread) = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take() else { return };
        let deadline = Instant::now() + STOP_PATIENCE;
        while !thread.is_finished() && Instant::now() < deadline {
            thread::sleep(ASK_INTERVAL);
        }
        if thread.is_finished() {
            // A panic is caught inside; there is nothing more to be said of one here.
            thread.join().ok();
        } else {
            tracing::warn!("the folder of the views is left as it is: it takes too long; the next start sees to it");
        }
    }

    /// What was counted. Blocking.
    ///
    /// # Errors
    /// When the views are being built anew.
    pub fn statistics(&self, with_history: bool) -> Result<StatisticsNow, ViewError> {
        let mut guard = self.ask()?;
        let built = guard.as_mut().map_err(|reason| ViewError(reason.clone()))?;
        let now = UnixNanos::now();
        let monitors = built.statistics.monitors().map(|((domain, monitor), figures)| MonitorStatistics {
            monitor: monitor.to_string(),
            domain: domain.to_string(),
            counted: figures.counted(),
            today: figures.today(now),
            rate: figures.rate(now),
            last_received: figures.last_received(),
            last_event_time: figures.last_event_time(),
            hours: if with_history { figures.hours().collect() } else { Vec::new() },
            days: if with_history { figures.days().collect() } else { Vec::new() },
        });
        let monitors = monitors.collect();
        Ok(StatisticsNow { from: built.mark.statistics_from, to: built.mark.statistics_to, monitors })
    }

    /// The newest event of each key, of a monitor, of a key, or of all; at most so many, newest first. Blocking.
    ///
    /// # Errors
    /// When the views are being built anew, or are from now on.
    pub fn latest(&self, monitor: Option<&str>, key: Option<&str>, limit: usize) -> Result<LatestNow, ViewError> {
        let mut guard = self.ask()?;
        let built = guard.as_mut().map_err(|reason| ViewError(reason.clone()))?;
        let (complete_from, up_to, held) = (built.mark.last_from, built.mark.last_to, built.last.len());
        let mut entries = Vec::new();
        let mut broken = None;
        for Found { offset, place, unsaved } in built.last.newest() {
            if entries.len() >= limit {
                break;
            }
            if !latest::is_of(place, monitor, key) {
                continue;
            }
            let name = String::from_utf8_lossy(place).into_owned();
            let is_newest = |entry: &[u8]| latest::read(entry).is_some_and(|(value, _)| value.offset == offset);
            if let Some(cached) = self.values.get_if(&name, is_newest) {
                entries.push((name, cached.value, true));
                continue;
            }
            let entry = match unsaved {
                Some(entry) => entry.to_vec(),
                None => match guarded(|| built.store.get(place)) {
                    Ok(Some(entry)) => entry,
                    Ok(None) => continue,
                    Err(error) => {
                        broken = Some(error);
                        break;
                    }
                },
            };
            entries.push((name, entry, false));
        }
        if let Some(error) = broken {
            let reason = error.to_string();
            built.broken = Some(error);
            return Err(ViewError(reason));
        }
        drop(guard);
        let mut whole = WholePayloads::new(&self.journal);
        let values = entries.into_iter().filter_map(|(name, entry, is_cached)| {
            let (value, payload) = latest::read(&entry)?;
            let (value, payload) = whole.read(value, payload);
            if !is_cached {
                self.values.insert(&name, &latest::entry_of(&value, &payload), self.values_ttl, self.values_ttl);
            }
            Some((value, payload))
        });
        Ok(LatestNow { complete_from, up_to, values: values.collect(), held })
    }

    /// How the cache of values is used.
    pub fn cache_figures(&self) -> CacheFigures {
        self.values.figures()
    }

    fn ask(&self) -> Result<MutexGuard<'_, Result<Built, String>>, ViewError> {
        let deadline = Instant::now() + ASK_PATIENCE;
        loop {
            match self.shared.built.try_lock() {
                Ok(guard) => return Ok(guard),
                // What is half done is in the folder, if at all, and found there.
                Err(TryLockError::Poisoned(poisoned)) => return Ok(poisoned.into_inner()),
                Err(TryLockError::WouldBlock) if Instant::now() < deadline => thread::sleep(ASK_INTERVAL),
                Err(TryLockError::WouldBlock) => return Err(ViewError("their folder is being written".to_owned())),
            }
        }
    }
}

impl Drop for Views {
    /// Of one that was not stopped: the thread ends by itself.
    fn drop(&mut self) {
        *self.shared.stopping.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.shared.wake.notify_all();
    }
}

/// A panic of sled's as an error.
fn guarded<T>(work: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err(StoreError::Sled("it panicked".to_owned())))
}

struct Builder {
    shared: Arc<Shared>,
    dir: PathBuf,
    journal: Arc<Journal>,
    probe: Probe,
    board: Arc<CounterBoard>,
    metrics: ViewMetrics,
}

impl Builder {
    fn run(self) {
        // One that cannot be had costs nobody anything but time.
        rustix::process::setpriority_process(None, NICE).ok();
        let mut readers = None;
        let mut given_up: Option<Instant> = None;
        loop {
            let mut wait = ROUND_INTERVAL;
            if self.lock().is_err() {
                readers = None;
                if !self.open() {
                    wait = RETRY_INTERVAL;
                }
            }
            match catch_unwind(AssertUnwindSafe(|| self.round(&mut readers))) {
                Ok(Ok(())) => {}
                Ok(Err(RoundError::Journal(error))) => {
                    // The journal's own troubles are told by those who need it more.
                    tracing::debug!(%error, "the views cannot follow the journal");
                    readers = None;
                }
                Ok(Err(RoundError::Store(error))) => {
                    self.give_up(&error.to_string());
                    // Where a new folder is no better, as on a full disk, it is not made again and again.
                    if given_up.is_some_and(|at| at.elapsed() < RETRY_INTERVAL * 2) {
                        wait = RETRY_INTERVAL;
                    }
                    given_up = Some(Instant::now());
                }
                Err(_panicked) => {
                    self.give_up("sled panicked");
                    wait = RETRY_INTERVAL;
                }
            }
            if self.is_stopping_after(wait) {
                break;
            }
        }
        let mut built = self.lock();
        if let Ok(built) = &mut *built {
            // What is not saved is built again.
            guarded(|| built.save()).ok();
        }
        let closed = std::mem::replace(&mut *built, Err("the daemon is stopping".to_owned()));
        // sled writes once more while it is dropped.
        catch_unwind(AssertUnwindSafe(|| drop(closed))).ok();
    }

    fn is_stopping_after(&self, wait: Duration) -> bool {
        let stopping = self.shared.stopping.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.shared.wake.wait_timeout_while(stopping, wait, |stopping| !*stopping);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }

    fn lock(&self) -> MutexGuard<'_, Result<Built, String>> {
        self.shared.built.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets go of a folder that is no good, so that the next round makes a new one.
    fn give_up(&self, reason: &str) {
        tracing::warn!(folder = %self.dir.display(), reason, "the views are built anew from the journal");
        self.metrics.rebuilt();
        let broken = std::mem::replace(&mut *self.lock(), Err(format!("they are being built anew: {reason}")));
        catch_unwind(AssertUnwindSafe(|| drop(broken))).ok();
        self.remove();
    }

    fn remove(&self) {
        if let Err(error) = std::fs::remove_dir_all(&self.dir)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(folder = %self.dir.display(), %error, "the folder of the views cannot be removed");
        }
    }

    /// Opens the folder, or makes a new one where it is no good. False when not even that can be done.
    fn open(&self) -> bool {
        let journal = self.journal.id().to_string();
        if self.dir.exists() {
            let opened = self.probe.try_folder(&self.dir).and_then(|()| {
                guarded(|| Built::open(&self.dir, &journal))
                    .map_err(|error| error.to_string())
                    .and_then(|built| built.within(self.journal.durable()))
            });
            match opened {
                Ok(built) => {
                    *self.lock() = Ok(built);
                    return true;
                }
                Err(reason) => self.give_up(&reason),
            }
        }
        match guarded(|| Built::open(&self.dir, &journal)) {
            Ok(built) => {
                *self.lock() = Ok(built);
                true
            }
            Err(error) => {
                tracing::warn!(folder = %self.dir.display(), %error, "the views have no folder; trying again in {RETRY_INTERVAL:?}");
                *self.lock() = Err(error.to_string());
                self.remove();
                false
            }
        }
    }

    /// Follows the journal for a while.
    fn round(&self, readers: &mut Option<Readers>) -> Result<(), RoundError> {
        let began = Instant::now();
        let end = self.journal.durable();
        {
            let mut built = self.lock();
            let Ok(built) = &mut *built else { return Ok(()) };
            if let Some(error) = built.broken.take() {
                return Err(error.into());
            }
            if !built.store.is_in_place() {
                return Err(StoreError::Damaged("its files are gone").into());
            }
        }
        if readers.is_none() {
            *readers = Some(self.readers(end)?);
        }
        let Some(readers) = readers else { return Ok(()) };
        let mut more = true;
        while more && began.elapsed() < ROUND_WORK {
            let mut built = self.lock();
            let Ok(built) = &mut *built else { return Ok(()) };
            more = built.count(&mut readers.statistics)?;
        }
        let counting = Instant::now();
        self.count_business(readers)?;
        let counted = counting.elapsed();
        self.skip_if_behind(&mut readers.last, end);
        let mut more = true;
        while more && began.elapsed() < ROUND_WORK + counted {
            let mut built = self.lock();
            let Ok(built) = &mut *built else { return Ok(()) };
            more = built.take_values(&mut readers.last)?;
        }
        let mut built = self.lock();
        let Ok(built) = &mut *built else { return Ok(()) };
        if built.saved.elapsed() >= SAVE_INTERVAL || built.last.unsaved_bytes() > UNSAVED_BYTES_MAX {
            built.save()?;
        }
        self.metrics.set(&[("statistics", built.mark.statistics_to), ("last_values", built.mark.last_to)]);
        Ok(())
    }

    /// Counts business for a while: first for counters that are as far as any, so that none waits for one that catches up.
    fn count_business(&self, readers: &mut Readers) -> Result<(), RoundError> {
        let began = Instant::now();
        {
            let mut built = self.lock();
            let Ok(built) = &mut *built else { return Ok(()) };
            if let Some(wanted) = self.board.wanted_since(&mut built.counters_generation) {
                let earliest = readers.counters.earliest()?;
                readers.counters.seek_received(UnixNanos::now().saturating_sub(HOUR))?;
                let beginnings = Beginnings { earliest, hour_ago: readers.counters.position() };
                built.counters.adopt(&wanted, |wanted| self.board.on_record(wanted), &beginnings);
            }
        }
        for late in [false, true] {
            let mut more = true;
            while more && began.elapsed() < COUNTING_WORK {
                let mut built = self.lock();
                let Ok(Built { counters, .. }) = &mut *built else { return Ok(()) };
                let Some((furthest, least)) = counters.places() else { break };
                more = match late {
                    false => counters.follow(&mut readers.counters, furthest, BLOCKS_AT_ONCE)?,
                    true if least < furthest => counters.follow(&mut readers.late_counters, least, BLOCKS_AT_ONCE)?,
                    true => false,
                };
            }
        }
        let built = self.lock();
        if let Ok(Built { counters, counters_generation, .. }) = &*built {
            let now = counters.now();
            for counter in &now {
                self.metrics.count(&counter.monitor, &counter.counter, counter.total, counter.last_hour);
            }
            self.board.publish(*counters_generation, now, counters.records());
        }
        Ok(())
    }

    /// Readers where the views stand; where the journal does not reach back so far, at its beginning.
    fn readers(&self, end: Offset) -> Result<Readers, RoundError> {
        let (mut statistics, mut last) = (self.journal.reader(), self.journal.reader());
        let (counters, late_counters) = (self.journal.reader(), self.journal.reader());
        let earliest = statistics.earliest()?;
        let mut built = self.lock();
        if let Ok(Built { mark, .. }) = &mut *built {
            if mark.statistics_to < earliest.0 {
                mark.statistics_to = earliest.0;
                mark.statistics_header = 0;
                // A new view begins there; an older one goes on and lacks what retention took meanwhile.
                if mark.statistics_from == 0 {
                    mark.statistics_from = earliest.0;
                }
            }
            if mark.last_to < earliest.0 {
                (mark.last_from, mark.last_to) = (earliest.0, earliest.0);
            }
            resume(&mut statistics, mark, earliest)?;
            last.seek(Offset(mark.last_to.min(end.0)));
        }
        drop(built);
        Ok(Readers { statistics, last, counters, late_counters })
    }

    fn skip_if_behind(&self, reader: &mut JournalReader, end: Offset) {
        let mut built = self.lock();
        let Ok(Built { mark, .. }) = &mut *built else { return };
        if end.0.saturating_sub(mark.last_to) > BEHIND_MAX {
            let from = end.0 - BEHIND_AFTER;
            self.metrics.skipped(from - mark.last_to);
            (mark.last_from, mark.last_to) = (from, from);
            reader.seek(Offset(from));
        }
    }
}

/// Goes behind the last header that was counted. An offset is not enough for it: blocks that only count have the offset of
/// their neighbours.
fn resume(reader: &mut JournalReader, mark: &Mark, earliest: Offset) -> Result<(), RoundError> {
    if mark.statistics_header == 0 || mark.statistics_block < earliest.0 {
        reader.seek(Offset(mark.statistics_to));
        return Ok(());
    }
    reader.seek(Offset(mark.statistics_block));
    while let Some(header) = reader.next_header()? {
        if header.checksum() == mark.statistics_header {
            return Ok(());
        }
        if header.base().0 > mark.statistics_to {
            break;
        }
    }
    Err(StoreError::Damaged("what was counted last is not in the journal").into())
}

impl Built {
    fn open(dir: &Path, journal: &str) -> Result<Self, StoreError> {
        let (store, mark, entries) = ViewStore::open(dir)?;
        let mark = mark.unwrap_or_else(|| Mark::new(journal));
        if mark.journal != journal {
            return Err(StoreError::Damaged("it is of another journal"));
        }
        let (mut statistics, mut last) = (Statistics::default(), LatestValues::default());
        let mut counters = Counters::default();
        for (key, value) in entries {
            let known = last.load(&key, &value).or_else(|| statistics.load(&key, &value));
            let known = known.or_else(|| counters.load(&key, &value));
            known.ok_or(StoreError::Damaged("an entry is in no form that we know"))?;
        }
        let (counters_generation, saved) = (0, Instant::now());
        Ok(Self { store, mark, statistics, last, counters, counters_generation, saved, broken: None })
    }

    /// A view of events that are not there (any more) is of something else.
    fn within(self, durable: Offset) -> Result<Self, String> {
        let furthest = self.mark.statistics_to.max(self.mark.last_to).max(self.counters.stored_up_to());
        if furthest > durable.0 {
            return Err("it is ahead of the journal".to_owned());
        }
        Ok(self)
    }

    /// Counts some blocks. Whether there may be more.
    fn count(&mut self, reader: &mut JournalReader) -> Result<bool, JournalError> {
        for _ in 0..BLOCKS_AT_ONCE {
            match reader.next_header()? {
                Some(header) => {
                    self.statistics.add(&header);
                    self.mark.statistics_to = header.end().0;
                    self.mark.statistics_header = header.checksum();
                    if header.events() > 0 {
                        self.mark.statistics_block = header.base().0;
                    }
                }
                None => return Ok(false),
            }
        }
        Ok(true)
    }

    /// Takes the last values out of some blocks. Whether there may be more.
    fn take_values(&mut self, reader: &mut JournalReader) -> Result<bool, JournalError> {
        for _ in 0..BLOCKS_AT_ONCE {
            match reader.next_block(&BlockFilter::all())? {
                Some(block) => {
                    self.last.add(&block);
                    self.mark.last_to = block.header().end().0;
                }
                None => return Ok(false),
            }
        }
        Ok(true)
    }

    fn save(&mut self) -> Result<(), StoreError> {
        let mut changes: Vec<Change> = self.statistics.take_changes();
        changes.extend(self.last.take_changes());
        changes.extend(self.counters.take_changes());
        self.saved = Instant::now();
        if changes.is_empty() {
            return Ok(());
        }
        self.store.commit(changes, &mut self.mark)
    }
}
