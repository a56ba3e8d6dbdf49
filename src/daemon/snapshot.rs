//! What every segment of the journal begins with: what is live now and would otherwise be known from older segments only,
//! so that any run of the newest segments is enough.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;

use super::alerts::AlertBoard;
use super::own_events::{CountsRecord, event_block};
use super::switches::{SettingsRecord, Switches};
use super::watched::{Watched, WatchedList};
use crate::alert::book::BookRecord;
use crate::clock::{ReceivedClock, UnixNanos};
use crate::journal::{EncodedBlock, MonitorIdentity};
use crate::live::{ConsumerBook, ConsumerRecord};
use crate::monitor::gap::{GapCause, WatchedRecord};
use crate::monitor::ledger::{GapLedger, Standing, StandingTopic};
use crate::upstream::TopicState;
use crate::views::{CounterBoard, CounterRecord};

/// The topic of snapshots in the journal, under the domain `_sluice`.
const STATE_TOPIC: &str = "state";

/// The daemon's state as the journal holds it.
#[derive(Debug, Serialize)]
pub(super) struct StateRecord {
    /// When this run began, RFC 3339: counts begin there.
    started: String,
    /// What was counted since.
    monitors: Vec<CountsRecord>,
    /// Spans that go on. One that ends becomes an event of the monitor `gaps`.
    gaps: Vec<OpenGapRecord>,
    /// No gap has this number or a higher one.
    next_gap_id: u64,
    /// Topics whose gaps are recorded, and since when.
    watched: Vec<WatchedRecord>,
    /// Topics that are not in force and will not be by themselves.
    topics: Vec<TopicRecord>,
    /// What an operator set at run time.
    settings: SettingsRecord,
    /// What business counters have counted, of events that may be deleted since.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    counters: Vec<CounterRecord>,
    /// Alerts that are not over, who was told, and silences.
    #[serde(skip_serializing_if = "BookRecord::is_empty")]
    alerts: BookRecord,
    /// How far programs have come that read by a name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    consumers: Vec<ConsumerRecord>,
}

/// A gap that goes on: as one that has ended, but for its end.
#[derive(Debug, Serialize)]
struct OpenGapRecord {
    monitor: String,
    upstream: String,
    topic: String,
    cause: GapCause,
    start: String,
    id: u64,
}

/// A topic that is refused, unconfirmed or left out.
#[derive(Debug, Serialize)]
struct TopicRecord {
    upstream: String,
    topic: String,
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// Takes snapshots. Belongs to the journal's writer, so it holds nothing that holds the journal, and waits for nothing but
/// the short locks of status.
pub(super) struct LiveState {
    /// What it is journaled under.
    pub(super) monitor: Arc<MonitorIdentity>,
    pub(super) watched: Arc<WatchedList>,
    pub(super) ledger: Arc<GapLedger>,
    pub(super) switches: Arc<Switches>,
    pub(super) counters: Arc<CounterBoard>,
    pub(super) alerts: Arc<AlertBoard>,
    pub(super) consumers: Arc<ConsumerBook>,
    pub(super) clock: Arc<ReceivedClock>,
    /// When the daemon did.
    pub(super) started: UnixNanos,
}

impl LiveState {
    /// The state now, as a block.
    pub(super) fn block(&self) -> EncodedBlock {
        event_block(&self.monitor, STATE_TOPIC, &self.record(), self.clock.stamp())
    }

