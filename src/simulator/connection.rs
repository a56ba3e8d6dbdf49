//! One connection: its socket, and the conversation of a synthetic feed.

use std::collections::{HashMap, HashSet, VecDeque};
use std::future::pending;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::watch;
use tokio::time::Instant;

use super::dialects::{Change, Desk, Speaker};
use super::faults::{FaultMaker, Sending};
use super::figures::{Fault, LedgerEntry, add};
use super::frames::{ClientFrame, FrameReader, Opcode, push_close, push_frame, push_header};
use super::hub::{Event, Hub, Mailbox};
use super::server::Shared;
use super::settings::{Faults, SimulatedDialect, Source};

/// Events encoded before they are written.
const BURST_EVENTS_MAX: usize = 256;
/// Acknowledgements held back at once; more are lost.
const HELD_ACKS_MAX: usize = 10_000;
/// Subscriptions of a connection; more are not served.
const SUBSCRIPTIONS_MAX: usize = 100_000;
/// How long a client has for answering a close frame.
const CLOSE_MAX: Duration = Duration::from_secs(2);
/// The same when the simulator stops.
const STOP_MAX: Duration = Duration::from_millis(250);
/// How many messages come before a giant frame.
const BEFORE_GIANT: u64 = 10;
/// In what pieces a giant frame is written.
const GIANT_PIECE: usize = 64 * 1024;

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The client closed it, or broke it.
    Left,
    /// The client took nothing for too long.
    Slow,
    /// The simulator stops.
    Stopped,
    /// The feed is over.
    Over,
    /// Broken on request.
    Broken(Break),
    /// Closed, since the client did what it must not.
    Refused(u16, &'static str),
}

/// A way of breaking a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Break {
    /// By a close frame.
    Close,
    /// By a reset in the middle of a frame.
    Reset,
    /// By the end of the stream, without a close frame.
    Eof,
}

/// A connection's socket, and what is about to be written to it.
pub(crate) struct Connection {
    pub(crate) number: u64,
    pub(crate) shared: Arc<Shared>,
    pub(crate) reader: FrameReader,
    writer: OwnedWriteHalf,
    pub(crate) out: Vec<u8>,
    entries: Vec<LedgerEntry>,
}

impl Connection {
    pub(crate) fn new(stream: TcpStream, number: u64, shared: Arc<Shared>) -> Self {
        let (reader, writer) = stream.into_split();
        Self { number, shared, reader: FrameReader::new(reader), writer, out: Vec::new(), entries: Vec::new() }
    }

    /// Puts a frame on its way, and counts it.
    pub(crate) fn push(&mut self, opcode: Opcode, payload: &[u8]) {
        push_frame(&mut self.out, opcode, payload);
        add(&self.shared.counters.frames, 1);
    }

    /// Enters events of a payload into the ledger.
    pub(crate) fn enter(&mut self, topic: &str, ids: &[String], payload: &[u8], fault: Option<Fault>) {
        if !self.shared.ledger.is_kept() {
            return;
        }
        let crc = crc32c::crc32c(payload);
        let connection = self.number;
        self.entries.extend(ids.iter().map(|id| LedgerEntry {
            connection,
            topic: topic.to_owned(),
            id: id.clone(),
            crc,
            fault,
        }));
    }

    /// Writes what is on its way.
    pub(crate) async fn write_out(&mut self) -> Result<(), End> {
        // Entered before it is written: where the connection breaks, the ledger has all that may have arrived.
        if !self.entries.is_empty() {
            let lost = self.shared.ledger.keep(&mut self.entries);
            add(&self.shared.counters.ledger_lost, lost);
        }
        if self.out.is_empty() {
            return Ok(());
        }
        let out = std::mem::take(&mut self.out);
        let result = self.write(&out).await;
        self.out = out;
        self.out.clear();
        // A giant burst's memory is given back.
        self.out.shrink_to(1 << 20);
        result
    }

