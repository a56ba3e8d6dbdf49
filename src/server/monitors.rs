//! `/api/v1/monitors`: every monitor as it stands.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};

use super::serve::Shown;
use crate::monitor::races::RaceNow;

/// A monitor as it stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MonitorRow {
    /// Its name.
    pub name: String,
    /// Its domain.
    pub domain: String,
    /// Where its messages come from. A monitor of several upstreams has a row for each, with the same counts.
    pub upstream: String,
    /// `smart` or `legacy`.
    pub path: String,
    /// The other path, where it is on its way there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crossing_to: Option<String>,
    /// `live`, `partly_live`, `waiting`, `refused`, `left_out`; `stopped` or `resting` where an operator or a rule had it stop.
    pub state: String,
    /// `live`, or `polling` while it is fetched over HTTP; none where it has no such fall-back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
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
    /// How this upstream does against the monitor's others; none where there is but one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub race: Option<RaceRow>,
    /// Its business counters, since they were declared.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub counters: BTreeMap<String, u64>,
}

/// How an upstream does against the others of a monitor, since the start.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RaceRow {
    /// Events that it brought, first or not.
    pub deliveries: u64,
    /// Events that it brought first.
    pub wins: u64,
    /// The share of these; none before the first.
    pub win_rate: Option<f64>,
    /// By how much it came later where it was not the first: the lag that half of these stayed within.
    pub lag_median_ms: Option<f64>,
    /// The same on average.
    pub lag_mean_ms: Option<f64>,
}

impl From<RaceNow> for RaceRow {
    fn from(race: RaceNow) -> Self {
        let milliseconds = |lag: Option<Duration>| lag.map(|lag| lag.as_secs_f64() * 1000.0);
        Self {
            deliveries: race.deliveries(),
            wins: race.wins,
            win_rate: race.win_rate(),
            lag_median_ms: milliseconds(race.lag_median),
            lag_mean_ms: milliseconds(race.lag_mean),
        }
    }
}

pub(super) async fn monitors(State(shown): State<Shown>) -> Json<Vec<MonitorRow>> {
    Json(shown.view.monitors())
}
