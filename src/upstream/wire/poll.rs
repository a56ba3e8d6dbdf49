//! Answers to HTTP requests, one at a time, asked for again and again.

use std::collections::{HashMap, VecDeque};
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use reqwest::header::{ETAG, HeaderMap, HeaderName, HeaderValue, IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::{Bytes, Utf8Bytes};

use super::request::{Asking, over_open_link};
use super::{Incoming, Outgoing, WireError};
use crate::dialect::Opening;
use crate::http_client::HttpAnswer;
use crate::upstream::connect::ConnectError;

/// Requests whose last answer can be recognised by the server. Source: a guess; as many as a link has topics, mostly.
const KNOWN_MAX: usize = 4096;

/// Requests that may wait for the one before them. A session asks for a topic once at a time.
const WAITING_MAX: usize = 4096;

/// What is sent back so that an answer that we know need not be sent again.
type Known = Option<(HeaderName, HeaderValue)>;

type Answering = BoxFuture<'static, Result<HttpAnswer, ConnectError>>;

/// A wire of requests and answers.
pub(in crate::upstream) struct PollWire {
    asking: Asking,
    /// The request under way.
    current: Option<(String, Answering)>,
    waiting: VecDeque<String>,
    known: HashMap<String, (HeaderName, HeaderValue)>,
    /// The answer that opened the wire, for the first that asks the same.
    first: Option<(String, Incoming)>,
    /// Answers that are there already.
    ready: VecDeque<Incoming>,
    /// A ping of ours that was not answered yet.
    ping: Option<u64>,
}

impl PollWire {
    /// Asks for the first topic: an upstream that refuses that is not connected to.
    pub(in crate::upstream) async fn open(asking: Asking, opening: Opening) -> Result<Self, ConnectError> {
        let mut wire = Self {
            asking,
            current: None,
            waiting: VecDeque::new(),
            known: HashMap::new(),
            first: None,
            ready: VecDeque::new(),
            ping: None,
        };
        if let Some(text) = opening.path.filter(|text| !text.is_empty()) {
            let answer = ask(wire.asking.clone(), text.clone(), None).await?;
            let incoming = wire.take(&text, answer);
            wire.first = Some((text, incoming));
        }
        Ok(wire)
    }

    pub(super) fn poll_incoming(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Incoming, WireError>>> {
        if let Some(incoming) = self.ready.pop_front() {
            return Poll::Ready(Some(Ok(incoming)));
        }
        if self.current.is_none()
            && let Some(text) = self.waiting.pop_front()
        {
            let known = self.known.get(&text).cloned();
            self.current = Some((text.clone(), ask(self.asking.clone(), text, known).boxed()));
        }
        if let Some((_, answering)) = &mut self.current
            && let Poll::Ready(answer) = Pin::new(answering).poll(cx)
        {
            let Some((text, _)) = self.current.take() else { return Poll::Pending };
            let incoming = answer.map(|answer| self.take(&text, answer));
            return Poll::Ready(Some(incoming.map_err(|error| over_open_link(&error))));
        }
        self.ping.take().map_or(Poll::Pending, |ping| Poll::Ready(Some(Ok(Incoming::Pong(ping)))))
    }

    /// What an answer is; remembers by what it can be recognised.
    fn take(&mut self, text: &str, answer: HttpAnswer) -> Incoming {
        if answer.status == 304 || answer.status == 204 {
            return Incoming::Text(Utf8Bytes::default());
        }
        match recognised_by(&answer.headers) {
            Some(known) if self.known.len() < KNOWN_MAX || self.known.contains_key(text) => {
                self.known.insert(text.to_owned(), known);
            }
            _ => {
                self.known.remove(text);
            }
        }
        let body = Bytes::from(answer.body);
        Utf8Bytes::try_from(body.clone()).map_or(Incoming::Binary(body), Incoming::Text)
    }

    pub(super) fn start_send(&mut self, message: Outgoing) {
        match message {
            Outgoing::Ping(number) => self.ping = Some(number),
            Outgoing::Pong | Outgoing::Binary(_) => {}
            Outgoing::Text(text) => match self.first.take() {
                Some((known, incoming)) if known == text => self.ready.push_back(incoming),
                _ if self.waiting.len() < WAITING_MAX => self.waiting.push_back(text),
                _ => {}
            },
        }
    }
}

fn recognised_by(headers: &HeaderMap) -> Known {
    let tag = headers.get(ETAG).map(|tag| (IF_NONE_MATCH, tag.clone()));
    tag.or_else(|| headers.get(LAST_MODIFIED).map(|when| (IF_MODIFIED_SINCE, when.clone())))
}

async fn ask(asking: Asking, text: String, known: Known) -> Result<HttpAnswer, ConnectError> {
    let (mut request, pass) = asking.request(&Opening::default().behind(&text)).await?;
    if let Some((name, value)) = known {
        request.headers_mut().insert(name, value);
    }
    let answer = timeout(asking.timeout, asking.client.send(request)).await.map_err(|_| asking.late())?;
    let answer = answer.map_err(|error| asking.failed(error))?;
    if answer.is_success() || answer.status == 304 {
        return Ok(answer);
    }
    Err(asking.refused(&pass, answer.status, answer.retry_after))
}
