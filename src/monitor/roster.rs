//! The monitors that watch one upstream: which topics they ask for together, and who gets what comes.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::burst::QuarantinedFrame;
use super::crossing::Crossing;
use super::event_id::IdHasher;
use super::quarantine::QuarantineBudget;
use super::races::{Race, Races};
use super::rule::{FramePointers, Rule, RuleError};
use super::totals::{Totals, TotalsNow};
use crate::clock::UnixNanos;
use crate::config::{
    DedupeScope, EventRuleSettings, Handover, MonitorSettings, OnConflict, Priority, QuarantineSettings, SequencePer,
};
use crate::dialect::{ReadingPlan, Topic, TopicId};
use crate::journal::{MonitorIdentity, OWN_DOMAIN, Path, SHADOW_DOMAINS};

/// A monitor made ready for reading.
#[derive(Debug)]
pub struct Monitor {
    /// What the journal calls it.
    pub identity: Arc<MonitorIdentity>,
    /// Who is subscribed first.
    pub priority: Priority,
    /// What happens to an id that returns with another payload.
    pub on_conflict: OnConflict,
    pub(super) rules: Vec<Rule>,
    /// Whether its topics change links without a pause: each of its events has an id, or it takes overlaps.
    pub overlaps: bool,
    /// Whether every event of it has an id, so that what comes twice is told.
    pub has_ids: bool,
    /// Why it takes nothing, where an operator had it stop.
    pub pause: Option<Pause>,
    /// What was counted since the start, over all upstreams, paths and generations.
    pub totals: Arc<Totals>,
    /// The same of this path alone.
    pub path_totals: Arc<Totals>,
    /// Whether it is taken to be compared only, and its events do not count.
    pub shadow: bool,
    /// Where it is on its way to the other path, and both take it.
    pub crossing: Option<Arc<Crossing>>,
    /// Whether a path that journals whatever comes drops repeats, since the other one takes the monitor as well.
    drops_repeats: Arc<AtomicBool>,
    pub(super) quarantine: Arc<QuarantineBudget>,
    /// Which of its upstreams this is, from 1; 0 where there is but one.
    pub(super) source: u8,
    /// How this upstream does against its others.
    pub race: Option<Arc<Race>>,
}

impl Monitor {
    /// Whether repeats are dropped that come by `path`. To be asked behind the window: what the other path has put there before, it
    /// has put there since this says so.
    pub fn drops_repeats(&self, path: Path) -> bool {
        path == Path::Smart || self.drops_repeats.load(Ordering::Acquire)
    }
}

/// Why a monitor takes nothing for now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pause {
    /// Stopped by an operator.
    Stopped,
    /// Put to rest, to leave room for others.
    Resting,
}

/// A monitor's interest in a topic.
#[derive(Debug, Clone, Copy)]
pub struct Route {
    /// Index of [`Roster::monitors`].
    pub monitor: u32,
    /// Index of [`Roster::topics`].
    pub topic: TopicId,
    /// What its ids are unique over.
    pub(super) scope: u64,
    /// The series of the topic's numbers.
    pub(super) series: u64,
}

/// The monitors of an upstream. It never changes: where monitors come, go or pause, the next generation takes its place, in
/// which a topic keeps its number.
#[derive(Debug)]
pub struct Roster {
    /// The upstream's name.
    pub upstream: String,
    /// The path of what comes.
    pub path: Path,
    /// Whether any of its monitors is on its way to the other path.
    pub crosses: bool,
    /// Under which the journal accounts for frames that belong to no monitor.
    pub upstream_identity: Arc<MonitorIdentity>,
    /// Its monitors.
    pub monitors: Vec<Monitor>,
    /// What was counted since the start of frames that belong to no monitor.
    pub upstream_totals: Arc<Totals>,
    /// The same of this path alone.
    pub upstream_path_totals: Arc<Totals>,
    /// What they ask for together, each topic once; also what was asked for in generations before.
    pub topics: Arc<[Topic]>,
    /// The most important priority among those who ask for a topic, by topic; none where nobody does any more.
    pub topic_priorities: Vec<Option<Priority>>,
    /// Every interest, those of a topic side by side.
    pub routes: Vec<Route>,
    /// By topic: where its routes begin; one more at the end.
    route_starts: Vec<u32>,
    /// Pointers read out of every message.
    pub plan: ReadingPlan,
    /// Whether every message has a number of its link's, as far as the rules say.
    pub(super) numbers_links: bool,
    /// Hashes ids.
    pub hasher: IdHasher,
    pub(super) upstream_quarantine: Arc<QuarantineBudget>,
    /// Bytes of a quarantined frame that are kept.
    pub(super) quarantine_frame_bytes: usize,
    /// Its monitors' settings, who of them takes nothing for now, and since when who is on its way.
    made_of: Vec<(String, MonitorSettings, Option<Pause>, Option<UnixNanos>)>,
}

