//! The program as processes: a simulated upstream, a daemon beside it, and the commands that read what it wrote.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::net::TcpStream;
use std::process::{Child, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use tokio::time::Instant;

use super::support::Workplace;

/// The longest that anything a test waits for may take: far above what it does take, since tests share the machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until `condition` gives something. Panics with `what` if it never does.
pub(crate) fn until<T>(what: &str, condition: impl FnMut() -> Option<T>) -> T {
    until_within(PATIENCE, what, condition)
}

/// As [`until`], for what takes its time.
pub(crate) fn until_within<T>(patience: Duration, what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < deadline, "waited {patience:?} in vain: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// A process whose output is gathered as it comes. Killed when the test ends.
pub(crate) struct Process {
    child: Child,
    stdout: Gathered,
    stderr: Gathered,
}

#[derive(Clone, Default)]
struct Gathered(Arc<Mutex<String>>);

impl Gathered {
    fn of(output: impl Read + Send + 'static) -> Self {
        let gathered = Self::default();
        let into = gathered.clone();
        thread::spawn(move || {
            let mut output = BufReader::new(output);
            let mut line = Vec::new();
            while output.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
                into.0.lock().unwrap().push_str(&String::from_utf8_lossy(&line));
                line.clear();
            }
        });
        gathered
    }

    fn text(&self) -> String {
        self.0.lock().unwrap().clone()
    }
}

impl Process {
    pub(crate) fn start(place: &Workplace, arguments: &[&str]) -> Self {
        Self::of(place.command(arguments))
    }

    pub(crate) fn of(mut command: std::process::Command) -> Self {
        let mut child =
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the process can be started");
        let stdout = Gathered::of(child.stdout.take().expect("it is piped"));
        let stderr = Gathered::of(child.stderr.take().expect("it is piped"));
        Self { child, stdout, stderr }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn stdout(&self) -> String {
        self.stdout.text()
    }

    pub(crate) fn stderr(&self) -> String {
        self.stderr.text()
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("its state can be asked").is_some()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).expect("the process takes a signal");
    }

    /// Waits for the end of the process and of its output.
    pub(crate) fn end(&mut self) -> ExitStatus {
        let said = (self.stdout.clone(), self.stderr.clone());
        let child = &mut self.child;
        let status = until("the process ends", || child.try_wait().expect("its state can be asked"));
        until("the last of its output", || {
            (Arc::strong_count(&said.0.0) == 2 && Arc::strong_count(&said.1.0) == 2).then_some(())
        });
        status
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// `sluice simulate`.
pub(crate) struct Feed {
    process: Process,
    url: String,
}

impl Feed {
    pub(crate) fn start(place: &Workplace, arguments: &[&str]) -> Self {
        Self::of(place.command(["simulate"].iter().chain(arguments)))
    }

    /// As a command that ends up as the simulator.
    pub(crate) fn of(command: std::process::Command) -> Self {
        let mut process = Process::of(command);
        let url = until("the simulator listens", || {
            let said = process.stdout();
            assert!(!process.has_ended() || said.contains("listening"), "{}", process.stderr());
            said.lines().find_map(|line| line.strip_prefix("listening on ")).map(str::to_owned)
        });
        Self { process, url }
    }

    /// Where it listens.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// What it says of itself: `… 12 repeats, …` for `repeats`. The newest line counts.
    pub(crate) fn stop(mut self) -> String {
        self.process.signal(Signal::TERM);
        assert!(self.process.end().success(), "{}", self.process.stderr());
        let said = self.process.stdout();
        said.lines().find_map(|line| line.strip_prefix("stopped: ")).expect("the last word").to_owned()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    pub(crate) fn kill(mut self) {
        self.process.signal(Signal::KILL);
        self.process.end();
    }
}

/// The number before `what` in a simulator's figures; 0 where it is not named.
pub(crate) fn figure(figures: &str, what: &str) -> u64 {
    figures.split(", ").find_map(|part| part.strip_suffix(what)?.trim().parse().ok()).unwrap_or(0)
}

/// Settings of a daemon with one link an upstream, put together by tests.
pub(crate) struct Settings(String);

impl Settings {
    /// With nothing but what is said.
    pub(crate) fn of(text: String) -> Self {
        Self(text)
    }

    pub(crate) fn new() -> Self {
        Self(
            "[smart_streaming]\nenabled = true\n[server]\nlisten = \"127.0.0.1:0\"\n\
             [pool]\nmin_connections = 1\nmax_connections = 1\nbackoff_min = \"50ms\"\nbackoff_max = \"500ms\"\n"
                .to_owned(),
        )
    }

    #[must_use]
    pub(crate) fn with(mut self, toml: &str) -> Self {
        self.0.push_str(toml);
        self.0.push('\n');
        self
    }

    #[must_use]
    pub(crate) fn upstream(self, name: &str, dialect: &str, url: &str) -> Self {
        self.with(&format!("[upstreams.{name}]\nurl = \"{url}\"\ndialect = \"{dialect}\""))
    }

    /// A monitor by the dialect's own event rules. `more` are further lines of its table.
    #[must_use]
    pub(crate) fn monitor(mut self, name: &str, domain: &str, upstream: &str, topics: &[&str], more: &str) -> Self {
        // A JSON array of strings is a TOML one too.
        let topics = serde_json::to_string(topics).expect("strings");
        writeln!(
            self.0,
            "[monitors.{name}]\ndomain = \"{domain}\"\nupstream = \"{upstream}\"\ntopics = {topics}\n{more}"
        )
        .expect("a string takes it");
        self
    }

    pub(crate) fn write(&self, place: &Workplace) {
        place.write("sluice.toml", &self.0);
    }
}

/// `sluice run` with `sluice.toml` of a folder.
pub(crate) struct Daemon {
    process: Process,
    address: String,
}

impl Daemon {
    pub(crate) fn start(place: &Workplace, settings: &Settings) -> Self {
        settings.write(place);
        Self::again(place)
    }

    /// With the settings that are there.
    pub(crate) fn again(place: &Workplace) -> Self {
        Self::of(place.command(["run", "--config", "sluice.toml"]))
    }

    /// As a command that ends up as the daemon.
    pub(crate) fn of(command: std::process::Command) -> Self {
        let mut process = Process::of(command);
        let address = until("the daemon says where it serves", || {
            let said = process.stderr();
            assert!(!process.has_ended(), "the daemon ended: {said}");
            // The last line of its start-up summary.
            let line = said.lines().find(|line| line.contains("/v1/health/ready"))?;
            Some(line.split_once("://")?.1.split_once('/')?.0.to_owned())
        });
        Self { process, address }
    }

    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    pub(crate) fn log(&self) -> String {
        self.process.stderr()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.process.has_ended()
    }

    pub(crate) fn end(&mut self) -> ExitStatus {
        self.process.end()
    }

    /// GET: the status and the body.
    pub(crate) fn get(&self, path: &str) -> (u16, String) {
        get(&self.address, path).unwrap_or_else(|error| panic!("GET {path}: {error}\n{}", self.log()))
    }

    pub(crate) fn metrics(&self) -> Metrics {
        let (status, body) = self.get("/metrics");
        assert_eq!(status, 200, "{body}");
        Metrics(body)
    }

    /// `/api/v1/monitors`, by name.
    pub(crate) fn monitors(&self) -> BTreeMap<String, Value> {
        let (status, body) = self.get("/api/v1/monitors");
        assert_eq!(status, 200, "{body}");
        let rows: Vec<Value> = serde_json::from_str(&body).expect("a JSON array");
        rows.into_iter().map(|row| (row["name"].as_str().expect("a name").to_owned(), row)).collect()
    }

    /// Data frames that came so far over an upstream's links.
    pub(crate) fn frames(&self, upstream: &str) -> u64 {
        self.metrics().value("sluice_frames_received_total", &[("upstream", upstream)])
    }

    /// SIGTERM, a clean end, and no panic in the log, which is given back.
    pub(crate) fn stop(mut self) -> String {
        self.process.signal(Signal::TERM);
        let status = self.process.end();
        let log = self.log();
        assert!(status.success(), "{status}: {log}");
        assert!(!log.contains("panicked"), "{log}");
        log
    }

    pub(crate) fn kill(mut self) {
        self.process.signal(Signal::KILL);
        self.process.end();
    }
}

/// A GET by hand: the status and the body.
pub(crate) fn get(address: &str, path: &str) -> std::io::Result<(u16, String)> {
    request(address, &format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"))
}

/// An HTTP request by hand, over a connection that the answer ends.
pub(crate) fn request(address: &str, text: &str) -> std::io::Result<(u16, String)> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(text.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(|| std::io::Error::other("no HTTP answer"))?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.ok_or_else(|| std::io::Error::other("no HTTP status"))?;
    Ok((status, body.to_owned()))
}

/// The text of `/metrics`.
pub(crate) struct Metrics(pub(crate) String);

impl Metrics {
    /// The sum of the samples of `name` that carry all `labels`; 0 when there is none.
    pub(crate) fn value(&self, name: &str, labels: &[(&str, &str)]) -> u64 {
        let samples = self.0.lines().filter_map(|line| {
            let rest = line.strip_prefix(name)?;
            let (rest, value) = rest.rsplit_once(' ')?;
            let fits = rest.is_empty() || rest.starts_with('{');
            let labelled = labels.iter().all(|(key, value)| rest.contains(&format!("{key}=\"{value}\"")));
            (fits && labelled).then(|| value.parse::<f64>().expect("a number"))
        });
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "counts of a test")]
        let sum = samples.sum::<f64>() as u64;
        sum
    }
}

/// An event as `sluice query --output json` prints it.
#[derive(Debug, Clone, Deserialize)]
#[expect(clippy::struct_field_names, reason = "as they are printed")]
pub(crate) struct Event {
    pub(crate) offset: u64,
    pub(crate) monitor: String,
    pub(crate) domain: String,
    pub(crate) path: String,
    pub(crate) topic: String,
    pub(crate) key: Option<String>,
    pub(crate) id: Option<String>,
    pub(crate) event_time: Option<String>,
    pub(crate) received_time: String,
    #[serde(default)]
    pub(crate) conflict: bool,
    pub(crate) payload: Box<RawValue>,
}

/// What the journal says of a monitor: `messages` = the sum of the others.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub(crate) struct Account {
    pub(crate) messages: u64,
    pub(crate) events: u64,
    pub(crate) repeats: u64,
    pub(crate) control: u64,
    pub(crate) quarantined: u64,
}

impl Account {
    pub(crate) fn adds_up(&self) -> bool {
        self.messages == self.events + self.repeats + self.control + self.quarantined
    }
}

/// `sluice query --output json` with more arguments.
pub(crate) fn query(place: &Workplace, more: &[&str]) -> Vec<Event> {
    let text = json(place, &[&["query"], more].concat());
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line}"))).collect()
}

/// `sluice journal stat --output json`.
pub(crate) fn stat(place: &Workplace) -> Value {
    serde_json::from_str(&json(place, &["journal", "stat"])).expect("JSON")
}

/// What the daemon journals of itself, by monitor.
pub(crate) const OWN_MONITORS: [&str; 5] = ["gaps", "coverage", "quarantine", "state", "metrics"];

/// The accounts of `sluice journal stat`, by monitor.
pub(crate) fn accounts(place: &Workplace) -> BTreeMap<String, Account> {
    let stat = stat(place);
    let rows = stat["monitors"].as_array().expect("an array");
    rows.iter()
        .map(|row| {
            let account: Account = serde_json::from_value(row.clone()).expect("an account");
            (row["monitor"].as_str().expect("a name").to_owned(), account)
        })
        .collect()
}

/// `sluice quarantine list --output json`.
pub(crate) fn quarantined(place: &Workplace) -> Vec<Value> {
    serde_json::from_str(&json(place, &["quarantine", "list", "--limit", "100000"])).expect("JSON")
}

/// What a command prints as JSON.
pub(crate) fn json(place: &Workplace, command: &[&str]) -> String {
    let outcome = place.run(["--config", "sluice.toml"].iter().chain(command).chain(&["--output", "json"]));
    assert_eq!(outcome.code, Some(0), "{command:?}: {}", outcome.stderr);
    outcome.stdout
}
