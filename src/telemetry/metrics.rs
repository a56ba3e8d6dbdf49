//! Every metric's name, unit and meaning, in one place.
//!
//! Handles are looked up once and kept; nothing here is called for a single message.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};

use super::latency::LatencyHistogram;
use crate::breaker::BreakerState;
use crate::journal::{CommitReport, OWN_DOMAIN, Path, RetentionStatus};
use crate::monitor::ledger::GapFigures;
use crate::monitor::races::RaceNow;
use crate::monitor::sequence::book::SequenceCounts;
use crate::monitor::totals::TotalsNow;
use crate::pipeline::dedupe::WindowFigures;
use crate::rollout::guard::Check;
use crate::sink::{SinkRow, SinkState};
use crate::upstream::{LinkState, LinkStatus};
use crate::value_cache::CacheFigures;

const MESSAGES: &str = "sluice_messages_total";
const EVENTS: &str = "sluice_events_total";
const REPEATS: &str = "sluice_repeats_total";
const CONTROL: &str = "sluice_control_total";
const QUARANTINED: &str = "sluice_quarantined_total";
const PARSE_RATIO: &str = "sluice_parse_ratio";
const CONFLICTS: &str = "sluice_conflicts_total";
const SEQUENCE_MISSING: &str = "sluice_sequence_missing_total";
const SEQUENCE_BREAKS: &str = "sluice_sequence_breaks_total";
const RACE_WINS: &str = "sluice_upstream_wins_total";
const RACE_LOSSES: &str = "sluice_upstream_losses_total";
const RACE_LAG: &str = "sluice_upstream_lag_seconds";
const FRAMES: &str = "sluice_frames_received_total";
const FRAME_BYTES: &str = "sluice_received_bytes_total";
const LINKS: &str = "sluice_links";
const LINK_CONNECTS: &str = "sluice_link_connects_total";
const LINK_FAILURES: &str = "sluice_link_failures_total";
const LINK_MESSAGES: &str = "sluice_link_messages_total";
const LINK_STATE: &str = "sluice_link_state";
const LINK_TOPICS: &str = "sluice_link_topics";
const LINK_LATENCY: &str = "sluice_link_latency_seconds";
const LINK_AGE: &str = "sluice_link_age_seconds";
const SILENT_TOPICS: &str = "sluice_topics_silent_total";
const LINKS_REPLACED: &str = "sluice_links_replaced_total";
const LINK_PING: &str = "sluice_link_ping_seconds";
const REFUSED: &str = "sluice_subscriptions_refused_total";
const LATENCY: &str = "sluice_event_durable_seconds";
const LATENCY_HELP: &str = "Time from reading an event off the socket to its being durable";
const GAPS_OPEN: &str = "sluice_gaps_open";
const GAP_SECONDS: &str = "sluice_gap_seconds_total";
const BACKFILLS: &str = "sluice_backfills_total";
const BACKFILL_EVENTS: &str = "sluice_backfill_events_total";
const POLLING: &str = "sluice_polling";
const POLL_SWITCHES: &str = "sluice_poll_switches_total";
const POLLS: &str = "sluice_polls_total";
const POLL_EVENTS: &str = "sluice_poll_events_total";
const BLOCKS: &str = "sluice_journal_blocks_total";
const JOURNAL_BYTES: &str = "sluice_journal_written_bytes_total";
const SYNC: &str = "sluice_journal_sync_seconds";
const DURABLE: &str = "sluice_journal_durable_offset";
const QUEUE: &str = "sluice_journal_queue_bytes";
const JOURNAL_WRITABLE: &str = "sluice_journal_writable";
const RETENTION_RUN: &str = "sluice_journal_retention_last_run_seconds";
const DELETED_SEGMENTS: &str = "sluice_journal_deleted_segments_total";
const DELETED_BYTES: &str = "sluice_journal_deleted_bytes_total";
const HELD_BYTES: &str = "sluice_journal_held_bytes";
const HELD_FROM: &str = "sluice_journal_held_from_offset";
const WINDOW_IDS: &str = "sluice_dedupe_ids";
const WINDOW_BYTES: &str = "sluice_dedupe_bytes";
const WINDOW_REACH: &str = "sluice_dedupe_window_seconds";
const WINDOW_CROWDED: &str = "sluice_dedupe_crowded_out_total";
const OWN_REFUSED: &str = "sluice_own_events_refused_total";
const CHECKPOINT_AGE: &str = "sluice_checkpoint_age_seconds";
const CHECKPOINTS: &str = "sluice_checkpoints_written_total";
const CHECKPOINT_FAILURES: &str = "sluice_checkpoint_failures_total";
const SINK_TRANSACTION: &str = "sluice_sink_transaction_seconds";
const VIEW_OFFSET: &str = "sluice_view_offset";
const VIEW_REBUILDS: &str = "sluice_view_rebuilds_total";
const VIEW_SKIPPED: &str = "sluice_view_skipped_events_total";
const BUSINESS: &str = "sluice_business_counter_total";
const BUSINESS_HOUR: &str = "sluice_business_counter_last_hour";
const LOOK_UPS: &str = "sluice_lookups_total";
const LOOK_UP_SUCCESS: &str = "sluice_lookup_success_ratio";
const CACHE_HITS: &str = "sluice_cache_hits_total";
const CACHE_MISSES: &str = "sluice_cache_misses_total";
const CACHE_BYTES: &str = "sluice_cache_bytes";
const SINK_STATE: &str = "sluice_sink_state";
const SINK_BREAKER: &str = "sluice_sink_breaker_state";
const SINK_CURSOR: &str = "sluice_sink_cursor_offset";
const SINK_LAG_EVENTS: &str = "sluice_sink_lag_events";
const SINK_LAG: &str = "sluice_sink_lag_seconds";
const SINK_ROWS: &str = "sluice_sink_rows_total";
const SINK_PARKED: &str = "sluice_sink_parked_total";
const SINK_RETRIES: &str = "sluice_sink_retries_total";
const SINK_LOST: &str = "sluice_sink_lost_events_total";
const SINK_FILES: &str = "sluice_sink_files";
const SINK_BYTES: &str = "sluice_sink_bytes";
const CIRCUIT_STATE: &str = "sluice_circuit_state";
const CIRCUIT_OPENINGS: &str = "sluice_circuit_openings_total";
const CANARY_FRACTION: &str = "sluice_canary_fraction";
const CANARY_STAGE: &str = "sluice_canary_stage";
const CANARY_MONITORS: &str = "sluice_canary_monitors";
const CANARY_CROSSINGS: &str = "sluice_canary_crossings";
const CANARY_ROLLBACKS: &str = "sluice_canary_rollbacks_total";
const CANARY_ROLLBACK: &str = "sluice_canary_last_rollback_seconds";
const CANARY_COOLING: &str = "sluice_canary_cooling";
const BUILD: &str = "sluice_build_info";
const STARTED: &str = "sluice_start_time_seconds";

