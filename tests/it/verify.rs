//! `sluice verify` finds what a store lacks, has too much of, has twice, or has otherwise than the journal, and names it.

use rusqlite::Connection;
use serde_json::Value;

use super::postgres_server::PostgresServer;
use super::processes::{Daemon, Event, Feed, Settings, query, until};
use super::support::Workplace;

/// What `verify` says of each sink, and its exit code.
fn verify(place: &Workplace, more: &[&str]) -> (Option<i32>, Vec<Value>) {
    let command = ["--config", "sluice.toml", "verify", "--output", "json"];
    let outcome = place.run(command.iter().chain(more));
    let rows = serde_json::from_str(&outcome.stdout).unwrap_or_else(|error| panic!("{error}: {outcome:?}"));
    (outcome.code, rows)
}

/// A journal with sinks that have taken all of it. The events that they should have.
fn sunk(place: &Workplace, sinks: &str) -> Vec<Event> {
    let arguments =
        ["--dialect", "binance", "--rate", "800", "--seed", "3", "--repeats", "0.02", "--bad-frames", "0.01"];
    let feed = Feed::start(place, &arguments);
    let settings = Settings::new()
        .upstream("feed", "binance", feed.url())
        .monitor("trades", "spot", "feed", &["btcusdt@trade", "ethusdt@trade"], "")
        .monitor("solana", "spot", "feed", &["solusdt@trade"], "")
        .with(sinks);
    let daemon = Daemon::start(place, &settings);
    until("there are events", || (query(place, &[]).len() >= 600).then_some(()));
    let (code, rows) = verify(place, &[]);
    assert_eq!(code, Some(0), "while it runs, up to the cursor: {rows:?}");
    feed.stop();
    let mut events = query(place, &[]);
    until("the sinks have all of it", || {
        let now = query(place, &[]);
        let quiet = now.len() == events.len();
        events = now;
        let last = events.last()?.offset;
        let (_, sinks) = daemon.get("/api/v1/sinks");
        let sinks: Vec<Value> = serde_json::from_str(&sinks).ok()?;
        (quiet && sinks.iter().all(|sink| sink["cursor"].as_u64() > Some(last))).then_some(())
    });
    daemon.stop();
    events
}

/// The events that a sink's row names, as (offset, what).
fn named(row: &Value) -> Vec<(u64, &str)> {
    let events = row["compared"]["first_events"].as_array().unwrap_or_else(|| panic!("{row}"));
    events.iter().map(|event| (event["offset"].as_u64().unwrap(), event["what"].as_str().unwrap())).collect()
}

/// As SQLite has it.
fn signed(offset: u64) -> i64 {
    i64::try_from(offset).unwrap()
}

fn is_equal(row: &Value, events: usize) {
    assert_eq!(row["result"], "equal", "{row}");
    let compared = &row["compared"];
    assert_eq!((&compared["journal_events"], &compared["sink_events"]), (&events.into(), &events.into()), "{row}");
}

