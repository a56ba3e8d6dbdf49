//! `/api/v1/canary`: the share of monitors on the smart path, the plan, the guard; and deciding about them.

use axum::Json;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::{Deserialize, Serialize};

use super::operations::Refusal;
use super::problem::Problem;
use super::serve::Shown;
use crate::config::StageSettings;
use crate::journal::Path;
use crate::rollout::Fraction;
use crate::rollout::decision::{Decider, RollBack};
use crate::rollout::figures::CrossingRow;
use crate::rollout::guard::{GuardState, PathRates};
use crate::rollout::history::CanaryRow;
use crate::rollout::plan::PlanState;
use crate::rollout::way_back::WayBack;

/// What a person wants.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CanaryAction {
    /// A share of monitors on the smart path.
    #[default]
    Set,
    /// The settings' own share, in the place of what was decided at run time.
    Clear,
    /// The plan begins.
    Start,
    /// The plan waits.
    Pause,
    /// It goes on.
    Resume,
    /// It is given up.
    Abort,
}

/// A request.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CanaryRequest {
    /// What is wanted.
    #[serde(default)]
    pub action: CanaryAction,
    /// The share to be set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fraction: Option<Fraction>,
    /// Why, for the record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Whether it is only asked what would be.
    #[serde(default)]
    pub dry_run: bool,
    /// Whether it is done also where the guard has taken monitors back a short time ago.
    #[serde(default)]
    pub force: bool,
    /// Of a plan that is given up: whether monitors stay where they are.
    #[serde(default)]
    pub stay: bool,
}

/// Monitors of one path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathCount {
    /// Which.
    pub path: Path,
    /// How many are to be on it.
    pub wanted: usize,
    /// How many are; one that changes paths counts where it was.
    pub now: usize,
    /// How many of these are there by their own settings.
    pub pinned: usize,
}

/// What the settings say, without what was decided at run time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CanarySettings {
    /// `smart_streaming.canary`
    pub fraction: f64,
    /// The layer that it comes from.
    pub origin: String,
    /// `smart_streaming.enabled`
    pub enabled: bool,
    /// The layer that it comes from.
    pub enabled_origin: String,
}

/// The plan as it stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlanShown {
    /// In a word; none: no plan was started yet.
    pub state: Option<PlanState>,
    /// The stage that lasts or is to be entered, from 1.
    pub stage: usize,
    /// Its stages.
    pub stages: Vec<StageSettings>,
    /// How long all has been well in this stage.
    pub well_seconds: f64,
    /// How long all must be well from now on before the next; none where no end is near.
    pub left_seconds: Option<f64>,
    /// Why time does not count now.
    pub waits_for: Option<String>,
    /// How often the guard took monitors back.
    pub roll_backs: u32,
    /// When it was started, RFC 3339.
    pub started: Option<String>,
}

/// The guard as it stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GuardShown {
    /// In a word.
    pub state: GuardState,
    /// What it finds, in words.
    pub words: Option<String>,
    /// Until when nothing is put on the smart path, RFC 3339.
    pub cooling_until: Option<String>,
    /// Fractions that were well for a window.
    pub good: Vec<Fraction>,
}

/// A roll back under way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RollBackShown {
    /// What is taken back, and why.
    #[serde(flatten)]
    pub roll_back: RollBack,
    /// How long it lasts so far.
    pub seconds: f64,
    /// Monitors that are not back yet.
    pub left: usize,
}

/// What the process uses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct MemoryShown {
    /// Bytes that are resident.
    pub used: u64,
    /// Bytes that it may have: the control group's limit, or else what the host has.
    pub limit: u64,
    /// The one of the other.
    pub share: f64,
}

/// How the change-over stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CanaryStatus {
    /// The share of monitors that is to be on the smart path.
    pub fraction: Fraction,
    /// Who decided that; none: the settings.
    pub by: Option<Decider>,
    /// When, RFC 3339.
    pub since: Option<String>,
    /// Why.
    pub reason: Option<String>,
    /// What the settings say.
    pub settings: CanarySettings,
    /// Both paths.
    pub paths: Vec<PathCount>,
    /// Monitors that are changing paths.
    pub crossings: Vec<CrossingRow>,
    /// The plan.
    pub plan: PlanShown,
    /// The guard.
    pub guard: GuardShown,
    /// What the guard takes back now.
    pub roll_back: Option<RollBackShown>,
    /// What it would take to have all monitors on the legacy path.
    pub way_back: WayBack,
    /// Both paths of each upstream, within the guard's window.
    pub figures: Vec<PathRates>,
    /// The process.
    pub memory: MemoryShown,
    /// What a person should know.
    pub notes: Vec<String>,
}

/// What came of a request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CanaryAnswer {
    /// Whether it was only asked what would be.
    pub dry_run: bool,
    /// The share that is to be on the smart path then.
    pub fraction: Fraction,
    /// Monitors that go to the smart path.
    pub to_smart: Vec<String>,
    /// Monitors that go to the legacy path.
    pub to_legacy: Vec<String>,
    /// What it would take to have all back.
    pub way_back: WayBack,
    /// What should be thought of before.
    pub warnings: Vec<String>,
    /// What else was done, or has to be.
    pub notes: Vec<String>,
    /// How it stands.
    pub status: CanaryStatus,
}

/// Which decisions.
#[derive(Debug, Deserialize)]
pub(super) struct HistoryQuery {
    /// The most, the newest.
    #[serde(default = "HistoryQuery::limit")]
    limit: usize,
}

impl HistoryQuery {
    fn limit() -> usize {
        100
    }
}

/// Its routes.
pub(super) fn routes() -> Router<Shown> {
    Router::new().route("/api/v1/canary", get(canary).put(change)).route("/api/v1/canary/history", get(history))
}

async fn canary(State(shown): State<Shown>) -> Response {
    blocking(move || Ok::<CanaryStatus, Refusal>(shown.view.canary())).await
}

async fn history(State(shown): State<Shown>, Query(query): Query<HistoryQuery>) -> Response {
    blocking(move || shown.view.canary_history(query.limit.min(10_000)) as Result<Vec<CanaryRow>, Refusal>).await
}

async fn change(State(shown): State<Shown>, body: Bytes) -> Response {
    let request: CanaryRequest = match serde_json::from_slice(&body) {
        Ok(request) => request,
        Err(error) => {
            let error = format!(r#"expected {{"fraction": 0.5}}, or {{"action": "clear"}} and the like: {error}"#);
            return refused(StatusCode::BAD_REQUEST, &error);
        }
    };
    blocking(move || shown.view.change_canary(&request)).await
}

/// Off the thread that serves everybody: the journal is waited for.
async fn blocking<T: Serialize + Send + 'static>(
    work: impl FnOnce() -> Result<T, Refusal> + Send + 'static,
) -> Response {
    match tokio::task::spawn_blocking(work).await {
        Ok(Ok(done)) => Json(done).into_response(),
        Ok(Err(Refusal { status, error })) => {
            refused(StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), &error)
        }
        Err(error) => refused(StatusCode::INTERNAL_SERVER_ERROR, &format!("a bug of Sluice: {error}")),
    }
}

fn refused(status: StatusCode, error: &str) -> Response {
    Problem::new(status, error).into_response()
}
