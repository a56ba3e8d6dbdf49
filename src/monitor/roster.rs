//! The monitors that watch one upstream: which topics they ask for together, and who gets what comes.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::burst::QuarantinedFrame;
use super::event_id::IdHasher;
use super::quarantine::QuarantineBudget;
use super::rule::{FramePointers, Rule, RuleError};
use super::totals::Totals;
use crate::config::{DedupeScope, EventRuleSettings, MonitorSettings, OnConflict, Priority, QuarantineSettings};
use crate::dialect::{ReadingPlan, Topic, TopicId};
use crate::journal::{MonitorIdentity, OWN_DOMAIN};

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
    /// What was counted since the start.
    pub totals: Totals,
    pub(super) quarantine: QuarantineBudget,
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
}

/// The monitors of an upstream.
#[derive(Debug)]
pub struct Roster {
    /// The upstream's name.
    pub upstream: String,
    /// Under which the journal accounts for frames that belong to no monitor.
    pub upstream_identity: Arc<MonitorIdentity>,
    /// Its monitors.
    pub monitors: Vec<Monitor>,
    /// What was counted since the start of frames that belong to no monitor.
    pub upstream_totals: Totals,
    /// What they ask for together, each topic once.
    pub topics: Vec<Topic>,
    /// The most important priority among those who ask for a topic, by topic.
    pub topic_priorities: Vec<Priority>,
    /// Every interest, those of a topic side by side.
    pub routes: Vec<Route>,
    /// By topic: where its routes begin; one more at the end.
    route_starts: Vec<u32>,
    /// Pointers read out of every message.
    pub plan: ReadingPlan,
    /// Hashes ids.
    pub hasher: IdHasher,
    pub(super) upstream_quarantine: QuarantineBudget,
    /// Bytes of a quarantined frame that are kept.
    pub(super) quarantine_frame_bytes: usize,
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

/// Numbers monitors for the life of the daemon.
#[derive(Debug, Default)]
pub struct Identities {
    by_name: BTreeMap<(String, String), Arc<MonitorIdentity>>,
}

impl Identities {
    /// The identity of a monitor; always the same for a name and domain.
    pub fn of(&mut self, name: &str, domain: &str) -> Arc<MonitorIdentity> {
        let index = u32::try_from(self.by_name.len()).unwrap_or(u32::MAX);
        let identity = self
            .by_name
            .entry((domain.to_owned(), name.to_owned()))
            .or_insert_with(|| Arc::new(MonitorIdentity { index, name: name.into(), domain: domain.into() }));
        Arc::clone(identity)
    }
}

impl Roster {
    /// Makes the monitors of `upstream` ready. Monitors without rules of their own get `default_rules`.
    ///
    /// # Errors
    /// When a monitor has no rule, or one that cannot be used.
    pub fn new(
        upstream: &str,
        monitors: &BTreeMap<String, MonitorSettings>,
        default_rules: &[EventRuleSettings],
        quarantine: &QuarantineSettings,
        hasher: &IdHasher,
        identities: &mut Identities,
    ) -> Result<Self, RosterError> {
        let mut frame_pointers = FramePointers::default();
        let mut ready = Vec::new();
        let mut topics: Vec<Topic> = Vec::new();
        let mut topic_priorities = Vec::new();
        let mut by_name: HashMap<Arc<str>, TopicId> = HashMap::new();
        let mut routes = Vec::new();
        for (name, settings) in monitors.iter().filter(|(_, settings)| settings.upstream == upstream) {
            let rules = if settings.event.is_empty() { default_rules } else { &settings.event };
            if rules.is_empty() {
                return Err(RosterError::NoRule { monitor: name.clone(), upstream: upstream.to_owned() });
            }
            let rules = (1..)
                .zip(rules)
                .map(|(number, rule)| {
                    Rule::new(rule, &mut frame_pointers).map_err(|source| RosterError::Rule {
                        monitor: name.clone(),
                        rule: number,
                        source,
                    })
                })
                .collect::<Result<_, _>>()?;
            let monitor = u32::try_from(ready.len()).unwrap_or(u32::MAX);
            for topic_name in &settings.topics {
                let topic = *by_name.entry(topic_name.as_str().into()).or_insert_with_key(|name| {
                    let id = TopicId(u32::try_from(topics.len()).unwrap_or(u32::MAX));
                    topics.push(Topic { id, name: Arc::clone(name) });
                    topic_priorities.push(settings.priority);
                    id
                });
                let priority: &mut Priority = &mut topic_priorities[topic.0 as usize];
                *priority = settings.priority.min(*priority);
                let scoped_by = (settings.dedupe == DedupeScope::Topic).then_some(topic_name.as_str());
                routes.push(Route { monitor, topic, scope: hasher.scope(name, scoped_by) });
            }
            ready.push(Monitor {
                identity: identities.of(name, &settings.domain),
                priority: settings.priority,
                on_conflict: settings.on_conflict,
                totals: Totals::default(),
                rules,
                quarantine: QuarantineBudget::new(quarantine),
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
        Ok(Self {
            upstream: upstream.to_owned(),
            upstream_identity: identities.of(&format!("upstream:{upstream}"), OWN_DOMAIN),
            monitors: ready,
            upstream_totals: Totals::default(),
            topics,
            topic_priorities,
            routes,
            route_starts,
            plan: ReadingPlan { pointers: frame_pointers.texts().to_vec() },
            hasher: hasher.clone(),
            upstream_quarantine: QuarantineBudget::new(quarantine),
            quarantine_frame_bytes: quarantine.frame_bytes.as_usize(),
        })
    }

    /// The places in [`Roster::routes`] of those who want a topic.
    #[inline]
    pub fn routes_of(&self, topic: TopicId) -> std::ops::Range<u32> {
        let topic = topic.0 as usize;
        self.route_starts[topic]..self.route_starts[topic + 1]
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
