//! Pre-encoded Binance trades, as fast as a client takes them.
//!
//! A connection's messages are encoded once, as whole frames one after the other in one buffer: some rounds over its
//! topics. Before a piece of it is written, only digits of fixed width are patched: the trade id and the times. So a
//! message costs little more than the system's copying, and a consumer can be measured beside it on the same machine.

use std::io;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::connection::{Connection, End, Heard, at};
use super::dialects::{Moment, streams_of};
use super::figures::{add, sub};
use super::frames::{ClientFrame, Opcode, push_frame};
use super::settings::FloodSettings;

/// Messages in a buffer at least, in whole rounds over the topics: about 1.4 MB. Prices repeat from buffer to buffer;
/// that far apart, a consumer's compression does not find them again.
const MESSAGES_MIN: usize = 8192;
/// Messages written at once: about 256 KiB.
const PIECE_MESSAGES: usize = 1536;
/// Topics on a connection at most: a buffer holds a message of each.
const TOPICS_MAX: usize = 20_000;
/// How often a paced flood sends.
const SLICE: Duration = Duration::from_millis(1);
/// Digits that count the messages of a topic.
const COUNTER_DIGITS: usize = 8;
const COUNTER_MAX: u64 = 100_000_000;
/// The first id's leading digits: one number for each time that a topic begins on a connection.
const SERIES_FIRST: u64 = 100_000;
const SERIES_MAX: u64 = 1_000_000;
/// What the time's digits are before they are patched.
const TIME_DIGITS: usize = 13;

/// What all connections of a flood share.
#[derive(Debug)]
pub(crate) struct Flood {
    /// Messages still to be sent; `u64::MAX`: without end.
    left: AtomicU64,
    series: AtomicU64,
    topics: AtomicUsize,
    start_topics: usize,
    changed: Notify,
}

impl Flood {
    pub(crate) fn new(settings: &FloodSettings) -> Self {
        Self {
            left: AtomicU64::new(settings.total.unwrap_or(u64::MAX)),
            series: AtomicU64::new(SERIES_FIRST),
            topics: AtomicUsize::new(0),
            start_topics: settings.start_topics,
            changed: Notify::new(),
        }
    }

    /// Takes up to `most` messages out of the total.
    fn claim(&self, most: u64) -> u64 {
        let mut claimed = 0;
        let result = self.left.try_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
            claimed = left.min(most);
            Some(if left == u64::MAX { left } else { left - claimed })
        });
        debug_assert!(result.is_ok(), "the update always gives a value");
        claimed
    }

    fn started(&self) -> bool {
        self.topics.load(Ordering::Relaxed) >= self.start_topics.max(1)
    }
}

/// Encoded messages of a connection.
struct Buffer {
    bytes: Vec<u8>,
    /// Where each message's frame begins; one more than there are messages.
    starts: Vec<usize>,
    /// From the beginning of a frame: where its counter and its two times are.
    counter_at: Vec<u16>,
    times_at: Vec<[u16; 2]>,
    topics: usize,
    /// Rounds counted so far, that is, messages of each topic before this buffer's first.
    rounds: u64,
    /// The next message to be sent.
    next: usize,
}

