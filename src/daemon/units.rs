//! What the monitors of an upstream are divided into: those on the smart path share a pool, each on the legacy path has a connection
//! of its own. Pure: settings and places in, monitors by unit out.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::config::{MonitorSettings, Settings, UpstreamSettings};
use crate::dialect::Limits;
use crate::journal::{Path, SHADOW_DOMAINS};
use crate::monitor::crossing::Crossing;
use crate::rollout::Paths;

/// What one keeper keeps.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct UnitKey {
    pub(super) upstream: String,
    /// The monitor that has it for itself; none: the pool of the smart path.
    pub(super) of: Option<String>,
}

impl UnitKey {
    pub(super) fn pool(upstream: &str) -> Self {
        Self { upstream: upstream.to_owned(), of: None }
    }

    pub(super) fn dedicated(upstream: &str, monitor: &str) -> Self {
        Self { upstream: upstream.to_owned(), of: Some(monitor.to_owned()) }
    }

    pub(super) fn path(&self) -> Path {
        if self.of.is_some() { Path::Legacy } else { Path::Smart }
    }
}

impl fmt::Display for UnitKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.of {
            None => f.write_str(&self.upstream),
            Some(monitor) => write!(f, "{} for {monitor}", self.upstream),
        }
    }
}

/// Where a monitor is.
#[derive(Debug, Clone)]
pub(super) enum Place {
    /// On one path.
    On(Path),
    /// On both, until the old one has brought everything.
    Both(Arc<Crossing>),
    /// On none: what the old path let go has to be over before the new one begins, since nothing tells what comes twice.
    Between {
        /// Where it was.
        from: Path,
        /// Where it will be.
        to: Path,
    },
}

impl Place {
    /// The path that it is counted to: of one on its way, where it was.
    pub(super) fn counts(&self) -> Path {
        match self {
            Self::On(path) | Self::Between { from: path, .. } => *path,
            Self::Both(crossing) => crossing.from,
        }
    }

    fn takes(&self, path: Path) -> bool {
        match self {
            Self::On(at) => *at == path,
            Self::Both(_) => true,
            Self::Between { .. } => false,
        }
    }
}

/// Places by monitor. One that has none is on the smart path.
pub(super) type Places = BTreeMap<String, Place>;

/// A monitor as the legacy path takes it: of redundant upstreams the first, since nothing would drop what others bring again.
pub(super) fn on_legacy(monitor: &MonitorSettings) -> MonitorSettings {
    let upstream = monitor.upstream.iter().take(1).cloned().collect();
    MonitorSettings { upstream, ..monitor.clone() }
}

/// A monitor as it is taken to be compared only.
fn as_shadow(monitor: MonitorSettings) -> MonitorSettings {
    MonitorSettings { domain: format!("{SHADOW_DOMAINS}{}", monitor.domain), ..monitor }
}

/// The monitors of every unit.
pub(super) fn divide(
    monitors: &BTreeMap<String, MonitorSettings>,
    places: &Places,
    paths: &Paths,
) -> BTreeMap<UnitKey, BTreeMap<String, MonitorSettings>> {
    let mut units: BTreeMap<UnitKey, BTreeMap<String, MonitorSettings>> = BTreeMap::new();
    for (name, monitor) in monitors {
        let place = places.get(name).unwrap_or(&Place::On(Path::Smart));
        // While both paths count there is nothing to compare with.
        let shadow_on = match place {
            Place::On(path) if paths.of(name).shadowed => Some(path.other()),
            _ => None,
        };
        let mut add = |path: Path, monitor: MonitorSettings| {
            for upstream in &monitor.upstream {
                let key = match path {
                    Path::Smart => UnitKey::pool(upstream),
                    Path::Legacy => UnitKey::dedicated(upstream, name),
                };
                units.entry(key).or_default().insert(name.clone(), monitor.clone());
            }
        };
        for path in [Path::Smart, Path::Legacy] {
            let monitor = || match path {
                Path::Smart => monitor.clone(),
                Path::Legacy => on_legacy(monitor),
            };
            if place.takes(path) {
                add(path, monitor());
            } else if shadow_on == Some(path) {
                add(path, as_shadow(monitor()));
            }
        }
    }
    units
}

/// An upstream as a monitor's dedicated connection to it: one, or as many as its topics need.
pub(super) fn dedicated(upstream: &UpstreamSettings, limits: Limits, topics: usize) -> UpstreamSettings {
    let links = u32::try_from(dedicated_links(upstream, limits, topics)).unwrap_or(u32::MAX);
    let mut upstream = upstream.clone();
    upstream.pool.min_connections = Some(links);
    upstream.pool.max_connections = Some(links);
    upstream
}

/// How many links that are.
pub(super) fn dedicated_links(upstream: &UpstreamSettings, limits: Limits, topics: usize) -> usize {
    let per_link = upstream.topics_per_link.unwrap_or(limits.topics_per_link).max(1) as usize;
    topics.div_ceil(per_link).max(1)
}

/// Whether a topic of a monitor is wanted of an upstream, by upstream, monitor and topic.
pub(super) fn wanted_topics(settings: &Settings, places: &Places) -> impl Fn(&str, &str, &str) -> bool + use<> {
    let mut wanted = std::collections::HashSet::new();
    for (name, monitor) in &settings.monitors {
        let only_legacy = matches!(places.get(name), Some(Place::On(Path::Legacy)));
        let upstreams = if only_legacy { monitor.upstream.get(..1).unwrap_or_default() } else { &monitor.upstream[..] };
        for upstream in upstreams {
            let topics = monitor.topics.iter();
            wanted.extend(topics.map(|topic| (upstream.clone(), name.clone(), topic.clone())));
        }
    }
    move |upstream, monitor, topic| wanted.contains(&(upstream.to_owned(), monitor.to_owned(), topic.to_owned()))
}
