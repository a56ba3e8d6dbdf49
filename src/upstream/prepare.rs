//! Links that are opened beside those of another process, which goes on meanwhile: connected, logged in, subscribed, and read into
//! a bounded buffer until a journal is there to take it.
//!
//! They are the links that the upstream's keeper would open: as many, with the same topics in the same places. The keeper's tasks
//! begin with them ([`Prepared::take`]). A topic whose events have no ids is not asked for before the other process has let it go
//! ([`Prepared::let_go`]), so that none of them comes twice.

mod holding;
mod recorder;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub(super) use self::holding::{Held, HeldEnd};
use self::holding::{Holder, Standing};
use super::connect::Connection;
use super::pace::Paces;
use super::placement::{Placement, SlotNumber, links_wanted};
use super::pool::{UpstreamError, check_named, connector, credentials_named};
use crate::circuits::Circuits;
use crate::clock::UnixNanos;
use crate::config::{PoolSettings, UpstreamSettings};
use crate::credentials::Credentials;
use crate::dialect::{Dialect, TopicId};
use crate::monitor::roster::Roster;

/// What a unit of an upstream is called: the pool of those that share it, or the links that a monitor has for itself.
pub fn unit_name(upstream: &str, of: Option<&str>) -> String {
    of.map_or_else(|| upstream.to_owned(), |monitor| format!("{upstream} for {monitor}"))
}

/// A subject of the gap ledger: upstream, monitor and topic.
type Subject = (String, String, String);

/// What the links of a unit were opened with.
pub struct Made<'a> {
    /// The monitor that has them for itself.
    pub of: Option<String>,
    /// The upstream's settings.
    pub settings: &'a UpstreamSettings,
    /// Those of its pool.
    pub pool: &'a PoolSettings,
    /// How it speaks.
    pub dialect: &'a dyn Dialect,
    /// Who watches it.
    pub roster: &'a Roster,
}

/// An upstream whose links are to be opened beside.
pub struct Preparation<'a> {
    /// The monitor that has them for itself, on the legacy path.
    pub of: Option<String>,
    /// Its settings.
    pub settings: &'a UpstreamSettings,
    /// What it overrides.
    pub pool: &'a PoolSettings,
    /// How it speaks.
    pub dialect: Arc<dyn Dialect>,
    /// Who watches it.
    pub roster: Arc<Roster>,
    /// Topics whose events all had ids so far, which not every rule promises.
    pub told_apart: &'a BTreeSet<String>,
}

/// How the links of an upstream stand.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PreparedStanding {
    /// The upstream.
    pub upstream: String,
    /// Links that are opened beside.
    pub links: usize,
    /// Of these, how many are there, with everything that they asked for answered or waited for.
    pub up: usize,
    /// Why one cannot be had, after several attempts.
    pub failed: Option<String>,
    /// Topics that were refused, and why.
    pub refused: BTreeMap<String, String>,
    /// Topics that wait for the other process to let them go.
    pub later: usize,
}

/// What became of what was read before there was a journal.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Taken {
    /// Links that were taken over into the pool.
    pub links: usize,
    /// Frames that had been read.
    pub frames: u64,
    /// Events that were journaled of them.
    pub events: u64,
    /// Repeats of what the other process had brought.
    pub repeats: u64,
}

impl Taken {
    fn add(&mut self, more: Self) {
        self.links += more.links;
        self.frames += more.frames;
        self.events += more.events;
        self.repeats += more.repeats;
    }
}

/// Who watches a topic, but for those who only compare.
fn subjects_of(roster: &Roster, topic: TopicId) -> impl Iterator<Item = Subject> {
    let monitors = roster.monitors_of(topic).filter(|monitor| !monitor.shadow);
    let topic = roster.topic_name(topic);
    monitors.map(move |monitor| (roster.upstream.clone(), monitor.identity.name.to_string(), topic.to_string()))
}

struct Link {
    standing: Arc<Standing>,
    topics: Vec<TopicId>,
    /// Topics to be asked for when the other process has let go.
    later: Vec<TopicId>,
    orders: mpsc::Sender<Vec<TopicId>>,
    stop: CancellationToken,
    task: JoinHandle<Option<(Connection, Held)>>,
}

struct PreparedUpstream {
    of: Option<String>,
    settings: UpstreamSettings,
    pool: PoolSettings,
    dialect: Arc<dyn Dialect>,
    roster: Arc<Roster>,
    links: BTreeMap<SlotNumber, Link>,
    /// Links whose buffer nobody has read yet.
    unread: usize,
    taken: Taken,
}

/// Links of all upstreams that were opened beside, until the keepers take them.
pub struct Prepared {
    /// By unit.
    upstreams: Mutex<BTreeMap<String, PreparedUpstream>>,
    paces: Arc<Paces>,
    changes: watch::Sender<()>,
    /// Until when the other process has read everything.
    let_go: OnceLock<UnixNanos>,
}

