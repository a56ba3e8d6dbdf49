//! One gap, from its edges to its end in the ledger; and one poll, which is a span without a gap.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::asking::{AskError, Asker, next_link};
use super::declaration::Declaration;
use super::edges::{Edges, Known, Subject};
use super::items::{NoItems, excerpt};
use super::place::{Place, Span, moment};
use super::taking::Taker;
use super::template::Filling;
use super::walk::{Ask, Page, Walk};
use crate::clock::UnixNanos;
use crate::config::PagesBy;
use crate::journal::{Journal, JournalError, Offset};
use crate::monitor::gap::{AmendedRecord, CoverageRecord, Filled, GapCause, LedgerRecord};
use crate::pipeline::dedupe::DedupeWindow;
use crate::recovery::replay::Progress;

/// The longest that is waited for the first event after a gap, where its place says where the gap ends. Source: a guess.
const AFTER_PATIENCE: Duration = Duration::from_mins(1);

/// The same where the provider has a word for the end. Source: a guess: a place can be split at, a word cannot.
const AFTER_PATIENCE_WITH_WORD: Duration = Duration::from_secs(3);

/// Time between two looks for it.
const AFTER_LOOK: Duration = Duration::from_millis(250);

/// An answer that is none is asked for so often. Source: a guess.
const BROKEN_MAX: u32 = 3;

/// Between these. Source: a guess.
const BROKEN_WAIT: Duration = Duration::from_millis(500);

/// `done` of an operation counts in thousandths of the span.
pub const PROGRESS_TOTAL: u64 = 1000;

/// A gap that is over and was not filled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// Its number in the journal.
    pub id: u64,
    /// Whose.
    pub monitor: Arc<str>,
    /// From where.
    pub upstream: Arc<str>,
    /// Which topic.
    pub topic: Arc<str>,
    /// Why.
    pub cause: GapCause,
    /// When it was lost.
    pub start: UnixNanos,
    /// When it was back.
    pub end: UnixNanos,
}

/// What filling needs beside the declaration.
pub struct Scene {
    /// Where gaps and events are.
    pub journal: Arc<Journal>,
    /// What was seen lately.
    pub window: Arc<DedupeWindow>,
    /// Who asks.
    pub asker: Asker,
    /// The daemon stops.
    pub stop: CancellationToken,
}

/// What became of a gap.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FillOutcome {
    /// Which gap.
    pub gap: u64,
    /// Where what was asked for begins, as the provider writes it.
    pub from: String,
    /// Where it ends.
    pub to: String,
    /// Events that it brought, those of earlier attempts too.
    pub events: u64,
    /// Items that the journal had already.
    pub repeats: u64,
    /// Items that were not asked for.
    pub foreign: u64,
    /// Items that could not be read; they are in quarantine.
    pub unreadable: u64,
    /// Requests of this attempt.
    pub requests: u64,
    /// Up to when it could not be filled, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_to: Option<String>,
}

