//! One request: at the pace that is allowed, through a breaker, and again where that may help.

use std::sync::Arc;
use std::time::Duration;

use reqwest::{Method, header};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use url::Url;

use super::items::excerpt;
use crate::backoff::Backoff;
use crate::breaker::{Breaker, BreakerState, Permit, Refusal};
use crate::credentials::{Credentials, Pass};
use crate::http_client::{HttpAnswer, HttpClient};
use crate::recovery::replay::Progress;
use crate::upstream::ConnectPace;

/// A request is tried so often, the first time counted, before it is given up. Source: a guess.
const ATTEMPTS_MAX: u32 = 6;

/// So often it is put off because the provider wants to be left alone. Source: a guess; at `Retry-After` of a minute, an hour.
const PUT_OFF_MAX: u32 = 60;

/// Between two attempts. Source: a guess.
const WAIT_MIN: Duration = Duration::from_millis(250);
const WAIT_MAX: Duration = Duration::from_secs(30);

/// Left alone for so long where 429 does not say for how long. Source: a guess.
const PUT_OFF: Duration = Duration::from_secs(5);

/// Who asks one provider.
#[derive(Debug, Clone)]
pub struct Asker {
    client: HttpClient,
    /// What proves who we are, where that is anybody's business who is asked.
    credentials: Option<Arc<Credentials>>,
    pace: ConnectPace,
    breaker: Breaker,
    stop: CancellationToken,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// The daemon stops.
    #[error("the daemon is stopping")]
    Stopped,
    /// It may help to try later.
    #[error("{0}")]
    Failed(String),
    /// It will be refused again.
    #[error("the provider refuses the request ({status}): {reason}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// What it said.
        reason: String,
    },
}

impl Asker {
    /// Who asks by `client` no quicker than `pace`, and not while `breaker` is open.
    pub fn new(
        (client, credentials): (HttpClient, Option<Arc<Credentials>>),
        pace: ConnectPace,
        breaker: Breaker,
        stop: CancellationToken,
    ) -> Self {
        Self { client, credentials, pace, breaker, stop }
    }

    /// Asks until there is an answer with a good status, or no hope of one. What it waits for meanwhile is shown in `progress`.
    ///
    /// # Errors
    /// When there is none.
    pub(super) async fn ask(&self, url: &Url, body: Option<&str>, progress: &Progress) -> Result<HttpAnswer, AskError> {
        let stop = self.stop.clone();
        let asked = stop.run_until_cancelled(self.keep_asking(url, body, progress)).await;
        progress.wait_for(None);
        asked.unwrap_or(Err(AskError::Stopped))
    }

    async fn keep_asking(&self, url: &Url, body: Option<&str>, progress: &Progress) -> Result<HttpAnswer, AskError> {
        let mut backoff = Backoff::new(WAIT_MIN, WAIT_MAX);
        let (mut failures, mut put_off) = (0, 0);
        loop {
            let permit = self.permit(progress).await;
            self.keep_pace().await;
            let (request, pass) = match self.request(url, body).await {
                Ok(request) => request,
                Err(reason) => {
                    permit.failed(&reason);
                    return Err(AskError::Failed(reason));
                }
            };
            let scrub = |text: String| pass.as_ref().map_or_else(|| text.clone(), |pass| pass.scrub(&text));
            let reason = match self.client.send(request).await {
                Ok(answer) if answer.is_success() => {
                    permit.succeeded();
                    return Ok(answer);
                }
                Ok(answer) => {
                    let said = scrub(format!("status {}: {}", answer.status, excerpt(&answer.body)));
                    let wait = match (answer.status, answer.retry_after) {
                        (429, wait) => Some(wait.unwrap_or(PUT_OFF)),
                        (503, wait) => wait,
                        _ => None,
                    };
                    if let Some(wait) = wait {
                        // It is well, and has said when to come back: no fault of its own.
                        drop(permit);
                        put_off += 1;
                        if put_off >= PUT_OFF_MAX {
                            return Err(AskError::Failed(said));
                        }
                        let now = Instant::now();
                        self.pace.hold_until(now, now + wait);
                        progress.wait_for(Some(format!("asked to be left alone for {} s", wait.as_secs_f32().ceil())));
                        continue;
                    }
                    if (400..500).contains(&answer.status) && answer.status != 408 {
                        // What is wrong is the request.
                        permit.succeeded();
                        return Err(AskError::Refused { status: answer.status, reason: scrub(excerpt(&answer.body)) });
                    }
                    said
                }
                Err(error) => error.to_string(),
            };
            permit.failed(&reason);
            failures += 1;
            if failures >= ATTEMPTS_MAX {
                return Err(AskError::Failed(reason));
            }
            tracing::debug!("asked in vain, and again in a moment: {reason}");
            progress.wait_for(Some(reason));
            tokio::time::sleep(backoff.next(None)).await;
        }
    }

