//! One connection of its own to an upstream whose frames are shown as they are: what `sluice record` writes down.
//!
//! It opens, proves itself, asks and keeps alive as a link does, and journals nothing. What is sent is shown before credentials
//! are filled in, so that no secret is ever in it.

mod heard;

use std::collections::{BTreeSet, VecDeque};
use std::future::poll_fn;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

pub use self::heard::{Heard, HeardTopic};
use super::connect::{ConnectError, Connection, Connector, OPENING, Proof};
use super::pace::{SendPace, Sending};
use super::pool::{UpstreamError, check_named, connector, credentials_named};
use super::wire::{Incoming, Outgoing, Wire};
use crate::circuits::Circuits;
use crate::config::{Endpoint, PoolSettings, UpstreamSettings};
use crate::credentials::{Credentials, Pass};
use crate::dialect::{Dialect, Frame, Limits, Outbox, ReadingPlan, Session, Topic, TopicId, Transport};

/// Frames read in one turn, so that timers get theirs. Source: as a link's bursts.
const TURN_FRAMES_MAX: usize = 1024;

/// The longest a goodbye may take.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// Time between two calls of [`Watcher::beat`].
const BEAT: Duration = Duration::from_secs(1);

/// What the tap calls itself where a link gives its name.
const NAME: &str = "sluicerecord";

/// Who is shown the frames.
pub trait Watcher {
    /// The connection is open.
    fn opened(&mut self, address: &Endpoint);
    /// A frame was sent. Holes of credentials (`{auth.key}`) are not filled in it.
    fn sent(&mut self, frame: Frame<'_>);
    /// A frame came. `Break`: it is enough.
    fn received(&mut self, frame: Frame<'_>) -> ControlFlow<()>;
    /// Called once a second. `Break`: it is enough.
    fn beat(&mut self) -> ControlFlow<()>;
    /// What the dialect has made of all frames so far; called after each that it was shown. `Break`: it is enough.
    fn heard(&mut self, _heard: &Heard) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
    /// The connection has ended.
    fn closed(&mut self, reason: &str);
}

/// Why a tap ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TapEnd {
    /// The watcher had enough, or it was stopped.
    Enough,
    /// The upstream or the network ended it, for people.
    Lost(String),
}

/// A connection that is not open yet.
pub struct Tap {
    connector: Connector,
    dialect: Arc<dyn Dialect>,
    limits: Limits,
    topics: Arc<[Topic]>,
    /// Topics beyond what one link may carry.
    left_out: usize,
    /// What messages of the dialect may name of our credentials.
    credentials_named: BTreeSet<String>,
    /// The login as the settings have it, its holes open.
    login: Option<String>,
    health_check_interval: Duration,
    message_bytes_max: usize,
}

impl Tap {
    /// Sets up a connection to an upstream that asks for these topics.
    ///
    /// # Errors
    /// When its certificates or credentials cannot be read.
    pub fn new(
        name: &str,
        settings: &UpstreamSettings,
        pool: &PoolSettings,
        dialect: Arc<dyn Dialect>,
        topics: &[String],
    ) -> Result<Self, UpstreamError> {
        let pool = pool.overridden_by(&settings.pool);
        let mut limits = dialect.limits().overridden_by(&settings.limits);
        limits.topics_per_link = settings.topics_per_link.unwrap_or(limits.topics_per_link);
        let credentials = Arc::new(Credentials::new(name, settings, &pool, &Circuits::new(false, Vec::new()))?);
        check_named(name, settings, &*dialect, &credentials)?;
        let connector = connector(name, settings, &pool, &*dialect, credentials)?;
        let taken = topics.len().min(limits.topics_per_link as usize);
        let numbered = (0..).zip(&topics[..taken]);
        let numbered = numbered.map(|(id, topic)| Topic { id: TopicId(id), name: topic.as_str().into() }).collect();
        Ok(Self {
            connector,
            limits,
            topics: numbered,
            left_out: topics.len() - taken,
            credentials_named: credentials_named(&*dialect),
            login: settings.auth.login.as_ref().map(|login| login.send.clone()),
            health_check_interval: pool.health_check_interval,
            message_bytes_max: settings.max_message.as_usize(),
            dialect,
        })
    }

