//! Stops in the other order: links first, so that nothing accepted is thrown away. Also what another process goes on with.

use super::super::live_settings::SettingsSource;
use super::super::take_over::Behind;
use super::super::take_over::Inheritance;
use super::super::take_over::LetGo;
use super::super::take_over::Standing;
use super::super::upstreams::FirstEvent;
use super::Daemon;
use super::Stopped;
use crate::checkpoint::Cause;
use crate::clock::UnixNanos;
use crate::journal::JournalError;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

/// How long a process that hands over reads on, until it has what came first to the other one. Source: as long as answers may pass
/// what waits to be sent.
const CATCH_UP_MAX: Duration = Duration::from_secs(10);
/// How often it is looked whether it has.
const CATCH_UP_LOOK: Duration = Duration::from_millis(10);
/// Topics that are named of those that have not been read so far; all are on record.
const BEHIND_NAMED_MAX: usize = 8;
/// How long a client may take to say what it wants, of one that is connected when another process begins to answer. Source: a guess;
/// clients say it with their first packet.
const LAST_REQUESTS: Duration = Duration::from_millis(300);

impl Daemon {
    /// Stops: links first, so that nothing accepted is thrown away, then the journal, then sinks, which take what is durable, and
    /// the server last, so that health can be watched meanwhile.
    ///
    /// # Errors
    /// When what was received could not be made durable.
    pub async fn stop(mut self) -> Result<Stopped, Arc<JournalError>> {
        let deadline = Instant::now() + self.stop_timeout;
        self.alerts.end();
        let read_until = self.gap_log.stopping();
        let drained = self.stop_links(deadline).await;
        let stopped = self.stop_behind_links(deadline, drained, Some(read_until)).await;
        self.stop_server().await;
        stopped
    }

    /// Has the links stop, for another process that goes on in our place. What they have read is with the journal then.
    /// `behind` is what [`Daemon::catch_up`] has said.
    pub(in crate::daemon) async fn let_go(&mut self, behind: Vec<Behind>) -> LetGo {
        self.over.cancel();
        let read_until = self.gap_log.handing_over();
        let drained = self.stop_links(Instant::now() + self.stop_timeout).await;
        // What was not handed to the journal in time is lost, and how much of it that is nobody knows.
        LetGo { read_until: drained.then_some(read_until.0), stopped: UnixNanos::now().0, behind }
    }

    /// Reads on until everything is read that came first of topics to a process that takes over: behind that nothing is missed. Topics
    /// of which that cannot be shown, and from when on something of them may be missing.
    pub(in crate::daemon) async fn catch_up(&self, mut first: Vec<FirstEvent>) -> Vec<Behind> {
        let deadline = Instant::now() + CATCH_UP_MAX;
        let unread = loop {
            let unread = self.upstreams.unread(&mut first);
            if unread.is_empty() || Instant::now() >= deadline {
                break unread;
            }
            tokio::time::sleep(CATCH_UP_LOOK).await;
        };
        if !unread.is_empty() {
            let named = unread
                .iter()
                .take(BEHIND_NAMED_MAX)
                .map(|(upstream, monitor, topic)| format!("`{topic}` of `{upstream}` for `{monitor}`"));
            let named: Vec<String> = named.collect();
            let more = if unread.len() > named.len() { ", and others" } else { "" };
            tracing::warn!(
                topics = unread.len(),
                "links have not read as far as the process that takes over within {CATCH_UP_MAX:?}: on record as gaps: {}{more}",
                named.join(", ")
            );
        }
        // As much earlier as was waited for, at least: so far behind it is.
        let from = UnixNanos::now().saturating_sub(CATCH_UP_MAX * 2);
        unread.into_iter().map(|(upstream, monitor, topic)| Behind { upstream, monitor, topic, from: from.0 }).collect()
    }

    /// Stops what is behind the links, but for the server, which answers still.
    ///
    /// # Errors
    /// When what was received could not be made durable.
    pub(in crate::daemon) async fn close(&mut self, let_go: &LetGo) -> Result<Stopped, Arc<JournalError>> {
        let deadline = Instant::now() + self.stop_timeout;
        self.stop_behind_links(deadline, let_go.read_until.is_some(), None).await
    }

