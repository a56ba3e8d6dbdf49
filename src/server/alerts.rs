//! `/api/v1/monitoring/alerts`: what a person should know of; seeing to it, and silencing it; the rules.

use std::collections::BTreeMap;

use axum::body::Bytes;
use axum::extract::{Path, RawQuery, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::operations::Refusal;
use super::problem::Problem;
use super::serve::Shown;
use crate::alert::book::Held;
use crate::alert::rules::{Nature, Side};
use crate::alert::silence::{Pattern, Silence};
use crate::alert::{AlertKind, AlertStatus, Figure, Severity};
use crate::clock::UnixNanos;
use crate::config::units::parse_moment;

/// Alerts of an answer that does not say how many: the newest.
const ALERTS_DEFAULT: usize = 100;
/// The longest that a text of an operator may be.
const TEXT_BYTES_MAX: usize = 4096;

/// Parameters that may be given. `status`, `type`, `severity` and `subject` may be repeated.
const PARAMETERS: &str = "status, type, severity, subject, since, limit";

/// Which alerts are wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlertQuery {
    /// Where they stand; empty: anywhere.
    pub statuses: Vec<AlertStatus>,
    /// Of which types, or found by which own rules; empty: all.
    pub types: Vec<String>,
    /// How bad; empty: all.
    pub severities: Vec<Severity>,
    /// About what, with `*` for any run of characters; empty: all.
    pub subjects: Vec<Pattern>,
    /// Opened then or later.
    pub since: Option<UnixNanos>,
    /// At most so many, the newest.
    pub limit: usize,
}

impl Default for AlertQuery {
    fn default() -> Self {
        Self {
            statuses: Vec::new(),
            types: Vec::new(),
            severities: Vec::new(),
            subjects: Vec::new(),
            since: None,
            limit: ALERTS_DEFAULT,
        }
    }
}

impl AlertQuery {
    /// Whether one is wanted.
    pub fn admits(&self, held: &Held) -> bool {
        let alert = &held.alert;
        let of_type = |name: &String| *name == alert.kind.as_str() || *name == held.rule;
        (self.statuses.is_empty() || self.statuses.contains(&alert.status))
            && (self.types.is_empty() || self.types.iter().any(of_type))
            && (self.severities.is_empty() || self.severities.contains(&alert.severity))
            && (self.subjects.is_empty() || self.subjects.iter().any(|subject| subject.fits(&alert.subject)))
            && self.since.is_none_or(|since| alert.created_at.parse::<UnixNanos>().is_ok_and(|at| at >= since))
    }
}

/// An alert as it is shown.
pub type AlertRow = Held;

/// How many alerts stand where.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlertCounts {
    /// Nobody has seen to them.
    pub open: usize,
    /// Somebody sees to them.
    pub acknowledged: usize,
    /// They are over, and remembered.
    pub resolved: usize,
}

/// All alerts, counted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlertSummary {
    /// All of them.
    pub total: AlertCounts,
    /// By severity; each of them is there.
    pub by_severity: BTreeMap<String, AlertCounts>,
    /// By type; those that there were.
    pub by_type: BTreeMap<String, AlertCounts>,
    /// Live ones that nobody was told of because of a cooldown.
    pub suppressed: usize,
    /// Live ones that nobody is told of because of a silence.
    pub silenced: usize,
    /// Silences in force.
    pub silences: usize,
}

/// A rule as it is in force.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RuleRow {
    /// Its name: the type of its alerts, or the name of an own one.
    pub rule: String,
    /// The type of its alerts.
    #[serde(rename = "type")]
    pub kind: AlertKind,
    /// When it is true.
    pub what: String,
    /// What it looks at.
    pub figure: Figure,
    /// How.
    pub nature: Nature,
    /// On which side of the threshold something is wrong.
    pub side: Side,
    /// What is still well.
    pub threshold: f64,
    /// The unit of value and threshold.
    pub unit: String,
    /// How long it must be true.
    #[serde(rename = "for_seconds")]
    pub lasts: f64,
    /// The span that the value is of; 0: of a moment.
    pub window_seconds: f64,
    /// How bad it is.
    pub severity: Severity,
    /// How long nobody is told of the same subject again.
    pub cooldown_seconds: f64,
    /// Whether it is looked at.
    pub enabled: bool,
    /// What it sees now.
    pub subjects: Vec<RuleSubject>,
}

