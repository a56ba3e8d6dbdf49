//! What one set of settings is against another: which keys differ, what takes effect while a daemon runs, and how risky that is.
//! Pure: what only a running daemon knows comes in as [`Links`].

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::key::KeyPath;
use super::load::paths;
use super::{MonitorSettings, Settings, UpstreamSettings};
use crate::journal::Path;

/// When a change of a key takes effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// At once, and nothing else is touched.
    AtOnce,
    /// At once, by changing links and what they carry.
    Links,
    /// At the next start.
    Restart,
}

impl Effect {
    /// Of a key, by its section.
    pub fn of(key: &KeyPath) -> Self {
        match (key.key_at(0), key.key_at(1)) {
            (Some("log"), Some("level"))
            | (
                Some(
                    "smart_streaming" | "fault_tolerance" | "shedding" | "reload" | "rollout" | "guard" | "alerts"
                    | "notify",
                ),
                _,
            ) => Self::AtOnce,
            (Some("pool" | "upstreams" | "monitors" | "dialects"), _) => Self::Links,
            _ => Self::Restart,
        }
    }
}

/// How much can go wrong with a change.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Risk {
    /// Nothing changes.
    #[default]
    None,
    /// It only adds, within the links that are there, or changes how much is logged.
    Low,
    /// Links are opened or closed, topics move, or events are read in another way.
    Medium,
    /// Something stops being taken, an upstream is connected to anew, or a restart is needed.
    High,
}

impl Risk {
    /// For people and programs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
        }
    }
}

/// Links of the upstreams, as a daemon knows them: those of pools by upstream, and dedicated ones by monitor.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Links {
    /// How many there are, by upstream; none of one that nobody watches.
    pub now: BTreeMap<String, usize>,
    /// How many there would be.
    pub then: BTreeMap<String, usize>,
    /// Links of monitors on the legacy path.
    pub dedicated_now: BTreeMap<String, usize>,
    /// The same then.
    pub dedicated_then: BTreeMap<String, usize>,
    /// Monitors that change paths.
    pub paths: Vec<PathPlan>,
}

/// A monitor that goes to the other path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathPlan {
    /// Which.
    pub monitor: String,
    /// Where to.
    pub to: Path,
}

/// What becomes of something with a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// It was not there.
    Added,
    /// It will not be there.
    Removed,
    /// It goes on with other settings.
    Changed,
    /// It goes on over new links.
    Restarted,
}

impl Change {
    /// For people and programs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Removed => "removed",
            Self::Changed => "changed",
            Self::Restarted => "restarted",
        }
    }
}

/// What becomes of an upstream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpstreamPlan {
    /// Its name.
    pub upstream: String,
    /// In a word.
    pub change: Change,
    /// Keys that differ, without `upstreams.NAME`; those of `[pool]` that reach it by their full name.
    pub keys: Vec<String>,
    /// Links that are opened.
    pub opened: usize,
    /// Links that are closed.
    pub closed: usize,
}

/// What becomes of a monitor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MonitorPlan {
    /// Its name.
    pub monitor: String,
    /// In a word.
    pub change: Change,
    /// Keys that differ.
    pub keys: Vec<String>,
    /// Topics that it watches and did not.
    pub topics_added: usize,
    /// Topics that it no longer watches.
    pub topics_removed: usize,
}

/// A topic of an upstream.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PlannedTopic {
    /// Whose.
    pub upstream: String,
    /// Which.
    pub topic: String,
}

/// What a change would do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// How much can go wrong.
    pub risk: Risk,
    /// Links that are opened, all upstreams together.
    pub connections_opened: usize,
    /// Links that are closed.
    pub connections_closed: usize,
    /// Upstreams that differ.
    pub upstreams: Vec<UpstreamPlan>,
    /// Monitors that differ.
    pub monitors: Vec<MonitorPlan>,
    /// Monitors that change paths.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<PathPlan>,
    /// Topics that nobody asks for now.
    pub topics_added: Vec<PlannedTopic>,
    /// Topics that nobody will ask for.
    pub topics_removed: Vec<PlannedTopic>,
    /// Topics that go on over another link, or at another upstream, where they will be.
    pub topics_moved: Vec<PlannedTopic>,
    /// Other keys that take effect at once.
    pub at_once: Vec<String>,
    /// Keys that need a restart, and are not applied.
    pub restart_needed: Vec<String>,
}

