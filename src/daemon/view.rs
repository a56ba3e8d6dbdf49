//! What the daemon shows of itself.

use std::collections::{BTreeMap, VecDeque};
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::alerts::Alerts;
use super::audit_log::AuditLog;
use super::backfills::Backfills;
use super::canary::Canary;
use super::figures::{Commits, JournalFigures, UpstreamFigures};
use super::live_settings::LiveSettings;
use super::polling::Polling;
use super::retry::Retrier;
use super::shedding::Pressure;
use super::support::DaemonSupport;
use super::switches::{Emergency, SettingRecord, SwitchLog};
use super::troubles::Troubles;
use super::upstreams::Upstreams;
use super::verdict::{Recency, verdict};
use super::watched::{Watched, WatchedList};
use super::works::Works;
use crate::alert::notify::Notifier;
use crate::breaker::CircuitKind;
use crate::checkpoint::CheckpointRow;
use crate::circuits::{CircuitHold, CircuitRefusal, CircuitRow, Circuits};
use crate::clock::UnixNanos;
use crate::config::Settings;
use crate::enrich::{Enrichment, LookUpRow};
use crate::journal::{HeldBack, Journal, JournalReader, JournalState, Path, RetentionStatus};
use crate::monitor::gap::GapCause;
use crate::monitor::ledger::{GapFigures, GapLedger};
use crate::monitor::roster::Pause;
use crate::monitor::sequence::book::{SequenceBook, SequenceCounts};
use crate::pipeline::dedupe::DedupeWindow;
use crate::recovery::gaps::{self, Completeness, GapQuery, GapRow};
use crate::recovery::replay::ReplayRequest;
use crate::rollout::decision::RolloutRecord;
use crate::rollout::figures::{CrossingRow, PathFigures};
use crate::rollout::history::{self, CanaryRow};
use crate::server::{
    self, AuditRecord, Buffer, CanaryAnswer, CanaryRequest, CanaryStatus, ChangeRefusal, Control, FillRequest, FillRow,
    Health, HealthState, JournalRow, Latency, MonitorRow, MonitorVerdict, NotificationsView, OperationRow, PollAction,
    PollRow, PoolRow, Refusal, ReplayAnswer, RetentionRow, RetryRefusal, RetryReport, RetryRequest, Running,
    StreamDesk, Support, TopicSequence, View,
};
use crate::sink::{Parked, SinkChange, SinkRow, SinkState, Sinks, SwitchRefusal, SwitchedSink};
use crate::telemetry::{
    CacheMetrics, GapMetrics, HostSample, HostWatch, JournalMetrics, Memory, MonitorMetrics, RaceMetrics,
    SequenceMetrics, SinkMetrics, UpstreamMetrics, WindowMetrics,
};
use crate::upstream::{LinkState, TopicState};
use crate::value_cache::CacheFigures;
use crate::views::{CounterBoard, CounterNow, LatestNow, StatisticsNow, ViewError, Views};

mod living;

/// The dedupe window's warning comes at most this often.
const WINDOW_WARNING_INTERVAL: Duration = Duration::from_mins(1);

/// What is remembered of a monitor between two looks.
struct Followed {
    metrics: MonitorMetrics,
    troubles: Troubles,
}

/// The parts of a daemon that are shown, or told what to do.
pub(super) struct Shown {
    pub(super) audit_log: AuditLog,
    pub(super) watched: Arc<WatchedList>,
    pub(super) journal: Arc<Journal>,
    pub(super) commits: Arc<Commits>,
    pub(super) window: Arc<DedupeWindow>,
    pub(super) retrier: Retrier,
    pub(super) views: Arc<Views>,
    pub(super) counters: Arc<CounterBoard>,
    pub(super) enrichment: Arc<Enrichment>,
    pub(super) notifier: Arc<Notifier>,
    pub(super) sinks: Arc<Sinks>,
    pub(super) circuits: Arc<Circuits>,
    pub(super) switch_log: Arc<SwitchLog>,
    pub(super) live: Arc<LiveSettings>,
    pub(super) works: Arc<Works>,
    pub(super) ledger: Arc<GapLedger>,
    pub(super) sequences: Arc<SequenceBook>,
    pub(super) backfills: Arc<Backfills>,
    pub(super) polling: Arc<Polling>,
    pub(super) canary: Arc<Canary>,
    pub(super) alerts: Arc<Alerts>,
    pub(super) upstreams: Arc<Upstreams>,
    pub(super) host: Arc<HostWatch>,
    pub(super) streams: Arc<StreamDesk>,
}