/// What a rule sees of a subject.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RuleSubject {
    /// Whose.
    pub subject: String,
    /// What is measured now; none as long as too little is known.
    pub value: Option<f64>,
    /// `ok`, `pending` (wrong, and not for long enough), or where its alert stands: `open`, `acknowledged`.
    pub state: String,
}

/// Somebody sees to an alert.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct AcknowledgeRequest {
    /// Who.
    pub acknowledged_by: Option<String>,
    /// What they note.
    pub notes: Option<String>,
}

/// Somebody says that it is over.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ResolveRequest {
    /// Who.
    pub resolved_by: Option<String>,
    /// How.
    pub resolution: Option<String>,
}

/// Nobody is to be told of some alerts for a while.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SilenceRequest {
    /// Of which rule, with `*` for any run of characters.
    pub rule: Option<Pattern>,
    /// About what.
    pub subject: Option<Pattern>,
    /// How bad.
    pub severity: Option<Severity>,
    /// How long, `2h`; or until when, RFC 3339.
    pub until: String,
    /// Why.
    pub reason: Option<String>,
    /// Who.
    pub by: Option<String>,
}

/// Alerts, as the server shows them.
pub trait Alerts: Send + Sync + 'static {
    /// Those that are wanted, newest first.
    fn list(&self, query: &AlertQuery) -> Vec<AlertRow>;
    /// One by its id.
    fn get(&self, id: &str) -> Option<AlertRow>;
    /// All of them, counted.
    fn summary(&self) -> AlertSummary;
    /// Every rule, and what it sees.
    fn rules(&self) -> Vec<RuleRow>;
    /// Somebody sees to one. Blocking.
    ///
    /// # Errors
    /// When it is not open, or the change cannot be put on record.
    fn acknowledge(&self, id: &str, request: &AcknowledgeRequest) -> Result<AlertRow, Refusal>;
    /// Somebody says that one is over. Blocking.
    ///
    /// # Errors
    /// When it is over already, or the change cannot be put on record.
    fn resolve(&self, id: &str, request: &ResolveRequest) -> Result<AlertRow, Refusal>;
    /// Silences in force.
    fn silences(&self) -> Vec<Silence>;
    /// Begins one. Blocking.
    ///
    /// # Errors
    /// When it says too little, or cannot be put on record.
    fn silence(&self, request: &SilenceRequest) -> Result<Silence, Refusal>;
    /// Ends one. Blocking.
    ///
    /// # Errors
    /// When there is none, or that cannot be put on record.
    fn unsilence(&self, id: &str) -> Result<Silence, Refusal>;
}

pub(super) fn routes() -> Router<Shown> {
    Router::new()
        .route("/api/v1/monitoring/alerts", get(list))
        .route("/api/v1/monitoring/alerts/summary", get(summary))
        .route("/api/v1/monitoring/alerts/rules", get(rules))
        .route("/api/v1/monitoring/alerts/silences", get(silences).post(silence))
        .route("/api/v1/monitoring/alerts/silences/{id}", get(one_silence).delete(unsilence))
        .route("/api/v1/monitoring/alerts/{id}", get(one))
        .route("/api/v1/monitoring/alerts/{id}/acknowledge", post(acknowledge))
        .route("/api/v1/monitoring/alerts/{id}/resolve", post(resolve))
}

async fn list(State(shown): State<Shown>, RawQuery(query): RawQuery) -> Response {
    match read(query.as_deref().unwrap_or_default()) {
        Ok(query) => Json(shown.view.alerts().list(&query)).into_response(),
        Err(error) => refused(StatusCode::BAD_REQUEST, &error),
    }
}

async fn one(State(shown): State<Shown>, Path(id): Path<String>) -> Response {
    match shown.view.alerts().get(&id) {
        Some(row) => Json(row).into_response(),
        None => refused(StatusCode::NOT_FOUND, &format!("there is no alert `{id}`; it may have been forgotten")),
    }
}

async fn summary(State(shown): State<Shown>) -> Json<AlertSummary> {
    Json(shown.view.alerts().summary())
}

async fn rules(State(shown): State<Shown>) -> Json<Vec<RuleRow>> {
    Json(shown.view.alerts().rules())
}

async fn silences(State(shown): State<Shown>) -> Json<Vec<Silence>> {
    Json(shown.view.alerts().silences())
}

async fn one_silence(State(shown): State<Shown>, Path(id): Path<String>) -> Response {
    match shown.view.alerts().silences().into_iter().find(|silence| silence.id == id) {
        Some(silence) => Json(silence).into_response(),
        None => refused(StatusCode::NOT_FOUND, &format!("there is no silence `{id}`; it may have ended")),
    }
}

