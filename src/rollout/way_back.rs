//! How long it takes to take monitors back: each needs a connection of its own again, and upstreams allow so many within a time.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::{Rate, Settings};
use crate::dialect::registry;
use crate::journal::Path;
use crate::upstream::connects_within;

use super::Paths;

/// Taking monitors back should take no longer.
pub const WAY_BACK_MAX: Duration = Duration::from_secs(30);

/// What it takes at one upstream.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UpstreamWayBack {
    /// Which.
    pub upstream: String,
    /// Connections to be opened.
    pub connections: usize,
    /// What the provider allows, in words; none where nothing is stated.
    pub limit: Option<String>,
    /// How long that takes at least.
    pub seconds: f64,
}

/// What it takes to have all monitors on the legacy path again.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct WayBack {
    /// How long the last of them waits for its turn at least.
    pub seconds: f64,
    /// By upstream; those at which nothing has to be opened are left out.
    pub upstreams: Vec<UpstreamWayBack>,
}

impl WayBack {
    /// From one choice of paths to another: every monitor that is on the legacy path then and is not now.
    pub fn between(settings: &Settings, now: &Paths, then: &Paths) -> Self {
        let goes = |name: &str| now.of(name).path == Path::Smart && then.of(name).path == Path::Legacy;
        // Attempts are counted by address, as providers do it.
        let mut before: BTreeMap<String, usize> = BTreeMap::new();
        let mut way = Self::default();
        for (name, upstream) in &settings.upstreams {
            // Of several upstreams the legacy path takes the first.
            let watching = settings.monitors.iter().filter(|(_, monitor)| monitor.upstream.first() == Some(name));
            let connections = watching.filter(|(monitor, _)| goes(monitor)).count();
            if connections == 0 {
                continue;
            }
            let limits = registry::build(&upstream.dialect, &settings.dialects).ok().map(|dialect| dialect.limits());
            let rate = limits.and_then(|limits| limits.overridden_by(&upstream.limits).connects);
            let there = before.entry(upstream.url.address()).or_default();
            *there += connections;
            let seconds = connects_within(*there, rate).as_secs_f64();
            way.seconds = way.seconds.max(seconds);
            let limit = rate.as_ref().map(Rate::to_string);
            way.upstreams.push(UpstreamWayBack { upstream: name.clone(), connections, limit, seconds });
        }
        way
    }

    /// What an operator should know before monitors are put on the smart path.
    pub fn warnings(&self) -> Vec<String> {
        let slow = |way: &&UpstreamWayBack| way.seconds > WAY_BACK_MAX.as_secs_f64();
        let told = |way: &UpstreamWayBack| {
            let limit = way.limit.as_ref().map_or_else(String::new, |limit| format!(", and {limit} are allowed"));
            format!(
                "the way back would take {:.0} s at upstream `{}`, more than {} s: {} connections would have to be opened{limit}",
                way.seconds,
                way.upstream,
                WAY_BACK_MAX.as_secs(),
                way.connections
            )
        };
        self.upstreams.iter().filter(slow).map(told).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rollout::choice::choose;

    fn settings(monitors: usize, limits: &str) -> Settings {
        let mut text = format!(
            "[smart_streaming]\nenabled = true\n[upstreams.feed]\nurl = \"wss://example.com/ws\"\ndialect = \"ethereum\"\n{limits}"
        );
        text.extend((0..monitors).map(|number| {
            format!("[monitors.m{number}]\ndomain = \"d\"\nupstream = \"feed\"\ntopics = [\"t{number}\"]\n")
        }));
        toml::from_str(&text).unwrap()
    }

    fn way(settings: &Settings, from: f64, to: f64) -> WayBack {
        WayBack::between(settings, &choose(settings, Some(from)), &choose(settings, Some(to)))
    }

    #[test]
    fn the_way_back_takes_as_long_as_the_provider_lets_connections_be_opened() {
        // The first so many at once, and as many again in each span.
        let limited = settings(100, "limits = { connects = { count = 10, per = \"1m\" } }\n");
        let back = way(&limited, 1.0, 0.0);
        assert_eq!((back.upstreams.len(), back.upstreams[0].connections), (1, 100));
        assert!((back.seconds - 540.0).abs() < 0.001, "{back:?}");
        let warning = back.warnings().join("\n");
        assert!(warning.contains("540 s") && warning.contains("`feed`") && warning.contains("10 in 1m"), "{warning}");
        let part = way(&limited, 0.5, 0.0);
        assert!(part.upstreams[0].connections < 70 && part.seconds < back.seconds, "{part:?}");
    }

    #[test]
    fn without_a_limit_only_our_own_pace_counts_and_nobody_is_warned() {
        let back = way(&settings(100, ""), 1.0, 0.0);
        // Four each quarter of a second.
        assert!((back.seconds - 6.0).abs() < 0.001, "{back:?}");
        assert_eq!((back.upstreams[0].limit.as_ref(), back.warnings().len()), (None, 0));
        assert_eq!(way(&settings(100, ""), 0.0, 1.0), WayBack::default(), "nothing goes back");
    }

    #[test]
    fn upstreams_at_the_same_address_share_what_it_allows() {
        let limits = "limits = { connects = { count = 1, per = \"1s\" } }\n";
        let other = "[upstreams.other]\nurl = \"wss://example.com/other\"\ndialect = \"ethereum\"\nlimits = { connects = { count = 1, per = \"1s\" } }\n";
        let mut text = format!("{limits}{other}");
        text.push_str("[monitors.x]\ndomain = \"d\"\nupstream = \"other\"\ntopics = [\"x\"]\n");
        let back = way(&settings(20, &text), 1.0, 0.0);
        assert!((back.seconds - 20.0).abs() < 0.001, "twenty and one: {back:?}");
    }
}