/// A daemon as it stands, now and later: as the server shows it, and as figures.
pub struct DaemonView {
    audit_log: AuditLog,
    watched: Arc<WatchedList>,
    journal: Arc<Journal>,
    commits: Arc<Commits>,
    window: Arc<DedupeWindow>,
    retrier: Retrier,
    views: Arc<Views>,
    counters: Arc<CounterBoard>,
    enrichment: Arc<Enrichment>,
    notifier: Arc<Notifier>,
    sinks: Arc<Sinks>,
    circuits: Arc<Circuits>,
    works: Arc<Works>,
    ledger: Arc<GapLedger>,
    sequences: Arc<SequenceBook>,
    backfills: Arc<Backfills>,
    polling: Arc<Polling>,
    canary: Arc<Canary>,
    alerts: Arc<Alerts>,
    upstreams: Arc<Upstreams>,
    host: Arc<HostWatch>,
    streams: Arc<StreamDesk>,
    /// Held while a change is made: one at a time.
    switch_log: Mutex<Arc<SwitchLog>>,
    live: Arc<LiveSettings>,
    recency: Mutex<Recency>,
    /// As the sinks' rows.
    sink_metrics: Vec<SinkMetrics>,
    started: Instant,
    /// By monitor; what belongs to none of an upstream has a name of its own.
    followed: Mutex<BTreeMap<Arc<str>, Followed>>,
    /// By upstream, path and state; of every one that there ever was.
    link_counts: Mutex<BTreeMap<(String, Path), [usize; LinkState::ALL.len()]>>,
    window_metrics: WindowMetrics,
    window_warned: Mutex<Option<Instant>>,
}

impl DaemonView {
    /// How the daemon is, for what streams begin with.
    pub(super) fn for_streams(&self) -> serde_json::Value {
        let health = self.health();
        let monitors: Vec<_> = self.monitors().into_iter().map(|row| serde_json::json!({
            "name": row.name, "domain": row.domain, "upstream": row.upstream, "path": row.path, "state": row.state,
            "topics": row.topics, "parse_rate": row.parse_rate, "events": row.events,
        })).collect();
        serde_json::json!({
            "status": health.status, "reasons": health.reasons, "time": health.timestamp, "upstreams": health.upstreams,
            "sinks": health.sinks, "monitors": monitors,
        })
    }

    pub(super) fn new(shown: Shown) -> Self {
        let Shown {
            audit_log,
            watched,
            journal,
            commits,
            window,
            retrier,
            views,
            counters,
            enrichment,
            notifier,
            sinks,
            circuits,
            switch_log,
            live,
            works,
            ledger,
            sequences,
            backfills,
            polling,
            canary,
            alerts,
            upstreams,
            host,
            streams,
        } = shown;
        let sink_metrics = sinks.rows().iter().map(|row| SinkMetrics::new(&row.name)).collect();
        Self {
            audit_log,
            streams,
            watched,
            followed: Mutex::default(),
            link_counts: Mutex::default(),
            journal,
            commits,
            window,
            retrier,
            views,
            counters,
            enrichment,
            notifier,
            sinks,
            circuits,
            switch_log: Mutex::new(switch_log),
            live,
            recency: Mutex::default(),
            sink_metrics,
            works,
            ledger,
            sequences,
            backfills,
            polling,
            canary,
            alerts,
            upstreams,
            host,
            started: Instant::now(),
            window_metrics: WindowMetrics::default(),
            window_warned: Mutex::new(None),
        }
    }