async fn acknowledge(State(shown): State<Shown>, Path(id): Path<String>, body: Bytes) -> Response {
    let expected = r#"expected {"acknowledgedBy": "…", "notes": "…"}"#;
    let request: AcknowledgeRequest = match body_of(&body, expected) {
        Ok(request) => request,
        Err(refusal) => return refusal,
    };
    changed(StatusCode::OK, move || shown.view.alerts().acknowledge(&id, &request)).await
}

async fn resolve(State(shown): State<Shown>, Path(id): Path<String>, body: Bytes) -> Response {
    let expected = r#"expected {"resolvedBy": "…", "resolution": "…"}"#;
    let request: ResolveRequest = match body_of(&body, expected) {
        Ok(request) => request,
        Err(refusal) => return refusal,
    };
    changed(StatusCode::OK, move || shown.view.alerts().resolve(&id, &request)).await
}

async fn silence(State(shown): State<Shown>, body: Bytes) -> Response {
    let expected = r#"expected {"rule", "subject", "severity", "until": "2h", "reason", "by"}"#;
    let request: SilenceRequest = match body_of(&body, expected) {
        Ok(request) => request,
        Err(refusal) => return refusal,
    };
    changed(StatusCode::CREATED, move || shown.view.alerts().silence(&request)).await
}

async fn unsilence(State(shown): State<Shown>, Path(id): Path<String>) -> Response {
    changed(StatusCode::OK, move || shown.view.alerts().unsilence(&id)).await
}

/// A body, of which nothing need be said where it is empty.
#[expect(clippy::result_large_err, reason = "a refusal is the answer")]
fn body_of<T: DeserializeOwned + Default>(body: &[u8], expected: &str) -> Result<T, Response> {
    if body.is_empty() {
        return Ok(T::default());
    }
    if body.len() > TEXT_BYTES_MAX {
        let error = format!("the request has more than {TEXT_BYTES_MAX} bytes");
        return Err(refused(StatusCode::PAYLOAD_TOO_LARGE, &error));
    }
    serde_json::from_slice(body).map_err(|error| refused(StatusCode::BAD_REQUEST, &format!("{expected}: {error}")))
}

/// Off the thread that serves everybody: it waits until the change is durable.
async fn changed<T: Serialize + Send + 'static>(
    status: StatusCode,
    work: impl FnOnce() -> Result<T, Refusal> + Send + 'static,
) -> Response {
    match tokio::task::spawn_blocking(work).await {
        Ok(Ok(done)) => (status, Json(done)).into_response(),
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
fn read(raw: &str) -> Result<AlertQuery, String> {
    fn named<T: DeserializeOwned>(name: &str, value: String, known: &str) -> Result<T, String> {
        let error = format!("`{name}` is one of {known}, not `{value}`");
        serde_json::from_value(value.into()).map_err(|_| error)
    }
    let mut query = AlertQuery::default();
    for (name, value) in url::form_urlencoded::parse(raw.as_bytes()) {
        let value = value.into_owned();
        match &*name {
            "status" => query.statuses.push(named(&name, value.to_uppercase(), "OPEN, ACKNOWLEDGED, RESOLVED")?),
            "severity" => query.severities.push(named(&name, value.to_lowercase(), "info, warning, critical")?),
            "type" => query.types.push(value),
            "subject" => query.subjects.push(Pattern::new(value)),
            "since" => query.since = Some(parse_moment(&value)?),
            "limit" => query.limit = value.parse().map_err(|_| format!("`limit` is a number, not `{value}`"))?,
            other => return Err(format!("there is no parameter `{other}`; there are {PARAMETERS}")),
        }
    }
    Ok(query)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_may_be_repeated_and_mistakes_are_named() {
        let query =
            read("status=open&status=ACKNOWLEDGED&type=NO_EVENTS&severity=critical&subject=a*&limit=5").unwrap();
        assert_eq!(query.statuses, [AlertStatus::Open, AlertStatus::Acknowledged]);
        assert_eq!((query.types[0].as_str(), query.subjects[0].as_str(), query.limit), ("NO_EVENTS", "a*", 5));
        assert_eq!(query.severities, [Severity::Critical]);
        for (raw, says) in [("stats=a", "stats"), ("status=gone", "GONE"), ("severity=bad", "bad"), ("limit=-1", "-1")]
        {
            assert!(read(raw).unwrap_err().contains(says), "{raw}");
        }
    }
}