#[test]
fn a_row_deleted_altered_doubled_or_foreign_in_files_is_named() {
    let place = Workplace::new();
    let sinks = "[sinks.lines]\nkind = \"jsonl\"\nfolder = \"lines\"\n[sinks.days]\nkind = \"sqlite\"\nfolder = \"days\"\n\
                 [sinks.some]\nkind = \"jsonl\"\nfolder = \"some\"\nmonitors = [\"solana\"]";
    let events = sunk(&place, sinks);
    let (code, rows) = verify(&place, &[]);
    assert_eq!(code, Some(0), "{rows:?}");
    let of_solana = events.iter().filter(|event| event.monitor == "solana").count();
    for (row, count) in rows.iter().zip([events.len(), events.len(), of_solana]) {
        is_equal(row, count);
    }

    // What sinks write needs no mapping, where it is compared by key and id.
    let of_days = std::fs::read_dir(place.path("days")).unwrap().map(|entry| entry.unwrap().path());
    let day = of_days.filter(|path| path.extension().is_some_and(|kind| kind == "db")).max().unwrap();
    let whole = std::fs::read_dir(place.path("lines")).unwrap().map(|entry| entry.unwrap().path());
    let whole = whole.filter(|path| path.to_string_lossy().contains("jsonl")).max().unwrap();
    for against in [format!("sqlite:{}", day.display()), format!("jsonl:{}", whole.display())] {
        let outcome = place.run(["--config", "sluice.toml", "verify", "--output", "json", "--against", &against]);
        let told: Value = serde_json::from_str(&outcome.stdout).unwrap_or_else(|error| panic!("{error}: {outcome:?}"));
        assert_eq!((outcome.code, &told["in_both"]), (Some(0), &events.len().into()), "{told}");
        assert_eq!(told["joined_by"], serde_json::json!(["monitor", "key", "id"]));
    }
    let page = place.run(["--config", "sluice.toml", "verify", "--format", "markdown"]);
    assert!(page.code == Some(0) && page.stdout.contains("| lines | jsonl | equal |"), "{page:?}");

    let of_trades = |from: usize| events[from..].iter().find(|event| event.monitor == "trades").unwrap().offset;
    let (gone, altered, doubled) = (events[100].offset, of_trades(200), events[400].offset);
    let foreign = events.last().unwrap().offset + 1_000_000;
    let lines = std::fs::read_dir(place.path("lines")).unwrap().map(|entry| entry.unwrap().path());
    let lines = lines.filter(|path| path.to_string_lossy().contains("jsonl")).max().unwrap();
    let text = std::fs::read_to_string(&lines).unwrap();
    let mut changed = String::new();
    for line in text.lines() {
        let event: Event = serde_json::from_str(line).unwrap();
        let line = if event.offset == altered { line.replace("\"p\":\"", "\"p\":\"1") } else { line.to_owned() };
        let times = usize::from(event.offset != gone) + usize::from(event.offset == doubled);
        changed.push_str(&format!("{line}\n").repeat(times));
    }
    let last = text.lines().last().unwrap();
    let mark = format!("\"offset\":{}", events.last().unwrap().offset);
    changed.push_str(&last.replace(&mark, &format!("\"offset\":{foreign}")));
    changed.push('\n');
    std::fs::write(&lines, changed).unwrap();

    let days: Vec<_> = std::fs::read_dir(place.path("days")).unwrap().map(|entry| entry.unwrap().path()).collect();
    let day = days.iter().find(|path| path.extension().is_some_and(|extension| extension == "db")).unwrap();
    // Of another day's file every row is there twice but one.
    let yesterday = day.with_file_name("events-2026-01-02.db");
    std::fs::copy(day, &yesterday).unwrap();
    let other = Connection::open(&yesterday).unwrap();
    other.execute("DELETE FROM events WHERE offset <> ?1", [signed(doubled)]).unwrap();
    drop(other);
    let today = Connection::open(day).unwrap();
    today.execute("DELETE FROM events WHERE offset = ?1", [signed(gone)]).unwrap();
    today
        .execute("UPDATE events SET payload = payload || ' ', monitor = 'solana' WHERE offset = ?1", [signed(altered)])
        .unwrap();
    let columns = "journal, path, monitor, domain, topic, received_time, payload";
    let copy = format!("INSERT INTO events (offset, {columns}) SELECT ?1, {columns} FROM events WHERE offset = ?2");
    today.execute(&copy, [signed(foreign), signed(doubled)]).unwrap();
    drop(today);

    let (code, rows) = verify(&place, &[]);
    assert_eq!(code, Some(1), "{rows:?}");
    let expected = [(gone, "missing"), (altered, "different"), (doubled, "duplicated"), (foreign, "extra")];
    for row in &rows[..2] {
        assert_eq!(row["result"], "different");
        assert_eq!(named(row), expected, "{row}");
    }
    let fields = |row: &Value| row["compared"]["first_events"][1]["fields"].clone();
    assert_eq!(fields(&rows[0]), serde_json::json!(["monitor", "payload"]), "days come before lines");
    assert_eq!(fields(&rows[1]), serde_json::json!(["payload"]));
    assert_eq!(rows[1]["compared"]["different_spans"], rows[1]["compared"]["first_spans"].as_array().unwrap().len());
    is_equal(&rows[2], of_solana);
    let table = place.run(["--config", "sluice.toml", "verify", "--sink", "lines"]);
    assert!(table.code == Some(1) && table.stdout.contains(&format!("offset {gone} of")), "{table:?}");

    // Where nothing is wrong nothing is found: up to the first difference, one monitor, and a store by its place.
    let before = gone.to_string();
    assert_eq!(verify(&place, &["--to", &before]).0, Some(0));
    let (code, rows) = verify(&place, &["--against", "jsonl:some", "--sink", "some"]);
    assert_eq!(code, Some(0), "{rows:?}");
    for (senseless, words) in [
        (["--against", "jsonl:nowhere"].as_slice(), "there is no folder nowhere"),
        (&["--from", "9", "--to", "9"], "the span ends before it begins"),
    ] {
        let outcome = place.run(["verify", "--config", "sluice.toml"].iter().chain(senseless));
        assert!(outcome.code == Some(2) && outcome.stderr.contains(words), "{outcome:?}");
    }

    // A store that was emptied lacks everything: it must not pass for one that is equal.
    std::fs::remove_dir_all(place.path("some")).unwrap();
    let (code, rows) = verify(&place, &["--sink", "some"]);
    assert_eq!((code, rows[0]["result"].as_str()), (Some(1), Some("different")), "{rows:?}");
    assert_eq!(rows[0]["compared"]["first_events"][0]["what"], "missing", "{rows:?}");
    assert!(rows[0]["reason"].as_str().unwrap().contains("has no cursor of this journal"), "{rows:?}");

    // A file that SQLite itself calls damaged.
    let mut bytes = std::fs::read(day).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 2000].fill(0x5a);
    std::fs::write(day, bytes).unwrap();
    let (code, rows) = verify(&place, &["--sink", "days"]);
    assert_eq!((code, rows[0]["result"].as_str()), (Some(1), Some("damaged")), "{rows:?}");
}

