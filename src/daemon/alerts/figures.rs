//! Takes the figures that rules look at. Blocking: some are in files.

use std::collections::BTreeMap;
use std::path;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::certificates::Certificates;
use super::latencies::Lately;
use crate::alert::{Figure, Sample};
use crate::breaker::BreakerState;
use crate::circuits::Circuits;
use crate::clock::UnixNanos;
use crate::config::Settings;
use crate::daemon::canary::cooling_until;
use crate::daemon::figures::Commits;
use crate::daemon::live_settings::LiveSettings;
use crate::daemon::upstreams::Upstreams;
use crate::daemon::watched::{Watched, WatchedList};
use crate::daemon::works::Works;
use crate::journal::{Journal, Path, RESERVE_BYTES};
use crate::monitor::gap::GapCause;
use crate::monitor::ledger::GapLedger;
use crate::monitor::totals::TotalsNow;
use crate::sink::{SinkState, Sinks};
use crate::telemetry::{DeliveryCounts, HostWatch, RequestCounts, StreamClients};
use crate::views::CounterBoard;

/// Time between two countings of the journal's files. Source: a guess; a segment is filled in no less at full speed.
const FILES_INTERVAL: Duration = Duration::from_secs(5);

/// How long topics may take to be back after a start. Source: a guess; connecting and asking takes a second or so.
const STARTING: Duration = Duration::from_secs(30);

/// The business counter that [`Figure::OrdersLastHour`] is of.
const ORDERS: &str = "orders";

/// Where figures come from.
pub(in crate::daemon) struct Sources {
    pub(in crate::daemon) live: Arc<LiveSettings>,
    pub(in crate::daemon) watched: Arc<WatchedList>,
    pub(in crate::daemon) upstreams: Arc<Upstreams>,
    pub(in crate::daemon) ledger: Arc<GapLedger>,
    pub(in crate::daemon) sinks: Arc<Sinks>,
    pub(in crate::daemon) circuits: Arc<Circuits>,
    pub(in crate::daemon) counters: Arc<CounterBoard>,
    pub(in crate::daemon) works: Arc<Works>,
    pub(in crate::daemon) commits: Arc<Commits>,
    pub(in crate::daemon) journal: Arc<Journal>,
    pub(in crate::daemon) requests: Arc<RequestCounts>,
    pub(in crate::daemon) deliveries: Arc<DeliveryCounts>,
    pub(in crate::daemon) host: Arc<HostWatch>,
    pub(in crate::daemon) started: UnixNanos,
}

/// What is remembered between two takings.
#[derive(Default)]
pub(super) struct Figures {
    latency: Lately,
    sink_latencies: BTreeMap<String, Lately>,
    /// Time in gaps that are over, by upstream.
    gap_time: BTreeMap<Arc<str>, Duration>,
    files: Option<(Instant, u64)>,
    certificates: Certificates,
}

impl Figures {
    /// All figures now. `rolled_back`: subjects of alerts that say that monitors were taken back.
    pub(super) fn take(&mut self, sources: &Sources, rolled_back: &[String]) -> Vec<Sample> {
        let now = Instant::now();
        let settings = sources.live.settings();
        let mut samples = Vec::new();
        of_monitors(sources, &settings, &mut samples);
        of_pools(sources, &settings, &mut samples);
        self.of_gaps(sources, &mut samples);
        self.of_sinks(now, sources, &mut samples);
        for row in sources.circuits.rows() {
            let open = f64::from(u8::from(row.state != BreakerState::Closed));
            let note = row.last_error.filter(|_| open > 0.0);
            let subject = format!("{}:{}", row.kind.as_str(), row.name).into();
            samples.push(Sample { figure: Figure::CircuitOpen, subject, value: open, note });
        }
        for counter in sources.counters.now() {
            if counter.counter == ORDERS {
                samples.push(Sample::new(Figure::OrdersLastHour, &*counter.monitor, count(counter.last_hour)));
            }
            let subject = format!("{}/{}", counter.monitor, counter.counter);
            samples.push(Sample::new(Figure::CounterLastHour, subject, count(counter.last_hour)));
        }
        let delivered = sources.deliveries.now();
        // A count that were first seen when it is one would never have grown.
        for channel in settings.notify.configured() {
            if delivered.iter().all(|(known, ..)| **known != *channel) {
                samples.push(Sample::new(Figure::NotificationsEnded, channel, 0.0));
                samples.push(Sample::new(Figure::NotificationsFailed, channel, 0.0));
            }
        }
        for (channel, ended, failed) in delivered {
            samples.push(Sample::new(Figure::NotificationsEnded, &*channel, count(ended)));
            samples.push(Sample::new(Figure::NotificationsFailed, &*channel, count(failed)));
        }
        let cooling = cooling_until(&sources.live.rollout()).is_some() || sources.live.rollout().roll_back.is_some();
        for subject in rolled_back {
            samples.push(Sample::new(Figure::CanaryRolledBack, &**subject, f64::from(u8::from(cooling))));
        }
        for (file, days) in self.certificates.days(now, &settings) {
            samples.push(Sample::new(Figure::CertificateDays, file, days));
        }
        self.of_process(now, sources, &settings, &mut samples);
        samples
    }

