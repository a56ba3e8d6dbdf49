//! The bounded queue between links and the writer thread, and what travels back: whether there is room, and how long a
//! commit takes.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::block::EncodedBlock;
use crate::pulse::Pulse;

/// The most that waits for the writer. A guess: at the highest rate measured it is a fifth of a second.
pub(crate) const QUEUE_BYTES_MAX: usize = 8 << 20;
const QUEUE_BLOCKS_MAX: usize = 256;
/// The daemon's own blocks have a queue of their own, so that they get through when the other is full.
const OWN_BYTES_MAX: usize = 1 << 20;
const OWN_BLOCKS_MAX: usize = 64;

/// How soon to look again whether a commit that takes longer than most has ended. Source: a guess; a twentieth of what events
/// may wait at the rate where latency is promised.
const LOOK_AGAIN_NANOS: u64 = 1_000_000;

/// How quickly the writer takes what it is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// Write and sync of a group, averaged over the last ones.
    pub commit_time: Duration,
    /// Nothing is queued or being written, and a block given now is synced at once.
    pub idle: bool,
    /// How long until the writer would take what is queued: zero when it would at once; while it writes, as long as a
    /// commit takes on average less what this one has taken already.
    pub next_take: Duration,
}

/// The queue.
#[derive(Debug)]
pub(crate) struct Intake {
    state: Mutex<State>,
    wake: Condvar,
    room: Notify,
    started: Instant,
    /// Nanoseconds after `started` at which the writer took the group it is writing; 0: it writes none.
    busy_since: AtomicU64,
    /// Nanoseconds after `started` at which the next group is taken at the earliest.
    next_take: AtomicU64,
    commit_nanos: AtomicU64,
    /// The writer answers whenever it comes for more.
    pub(super) pulse: Arc<Pulse>,
}

#[derive(Debug, Default)]
struct State {
    blocks: VecDeque<EncodedBlock>,
    bytes: usize,
    own: VecDeque<EncodedBlock>,
    own_bytes: usize,
    /// Blocks whose links read nothing more until they are durable.
    awaited: usize,
    /// The writer waits for something to come. At other times it looks by itself when the next sync may begin, and to wake
    /// it for every block would cost more than to write it.
    parked: bool,
    /// No more is taken in; what is there is still written.
    closing: bool,
    /// Nothing more will ever be written.
    dead: bool,
}

/// What the writer found.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    /// The daemon's own blocks come first.
    pub(crate) own: VecDeque<EncodedBlock>,
    pub(crate) blocks: VecDeque<EncodedBlock>,
    pub(crate) closing: bool,
}

/// What the writer waits for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted {
    /// Ordinary blocks are taken: the disk is not full.
    pub(crate) blocks: bool,
    /// The daemon's own are taken: none of those taken before still waits for room, so that the queue's bound holds.
    pub(crate) own: bool,
    /// Nothing is taken before, unless a queue is half full or somebody waits for what is in it: what comes until then shares one
    /// sync.
    pub(crate) not_before: Instant,
    /// Look up at the latest then.
    pub(crate) until: Instant,
}

