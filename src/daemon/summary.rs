//! What was found and decided at the start, for a person to read.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::watched::Watched;
use crate::clock::UnixNanos;
use crate::config::Settings;
use crate::config::units::show_duration;
use crate::journal::{KnownDurable, RecoverySummary};
use crate::recovery::{Bookmarks, ResumeFound};
use crate::sink::SinkMark;

/// The start of a daemon.
#[derive(Debug, Clone)]
pub struct Summary {
    data_dir: PathBuf,
    recovery: Vec<String>,
    checkpoint: Vec<String>,
    sinks: Vec<String>,
    resumed: Vec<String>,
    remembered: u64,
    ttl: Duration,
    upstreams: Vec<UpstreamLine>,
    address: SocketAddr,
    /// Whether it is asked over TLS.
    tls: bool,
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
        decided: &Decided<'_>,
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
                    links: watched.status.wanted(),
                    topics: watched.roster.topics.len(),
                    monitors: watched.roster.monitors.iter().map(|monitor| monitor.identity.name.to_string()).collect(),
                })
            })
            .collect();
        Self {
            data_dir: settings.daemon.data_dir.clone(),
            recovery: recovery_lines(decided.recovered),
            checkpoint: decided.bookmarks.lines(UnixNanos::now()),
            sinks: decided.sink_lines(settings),
            resumed: decided.resumed.iter().map(resumed_line).collect(),
            remembered,
            ttl: settings.dedupe.ttl.mul_f64(settings.cache.ttl_multiplier),
            upstreams,
            address,
            tls: settings.server.tls.certificate.is_some(),
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
        let labelled = [("checkpoint", &self.checkpoint), ("sinks", &self.sinks), ("resume", &self.resumed)];
        for (label, lines) in labelled {
            for (number, line) in lines.iter().enumerate() {
                writeln!(
                    f,
                    "  {:<10}{}{line}",
                    if number == 0 { label } else { "" },
                    if label.len() < 10 { "" } else { " " }
                )?;
            }
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
        write!(
            f,
            "  server    {}://{}/metrics, /v1/health/ready",
            if self.tls { "https" } else { "http" },
            self.address
        )
    }
}

/// What a start has found, and decided by it.
pub(super) struct Decided<'a> {
    pub(super) recovered: &'a RecoverySummary,
    pub(super) bookmarks: &'a Bookmarks,
    /// What sinks' stores said of their cursors.
    pub(super) answered: Vec<KnownDurable>,
    /// What the checkpoint says of them.
    pub(super) marks: &'a [SinkMark],
    pub(super) resumed: Vec<ResumeFound>,
}

impl Decided<'_> {
    /// A sink's word counts; the checkpoint's is shown beside it.
    fn sink_lines(&self, settings: &Settings) -> Vec<String> {
        let line = |name: &String| {
            let said = self.answered.iter().find(|known| known.who == format!("sink {name}")).map(|known| known.offset);
            let mark = self.marks.iter().find(|mark| mark.name == *name && mark.journal == self.recovered.journal);
            let end = self.recovered.durable.0;
            match (said, mark.map(|mark| mark.next)) {
                (Some(said), mark) => {
                    let aside = match mark {
                        Some(mark) if mark != said => format!("; the checkpoint knew {mark}, its own word counts"),
                        _ => String::new(),
                    };
                    format!("{name}: goes on at {said}, {} behind{aside}", end.saturating_sub(said.0))
                }
                (None, Some(mark)) => format!("{name}: its store does not say yet; the checkpoint knew {mark}"),
                (None, None) => format!("{name}: its store does not say yet, or has nothing of this journal"),
            }
        };
        settings.sinks.iter().filter(|(_, sink)| sink.enabled).map(|(name, _)| line(name)).collect()
    }
}

fn resumed_line(found: &ResumeFound) -> String {
    let ResumeFound { upstream, topics, with_token, from_checkpoint, oldest } = found;
    let Some(oldest) = oldest else {
        return format!("{upstream}: from now on, as nothing is known of its {}", counted(*topics, "topic"));
    };
    let checkpoint = match from_checkpoint {
        0 => String::new(),
        some => format!(", {some} of them out of the checkpoint"),
    };
    format!(
        "{upstream}: {with_token} of {} by tokens{checkpoint}; the least is of an event received {oldest}",
        counted(*topics, "topic")
    )
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