/// Why something was not fetched.
#[derive(Debug, thiserror::Error)]
pub enum FillError {
    /// The daemon stops; the gap is begun again at the next start.
    #[error("the daemon is stopping; it begins again at the next start")]
    Stopped,
    /// It may help to try later.
    #[error("{0}")]
    Later(String),
    /// It would end in the same way.
    #[error("{0}")]
    Refused(String),
    /// The journal cannot be read.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

impl From<AskError> for FillError {
    fn from(error: AskError) -> Self {
        match error {
            AskError::Stopped => Self::Stopped,
            AskError::Failed(reason) => Self::Later(reason),
            AskError::Refused { .. } => Self::Refused(error.to_string()),
        }
    }
}

/// Where a gap's span begins and ends, and what of it the provider has no longer.
struct Bounds {
    span: Span,
    /// Since when ids have to be known.
    since: UnixNanos,
    left_to: Option<UnixNanos>,
}

/// Fills a gap and says so in the ledger. What was taken before an error is in the journal all the same.
///
/// # Errors
/// When it could not be filled.
pub async fn fill(
    scene: &Scene,
    gap: &Gap,
    mut declaration: Declaration,
    mut taker: Taker,
    progress: &Progress,
) -> Result<FillOutcome, FillError> {
    let ready = gap.end.saturating_add(declaration.delay).since(UnixNanos::now()).min(declaration.delay);
    if scene.stop.run_until_cancelled(tokio::time::sleep(ready)).await.is_none() {
        return Err(FillError::Stopped);
    }
    let bounds = bounds_of(scene, gap, &declaration, progress).await?;
    let known = remember(scene, gap, bounds.since).await?;
    let mut fetch = Fetch { scene, gap: Some((gap, bounds.since)), known_at: known.at, requests: 0, progress };
    let outcome = fetch.span(&bounds.span, &mut declaration, &mut taker).await;
    let measure = declaration.range.as_ref().map(|range| range.measure);
    let write = |place: &Place| measure.map_or_else(String::new, |measure| measure.write(place));
    let events = known.fetched + taker.taken.events;
    match outcome {
        Ok(()) => {
            taker.finish(&[amended(gap, events, bounds.left_to.map(|to| (gap.start, to)))]).await?;
            progress.reached(Offset(PROGRESS_TOTAL), 0);
            Ok(FillOutcome {
                gap: gap.id,
                from: write(&bounds.span.from),
                to: write(&bounds.span.to),
                events,
                repeats: taker.taken.repeats,
                foreign: taker.taken.foreign,
                unreadable: taker.taken.unreadable,
                requests: fetch.requests,
                left_to: bounds.left_to.map(|to| to.to_string()),
            })
        }
        Err((error, reached)) => {
            let reached = reached.filter(|_| measure.is_some_and(super::place::Measure::is_time)).map(moment);
            // Behind what is reached items may stand at the same moment, and clocks differ.
            let overlap = declaration.range.as_ref().map_or(0, |range| range.overlap);
            let overlap = Duration::from_nanos(u64::try_from(overlap).unwrap_or(u64::MAX));
            let reached = reached.map(|at| at.saturating_sub(overlap)).filter(|at| *at > gap.start && *at < gap.end);
            // A part that is lost at the beginning is lost for good, so that the rest is not told as filled before it is.
            match reached.filter(|_| bounds.left_to.is_none()) {
                Some(at) => taker.finish(&[amended(gap, events, Some((at, gap.end)))]).await?,
                None => taker.finish(&[]).await?,
            }
            Err(error)
        }
    }
}

/// Fetches what came since `since`, without a gap, and says where the next time begins. Where nothing is measured it is just asked.
///
/// # Errors
/// When it could not be fetched.
pub async fn poll(
    scene: &Scene,
    since: UnixNanos,
    subject: (&Arc<str>, &Arc<str>),
    declaration: &mut Declaration,
    taker: &mut Taker,
    progress: &Progress,
) -> Result<u64, FillError> {
    let now = UnixNanos::now();
    let span = match &declaration.range {
        None => Span { from: Place::Text(String::new()), to: Place::Text(String::new()) },
        Some(range) if range.measure.is_time() => Span {
            from: Place::At(i128::from(since.0) - range.overlap),
            to: Place::At(i128::from(now.0) + range.overlap),
        },
        Some(range) => {
            let subject = Subject { monitor: Arc::clone(subject.0), topic: Arc::clone(subject.1) };
            let (journal, range_of) = (Arc::clone(&scene.journal), range.clone());
            let before =
                blocking(move || Edges { subject: &subject, range: &range_of }.before(&mut journal.reader(), now));
            let from = match (before.await?, &range.first) {
                (Some(before), _) => back(&before.place, range.overlap),
                (None, Some(first)) => Place::Text(first.clone()),
                (None, None) => return Err(FillError::Later("no event says where to begin".into())),
            };
            let last = range.last.clone().unwrap_or_default();
            Span { from, to: Place::Text(last) }
        }
    };
    let mut fetch = Fetch { scene, gap: None, known_at: Instant::now(), requests: 0, progress };
    let outcome = fetch.span(&span, declaration, taker).await;
    taker.finish(&[]).await?;
    outcome.map(|()| taker.taken.events).map_err(|(error, _)| error)
}

/// What the ledger is told.
fn amended(gap: &Gap, events: u64, left: Option<(UnixNanos, UnixNanos)>) -> LedgerRecord {
    LedgerRecord::Coverage(CoverageRecord::Amended(AmendedRecord {
        id: gap.id,
        monitor: gap.monitor.to_string(),
        upstream: gap.upstream.to_string(),
        topic: gap.topic.to_string(),
        missing: None,
        filled: Some(Filled::Backfill),
        unfilled: false,
        fetched: Some(events),
        left_from: left.map(|(from, _)| from.to_string()),
        left_to: left.map(|(_, to)| to.to_string()),
    }))
}

/// Numbers of blocks, ids and sequences have no place before 0.
fn back(place: &Place, overlap: i128) -> Place {
    match place {
        Place::At(at) => Place::At(at.saturating_sub(overlap).max(0)),
        Place::Text(text) => Place::Text(text.clone()),
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, JournalError> + Send + 'static,
) -> Result<T, FillError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => Ok(done?),
        Err(_) => Err(FillError::Stopped),
    }
}