    /// Every upstream that a monitor watches, by name.
    pub fn upstreams(&self) -> Vec<UpstreamFigures> {
        let mut figures: BTreeMap<String, UpstreamFigures> = BTreeMap::new();
        for watched in self.watched.now() {
            let unit = watched.figures();
            match figures.get_mut(&unit.name) {
                Some(upstream) => upstream.add(&unit),
                None => drop(figures.insert(unit.name.clone(), unit)),
            }
        }
        figures.into_values().collect()
    }

    /// What each path of each upstream did since the start.
    pub fn path_figures(&self) -> Vec<PathFigures> {
        self.upstreams.path_figures(&self.live.settings())
    }

    /// Monitors that are on their way to the other path.
    pub fn crossings(&self) -> Vec<CrossingRow> {
        self.upstreams.crossings()
    }

    /// The settings in force.
    pub(super) fn settings_in_force(&self) -> Arc<Settings> {
        self.live.settings()
    }

    /// What was decided of the change-over. Waits for no change.
    pub(super) fn rollout(&self) -> RolloutRecord {
        self.live.rollout()
    }

    /// Whether the journal takes events.
    pub(super) fn is_writable(&self) -> bool {
        state_of(&self.journal).1
    }

    /// How its sinks are.
    pub(super) fn sink_rows(&self) -> Vec<SinkRow> {
        self.sinks.rows()
    }

    /// The journal.
    pub fn journal(&self) -> JournalFigures {
        self.commits.figures(self.journal.durable())
    }

