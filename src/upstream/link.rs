//! One live connection: reads bursts, has them parsed, deduplicated and batched, and hands whole blocks to the journal.
//!
//! Everything about a message happens in this task. When the journal cannot take more, the link goes on reading until
//! `upstream.buffer` is full, and then stops, so that TCP tells the upstream; it goes on answering pings unasked.
//!
//! Which topics it carries the pool's keeper says, by [`Order`]s between two bursts; what becomes of them it is told by
//! [`Report`]s.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::{Sink, Stream};
use tokio::time::{Instant, Sleep, sleep_until, timeout};
use tokio_tungstenite::tungstenite::error::CapacityError;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_util::sync::CancellationToken;

use super::connect::{Connection, Socket};
use super::health::LinkHealth;
use super::orders::{Keeping, Order, Report};
use super::pace::{SendPace, Sending};
use super::placement::{DropReason, SlotNumber, Step};
use super::pool::Shared;
use super::quietness::QuietBounds;
use super::resume::ResumePoint;
use super::status::{Beat, LinkState, Silent, SilentTopic, TopicState};
use super::subscriptions::Subscriptions;
use crate::clock::UnixNanos;
use crate::dialect::{Frame, OutFrame, Outbox, Session, TopicId};
use crate::journal::{EncodedBlock, Journal, JournalState};
use crate::monitor::gap::GapCause;
use crate::monitor::ledger::ResumedFrom;
use crate::monitor::reading::{Reading, SubscriptionNews};
use crate::monitor::roster::Roster;
use crate::pipeline::batcher::Batcher;

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

/// What a close frame says, for people.
fn goodbye(frame: Option<&CloseFrame>) -> String {
    const REASON_CHARACTERS_MAX: usize = 200;
    match frame {
        None => "the upstream closed it".to_owned(),
        Some(frame) => {
            let printable = frame.reason.chars().map(|character| if character.is_control() { ' ' } else { character });
            let reason: String = printable.take(REASON_CHARACTERS_MAX).collect();
            let code = u16::from(frame.code);
            if reason.is_empty() {
                format!("the upstream closed it with code {code}")
            } else {
                format!("the upstream closed it with code {code}: {reason}")
            }
        }
    }
}

fn message_of(frame: OutFrame) -> Message {
    match frame {
        OutFrame::Text(text) => Message::text(text),
        OutFrame::Binary(bytes) => Message::binary(bytes),
    }
}

/// Whether the journal will never take anything again.
fn is_over(journal: &Journal) -> bool {
    matches!(journal.state(), JournalState::Failed(_) | JournalState::Closed)
}

/// How a link ended.
#[derive(Debug)]
pub(super) enum LinkEnd {
    /// It was asked to stop.
    Stopped,
    /// It was asked to close, and what it misses from now on has this cause.
    Closed { cause: GapCause },
    /// The connection is gone, or of no use; the reason for people, and a short name for metrics.
    Lost { reason: String, cause: &'static str },
}

/// The cause of a link that is lost because nothing comes.
const SILENCE: &str = "silence";

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
}

/// From where topics were asked for.
fn resumed(
    topics: &[TopicId],
    resume: Option<ResumePoint>,
) -> impl Iterator<Item = (TopicId, Arc<ResumedFrom>)> + use<'_> {
    let from = resume.map(|ResumePoint { point, oldest }| Arc::new(ResumedFrom { point, oldest }));
    topics.iter().filter_map(move |topic| Some((*topic, Arc::clone(from.as_ref()?))))
}

/// A ping that is not answered.
#[derive(Debug)]
struct Ping {
    token: u64,
    queued: Instant,
    /// None: the pace of sending holds it up.
    sent: Option<Instant>,
}

impl Ping {
    /// When it should have been answered. A peer that does not even take it in three times that is not reading.
    fn deadline(&self, limit: Duration) -> Instant {
        self.sent.map_or(self.queued + limit * 3, |sent| sent + limit)
    }
}

