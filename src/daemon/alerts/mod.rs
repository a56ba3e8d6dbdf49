//! Alerts of a running daemon: once a second figures are taken and held against the rules, and what comes of it is put on record,
//! and then told. All of it beside the thread that looks.
//!
//! A change is in the book first, then in the journal, then told, so that nobody is told twice after a crash: whoever was not told
//! yet when the process died is not told any more, within those milliseconds.

mod certificates;
mod figures;
mod latencies;
mod on_record;
mod shown;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::Instant;

use self::figures::Figures;
pub(super) use self::figures::Sources;
pub(super) use self::on_record::read_book;
use super::own_events::{OwnEvent, events_block};
use crate::alert::book::{Book, BookRecord, Change, Found, Held, What};
use crate::alert::notify::{Delivery, Notice, Notify, Occasion};
use crate::alert::rules::Rule;
use crate::alert::silence::Silence;
use crate::alert::{AlertKind, AlertStatus, Crossing, Deliveries, Engine, Finding, Severity};
use crate::clock::{ReceivedClock, UnixNanos};
use crate::config::AlertSettings;
use crate::journal::{ALERTS_MONITOR, BlockFilter, Journal, MonitorIdentity, OWN_DOMAIN, Offset};
use crate::telemetry::AlertMetrics;

/// The topics of alerts in the journal, under the domain `_sluice`.
const ALERTS_TOPIC: &str = "alerts";
/// The topic of crossings.
const THRESHOLDS_TOPIC: &str = "thresholds";
const SILENCES_TOPIC: &str = "silences";

/// The longest that a change is waited for to become durable.
const DURABLE_TIMEOUT: Duration = Duration::from_secs(3);
/// How often it is looked whether it has.
const DURABLE_POLL: Duration = Duration::from_millis(5);
/// The most changes that wait for the journal to take them again. Source: a guess; what is not over is in snapshots too.
const UNRECORDED_MAX: usize = 1000;

/// The alerts, as snapshots have them. Holds nothing that holds the journal.
#[derive(Default)]
pub(super) struct AlertBoard(Mutex<Book>);

impl AlertBoard {
    pub(super) fn new(book: Book) -> Self {
        Self(Mutex::new(book))
    }

    fn lock(&self) -> MutexGuard<'_, Book> {
        // Whole after every step.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For a snapshot.
    pub(super) fn record(&self) -> BookRecord {
        self.lock().record()
    }
}

/// Rules as they are in force, and what they were made of.
struct InForce {
    settings: AlertSettings,
    rules: Arc<Vec<Rule>>,
}

/// Looks at figures, keeps alerts, and has people told.
pub(super) struct Alerts {
    board: Arc<AlertBoard>,
    sources: Sources,
    monitor: Arc<MonitorIdentity>,
    /// Of crossings.
    thresholds: Arc<MonitorIdentity>,
    journal: Arc<Journal>,
    clock: Arc<ReceivedClock>,
    notify: OnceLock<Arc<dyn Notify>>,
    in_force: Mutex<InForce>,
    engine: Mutex<Engine>,
    figures: Mutex<Figures>,
    /// Held while a change is put on record: one at a time.
    turn: Mutex<()>,
    /// Changes that the journal has not taken yet.
    unrecorded: Mutex<VecDeque<Held>>,
    at_work: Mutex<Option<JoinHandle<()>>>,
    /// Alerts that are open and not on record yet, with what they are about.
    raising: Mutex<Vec<String>>,
    /// Whether the daemon stops, so that what ends then is no news.
    ended: AtomicBool,
    overflowed: AtomicU64,
    metrics: AlertMetrics,
}

