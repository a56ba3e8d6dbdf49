//! Monitors on their way from one path to the other: how far they are, and what is the next step.
//!
//! | place     | what is waited for                                                        | then                    |
//! |-----------|---------------------------------------------------------------------------|-------------------------|
//! | `Both`    | each topic in force on the new path, or asked for long enough             | the old path drains     |
//! | `Both`    | of each topic, that the old path has brought all that the new one has not | it goes from the old one |
//! | `Between` | the old path has let go, and handed over what it had                      | the new one takes it    |

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

use super::{State, Upstreams, Wanted};
use crate::clock::UnixNanos;
use crate::config::MonitorSettings;
use crate::daemon::assembly::dedupe_ttl;
use crate::daemon::own_events::event_block;
use crate::daemon::units::{Place, UnitKey};
use crate::journal::{MonitorIdentity, Path};
use crate::monitor::crossing::Crossing;
use crate::monitor::meeting::Proof;
use crate::rollout::figures::CrossingRow;
use crate::upstream::TopicState;

/// How often monitors on their way are looked at.
const LOOK: Duration = Duration::from_millis(100);

/// How long the old path is waited for to bring what the new one has brought, where nothing says that it has not. Source: a guess,
/// as for links of a pool.
const PROOF_WAIT: Duration = Duration::from_secs(2);

/// How long where something says so: it is behind, and reads as fast as it can.
const BEHIND_MAX: Duration = Duration::from_secs(30);

/// The topic in the journal of monitors that changed paths, under the domain `_sluice`.
const SWITCHED_TOPIC: &str = "switched";

/// A monitor on its way.
#[derive(Debug, Clone)]
pub(super) struct Journey {
    began: (Instant, UnixNanos),
    /// When the new path had it in force.
    up: Option<(Instant, UnixNanos)>,
    waits_for: String,
}

/// A monitor that has changed paths, as the journal holds it: the point from which on the new path alone brings its events.
#[derive(Debug, Serialize)]
struct SwitchedRecord<'a> {
    monitor: &'a str,
    from: Path,
    to: Path,
    /// `overlap`: both paths took it for a time. `gap`: none did, and the span is a gap.
    handover: &'static str,
    began: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    up: Option<String>,
    switched: String,
    /// Events at and above it came by the new path, but for those that the old one had handed over and that were not durable yet.
    offset: u64,
    seconds: f64,
    /// Topics of which the old path may not have brought everything: each has a gap of cause `handover`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    unproven: Vec<String>,
}

/// What a look at a monitor on its way came to.
enum Step {
    /// Nothing yet; what is waited for.
    Wait(String),
    /// It is where it was wanted; topics of which that may have cost something.
    Arrived { unproven: Vec<String> },
}

