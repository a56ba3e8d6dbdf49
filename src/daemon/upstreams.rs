//! The upstreams at work: started, changed and stopped as settings say, each without touching the others.

mod crossings;
mod reading_on;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::crossings::Journey;
pub(super) use self::reading_on::FirstEvent;
use super::assembly::{Assembled, AssemblyError, AssemblyParts, Before, assemble};
use super::figures::UpstreamFigures;
use super::units::{Place, Places, UnitKey, dedicated, wanted_topics};
use super::watched::{Watched, WatchedList};
use crate::breaker::CircuitKind;
use crate::clock::UnixNanos;
use crate::config::{EventRuleSettings, MonitorSettings, PoolSettings, Settings, UpstreamSettings};
use crate::dialect::{Limits, registry};
use crate::journal::{MonitorIdentity, OWN_DOMAIN, PATHS_MONITOR, Path};
use crate::monitor::crossing::Crossing;
use crate::monitor::event_id::IdHasher;
use crate::monitor::roster::{Identities, Pause, Roster, RosterParts, upstream_account};
use crate::monitor::totals::TotalsNow;
use crate::rollout::Paths;
use crate::rollout::figures::PathFigures;
use crate::upstream::{Upstream, UpstreamControl, UpstreamError, Wiring, unit_name};

/// Faults that wait to be heard; the first one ends the daemon.
const FAULTS_MAX: usize = 4;

/// Why settings cannot be applied. Nothing has changed then.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// Settings.
    #[error(transparent)]
    Assembly(#[from] AssemblyError),
    /// An upstream.
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
}

/// What came of settings, by upstream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Applied {
    /// Upstreams that are new.
    pub started: Vec<String>,
    /// Upstreams whose links were closed, and opened anew with other settings.
    pub restarted: Vec<String>,
    /// Upstreams that nobody watches any more.
    pub stopped: Vec<String>,
    /// Upstreams whose monitors or topics are others now; their links stayed open.
    pub adopted: Vec<String>,
}

/// What a unit's links depend on; where it changes they are opened anew.
#[derive(Debug, Clone, PartialEq)]
struct Ground {
    upstream: UpstreamSettings,
    pool: PoolSettings,
    dialect: Option<toml::Table>,
}

impl Ground {
    /// Of a unit, whose dialect has these limits.
    fn of(key: &UnitKey, settings: &Settings, limits: Limits) -> Option<Self> {
        let upstream = settings.upstreams.get(&key.upstream)?;
        let upstream = match &key.of {
            None => upstream.clone(),
            Some(monitor) => dedicated(upstream, limits, settings.monitors.get(monitor)?.topics.len()),
        };
        let pool = settings.pool.overridden_by(&upstream.pool);
        let dialect = registry::declaration(&upstream.dialect, &settings.dialects).ok();
        Some(Self { upstream, pool, dialect })
    }
}

/// What became of units, by upstream.
#[derive(Default)]
struct Changed {
    started: BTreeSet<String>,
    restarted: BTreeSet<String>,
    stopped: BTreeSet<String>,
    adopted: BTreeSet<String>,
}

impl Changed {
    /// Of an upstream that goes on, units that come and go are another distribution of its monitors.
    fn tell(self, applied: &mut Applied, runs: impl Fn(&str) -> bool) {
        let Self { started, restarted, stopped, mut adopted } = self;
        let (shifted, stopped): (BTreeSet<String>, BTreeSet<String>) = stopped.into_iter().partition(|name| runs(name));
        let (begun, started): (BTreeSet<String>, BTreeSet<String>) =
            started.into_iter().partition(|name| shifted.contains(name) || adopted.contains(name));
        adopted.extend(shifted);
        adopted.extend(begun);
        adopted.retain(|name| !restarted.contains(name));
        *applied = Applied {
            started: started.into_iter().collect(),
            restarted: restarted.into_iter().collect(),
            stopped: stopped.into_iter().collect(),
            adopted: adopted.into_iter().collect(),
        };
    }
}