    /// Writes bytes at once.
    pub(crate) async fn write(&mut self, bytes: &[u8]) -> Result<(), End> {
        let Self { writer, shared, .. } = self;
        let written = tokio::select! {
            biased;
            written = tokio::time::timeout(shared.settings.slow_reader_after, writer.write_all(bytes)) => written,
            () = shared.cancel.cancelled() => return Err(End::Stopped),
        };
        match written {
            Ok(Ok(())) => {
                add(&shared.counters.bytes, bytes.len() as u64);
                Ok(())
            }
            Ok(Err(_)) => Err(End::Left),
            Err(_) => Err(End::Slow),
        }
    }

    /// When it is to be broken, if it is.
    pub(crate) fn break_at(&self, rng: &mut fastrand::Rng) -> Option<Instant> {
        let mean = self.shared.faults().disconnect_every?;
        Some(Instant::now() + mean.mul_f64(0.5 + rng.f64()))
    }

    /// How it is to be broken: each way in its turn, over all connections.
    pub(crate) fn way_of_breaking(&self) -> End {
        add(&self.shared.counters.disconnects, 1);
        let turn = self.shared.breaks.fetch_add(1, Ordering::Relaxed);
        End::Broken([Break::Close, Break::Reset, Break::Eof][(turn % 3) as usize])
    }

    /// Answers frames that any conversation answers alike; gives back what it does not.
    pub(crate) fn answer(&mut self, frame: io::Result<Option<ClientFrame>>) -> Result<Option<String>, End> {
        match frame {
            Ok(Some(ClientFrame::Text(text))) => {
                add(&self.shared.counters.requests, 1);
                Ok(Some(text))
            }
            Ok(Some(ClientFrame::Ping(payload))) => {
                if !self.shared.faults().no_pong {
                    push_frame(&mut self.out, Opcode::Pong, &payload);
                }
                Ok(None)
            }
            Ok(Some(ClientFrame::Binary | ClientFrame::Pong)) => Ok(None),
            Ok(Some(ClientFrame::Close)) => {
                push_close(&mut self.out, 1000, "");
                Err(End::Left)
            }
            Ok(None) => Err(End::Left),
            Err(error) => {
                tracing::debug!(connection = self.number, %error, "simulator: a client's frame is unsound");
                Err(End::Left)
            }
        }
    }

    /// Ends the connection in the way that `end` asks for.
    pub(crate) async fn finish(mut self, end: End) {
        match end {
            End::Slow => self.reset(),
            End::Left => {
                // What is left is at most the answer to a close frame.
                _ = self.write_out().await;
            }
            End::Broken(Break::Reset) => {
                // Half of a frame that would have been a message.
                let half = br#"{"stream":"btcusdt@trade","data":{"e":"trade","E":17231"#;
                push_header(&mut self.out, Opcode::Text, true, 2 * half.len() as u64);
                self.out.extend_from_slice(half);
                _ = self.write_out().await;
                self.reset();
            }
            End::Broken(Break::Eof) => {
                _ = self.write_out().await;
            }
            End::Stopped => self.part(1001, "the simulator stops", STOP_MAX).await,
            End::Broken(Break::Close) => self.part(1001, "going away", CLOSE_MAX).await,
            End::Over => self.part(1000, "", CLOSE_MAX).await,
            End::Refused(code, reason) => self.part(code, reason, CLOSE_MAX).await,
        }
    }

    /// Parts with a close frame, and waits a little for the client's.
    async fn part(&mut self, code: u16, reason: &str, patience: Duration) {
        push_close(&mut self.out, code, reason);
        let out = std::mem::take(&mut self.out);
        let parting = async {
            self.writer.write_all(&out).await?;
            self.writer.shutdown().await?;
            // Reading to the end also keeps the kernel from resetting what the client has not read yet.
            while self.reader.next().await?.is_some_and(|frame| frame != ClientFrame::Close) {}
            io::Result::Ok(())
        };
        // Whoever does not answer is left alone.
        drop(tokio::time::timeout(patience, parting).await);
    }

    fn reset(self) {
        // Failing, the connection ends by an end of stream.
        drop(self.reader.half().as_ref().set_zero_linger());
        // Without this the half would first send an end of stream.
        self.writer.forget();
    }