    /// How many topics are not asked for, since one link may not carry them.
    pub fn left_out(&self) -> usize {
        self.left_out
    }

    /// Shows frames until `stop` is given, the watcher has enough, or the connection is lost.
    ///
    /// # Errors
    /// When there is no connection.
    pub async fn run(
        self,
        watcher: &mut dyn Watcher,
        stop: &CancellationToken,
    ) -> Result<(TapEnd, Heard), ConnectError> {
        let names: Vec<&str> = self.topics.iter().map(|topic| &*topic.name).collect();
        let opening = self.dialect.opening(&names, None);
        let address = Endpoint::from(opening.address(self.connector.endpoint.reveal()));
        let mut heard = Heard::of(&self.topics);
        let mut connection = tokio::select! {
            biased;
            () = stop.cancelled() => return Ok((TapEnd::Enough, heard)),
            connection = OPENING.scope(opening, self.connector.connect()) => connection?,
        };
        watcher.opened(&address);
        let end = Listening::new(&self, &mut heard, watcher).run(&mut connection, stop).await;
        watcher.closed(match &end {
            TapEnd::Enough => "the recording ends here",
            TapEnd::Lost(reason) => reason,
        });
        timeout(CLOSE_TIMEOUT, connection.wire.close()).await.ok();
        Ok((end, heard))
    }
}

/// A tap that is open.
struct Listening<'a> {
    tap: &'a Tap,
    heard: &'a mut Heard,
    watcher: &'a mut dyn Watcher,
    session: Box<dyn Session>,
    outbox: Outbox,
    proof: Option<(Arc<Pass>, url::Url)>,
    /// Pings and answers, before requests, which may have to wait for long.
    answers: VecDeque<Outgoing>,
    /// What the first of them are shown as.
    shown_instead: VecDeque<Outgoing>,
    requests: VecDeque<Outgoing>,
    pace: SendPace,
    unflushed: bool,
    next_keep_alive: Option<Instant>,
    next_ping: Instant,
    next_beat: Instant,
    /// The ping that is not answered, and since when.
    ping: Option<(u64, Instant)>,
    pings: u64,
    end: Option<TapEnd>,
}

impl<'a> Listening<'a> {
    fn new(tap: &'a Tap, heard: &'a mut Heard, watcher: &'a mut dyn Watcher) -> Self {
        let now = Instant::now();
        let mut session = tap.dialect.session(&tap.topics, &ReadingPlan::default());
        session.bound_messages(tap.message_bytes_max);
        Self {
            session,
            outbox: Outbox::new(),
            proof: None,
            answers: VecDeque::new(),
            shown_instead: VecDeque::new(),
            requests: VecDeque::new(),
            pace: SendPace::new(&tap.limits),
            unflushed: false,
            next_keep_alive: tap.dialect.keep_alive_interval().map(|interval| now + interval),
            next_ping: now + tap.health_check_interval,
            next_beat: now + BEAT,
            ping: None,
            pings: 0,
            end: None,
            tap,
            heard,
            watcher,
        }
    }

    async fn run(mut self, connection: &mut Connection, stop: &CancellationToken) -> TapEnd {
        self.prove(connection.proof.take());
        self.greet();
        let topics: Vec<TopicId> = self.tap.topics.iter().map(|topic| topic.id).collect();
        if !topics.is_empty() {
            self.session.subscribe(&topics, &mut self.outbox);
            self.requests.extend(self.outbox.drain(..).map(Outgoing::from));
        }
        let wire = &mut connection.wire;
        loop {
            if let Some(end) = self.end.take() {
                return end;
            }
            let timer = self.next_timer();
            tokio::select! {
                biased;
                () = stop.cancelled() => return TapEnd::Enough,
                () = sleep_until(timer) => self.tick(),
                () = poll_fn(|cx| self.poll_io(wire, cx)) => {}
            }
            self.queue_answers();
        }
    }

