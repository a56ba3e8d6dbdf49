//! The cost of the whole way, from the socket to durable blocks, as a ratio to a bare baseline of the same run.
//!
//! `cargo bench --bench ingest` (or `-- --quick` for a short look). A process serves pre-encoded trades of about 165 bytes as
//! fast as they are taken; the daemon (`sluice run`, with metrics and dedupe on) and the baseline take them in turn, pair by
//! pair, so that a machine that speeds up or slows down does so for both. CPU is user and system time of all threads.

mod baseline;
mod consumer;
mod disk;

use std::path::Path;

use consumer::{Daemon, Figures, Flood};

/// Messages of a counted run.
const MESSAGES: u64 = 3_000_000;
/// Pairs of runs; medians are printed.
const PAIRS: usize = 5;
/// Messages a second when latency is measured, and for how many seconds.
const PACED_RATE: u64 = 10_000;
const PACED_SECONDS: u64 = 20;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some(at) = arguments.iter().position(|argument| argument == "--baseline") {
        baseline::main(&arguments[at + 1..]);
        return;
    }
    let quick = arguments.iter().any(|argument| argument == "--quick");
    let (messages, pairs) = if quick { (1_000_000, 3) } else { (MESSAGES, PAIRS) };
    let folder = tempfile::Builder::new().prefix("sluice-bench").tempdir_in(target_folder()).expect("a folder");

    println!("{messages} messages of about 165 bytes, {pairs} pairs; medians (and all runs)");
    for connections in [1, 4] {
        let mut ratios = Vec::new();
        let (mut daemons, mut baselines) = (Vec::new(), Vec::new());
        for pair in 0..pairs {
            let bare = run_baseline(connections, messages, &folder.path().join(format!("bare-{connections}-{pair}")));
            let full =
                run_daemon(connections, 4, messages, None, &folder.path().join(format!("full-{connections}-{pair}")));
            ratios.push(full.cpu_per_message / bare.cpu_per_message);
            daemons.push(full);
            baselines.push(bare);
        }
        println!("{connections} connection(s), 4 monitors");
        report("baseline", &baselines);
        report("daemon  ", &daemons);
        println!("  CPU ratio daemon/baseline: {} (promise 1.5, aim 1.25)", summary(&ratios, 2));
    }

    let mut ratios = Vec::new();
    let (mut few, mut many) = (Vec::new(), Vec::new());
    for pair in 0..pairs {
        let four = run_daemon(4, 4, messages, None, &folder.path().join(format!("few-{pair}")));
        let thousand = run_daemon(4, 1000, messages, None, &folder.path().join(format!("many-{pair}")));
        ratios.push(thousand.cpu_per_message / four.cpu_per_message);
        few.push(four);
        many.push(thousand);
    }
    println!("4 connections");
    report("4 monitors    ", &few);
    report("1,000 monitors", &many);
    println!("  CPU ratio 1,000/4 monitors: {} (promise 1.2)", summary(&ratios, 2));

    let seconds = if quick { 5 } else { PACED_SECONDS };
    let path = folder.path().join("paced");
    let disk = disk::Probe::start(&folder.path().join("probe"));
    let paced = run_daemon(1, 4, PACED_RATE * seconds, Some(PACED_RATE), &path);
    let sync_p99 = disk.finish();
    println!("{PACED_RATE} messages a second for {seconds} s");
    println!("  p99 from socket to durable: at most {:.1} ms", paced.p99_ms);
    println!("  p99 of a bare fdatasync beside it: {sync_p99:.2} ms; allowed {:.1} ms", (sync_p99 * 2.5).max(25.0));
    println!("  CPU: {:.2} µs a message", paced.cpu_per_message / 1000.0);
}

/// On the disk that holds the build, not on a memory disk.
fn target_folder() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR"))
}

fn run_daemon(connections: usize, monitors: usize, messages: u64, rate: Option<u64>, folder: &Path) -> Figures {
    let flood = Flood::start(messages, monitors, rate);
    let daemon = Daemon::start(&flood, connections, monitors, "", folder);
    let figures = daemon.measure(messages, None);
    std::fs::remove_dir_all(folder).expect("its folder");
    figures
}

fn run_baseline(connections: usize, messages: u64, folder: &Path) -> Figures {
    let flood = Flood::start(messages, 4, None);
    std::fs::create_dir_all(folder).expect("a folder");
    let figures = baseline::measure(&flood, connections, messages, folder);
    std::fs::remove_dir_all(folder).expect("its folder");
    figures
}

fn report(name: &str, figures: &[Figures]) {
    let of = |pick: fn(&Figures) -> f64| figures.iter().map(pick).collect::<Vec<f64>>();
    println!(
        "  {name} CPU µs a message: {}, of it threads named ingest: {}, with the journal's: {}; peak memory MB: {}; million messages a second: {}",
        summary(&of(|figures| figures.cpu_per_message / 1000.0), 3),
        summary(&of(|figures| figures.ingest_per_message / 1000.0), 3),
        summary(&of(|figures| figures.others_per_message / 1000.0), 3),
        summary(&of(|figures| figures.peak_mb), 0),
        summary(&of(|figures| figures.per_second / 1e6), 2),
    );
}

fn summary(values: &[f64], digits: usize) -> String {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let all: Vec<String> = values.iter().map(|value| format!("{value:.digits$}")).collect();
    format!("{:.digits$} ({})", sorted[sorted.len() / 2], all.join(" "))
}
