//! One link's conversation in NATS.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::sync::Arc;

use serde::Deserialize;

use super::jetstream::{Delivered, wants_acknowledgement};
use super::reader::{Delivery, Front, Said, headers, read};
use crate::dialect::envelope::Envelope;
use crate::dialect::{
    Frame, Intake, MESSAGE_BYTES_MAX, Message, OutFrame, Outbox, ReadingPlan, Receipt, Session, Topic, TopicId,
    too_long,
};

/// Acknowledgements that are owed at most. A consumer stops at its `max_ack_pending`, 1,000 by default; of more the oldest are
/// delivered again, since we never say that we have them.
const OWED_MAX: usize = 1 << 16;

/// Pings kept for their answers. Source: a guess.
const ASKED_MAX: usize = 1024;

/// What is looked at in INFO.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Info {
    /// The server is about to end, and takes no new clients.
    ldm: bool,
}

pub(super) struct NatsSession {
    topics: Arc<[Topic]>,
    name: String,
    /// Further members of CONNECT, and what they are.
    connect_keys: Vec<String>,
    connect: serde_json::Map<String, serde_json::Value>,
    /// Asked for over this link.
    carried: Vec<TopicId>,
    /// To be asked for when the server has said who it is.
    waiting: Vec<TopicId>,
    connected: bool,
    /// What each PONG that is waited for acknowledges, oldest first.
    asked: VecDeque<Vec<TopicId>>,
    /// What came and is not whole yet.
    buffer: Vec<u8>,
    /// Not before the buffer has so many bytes is it looked at again.
    needed: usize,
    envelope: Envelope,
    header_envelope: Envelope,
    /// Reply subjects of what is to be acknowledged, by number.
    owed: VecDeque<(u64, String)>,
    next_receipt: u64,
    receipts: Vec<Receipt>,
    message_bytes_max: usize,
    broken: bool,
}

impl NatsSession {
    pub(super) fn new(connect_keys: Vec<String>, topics: &Arc<[Topic]>) -> Self {
        Self {
            topics: Arc::clone(topics),
            name: String::new(),
            connect_keys,
            connect: serde_json::Map::new(),
            carried: Vec::new(),
            waiting: Vec::new(),
            connected: false,
            asked: VecDeque::new(),
            buffer: Vec::new(),
            needed: 0,
            envelope: Envelope::default(),
            header_envelope: Envelope::default(),
            owed: VecDeque::new(),
            next_receipt: 0,
            receipts: Vec::new(),
            message_bytes_max: MESSAGE_BYTES_MAX,
            broken: false,
        }
    }

    /// Subscriptions have the numbers of their topics, from 1. The answer to a ping says that they were taken.
    fn ask(&mut self, topics: &[TopicId], out: &mut Outbox) {
        let mut text = String::new();
        for topic in topics {
            if let Some(known) = self.topics.get(topic.0 as usize) {
                write!(text, "SUB {} {}\r\n", known.name, u64::from(topic.0) + 1).expect("a string takes it");
            }
        }
        if !text.is_empty() {
            text.push_str("PING\r\n");
            // A server answers every ping, so that nothing gathers but with one that is about to be lost.
            if self.asked.len() == ASKED_MAX {
                self.asked.pop_front();
            }
            self.asked.push_back(topics.to_vec());
            say(text, out);
        }
    }

    fn info(&mut self, text: &str, intake: &mut dyn Intake, out: &mut Outbox) {
        intake.control(None);
        let info: Info = serde_json::from_str(text).unwrap_or_default();
        if info.ldm {
            intake.closing();
        }
        if !std::mem::replace(&mut self.connected, true) {
            let mut connect = serde_json::json!({
                "verbose": false, "pedantic": false, "protocol": 1, "headers": true, "no_responders": true, "echo": false,
                "lang": "rust", "version": env!("CARGO_PKG_VERSION"), "name": self.name,
            });
            if let Some(members) = connect.as_object_mut() {
                members.append(&mut self.connect);
            }
            say(format!("CONNECT {connect}\r\n"), out);
            let waiting = std::mem::take(&mut self.waiting);
            self.ask(&waiting, out);
        }
    }

