//! One live connection: reads bursts, has them parsed, deduplicated and batched, and hands whole blocks to the journal.
//!
//! Everything about a message happens in this task. When the journal cannot take more, the link goes on reading until
//! `upstream.buffer` is full, and then stops, so that TCP tells the upstream; it goes on answering pings unasked.
//!
//! Which topics it carries the pool's keeper says, by [`Order`]s between two bursts; what becomes of them it is told by
//! [`Report`]s.

mod careful;
mod ending;
mod held;
mod proof;
mod receipts;
mod sending;
mod timing;
mod topics;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

pub(super) use self::ending::LinkEnd;
use self::proof::Proved;
use self::receipts::Receipts;
use self::sending::Ping;
use super::connect::Connection;
use super::health::LinkHealth;
use super::orders::{Keeping, Order, Report};
use super::pace::{SendPace, Sending};
use super::placement::SlotNumber;
use super::pool::Shared;
use super::prepare::Held;
use super::resume::ResumePoint;
use super::status::LinkState;
use super::subscriptions::Subscriptions;
use super::wire::{Incoming, Outgoing, Wire, WireError};
use crate::clock::UnixNanos;
use crate::dialect::{Frame, Intake as _, Outbox, Receipt, Session, SessionToken, TopicId};
use crate::journal::{Awaited, EncodedBlock, Journal, JournalState};
use crate::monitor::ledger::ResumedFrom;
use crate::monitor::reading::{Reading, SubscriptionNews};
use crate::monitor::roster::Roster;
use crate::pipeline::batcher::{Absorbed, Batcher};

/// The most messages of a burst, so that timers and pings get their turn. Source: a guess; a read of 64 KiB holds 400
/// short messages.
const BURST_MESSAGES_MAX: usize = 1024;

/// The most payload bytes of a burst: what stays in a second-level cache until it is deduplicated and copied on.
const BURST_BYTES_MAX: usize = 256 << 10;

/// The longest a goodbye may take.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// Time between two looks at what came of each topic.
const BEAT: Duration = Duration::from_secs(1);

/// Pause that stands for "no timer set".
const FAR: Duration = Duration::from_hours(24);

/// When the journal's writer will take what it is given.
fn takes_at(journal: &Journal, now: Instant) -> Instant {
    now + journal.pace().next_take
}

/// Whether the journal will never take anything again.
fn is_over(journal: &Journal) -> bool {
    matches!(journal.state(), JournalState::Failed(_) | JournalState::Closed)
}

/// What a link begins with.
pub(super) struct Begin {
    /// Its place in the pool.
    pub(super) slot: SlotNumber,
    /// What it asks for at once.
    pub(super) topics: Vec<TopicId>,
    /// Of these, what comes over another link as well.
    pub(super) overlapping: Vec<TopicId>,
    /// Where the upstream was asked to go on from.
    pub(super) resume: Option<ResumePoint>,
    /// What came over it before, if it was opened beside another process's.
    pub(super) held: Option<Held>,
}

/// From where topics were asked for.
fn resumed(
    topics: &[TopicId],
    resume: Option<ResumePoint>,
) -> impl Iterator<Item = (TopicId, Arc<ResumedFrom>)> + use<'_> {
    let from = resume.map(|ResumePoint { point, whole_from, .. }| Arc::new(ResumedFrom { point, oldest: whole_from }));
    topics.iter().filter_map(move |topic| Some((*topic, Arc::clone(from.as_ref()?))))
}

/// Topics that another link has in force, and that are let go here.
#[derive(Debug)]
struct Draining {
    /// The ping whose answer says that what was under way before has been read.
    token: u64,
    /// When the other link had them in force.
    since: UnixNanos,
    /// When that ping was answered.
    answered: Option<Instant>,
    topics: Vec<TopicId>,
}

