//! Upstreams and their links.

use std::time::Duration;

use metrics::{Counter, Histogram, counter, gauge};

use crate::journal::Path;
use crate::upstream::{LinkState, LinkStatus};

super::metrics! {
    FRAMES = Counter "sluice_frames_received_total" ["upstream", "path"]
        "Data frames that came over an upstream's links";
    FRAME_BYTES = Counter "sluice_received_bytes_total" ["upstream", "path"]
        "Bytes of data frames that came over an upstream's links";
    LINKS = Gauge "sluice_links" ["upstream", "path", "state"]
        "Links by what they are doing";
    LINK_CONNECTS = Counter "sluice_link_connects_total" ["upstream", "path", "link"]
        "Connections opened, by link";
    LINK_FAILURES = Counter "sluice_link_failures_total" ["upstream", "path", "cause"]
        "Connections lost or not opened, by cause",
        "once a connection was lost or not opened";
    LINK_MESSAGES = Counter "sluice_link_messages_total" ["upstream", "path", "link"]
        "Data frames that came over a link";
    LINK_STATE = Gauge "sluice_link_state" ["upstream", "path", "link", "state"]
        "1 for the state that a link is in, 0 for the others";
    LINK_TOPICS = Gauge "sluice_link_topics" ["upstream", "path", "link"]
        "Topics placed on a link";
    LINK_LATENCY = Gauge "sluice_link_latency_seconds" ["upstream", "path", "link"]
        "Time from a link's last ping to its answer";
    LINK_AGE = Gauge "sluice_link_age_seconds" ["upstream", "path", "link"]
        "How long a link's connection has been open";
    SILENT_TOPICS = Counter "sluice_topics_silent_total" ["upstream", "path"]
        "Topics of which nothing came for longer than is usual, asked for anew",
        "once a topic was found silent";
    LINKS_REPLACED = Counter "sluice_links_replaced_total" ["upstream", "path", "cause"]
        "Links replaced before they failed, by cause",
        "once a link was replaced";
    LINK_PING = Histogram "sluice_link_ping_seconds" ["upstream", "path"]
        "Time from a ping to its answer",
        "once a ping was answered";
    REFUSED = Counter "sluice_subscriptions_refused_total" ["upstream", "path"]
        "Subscriptions refused or ended by the upstream";
}

/// Figures of one upstream.
pub struct UpstreamMetrics {
    upstream: String,
    path: Path,
    /// What the links of a unit are told from each other by, beside their numbers: the monitor of a dedicated one.
    of: Option<String>,
    frames: Counter,
    bytes: Counter,
    ping: Histogram,
    refused: Counter,
}

/// A dedicated link is called by its monitor.
fn link_labels(upstream: &str, path: Path, of: Option<&str>, number: usize) -> [(&'static str, String); 3] {
    let link = match (of, number) {
        (None, number) => number.to_string(),
        (Some(monitor), 0) => monitor.to_owned(),
        (Some(monitor), number) => format!("{monitor}/{number}"),
    };
    [("upstream", upstream.to_owned()), ("path", path.as_str().to_owned()), ("link", link)]
}

impl UpstreamMetrics {
    /// The handles of a path of `upstream`; on the legacy path, of a monitor.
    pub fn new(upstream: &str, path: Path, of: Option<&str>) -> Self {
        let labels = [("upstream", upstream.to_owned()), ("path", path.as_str().to_owned())];
        Self {
            upstream: upstream.to_owned(),
            path,
            of: of.map(str::to_owned),
            frames: counter!(FRAMES, &labels),
            bytes: counter!(FRAME_BYTES, &labels),
            ping: metrics::histogram!(LINK_PING, &labels),
            refused: counter!(REFUSED, &labels),
        }
    }

    /// A burst came.
    pub fn burst(&self, frames: u64, bytes: u64) {
        self.frames.increment(frames);
        self.bytes.increment(bytes);
    }

    /// A connection was opened.
    pub fn connected(&self, link: usize) {
        counter!(LINK_CONNECTS, &self.link_labels(link)).increment(1);
    }

    fn link_labels(&self, link: usize) -> [(&'static str, String); 3] {
        link_labels(&self.upstream, self.path, self.of.as_deref(), link)
    }

    /// Data frames came over a link. Once a second.
    pub fn link_messages(&self, link: usize, messages: u64) {
        counter!(LINK_MESSAGES, &self.link_labels(link)).increment(messages);
    }

    /// A connection was lost, or did not come about.
    pub fn failed(&self, cause: &'static str) {
        counter!(LINK_FAILURES, "upstream" => self.upstream.clone(), "path" => self.path.as_str(), "cause" => cause)
            .increment(1);
    }

    /// Topics were found silent.
    pub fn silent(&self, topics: usize) {
        counter!(SILENT_TOPICS, "upstream" => self.upstream.clone(), "path" => self.path.as_str())
            .increment(topics as u64);
    }

    /// A link is replaced before it fails.
    pub fn replaced(&self, cause: &'static str) {
        counter!(LINKS_REPLACED, "upstream" => self.upstream.clone(), "path" => self.path.as_str(), "cause" => cause)
            .increment(1);
    }

    /// A ping was answered.
    pub fn ping_answered(&self, latency: Duration) {
        self.ping.record(latency.as_secs_f64());
    }

    /// Subscriptions were refused.
    pub fn subscriptions_refused(&self, topics: usize) {
        self.refused.increment(topics as u64);
    }

    /// How many links are in a state.
    pub fn set_links(upstream: &str, path: Path, state: &'static str, links: usize) {
        #[expect(clippy::cast_precision_loss, reason = "links are few")]
        gauge!(LINKS, "upstream" => upstream.to_owned(), "path" => path.as_str(), "state" => state).set(links as f64);
    }

    /// How a link is. What is not known is not a number.
    #[expect(clippy::cast_precision_loss, reason = "gauges are floats")]
    pub fn set_link(upstream: &str, path: Path, of: Option<&str>, number: usize, link: &LinkStatus) {
        let labels = link_labels(upstream, path, of, number);
        for state in LinkState::ALL {
            let [of_upstream, of_path, of_link] = labels.clone();
            let labels = [of_upstream, of_path, of_link, ("state", state.name().to_owned())];
            gauge!(LINK_STATE, &labels).set(if state == link.state { 1.0 } else { 0.0 });
        }
        gauge!(LINK_TOPICS, &labels).set(link.topics as f64);
        gauge!(LINK_LATENCY, &labels).set(link.latency.map_or(f64::NAN, |latency| latency.as_secs_f64()));
        gauge!(LINK_AGE, &labels).set(link.opened.map_or(f64::NAN, |opened| opened.elapsed().as_secs_f64()));
    }
}
