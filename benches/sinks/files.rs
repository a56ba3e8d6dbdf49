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
use std::time::Duration;

use rusqlite::{Connection, params};
use sluice::clock::UnixNanos;
use sluice::config::Settings;
use sluice::journal::{
    BlockBuilder, BlockFilter, Encoder, EventId, EventObject, Journal, JournalOptions, MonitorIdentity, NewEvent,
    Offset, Part, Path as Way, SourceSlot,
};
use sluice::sink::{LostCause, ReadySinks, SinkStart};
use tokio::time::Instant;

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

struct Taken {
    elapsed: Duration,
    cpu: Duration,
}

fn measured(work: impl FnOnce()) -> Taken {
    let (started, cpu) = (Instant::now(), cpu_of_process());
    work();
    Taken { elapsed: started.elapsed(), cpu: cpu_of_process().saturating_sub(cpu) }
}

fn cpu_per_row(rows: u64, taken: &Taken) -> f64 {
    taken.cpu.as_secs_f64() * 1e6 / as_float(rows)
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
    let mut running = None;
    let taken = measured(|| {
        let started = running.insert(ready.start(&start));
        let sinks = started.sinks();
        while sinks.rows()[0].cursor != Some(rows) {
            std::thread::sleep(Duration::from_millis(1));
            if let Some(error) = &sinks.rows()[0].error {
                panic!("{error}");
            }
        }
    });
    drop(running);
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
    while journal.durable() < Offset(rows) {
        std::thread::sleep(Duration::from_millis(1));
    }
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