/// A topic that another link began to bring as well.
#[derive(Debug)]
struct Overlapping {
    /// Until when nothing of it had been missed here then.
    whole_until: UnixNanos,
    /// Since when the other one does not bring it any more.
    over: Option<UnixNanos>,
}

/// A link at work.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a state of another side: the socket, the journal, the keeper, a login"
)]
pub(super) struct Link<'a> {
    shared: &'a Arc<Shared>,
    roster: Arc<Roster>,
    number: SlotNumber,
    begin: Vec<TopicId>,
    held_before: Option<Box<Held>>,
    /// Reports that the keeper had no room for; the oldest first.
    unsent: VecDeque<Report>,
    /// Topics that another link lets go when they are in force here.
    joining: BTreeSet<TopicId>,
    /// Topics that another link begins to bring as well.
    overlapping: BTreeMap<TopicId, Overlapping>,
    /// Topics that another link went on with lately, and since when: messages of them may still be under way.
    handed_over: BTreeMap<TopicId, UnixNanos>,
    /// Topics to be let go when the ping with this number is answered: what was under way before has been read then.
    draining: Vec<Draining>,
    next_beat: Instant,
    last_beat: (Instant, UnixNanos),
    messages: u64,
    session: Box<dyn Session>,
    reading: Reading,
    batcher: Batcher,
    subscriptions: Subscriptions,
    outbox: Outbox,
    /// Pings, pongs and answers; before requests, which may have to wait for long.
    outgoing: VecDeque<Outgoing>,
    /// Requests that subscribe or end a subscription.
    requests: VecDeque<Outgoing>,
    unflushed: bool,
    pace: SendPace,
    last_sent: Sending,
    health: LinkHealth,
    /// Whether the keeper was told that it should be replaced.
    told_sick: bool,
    /// Blocks that the journal had no room for.
    waiting: VecDeque<EncodedBlock>,
    waiting_bytes: usize,
    /// Whether reading has stopped until the journal takes some of it.
    held: bool,
    closed: Vec<EncodedBlock>,
    frames: u64,
    frame_bytes: u64,
    next_ping: Instant,
    ping: Option<Ping>,
    pings: u64,
    next_keep_alive: Option<Instant>,
    received: UnixNanos,
    /// What the upstream said when it closed the connection.
    closed_by: Option<String>,
    /// When the last frame came. The answer to a ping says nothing of what an upstream had and did not send.
    last_seen: Option<UnixNanos>,
    receipts: Receipts,
    /// On the legacy path, what the next message waits for.
    unsafe_yet: Option<Awaited>,
    /// When the last event came that was new, or a token, which keeps the order of what is sent. Answers and heartbeats may pass what
    /// waits to be sent, and repeats of what another link has brought may be old.
    last_data: Option<UnixNanos>,
    /// From where topics were asked for that are not in force yet.
    resumed: BTreeMap<TopicId, Arc<ResumedFrom>>,
    /// What it proved itself with; none before it works.
    proved: Option<Proved>,
    /// Whether a login over this link is to be answered.
    awaits_login: bool,
}

enum Io {
    /// A burst was read.
    Burst,
    /// Frames were sent, and nothing came.
    Sent,
    /// The connection is gone; what was read before counts.
    Gone(Option<WireError>),
}