impl Plan {
    /// What it takes to go from the settings in force to others.
    pub fn between(now: &Settings, then: &Settings, links: &Links) -> Self {
        let (now, then) = (&printable(now), &printable(then));
        let mut plan = Self { paths: links.paths.clone(), ..Self::default() };
        let pool = differing(&now.pool, &then.pool);
        for name in names(&now.upstreams, &then.upstreams) {
            let (was, will) = (now.upstreams.get(name), then.upstreams.get(name));
            plan.upstream(name, (now, was), (then, will), &pool, links);
        }
        for name in names(&now.monitors, &then.monitors) {
            plan.monitor(name, now.monitors.get(name), then.monitors.get(name));
        }
        plan.topics(now, then);
        for key in differing(now, then) {
            let path = KeyPath::parse(&key).unwrap_or_default();
            match Effect::of(&path) {
                Effect::AtOnce => plan.at_once.push(key),
                Effect::Restart => plan.restart_needed.push(key),
                // By upstream and by monitor, above.
                Effect::Links => {}
            }
        }
        let more = |of: &BTreeMap<String, usize>, than: &BTreeMap<String, usize>| -> usize {
            let more = |(name, links): (&String, &usize)| links.saturating_sub(than.get(name).copied().unwrap_or(0));
            of.iter().map(more).sum()
        };
        let Links { dedicated_now, dedicated_then, .. } = links;
        plan.connections_opened =
            more(dedicated_then, dedicated_now) + plan.upstreams.iter().map(|upstream| upstream.opened).sum::<usize>();
        plan.connections_closed =
            more(dedicated_now, dedicated_then) + plan.upstreams.iter().map(|upstream| upstream.closed).sum::<usize>();
        plan.risk = plan.weigh();
        plan
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    fn upstream(
        &mut self,
        name: &str,
        (now, was): (&Settings, Option<&UpstreamSettings>),
        (then, will): (&Settings, Option<&UpstreamSettings>),
        pool: &[String],
        links: &Links,
    ) {
        let count = |of: &BTreeMap<String, usize>| of.get(name).copied().unwrap_or(0);
        let (before, mut after) = (count(&links.now), count(&links.then));
        let (change, keys) = match (was, will) {
            (None, Some(_)) => (Change::Added, Vec::new()),
            (Some(_), None) => (Change::Removed, Vec::new()),
            (Some(was), Some(will)) => {
                let mut keys = differing(was, will);
                // Secrets are written as stars.
                for (key, differs) in
                    [("auth", was.auth != will.auth), ("proxy", was.proxy != will.proxy), ("url", was.url != will.url)]
                {
                    if differs && !keys.iter().any(|known| known.split('.').next() == Some(key)) {
                        keys.insert(0, key.into());
                    }
                }
                let defined_anew = dialect_chain(now, &will.dialect) != dialect_chain(then, &will.dialect);
                if was.dialect == will.dialect && defined_anew {
                    keys.push(format!("dialects.{}", will.dialect));
                }
                // Of `[pool]`, what the upstream has no say of its own about.
                let inherited = now.pool.overridden_by(&was.pool) != then.pool.overridden_by(&will.pool);
                if inherited && was.pool == will.pool {
                    keys.extend(pool.iter().map(|key| format!("pool.{key}")));
                }
                if keys.is_empty() && after > 0 && self.paths.is_empty() {
                    // What load has made more of is not closed for having been looked at.
                    after = after.max(before);
                }
                if keys.is_empty() && before == after {
                    return;
                }
                // Links are opened with the settings of their upstream; whatever differs needs new ones.
                (if keys.is_empty() { Change::Changed } else { Change::Restarted }, keys)
            }
            (None, None) => return,
        };
        let (opened, closed) = match change {
            Change::Restarted => (after, before),
            _ => (after.saturating_sub(before), before.saturating_sub(after)),
        };
        self.upstreams.push(UpstreamPlan { upstream: name.to_owned(), change, keys, opened, closed });
    }

    fn monitor(&mut self, name: &str, was: Option<&MonitorSettings>, will: Option<&MonitorSettings>) {
        let (change, keys) = match (was, will) {
            (None, Some(_)) => (Change::Added, Vec::new()),
            (Some(_), None) => (Change::Removed, Vec::new()),
            (Some(was), Some(will)) if was != will => (Change::Changed, differing(was, will)),
            _ => return,
        };
        let topics = |of: Option<&MonitorSettings>| -> BTreeSet<String> {
            of.iter().flat_map(|monitor| monitor.topics.iter().cloned()).collect()
        };
        let (before, after) = (topics(was), topics(will));
        let (added, removed) = (after.difference(&before).count(), before.difference(&after).count());
        let monitor = name.to_owned();
        self.monitors.push(MonitorPlan { monitor, change, keys, topics_added: added, topics_removed: removed });
    }

    fn topics(&mut self, now: &Settings, then: &Settings) {
        let (was, will) = (topics_of(now), topics_of(then));
        let rebuilt = |topic: &PlannedTopic| {
            let of = self.upstreams.iter().find(|plan| plan.upstream == topic.upstream);
            of.is_some_and(|plan| plan.change == Change::Restarted)
        };
        let elsewhere = |topic: &&PlannedTopic, others: &BTreeSet<PlannedTopic>| {
            others.iter().any(|other| other.topic == topic.topic && other.upstream != topic.upstream)
        };
        let (mut added, mut removed) = (Vec::new(), Vec::new());
        let gone: BTreeSet<PlannedTopic> = was.difference(&will).cloned().collect();
        let new: BTreeSet<PlannedTopic> = will.difference(&was).cloned().collect();
        let mut moved: Vec<PlannedTopic> = was.intersection(&will).filter(|topic| rebuilt(topic)).cloned().collect();
        for topic in &new {
            if elsewhere(&topic, &gone) { &mut moved } else { &mut added }.push(topic.clone());
        }
        for topic in &gone {
            if !elsewhere(&topic, &new) {
                removed.push(topic.clone());
            }
        }
        moved.sort();
        (self.topics_added, self.topics_removed, self.topics_moved) = (added, removed, moved);
    }

    fn weigh(&self) -> Risk {
        let changed = |change: Change| self.monitors.iter().any(|monitor| monitor.change == change);
        let upstream = |change: Change| self.upstreams.iter().any(|upstream| upstream.change == change);
        // Of a topic that another monitor goes on with, this one's events stop all the same.
        let loses = self.monitors.iter().any(|monitor| monitor.topics_removed > 0);
        let stops = changed(Change::Removed) || upstream(Change::Removed) || loses;
        if stops || upstream(Change::Restarted) || !self.restart_needed.is_empty() {
            return Risk::High;
        }
        let links = self.connections_opened + self.connections_closed > 0 || !self.paths.is_empty();
        // More topics of a monitor only add; all else changes what is journaled, or who comes first.
        let otherwise = self.monitors.iter().any(|monitor| monitor.keys.iter().any(|key| key != "topics"));
        let quiet = |key: &String| key == "log.level";
        if links
            || otherwise
            || !self.topics_moved.is_empty()
            || upstream(Change::Changed)
            || !self.at_once.iter().all(quiet)
        {
            return Risk::Medium;
        }
        let nothing = self.upstreams.is_empty() && self.monitors.is_empty() && self.at_once.is_empty();
        if nothing { Risk::None } else { Risk::Low }
    }
}

impl Settings {
    /// These settings with what of others takes effect while a daemon runs.
    #[must_use]
    pub fn with_live_parts_of(&self, other: &Self) -> Self {
        let mut live = self.clone();
        live.log.level.clone_from(&other.log.level);
        live.shedding = other.shedding.clone();
        live.reload = other.reload.clone();
        live.smart_streaming = other.smart_streaming.clone();
        live.rollout = other.rollout.clone();
        live.guard = other.guard.clone();
        live.alerts = other.alerts.clone();
        live.notify = other.notify.clone();
        live.fault_tolerance = other.fault_tolerance.clone();
        live.pool = other.pool.clone();
        live.dialects = other.dialects.clone();
        live.upstreams = other.upstreams.clone();
        live.monitors = other.monitors.clone();
        live
    }
}

/// The declarations that a dialect is made of, as the settings have them.
fn dialect_chain<'s>(settings: &'s Settings, name: &str) -> Vec<&'s toml::Table> {
    let mut chain: Vec<&toml::Table> = Vec::new();
    let mut next = Some(name);
    while let Some(table) = next.and_then(|name| settings.dialects.get(name)) {
        if chain.len() > settings.dialects.len() {
            break;
        }
        chain.push(table);
        next = table.get("extends").and_then(toml::Value::as_str);
    }
    chain
}

