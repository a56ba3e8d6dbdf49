//! A NATS server. A topic is a subject; `*` and `>` in it stand for a few devices, which take turns. A subject that begins with
//! `deliver.` is that of a push consumer of `JetStream`: its messages wait for acknowledgements, and what was not acknowledged
//! comes again when the subject is subscribed to anew.
//!
//! Source: "NATS Client Protocol" and "`JetStream` wire API reference" of the NATS documentation.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Write as _;

use super::market::Market;
use super::{Desk, Draft, Greeting, Moment, Series, Speaker, Standing, Wrapped};

/// Messages of consumers that may wait for their acknowledgements. Source: `max_ack_pending` is 1,000 by default.
const PENDING_MAX: usize = 1000;
/// The longest line of a client, and the longest payload.
const CLIENT_BYTES_MAX: usize = 1 << 20;
/// What subjects of consumers begin with.
const DELIVER: &str = "deliver.";
const STREAM: &str = "simulated";
const DEVICES: [&str; 4] = ["press", "pump", "oven", "belt"];

#[derive(Debug, Default)]
pub(super) struct NatsSpeaker {
    buffer: Vec<u8>,
    /// Subject of each subscription.
    subjects: BTreeMap<String, String>,
    /// Reply subjects that an acknowledgement is waited for at.
    pending: HashSet<String>,
}

impl NatsSpeaker {
    /// Takes what is whole. None: this is not the protocol.
    fn take(&mut self, desk: &mut Desk<'_>) -> Option<()> {
        while let Some(at) = self.buffer.windows(2).position(|window| window == b"\r\n") {
            let line = std::str::from_utf8(&self.buffer[..at]).ok()?.to_owned();
            let mut words = line.split_ascii_whitespace();
            let verb = words.next().unwrap_or_default().to_ascii_uppercase();
            let words: Vec<&str> = words.collect();
            let mut end = at + 2;
            if verb == "PUB" {
                let size: usize = words.last()?.parse().ok().filter(|size| *size <= CLIENT_BYTES_MAX)?;
                if self.buffer.len() < end + size + 2 {
                    return Some(());
                }
                let is_acknowledgement = self.buffer[end..end + size].starts_with(b"+ACK");
                self.published(words.first()?, is_acknowledgement, desk);
                end += size + 2;
            } else {
                self.line(&verb, &words, desk)?;
            }
            self.buffer.drain(..end);
        }
        (self.buffer.len() <= CLIENT_BYTES_MAX).then_some(())
    }

    fn line(&mut self, verb: &str, words: &[&str], desk: &mut Desk<'_>) -> Option<()> {
        match (verb, words) {
            ("CONNECT" | "PONG", _) => {}
            ("PING", _) => desk.pong_bytes(b"PONG\r\n".to_vec()),
            ("SUB", [subject, number] | [subject, _, number]) => {
                if desk.refuses(subject) {
                    let refusal = format!("-ERR 'Permissions Violation for Subscription to \"{subject}\"'\r\n");
                    desk.say_bytes(refusal.into_bytes());
                } else {
                    self.subjects.insert((*number).to_owned(), (*subject).to_owned());
                    // A consumer is known by its subject, whoever is subscribed to it.
                    let since = subject.starts_with(DELIVER).then(|| desk.standing.subscribed(subject, subject, ""));
                    desk.resume(vec![(*subject).to_owned()], number, since.flatten(), None);
                }
            }
            ("UNSUB", [number, ..]) => {
                if let Some(subject) = self.subjects.remove(*number) {
                    desk.unsubscribe(subject, *number);
                }
            }
            _ => return None,
        }
        Some(())
    }