impl Alerts {
    pub(super) fn new(
        board: Arc<AlertBoard>,
        sources: Sources,
        (monitor, thresholds): (Arc<MonitorIdentity>, Arc<MonitorIdentity>),
        journal: Arc<Journal>,
        clock: Arc<ReceivedClock>,
    ) -> Self {
        let settings = sources.live.settings().alerts.clone();
        let rules = Arc::new(settings.in_force());
        Self {
            board,
            figures: Mutex::new(Figures::default()),
            sources,
            monitor,
            thresholds,
            journal,
            clock,
            notify: OnceLock::new(),
            in_force: Mutex::new(InForce { settings, rules }),
            engine: Mutex::default(),
            turn: Mutex::default(),
            unrecorded: Mutex::default(),
            at_work: Mutex::default(),
            raising: Mutex::default(),
            ended: AtomicBool::new(false),
            overflowed: AtomicU64::new(0),
            metrics: AlertMetrics::default(),
        }
    }

    /// Has people told from now on. The first one counts.
    pub(super) fn tell_by(&self, notify: Arc<dyn Notify>) {
        self.notify.get_or_init(|| notify);
    }

    /// The rules in force, made anew where the settings have changed.
    fn rules(&self) -> Arc<Vec<Rule>> {
        let settings = self.sources.live.settings();
        let mut in_force = lock(&self.in_force);
        if in_force.settings != settings.alerts {
            in_force.rules = Arc::new(settings.alerts.in_force());
            in_force.settings = settings.alerts.clone();
        }
        Arc::clone(&in_force.rules)
    }

    /// Takes a look. In a runtime.
    pub(super) fn look(self: &Arc<Self>) {
        let mut at_work = lock(&self.at_work);
        if self.ended.load(Ordering::Acquire) {
            return;
        }
        if at_work.as_ref().is_some_and(|work| !work.is_finished()) || self.sources.live.is_taken_over() {
            // What is slow is not piled up; what another process goes on with, it decides.
            return;
        }
        let alerts = Arc::clone(self);
        *at_work = Some(tokio::task::spawn_blocking(move || alerts.work()));
    }

    /// Looks no more: the daemon stops.
    pub(super) fn end(&self) {
        self.ended.store(true, Ordering::Release);
    }

    /// Blocking.
    fn work(&self) {
        let rules = self.rules();
        let mut rolled_back = self.board.lock().subjects_of(AlertKind::CanaryRolledBack);
        // What it is about is not true before it is on record.
        let raising = lock(&self.raising).clone();
        rolled_back.retain(|subject| !raising.contains(subject));
        let samples = lock(&self.figures).take(&self.sources, &rolled_back);
        let (findings, crossings) = {
            let mut engine = lock(&self.engine);
            (engine.look(Instant::now(), &rules, &samples), engine.take_crossings())
        };
        if self.ended.load(Ordering::Acquire) {
            return;
        }
        self.tell_crossings(&crossings);
        let _turn = lock(&self.turn);
        let changes = self.apply(&rules, &findings);
        self.record_again();
        if !changes.is_empty() {
            self.record(changes.iter().map(|change| &change.held));
        }
        for change in changes {
            self.tell(change);
        }
        self.measure();
    }

    /// For whoever streams them; what the journal does not take now stays untold.
    fn tell_crossings(&self, crossings: &[Crossing]) {
        if crossings.is_empty() {
            return;
        }
        let events: Vec<OwnEvent> =
            crossings.iter().map(|crossing| OwnEvent::new(&self.thresholds, THRESHOLDS_TOPIC, crossing)).collect();
        if self.journal.try_submit_own(events_block(&events, self.clock.stamp())).is_err() {
            crate::telemetry::own_event_refused();
        }
    }

