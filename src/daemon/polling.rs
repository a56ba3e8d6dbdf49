//! The fall-back: monitors whose upstream cannot be connected to are polled over HTTP, by themselves or because an operator says so, and
//! no longer when that is over.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

use super::fetching::{Fetching, Place};
use super::own_events::event_block;
use super::poll_mode::{Mode, Patience, Turn};
use super::switches::Switches;
use super::works::Works;
use crate::breaker::{BreakerState, CircuitKind};
use crate::clock::UnixNanos;
use crate::config::PollSettings;
use crate::journal::MonitorIdentity;
use crate::monitor::fetched::FetchedBy;
use crate::monitor::ledger::GapLedger;
use crate::recovery::backfill::{FillError, Known, poll};
use crate::recovery::replay::Progress;
use crate::server::{PollAction, PollRow};
use crate::telemetry::PollMetrics;

/// The topic of what is journaled of it, under the domain `_sluice`.
const POLLING_TOPIC: &str = "polling";

/// Time between two looks.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);

/// Ids of so long ago are remembered where it is not said since when items are asked for. Source: a guess.
const LOOK_BACK: Duration = Duration::from_hours(1);

/// That a monitor is polled, or no longer, as the journal holds it.
#[derive(Debug, Serialize)]
struct PollingRecord<'a> {
    monitor: &'a str,
    upstream: &'a str,
    mode: &'static str,
    why: &'static str,
    time: String,
}

/// A monitor and one of its upstreams.
type Subject = (Arc<str>, Arc<str>);

#[derive(Default)]
struct Polled {
    mode: Mode,
    since: Option<UnixNanos>,
    why: Option<&'static str>,
    /// Polls are under way.
    busy: bool,
    topics: BTreeMap<Arc<str>, PolledTopic>,
    /// When ids were read back last.
    known_at: Option<Instant>,
    polls: u64,
    events: u64,
    failures: u64,
    last_error: Option<String>,
}

#[derive(Debug, Clone, Copy)]
struct PolledTopic {
    due: Instant,
    /// What came before was asked for.
    asked_to: UnixNanos,
}

/// Polls.
pub(super) struct Polling {
    fetching: Arc<Fetching>,
    works: Arc<Works>,
    switches: Arc<Switches>,
    ledger: Arc<GapLedger>,
    identity: Arc<MonitorIdentity>,
    state: Mutex<BTreeMap<Subject, Polled>>,
}

