//! What the daemon tells other systems of itself: `/metrics`, what asks for it, and what it is sent to.

mod exports;
mod prometheus;
mod series;

use std::path::{Path, PathBuf};

use super::processes::{Daemon, Feed, Settings, until};
use super::support::Workplace;

/// A daemon with monitors, a counter, sinks and faults, at work.
fn at_work(place: &Workplace, more: &str) -> (Feed, Daemon) {
    let faults = ["--repeats", "0.05", "--bad-frames", "0.02", "--disconnect-every", "2s"];
    let feed =
        Feed::start(place, &[["--dialect", "binance", "--rate", "800", "--seed", "5"].as_slice(), &faults].concat());
    let counters = "counters = { makers = { pointer = \"/data/m\", equals = true } }";
    let settings = Settings::new()
        .with("[checkpoint]\ninterval = \"1s\"")
        .with("[sinks.files]\nkind = \"jsonl\"\nfolder = \"files\"\nflush_interval = \"50ms\"")
        .with("[sinks.away]\nkind = \"postgres\"\nurl = \"postgres://nobody@127.0.0.1:1/none\"")
        .with(more)
        .upstream("feed", "binance", feed.url())
        .monitor("one", "spot", "feed", &["btcusdt@trade"], counters)
        .monitor("two", "spot", "feed", &["ethusdt@trade"], "");
    let daemon = Daemon::start(place, &settings);
    until("every stage has had something to do", || {
        let metrics = daemon.metrics();
        let counted = |name: &str| metrics.value(name, &[]) > 0;
        let names = [
            "sluice_quarantined_total",
            "sluice_repeats_total",
            "sluice_sink_rows_total",
            "sluice_link_failures_total",
            "sluice_checkpoints_written_total",
            "sluice_journal_size_bytes",
            "sluice_business_events_total",
        ];
        names.into_iter().all(counted).then_some(())
    });
    (feed, daemon)
}

/// A program of Prometheus: that of `scripts/tools.sh`, else the one on the path.
fn program(name: &str) -> PathBuf {
    let told = std::env::var_os("PROMETHEUS_PROGRAMS").map(PathBuf::from);
    let installed = Path::new(env!("CARGO_TARGET_TMPDIR")).join("../tools/prometheus/usr/bin");
    let found = told.into_iter().chain([installed]).map(|folder| folder.join(name)).find(|program| program.exists());
    found.unwrap_or_else(|| name.into())
}
