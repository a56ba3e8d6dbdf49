//! The pool of an upstream as the server shows it.

use std::time::Duration;

use tokio::time::Instant;

use super::watched::Watched;
use crate::breaker::BreakerState;
use crate::clock::UnixNanos;
use crate::dialect::TopicId;
use crate::journal::Path;
use crate::server::{LinkRow, PoolLimits, PoolRow, TopicRow};
use crate::upstream::{LinkState, LinkStatus, TopicState};

impl Watched {
    /// Its links and limits; `topics`: each topic as well.
    pub(super) fn pool_row(&self, circuit: Option<BreakerState>, topics: bool) -> PoolRow {
        let Self { of, roster, status, limits } = self;
        let links = status.links();
        let wanted = status.wanted();
        let states = status.topics();
        // A generation of the roster may be newer than what is known of its topics.
        let state = |topic: TopicId| states.get(topic.0 as usize);
        let all = roster.wanted();
        let left_out = all.iter().filter(|topic| state(**topic) == Some(&TopicState::LeftOut)).count();
        let shown = |(number, link): &(usize, &LinkStatus)| *number < wanted || link.since.is_some();
        PoolRow {
            upstream: roster.upstream.clone(),
            path: roster.path,
            monitor: of.clone(),
            circuit: circuit.filter(|_| roster.path == Path::Smart),
            mode: None,
            links_wanted: wanted,
            links_open: links.iter().filter(|link| matches!(link.state, LinkState::Open | LinkState::Held)).count(),
            links_max: links.len(),
            topics_placed: all.len() - left_out,
            topics_left_out: left_out,
            messages_per_second: links.iter().map(|link| link.rate).sum(),
            limits: PoolLimits {
                topics_per_link: limits.topics_per_link,
                connects: limits.connects,
                messages: limits.messages,
                subscriptions: limits.subscriptions,
            },
            links: links.iter().enumerate().filter(shown).map(|(number, link)| link_row(number, link)).collect(),
            topics: topics.then(|| self.topic_rows(all)),
        }
    }

    fn topic_rows(&self, mut wanted: Vec<TopicId>) -> Vec<TopicRow> {
        let details = self.status.topic_details();
        wanted.sort();
        let row = |topic: TopicId| {
            let status = details.get(topic.0 as usize)?;
            let error = match &status.state {
                TopicState::Refused(reason) => Some(reason.clone()),
                _ => None,
            };
            Some(TopicRow {
                topic: self.roster.topic_name(topic).to_string(),
                link: status.link,
                state: status.state.name().to_owned(),
                messages: status.messages,
                // What came before it lost its link is not what comes now.
                messages_per_second: status.link.map_or(0.0, |_| status.rate),
                last_seen: status.last.map(|at| at.to_string()),
                error,
            })
        };
        wanted.into_iter().filter_map(row).collect()
    }
}

fn link_row(number: usize, link: &LinkStatus) -> LinkRow {
    let ago = |instant: Instant| instant.elapsed();
    LinkRow {
        link: number,
        state: link.state.name().to_owned(),
        since: link.since.map(|since| UnixNanos::now().saturating_sub(ago(since)).to_string()),
        topics: link.topics,
        messages: link.messages,
        messages_per_second: link.rate,
        latency_ms: link.latency.map(|latency| latency.as_secs_f64() * 1e3),
        age_seconds: link.opened.map(ago).as_ref().map(Duration::as_secs_f64),
        connects: link.connects,
        last_error: link.last_error.clone(),
    }
}
