//! How well a monitor is: what `sluice monitors verify` says.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::server::{MonitorRow, MonitorVerdict};

/// A monitor without a message for longer is not well. Source: the alert `NO_EVENTS` has the same.
const SILENCE_MAX: Duration = Duration::from_mins(5);

/// A monitor that reads less of what comes is not well. Source: what a rollout must reach.
const PARSE_RATE_MIN: f64 = 0.95;

/// When each monitor's last message came, as precisely as it is looked.
#[derive(Debug, Default)]
pub(super) struct Recency {
    /// Messages so far, and since when there are so many.
    seen: BTreeMap<String, (u64, Option<Instant>)>,
}

impl Recency {
    /// Takes a look at a monitor's count.
    pub(super) fn look(&mut self, monitor: &str, messages: u64, now: Instant) {
        match self.seen.get_mut(monitor) {
            Some((known, at)) if *known != messages => (*known, *at) = (messages, Some(now)),
            Some(_) => {}
            None => drop(self.seen.insert(monitor.to_owned(), (messages, (messages > 0).then_some(now)))),
        }
    }

    /// How long ago a monitor's last message came; none where none did.
    pub(super) fn silence(&self, monitor: &str, now: Instant) -> Option<Duration> {
        self.seen.get(monitor).and_then(|(_, at)| *at).map(|at| now - at)
    }
}

/// What is to be said of a monitor. Its settings can be used, for it runs by them.
pub(super) fn verdict(row: &MonitorRow, connected: bool, silence: Option<Duration>) -> MonitorVerdict {
    let (live, asked) = row.topics.split_once('/').unwrap_or(("0", "0"));
    let held = matches!(row.state.as_str(), "stopped" | "resting");
    let low = row.parse_rate.filter(|rate| *rate < PARSE_RATE_MIN);
    let fault = match () {
        () if held => None,
        () if !connected => Some(format!("upstream `{}` has no open link", row.upstream)),
        () if live != asked => Some(format!("{live} of {asked} topics are live; {}", reason(row))),
        () if silence.is_none() => Some("no message has come since the start".to_owned()),
        () if silence.is_some_and(|silence| silence > SILENCE_MAX) => {
            Some(format!("no message for {} s", silence.unwrap_or_default().as_secs()))
        }
        () => low.map(|rate| format!("only {:.1} % of what came could be read", rate * 100.0)),
    };
    let well = fault.is_none();
    MonitorVerdict {
        name: row.name.clone(),
        well,
        verdict: fault
            .unwrap_or_else(|| if held { format!("{} by an operator or a rule", row.state) } else { "well".into() }),
        settings: true,
        connected,
        topics: row.topics.clone(),
        silent_seconds: silence.map(|silence| silence.as_secs_f64()),
        parse_rate: row.parse_rate,
    }
}

fn reason(row: &MonitorRow) -> String {
    row.error.clone().unwrap_or_else(|| format!("they are {}", row.state))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(state: &str, topics: &str, parse_rate: Option<f64>) -> MonitorRow {
        let row = serde_json::json!({
            "name": "m", "domain": "d", "upstream": "u", "path": "smart", "state": state, "topics": topics,
            "parse_rate": parse_rate, "events": 1, "repeats": 0, "conflicts": 0, "quarantined": 0, "error": null
        });
        serde_json::from_value(row).unwrap()
    }

    #[test]
    fn a_monitor_is_well_when_nothing_is_wrong_with_it_and_says_what_is() {
        let recent = Some(Duration::from_secs(3));
        let of = |state, topics, rate, connected, silence| verdict(&row(state, topics, rate), connected, silence);
        assert!(of("live", "2/2", Some(1.0), true, recent).well);
        for (verdict, said) in [
            (of("live", "2/2", Some(1.0), false, recent), "no open link"),
            (of("partly_live", "1/2", Some(1.0), true, recent), "1 of 2 topics"),
            (of("live", "2/2", Some(0.9), true, recent), "90.0 %"),
            (of("live", "2/2", None, true, None), "no message has come"),
            (of("live", "2/2", Some(1.0), true, Some(Duration::from_secs(301))), "no message for 301 s"),
        ] {
            assert!(!verdict.well && verdict.verdict.contains(said), "{verdict:?}");
        }
    }

    #[test]
    fn a_monitor_that_an_operator_holds_back_is_not_unwell() {
        let held = verdict(&row("stopped", "0/2", None), false, None);
        assert!(held.well && held.verdict.contains("stopped"), "{held:?}");
    }

    #[test]
    fn silence_is_counted_from_the_last_look_that_found_more() {
        let (mut recency, begin) = (Recency::default(), Instant::now());
        let at = |seconds| begin + Duration::from_secs(seconds);
        recency.look("m", 0, at(0));
        assert_eq!(recency.silence("m", at(1)), None);
        recency.look("m", 5, at(1));
        recency.look("m", 5, at(4));
        assert_eq!(recency.silence("m", at(4)), Some(Duration::from_secs(3)));
    }
}