impl Buffer {
    /// Encodes messages for `topics`, each with ids that no other has.
    fn new(topics: &[String], flood: &Flood, rng: &mut fastrand::Rng) -> Option<Self> {
        let first_series = flood.series.fetch_add(topics.len() as u64, Ordering::Relaxed);
        if first_series + topics.len() as u64 > SERIES_MAX {
            return None;
        }
        let rounds = MESSAGES_MIN.div_ceil(topics.len());
        let mut buffer = Self {
            bytes: Vec::with_capacity(rounds * topics.len() * 176),
            starts: Vec::with_capacity(rounds * topics.len() + 1),
            counter_at: Vec::new(),
            times_at: Vec::new(),
            topics: topics.len(),
            rounds: 0,
            next: 0,
        };
        let zeros = "0".repeat(TIME_DIGITS);
        for _ in 0..rounds {
            for (topic, series) in topics.iter().zip(first_series..) {
                let symbol = topic.split('@').next().unwrap_or_default().to_ascii_uppercase();
                let price = format!("{}.{:02}000000", rng.u32(61_000..62_000), rng.u32(0..100));
                let size = format!("0.{:05}000", rng.u32(1..100_000));
                let maker = if rng.bool() { "true" } else { "false" };
                let head = format!(r#"{{"stream":"{topic}","data":{{"e":"trade","E":"#);
                let symbol = format!(r#","s":"{symbol}","t":{series}"#);
                let tail = format!(r#","p":"{price}","q":"{size}","T":"#);
                let end = format!(r#","m":{maker},"M":true}}}}"#);
                let counter = &zeros[..COUNTER_DIGITS];
                let text = [&head, &*zeros, &symbol, counter, &tail, &*zeros, &end].concat();
                let start = buffer.bytes.len();
                push_frame(&mut buffer.bytes, Opcode::Text, text.as_bytes());
                let header = buffer.bytes.len() - start - text.len();
                let event_at = header + head.len();
                let counter_at = event_at + TIME_DIGITS + symbol.len();
                let trade_at = counter_at + COUNTER_DIGITS + tail.len();
                buffer.starts.push(start);
                // A frame is shorter than 64 KiB as long as a topic's name is; longer names are refused.
                buffer.counter_at.push(u16::try_from(counter_at).ok()?);
                buffer.times_at.push([u16::try_from(event_at).ok()?, u16::try_from(trade_at).ok()?]);
            }
        }
        buffer.starts.push(buffer.bytes.len());
        Some(buffer)
    }

    fn messages(&self) -> usize {
        self.counter_at.len()
    }

    /// Patches the next messages, `most` at most and no more than are left in the buffer; gives the piece to write.
    fn patch(&mut self, most: usize) -> &[u8] {
        if self.next == self.messages() {
            self.next = 0;
            self.rounds += (self.messages() / self.topics) as u64;
        }
        let (first, end) = (self.next, self.messages().min(self.next + most));
        let time = digits::<TIME_DIGITS>(u64::try_from(Moment::now().millis()).unwrap_or(0));
        let mut message = first;
        while message < end {
            let round = message / self.topics;
            let counter = digits::<COUNTER_DIGITS>(self.rounds + round as u64);
            let round_end = end.min((round + 1) * self.topics);
            for index in message..round_end {
                let frame = &mut self.bytes[self.starts[index]..self.starts[index + 1]];
                let at = usize::from(self.counter_at[index]);
                frame[at..at + COUNTER_DIGITS].copy_from_slice(&counter);
                for at in self.times_at[index] {
                    let at = usize::from(at);
                    frame[at..at + TIME_DIGITS].copy_from_slice(&time);
                }
            }
            message = round_end;
        }
        self.next = end;
        &self.bytes[self.starts[first]..self.starts[end]]
    }

    /// Whether the counters have room for another buffer.
    fn is_spent(&self) -> bool {
        self.rounds + 2 * (self.messages() / self.topics) as u64 >= COUNTER_MAX
    }
}

fn digits<const N: usize>(mut number: u64) -> [u8; N] {
    let mut text = [b'0'; N];
    for digit in text.iter_mut().rev() {
        *digit += (number % 10) as u8;
        number /= 10;
    }
    text
}

/// Serves a connection to its end.
pub(crate) async fn pour(connection: &mut Connection, flood: &Flood, target: &str) -> End {
    let seed = connection.shared.settings.seed ^ connection.number;
    let mut pour =
        Pour { connection, flood, topics: Vec::new(), buffer: None, rng: fastrand::Rng::with_seed(seed), sent: 0 };
    let break_at = pour.connection.break_at(&mut pour.rng);
    pour.subscribe(streams_of(target));
    let end = match pour.run(break_at).await {
        Ok(()) => End::Over,
        Err(end) => end,
    };
    pour.set_topics(Vec::new());
    end
}

struct Pour<'a> {
    connection: &'a mut Connection,
    flood: &'a Flood,
    topics: Vec<String>,
    buffer: Option<Buffer>,
    rng: fastrand::Rng,
    /// Messages sent since the pace was last set.
    sent: u64,
}

impl Pour<'_> {
    async fn run(&mut self, break_at: Option<Instant>) -> Result<(), End> {
        let rate = self.connection.shared.settings.rate;
        let mut since = Instant::now();
        let mut share = (0, 0);
        loop {
            self.connection.write_out().await?;
            let all = self.flood.topics.load(Ordering::Relaxed);
            if share != (self.topics.len(), all) {
                share = (self.topics.len(), all);
                (since, self.sent) = (Instant::now(), 0);
            }
            let mut wake = None;
            if let Some(buffer) = &mut self.buffer
                && self.flood.started()
                && self.flood.left.load(Ordering::Relaxed) > 0
            {
                let due = if rate == 0 {
                    u64::MAX
                } else {
                    let nanos = since.elapsed().as_nanos() * u128::from(rate) * share.0 as u128;
                    let due = u64::try_from(nanos / (1_000_000_000 * share.1.max(1) as u128)).unwrap_or(u64::MAX);
                    due.saturating_sub(self.sent)
                };
                let room =
                    if buffer.next == buffer.messages() { buffer.messages() } else { buffer.messages() - buffer.next };
                let count = self.flood.claim(due.min(room.min(PIECE_MESSAGES) as u64));
                if count > 0 {
                    if buffer.is_spent() {
                        return Ok(());
                    }
                    let bytes = buffer.patch(usize::try_from(count).unwrap_or(usize::MAX));
                    self.connection.write(bytes).await?;
                    self.sent += count;
                    let counters = &self.connection.shared.counters;
                    add(&counters.events, count);
                    add(&counters.frames, count);
                }
                let pause = if rate > 0 { SLICE } else { Duration::ZERO };
                wake = Some(Instant::now() + pause);
            }
            let changed = self.flood.changed.notified();
            let connection = &mut *self.connection;
            let frame = tokio::select! {
                biased;
                () = connection.shared.cancel.cancelled() => return Err(End::Stopped),
                frame = connection.reader.next() => frame,
                () = at(break_at) => return Err(connection.way_of_breaking()),
                () = at(wake) => continue,
                () = changed, if wake.is_none() => continue,
            };
            self.hear(frame)?;
        }
    }

    fn hear(&mut self, frame: io::Result<Option<ClientFrame>>) -> Result<(), End> {
        let Some(Heard::Text(text)) = self.connection.answer(frame)? else { return Ok(()) };
        let Ok(request) = serde_json::from_str::<Value>(&text) else { return Ok(()) };
        let streams = request.get("params").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let streams: Vec<String> = streams.iter().filter_map(Value::as_str).map(str::to_owned).collect();
        let id = request.get("id").map_or_else(|| String::from("null"), ToString::to_string);
        let unsubscribe = request.get("method").and_then(Value::as_str) == Some("UNSUBSCRIBE");
        self.connection.push(Opcode::Text, format!(r#"{{"result":null,"id":{id}}}"#).as_bytes());
        if unsubscribe {
            let left = self.topics.iter().filter(|topic| !streams.contains(topic)).cloned().collect();
            self.set_topics(left);
        } else {
            self.subscribe(streams);
        }
        Ok(())
    }

    fn subscribe(&mut self, streams: Vec<String>) {
        let mut topics = self.topics.clone();
        let known: std::collections::HashSet<&String> = self.topics.iter().collect();
        let fits = |stream: &String| stream.len() < 1024 && !known.contains(stream);
        topics.extend(streams.into_iter().filter(fits));
        topics.truncate(TOPICS_MAX);
        if topics.len() > self.topics.len() {
            self.set_topics(topics);
        }
    }

    fn set_topics(&mut self, topics: Vec<String>) {
        let counters = &self.connection.shared.counters;
        self.flood.topics.fetch_add(topics.len(), Ordering::Relaxed);
        self.flood.topics.fetch_sub(self.topics.len(), Ordering::Relaxed);
        add(&counters.subscriptions, topics.len() as u64);
        sub(&counters.subscriptions, self.topics.len() as u64);
        self.topics = topics;
        self.buffer = if self.topics.is_empty() { None } else { Buffer::new(&self.topics, self.flood, &mut self.rng) };
        self.flood.changed.notify_waiters();
    }
}