    /// How sinks are, in a word each; why one that is on does not keep up is added to `reasons`.
    fn sinks_health(&self, reasons: &mut Vec<String>) -> BTreeMap<String, &'static str> {
        let rows = self.sinks.rows();
        rows.into_iter()
            .map(|row| {
                // Of one that is left alone, its circuit says more.
                if !matches!(row.state, SinkState::Connected | SinkState::Off | SinkState::Open) {
                    let error = row.error.map_or_else(String::new, |error| format!(": {error}"));
                    reasons.push(format!("sink `{}` is {}{error}", row.name, row.state.as_str()));
                }
                (row.name, row.state.as_str())
            })
            .collect()
    }

    /// How the daemon keeps up with what comes.
    pub(super) fn pressure(&self) -> Pressure {
        #[expect(clippy::cast_precision_loss, reason = "a percentage is a float")]
        let queue_percent = 100.0 * self.journal.queued().0 as f64 / Journal::QUEUE_BYTES_MAX as f64;
        let held =
            |watched: &Watched| watched.status.links().iter().filter(|link| link.state == LinkState::Held).count();
        Pressure { queue_percent, held_links: self.watched.now().iter().map(held).sum() }
    }

    /// Notes whose messages have become more.
    fn look_at_recency(&self, now: Instant) {
        let mut recency = self.recency.lock().unwrap_or_else(PoisonError::into_inner);
        for watched in self.watched.now() {
            for monitor in &watched.roster.monitors {
                recency.look(&monitor.identity.name, monitor.totals.now().messages, now);
            }
        }
    }

    /// Whether the last warning is long enough ago: a window that is too small stays so for as long as the load does.
    fn may_warn_of_window(&self) -> bool {
        let mut warned = self.window_warned.lock().unwrap_or_else(PoisonError::into_inner);
        let due = warned.is_none_or(|at| at.elapsed() >= WINDOW_WARNING_INTERVAL);
        if due {
            *warned = Some(Instant::now());
        }
        due
    }

    /// Brings metrics up to date, and lets the window forget.
    pub(super) fn tend(&self) {
        let now = Instant::now();
        let mut followed = self.followed.lock().unwrap_or_else(PoisonError::into_inner);
        // Of a path that nobody is on any more its links go to 0.
        let mut link_counts = self.link_counts.lock().unwrap_or_else(PoisonError::into_inner);
        link_counts.values_mut().for_each(|counts| *counts = [0; LinkState::ALL.len()]);
        for Watched { of, roster, status, .. } in self.watched.now() {
            let monitors = roster.monitors.iter().map(|monitor| (&monitor.identity, &monitor.totals));
            for (identity, totals) in monitors.chain([(&roster.upstream_identity, &roster.upstream_totals)]) {
                let followed = followed.entry(Arc::clone(&identity.name)).or_insert_with(|| Followed {
                    metrics: MonitorMetrics::new(&identity.name, &identity.domain),
                    troubles: Troubles::default(),
                });
                let totals = totals.now();
                followed.metrics.set(&totals);
                followed.troubles.look(&identity.name, &totals, now);
            }
            for monitor in &roster.monitors {
                if let Some(race) = &monitor.race {
                    RaceMetrics::set(&monitor.identity.name, &roster.upstream, &race.now());
                }
            }
            let links = status.links();
            let of_path =
                link_counts.entry((roster.upstream.clone(), roster.path)).or_insert([0; LinkState::ALL.len()]);
            for (state, count) in LinkState::ALL.iter().zip(of_path) {
                *count += links.iter().filter(|link| link.state == *state).count();
            }
            for (number, link) in links.iter().enumerate() {
                UpstreamMetrics::set_link(&roster.upstream, roster.path, of.as_deref(), number, link);
            }
        }
        for ((upstream, path), counts) in link_counts.iter() {
            for (state, count) in LinkState::ALL.iter().zip(counts) {
                UpstreamMetrics::set_links(upstream, *path, state.name(), *count);
            }
        }
        drop(followed);
        for (row, metrics) in self.sinks.rows().iter().zip(&self.sink_metrics) {
            metrics.set(row);
        }
        let settings = self.live.settings();
        // The ledger remembers what was removed.
        for (upstream, figures) in
            self.ledger.figures().iter().filter(|(name, _)| settings.upstreams.contains_key(&***name))
        {
            GapMetrics::set(upstream, figures);
        }
        let mut sequences: BTreeMap<Arc<str>, SequenceCounts> = BTreeMap::new();
        for row in self.sequences.rows() {
            sequences.entry(row.monitor).or_default().add(&row.counts);
        }
        for (monitor, counts) in sequences.iter().filter(|(name, _)| settings.monitors.contains_key(&***name)) {
            SequenceMetrics::set(monitor, counts);
        }
        self.look_at_recency(now);
        JournalMetrics::set_queue(self.journal.queued().0);
        let figures = self.window.tend(Instant::now());
        if let Some(reach) = figures.reach
            && self.may_warn_of_window()
        {
            tracing::warn!(
                "ids are remembered for {} s only, not for dedupe.ttl of {} s: raise `dedupe.max_bytes`",
                reach.as_secs(),
                self.window.ttl().as_secs()
            );
        }
        self.window_metrics.set(&figures, self.window.ttl());
        for (name, figures) in self.caches() {
            CacheMetrics::set(&name, &figures);
        }
        self.works.keeper.tend();
    }
}

/// Whether a topic's state does not tell the same.
fn is_news(cause: GapCause) -> bool {
    !matches!(cause, GapCause::Refused | GapCause::LeftOut)
}

/// How many topics will bring nothing as they stand, by state.
fn idle_topics(topics: &[TopicState]) -> Vec<(&'static str, usize)> {
    let mut counts: BTreeMap<&'static str, usize> = BTreeMap::new();
    for topic in topics {
        if matches!(topic, TopicState::Refused(_) | TopicState::Unconfirmed | TopicState::LeftOut) {
            *counts.entry(topic.name()).or_default() += 1;
        }
    }
    counts.into_iter().collect()
}

/// The journal's state in a word, and whether it takes events.
fn state_of(journal: &Journal) -> (&'static str, bool) {
    match journal.state() {
        JournalState::Writable => ("writable", true),
        JournalState::Full { .. } => ("full", false),
        JournalState::Failed(_) => ("failed", false),
        JournalState::Closed => ("closed", false),
    }
}

