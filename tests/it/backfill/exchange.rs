//! A provider for tests: the same trades over WebSocket as they come, and over HTTP as history, in every style of pages.

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::{Message, accept};

use crate::processes::until;

/// Items of a page.
pub(super) const PAGE: usize = 15;

/// Between two trades.
const STEP: Duration = Duration::from_millis(4);

/// What a history request is answered with, in the place of an answer.
#[derive(Debug, Clone)]
pub(super) enum Fault {
    /// A status, and perhaps `Retry-After` in seconds.
    Status(u16, Option<u64>),
    /// A body that is none.
    Garbage(&'static str),
    /// Half of an answer, then the end of the connection.
    CutShort,
    /// The answer, with items in it that nobody asked for.
    WithForeign,
    /// Only items that nobody asked for.
    OnlyForeign,
}

/// The provider. Its threads end with the connections, at the latest with the process.
pub(super) struct Exchange {
    live: SocketAddr,
    history: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// When each trade was, in milliseconds; its number is its id.
    trades: Mutex<Vec<u64>>,
    paused: AtomicBool,
    over: AtomicBool,
    /// Nobody gets through.
    closed: AtomicBool,
    /// Connections that are to be cut: those with a lower number.
    cut: AtomicUsize,
    faults: Mutex<VecDeque<Fault>>,
    /// Answers that may still be given; none: any.
    answers: Mutex<Option<usize>>,
    requests: Mutex<Vec<String>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap()
}

fn now() -> u64 {
    u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap()
}

impl Exchange {
    pub(super) fn start() -> Self {
        let shared = Arc::<Shared>::default();
        let (live, history) = (TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
        let exchange = Self {
            live: live.local_addr().unwrap(),
            history: history.local_addr().unwrap(),
            shared: Arc::clone(&shared),
        };
        let trading = Arc::clone(&shared);
        thread::spawn(move || {
            while !trading.over.load(Ordering::SeqCst) {
                if !trading.paused.load(Ordering::SeqCst) {
                    let mut trades = lock(&trading.trades);
                    let time = now().max(trades.last().map_or(0, |last| last + 1));
                    trades.push(time);
                }
                thread::sleep(STEP);
            }
        });
        let linking = Arc::clone(&shared);
        thread::spawn(move || {
            for (number, stream) in live.incoming().enumerate() {
                let (Ok(stream), shared) = (stream, Arc::clone(&linking)) else { return };
                thread::spawn(move || link(stream, number, &shared));
            }
        });
        thread::spawn(move || {
            for stream in history.incoming() {
                let (Ok(stream), shared) = (stream, Arc::clone(&shared)) else { return };
                thread::spawn(move || answer(stream, &shared));
            }
        });
        exchange
    }

    pub(super) fn live_url(&self) -> String {
        format!("ws://{}/", self.live)
    }

    pub(super) fn history_url(&self) -> String {
        format!("http://{}", self.history)
    }

    /// How many trades there were so far.
    pub(super) fn trades(&self) -> usize {
        lock(&self.shared.trades).len()
    }

    /// Waits until there were so many more.
    pub(super) fn trade_on(&self, more: usize) {
        let enough = self.trades() + more;
        until("trades go on", || (self.trades() >= enough).then_some(()));
    }

    /// There are no more trades from now on.
    pub(super) fn pause(&self) {
        self.shared.paused.store(true, Ordering::SeqCst);
        // One may be under way.
        let mut last = self.trades();
        until("no more trades", || {
            thread::sleep(STEP * 3);
            std::mem::replace(&mut last, self.trades()).eq(&self.trades()).then_some(())
        });
    }

    /// Cuts every link, and takes none.
    pub(super) fn close(&self) {
        self.shared.closed.store(true, Ordering::SeqCst);
        self.shared.cut.store(usize::MAX, Ordering::SeqCst);
    }

    /// Takes links again.
    pub(super) fn open(&self) {
        self.shared.cut.store(0, Ordering::SeqCst);
        self.shared.closed.store(false, Ordering::SeqCst);
    }

    /// The next requests come to this.
    pub(super) fn faults(&self, faults: impl IntoIterator<Item = Fault>) {
        lock(&self.shared.faults).extend(faults);
    }

    /// Gives so many answers, and then none until it is told otherwise.
    pub(super) fn answers(&self, answers: Option<usize>) {
        *lock(&self.shared.answers) = answers;
    }

    /// What was asked, line by line.
    pub(super) fn requests(&self) -> Vec<String> {
        lock(&self.shared.requests).clone()
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::SeqCst);
    }
}

fn link(stream: TcpStream, number: usize, shared: &Shared) {
    let over = || shared.over.load(Ordering::SeqCst) || shared.cut.load(Ordering::SeqCst) > number;
    if shared.closed.load(Ordering::SeqCst) {
        return;
    }
    let Ok(mut socket) = accept(stream) else { return };
    // The subscription; nobody answers it.
    if socket.read().is_err() {
        return;
    }
    let mut next = lock(&shared.trades).len();
    while !over() {
        let trades: Vec<(usize, u64)> = lock(&shared.trades).iter().copied().enumerate().skip(next).collect();
        for (id, time) in trades {
            let text = json!({"channel": "trades", "data": {"id": id, "ts": time}}).to_string();
            if over() || socket.send(Message::text(text)).is_err() {
                return;
            }
            next = id + 1;
        }
        thread::sleep(Duration::from_millis(1));
    }
}

/// One request a connection.
fn answer(stream: TcpStream, shared: &Shared) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let (mut line, mut length) = (String::new(), 0);
    if reader.read_line(&mut line).is_err() || line.is_empty() {
        return;
    }
    loop {
        let mut header = String::new();
        if reader.read_line(&mut header).is_err() || header.trim().is_empty() {
            break;
        }
        if let Some(value) = header.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    if reader.read_exact(&mut body).is_err() {
        return;
    }
    let target = line.split(' ').nth(1).unwrap_or_default().to_owned();
    let body = String::from_utf8(body).unwrap();
    lock(&shared.requests).push(format!("{target} {body}").trim_end().to_owned());
    // Nothing is answered until it may be, or nobody listens any more.
    loop {
        let mut answers = lock(&shared.answers);
        match &mut *answers {
            Some(0) => {}
            Some(left) => {
                *left -= 1;
                break;
            }
            None => break,
        }
        drop(answers);
        if shared.over.load(Ordering::SeqCst) {
            return;
        }
        thread::sleep(Duration::from_millis(2));
    }
    let fault = lock(&shared.faults).pop_front();
    let (headers, mut items) = page(&target, &body, shared);
    let mut status = (200, String::new());
    let foreign = || (0..5).map(|id| json!({"trade_id": 1_000_000 + id, "time": 1, "s": "ELSE"}));
    let mut text = None;
    match fault {
        None => {}
        Some(Fault::Status(code, wait)) => {
            status = (code, wait.map(|wait| format!("Retry-After: {wait}\r\n")).unwrap_or_default());
            text = Some("{\"message\":\"not now\"}".to_owned());
        }
        Some(Fault::Garbage(garbage)) => text = Some(garbage.to_owned()),
        Some(Fault::CutShort) => {
            let mut stream = stream;
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\nConnection: close\r\n\r\n{\"items\":[").ok();
            return;
        }
        Some(Fault::WithForeign) => list(&mut items).extend(foreign()),
        Some(Fault::OnlyForeign) => *list(&mut items) = foreign().collect(),
    }
    let text = text.unwrap_or_else(|| items.to_string());
    let (code, more) = status;
    let mut stream = stream;
    write!(
        stream,
        "HTTP/1.1 {code} X\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n{more}{headers}\r\n{text}",
        text.len()
    )
    .ok();
}

/// The items of an answer.
fn list(answer: &mut Value) -> &mut Vec<Value> {
    let list = if answer.get("items").is_some() { &mut answer["items"] } else { &mut answer["result"] };
    list.as_array_mut().unwrap()
}

fn item((id, time): &(u64, u64)) -> Value {
    json!({"trade_id": id, "time": time, "s": "X"})
}

/// The headers and the body of an answer, by the path's style.
fn page(target: &str, body: &str, shared: &Shared) -> (String, Value) {
    let url = url::Url::parse(&format!("http://x{target}")).unwrap();
    let text = |name: &str| url.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned());
    let number = |name: &str| text(name).map(|value| value.parse::<u64>().unwrap());
    let all: Vec<(u64, u64)> = (0..).zip(lock(&shared.trades).iter().copied()).collect();
    let within = |from: Option<u64>, to: Option<u64>| -> Vec<(u64, u64)> {
        let has = |time: u64| from.is_none_or(|from| time >= from) && to.is_none_or(|to| time <= to);
        all.iter().filter(|(_, time)| has(*time)).copied().collect()
    };
    let items = |found: &[(u64, u64)]| found.iter().map(item).collect::<Vec<Value>>();
    let none = String::new();
    match url.path() {
        "/item" => {
            let found = within(number("from"), number("to"));
            (none, json!({"items": items(&found[..found.len().min(PAGE)])}))
        }
        "/recent" => (none, json!({"items": items(&all[all.len().saturating_sub(20)..])})),
        "/cursor" => {
            let found = within(number("from"), number("to"));
            let start = text("cursor").map_or(0, |cursor| cursor.trim_start_matches("at-").parse().unwrap());
            let end = found.len().min(start + PAGE);
            let next = if end < found.len() { json!(format!("at-{end}")) } else { Value::Null };
            (none, json!({"items": items(&found[start..end]), "next": next}))
        }
        "/number" => {
            let found = within(number("from"), number("to"));
            let start = found.len().min((usize::try_from(number("page").unwrap()).unwrap() - 1) * PAGE);
            (none, json!({"items": items(&found[start..found.len().min(start + PAGE)])}))
        }
        "/link" => {
            let (from, to) = (number("from"), number("to"));
            let found = within(from, to);
            let start = usize::try_from(number("start").unwrap_or(0)).unwrap();
            let end = found.len().min(start + PAGE);
            let next = format!("Link: </link?from={}&to={}&start={end}>; rel=\"next\"\r\n", from.unwrap(), to.unwrap());
            (if end < found.len() { next } else { none }, json!({"items": items(&found[start..end])}))
        }
        "/rpc" => {
            let request: Value = serde_json::from_str(body).unwrap();
            let (from, to) = (request["params"][0].as_u64().unwrap(), request["params"][1].as_u64().unwrap());
            let found: Vec<_> = all.iter().filter(|(id, _)| (from..=to).contains(id)).copied().collect();
            if found.len() > PAGE {
                return (none, json!({"id": request["id"], "error": {"code": -32005, "message": "too many results"}}));
            }
            (none, json!({"id": request["id"], "result": items(&found)}))
        }
        "/newest" => {
            let below = number("before").unwrap_or_else(|| number("to").unwrap() + 1);
            let found: Vec<_> = all.iter().rev().filter(|(id, _)| *id < below).take(PAGE).copied().collect();
            let next = found.last().map(|(id, _)| format!("X-Before: {id}\r\n")).unwrap_or_default();
            (next, json!({"items": items(&found)}))
        }
        other => panic!("there is no {other}"),
    }
}
