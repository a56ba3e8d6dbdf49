//! The cost of the sink `postgres`, held against `psql \copy` of the same rows into the same table:
//! `cargo bench --bench sink_postgres` (or `-- --quick` for a short look).
//!
//! A server of its own, fsync on. The rows are in a journal; the sink, with its runner as the daemon has it, takes them from
//! there. What it wrote is put into a file by the server itself, for psql to copy. The two take turns, so that a machine that
//! speeds up or slows down does so for both. CPU is user and system time of our process, reading the journal included.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sluice::journal::Journal;
use tokio::time::Instant;

#[path = "../../tests/it/postgres_server.rs"]
#[allow(dead_code, reason = "tests use more of it")]
mod postgres_server;
mod rows;
mod taking;

use postgres_server::PostgresServer;
use rows::{cpu_per_row, fill_journal, per_second, summary};
use taking::Taken;

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
        cpu.push(cpu_per_row(rows, &sink));
    }
    println!("psql \\copy, thousand rows a second: {}", summary(&theirs, 0));
    println!("sink,       thousand rows a second: {}", summary(&ours, 0));
    println!("rate of the sink over that of psql:  {} (promise 0.60)", summary(&ratios, 2));
    println!("CPU of our process, µs a row:        {} (promise 3)", summary(&cpu, 2));
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
    let taken = taking::take(&toml::from_str(&text).expect("settings"), journal, rows);
    assert_eq!(server.sql("SELECT count(*) FROM events"), rows.to_string());
    taken
}
