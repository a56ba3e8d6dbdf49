//! What sinks that follow cost those who read, and what a dead one costs the others: `cargo bench --bench following`
//! (or `-- --quick`).
//!
//! The same messages at the same rate, with no sink, with two (`jsonl` and `sqlite`), with one, and with one beside a dead one, in
//! turn, so that a machine that speeds up or slows down does so for all. CPU is the scheduler's account of the threads.

#[path = "ingest/consumer.rs"]
mod consumer;

use std::path::Path;

use consumer::{Daemon, Figures, Flood};

/// Messages a second: what both sinks can follow.
const RATE: u64 = 20_000;
const SECONDS: u64 = 15;
const ROUNDS: usize = 5;

fn main() {
    let quick = std::env::args().any(|argument| argument == "--quick");
    let (seconds, rounds) = if quick { (5, 3) } else { (SECONDS, ROUNDS) };
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let folder = tempfile::Builder::new().prefix("sluice-bench").tempdir_in(folder).expect("a folder");
    let lines =
        || format!("[sinks.lines]\nkind = \"jsonl\"\nfolder = \"{}\"\n", folder.path().join("run/lines").display());
    let days =
        || format!("[sinks.days]\nkind = \"sqlite\"\nfolder = \"{}\"\n", folder.path().join("run/days").display());
    // Nothing listens on the port for discarding.
    let dead = "[sinks.dead]\nkind = \"postgres\"\nurl = \"postgres://nobody@127.0.0.1:9/none\"\n";
    let run = |sinks: String, waits_for: Option<&str>| -> Figures {
        let path = folder.path().join("run");
        let flood = Flood::start(RATE * seconds, 4, Some(RATE));
        let figures = Daemon::start(&flood, 2, 4, &sinks, &path).measure(RATE * seconds, waits_for);
        std::fs::remove_dir_all(path).expect("its folder");
        figures
    };

    println!("{RATE} messages a second for {seconds} s, {rounds} rounds; medians (and all runs)");
    let (mut none, mut two, mut one, mut beside_dead) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        none.push(run(String::new(), None));
        two.push(run(lines() + &days(), Some("days")));
        one.push(run(lines(), Some("lines")));
        beside_dead.push(run(lines() + dead, Some("lines")));
    }
    for (name, runs) in
        [("no sink", &none), ("two sinks", &two), ("one sink", &one), ("one and a dead one", &beside_dead)]
    {
        println!("  {name}");
        println!(
            "    ingest threads, CPU µs a message: {}",
            summary(runs.iter().map(|run| run.ingest_per_message / 1e3))
        );
        println!("    all threads, CPU µs a message:    {}", summary(runs.iter().map(|run| run.cpu_per_message / 1e3)));
        println!("    messages a second, until taken:   {}", summary(runs.iter().map(|run| run.per_second)));
        println!("    peak memory, MB:                  {}", summary(runs.iter().map(|run| run.peak_mb)));
    }
    let ratio = |of: &[Figures], to: &[Figures], pick: fn(&Figures) -> f64| -> Vec<f64> {
        of.iter().zip(to).map(|(of, to)| pick(of) / pick(to)).collect()
    };
    let ingest = ratio(&two, &none, |run| run.ingest_per_message);
    println!("ingest threads with two sinks / with none: {} (promise 1.15)", summary(ingest.into_iter()));
    // Its own attempts, and what is read ahead for it, are no cost of others.
    let dead = ratio(&beside_dead, &one, |run| run.others_per_message);
    println!(
        "ingest, journal and the other sink beside a dead sink / without it: {} (promise 1.02)",
        summary(dead.into_iter())
    );
    let with_its_own = ratio(&beside_dead, &one, |run| run.cpu_per_message);
    println!("all threads, the dead sink's own work included: {}", summary(with_its_own.into_iter()));
}

fn summary(values: impl Iterator<Item = f64>) -> String {
    let values: Vec<f64> = values.collect();
    let mut sorted = values.clone();
    sorted.sort_by(f64::total_cmp);
    let all: Vec<String> = values.iter().map(|value| format!("{value:.3}")).collect();
    format!("{:.3} ({})", sorted[sorted.len() / 2], all.join(" "))
}