/// A link at work.
pub(super) struct Link<'a> {
    shared: &'a Arc<Shared>,
    roster: Arc<Roster>,
    number: SlotNumber,
    begin: Vec<TopicId>,
    /// Reports that the keeper had no room for; the oldest first.
    unsent: VecDeque<Report>,
    /// Topics that another link lets go when they are in force here.
    joining: BTreeSet<TopicId>,
    /// Topics to be let go when the ping with this number is answered: what was under way before has been read then.
    draining: Vec<(u64, Vec<TopicId>)>,
    /// Of those, what has been read to its end in the burst under way.
    drained: Vec<TopicId>,
    next_beat: Instant,
    last_beat: (Instant, UnixNanos),
    messages: u64,
    session: Box<dyn Session>,
    reading: Reading,
    batcher: Batcher,
    subscriptions: Subscriptions,
    outbox: Outbox,
    /// Pings, pongs and answers; before requests, which may have to wait for long.
    outgoing: VecDeque<Message>,
    /// Requests that subscribe or end a subscription.
    requests: VecDeque<Message>,
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
    /// From where topics were asked for that are not in force yet.
    resumed: BTreeMap<TopicId, Arc<ResumedFrom>>,
}

enum Io {
    /// A burst was read.
    Burst,
    /// Frames were sent, and nothing came.
    Sent,
    /// The connection is gone; what was read before counts.
    Gone(Option<tungstenite::Error>),
}

