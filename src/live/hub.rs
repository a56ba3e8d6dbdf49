//! The thread that follows the journal for all clients: each block is read once, each event that anybody wants is encoded once.
//!
//! Clients that want the same form a group, so that it is found out once what they want. While nobody listens nothing is read.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::message::LiveMessage;
use super::queue::{Queue, Terms};
use super::wanted::Wanted;
use crate::config::{Priority, Settings};
use crate::journal::{Block, Journal, JournalError, JournalReader, OWN_DOMAIN, Offset, Passage};
use crate::monitor::retry::RetryMarks;

/// Wait after the journal could not be read.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// Follows the journal for everybody who listens.
pub struct Hub {
    shared: Arc<Shared>,
    thread: Mutex<Option<thread::JoinHandle<()>>>,
}

struct Shared {
    journal: Arc<Journal>,
    settings: Box<dyn Fn() -> Arc<Settings> + Send + Sync>,
    /// What CloudEvents call the source.
    source: String,
    listeners: Mutex<Listeners>,
    wake: Notify,
    stop: CancellationToken,
    /// Events that somebody wanted.
    emitted: AtomicU64,
    /// Events that clients were not given, of each client.
    dropped: AtomicU64,
}

#[derive(Default)]
struct Listeners {
    groups: HashMap<Arc<Wanted>, Vec<Arc<Queue>>>,
    /// The next event that is handed out; none while nobody listens.
    position: Option<Offset>,
}

/// A client among the listeners; it leaves when this is dropped.
pub struct Joined {
    /// What waits for it.
    pub queue: Arc<Queue>,
    /// Every event from here on comes over the queue.
    pub from: Offset,
    wanted: Arc<Wanted>,
    shared: Arc<Shared>,
}

impl Hub {
    /// Starts the thread. `settings` says how important each monitor is.
    ///
    /// # Errors
    /// When there is no thread, or no runtime for it.
    pub fn start(
        journal: Arc<Journal>,
        settings: impl Fn() -> Arc<Settings> + Send + Sync + 'static,
    ) -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        let shared = Arc::new(Shared {
            source: format!("urn:uuid:{}", journal.id()),
            journal,
            settings: Box::new(settings),
            listeners: Mutex::default(),
            wake: Notify::new(),
            stop: CancellationToken::new(),
            emitted: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
        });
        let thread = {
            let shared = Arc::clone(&shared);
            thread::Builder::new().name("live".into()).spawn(move || runtime.block_on(shared.follow()))?
        };
        Ok(Self { shared, thread: Mutex::new(Some(thread)) })
    }

    /// Lets a client listen.
    pub fn join(&self, wanted: Wanted, terms: Terms) -> Joined {
        let queue = Arc::new(Queue::new(terms));
        let mut listeners = self.shared.listeners();
        let from = *listeners.position.get_or_insert_with(|| self.shared.journal.durable());
        // All of a group hold the same, so that a client costs a pointer.
        let wanted = match listeners.groups.get_key_value(&wanted) {
            Some((known, _)) => Arc::clone(known),
            None => Arc::new(wanted),
        };
        listeners.groups.entry(Arc::clone(&wanted)).or_default().push(Arc::clone(&queue));
        drop(listeners);
        if self.shared.stop.is_cancelled() {
            queue.cut(STOPPING);
        }
        self.shared.wake.notify_one();
        Joined { queue, from, wanted, shared: Arc::clone(&self.shared) }
    }

    /// What CloudEvents call the source of all events.
    pub fn source(&self) -> &str {
        &self.shared.source
    }

    /// The journal that is followed.
    pub fn journal(&self) -> &Arc<Journal> {
        &self.shared.journal
    }

    /// How important a monitor's events are.
    pub fn priority(&self, monitor: &str, domain: &str) -> Priority {
        priority(&(self.shared.settings)(), monitor, domain)
    }

    /// Events that were handed to somebody; each once, however many took it.
    pub fn emitted(&self) -> u64 {
        self.shared.emitted.load(Ordering::Relaxed)
    }

    /// Events that slow clients were not given, of each client.
    pub fn dropped(&self) -> u64 {
        self.shared.dropped.load(Ordering::Relaxed)
    }

    /// Events of the journal's end that no client has been given yet.
    pub fn lag(&self) -> u64 {
        let position = self.shared.listeners().position;
        position.map_or(0, |position| self.shared.journal.durable().0.saturating_sub(position.0))
    }

    /// Sends everybody away and ends the thread.
    pub fn stop(&self) {
        self.shared.stop.cancel();
        self.shared.cut_all(STOPPING);
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread that follows the journal for clients has panicked");
        }
    }
}

/// Why clients are sent away at the end.
const STOPPING: &str = "the daemon stops; come back with the last offset";

fn priority(settings: &Settings, monitor: &str, domain: &str) -> Priority {
    if domain == OWN_DOMAIN {
        return Priority::High;
    }
    settings.monitors.get(monitor).map_or(Priority::Medium, |monitor| monitor.priority)
}

impl Drop for Joined {
    fn drop(&mut self) {
        let mut listeners = self.shared.listeners();
        let Some(queues) = listeners.groups.get_mut(&self.wanted) else { return };
        if let Some(at) = queues.iter().position(|queue| Arc::ptr_eq(queue, &self.queue)) {
            queues.swap_remove(at);
        }
        if queues.is_empty() {
            listeners.groups.remove(&self.wanted);
        }
    }
}

