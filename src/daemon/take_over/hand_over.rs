//! The old side lets go: links, journal and sinks stop in order, and everything is handed to the process that is ready.

use std::time::Duration;

use rustix::process::Signal;
use tokio::time::Instant;

use super::protocol::{First, Handed};
use super::{Candidate, Heard, Inheritance};
use crate::crash_point::crash_point;
use crate::daemon::start::Daemon;
use crate::daemon::supervise::{Ending, Signals};
use crate::daemon::upstreams::FirstEvent;

/// How long a process that has said that it cannot go on may take to end.
const END_TIMEOUT: Duration = Duration::from_secs(10);

/// No deadline: what is waited for has one of its own.
const FAR: Duration = Duration::from_hours(1);

const TOLD_TO_STOP: &str = "the daemon was told to stop";

/// How it went.
pub(in crate::daemon) enum HandedOver {
    /// This process ends.
    Ended(Ending),
    /// The other process is gone before anything was let go, or a signal asks for the end.
    NotYet { daemon: Box<Daemon>, stop: bool },
    /// The other process is gone, and this one starts again.
    Failed { reason: String, inheritance: Box<Inheritance> },
}

/// What was heard while something else was waited for.
struct Heeded {
    /// A signal asked for the end.
    stop: bool,
}

impl Heeded {
    /// Waits for `done`. None: a second signal, so nothing more is waited for.
    async fn meanwhile<T>(&mut self, signals: &mut Signals, done: impl Future<Output = T>) -> Option<T> {
        let mut done = std::pin::pin!(done);
        loop {
            tokio::select! {
                done = &mut done => return Some(done),
                _ = signals.stop.next() => {
                    if std::mem::replace(&mut self.stop, true) {
                        return None;
                    }
                    tracing::info!("told to stop: this process ends, and none takes over; once more to stop at once");
                }
            }
        }
    }
}

/// Lets go for a process that is ready.
pub(in crate::daemon) async fn hand_over(
    mut daemon: Daemon,
    mut candidate: Candidate,
    signals: &mut Signals,
    timeout: Duration,
) -> HandedOver {
    let pid = candidate.pid;
    tracing::info!(pid, "another process is ready to take over: letting go");
    let mut heeded = Heeded { stop: false };
    let hurried = HandedOver::Ended(Ending::Hurried);
    let first = std::mem::take(&mut candidate.first).into_iter().filter_map(|First { unit, monitor, topic, hash }| {
        let hash = u128::from_str_radix(&hash, 16).ok()?;
        Some(FirstEvent { unit, monitor, topic, hash })
    });
    let first = first.collect();
    let behind = tokio::select! {
        behind = heeded.meanwhile(signals, daemon.catch_up(first)) => behind,
        heard = candidate.hear(Instant::now() + FAR) => {
            // Nothing was let go yet.
            tracing::warn!(pid, "the other process does not take over, so we go on: {heard:?}");
            return HandedOver::NotYet { daemon: Box::new(daemon), stop: heeded.stop };
        }
    };
    let Some(behind) = behind else { return hurried };
    if heeded.stop {
        candidate.refuse(TOLD_TO_STOP).await;
        return HandedOver::NotYet { daemon: Box::new(daemon), stop: true };
    }
    let Some(let_go) = heeded.meanwhile(signals, daemon.let_go(behind)).await else { return hurried };
    crash_point!("take_over.stopped");
    candidate.let_go(&let_go).await;
    let Some(closed) = heeded.meanwhile(signals, daemon.close(&let_go)).await else { return hurried };
    let stopped = match closed {
        Ok(stopped) => stopped,
        // It recovers from disk when we are gone, as from a crash.
        Err(error) => return HandedOver::Ended(Ending::JournalFailed(error)),
    };
    if heeded.stop {
        candidate.refuse(TOLD_TO_STOP).await;
        daemon.stop_server().await;
        return HandedOver::Ended(Ending::Stopped(stopped));
    }
    crash_point!("take_over.closed");
    let kept = daemon.inheritance(&let_go);
    let handed = async {
        let again = daemon.inheritance(&let_go)?;
        let mut files = Vec::new();
        files.extend(again.journal_lock.map(|lock| (Handed::JournalLock, lock)));
        files.extend(again.checkpoint_lock.map(|lock| (Handed::CheckpointLock, lock)));
        files.extend(again.listener.map(|listener| (Handed::Listener, std::os::fd::OwnedFd::from(listener).into())));
        candidate.hand(stopped.durable, &files).await
    };
    let handed = handed.await;
    crash_point!("take_over.handed_over");
    let mut patience = END_TIMEOUT;
    let reason = match handed {
        Ok(()) => {
            let deadline = Instant::now() + timeout;
            loop {
                let heard = tokio::select! {
                    heard = candidate.hear(deadline) => heard,
                    name = signals.stop.next() => {
                        tracing::info!("{name}: passed on to the process that takes over");
                        heeded.stop = true;
                        candidate.signal(Signal::TERM);
                        continue;
                    }
                };
                break match heard {
                    Heard::Taken => {
                        tracing::info!(pid, "handed over");
                        daemon.leave_server().await;
                        return HandedOver::Ended(Ending::HandedOver { to: pid, stopped });
                    }
                    Heard::Failed(reason) => reason,
                    Heard::Late => {
                        patience = Duration::ZERO;
                        format!("process {pid} has not taken over within {timeout:?} (`daemon.take_over_timeout`)")
                    }
                };
            }
        }
        Err(error) => format!("process {pid} cannot be handed anything: {error}"),
    };
    tracing::warn!(pid, "the other process did not take over: {reason}");
    candidate.see_gone(patience).await;
    daemon.leave_server().await;
    if heeded.stop {
        return HandedOver::Ended(Ending::Stopped(stopped));
    }
    match kept {
        Ok(inheritance) => HandedOver::Failed { reason, inheritance: Box::new(inheritance) },
        // Without its lock a journal is opened as at any start.
        Err(_) => HandedOver::Failed { reason, inheritance: Box::default() },
    }
}
