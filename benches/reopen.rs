//! How soon a daemon with a large journal is ready again after kill -9, and how long a look at its last five minutes takes:
//! `cargo bench --bench reopen` (or `-- GIB` for another size than 5).
//!
//! The journal holds a day of events of about 1 KiB, evenly spread, up to now. The file cache is as the writing left it.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use sluice::clock::UnixNanos;
use sluice::config::JournalSettings;
use sluice::journal::{
    BlockBuilder, DedupeHash, Encoder, EventId, Journal, JournalOptions, MonitorIdentity, NewEvent, Part, Path as Way,
    SourceSlot,
};
use tokio::time::Instant;

const GIB: u64 = 5;
const DAY: i64 = 24 * 3600 * 1_000_000_000;
/// Each event has so many bytes of random text, of which compression leaves three quarters.
const PAYLOAD_BYTES: usize = 1024;
const CHARACTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
const EVENTS_PER_BLOCK: u64 = 900;
const ROUNDS: usize = 5;

fn main() {
    let gib = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(GIB);
    let folder =
        tempfile::Builder::new().prefix("sluice-bench").tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let events = fill(&sluice::journal::folder(&folder.path().join("data")), gib << 30);
    println!("{gib} GiB in {events} events of a day");

    let feed = Feed::start();
    let port = TcpListener::bind("127.0.0.1:0").and_then(|port| port.local_addr()).expect("a free port").port();
    let address = format!("127.0.0.1:{port}");
    let settings = format!(
        "daemon.data_dir = \"data\"\nsmart_streaming.enabled = true\nserver.listen = \"{address}\"\nlog.level = \"warn\"\n\
         [upstreams.feed]\nurl = \"{}\"\ndialect = \"binance\"\n\
         [monitors.m]\ndomain = \"spot\"\nupstream = \"feed\"\ntopics = [\"btcusdt@trade\", \"ethusdt@trade\"]\n",
        feed.url
    );
    std::fs::write(folder.path().join("sluice.toml"), settings).expect("its settings");
    let mut ready = Vec::new();
    for round in 0..=ROUNDS {
        let started = Instant::now();
        let mut daemon = sluice(folder.path(), &["run"]).spawn().expect("the daemon starts");
        until(|| get(&address, "/v1/health/ready").is_some_and(|(status, _)| status == 200));
        let took = started.elapsed();
        // The first start finds a journal that was closed in order.
        if round > 0 {
            ready.push(took);
        }
        let durable =
            || get(&address, "/metrics").and_then(|(_, text)| metric(&text, "sluice_journal_durable_offset "));
        let before = durable().expect("it tells");
        until(|| durable().is_some_and(|durable| durable > before + 2000.0));
        if round == ROUNDS {
            println!("with the daemon:    {}", look(folder.path()));
        }
        daemon.kill().expect("it runs");
        daemon.wait().expect("it was ours");
    }
    println!("without the daemon: {}", look(folder.path()));
    println!("ready after kill -9: {} (promise 1 s)", summary(&ready));
}

/// Journals so many bytes of events of the last day. Tells how many.
fn fill(folder: &Path, bytes: u64) -> u64 {
    let settings = JournalSettings { retention: Duration::from_hours(24 * 30), ..JournalSettings::default() };
    let (journal, _) = Journal::open(folder, JournalOptions::new(settings)).expect("a journal");
    let monitor = Arc::new(MonitorIdentity { index: 0, name: "m".into(), domain: "spot".into() });
    let (mut builder, mut encoder) = (BlockBuilder::new(Way::Smart), Encoder::new());
    let mut random = fastrand::Rng::with_seed(1);
    // Three quarters of a byte are left of a byte, as 64 characters need six bits.
    let events = bytes * 4 / 3 / PAYLOAD_BYTES as u64;
    let step = DAY / i64::try_from(events).expect("fewer events");
    let start = UnixNanos::now().0 - DAY;
    let mut payload = Vec::new();
    for number in 0..events {
        let source = builder.source(&monitor, "btcusdt@trade", SourceSlot(0));
        payload.clear();
        write!(payload, "{{\"t\":{number:012},\"p\":\"").expect("a vector takes it");
        payload.extend((payload.len()..PAYLOAD_BYTES).map(|_| CHARACTERS[random.usize(..CHARACTERS.len())]));
        payload.extend_from_slice(b"\"}");
        builder.push(&NewEvent {
            source,
            received: UnixNanos(start + i64::try_from(number).expect("fewer events") * step),
            event_time: None,
            payload: &payload,
            id: EventId::Parts(&[Part::Span { start: 5, end: 17 }]),
            key: None,
            hash: Some(DedupeHash { hash: u128::from(random.u64(..)) << 64 | u128::from(number), payload_check: 1 }),
            conflict: false,
            handover: false,
        });
        if (number + 1) % EVENTS_PER_BLOCK == 0 || number + 1 == events {
            let mut block = builder.finish(&mut encoder);
            while let Err(back) = journal.try_submit(block) {
                block = back;
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }
    journal.close().expect("all is durable");
    events
}

/// The last five minutes, printed into nothing.
fn look(folder: &Path) -> String {
    let mut took = Vec::new();
    let mut lines = 0;
    for _ in 0..ROUNDS {
        let started = Instant::now();
        let output = sluice(folder, &["query", "--since", "5m", "--output", "json"]).stdout(Stdio::piped()).output();
        let output = output.expect("the query runs");
        took.push(started.elapsed());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        lines = output.stdout.split(|byte| *byte == b'\n').count() - 1;
    }
    format!("query of the last 5 minutes, {lines} events: {} (promise 100 ms)", summary(&took))
}

fn sluice(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sluice"));
    command.args(["--config", "sluice.toml"]).args(arguments).current_dir(folder);
    command
}

/// A feed to be killed under.
struct Feed {
    child: Child,
    url: String,
}

impl Feed {
    fn start() -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sluice"));
        command.args(["simulate", "--dialect", "binance", "--rate", "5000"]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("the simulator starts");
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().expect("it is piped")).read_line(&mut line).expect("its first line");
        Self { child, url: line.trim().trim_start_matches("listening on ").to_owned() }
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn until(condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_mins(2);
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn get(address: &str, path: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(address).ok()?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some((answer.split(' ').nth(1)?.parse().ok()?, answer))
}

fn metric(text: &str, name: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
}

fn summary(took: &[Duration]) -> String {
    let mut sorted = took.to_vec();
    sorted.sort();
    let mut all = String::new();
    for took in took {
        write!(all, " {}", took.as_millis()).expect("a string takes it");
    }
    format!("{} ms (all:{all})", sorted[sorted.len() / 2].as_millis())
}
