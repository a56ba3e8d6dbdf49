//! How a connection begins: a handshake of WebSocket, the head of an HTTP request, or nothing at all.

use std::io;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::accept_hdr_async_with_config;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::http::{HeaderValue, StatusCode};

use super::dialects::Greeting;
use super::figures::add;
use super::frames::Framing;
use super::server::Shared;
use super::settings::{Handshake, SimulatedDialect, Source};

/// A client that has not finished its handshake by then is dropped.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);
/// A client of plain TCP may wait for the server to begin; one of WebSocket asks at once.
const FIRST_WORD_MAX: Duration = Duration::from_millis(500);
/// The longest head of a request.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// A connection that has begun.
pub(crate) struct Opened {
    pub(crate) stream: TcpStream,
    pub(crate) framing: Framing,
    /// What the client has sent already behind its head.
    pub(crate) read_ahead: Vec<u8>,
}

/// Begins a connection; none where it is refused, or the client says nothing sensible.
pub(crate) async fn open(stream: TcpStream, shared: &Shared) -> Option<(Opened, Greeting)> {
    // Latency is measured through this; a failure only makes it worse.
    drop(stream.set_nodelay(true));
    let dialect = match &shared.settings.source {
        Source::Synthetic(dialect) => Some(*dialect),
        Source::Recording(_) | Source::Flood(_) => None,
    };
    match dialect {
        // Each request is an attempt, so that none is counted here.
        Some(SimulatedDialect::Poll) => Some((
            Opened { stream, framing: Framing::Requests, read_ahead: Vec::new() },
            Greeting { target: String::from("/"), last_event_id: None },
        )),
        Some(SimulatedDialect::Sse) => {
            tokio::time::timeout(HANDSHAKE_MAX, stream_of_events(stream, shared)).await.ok()?
        }
        Some(SimulatedDialect::Qsys) if !asks_for_websocket(&stream).await => {
            let admitted = shared.admit().1;
            let opened = Opened { stream, framing: Framing::NulEnded, read_ahead: Vec::new() };
            admitted.then_some((opened, Greeting { target: String::from("/"), last_event_id: None }))
        }
        _ => shake(stream, shared).await,
    }
}

impl Shared {
    /// Counts an attempt to connect. Gives the status that it is to be refused with, and whether it may stay open otherwise.
    pub(crate) fn admit(&self) -> (Option<(u16, Option<Duration>)>, bool) {
        let handshake = self.faults().handshake;
        let attempt = self.attempts.fetch_add(1, Ordering::Relaxed);
        let refusal = handshake.status.filter(|_| attempt < handshake.refusals);
        if refusal.is_some() {
            add(&self.counters.handshakes_refused, 1);
        }
        let begun = refusal_count(handshake);
        let stays = attempt < begun || attempt >= begun + handshake.accept_then_close;
        (refusal.map(|status| (status, handshake.retry_after)), stays)
    }
}

fn refusal_count(handshake: Handshake) -> u64 {
    if handshake.status.is_some() { handshake.refusals } else { 0 }
}

async fn asks_for_websocket(stream: &TcpStream) -> bool {
    let mut first = [0];
    let peeked = tokio::time::timeout(FIRST_WORD_MAX, stream.peek(&mut first)).await;
    matches!(peeked, Ok(Ok(1)) if first == *b"G")
}

/// Shakes hands.
async fn shake(stream: TcpStream, shared: &Shared) -> Option<(Opened, Greeting)> {
    let (refusal, stays) = shared.admit();
    let mut target = String::from("/");
    #[expect(clippy::result_large_err, reason = "the library's own type, once a connection")]
    let callback = |request: &Request, mut response: Response| {
        if let Some((status, retry_after)) = refusal {
            return Err(refuse(status, retry_after));
        }
        target = request.uri().path_and_query().map_or_else(|| String::from("/"), ToString::to_string);
        // Whatever is asked for is agreed to: each dialect that has a subprotocol has one.
        if let Some(subprotocol) = request.headers().get("Sec-WebSocket-Protocol") {
            response.headers_mut().insert("Sec-WebSocket-Protocol", subprotocol.clone());
        }
        Ok(response)
    };
    let accepted = tokio::time::timeout(HANDSHAKE_MAX, accept_hdr_async_with_config(stream, callback, None)).await;
    let socket = accepted.ok()?.ok()?;
    // Nothing is lost with the library's buffers: it takes bytes after the client's request for an error.
    let opened = Opened { stream: socket.into_inner(), framing: Framing::WebSocket, read_ahead: Vec::new() };
    stays.then_some((opened, Greeting { target, last_event_id: None }))
}