async fn remember(scene: &Scene, gap: &Gap, since: UnixNanos) -> Result<Known, FillError> {
    let (journal, window) = (Arc::clone(&scene.journal), Arc::clone(&scene.window));
    let (monitor, id) = (Arc::clone(&gap.monitor), gap.id);
    blocking(move || Known::remember(&journal, &window, &monitor, since, Some(id))).await
}

async fn bounds_of(
    scene: &Scene,
    gap: &Gap,
    declaration: &Declaration,
    progress: &Progress,
) -> Result<Bounds, FillError> {
    let Some(range) = &declaration.range else {
        return Err(FillError::Refused("no `range` is declared".into()));
    };
    let horizon =
        range.reach.map(|reach| UnixNanos::now().saturating_sub(reach)).filter(|horizon| *horizon > gap.start);
    if let Some(horizon) = horizon
        && horizon >= gap.end
    {
        return Err(FillError::Refused(format!("the provider has nothing from before {horizon} any more")));
    }
    if range.measure.is_time() {
        let start = gap.start.max(horizon.unwrap_or(gap.start));
        let from = Place::At(i128::from(start.0) - range.overlap);
        let to = Place::At(i128::from(gap.end.0) + range.overlap);
        let overlap = Duration::from_nanos(u64::try_from(range.overlap).unwrap_or(u64::MAX));
        return Ok(Bounds { span: Span { from, to }, since: gap.start.saturating_sub(overlap), left_to: horizon });
    }
    let subject = Arc::new(Subject { monitor: Arc::clone(&gap.monitor), topic: Arc::clone(&gap.topic) });
    let shared = Arc::new(range.clone());
    let before = {
        let (journal, subject, range, span) =
            (Arc::clone(&scene.journal), Arc::clone(&subject), Arc::clone(&shared), (gap.start, gap.end));
        blocking(move || Edges { subject: &subject, range: &range }.beginning(&mut journal.reader(), span)).await?
    };
    let (from, since) = match (before, &range.first) {
        (Some(before), _) => (back(&before.place, range.overlap), before.since.min(gap.start)),
        (None, Some(first)) => (Place::Text(first.clone()), gap.start),
        (None, None) => {
            return Err(FillError::Refused("no event before the gap says where it begins".into()));
        }
    };
    let patience = if range.last.is_some() { AFTER_PATIENCE_WITH_WORD } else { AFTER_PATIENCE };
    let deadline = Instant::now() + patience;
    let to = loop {
        let (journal, subject, of, end) =
            (Arc::clone(&scene.journal), Arc::clone(&subject), Arc::clone(&shared), gap.end);
        let after = blocking(move || Edges { subject: &subject, range: &of }.after(&mut journal.reader(), end)).await?;
        if let Some(place) = after {
            break place;
        }
        if Instant::now() >= deadline {
            match &range.last {
                Some(last) => break Place::Text(last.clone()),
                None => {
                    return Err(FillError::Later("nothing that says where the gap ends has come after it yet".into()));
                }
            }
        }
        progress.wait_for(Some("the first event after the gap".into()));
        if scene.stop.run_until_cancelled(tokio::time::sleep(AFTER_LOOK)).await.is_none() {
            return Err(FillError::Stopped);
        }
    };
    progress.wait_for(None);
    // An end before the beginning: the first event after the gap is one that came before it.
    let to = match (from.number(), to.number()) {
        (Some(from), Some(to)) if to < from => Place::At(from),
        _ => to,
    };
    Ok(Bounds { span: Span { from, to }, since, left_to: None })
}

