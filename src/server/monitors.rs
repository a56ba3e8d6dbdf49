//! `/api/v1/monitors`: every monitor as it stands.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};

use super::serve::Shown;

/// A monitor as it stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MonitorRow {
    /// Its name.
    pub name: String,
    /// Its domain.
    pub domain: String,
    /// Where its messages come from.
    pub upstream: String,
    /// `smart` or `legacy`.
    pub path: String,
    /// `live`, `partly_live`, `waiting`, `refused`, `left_out`; `stopped` or `resting` where an operator or a rule had it stop.
    pub state: String,
    /// Topics in force, of those asked for.
    pub topics: String,
    /// Of the messages that should be events, how many could be read; none before the first.
    pub parse_rate: Option<f64>,
    /// Events since the start.
    pub events: u64,
    /// Repeats dropped since the start.
    pub repeats: u64,
    /// Ids that came back with another payload since the start; dropped ones are among the repeats.
    pub conflicts: u64,
    /// Messages that could not be read since the start.
    pub quarantined: u64,
    /// What stands in its way.
    pub error: Option<String>,
}

pub(super) async fn monitors(State(shown): State<Shown>) -> Json<Vec<MonitorRow>> {
    Json(shown.view.monitors())
}