    /// Shows what was said while the connection proved itself.
    fn prove(&mut self, proof: Option<Proof>) {
        let Some(Proof { pass, url, early, answer, .. }) = proof else { return };
        if let Some(login) = &self.tap.login {
            self.watcher.sent(Frame::Text(login));
        }
        self.proof = Some((pass, url));
        if let Some(answer) = answer {
            self.show(&answer);
        }
        for incoming in &early {
            self.take(incoming);
        }
    }

    /// Says what the dialect begins with. It is shown as another session says it that knows no secret: what is sent may be
    /// binary, and have secrets in it anywhere.
    fn greet(&mut self) {
        let open = self.tap.dialect.greeting();
        let filled: Vec<String> = open.iter().map(|text| self.filled_greeting(text)).collect();
        self.session.opened(NAME, &filled, &mut self.outbox);
        self.queue_answers();
        if open != filled {
            let mut shown = Outbox::new();
            self.tap.dialect.session(&self.tap.topics, &ReadingPlan::default()).opened(NAME, &open, &mut shown);
            self.shown_instead.extend(shown.into_iter().map(Outgoing::from));
        }
    }

    fn filled_greeting(&self, text: &str) -> String {
        let Some((pass, url)) = &self.proof else { return text.to_owned() };
        pass.fill_plain(text.to_owned(), &self.tap.credentials_named, url)
    }

    fn queue_answers(&mut self) {
        self.answers.extend(self.outbox.drain(..).map(Outgoing::from));
    }

    /// What is to be sent next, and when where that is not now.
    fn next_sending(&self) -> Option<(Sending, Option<Instant>)> {
        let sending = match (self.answers.is_empty(), self.requests.is_empty()) {
            (false, _) => Sending::Other,
            (true, false) => Sending::Subscription,
            (true, true) => return None,
        };
        Some((sending, self.pace.next_at(sending, Instant::now())))
    }

    fn next_timer(&self) -> Instant {
        let ping = self.ping.map_or(self.next_ping, |(_, since)| since + self.tap.connector.pong_timeout);
        let others = [Some(self.next_beat), self.next_keep_alive, self.next_sending().and_then(|(_, at)| at)];
        others.into_iter().flatten().fold(ping, Instant::min)
    }

    fn tick(&mut self) {
        let now = Instant::now();
        let limit = self.tap.connector.pong_timeout;
        match self.ping {
            Some((_, since)) if now >= since + limit => {
                self.lose(&format!("it did not answer a ping within {limit:?}"));
            }
            None if now >= self.next_ping => {
                self.pings += 1;
                self.ping = Some((self.pings, now));
                self.next_ping = now + self.tap.health_check_interval;
                self.answers.push_back(Outgoing::Ping(self.pings));
            }
            _ => {}
        }
        if let (Some(at), Some(interval)) = (self.next_keep_alive, self.tap.dialect.keep_alive_interval())
            && now >= at
        {
            self.session.keep_alive(&mut self.outbox);
            self.next_keep_alive = Some(now + interval);
        }
        if now >= self.next_beat {
            self.next_beat = now + BEAT;
            let beat = self.watcher.beat();
            self.heed(beat);
        }
    }

    fn lose(&mut self, reason: &str) {
        let scrubbed = self.proof.as_ref().map_or_else(|| reason.to_owned(), |(pass, _)| pass.scrub(reason));
        self.end.get_or_insert(TapEnd::Lost(scrubbed));
    }