/// A span being fetched.
struct Fetch<'a> {
    scene: &'a Scene,
    /// With since when its ids have to be known.
    gap: Option<(&'a Gap, UnixNanos)>,
    known_at: Instant,
    requests: u64,
    progress: &'a Progress,
}

impl Fetch<'_> {
    /// Fetches a span. With an error comes up to where everything was taken, where that is known.
    async fn span(
        &mut self,
        span: &Span,
        declaration: &mut Declaration,
        taker: &mut Taker,
    ) -> Result<(), (FillError, Option<i128>)> {
        let grain = declaration.range.as_ref().map_or(1, |range| range.measure.grain());
        let mut walk = Walk::new(span.clone(), declaration.pages.as_ref(), declaration.limit, grain);
        while let Some(ask) = walk.ask() {
            let page = match self.page(&ask, span, &walk, declaration, taker).await {
                Ok(page) => page,
                Err(error) => return Err((error, walk.reached())),
            };
            let went_on = match page {
                Some(page) => walk.took(page),
                None => walk.too_long(),
            };
            went_on.map_err(|reason| (FillError::Later(reason), walk.reached()))?;
            self.show(span, &walk);
        }
        Ok(())
    }

    /// One page; none where more was asked for than an answer may have.
    async fn page(
        &mut self,
        ask: &Ask,
        span: &Span,
        walk: &Walk,
        declaration: &mut Declaration,
        taker: &mut Taker,
    ) -> Result<Option<Page>, FillError> {
        if self.requests >= declaration.requests_max.into() {
            return Err(FillError::Later(format!(
                "it takes more than {} requests; raise `requests_max`",
                self.requests
            )));
        }
        self.keep_known().await?;
        let (url, body) = request_of(ask, declaration)?;
        let too_long = |words: &str| {
            let known = declaration.pages.as_ref().map(|pages| pages.too_long.as_slice()).unwrap_or_default();
            known.iter().any(|known| words.to_lowercase().contains(&known.to_lowercase()))
        };
        let mut broken = 0;
        let answer = loop {
            self.requests += 1;
            let answer = match self.scene.asker.ask(&url, body.as_deref(), self.progress).await {
                Ok(answer) => answer,
                Err(AskError::Refused { status, reason }) if status == 413 || too_long(&reason) => return Ok(None),
                Err(error) => return Err(error.into()),
            };
            match declaration.answer.read(&answer.body) {
                Ok(_) => break answer,
                Err(NoItems::Error(reason)) if too_long(&reason) => return Ok(None),
                Err(NoItems::Error(reason) | NoItems::Broken(reason)) => {
                    broken += 1;
                    if broken >= BROKEN_MAX {
                        return Err(FillError::Later(reason));
                    }
                    self.progress.wait_for(Some(reason));
                    if self.scene.stop.run_until_cancelled(tokio::time::sleep(BROKEN_WAIT)).await.is_none() {
                        return Err(FillError::Stopped);
                    }
                }
            }
        };
        // It was read before.
        let Ok(read) = declaration.answer.read(&answer.body) else { return Err(FillError::Stopped) };
        let before = taker.taken;
        let asked = declaration.range.is_some().then_some(span);
        let grain = declaration.range.as_ref().map_or(1, |range| range.measure.grain());
        let mut page = taker.take(&read.items, &mut declaration.items, asked.map(|span| (span, grain))).await?;
        let foreign = taker.taken.foreign - before.foreign;
        if walk.is_exact() && page.items > 0 && foreign == page.items as u64 {
            let first = read.items.first().map(|item| excerpt(item)).unwrap_or_default();
            return Err(FillError::Later(format!("none of {foreign} items is of what was asked for, such as {first}")));
        }
        if let Some(pages) = &declaration.pages {
            let text = |raw: &[u8]| String::from_utf8_lossy(raw).into_owned();
            match pages.by {
                PagesBy::Cursor => {
                    let header = pages.header.as_deref().and_then(|name| answer.headers.get(name)?.to_str().ok());
                    let header = header.filter(|value| !value.is_empty());
                    page.cursor = read.next.map(text).or_else(|| Some(serde_json::Value::from(header?).to_string()));
                }
                PagesBy::Link => {
                    let next = match pages.next {
                        Some(_) => read.next.and_then(|raw| url.join(&crate::scanner::Token::new(raw).text()).ok()),
                        None => next_link(&answer, &url),
                    };
                    if let Some(elsewhere) = next.as_ref().filter(|next| !declaration.is_same_place(next)) {
                        let host = elsewhere.host_str().unwrap_or_default();
                        return Err(FillError::Refused(format!(
                            "the next page is at `{host}`, which is not who was asked"
                        )));
                    }
                    page.url = next;
                }
                PagesBy::Number | PagesBy::Item | PagesBy::Split => {}
            }
        }
        Ok(Some(page))
    }

    /// The window forgets by time: what it must know while this goes on is read again in good time.
    async fn keep_known(&mut self) -> Result<(), FillError> {
        if let Some((gap, since)) = self.gap
            && self.known_at.elapsed() > self.scene.window.ttl() / 3
        {
            self.known_at = remember(self.scene, gap, since).await?.at;
        }
        Ok(())
    }

    fn show(&self, span: &Span, walk: &Walk) {
        let (from, to) = (span.from.number(), span.to.number());
        if let (Some(from), Some(to), Some(reached)) = (from, to, walk.reached())
            && from < to
        {
            let total = i128::from(PROGRESS_TOTAL);
            let done = (reached.clamp(from, to) - from).saturating_mul(total) / (to - from);
            self.progress.reached(Offset(u64::try_from(done).unwrap_or_default()), 0);
        }
    }
}

