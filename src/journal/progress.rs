//! How far what each link has taken in is durable: what an acknowledgement that an upstream waits for waits for.
//!
//! A link takes in bursts. Each burst has a number, counted before its ids are looked up in the dedupe window, and each block says
//! up to which burst everything is in it or in a block before. So "all that was taken in until now is durable" needs no offset, no
//! lock of the links, and nothing for a message: a number is counted for a burst and one is noted for a block.
//!
//! An event that turns out a repeat is safe when its original is. Which link has the original nobody knows, and it may not have
//! handed it over yet; but whoever has it looked it up before, so it is among what all links together had taken in then.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

/// Of one giver of blocks.
#[derive(Debug)]
pub(super) struct Progress {
    /// Bursts that were begun.
    begun: AtomicU64,
    /// Of these, how many are durable whole.
    durable: AtomicU64,
    changed: Arc<Notify>,
}

/// A giver's own side of it.
#[derive(Debug)]
pub struct Tracked {
    progress: Arc<Progress>,
    /// Bursts that were taken in whole.
    whole: u64,
}

/// Goes with a block: up to which burst everything is durable when it is.
#[derive(Debug)]
pub struct Mark {
    progress: Arc<Progress>,
    up_to: u64,
}

/// All givers of blocks whose events share a dedupe window.
#[derive(Debug, Default)]
pub struct ProgressBook {
    givers: Mutex<Vec<Arc<Progress>>>,
    changed: Arc<Notify>,
}

/// Something that will be durable.
#[derive(Debug, Clone)]
pub struct Awaited {
    until: Vec<(Arc<Progress>, u64)>,
    changed: Arc<Notify>,
}

impl ProgressBook {
    /// One more giver of blocks.
    pub fn join(&self) -> Tracked {
        let (begun, durable) = (AtomicU64::new(0), AtomicU64::new(0));
        let progress = Arc::new(Progress { begun, durable, changed: Arc::clone(&self.changed) });
        let mut givers = self.givers.lock().unwrap_or_else(PoisonError::into_inner);
        // Of a giver that is gone, and whose blocks have all been written, nobody else knows any more.
        givers.retain(|giver| Arc::strong_count(giver) > 1);
        givers.push(Arc::clone(&progress));
        Tracked { progress, whole: 0 }
    }

    /// All that was taken in until now, by whomever.
    pub fn all(&self) -> Awaited {
        let givers = self.givers.lock().unwrap_or_else(PoisonError::into_inner);
        let until = givers.iter().map(|giver| (Arc::clone(giver), giver.begun.load(Ordering::SeqCst)));
        let mut until: Vec<_> = until.collect();
        until.retain(|(giver, burst)| !giver.has(*burst));
        Awaited { until, changed: Arc::clone(&self.changed) }
    }
}

impl Progress {
    fn has(&self, burst: u64) -> bool {
        self.durable.load(Ordering::SeqCst) >= burst
    }
}

impl Tracked {
    /// A burst begins, whose ids are looked up from here on.
    pub fn begin(&mut self) {
        self.progress.begun.store(self.whole + 1, Ordering::SeqCst);
    }

    /// All of the burst is in the batch, or in a block before it.
    pub fn end(&mut self) {
        self.whole += 1;
    }

    /// For a block with all that was taken in whole until now and is in no block before it.
    pub fn mark(&self) -> Mark {
        Mark { progress: Arc::clone(&self.progress), up_to: self.whole }
    }

    /// All that was taken in here until now.
    pub fn own(&self) -> Awaited {
        let until = vec![(Arc::clone(&self.progress), self.whole)];
        Awaited { until, changed: Arc::clone(&self.progress.changed) }
    }
}

impl Mark {
    /// The block is durable, and all of its giver's before it.
    pub(crate) fn is_durable(self) {
        self.progress.durable.fetch_max(self.up_to, Ordering::SeqCst);
        self.progress.changed.notify_waiters();
    }
}

impl Awaited {
    /// Whether it is durable.
    pub fn is_durable(&self) -> bool {
        self.until.iter().all(|(giver, burst)| giver.has(*burst))
    }

    /// Waits until it is. Cancel safe. Never ends where the journal does.
    pub async fn durable(&self) {
        loop {
            let notified = self.changed.notified();
            tokio::pin!(notified);
            notified.as_mut().enable();
            if self.is_durable() {
                return;
            }
            notified.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeat_waits_for_whatever_any_link_had_taken_in_and_a_new_event_for_its_own_block() {
        let book = ProgressBook::default();
        let (mut one, mut other) = (book.join(), book.join());
        // The original is looked up, and is on its way into a batch, of which a part is closed meanwhile.
        one.begin();
        let early = one.mark();
        other.begin();
        let repeat = book.all();
        other.end();
        let own = other.own();
        early.is_durable();
        other.mark().is_durable();
        assert!(own.is_durable() && !repeat.is_durable(), "the original is not in that part");
        one.end();
        one.begin();
        one.end();
        one.mark().is_durable();
        assert!(repeat.is_durable());
        assert!(book.all().is_durable());
    }

    #[test]
    fn a_link_that_is_gone_is_waited_for_until_its_blocks_are_written_and_then_forgotten() {
        let book = ProgressBook::default();
        let mut gone = book.join();
        gone.begin();
        gone.end();
        let queued = gone.mark();
        drop(gone);
        let _other = book.join();
        let repeat = book.all();
        assert!(!repeat.is_durable());
        queued.is_durable();
        assert!(repeat.is_durable());
        drop(repeat);
        let _third = book.join();
        assert_eq!(book.givers.lock().unwrap().len(), 2);
    }

    #[tokio::test]
    async fn who_waits_is_told() {
        let book = ProgressBook::default();
        let mut link = book.join();
        link.begin();
        link.end();
        let awaited = link.own();
        let (waiting, mark) = (awaited.durable(), link.mark());
        tokio::join!(waiting, async { mark.is_durable() });
        assert!(awaited.is_durable());
    }
}
