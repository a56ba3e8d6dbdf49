//! An upstream that lets in whom it knows, an HTTP server beside it, and signatures of their own making.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use ring::digest;
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{Error, Message, WebSocket, accept_hdr};

/// A handshake as it came.
#[derive(Debug, Clone, Default)]
pub(crate) struct Shake {
    pub(crate) at: Option<Instant>,
    pub(crate) path: String,
    /// As sent, to the byte.
    pub(crate) query: String,
    pub(crate) headers: BTreeMap<String, String>,
}

impl Shake {
    /// A parameter, decoded.
    pub(crate) fn parameter(&self, name: &str) -> Option<String> {
        let mut pairs = url::form_urlencoded::parse(self.query.as_bytes());
        pairs.find_map(|(key, value)| (key == name).then(|| value.into_owned()))
    }
}

/// A message of a client, and on which connection, from 1.
#[derive(Debug, Clone)]
pub(crate) struct Said {
    pub(crate) connection: usize,
    pub(crate) text: String,
}

/// What the upstream answers.
pub(crate) enum Answer {
    /// With this.
    Text(String),
    /// With a subscription: its acknowledgement, and from now on trades.
    Subscribed(String),
    /// By closing with a reason.
    Close(&'static str),
    /// Not at all.
    Nothing,
}

/// The status that refuses a handshake; none lets it in.
type Doorman = Box<dyn Fn(&Shake) -> Option<u16> + Send + Sync>;
/// What a message is answered with.
type Speaker = Box<dyn Fn(usize, &Value) -> Answer + Send + Sync>;

#[derive(Default)]
struct Seen {
    shakes: Vec<Shake>,
    said: Vec<Said>,
    /// To be closed.
    closed: usize,
}

/// A Binance that wants to know who we are. Its trades of `x@trade` are numbered by time, the same over all connections, so that a
/// number that is missing was missed.
pub(crate) struct Guarded {
    address: SocketAddr,
    seen: Arc<Mutex<Seen>>,
}

/// Time between two trades.
const TRADE: Duration = Duration::from_millis(10);

impl Guarded {
    pub(crate) fn start(
        doorman: impl Fn(&Shake) -> Option<u16> + Send + Sync + 'static,
        speaker: impl Fn(usize, &Value) -> Answer + Send + Sync + 'static,
    ) -> Self {
        Self::greeting(None, doorman, speaker)
    }

    /// One that says something to whoever comes.
    pub(crate) fn greeting(
        greeting: Option<&'static str>,
        doorman: impl Fn(&Shake) -> Option<u16> + Send + Sync + 'static,
        speaker: impl Fn(usize, &Value) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let seen: Arc<Mutex<Seen>> = Arc::default();
        let (noted, began) = (Arc::clone(&seen), Instant::now());
        let (doorman, speaker): (Doorman, Speaker) = (Box::new(doorman), Box::new(speaker));
        let rules = Arc::new((doorman, speaker));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { return };
                let (rules, seen) = (Arc::clone(&rules), Arc::clone(&noted));
                thread::spawn(move || {
                    let connection = Connection { rules: &rules, seen: &seen, began };
                    if let Some((number, mut socket)) = connection.let_in(stream) {
                        if let Some(greeting) = greeting {
                            socket.send(Message::text(greeting)).ok();
                        }
                        connection.serve(number, socket);
                    }
                });
            }
        });
        Self { address, seen }
    }

    pub(crate) fn url(&self) -> String {
        format!("ws://{}/stream", self.address)
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    pub(crate) fn shakes(&self) -> Vec<Shake> {
        self.seen.lock().unwrap().shakes.clone()
    }

    pub(crate) fn said(&self) -> Vec<Said> {
        self.seen.lock().unwrap().said.clone()
    }

    /// Ends all connections that there are.
    pub(crate) fn close_all(&self) {
        let mut seen = self.seen.lock().unwrap();
        seen.closed = seen.shakes.len();
    }
}

struct Connection<'a> {
    rules: &'a (Doorman, Speaker),
    seen: &'a Mutex<Seen>,
    began: Instant,
}