    fn record(&self) -> StateRecord {
        let watched = self.watched.now();
        let Standing { next_id, topics } = self.ledger.standing();
        StateRecord {
            started: self.started.to_string(),
            monitors: CountsRecord::of_all(&watched),
            gaps: topics.iter().flat_map(gaps_of).collect(),
            next_gap_id: next_id,
            watched: watched_of(&topics),
            topics: watched.iter().flat_map(stuck_topics_of).collect(),
            settings: self.switches.record(),
            counters: self.counters.records(),
            alerts: self.alerts.record(),
            consumers: self.consumers.records(),
        }
    }
}

/// One for each monitor that wants the topic, as when they end.
fn gaps_of(standing: &StandingTopic) -> impl Iterator<Item = OpenGapRecord> {
    standing.open.iter().map(|(id, start, cause)| OpenGapRecord {
        monitor: standing.monitor.to_string(),
        upstream: standing.upstream.to_string(),
        topic: standing.topic.to_string(),
        cause: *cause,
        start: start.to_string(),
        id: *id,
    })
}

/// Those of a monitor together that are watched since the same moment.
fn watched_of(topics: &[StandingTopic]) -> Vec<WatchedRecord> {
    let mut together: BTreeMap<(&str, &str, UnixNanos), Vec<String>> = BTreeMap::new();
    for standing in topics {
        let key = (&*standing.monitor, &*standing.upstream, standing.since);
        together.entry(key).or_default().push(standing.topic.to_string());
    }
    let records = together.into_iter().map(|((monitor, upstream, since), topics)| WatchedRecord {
        monitor: monitor.to_owned(),
        upstream: upstream.to_owned(),
        since: since.to_string(),
        topics,
    });
    records.collect()
}

fn stuck_topics_of(Watched { roster, status, .. }: &Watched) -> Vec<TopicRecord> {
    let states = status.topics();
    let stuck = roster.topics.iter().zip(&states).filter_map(|(topic, state)| {
        let reason = match state {
            TopicState::Refused(reason) => Some(reason.clone()),
            TopicState::Unconfirmed | TopicState::LeftOut => None,
            TopicState::Waiting | TopicState::Asked | TopicState::Live => return None,
        };
        let (upstream, topic) = (roster.upstream.clone(), topic.name.to_string());
        Some(TopicRecord { upstream, topic, state: state.name(), reason })
    });
    stuck.collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::watching::watching;
    use super::*;
    use crate::dialect::TopicId;
    use crate::monitor::burst::Counts;

    #[test]
    fn a_snapshot_tells_what_is_missing_now_for_each_monitor_that_wants_it() {
        let (watched, own) = watching();
        let Watched { roster, status, .. } = &watched.now()[0];
        roster.monitors[0].totals.add(Counts { messages: 5, control: 1, quarantined: 1 });
        roster.monitors[0].totals.add_repeat();
        let start = UnixNanos(1_723_161_255_000_000_000);
        let ledger = Arc::new(GapLedger::default());
        assert_eq!(ledger.covered(roster, [TopicId(0), TopicId(1)], UnixNanos(0), None).len(), 2);
        assert_eq!(ledger.lost(roster, [TopicId(0)], start, GapCause::Disconnect).len(), 2);
        status.set_topics([TopicId(1)], &TopicState::Refused("no such topic".into()));
        let live = LiveState {
            monitor: own,
            watched,
            ledger,
            switches: Arc::default(),
            counters: Arc::default(),
            alerts: Arc::default(),
            consumers: Arc::new(ConsumerBook::new([])),
            clock: Arc::default(),
            started: UnixNanos(0),
        };
        let record: Value = serde_json::to_value(live.record()).unwrap();
        let gap = |monitor: &str, id: u64| json!({"monitor": monitor, "upstream": "u", "topic": "both", "cause": "disconnect", "start": "2024-08-08T23:54:15Z", "id": id});
        assert_eq!(record["gaps"], json!([gap("a", 0), gap("b", 1)]));
        assert_eq!(record["next_gap_id"], 2);
        let watched = |monitor: &str, topics: &[&str]| json!({"monitor": monitor, "upstream": "u", "since": "1970-01-01T00:00:00Z", "topics": topics});
        assert_eq!(record["watched"], json!([watched("a", &["both"]), watched("b", &["both", "of-b"])]));
        assert_eq!(
            record["topics"],
            json!([{"upstream": "u", "topic": "of-b", "state": "refused", "reason": "no such topic"}])
        );
        let a = json!({
            "monitor": "a", "domain": "d", "upstream": "u",
            "messages": 5, "events": 2, "repeats": 1, "control": 1, "quarantined": 1
        });
        assert_eq!(record["monitors"][0], a);
        let names: Vec<&Value> = record["monitors"].as_array().unwrap().iter().map(|row| &row["monitor"]).collect();
        assert_eq!(names, ["a", "b", "upstream:u"]);
        assert_eq!(record["started"], "1970-01-01T00:00:00Z");
    }
}
