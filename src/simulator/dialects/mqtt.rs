//! An MQTT 3.1.1 broker. A topic is a filter, under which the names of a few devices take turns. What is sent with quality of
//! service 1 is sent again to a client that comes back under its name, unless it has acknowledged it.
//!
//! Source: MQTT Version 3.1.1, OASIS Standard.

use std::collections::HashMap;
use std::fmt::Write as _;

use super::market::Market;
use super::{Desk, Draft, Moment, Series, Speaker, Standing, Wrapped};

/// Events that a client may owe acknowledgements of; then it gets no more. Source: brokers' windows are 20 to 1,000.
const WINDOW: usize = 1000;
/// The longest packet of a client.
const PACKET_BYTES_MAX: usize = 1 << 20;
/// The token of a subscription with quality of service 1.
const AT_LEAST_ONCE: &str = "1";
/// The name of a part that any may stand for.
const DEVICES: [&str; 4] = ["press", "pump", "oven", "belt"];

#[derive(Debug, Default)]
pub(super) struct MqttSpeaker {
    buffer: Vec<u8>,
    /// The client's name, once it has connected.
    client: Option<String>,
    /// Whether the client is remembered when it is away.
    standing: bool,
    /// Filter and position of what is not acknowledged, by packet id.
    owed: HashMap<u16, (String, u64)>,
    next_packet: u16,
    /// Filters in force.
    filters: Vec<String>,
}

impl MqttSpeaker {
    /// Takes the packets that are whole. None: this is no MQTT.
    fn packets(&mut self, desk: &mut Desk<'_>) -> Option<()> {
        loop {
            let (head, length) = match length(&self.buffer) {
                Head::Whole { head, length } => (head, length),
                Head::Begun => return Some(()),
                Head::None => return None,
            };
            if self.buffer.len() < head + length {
                return Some(());
            }
            let packet: Vec<u8> = self.buffer.drain(..head + length).collect();
            self.packet(packet[0], Reader(&packet[head..]), desk)?;
        }
    }

    fn packet(&mut self, first: u8, mut body: Reader<'_>, desk: &mut Desk<'_>) -> Option<()> {
        match first >> 4 {
            1 => self.connect(body, desk),
            _ if self.client.is_none() => None,
            4 => {
                let settled = self.owed.remove(&body.number()?);
                if let (Some((filter, position)), Some(client), true) = (settled, &self.client, self.standing) {
                    desk.standing.acknowledged(client, &filter, position);
                }
                Some(())
            }
            8 => self.subscribe(body, desk),
            10 => self.unsubscribe(body, desk),
            12 => {
                desk.pong_bytes(vec![0xd0, 0]);
                Some(())
            }
            14 => {
                desk.close(1000, "disconnected");
                Some(())
            }
            _ => None,
        }
    }

    fn connect(&mut self, mut body: Reader<'_>, desk: &mut Desk<'_>) -> Option<()> {
        let (name, level, flags) = (body.text()?, body.byte()?, body.byte()?);
        body.number()?;
        let client = body.text()?;
        if self.client.is_some() || name != "MQTT" {
            return None;
        }
        if level != 4 {
            desk.say_bytes(vec![0x20, 2, 0, 1]);
            return None;
        }
        let clean = flags & 2 != 0;
        if clean {
            desk.standing.forget(client);
        }
        let known = desk.standing.of(client).filter(|_| !clean);
        desk.say_bytes(vec![0x20, 2, u8::from(known.is_some()), 0]);
        self.standing = !clean;
        self.client = Some(client.to_owned());
        // Subscriptions are part of what a broker keeps.
        for (filter, token) in known.unwrap_or_default() {
            self.begin(&filter, &token, desk);
        }
        Some(())
    }

    fn begin(&mut self, filter: &str, token: &str, desk: &mut Desk<'_>) {
        let client = self.client.as_deref().unwrap_or_default();
        let again = self.standing && token == AT_LEAST_ONCE && !self.filters.iter().any(|known| known == filter);
        let since = again.then(|| desk.standing.subscribed(client, filter, token)).flatten();
        // A subscription is replaced by the same filter's.
        desk.unsubscribe(filter, if token == AT_LEAST_ONCE { "0" } else { AT_LEAST_ONCE });
        desk.resume(vec![filter.to_owned()], token, since, None);
        self.filters.retain(|known| known != filter);
        self.filters.push(filter.to_owned());
    }

    fn subscribe(&mut self, mut body: Reader<'_>, desk: &mut Desk<'_>) -> Option<()> {
        let packet = body.number()?;
        let mut codes = Vec::new();
        let mut begun = Vec::new();
        while !body.0.is_empty() {
            let (filter, qos) = (body.text()?, body.byte()?.min(1));
            if desk.refuses(filter) {
                codes.push(0x80);
            } else {
                codes.push(qos);
                begun.push((filter.to_owned(), qos.to_string()));
            }
        }
        let mut answer = vec![0x90];
        push_length(2 + codes.len(), &mut answer);
        answer.extend(packet.to_be_bytes());
        answer.extend(codes);
        desk.acknowledge_bytes(answer);
        for (filter, token) in begun {
            self.begin(&filter, &token, desk);
        }
        Some(())
    }