/// Bounds of times: one at the latency promised (25 ms), finer where a good disk is.
pub(super) const SECONDS: [f64; 16] =
    [0.000_5, 0.001, 0.002, 0.005, 0.01, 0.015, 0.02, 0.025, 0.03, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];

/// Renders what was measured.
#[derive(Clone)]
pub struct MetricsHandle {
    exporter: PrometheusHandle,
    latency: Arc<LatencyHistogram>,
}

impl MetricsHandle {
    /// The text of `/metrics`.
    pub fn render(&self) -> String {
        let mut text = self.exporter.render();
        self.latency.render(LATENCY, LATENCY_HELP, &mut text);
        text
    }

    /// Moves what histograms gathered on; called now and then, so that they do not grow between scrapes.
    pub fn tend(&self) {
        self.exporter.run_upkeep();
    }

    /// How long events take to become durable.
    pub fn latency(&self) -> Arc<LatencyHistogram> {
        Arc::clone(&self.latency)
    }

    /// The handles of the journal.
    pub fn journal(&self) -> JournalMetrics {
        JournalMetrics::new(Arc::clone(&self.latency))
    }
}

/// Begins measuring in this process.
///
/// # Errors
/// When another recorder was installed before.
pub fn install() -> Result<MetricsHandle, BuildError> {
    let exporter = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &SECONDS)?
        .install_recorder()?;
    describe();
    super::notifications::describe();
    gauge!(BUILD, "version" => env!("CARGO_PKG_VERSION")).set(1);
    let since_1970 = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    gauge!(STARTED).set(since_1970.as_secs_f64());
    Ok(MetricsHandle { exporter, latency: Arc::default() })
}