    fn apply(&self, rules: &[Rule], findings: &[Finding]) -> Vec<Change> {
        let now = UnixNanos::now();
        let cooldown = cooldown_of(rules);
        let mut book = self.board.lock();
        let mut changes = Vec::new();
        for finding in findings {
            changes.extend(match finding {
                // It is opened by what happened, with what was measured then.
                Finding::Firing { rule, .. } if rules[*rule].kind == AlertKind::CanaryRolledBack => None,
                Finding::Firing { rule, subject, value, message } => {
                    book.firing(&rules[*rule], Found { subject, value: *value, message }, now)
                }
                Finding::Clear { rule, subject, how } => book.clear(&rules[*rule].name, subject, how, now),
            });
        }
        changes.extend(book.due(cooldown, now));
        // A rule that is off, or no longer there, finds nothing wrong.
        let on = |name: &str| rules.iter().any(|rule| rule.enabled && *rule.name == *name);
        let orphans: Vec<(String, String)> = book
            .live()
            .filter(|held| !on(&held.rule))
            .map(|held| (held.rule.clone(), held.alert.subject.clone()))
            .collect();
        for (rule, subject) in orphans {
            changes.extend(book.clear(&rule, &subject, "its rule is off", now));
        }
        let overflowed = book.overflowed();
        drop(book);
        if self.overflowed.swap(overflowed, Ordering::Relaxed) == 0 && overflowed > 0 {
            tracing::error!("there are more alerts than are kept; some are not opened: see `sluice alerts summary`");
        }
        changes
    }