    /// Sends one giant frame.
    async fn send_giant(&mut self, bytes: u64) -> Result<(), End> {
        add(&self.shared.counters.giant_frames, 1);
        let fragments = self.shared.faults().giant_fragments;
        let head = br#"{"giant":""#;
        let mut piece = vec![b'x'; GIANT_PIECE];
        piece[..head.len()].copy_from_slice(head);
        if fragments {
            let mut opcode = Opcode::Text;
            loop {
                push_header(&mut self.out, opcode, false, GIANT_PIECE as u64);
                self.out.extend_from_slice(&piece);
                self.write_out().await?;
                piece[..head.len()].fill(b'x');
                opcode = Opcode::Continuation;
            }
        }
        push_header(&mut self.out, Opcode::Text, true, bytes);
        self.write_out().await?;
        let mut left = bytes;
        while left > 0 {
            let count = usize::try_from(left).unwrap_or(usize::MAX).min(GIANT_PIECE);
            left -= count as u64;
            if left == 0 && count >= 2 {
                piece[count - 2..count].copy_from_slice(b"\"}");
            }
            self.write(&piece[..count]).await?;
            piece[..head.len()].fill(b'x');
        }
        Ok(())
    }
}

/// A connection to a synthetic feed.
struct Conversation<'a> {
    connection: &'a mut Connection,
    hub: &'a Hub,
    dialect: SimulatedDialect,
    speaker: Box<dyn Speaker>,
    mailbox: Arc<Mailbox>,
    /// What events of each topic are marked with: a text for each subscription.
    tokens: HashMap<usize, Vec<String>>,
    topics: HashMap<String, usize>,
    /// The faults that are asked for, and who makes them in the stream of messages.
    asked: Arc<Faults>,
    faults: FaultMaker,
    break_now: watch::Receiver<u64>,
    acks: VecDeque<(Instant, String)>,
    sent: u64,
    silent: bool,
    /// Topics that are.
    muted: HashSet<usize>,
    pinged: Instant,
    /// How the connection is to be closed.
    closing: Option<End>,
}

enum Input {
    Stop,
    Frame(io::Result<Option<ClientFrame>>),
    Events,
    Beat,
    Ack,
    Break,
}

