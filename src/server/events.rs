//! `/api/v1/events`: events of the journal, by all filters of `sluice query`; a page, or all of them as a stream.

mod cursor;
mod query;
mod rows;

use std::io;
use std::ops::ControlFlow;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures_util::stream;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc};

use self::query::EventQuery;
use self::rows::Rows;
use super::problem::Problem;
use super::serve::Shown;
use crate::journal::{Event, Hole, JournalError, JournalReader, Offset};

/// So many read the journal for clients at once; each has a block in memory. Others wait, but not for long.
const READERS_MAX: usize = 4;
/// The longest wait for a reader's place.
const PLACE_PATIENCE: Duration = Duration::from_secs(10);
/// An answer goes out in pieces of about this size, of which so many may wait.
const PIECE_BYTES: usize = 64 * 1024;
const PIECES_MAX: usize = 4;
/// A client that takes no piece for so long has left.
const PIECE_PATIENCE: Duration = Duration::from_secs(30);

static READERS: Semaphore = Semaphore::const_new(READERS_MAX);

/// Its routes.
pub(super) fn routes() -> Router<Shown> {
    Router::new().route("/api/v1/events", get(events))
}

async fn events(State(shown): State<Shown>, RawQuery(raw): RawQuery, headers: HeaderMap) -> Response {
    match answer(shown, raw.unwrap_or_default(), headers).await {
        Ok(response) => response,
        Err(refusal) => refusal.into_response(),
    }
}

async fn answer(shown: Shown, raw: String, headers: HeaderMap) -> Result<Response, Problem> {
    let query = EventQuery::read(&raw, headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()))?;
    let place = tokio::time::timeout(PLACE_PATIENCE, READERS.acquire()).await;
    let Ok(Ok(place)) = place else {
        let detail = format!("{READERS_MAX} others are reading events; try again in a moment");
        return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail).retry_after(Duration::from_secs(1)));
    };
    let opened = tokio::task::spawn_blocking(move || {
        let mut reader = shown.view.reader();
        let span = open(&mut reader, &query)?;
        Ok::<_, Problem>((reader, query, span))
    });
    let (reader, query, span) = opened.await.map_err(Problem::bug)??;
    let format = query.format;
    let (queue, taken) = mpsc::channel(PIECES_MAX);
    let handle = Handle::current();
    // It ends by itself when the client leaves: then nobody takes its pieces.
    drop(tokio::task::spawn_blocking(move || {
        let _place = place;
        let mut out = Pieces { queue, handle, waiting: Vec::with_capacity(PIECE_BYTES) };
        if let Err(error) = write(reader, &query, &span, &mut out) {
            tracing::debug!("events are not sent to their end: {error}");
            // So that it does not look as if that were all.
            out.queue.try_send(Err(error)).ok();
        }
    }));
    let body = Body::from_stream(stream::unfold(taken, |mut taken| async { Some((taken.recv().await?, taken)) }));
    let mut response = Response::new(body);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(format.media_type()));
    Ok(response)
}

/// What of the journal there is to be looked at.
struct Span {
    earliest: Offset,
    /// What becomes durable later is for later pages.
    end: Offset,
}

fn open(reader: &mut JournalReader, query: &EventQuery) -> Result<Span, Problem> {
    let unreadable = |error: JournalError| {
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, format!("the journal cannot be read: {error}"))
    };
    let (earliest, durable) = (reader.earliest().map_err(unreadable)?, reader.durable().map_err(unreadable)?);
    if let Some(from) = query.from
        && from < earliest
    {
        let detail = format!("events before offset {earliest} are gone by retention; ask with `from={earliest}`");
        return Err(Problem::new(StatusCode::GONE, detail).with("parameter", "from").with("earliest", earliest.0));
    }
    query.filter().seek(reader).map_err(unreadable)?;
    let end = query.to.map_or(durable, |to| to.min(durable));
    Ok(Span { earliest, end })
}

/// The answer's text, handed on in pieces.
struct Pieces {
    queue: mpsc::Sender<io::Result<Bytes>>,
    handle: Handle,
    waiting: Vec<u8>,
}

impl Pieces {
    fn send(&mut self) -> io::Result<()> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let piece = Bytes::from(std::mem::replace(&mut self.waiting, Vec::with_capacity(PIECE_BYTES)));
        let sent = self.handle.block_on(async {
            tokio::time::timeout(PIECE_PATIENCE, self.queue.send(Ok(piece))).await.is_ok_and(|sent| sent.is_ok())
        });
        if sent { Ok(()) } else { Err(io::Error::new(io::ErrorKind::BrokenPipe, "the client has left")) }
    }
}

impl io::Write for Pieces {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.waiting.extend_from_slice(text);
        if self.waiting.len() >= PIECE_BYTES {
            self.send()?;
        }
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.send()
    }
}

fn write(mut reader: JournalReader, query: &EventQuery, span: &Span, out: &mut Pieces) -> io::Result<()> {
    let mut rows = Rows::begin(query.format, out)?;
    let mut left = query.limit.unwrap_or(u64::MAX);
    let (mut holes, mut next) = (Vec::new(), span.end.max(query.from.unwrap_or_default()));
    let walked = walk(&mut reader, query, span.end, &mut holes, |event| {
        if left == 0 {
            // This one is the first that the next page has.
            next = event.offset;
            return Ok(ControlFlow::Break(()));
        }
        left -= 1;
        rows.event(event)?;
        Ok(ControlFlow::Continue(()))
    })?;
    let more = walked.is_break();
    let holes = holes.into_iter().filter(|hole: &Hole| hole.from < next);
    rows.end(&rows::Ending {
        next: cursor::write(query, next),
        more,
        earliest: span.earliest.0,
        durable: span.end.0,
        lost: holes.map(|hole| (hole.from.0, hole.to.0)).collect(),
    })
}

/// Gives every event that fits to `take`, in order.
fn walk(
    reader: &mut JournalReader,
    query: &EventQuery,
    end: Offset,
    holes: &mut Vec<Hole>,
    mut take: impl FnMut(&Event<'_>) -> io::Result<ControlFlow<()>>,
) -> io::Result<ControlFlow<()>> {
    let wanted = query.filter();
    let filter = wanted.block_filter();
    while let Some(block) = reader.next_block(&filter).map_err(io::Error::other)? {
        holes.extend(reader.take_holes());
        for event in block.events() {
            if event.offset >= end {
                return Ok(ControlFlow::Continue(()));
            }
            if wanted.takes(&event) && take(&event)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
    }
    holes.extend(reader.take_holes());
    Ok(ControlFlow::Continue(()))
}
