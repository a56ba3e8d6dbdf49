//! The conversation of a synthetic feed with one client.

use std::collections::{HashMap, HashSet, VecDeque};
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::connection::{Connection, End, Heard, at};
use super::dialects::{Change, Desk, Greeting, Speaker, Words, Wrapped};
use super::faults::{FaultMaker, Sending};
use super::figures::{Fault, add};
use super::frames::{ClientFrame, Opcode};
use super::hub::{Event, Hub, Mailbox};
use super::settings::{Faults, SimulatedDialect, Source};

/// Events encoded before they are written.
const BURST_EVENTS_MAX: usize = 256;
/// Acknowledgements held back at once; more are lost.
const HELD_ACKS_MAX: usize = 10_000;
/// Subscriptions of a connection; more are not served.
const SUBSCRIPTIONS_MAX: usize = 100_000;
/// How many messages come before a giant frame.
const BEFORE_GIANT: u64 = 10;

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
    acks: VecDeque<(Instant, Words)>,
    sent: u64,
    /// What the speaker keeps until it is asked for, with its text; it says when it takes no more.
    held: Vec<(Sending, Vec<u8>)>,
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
pub(crate) async fn converse(connection: &mut Connection, hub: &Hub, greeting: &Greeting) -> End {
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
        held: Vec::new(),
        silent: false,
        muted: HashSet::new(),
        pinged: Instant::now(),
        closing: None,
    };
    let end = match conversation.run(greeting, break_at).await {
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

    async fn run(&mut self, greeting: &Greeting, mut break_at: Option<Instant>) -> Result<(), End> {
        self.speak(|speaker, desk| speaker.greet(greeting, desk));
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
                () = self.mailbox.arrived(), if self.speaker.takes_more() => Input::Events,
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
                    if let Some(heard) = self.connection.answer(frame)?
                        && !self.silent
                    {
                        self.speak(|speaker, desk| match &heard {
                            Heard::Text(text) => speaker.hear(text, desk),
                            Heard::Bytes(bytes) => speaker.hear_bytes(bytes, desk),
                        });
                    }
                }
                Input::Ack => {
                    if let Some((_, words)) = self.acks.pop_front()
                        && !self.silent
                    {
                        self.say(&words);
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
            self.connection.push_ping(self.sent.to_string().as_bytes());
        }
    }

    /// Puts what the speaker says on its way.
    fn say(&mut self, words: &Words) {
        match words {
            Words::Bytes(bytes) => self.connection.push(Opcode::Binary, bytes),
            Words::Text(text) => match self.dialect.frame(text.as_bytes()) {
                Some(frame) => self.connection.push(Opcode::Binary, &frame),
                None => self.connection.push(Opcode::Text, text.as_bytes()),
            },
        }
    }

    /// Lets the speaker say something, and does what it asked for.
    fn speak(&mut self, say: impl FnOnce(&mut dyn Speaker, &mut Desk<'_>)) {
        let shared = Arc::clone(&self.connection.shared);
        let faults = Arc::clone(&self.asked);
        let mut desk = Desk::new(self.dialect, &faults.refuse, faults.no_pong, &shared.standing);
        say(&mut *self.speaker, &mut desk);
        let Desk { replies, changes, refused, released, .. } = desk;
        add(&shared.counters.refused, refused);
        if released {
            for (Sending { event, fault }, payload) in std::mem::take(&mut self.held) {
                self.connection.enter(&event.topic, &event.draft.ids, &payload, fault);
                self.sent += 1;
            }
        }
        for reply in replies {
            if reply.acknowledgement && (faults.no_ack || self.acks.len() >= HELD_ACKS_MAX) {
                add(&shared.counters.acks_lost, 1);
            } else if reply.acknowledgement && !faults.ack_delay.is_zero() {
                self.acks.push_back((Instant::now() + faults.ack_delay, reply.words));
            } else {
                self.say(&reply.words);
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
        let is_spared = self.is_spared();
        for event in events {
            if is_spared {
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
        let shared = Arc::clone(&self.connection.shared);
        let counters = &shared.counters;
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
            if *fault == Some(Fault::Dropped) {
                self.connection.enter(&event.topic, &event.draft.ids, &payload, *fault);
                continue;
            }
            match self.speaker.wrap(&event.draft, token, &payload, &shared.standing) {
                Wrapped::AsItIs => {}
                Wrapped::Text(frame) => payload = frame,
                Wrapped::Binary(frame) => (payload, binary) = (frame, true),
                Wrapped::Held => {
                    self.held.push((Sending::clone(sending), payload.clone()));
                    continue;
                }
            }
            if let Some(frame) = self.dialect.frame(&payload) {
                payload = frame;
                binary = true;
            }
            self.connection.enter(&event.topic, &event.draft.ids, &payload, *fault);
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
