//! `/api/v1/sequences`: what the feeds' own numbers tell of what did not come.

use axum::Json;
use axum::Router;
use axum::extract::State;
use axum::routing::get;
use serde::{Deserialize, Serialize};

use super::serve::Shown;
use crate::monitor::sequence::book::{SequenceCounts, SequenceRow};

/// A topic whose messages are numbered, since the start of the daemon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopicSequence {
    /// Whose.
    pub monitor: String,
    /// Which.
    pub topic: String,
    /// Its numbers.
    #[serde(flatten)]
    pub counts: CountedSequence,
}

/// Numbers since the start of the daemon.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CountedSequence {
    /// Numbers that there were: seen and missing ones.
    pub expected: u64,
    /// Numbers that came. Of a chain, which has none, messages.
    pub seen: u64,
    /// Numbers that did not come.
    pub missing: u64,
    /// In how many spans.
    pub breaks: u64,
    /// How often counting began anew.
    pub restarts: u64,
}

impl From<SequenceCounts> for CountedSequence {
    fn from(counts: SequenceCounts) -> Self {
        let SequenceCounts { seen, missing, breaks, restarts } = counts;
        Self { expected: counts.expected(), seen, missing, breaks, restarts }
    }
}

impl From<SequenceRow> for TopicSequence {
    fn from(row: SequenceRow) -> Self {
        let SequenceRow { monitor, topic, counts } = row;
        Self { monitor: monitor.to_string(), topic: topic.to_string(), counts: counts.into() }
    }
}

/// Its routes.
pub(super) fn routes() -> Router<Shown> {
    Router::new().route("/api/v1/sequences", get(sequences))
}

async fn sequences(State(shown): State<Shown>) -> Json<Vec<TopicSequence>> {
    Json(shown.view.sequences())
}
