//! `/api/v1/settings`, `/api/v1/reload`, and changes of monitors and upstreams: what operators change while the daemon runs.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Json;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::monitors::{MonitorRow, monitors};
use super::problem;
use super::serve::Shown;
use crate::config::{Plan, Priority, Problem, ShownSetting};
use crate::journal;

/// What can be made, changed and taken away by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `[monitors.NAME]`
    Monitor,
    /// `[upstreams.NAME]`
    Upstream,
}

impl Kind {
    /// Its section of the settings.
    pub fn section(self) -> &'static str {
        match self {
            Self::Monitor => "monitors",
            Self::Upstream => "upstreams",
        }
    }

    /// For people.
    pub fn word(self) -> &'static str {
        match self {
            Self::Monitor => "monitor",
            Self::Upstream => "upstream",
        }
    }
}

/// What an operator wants of a monitor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MonitorState {
    /// It takes what comes.
    Running,
    /// It takes nothing until it is started.
    Stopped,
    /// It takes nothing until it is woken.
    Resting,
}

impl MonitorState {
    /// For people and programs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Stopped => "stopped",
            Self::Resting => "resting",
        }
    }
}

/// Which monitors are to be in which state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StateRequest {
    /// The state.
    pub state: MonitorState,
    /// These.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
    /// Where no names are given: all of this priority and lower ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<Priority>,
    /// Where neither is given: all that are on this path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<journal::Path>,
    /// Of these only those that are in this state now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<MonitorState>,
    /// Whether it is only asked what would be.
    #[serde(default)]
    pub dry_run: bool,
}

/// What came of a [`StateRequest`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateAnswer {
    /// The state.
    pub state: MonitorState,
    /// Monitors that were not in it before, and are now.
    pub monitors: Vec<String>,
    /// Whether it was only asked what would be.
    pub dry_run: bool,
}

/// A monitor that the other path takes as well, to be compared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShadowRow {
    /// Which.
    pub monitor: String,
    /// The path that only compares.
    pub path: journal::Path,
    /// The domain of what that path brings.
    pub domain: String,
    /// Until when, RFC 3339; none where it is over.
    pub until: Option<String>,
}

/// A settings file that is not in use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProposedFile {
    /// What it is called in messages.
    pub file: String,
    /// What is in it.
    pub text: String,
}

/// What a change did, or would do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changed {
    /// In full.
    #[serde(flatten)]
    pub plan: Plan,
    /// Whether it was only asked what it would do.
    pub dry_run: bool,
    /// What an operator should know of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// Why nothing is changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{error}")]
pub struct ChangeRefusal {
    /// The HTTP status.
    pub status: u16,
    /// For people, with every problem.
    pub error: String,
    /// For programs, one by one.
    pub problems: Vec<Problem>,
}

impl ChangeRefusal {
    /// One without single problems.
    pub fn new(status: u16, error: impl Into<String>) -> Self {
        Self { status, error: error.into(), problems: Vec::new() }
    }
}

/// How well a monitor is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MonitorVerdict {
    /// Its name.
    pub name: String,
    /// Whether nothing is wrong with it, or it is held back by an operator.
    pub well: bool,
    /// In a sentence.
    pub verdict: String,
    /// Whether its settings can be used.
    pub settings: bool,
    /// Whether its upstream has an open link.
    pub connected: bool,
    /// Topics in force, of those asked for.
    pub topics: String,
    /// Seconds since the last message; none where none came since the start.
    pub silent_seconds: Option<f64>,
    /// Of the messages that should be events, how many could be read; none before the first.
    pub parse_rate: Option<f64>,
}

/// What operators change while the daemon runs. Every method blocks.
pub trait Control: Send + Sync {
    /// Every setting in force, with the layer it came from; secrets are not shown.
    fn shown(&self) -> Vec<ShownSetting>;

    /// The settings of everything of a kind, by name; secrets are not shown.
    fn declared(&self, kind: Kind) -> BTreeMap<String, Value>;

    /// Reads all layers again, and makes what runs into what they say.
    ///
    /// # Errors
    /// When they cannot be used; nothing has changed then.
    fn reload(&self, dry_run: bool) -> Result<Changed, ChangeRefusal>;

    /// What another settings file would do.
    ///
    /// # Errors
    /// When it cannot be used.
    fn plan(&self, file: &ProposedFile) -> Result<Changed, ChangeRefusal>;

    /// Sets a key at run time, or, without a value, takes back what was set.
    ///
    /// # Errors
    /// When that cannot be used, or not now; nothing has changed then.
    fn set(&self, key: &str, value: Option<Value>, dry_run: bool) -> Result<Changed, ChangeRefusal>;

