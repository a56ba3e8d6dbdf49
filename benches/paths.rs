//! What the two paths cost on the same feed: `cargo bench --bench paths` (or `-- --quick`).
//!
//! A provider in another process serves trades of about 165 bytes of 12 topics as fast as they are read, to the daemon with a monitor
//! for each topic: by the legacy path (a connection for each, each message durable before the next one is read), by the legacy path
//! that drops repeats as well, and by the smart path (a pool of 3 connections). In turn, run by run, so that a machine that speeds up
//! or slows down does so for all. Told are medians: messages a second of wall and of CPU, syncs, blocks and written bytes a message,
//! peak memory, and connections.

#[expect(dead_code, reason = "it measures more than is asked here")]
#[path = "ingest/consumer.rs"]
mod consumer;

use std::path::Path;

use consumer::{Cost, Daemon, Flood};

const MONITORS: usize = 12;
const CONNECTIONS: usize = 3;
/// Messages of a run; the legacy path takes some hundred times as long for each.
const SMART_MESSAGES: u64 = 2_000_000;
const LEGACY_MESSAGES: u64 = 24_000;
const ROUNDS: usize = 5;

const MODES: [(&str, &str, u64); 3] = [
    ("legacy", "smart_streaming.enabled = false\n", LEGACY_MESSAGES),
    (
        "legacy, repeats dropped",
        "smart_streaming.enabled = false\nsmart_streaming.legacy_dedupe = true\n",
        LEGACY_MESSAGES,
    ),
    ("smart", "smart_streaming.enabled = true\n", SMART_MESSAGES),
];

fn main() {
    let quick = std::env::args().any(|argument| argument == "--quick");
    let (rounds, part) = if quick { (3, 4) } else { (ROUNDS, 1) };
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let folder = tempfile::Builder::new().prefix("sluice-bench").tempdir_in(folder).expect("a folder");
    let mut costs: [Vec<Cost>; MODES.len()] = Default::default();
    for round in 0..rounds {
        for (place, (costs, (_, settings, messages))) in costs.iter_mut().zip(MODES).enumerate() {
            let run = folder.path().join(format!("{round}-{place}"));
            let flood = Flood::start(messages / part, MONITORS, None);
            let daemon = Daemon::by_path(&flood, CONNECTIONS, MONITORS, settings, &run);
            costs.push(daemon.cost(messages / part));
            std::fs::remove_dir_all(run).expect("its folder");
        }
    }
    println!("{MONITORS} monitors of a topic each, {rounds} rounds; medians");
    for (costs, (mode, _, messages)) in costs.iter().zip(MODES) {
        let of = |figure: &dyn Fn(&Cost) -> f64| median(costs.iter().map(figure).collect());
        println!("{mode}: {} messages a run", messages / part);
        println!(
            "  messages a second: {:.0}; a second of CPU: {:.0}",
            of(&|cost| cost.per_second),
            of(&|cost| cost.per_cpu_second)
        );
        println!(
            "  for each message: {:.2} µs of CPU, {:.4} syncs, {:.4} blocks, {:.0} bytes written",
            of(&|cost| 1e6 / cost.per_cpu_second),
            of(&|cost| cost.syncs),
            of(&|cost| cost.blocks),
            of(&|cost| cost.bytes)
        );
        println!("  connections: {:.0}; peak memory: {:.1} MB", of(&|cost| cost.connections), of(&|cost| cost.peak_mb));
    }
    let ratio = |of: &dyn Fn(&Cost) -> f64, over: usize, under: usize| {
        median(costs[over].iter().zip(&costs[under]).map(|(one, other)| of(one) / of(other)).collect())
    };
    println!("smart over legacy (medians of the rounds' ratios):");
    println!("  throughput for each CPU: {:.1} (aim 5)", ratio(&|cost| cost.per_cpu_second, 2, 0));
    println!("  connections: {:.2} (aim 0.25)", ratio(&|cost| cost.connections, 2, 0));
    println!("  bytes: {:.2}; memory: {:.2}", ratio(&|cost| cost.bytes, 2, 0), ratio(&|cost| cost.peak_mb, 2, 0));
    println!(
        "legacy that drops repeats over legacy that remembers them only, CPU a message: {:.3}",
        ratio(&|cost| cost.per_cpu_second, 0, 1)
    );
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}
