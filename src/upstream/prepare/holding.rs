//! The task of a link that is opened beside another process's: it connects, asks, answers, and keeps what comes.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::recorder::{FirstEvents, News, RecordedBurst, Recorder};
use crate::backoff::Backoff;
use crate::clock::UnixNanos;
use crate::config::PoolSettings;
use crate::crash_point::crash_point;
use crate::credentials::Pass;
use crate::dialect::{Dialect, Frame, Intake as _, Limits, Outbox, Session, TopicId};
use crate::journal::Path;
use crate::monitor::roster::Roster;
use crate::upstream::connect::{Connection, Connector, OPENING};
use crate::upstream::pace::{ConnectPace, SendPace, Sending};
use crate::upstream::placement::SlotNumber;
use crate::upstream::subscriptions::Subscriptions;
use crate::upstream::wire::{Incoming, Outgoing, Wire};

/// Attempts in vain after which a link is taken not to be had. They go on all the same. Source: a guess.
const ATTEMPTS: u32 = 3;

/// The most of a burst, as a link's.
const BURST_MESSAGES_MAX: usize = 1024;
const BURST_BYTES_MAX: usize = 256 << 10;

/// How a link stands.
#[derive(Debug, Clone, Default)]
pub(super) struct Now {
    /// It is there, and everything that it asked for was answered, or waited for long enough.
    pub(super) up: bool,
    /// Since when topics are in force.
    pub(super) in_force: BTreeMap<TopicId, UnixNanos>,
    /// The first event of each topic since then, by the hash of its id for each monitor that counts it.
    pub(super) first: FirstEvents,
    pub(super) refused: BTreeMap<TopicId, String>,
    /// Why it is not to be had.
    pub(super) failed: Option<String>,
    /// The other process relies on us: what was read is kept, whatever becomes of the connection.
    committed: bool,
}

/// How a link stands, as others see it.
pub(super) struct Standing {
    now: Mutex<Now>,
    changes: watch::Sender<()>,
}

impl Standing {
    pub(super) fn new(changes: watch::Sender<()>) -> Self {
        Self { now: Mutex::default(), changes }
    }

    pub(super) fn now(&self) -> Now {
        self.lock().clone()
    }

    /// From here on what was read is kept. What is in force, and since when.
    pub(super) fn commit(&self) -> BTreeMap<TopicId, UnixNanos> {
        let mut now = self.lock();
        now.committed = true;
        now.in_force.clone()
    }

    fn is_committed(&self) -> bool {
        self.lock().committed
    }

    fn update(&self, update: impl FnOnce(&mut Now)) {
        update(&mut self.lock());
        self.changes.send_replace(());
    }

    /// The link is lost and nobody relies on it: everything begins anew.
    fn start_over(&self) -> bool {
        let mut now = self.lock();
        if now.committed {
            return false;
        }
        *now = Now { failed: now.failed.take(), ..Now::default() };
        drop(now);
        self.changes.send_replace(());
        true
    }