impl Intake {
    pub(crate) fn new() -> Self {
        Self {
            state: Mutex::default(),
            wake: Condvar::new(),
            room: Notify::new(),
            started: Instant::now(),
            busy_since: AtomicU64::new(0),
            next_take: AtomicU64::new(0),
            commit_nanos: AtomicU64::new(0),
            pulse: Arc::new(Pulse::always()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic while it is held cannot leave it half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn try_submit(&self, block: EncodedBlock) -> Result<(), EncodedBlock> {
        let mut state = self.lock();
        if state.closing || state.dead || !state.has_room(block.bytes()) {
            return Err(block);
        }
        state.bytes += block.bytes();
        state.awaited += usize::from(block.is_awaited());
        state.blocks.push_back(block);
        let wake = std::mem::take(&mut state.parked) || state.pressed();
        drop(state);
        if wake {
            self.wake.notify_one();
        }
        Ok(())
    }

    pub(crate) fn try_submit_own(&self, block: EncodedBlock) -> Result<(), EncodedBlock> {
        let mut state = self.lock();
        let room = state.own.is_empty()
            || state.own.len() < OWN_BLOCKS_MAX && state.own_bytes + block.bytes() <= OWN_BYTES_MAX;
        if state.closing || state.dead || !room {
            return Err(block);
        }
        state.own_bytes += block.bytes();
        state.own.push_back(block);
        state.parked = false;
        drop(state);
        self.wake.notify_one();
        Ok(())
    }

    /// Waits until a block of so many bytes may be taken, or until none ever will be again. Cancel safe.
    pub(crate) async fn room(&self, bytes: usize) {
        loop {
            let notified = self.room.notified();
            tokio::pin!(notified);
            notified.as_mut().enable();
            {
                let state = self.lock();
                if state.closing || state.dead || state.has_room(bytes) {
                    return;
                }
            }
            notified.await;
        }
    }

    /// Bytes and blocks that wait.
    pub(crate) fn queued(&self) -> (usize, usize) {
        let state = self.lock();
        (state.bytes + state.own_bytes, state.blocks.len() + state.own.len())
    }

    pub(crate) fn pace(&self) -> Pace {
        let now = self.now();
        let commit_nanos = self.commit_nanos.load(Ordering::Relaxed);
        let busy_since = self.busy_since.load(Ordering::Relaxed);
        let next_take = if busy_since == 0 {
            self.next_take.load(Ordering::Relaxed).saturating_sub(now)
        } else {
            // A commit that takes longer than most is asked after again and again until it ends.
            (busy_since + commit_nanos).saturating_sub(now).max(LOOK_AGAIN_NANOS)
        };
        Pace {
            commit_time: Duration::from_nanos(commit_nanos),
            idle: next_take == 0,
            next_take: Duration::from_nanos(next_take),
        }
    }

    /// Nanoseconds after `started`, at least 1.
    fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX).max(1)
    }

    /// Averages a commit in.
    pub(crate) fn committed_in(&self, took: Duration) {
        let took = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let before = self.commit_nanos.load(Ordering::Relaxed);
        let average = if before == 0 { took } else { before - before / 8 + took / 8 };
        self.commit_nanos.store(average, Ordering::Relaxed);
    }

    /// Called by the writer alone: waits for what it wants and takes it.
    pub(crate) fn take(&self, wanted: Wanted) -> Taken {
        let not_before = wanted.not_before.saturating_duration_since(self.started);
        self.next_take.store(u64::try_from(not_before.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
        self.busy_since.store(0, Ordering::Relaxed);
        let mut state = self.lock();
        loop {
            self.pulse.answer();
            let now = Instant::now();
            let waiting = wanted.own && !state.own.is_empty() || wanted.blocks && !state.blocks.is_empty();
            let pressed = wanted.blocks && state.pressed();
            if state.closing || pressed || waiting && now >= wanted.not_before || now >= wanted.until {
                break;
            }
            state.parked = now >= wanted.not_before;
            let until = if state.parked { wanted.until } else { wanted.not_before.min(wanted.until) };
            let timeout = until.saturating_duration_since(now);
            state = self.wake.wait_timeout(state, timeout).unwrap_or_else(PoisonError::into_inner).0;
        }
        state.parked = false;
        let mut taken = Taken { closing: state.closing, ..Taken::default() };
        if wanted.own || state.closing {
            taken.own = std::mem::take(&mut state.own);
            state.own_bytes = 0;
        }
        if wanted.blocks || state.closing {
            taken.blocks = std::mem::take(&mut state.blocks);
            state.bytes = 0;
            state.awaited = 0;
        }
        if !(taken.own.is_empty() && taken.blocks.is_empty()) {
            self.busy_since.store(self.now(), Ordering::Relaxed);
        }
        drop(state);
        self.room.notify_waiters();
        taken
    }

    /// Has the writer look up, where it waits for something to come.
    pub(crate) fn wake(&self) {
        // Between its look at the pulse and its wait nobody else has the lock, so it cannot miss this.
        drop(self.lock());
        self.wake.notify_one();
    }

    /// No more is taken in.
    pub(crate) fn close(&self) {
        self.lock().closing = true;
        self.wake.notify_all();
        self.room.notify_waiters();
    }

    /// Nothing more will be written: what waits is given up.
    pub(crate) fn die(&self) {
        let mut state = self.lock();
        state.dead = true;
        let given_up = (std::mem::take(&mut state.blocks), std::mem::take(&mut state.own));
        state.bytes = 0;
        state.own_bytes = 0;
        drop(state);
        drop(given_up);
        self.room.notify_waiters();
    }
}

impl State {
    /// So much waits that the next sync should not be waited for.
    fn pressed(&self) -> bool {
        self.awaited > 0 || self.bytes >= QUEUE_BYTES_MAX / 2 || self.blocks.len() >= QUEUE_BLOCKS_MAX / 2
    }

    /// A block that is larger than the whole queue goes in when the queue is empty.
    fn has_room(&self, bytes: usize) -> bool {
        self.blocks.is_empty() || self.blocks.len() < QUEUE_BLOCKS_MAX && self.bytes + bytes <= QUEUE_BYTES_MAX
    }
}