fn refuse(status: u16, retry_after: Option<Duration>) -> ErrorResponse {
    let mut response = ErrorResponse::new(Some(format!("refused with {status} on request\n")));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
    if let Some(after) = retry_after {
        response.headers_mut().insert("Retry-After", HeaderValue::from(after.as_secs()));
    }
    response
}

/// Answers a request for an endless stream of events.
async fn stream_of_events(mut stream: TcpStream, shared: &Shared) -> Option<(Opened, Greeting)> {
    let (head, read_ahead) = read_head(&mut stream).await.ok()??;
    let request = HttpRequest::parse(&head)?;
    let (refusal, stays) = shared.admit();
    if let Some((status, retry_after)) = refusal {
        return close_with(stream, &short_answer(status, retry_after)).await;
    }
    if !stays {
        return None;
    }
    let topic = request.target.trim_start_matches('/');
    if !SimulatedDialect::Sse.has_topic(topic) || shared.faults().refuse.iter().any(|refused| refused == topic) {
        add(&shared.counters.refused, 1);
        return close_with(stream, &short_answer(404, None)).await;
    }
    let answer = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nCache-Control: no-store\r\n\
        Transfer-Encoding: chunked\r\n\r\n";
    stream.write_all(answer.as_bytes()).await.ok()?;
    let greeting = Greeting {
        target: request.target.to_owned(),
        last_event_id: request.header("last-event-id").map(str::to_owned),
    };
    Some((Opened { stream, framing: Framing::Chunked, read_ahead }, greeting))
}

async fn close_with<T>(mut stream: TcpStream, answer: &str) -> Option<T> {
    stream.write_all(answer.as_bytes()).await.ok()?;
    stream.shutdown().await.ok()?;
    None
}

/// An answer that says no more than its status, behind which the connection is closed.
pub(crate) fn short_answer(status: u16, retry_after: Option<Duration>) -> String {
    let wait = retry_after.map_or_else(String::new, |after| format!("Retry-After: {}\r\n", after.as_secs()));
    let body = format!("refused with {status}\n");
    format!(
        "HTTP/1.1 {status} Refused\r\n{wait}Content-Type: text/plain\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}

/// A request's head up to its empty line, and what was read behind it. None at an end, or where there is too much of it.
async fn read_head(stream: &mut TcpStream) -> io::Result<Option<(String, Vec<u8>)>> {
    const END: &[u8] = b"\r\n\r\n";
    let mut read = Vec::new();
    loop {
        if let Some(at) = read.windows(END.len()).position(|window| window == END) {
            let rest = read.split_off(at + END.len());
            read.truncate(at);
            return Ok(String::from_utf8(read).ok().map(|head| (head, rest)));
        }
        if read.len() > HEAD_BYTES_MAX || stream.read_buf(&mut read).await? == 0 {
            return Ok(None);
        }
    }
}

/// The head of a request.
#[derive(Debug)]
pub(crate) struct HttpRequest<'a> {
    /// Path and query.
    pub(crate) target: &'a str,
    headers: &'a str,
}

impl<'a> HttpRequest<'a> {
    /// None: it is no GET.
    pub(crate) fn parse(head: &'a str) -> Option<Self> {
        let (first, headers) = head.split_once("\r\n").unwrap_or((head, ""));
        let mut words = first.split(' ');
        (words.next() == Some("GET")).then_some(())?;
        Some(Self { target: words.next()?, headers })
    }

    /// The value of a header by its name in small letters.
    pub(crate) fn header(&self, name: &str) -> Option<&'a str> {
        let named = self.headers.split("\r\n").filter_map(|line| line.split_once(':'));
        named.filter(|(its, _)| its.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).next()
    }
}