#[test]
fn a_table_is_compared_to_the_byte_and_jsonb_as_values() {
    let server = PostgresServer::start();
    let place = Workplace::new();
    let url = server.url();
    let sinks = format!(
        "[sinks.text]\nkind = \"postgres\"\nurl = \"{url}\"\ntable = \"events\"\n\
         [sinks.values]\nkind = \"postgres\"\nurl = \"{url}\"\ntable = \"values\"\npayload = \"jsonb\""
    );
    let events = sunk(&place, &sinks);
    let (code, rows) = verify(&place, &[]);
    assert_eq!(code, Some(0), "{rows:?}");
    for row in &rows {
        is_equal(row, events.len());
    }

    let (gone, altered, spaced) = (events[10].offset, events[20].offset, events[30].offset);
    for table in ["events", "\"values\""] {
        let kind = if table == "events" { "text" } else { "jsonb" };
        server.sql(&format!("DELETE FROM {table} WHERE \"offset\" = {gone}"));
        server.sql(&format!(
            "UPDATE {table} SET payload = replace(payload::text, 'trade', 'Trade')::{kind} WHERE \"offset\" = {altered}"
        ));
        server.sql(&format!(
            "UPDATE {table} SET payload = replace(payload::text, '{{', '{{ ')::{kind} WHERE \"offset\" = {spaced}"
        ));
    }
    let (code, rows) = verify(&place, &[]);
    assert_eq!(code, Some(1), "{rows:?}");
    assert_eq!(named(&rows[0]), [(gone, "missing"), (altered, "different"), (spaced, "different")]);
    assert_eq!(named(&rows[1]), [(gone, "missing"), (altered, "different")], "a blank changes no value");
    // By key and id, without a mapping: what the server writes anew it writes otherwise, and not with another value.
    for (table, differing) in [("events", 2), ("values", 1)] {
        let against = format!("postgres:{url}?table={table}");
        let outcome = place.run(["--config", "sluice.toml", "verify", "--output", "json", "--against", &against]);
        let told: Value = serde_json::from_str(&outcome.stdout).unwrap_or_else(|error| panic!("{error}: {outcome:?}"));
        let found = (outcome.code, &told["missing"], &told["extra"], &told["differing"]);
        assert_eq!(found, (Some(1), &1.into(), &0.into(), &differing.into()), "{told}");
        assert_eq!((&told["first"][0]["what"], &told["first"][0]["offset"]), (&"missing".into(), &gone.into()));
    }
    let against = format!("postgres:{url}");
    let (code, rows) = verify(&place, &["--against", &against]);
    assert_eq!((code, named(&rows[0]).len()), (Some(1), 3), "{rows:?}");
}
