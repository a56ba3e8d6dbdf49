//! `/api/v1/gaps`: what was not seen, and what share was; having it fetched.

use axum::Json;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::{Deserialize, Serialize};

use super::operations::Refusal;
use super::problem::Problem;
use super::serve::Shown;
use crate::config::units::parse_moment;
use crate::recovery::gaps::GapQuery;

/// Gaps of an answer that does not say how many: the newest.
const GAPS_DEFAULT: usize = 1000;
/// At most: the answer is put together in memory.
const GAPS_MAX: usize = 100_000;

/// Parameters that may be given. `monitor`, `upstream`, `topic` and `cause` may be repeated.
const PARAMETERS: &str = "monitor, upstream, topic, cause, since, until, open, unfilled, limit";

/// Its routes.
pub(super) fn routes() -> Router<Shown> {
    Router::new()
        .route("/api/v1/gaps", get(gaps))
        .route("/api/v1/gaps/fill", post(fill))
        .route("/api/v1/gaps/completeness", get(completeness))
}

async fn gaps(State(shown): State<Shown>, RawQuery(query): RawQuery) -> Response {
    answer(query, move |query, limit| shown.view.gaps(query, limit)).await
}

async fn completeness(State(shown): State<Shown>, RawQuery(query): RawQuery) -> Response {
    answer(query, move |query, _| shown.view.completeness(query)).await
}

/// Which gaps are to be filled.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FillRequest {
    /// Only this one, by its number.
    pub gap: Option<u64>,
    /// Only those of these monitors; empty: of all.
    pub monitors: Vec<String>,
    /// Only to say what would be asked for.
    pub dry_run: bool,
}

/// What becomes of a gap that is to be filled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FillRow {
    /// Its number.
    pub gap: u64,
    /// Whose.
    pub monitor: String,
    /// From where.
    pub upstream: String,
    /// Which topic.
    pub topic: String,
    /// Why.
    pub cause: String,
    /// When it was lost, RFC 3339.
    pub start: String,
    /// When it was back.
    pub end: String,
    /// `queued`, `would_ask`, `not_declared`, `refused`.
    pub state: String,
    /// Where what is asked for begins, as the provider writes it.
    pub from: Option<String>,
    /// Where it ends.
    pub to: Option<String>,
    /// Who is asked, without secrets.
    pub url: Option<String>,
    /// Why it is not done, or cannot be told.
    pub reason: Option<String>,
}

async fn fill(State(shown): State<Shown>, body: Bytes) -> Response {
    let request: FillRequest = match serde_json::from_slice(&body) {
        Ok(request) => request,
        Err(error) => {
            return refused(StatusCode::BAD_REQUEST, &format!("this is no request to fill gaps: {error}"));
        }
    };
    match tokio::task::spawn_blocking(move || shown.view.fill_gaps(&request)).await {
        Ok(Ok(rows)) => (StatusCode::ACCEPTED, Json(rows)).into_response(),
        Ok(Err(Refusal { status, error })) => {
            refused(StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), &error)
        }
        Err(error) => refused(StatusCode::INTERNAL_SERVER_ERROR, &format!("a bug of Sluice: {error}")),
    }
}

/// Off the server's thread, since the journal is read.
async fn answer<T: serde::Serialize + Send + 'static>(
    raw: Option<String>,
    work: impl FnOnce(&GapQuery, usize) -> Result<T, Refusal> + Send + 'static,
) -> Response {
    let (query, limit) = match read(raw.as_deref().unwrap_or_default()) {
        Ok(read) => read,
        Err(reason) => return refused(StatusCode::BAD_REQUEST, &reason),
    };
    match tokio::task::spawn_blocking(move || work(&query, limit)).await {
        Ok(Ok(found)) => Json(found).into_response(),
        Ok(Err(Refusal { status, error })) => {
            refused(StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), &error)
        }
        Err(error) => refused(StatusCode::INTERNAL_SERVER_ERROR, &format!("a bug of Sluice: {error}")),
    }
}

fn refused(status: StatusCode, error: &str) -> Response {
    Problem::new(status, error).into_response()
}

/// By hand, because a parameter may come more than once.
fn read(raw: &str) -> Result<(GapQuery, usize), String> {
    let (mut query, mut limit) = (GapQuery::default(), GAPS_DEFAULT);
    let truth = |name: &str, value: &str| {
        value.parse::<bool>().map_err(|_| format!("`{name}` is true or false, not `{value}`"))
    };
    for (name, value) in url::form_urlencoded::parse(raw.as_bytes()) {
        match &*name {
            "monitor" => query.monitors.push(value.into_owned()),
            "upstream" => query.upstreams.push(value.into_owned()),
            "topic" => query.topics.push(value.into_owned()),
            "cause" => query.causes.push(value.into_owned()),
            "since" => query.since = Some(parse_moment(&value)?),
            "until" => query.until = Some(parse_moment(&value)?),
            "open" => query.open = truth(&name, &value)?,
            "unfilled" => query.unfilled = truth(&name, &value)?,
            "limit" => {
                let number: usize = value.parse().map_err(|_| format!("`limit` is a number, not `{value}`"))?;
                limit = number.min(GAPS_MAX);
            }
            other => return Err(format!("there is no parameter `{other}`; there are {PARAMETERS}")),
        }
    }
    Ok((query, limit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_may_be_repeated_and_mistakes_are_named() {
        let (query, limit) =
            read("monitor=a&monitor=b&topic=x%40y&since=1970-01-01T00:00:01Z&open=true&limit=5").unwrap();
        assert_eq!((query.monitors.len(), query.topics[0].as_str(), query.open, limit), (2, "x@y", true, 5));
        assert_eq!(query.since, Some(crate::clock::UnixNanos(1_000_000_000)));
        for (raw, says) in
            [("mointor=a", "mointor"), ("open=maybe", "true or false"), ("since=later", "later"), ("limit=-1", "-1")]
        {
            assert!(read(raw).unwrap_err().contains(says), "{raw}");
        }
    }
}
