//! The cost of the sink `postgres`, held against `psql \copy` of the same rows into the same table:
//! `cargo bench --bench sink_postgres` (or `-- --quick` for a short look).
//!
//! A server of its own, fsync on. The rows are in a journal; the sink, with its runner as the daemon has it, takes them from
//! there. What it wrote is put into a file by the server itself, for psql to copy. The two take turns, so that a machine that
//! speeds up or slows down does so for both. CPU is user and system time of our process, reading the journal included.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sluice::clock::UnixNanos;
use sluice::config::Settings;
use sluice::journal::{
    BlockBuilder, Encoder, EventId, Journal, JournalOptions, MonitorIdentity, NewEvent, Offset, Part, Path as Way,
    SourceSlot,
};
use sluice::sink::{LostCause, ReadySinks, SinkStart};
use tokio::time::Instant;

#[path = "../tests/it/postgres_server.rs"]
#[allow(dead_code, reason = "tests use more of it")]
mod postgres_server;

use postgres_server::PostgresServer;

/// What the server's module is given by tests otherwise.
mod processes {
    use std::time::Duration;

    pub(crate) fn until<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
        for _ in 0..6_000 {
            if let Some(value) = condition() {
                return value;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("waited in vain: {what}");
    }
}

const ROWS: u64 = 500_000;
const PAIRS: usize = 7;
const COLUMNS: &str = r#"journal, "offset", path, monitor, domain, topic, key, id, event_time, received_time, conflict, handover, payload"#;

fn main() {
    let quick = std::env::args().any(|argument| argument == "--quick");
    let (rows, pairs) = if quick { (100_000, 3) } else { (ROWS, PAIRS) };
    let folder =
        tempfile::Builder::new().prefix("sluice-bench").tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let journal = fill_journal(&folder.path().join("journal"), rows);
    // As an operator would have it, and so that checkpoints fall into nobody's turn.
    let server =
        PostgresServer::start_with("shared_buffers = 512MB\nmax_wal_size = 8GB\ncheckpoint_timeout = 1h\n", &[]);

    // The first turn makes the table, and warms up.
    take(&server, &journal, rows);
    let file = folder.path().join("rows.text");
    psql(&server, &format!(r"\copy events ({COLUMNS}) TO '{}'", file.display()));

    println!("{rows} rows of about 165 bytes of payload, {pairs} pairs; medians (and all)");
    let (mut ratios, mut ours, mut theirs, mut cpu) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..pairs {
        let psql = copy(&server, &file, rows);
        let sink = take(&server, &journal, rows);
        ratios.push(psql.as_secs_f64() / sink.elapsed.as_secs_f64());
        theirs.push(per_second(rows, psql));
        ours.push(per_second(rows, sink.elapsed));
        cpu.push(sink.cpu.as_secs_f64() * 1e6 / as_float(rows));
    }
    println!("psql \\copy, thousand rows a second: {}", summary(&theirs, 0));
    println!("sink,       thousand rows a second: {}", summary(&ours, 0));
    println!("rate of the sink over that of psql:  {} (promise 0.60)", summary(&ratios, 2));
    println!("CPU of our process, µs a row:        {} (promise 3)", summary(&cpu, 2));
}

struct Taken {
    elapsed: Duration,
    cpu: Duration,
}

/// An empty table, and nothing of the turn before left to be written.
fn clear(server: &PostgresServer) {
    if server.sql("SELECT to_regclass('events') IS NOT NULL") == "t" {
        server.sql("TRUNCATE events, sluice_cursors, sluice_parked");
    }
    server.sql("CHECKPOINT");
}

/// Runs one of psql's own commands, however long it takes.
fn psql(server: &PostgresServer, command: &str) {
    let status = server.psql().args(["-c", command]).status().expect("psql starts");
    assert!(status.success(), "{command}");
}

fn copy(server: &PostgresServer, file: &Path, rows: u64) -> Duration {
    clear(server);
    let started = Instant::now();
    psql(server, &format!(r"\copy events ({COLUMNS}) FROM '{}'", file.display()));
    let elapsed = started.elapsed();
    assert_eq!(server.sql("SELECT count(*) FROM events"), rows.to_string());
    elapsed
}

/// Runs a sink from the first event to the last.
fn take(server: &PostgresServer, journal: &Arc<Journal>, rows: u64) -> Taken {
    clear(server);
    let text = format!("[sinks.warehouse]\nkind = \"postgres\"\nurl = \"{}\"\n", server.url());
    let settings: Settings = toml::from_str(&text).expect("settings");
    let ready = ReadySinks::new(&settings).expect("usable settings");
    let start = SinkStart {
        journal: Arc::clone(journal),
        ancestors: Arc::new([]),
        last_received: None,
        remembered: Vec::new(),
        switches: Vec::new(),
        circuits: Arc::new(sluice::circuits::Circuits::new(true, Vec::new())),
        lost_log: Arc::new(|_| true),
        lost_why: Arc::new(|_| LostCause::Retention),
    };
    let (started, cpu) = (Instant::now(), cpu_of_process());
    let running = ready.start(&start);
    let sinks = running.sinks();
    while sinks.rows()[0].cursor != Some(rows) {
        std::thread::sleep(Duration::from_millis(1));
        if let Some(error) = &sinks.rows()[0].error {
            panic!("{error}");
        }
    }
    let taken = Taken { elapsed: started.elapsed(), cpu: cpu_of_process().saturating_sub(cpu) };
    drop(running);
    assert_eq!(server.sql("SELECT count(*) FROM events"), rows.to_string());
    taken
}

/// Messages like those of an exchange.
fn fill_journal(dir: &Path, rows: u64) -> Arc<Journal> {
    let (journal, _) = Journal::open(dir, JournalOptions::new(Settings::default().journal)).expect("a journal");
    let monitor = Arc::new(MonitorIdentity { index: 0, name: "spot-trades".into(), domain: "trading".into() });
    let (mut builder, mut encoder) = (BlockBuilder::new(Way::Smart), Encoder::new());
    let mut random = fastrand::Rng::with_seed(7);
    let now = UnixNanos::now().0;
    for from in (0..rows).step_by(1_000) {
        for number in from..(from + 1_000).min(rows) {
            let symbol = ["BTCUSDT", "ETHUSDT", "SOLUSDT", "XRPUSDT"][random.usize(..4)];
            let millis = now / 1_000_000 + i64::try_from(number).unwrap_or(0) / 50;
            let text = format!(
                r#"{{"stream":"{}@trade","data":{{"e":"trade","E":{millis},"s":"{symbol}","t":{},"p":"{}.{:02}000000","q":"0.{:05}000","T":{millis},"m":{},"M":true}}}}"#,
                symbol.to_lowercase(),
                4_000_000_000 + number,
                60_000 + random.u32(..200),
                random.u32(..100),
                random.u32(..100_000),
                random.bool(),
            );
            let part = |needle: &str, len: u32| {
                let start = u32::try_from(text.find(needle).expect("it is there") + needle.len()).unwrap_or(0);
                Part::Span { start, end: start + len }
            };
            let source =
                builder.source(&monitor, &format!("{}@trade", symbol.to_lowercase()), SourceSlot(index(symbol)));
            builder.push(&NewEvent {
                source,
                received: UnixNanos(now + i64::try_from(number).unwrap_or(0) * 20_000),
                event_time: Some(UnixNanos(millis * 1_000_000)),
                payload: text.as_bytes(),
                id: EventId::Parts(&[part(r#""t":"#, 10)]),
                key: Some(part(r#""s":"#, 9)),
                hash: None,
                conflict: false,
                handover: false,
            });
        }
        let mut block = builder.finish(&mut encoder);
        while let Err(back) = journal.try_submit(block) {
            block = back;
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    processes::until("the rows are durable", || (journal.durable() >= Offset(rows)).then_some(()));
    Arc::new(journal)
}

fn index(symbol: &str) -> u32 {
    symbol.bytes().next().map_or(0, u32::from)
}

fn cpu_of_process() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn as_float(rows: u64) -> f64 {
    rows as f64
}

fn per_second(rows: u64, elapsed: Duration) -> f64 {
    as_float(rows) / elapsed.as_secs_f64() / 1000.0
}

fn summary(values: &[f64], digits: usize) -> String {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let all: Vec<String> = values.iter().map(|value| format!("{value:.digits$}")).collect();
    format!("{:.digits$} ({})", sorted[sorted.len() / 2], all.join(" "))
}