impl<'a> Link<'a> {
    pub(super) fn new(shared: &'a Arc<Shared>, begin: Begin) -> Self {
        let Begin { slot, topics, overlapping, resume, held } = begin;
        let now = Instant::now();
        let roster = shared.roster();
        let mut session = shared.dialect.session(&roster.topics, &roster.plan);
        session.bound_messages(shared.message_bytes_max);
        if let Some(resume) = &resume {
            session.resume_from(&resume.point);
        }
        let keep_alive = shared.dialect.keep_alive_interval();
        let mut batcher = shared.batcher(&roster);
        for topic in &overlapping {
            batcher.mark_handover(*topic, true);
        }
        if resume.is_some() {
            batcher.drop_repeats();
        }
        Self {
            session,
            reading: Reading::new(Arc::clone(&roster)),
            batcher,
            subscriptions: Subscriptions::new(shared.pool.confirm_timeout),
            outbox: Outbox::new(),
            outgoing: VecDeque::new(),
            requests: VecDeque::new(),
            unflushed: false,
            pace: SendPace::new(&shared.limits),
            last_sent: Sending::Other,
            health: LinkHealth::new(now, shared.limits.max_age, fastrand::f64()),
            told_sick: false,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            held: false,
            closed: Vec::new(),
            frames: 0,
            frame_bytes: 0,
            next_ping: now + shared.pool.health_check_interval,
            ping: None,
            pings: 0,
            next_keep_alive: keep_alive.map(|interval| now + interval),
            received: UnixNanos(0),
            closed_by: None,
            last_seen: None,
            receipts: Receipts::default(),
            unsafe_yet: None,
            last_data: None,
            resumed: resumed(&topics, resume).collect(),
            proved: None,
            awaits_login: false,
            shared,
            roster,
            number: slot,
            begin: topics,
            held_before: held.map(Box::new),
            unsent: VecDeque::new(),
            joining: overlapping.into_iter().collect(),
            overlapping: BTreeMap::new(),
            handed_over: BTreeMap::new(),
            draining: Vec::new(),
            next_beat: now + BEAT,
            last_beat: (now, shared.clock.stamp()),
            messages: 0,
        }
    }

    /// Works until the connection is lost or `stop` is given. What was read before is handed to the journal either way.
    pub(super) async fn run(
        mut self,
        connection: &mut Connection,
        keeping: Keeping,
        stop: &CancellationToken,
    ) -> LinkEnd {
        let Keeping { mut orders, reports } = keeping;
        let early = self.prove(connection.proof.take());
        let wire = &mut connection.wire;
        if let Some(held) = self.held_before.take() {
            if let Some(end) = self.go_on_with(*held) {
                self.finish(wire, &end).await;
                return end;
            }
        } else {
            let greeting = self.greeting();
            self.session.opened(&self.shared.link_name(self.number), &greeting, &mut self.outbox);
            let topics = std::mem::take(&mut self.begin);
            self.ask(&topics);
            if self.shared.dialect.asks_by_opening() {
                self.in_force_by_opening(&topics);
            }
            self.take_early(&early);
        }
        let mut timer = pin!(sleep_until(Instant::now() + FAR));
        let end = loop {
            self.give_receipts();
            self.queue_outgoing();
            self.set_timer(timer.as_mut());
            let room_wanted = self.waiting.front().map(EncodedBlock::bytes);
            let shared = self.shared;
            let reporting = !self.unsent.is_empty();
            let receipt = self.receipts.next();
            let unsafe_yet = self.unsafe_yet.clone();
            let io = tokio::select! {
                biased;
                () = stop.cancelled() => break LinkEnd::Stopped,
                // Before the socket: a peer that keeps it readable without end must not put off pings and deadlines.
                () = timer.as_mut() => None,
                order = orders.recv() => match order {
                    Some(Order::Close(cause)) => break LinkEnd::Closed { cause },
                    Some(order) => {
                        self.obey(order);
                        None
                    }
                    // The keeper is gone, and with it whoever would tell us to stop.
                    None => break LinkEnd::Stopped,
                },
                permit = reports.reserve(), if reporting => {
                    if let (Ok(permit), Some(report)) = (permit, self.unsent.pop_front()) {
                        permit.send(report);
                    }
                    None
                }
                io = poll_fn(|cx| self.poll_io(wire, cx)) => Some(io),
                () = shared.journal.room(room_wanted.unwrap_or(0)), if room_wanted.is_some() => None,
                () = async { if let Some(awaited) = &receipt { awaited.durable().await } }, if receipt.is_some() => None,
                () = async { if let Some(awaited) = &unsafe_yet { awaited.durable().await } }, if unsafe_yet.is_some() => {
                    self.now_safe(Instant::now());
                    None
                }
            };
            let now = Instant::now();
            match io {
                Some(Io::Burst) => {
                    self.absorb(now);
                    if let Some(reason) = self.closed_by.take() {
                        break LinkEnd::Lost { reason, cause: "closed" };
                    }
                    if let Some(reason) = self.reading.take_broken() {
                        break LinkEnd::Lost { reason, cause: "protocol" };
                    }
                }
                Some(Io::Sent) | None => {}
                Some(Io::Gone(error)) => {
                    break self.gone(error.as_ref(), now);
                }
            }
            self.submit_waiting();
            if !self.waiting.is_empty() && is_over(&self.shared.journal) {
                // Nothing more becomes durable, and the supervisor is about to stop everything.
                break LinkEnd::Stopped;
            }
            if let Some(end) = self.tick(now) {
                break end;
            }
        };
        self.finish(wire, &end).await;
        end
    }