    /// Sends what may be sent and reads what has come. Ready when something happened.
    fn poll_io(&mut self, wire: &mut Wire, cx: &mut Context<'_>) -> Poll<()> {
        let mut happened = false;
        while let Some((sending, None)) = self.next_sending() {
            match wire.poll_ready(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => {
                    self.lose(&error.to_string());
                    return Poll::Ready(());
                }
                Poll::Pending => break,
            }
            let queue = if sending == Sending::Other { &mut self.answers } else { &mut self.requests };
            let Some(message) = queue.pop_front() else { break };
            if let Err(reason) = self.send(wire, message) {
                self.lose(&reason);
                return Poll::Ready(());
            }
            self.pace.sent(sending, Instant::now());
            self.unflushed = true;
            happened = true;
        }
        if self.unflushed {
            match wire.poll_flush(cx) {
                Poll::Ready(Ok(())) => self.unflushed = false,
                Poll::Ready(Err(error)) => {
                    self.lose(&error.to_string());
                    return Poll::Ready(());
                }
                Poll::Pending => {}
            }
        }
        for _ in 0..TURN_FRAMES_MAX {
            match wire.poll_incoming(cx) {
                Poll::Ready(Some(Ok(incoming))) => self.take(&incoming),
                Poll::Ready(Some(Err(error))) => self.lose(&error.to_string()),
                Poll::Ready(None) => self.lose("the upstream closed it"),
                Poll::Pending => return if happened { Poll::Ready(()) } else { Poll::Pending },
            }
            happened = true;
            if self.end.is_some() {
                break;
            }
        }
        Poll::Ready(())
    }

    fn send(&mut self, wire: &mut Wire, message: Outgoing) -> Result<(), String> {
        let instead = self.shown_instead.pop_front();
        match instead.as_ref().unwrap_or(&message) {
            // What an event stream is told is a path, in words of ours.
            _ if self.tap.connector.transport == Transport::EventStream => {}
            Outgoing::Text(text) => self.watcher.sent(Frame::Text(text)),
            Outgoing::Binary(bytes) => self.watcher.sent(Frame::Binary(bytes)),
            Outgoing::Ping(_) | Outgoing::Pong => {}
        }
        let message = match (message, &self.proof) {
            (Outgoing::Text(text), Some((pass, url))) if !self.tap.credentials_named.is_empty() => {
                Outgoing::Text(pass.fill(&text, &self.tap.credentials_named, url))
            }
            (message, _) => message,
        };
        wire.start_send(message).map_err(|error| error.to_string())
    }

    fn take(&mut self, incoming: &Incoming) {
        match incoming {
            Incoming::Pong(number) => {
                self.ping.take_if(|(token, _)| token == number);
            }
            Incoming::Closed(reason) => self.lose(reason),
            Incoming::Nothing => {}
            Incoming::Text(text) => {
                self.show(incoming);
                self.session.receive(Frame::Text(text), self.heard, &mut self.outbox);
            }
            Incoming::Binary(bytes) => {
                self.show(incoming);
                self.session.receive(Frame::Binary(bytes), self.heard, &mut self.outbox);
            }
        }
        if let Some(reason) = self.heard.broken.take() {
            self.lose(&reason);
        }
        let enough = self.watcher.heard(self.heard);
        self.heed(enough);
    }

    /// Shows a frame to the watcher, without what it repeats of our secrets.
    fn show(&mut self, incoming: &Incoming) {
        let enough = match incoming {
            Incoming::Text(_) if self.tap.connector.transport == Transport::EventStream => ControlFlow::Continue(()),
            Incoming::Text(text) => match &self.proof {
                Some((pass, _)) => self.watcher.received(Frame::Text(&pass.scrub(text))),
                None => self.watcher.received(Frame::Text(text)),
            },
            Incoming::Binary(bytes) => match (&self.proof, std::str::from_utf8(bytes)) {
                (Some((pass, _)), Ok(text)) => self.watcher.received(Frame::Binary(pass.scrub(text).as_bytes())),
                _ => self.watcher.received(Frame::Binary(bytes)),
            },
            _ => ControlFlow::Continue(()),
        };
        self.heed(enough);
    }

    fn heed(&mut self, enough: ControlFlow<()>) {
        if enough.is_break() {
            self.end.get_or_insert(TapEnd::Enough);
        }
    }
}
