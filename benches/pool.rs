//! What a pool of many topics costs and how soon it is whole again: `cargo bench --bench pool` (or `-- --quick`).
//!
//! 1,000 monitors with 10,000 topics over 4 links, at a provider in this process that accepts every subscription at once and
//! tells with each message over which connection it went. Told are the memory of a topic of which nothing comes; how long it takes
//! until the topics of a link that was reset are in force on others, and how long these pause meanwhile; and how long it takes
//! from a reset to the first message of a lost topic. Times of arrival are the journal's.

#[path = "pool/provider.rs"]
mod provider;

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use provider::{Provider, Reset};
use serde::Deserialize;
use sluice::journal::{BlockFilter, JournalReader};

const LINKS: u32 = 4;
const TOPICS: u32 = 10_000;
const TOPICS_PER_MONITOR: u32 = 10;
/// Of the daemon that the memory of many topics is compared with.
const FEW_TOPICS: u32 = 10;
/// Messages a second over each link.
const LINK_RATE: u32 = 1000;
const FAILOVERS: usize = 50;
/// What memory may still change after everything is in force: pages of buffers that were used once.
const SETTLING: Duration = Duration::from_secs(5);

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn main() {
    let quick = std::env::args().any(|argument| argument == "--quick");
    let failovers = if quick { 3 } else { FAILOVERS };
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let folder = tempfile::Builder::new().prefix("sluice-bench").tempdir_in(folder).expect("a folder");
    let run = folder.path().join("run");

    let (few, many) = (idle(FEW_TOPICS, &run), idle(TOPICS, &run));
    let each = (many - few) / f64::from(TOPICS - FEW_TOPICS);
    println!("{TOPICS} topics of {} monitors over {LINKS} links", TOPICS / TOPICS_PER_MONITOR);
    println!("  memory: {:.1} MB with {FEW_TOPICS} topics, {:.1} MB with {TOPICS}", few / 1e6, many / 1e6);
    println!("  bytes for each idle topic, its part of a monitor included: {each:.0} (promise 2,048)");

    let provider = Provider::start(LINK_RATE);
    let daemon = Daemon::start(&provider, TOPICS, &run);
    provider.until_spread(TOPICS as usize, LINKS as usize);
    let mut resets = Vec::new();
    for _ in 0..failovers {
        // Some messages over every link before, and after.
        std::thread::sleep(Duration::from_millis(500));
        let reset = provider.reset_one();
        let took = provider.until_in_force(&reset);
        resets.push((reset, took));
        provider.until_spread(TOPICS as usize, LINKS as usize);
    }
    std::thread::sleep(Duration::from_secs(1));
    let journal = daemon.stop();
    let arrived = Arrived::read(&journal);
    let lost: Vec<f64> = resets.iter().map(|(reset, _)| reset.topics.len() as f64).collect();
    let took: Vec<f64> = resets.iter().map(|(_, took)| took.as_secs_f64() * 1e3).collect();
    let pauses: Vec<[f64; 2]> = resets.iter().map(|(reset, took)| arrived.longest_pause(reset, *took)).collect();
    let failover: Vec<f64> = resets.iter().map(|(reset, _)| arrived.first_after(reset)).collect();
    println!("{} times a link was reset, {LINK_RATE} messages a second over each; median (and all)", resets.len());
    println!("  topics on it: {}", summary(&lost));
    println!("  ms until they were in force on other links: {}", summary(&took));
    println!(
        "  longest pause of the other links meanwhile, ms: at most {:.1} (promise 50): {}",
        pauses.iter().map(|[arrived, _]| *arrived).fold(0.0, f64::max),
        summary(&pauses.iter().map(|[arrived, _]| *arrived).collect::<Vec<f64>>())
    );
    println!(
        "    of which the provider itself did not send for: {}",
        summary(&pauses.iter().map(|[_, sent]| *sent).collect::<Vec<f64>>())
    );
    println!("  ms from the reset to the first message of one of its topics: {} (promise 250)", summary(&failover));
    std::fs::remove_dir_all(run).expect("its folder");
}

/// Resident bytes of a daemon with so many topics, of which nothing comes.
fn idle(topics: u32, folder: &Path) -> f64 {
    let provider = Provider::start(0);
    let daemon = Daemon::start(&provider, topics, folder);
    provider.until_spread(topics as usize, LINKS as usize);
    std::thread::sleep(SETTLING);
    let bytes = daemon.resident_bytes();
    daemon.stop();
    std::fs::remove_dir_all(folder).expect("its folder");
    bytes
}