fn request_of(ask: &Ask, declaration: &Declaration) -> Result<(url::Url, Option<String>), FillError> {
    if let Some(url) = &ask.url {
        return Ok((url.clone(), None));
    }
    let measure = declaration.range.as_ref().map(|range| range.measure);
    let written = |place: &Place| {
        let text = measure.map(|measure| measure.write(place)).filter(|text| !text.is_empty());
        text.map(Filling::text)
    };
    let fill = |name: &str| match name {
        "from" => written(&ask.span.from),
        "to" => written(&ask.span.to),
        "limit" => declaration.limit.map(|limit| Filling::text(limit.to_string())),
        "page" => ask.page.map(|page| Filling::text(page.to_string())),
        "cursor" => ask.cursor.as_deref().and_then(|cursor| Filling::token(cursor.as_bytes())),
        _ => None,
    };
    declaration.request(&fill).map_err(FillError::Refused)
}

/// From where to where a gap would be asked for, as the provider writes it, for people. Blocking; waits for nothing: what has not
/// come yet is told in words.
///
/// # Errors
/// When it cannot be asked for.
pub fn preview(journal: &Journal, gap: &Gap, declaration: &Declaration) -> Result<(String, String), FillError> {
    let Some(range) = &declaration.range else { return Err(FillError::Refused("no `range` is declared".into())) };
    let write = |place: i128| range.measure.write(&Place::At(place));
    if range.measure.is_time() {
        return Ok((write(i128::from(gap.start.0) - range.overlap), write(i128::from(gap.end.0) + range.overlap)));
    }
    let subject = Subject { monitor: Arc::clone(&gap.monitor), topic: Arc::clone(&gap.topic) };
    let edges = Edges { subject: &subject, range };
    let mut reader = journal.reader();
    let before = edges
        .beginning(&mut reader, (gap.start, gap.end))?
        .map(|before| range.measure.write(&back(&before.place, range.overlap)));
    let after = edges.after(&mut reader, gap.end)?.map(|after| range.measure.write(&after));
    let Some(from) = before.or_else(|| range.first.clone()) else {
        return Err(FillError::Refused("no event before the gap says where it begins".into()));
    };
    Ok((from, after.or_else(|| range.last.clone()).unwrap_or_else(|| "the first event after the gap".into())))
}
