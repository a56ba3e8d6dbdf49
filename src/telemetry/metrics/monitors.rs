//! What comes for monitors.

use metrics::{Counter, Gauge, counter, gauge};

use crate::journal::OWN_DOMAIN;
use crate::monitor::races::RaceNow;
use crate::monitor::sequence::book::SequenceCounts;
use crate::monitor::totals::TotalsNow;

super::metrics! {
    MESSAGES = Counter "sluice_messages_total" ["monitor", "domain"]
        "Messages that came for a monitor: events, repeats, control and quarantined";
    EVENTS = Counter "sluice_events_total" ["monitor", "domain"]
        "Events handed to the journal";
    REPEATS = Counter "sluice_repeats_total" ["monitor", "domain"]
        "Messages dropped because their id had been seen";
    CONTROL = Counter "sluice_control_total" ["monitor", "domain"]
        "Acknowledgements, heartbeats and messages that a rule ignores";
    QUARANTINED = Counter "sluice_quarantined_total" ["monitor", "domain"]
        "Messages that could not be read";
    PARSE_RATIO = Gauge "sluice_parse_ratio" ["monitor", "domain"]
        "Of the messages that should be events, how many could be read, since the start";
    CONFLICTS = Counter "sluice_conflicts_total" ["monitor", "domain"]
        "Ids that came back with another payload";
    SEQUENCE_MISSING = Counter "sluice_sequence_missing_total" ["monitor"]
        "Numbers of a feed's own sequence that did not come",
        "where messages have numbers";
    SEQUENCE_BREAKS = Counter "sluice_sequence_breaks_total" ["monitor"]
        "Spans in which a feed's own sequence leapt",
        "where messages have numbers";
    RACE_WINS = Counter "sluice_upstream_wins_total" ["monitor", "upstream"]
        "Events that one of a monitor's upstreams brought first",
        "of a monitor with several upstreams";
    RACE_LOSSES = Counter "sluice_upstream_losses_total" ["monitor", "upstream"]
        "Events that another of a monitor's upstreams had brought before",
        "of a monitor with several upstreams";
    RACE_LAG = Gauge "sluice_upstream_lag_seconds" ["monitor", "upstream"]
        "By how much an upstream came later where it was not the first: the median",
        "of a monitor with several upstreams, once one came later than another";
}

/// Figures of one monitor.
pub struct MonitorMetrics {
    messages: Counter,
    events: Counter,
    repeats: Counter,
    control: Counter,
    quarantined: Counter,
    conflicts: Counter,
    /// None for an upstream's own account: what belongs to no monitor should be no event.
    parse_ratio: Option<Gauge>,
}

impl MonitorMetrics {
    /// The handles of `monitor`.
    pub fn new(monitor: &str, domain: &str) -> Self {
        let labels = [("monitor", monitor.to_owned()), ("domain", domain.to_owned())];
        let parse_ratio = (domain != OWN_DOMAIN).then(|| gauge!(PARSE_RATIO, &labels));
        if let Some(parse_ratio) = &parse_ratio {
            // There is none before the first message; 0 would say that nothing could be read.
            parse_ratio.set(f64::NAN);
        }
        Self {
            messages: counter!(MESSAGES, &labels),
            events: counter!(EVENTS, &labels),
            repeats: counter!(REPEATS, &labels),
            control: counter!(CONTROL, &labels),
            quarantined: counter!(QUARANTINED, &labels),
            conflicts: counter!(CONFLICTS, &labels),
            parse_ratio,
        }
    }

    /// Brings the metrics up to what was counted since the start.
    pub fn set(&self, totals: &TotalsNow) {
        self.messages.absolute(totals.messages);
        self.events.absolute(totals.events);
        self.repeats.absolute(totals.repeats);
        self.control.absolute(totals.control);
        self.quarantined.absolute(totals.quarantined);
        self.conflicts.absolute(totals.conflicts);
        if let (Some(rate), Some(parse_ratio)) = (totals.parse_rate(), &self.parse_ratio) {
            parse_ratio.set(rate);
        }
    }
}

/// How a monitor's upstreams do against each other.
#[derive(Debug)]
pub struct RaceMetrics;

impl RaceMetrics {
    /// Brings the metrics of an upstream of `monitor` up to what was counted since the start.
    pub fn set(monitor: &str, upstream: &str, race: &RaceNow) {
        let labels = [("monitor", monitor.to_owned()), ("upstream", upstream.to_owned())];
        counter!(RACE_WINS, &labels).absolute(race.wins);
        counter!(RACE_LOSSES, &labels).absolute(race.losses);
        if let Some(lag) = race.lag_median {
            gauge!(RACE_LAG, &labels).set(lag.as_secs_f64());
        }
    }
}

/// What a monitor's sequences tell.
#[derive(Debug)]
pub struct SequenceMetrics;

impl SequenceMetrics {
    /// Brings the metrics of `monitor` up to what was counted since the start.
    pub fn set(monitor: &str, counts: &SequenceCounts) {
        let labels = [("monitor", monitor.to_owned())];
        counter!(SEQUENCE_MISSING, &labels).absolute(counts.missing);
        counter!(SEQUENCE_BREAKS, &labels).absolute(counts.breaks);
    }
}