    /// Makes a monitor or an upstream.
    ///
    /// # Errors
    /// When there is one of this name, or it cannot be used; nothing has changed then.
    fn create(&self, kind: Kind, name: &str, settings: Value, dry_run: bool) -> Result<Changed, ChangeRefusal>;

    /// Gives a monitor or an upstream other settings.
    ///
    /// # Errors
    /// When there is none of this name, or they cannot be used; nothing has changed then.
    fn replace(&self, kind: Kind, name: &str, settings: Value, dry_run: bool) -> Result<Changed, ChangeRefusal>;

    /// Takes a monitor or an upstream away.
    ///
    /// # Errors
    /// When there is none of this name, or it is still needed; nothing has changed then.
    fn delete(&self, kind: Kind, name: &str, dry_run: bool) -> Result<Changed, ChangeRefusal>;

    /// Stops monitors, puts them to rest, or has them go on.
    ///
    /// # Errors
    /// When there is none of a name, or the change cannot be remembered; nothing has changed then.
    fn set_states(&self, request: &StateRequest) -> Result<StateAnswer, ChangeRefusal>;

    /// Has the other path take a monitor as well for so long, to be compared; for no time: not any longer.
    ///
    /// # Errors
    /// When there is none of the name, or the change cannot be remembered; nothing has changed then.
    fn shadow(&self, monitor: &str, span: Duration) -> Result<ShadowRow, ChangeRefusal>;

    /// Stops taking anything from any upstream, and makes durable what was taken; or takes again. Outlives restarts.
    ///
    /// # Errors
    /// When the change cannot be remembered; nothing has changed then.
    fn emergency(&self, stopped: bool, reason: Option<&str>) -> Result<EmergencyRow, ChangeRefusal>;
}

/// Whether everything stands still.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EmergencyRow {
    /// Whether it does.
    pub stopped: bool,
    /// Since when, RFC 3339.
    pub since: Option<String>,
    /// Why, as whoever did it said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Events below this are durable.
    pub durable_offset: u64,
    /// Whether everything that had been taken is.
    pub drained: bool,
}

#[derive(Deserialize)]
pub(super) struct DryRun {
    #[serde(default)]
    pub(super) dry_run: bool,
}

/// Its routes.
pub(super) fn routes() -> Router<Shown> {
    Router::new()
        .route("/api/v1/monitors", get(monitors).post(create_monitor))
        .route("/api/v1/monitors/{name}", get(monitor).put(replace_monitor).delete(delete_monitor))
        .route("/api/v1/monitors/{name}/state", put(monitor_state))
        .route("/api/v1/monitors/{name}/shadow", put(shadow))
        .route("/api/v1/emergency-stop", post(emergency_stop))
        .route("/api/v1/start", post(start))
        .route("/api/v1/monitor-states", put(monitor_states))
        .route("/api/v1/monitor-verdicts", get(verify))
        .route("/api/v1/upstreams", get(upstreams).post(create_upstream))
        .route("/api/v1/upstreams/{name}", get(upstream).put(replace_upstream).delete(delete_upstream))
        .route("/api/v1/settings", get(settings))
        .route("/api/v1/settings/{key}", put(set).delete(unset))
        .route("/api/v1/plan", post(plan))
        .route("/api/v1/reload", post(reload))
}

async fn settings(State(shown): State<Shown>) -> Response {
    blocking(StatusCode::OK, move || Ok(shown.view.control().shown())).await
}

async fn reload(State(shown): State<Shown>, Query(DryRun { dry_run }): Query<DryRun>) -> Response {
    blocking(StatusCode::OK, move || shown.view.control().reload(dry_run)).await
}

async fn plan(State(shown): State<Shown>, body: Bytes) -> Response {
    let expected = r#"{"file": "name for messages", "text": "the file's text"}"#;
    with_body(&body, expected, move |file: ProposedFile| async move {
        blocking(StatusCode::OK, move || shown.view.control().plan(&file)).await
    })
    .await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewValue {
    value: Value,
}

async fn set(
    State(shown): State<Shown>,
    Path(key): Path<String>,
    Query(DryRun { dry_run }): Query<DryRun>,
    body: Bytes,
) -> Response {
    with_body(&body, r#"{"value": …}"#, move |NewValue { value }| async move {
        blocking(StatusCode::OK, move || shown.view.control().set(&key, Some(value), dry_run)).await
    })
    .await
}

async fn unset(
    State(shown): State<Shown>,
    Path(key): Path<String>,
    Query(DryRun { dry_run }): Query<DryRun>,
) -> Response {
    blocking(StatusCode::OK, move || shown.view.control().set(&key, None, dry_run)).await
}