    fn pong(&mut self, intake: &mut dyn Intake) {
        intake.control(None);
        for topic in self.asked.pop_front().into_iter().flatten() {
            // One that was refused before is not carried any more.
            if self.carried.contains(&topic) {
                intake.acknowledged(topic);
            }
        }
    }

    /// A refused subscription leaves the connection as it is; anything else ends it.
    fn error(&mut self, reason: &str, intake: &mut dyn Intake) {
        intake.control(None);
        let lower = reason.to_ascii_lowercase();
        if lower.starts_with("permissions violation") {
            let quoted = reason.split('"').nth(1).unwrap_or_default();
            let meant: Vec<TopicId> = (self.topics.iter())
                .filter(|topic| topic.name.split(' ').next() == Some(quoted) && self.carried.contains(&topic.id))
                .map(|topic| topic.id)
                .collect();
            // One about publishing is about an acknowledgement of ours.
            if lower.contains("subscription") {
                self.carried.retain(|topic| !meant.contains(topic));
                intake.refused(&meant, reason);
            }
        } else if lower.starts_with("invalid subject") {
            intake.refused(&[], reason);
        } else {
            self.give_up(&format!("the server said: {reason}"), intake);
        }
    }

    fn message(&mut self, delivery: &Delivery<'_>, raw: &[u8], intake: &mut dyn Intake, out: &mut Outbox) {
        let sid = delivery.sid.parse::<u32>().ok().and_then(|sid| sid.checked_sub(1)).map(TopicId);
        let topic = sid.filter(|topic| (topic.0 as usize) < self.topics.len());
        let (status, members) = headers(delivery.headers);
        if let Some(status) = status
            && delivery.payload.is_empty()
        {
            // Of flow control, what it asks for is an answer.
            if let (Some(reply), true) = (delivery.reply, status.starts_with("100")) {
                say(format!("PUB {reply} 0\r\n\r\n"), out);
            }
            return intake.control(topic);
        }
        if let Some(reply) = delivery.reply.filter(|reply| wants_acknowledgement(reply)) {
            if self.owed.len() == OWED_MAX {
                self.owed.pop_front();
            }
            self.next_receipt += 1;
            self.owed.push_back((self.next_receipt, reply.to_owned()));
            self.receipts.push(Receipt(self.next_receipt));
        }
        let Some(topic) = topic else {
            return intake.unreadable(None, "a message of a subscription that nobody made", raw);
        };
        if !self.carried.contains(&topic) {
            return intake.control(Some(topic));
        }
        let mut envelope = self.envelope.begin().text("subject", delivery.subject);
        match delivery.reply.map(|reply| (reply, Delivered::of(reply))) {
            Some((_, Some(of))) => {
                envelope = envelope
                    .text("stream", of.stream)
                    .text("consumer", of.consumer)
                    .plain("sequence", of.sequence)
                    .plain("delivered", of.count)
                    .plain("time", of.time);
            }
            Some((reply, None)) => envelope = envelope.text("reply", reply),
            None => {}
        }
        if !delivery.headers.is_empty() {
            let mut inside = self.header_envelope.begin();
            for (name, value) in members {
                inside = inside.named(name, value);
            }
            let inside = inside.end();
            envelope = envelope.plain("headers", std::str::from_utf8(inside).unwrap_or("{}"));
        }
        let bytes = envelope.payload(delivery.payload).end();
        intake.message(topic, Message { bytes, fields: None });
    }

    fn give_up(&mut self, reason: &str, intake: &mut dyn Intake) {
        self.broken = true;
        intake.broken(reason);
    }

