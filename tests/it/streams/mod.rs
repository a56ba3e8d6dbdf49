//! What becomes durable reaches whoever listens: in order, once, from where they were.

mod consumers;
mod examples;
mod refusals;
mod resuming;
mod slow;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;
use tokio_tungstenite::tungstenite::{self, Message, WebSocket};

use super::processes::{Daemon, Feed, Settings, json};
use super::support::Workplace;

/// A message of an event stream.
#[derive(Debug, Clone, Default)]
struct Sent {
    id: Option<u64>,
    event: String,
    data: String,
}

impl Sent {
    fn json(&self) -> Value {
        serde_json::from_str(&self.data).unwrap_or_else(|error| panic!("{error}: {}", self.data))
    }
}

/// A client of `/v1/sse/events`.
struct Sse {
    lines: BufReader<TcpStream>,
    /// What was read of chunks and not yet taken.
    body: Vec<u8>,
}

impl Sse {
    /// Asks; the answer must be a stream.
    fn open(address: &str, query: &str, headers: &str) -> Self {
        match Self::try_open(address, query, headers) {
            Ok(stream) => stream,
            Err((status, body)) => panic!("{status}: {body}"),
        }
    }

    fn try_open(address: &str, query: &str, headers: &str) -> Result<Self, (u16, String)> {
        let mut socket = TcpStream::connect(address).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        write!(socket, "GET /v1/sse/events{query} HTTP/1.1\r\nHost: {address}\r\n{headers}\r\n").unwrap();
        let mut lines = BufReader::new(socket);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert!(lines.read_line(&mut head).unwrap() > 0, "the server closed: {head}");
        }
        let status: u16 = head.split(' ').nth(1).unwrap().parse().unwrap();
        if status != 200 {
            let length = head.to_lowercase().split("content-length: ").nth(1).unwrap_or("0").to_owned();
            let mut body = vec![0; length.lines().next().unwrap().trim().parse().unwrap()];
            lines.read_exact(&mut body).unwrap();
            return Err((status, head + &String::from_utf8(body).unwrap()));
        }
        assert!(head.to_lowercase().contains("content-type: text/event-stream"), "{head}");
        Ok(Self { lines, body: Vec::new() })
    }

    /// A line of the stream, out of its chunks; none at its end.
    fn line(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.body.iter().position(|byte| *byte == b'\n') {
                let rest = self.body.split_off(end + 1);
                let mut line = std::mem::replace(&mut self.body, rest);
                line.pop();
                return Some(String::from_utf8(line).unwrap());
            }
            let mut size = String::new();
            if self.lines.read_line(&mut size).unwrap_or(0) == 0 {
                return None;
            }
            if size.trim().is_empty() {
                continue;
            }
            let size = usize::from_str_radix(size.trim(), 16).unwrap();
            if size == 0 {
                return None;
            }
            let before = self.body.len();
            self.body.resize(before + size, 0);
            self.lines.read_exact(&mut self.body[before..]).ok()?;
        }
    }

    /// The next message; none when the stream has ended.
    fn next(&mut self) -> Option<Sent> {
        let mut sent = Sent::default();
        loop {
            let line = self.line()?;
            match line.split_once(": ") {
                Some(("id", id)) => sent.id = Some(id.parse().unwrap()),
                Some(("event", event)) => event.clone_into(&mut sent.event),
                Some(("data", data)) => data.clone_into(&mut sent.data),
                _ if line.is_empty() && !sent.event.is_empty() => return Some(sent),
                _ => {}
            }
        }
    }

    /// The next event, whatever comes between.
    fn event(&mut self) -> Option<Sent> {
        loop {
            let sent = self.next()?;
            assert!(sent.event != "dropped", "{sent:?}");
            if sent.event == "event" {
                return Some(sent);
            }
        }
    }
}

type Socket = WebSocket<tungstenite::stream::MaybeTlsStream<TcpStream>>;

/// A client of `/v1/ws/events`.
fn websocket(address: &str, query: &str) -> Socket {
    let (socket, _) = tungstenite::connect(format!("ws://{address}/v1/ws/events{query}")).unwrap();
    if let tungstenite::stream::MaybeTlsStream::Plain(stream) = socket.get_ref() {
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    }
    socket
}

/// The next text.
fn text(socket: &mut Socket) -> Value {
    loop {
        if let Message::Text(text) = socket.read().unwrap() {
            return serde_json::from_str(&text).unwrap();
        }
    }
}

/// A feed of two monitors, one of high and one of low priority.
fn start(place: &Workplace, rate: &str, more: &str) -> (Daemon, Feed) {
    start_with(place, rate, more, "")
}

/// As [`start`], with lines of `[server]`.
fn start_with(place: &Workplace, rate: &str, more: &str, server: &str) -> (Daemon, Feed) {
    let feed = Feed::start(place, &["--dialect", "binance", "--rate", rate, "--seed", "11", "--repeats", "0.05"]);
    let all = "[smart_streaming]\nenabled = true\n[pool]\nmin_connections = 1\nmax_connections = 1\n";
    let server = format!("[alerts]\nenabled = false\n{all}[server]\nlisten = \"127.0.0.1:0\"\n{server}");
    let settings = Settings::of(server)
        .upstream("feed", "binance", feed.url())
        .monitor("trades", "spot", "feed", &["btcusdt@trade", "ethusdt@trade"], "priority = \"high\"\n")
        .monitor("solana", "other", "feed", &["solusdt@trade"], "priority = \"low\"\n")
        .with(more);
    (Daemon::start(place, &settings), feed)
}

/// Offsets and payloads of the journal, by what `query` is asked.
fn journaled(place: &Workplace, query: &[&str]) -> Vec<(u64, String)> {
    let mut arguments = vec!["query"];
    arguments.extend(query);
    let lines = json(place, &arguments);
    let event = |line: &str| {
        let event: Value = serde_json::from_str(line).unwrap();
        (event["offset"].as_u64().unwrap(), event["payload"].to_string())
    };
    lines.lines().map(event).collect()
}
