//! The upstreams at work: started, changed and stopped as settings say, each without touching the others.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::assembly::{Assembled, AssemblyError, Before, assemble};
use super::watched::WatchedList;
use crate::breaker::CircuitKind;
use crate::config::{EventRuleSettings, MonitorSettings, PoolSettings, Settings, UpstreamSettings};
use crate::dialect::registry;
use crate::monitor::event_id::IdHasher;
use crate::monitor::roster::{Identities, Pause, Roster, RosterParts};
use crate::upstream::{Upstream, UpstreamControl, UpstreamError, Wiring};

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

/// What an upstream's links depend on; where it changes they are opened anew.
#[derive(Debug, Clone, PartialEq)]
struct Ground {
    upstream: UpstreamSettings,
    pool: PoolSettings,
    dialect: Option<toml::Table>,
}

impl Ground {
    fn of(name: &str, settings: &Settings) -> Option<Self> {
        let upstream = settings.upstreams.get(name)?.clone();
        let pool = settings.pool.overridden_by(&upstream.pool);
        let dialect = registry::declaration(&upstream.dialect, &settings.dialects).ok();
        Some(Self { upstream, pool, dialect })
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
    running: BTreeMap<String, Running>,
    /// Those that are ready and wait for the rest of the daemon; none once it is there.
    held: Option<Vec<Beginning>>,
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
}

impl Upstreams {
    /// None yet, and none that connects before [`Upstreams::begin`]. Their tasks run on `handle`; what breaks there is told to `faults`.
    pub(super) fn new(wiring: Wiring, hasher: IdHasher, identities: Identities, handle: Handle) -> (Self, Faults) {
        let (faults, heard) = mpsc::channel(FAULTS_MAX);
        let upstreams = Self {
            list: Arc::default(),
            wiring,
            hasher,
            state: Mutex::new(State { identities, running: BTreeMap::new(), held: Some(Vec::new()) }),
            handle,
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
            faults,
        };
        (upstreams, Faults(heard))
    }

    /// What is watched, now and later.
    pub(super) fn list(&self) -> Arc<WatchedList> {
        Arc::clone(&self.list)
    }

    /// Makes what runs into what settings say. Links of upstreams that stay as they are stay open.
    ///
    /// # Errors
    /// When settings cannot be used; nothing has changed then.
    pub(super) fn apply(&self, settings: &Settings, pauses: &BTreeMap<String, Pause>) -> Result<Applied, ApplyError> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let State { identities, running, held } = &mut *state;
        let stays = |name: &str| {
            let known = running.get(name)?;
            (Some(&known.ground) == Ground::of(name, settings).as_ref()).then(|| self.list.control(name))?
        };
        // At the start what was opened beside another process keeps the numbers of its topics.
        let prepared = self.wiring.prepared.as_ref().filter(|_| held.is_some());
        let before = |name: &str| {
            let running = stays(name).map(|control| (control.dialect(), control.roster()));
            let made = running.or_else(|| prepared?.made_with(name));
            made.map(|(dialect, roster)| Before { dialect, roster })
        };
        let assembled = assemble(settings, pauses, &self.hasher, identities, &before)?;
        let mut applied = Applied::default();
        let mut fresh = Vec::new();
        let mut kept: Vec<(UpstreamControl, Assembled)> = Vec::new();
        let names: BTreeSet<String> = assembled.keys().cloned().collect();
        for (name, assembled) in assembled {
            if let Some(control) = stays(&name) {
                kept.push((control, assembled));
                continue;
            }
            // Assembled from the settings' own upstreams.
            let (Some(upstream), Some(ground)) = (settings.upstreams.get(&name), Ground::of(&name, settings)) else {
                continue;
            };
            let Assembled { dialect, roster } = assembled;
            fresh.push((ground, Upstream::new(upstream, &settings.pool, dialect, roster, self.wiring.clone())?));
        }
        // From here on nothing can fail.
        if held.is_none() {
            // At the start the ledger is not settled yet.
            let ledger = &self.wiring.ledger;
            let at = self.wiring.clock.stamp();
            ledger.later(ledger.moved(wanted_topics(settings), settings.upstreams.keys().map(String::as_str), at));
            ledger.later(ledger.unwatch(wanted_topics(settings), at));
        }
        running.retain(|name, known| {
            let goes = !names.contains(name);
            if goes {
                known.stop.cancel();
                self.list.remove(name);
                if !settings.upstreams.contains_key(name) {
                    for kind in [CircuitKind::Upstream, CircuitKind::Token, CircuitKind::Backfill, CircuitKind::Poll] {
                        self.wiring.circuits.remove(kind, name);
                    }
                }
                applied.stopped.push(name.clone());
            }
            !goes
        });
        for (control, Assembled { roster, .. }) in kept {
            if !roster.is_as(&control.roster()) {
                applied.adopted.push(roster.upstream.clone());
                control.adopt(roster);
            }
        }
        for (ground, upstream) in fresh {
            let name = upstream.control().roster().upstream.clone();
            let stop = self.stop.child_token();
            let ended = CancellationToken::new();
            let known = running.insert(name.clone(), Running { ground, stop: stop.clone(), ended: ended.clone() });
            let behind = known.map(|known| {
                known.stop.cancel();
                known.ended
            });
            let list = if behind.is_some() { &mut applied.restarted } else { &mut applied.started };
            list.push(name);
            self.list.insert(upstream.control());
            let beginning = Beginning { upstream, stop, ended, behind };
            match held {
                Some(held) => held.push(beginning),
                None => self.spawn(beginning),
            }
        }
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
        let control = self.list.control(upstream).ok_or_else(|| format!("no monitor watches upstream `{upstream}`"))?;
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
            default_rules: dialect.default_event_rules(),
            ..RosterParts::new(upstream, &monitors, &settings.quarantine, &self.hasher)
        };
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        Roster::new(&parts, &mut state.identities).map(Arc::new).map_err(|error| error.to_string())
    }

    /// Lets those connect that are ready, and later ones as soon as they are.
    pub(super) fn begin(&self) {
        let held = self.state.lock().unwrap_or_else(PoisonError::into_inner).held.take();
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

/// Whether settings have a topic of a monitor, by upstream, monitor and topic.
pub(super) fn wanted_topics(settings: &Settings) -> impl Fn(&str, &str, &str) -> bool + use<> {
    let of = |(name, monitor): (&String, &MonitorSettings)| {
        let topics = |upstream: &String| {
            let upstream = upstream.clone();
            monitor.topics.iter().map(move |topic| (upstream.clone(), name.clone(), topic.clone()))
        };
        monitor.upstream.iter().flat_map(topics).collect::<Vec<_>>()
    };
    let wanted: HashSet<(String, String, String)> = settings.monitors.iter().flat_map(of).collect();
    move |upstream, monitor, topic| wanted.contains(&(upstream.to_owned(), monitor.to_owned(), topic.to_owned()))
}