impl View for DaemonView {
    fn host(&self) -> HostSample {
        self.host.latest()
    }

    fn journal(&self) -> JournalRow {
        let RetentionStatus { last_run, deleted_segments, deleted_bytes, held } = self.journal.retention();
        JournalRow {
            journal: self.journal.id().to_string(),
            durable_offset: self.journal.durable().0,
            state: state_of(&self.journal).0.to_owned(),
            retention: RetentionRow {
                last_run: last_run.map(|at| at.to_string()),
                deleted_segments,
                deleted_bytes,
                held_by: held.as_ref().map(|held| held.who.to_string()),
                held_from: held.as_ref().map(|held| held.from.0),
                held_bytes: held.as_ref().map_or(0, |held| held.bytes),
                above_max_size: held.is_some_and(|held| held.above_max_size),
            },
        }
    }

    fn health(&self) -> Health {
        let mut reasons = Vec::new();
        if let Some(Emergency { since, reason }) = self.live.emergency_now() {
            let reason = reason.map_or_else(String::new, |reason| format!(" ({reason})"));
            reasons.push(format!("stopped in an emergency at {since}{reason}: nothing is taken until `sluice start`"));
        }
        let upstreams: BTreeMap<String, &'static str> = self
            .watched
            .now()
            .iter()
            .map(|Watched { roster, status, .. }| {
                // Where nobody takes anything for now there is no link, and that is as it should be.
                if status.wanted() == 0 && roster.monitors.iter().all(|monitor| monitor.pause.is_some()) {
                    return (roster.upstream.clone(), "resting");
                }
                let connected = status.is_connected();
                if !connected {
                    let error = status.links().iter().find_map(|link| link.last_error.clone());
                    let error = error.map_or_else(String::new, |error| format!(": {error}"));
                    reasons.push(format!("upstream `{}` has no open link{error}", roster.upstream));
                }
                for (state, count) in idle_topics(&status.topics()) {
                    reasons.push(format!(
                        "upstream `{}`: {count} topics are {state}; see `sluice monitors`",
                        roster.upstream
                    ));
                }
                let polled = self.polling.is_polled(&roster.upstream, None);
                let word = if connected {
                    "connected"
                } else if polled {
                    "polling"
                } else {
                    "disconnected"
                };
                (roster.upstream.clone(), word)
            })
            .collect();
        for (upstream, GapFigures { unwanted, .. }) in self.ledger.figures() {
            // Of one without a link that has been said; so it has of topics that are refused or left out.
            if upstreams.get(&*upstream) == Some(&"connected") {
                reasons.extend(unwanted.into_iter().filter(|(cause, _)| is_news(*cause)).map(|(cause, count)| {
                    let cause = cause.as_str();
                    format!("upstream `{upstream}`: {count} topics have a gap that goes on ({cause}); see `sluice gaps --open`")
                }));
            }
        }
        reasons.extend(self.polling.complaints());
        let sinks = self.sinks_health(&mut reasons);
        reasons.extend(self.circuits.rows().iter().filter_map(CircuitRow::complaint));
        if let Some(problem) = self.works.keeper.problem() {
            reasons.push(format!("no checkpoint could be written: {problem}"));
        }
        if let Some(HeldBack { who, from, bytes, above_max_size: true, .. }) = self.journal.retention().held {
            reasons.push(format!(
                "the journal is larger than `journal.max_size`: {who} needs events from {from} on, {bytes} bytes more"
            ));
        }
        let (journal, writable) = state_of(&self.journal);
        if !writable {
            reasons.insert(0, format!("the journal is {journal}: nothing becomes durable"));
        }
        let status = match (writable, reasons.is_empty()) {
            (false, _) => HealthState::Unhealthy,
            (true, false) => HealthState::Degraded,
            (true, true) => HealthState::Healthy,
        };
        Health {
            status,
            timestamp: UnixNanos::now().to_string(),
            uptime: self.started.elapsed().as_secs(),
            journal,
            upstreams,
            sinks,
            memory: Memory::now(),
            reasons,
        }
    }