    fn published(&mut self, subject: &str, is_acknowledgement: bool, desk: &mut Desk<'_>) {
        // `$JS.ACK.STREAM.CONSUMER.DELIVERIES.SEQUENCE.…`
        let (Some(rest), true) = (subject.strip_prefix("$JS.ACK."), is_acknowledgement) else { return };
        let parts: Vec<&str> = rest.split('.').collect();
        if let [_, consumer, _, sequence, ..] = parts[..]
            && let Ok(sequence) = sequence.parse()
            && self.pending.remove(subject)
        {
            let deliver = format!("{DELIVER}{}", consumer.replace('_', "."));
            desk.standing.acknowledged(&deliver, &deliver, sequence);
        }
    }
}

impl Speaker for NatsSpeaker {
    fn greet(&mut self, _greeting: &Greeting, desk: &mut Desk<'_>) {
        let info = r#"INFO {"server_id":"SIMULATED","server_name":"simulated","version":"2.10.0","proto":1,"headers":true,"max_payload":1048576,"jetstream":true}"#;
        desk.say_bytes(format!("{info}\r\n").into_bytes());
    }

    fn hear(&mut self, text: &str, desk: &mut Desk<'_>) {
        self.hear_bytes(text.as_bytes(), desk);
    }

    fn hear_bytes(&mut self, bytes: &[u8], desk: &mut Desk<'_>) {
        self.buffer.extend_from_slice(bytes);
        if self.take(desk).is_none() {
            desk.say_bytes(b"-ERR 'Unknown Protocol Operation'\r\n".to_vec());
            desk.close(1002, "this is not the NATS protocol");
        }
    }

    fn takes_more(&self) -> bool {
        self.pending.len() < PENDING_MAX
    }

    fn wrap(&mut self, draft: &Draft, token: &str, text: &[u8], standing: &Standing) -> Wrapped {
        let mut reply = String::new();
        if draft.of.starts_with(DELIVER) {
            let sequence = draft.position.unwrap_or_default();
            let again = standing.sent(&draft.of, &draft.of, sequence);
            // A name has no dots.
            let consumer = draft.of[DELIVER.len()..].replace('.', "_");
            let time = draft.made.nanos();
            reply = format!("$JS.ACK.{STREAM}.{consumer}.{}.{sequence}.{sequence}.{time}.0", 1 + u8::from(again));
            self.pending.insert(reply.clone());
            reply.push(' ');
        }
        let head = format!("MSG {} {token} {reply}{}\r\n", draft.name, text.len());
        Wrapped::Binary([head.as_bytes(), text, b"\r\n"].concat())
    }
}

struct Readings {
    subject: String,
    market: Market,
}

pub(super) fn series(topic: &str, seed: u64, first_id: u64) -> Option<Box<dyn Series>> {
    let parts: Vec<&str> = topic.split('.').collect();
    let sound = |(at, part): (usize, &&str)| !part.is_empty() && (*part != ">" || at + 1 == parts.len());
    let fits = parts.iter().enumerate().all(sound) && !topic.contains(char::is_whitespace);
    // Acknowledgements name the consumer with `_` where its subject has dots.
    let told_apart = !(topic.starts_with(DELIVER) && topic.contains(['_', '*', '>']));
    (fits && told_apart)
        .then(|| Box::new(Readings { subject: topic.to_owned(), market: Market::new(topic, "", seed, first_id) }) as _)
}

impl Series for Readings {
    fn next(&mut self, moment: Moment) -> Draft {
        let Self { subject, market } = self;
        let id = market.next_id();
        let device = DEVICES[market.rng.usize(..DEVICES.len())];
        let name = if subject.starts_with(DELIVER) {
            format!("plant.{device}")
        } else {
            let parts = subject.split('.').map(|part| if matches!(part, "*" | ">") { device } else { part });
            parts.collect::<Vec<_>>().join(".")
        };
        let mut draft = Draft { position: Some(id), name, of: subject.clone(), made: moment, ..Draft::new() };
        draft.text.push_str(r#"{"n":"#);
        draft.push_id(&id.to_string(), false);
        _ = write!(draft.text, r#","t":{},"value":{}"#, moment.millis(), market.rng.u8(10..100));
        draft.mark_twist();
        draft.text.push('}');
        draft
    }
}