struct Running {
    ground: Ground,
    stop: CancellationToken,
    /// Given when its links have ended, and told the ledger.
    ended: CancellationToken,
}

/// An upstream that is to connect.
struct Beginning {
    upstream: Upstream,
    stop: CancellationToken,
    ended: CancellationToken,
    /// The one whose place it takes: what that one gives up last must not come behind what this one has in force.
    behind: Option<CancellationToken>,
}

struct State {
    identities: Identities,
    running: BTreeMap<UnitKey, Running>,
    /// What was asked for last, by which crossings go on.
    wanted: Option<Wanted>,
    places: Places,
    /// How far those are that change paths.
    journeys: BTreeMap<String, Journey>,
    /// Units that were told to stop, and when they have.
    leaving: BTreeMap<UnitKey, CancellationToken>,
    /// Until when the legacy path drops what the smart one, which it was taken from, may have brought before.
    settling: BTreeMap<String, Instant>,
    /// Those that are ready and wait for the rest of the daemon; none once it is there.
    held: Option<Vec<Beginning>>,
}

/// What upstreams were asked to be.
#[derive(Clone)]
struct Wanted {
    settings: Arc<Settings>,
    pauses: BTreeMap<String, Pause>,
    paths: Paths,
}

/// All upstreams at work.
pub(super) struct Upstreams {
    list: Arc<WatchedList>,
    wiring: Wiring,
    hasher: IdHasher,
    state: Mutex<State>,
    handle: Handle,
    tasks: TaskTracker,
    stop: CancellationToken,
    faults: mpsc::Sender<String>,
    /// Under which it is journaled that a monitor has changed paths.
    switched: Arc<MonitorIdentity>,
}

impl Upstreams {
    /// None yet, and none that connects before [`Upstreams::begin`]. Their tasks run on `handle`; what breaks there is told to `faults`.
    pub(super) fn new(wiring: Wiring, hasher: IdHasher, mut identities: Identities, handle: Handle) -> (Self, Faults) {
        let (faults, heard) = mpsc::channel(FAULTS_MAX);
        let switched = identities.of(PATHS_MONITOR, OWN_DOMAIN);
        let upstreams = Self {
            list: Arc::default(),
            wiring,
            hasher,
            state: Mutex::new(State {
                identities,
                running: BTreeMap::new(),
                wanted: None,
                places: Places::new(),
                journeys: BTreeMap::new(),
                leaving: BTreeMap::new(),
                settling: BTreeMap::new(),
                held: Some(Vec::new()),
            }),
            handle,
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
            faults,
            switched,
        };
        (upstreams, Faults(heard))
    }

    /// What is watched, now and later.
    pub(super) fn list(&self) -> Arc<WatchedList> {
        Arc::clone(&self.list)
    }

    /// Makes what runs into what settings say, each monitor on its path. Links of units that stay as they are stay open; a monitor
    /// that changes paths is on its way when this returns.
    ///
    /// # Errors
    /// When settings cannot be used; nothing has changed then.
    pub(super) fn apply(
        &self,
        settings: &Settings,
        pauses: &BTreeMap<String, Pause>,
        paths: &Paths,
    ) -> Result<Applied, ApplyError> {
        let mut state = self.lock();
        let wanted = Wanted { settings: Arc::new(settings.clone()), pauses: pauses.clone(), paths: paths.clone() };
        let places = self.next_places(&state, &wanted);
        let applied = self.run(&mut state, &wanted, places)?;
        state.wanted = Some(wanted);
        Ok(applied)
    }

    /// Connections that were lost, or could not be had, by upstream, since the start.
    pub(super) fn connection_failures(&self, settings: &Settings) -> Vec<(String, u64)> {
        let of = |upstream: &String| {
            let paths = [Path::Smart, Path::Legacy].map(|path| self.wiring.counts.of(upstream, path).failures());
            (upstream.clone(), paths.iter().sum())
        };
        settings.upstreams.keys().map(of).collect()
    }

