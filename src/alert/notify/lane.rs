//! One channel at work: its queue, and the task that empties it.
//!
//! A notice waits for the channel's rate and its breaker, is sent, and is tried again until it is taken, refused for good, or too old.
//! Everything that waits hears [`Lane::closing`]; what waits for a server hears [`Lane::abandoned`] as well, so that a stop is short.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify as Bell;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::channel::{Again, Channel, Failure};
use super::log::Log;
use super::pace::Pace;
use super::queue::{Queue, Waiting};
use super::{Delivery, Occasion, Outcome};
use crate::backoff::Backoff;
use crate::breaker::{Breaker, Permit, Refusal};
use crate::clock::UnixNanos;
use crate::config::Routing;

/// Wait before the second attempt, doubled each time. Source: a guess.
const BACKOFF_MIN: Duration = Duration::from_millis(500);
/// The longest wait between attempts. Source: a guess.
const BACKOFF_MAX: Duration = Duration::from_mins(1);

/// How hard it is tried.
#[derive(Debug, Clone, Copy)]
pub(super) struct Effort {
    pub(super) attempts: u32,
    pub(super) give_up_after: Duration,
    pub(super) timeout: Duration,
}

/// A channel's queue, and what all sides of it know.
pub(super) struct Lane {
    pub(super) name: &'static str,
    pub(super) routing: Routing,
    pub(super) effort: Effort,
    queue: Mutex<Queue>,
    bell: Bell,
    log: Arc<Log>,
    /// Given when nothing more comes: what is there is tried once, without waiting.
    pub(super) closing: CancellationToken,
    /// Given when nobody waits any more.
    abandoned: CancellationToken,
}