/// Serves a connection of a synthetic feed to its end.
pub(crate) async fn converse(connection: &mut Connection, hub: &Hub, target: &str) -> End {
    let Source::Synthetic(dialect) = connection.shared.settings.source else { return End::Over };
    let settings = &connection.shared.settings;
    let mut rng = fastrand::Rng::with_seed(settings.seed ^ connection.number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let break_at = connection.break_at(&mut rng);
    let asked = connection.shared.faults();
    let mut conversation = Conversation {
        faults: FaultMaker::new(&asked, rng.u64(..)),
        asked,
        break_now: connection.shared.break_now.subscribe(),
        speaker: dialect.speaker(rng),
        mailbox: Mailbox::new(connection.number),
        connection,
        hub,
        dialect,
        tokens: HashMap::new(),
        topics: HashMap::new(),
        acks: VecDeque::new(),
        sent: 0,
        silent: false,
        muted: HashSet::new(),
        pinged: Instant::now(),
        closing: None,
    };
    let end = match conversation.run(target, break_at).await {
        Ok(()) => End::Over,
        Err(end) => end,
    };
    conversation.leave();
    end
}

impl Conversation<'_> {
    /// Whether it has too few subscriptions to meet faults.
    fn is_spared(&self) -> bool {
        self.tokens.len() < self.asked.from_topics
    }

    async fn run(&mut self, target: &str, mut break_at: Option<Instant>) -> Result<(), End> {
        self.speak(|speaker, desk| speaker.greet(target, desk));
        let mut beat = tokio::time::interval(Duration::from_secs(1));
        beat.reset();
        loop {
            self.connection.write_out().await?;
            if let Some(end) = self.closing {
                return Err(end);
            }
            let cancel = &self.connection.shared.cancel;
            let input = tokio::select! {
                biased;
                () = cancel.cancelled() => Input::Stop,
                frame = self.connection.reader.next() => Input::Frame(frame),
                _ = beat.tick() => Input::Beat,
                () = at(self.acks.front().map(|(due, _)| *due)) => Input::Ack,
                () = at(break_at) => Input::Break,
                Ok(()) = self.break_now.changed() => Input::Break,
                () = self.mailbox.arrived() => Input::Events,
            };
            self.follow_faults();
            match input {
                Input::Stop => return self.stop(End::Stopped),
                Input::Break if self.is_spared() => {
                    let number = self.connection.number;
                    break_at = self.connection.break_at(&mut fastrand::Rng::with_seed(number));
                }
                Input::Break => return self.stop(self.connection.way_of_breaking()),
                Input::Frame(frame) => {
                    if let Some(text) = self.connection.answer(frame)?
                        && !self.silent
                    {
                        self.speak(|speaker, desk| speaker.hear(&text, desk));
                    }
                }
                Input::Ack => {
                    if let Some((_, text)) = self.acks.pop_front()
                        && !self.silent
                    {
                        self.say(&text);
                    }
                }
                Input::Beat => self.beat(),
                Input::Events => self.pass_events().await?,
            }
        }
    }

    /// Takes note of faults that have changed.
    fn follow_faults(&mut self) {
        let asked = self.connection.shared.faults();
        if Arc::ptr_eq(&asked, &self.asked) {
            return;
        }
        self.asked = asked;
        let mut sendings = Vec::new();
        self.faults.change(&self.asked, &mut sendings);
        for sending in sendings {
            self.send(&sending);
        }
    }

    /// Sends what faults hold back, and then ends.
    fn stop(&mut self, end: End) -> Result<(), End> {
        let mut sendings = Vec::new();
        self.faults.flush(&mut sendings);
        for sending in sendings {
            self.send(&sending);
        }
        Err(end)
    }

    fn beat(&mut self) {
        if self.silent {
            return;
        }
        self.speak(|speaker, desk| speaker.beat(desk));
        let mut sendings = Vec::new();
        self.faults.beat(&mut sendings);
        for sending in sendings {
            self.send(&sending);
        }
        if self.speaker.ping_interval().is_some_and(|interval| self.pinged.elapsed() >= interval) {
            self.pinged = Instant::now();
            push_frame(&mut self.connection.out, Opcode::Ping, self.sent.to_string().as_bytes());
        }
    }

    /// Puts what the speaker says on its way.
    fn say(&mut self, text: &str) {
        match self.dialect.frame(text.as_bytes()) {
            Some(frame) => self.connection.push(Opcode::Binary, &frame),
            None => self.connection.push(Opcode::Text, text.as_bytes()),
        }
    }

    /// Lets the speaker say something, and does what it asked for.
    fn speak(&mut self, say: impl FnOnce(&mut dyn Speaker, &mut Desk<'_>)) {
        let shared = Arc::clone(&self.connection.shared);
        let faults = Arc::clone(&self.asked);
        let mut desk = Desk::new(self.dialect, &faults.refuse, faults.no_pong);
        say(&mut *self.speaker, &mut desk);
        let Desk { replies, changes, refused, .. } = desk;
        add(&shared.counters.refused, refused);
        for reply in replies {
            if reply.acknowledgement && (faults.no_ack || self.acks.len() >= HELD_ACKS_MAX) {
                add(&shared.counters.acks_lost, 1);
            } else if reply.acknowledgement && !faults.ack_delay.is_zero() {
                self.acks.push_back((Instant::now() + faults.ack_delay, reply.text));
            } else {
                self.say(&reply.text);
            }
        }
        for change in changes {
            self.change(change);
        }
    }

    fn change(&mut self, change: Change) {
        match change {
            Change::Subscribe { topic, token } => {
                if self.tokens.len() >= SUBSCRIPTIONS_MAX {
                    return;
                }
                let Some((index, opening)) = self.hub.subscribe(&topic, &self.mailbox) else { return };
                self.topics.insert(topic, index);
                self.muted.remove(&index);
                let tokens = self.tokens.entry(index).or_default();
                if !tokens.contains(&token) {
                    tokens.push(token);
                }
                if let Some(event) = opening {
                    self.send(&Sending { event, fault: None });
                }
            }
            Change::Resume { topics, token, since, then } => {
                if self.tokens.len() + topics.len() > SUBSCRIPTIONS_MAX {
                    return;
                }
                let (numbers, events) = self.hub.resume(&topics, &self.mailbox, since);
                for (topic, index) in numbers {
                    self.topics.insert(topic, index);
                    self.muted.remove(&index);
                    let tokens = self.tokens.entry(index).or_default();
                    if !tokens.contains(&token) {
                        tokens.push(token.clone());
                    }
                }
                for event in events {
                    self.send(&Sending { event, fault: None });
                }
                if let Some(text) = then {
                    self.connection.push(Opcode::Text, text.as_bytes());
                }
            }
            Change::Close { code, reason } => self.closing = Some(End::Refused(code, reason)),
            Change::Unsubscribe { topic, token } => {
                let Some(index) = self.topics.get(&topic).copied() else { return };
                let Some(tokens) = self.tokens.get_mut(&index) else { return };
                tokens.retain(|known| *known != token);
                if tokens.is_empty() {
                    self.tokens.remove(&index);
                    self.topics.remove(&topic);
                    self.hub.unsubscribe(index, self.mailbox.connection);
                }
            }
        }
    }

    async fn pass_events(&mut self) -> Result<(), End> {
        let mut events: Vec<Arc<Event>> = Vec::new();
        self.mailbox.take(BURST_EVENTS_MAX, &mut events);
        self.hub.stir();
        let mut sendings = Vec::new();
        let spared = self.is_spared();
        for event in events {
            if spared {
                sendings.push(Sending { event, fault: None });
            } else {
                self.faults.pass(event, &mut sendings);
            }
            for sending in sendings.drain(..) {
                self.send(&sending);
            }
            if self.silent {
                break;
            }
        }
        let shared = &self.connection.shared;
        if let Some(bytes) = self.asked.giant_frame
            && self.sent >= BEFORE_GIANT
            && !shared.giant_sent.swap(true, Ordering::Relaxed)
        {
            self.connection.write_out().await?;
            self.connection.send_giant(bytes).await?;
        }
        Ok(())
    }

    /// Puts an event on its way, once for each subscription.
    fn send(&mut self, sending: &Sending) {
        let Sending { event, fault } = sending;
        let Some(tokens) = self.tokens.get(&event.topic_index) else { return };
        let counters = Arc::clone(&self.connection.shared.counters);
        if self.asked.mute.iter().any(|muted| **muted == *event.topic) && self.muted.insert(event.topic_index) {
            add(&counters.silenced, 1);
        }
        if self.muted.contains(&event.topic_index) {
            return;
        }
        let mut payload = Vec::with_capacity(event.draft.text.len() + 64);
        for token in tokens {
            if self.silent {
                return;
            }
            payload.clear();
            let text = event.draft.text.as_bytes();
            match event.draft.splice {
                Some(splice) => payload.extend([&text[..splice], token.as_bytes(), &text[splice..]].concat()),
                None => payload.extend_from_slice(text),
            }
            let mut binary = false;
            if let Some(fault) = *fault {
                binary = self.faults.spoil(fault, event, token.len(), &mut payload);
                counters.note_fault(fault);
            }
            if let Some(frame) = self.dialect.frame(&payload) {
                payload = frame;
                binary = true;
            }
            self.connection.enter(&event.topic, &event.draft.ids, &payload, *fault);
            if *fault == Some(Fault::Dropped) {
                continue;
            }
            self.connection.push(if binary { Opcode::Binary } else { Opcode::Text }, &payload);
            self.sent += 1;
            if self.asked.silent_after.is_some_and(|after| self.sent >= after) {
                self.silent = true;
                add(&counters.silenced, 1);
                // A silent connection must not hold up the topics of others.
                for index in self.topics.values() {
                    self.hub.unsubscribe(*index, self.mailbox.connection);
                }
            }
        }
    }

    fn leave(&mut self) {
        for index in self.tokens.keys() {
            self.hub.unsubscribe(*index, self.mailbox.connection);
        }
    }
}

/// Resolves at `moment`, or never.
pub(crate) async fn at(moment: Option<Instant>) {
    match moment {
        // The timer would round a moment that has come up to its next tick.
        Some(moment) if moment <= Instant::now() => {}
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => pending().await,
    }
}