    /// What each path of each upstream did since the start.
    pub(super) fn path_figures(&self, settings: &Settings) -> Vec<PathFigures> {
        let units = self.list.now();
        let state = self.lock();
        let mut figures = Vec::new();
        for upstream in settings.upstreams.keys() {
            let watching = || settings.monitors.iter().filter(|(_, monitor)| monitor.watches(upstream));
            for path in [Path::Smart, Path::Legacy] {
                let units = units.iter().filter(|unit| unit.roster.upstream == *upstream && unit.roster.path == path);
                let units: Vec<UpstreamFigures> = units.map(Watched::figures).collect();
                let at = |name: &String| state.places.get(name).map_or(Path::Smart, Place::counts);
                let totals = watching().map(|(name, monitor)| (name.clone(), monitor.domain.clone()));
                let totals = totals.chain([(upstream_account(upstream), OWN_DOMAIN.to_owned())]);
                let totals = totals.map(|(name, domain)| state.identities.path_totals(&name, &domain, path));
                let totals = totals.fold(TotalsNow::default(), TotalsNow::plus);
                let counts = self.wiring.counts.of(upstream, path);
                figures.push(PathFigures {
                    upstream: upstream.clone(),
                    path,
                    monitors: watching().filter(|(name, _)| at(name) == path).count(),
                    links: units.iter().map(|unit| unit.links).sum(),
                    open: units.iter().map(|unit| unit.open).sum(),
                    messages: totals.messages,
                    events: totals.events,
                    quarantined: totals.quarantined,
                    repeats: totals.repeats,
                    control: totals.control,
                    connection_failures: counts.failures(),
                    refused: counts.refusals(),
                });
            }
        }
        figures
    }

    /// Whether units that were told to stop have links still.
    pub(super) fn is_ending(&self) -> bool {
        self.lock().leaving.values().any(|ended| !ended.is_cancelled())
    }

    /// Whether all that was taken in until now is durable, and nothing of the ledger waits for the journal.
    pub(super) fn is_durable(&self) -> bool {
        let Wiring { window, ledger, journal, .. } = &self.wiring;
        window.progress().all().is_durable() && !ledger.has_outbox() && journal.queued().0 == 0
    }