    /// Sends what may be sent, and reads a burst. Ready when something happened.
    fn poll_io(&mut self, wire: &mut Wire, cx: &mut Context<'_>) -> Poll<Io> {
        let sent = match self.poll_send(wire, cx) {
            Ok(sent) => sent,
            Err(error) => return Poll::Ready(Io::Gone(Some(error))),
        };
        let mut messages = 0;
        if !self.is_held() && self.unsafe_yet.is_none() {
            let messages_max = if self.is_careful() { 1 } else { BURST_MESSAGES_MAX };
            let messages_max = messages_max.min(self.batcher.burst_messages_max());
            let bytes_max = BURST_BYTES_MAX.min(self.batcher.burst_bytes_max());
            loop {
                match wire.poll_incoming(cx) {
                    Poll::Ready(Some(Ok(message))) => {
                        if messages == 0 {
                            self.received = self.shared.clock.stamp();
                            self.reading.begin(self.received);
                        }
                        messages += 1;
                        self.take(&message);
                        let full = messages >= messages_max || self.reading.burst().payload_bytes() >= bytes_max;
                        if full || self.closed_by.is_some() {
                            break;
                        }
                    }
                    Poll::Ready(Some(Err(error))) => {
                        self.begin_if_first(messages);
                        return Poll::Ready(Io::Gone(Some(error)));
                    }
                    Poll::Ready(None) => {
                        self.begin_if_first(messages);
                        return Poll::Ready(Io::Gone(None));
                    }
                    Poll::Pending => break,
                }
            }
        }
        match (messages, sent) {
            (0, false) => Poll::Pending,
            (0, true) => Poll::Ready(Io::Sent),
            _ => Poll::Ready(Io::Burst),
        }
    }

    /// A connection that ends before anything came in this round leaves an empty burst, not the one before.
    fn begin_if_first(&mut self, messages: usize) {
        if messages == 0 {
            self.received = self.shared.clock.stamp();
            self.reading.begin(self.received);
        }
    }

    #[inline]
    fn take(&mut self, message: &Incoming) {
        if self.awaits_login && self.answers_login(message) {
            return;
        }
        let frame = match message {
            Incoming::Text(text) => Frame::Text(text.as_str()),
            Incoming::Binary(bytes) => Frame::Binary(bytes),
            Incoming::Pong(token) => return self.pong(*token),
            // Not waited on any longer: a peer that says goodbye may leave the connection standing.
            Incoming::Closed(reason) => {
                self.closed_by = Some(self.scrubbed(reason));
                return;
            }
            Incoming::Nothing => return,
        };
        self.frames += 1;
        self.frame_bytes += frame.bytes().len() as u64;
        self.session.receive(frame, &mut self.reading, &mut self.outbox);
    }

    fn absorb(&mut self, now: Instant) {
        let (tokens, receipts) = (self.session.take_tokens(), self.session.take_receipts());
        self.absorb_with(now, self.received, tokens, receipts);
    }