impl Shared {
    fn listeners(&self) -> MutexGuard<'_, Listeners> {
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn cut_all(&self, reason: &str) {
        self.listeners().groups.values().flatten().for_each(|queue| queue.cut(reason));
    }

    async fn follow(&self) {
        let mut durable = self.journal.watch_durable();
        let mut reader = self.journal.reader();
        while !self.stop.is_cancelled() {
            durable.mark_unchanged();
            if let Err(error) = self.read(&mut reader) {
                tracing::warn!("clients that listen are sent away, because the journal cannot be read: {error}");
                self.cut_all("the journal cannot be read now; come back with the last offset");
                self.listeners().position = None;
                reader = self.journal.reader();
                tokio::select! {
                    () = self.stop.cancelled() => {}
                    () = tokio::time::sleep(RETRY_INTERVAL) => {}
                }
                continue;
            }
            tokio::select! {
                () = self.stop.cancelled() => {}
                () = self.wake.notified() => {}
                // The journal ends before the server does: what is durable then has been handed out.
                changed = durable.changed() => if changed.is_err() { self.stop.cancelled().await },
            }
        }
    }

    /// Hands out all that is durable.
    fn read(&self, reader: &mut JournalReader) -> Result<(), JournalError> {
        loop {
            let groups: Vec<Arc<Wanted>> = {
                let mut listeners = self.listeners();
                if listeners.groups.is_empty() {
                    listeners.position = None;
                    return Ok(());
                }
                // Whoever came first after a rest said where to begin.
                if let Some(position) = listeners.position.filter(|position| *position != reader.position()) {
                    reader.seek(position);
                }
                listeners.groups.keys().map(Arc::clone).collect()
            };
            if self.stop.is_cancelled() {
                return Ok(());
            }
            let passage = reader.next_passage(|header| groups.iter().any(|wanted| wanted.may_take(header)))?;
            match passage {
                Some(Passage::Block(block)) => self.hand_out(&block, reader.position()),
                // Who joined since wants this block perhaps, and begins before it: it is read again.
                Some(Passage::Passed(to)) => self.pass(&groups, to, reader),
                None => return Ok(()),
            }
        }
    }

    fn pass(&self, known: &[Arc<Wanted>], to: Offset, reader: &mut JournalReader) {
        let mut listeners = self.listeners();
        let same = listeners.groups.len() == known.len() && known.iter().all(|one| listeners.groups.contains_key(one));
        match listeners.position {
            Some(_) if same => listeners.position = Some(to),
            Some(position) => reader.seek(position),
            None => {}
        }
    }

    fn hand_out(&self, block: &Block, to: Offset) {
        let settings = (self.settings)();
        let marks = RetryMarks::of(block);
        let mut listeners = self.listeners();
        let Some(position) = listeners.position else { return };
        let groups: Vec<(&Arc<Wanted>, &Vec<Arc<Queue>>)> = listeners.groups.iter().collect();
        // Which groups may want something of a monitor is found out once a block.
        let mut by_monitor: HashMap<(&str, &str), (Priority, Candidates<'_>)> = HashMap::new();
        let mut batches: Vec<Vec<Arc<LiveMessage>>> = vec![Vec::new(); groups.len()];
        let mut emitted = 0;
        for event in block.events().filter(|event| event.offset >= position) {
            let (priority, candidates) = by_monitor.entry((event.monitor, event.domain)).or_insert_with(|| {
                let of = priority(&settings, event.monitor, event.domain);
                (of, Candidates::among(&groups, event.monitor, event.domain))
            });
            let mut message = None;
            let keyed = event.key().and_then(|key| candidates.keyed.get(key.as_ref()));
            for &group in candidates.any.iter().chain(keyed.into_iter().flatten()) {
                if groups[group].0.takes(&event) {
                    let message = message.get_or_insert_with(|| {
                        let retried = marks.retried_from(event.offset);
                        Arc::new(LiveMessage::new(&event, &self.source, *priority, retried))
                    });
                    batches[group].push(Arc::clone(message));
                }
            }
            emitted += u64::from(message.is_some());
        }
        let mut dropped = 0;
        for ((_, queues), batch) in groups.iter().zip(&batches) {
            if !batch.is_empty() {
                for queue in *queues {
                    dropped += queue.push(batch).dropped;
                }
            }
        }
        listeners.position = Some(to);
        drop(listeners);
        self.emitted.fetch_add(emitted, Ordering::Relaxed);
        self.dropped.fetch_add(dropped, Ordering::Relaxed);
    }
}

/// Groups that may want events of a monitor.
struct Candidates<'a> {
    any: Vec<usize>,
    /// Those that want one key alone.
    keyed: HashMap<&'a str, Vec<usize>>,
}

impl<'a> Candidates<'a> {
    fn among(groups: &[(&'a Arc<Wanted>, &Vec<Arc<Queue>>)], monitor: &str, domain: &str) -> Self {
        let mut candidates = Self { any: Vec::new(), keyed: HashMap::new() };
        for (at, (wanted, _)) in groups.iter().enumerate() {
            if wanted.takes_monitor(monitor, domain) {
                match wanted.only_key() {
                    Some(key) => candidates.keyed.entry(key).or_default().push(at),
                    None => candidates.any.push(at),
                }
            }
        }
        candidates
    }
}