/// A monitor that cannot be made ready.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RosterError {
    /// One of its rules.
    #[error("monitor `{monitor}`, event rule {rule}: {source}")]
    Rule {
        /// The monitor.
        monitor: String,
        /// Which rule, from 1.
        rule: usize,
        /// What is wrong.
        source: RuleError,
    },
    /// Several upstreams bring it the same, and nobody could tell.
    #[error(
        "monitor `{monitor}` has several upstreams, and event rule {rule}{} has no `id`, so what all of them bring would be \
         journaled more than once; give each rule an `id`, or name one upstream",
        if *own { "" } else { " of the dialect" }
    )]
    Redundant {
        /// The monitor.
        monitor: String,
        /// Which rule, from 1.
        rule: usize,
        /// Whether it is the monitor's own, and not its dialect's.
        own: bool,
    },
    /// It has no rule, and the dialect brings none.
    #[error(
        "monitor `{monitor}` has no `event` and the dialect of `{upstream}` brings none; add one such as \
         event = {{ id = \"/id\", time = \"/time\" }}"
    )]
    NoRule {
        /// The monitor.
        monitor: String,
        /// Its upstream.
        upstream: String,
    },
}

/// What belongs to a monitor's name for the life of the daemon, whichever upstream and generation it is in.
#[derive(Debug)]
struct Account {
    identity: Arc<MonitorIdentity>,
    totals: Arc<Totals>,
    smart: Arc<Totals>,
    legacy: Arc<Totals>,
    drops_repeats: Arc<AtomicBool>,
    quarantine: Arc<QuarantineBudget>,
    races: Races,
}

impl Account {
    fn of(&self, path: Path) -> &Arc<Totals> {
        match path {
            Path::Smart => &self.smart,
            Path::Legacy => &self.legacy,
        }
    }
}

/// Numbers monitors for the life of the daemon, and keeps their counts.
#[derive(Debug, Default)]
pub struct Identities {
    by_name: BTreeMap<(String, String), Account>,
}

impl Identities {
    /// The identity of a monitor; always the same for a name and domain.
    pub fn of(&mut self, name: &str, domain: &str) -> Arc<MonitorIdentity> {
        Arc::clone(&self.account(name, domain, &QuarantineSettings::default()).identity)
    }

    /// Says whether repeats of a monitor are dropped on the legacy path too: while the other path takes it as well, say.
    pub fn drop_repeats(&mut self, name: &str, domain: &str, drop: bool) {
        if let Some(account) = self.by_name.get(&(domain.to_owned(), name.to_owned())) {
            account.drops_repeats.store(drop, Ordering::Release);
        }
    }

    /// What was counted since the start of all that a name and domain brought over one path.
    pub fn path_totals(&self, name: &str, domain: &str, path: Path) -> TotalsNow {
        let key = (domain.to_owned(), name.to_owned());
        self.by_name.get(&key).map(|account| account.of(path).now()).unwrap_or_default()
    }

    fn account(&mut self, name: &str, domain: &str, quarantine: &QuarantineSettings) -> &Account {
        let index = u32::try_from(self.by_name.len()).unwrap_or(u32::MAX);
        self.by_name.entry((domain.to_owned(), name.to_owned())).or_insert_with(|| Account {
            identity: Arc::new(MonitorIdentity { index, name: name.into(), domain: domain.into() }),
            totals: Arc::default(),
            smart: Arc::default(),
            legacy: Arc::default(),
            drops_repeats: Arc::default(),
            quarantine: Arc::new(QuarantineBudget::new(quarantine)),
            races: Races::default(),
        })
    }
}

/// What a roster is made of.
#[derive(Debug, Clone, Copy)]
pub struct RosterParts<'a> {
    /// The upstream's name.
    pub upstream: &'a str,
    /// All monitors; those of other upstreams are passed over.
    pub monitors: &'a BTreeMap<String, MonitorSettings>,
    /// Monitors that take nothing for now.
    pub pauses: &'a BTreeMap<String, Pause>,
    /// The path of what comes.
    pub path: Path,
    /// Monitors that are on their way to the other path.
    pub crossings: &'a BTreeMap<String, Arc<Crossing>>,
    /// Rules of monitors that have none of their own.
    pub default_rules: &'a [EventRuleSettings],
    /// How much of what cannot be read is kept.
    pub quarantine: &'a QuarantineSettings,
    /// Hashes ids.
    pub hasher: &'a IdHasher,
    /// The generation before, whose topics keep their numbers.
    pub previous: Option<&'a Roster>,
}