    /// Where monitors are now.
    pub(super) fn places(&self) -> Places {
        self.lock().places.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where monitors are from now on, on their way to where they are wanted.
    fn next_places(&self, state: &State, Wanted { settings, pauses, paths }: &Wanted) -> Places {
        let at = self.wiring.clock.stamp();
        let next = |(name, monitor): (&String, &MonitorSettings)| {
            let to = paths.of(name).path;
            let place = match state.places.get(name) {
                Some(Place::On(from)) if *from != to && !pauses.contains_key(name) => {
                    self.set_out(monitor, name, *from, at)
                }
                Some(Place::Both(crossing)) if crossing.to == to => Place::Both(Arc::clone(crossing)),
                Some(Place::Between { from, to: before }) if *before == to => Place::Between { from: *from, to },
                // New, where it is wanted, or on its way back from where it was never alone.
                _ => Place::On(to),
            };
            (name.clone(), place)
        };
        settings.monitors.iter().map(next).collect()
    }

    /// The first step of a monitor to the other path.
    fn set_out(&self, monitor: &MonitorSettings, name: &str, from: Path, at: UnixNanos) -> Place {
        let to = from.other();
        let Some(upstream) = monitor.upstream.first() else { return Place::On(to) };
        let Some(control) = self.list.control_of(upstream, name) else { return Place::On(to) };
        let roster = control.roster();
        let known = roster.monitors.iter().find(|known| !known.shadow && *known.identity.name == *name);
        let with_ids = control.status().topics_with_ids();
        let told_apart = |topic: &String| {
            let topic = roster.topic_named(topic);
            topic.is_some_and(|topic| with_ids.get(topic.0 as usize) == Some(&true))
        };
        if known.is_some_and(|known| known.overlaps) || monitor.topics.iter().all(told_apart) {
            Place::Both(Arc::new(Crossing::new(upstream, from, at)))
        } else {
            Place::Between { from, to }
        }
    }

    /// Makes what runs into what is wanted, with monitors where `places` has them.
    fn run(&self, state: &mut State, wanted: &Wanted, places: Places) -> Result<Applied, ApplyError> {
        let Wanted { settings, pauses, paths } = wanted;
        let State { identities, running, held, leaving, settling, .. } = &mut *state;
        leaving.retain(|_, ended| !ended.is_cancelled());
        let stays = |key: &UnitKey| {
            let (known, control) = (running.get(key)?, self.list.unit(key)?);
            let ground = Ground::of(key, settings, control.dialect().limits());
            (Some(&known.ground) == ground.as_ref()).then_some(control)
        };
        // At the start what was opened beside another process keeps the numbers of its topics.
        let prepared = self.wiring.prepared.as_ref().filter(|_| held.is_some());
        if let Some(prepared) = prepared {
            prepared.retain(|made| {
                let key = UnitKey { upstream: made.roster.upstream.clone(), of: made.of.clone() };
                let ground = Ground::of(&key, settings, made.dialect.limits());
                ground.is_some_and(|ground| ground.upstream == *made.settings && ground.pool == *made.pool)
            });
        }
        let before = |key: &UnitKey| {
            let running = stays(key).map(|control| (control.dialect(), control.roster()));
            let made = running.or_else(|| prepared?.made_with(&unit_name(&key.upstream, key.of.as_deref())));
            made.map(|(dialect, roster)| Before { dialect, roster })
        };
        let parts = AssemblyParts { pauses, places: &places, paths, hasher: &self.hasher, before: &before };
        let assembled = assemble(settings, &parts, identities)?;
        let mut applied = Applied::default();
        let mut fresh = Vec::new();
        let mut kept: Vec<(UpstreamControl, Assembled)> = Vec::new();
        let keys: BTreeSet<UnitKey> = assembled.keys().cloned().collect();
        for (key, assembled) in assembled {
            if let Some(control) = stays(&key) {
                kept.push((control, assembled));
                continue;
            }
            let Assembled { dialect, roster } = assembled;
            // Assembled from the settings' own upstreams.
            let Some(ground) = Ground::of(&key, settings, dialect.limits()) else { continue };
            let upstream = Upstream::new(&ground.upstream, &settings.pool, dialect, roster, self.wiring.clone())?;
            fresh.push((key, ground, upstream));
        }
        // From here on nothing can fail.
        for (name, monitor) in &settings.monitors {
            let both = matches!(places.get(name), Some(Place::Both(_))) || settling.contains_key(name);
            identities.drop_repeats(name, &monitor.domain, both || settings.smart_streaming.legacy_dedupe);
        }
        if held.is_none() {
            // At the start the ledger is not settled yet.
            let ledger = &self.wiring.ledger;
            let at = self.wiring.clock.stamp();
            let wanted = || wanted_topics(settings, &places);
            ledger.later(ledger.moved(wanted(), settings.upstreams.keys().map(String::as_str), at));
            ledger.later(ledger.unwatch(wanted(), at));
        }
        let mut changed = Changed::default();
        running.retain(|key, known| {
            let goes = !keys.contains(key);
            if goes {
                known.stop.cancel();
                leaving.insert(key.clone(), known.ended.clone());
                self.list.remove(key);
                changed.stopped.insert(key.upstream.clone());
            }
            !goes
        });
        for (control, Assembled { roster, .. }) in kept {
            if !roster.is_as(&control.roster()) {
                changed.adopted.insert(roster.upstream.clone());
                control.adopt(roster);
            }
        }
        for (key, ground, upstream) in fresh {
            let stop = self.stop.child_token();
            let ended = CancellationToken::new();
            let known = running.insert(key.clone(), Running { ground, stop: stop.clone(), ended: ended.clone() });
            let restarts = known.is_some();
            let behind = known.map(|known| {
                known.stop.cancel();
                known.ended
            });
            // One that was told to go and is wanted again before it has.
            let behind = behind.or_else(|| leaving.get(&key).cloned());
            let list = if restarts { &mut changed.restarted } else { &mut changed.started };
            list.insert(key.upstream.clone());
            self.list.insert(key, upstream.control());
            let beginning = Beginning { upstream, stop, ended, behind };
            match held {
                Some(held) => held.push(beginning),
                None => self.spawn(beginning),
            }
        }
        for name in changed.stopped.iter().filter(|name| !settings.upstreams.contains_key(*name)) {
            for kind in [CircuitKind::Upstream, CircuitKind::Token, CircuitKind::Backfill, CircuitKind::Poll] {
                self.wiring.circuits.remove(kind, name);
            }
        }
        state.places = places;
        changed.tell(&mut applied, |name| state.running.keys().any(|key| key.upstream == name));
        Ok(applied)
    }

    /// A roster of one monitor of an upstream, by whose rules its messages are read; with `event` in the place of its own rules.
    ///
    /// # Errors
    /// When there is none, or the rules cannot be used; in words.
    pub(super) fn reading_roster(
        &self,
        settings: &Settings,
        (upstream, monitor): (&str, &str),
        event: &[EventRuleSettings],
    ) -> Result<Arc<Roster>, String> {
        let control = self.list.control_of(upstream, monitor).or_else(|| self.list.control(upstream));
        let control = control.ok_or_else(|| format!("no monitor watches upstream `{upstream}`"))?;
        if event.is_empty() {
            return Ok(control.roster());
        }
        let mut watched = settings
            .monitors
            .get(monitor)
            .cloned()
            .ok_or_else(|| format!("there is no monitor `{monitor}` any more"))?;
        watched.event = event.to_vec();
        let (monitors, dialect) = (BTreeMap::from([(monitor.to_owned(), watched)]), control.dialect());
        let parts = RosterParts {
            path: control.roster().path,
            default_rules: dialect.default_event_rules(),
            ..RosterParts::new(upstream, &monitors, &settings.quarantine, &self.hasher)
        };
        let mut state = self.lock();
        Roster::new(&parts, &mut state.identities).map(Arc::new).map_err(|error| error.to_string())
    }

    /// Lets those connect that are ready, and later ones as soon as they are.
    pub(super) fn begin(self: &Arc<Self>) {
        self.tasks.spawn_on(Arc::clone(self).keep_crossings(), &self.handle);
        let held = self.lock().held.take();
        for beginning in held.into_iter().flatten() {
            self.spawn(beginning);
        }
    }

    fn spawn(&self, Beginning { upstream, stop, ended, behind }: Beginning) {
        let faults = self.faults.clone();
        let stopping = stop.clone();
        let work = self.handle.spawn(async move {
            if let Some(before) = behind {
                before.cancelled().await;
            }
            // Given also where the task breaks.
            let _ended = ended.drop_guard();
            upstream.run(stopping).await;
        });
        self.tasks.spawn_on(
            async move {
                let fault = match work.await {
                    Err(error) if error.is_panic() => error.to_string(),
                    Ok(()) if !stop.is_cancelled() => "it ended without being told to".into(),
                    _ => return,
                };
                // Where there is no room, others have been told already.
                faults.try_send(fault).ok();
            },
            &self.handle,
        );
    }

    /// Stops all; what was read before is in the journal's hands when this returns.
    pub(super) async fn stop(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// Tells when a task of an upstream broke.
pub(super) struct Faults(mpsc::Receiver<String>);

impl Faults {
    /// Ends when one has. Cancel safe.
    pub(super) async fn next(&mut self) -> String {
        match self.0.recv().await {
            Some(fault) => fault,
            None => std::future::pending().await,
        }
    }
}