impl Upstreams {
    /// Looks at monitors on their way until all is stopped.
    pub(super) async fn keep_crossings(self: Arc<Self>) {
        let stop = self.stop.clone();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(LOOK) => {}
            }
            if !self.is_anything_on_its_way() {
                continue;
            }
            let upstreams = Arc::clone(&self);
            // Making rosters takes its time where there are many monitors.
            if let Err(error) = tokio::task::spawn_blocking(move || upstreams.look_at_crossings()).await
                && error.is_panic()
            {
                std::panic::resume_unwind(error.into_panic());
            }
        }
    }

    fn is_anything_on_its_way(&self) -> bool {
        let state = self.lock();
        !state.settling.is_empty() || state.places.values().any(|place| !matches!(place, Place::On(_)))
    }

    /// Monitors that are on their way now.
    pub(in crate::daemon) fn crossings(&self) -> Vec<CrossingRow> {
        let state = self.lock();
        let row = |(name, place): (&String, &Place)| {
            let (from, to, overlap) = match place {
                Place::On(_) => return None,
                Place::Both(crossing) => (crossing.from, crossing.to, true),
                Place::Between { from, to } => (*from, *to, false),
            };
            let journey = state.journeys.get(name);
            let since = journey.map_or_else(|| self.wiring.clock.last(), |journey| journey.began.1);
            let waits_for = journey.map(|journey| journey.waits_for.clone()).unwrap_or_default();
            Some(CrossingRow { monitor: name.clone(), from, to, since: since.to_string(), overlap, waits_for })
        };
        state.places.iter().filter_map(row).collect()
    }

    fn look_at_crossings(&self) {
        let mut state = self.lock();
        let Some(wanted) = state.wanted.clone() else { return };
        let now = (Instant::now(), self.wiring.clock.stamp());
        settle(&mut state, &wanted, now.0);
        let mut journeys = std::mem::take(&mut state.journeys);
        let mut arrived: BTreeMap<String, (Place, Vec<String>)> = BTreeMap::new();
        journeys.retain(|name, _| matches!(state.places.get(name), Some(Place::Both(_) | Place::Between { .. })));
        for (name, place) in &state.places {
            let Some(monitor) = wanted.settings.monitors.get(name) else { continue };
            let fresh = || Journey { began: now, up: None, waits_for: String::new() };
            let step = match place {
                Place::On(_) => continue,
                Place::Both(crossing) => {
                    let journey = journeys.entry(name.clone()).or_insert_with(fresh);
                    self.look_at_both(name, monitor, crossing, journey, now)
                }
                Place::Between { from, .. } => {
                    journeys.entry(name.clone()).or_insert_with(fresh);
                    self.look_at_between(&state, name, monitor, *from)
                }
            };
            match step {
                Step::Wait(waits_for) => {
                    if let Some(journey) = journeys.get_mut(name) {
                        journey.waits_for = waits_for;
                    }
                }
                Step::Arrived { unproven } => drop(arrived.insert(name.clone(), (place.clone(), unproven))),
            }
        }
        if !arrived.is_empty() {
            self.arrive(&mut state, &wanted, &arrived, &journeys, now);
            journeys.retain(|name, _| !arrived.contains_key(name));
        }
        state.journeys = journeys;
    }

    fn look_at_both(
        &self,
        name: &str,
        monitor: &MonitorSettings,
        crossing: &Crossing,
        journey: &mut Journey,
        now: (Instant, UnixNanos),
    ) -> Step {
        let Crossing { upstream, from, to, .. } = crossing;
        let Some((_, up)) = journey.up.map(|(at, stamp)| (stamp, at)) else {
            let missing = monitor.topics.iter().find_map(|topic| {
                let reason = self.is_not_up(upstream, name, topic, *to)?;
                // Where neither path can have it, none is to be waited for.
                (self.wiring.ledger.is_in_force((upstream, *from), name, topic)).then_some((topic, reason))
            });
            if let Some((topic, reason)) = missing {
                return Step::Wait(format!("`{topic}` on the {} path: {reason}", to.as_str()));
            }
            if monitor.topics.iter().all(|topic| self.is_not_up(upstream, name, topic, *to).is_some()) {
                // Nothing is in force on either path: the old one was lost, and whichever comes first counts.
                return Step::Wait(format!("any topic on the {} path", to.as_str()));
            }
            crossing.drain();
            journey.up = Some(now);
            return Step::Wait(format!("what the {} path has under way", from.as_str()));
        };
        let waited = now.0 - up;
        let mut unproven = Vec::new();
        for topic in &monitor.topics {
            if !self.wiring.ledger.is_in_force((upstream, *from), name, topic) {
                // Lost there, and on record so.
                continue;
            }
            match crossing.proof(topic) {
                Proof::Whole => {}
                Proof::Once | Proof::Quiet if waited >= PROOF_WAIT => {}
                Proof::Behind if waited >= BEHIND_MAX => unproven.push(topic.clone()),
                _ => return Step::Wait(format!("what the {} path has under way of `{topic}`", from.as_str())),
            }
        }
        Step::Arrived { unproven }
    }

    /// Why a topic is not in force on a path; none where it is, or was asked for long enough.
    fn is_not_up(&self, upstream: &str, name: &str, topic: &str, path: Path) -> Option<String> {
        if self.wiring.ledger.is_in_force((upstream, path), name, topic) {
            return None;
        }
        let key = match path {
            Path::Smart => UnitKey::pool(upstream),
            Path::Legacy => UnitKey::dedicated(upstream, name),
        };
        let Some(control) = self.list.unit(&key) else { return Some("no connection yet".into()) };
        let topics = control.status().topics();
        let id = control.roster().topic_named(topic);
        match id.and_then(|id| topics.get(id.0 as usize)) {
            Some(TopicState::Unconfirmed) => None,
            Some(TopicState::Refused(reason)) => Some(format!("refused: {reason}")),
            Some(state) => {
                let links = control.status().links();
                let error = links.iter().find_map(|link| link.last_error.as_deref().filter(|_| link.opened.is_none()));
                Some(error.map_or_else(|| state.name().to_owned(), |error| format!("{}: {error}", state.name())))
            }
            None => Some("not asked for yet".into()),
        }
    }

    fn look_at_between(&self, state: &State, name: &str, monitor: &MonitorSettings, from: Path) -> Step {
        let upstreams = &monitor.upstream;
        let leaving = upstreams.iter().find(|upstream| {
            monitor.topics.iter().any(|topic| self.wiring.ledger.is_in_force((upstream, from), name, topic))
        });
        let ending = upstreams.iter().find(|upstream| {
            from == Path::Legacy
                && state.leaving.get(&UnitKey::dedicated(upstream, name)).is_some_and(|ended| !ended.is_cancelled())
        });
        match leaving.or(ending) {
            Some(upstream) => Step::Wait(format!("the {} path to let go of `{upstream}`", from.as_str())),
            None => Step::Arrived { unproven: Vec::new() },
        }
    }

    /// Monitors have arrived: they go from the old path, and that is put on record.
    fn arrive(
        &self,
        state: &mut State,
        wanted: &Wanted,
        arrived: &BTreeMap<String, (Place, Vec<String>)>,
        journeys: &BTreeMap<String, Journey>,
        now: (Instant, UnixNanos),
    ) {
        let mut places = state.places.clone();
        let (ledger, ttl) = (&self.wiring.ledger, dedupe_ttl(&wanted.settings));
        for (name, (place, unproven)) in arrived {
            let to = match place {
                Place::On(_) => continue,
                Place::Between { to, .. } => *to,
                Place::Both(crossing) => {
                    let lane = (&*crossing.upstream, crossing.from);
                    let (monitor, topics): (Arc<str>, Vec<Arc<str>>) =
                        (name.as_str().into(), unproven.iter().map(|topic| topic.as_str().into()).collect());
                    ledger.later(ledger.unproven(lane, &monitor, &topics, crossing.began));
                    ledger.handed_over(lane, name);
                    state.settling.insert(name.clone(), now.0 + ttl);
                    crossing.to
                }
            };
            places.insert(name.clone(), Place::On(to));
        }
        // What was assembled a moment ago with one more place for the same monitors can be assembled.
        if let Err(error) = self.run(state, wanted, places) {
            tracing::error!("monitors stay on both paths: {error}");
            return;
        }
        for (name, (place, unproven)) in arrived {
            let (from, to, handover) = match place {
                Place::On(_) => continue,
                Place::Both(crossing) => (crossing.from, crossing.to, "overlap"),
                Place::Between { from, to } => (*from, *to, "gap"),
            };
            let Some(journey) = journeys.get(name) else { continue };
            let record = SwitchedRecord {
                monitor: name,
                from,
                to,
                handover,
                began: journey.began.1.to_string(),
                up: journey.up.map(|(_, stamp)| stamp.to_string()),
                switched: now.1.to_string(),
                offset: self.wiring.journal.durable().0,
                seconds: (now.0 - journey.began.0).as_secs_f64(),
                unproven: unproven.clone(),
            };
            self.tell_switched(&record);
        }
    }

    fn tell_switched(&self, record: &SwitchedRecord<'_>) {
        let SwitchedRecord { monitor, from, to, handover, offset, seconds, .. } = record;
        tracing::info!(monitor, from = from.as_str(), to = to.as_str(), handover, offset, seconds, "changed paths");
        let identity: &Arc<MonitorIdentity> = &self.switched;
        let block = event_block(identity, SWITCHED_TOPIC, record, self.wiring.clock.stamp());
        if self.wiring.journal.try_submit_own(block).is_err() {
            tracing::error!(monitor, "the change of its path is not on record: the journal takes nothing");
        }
    }
}

/// What the smart path brought of monitors that it let go may come over the legacy path as long as it is remembered.
fn settle(state: &mut State, wanted: &Wanted, now: Instant) {
    let due: Vec<String> =
        state.settling.iter().filter(|(_, until)| **until <= now).map(|(name, _)| name.clone()).collect();
    for name in due {
        state.settling.remove(&name);
        if matches!(state.places.get(&name), Some(Place::Both(_))) {
            continue;
        }
        if let Some(monitor) = wanted.settings.monitors.get(&name) {
            let always = wanted.settings.smart_streaming.legacy_dedupe;
            state.identities.drop_repeats(&name, &monitor.domain, always);
        }
    }
}
