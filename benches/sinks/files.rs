//! The cost of the sinks `sqlite` and `jsonl`: `cargo bench --bench sink_files` (or `-- --quick` for a short look).
//!
//! The rows are in a journal; a sink, with its runner as the daemon has it, takes them from there. `sqlite` is held against a loop
//! that inserts the same rows into a table without key or cursor, in transactions of the same size and synced as often; `jsonl` against one
//! that appends the same lines and syncs as often. They take turns, so that a machine that speeds up or slows down does so for both. CPU is
//! user and system time of our process; reading and decompressing the journal is measured alone too.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;

use rusqlite::{Connection, params};
use sluice::journal::{BlockFilter, EventObject, Journal};

mod rows;
mod taking;

use rows::{cpu_per_row, fill_journal, per_second, summary};
use taking::{Taken, measured};

const ROWS: u64 = 500_000;
const PAIRS: usize = 7;
/// Rows of a transaction, as the default has it.
const BATCH: usize = 5_000;

fn main() {
    let quick = std::env::args().any(|argument| argument == "--quick");
    let (rows, pairs) = if quick { (100_000, 3) } else { (ROWS, PAIRS) };
    let folder =
        tempfile::Builder::new().prefix("sluice-bench").tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let journal = fill_journal(&folder.path().join("journal"), rows);
    let place = folder.path().join("sink");
    println!("{rows} rows of about 165 bytes of payload, {pairs} turns; medians (and all)");
    let reading: Vec<f64> = (0..pairs).map(|_| cpu_per_row(rows, &measured(|| read(&journal, |_| {})))).collect();
    println!("reading the journal alone, CPU µs a row:  {}", summary(&reading, 2));
    for (kind, bare) in [("sqlite", bare_sqlite as fn(&Journal, &Path)), ("jsonl", bare_jsonl)] {
        let (mut ratios, mut ours, mut cpu, mut bare_cpu) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for _ in 0..pairs {
            clear(&place);
            let loop_ = measured(|| bare(&journal, &place));
            clear(&place);
            let sink = take(kind, &place, &journal, rows);
            ratios.push(loop_.elapsed.as_secs_f64() / sink.elapsed.as_secs_f64());
            ours.push(per_second(rows, sink.elapsed));
            cpu.push(cpu_per_row(rows, &sink));
            bare_cpu.push(cpu_per_row(rows, &loop_));
        }
        println!("{kind}: thousand rows a second:             {}", summary(&ours, 0));
        println!("{kind}: rate over that of a bare loop:      {}", summary(&ratios, 2));
        println!("{kind}: CPU of our process, µs a row:       {}", summary(&cpu, 2));
        println!("{kind}: CPU of the bare loop, µs a row:     {}", summary(&bare_cpu, 2));
    }
}

/// An empty folder.
fn clear(place: &Path) {
    std::fs::remove_dir_all(place).ok();
    std::fs::create_dir_all(place).expect("a folder");
}

fn read(journal: &Journal, mut take: impl FnMut(&sluice::journal::Event<'_>)) {
    let mut reader = journal.reader();
    while let Some(block) = reader.next_block(&BlockFilter::all()).expect("a block") {
        block.events().for_each(|event| take(&event));
    }
}

fn bare_sqlite(journal: &Journal, place: &Path) {
    let connection = Connection::open(place.join("bare.db")).expect("a database");
    connection.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(())).expect("a log");
    connection.pragma_update(None, "synchronous", "FULL").expect("synced");
    let columns = "o, path, monitor, domain, topic, key, id, event_time, received_time, payload";
    connection.execute_batch(&format!("CREATE TABLE bare ({columns}); BEGIN")).expect("a table");
    let insert = "INSERT INTO bare VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
    let mut insert = connection.prepare(insert).expect("a statement");
    let mut waiting = 0;
    read(journal, |event| {
        let row = params![
            event.offset.0.cast_signed(),
            event.path.as_str(),
            event.monitor,
            event.domain,
            event.topic,
            event.key(),
            event.id(),
            event.event_time.map(|time| time.0),
            event.received.0,
            std::str::from_utf8(event.payload).expect("text"),
        ];
        insert.execute(row).expect("a row");
        waiting += 1;
        if waiting == BATCH {
            waiting = 0;
            connection.execute_batch("COMMIT; BEGIN").expect("a commit");
        }
    });
    connection.execute_batch("COMMIT").expect("a commit");
}

fn bare_jsonl(journal: &Journal, place: &Path) {
    let mut file = File::create(place.join("bare.jsonl")).expect("a file");
    let (mut lines, mut waiting) = (Vec::new(), 0);
    let mut flush = |lines: &mut Vec<u8>| {
        file.write_all(lines).and_then(|()| file.sync_data()).expect("written");
        lines.clear();
    };
    read(journal, |event| {
        serde_json::to_writer(&mut lines, &EventObject::from(event)).expect("a line");
        lines.push(b'\n');
        waiting += 1;
        if waiting == BATCH {
            waiting = 0;
            flush(&mut lines);
        }
    });
    flush(&mut lines);
}

/// Runs a sink from the first event to the last.
fn take(kind: &str, place: &Path, journal: &Arc<Journal>, rows: u64) -> Taken {
    let text = format!("[sinks.files]\nkind = \"{kind}\"\nfolder = \"{}\"\n", place.display());
    taking::take(&toml::from_str(&text).expect("settings"), journal, rows)
}