/// With every path as a text that JSON has a form for.
fn printable(settings: &Settings) -> Settings {
    let mut settings = settings.clone();
    for (_, path) in paths(&mut settings) {
        *path = path.to_string_lossy().into_owned().into();
    }
    settings
}

fn names<'s, T>(one: &'s BTreeMap<String, T>, other: &'s BTreeMap<String, T>) -> BTreeSet<&'s String> {
    one.keys().chain(other.keys()).collect()
}

fn topics_of(settings: &Settings) -> BTreeSet<PlannedTopic> {
    let of = |monitor: &MonitorSettings| {
        let topics = |upstream: &String| {
            let upstream = upstream.clone();
            monitor.topics.clone().into_iter().map(move |topic| PlannedTopic { upstream: upstream.clone(), topic })
        };
        monitor.upstream.iter().flat_map(topics).collect::<Vec<_>>()
    };
    settings.monitors.values().flat_map(of).collect()
}

/// The keys in which two of a kind differ, as TOML writes them; lists count as one.
fn differing<T: Serialize>(one: &T, other: &T) -> Vec<String> {
    // Maps with string keys, texts and numbers: serialization has nothing to refuse.
    let tree = |of: &T| serde_json::to_value(of).unwrap_or_default();
    let mut keys = Vec::new();
    walk(Some(&tree(one)), Some(&tree(other)), &KeyPath::default(), &mut keys);
    keys
}