impl<'a> RosterParts<'a> {
    /// Of monitors that have rules of their own and are all at work: a first generation.
    pub fn new(
        upstream: &'a str,
        monitors: &'a BTreeMap<String, MonitorSettings>,
        quarantine: &'a QuarantineSettings,
        hasher: &'a IdHasher,
    ) -> Self {
        static NO_PAUSES: BTreeMap<String, Pause> = BTreeMap::new();
        static NO_CROSSINGS: BTreeMap<String, Arc<Crossing>> = BTreeMap::new();
        let (pauses, path, crossings) = (&NO_PAUSES, Path::Smart, &NO_CROSSINGS);
        Self { upstream, monitors, pauses, path, crossings, default_rules: &[], quarantine, hasher, previous: None }
    }
}

/// Under what the journal accounts for frames of an upstream that belong to no monitor, in [`OWN_DOMAIN`].
pub fn upstream_account(upstream: &str) -> String {
    format!("upstream:{upstream}")
}

impl Roster {
    /// Makes the monitors of an upstream ready.
    ///
    /// # Errors
    /// When a monitor has no rule, or one that cannot be used.
    pub fn new(parts: &RosterParts<'_>, identities: &mut Identities) -> Result<Self, RosterError> {
        let RosterParts { upstream, monitors, pauses, path, crossings, default_rules, quarantine, hasher, previous } =
            *parts;
        let mut frame_pointers = FramePointers::default();
        let mut ready = Vec::new();
        let mut topics: Vec<Topic> = previous.map(|previous| previous.topics.to_vec()).unwrap_or_default();
        let mut by_name: HashMap<Arc<str>, TopicId> =
            topics.iter().map(|topic| (Arc::clone(&topic.name), topic.id)).collect();
        let mut topic_priorities = vec![None; topics.len()];
        let mut routes = Vec::new();
        let mut made_of = Vec::new();
        for (name, settings) in monitors.iter().filter(|(_, settings)| settings.watches(upstream)) {
            let own_rules = if settings.event.is_empty() { default_rules } else { &settings.event };
            if own_rules.is_empty() {
                return Err(RosterError::NoRule { monitor: name.clone(), upstream: upstream.to_owned() });
            }
            let mut rules = (1..)
                .zip(own_rules)
                .map(|(number, rule)| {
                    Rule::new(rule, &mut frame_pointers).map_err(|source| RosterError::Rule {
                        monitor: name.clone(),
                        rule: number,
                        source,
                    })
                })
                .collect::<Result<Vec<Rule>, _>>()?;
            if settings.domain.starts_with(SHADOW_DOMAINS) {
                // What its numbers tell would be told of the monitor whose events count.
                for rule in &mut rules {
                    rule.sequence = None;
                }
            }
            let monitor = u32::try_from(ready.len()).unwrap_or(u32::MAX);
            let pause = pauses.get(name).copied();
            let shadow = settings.domain.starts_with(SHADOW_DOMAINS);
            let crossing = crossings.get(name).filter(|crossing| !shadow && crossing.upstream == upstream);
            made_of.push((name.clone(), settings.clone(), pause, crossing.map(|crossing| crossing.began)));
            // What is taken to be compared must not be told from itself by what counts.
            let scope_name = if shadow { format!("{SHADOW_DOMAINS}{name}") } else { name.clone() };
            for topic_name in settings.topics.iter().filter(|_| pause.is_none()) {
                let topic = *by_name.entry(topic_name.as_str().into()).or_insert_with_key(|name| {
                    let id = TopicId(u32::try_from(topics.len()).unwrap_or(u32::MAX));
                    topics.push(Topic { id, name: Arc::clone(name) });
                    topic_priorities.push(None);
                    id
                });
                let priority: &mut Option<Priority> = &mut topic_priorities[topic.0 as usize];
                *priority = Some(priority.map_or(settings.priority, |other| other.min(settings.priority)));
                let scoped_by = (settings.dedupe == DedupeScope::Topic).then_some(topic_name.as_str());
                let (scope, series) =
                    (hasher.scope(&scope_name, scoped_by), hasher.scope(&scope_name, Some(topic_name)));
                routes.push(Route { monitor, topic, scope, series });
            }
            let account = identities.account(name, &settings.domain, quarantine);
            let has_ids = own_rules.iter().all(|rule| rule.ignore || !rule.id.is_empty());
            if settings.is_redundant()
                && let Some(rule) = own_rules.iter().position(|rule| !rule.ignore && rule.id.is_empty())
            {
                let (monitor, own) = (name.clone(), !settings.event.is_empty());
                return Err(RosterError::Redundant { monitor, rule: rule + 1, own });
            }
            let place = settings.upstream.iter().position(|name| name == upstream).unwrap_or_default();
            let source = if settings.is_redundant() { u8::try_from(place + 1).unwrap_or(0) } else { 0 };
            ready.push(Monitor {
                source,
                race: settings.is_redundant().then(|| account.races.of(upstream)),
                identity: Arc::clone(&account.identity),
                priority: settings.priority,
                on_conflict: settings.on_conflict,
                has_ids,
                overlaps: has_ids || settings.handover == Handover::Overlap,
                pause,
                totals: Arc::clone(&account.totals),
                path_totals: Arc::clone(account.of(path)),
                shadow,
                crossing: crossing.map(Arc::clone),
                drops_repeats: Arc::clone(&account.drops_repeats),
                rules,
                quarantine: Arc::clone(&account.quarantine),
            });
        }
        routes.sort_by_key(|route| route.topic);
        let mut route_starts = vec![0; topics.len() + 1];
        for route in &routes {
            route_starts[route.topic.0 as usize + 1] += 1;
        }
        for topic in 0..topics.len() {
            route_starts[topic + 1] += route_starts[topic];
        }
        let own = identities.account(&upstream_account(upstream), OWN_DOMAIN, quarantine);
        let of_link = |rule: &Rule| rule.sequence.as_ref().is_some_and(|sequence| sequence.per == SequencePer::Link);
        let numbers_links = ready.iter().flat_map(|monitor: &Monitor| &monitor.rules).all(of_link);
        Ok(Self {
            upstream: upstream.to_owned(),
            path,
            crosses: ready.iter().any(|monitor| monitor.crossing.is_some()),
            upstream_identity: Arc::clone(&own.identity),
            monitors: ready,
            upstream_totals: Arc::clone(&own.totals),
            upstream_path_totals: Arc::clone(own.of(path)),
            topics: topics.into(),
            topic_priorities,
            routes,
            route_starts,
            plan: ReadingPlan { pointers: frame_pointers.texts().to_vec() },
            numbers_links,
            hasher: hasher.clone(),
            upstream_quarantine: Arc::clone(&own.quarantine),
            quarantine_frame_bytes: quarantine.frame_bytes.as_usize(),
            made_of,
        })
    }