impl Lane {
    pub(super) fn new(
        name: &'static str,
        routing: Routing,
        effort: Effort,
        room: usize,
        log: Arc<Log>,
        closing: CancellationToken,
        abandoned: CancellationToken,
    ) -> Self {
        log.begin(name);
        Self { name, routing, effort, queue: Mutex::new(Queue::new(room)), bell: Bell::new(), log, closing, abandoned }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many wait.
    pub(super) fn waiting(&self) -> usize {
        self.queue().len()
    }

    /// Takes a notice. Never waits.
    pub(super) fn push(&self, waiting: Waiting) {
        let gone = self.queue().push(waiting);
        self.bell.notify_one();
        if let Some(gone) = gone {
            self.end(gone, 0, Outcome::Dropped, Some("too many notices wait for the channel".into()));
        }
    }

    /// Takes everything out, for another lane.
    pub(super) fn take_all(&self) -> Vec<Waiting> {
        let mut queue = self.queue();
        std::iter::from_fn(|| queue.pop()).collect()
    }

    /// Sends what comes, until it is closed and empty.
    pub(super) async fn run(self: Arc<Self>, mut channel: Channel, breaker: Breaker, mut pace: Pace) {
        loop {
            let next = self.queue().pop();
            match next {
                Some(waiting) => {
                    let (attempts, outcome, error) = self.tell(&waiting, &mut channel, &breaker, &mut pace).await;
                    self.end(waiting, attempts, outcome, error);
                }
                None if self.closing.is_cancelled() => return,
                // A bell that rang before is heard.
                None => tokio::select! {
                    () = self.bell.notified() => {}
                    () = self.closing.cancelled() => {}
                },
            }
        }
    }

    /// Tries one until it is over: how often, how it ended, and why.
    async fn tell(
        &self,
        waiting: &Waiting,
        channel: &mut Channel,
        breaker: &Breaker,
        pace: &mut Pace,
    ) -> (u32, Outcome, Option<String>) {
        let test = waiting.notice.occasion == Occasion::Test;
        let attempts_max = if test { 1 } else { self.effort.attempts };
        let mut backoff = Backoff::new(BACKOFF_MIN, BACKOFF_MAX);
        let mut attempts = 0;
        loop {
            if self.abandoned.is_cancelled() {
                return (attempts, Outcome::Dropped, Some("the daemon stopped first".into()));
            }
            if let Err(reason) = self.wait_for_pace(waiting, pace).await {
                let outcome = if attempts == 0 { Outcome::Dropped } else { Outcome::Failed };
                return (attempts, outcome, Some(reason));
            }
            let permit = match self.wait_for_breaker(waiting, breaker, test).await {
                Ok(permit) => permit,
                Err(reason) => return (attempts, Outcome::Failed, Some(reason)),
            };
            attempts += 1;
            let sent = tokio::select! {
                biased;
                sent = tokio::time::timeout(self.effort.timeout, channel.send(waiting)) => sent,
                () = self.abandoned.cancelled() => {
                    return (attempts, Outcome::Failed, Some("the daemon stopped before the answer came".into()));
                }
            };
            let failure = match sent {
                Ok(Ok(())) => {
                    permit.succeeded();
                    return (attempts, Outcome::Sent, None);
                }
                Ok(Err(failure)) => failure,
                Err(_) => Failure::later(format!("no answer within {:?}", self.effort.timeout)),
            };
            let Again::Later(wanted) = failure.again else {
                // The server is well; it is what we say that it does not take.
                drop(permit);
                return (attempts, Outcome::Failed, Some(failure.reason));
            };
            permit.failed(&failure.reason);
            let next = Instant::now() + backoff.next(wanted);
            if attempts >= attempts_max {
                return (attempts, Outcome::Failed, Some(failure.reason));
            }
            if next >= waiting.give_up {
                let reason = match wanted {
                    Some(wanted) => format!("{} (it wants to be left alone for {wanted:?})", failure.reason),
                    None => failure.reason,
                };
                return (attempts, Outcome::Failed, Some(reason));
            }
            if !self.sleep_until(next).await {
                return (
                    attempts,
                    Outcome::Failed,
                    Some(format!("{}; the daemon stopped before the next attempt", failure.reason)),
                );
            }
        }
    }

    async fn wait_for_pace(&self, waiting: &Waiting, pace: &mut Pace) -> Result<(), String> {
        while let Err(next) = pace.take(Instant::now()) {
            if next >= waiting.give_up || !self.sleep_until(next).await {
                return Err(format!("the channel's rate, {}, is used up", pace.rate()));
            }
        }
        Ok(())
    }

    async fn wait_for_breaker(&self, waiting: &Waiting, breaker: &Breaker, test: bool) -> Result<Permit, String> {
        let mut changes = breaker.changes();
        loop {
            changes.mark_unchanged();
            let refusal = match breaker.permit() {
                Ok(permit) => return Ok(permit),
                Err(refusal) => refusal,
            };
            let again = match refusal {
                Refusal::Until(again) => again,
                Refusal::Probing | Refusal::Forced => waiting.give_up,
            };
            // Who tries a channel wants to know how it is now.
            if test || Instant::now() >= waiting.give_up || self.closing.is_cancelled() {
                let last = breaker.now().last_error.map_or_else(String::new, |error| format!(": {error}"));
                return Err(format!("{refusal}{last}"));
            }
            tokio::select! {
                () = tokio::time::sleep_until(again.min(waiting.give_up)) => {}
                _ = changes.changed() => {}
                () = self.closing.cancelled() => {}
            }
        }
    }

    /// False: it is closed, and nobody waits.
    async fn sleep_until(&self, when: Instant) -> bool {
        self.closing.run_until_cancelled(tokio::time::sleep_until(when)).await.is_some()
    }

    fn end(&self, waiting: Waiting, attempts: u32, outcome: Outcome, error: Option<String>) {
        let delivery = Delivery {
            alert: waiting.notice.alert.id,
            channel: self.name.to_owned(),
            occasion: waiting.notice.occasion,
            at: UnixNanos::now().to_string(),
            attempts,
            outcome,
            error,
        };
        self.log.note(&delivery, waiting.offered.elapsed());
        if let Some(answer) = waiting.answer {
            // Who asked may have gone.
            answer.try_send(delivery).ok();
        }
    }
}
