//! What was found and decided at the start, for a person to read.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::view::Watched;
use crate::config::Settings;
use crate::config::units::show_duration;
use crate::journal::RecoverySummary;

/// The start of a daemon.
#[derive(Debug, Clone)]
pub struct Summary {
    data_dir: PathBuf,
    recovery: Vec<String>,
    remembered: u64,
    ttl: Duration,
    upstreams: Vec<UpstreamLine>,
    address: SocketAddr,
    took: Duration,
}

#[derive(Debug, Clone)]
struct UpstreamLine {
    name: String,
    url: String,
    dialect: String,
    links: usize,
    topics: usize,
    monitors: Vec<String>,
}

impl Summary {
    pub(super) fn new(
        settings: &Settings,
        recovered: &RecoverySummary,
        remembered: u64,
        watched: &[Watched],
        address: SocketAddr,
        took: Duration,
    ) -> Self {
        let upstreams = watched
            .iter()
            .filter_map(|watched| {
                let name = &watched.roster.upstream;
                let upstream = settings.upstreams.get(name)?;
                Some(UpstreamLine {
                    name: name.clone(),
                    url: upstream.url.to_string(),
                    dialect: upstream.dialect.clone(),
                    links: watched.links,
                    topics: watched.roster.topics.len(),
                    monitors: watched.roster.monitors.iter().map(|monitor| monitor.identity.name.to_string()).collect(),
                })
            })
            .collect();
        Self {
            data_dir: settings.daemon.data_dir.clone(),
            recovery: recovery_lines(recovered),
            remembered,
            ttl: settings.dedupe.ttl.mul_f64(settings.cache.ttl_multiplier),
            upstreams,
            address,
            took,
        }
    }

    /// Where health and metrics are served.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const NAMES_MAX: usize = 8;
        writeln!(f, "sluice {} started in {:.0?}", env!("CARGO_PKG_VERSION"), self.took)?;
        writeln!(f, "  journal   {}", self.data_dir.display())?;
        for line in &self.recovery {
            writeln!(f, "            {line}")?;
        }
        writeln!(f, "  dedupe    {} ids of the last {} remembered", self.remembered, show_duration(self.ttl))?;
        for upstream in &self.upstreams {
            writeln!(
                f,
                "  upstream  {} ({}) {}: {} over {}",
                upstream.name,
                upstream.dialect,
                upstream.url,
                counted(upstream.topics, "topic"),
                counted(upstream.links, "link")
            )?;
            let named = upstream.monitors.len().min(NAMES_MAX);
            let more = upstream.monitors.len() - named;
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            writeln!(f, "            for {}{more}", upstream.monitors[..named].join(", "))?;
        }
        write!(f, "  server    http://{}/metrics, /v1/health/ready", self.address)
    }
}

fn recovery_lines(recovered: &RecoverySummary) -> Vec<String> {
    let held = recovered.durable.0 - recovered.earliest.0;
    let state = if recovered.clean { "closed cleanly before" } else { "not closed cleanly before" };
    let mut lines = vec![if recovered.segments == 0 {
        format!("new, {}", recovered.journal)
    } else {
        let segments = counted(recovered.segments, "segment");
        format!("{held} events in {segments}, durable up to offset {}, {state}", recovered.durable)
    }];
    if let Some(rewritten) = &recovered.rewritten {
        lines.push(format!(
            "{} that may not have reached the disk were written anew, with {} events",
            counted(rewritten.blocks, "whole block"),
            rewritten.events
        ));
    }
    if let Some(cut) = &recovered.cut {
        lines.push(format!(
            "{} bytes at the end of {} were cut ({}); they were never promised, and are kept at {}",
            cut.bytes,
            cut.segment.display(),
            cut.reason,
            cut.kept_at.display()
        ));
    }
    lines
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}