    /// What another process goes on with, once more.
    ///
    /// # Errors
    /// What the system refused.
    pub(in crate::daemon) fn inheritance(&self, let_go: &LetGo) -> std::io::Result<Inheritance> {
        Ok(Inheritance {
            journal_lock: self.journal.lock_file()?,
            checkpoint_lock: self.works.keeper.lock_file()?,
            listener: Some(self.listener.try_clone()?),
            read_until: let_go.read_until(),
            behind: BTreeMap::new(),
            beside: None,
        })
    }

    /// The settings in force, to start with once more; `started_with` where what cannot change without a restart is other now.
    pub(in crate::daemon) fn source(&self, started_with: &SettingsSource) -> SettingsSource {
        self.live.source().filter(|now| now.same_places(started_with)).unwrap_or_else(|| started_with.clone())
    }

    /// How it stands, for a process that wants to take over.
    pub(in crate::daemon) fn standing(&self) -> Standing {
        Standing {
            journal: self.journal.id(),
            watched: self.upstreams.list(),
            live: Arc::downgrade(&self.live),
            upstreams: Arc::downgrade(&self.upstreams),
        }
    }

    async fn stop_links(&mut self, deadline: Instant) -> bool {
        let drained = tokio::time::timeout_at(deadline, self.upstreams.stop()).await.is_ok();
        // Past the deadline it is as if we had been killed: what is not durable was never promised.
        self.ingest.end();
        drained
    }

    /// `down_from`: since when nothing is read; none where another process goes on.
    async fn stop_behind_links(
        &mut self,
        deadline: Instant,
        drained: bool,
        down_from: Option<UnixNanos>,
    ) -> Result<Stopped, Arc<JournalError>> {
        if !self.works.operations.stop(deadline).await {
            tracing::warn!("an operation did not end within `daemon.stop_timeout`");
        }
        self.enrichment.stop().await;
        let notifier = Arc::clone(&self.notifier);
        // Before the journal is closed: what became of the last notices is on record.
        tokio::task::spawn_blocking(move || notifier.stop()).await.ok();
        self.history.end();
        if drained {
            let gap_log = Arc::clone(&self.gap_log);
            // Beside this thread, as below. Where links did not hand over all that they had, the next start counts from what is
            // durable, as after a crash.
            let last_words = move || match down_from {
                Some(read_until) => gap_log.down(read_until, deadline),
                None => gap_log.hand_over(deadline),
            };
            tokio::task::spawn_blocking(last_words).await.ok();
        }
        let journal = Arc::clone(&self.journal);
        // Beside this thread, so that a second signal is heard meanwhile.
        let closed = tokio::task::spawn_blocking(move || journal.close()).await;
        let durable = self.journal.durable();
        if !self.sinks.stop(deadline).await {
            tracing::warn!(
                "a sink did not take all that is durable within `daemon.stop_timeout`; it goes on at the next start"
            );
        }
        if matches!(closed, Ok(Ok(_))) {
            let works = Arc::clone(&self.works);
            // Beside this thread, as above. A failure is told by the keeper.
            drop(tokio::task::spawn_blocking(move || works.keeper.write(Cause::Shutdown)).await);
        }
        let views = Arc::clone(&self.views);
        // It catches its own panics, and what it does not save is built again.
        tokio::task::spawn_blocking(move || views.stop()).await.ok();
        match closed {
            Ok(closed) => closed.map(drop)?,
            Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
        }
        Ok(Stopped { durable, drained })
    }

    /// Leaves answering to another process, or to this one when it has started again. Who is connected here already is answered first.
    pub(in crate::daemon) async fn leave_server(&mut self) {
        self.leave_http.cancel();
        // A connection that has said nothing yet would be closed without an answer.
        tokio::time::sleep(LAST_REQUESTS).await;
        self.stop_server().await;
    }

    /// Stops answering.
    pub(in crate::daemon) async fn stop_server(&mut self) {
        // Their clients come back, here or to another process.
        let streams = Arc::clone(&self.streams);
        drop(tokio::task::spawn_blocking(move || streams.stop()).await);
        self.stop_http.cancel();
        if let Some(http) = self.http.take() {
            // Beside this thread, as above.
            match tokio::task::spawn_blocking(move || http.join()).await {
                Ok(Ok(Ok(()))) => {}
                Ok(Ok(Err(error))) => tracing::warn!("{error}"),
                Ok(Err(_)) | Err(_) => tracing::error!("the HTTP thread panicked; this is a bug"),
            }
        }
    }
}