async fn create_monitor(shown: State<Shown>, query: Query<DryRun>, body: Bytes) -> Response {
    create(Kind::Monitor, shown, query, body).await
}

async fn create_upstream(shown: State<Shown>, query: Query<DryRun>, body: Bytes) -> Response {
    create(Kind::Upstream, shown, query, body).await
}

async fn create(
    kind: Kind,
    State(shown): State<Shown>,
    Query(DryRun { dry_run }): Query<DryRun>,
    body: Bytes,
) -> Response {
    let expected = r#"{"name": "…", and the fields of its table in the settings file}"#;
    with_body(&body, expected, move |mut fields: serde_json::Map<String, Value>| async move {
        let Some(Value::String(name)) = fields.remove("name") else {
            return refused(&ChangeRefusal::new(400, format!("expected {expected}: `name` is missing, or no text")));
        };
        let status = if dry_run { StatusCode::OK } else { StatusCode::CREATED };
        let work = move || shown.view.control().create(kind, &name, Value::Object(fields), dry_run);
        blocking(status, work).await
    })
    .await
}

async fn replace_monitor(shown: State<Shown>, name: Path<String>, query: Query<DryRun>, body: Bytes) -> Response {
    replace(Kind::Monitor, shown, name, query, body).await
}

async fn replace_upstream(shown: State<Shown>, name: Path<String>, query: Query<DryRun>, body: Bytes) -> Response {
    replace(Kind::Upstream, shown, name, query, body).await
}

async fn replace(
    kind: Kind,
    State(shown): State<Shown>,
    Path(name): Path<String>,
    Query(DryRun { dry_run }): Query<DryRun>,
    body: Bytes,
) -> Response {
    let expected = "the fields of its table in the settings file, as a JSON object";
    with_body(&body, expected, move |fields: serde_json::Map<String, Value>| async move {
        let work = move || shown.view.control().replace(kind, &name, Value::Object(fields), dry_run);
        blocking(StatusCode::OK, work).await
    })
    .await
}

async fn delete_monitor(shown: State<Shown>, name: Path<String>, query: Query<DryRun>) -> Response {
    delete(Kind::Monitor, shown, name, query).await
}

async fn delete_upstream(shown: State<Shown>, name: Path<String>, query: Query<DryRun>) -> Response {
    delete(Kind::Upstream, shown, name, query).await
}

async fn delete(
    kind: Kind,
    State(shown): State<Shown>,
    Path(name): Path<String>,
    Query(DryRun { dry_run }): Query<DryRun>,
) -> Response {
    let done = blocking(StatusCode::OK, move || shown.view.control().delete(kind, &name, dry_run)).await;
    // Whoever only asks wants to see what would be.
    if done.status() == StatusCode::OK && !dry_run { StatusCode::NO_CONTENT.into_response() } else { done }
}

/// A monitor as it stands, with its settings.
#[derive(Serialize)]
struct MonitorInFull {
    #[serde(flatten)]
    row: Option<MonitorRow>,
    settings: Value,
}

async fn monitor(State(shown): State<Shown>, Path(name): Path<String>) -> Response {
    blocking(StatusCode::OK, move || {
        let settings = declared(&shown, Kind::Monitor, &name)?;
        let row = shown.view.monitors().into_iter().find(|row| row.name == name);
        Ok(MonitorInFull { row, settings })
    })
    .await
}

/// An upstream as it stands, with its settings.
#[derive(Serialize)]
struct UpstreamRow {
    name: String,
    /// `connected`, `disconnected`, or `unused` where no monitor watches it.
    state: &'static str,
    monitors: Vec<String>,
    settings: Value,
}

async fn upstreams(State(shown): State<Shown>) -> Response {
    blocking(StatusCode::OK, move || {
        let declared = shown.view.control().declared(Kind::Upstream);
        Ok(declared.into_iter().map(|(name, settings)| upstream_row(&shown, name, settings)).collect::<Vec<_>>())
    })
    .await
}

async fn upstream(State(shown): State<Shown>, Path(name): Path<String>) -> Response {
    blocking(StatusCode::OK, move || {
        let settings = declared(&shown, Kind::Upstream, &name)?;
        Ok(upstream_row(&shown, name, settings))
    })
    .await
}

fn upstream_row(shown: &Shown, name: String, settings: Value) -> UpstreamRow {
    let state = shown.view.health().upstreams.get(&name).copied().unwrap_or("unused");
    let of_it = |(monitor, settings): (String, Value)| (settings["upstream"] == *name).then_some(monitor);
    let monitors = shown.view.control().declared(Kind::Monitor).into_iter().filter_map(of_it).collect();
    UpstreamRow { name, state, monitors, settings }
}