fn settings(url: &str, topics: u32, folder: &Path) -> String {
    let mut settings = format!(
        r#"daemon.data_dir = "{}"
smart_streaming.enabled = true
server.listen = "127.0.0.1:0"
log.level = "info,sluice::upstream=error"
pool.min_connections = {LINKS}
pool.max_connections = {LINKS}
[upstreams.provider]
url = "{url}"
dialect = "plain"
[dialects.plain]
kind = "json"
about = "A provider that limits nothing"
limits = {{ topics_per_link = 20000, topics_per_request = 500, send_interval = "0s" }}
topics = [{{ form = "{{channel}}.{{number}}", example = "c.1", subscribe = '{{"op":"sub","id":{{id}},"channels":{{topics}}}}', unsubscribe = '{{"op":"unsub","id":{{id}},"channels":{{topics}}}}' }}]
routes = [{{ when = {{ "/n" = true }}, topic = "{{/ch}}" }}]
acknowledgements = [{{ when = {{ "/op" = "ok" }}, id = "/id" }}]
"#,
        folder.join("data").display()
    );
    for monitor in 0..topics.div_ceil(TOPICS_PER_MONITOR) {
        let first = monitor * TOPICS_PER_MONITOR;
        let names: Vec<String> = (first..first + TOPICS_PER_MONITOR).map(|topic| format!("\"c.{topic}\"")).collect();
        write!(
            settings,
            "[monitors.m{monitor}]\ndomain = \"d\"\nupstream = \"provider\"\ntopics = [{}]\nevent = {{ id = \"/n\" }}\n",
            names.join(", ")
        )
        .expect("a string takes it");
    }
    settings
}

/// The daemon, in a process of its own.
struct Daemon {
    child: Child,
    journal: PathBuf,
}

impl Daemon {
    fn start(provider: &Provider, topics: u32, folder: &Path) -> Self {
        std::fs::create_dir_all(folder).expect("a folder");
        let path = folder.join("sluice.toml");
        std::fs::write(&path, settings(&provider.url, topics, folder)).expect("its settings");
        let mut command = Command::new(env!("CARGO_BIN_EXE_sluice"));
        let mut child =
            command.arg("--config").arg(path).arg("run").stderr(Stdio::piped()).spawn().expect("the daemon starts");
        let lines = BufReader::new(child.stderr.take().expect("it is piped")).lines();
        // What it says must not fill the pipe.
        std::thread::spawn(move || {
            let troubles = lines.map_while(Result::ok).filter(|line| line.contains("WARN") || line.contains("ERROR"));
            troubles.for_each(|line| eprintln!("  daemon: {line}"));
        });
        Self { child, journal: sluice::journal::folder(&folder.join("data")) }
    }

    fn resident_bytes(&self) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("the process lives");
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("its resident set");
        line.split_whitespace().nth(1).and_then(|field| field.parse::<f64>().ok()).expect("a number") * 1024.0
    }

    /// Stops it in order. Tells where its journal is.
    fn stop(mut self) -> PathBuf {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it takes a signal");
        assert!(self.child.wait().expect("it ends").success(), "it ends well");
        self.journal.clone()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// What a message of the provider says of itself.
#[derive(Deserialize)]
struct Said {
    ch: String,
    connection: u64,
    at: i64,
}

/// What the journal has, as nanoseconds since 1970.
struct Arrived {
    /// By connection, in their order: received and sent.
    by_connection: BTreeMap<u64, Vec<(i64, i64)>>,
    /// By topic, in the journal's order: received, and over which connection.
    by_topic: HashMap<String, Vec<(i64, u64)>>,
}

impl Arrived {
    fn read(journal: &Path) -> Self {
        let mut reader = JournalReader::open(journal).expect("it has a journal");
        let mut arrived = Self { by_connection: BTreeMap::new(), by_topic: HashMap::new() };
        while let Some(block) = reader.next_block(&BlockFilter::default()).expect("it can be read") {
            for event in block.events().filter(|event| event.domain == "d") {
                let Said { ch, connection, at } = serde_json::from_slice(event.payload).expect("as it was sent");
                arrived.by_connection.entry(connection).or_default().push((event.received.0, at));
                arrived.by_topic.entry(ch).or_default().push((event.received.0, connection));
            }
        }
        arrived.by_connection.values_mut().for_each(|messages| messages.sort_unstable());
        arrived
    }

    /// Of connections that were open before the reset and after it, the longest time in milliseconds in which nothing arrived, and in
    /// which nothing was sent.
    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    fn longest_pause(&self, reset: &Reset, took: Duration) -> [f64; 2] {
        let took = i64::try_from(took.as_nanos()).expect("some seconds");
        let (from, to) = (reset.at - 50_000_000, reset.at + took + 50_000_000);
        let mut longest = [0, 0];
        for connection in &reset.others {
            let messages = self.by_connection.get(connection).expect("it brought messages");
            let within: Vec<&(i64, i64)> =
                messages.iter().filter(|(received, _)| (from..=to).contains(received)).collect();
            for pair in within.windows(2) {
                longest[0] = longest[0].max(pair[1].0 - pair[0].0);
                longest[1] = longest[1].max(pair[1].1 - pair[0].1);
            }
        }
        longest.map(|nanos| nanos as f64 / 1e6)
    }

    /// Milliseconds from a reset to the first message of one of its topics over another connection.
    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    fn first_after(&self, reset: &Reset) -> f64 {
        let first = |topic: &u32| {
            let messages = self.by_topic.get(&format!("c.{topic}"))?;
            let after = |(received, connection): &&(i64, u64)| *received > reset.at && *connection != reset.connection;
            messages.iter().find(after).map(|(received, _)| *received)
        };
        let first = reset.topics.iter().filter_map(first).min().expect("they came back");
        (first - reset.at) as f64 / 1e6
    }
}

fn summary(values: &[f64]) -> String {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let all: Vec<String> = values.iter().map(|value| format!("{value:.1}")).collect();
    format!("{:.1} ({})", sorted[sorted.len() / 2], all.join(" "))
}