    fn of_process(&mut self, now: Instant, sources: &Sources, settings: &Settings, samples: &mut Vec<Sample>) {
        let mut add = |figure: Figure, value: f64| samples.push(Sample::new(figure, "process", value));
        let (ended, failed) = sources.works.ended();
        let (runs, broken) = sources.commits.retention_runs();
        add(Figure::OperationsEnded, count(ended + runs));
        add(Figure::OperationsFailed, count(failed + broken));
        // Errors first, so that there are never more of them than requests.
        add(Figure::RequestsFailed, count(sources.requests.server_errors()));
        add(Figure::Requests, count(sources.requests.requests()));
        let (open, limit) = StreamClients::of_process().now();
        add(Figure::StreamClients, if limit == 0 { 0.0 } else { 100.0 * count(open) / count(limit) });
        if settings.fault_tolerance.enabled {
            // What was written before this process began says nothing of it.
            let up = UnixNanos::now().since(sources.started);
            let age = sources.works.keeper.age().map_or(up, |age| age.min(up));
            add(Figure::CheckpointOverdue, age.saturating_sub(settings.checkpoint.interval).as_secs_f64());
        }
        let folder = crate::journal::folder(&settings.daemon.data_dir);
        if let Some(fill) = self.journal_fill(now, sources, settings, &folder) {
            add(Figure::JournalFill, fill);
        }
        if let Some(latency) = self.latency.quantile(now, &sources.commits.latency_counts(), 0.99) {
            add(Figure::Latency, milliseconds(latency));
        } else {
            // Where nothing comes nothing is slow.
            add(Figure::Latency, 0.0);
        }
        let host = sources.host.latest();
        add(Figure::ProcessMemory, count(host.process_memory));
        let of_host = [
            (Figure::HostCpu, host.cpu_percent),
            (Figure::HostMemory, host.memory_percent),
            (Figure::HostDisk, host.disk_percent),
        ];
        for (figure, value) in of_host {
            if let Some(value) = value {
                add(figure, value);
            }
        }
    }

    /// Of what would end in a stop: retention deletes what is beyond `journal.max_size`, where nobody holds it and the disk is as
    /// large.
    fn journal_fill(
        &mut self,
        now: Instant,
        sources: &Sources,
        settings: &Settings,
        folder: &path::Path,
    ) -> Option<f64> {
        let counted = self.files.filter(|(at, _)| now.saturating_duration_since(*at) < FILES_INTERVAL);
        let (at, used) = match counted {
            Some(counted) => counted,
            None => (now, bytes_in(folder)?),
        };
        self.files = Some((at, used));
        let disk = rustix::fs::statvfs(folder).ok()?;
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        let room = used.saturating_add(free.saturating_sub(RESERVE_BYTES)).max(1);
        let most = settings.journal.max_size.0.max(1);
        let held = sources.journal.retention().held.is_some();
        Some(match () {
            () if room < most => 100.0 * count(used) / count(room),
            () if held => 100.0 * count(used) / count(most),
            () => 0.0,
        })
    }

    fn of_gaps(&mut self, sources: &Sources, samples: &mut Vec<Sample>) {
        // Whoever has started a daemon knows that it did not run; that its topics do not come back is news.
        let starting = UnixNanos::now().since(sources.started) < STARTING;
        for (upstream, figures) in sources.ledger.figures() {
            let open: BTreeMap<_, _> =
                figures.unwanted.iter().filter(|(cause, _)| !starting || **cause != GapCause::Downtime).collect();
            let ours = |cause: GapCause| cause.is_chosen() || cause == GapCause::Downtime;
            let unwanted = figures.closed.iter().filter(|(cause, _)| !ours(**cause));
            let closed: Duration = unwanted.map(|(_, time)| *time).sum();
            let before = self.gap_time.insert(Arc::clone(&upstream), closed);
            // One that began and ended between two looks.
            let missed = usize::from(before.is_some_and(|before| closed > before));
            let causes: Vec<&str> = open.keys().map(|cause| cause.as_str()).collect();
            let note = (!causes.is_empty()).then(|| causes.join(", "));
            let value = open.values().copied().sum::<usize>().max(missed);
            #[expect(clippy::cast_precision_loss, reason = "topics are few")]
            samples.push(Sample { figure: Figure::GapsOpen, subject: upstream, value: value as f64, note });
        }
    }