    /// Puts changes on record, and waits until they are. False where the journal does not take them; then they are tried again.
    fn record<'a>(&self, changes: impl IntoIterator<Item = &'a Held>) -> bool {
        let changes: Vec<&Held> = changes.into_iter().collect();
        let Some(last) = changes.last() else { return true };
        let events: Vec<OwnEvent> = changes.iter().map(|held| self.event(held)).collect();
        if self.submit(&events, |payload| {
            serde_json::from_slice::<Held>(payload)
                .is_ok_and(|found| found.alert.id == last.alert.id && found.what == last.what)
        }) {
            return true;
        }
        crate::telemetry::own_event_refused();
        tracing::warn!("changes of alerts could not be put on record; it is tried again");
        let mut unrecorded = lock(&self.unrecorded);
        for held in changes {
            if unrecorded.len() >= UNRECORDED_MAX {
                unrecorded.pop_front();
            }
            unrecorded.push_back(held.clone());
        }
        false
    }

    fn event(&self, held: &Held) -> OwnEvent {
        OwnEvent::new(&self.monitor, ALERTS_TOPIC, held)
    }

    /// Journals events. Blocking: returns when the one is durable that `is_last` knows; false where the journal does not take them.
    fn submit(&self, events: &[OwnEvent], is_last: impl Fn(&[u8]) -> bool) -> bool {
        let from = self.journal.durable();
        let block = events_block(events, self.clock.stamp());
        self.journal.try_submit_own(block).is_ok() && self.is_durable(from, is_last)
    }

    fn is_durable(&self, from: Offset, is_last: impl Fn(&[u8]) -> bool) -> bool {
        let filter = BlockFilter {
            monitors: vec![ALERTS_MONITOR.into()],
            domains: vec![OWN_DOMAIN.into()],
            ..BlockFilter::all()
        };
        let mut reader = self.journal.reader();
        reader.seek(from);
        let deadline = Instant::now() + DURABLE_TIMEOUT;
        while Instant::now() < deadline {
            match reader.next_block(&filter) {
                Ok(Some(block)) => {
                    if block.events().any(|event| filter.admits(&event) && is_last(event.payload)) {
                        return true;
                    }
                }
                Ok(None) => std::thread::sleep(DURABLE_POLL),
                Err(_) => return false,
            }
        }
        false
    }

    /// What the journal did not take before.
    fn record_again(&self) {
        let waiting: Vec<Held> = lock(&self.unrecorded).drain(..).collect();
        if !waiting.is_empty() {
            self.record(&waiting);
        }
    }

    fn tell(&self, change: Change) {
        let Change { held, tell } = change;
        self.metrics.changed(&held);
        let alert = &held.alert;
        let (kind, subject, id) = (alert.kind.as_str(), &alert.subject, &alert.id);
        match (held.what, alert.severity) {
            (What::Opened, Severity::Info) => tracing::info!(kind, %subject, %id, "alert: {}", alert.message),
            (What::Opened, _) => tracing::warn!(kind, %subject, %id, "alert: {}", alert.message),
            (What::Told | What::Acknowledged, _) => {
                tracing::info!(kind, %subject, %id, status = ?alert.status, "alert");
            }
            (What::Resolved, _) => {
                tracing::info!(kind, %subject, %id, by = alert.resolved_by.as_deref(), "alert is over");
            }
        }
        if let (Some(occasion), Some(notify)) = (tell, self.notify.get()) {
            notify.offer(Notice { alert: held.alert, occasion });
        }
    }

    fn measure(&self) {
        let book = self.board.lock();
        let open = |severity: Severity| {
            let counted =
                book.live().filter(|held| held.alert.severity == severity && held.alert.status == AlertStatus::Open);
            counted.count()
        };
        self.metrics.set_open(open);
    }

    /// Opens an alert of something that happened, which its caller puts on record with what it does; none where the rule is off. To
    /// be [settled](Alerts::settle).
    pub(super) fn raise(
        &self,
        kind: AlertKind,
        severity: Severity,
        found: Found<'_>,
        threshold: f64,
    ) -> Option<Raised> {
        let rules = self.rules();
        let rule = rules.iter().find(|rule| rule.kind == kind && rule.enabled)?;
        let rule = Rule { threshold, ..rule.clone() };
        lock(&self.raising).push(found.subject.to_owned());
        let Some(change) = self.board.lock().open(&rule, severity, found, UnixNanos::now()) else {
            lock(&self.raising).retain(|subject| subject != found.subject);
            return None;
        };
        let event = self.event(&change.held);
        Some(Raised { change, event })
    }

    /// What was raised is on record, or nothing came of it.
    pub(super) fn settle(&self, change: Change, is_on_record: bool) {
        lock(&self.raising).retain(|subject| *subject != change.held.alert.subject);
        if is_on_record {
            self.tell(change);
        } else {
            self.board.lock().forget(&change.held);
        }
    }

    /// A change that a person makes: kept only where it becomes durable.
    fn change<T>(
        &self,
        change: impl FnOnce(&mut Book, UnixNanos) -> Result<T, crate::server::Refusal>,
        event: impl FnOnce(&T) -> (OwnEvent, Vec<u8>),
    ) -> Result<T, crate::server::Refusal> {
        let refused = |error: &str| crate::server::Refusal { status: 503, error: error.to_owned() };
        if self.sources.live.is_taken_over() {
            return Err(refused(
                "another process is taking over from this one; make the change again when that is over",
            ));
        }
        let _turn = lock(&self.turn);
        let (before, done) = {
            let mut book = self.board.lock();
            let before = book.clone();
            (before, change(&mut book, UnixNanos::now())?)
        };
        let (event, payload) = event(&done);
        if self.submit(&[event], |found| found == payload) {
            return Ok(done);
        }
        *self.board.lock() = before;
        Err(refused(
            "the change was not made: the journal takes no more of the daemon's own events; see `sluice health`",
        ))
    }

    fn held_event(&self, change: &Change) -> (OwnEvent, Vec<u8>) {
        (self.event(&change.held), serde_json::to_vec(&change.held).unwrap_or_default())
    }

    fn silence_event(&self, silence: &Silence) -> (OwnEvent, Vec<u8>) {
        let event = OwnEvent::new(&self.monitor, SILENCES_TOPIC, silence);
        (event, serde_json::to_vec(silence).unwrap_or_default())
    }
}

/// An alert that was opened, and its event.
pub(super) struct Raised {
    pub(super) change: Change,
    pub(super) event: OwnEvent,
}

impl Deliveries for Alerts {
    fn ended(&self, delivery: Delivery) {
        let sent = delivery.outcome == crate::alert::notify::Outcome::Sent;
        if delivery.occasion != Occasion::Test {
            self.sources.deliveries.ended(&delivery.channel, sent);
        }
        self.board.lock().delivered(delivery);
    }
}

/// The cooldown of a rule; of one that is no longer there none.
fn cooldown_of(rules: &[Rule]) -> impl Fn(&str) -> Duration + Copy + '_ {
    |name| rules.iter().find(|rule| *rule.name == *name).map_or(Duration::ZERO, |rule| rule.cooldown)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
