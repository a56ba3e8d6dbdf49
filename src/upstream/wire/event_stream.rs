//! The endless answer to an HTTP request: `text/event-stream`.

use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use futures_util::{FutureExt, StreamExt};
use reqwest::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Bytes;

use super::request::{Asking, over_open_link};
use super::{Incoming, Outgoing, WireError};
use crate::dialect::Opening;
use crate::http_client::HttpError;
use crate::upstream::connect::ConnectError;

/// The header by which a server is told where to go on from.
const LAST_EVENT_ID: &str = "Last-Event-ID";

type Body = BoxStream<'static, Result<Bytes, HttpError>>;

enum State {
    /// Nothing is asked for.
    Idle,
    Opening(BoxFuture<'static, Result<Body, ConnectError>>),
    Streaming(Body),
}

/// A wire of one request at a time, whose answer has no end.
pub(in crate::upstream) struct EventStreamWire {
    asking: Asking,
    /// What is asked for.
    path: String,
    state: State,
    /// It is answered, and that was not told yet.
    accepted: bool,
    /// A ping of ours that was not answered yet.
    ping: Option<u64>,
}

impl EventStreamWire {
    /// Asks, and waits for the answer's head.
    pub(in crate::upstream) async fn open(asking: Asking, opening: Opening) -> Result<Self, ConnectError> {
        let path = opening.path.clone().unwrap_or_default();
        let state = if path.is_empty() { State::Idle } else { State::Streaming(ask(asking.clone(), opening).await?) };
        let accepted = matches!(state, State::Streaming(_));
        Ok(Self { asking, path, state, accepted, ping: None })
    }

    pub(super) fn poll_incoming(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Incoming, WireError>>> {
        if let State::Opening(opening) = &mut self.state {
            match Pin::new(opening).poll(cx) {
                Poll::Ready(Ok(body)) => {
                    self.state = State::Streaming(body);
                    self.accepted = true;
                }
                Poll::Ready(Err(error)) => {
                    self.state = State::Idle;
                    return Poll::Ready(Some(Err(over_open_link(&error))));
                }
                Poll::Pending => {}
            }
        }
        if std::mem::take(&mut self.accepted) {
            return Poll::Ready(Some(Ok(Incoming::Text(self.path.as_str().into()))));
        }
        if let State::Streaming(body) = &mut self.state {
            match body.poll_next_unpin(cx) {
                Poll::Ready(Some(Ok(piece))) => return Poll::Ready(Some(Ok(Incoming::Binary(piece)))),
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(WireError::Reset(error.to_string())))),
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Pending => {}
            }
        }
        self.ping.take().map_or(Poll::Pending, |ping| Poll::Ready(Some(Ok(Incoming::Pong(ping)))))
    }

    pub(super) fn start_send(&mut self, message: Outgoing) {
        match message {
            Outgoing::Ping(number) => self.ping = Some(number),
            Outgoing::Pong | Outgoing::Binary(_) => {}
            Outgoing::Text(text) => self.turn_to(&text),
        }
    }

    /// Asks for another path in the place of the one before; what is asked for already goes on.
    fn turn_to(&mut self, text: &str) {
        let (path, last_id) = text.split_once('\n').map_or((text, None), |(path, id)| (path, Some(id)));
        if path.is_empty() {
            self.path.clear();
            self.accepted = false;
            self.state = State::Idle;
        } else if path != self.path {
            path.clone_into(&mut self.path);
            self.accepted = false;
            let mut opening = Opening { path: Some(path.to_owned()), ..Opening::default() };
            opening.headers.extend(last_id.map(|id| (LAST_EVENT_ID.to_owned(), id.to_owned())));
            self.state = State::Opening(ask(self.asking.clone(), opening).boxed());
        }
    }
}

async fn ask(asking: Asking, opening: Opening) -> Result<Body, ConnectError> {
    let (mut request, pass) = asking.request(&opening).await?;
    request.headers_mut().insert(ACCEPT, HeaderValue::from_static("text/event-stream"));
    request.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let answer = timeout(asking.timeout, asking.client.open(request)).await.map_err(|_| asking.late())?;
    let answer = answer.map_err(|error| asking.failed(error))?;
    if answer.status != 200 {
        return Err(asking.refused(&pass, answer.status, answer.retry_after));
    }
    let kind = answer.headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if !kind.trim_start().to_ascii_lowercase().starts_with("text/event-stream") {
        let kind: String = kind.chars().take(100).collect();
        let reason = format!("its answer is `{kind}` and no `text/event-stream`; check the path of the address");
        return Err(ConnectError::Foreign { address: asking.address, reason });
    }
    Ok(answer.body)
}
