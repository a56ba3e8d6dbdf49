//! Starts everything, in the order that nothing is taken before it can be kept, and stops it in the other.

mod known;
mod stopping;
mod tending;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::runtime::{self, Handle, Runtime};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::known::{Left, gather, remember, settle};
use self::tending::{Attending, observe, tend};
use super::alerts::{self, AlertBoard, Alerts, read_book};
use super::assembly::{AssemblyError, check, dedupe_ttl};
use super::attend::Attendant;
use super::audit_log::AuditLog;
use super::backfills::Backfills;
use super::canary::{self, Canary};
use super::consumers::{CommitLog, consumers_on_record};
use super::counter_log::counters_on_record;
use super::fetching::Fetching;
use super::figures::Commits;
use super::gap_log::{GapLog, LedgerIdentities};
use super::history::{History, Sources};
use super::journal_events::DropTeller;
use super::live_settings::{Followers, LiveSettings, Pools, SettingsSource};
use super::notifying::record_deliveries;
use super::operation_log::OperationLog;
use super::own_events::event_block;
use super::polling::Polling;
use super::reports;
use super::retry::Retrier;
use super::service_manager::ActivationError;
use super::snapshot::LiveState;
use super::summary::{Decided, Summary};
use super::switches::{SwitchLog, Switches};
use super::take_over::{Beside, Inheritance, Measuring, TakeOverError};
use super::upstreams::{ApplyError, Faults, Upstreams};
use super::view::{DaemonView, Shown};
use super::watchdog::Stage;
use super::watched::{Watched, WatchedList};
use super::works::Works;
use crate::alert::Deliveries;
use crate::alert::notify::{Notifier, NotifierError, Notify};
use crate::breaker::CircuitKind;
use crate::checkpoint::CheckpointError;
use crate::circuits::Circuits;
use crate::clock::{ReceivedClock, UnixNanos};
use crate::config::Settings;
use crate::enrich::{self, EnrichError, Enrichment, EnrichmentParts};
use crate::export::{ExportError, Exporters};
use crate::journal::{
    self, ALERTS_MONITOR, AUDIT_MONITOR, CANARY_MONITOR, CONSUMERS_MONITOR, COVERAGE_MONITOR, ENRICHMENTS_MONITOR,
    FETCHED_MONITOR, GAPS_MONITOR, JOURNAL_MONITOR, Journal, JournalError, JournalOptions, LockedJournal,
    METRICS_MONITOR, NOTIFICATIONS_MONITOR, Notice, OPERATIONS_MONITOR, OWN_DOMAIN, Offset, POLLING_MONITOR,
    QUARANTINE_MONITOR, RETRIES_MONITOR, SETTINGS_MONITOR, SINKS_MONITOR, STATE_MONITOR, TAKE_OVERS_MONITOR,
    THRESHOLDS_MONITOR,
};
use crate::live::{ConsumerBook, Hub};
use crate::monitor::event_id::IdHasher;
use crate::monitor::ledger::GapLedger;
use crate::monitor::roster::Identities;
use crate::monitor::sequence::book::SequenceBook;
use crate::pipeline::batcher::OwnIdentities;
use crate::pipeline::dedupe::DedupeWindow;
use crate::pulse::Pulse;
use crate::recovery::backfill::Bench;
use crate::recovery::gaps::read_standing;
use crate::recovery::{Bookmarks, find_tokens};
use crate::server::{self, Access, AccessError, Listening, ServerError, Serving, StreamDesk};
use crate::sink::{LOST_TOPIC, LostCause, LostSpan, ReadySinks, RunningSinks, SinkError, SinkStart};
use crate::telemetry::{self, Following, HostWatch, MetricsHandle, RequestCounts};
use crate::upstream::{UpstreamError, Wiring};
use crate::views::{CounterBoard, Probe, Views};

/// Time between two looks at what only shows from time to time: gauges, the dedupe window's age, the history.
const TEND_INTERVAL: Duration = Duration::from_secs(1);

/// The longest a stop waits for answers under way: a client may never finish its request.
const HTTP_STOP_TIMEOUT: Duration = Duration::from_secs(1);

