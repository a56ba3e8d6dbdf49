//! The processes that are measured, and what is read of them.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use sluice::journal::JournalReader;
use tokio::time::Instant;

/// A run must end within this.
const DEADLINE: Duration = Duration::from_mins(3);

/// What one run cost.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Figures {
    /// Nanoseconds of CPU, user and system.
    pub cpu_per_message: f64,
    /// The same of the threads that read, parse and encode.
    pub ingest_per_message: f64,
    /// The same of all threads that no dead sink has a part in: those that read, the journal's, and the stores' own.
    pub others_per_message: f64,
    /// Peak resident memory, 10^6 bytes.
    pub peak_mb: f64,
    /// Wall rate.
    pub per_second: f64,
    /// Upper bound of the histogram's bucket that holds the 99th percentile.
    pub p99_ms: f64,
}

/// What a message cost by one of the paths.
#[derive(Debug, Clone, Copy)]
#[allow(dead_code, reason = "of the benches that measure daemons one asks for it")]
pub(crate) struct Cost {
    /// Wall rate.
    pub per_second: f64,
    /// Messages for each second of CPU, user and system.
    pub per_cpu_second: f64,
    /// Syncs, blocks and bytes for each message.
    pub syncs: f64,
    pub blocks: f64,
    pub bytes: f64,
    /// Peak resident memory, 10^6 bytes.
    pub peak_mb: f64,
    /// Links that were open at the end.
    pub connections: f64,
}

impl Figures {
    /// Reads a process that has taken `messages` since `started` and still lives.
    pub(crate) fn of(pid: u32, messages: u64, started: Instant, cpu_of_start: f64) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "figures for people")]
        let messages = messages as f64;
        Self {
            cpu_per_message: (cpu_nanos(pid, |_| true) - cpu_of_start) / messages,
            ingest_per_message: cpu_nanos(pid, |thread| thread == "ingest") / messages,
            others_per_message: cpu_nanos(pid, |thread| {
                thread == "ingest" || thread == "journal-writer" || thread.starts_with("sink-")
            }) / messages,
            peak_mb: peak_bytes(pid) / 1e6,
            per_second: messages / started.elapsed().as_secs_f64(),
            p99_ms: 0.0,
        }
    }
}

/// CPU of the threads of these names, by the scheduler's own account in nanoseconds.
fn cpu_nanos(pid: u32, counts: impl Fn(&str) -> bool) -> f64 {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).expect("the process lives");
    tasks
        .map(|task| task.expect("a task").path())
        .filter(|task| counts(std::fs::read_to_string(task.join("comm")).unwrap_or_default().trim_end()))
        .map(|task| {
            let text = std::fs::read_to_string(task.join("schedstat")).unwrap_or_default();
            text.split_whitespace().next().and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0)
        })
        .sum()
}

fn peak_bytes(pid: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the process lives");
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("a peak");
    line.split_whitespace().nth(1).and_then(|field| field.parse::<f64>().ok()).expect("a number") * 1024.0
}

/// The names of the topics asked for.
pub(crate) fn topics(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("s{number:03}usdt@trade")).collect()
}

/// The process that serves messages.
pub(crate) struct Flood {
    child: Child,
    /// Its address.
    pub url: String,
}

impl Flood {
    /// Serves `messages` in all once `topics` are subscribed.
    pub(crate) fn start(messages: u64, topics: usize, rate: Option<u64>) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sluice"));
        command.args(["simulate", "--dialect", "binance", "--flood", "--flood-total", &messages.to_string()]);
        command.args(["--flood-start-topics", &topics.to_string()]);
        if let Some(rate) = rate {
            command.args(["--rate", &rate.to_string()]);
        }
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("the simulator starts");
        let mut line = String::new();
        let out = child.stdout.as_mut().expect("it is piped");
        BufReader::new(out).read_line(&mut line).expect("its first line");
        let url = line.trim().trim_start_matches("listening on ").to_owned();
        Self { child, url }
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// The daemon.
pub(crate) struct Daemon {
    child: Child,
    address: String,
    started: Instant,
    journal: PathBuf,
    /// Nanoseconds that reading settings and opening the journal took: no cost of a message.
    cpu_of_start: f64,
}

impl Daemon {
    /// Starts it with `monitors` monitors of one topic each, and with these sinks.
    pub(crate) fn start(flood: &Flood, connections: usize, monitors: usize, sinks: &str, folder: &Path) -> Self {
        Self::with(flood, connections, monitors, ("smart_streaming.enabled = true\n", sinks), folder)
    }

    #[allow(dead_code, reason = "as above")]
    /// Starts it on the path that `settings` say.
    pub(crate) fn by_path(flood: &Flood, connections: usize, monitors: usize, settings: &str, folder: &Path) -> Self {
        Self::with(flood, connections, monitors, (settings, ""), folder)
    }

