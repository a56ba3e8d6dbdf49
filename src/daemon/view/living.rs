//! What there is to be measured now, and what is measured of it every few seconds.

use std::collections::BTreeMap;
use std::sync::PoisonError;

use super::DaemonView;
use crate::journal::Path;
use crate::telemetry::{JournalMetrics, Living, UpstreamMetrics};
use crate::upstream::TopicState;

impl DaemonView {
    /// What there is. What is remembered of what is no more is forgotten with its series, so that it begins anew if it comes back.
    pub(in crate::daemon) fn living(&self) -> Living {
        let settings = self.live.settings();
        let mut living = Living::default();
        for label in ["monitor", "upstream", "sink"] {
            living.bind(label);
        }
        settings.monitors.keys().for_each(|name| living.add("monitor", name));
        settings.upstreams.keys().for_each(|name| living.add("upstream", name));
        self.sinks.rows().iter().for_each(|row| living.add("sink", &row.name));
        self.circuits.rows().iter().for_each(|row| living.add_circuit(row.kind.as_str(), &row.name));
        // By upstream and path: topics placed, left out, and that there is room for.
        let mut pools: BTreeMap<(String, Path), [usize; 3]> = BTreeMap::new();
        for watched in self.watched.now() {
            let (roster, links) = (&watched.roster, watched.status.links().len());
            living.add("upstream", &roster.upstream);
            living.add("monitor", &roster.upstream_identity.name);
            roster.monitors.iter().for_each(|monitor| living.add("monitor", &monitor.identity.name));
            for number in 0..links {
                let link = UpstreamMetrics::link_name(watched.of.as_deref(), number);
                living.add_link(&roster.upstream, roster.path.as_str(), link);
            }
            let wanted = roster.wanted().len();
            let left_out =
                watched.status.topics().iter().filter(|topic| **topic == TopicState::LeftOut).count().min(wanted);
            let pool = pools.entry((roster.upstream.clone(), roster.path)).or_default();
            let room = links.saturating_mul(usize::try_from(watched.limits.topics_per_link).unwrap_or(usize::MAX));
            let [placed, out, of] = *pool;
            *pool = [placed + wanted - left_out, out + left_out, of.saturating_add(room)];
        }
        for ((upstream, path), [placed, left_out, room]) in pools {
            UpstreamMetrics::set_pool(&upstream, path, placed, left_out, room);
        }
        JournalMetrics::set_size(self.host.latest().journal_bytes, settings.journal.max_size.0);
        self.followed.lock().unwrap_or_else(PoisonError::into_inner).retain(|name, _| living.contains("monitor", name));
        let mut link_counts = self.link_counts.lock().unwrap_or_else(PoisonError::into_inner);
        link_counts.retain(|(upstream, _), _| living.contains("upstream", upstream));
        drop(link_counts);
        living
    }
}