    fn lock(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why a link that is taken is of no more use than for what it has brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::upstream) struct HeldEnd {
    /// For people.
    pub(in crate::upstream) reason: String,
    /// For metrics.
    pub(in crate::upstream) cause: &'static str,
}

/// A link that was opened beside, with everything that came over it.
pub(in crate::upstream) struct Held {
    pub(in crate::upstream) session: Box<dyn Session>,
    /// Everything that was asked for.
    pub(in crate::upstream) asked: Vec<TopicId>,
    /// Of these, what was waited for in vain.
    pub(in crate::upstream) unanswered: Vec<TopicId>,
    pub(in crate::upstream) bursts: VecDeque<RecordedBurst>,
    pub(in crate::upstream) outgoing: VecDeque<Outgoing>,
    pub(in crate::upstream) requests: VecDeque<Outgoing>,
    pub(in crate::upstream) unflushed: bool,
    pub(in crate::upstream) pace: SendPace,
    /// How many pings were sent.
    pub(in crate::upstream) pings: u64,
    pub(in crate::upstream) next_keep_alive: Option<Instant>,
    /// None as long as it is open.
    pub(in crate::upstream) ended: Option<HeldEnd>,
}

/// What a link is opened with.
pub(super) struct Holder {
    pub(super) slot: SlotNumber,
    pub(super) connector: Arc<Connector>,
    pub(super) dialect: Arc<dyn Dialect>,
    pub(super) roster: Arc<Roster>,
    pub(super) limits: Limits,
    pub(super) pool: PoolSettings,
    pub(super) credentials_named: Arc<BTreeSet<String>>,
    pub(super) pace: ConnectPace,
    pub(super) buffer_bytes_max: usize,
    /// What is asked for at once.
    pub(super) topics: Vec<TopicId>,
    pub(super) standing: Arc<Standing>,
}

impl Holder {
    /// Until `stop` is given. None where there is no connection then.
    pub(super) async fn run(
        self,
        mut orders: mpsc::Receiver<Vec<TopicId>>,
        stop: CancellationToken,
    ) -> Option<(Connection, Held)> {
        let mut topics = self.topics.clone();
        let mut backoff = Backoff::new(self.pool.backoff_min, self.pool.backoff_max);
        let mut failures = 0;
        loop {
            while let Err(until) = self.pace.take(Instant::now()) {
                stop.run_until_cancelled(sleep_until(until)).await?;
            }
            while let Ok(more) = orders.try_recv() {
                topics.extend(more);
            }
            let names: Vec<&str> = topics.iter().map(|topic| &**self.roster.topic_name(*topic)).collect();
            let opening = self.dialect.opening(&names, None);
            // Its state is large, and would be part of the task as long as it holds the link.
            let connecting = Box::pin(OPENING.scope(opening, self.connector.connect()));
            let connected = stop.run_until_cancelled(connecting).await?;
            let reason = match connected {
                Ok(connection) => {
                    crash_point!("take_over.connected");
                    let held = Holding::new(&self, connection, &mut topics).run(&mut orders, &stop).await;
                    match held.1.ended.clone() {
                        Some(end) if self.standing.start_over() => end.reason,
                        _ => return Some(held),
                    }
                }
                Err(error) => error.to_string(),
            };
            if self.standing.is_committed() {
                // Its keeper tries further, and says how that goes.
                return None;
            }
            failures += 1;
            if failures >= ATTEMPTS {
                self.standing.update(|now| now.failed = Some(reason));
            }
            stop.run_until_cancelled(tokio::time::sleep(backoff.next(None))).await?;
        }
    }

    /// What the link calls itself: of this process alone, since the other one's is open still.
    fn name(&self) -> String {
        format!("sl{:08x}{:08x}{}", std::process::id(), fastrand::u32(..), self.slot)
    }
}

/// A link that is open.
struct Holding<'a> {
    holder: &'a Holder,
    connection: Connection,
    held: Held,
    /// Everything that is asked for, for the next connection as well.
    topics: &'a mut Vec<TopicId>,
    recorder: Recorder,
    outbox: Outbox,
    subscriptions: Subscriptions,
    bytes: usize,
    /// What it proved itself with.
    proof: Option<(Arc<Pass>, url::Url)>,
    next_ping: Instant,
    ping: Option<(u64, Instant)>,
    told_up: bool,
}

impl<'a> Holding<'a> {
    fn new(holder: &'a Holder, connection: Connection, topics: &'a mut Vec<TopicId>) -> Self {
        let now = Instant::now();
        let session = holder.dialect.session(&holder.roster.topics, &holder.roster.plan);
        let proof = connection.proof.as_ref().map(|proof| (Arc::clone(&proof.pass), proof.url.clone()));
        let held = Held {
            session,
            asked: Vec::new(),
            unanswered: Vec::new(),
            bursts: VecDeque::new(),
            outgoing: VecDeque::new(),
            requests: VecDeque::new(),
            unflushed: false,
            pace: SendPace::new(&holder.limits),
            pings: 0,
            next_keep_alive: holder.dialect.keep_alive_interval().map(|interval| now + interval),
            ended: None,
        };
        Self {
            connection,
            held,
            topics,
            recorder: Recorder::new(Arc::clone(&holder.roster)),
            outbox: Outbox::new(),
            subscriptions: Subscriptions::new(holder.pool.confirm_timeout),
            bytes: 0,
            proof,
            next_ping: now + holder.pool.health_check_interval,
            ping: None,
            told_up: false,
            holder,
        }
    }