impl Default for Prepared {
    fn default() -> Self {
        Self {
            upstreams: Mutex::default(),
            paces: Arc::default(),
            changes: watch::Sender::new(()),
            let_go: OnceLock::new(),
        }
    }
}

impl Prepared {
    /// How often hosts were connected to.
    pub fn paces(&self) -> Arc<Paces> {
        Arc::clone(&self.paces)
    }

    /// Begins to open the links of an upstream, by tasks on `handle`. Those that must not be open twice are left to its keeper.
    ///
    /// # Errors
    /// When its certificates or credentials cannot be read.
    pub fn begin(&self, preparation: &Preparation<'_>, handle: &Handle) -> Result<(), UpstreamError> {
        let Preparation { of, settings, pool, dialect, roster, told_apart } = preparation;
        let name = &roster.upstream;
        let pool = pool.overridden_by(&settings.pool);
        let mut limits = dialect.limits().overridden_by(&settings.limits);
        limits.topics_per_link = settings.topics_per_link.unwrap_or(limits.topics_per_link);
        // Breakers belong to a daemon; how often each link is tried here is bounded.
        let credentials = Arc::new(Credentials::new(name, settings, &pool, &Circuits::new(false, Vec::new()))?);
        check_named(name, settings, &**dialect, &credentials)?;
        let connector = Arc::new(connector(name, settings, &pool, &**dialect, credentials)?);
        let named = Arc::new(credentials_named(&**dialect));
        let pace = self.paces.of(&connector.address(), limits.connects);
        let slots = pool.max_connections.max(pool.min_connections).max(1) as usize;
        let wanted = roster.wanted().len();
        let (min, max) = (pool.min_connections, pool.max_connections);
        let count = links_wanted(wanted, limits.topics_per_link, min, max, limits.idle_links).min(slots);
        // As the keeper places them.
        let mut placement = Placement::new(slots, limits.topics_per_link);
        (0..count).for_each(|slot| placement.set_usable(slot, true));
        placement.want(roster);
        let overlaps = |topic: &TopicId| roster.overlaps(*topic) || told_apart.contains(&**roster.topic_name(*topic));
        let mut links = BTreeMap::new();
        for slot in (0..count).filter(|_| wanted > 0) {
            let (topics, _) = placement.topics_of(slot);
            if topics.is_empty() && !limits.idle_links {
                continue;
            }
            let (topics, later): (Vec<TopicId>, Vec<TopicId>) = topics.into_iter().partition(overlaps);
            if !later.is_empty() && dialect.asks_by_opening() {
                // Its opening would ask for what must not come twice.
                continue;
            }
            let standing = Arc::new(Standing::new(self.changes.clone()));
            let (orders, inbox) = mpsc::channel(1);
            let stop = CancellationToken::new();
            let holder = Holder {
                slot,
                connector: Arc::clone(&connector),
                dialect: Arc::clone(dialect),
                roster: Arc::clone(roster),
                limits,
                pool: pool.clone(),
                credentials_named: Arc::clone(&named),
                pace: pace.clone(),
                buffer_bytes_max: settings.buffer.as_usize(),
                topics: topics.clone(),
                standing: Arc::clone(&standing),
            };
            let task = handle.spawn(holder.run(inbox, stop.clone()));
            links.insert(slot, Link { standing, topics, later, orders, stop, task });
        }
        let prepared = PreparedUpstream {
            of: of.clone(),
            settings: (*settings).clone(),
            pool,
            dialect: Arc::clone(dialect),
            roster: Arc::clone(roster),
            unread: links.len(),
            links,
            taken: Taken::default(),
        };
        self.lock().insert(unit_name(name, of.as_deref()), prepared);
        Ok(())
    }

    /// How each unit's links stand.
    pub fn standing(&self) -> BTreeMap<String, PreparedStanding> {
        let of = |upstream: &PreparedUpstream| {
            let mut whole = PreparedStanding {
                upstream: upstream.roster.upstream.clone(),
                links: upstream.links.len(),
                ..PreparedStanding::default()
            };
            for link in upstream.links.values() {
                let standing = link.standing.now();
                whole.up += usize::from(standing.up);
                whole.later += link.later.len();
                whole.failed = whole.failed.or(standing.failed);
                let named = |topic: &TopicId| upstream.roster.topic_name(*topic).to_string();
                whole.refused.extend(standing.refused.iter().map(|(topic, why)| (named(topic), why.clone())));
            }
            whole
        };
        self.lock().iter().map(|(name, upstream)| (name.clone(), of(upstream))).collect()
    }