impl<'a> Link<'a> {
    pub(super) fn new(shared: &'a Arc<Shared>, begin: Begin) -> Self {
        let Begin { slot, topics, overlapping, resume } = begin;
        let now = Instant::now();
        let roster = shared.roster();
        let mut session = shared.dialect.session(&roster.topics, &roster.plan);
        if let Some(resume) = &resume {
            session.resume_from(&resume.point);
        }
        let keep_alive = shared.dialect.keep_alive_interval();
        let mut batcher = shared.batcher(&roster);
        for topic in &overlapping {
            batcher.mark_handover(*topic, true);
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
            resumed: resumed(&topics, resume).collect(),
            shared,
            roster,
            number: slot,
            begin: topics,
            unsent: VecDeque::new(),
            joining: overlapping.into_iter().collect(),
            draining: Vec::new(),
            drained: Vec::new(),
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
        let socket = &mut connection.socket;
        let topics = std::mem::take(&mut self.begin);
        self.ask(&topics);
        let mut timer = pin!(sleep_until(Instant::now() + FAR));
        let end = loop {
            self.queue_outgoing();
            self.set_timer(timer.as_mut());
            let room_wanted = self.waiting.front().map(EncodedBlock::bytes);
            let shared = self.shared;
            let reporting = !self.unsent.is_empty();
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
                io = poll_fn(|cx| self.poll_io(socket, cx)) => Some(io),
                () = shared.journal.room(room_wanted.unwrap_or(0)), if room_wanted.is_some() => None,
            };
            let now = Instant::now();
            match io {
                Some(Io::Burst) => {
                    self.absorb(now);
                    if let Some(reason) = self.closed_by.take() {
                        break LinkEnd::Lost { reason, cause: "closed" };
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
        self.finish(socket, &end).await;
        end
    }

    /// Asks for topics, and waits for each to be in force.
    fn ask(&mut self, topics: &[TopicId]) {
        self.queue_outgoing();
        self.session.subscribe(topics, &mut self.outbox);
        self.queue_requests();
        self.subscriptions.asked(topics, Instant::now());
        self.batcher.carry(self.subscriptions.carried(), &mut self.closed);
        self.shared.status.set_on_link(self.number, topics.iter().copied(), &TopicState::Asked);
    }

    /// Does what the keeper says.
    fn obey(&mut self, order: Order) {
        match order {
            Order::Adopt(roster) => {
                self.batcher.adopt(Arc::clone(&roster), &mut self.closed);
                self.reading.adopt(Arc::clone(&roster));
                self.session.adopt(&roster.topics, &roster.plan);
                self.roster = roster;
                self.batcher.carry(self.subscriptions.carried(), &mut self.closed);
                // For monitors that are new, or awake again, and want what is in force already.
                let at = self.shared.clock.stamp();
                self.cover(self.subscriptions.in_force().collect(), at, Instant::now());
            }
            Order::Step(Step::Take { mut topics, overlapping }) => {
                topics.retain(|topic| !self.subscriptions.carries(*topic));
                if overlapping {
                    for topic in &topics {
                        self.batcher.mark_handover(*topic, true);
                        self.joining.insert(*topic);
                    }
                }
                self.go_on_from(&topics);
                self.ask(&topics);
            }
            Order::Step(Step::Overlap { topics }) => {
                for topic in topics {
                    self.batcher.mark_handover(topic, true);
                }
            }
            Order::Step(Step::Alone { topics }) => {
                for topic in &topics {
                    self.batcher.mark_handover(*topic, false);
                    self.joining.remove(topic);
                }
            }
            Order::Step(Step::Drain { topics }) => {
                // One that is sent from now on: an answer to an earlier one says nothing of what came behind it.
                self.draining.push((self.pings + 1, topics));
                self.next_ping = Instant::now();
            }
            Order::Step(Step::Drop { topics, why }) => self.drop_at_once(topics, why),
            Order::Renew(topics) => {
                self.queue_outgoing();
                self.session.unsubscribe(&topics, &mut self.outbox);
                self.queue_requests();
                self.reading.forget(&topics);
                self.ask(&topics);
            }
            // Heard where the link can end.
            Order::Close(_) => {}
            Order::Step(Step::Seen { topics }) => {
                let at = self.shared.clock.stamp();
                self.cover(topics, at, Instant::now());
            }
        }
    }

    /// Topics that were lost elsewhere are asked for from where they were durable last, where the upstream can do that within
    /// a connection, and where what comes twice will be told.
    fn go_on_from(&mut self, topics: &[TopicId]) {
        let Some(point) = ResumePoint::of(self.shared, &self.roster, topics) else { return };
        if point.query(self.shared).is_none() && point.is_remembered(self.shared) {
            self.session.resume_from(&point.point);
            self.resumed.extend(resumed(topics, Some(point)));
        }
    }

    fn drop_at_once(&mut self, mut topics: Vec<TopicId>, why: DropReason) {
        topics.retain(|topic| self.subscriptions.carries(*topic));
        let cause = match why {
            DropReason::Moved => Some(GapCause::Handover),
            DropReason::LeftOut => Some(GapCause::LeftOut),
            DropReason::Unwanted => None,
        };
        if let Some(cause) = cause {
            let live: BTreeSet<TopicId> = self.subscriptions.in_force().collect();
            // Of a topic that comes over another link as well nothing is missed.
            let lost = topics.iter().copied().filter(|topic| live.contains(topic) && !self.joining.contains(topic));
            let lost: Vec<TopicId> = lost.collect();
            let start = self.last_seen.unwrap_or_else(|| self.shared.clock.stamp());
            self.lose(&lost, start, cause);
        }
        self.let_go(topics);
    }

    /// Ends topics here and says so.
    fn let_go(&mut self, topics: Vec<TopicId>) {
        self.queue_outgoing();
        self.session.unsubscribe(&topics, &mut self.outbox);
        self.queue_requests();
        self.reading.forget(&topics);
        self.subscriptions.left(&topics);
        self.batcher.carry(self.subscriptions.carried(), &mut self.closed);
        for topic in &topics {
            self.batcher.mark_handover(*topic, false);
            self.joining.remove(topic);
        }
        self.shared.status.leave_link(self.number, &topics);
        self.report(Report::Left { slot: self.number, topics });
    }

    fn report(&mut self, report: Report) {
        self.unsent.push_back(report);
    }

    /// Topics that were to come over from another link have, or have been waited for long enough.
    fn joined(&mut self, topics: impl Iterator<Item = TopicId>) {
        let joined: Vec<TopicId> = topics.filter(|topic| self.joining.remove(topic)).collect();
        if !joined.is_empty() {
            self.report(Report::Up { slot: self.number, topics: joined });
        }
    }

    /// Topics are in force since `at`: records what they missed before, or that they are watched from now on.
    fn cover(&mut self, topics: Vec<TopicId>, at: UnixNanos, now: Instant) {
        let mut together: Vec<(Option<Arc<ResumedFrom>>, Vec<TopicId>)> = Vec::new();
        for topic in topics {
            let resumed = self.resumed.remove(&topic);
            match together.iter_mut().find(|(known, _)| *known == resumed) {
                Some((_, topics)) => topics.push(topic),
                None => together.push((resumed, vec![topic])),
            }
        }
        for (resumed, topics) in together {
            let records = self.shared.ledger().covered(&self.roster, topics, at, resumed.as_deref());
            self.batcher.record_ledger(&records, at, now, &mut self.closed);
        }
    }

    /// Topics are not in force any more since `start`.
    fn lose(&mut self, topics: &[TopicId], start: UnixNanos, cause: GapCause) {
        let records = self.shared.ledger().lost(&self.roster, topics.iter().copied(), start, cause);
        self.batcher.record_ledger(&records, self.shared.clock.stamp(), Instant::now(), &mut self.closed);
    }

    /// Sends what may be sent, and reads a burst. Ready when something happened.
    fn poll_io(&mut self, socket: &mut Socket, cx: &mut Context<'_>) -> Poll<Io> {
        let sent = match self.poll_send(socket, cx) {
            Ok(sent) => sent,
            Err(error) => return Poll::Ready(Io::Gone(Some(error))),
        };
        let mut messages = 0;
        if !self.is_held() {
            let messages_max = BURST_MESSAGES_MAX.min(self.batcher.burst_messages_max());
            let bytes_max = BURST_BYTES_MAX.min(self.batcher.burst_bytes_max());
            loop {
                match Pin::new(&mut *socket).poll_next(cx) {
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

    fn poll_send(&mut self, socket: &mut Socket, cx: &mut Context<'_>) -> Result<bool, tungstenite::Error> {
        let mut sent = false;
        while let Some((sending, None)) = self.next_sending(Instant::now()) {
            match Pin::new(&mut *socket).poll_ready(cx) {
                Poll::Ready(ready) => ready?,
                Poll::Pending => break,
            }
            let queue = if sending == Sending::Other { &mut self.outgoing } else { &mut self.requests };
            let Some(message) = queue.pop_front() else { break };
            let now = Instant::now();
            if let (Message::Ping(_), Some(ping)) = (&message, &mut self.ping) {
                ping.sent = Some(now);
            }
            Pin::new(&mut *socket).start_send(message)?;
            self.pace.sent(sending, now);
            self.last_sent = sending;
            self.unflushed = true;
            sent = true;
        }
        if self.unflushed {
            match Pin::new(&mut *socket).poll_flush(cx) {
                Poll::Ready(flushed) => {
                    flushed?;
                    self.unflushed = false;
                }
                Poll::Pending => {}
            }
        }
        Ok(sent)
    }

    /// What is to be sent next, and when where that is not now.
    fn next_sending(&self, now: Instant) -> Option<(Sending, Option<Instant>)> {
        let due = |queue: &VecDeque<Message>, sending| {
            (!queue.is_empty()).then(|| (sending, self.pace.next_at(sending, now)))
        };
        match (due(&self.outgoing, Sending::Other), due(&self.requests, Sending::Subscription)) {
            // Both at once take turns, so that neither has to wait for an end of the other.
            (Some((_, None)), Some(request @ (_, None))) if self.last_sent == Sending::Other => Some(request),
            (Some(other), Some(request)) => Some(if other.1 <= request.1 { other } else { request }),
            (other, request) => other.or(request),
        }
    }

    #[inline]
    fn take(&mut self, message: &Message) {
        let frame = match message {
            Message::Text(text) => Frame::Text(text.as_str()),
            Message::Binary(bytes) => Frame::Binary(bytes),
            Message::Pong(payload) => return self.pong(payload),
            // Not waited on any longer: a peer that says goodbye may leave the connection standing.
            Message::Close(frame) => {
                self.closed_by = Some(goodbye(frame.as_ref()));
                return;
            }
            // Answered by the library.
            Message::Ping(_) | Message::Frame(_) => return,
        };
        self.frames += 1;
        self.frame_bytes += frame.bytes().len() as u64;
        self.session.receive(frame, &mut self.reading, &mut self.outbox);
    }

    fn pong(&mut self, payload: &[u8]) {
        // Any other pong answers no ping of ours and proves nothing about this moment.
        if let Some(Ping { token, sent: Some(at), .. }) = self.ping
            && payload == token.to_le_bytes()
        {
            self.ping = None;
            let latency = at.elapsed();
            self.shared.metrics.ping_answered(latency);
            self.health.pong(latency);
            self.shared.status.update_link(self.number, |link| link.latency = Some(latency));
            self.drained
                .extend(self.draining.extract_if(.., |(wanted, _)| *wanted <= token).flat_map(|(_, topics)| topics));
        }
    }

    fn absorb(&mut self, now: Instant) {
        self.batcher.absorb(self.reading.burst(), self.received, now, &mut self.closed);
        self.batcher.resume_behind(self.session.take_tokens(), now);
        if self.frames > 0 {
            self.last_seen = Some(self.received);
        }
        self.messages += self.frames;
        self.shared.metrics.burst(std::mem::take(&mut self.frames), std::mem::take(&mut self.frame_bytes));
        let mut live = Vec::new();
        for news in self.reading.take_news() {
            if let SubscriptionNews::Live(topic) = news {
                live.push(topic);
            }
            self.note(news);
        }
        let carried = live.iter().copied().filter(|topic| self.subscriptions.carries(*topic)).collect();
        self.cover(carried, self.received, now);
        self.joined(live.into_iter());
        if self.reading.take_closing() {
            self.tell_sick("the upstream says that it will close it".into(), "announced");
        }
        if !self.drained.is_empty() {
            let mut drained = std::mem::take(&mut self.drained);
            drained.retain(|topic| self.subscriptions.carries(*topic));
            self.let_go(drained);
        }
        self.close_if_due(now);
    }

    fn note(&mut self, news: SubscriptionNews) {
        match news {
            SubscriptionNews::Live(topic) => {
                if self.subscriptions.live(topic) {
                    self.shared.status.set_on_link(self.number, [topic], &TopicState::Live);
                }
            }
            SubscriptionNews::Refused(topics, reason) => {
                for topic in &topics {
                    self.subscriptions.refused(*topic);
                }
                let refused = TopicState::Refused(reason.clone());
                self.shared.status.set_on_link(self.number, topics.iter().copied(), &refused);
                let joining: Vec<TopicId> = topics.iter().copied().filter(|topic| self.joining.remove(topic)).collect();
                // One that comes over another link goes on there.
                let lost: Vec<TopicId> = topics.iter().copied().filter(|topic| !joining.contains(topic)).collect();
                self.lose(&lost, self.received, GapCause::Refused);
                if !joining.is_empty() {
                    self.report(Report::Refused { slot: self.number, topics: joining });
                }
                self.shared.metrics.subscriptions_refused(topics.len().max(1));
                let names: Vec<&str> = topics.iter().map(|topic| &**self.roster.topic_name(*topic)).collect();
                tracing::error!(
                    upstream = %self.shared.name, link = self.number, topics = %names.join(", "), reason,
                    "the upstream refused a subscription; check the topic's wording and your rights there"
                );
                self.shared.status.update_link(self.number, |link| link.last_error = Some(reason));
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

    fn queue_outgoing(&mut self) {
        self.outgoing.extend(self.outbox.drain(..).map(message_of));
    }

    fn queue_requests(&mut self) {
        self.requests.extend(self.outbox.drain(..).map(message_of));
    }

    /// Whatever time has brought.
    fn tick(&mut self, now: Instant) -> Option<LinkEnd> {
        self.close_if_due(now);
        if let Some(ping) = &self.ping {
            if now >= ping.deadline(self.shared.pool.pong_timeout) {
                let limit = self.shared.pool.pong_timeout;
                return Some(LinkEnd::Lost {
                    reason: format!("it did not answer a ping within {limit:?}"),
                    cause: "pong",
                });
            }
        } else if now >= self.next_ping {
            self.pings += 1;
            self.next_ping = now + self.shared.pool.health_check_interval;
            if self.is_held() {
                // Its pings lie unread; an unasked pong tells it that we are still here.
                self.outgoing.push_back(Message::Pong(Vec::new().into()));
            } else {
                self.ping = Some(Ping { token: self.pings, queued: now, sent: None });
                self.outgoing.push_back(Message::Ping(self.pings.to_le_bytes().to_vec().into()));
            }
        }
        if let (Some(at), Some(interval)) = (self.next_keep_alive, self.shared.dialect.keep_alive_interval())
            && now >= at
        {
            self.session.keep_alive(&mut self.outbox);
            self.next_keep_alive = Some(now + interval);
        }
        if self.subscriptions.next_check().is_some_and(|at| now >= at) {
            self.check_subscriptions(now);
        }
        if now >= self.next_beat
            && let Some(end) = self.beat(now)
        {
            return Some(end);
        }
        None
    }

    /// Tells what came of each topic lately, and judges whether the link is of use still.
    fn beat(&mut self, now: Instant) -> Option<LinkEnd> {
        let held = self.is_held();
        let Self { reading, subscriptions, shared, .. } = self;
        let beat = Beat {
            link: self.number,
            since: self.last_beat.1,
            messages: self.messages,
            seconds: (now - self.last_beat.0).as_secs_f64(),
            now: shared.clock.stamp(),
            bounds: (!held).then(|| QuietBounds::new(&shared.pool)),
        };
        shared.status.note_ids(subscriptions.carried().map(|topic| (topic, reading.ids_seen(topic))));
        shared.metrics.link_messages(beat.link, beat.messages);
        let counts = subscriptions.carried().map(|topic| (topic, reading.take_messages(topic)));
        let silent = shared.status.beat(&beat, counts);
        self.health.frames(now, beat.messages, self.reading.take_unreadable());
        self.messages = 0;
        self.last_beat = (now, beat.now);
        self.next_beat = now + BEAT;
        if let Some(sick) = self.health.judge(now) {
            self.tell_sick(sick.to_string(), sick.cause());
        }
        self.silent(&silent)
    }

    /// A link that brings nothing is given up at once. Topics of which nothing comes, while others flow, are asked for anew.
    fn silent(&mut self, silent: &Silent) -> Option<LinkEnd> {
        self.shared.metrics.silent(silent.topics.len());
        let all = silent.topics.first().filter(|_| silent.topics.len() == silent.judged).map(|first| first.silence);
        for SilentTopic { topic, whole_until, .. } in &silent.topics {
            self.lose(&[*topic], *whole_until, GapCause::Silence);
        }
        if let Some(silence) = silent.link.or(all) {
            let (quiet, usual) = (silence.quiet.as_secs(), silence.threshold.as_secs());
            let reason = format!("nothing came for {quiet} s, and usual are at most {usual} s");
            return Some(LinkEnd::Lost { reason, cause: SILENCE });
        }
        let first = silent.topics.first()?;
        tracing::warn!(
            upstream = %self.shared.name, link = self.number, topic = %self.roster.topic_name(first.topic),
            topics = silent.topics.len(), "nothing came for {} s, and usual are at most {} s; asking for it anew",
            first.silence.quiet.as_secs(), first.silence.threshold.as_secs()
        );
        let topics = silent.topics.iter().map(|silent| silent.topic).collect();
        self.report(Report::Silent { slot: self.number, topics });
        None
    }

    fn tell_sick(&mut self, reason: String, cause: &'static str) {
        if !std::mem::replace(&mut self.told_sick, true) {
            self.report(Report::Sick { slot: self.number, reason, cause });
        }
    }

    fn check_subscriptions(&mut self, now: Instant) {
        let overdue = self.subscriptions.check(now);
        if !overdue.again.is_empty() {
            tracing::warn!(
                upstream = %self.shared.name, link = self.number, topics = overdue.again.len(),
                "subscriptions unanswered for {:?}; asking once more", self.shared.pool.confirm_timeout
            );
            self.queue_outgoing();
            self.session.subscribe(&overdue.again, &mut self.outbox);
            self.queue_requests();
        }
        if !overdue.given_up.is_empty() {
            let names: Vec<&str> =
                overdue.given_up.iter().take(10).map(|topic| &**self.roster.topic_name(*topic)).collect();
            tracing::warn!(
                upstream = %self.shared.name, link = self.number, topics = %names.join(", "), count = overdue.given_up.len(),
                "subscriptions neither acknowledged nor refused, and no data came; the feed may be quiet, or the topic unknown"
            );
            let given_up = overdue.given_up;
            self.shared.status.set_on_link(self.number, given_up.iter().copied(), &TopicState::Unconfirmed);
            self.joined(given_up.into_iter());
        }
    }

    fn set_timer(&mut self, timer: Pin<&mut Sleep>) {
        let next_check = self.subscriptions.next_check();
        let mut next = self.next_ping;
        if let Some(ping) = &self.ping {
            next = ping.deadline(self.shared.pool.pong_timeout);
        }
        let mut sooner = |at: Option<Instant>| next = at.map_or(next, |at| next.min(at));
        sooner(Some(self.next_beat));
        sooner(self.next_keep_alive);
        sooner(next_check);
        if self.waiting.is_empty() {
            sooner(self.batcher.due(takes_at(&self.shared.journal, Instant::now())));
        }
        // Sending belongs to `poll_io`, which comes after the timer: a moment that has passed would keep it from its turn.
        sooner(self.next_sending(Instant::now()).and_then(|(_, at)| at));
        if timer.deadline() != next {
            timer.reset(next);
        }
    }

    fn gone(&mut self, error: Option<&tungstenite::Error>, now: Instant) -> LinkEnd {
        let (reason, cause) = match error {
            None | Some(tungstenite::Error::ConnectionClosed) => {
                (self.closed_by.take().unwrap_or_else(|| "the upstream closed it".to_owned()), "closed")
            }
            Some(tungstenite::Error::Capacity(CapacityError::MessageTooLong { size, max_size })) => {
                let reason = format!(
                    "a message of {size} bytes is above the limit of {max_size}; raise `upstreams.{}.max_message` if it is meant",
                    self.shared.name
                );
                self.reading.unreadable_frame(&reason, &[]);
                (reason, "too_large")
            }
            Some(tungstenite::Error::Utf8(detail)) => {
                let reason = format!("a text frame is not UTF-8: {detail}");
                self.reading.unreadable_frame(&reason, &[]);
                (reason, "protocol")
            }
            Some(
                error @ tungstenite::Error::Protocol(tungstenite::error::ProtocolError::ResetWithoutClosingHandshake),
            ) => (error.to_string(), "reset"),
            Some(error @ tungstenite::Error::Protocol(_)) => {
                let reason = format!("it broke the WebSocket protocol: {error}");
                self.reading.unreadable_frame(&reason, &[]);
                (reason, "protocol")
            }
            Some(tungstenite::Error::Io(error)) => (format!("the connection broke: {error}"), "reset"),
            Some(error) => (error.to_string(), "other"),
        };
        self.absorb(now);
        LinkEnd::Lost { reason, cause }
    }

    /// Hands everything to the journal, however long it takes, and says goodbye if there is still someone to hear it.
    async fn finish(mut self, socket: &mut Socket, end: &LinkEnd) {
        let cause = match end {
            LinkEnd::Closed { cause } => *cause,
            LinkEnd::Lost { .. } if self.is_held() => GapCause::Backpressure,
            LinkEnd::Lost { cause: SILENCE, .. } => GapCause::Silence,
            LinkEnd::Lost { .. } => GapCause::Disconnect,
            // To be opened anew with other settings; where the daemon stops, the ledger knows.
            LinkEnd::Stopped => GapCause::Handover,
        };
        // Whatever the moment of a loss was, nothing came after the last burst. A link that is stopped has read until now.
        let until_now = matches!(end, LinkEnd::Stopped | LinkEnd::Closed { .. }) && !self.is_held();
        let start = self.last_seen.filter(|_| !until_now).unwrap_or_else(|| self.shared.clock.stamp());
        let in_force: Vec<TopicId> = self.subscriptions.in_force().collect();
        self.lose(&in_force, start, cause);
        self.beat(Instant::now());
        self.shared.status.leave_link(self.number, &self.subscriptions.carried().collect::<Vec<_>>());
        self.closed.extend(self.batcher.close());
        self.submit_waiting();
        while let Some(bytes) = self.waiting.front().map(EncodedBlock::bytes)
            && !is_over(&self.shared.journal)
        {
            self.shared.journal.room(bytes).await;
            self.submit_waiting();
        }
        if matches!(end, LinkEnd::Stopped | LinkEnd::Closed { .. } | LinkEnd::Lost { cause: "closed", .. }) {
            // A peer that does not answer has been told all the same when the socket closes.
            timeout(CLOSE_TIMEOUT, socket.close(None)).await.ok();
        }
    }
}