fn walk(one: Option<&Value>, other: Option<&Value>, path: &KeyPath, keys: &mut Vec<String>) {
    match (one, other) {
        (Some(Value::Object(one)), Some(Value::Object(other))) => {
            let names: BTreeSet<&String> = one.keys().chain(other.keys()).collect();
            for name in names {
                walk(one.get(name), other.get(name), &path.key(name), keys);
            }
        }
        (one, other) if one != other => keys.push(path.to_string()),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(text: &str) -> Settings {
        toml::from_str(text).unwrap()
    }

    const NOW: &str = "[upstreams.feed]\nurl = \"wss://example.com/ws\"\ndialect = \"binance\"\n\
        [monitors.a]\ndomain = \"d\"\nupstream = \"feed\"\ntopics = [\"x\", \"y\"]\n";

    fn links(now: usize, then: usize) -> Links {
        let of = |count| BTreeMap::from([("feed".to_owned(), count)]);
        Links { now: of(now), then: of(then), ..Links::default() }
    }

    fn plan(then: &str) -> Plan {
        Plan::between(&settings(NOW), &settings(then), &links(2, 2))
    }

    fn topics(list: &[PlannedTopic]) -> Vec<&str> {
        list.iter().map(|topic| topic.topic.as_str()).collect()
    }

    #[test]
    fn nothing_changed_is_no_plan() {
        let plan = plan(NOW);
        assert!(plan.is_empty(), "{plan:?}");
        assert_eq!(plan.risk, Risk::None);
    }

    #[test]
    fn topics_and_monitors_within_the_links_that_are_there_are_of_low_risk() {
        let more = plan(&NOW.replace("\"y\"]", "\"y\", \"z\"]"));
        assert_eq!((more.risk, topics(&more.topics_added)), (Risk::Low, vec!["z"]));
        let monitor = format!("{NOW}[monitors.b]\ndomain = \"d\"\nupstream = \"feed\"\ntopics = [\"x\"]\n");
        let more = plan(&monitor);
        assert_eq!((more.risk, more.monitors[0].change, more.topics_added.len()), (Risk::Low, Change::Added, 0));
        assert_eq!(plan(&format!("{NOW}[log]\nlevel = \"debug\"\n")).risk, Risk::Low);
        let opening = Plan::between(&settings(NOW), &settings(&monitor), &links(2, 3));
        assert_eq!((opening.risk, opening.connections_opened), (Risk::Medium, 1));
    }

    #[test]
    fn what_changes_how_events_are_read_or_who_comes_first_is_of_medium_risk() {
        for line in ["priority = \"low\"\n", "dedupe = \"topic\"\n", "event = { id = \"/x\" }\n"] {
            let plan = plan(&format!("{NOW}{line}"));
            assert_eq!((plan.risk, plan.monitors.len()), (Risk::Medium, 1), "{line}");
        }
        assert_eq!(plan(&format!("{NOW}[shedding]\nenabled = true\n")).risk, Risk::Medium);
    }

    #[test]
    fn what_stops_being_taken_is_of_high_risk() {
        let less = plan(&NOW.replace(", \"y\"", ""));
        assert_eq!((less.risk, topics(&less.topics_removed)), (Risk::High, vec!["y"]));
        let none = plan("");
        assert_eq!(
            (none.risk, none.monitors[0].change, none.upstreams[0].change),
            (Risk::High, Change::Removed, Change::Removed)
        );
    }

    #[test]
    fn an_upstream_with_another_address_dialect_or_password_is_connected_to_anew() {
        let of = |from: &str, to: &str| plan(&NOW.replace(from, to));
        let moved = of("example.com", "example.org");
        assert_eq!((moved.risk, moved.upstreams[0].change), (Risk::High, Change::Restarted));
        assert_eq!((moved.connections_opened, moved.connections_closed), (2, 2));
        assert_eq!(topics(&moved.topics_moved), ["x", "y"]);
        assert_eq!(of("\"binance\"", "\"okx\"").upstreams[0].keys, ["dialect"]);
        let secret = |password: &str| settings(&NOW.replace("wss://", &format!("wss://me:{password}@")));
        let plan = Plan::between(&secret("one"), &secret("two"), &links(2, 2));
        assert_eq!((plan.upstreams[0].keys.as_slice(), plan.risk), (&["url".to_owned()][..], Risk::High));
    }

    #[test]
    fn a_dialect_that_an_upstreams_own_extends_counts_as_its_own() {
        let with = |ping: &str| {
            let dialects = "[dialects.mine]\nextends = \"base\"\n[dialects.base]\nextends = \"binance\"\n";
            settings(&format!("{}{dialects}about = \"{ping}\"\n", NOW.replace("\"binance\"", "\"mine\"")))
        };
        let plan = Plan::between(&with("a"), &with("b"), &links(2, 2));
        assert_eq!(plan.upstreams[0].keys, ["dialects.mine"]);
        assert!(Plan::between(&with("a"), &with("a"), &links(2, 2)).is_empty());
    }

    #[test]
    fn a_monitor_that_goes_to_another_upstream_moves_its_topics() {
        let two = format!("{NOW}[upstreams.other]\nurl = \"wss://example.org/ws\"\ndialect = \"binance\"\n");
        let then = two.replace("upstream = \"feed\"", "upstream = \"other\"");
        let plan = Plan::between(&settings(&two), &settings(&then), &Links::default());
        assert_eq!(topics(&plan.topics_moved), ["x", "y"]);
        assert!(plan.topics_added.is_empty() && plan.topics_removed.is_empty());
        assert_eq!(plan.risk, Risk::Medium);
    }

    #[test]
    fn a_pools_settings_need_new_links_of_the_upstreams_that_have_none_of_their_own() {
        let larger = format!("{NOW}[pool]\nmax_connections = 5\n");
        let plan = Plan::between(&settings(NOW), &settings(&larger), &links(2, 3));
        assert_eq!((plan.risk, plan.upstreams[0].change), (Risk::High, Change::Restarted));
        assert_eq!(plan.upstreams[0].keys, ["pool.max_connections"]);
        let own =
            |text: &str| settings(&text.replace("[monitors", "[upstreams.feed.pool]\nmax_connections = 3\n[monitors"));
        assert!(Plan::between(&own(NOW), &own(&larger), &links(2, 2)).upstreams.is_empty(), "it has its own");
    }

    #[test]
    fn what_needs_a_restart_is_listed_and_not_taken_over() {
        let (now, then) =
            (settings(NOW), settings(&format!("{NOW}[journal]\nretention = \"1d\"\n[log]\nlevel = \"debug\"\n")));
        let plan = Plan::between(&now, &then, &links(2, 2));
        assert_eq!((plan.restart_needed.as_slice(), plan.risk), (&["journal.retention".to_owned()][..], Risk::High));
        let live = now.with_live_parts_of(&then);
        assert_eq!((live.journal, live.log.level.as_str()), (now.journal, "debug"));
    }
}