impl Connection<'_> {
    fn let_in(&self, stream: TcpStream) -> Option<(usize, WebSocket<TcpStream>)> {
        stream.set_nodelay(true).ok();
        let mut number = 0;
        #[expect(clippy::result_large_err, reason = "the library's own types")]
        let check = |request: &Request, response: Response| -> Result<Response, ErrorResponse> {
            let header = |(name, value): (&_, &tokio_tungstenite::tungstenite::http::HeaderValue)| {
                let name: &tokio_tungstenite::tungstenite::http::HeaderName = name;
                (name.to_string(), value.to_str().unwrap_or_default().to_owned())
            };
            let shake = Shake {
                at: Some(Instant::now()),
                path: request.uri().path().to_owned(),
                query: request.uri().query().unwrap_or_default().to_owned(),
                headers: request.headers().iter().map(header).collect(),
            };
            let refusal = (self.rules.0)(&shake);
            let mut seen = self.seen.lock().unwrap();
            seen.shakes.push(shake);
            number = seen.shakes.len();
            match refusal {
                None => Ok(response),
                Some(status) => {
                    let mut response = ErrorResponse::new(None);
                    *response.status_mut() = status.try_into().expect("a status");
                    Err(response)
                }
            }
        };
        let socket = accept_hdr(stream, check).ok()?;
        socket.get_ref().set_read_timeout(Some(TRADE)).ok();
        Some((number, socket))
    }

    fn trade_now(&self) -> u128 {
        self.began.elapsed().as_millis() / TRADE.as_millis()
    }

    fn serve(&self, number: usize, mut socket: WebSocket<TcpStream>) {
        let mut next = None;
        loop {
            match socket.read() {
                Ok(Message::Text(text)) => {
                    let said = Said { connection: number, text: text.to_string() };
                    self.seen.lock().unwrap().said.push(said);
                    let value: Value = serde_json::from_str(&text).expect("requests are JSON");
                    let answer = match (self.rules.1)(number, &value) {
                        Answer::Nothing => continue,
                        Answer::Text(text) => text,
                        Answer::Subscribed(text) => {
                            next.get_or_insert_with(|| self.trade_now());
                            text
                        }
                        Answer::Close(reason) => {
                            let frame = CloseFrame { code: 4001.into(), reason: reason.into() };
                            socket.close(Some(frame)).ok();
                            continue;
                        }
                    };
                    if socket.send(Message::text(answer)).is_err() {
                        return;
                    }
                }
                Ok(_) => {}
                Err(Error::Io(error))
                    if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {}
                Err(_) => return,
            }
            if self.seen.lock().unwrap().closed >= number {
                socket.close(None).ok();
                socket.flush().ok();
                return;
            }
            let now = self.trade_now();
            while let Some(id) = next.filter(|id| *id < now) {
                if socket.send(crate::raw_upstream::trade(&id.to_string())).is_err() {
                    return;
                }
                next = Some(id + 1);
            }
        }
    }
}

/// What Binance answers to a request about subscriptions.
pub(crate) fn acknowledged(request: &Value) -> Answer {
    let text = json!({ "result": null, "id": request["id"] }).to_string();
    if request["method"] == "SUBSCRIBE" { Answer::Subscribed(text) } else { Answer::Text(text) }
}

/// An HTTP request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) at: Instant,
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: String,
}

/// An HTTP server: one answer a connection.
pub(crate) struct HttpServer {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl HttpServer {
    /// `answer` is the status and the body of the Nth request, from 1.
    pub(crate) fn start(answer: impl Fn(usize, &Asked) -> (u16, String) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let noted = Arc::clone(&asked);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { return };
                let Some(request) = read_request(&mut stream) else { continue };
                let number = {
                    let mut noted = noted.lock().unwrap();
                    noted.push(request.clone());
                    noted.len()
                };
                let (status, body) = answer(number, &request);
                let head =
                    format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
                // The client may be gone.
                stream.write_all((head + &body).as_bytes()).ok();
            }
        });
        Self { address, asked }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

/// Reads a head up to its empty line.
pub(crate) fn read_head(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    String::from_utf8(head).ok()
}

fn read_request(stream: &mut TcpStream) -> Option<Asked> {
    let head = read_head(stream)?;
    let mut lines = head.lines();
    let mut first = lines.next()?.split(' ').map(str::to_owned);
    let (method, target) = (first.next()?, first.next()?);
    let pairs = lines.filter_map(|line| line.split_once(": "));
    let headers: BTreeMap<String, String> =
        pairs.map(|(name, value)| (name.to_lowercase(), value.to_owned())).collect();
    let length = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    stream.read_exact(&mut body).ok()?;
    Some(Asked { at: Instant::now(), method, target, headers, body: String::from_utf8(body).ok()? })
}

/// HMAC as RFC 2104 has it, from the hash alone.
pub(crate) fn hmac(hash: &'static digest::Algorithm, key: &[u8], message: &[u8]) -> Vec<u8> {
    let block = hash.block_len();
    let mut padded = if key.len() > block { digest::digest(hash, key).as_ref().to_vec() } else { key.to_vec() };
    padded.resize(block, 0);
    let pad = |with: u8| padded.iter().map(move |byte| byte ^ with).collect::<Vec<u8>>();
    let inner = digest::digest(hash, &[&pad(0x36), message].concat());
    digest::digest(hash, &[&pad(0x5c), inner.as_ref()].concat()).as_ref().to_vec()
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    let digit = |value: u8| char::from_digit(u32::from(value), 16).unwrap();
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 0xf)]).collect()
}
