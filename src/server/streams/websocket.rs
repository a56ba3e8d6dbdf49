//! `/v1/ws/events`: an event a message; clients may commit over it.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{FromRequestParts as _, Query, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use axum::routing::get;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt as _, SinkExt as _, StreamExt as _};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde_json::json;
use tokio::time::Instant;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

use super::asked::{StreamQuery, session};
use super::desk::{Carrier, StreamDesk};
use super::session::{Ended, Out, Session};
use crate::journal::Offset;
use crate::server::problem::Problem;
use crate::server::serve::Shown;

/// What a client may say at once. Source: a commit has some 40 bytes.
const MESSAGE_MAX: usize = 4 << 10;

/// Kept by each connection for as long as it lives, so that thousands of them are cheap.
const READ_BUFFER: usize = 1 << 10;

/// The most that is gathered before it is written. What is written at once is bounded before.
const WRITE_BUFFER: usize = 128 << 10;

/// The longest that a close waits to be written.
const CLOSE_PATIENCE: Duration = Duration::from_secs(2);

pub(super) fn routes() -> Router<Shown> {
    Router::new().route("/v1/ws/events", get(events))
}

async fn events(State(shown): State<Shown>, request: Request) -> Result<Response, Problem> {
    let (mut parts, body) = request.into_parts();
    let accept = accept_key(&parts.method, &parts.headers)?;
    let query: Result<Query<StreamQuery>, QueryRejection> = Query::from_request_parts(&mut parts, &shown).await;
    let desk = shown.view.streams();
    let session = session(&desk, Carrier::WebSocket, query, &parts.headers)?;
    let upgrading = hyper::upgrade::on(Request::from_parts(parts, body));
    shown.upgraded.spawn(async move {
        // Whoever does not take up what it asked for has gone.
        let Ok(upgraded) = upgrading.await else { return };
        Connection::new(upgraded, session, desk).await.run().await;
    });
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    Ok(response)
}

/// The answer to a handshake: RFC 6455, 4.2.
fn accept_key(method: &Method, headers: &HeaderMap) -> Result<HeaderValue, Problem> {
    let has = |name: header::HeaderName, word: &str| {
        let values = headers.get_all(name);
        values
            .iter()
            .filter_map(|value| value.to_str().ok())
            .any(|value| value.split(',').any(|part| part.trim().eq_ignore_ascii_case(word)))
    };
    let key = headers.get(header::SEC_WEBSOCKET_KEY).filter(|key| key.len() == 24);
    let asks = method == Method::GET && has(header::CONNECTION, "upgrade") && has(header::UPGRADE, "websocket");
    match key {
        Some(key) if asks && has(header::SEC_WEBSOCKET_VERSION, "13") => {
            let accept = HeaderValue::try_from(derive_accept_key(key.as_bytes()));
            accept.map_err(|error| Problem::new(StatusCode::BAD_REQUEST, error.to_string()))
        }
        _ => {
            let detail =
                "this is a WebSocket (RFC 6455, version 13); ask with `Upgrade: websocket`, or take /v1/sse/events";
            Err(Problem::new(StatusCode::UPGRADE_REQUIRED, detail))
        }
    }
}

/// What a client may say.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
enum Said {
    /// Everything up to and with this event is done.
    Commit { offset: u64 },
}

struct Connection {
    socket: WebSocketStream<TokioIo<Upgraded>>,
    session: Session,
    desk: Arc<StreamDesk>,
    heard: Instant,
    /// The newest commit that is not durable.
    committing: Option<BoxFuture<'static, u64>>,
}

/// Why a connection is over.
enum Over {
    /// The client has gone, or closes.
    Left,
    /// It is told why.
    Told(Ended),
}