    fn unsubscribe(&mut self, mut body: Reader<'_>, desk: &mut Desk<'_>) -> Option<()> {
        let packet = body.number()?;
        while !body.0.is_empty() {
            let filter = body.text()?;
            self.filters.retain(|known| known != filter);
            if let Some(client) = &self.client {
                desk.standing.unsubscribed(client, filter);
            }
            for token in ["0", AT_LEAST_ONCE] {
                desk.unsubscribe(filter, token);
            }
        }
        let id = packet.to_be_bytes();
        desk.say_bytes(vec![0xb0, 2, id[0], id[1]]);
        Some(())
    }

    /// An id that no packet on its way has. There is one: the window is smaller than their number, and what comes again
    /// after a connection is not more than what is kept.
    fn packet_id(&mut self) -> u16 {
        loop {
            self.next_packet = self.next_packet.checked_add(1).unwrap_or(1);
            if !self.owed.contains_key(&self.next_packet) {
                return self.next_packet;
            }
        }
    }
}

impl Speaker for MqttSpeaker {
    fn hear(&mut self, _text: &str, desk: &mut Desk<'_>) {
        desk.close(1003, "MQTT is in binary frames");
    }

    fn hear_bytes(&mut self, bytes: &[u8], desk: &mut Desk<'_>) {
        self.buffer.extend_from_slice(bytes);
        if self.packets(desk).is_none() {
            desk.close(1002, "this is no MQTT 3.1.1");
        }
    }

    fn takes_more(&self) -> bool {
        self.owed.len() < WINDOW
    }

    fn wrap(&mut self, draft: &Draft, token: &str, text: &[u8], standing: &Standing) -> Wrapped {
        let certain = token == AT_LEAST_ONCE;
        let mut again = false;
        let mut body = Vec::with_capacity(text.len() + draft.name.len() + 4);
        push_text(&draft.name, &mut body);
        if certain {
            let packet = self.packet_id();
            body.extend(packet.to_be_bytes());
            let position = draft.position.unwrap_or_default();
            if let (Some(client), true) = (&self.client, self.standing) {
                again = standing.sent(client, &draft.of, position);
            }
            self.owed.insert(packet, (draft.of.clone(), position));
        }
        body.extend_from_slice(text);
        let mut frame = vec![0x30 | u8::from(certain) << 1 | u8::from(again) << 3];
        push_length(body.len(), &mut frame);
        frame.extend(body);
        Wrapped::Binary(frame)
    }
}

/// A packet's body that is read.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn number(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes([self.byte()?, self.byte()?]))
    }

    fn text(&mut self) -> Option<&'a str> {
        let length = usize::from(self.number()?);
        let (text, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        std::str::from_utf8(text).ok()
    }
}

/// What is read of a packet's head.
enum Head {
    /// Its bytes, and those that follow.
    Whole { head: usize, length: usize },
    /// More of it is to come.
    Begun,
    /// It is none of a packet that is taken.
    None,
}

fn length(bytes: &[u8]) -> Head {
    let mut length = 0;
    for (at, byte) in bytes.iter().enumerate().skip(1).take(4) {
        length |= usize::from(byte & 0x7f) << (7 * (at - 1));
        if byte & 0x80 == 0 {
            return if length <= PACKET_BYTES_MAX { Head::Whole { head: at + 1, length } } else { Head::None };
        }
    }
    if bytes.len() > 4 { Head::None } else { Head::Begun }
}

fn push_length(mut length: usize, out: &mut Vec<u8>) {
    loop {
        let (low, rest) = (u8::try_from(length & 0x7f).unwrap_or_default(), length >> 7);
        out.push(if rest > 0 { low | 0x80 } else { low });
        if rest == 0 {
            return;
        }
        length = rest;
    }
}

fn push_text(text: &str, out: &mut Vec<u8>) {
    // Filters are texts of the same form, so that no name is longer.
    out.extend(u16::try_from(text.len()).unwrap_or(u16::MAX).to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}

struct Readings {
    filter: String,
    market: Market,
}

pub(super) fn series(topic: &str, seed: u64, first_id: u64) -> Option<Box<dyn Series>> {
    let parts: Vec<&str> = topic.split('/').collect();
    let sound = |(at, part): (usize, &&str)| match *part {
        "+" => true,
        "#" => at + 1 == parts.len(),
        part => !part.contains(['+', '#', '\0']),
    };
    // Room for the names of devices.
    let fits = (1..=60_000).contains(&topic.len()) && parts.iter().enumerate().all(sound);
    fits.then(|| Box::new(Readings { filter: topic.to_owned(), market: Market::new(topic, "", seed, first_id) }) as _)
}

impl Series for Readings {
    fn next(&mut self, moment: Moment) -> Draft {
        let Self { filter, market } = self;
        let id = market.next_id();
        let device = DEVICES[market.rng.usize(..DEVICES.len())];
        let name: Vec<&str> =
            filter.split('/').map(|part| if matches!(part, "+" | "#") { device } else { part }).collect();
        let mut draft = Draft { position: Some(id), name: name.join("/"), of: filter.clone(), ..Draft::new() };
        draft.text.push_str(r#"{"n":"#);
        draft.push_id(&id.to_string(), false);
        _ = write!(draft.text, r#","t":{},"value":{}"#, moment.millis(), market.rng.u8(10..100));
        draft.mark_twist();
        draft.text.push('}');
        draft
    }
}