    /// What was read: `in_force_at` is when it came, as far as topics are in force by it.
    fn absorb_with(
        &mut self,
        now: Instant,
        in_force_at: UnixNanos,
        tokens: Vec<SessionToken>,
        receipts: Vec<Receipt>,
    ) -> Absorbed {
        self.note_moving();
        let absorbed = self.batcher.absorb(self.reading.burst(), self.received, now, &mut self.closed);
        self.note_receipts(absorbed, receipts);
        if absorbed.events > 0 || !tokens.is_empty() {
            self.last_data = Some(self.received);
        }
        self.batcher.resume_behind(tokens, now);
        if self.frames > 0 {
            self.last_seen = Some(self.received);
        }
        self.messages += self.frames;
        self.shared.metrics.burst(std::mem::take(&mut self.frames), std::mem::take(&mut self.frame_bytes));
        self.take_news(now, in_force_at);
        if self.reading.take_closing() {
            self.tell_sick("the upstream says that it will close it".into(), "announced");
        }
        if let Some(wait) = self.reading.take_reconnect_after() {
            self.report(Report::Away { slot: self.number, wait });
        }
        self.let_go_drained(now);
        if self.is_careful() {
            self.make_safe();
        } else {
            self.close_if_due(now);
        }
        absorbed
    }

    /// Takes note of what frames said about subscriptions.
    fn take_news(&mut self, now: Instant, in_force_at: UnixNanos) {
        let mut live = Vec::new();
        for news in self.reading.take_news() {
            if let SubscriptionNews::Live(topic) = news {
                live.push(topic);
            }
            self.note(news);
        }
        let carried = live.iter().copied().filter(|topic| self.subscriptions.carries(*topic)).collect();
        self.cover(carried, in_force_at, now);
        self.joined(live.into_iter());
    }

    /// The upstream took an opening that names these topics.
    fn in_force_by_opening(&mut self, topics: &[TopicId]) {
        self.received = self.shared.clock.stamp();
        for topic in topics {
            self.reading.acknowledged(*topic);
        }
        self.take_news(Instant::now(), self.received);
    }

    /// Says what came of topics that change links, and of monitors that change paths.
    fn note_moving(&mut self) {
        if self.shared.meetings.any() {
            self.shared.meetings.brought(self.number, self.received, self.reading.told_apart());
        }
        if self.roster.crosses {
            for (crossing, topic, hash) in self.reading.crossing() {
                crossing.brought(self.roster.path, topic, self.received, hash);
            }
        }
    }

    fn close_if_due(&mut self, now: Instant) {
        // While blocks wait, more of them would only be more of the same: the batch grows until it is full.
        if !self.waiting.is_empty() && !self.batcher.is_full() {
            return;
        }
        if self.batcher.due(takes_at(&self.shared.journal, now)).is_some_and(|due| due <= now) {
            self.closed.extend(self.batcher.close());
        }
        self.submit_waiting();
    }

    /// Hands over what the journal has room for, oldest first.
    fn submit_waiting(&mut self) {
        for block in self.closed.drain(..) {
            self.waiting_bytes += block.bytes();
            self.waiting.push_back(block);
        }
        while let Some(block) = self.waiting.pop_front() {
            let bytes = block.bytes();
            match self.shared.journal.try_submit(block) {
                Ok(()) => self.waiting_bytes -= bytes,
                Err(block) => {
                    self.waiting.push_front(block);
                    break;
                }
            }
        }
        if self.is_held() != self.held {
            self.held = self.is_held();
            // The answer to a ping lies unread in the socket; the next ping is asked when we read again.
            self.ping = None;
            let state = if self.held { LinkState::Held } else { LinkState::Open };
            self.shared.status.set_link(self.number, state);
        }
    }

    /// Whether so much waits for the journal that reading stops.
    fn is_held(&self) -> bool {
        !self.waiting.is_empty() && self.waiting_bytes + self.batcher.bytes() >= self.shared.buffer_bytes_max
    }
}