    fn of_sinks(&mut self, now: Instant, sources: &Sources, samples: &mut Vec<Sample>) {
        let rows = sources.sinks.rows();
        for row in rows.iter().filter(|row| row.enabled) {
            let subject: Arc<str> = row.name.as_str().into();
            let down = matches!(row.state, SinkState::Disconnected | SinkState::Open | SinkState::Refused);
            samples.push(Sample {
                figure: Figure::SinkDown,
                subject: Arc::clone(&subject),
                value: f64::from(u8::from(down)),
                note: row.error.clone().filter(|_| down),
            });
            let lag = row.lag_seconds.unwrap_or(0.0);
            samples.push(Sample::new(Figure::SinkLagSeconds, Arc::clone(&subject), lag));
            if let Some(events) = row.lag_events {
                samples.push(Sample::new(Figure::SinkLagEvents, Arc::clone(&subject), count(events)));
            }
            samples.push(Sample::new(Figure::SinkLost, subject, count(row.lost)));
        }
        for (name, counts) in sources.sinks.latencies() {
            let lately = self.sink_latencies.entry(name.clone()).or_default();
            let latency = lately.quantile(now, &counts, 0.95).map_or(0.0, milliseconds);
            if rows.iter().any(|row| row.name == name && row.enabled) {
                samples.push(Sample::new(Figure::SinkLatency, name, latency));
            }
        }
    }
}

fn of_monitors(sources: &Sources, settings: &Settings, samples: &mut Vec<Sample>) {
    // Once a monitor, however many upstreams and paths bring it.
    let mut monitors: BTreeMap<Arc<str>, (TotalsNow, bool)> = BTreeMap::new();
    // What cannot be read belongs to no monitor, as often as not: then the upstream's share tells of it.
    let mut upstreams: BTreeMap<Arc<str>, (u64, u64)> = BTreeMap::new();
    for Watched { roster, .. } in sources.watched.now() {
        for monitor in roster.monitors.iter().filter(|monitor| !monitor.shadow) {
            let runs = monitor.pause.is_none();
            let known = monitors.entry(Arc::clone(&monitor.identity.name));
            known.or_insert_with(|| (monitor.totals.now(), runs)).1 |= runs;
        }
        let read = roster.monitors.iter().filter(|monitor| !monitor.shadow).map(|monitor| {
            let totals = monitor.totals.now();
            totals.events + totals.repeats
        });
        let of_upstream = upstreams.entry(Arc::clone(&roster.upstream_identity.name)).or_default();
        of_upstream.0 = roster.upstream_totals.now().quarantined;
        of_upstream.1 += read.sum::<u64>();
    }
    for (name, (quarantined, read)) in upstreams {
        let mut add = |figure: Figure, value: u64| samples.push(Sample::new(figure, Arc::clone(&name), count(value)));
        add(Figure::QuarantinedFrames, quarantined);
        add(Figure::MonitorReadable, read + quarantined);
        add(Figure::MonitorRead, read);
    }
    monitors.retain(|name, _| settings.monitors.contains_key(&**name));
    for (name, (totals, runs)) in monitors {
        let mut add = |figure: Figure, value: u64| samples.push(Sample::new(figure, Arc::clone(&name), count(value)));
        let read = totals.events + totals.repeats;
        add(Figure::QuarantinedFrames, totals.quarantined);
        add(Figure::MonitorReadable, read + totals.quarantined);
        add(Figure::MonitorRead, read);
        // One that is to rest is not missed.
        if runs {
            add(Figure::MonitorMessages, totals.messages);
            add(Figure::MonitorEvents, totals.events);
        }
    }
}

fn of_pools(sources: &Sources, settings: &Settings, samples: &mut Vec<Sample>) {
    for (upstream, failures) in sources.upstreams.connection_failures(settings) {
        samples.push(Sample::new(Figure::ConnectionFailures, upstream, count(failures)));
    }
    for watched in sources.watched.now() {
        // A link of the legacy path is a monitor's own, and holds just what it needs.
        if watched.roster.path != Path::Smart {
            continue;
        }
        let upstream = &watched.roster.upstream;
        let links = watched.status.links();
        let own = settings.upstreams.get(upstream).map(|upstream| settings.pool.overridden_by(&upstream.pool));
        let rate_max = own.map_or(settings.pool.link_rate_max, |pool| pool.link_rate_max);
        #[expect(clippy::cast_precision_loss, reason = "topics and links are few")]
        let (most, wanted) = (links.len().max(1) as f64, watched.roster.wanted().len() as f64);
        let by_topics = wanted / (most * f64::from(watched.limits.topics_per_link.max(1)));
        let rate: f64 = links.iter().map(|link| link.rate).sum();
        let by_rate = rate / (most * f64::from(rate_max.max(1)));
        samples.push(Sample::new(Figure::PoolFill, upstream.as_str(), 100.0 * by_topics.max(by_rate)));
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of a process stay below 2^52")]
fn count(count: u64) -> f64 {
    count as f64
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// Bytes of all files in a folder.
fn bytes_in(folder: &path::Path) -> Option<u64> {
    let files = std::fs::read_dir(folder).ok()?.flatten();
    Some(files.filter_map(|file| file.metadata().ok()).filter(std::fs::Metadata::is_file).map(|file| file.len()).sum())
}