fn describe() {
    describe_counter!(MESSAGES, "Messages that came for a monitor: events, repeats, control and quarantined");
    describe_counter!(EVENTS, "Events handed to the journal");
    describe_counter!(REPEATS, "Messages dropped because their id had been seen");
    describe_counter!(CONTROL, "Acknowledgements, heartbeats and messages that a rule ignores");
    describe_counter!(QUARANTINED, "Messages that could not be read");
    describe_gauge!(PARSE_RATIO, "Of the messages that should be events, how many could be read, since the start");
    describe_counter!(CONFLICTS, "Ids that came back with another payload");
    describe_counter!(SEQUENCE_MISSING, "Numbers of a feed's own sequence that did not come");
    describe_counter!(SEQUENCE_BREAKS, "Spans in which a feed's own sequence leapt");
    describe_counter!(RACE_WINS, "Events that one of a monitor's upstreams brought first");
    describe_counter!(RACE_LOSSES, "Events that another of a monitor's upstreams had brought before");
    describe_gauge!(
        RACE_LAG,
        Unit::Seconds,
        "By how much an upstream came later where it was not the first: the median"
    );
    describe_counter!(FRAMES, "Data frames that came over an upstream's links");
    describe_counter!(FRAME_BYTES, Unit::Bytes, "Bytes of data frames that came over an upstream's links");
    describe_gauge!(LINKS, "Links by what they are doing");
    describe_counter!(LINK_CONNECTS, "Connections opened, by link");
    describe_counter!(LINK_MESSAGES, "Data frames that came over a link");
    describe_gauge!(LINK_STATE, "1 for the state that a link is in, 0 for the others");
    describe_gauge!(LINK_TOPICS, "Topics placed on a link");
    describe_gauge!(LINK_LATENCY, Unit::Seconds, "Time from a link's last ping to its answer");
    describe_gauge!(LINK_AGE, Unit::Seconds, "How long a link's connection has been open");
    describe_counter!(LINK_FAILURES, "Connections lost or not opened, by cause");
    describe_counter!(SILENT_TOPICS, "Topics of which nothing came for longer than is usual, asked for anew");
    describe_counter!(LINKS_REPLACED, "Links replaced before they failed, by cause");
    describe_histogram!(LINK_PING, Unit::Seconds, "Time from a ping to its answer");
    describe_counter!(REFUSED, "Subscriptions refused or ended by the upstream");
    describe_gauge!(GAPS_OPEN, "Topics that are not in force now, counted for each monitor that wants them");
    describe_counter!(
        GAP_SECONDS,
        Unit::Seconds,
        "Time in gaps that are over, by cause; each monitor and topic counts"
    );
    describe_counter!(BACKFILLS, "Attempts to fetch what was not seen, by how they ended");
    describe_counter!(BACKFILL_EVENTS, "Events that were fetched because they had not been seen");
    describe_gauge!(POLLING, "1 while a monitor is polled over HTTP in the place of its upstream, else 0");
    describe_counter!(POLL_SWITCHES, "How often a monitor was switched to polling, or back");
    describe_counter!(POLLS, "Polls, by how they ended");
    describe_counter!(POLL_EVENTS, "Events that polls brought");
    describe_counter!(BLOCKS, "Blocks written to the journal");
    describe_counter!(JOURNAL_BYTES, Unit::Bytes, "Bytes written to the journal");
    describe_histogram!(SYNC, Unit::Seconds, "Duration of the journal's syncs");
    describe_gauge!(DURABLE, "Events below this offset are durable");
    describe_gauge!(QUEUE, Unit::Bytes, "Bytes of blocks waiting for the journal's writer");
    describe_gauge!(JOURNAL_WRITABLE, "1 while the journal takes events, 0 while it is full or has failed");
    describe_gauge!(RETENTION_RUN, Unit::Seconds, "When retention last looked at the journal, seconds since 1970");
    describe_counter!(DELETED_SEGMENTS, "Segments deleted, by cause");
    describe_counter!(DELETED_BYTES, Unit::Bytes, "Bytes of segments deleted, by cause");
    describe_gauge!(
        HELD_BYTES,
        Unit::Bytes,
        "Bytes that the journal keeps beyond its limits because a reader needs them"
    );
    describe_gauge!(HELD_FROM, "The first event that this reader needs, where it holds retention back");
    describe_gauge!(WINDOW_IDS, "Ids remembered");
    describe_gauge!(WINDOW_BYTES, Unit::Bytes, "Memory of remembered ids");
    describe_gauge!(
        WINDOW_REACH,
        Unit::Seconds,
        "How far back ids are remembered; below dedupe.ttl when memory is short"
    );
    describe_counter!(WINDOW_CROWDED, "Ids forgotten before their time, for want of memory");
    describe_counter!(
        OWN_REFUSED,
        "Events of the daemon's own that the journal had no room for, and that were dropped"
    );
    describe_gauge!(VIEW_OFFSET, "Up to which offset a view is built");
    describe_counter!(VIEW_REBUILDS, "Views thrown away and built anew from the journal");
    describe_counter!(VIEW_SKIPPED, "Events that last values passed over to catch up");
    describe_counter!(BUSINESS, "Events that a business counter of a monitor counted since it was declared");
    describe_gauge!(BUSINESS_HOUR, "The same of the last 60 minutes");
    describe_counter!(
        LOOK_UPS,
        "Look-ups of enrichment: found, nothing, failed, and skipped where they were not asked for"
    );
    describe_gauge!(
        LOOK_UP_SUCCESS,
        "Of the look-ups that were asked for, the share that was answered, since the start"
    );
    describe_counter!(CACHE_HITS, "Questions that a cache answered");
    describe_counter!(CACHE_MISSES, "Questions that a cache could not answer");
    describe_gauge!(CACHE_BYTES, Unit::Bytes, "Bytes of a cache's values, as they are kept");
    describe_gauge!(CHECKPOINT_AGE, Unit::Seconds, "Time since the newest checkpoint was written");
    describe_counter!(CHECKPOINTS, "Checkpoints written");
    describe_counter!(CHECKPOINT_FAILURES, "Checkpoints that could not be written");
    describe_histogram!(SINK_TRANSACTION, Unit::Seconds, "Duration of a sink's transactions");
    describe_gauge!(SINK_STATE, "1 for the state that a sink is in, 0 for the others");
    describe_gauge!(SINK_BREAKER, "1 for the state that a sink's breaker is in, 0 for the others");
    describe_gauge!(SINK_CURSOR, "The offset after the last event that a sink has");
    describe_gauge!(SINK_LAG_EVENTS, "Events of the journal that a sink may still have to take");
    describe_gauge!(SINK_LAG, Unit::Seconds, "The age of the oldest event that a sink has not taken");
    describe_counter!(SINK_ROWS, "Rows written to a sink");
    describe_counter!(SINK_PARKED, "Rows that a sink refused, and that were put aside");
    describe_counter!(SINK_RETRIES, "Attempts at a sink that failed");
    describe_counter!(
        SINK_LOST,
        "Offsets that were no longer in the journal for a sink, or that an operator had it pass over"
    );
    describe_gauge!(SINK_FILES, "Files that hold a sink's events");
    describe_gauge!(SINK_BYTES, Unit::Bytes, "Bytes that hold a sink's events");
    describe_gauge!(CIRCUIT_STATE, "1 for the state that a circuit breaker is in, 0 for the others");
    describe_counter!(CIRCUIT_OPENINGS, "How often a circuit breaker opened by itself");
    describe_gauge!(CANARY_FRACTION, "The share of monitors that is to be on the smart path");
    describe_gauge!(CANARY_STAGE, "The stage that the plan is in, from 1; 0 without a plan under way");
    describe_gauge!(CANARY_MONITORS, "Monitors on a path now; one that changes paths counts where it was");
    describe_gauge!(CANARY_CROSSINGS, "Monitors that are changing paths");
    describe_counter!(
        CANARY_ROLLBACKS,
        "How often the guard took monitors back from the smart path, by what was worse"
    );
    describe_gauge!(
        CANARY_ROLLBACK,
        Unit::Seconds,
        "How long it took the last time until all were where they were to be"
    );
    describe_gauge!(CANARY_COOLING, "1 while the guard lets nothing be put on the smart path, else 0");
    describe_gauge!(BUILD, "1, with the version as a label");
    describe_gauge!(STARTED, Unit::Seconds, "When the process started, seconds since 1970");
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

/// Figures of one upstream.
pub struct UpstreamMetrics {
    upstream: String,
    path: Path,
    /// What the links of a unit are told from each other by, beside their numbers: the monitor of a dedicated one.
    of: Option<String>,
    frames: Counter,
    bytes: Counter,
    ping: Histogram,
    refused: Counter,
}

/// A dedicated link is called by its monitor.
fn link_labels(upstream: &str, path: Path, of: Option<&str>, number: usize) -> [(&'static str, String); 3] {
    let link = match (of, number) {
        (None, number) => number.to_string(),
        (Some(monitor), 0) => monitor.to_owned(),
        (Some(monitor), number) => format!("{monitor}/{number}"),
    };
    [("upstream", upstream.to_owned()), ("path", path.as_str().to_owned()), ("link", link)]
}

impl UpstreamMetrics {
    /// The handles of a path of `upstream`; on the legacy path, of a monitor.
    pub fn new(upstream: &str, path: Path, of: Option<&str>) -> Self {
        let labels = [("upstream", upstream.to_owned()), ("path", path.as_str().to_owned())];
        Self {
            upstream: upstream.to_owned(),
            path,
            of: of.map(str::to_owned),
            frames: counter!(FRAMES, &labels),
            bytes: counter!(FRAME_BYTES, &labels),
            ping: metrics::histogram!(LINK_PING, &labels),
            refused: counter!(REFUSED, &labels),
        }
    }

    /// A burst came.
    pub fn burst(&self, frames: u64, bytes: u64) {
        self.frames.increment(frames);
        self.bytes.increment(bytes);
    }

    /// A connection was opened.
    pub fn connected(&self, link: usize) {
        counter!(LINK_CONNECTS, &self.link_labels(link)).increment(1);
    }

    fn link_labels(&self, link: usize) -> [(&'static str, String); 3] {
        link_labels(&self.upstream, self.path, self.of.as_deref(), link)
    }

    /// Data frames came over a link. Once a second.
    pub fn link_messages(&self, link: usize, messages: u64) {
        counter!(LINK_MESSAGES, &self.link_labels(link)).increment(messages);
    }

    /// A connection was lost, or did not come about.
    pub fn failed(&self, cause: &'static str) {
        counter!(LINK_FAILURES, "upstream" => self.upstream.clone(), "path" => self.path.as_str(), "cause" => cause)
            .increment(1);
    }

    /// Topics were found silent.
    pub fn silent(&self, topics: usize) {
        counter!(SILENT_TOPICS, "upstream" => self.upstream.clone(), "path" => self.path.as_str())
            .increment(topics as u64);
    }

    /// A link is replaced before it fails.
    pub fn replaced(&self, cause: &'static str) {
        counter!(LINKS_REPLACED, "upstream" => self.upstream.clone(), "path" => self.path.as_str(), "cause" => cause)
            .increment(1);
    }

    /// A ping was answered.
    pub fn ping_answered(&self, latency: Duration) {
        self.ping.record(latency.as_secs_f64());
    }

    /// Subscriptions were refused.
    pub fn subscriptions_refused(&self, topics: usize) {
        self.refused.increment(topics as u64);
    }

    /// How many links are in a state.
    pub fn set_links(upstream: &str, path: Path, state: &'static str, links: usize) {
        #[expect(clippy::cast_precision_loss, reason = "links are few")]
        gauge!(LINKS, "upstream" => upstream.to_owned(), "path" => path.as_str(), "state" => state).set(links as f64);
    }

    /// How a link is. What is not known is not a number.
    #[expect(clippy::cast_precision_loss, reason = "gauges are floats")]
    pub fn set_link(upstream: &str, path: Path, of: Option<&str>, number: usize, link: &LinkStatus) {
        let labels = link_labels(upstream, path, of, number);
        for state in LinkState::ALL {
            let [of_upstream, of_path, of_link] = labels.clone();
            let labels = [of_upstream, of_path, of_link, ("state", state.name().to_owned())];
            gauge!(LINK_STATE, &labels).set(if state == link.state { 1.0 } else { 0.0 });
        }
        gauge!(LINK_TOPICS, &labels).set(link.topics as f64);
        gauge!(LINK_LATENCY, &labels).set(link.latency.map_or(f64::NAN, |latency| latency.as_secs_f64()));
        gauge!(LINK_AGE, &labels).set(link.opened.map_or(f64::NAN, |opened| opened.elapsed().as_secs_f64()));
    }
}

/// Figures of the journal.
pub struct JournalMetrics {
    latency: Arc<LatencyHistogram>,
    blocks: Counter,
    bytes: Counter,
    sync: Histogram,
    durable: Gauge,
    writable: Gauge,
    /// Who held retention back when it last looked.
    holder: Mutex<Option<Arc<str>>>,
}

impl JournalMetrics {
    fn new(latency: Arc<LatencyHistogram>) -> Self {
        let writable = gauge!(JOURNAL_WRITABLE);
        writable.set(1.0);
        Self {
            latency,
            blocks: counter!(BLOCKS),
            bytes: counter!(JOURNAL_BYTES),
            sync: metrics::histogram!(SYNC),
            durable: gauge!(DURABLE),
            writable,
            holder: Mutex::default(),
        }
    }

    /// A group of blocks became durable.
    #[expect(clippy::cast_precision_loss, reason = "gauges are floats")]
    pub fn committed(&self, report: &CommitReport<'_>) {
        self.blocks.increment(report.blocks);
        self.bytes.increment(report.bytes);
        self.sync.record(report.sync.as_secs_f64());
        self.durable.set(report.durable.0 as f64);
        for run in report.received {
            self.latency.record(report.at.since(run.received), run.events);
        }
    }

    /// Whether the journal takes events.
    pub fn set_writable(&self, writable: bool) {
        self.writable.set(if writable { 1.0 } else { 0.0 });
    }

    /// A segment was deleted.
    pub fn deleted(&self, cause: &'static str, bytes: u64) {
        counter!(DELETED_SEGMENTS, "cause" => cause).increment(1);
        counter!(DELETED_BYTES, "cause" => cause).increment(bytes);
    }

    /// Retention has looked.
    #[expect(clippy::cast_precision_loss, reason = "gauges are floats")]
    pub fn retention(&self, status: &RetentionStatus) {
        if let Some(at) = status.last_run {
            gauge!(RETENTION_RUN).set(at.0 as f64 / 1e9);
        }
        let mut holder = self.holder.lock().unwrap_or_else(PoisonError::into_inner);
        let held = status.held.as_ref();
        if let Some(before) = holder.take().filter(|before| held.is_none_or(|held| held.who != *before)) {
            gauge!(HELD_BYTES, "holder" => before.to_string()).set(0.0);
        }
        if let Some(held) = held {
            gauge!(HELD_BYTES, "holder" => held.who.to_string()).set(held.bytes as f64);
            gauge!(HELD_FROM, "holder" => held.who.to_string()).set(held.from.0 as f64);
            *holder = Some(Arc::clone(&held.who));
        }
    }

    /// Bytes that wait for the writer.
    #[expect(clippy::cast_precision_loss, reason = "gauges are floats")]
    pub fn set_queue(queued_bytes: usize) {
        gauge!(QUEUE).set(queued_bytes as f64);
    }
}

/// An event of the daemon's own was refused by the journal, and dropped.
pub fn own_event_refused() {
    counter!(OWN_REFUSED).increment(1);
}

/// Figures of what was not seen.
#[derive(Debug)]
pub struct GapMetrics(());

impl GapMetrics {
    /// Brings the metrics of an upstream up to how the ledger stands.
    #[expect(clippy::cast_precision_loss, reason = "gauges are floats")]
    pub fn set(upstream: &str, figures: &GapFigures) {
        gauge!(GAPS_OPEN, "upstream" => upstream.to_owned()).set(figures.open as f64);
        for (cause, time) in &figures.closed {
            counter!(GAP_SECONDS, "upstream" => upstream.to_owned(), "cause" => cause.as_str())
                .absolute(time.as_secs());
        }
    }
}

/// Figures of what is fetched to fill gaps.
#[derive(Debug, Clone)]
pub struct BackfillMetrics {
    labels: [(&'static str, String); 2],
}

impl BackfillMetrics {
    /// Of a monitor and an upstream.
    pub fn new(monitor: &str, upstream: &str) -> Self {
        Self { labels: [("monitor", monitor.to_owned()), ("upstream", upstream.to_owned())] }
    }

    /// A gap was filled, by so many events.
    pub fn filled(&self, events: u64) {
        self.ended("filled");
        counter!(BACKFILL_EVENTS, &self.labels).increment(events);
    }

    /// One was not.
    pub fn failed(&self) {
        self.ended("failed");
    }

    fn ended(&self, outcome: &'static str) {
        let [monitor, upstream] = self.labels.clone();
        counter!(BACKFILLS, &[monitor, upstream, ("outcome", outcome.to_owned())]).increment(1);
    }
}

/// Figures of a monitor's fall-back.
#[derive(Debug, Clone)]
pub struct PollMetrics {
    labels: [(&'static str, String); 2],
}

impl PollMetrics {
    /// Of a monitor and an upstream.
    pub fn new(monitor: &str, upstream: &str) -> Self {
        Self { labels: [("monitor", monitor.to_owned()), ("upstream", upstream.to_owned())] }
    }

    /// It is polled from now on, or no longer.
    pub fn turned(&self, polling: bool) {
        gauge!(POLLING, &self.labels).set(f64::from(u8::from(polling)));
        let to = if polling { "polling" } else { "live" };
        counter!(POLL_SWITCHES, &self.with("to", to)).increment(1);
    }

    /// It was polled, which brought so many events.
    pub fn polled(&self, events: u64) {
        counter!(POLLS, &self.with("outcome", "done")).increment(1);
        counter!(POLL_EVENTS, &self.labels).increment(events);
    }

    /// It could not be.
    pub fn failed(&self) {
        counter!(POLLS, &self.with("outcome", "failed")).increment(1);
    }

    fn with(&self, name: &'static str, value: &str) -> [(&'static str, String); 3] {
        let [monitor, upstream] = self.labels.clone();
        [monitor, upstream, (name, value.to_owned())]
    }
}

/// Figures of checkpoints.
pub struct CheckpointMetrics {
    age: Gauge,
    written: Counter,
    failures: Counter,
}

impl Default for CheckpointMetrics {
    fn default() -> Self {
        Self { age: gauge!(CHECKPOINT_AGE), written: counter!(CHECKPOINTS), failures: counter!(CHECKPOINT_FAILURES) }
    }
}

impl CheckpointMetrics {
    /// One was written.
    pub fn written(&self) {
        self.written.increment(1);
        self.age.set(0.0);
    }

    /// One could not be written.
    pub fn failed(&self) {
        self.failures.increment(1);
    }

    /// How old the newest is; none while there is none.
    pub fn set_age(&self, age: Option<Duration>) {
        self.age.set(age.map_or(f64::NAN, |age| age.as_secs_f64()));
    }
}

/// Figures of the views.
#[derive(Debug)]
pub struct ViewMetrics(());

impl Default for ViewMetrics {
    /// None of them has been built anew yet.
    fn default() -> Self {
        counter!(VIEW_REBUILDS).absolute(0);
        counter!(VIEW_SKIPPED).absolute(0);
        Self(())
    }
}

impl ViewMetrics {
    /// They were thrown away.
    pub fn rebuilt(&self) {
        counter!(VIEW_REBUILDS).increment(1);
    }

    /// So many events were passed over.
    pub fn skipped(&self, events: u64) {
        counter!(VIEW_SKIPPED).increment(events);
    }

    /// A business counter. Once a second.
    #[expect(clippy::cast_precision_loss, reason = "gauges are floats")]
    pub fn count(&self, monitor: &str, name: &str, total: u64, last_hour: u64) {
        let labels = [("monitor", monitor.to_owned()), ("counter", name.to_owned())];
        counter!(BUSINESS, &labels).absolute(total);
        gauge!(BUSINESS_HOUR, &labels).set(last_hour as f64);
    }

    /// How far each is. Once a second.
    #[expect(clippy::cast_precision_loss, reason = "gauges are floats")]
    pub fn set(&self, offsets: &[(&'static str, u64)]) {
        for (view, offset) in offsets {
            gauge!(VIEW_OFFSET, "view" => *view).set(*offset as f64);
        }
    }
}

/// How a look-up goes. Nothing of it is on the way of a message.
#[derive(Debug)]
pub struct LookUpMetrics {
    labels: [(&'static str, String); 2],
}

impl LookUpMetrics {
    /// Of a monitor's look-up.
    pub fn new(monitor: &str, look_up: &str) -> Self {
        let metrics = Self { labels: [("monitor", monitor.to_owned()), ("lookup", look_up.to_owned())] };
        for outcome in ["found", "nothing", "failed", "skipped"] {
            metrics.counter(outcome).increment(0);
        }
        metrics
    }

    fn counter(&self, outcome: &'static str) -> Counter {
        let [(monitor_key, monitor), (name_key, name)] = &self.labels;
        counter!(LOOK_UPS, *monitor_key => monitor.clone(), *name_key => name.clone(), "outcome" => outcome)
    }

    /// It was answered with fields.
    pub fn found(&self) {
        self.counter("found").increment(1);
    }

    /// It was answered that there is nothing.
    pub fn nothing(&self) {
        self.counter("nothing").increment(1);
    }

    /// It was not answered.
    pub fn failed(&self) {
        self.counter("failed").increment(1);
    }

    /// It was not asked for.
    pub fn skipped(&self) {
        self.counter("skipped").increment(1);
    }

    /// The share that was answered.
    pub fn set_success(&self, rate: Option<f64>) {
        if let Some(rate) = rate {
            gauge!(LOOK_UP_SUCCESS, &self.labels).set(rate);
        }
    }
}

/// How caches are used.
pub struct CacheMetrics(());

impl CacheMetrics {
    /// Of one. Once a second.
    #[expect(clippy::cast_precision_loss, reason = "gauges are floats")]
    pub fn set(cache: &str, figures: &CacheFigures) {
        counter!(CACHE_HITS, "cache" => cache.to_owned()).absolute(figures.hits);
        counter!(CACHE_MISSES, "cache" => cache.to_owned()).absolute(figures.misses);
        gauge!(CACHE_BYTES, "cache" => cache.to_owned()).set(figures.bytes as f64);
    }
}

/// Figures of the dedupe window.
pub struct WindowMetrics {
    ids: Gauge,
    bytes: Gauge,
    reach: Gauge,
    crowded_out: Counter,
}

impl Default for WindowMetrics {
    fn default() -> Self {
        Self {
            ids: gauge!(WINDOW_IDS),
            bytes: gauge!(WINDOW_BYTES),
            reach: gauge!(WINDOW_REACH),
            crowded_out: counter!(WINDOW_CROWDED),
        }
    }
}

impl WindowMetrics {
    /// Sets what [`crate::pipeline::dedupe::DedupeWindow::tend`] told.
    #[expect(clippy::cast_precision_loss, reason = "gauges are floats")]
    pub fn set(&self, figures: &WindowFigures, ttl: Duration) {
        self.ids.set(figures.ids as f64);
        self.bytes.set(figures.bytes as f64);
        self.reach.set(figures.reach.unwrap_or(ttl).as_secs_f64());
        self.crowded_out.increment(figures.crowded_out);
    }
}

/// Figures of one sink.
pub struct SinkMetrics {
    transaction: Histogram,
    states: Vec<(SinkState, Gauge)>,
    breaker: Vec<(BreakerState, Gauge)>,
    cursor: Gauge,
    lag_events: Gauge,
    lag: Gauge,
    rows: Counter,
    parked: Counter,
    retries: Counter,
    lost: Counter,
    files: Gauge,
    bytes: Gauge,
}

impl SinkMetrics {
    /// The handles of `sink`.
    pub fn new(sink: &str) -> Self {
        let labels = [("sink", sink.to_owned())];
        let state = |name, state| gauge!(name, "sink" => sink.to_owned(), "state" => state);
        Self {
            transaction: metrics::histogram!(SINK_TRANSACTION, &labels),
            states: SinkState::ALL.map(|each| (each, state(SINK_STATE, each.as_str()))).into(),
            breaker: BreakerState::ALL.map(|each| (each, state(SINK_BREAKER, each.as_str()))).into(),
            cursor: gauge!(SINK_CURSOR, &labels),
            lag_events: gauge!(SINK_LAG_EVENTS, &labels),
            lag: gauge!(SINK_LAG, &labels),
            rows: counter!(SINK_ROWS, &labels),
            parked: counter!(SINK_PARKED, &labels),
            retries: counter!(SINK_RETRIES, &labels),
            lost: counter!(SINK_LOST, &labels),
            files: gauge!(SINK_FILES, &labels),
            bytes: gauge!(SINK_BYTES, &labels),
        }
    }

    /// A transaction was confirmed.
    pub fn transaction(&self, took: Duration) {
        self.transaction.record(took.as_secs_f64());
    }

    /// Brings the metrics up to how the sink stands. What is not known is not a number.
    #[expect(clippy::cast_precision_loss, reason = "gauges are floats")]
    pub fn set(&self, row: &SinkRow) {
        let flag = |on| if on { 1.0 } else { 0.0 };
        let known = |value: Option<u64>| value.map_or(f64::NAN, |value| value as f64);
        for (state, gauge) in &self.states {
            gauge.set(flag(*state == row.state));
        }
        for (state, gauge) in &self.breaker {
            gauge.set(flag(*state == row.breaker));
        }
        self.cursor.set(known(row.cursor));
        self.lag_events.set(known(row.lag_events));
        self.lag.set(row.lag_seconds.unwrap_or(f64::NAN));
        self.rows.absolute(row.rows);
        self.parked.absolute(row.parked);
        self.retries.absolute(row.retries);
        self.lost.absolute(row.lost);
        self.files.set(known(row.files));
        self.bytes.set(known(row.bytes));
    }
}

/// Figures of the roll-out.
pub struct CanaryMetrics {
    fraction: Gauge,
    stage: Gauge,
    monitors: [(Path, Gauge); 2],
    crossings: Gauge,
    rollbacks: Vec<(Check, Counter)>,
    rollback: Gauge,
    cooling: Gauge,
}

impl Default for CanaryMetrics {
    fn default() -> Self {
        let rollbacks = Check::ALL.map(|check| {
            let counter = counter!(CANARY_ROLLBACKS, "reason" => check.as_str());
            counter.absolute(0);
            (check, counter)
        });
        let monitors = |path: Path, word: &'static str| (path, gauge!(CANARY_MONITORS, "path" => word));
        Self {
            fraction: gauge!(CANARY_FRACTION),
            stage: gauge!(CANARY_STAGE),
            monitors: [monitors(Path::Smart, "smart"), monitors(Path::Legacy, "legacy")],
            crossings: gauge!(CANARY_CROSSINGS),
            rollbacks: rollbacks.into(),
            rollback: gauge!(CANARY_ROLLBACK),
            cooling: gauge!(CANARY_COOLING),
        }
    }
}

impl CanaryMetrics {
    /// Brings the gauges up to how things stand; `stage` is from 1, 0 without a plan under way.
    #[expect(clippy::cast_precision_loss, reason = "gauges are floats")]
    pub fn set(&self, fraction: f64, stage: usize, monitors: impl Fn(Path) -> usize, crossings: usize, cooling: bool) {
        self.fraction.set(fraction);
        self.stage.set(stage as f64);
        for (path, gauge) in &self.monitors {
            gauge.set(monitors(*path) as f64);
        }
        self.crossings.set(crossings as f64);
        self.cooling.set(if cooling { 1.0 } else { 0.0 });
    }

    /// The guard takes monitors back.
    pub fn rolled_back(&self, reason: Check) {
        for (check, counter) in &self.rollbacks {
            if *check == reason {
                counter.increment(1);
            }
        }
    }

    /// All of them are where they are to be.
    pub fn rollback_took(&self, took: Duration) {
        self.rollback.set(took.as_secs_f64());
    }
}

/// Figures of one circuit breaker.
pub struct CircuitMetrics {
    states: [(BreakerState, Gauge); 3],
    openings: Counter,
}

impl CircuitMetrics {
    /// The handles of the breaker before an upstream or a sink.
    pub fn new(kind: &'static str, name: &str) -> Self {
        let state = |state: BreakerState| gauge!(CIRCUIT_STATE, "kind" => kind, "name" => name.to_owned(), "state" => state.as_str());
        let openings = counter!(CIRCUIT_OPENINGS, "kind" => kind, "name" => name.to_owned());
        openings.absolute(0);
        Self { states: BreakerState::ALL.map(|each| (each, state(each))), openings }
    }

    /// It is in this state.
    pub fn set_state(&self, now: BreakerState) {
        for (state, gauge) in &self.states {
            gauge.set(if *state == now { 1.0 } else { 0.0 });
        }
    }

    /// It opened by itself.
    pub fn opened(&self) {
        self.openings.increment(1);
    }
}