    /// The first event that came of each topic for each monitor that counts it, by the hash of its id: topic, monitor and hash, by
    /// unit. Once the other process has taken it, it has taken everything before.
    pub fn first_events(&self) -> BTreeMap<String, Vec<(String, String, u128)>> {
        let of = |upstream: &PreparedUpstream| {
            let named = |topic: TopicId| upstream.roster.topic_name(topic).to_string();
            let first = upstream.links.values().flat_map(|link| link.standing.now().first);
            let first = first.flat_map(|(topic, monitors)| {
                let topic = named(topic);
                monitors.into_iter().map(move |(monitor, hash)| (topic.clone(), monitor.to_string(), hash))
            });
            first.collect()
        };
        self.lock().iter().map(|(name, upstream)| (name.clone(), of(upstream))).collect()
    }

    /// Hears when that has changed.
    pub fn changes(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }

    /// The other process has read everything until `at`, and reads nothing any more: what must not come twice is asked for now.
    /// Since when topics are in force here, by upstream, monitor and topic; of these, whatever becomes of their links, nothing is thrown
    /// away any more.
    pub fn let_go(&self, at: UnixNanos) -> BTreeMap<Subject, UnixNanos> {
        self.let_go.get_or_init(|| at);
        let mut in_force = BTreeMap::new();
        for upstream in self.lock().values_mut() {
            for link in upstream.links.values_mut() {
                for (topic, since) in link.standing.commit() {
                    let subjects = subjects_of(&upstream.roster, topic);
                    in_force.extend(subjects.map(|subject| (subject, since)));
                }
                if !link.later.is_empty() {
                    let later = std::mem::take(&mut link.later);
                    link.topics.extend(&later);
                    // It is heard once, and there is room for one.
                    link.orders.try_send(later).ok();
                }
            }
        }
        in_force
    }

    /// Leaves those out that were opened with other settings than are in force by now: the keeper opens its own.
    pub fn retain(&self, fits: impl Fn(&Made<'_>) -> bool) {
        self.lock().retain(|_, upstream| {
            let PreparedUpstream { of, settings, pool, dialect, roster, .. } = &*upstream;
            let stays = fits(&Made { of: of.clone(), settings, pool, dialect: &**dialect, roster });
            if !stays {
                upstream.links.values().for_each(|link| link.task.abort());
            }
            stays
        });
    }

    /// By what a unit's links were opened, so that its topics keep their numbers.
    pub fn made_with(&self, unit: &str) -> Option<(Arc<dyn Dialect>, Arc<Roster>)> {
        let upstreams = self.lock();
        let upstream = upstreams.get(unit)?;
        Some((Arc::clone(&upstream.dialect), Arc::clone(&upstream.roster)))
    }

    /// What was read over links of an upstream that were taken.
    pub fn taken(&self, upstream: &str) -> Taken {
        let mut whole = Taken::default();
        self.lock().values().filter(|unit| unit.roster.upstream == upstream).for_each(|unit| whole.add(unit.taken));
        whole
    }

    /// Links whose buffer nobody has read yet.
    pub fn left(&self) -> usize {
        self.lock().values().map(|upstream| upstream.unread).sum()
    }

    /// Closes links that nobody has taken.
    pub fn close(&self) {
        for upstream in self.lock().values_mut() {
            for link in std::mem::take(&mut upstream.links).into_values() {
                link.task.abort();
            }
        }
    }

    /// Whether a link is there for this place.
    pub(super) fn has(&self, unit: &str, slot: SlotNumber) -> bool {
        self.lock().get(unit).is_some_and(|upstream| upstream.links.contains_key(&slot))
    }

    /// The link of a place, with everything that was read. It is read on until this very moment.
    pub(super) async fn take(&self, unit: &str, slot: SlotNumber) -> Option<(Connection, Held)> {
        let link = self.lock().get_mut(unit)?.links.remove(&slot)?;
        link.stop.cancel();
        // None, too, where its task broke: it is connected anew.
        let held = link.task.await.ok().flatten();
        if let (None, Some(upstream)) = (&held, self.lock().get_mut(unit)) {
            upstream.unread -= 1;
        }
        held
    }

    /// A link that was taken has read what was buffered.
    pub(super) fn note_taken(&self, unit: &str, more: Taken) {
        if let Some(PreparedUpstream { taken, unread, .. }) = self.lock().get_mut(unit) {
            *unread = unread.saturating_sub(more.links);
            taken.add(more);
        }
    }

    /// Until when the other process has read everything.
    pub(super) fn let_go_at(&self) -> Option<UnixNanos> {
        self.let_go.get().copied()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, PreparedUpstream>> {
        // Whole after every step: a panic elsewhere leaves nothing half done.
        self.upstreams.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Prepared {
    fn drop(&mut self) {
        self.close();
    }
}