    fn with(flood: &Flood, connections: usize, monitors: usize, (head, sinks): (&str, &str), folder: &Path) -> Self {
        std::fs::create_dir_all(folder).expect("a folder");
        let mut settings = format!(
            "{head}daemon.data_dir = \"{}\"\nserver.listen = \"127.0.0.1:0\"\nlog.level = \"info,sluice::upstream=warn\"\n\
             pool.min_connections = {connections}\npool.max_connections = {connections}\n\
             [upstreams.flood]\nurl = \"{}\"\ndialect = \"binance\"\n",
            folder.join("data").display(),
            flood.url
        );
        for topic in topics(monitors) {
            let name = topic.replace('@', "-");
            write!(
                settings,
                "[monitors.{name}]\ndomain = \"trading\"\nupstream = \"flood\"\ntopics = [\"{topic}\"]\n\
                 event = {{ id = \"/data/t\", key = \"/data/s\", time = \"/data/E\", time_unit = \"ms\" }}\n"
            )
            .expect("a string takes it");
        }
        settings.push_str(sinks);
        let path = folder.join("sluice.toml");
        std::fs::write(&path, settings).expect("its settings");
        let mut child = Command::new(env!("CARGO_BIN_EXE_sluice"))
            .arg("--config")
            .arg(path)
            .arg("run")
            .stderr(Stdio::piped())
            .spawn()
            .expect("the daemon starts");
        let started = Instant::now();
        let mut lines = BufReader::new(child.stderr.take().expect("it is piped")).lines();
        let address = lines
            .by_ref()
            .map_while(Result::ok)
            .find_map(|line| Some(line.split_once("http://")?.1.split('/').next()?.to_owned()))
            .expect("it says its address");
        // Whatever else it says must not fill the pipe.
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(|line| eprintln!("  daemon: {line}")));
        let cpu_of_start = cpu_nanos(child.id(), |_| true);
        Self { child, address, started, journal: sluice::journal::folder(&folder.join("data")), cpu_of_start }
    }

    /// Waits until `messages` are durable, and `sink`, if one is named, has them, and reads what that cost.
    pub(crate) fn measure(self, messages: u64, sink: Option<&str>) -> Figures {
        // Asked of the files: a look at its metrics would be work that is counted. The daemon's own events, one a segment and
        // one a minute, count as well: so few of the messages may still be under way.
        let reader = JournalReader::open(&self.journal).expect("it has a journal");
        loop {
            let durable = reader.durable().expect("the journal can be read").0;
            if durable >= messages && sink.is_none_or(|sink| self.cursor(sink) >= messages) {
                break;
            }
            assert!(self.started.elapsed() < DEADLINE, "only {durable} of {messages} are durable");
            std::thread::sleep(Duration::from_millis(20));
        }
        let mut figures = Figures::of(self.child.id(), messages, self.started, self.cpu_of_start);
        let text = self.get("/metrics");
        figures.p99_ms = percentile(&text, "sluice_event_durable_seconds_bucket", 0.99) * 1000.0;
        figures
    }

    #[allow(dead_code, reason = "as above")]
    /// Waits until `messages` are durable, and reads what each of them cost.
    pub(crate) fn cost(self, messages: u64) -> Cost {
        let (pid, address) = (self.child.id(), self.address.clone());
        let reader = JournalReader::open(&self.journal).expect("it has a journal");
        while reader.durable().expect("the journal can be read").0 < messages {
            assert!(self.started.elapsed() < DEADLINE, "not all is durable in time");
            std::thread::sleep(Duration::from_millis(20));
        }
        let figures = Figures::of(pid, messages, self.started, self.cpu_of_start);
        let text = get(&address, "/metrics");
        let value = |name: &str| -> f64 {
            let lines = text.lines().filter_map(|line| line.strip_prefix(name)?.rsplit_once(' '));
            lines.filter_map(|(_, value)| value.parse::<f64>().ok()).sum()
        };
        let pool = get(&address, "/api/v1/pool");
        let body = pool.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        let rows: Vec<serde_json::Value> = serde_json::from_str(body).expect("an array");
        let connections = rows.iter().filter_map(|row| row["links_open"].as_f64()).sum();
        #[expect(clippy::cast_precision_loss, reason = "figures for people")]
        let each = |total: f64| total / messages as f64;
        Cost {
            per_second: figures.per_second,
            per_cpu_second: 1e9 / figures.cpu_per_message,
            syncs: each(value("sluice_journal_sync_seconds_count")),
            blocks: each(value("sluice_journal_blocks_total")),
            bytes: each(value("sluice_journal_written_bytes_total")),
            peak_mb: figures.peak_mb,
            connections,
        }
    }

    /// How far a sink is.
    fn cursor(&self, sink: &str) -> u64 {
        let text = self.get("/api/v1/sinks");
        let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        let sinks: Vec<serde_json::Value> = serde_json::from_str(body).expect("an array");
        let row = sinks.iter().find(|row| row["name"] == sink).expect("a sink of this name");
        row["cursor"].as_u64().unwrap_or(0)
    }

    fn get(&self, path: &str) -> String {
        get(&self.address, path)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("it listens");
    write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n").expect("it reads");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("it answers");
    text
}

/// The bound of the first bucket that holds the share.
fn percentile(metrics: &str, name: &str, share: f64) -> f64 {
    let buckets: Vec<(f64, f64)> = metrics
        .lines()
        .filter_map(|line| {
            let (bound, count) = line.strip_prefix(name)?.split_once("le=\"")?.1.split_once("\"} ")?;
            let bound = if bound == "+Inf" { f64::INFINITY } else { bound.parse().ok()? };
            Some((bound, count.trim().parse().ok()?))
        })
        .collect();
    let total = buckets.last().map_or(0.0, |(_, count)| *count);
    buckets.iter().find(|(_, count)| *count >= total * share).map_or(f64::NAN, |(bound, _)| *bound)
}