    fn retry_quarantined(&self, request: &RetryRequest) -> Result<RetryReport, RetryRefusal> {
        self.retrier.run(request)
    }

    fn statistics(&self, history: bool) -> Result<(StatisticsNow, Running), ViewError> {
        let statistics = self.views.statistics(history)?;
        let (bytes, capacity) = (self.journal.queued().0 as u64, Journal::QUEUE_BYTES_MAX as u64);
        let [p50, p95, p99] = self.commits.latencies_ms([0.5, 0.95, 0.99]);
        #[expect(clippy::cast_precision_loss, reason = "a percentage is a float")]
        let utilization_percent = 100.0 * bytes as f64 / capacity as f64;
        let buffer = Buffer { bytes, capacity, utilization_percent };
        Ok((statistics, Running { buffer, latency_ms: Latency { p50, p95, p99 } }))
    }

    fn look_ups(&self) -> Vec<LookUpRow> {
        self.enrichment.rows()
    }

    fn caches(&self) -> BTreeMap<String, CacheFigures> {
        let latest = ("latest".to_owned(), self.views.cache_figures());
        self.enrichment.caches().into_iter().chain([latest]).collect()
    }

    fn counters(&self) -> Vec<CounterNow> {
        self.counters.now()
    }

    fn latest(&self, monitor: Option<&str>, key: Option<&str>, limit: usize) -> Result<LatestNow, ViewError> {
        self.views.latest(monitor, key, limit)
    }

    fn sinks(&self) -> Vec<SinkRow> {
        self.sinks.rows()
    }

    fn change_sink(&self, name: &str, change: SinkChange) -> Result<SwitchedSink, SwitchRefusal> {
        let log = self.switch_log.lock().unwrap_or_else(PoisonError::into_inner);
        let switch = self.sinks.plan(name, change)?;
        if !log.remember(&SettingRecord::sink(switch.clone())) {
            return Err(SwitchRefusal::NotRecorded(log.not_recorded()));
        }
        tracing::info!(sink = name, enabled = switch.enabled, resume = ?change.resume, "switched by an operator");
        self.sinks.switch(&switch, change.resume)
    }

    fn parked(&self, name: &str, limit: usize) -> Result<Vec<Parked>, SwitchRefusal> {
        self.sinks.parked(name, limit)
    }

    fn notifications(&self) -> Arc<dyn NotificationsView> {
        Arc::clone(&self.notifier) as Arc<dyn NotificationsView>
    }

    fn circuits(&self) -> Vec<CircuitRow> {
        self.circuits.rows()
    }

    fn change_circuit(&self, hold: &CircuitHold) -> Result<CircuitRow, CircuitRefusal> {
        let log = self.switch_log.lock().unwrap_or_else(PoisonError::into_inner);
        self.circuits.check(hold)?;
        if !log.remember(&SettingRecord::circuit(hold.clone())) {
            return Err(CircuitRefusal::NotRecorded(log.not_recorded()));
        }
        self.circuits.hold(hold, "an operator")
    }

    fn pool(&self, upstream: Option<&str>, topics: bool) -> Vec<PoolRow> {
        let circuits = self.circuits.rows();
        let circuit = |name: &str| circuits.iter().find(|row| row.kind == CircuitKind::Upstream && row.name == name);
        let mut watched = self.watched.now();
        watched.retain(|watched| upstream.is_none_or(|name| name == watched.roster.upstream));
        let row = |watched: &Watched| {
            let upstream = &watched.roster.upstream;
            let mode = self.polling.is_polled(upstream, None).then(|| "polling".to_owned());
            PoolRow { mode, ..watched.pool_row(circuit(upstream).map(|row| row.state), topics) }
        };
        watched.iter().map(row).collect()
    }