fn declared(shown: &Shown, kind: Kind, name: &str) -> Result<Value, ChangeRefusal> {
    let found = shown.view.control().declared(kind).remove(name);
    found.ok_or_else(|| ChangeRefusal::new(404, format!("there is no {} `{name}`", kind.word())))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OneState {
    state: MonitorState,
    #[serde(default)]
    dry_run: bool,
}

async fn monitor_state(State(shown): State<Shown>, Path(name): Path<String>, body: Bytes) -> Response {
    with_body(&body, r#"{"state": "running", "stopped" or "resting"}"#, move |OneState { state, dry_run }| async move {
        let request = StateRequest { state, names: vec![name], priority: None, path: None, from: None, dry_run };
        blocking(StatusCode::OK, move || shown.view.control().set_states(&request)).await
    })
    .await
}

async fn monitor_states(State(shown): State<Shown>, body: Bytes) -> Response {
    let expected =
        r#"{"state": "running", "stopped" or "resting", "names": […] or "priority": "high", "medium" or "low"}"#;
    with_body(&body, expected, move |request: StateRequest| async move {
        blocking(StatusCode::OK, move || shown.view.control().set_states(&request)).await
    })
    .await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ShadowRequest {
    seconds: f64,
}

async fn shadow(State(shown): State<Shown>, Path(name): Path<String>, body: Bytes) -> Response {
    let expected = r#"{"seconds": 3600}, or 0 to be done with it"#;
    with_body(&body, expected, move |ShadowRequest { seconds }| async move {
        blocking(StatusCode::OK, move || {
            let span = Duration::try_from_secs_f64(seconds)
                .map_err(|error| ChangeRefusal::new(422, format!("`seconds`: {error}")))?;
            shown.view.control().shadow(&name, span)
        })
        .await
    })
    .await
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct EmergencyRequest {
    reason: Option<String>,
}

async fn emergency_stop(State(shown): State<Shown>, body: Bytes) -> Response {
    let body = if body.is_empty() { Bytes::from_static(b"{}") } else { body };
    with_body(&body, r#"{"reason": "why"}, or nothing"#, move |EmergencyRequest { reason }| async move {
        blocking(StatusCode::OK, move || shown.view.control().emergency(true, reason.as_deref())).await
    })
    .await
}

async fn start(State(shown): State<Shown>) -> Response {
    blocking(StatusCode::OK, move || shown.view.control().emergency(false, None)).await
}

#[derive(Deserialize)]
pub(super) struct Named {
    name: Option<String>,
}

async fn verify(State(shown): State<Shown>, Query(Named { name }): Query<Named>) -> Response {
    blocking(StatusCode::OK, move || {
        let mut verdicts = shown.view.verify_monitors();
        if let Some(name) = &name {
            verdicts.retain(|verdict| verdict.name == *name);
            if verdicts.is_empty() {
                return Err(ChangeRefusal::new(404, format!("there is no monitor `{name}`")));
            }
        }
        Ok(verdicts)
    })
    .await
}

async fn with_body<T: DeserializeOwned, F: Future<Output = Response>>(
    body: &Bytes,
    expected: &str,
    work: impl FnOnce(T) -> F,
) -> Response {
    match serde_json::from_slice(body) {
        Ok(read) => work(read).await,
        Err(error) => refused(&ChangeRefusal::new(400, format!("expected {expected}: {error}"))),
    }
}

/// Off the thread that serves everybody.
async fn blocking<T: Serialize + Send + 'static>(
    status: StatusCode,
    work: impl FnOnce() -> Result<T, ChangeRefusal> + Send + 'static,
) -> Response {
    match tokio::task::spawn_blocking(work).await {
        Ok(Ok(done)) => (status, Json(done)).into_response(),
        Ok(Err(refusal)) => refused(&refusal),
        Err(error) => refused(&ChangeRefusal::new(500, format!("a bug of Sluice: {error}"))),
    }
}

fn refused(refusal: &ChangeRefusal) -> Response {
    let ChangeRefusal { status, error, problems } = refusal;
    let status = StatusCode::from_u16(*status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut refusal = problem::Problem::new(status, error);
    if !problems.is_empty() {
        let row = |Problem { origin, key, value, message }: &Problem| json!({ "origin": origin, "key": key.to_string(), "value": value, "message": message });
        refusal = refusal.with("problems", problems.iter().map(row).collect::<Value>());
    }
    refusal.into_response()
}