    /// The places in [`Roster::routes`] of those who want a topic.
    #[inline]
    pub fn routes_of(&self, topic: TopicId) -> std::ops::Range<u32> {
        let topic = topic.0 as usize;
        self.route_starts[topic]..self.route_starts[topic + 1]
    }

    /// Whether another generation was made of the same monitors, with the same settings and pauses.
    pub fn is_as(&self, other: &Self) -> bool {
        self.made_of == other.made_of
    }

    /// Topics that somebody wants, the most important first.
    pub fn wanted(&self) -> Vec<TopicId> {
        let mut wanted: Vec<(Priority, TopicId)> =
            (0..).map(TopicId).zip(&self.topic_priorities).filter_map(|(id, wanted)| Some(((*wanted)?, id))).collect();
        wanted.sort();
        wanted.into_iter().map(|(_, topic)| topic).collect()
    }

    /// Whether a topic changes links without a pause: all who want it agree to that.
    pub fn overlaps(&self, topic: TopicId) -> bool {
        self.monitors_of(topic).all(|monitor| monitor.overlaps)
    }

    /// Those who want a topic.
    pub fn monitors_of(&self, topic: TopicId) -> impl Iterator<Item = &Monitor> {
        self.routes_of(topic).map(|route| &self.monitors[self.routes[route as usize].monitor as usize])
    }

    /// A topic's wording.
    pub fn topic_name(&self, topic: TopicId) -> &Arc<str> {
        &self.topics[topic.0 as usize].name
    }

    /// The place in [`Roster::monitors`] of a monitor.
    pub fn monitor_named(&self, name: &str) -> Option<u32> {
        let at = self.monitors.iter().position(|monitor| *monitor.identity.name == *name)?;
        u32::try_from(at).ok()
    }

    /// A topic by its wording.
    pub fn topic_named(&self, name: &str) -> Option<TopicId> {
        self.topics.iter().find(|topic| *topic.name == *name).map(|topic| topic.id)
    }

    /// Under whom a quarantined frame is filed.
    pub fn quarantine_key(&self, frame: &QuarantinedFrame) -> &str {
        match frame.monitor {
            Some(monitor) => &self.monitors[monitor as usize].identity.name,
            None => &self.upstream_identity.name,
        }
    }
}