    fn polls(&self) -> Vec<PollRow> {
        self.polling.rows()
    }

    fn change_poll(&self, monitor: &str, action: PollAction) -> Result<Vec<PollRow>, Refusal> {
        let log = self.switch_log.lock().unwrap_or_else(PoisonError::into_inner);
        if self.live.settings().monitors.get(monitor).is_none_or(|known| known.poll.is_none()) {
            let error = format!("monitor `{monitor}` has no fall-back; declare one as `[monitors.{monitor}.poll]`");
            return Err(Refusal { status: 404, error });
        }
        if !log.remember(&SettingRecord::polling(monitor, action)) {
            return Err(Refusal { status: 503, error: log.not_recorded().into() });
        }
        tracing::info!(monitor, action = action.as_str(), "polling is switched by an operator");
        Ok(self.polling.rows().into_iter().filter(|row| row.monitor == monitor).collect())
    }

    fn canary(&self) -> CanaryStatus {
        self.canary.status()
    }

    fn change_canary(&self, request: &CanaryRequest) -> Result<CanaryAnswer, Refusal> {
        let changed = self.canary.change(request);
        changed.map_err(|ChangeRefusal { status, error, .. }| Refusal { status, error })
    }

    fn canary_history(&self, limit: usize) -> Result<Vec<CanaryRow>, Refusal> {
        let read = history::read(&mut self.journal.reader(), None, limit);
        read.map(|(rows, _)| rows.into()).map_err(|error| Refusal { status: 500, error: error.to_string() })
    }

    fn checkpoints(&self) -> Result<Vec<CheckpointRow>, Refusal> {
        self.works.checkpoints()
    }

    fn create_checkpoint(&self) -> Result<CheckpointRow, Refusal> {
        self.works.create_checkpoint()
    }

    fn replay(&self, request: &ReplayRequest) -> Result<ReplayAnswer, Refusal> {
        self.works.replay(request)
    }

    fn support(&self) -> Arc<dyn Support> {
        Arc::new(DaemonSupport(Arc::clone(&self.live)))
    }

    fn control(&self) -> Arc<dyn Control> {
        Arc::clone(&self.live) as Arc<dyn Control>
    }

    fn verify_monitors(&self) -> Vec<MonitorVerdict> {
        let now = Instant::now();
        self.look_at_recency(now);
        let rows = self.monitors();
        let status = |watched: &Watched| {
            let key = (watched.roster.upstream.clone(), watched.of.clone());
            (key, watched.status.is_connected())
        };
        let connected: BTreeMap<(String, Option<String>), bool> = self.watched.now().iter().map(status).collect();
        let recency = self.recency.lock().unwrap_or_else(PoisonError::into_inner);
        let of = |row: &MonitorRow| {
            let of = (row.path == Path::Legacy.as_str()).then(|| row.name.clone());
            let connected = connected.get(&(row.upstream.clone(), of)).copied().unwrap_or(false);
            verdict(row, connected, recency.silence(&row.name, now))
        };
        rows.iter().map(of).collect()
    }

    fn alerts(&self) -> Arc<dyn server::Alerts> {
        Arc::clone(&self.alerts) as Arc<dyn server::Alerts>
    }

    fn operations(&self) -> Vec<OperationRow> {
        self.works.operations()
    }

    fn operation(&self, id: &str) -> Option<OperationRow> {
        self.works.operations.row(id)
    }

    fn streams(&self) -> Arc<StreamDesk> {
        Arc::clone(&self.streams)
    }

    fn audit(&self, record: &AuditRecord) {
        self.audit_log.note(record);
    }

    fn reader(&self) -> JournalReader {
        self.journal.reader()
    }

    fn gaps(&self, query: &GapQuery, limit: usize) -> Result<Vec<GapRow>, Refusal> {
        let mut rows = VecDeque::new();
        let found = gaps::each_gap(&mut self.journal.reader(), query, UnixNanos::now(), |row| {
            rows.push_back(row);
            if rows.len() > limit {
                rows.pop_front();
            }
            ControlFlow::Continue(())
        });
        found.map(|()| rows.into()).map_err(|error| Refusal { status: 500, error: error.to_string() })
    }

