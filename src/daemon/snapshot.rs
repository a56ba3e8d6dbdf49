//! What every segment of the journal begins with: what is live now and would otherwise be known from older segments only,
//! so that any run of the newest segments is enough.

use std::sync::Arc;

use serde::Serialize;

use super::own_events::{CountsRecord, event_block};
use super::switches::{SettingsRecord, Switches};
use super::watched::{Watched, WatchedList};
use crate::clock::{ReceivedClock, UnixNanos};
use crate::journal::{EncodedBlock, MonitorIdentity};
use crate::monitor::gap::GapCause;
use crate::upstream::TopicState;

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
    /// Topics that are not in force and will not be by themselves.
    topics: Vec<TopicRecord>,
    /// What an operator set at run time.
    settings: SettingsRecord,
}

/// A gap that goes on: as one that has ended, but for its end.
#[derive(Debug, Serialize)]
struct OpenGapRecord {
    monitor: String,
    upstream: String,
    topic: String,
    cause: GapCause,
    start: String,
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
    monitor: Arc<MonitorIdentity>,
    watched: Arc<WatchedList>,
    switches: Arc<Switches>,
    clock: Arc<ReceivedClock>,
    started: UnixNanos,
}

impl LiveState {
    /// Of what is `watched`, journaled under `monitor`.
    pub(super) fn new(
        monitor: Arc<MonitorIdentity>,
        watched: Arc<WatchedList>,
        switches: Arc<Switches>,
        clock: Arc<ReceivedClock>,
        started: UnixNanos,
    ) -> Self {
        Self { monitor, watched, switches, clock, started }
    }

    /// The state now, as a block.
    pub(super) fn block(&self) -> EncodedBlock {
        event_block(&self.monitor, STATE_TOPIC, &self.record(), self.clock.stamp())
    }

    fn record(&self) -> StateRecord {
        let watched = self.watched.now();
        StateRecord {
            started: self.started.to_string(),
            monitors: CountsRecord::of_all(&watched),
            gaps: watched.iter().flat_map(gaps_of).collect(),
            topics: watched.iter().flat_map(stuck_topics_of).collect(),
            settings: self.switches.record(),
        }
    }
}

/// One for each monitor that wants the topic, as when they end.
fn gaps_of(Watched { roster, status, .. }: &Watched) -> Vec<OpenGapRecord> {
    let mut records = Vec::new();
    for (topic, gap) in status.gaps() {
        for route in roster.routes_of(topic) {
            let monitor = &roster.monitors[roster.routes[route as usize].monitor as usize].identity.name;
            records.push(OpenGapRecord {
                monitor: monitor.to_string(),
                upstream: roster.upstream.clone(),
                topic: roster.topic_name(topic).to_string(),
                cause: gap.cause,
                start: gap.start.to_string(),
            });
        }
    }
    records
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
    use crate::upstream::OpenGap;

    #[test]
    fn a_snapshot_tells_what_is_missing_now_for_each_monitor_that_wants_it() {
        let (watched, own) = watching();
        let Watched { roster, status, .. } = &watched.now()[0];
        roster.monitors[0].totals.add(Counts { messages: 5, control: 1, quarantined: 1 });
        roster.monitors[0].totals.add_repeat();
        let start = UnixNanos(1_723_161_255_000_000_000);
        status.begin_gaps([TopicId(0)].into_iter(), OpenGap { start, cause: GapCause::Disconnect });
        status.set_topics([TopicId(1)], &TopicState::Refused("no such topic".into()));
        let live = LiveState::new(own, watched, Arc::default(), Arc::default(), UnixNanos(0));
        let record: Value = serde_json::to_value(live.record()).unwrap();
        let gap = |monitor: &str| json!({"monitor": monitor, "upstream": "u", "topic": "both", "cause": "disconnect", "start": "2024-08-08T23:54:15Z"});
        assert_eq!(record["gaps"], json!([gap("a"), gap("b")]));
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