    /// The request, with what proves who we are.
    async fn request(&self, url: &Url, body: Option<&str>) -> Result<(reqwest::Request, Option<Pass>), String> {
        let method = if body.is_some() { Method::POST } else { Method::GET };
        let (mut url, mut headers, mut pass) = (url.clone(), Vec::new(), None);
        if let Some(credentials) = &self.credentials {
            let ours = credentials.pass().await.map_err(|error| error.to_string())?;
            let dressed =
                ours.dress(method.as_str(), &url, body.unwrap_or_default()).map_err(|error| error.to_string())?;
            (url, headers, pass) = (dressed.url, dressed.headers, Some(ours));
        }
        let mut request = self.client.client().request(method, url).header(header::ACCEPT, "application/json");
        if let Some(body) = body {
            request = request.header(header::CONTENT_TYPE, "application/json").body(body.to_owned());
        }
        let mut request = request.build().map_err(|error| error.without_url().to_string())?;
        request.headers_mut().extend(headers);
        Ok((request, pass))
    }

    async fn permit(&self, progress: &Progress) -> Permit {
        let mut changes = self.breaker.changes();
        loop {
            let refusal = match self.breaker.permit() {
                Ok(permit) => return permit,
                Err(refusal) => refusal,
            };
            progress.wait_for(Some(refusal.to_string()));
            let until = match refusal {
                Refusal::Until(at) => at,
                // Told of by a change; looked at from time to time all the same, for one that was missed.
                Refusal::Probing | Refusal::Forced => Instant::now() + Duration::from_secs(1),
            };
            tokio::select! {
                () = tokio::time::sleep_until(until) => {}
                _ = changes.wait_for(|state| *state == BreakerState::Closed) => {}
            }
        }
    }

    async fn keep_pace(&self) {
        while let Err(at) = self.pace.take(Instant::now()) {
            tokio::time::sleep_until(at).await;
        }
    }
}

/// The next page's address of a `Link` header; relative to the page's own.
pub(super) fn next_link(answer: &HttpAnswer, page: &Url) -> Option<Url> {
    let headers = answer.headers.get_all(header::LINK);
    let links = headers.iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    let next = links.into_iter().find_map(|link| {
        let (target, parameters) = link.trim().strip_prefix('<')?.split_once('>')?;
        let is_next = parameters.split(';').any(|parameter| {
            let parameter = parameter.trim();
            parameter.eq_ignore_ascii_case("rel=next") || parameter.eq_ignore_ascii_case("rel=\"next\"")
        });
        is_next.then(|| target.to_owned())
    });
    page.join(&next?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_page_is_found_among_other_links() {
        let answer = |link: &str| {
            let mut headers = header::HeaderMap::new();
            headers.insert(header::LINK, link.parse().unwrap());
            HttpAnswer { status: 200, retry_after: None, body: Vec::new(), headers }
        };
        let page = Url::parse("http://a.example/items?page=1").unwrap();
        let next = |link| next_link(&answer(link), &page).map(|url| url.to_string());
        let found = Some("http://a.example/items?page=2".to_owned());
        assert_eq!(next("</items?page=1>; rel=\"first\", </items?page=2>; rel=\"next\""), found);
        assert_eq!(next("<http://a.example/items?page=2>; rel=next"), found);
        assert_eq!(next("</items?page=9>; rel=\"last\""), None);
        assert_eq!(next("nonsense"), None);
    }
}