/// Why the daemon does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Settings.
    #[error(transparent)]
    Assembly(#[from] AssemblyError),
    /// The journal.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// An upstream.
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
    /// The folder of checkpoints.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A sink.
    #[error(transparent)]
    Sink(#[from] SinkError),
    /// A look-up.
    #[error(transparent)]
    Enrich(#[from] EnrichError),
    /// Who is told of alerts.
    #[error(transparent)]
    Notify(#[from] NotifierError),
    /// Nothing can be exported.
    #[error(transparent)]
    Export(#[from] ExportError),
    /// Who may ask.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// The socket that the service manager has opened.
    #[error(transparent)]
    Activation(#[from] ActivationError),
    /// The HTTP port.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// File descriptors.
    #[error(
        "this process may open {allowed} files only, and needs {needed} and one a connection; raise `LimitNOFILE=` of the service, or `ulimit -n`"
    )]
    Files {
        /// The limit.
        allowed: u64,
        /// What it should be at least.
        needed: u64,
    },
    /// Threads.
    #[error("threads cannot be started: {0}")]
    Runtime(std::io::Error),
    /// The daemon that runs goes on.
    #[error(transparent)]
    TakeOver(#[from] TakeOverError),
    /// Nothing to do.
    #[error(
        "there is no monitor to run; add `[upstreams.NAME]` and `[monitors.NAME]` to the settings (README.md shows how), \
         or try `sluice demo`"
    )]
    NothingToDo,
}

/// A daemon at work.
pub struct Daemon {
    /// What was found and decided at the start.
    pub summary: Summary,
    journal: Arc<Journal>,
    view: Arc<DaemonView>,
    history: Arc<History>,
    gap_log: Arc<GapLog>,
    views: Arc<Views>,
    enrichment: Arc<Enrichment>,
    alerts: Arc<Alerts>,
    notifier: Arc<Notifier>,
    ingest: Ingest,
    live: Arc<LiveSettings>,
    /// Once more, so that it can be handed to another process.
    listener: std::net::TcpListener,
    upstreams: Arc<Upstreams>,
    upstream_faults: Faults,
    sinks: RunningSinks,
    works: Arc<Works>,
    http: Option<thread::JoinHandle<Result<(), ServerError>>>,
    streams: Arc<StreamDesk>,
    stop_http: CancellationToken,
    /// Given when another process answers.
    leave_http: CancellationToken,
    /// Given when nothing is decided here any more.
    over: CancellationToken,
    _exporters: Option<Exporters>,
    _following_host: Following,
    stop_timeout: Duration,
    /// What the HTTP thread runs on.
    http_handle: Handle,
    /// Answered by what looks after everything else once a second.
    tending: Arc<Pulse>,
}

/// How a stop went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stopped {
    /// Events below this are durable.
    pub durable: Offset,
    /// Whether everything that had been received is durable.
    pub drained: bool,
}

impl From<ApplyError> for StartError {
    fn from(error: ApplyError) -> Self {
        match error {
            ApplyError::Assembly(error) => error.into(),
            ApplyError::Upstream(error) => error.into(),
        }
    }
}

impl Daemon {
    /// Opens the journal, rebuilds what was seen lately, and connects.
    ///
    /// # Errors
    /// When anything of it cannot be had; nothing is running then.
    pub fn start(source: SettingsSource, metrics: MetricsHandle) -> Result<Self, StartError> {
        Self::start_with(source, metrics, Inheritance::default())
    }

    /// As [`Daemon::start`], with what the process before has left.
    pub(super) fn start_with(
        source: SettingsSource,
        metrics: MetricsHandle,
        inheritance: Inheritance,
    ) -> Result<Self, StartError> {
        let Inheritance { journal_lock, checkpoint_lock, listener, read_until, behind, beside } = inheritance;
        // Dropping a runtime waits, also where the start fails.
        let (ingest, beside) = match beside {
            Some(Beside { prepared, ingest, in_force, predecessor }) => {
                (Some(Ingest(Some(ingest))), Some((prepared, in_force, predecessor)))
            }
            None => (None, None),
        };
        let settings = &source.loaded.settings;
        let journal_dir = journal::folder(&settings.daemon.data_dir);
        // What an operator made at run time is known once the journal is open.
        if settings.monitors.is_empty() && journal::identity(&journal_dir)?.is_none() {
            return Err(StartError::NothingToDo);
        }
        let (began, started) = (Instant::now(), UnixNanos::now());
        let (access, ready_sinks) = check_start(settings)?;

        let journal_metrics = metrics.journal();
        let commits = Arc::new(Commits::new(metrics.latency()));
        let committed = Arc::clone(&commits);
        let dropped = Arc::new(AtomicU64::new(0));
        let dropped_to = Arc::clone(&dropped);
        // Filled when there is something to tell, which is before anything can be written.
        let live_state = Arc::new(OnceLock::<LiveState>::new());
        let told = Arc::clone(&live_state);
        let drop_teller = Arc::new(OnceLock::<DropTeller>::new());
        let teller = Arc::clone(&drop_teller);
        let locked = match journal_lock {
            Some(lock) => LockedJournal::inherit(&journal_dir, lock)?,
            None => LockedJournal::take(&journal_dir)?,
        };
        // Sinks are asked while the journal is ours and nothing is written to it yet.
        let id = locked.id()?;
        let bookmarks = Bookmarks::open_with(&settings.checkpoint.dir, checkpoint_lock, id)?;
        let answered = id.map(|id| ready_sinks.ask(id)).unwrap_or_default();
        let known_durable = answered.iter().cloned().chain(bookmarks.known_durable()).collect();
        let (journal, recovered) = locked.open(JournalOptions {
            observer: Box::new(move |notice| {
                observe(notice, &journal_metrics, &committed);
                if let Notice::Dropped { to, .. } = notice {
                    dropped_to.store(to.0, Ordering::Relaxed);
                }
            }),
            known_durable,
            retention_waits: true,
            snapshot: Some(Box::new(move || told.get().map(LiveState::block))),
            drop_record: Some(Box::new(move |span| teller.get().map(|teller| teller.block(span)))),
            ..JournalOptions::new(settings.journal.clone())
        })?;
        let journal = Arc::new(journal);
        let host = Arc::new(HostWatch::new(&settings.daemon.data_dir));
        let switches = Arc::new(Switches::read(&mut journal.reader())?);
        let level_before = settings.log.level.clone();
        let origin = source.with_run_time(&switches.config());
        let settings = origin.loaded.settings.clone();
        let settings = &settings;
        if settings.monitors.is_empty() && origin.run_time.is_empty() {
            return Err(StartError::NothingToDo);
        }
        if settings.log.level != level_before {
            telemetry::set_log_level(&settings.log.level);
        }
        if let Some(emergency) = switches.emergency() {
            let reason = emergency.reason.unwrap_or_default();
            tracing::warn!(
                since = emergency.since,
                reason,
                "stopped in an emergency: nothing is taken until `sluice start`"
            );
        }
        let consumers = Arc::new(ConsumerBook::new(consumers_on_record(&mut journal.reader())?));
        let on_record = counters_on_record(&mut journal.reader())?;
        let book = read_book(&mut journal.reader(), &settings.alerts.in_force())?;
        let alert_board = Arc::new(AlertBoard::new(book));
        let counters = Arc::new(CounterBoard::new(on_record, journal.durable(), settings));
        let checkpoint = bookmarks.of_journal(journal.id());
        // After the journal's lock, so that a second daemon is told of the first and not of its port.
        let http_runtime = runtime::Builder::new_current_thread().enable_all().build().map_err(StartError::Runtime)?;
        let listener = listening(listener, settings.server.listen)?;
        let address = listener.local_addr().unwrap_or(settings.server.listen);
        let hasher = IdHasher::new(journal.id().0.as_u128());
        let ttl = dedupe_ttl(settings);
        let window = Arc::new(DedupeWindow::new(ttl, settings.dedupe.max_bytes.as_usize()));
        let remembered = remember(&journal, &window, ttl, recovered.last_received.unwrap_or_default())?;

        let mut identities = Identities::default();
        let own = OwnIdentities {
            quarantine: identities.of(QUARANTINE_MONITOR, OWN_DOMAIN),
            gaps: identities.of(GAPS_MONITOR, OWN_DOMAIN),
            retries: identities.of(RETRIES_MONITOR, OWN_DOMAIN),
            coverage: identities.of(COVERAGE_MONITOR, OWN_DOMAIN),
            fetched: identities.of(FETCHED_MONITOR, OWN_DOMAIN),
        };
        let state_identity = identities.of(STATE_MONITOR, OWN_DOMAIN);
        let metrics_identity = identities.of(METRICS_MONITOR, OWN_DOMAIN);
        let clock = Arc::new(ReceivedClock::starting_after(recovered.last_received.unwrap_or_default()));
        switches.keep_polling(|name| settings.monitors.get(name).is_some_and(|monitor| monitor.poll.is_some()));
        switches.keep_sinks(|name| settings.sinks.contains_key(name));
        switches.keep_circuits(|kind, name| match kind {
            CircuitKind::Sink => settings.sinks.contains_key(name),
            CircuitKind::LookUp => enrich::is_declared(settings, name),
            CircuitKind::Channel => settings.notify.configured().contains(&name),
            _ => settings.upstreams.contains_key(name),
        });
        let circuits = Arc::new(Circuits::new(settings.fault_tolerance.enabled, switches.circuits()));
        let ledger = match recovered.last_received {
            Some(last_received) => GapLedger::of(read_standing(&mut journal.reader(), last_received)?),
            None => GapLedger::default(),
        };
        let ledger = Arc::new(ledger);
        let ledger_identities = LedgerIdentities { gaps: Arc::clone(&own.gaps), coverage: Arc::clone(&own.coverage) };
        let sequences = Arc::<SequenceBook>::default();
        let gap_log = Arc::new(GapLog::new(
            Arc::clone(&ledger),
            Arc::clone(&sequences),
            Arc::clone(&journal),
            Arc::clone(&clock),
            ledger_identities,
        ));
        let wiring = Wiring {
            journal: Arc::clone(&journal),
            window: Arc::clone(&window),
            clock: Arc::clone(&clock),
            batch: settings.batch.clone(),
            own,
            circuits: Arc::clone(&circuits),
            paces: beside.as_ref().map(|(prepared, ..)| prepared.paces()).unwrap_or_default(),
            ledger: Arc::clone(&ledger),
            sequences: Arc::clone(&sequences),
            prepared: beside.as_ref().map(|(prepared, ..)| Arc::clone(prepared)),
            counts: Arc::default(),
        };
        let sinks_identity = identities.of(SINKS_MONITOR, OWN_DOMAIN);
        let journal_identity = identities.of(JOURNAL_MONITOR, OWN_DOMAIN);
        let polling_identity = identities.of(POLLING_MONITOR, OWN_DOMAIN);
        let enrichment = Enrichment::new(EnrichmentParts {
            journal: Arc::clone(&journal),
            monitor: identities.of(ENRICHMENTS_MONITOR, OWN_DOMAIN),
            clock: Arc::clone(&clock),
            circuits: Arc::clone(&circuits),
        });
        let notifier = Arc::new(Notifier::start(&settings.notify, Arc::clone(&circuits))?);
        record_deliveries(&notifier, &journal, &clock, identities.of(NOTIFICATIONS_MONITOR, OWN_DOMAIN));
        let settings_identity = identities.of(SETTINGS_MONITOR, OWN_DOMAIN);
        let canary_identities = canary::Identities { canary: identities.of(CANARY_MONITOR, OWN_DOMAIN) };
        let alerts_identity = identities.of(ALERTS_MONITOR, OWN_DOMAIN);
        let audit_identity = identities.of(AUDIT_MONITOR, OWN_DOMAIN);
        let take_overs_identity = identities.of(TAKE_OVERS_MONITOR, OWN_DOMAIN);
        let consumers_identity = identities.of(CONSUMERS_MONITOR, OWN_DOMAIN);
        let operations_identity = identities.of(OPERATIONS_MONITOR, OWN_DOMAIN);
        let thresholds_identity = identities.of(THRESHOLDS_MONITOR, OWN_DOMAIN);
        let ingest = match ingest {
            Some(ingest) => ingest,
            None => Ingest(Some(ingest_runtime().map_err(StartError::Runtime)?)),
        };
        let own = wiring.own.clone();
        let bench = Bench {
            journal: Arc::clone(&journal),
            window: Arc::clone(&window),
            clock: Arc::clone(&clock),
            own: own.clone(),
            batch: settings.batch.clone(),
        };
        let (upstreams, upstream_faults) = Upstreams::new(wiring, hasher, identities, ingest.handle()?);
        let upstreams = Arc::new(upstreams);
        let watched = upstreams.list();
        upstreams.apply(settings, &switches.pauses(settings), &switches.paths(settings))?;
        let resumable = watched.resumable();
        let resumed = find_tokens(&journal, checkpoint.as_ref(), &resumable)?;
        if let Some(last_received) = recovered.last_received {
            let in_force = beside.as_ref().map(|(_, in_force, _)| in_force);
            let left = Left { last_received, read_until, behind: &behind, in_force };
            settle(&ledger, settings, &upstreams.places(), &journal, &left);
        }
        for Watched { roster, .. } in watched.now() {
            for monitor in roster.monitors.iter().filter(|monitor| monitor.pause.is_none()) {
                ledger.awake(&roster.upstream, &monitor.identity.name);
            }
        }
        let retrier = Retrier {
            journal: Arc::clone(&journal),
            window: Arc::clone(&window),
            clock: Arc::clone(&clock),
            own,
            batch: settings.batch.clone(),
            upstreams: Arc::clone(&watched),
            at_work: Mutex::default(),
        };
        let switch_log = Arc::new(SwitchLog {
            turn: Mutex::default(),
            taking_over: AtomicBool::new(false),
            switches: Arc::clone(&switches),
            monitor: settings_identity,
            journal: Arc::clone(&journal),
            clock: Arc::clone(&clock),
        });
        drop_teller.get_or_init(|| DropTeller::new(journal_identity, Arc::clone(&clock)));
        live_state.get_or_init(|| {
            let (watched, ledger) = (Arc::clone(&watched), Arc::clone(&ledger));
            let (switches, counters) = (Arc::clone(&switches), Arc::clone(&counters));
            let alerts = Arc::clone(&alert_board);
            let consumers = Arc::clone(&consumers);
            LiveState {
                monitor: state_identity,
                watched,
                ledger,
                switches,
                counters,
                alerts,
                consumers,
                clock: Arc::clone(&clock),
                started,
            }
        });
        // Before a link can bring anything; what is refused now is tried again.
        gap_log.flush();
        let marks = checkpoint.as_ref().map(|checkpoint| checkpoint.sinks.clone()).unwrap_or_default();
        let (lost_journal, lost_clock) = (Arc::clone(&journal), Arc::clone(&clock));
        enrichment.apply(settings)?;
        let sinks = ready_sinks.start(&SinkStart {
            journal: Arc::clone(&journal),
            ancestors: journal.ancestors(),
            last_received: recovered.last_received,
            remembered: marks.clone(),
            switches: switches.sinks(),
            circuits: Arc::clone(&circuits),
            lost_log: Arc::new(move |span: &LostSpan| {
                let block = event_block(&sinks_identity, LOST_TOPIC, span, lost_clock.stamp());
                lost_journal.try_submit_own(block).is_ok()
            }),
            lost_why: Arc::new(move |from: Offset| {
                let dropped = from.0 < dropped.load(Ordering::Relaxed);
                if dropped { LostCause::DropOldest } else { LostCause::Retention }
            }),
            enrichment: Some(Arc::clone(&enrichment)),
        });
        // Sinks have said by now what they need.
        journal.begin_retention();
        let decided = Decided { recovered: &recovered, bookmarks: &bookmarks, answered, marks: &marks, resumed };
        let summary = Summary::new(settings, &decided, remembered, &watched.now(), address, began.elapsed());
        let gather = gather(Arc::clone(&journal), sinks.sinks(), Arc::clone(&switches), marks);
        let keeper = bookmarks.keeper(&settings.checkpoint, gather);
        let works = Arc::new(Works::new(settings, Arc::clone(&journal), keeper).map_err(StartError::Runtime)?);
        works.write_periodically();
        reports::begin(&works);
        let sources = Sources {
            watched: Arc::clone(&watched),
            commits: Arc::clone(&commits),
            window: Arc::clone(&window),
            counters: Arc::clone(&counters),
            circuits: Arc::clone(&circuits),
            sinks: Some(sinks.sinks()),
            checkpoints: {
                let works = Arc::clone(&works);
                Box::new(move || works.keeper.counts())
            },
        };
        let history = Arc::new(History::new(
            metrics_identity,
            sources,
            Arc::clone(&journal),
            Arc::clone(&clock),
            started,
            Instant::now(),
        ));
        let own_clock = clock;
        let views = Views::start(
            &settings.daemon.data_dir,
            Arc::clone(&journal),
            Probe::Child,
            Arc::clone(&counters),
            &settings.cache,
        );
        let views = Arc::new(views.map_err(StartError::Runtime)?);
        let followers = Followers {
            pools: Arc::clone(&upstreams) as Arc<dyn Pools>,
            counters: Arc::clone(&counters),
            enrichment: Arc::clone(&enrichment),
            notifier: Arc::clone(&notifier),
            works: Arc::clone(&works),
            circuits: Arc::clone(&circuits),
        };
        let live = Arc::new(LiveSettings::new(origin, Arc::clone(&switch_log), followers));
        let fetching = Fetching::new(
            Arc::clone(&live),
            Arc::clone(&upstreams),
            Arc::clone(&circuits),
            bench,
            works.operations.stop.clone(),
        );
        let fetching = Arc::new(fetching);
        let backfills = Arc::new(Backfills::new(Arc::clone(&fetching), Arc::clone(&works), Arc::clone(&journal)));
        let polling = Arc::new(Polling::new(
            fetching,
            Arc::clone(&works),
            Arc::clone(&switch_log.switches),
            Arc::clone(&ledger),
            polling_identity,
        ));
        let hub = {
            let live = Arc::clone(&live);
            Hub::start(Arc::clone(&journal), move || live.settings()).map_err(StartError::Runtime)?
        };
        let streams = {
            let live = Arc::clone(&live);
            let settings = move || live.settings().server.streams.clone();
            Arc::new(StreamDesk::new(Arc::new(hub), Arc::clone(&consumers), settings))
        };
        let commit_log = CommitLog {
            book: consumers,
            journal: Arc::clone(&journal),
            identity: consumers_identity,
            clock: Arc::clone(&own_clock),
        };
        let ttl = {
            let live = Arc::clone(&live);
            move || live.settings().server.streams.consumer_ttl
        };
        works.operations.attend(commit_log.run(ttl, works.operations.stop.clone()));
        works.operations.tell(OperationLog {
            journal: Arc::clone(&journal),
            identity: operations_identity,
            clock: Arc::clone(&own_clock),
        });
        let requests = Arc::<RequestCounts>::default();
        let alert_sources = alerts::Sources {
            live: Arc::clone(&live),
            watched: Arc::clone(&watched),
            upstreams: Arc::clone(&upstreams),
            ledger: Arc::clone(&ledger),
            sinks: sinks.sinks(),
            circuits: Arc::clone(&circuits),
            counters: Arc::clone(&counters),
            works: Arc::clone(&works),
            commits: Arc::clone(&commits),
            journal: Arc::clone(&journal),
            requests: Arc::clone(&requests),
            deliveries: Arc::default(),
            host: Arc::clone(&host),
            started,
        };
        let (alert_journal, alert_clock) = (Arc::clone(&journal), Arc::clone(&own_clock));
        let alerts = Arc::new(Alerts::new(
            alert_board,
            alert_sources,
            (alerts_identity, thresholds_identity),
            alert_journal,
            alert_clock,
        ));
        alerts.tell_by(Arc::clone(&notifier) as Arc<dyn Notify>);
        let told = Arc::downgrade(&alerts);
        notifier.listen(move |delivery| {
            if let Some(alerts) = told.upgrade() {
                alerts.ended(delivery.clone());
            }
        });
        let canary = Arc::new(Canary::new(
            Arc::clone(&live),
            Arc::clone(&works),
            Arc::clone(&upstreams),
            Arc::clone(&alerts),
            canary_identities,
        ));
        let audit_log =
            AuditLog { monitor: audit_identity, journal: Arc::clone(&journal), clock: Arc::clone(&own_clock) };
        let view = Arc::new(DaemonView::new(Shown {
            audit_log,
            watched,
            journal: Arc::clone(&journal),
            commits: Arc::clone(&commits),
            window: Arc::clone(&window),
            retrier,
            views: Arc::clone(&views),
            counters: Arc::clone(&counters),
            enrichment: Arc::clone(&enrichment),
            notifier: Arc::clone(&notifier),
            sinks: sinks.sinks(),
            circuits,
            switch_log,
            live: Arc::clone(&live),
            works: Arc::clone(&works),
            ledger: Arc::clone(&ledger),
            sequences,
            backfills: Arc::clone(&backfills),
            polling: Arc::clone(&polling),
            canary: Arc::clone(&canary),
            alerts: Arc::clone(&alerts),
            upstreams: Arc::clone(&upstreams),
            host: Arc::clone(&host),
            streams: Arc::clone(&streams),
        }));
        let shown = Arc::downgrade(&view);
        streams.show(move || shown.upgrade().map_or(serde_json::Value::Null, |view| view.for_streams()));

        let measuring = beside.map(|(prepared, _, predecessor)| Measuring {
            predecessor,
            read_until,
            prepared,
            upstreams: settings.upstreams.keys().cloned().collect(),
            ledger,
            journal: Arc::clone(&journal),
            clock: Arc::clone(&own_clock),
            identity: take_overs_identity,
            started: (Instant::now(), UnixNanos::now()),
            told: Mutex::new(false),
        });
        let exporters = Exporters::start(&settings.export, &metrics, &journal)?;
        let following_host = host.follow().map_err(StartError::Runtime)?;
        commits.set_ready();
        let (stop_http, leave_http) = (CancellationToken::new(), CancellationToken::new());
        let over = CancellationToken::new();
        upstreams.begin();
        backfills.begin();
        polling.begin();
        let attendant = Attendant::new(Arc::clone(&live));
        let (http_handle, tending) = (http_runtime.handle().clone(), Arc::new(Pulse::always()));
        let serving = Serving { access, settings: settings.server.clone(), requests };
        let kept_listener = listener.try_clone().map_err(StartError::Runtime)?;
        let http = {
            let (view, history, gap_log) = (Arc::clone(&view), Arc::clone(&history), Arc::clone(&gap_log));
            let alerts = Arc::clone(&alerts);
            let (stop, leave, reading_over) = (stop_http.clone(), leave_http.clone(), over.clone());
            let pulse = Arc::clone(&tending);
            thread::Builder::new()
                .name("http".into())
                .spawn(move || {
                    http_runtime.block_on(async {
                        let listener = TcpListener::from_std(listener).map_err(ServerError::Serve)?;
                        let listener = Listening { listener, leave };
                        let attending = Attending {
                            history,
                            gap_log,
                            attendant,
                            canary,
                            alerts,
                            measuring,
                            over: reading_over,
                            pulse,
                        };
                        let tending = tend(Arc::clone(&view), attending, metrics.clone());
                        let stopping = stop.clone();
                        let patience = async {
                            stopping.cancelled().await;
                            tokio::time::sleep(HTTP_STOP_TIMEOUT).await;
                        };
                        tokio::select! {
                            served = server::serve(listener, view, metrics, serving, stop) => served,
                            never = tending => never,
                            () = patience => Ok(()),
                        }
                    })
                })
                .map_err(StartError::Runtime)?
        };
        Ok(Self {
            summary,
            journal,
            view,
            history,
            gap_log,
            views,
            enrichment,
            alerts,
            notifier,
            ingest,
            live,
            listener: kept_listener,
            upstreams,
            upstream_faults,
            sinks,
            works,
            http: Some(http),
            stop_http,
            leave_http,
            over,
            _exporters: exporters,
            _following_host: following_host,
            streams,
            stop_timeout: settings.daemon.stop_timeout,
            http_handle,
            tending,
        })
    }

    /// What it knows of itself, now and later.
    pub fn view(&self) -> Arc<DaemonView> {
        Arc::clone(&self.view)
    }

    /// How long a stop may take.
    pub(super) fn stop_timeout(&self) -> Duration {
        self.stop_timeout
    }

    /// What must answer as long as it runs, beside those that run it. What nothing of the way of the data waits for is left out: a view that
    /// hangs is no reason to start anew.
    pub(super) fn stages(&self) -> Vec<Stage> {
        let runtimes = [
            ("ingest", self.ingest.handle().ok()),
            ("sinks", self.sinks.sinks().handle()),
            ("enrich", self.enrichment.handle()),
            ("operations", self.works.operations.handle()),
            ("http", Some(self.http_handle.clone())),
        ];
        let runtimes = runtimes.into_iter().filter_map(|(name, handle)| Some(Stage::runtime(name, handle?)));
        let others = [Stage::journal(Arc::clone(&self.journal)), Stage::of("tend", Arc::clone(&self.tending))];
        others.into_iter().chain(runtimes).collect()
    }

    /// The upstreams that are watched, now and later.
    pub(super) fn watched(&self) -> Arc<WatchedList> {
        self.upstreams.list()
    }

    /// Events below this are durable.
    pub fn durable(&self) -> Offset {
        self.journal.durable()
    }

    /// Ends when something has that should not: the journal's writer, a link's task, or a sink's.
    pub async fn fault(&mut self) -> Fault {
        tokio::select! {
            error = self.journal.failed() => Fault::Journal(error),
            error = self.upstream_faults.next() => Fault::Link(error),
            error = self.sinks.broken() => Fault::Sink(error),
        }
    }
}

/// Everything that settings can get wrong comes before any port or file.
pub(super) fn check_start(settings: &Settings) -> Result<(Access, ReadySinks), StartError> {
    check(settings)?;
    enrich::check(settings)?;
    Notifier::check(&settings.notify)?;
    let access = Access::new(&settings.server)?;
    server::check_tls(&settings.server)?;
    Ok((access, ReadySinks::new(settings)?))
}

/// What links run on. Dropping a runtime waits, which is not allowed where others are driven.
struct Ingest(Option<Runtime>);

impl Ingest {
    fn handle(&self) -> Result<Handle, StartError> {
        let gone = || StartError::Runtime(std::io::Error::other("the links' runtime has ended"));
        self.0.as_ref().map(|ingest| ingest.handle().clone()).ok_or_else(gone)
    }

    fn end(&mut self) {
        if let Some(ingest) = self.0.take() {
            ingest.shutdown_background();
        }
    }
}

impl Drop for Ingest {
    fn drop(&mut self) {
        self.end();
    }
}

/// What links run on.
pub(super) fn ingest_runtime() -> std::io::Result<Runtime> {
    runtime::Builder::new_multi_thread().thread_name("ingest").enable_all().build()
}

/// The socket that HTTP is listened for on: the one that was handed over, where the settings still say its address.
fn listening(handed: Option<std::net::TcpListener>, address: SocketAddr) -> Result<std::net::TcpListener, ServerError> {
    let fits = |listener: &std::net::TcpListener| {
        let any_port = |at: SocketAddr| at.ip() == address.ip() && (address.port() == 0 || at.port() == address.port());
        listener.local_addr().is_ok_and(any_port)
    };
    match handed.filter(fits) {
        Some(listener) => Ok(listener),
        None => server::listen(address),
    }
}

impl Drop for Daemon {
    /// Of a daemon that was not stopped, or not to its end: dropping a runtime waits, which is not allowed where
    /// others are driven.
    fn drop(&mut self) {
        self.enrichment.abandon();
        self.ingest.end();
    }
}

/// Why a daemon cannot go on.
#[derive(Debug, Clone)]
pub enum Fault {
    /// No more events can be made durable.
    Journal(Arc<JournalError>),
    /// A link's task broke.
    Link(String),
    /// A sink's task broke.
    Sink(String),
}