impl Connection {
    async fn new(upgraded: Upgraded, session: Session, desk: Arc<StreamDesk>) -> Self {
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER)
            .write_buffer_size(WRITE_BUFFER)
            .max_write_buffer_size(usize::MAX)
            .max_message_size(Some(MESSAGE_MAX))
            .max_frame_size(Some(MESSAGE_MAX));
        let socket = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, Some(config)).await;
        Self { socket, session, desk, heard: Instant::now(), committing: None }
    }

    async fn run(mut self) {
        let over = loop {
            let done = tokio::select! {
                biased;
                offset = committed(&mut self.committing) => {
                    self.committing = None;
                    self.note(json!({"type": "committed", "offset": offset}).to_string()).await
                }
                out = self.session.next() => self.tell(out).await,
                said = self.socket.next() => self.hear(said).await,
            };
            if let Err(over) = done {
                break over;
            }
        };
        let Over::Told(ended) = over else { return };
        if let Ended::Cut(reason) = &ended {
            self.session.seat.cut_off(reason);
        }
        // Reasons of a close have 123 bytes at most.
        let reason: String = ended.reason().chars().take(120).filter(char::is_ascii).collect();
        let code = match &ended {
            Ended::Cut(_) | Ended::Taken => CloseCode::Policy,
            Ended::Gone(_) => CloseCode::Library(4410),
            Ended::Broken(_) => CloseCode::Error,
        };
        let frame = CloseFrame { code, reason: reason.into() };
        // Who does not read is gone by then.
        drop(tokio::time::timeout(CLOSE_PATIENCE, self.socket.close(Some(frame))).await);
    }

    async fn tell(&mut self, out: Out) -> Result<(), Over> {
        match out {
            Out::Messages(messages) => {
                let form = self.session.form;
                for message in &messages {
                    let text = text(message.text(form).clone());
                    self.socket.feed(Message::Text(text)).await.map_err(|_| Over::Left)?;
                }
                self.flush().await
            }
            Out::Note(kind, text) => {
                if kind == "heartbeat" {
                    // Who is there answers the ping.
                    let settings = self.desk.settings();
                    if self.heard.elapsed() > settings.heartbeat * 2 + settings.stall_timeout {
                        return Err(Over::Told(Ended::Cut("no answer to pings".to_owned())));
                    }
                    self.socket.feed(Message::Ping(Bytes::new())).await.map_err(|_| Over::Left)?;
                }
                self.note(text).await
            }
            Out::End(ended) => {
                let note = json!({"type": "closed", "kind": ended.kind(), "reason": ended.reason()});
                self.note(note.to_string()).await?;
                Err(Over::Told(ended))
            }
        }
    }

    async fn note(&mut self, text: String) -> Result<(), Over> {
        self.socket.feed(Message::Text(text.into())).await.map_err(|_| Over::Left)?;
        self.flush().await
    }

    async fn flush(&mut self) -> Result<(), Over> {
        let patience = self.desk.settings().stall_timeout;
        match tokio::time::timeout(patience, self.socket.flush()).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(Over::Left),
            Err(_) => Err(Over::Told(Ended::Cut(format!("nothing was taken for {} s", patience.as_secs())))),
        }
    }

    async fn hear(&mut self, said: Option<Result<Message, tokio_tungstenite::tungstenite::Error>>) -> Result<(), Over> {
        let Some(Ok(message)) = said else { return Err(Over::Left) };
        self.heard = Instant::now();
        let text = match message {
            Message::Text(text) => text,
            Message::Close(_) => return Err(Over::Left),
            Message::Binary(_) => return self.refuse("binary messages are not understood").await,
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => return Ok(()),
        };
        let commit = match (serde_json::from_str(&text), &self.session.lease) {
            (Ok(Said::Commit { offset }), Some(lease)) => {
                lease.commit(Offset(offset), self.desk.durable()).map(|commit| (offset, commit))
            }
            (Ok(Said::Commit { .. }), None) => {
                return self.refuse("only a named consumer commits: connect with ?consumer=NAME").await;
            }
            (Err(error), _) => {
                let detail = format!(r#"expected {{"type": "commit", "offset": N}}: {error}"#);
                return self.refuse(&detail).await;
            }
        };
        match commit {
            Ok((offset, commit)) => {
                self.committing = Some(commit.durable().map(move |()| offset).boxed());
                Ok(())
            }
            Err(error) => self.refuse(&error.to_string()).await,
        }
    }

    async fn refuse(&mut self, detail: &str) -> Result<(), Over> {
        self.note(json!({"type": "error", "detail": detail}).to_string()).await
    }
}

async fn committed(commit: &mut Option<BoxFuture<'static, u64>>) -> u64 {
    match commit {
        Some(commit) => commit.await,
        None => std::future::pending().await,
    }
}

/// The text is JSON of our own making; where it is none after all, what can be read of it is sent.
fn text(bytes: Bytes) -> Utf8Bytes {
    Utf8Bytes::try_from(bytes).unwrap_or_else(|_| Utf8Bytes::from_static("{}"))
}