    fn read(&mut self, bytes: &[u8], intake: &mut dyn Intake, out: &mut Outbox) -> usize {
        let mut at = 0;
        while at < bytes.len() && !self.broken {
            match read(&bytes[at..], self.message_bytes_max) {
                Front::Said(said, length) => {
                    match said {
                        Said::Info(text) => self.info(text, intake, out),
                        Said::Message(delivery) => self.message(&delivery, &bytes[at..at + length], intake, out),
                        Said::Ping => {
                            say("PONG\r\n".to_owned(), out);
                            intake.control(None);
                        }
                        Said::Pong => self.pong(intake),
                        Said::Ok => intake.control(None),
                        Said::Error(reason) => self.error(reason, intake),
                    }
                    at += length;
                }
                Front::More(needed) => {
                    self.needed = needed;
                    return at;
                }
                Front::TooLong => {
                    let reason = too_long("message", self.message_bytes_max);
                    intake.unreadable(None, &reason, &bytes[at..]);
                    self.give_up(&reason, intake);
                }
                Front::Broken(reason) => {
                    intake.unreadable(None, reason, &bytes[at..]);
                    self.give_up(&format!("it broke the NATS protocol: {reason}"), intake);
                }
            }
        }
        self.needed = 0;
        bytes.len()
    }
}

impl Session for NatsSession {
    fn bound_messages(&mut self, bytes_max: usize) {
        self.message_bytes_max = bytes_max;
    }

    fn opened(&mut self, name: &str, greeting: &[String], _out: &mut Outbox) {
        name.clone_into(&mut self.name);
        let members = self.connect_keys.iter().zip(greeting);
        self.connect = members.map(|(key, value)| (key.clone(), value.as_str().into())).collect();
    }

    fn subscribe(&mut self, topics: &[TopicId], out: &mut Outbox) {
        let new = topics.iter().filter(|topic| !self.carried.contains(topic));
        let new: Vec<TopicId> = new.copied().collect();
        self.carried.extend(new);
        if self.connected {
            self.ask(topics, out);
        } else {
            self.waiting.retain(|topic| !topics.contains(topic));
            self.waiting.extend(topics);
        }
    }

    fn unsubscribe(&mut self, topics: &[TopicId], out: &mut Outbox) {
        self.carried.retain(|topic| !topics.contains(topic));
        self.waiting.retain(|topic| !topics.contains(topic));
        let mut text = String::new();
        for topic in topics {
            write!(text, "UNSUB {}\r\n", u64::from(topic.0) + 1).expect("a string takes it");
        }
        if self.connected && !text.is_empty() {
            say(text, out);
        }
    }

    fn adopt(&mut self, topics: &Arc<[Topic]>, _plan: &ReadingPlan) {
        self.topics = Arc::clone(topics);
    }

    fn keep_alive(&mut self, _out: &mut Outbox) {}

    fn take_receipts(&mut self) -> Vec<Receipt> {
        std::mem::take(&mut self.receipts)
    }

    fn durable(&mut self, receipts: &[Receipt], out: &mut Outbox) {
        let mut text = String::new();
        // Both are in order, and no number is given twice.
        for receipt in receipts {
            while self.owed.front().is_some_and(|(number, _)| *number <= receipt.0) {
                let Some((number, reply)) = self.owed.pop_front() else { break };
                if number == receipt.0 {
                    write!(text, "PUB {reply} 4\r\n+ACK\r\n").expect("a string takes it");
                }
            }
        }
        if !text.is_empty() {
            say(text, out);
        }
    }

    fn receive(&mut self, frame: Frame<'_>, intake: &mut dyn Intake, out: &mut Outbox) {
        if self.broken {
            return;
        }
        let bytes = frame.bytes();
        // A frame is mostly whole lines, which are read where they are.
        if self.buffer.is_empty() {
            let read = self.read(bytes, intake, out);
            self.buffer.extend_from_slice(&bytes[read..]);
            return;
        }
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= self.needed {
            let buffer = std::mem::take(&mut self.buffer);
            let read = self.read(&buffer, intake, out);
            self.buffer = buffer;
            self.buffer.drain(..read);
        }
    }
}

fn say(text: String, out: &mut Outbox) {
    out.push(OutFrame::Binary(text.into_bytes()));
}