impl Polling {
    pub(super) fn new(
        fetching: Arc<Fetching>,
        works: Arc<Works>,
        switches: Arc<Switches>,
        ledger: Arc<GapLedger>,
        identity: Arc<MonitorIdentity>,
    ) -> Self {
        Self { fetching, works, switches, ledger, identity, state: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Subject, Polled>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks from time to time, until operations are stopped.
    pub(super) fn begin(self: &Arc<Self>) {
        let (this, stop) = (Arc::clone(self), self.fetching.stop.clone());
        self.works.operations.attend(async move {
            let mut ticks = tokio::time::interval(LOOK_INTERVAL);
            ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            while stop.run_until_cancelled(ticks.tick()).await.is_some() {
                this.look();
            }
        });
    }

    /// Whether an upstream is polled for a monitor, or for any.
    pub(super) fn is_polled(&self, upstream: &str, monitor: Option<&str>) -> bool {
        self.lock().iter().any(|((of, from), polled)| {
            **from == *upstream && monitor.is_none_or(|name| **of == *name) && polled.mode.is_polling()
        })
    }

    /// Every monitor that has a fall-back.
    pub(super) fn rows(&self) -> Vec<PollRow> {
        let forced = self.switches.polling();
        let row = |((monitor, upstream), polled): (&Subject, &Polled)| PollRow {
            monitor: monitor.to_string(),
            upstream: upstream.to_string(),
            mode: if polled.mode.is_polling() { "polling" } else { "live" }.to_owned(),
            forced: forced.get(&**monitor).copied(),
            since: polled.since.map(|since| since.to_string()),
            why: polled.why.map(str::to_owned),
            polls: polled.polls,
            events: polled.events,
            failures: polled.failures,
            last_error: polled.last_error.clone(),
        };
        self.lock().iter().map(row).collect()
    }

    /// Why what comes does not come over links, in a sentence each.
    pub(super) fn complaints(&self) -> Vec<String> {
        let complaint = |row: PollRow| {
            let error = row.last_error.map_or_else(String::new, |error| format!("; the last poll failed: {error}"));
            let why = row.why.unwrap_or_default();
            format!("monitor `{}` is polled in the place of upstream `{}`: {why}{error}", row.monitor, row.upstream)
        };
        self.rows().into_iter().filter(|row| row.mode == "polling").map(complaint).collect()
    }

    fn look(self: &Arc<Self>) {
        let (settings, forced) = (self.fetching.live.settings(), self.switches.polling());
        let now = Instant::now();
        let mut begun = Vec::new();
        {
            let mut state = self.lock();
            state.retain(|(monitor, upstream), _| {
                settings.monitors.get(&**monitor).is_some_and(|known| known.poll.is_some() && known.watches(upstream))
            });
            for (name, monitor) in &settings.monitors {
                let Some(poll) = &monitor.poll else { continue };
                for upstream in &monitor.upstream {
                    let subject: Subject = (name.as_str().into(), upstream.as_str().into());
                    let polled = state.entry(subject.clone()).or_default();
                    let circuit = self.fetching.circuits.state(CircuitKind::Upstream, upstream);
                    let open = circuit.is_some_and(|circuit| circuit != BreakerState::Closed);
                    let patience = Patience { after: poll.after, back_after: poll.back_after };
                    let forced = forced.get(name).copied().unwrap_or(PollAction::Auto);
                    if let Some(turn) = polled.mode.look(now, open, forced, patience) {
                        self.turned(&subject, polled, turn);
                    }
                    if !polled.mode.is_polling() || polled.busy {
                        continue;
                    }
                    let since = self.seen_to(&subject);
                    for topic in &monitor.topics {
                        let topic = Arc::<str>::from(topic.as_str());
                        polled.topics.entry(topic).or_insert(PolledTopic { due: now, asked_to: since });
                    }
                    polled.topics.retain(|topic, _| monitor.topics.iter().any(|known| **known == **topic));
                    if polled.topics.values().any(|topic| topic.due <= now) {
                        polled.busy = true;
                        begun.push(subject);
                    }
                }
            }
        }
        for subject in begun {
            let this = Arc::clone(self);
            self.works.operations.attend(async move {
                // Also where the task breaks.
                let _done = Done { polling: Arc::clone(&this), subject: subject.clone() };
                this.poll_due(&subject).await;
            });
        }
    }

    /// Up to when nothing of a monitor was missed.
    fn seen_to(&self, (monitor, upstream): &Subject) -> UnixNanos {
        let open = self.ledger.open();
        let of_it = open.iter().filter(|gap| gap.monitor == *monitor && gap.upstream == *upstream);
        of_it.map(|gap| gap.start).min().unwrap_or_else(UnixNanos::now)
    }

    /// Puts a change on record.
    fn turned(&self, (monitor, upstream): &Subject, polled: &mut Polled, turn: Turn) {
        let (mode, why) = match turn {
            Turn::ToPolling { forced: false } => ("polling", "its circuit is open"),
            Turn::ToPolling { forced: true } => ("polling", "an operator says so"),
            Turn::Back { forced: false } => ("live", "its circuit is closed again"),
            Turn::Back { forced: true } => ("live", "an operator says so"),
        };
        let time = UnixNanos::now();
        (polled.since, polled.why) = (Some(time), Some(why));
        polled.topics.clear();
        (polled.known_at, polled.last_error) = (None, None);
        let is_polling = polled.mode.is_polling();
        if is_polling {
            tracing::warn!(%monitor, %upstream, "polled over HTTP from now on: {why}");
        } else {
            tracing::info!(%monitor, %upstream, "polled no longer: {why}");
        }
        PollMetrics::new(monitor, upstream).turned(is_polling);
        let record = PollingRecord { monitor, upstream, mode, why, time: time.to_string() };
        let bench = &self.fetching.bench;
        let block = event_block(&self.identity, POLLING_TOPIC, &record, bench.clock.stamp());
        if bench.journal.try_submit_own(block).is_err() {
            tracing::debug!(%monitor, "the journal has no room to note that; the log has it");
        }
    }

    /// Polls each topic that is due, one after the other.
    async fn poll_due(&self, subject: &Subject) {
        let now = Instant::now();
        let due: Vec<(Arc<str>, PolledTopic)> = {
            let state = self.lock();
            let Some(polled) = state.get(subject) else { return };
            polled
                .topics
                .iter()
                .filter(|(_, topic)| topic.due <= now)
                .map(|(name, topic)| (Arc::clone(name), *topic))
                .collect()
        };
        let metrics = PollMetrics::new(&subject.0, &subject.1);
        for (topic, PolledTopic { asked_to, .. }) in due {
            let place =
                Place { monitor: Arc::clone(&subject.0), upstream: Arc::clone(&subject.1), topic: Arc::clone(&topic) };
            let began = UnixNanos::now();
            let outcome = match self.fetching.poll(&place) {
                Ok(Some((settings, declaration))) => {
                    let outcome = self.poll_one(subject, &place, declaration, asked_to).await;
                    Some((settings, outcome))
                }
                Ok(None) => None,
                Err(reason) => Some((self.settings_of(subject), Err(FillError::Refused(reason)))),
            };
            let mut state = self.lock();
            let Some(polled) = state.get_mut(subject) else { return };
            let Some((settings, outcome)) = outcome else {
                // Nothing is declared for it: not looked at again soon.
                polled.topics.insert(topic, PolledTopic { due: Instant::now() + LOOK_BACK, asked_to });
                continue;
            };
            let mut next = PolledTopic { due: Instant::now() + settings.interval, asked_to };
            match outcome {
                Ok(events) => {
                    polled.polls += 1;
                    polled.events += events;
                    polled.last_error = None;
                    next.asked_to = began;
                    metrics.polled(events);
                }
                Err(FillError::Stopped) => return,
                Err(error) => {
                    polled.failures += 1;
                    tracing::debug!(monitor = %place.monitor, topic = %place.topic, "not polled: {error}");
                    polled.last_error = Some(error.to_string());
                    metrics.failed();
                }
            }
            if polled.mode.is_polling() {
                polled.topics.insert(topic, next);
            }
        }
    }

    fn settings_of(&self, (monitor, _): &Subject) -> PollSettings {
        let settings = self.fetching.live.settings();
        let poll = settings.monitors.get(&**monitor).and_then(|monitor| monitor.poll.clone());
        poll.unwrap_or(PollSettings {
            interval: LOOK_BACK,
            after: Duration::ZERO,
            back_after: Duration::ZERO,
            request: None,
        })
    }

    async fn poll_one(
        &self,
        subject: &Subject,
        place: &Place,
        mut declaration: crate::recovery::backfill::Declaration,
        asked_to: UnixNanos,
    ) -> Result<u64, FillError> {
        let scene = self.fetching.scene(CircuitKind::Poll, &place.upstream, &declaration).map_err(FillError::Later)?;
        let mut taker = self.fetching.taker(place, &declaration, (FetchedBy::Poll, None)).map_err(FillError::Later)?;
        self.keep_known(subject, asked_to).await;
        poll(&scene, asked_to, (&place.monitor, &place.topic), &mut declaration, &mut taker, &Progress::default()).await
    }

    /// What may come again is remembered: read back when polling begins, and again before the window forgets it.
    async fn keep_known(&self, subject: &Subject, asked_to: UnixNanos) {
        let bench = &self.fetching.bench;
        let known_at = self.lock().get(subject).and_then(|polled| polled.known_at);
        if known_at.is_some_and(|at| at.elapsed() < bench.window.ttl() / 3) {
            return;
        }
        let (journal, window) = (Arc::clone(&bench.journal), Arc::clone(&bench.window));
        let monitor = Arc::clone(&subject.0);
        let since = asked_to.min(UnixNanos::now().saturating_sub(LOOK_BACK));
        let read = tokio::task::spawn_blocking(move || Known::remember(&journal, &window, &monitor, since, None));
        match read.await {
            Ok(Ok(known)) => {
                if let Some(polled) = self.lock().get_mut(subject) {
                    polled.known_at = Some(known.at);
                }
            }
            Ok(Err(error)) => tracing::warn!("ids cannot be read back, so that events may come twice: {error}"),
            // The process is ending.
            Err(_) => {}
        }
    }
}

/// Polls of a subject are no longer under way.
struct Done {
    polling: Arc<Polling>,
    subject: Subject,
}

impl Drop for Done {
    fn drop(&mut self) {
        if let Some(polled) = self.polling.lock().get_mut(&self.subject) {
            polled.busy = false;
        }
    }
}