    async fn run(mut self, orders: &mut mpsc::Receiver<Vec<TopicId>>, stop: &CancellationToken) -> (Connection, Held) {
        let early = self.connection.proof.as_mut().map(|proof| std::mem::take(&mut proof.early));
        let greeting = self.greeting();
        self.held.session.opened(&self.holder.name(), &greeting, &mut self.outbox);
        let topics = self.topics.clone();
        self.ask(&topics);
        self.recorder.begin(UnixNanos::now());
        if self.holder.dialect.asks_by_opening() {
            for topic in &topics {
                self.recorder.acknowledged(*topic);
            }
        }
        early.unwrap_or_default().iter().for_each(|incoming| self.take(incoming));
        self.close_burst();
        self.tell();
        while self.held.ended.is_none() {
            self.held.outgoing.extend(self.outbox.drain(..).map(Outgoing::from));
            let timer = self.next_timer();
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                () = sleep_until(timer) => self.tick(),
                Some(more) = orders.recv() => {
                    self.topics.extend(&more);
                    self.ask(&more);
                }
                () = poll_fn(|cx| self.poll_io(cx)) => {}
            }
            self.close_burst();
            if self.told_up != self.is_up() {
                self.tell();
            }
        }
        self.held.outgoing.extend(self.outbox.drain(..).map(Outgoing::from));
        (self.connection, self.held)
    }

    fn greeting(&self) -> Vec<String> {
        let greeting = self.holder.dialect.greeting();
        let Some((pass, url)) = &self.proof else { return greeting };
        let fill = |text| pass.fill_plain(text, &self.holder.credentials_named, url);
        greeting.into_iter().map(fill).collect()
    }

    fn ask(&mut self, topics: &[TopicId]) {
        self.held.outgoing.extend(self.outbox.drain(..).map(Outgoing::from));
        if !topics.is_empty() {
            self.held.session.subscribe(topics, &mut self.outbox);
        }
        self.held.requests.extend(self.outbox.drain(..).map(Outgoing::from));
        self.subscriptions.asked(topics, Instant::now());
        self.held.asked.extend(topics);
    }

    fn lose(&mut self, reason: &str, cause: &'static str) {
        let reason = self.proof.as_ref().map_or_else(|| reason.to_owned(), |(pass, _)| pass.scrub(reason));
        self.held.ended.get_or_insert(HeldEnd { reason, cause });
    }

    /// Ends a burst: what was said is put behind what came before, and what is new of topics is told.
    fn close_burst(&mut self) {
        let News { live, refused, first, broken } = std::mem::take(&mut self.recorder.news);
        let mut burst = self.recorder.take();
        if !burst.is_empty() {
            burst.tokens = self.held.session.take_tokens();
            burst.receipts = self.held.session.take_receipts();
            self.bytes += burst.bytes();
            self.held.bursts.push_back(burst);
        }
        let is_news = first || !live.is_empty() || !refused.is_empty();
        for topic in live {
            self.subscriptions.live(topic, UnixNanos::now());
        }
        for topic in refused.iter().flat_map(|(topics, _)| topics) {
            self.subscriptions.refused(*topic);
        }
        if is_news {
            self.holder.standing.update(|now| {
                for (topics, reason) in refused {
                    let reason = self.proof.as_ref().map_or_else(|| reason.clone(), |(pass, _)| pass.scrub(&reason));
                    now.refused.extend(topics.into_iter().map(|topic| (topic, reason.clone())));
                }
            });
            self.tell();
        }
        if let Some(reason) = broken {
            self.lose(&reason, "protocol");
        }
    }

    /// Whether everything that was asked for is answered, or was waited for long enough.
    fn is_up(&mut self) -> bool {
        self.subscriptions.next_check().is_none() && self.held.requests.is_empty() && !self.held.unflushed
    }

    /// Tells how the link stands.
    fn tell(&mut self) {
        let up = self.is_up();
        self.told_up = up;
        let in_force = self.recorder.in_force.clone();
        let first = self.recorder.first.clone();
        self.holder.standing.update(|now| {
            now.up = up;
            now.first = first;
            now.in_force = in_force;
            if up {
                now.failed = None;
            }
        });
    }

    fn is_full(&self) -> bool {
        self.bytes + self.recorder.bytes() >= self.holder.buffer_bytes_max
    }

    fn next_sending(&self) -> Option<(Sending, Option<Instant>)> {
        let sending = match (self.held.outgoing.is_empty(), self.held.requests.is_empty()) {
            (false, _) => Sending::Other,
            (true, false) => Sending::Subscription,
            (true, true) => return None,
        };
        Some((sending, self.held.pace.next_at(sending, Instant::now())))
    }

    fn next_timer(&mut self) -> Instant {
        let ping = self.ping.map_or(self.next_ping, |(_, since)| since + self.holder.pool.pong_timeout);
        let check = self.subscriptions.next_check();
        let others = [self.held.next_keep_alive, check, self.next_sending().and_then(|(_, at)| at)];
        others.into_iter().flatten().fold(ping, Instant::min)
    }

    fn tick(&mut self) {
        let now = Instant::now();
        let limit = self.holder.pool.pong_timeout;
        match self.ping {
            Some((_, since)) if now >= since + limit => {
                self.lose(&format!("it did not answer a ping within {limit:?}"), "pong");
            }
            None if now >= self.next_ping => {
                self.next_ping = now + self.holder.pool.health_check_interval;
                if self.is_full() {
                    // An answer would lie unread.
                    self.held.outgoing.push_back(Outgoing::Pong);
                } else {
                    self.held.pings += 1;
                    self.ping = Some((self.held.pings, now));
                    self.held.outgoing.push_back(Outgoing::Ping(self.held.pings));
                }
            }
            _ => {}
        }
        if let (Some(at), Some(interval)) = (self.held.next_keep_alive, self.holder.dialect.keep_alive_interval())
            && now >= at
        {
            self.held.session.keep_alive(&mut self.outbox);
            self.held.next_keep_alive = Some(now + interval);
        }
        if self.subscriptions.next_check().is_some_and(|at| now >= at) {
            let overdue = self.subscriptions.check(now);
            if !overdue.again.is_empty() {
                self.held.outgoing.extend(self.outbox.drain(..).map(Outgoing::from));
                self.held.session.subscribe(&overdue.again, &mut self.outbox);
                self.held.requests.extend(self.outbox.drain(..).map(Outgoing::from));
            }
            self.held.unanswered.extend(overdue.given_up);
            self.tell();
        }
    }

    /// Sends what may be sent and reads what has come. Ready when something happened.
    fn poll_io(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut happened = match self.poll_send(cx) {
            Ok(sent) => sent,
            Err(reason) => {
                self.lose(&reason, "reset");
                return Poll::Ready(());
            }
        };
        self.recorder.begin(UnixNanos::now());
        // On the legacy path each message is a block of its own.
        let messages_max = if self.holder.roster.path == Path::Smart { BURST_MESSAGES_MAX } else { 1 };
        for _ in 0..messages_max {
            if self.is_full() {
                // What is asked then stays unanswered, which says nothing of the other side.
                self.ping = None;
                break;
            }
            match self.wire().poll_incoming(cx) {
                Poll::Ready(Some(Ok(incoming))) => self.take(&incoming),
                Poll::Ready(Some(Err(error))) => self.lose(&error.to_string(), "reset"),
                Poll::Ready(None) => self.lose("the upstream closed it", "closed"),
                Poll::Pending => break,
            }
            happened = true;
            if self.held.ended.is_some() || self.recorder.bytes() >= BURST_BYTES_MAX {
                break;
            }
        }
        if happened { Poll::Ready(()) } else { Poll::Pending }
    }

    fn wire(&mut self) -> &mut Wire {
        &mut self.connection.wire
    }

    fn poll_send(&mut self, cx: &mut Context<'_>) -> Result<bool, String> {
        let mut sent = false;
        while let Some((sending, None)) = self.next_sending() {
            match self.wire().poll_ready(cx) {
                Poll::Ready(ready) => ready.map_err(|error| error.to_string())?,
                Poll::Pending => break,
            }
            let queue = if sending == Sending::Other { &mut self.held.outgoing } else { &mut self.held.requests };
            let Some(message) = queue.pop_front() else { break };
            let message = self.with_credentials(message);
            self.wire().start_send(message).map_err(|error| error.to_string())?;
            self.held.pace.sent(sending, Instant::now());
            self.held.unflushed = true;
            sent = true;
        }
        if self.held.unflushed
            && let Poll::Ready(flushed) = self.wire().poll_flush(cx)
        {
            flushed.map_err(|error| error.to_string())?;
            self.held.unflushed = false;
        }
        Ok(sent)
    }

    fn with_credentials(&self, message: Outgoing) -> Outgoing {
        let named = &self.holder.credentials_named;
        match (message, &self.proof) {
            (Outgoing::Text(text), Some((pass, url))) if !named.is_empty() => {
                Outgoing::Text(pass.fill(&text, named, url))
            }
            (message, _) => message,
        }
    }

    fn take(&mut self, incoming: &Incoming) {
        let frame = match incoming {
            Incoming::Text(text) => Frame::Text(text.as_str()),
            Incoming::Binary(bytes) => Frame::Binary(bytes),
            Incoming::Pong(number) => {
                self.ping.take_if(|(token, _)| token == number);
                return;
            }
            Incoming::Closed(reason) => return self.lose(reason, "closed"),
            Incoming::Nothing => return,
        };
        self.recorder.count_frame(frame.bytes().len());
        self.held.session.receive(frame, &mut self.recorder, &mut self.outbox);
    }
}