    fn fill_gaps(&self, request: &FillRequest) -> Result<Vec<FillRow>, Refusal> {
        self.backfills.request(request)
    }

    fn completeness(&self, query: &GapQuery) -> Result<Completeness, Refusal> {
        gaps::completeness(&mut self.journal.reader(), query, UnixNanos::now())
            .map_err(|error| Refusal { status: 500, error: error.to_string() })
    }

    fn sequences(&self) -> Vec<TopicSequence> {
        self.sequences.rows().into_iter().map(TopicSequence::from).collect()
    }

    fn monitors(&self) -> Vec<MonitorRow> {
        let circuits = self.circuits.rows();
        let modes = self.polling.rows();
        let counted = self.counters.now();
        let mut rows = Vec::new();
        for Watched { roster, status, .. } in self.watched.now() {
            let topics = status.topics();
            let circuit = circuits.iter().find(|row| row.kind == CircuitKind::Upstream && row.name == roster.upstream);
            let link_error = circuit.and_then(CircuitRow::complaint).or_else(|| {
                status.links().iter().find_map(|link| {
                    (!matches!(link.state, LinkState::Open | LinkState::Held)).then(|| link.last_error.clone())?
                })
            });
            for (index, monitor) in roster.monitors.iter().enumerate() {
                // Of one that changes paths, as it stands where it was.
                if monitor.crossing.as_ref().is_some_and(|crossing| crossing.to == roster.path) {
                    continue;
                }
                let states: Vec<&TopicState> = roster
                    .routes
                    .iter()
                    .filter(|route| route.monitor as usize == index)
                    .map(|route| &topics[route.topic.0 as usize])
                    .collect();
                let live = states.iter().filter(|state| ***state == TopicState::Live).count();
                let worst = states.iter().find(|state| !matches!(state, TopicState::Live | TopicState::Asked));
                let state = match worst {
                    _ if monitor.pause == Some(Pause::Stopped) => "stopped",
                    _ if monitor.pause == Some(Pause::Resting) => "resting",
                    _ if live == states.len() => "live",
                    Some(worst) if live == 0 => worst.name(),
                    _ if live == 0 => "asked",
                    _ => "partly_live",
                };
                let refusal = states.iter().find_map(|state| match state {
                    TopicState::Refused(reason) => Some(reason.clone()),
                    _ => None,
                });
                let totals = monitor.totals.now();
                rows.push(MonitorRow {
                    name: monitor.identity.name.to_string(),
                    domain: monitor.identity.domain.to_string(),
                    upstream: roster.upstream.clone(),
                    path: roster.path.as_str().into(),
                    crossing_to: monitor.crossing.as_ref().map(|crossing| crossing.to.as_str().into()),
                    state: state.into(),
                    mode: modes
                        .iter()
                        .find(|row| *row.monitor == *monitor.identity.name && row.upstream == roster.upstream)
                        .map(|row| row.mode.clone()),
                    topics: format!("{live}/{}", states.len()),
                    parse_rate: totals.parse_rate(),
                    events: totals.events,
                    repeats: totals.repeats,
                    conflicts: totals.conflicts,
                    quarantined: totals.quarantined,
                    error: refusal.or_else(|| (live < states.len()).then(|| link_error.clone())?),
                    race: monitor.race.as_ref().map(|race| race.now().into()),
                    counters: counted
                        .iter()
                        .filter(|counter| *counter.monitor == *monitor.identity.name)
                        .map(|counter| (counter.counter.clone(), counter.total))
                        .collect(),
                });
            }
        }
        rows.sort_by(|a, b| (&a.domain, &a.name, &a.upstream).cmp(&(&b.domain, &b.name, &b.upstream)));
        rows
    }
}
