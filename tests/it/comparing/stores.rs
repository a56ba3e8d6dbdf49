//! `verify --against` a table of others: SQLite, PostgreSQL, JSON lines.

use std::fmt::Write as _;
use std::io::Write as _;

use rusqlite::Connection;
use serde_json::Value;
use sluice::journal::Path as Way;

use super::support::{
    Given, Id, START, counts, examples, is_narrow, journal_of, moment, named, payload, place, run, trade, verify,
};
use crate::postgres_server::PostgresServer;
use crate::support::Workplace;

/// A row of somebody else's table: pair, trade, text, milliseconds after [`START`].
type Row = (String, u64, String, i64);

fn row(number: u64) -> Row {
    (format!("PAIR{}", number % 3), number, payload(number), i64::try_from(number).unwrap())
}

/// 2,000 trades, and rows in which 100 and 700 are missing, 1500 differs, 9001 and 9002 are extra and 5 is there twice.
fn seeded() -> (Workplace, Vec<Row>) {
    let given: Vec<Given> = (0..2000).map(trade).collect();
    let mut rows: Vec<Row> = (0..2000).filter(|number| ![100, 700].contains(number)).map(row).collect();
    let altered = rows.iter_mut().find(|row| row.1 == 1500).unwrap();
    altered.2 = altered.2.replace("\"p\":\"4", "\"p\":\"5");
    rows.extend([row(9001), row(5), row(9002)]);
    // In no order: the row that is there twice is the last of all, once more.
    rows.rotate_left(321);
    (journal_of(&given), rows)
}

/// What must be found of [`seeded`], in the order of rows as they stand.
fn is_found(told: &Value, what: &str) {
    assert_eq!(counts(told), [1998, 2, 3, 1], "{what}: {told}");
    assert_eq!((&told["journal_events"], &told["store_records"]), (&2000.into(), &2001.into()), "{what}");
    assert_eq!((&told["journal_repeats"], &told["store_repeats"]), (&0.into(), &1.into()), "{what}");
    let expected =
        [("missing", 100), ("missing", 700), ("extra", 9001), ("extra", 9002), ("extra", 5), ("differing", 1500)];
    assert_eq!(examples(told), named(&expected), "{what}");
    let first = told["first"].as_array().unwrap();
    assert_eq!((&first[0]["offset"], &first[0]["key"], &first[0]["row"]), (&100.into(), &"PAIR1".into(), &Value::Null));
    let repeated: Vec<bool> = first.iter().map(|example| example["repeated"].as_bool().unwrap()).collect();
    assert_eq!(repeated, [false, false, false, false, true, false], "{what}");
    let differs = &first[5];
    assert!(differs["journal_payload"].as_str().unwrap().contains("41500.50"), "{what}: {differs}");
    assert!(differs["store_payload"].as_str().unwrap().contains("51500.50"), "{what}: {differs}");
    assert_eq!(told["equal"], false);
}

fn sqlite(place: &Workplace, name: &str, rows: &[Row]) -> Connection {
    let mut file = Connection::open(place.path(name)).unwrap();
    file.execute_batch("CREATE TABLE trades (pair TEXT, trade_id INTEGER, raw TEXT, ts INTEGER)").unwrap();
    let transaction = file.transaction().unwrap();
    for (pair, number, raw, at) in rows {
        let millis = START / 1_000_000 + at;
        let number = i64::try_from(*number).unwrap();
        transaction.execute("INSERT INTO trades VALUES (?1, ?2, ?3, ?4)", (pair, number, raw, millis)).unwrap();
    }
    transaction.commit().unwrap();
    file
}

const MAPPED: &str = "table=trades&id=trade_id&key=pair&payload=raw&time=ts&time_unit=ms";

#[test]
fn seeded_differences_are_found_exactly_in_sqlite() {
    let (place, rows) = seeded();
    sqlite(&place, "old.db", &rows);
    let (code, told) = verify(&place, &format!("sqlite:old.db?{MAPPED}"), &[]);
    is_found(&told, "sqlite");
    assert_eq!(
        (code, &told["joined_by"], &told["payload"]),
        (Some(1), &serde_json::json!(["key", "id"]), &"bytes".into())
    );
    // The same by options, in little memory, with files in a folder of their own in which nothing stays.
    std::fs::create_dir(place.path("tmp")).unwrap();
    let maps = ["--map", "id=trade_id", "--map", "key=pair", "--map", "payload=raw", "--map", "time=-"];
    let more = [&maps[..], &["--memory", "1KiB", "--tmp", "tmp"]].concat();
    let (code, told) = verify(&place, "sqlite:old.db?table=trades", &more);
    is_found(&told, "sqlite, mapped by options");
    assert_eq!((code, &told["store_times"]), (Some(1), &Value::Null));
    assert_eq!(std::fs::read_dir(place.path("tmp")).unwrap().count(), 0);
    is_narrow(&run(&place, &["verify", "--against", &format!("sqlite:old.db?{MAPPED}")]).stdout);
    // Without the rows that differ it is equal.
    let same: Vec<Row> = (0..2000).map(row).collect();
    sqlite(&place, "same.db", &same);
    let (code, told) = verify(&place, &format!("sqlite:same.db?{MAPPED}"), &[]);
    assert_eq!((code, counts(&told), &told["equal"]), (Some(0), [2000, 0, 0, 0], &true.into()), "{told}");
}

#[test]
fn seeded_differences_are_found_exactly_in_json_lines_compressed_or_not() {
    let (place, rows) = seeded();
    let mut lines = String::new();
    for (number, (pair, trade, raw, at)) in rows.iter().enumerate() {
        // Payloads as the value that they are, or as a text of it, as loggers do.
        let raw = if number % 2 == 0 { raw.clone() } else { serde_json::to_string(raw).unwrap() };
        writeln!(lines, r#"{{"e":{{"s":"{pair}","t":{trade}}},"raw":{raw},"at":"{}"}}"#, moment(*at)).unwrap();
    }
    place.write("old.jsonl", &lines);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(lines.as_bytes()).unwrap();
    place.write("old.jsonl.gz", gzip.finish().unwrap());
    place.write("old.zst", zstd::bulk::compress(lines.as_bytes(), 1).unwrap());
    for name in ["old.jsonl", "old.jsonl.gz", "old.zst"] {
        let against = format!("jsonl:{name}?id=/e/t&key=/e/s&payload=/raw&time=/at");
        let (code, told) = verify(&place, &against, &[]);
        is_found(&told, name);
        assert_eq!((code, &told["payload"]), (Some(1), &"json".into()));
        assert_eq!(told["store_delay"]["at_once"], 1998, "{told}");
    }
    // What `query` prints is told by its names alone; a last line that is on its way is left out.
    let printed = run(&place, &["query", "--output", "json"]).stdout;
    place.write("same.jsonl", printed + "{\"offset\":20");
    let (code, told) = verify(&place, "jsonl:same.jsonl", &[]);
    assert_eq!((code, counts(&told)), (Some(0), [2000, 0, 0, 0]), "{told}");
    assert_eq!(told["joined_by"], serde_json::json!(["monitor", "key", "id"]));
    assert!(told["notes"][0].as_str().unwrap().contains("last line is not whole"), "{told}");
}

#[test]
fn seeded_differences_are_found_exactly_in_postgres() {
    let (place, rows) = seeded();
    let server = PostgresServer::start();
    for (table, kind, time) in
        [("plain", "text", "timestamptz"), ("\"Values\"", "jsonb", "timestamp"), ("\"bytes\"", "bytea", "numeric")]
    {
        server.sql(&format!("CREATE TABLE {table} (pair text, trade bigint, body {kind}, at {time})"));
        let values: Vec<String> = rows
            .iter()
            .map(|(pair, trade, raw, at)| {
                let body = if kind == "bytea" { format!("convert_to('{raw}', 'UTF8')") } else { format!("'{raw}'") };
                let at = if time == "numeric" {
                    (f64::from(i32::try_from(*at).unwrap()) / 1000.0 + f64::from(1_767_225_600)).to_string()
                } else {
                    format!("'{}'", moment(*at))
                };
                format!("('{pair}', {trade}, {body}, {at})")
            })
            .collect();
        for some in values.chunks(500) {
            server.sql(&format!("INSERT INTO {table} VALUES {}", some.join(", ")));
        }
        let name = table.trim_matches('"');
        let unit = if time == "numeric" { "&time_unit=s" } else { "" };
        let url = server.url();
        let against =
            format!("postgres:{url}?sslmode=disable&table={name}&id=trade&key=pair&payload=body&time=at{unit}");
        let (code, told) = verify(&place, &against, &[]);
        is_found(&told, table);
        assert_eq!(code, Some(1));
        let form = if kind == "jsonb" { "json" } else { "bytes" };
        assert_eq!((&told["payload"], &told["store_delay"]["at_once"]), (&form.into(), &1998.into()), "{told}");
    }
    // A view in another schema, with an id of two columns.
    server.sql("CREATE SCHEMA old; CREATE VIEW old.trades AS SELECT pair AS a, trade AS b, body AS payload FROM plain");
    let against = format!("postgres:{}?table=old.trades&id=a,b", server.url());
    let (code, told) = verify(&place, &against, &[]);
    assert_eq!((code, counts(&told)), (Some(1), [0, 2000, 2001, 0]), "the journal's ids have one part: {told}");
}

#[test]
fn payloads_are_compared_to_the_byte_as_values_or_not_at_all() {
    let place = journal_of(&[trade(1), trade(2), trade(3)]);
    let file = sqlite(&place, "old.db", &[row(1), row(2), row(3)]);
    file.execute("UPDATE trades SET raw = replace(raw, ',', ', ') WHERE trade_id = 2", ()).unwrap();
    file.execute("UPDATE trades SET raw = '{}' WHERE trade_id = 3", ()).unwrap();
    let against = format!("sqlite:old.db?{MAPPED}");
    for (form, differing) in [("bytes", 2), ("json", 1), ("none", 0)] {
        let (code, told) = verify(&place, &against, &["--payload", form]);
        assert_eq!((code, counts(&told)), (Some(i32::from(differing > 0)), [3, 0, 0, differing]), "{form}: {told}");
        assert_eq!(told["payload"], form);
    }
    // Without ids they are what two events are told to be the same by.
    let nameless = journal_of(&[trade(1), trade(1), trade(2)].map(|given| Given { id: Id::None, ..given }));
    sqlite(&nameless, "old.db", &[row(2), row(1), row(7)]);
    let against = "sqlite:old.db?table=trades&payload=raw&key=pair";
    let (code, told) = verify(&nameless, against, &["--join", "payload"]);
    assert_eq!((code, counts(&told)), (Some(1), [2, 1, 1, 0]), "{told}");
    assert_eq!(told["joined_by"], serde_json::json!(["key", "payload"]));
}

#[test]
fn a_span_is_compared_on_both_sides_and_no_partner_at_its_edge_is_missed() {
    let place =
        journal_of(&(0..100).map(|number| Given { at: trade(number).at * 1000, ..trade(number) }).collect::<Vec<_>>());
    // The other side has each 2.5 s later, and lacks one within the span and one outside.
    let rows = (0..100).filter(|number| ![10, 50].contains(number));
    let rows: Vec<Row> = rows.map(row).map(|(pair, number, raw, at)| (pair, number, raw, at * 1000 + 2500)).collect();
    sqlite(&place, "old.db", &rows);
    let against = format!("sqlite:old.db?{MAPPED}");
    let (since, until) = (moment(40_000), moment(60_000));
    let span = ["--since", &since, "--until", &until];
    let (code, told) = verify(&place, &against, &span);
    assert_eq!((code, examples(&told)), (Some(1), named(&[("missing", 50)])), "{told}");
    // Pairs count when one of both is in it: from 38 on, which the other side has at 40.5 s, to 59, which it has at 61.5 s.
    assert_eq!(told["in_both"], 21, "{told}");
    assert_eq!(told["store_delay"]["later"]["events"], 21);
    assert!((2500.0..2600.0).contains(&told["store_delay"]["later"]["p50_ms"].as_f64().unwrap()), "{told}");
    assert_eq!((&told["since"], &told["until"]), (&since.clone().into(), &until.clone().into()));
    let (_, told) = verify(&place, &against, &[&span[..], &["--tolerance", "1s"]].concat());
    // Now 57 and later have no partner within a second of the end, nor have the first ones of the other side.
    assert!(told["missing"].as_u64().unwrap() > 1 && told["extra"].as_u64().unwrap() > 0, "{told}");
}

#[test]
fn a_column_in_which_no_time_can_be_read_is_told_and_not_ignored() {
    let place = journal_of(&(0..300).map(trade).collect::<Vec<_>>());
    let rows: Vec<Row> = (0..300).map(row).collect();
    let file = sqlite(&place, "old.db", &rows);
    let base = "sqlite:old.db?table=trades&id=trade_id&key=pair&payload=raw";
    let first = (START / 1_000_000).to_string();
    let at_start = moment(0);
    place.write("old.jsonl", "{\"t\":1,\"at\":\"noon\"}\n{\"t\":2,\"at\":null}\n");
    for (against, words) in [
        (
            format!("{base}&time=ts&time_unit=s"),
            vec!["`ts` is its time", &first, "read as s;", "as ms it is", "`time_unit=`"],
        ),
        (format!("{base}&time=ts&time_unit=us"), vec!["`ts` is its time", &first, "as ms it is", &at_start]),
        (format!("{base}&time=pair"), vec!["`pair` is its time", "`PAIR0`", "`time=COLUMN`"]),
        ("jsonl:old.jsonl?id=/t&time=/at".to_owned(), vec!["`/at` is its time", "`noon`"]),
    ] {
        for more in [&[][..], &["--since", &at_start]] {
            let outcome = run(&place, &[&["verify", "--against", &against], more].concat());
            assert!(outcome.code == Some(2) && outcome.stdout.is_empty(), "{against}: {outcome:?}");
            assert!(words.iter().all(|word| outcome.stderr.contains(word)), "{against}: {outcome:?}");
        }
    }
    // Some rows without one are counted together, and are still found by their ids.
    file.execute("UPDATE trades SET ts = 'noon' WHERE trade_id = 7", ()).unwrap();
    file.execute("UPDATE trades SET ts = NULL WHERE trade_id = 8", ()).unwrap();
    file.execute("UPDATE trades SET ts = 12 WHERE trade_id = 9", ()).unwrap();
    let against = format!("sqlite:old.db?{MAPPED}");
    for more in [&[][..], &["--since", &at_start]] {
        let (code, told) = verify(&place, &against, more);
        assert_eq!((code, counts(&told), &told["without_time"]), (Some(0), [300, 0, 0, 0], &3.into()), "{told}");
        assert_eq!(told["notes"].as_array().unwrap().len(), 0, "{told}");
        let table = run(&place, &[&["verify", "--against", &against], more].concat()).stdout;
        assert_eq!(table.matches("no time").count(), 1, "{table}");
        assert!(table.contains("3 records of the store have no time that can be read"), "{table}");
    }
    // A store that is not asked for times lacks none.
    let (_, told) = verify(&place, &format!("{base}&time=-"), &[]);
    assert_eq!((counts(&told), &told["without_time"]), ([300, 0, 0, 0], &0.into()), "{told}");
}

#[test]
fn where_nothing_is_in_both_a_mapping_that_may_be_wrong_is_named_with_an_example_of_each_side() {
    let place = journal_of(&(0..20).map(trade).collect::<Vec<_>>());
    sqlite(&place, "old.db", &(0..20).map(row).collect::<Vec<_>>());
    let against = "sqlite:old.db?table=trades&id=trade_id&key=ts&payload=raw";
    let (code, told) = verify(&place, against, &[]);
    assert_eq!((code, counts(&told)), (Some(1), [0, 20, 20, 0]), "{told}");
    let millis = START / 1_000_000;
    for words in [
        "the mapping of key or id may be wrong",
        "offset 0 has key PAIR0, id 0;",
        &format!("row 1 has key {millis}, id 0"),
    ] {
        assert!(told["notes"].to_string().contains(words), "{words}: {told}");
    }
    let (_, told) = verify(&place, &format!("sqlite:old.db?{MAPPED}"), &[]);
    assert_eq!((counts(&told), told["notes"].as_array().unwrap().len()), ([20, 0, 0, 0], 0), "{told}");
}

#[test]
fn only_what_is_asked_for_is_compared() {
    let other = |number| Given { monitor: "book", domain: "depth", ..trade(number) };
    let legacy = |number| Given { way: Way::Legacy, ..trade(number) };
    let place = journal_of(&[trade(1), other(1), trade(2), legacy(3), trade(4).shadow(0)]);
    let printed = run(&place, &["query", "--output", "json"]).stdout;
    let all: String =
        printed.lines().filter(|line| !line.contains("_shadow.")).fold(String::new(), |all, line| all + line + "\n");
    place.write("all.jsonl", all);
    // A shadow is compared only where it is named.
    let (code, told) = verify(&place, "jsonl:all.jsonl", &[]);
    assert_eq!((code, counts(&told)), (Some(0), [4, 0, 0, 0]), "{told}");
    for (more, events) in [
        (&["--monitor", "book"][..], 1),
        (&["--domain", "spot"], 3),
        (&["--path", "legacy"], 1),
        (&["--path", "smart", "--monitor", "trades"], 2),
    ] {
        let (code, told) = verify(&place, "jsonl:all.jsonl", more);
        assert_eq!((code, counts(&told)), (Some(0), [events, 0, 0, 0]), "{more:?}: {told}");
    }
    let (code, told) = verify(&place, "jsonl:all.jsonl", &["--domain", "_shadow.spot"]);
    assert_eq!((code, counts(&told)), (Some(1), [0, 1, 0, 0]), "{told}");
    // A store that cannot tell monitors is taken to be of those that are named.
    sqlite(&place, "old.db", &[row(1), row(2), row(3)]);
    let (code, told) = verify(&place, &format!("sqlite:old.db?{MAPPED}"), &["--monitor", "trades"]);
    assert_eq!((code, counts(&told)), (Some(0), [3, 0, 0, 0]), "{told}");
    assert!(told["notes"][0].as_str().unwrap().contains("no column tells the monitor"), "{told}");
}

#[test]
fn a_mistake_in_the_mapping_is_told_with_what_was_meant() {
    let place = journal_of(&[trade(1)]);
    sqlite(&place, "old.db", &[row(1)]);
    place.write("old.jsonl", "{\"trade\":{\"id\":1},\"at\":1767225600}\n");
    let server = PostgresServer::start();
    server.sql("CREATE TABLE trades (trade_id bigint, body text, at bigint); INSERT INTO trades VALUES (1, '{}', 1)");
    let url = format!("postgres:{}", server.url());
    let (sqlite, lines) = ("sqlite:old.db", "jsonl:old.jsonl");
    for (against, query, words) in [
        (sqlite, "?table=trade", "has no table `trade`; did you mean `trades`?"),
        (sqlite, "", "has no table `events`"),
        (sqlite, "?table=trades", "has no column `id`; name the one that has ids"),
        (sqlite, "?table=trades&id=tradeid", "did you mean `trade_id`?"),
        (sqlite, "?table=trades&id=trade_id&time=ts", "say what they count by `time_unit=`"),
        (sqlite, "?table=trades&idd=x", "`idd` is no part of a mapping; did you mean `id`?"),
        ("sqlite:older.db", "?table=trades", "there is no file older.db"),
        ("sqlite:data", "?table=trades", "data is a folder"),
        (
            lines,
            "?id=/trade/idd",
            "none of the first 1 lines of old.jsonl has `/trade/idd` for `id`; did you mean `/trade/id`?",
        ),
        (lines, "", "has `/id` for `id`"),
        (lines, "?id=trade", "must be empty or begin with `/`"),
        (lines, "?id=/trade/id&time=/at", "say what they count by `time_unit=`"),
        (&url, "?table=trade", "has no table `trade`; did you mean `trades`?"),
        (&url, "?table=trades&id=tradeid", "has no column `tradeid` for `id`; did you mean `trade_id`?"),
        (&url, "?table=trades&id=trade_id&time=at", "say what they count by `time_unit=`"),
        (&url, "?id=trade_id", "name the table"),
    ] {
        let outcome = run(&place, &["verify", "--against", &format!("{against}{query}")]);
        assert!(outcome.code == Some(2) && outcome.stderr.contains(words), "{against}{query}: {outcome:?}");
        assert_eq!(outcome.stdout, "");
    }
    let mapped = format!("sqlite:old.db?{MAPPED}");
    let unmapped = "sqlite:old.db?table=trades&id=trade_id";
    for (more, words) in [
        (&[unmapped, "--since", "1h"][..], "has no time"),
        (&[unmapped, "--payload", "bytes"], "has no payload"),
        (&[unmapped, "--join", "payload"], "has no payload"),
        (&[&mapped, "--from", "1"], "knows no offsets"),
        (&[&mapped, "--sink", "x"], "`--sink` says nothing"),
        (&[&mapped, "--map", "id"], "is not of the form PART=COLUMN"),
        (&[&mapped, "--tmp", "nowhere"], "there is no folder nowhere"),
        (&[&mapped, "--since", "1m", "--until", "2m"], "ends before it begins"),
        (&[&mapped, "--output", "json", "--format", "html"], "do not go together"),
        (&[&mapped, "--monitor", "nobody", "--map", "monitor=pair"], "nothing was compared"),
        (&["legacy", "--path", "smart"], "about both paths"),
        (&["legacy", "--map", "id=x"], "`legacy` is none"),
    ] {
        let outcome = run(&place, &[&["verify", "--against"], more].concat());
        assert!(outcome.code == Some(2) && outcome.stderr.contains(words), "{more:?}: {outcome:?}");
    }
    let outcome = run(&place, &["verify", "--map", "id=x"]);
    assert!(outcome.code == Some(2) && outcome.stderr.contains("name it by `--against`"), "{outcome:?}");
}

#[test]
fn what_cannot_be_reached_or_read_is_no_difference_and_no_password_is_shown() {
    let place = journal_of(&[trade(1)]);
    let server = PostgresServer::start_with(
        "",
        &[("pg_hba.conf", "host all sluice 127.0.0.1/32 trust\nhost all all 127.0.0.1/32 scram-sha-256\n")],
    );
    server.sql("CREATE ROLE me LOGIN PASSWORD 'right'");
    let port = server.port();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    place.write("no.db", "this is no file of SQLite, although it is long enough to have a header of one".repeat(9));
    place.write("no.jsonl", "{\"id\":1}\n{\"id\":}\n{\"id\":3}\n");
    for (against, words) in [
        (format!("postgres:postgres://me:hunter2@127.0.0.1:{free}/d?table=t"), "Connection refused"),
        (format!("postgres:postgres://me:hunter2@127.0.0.1:{port}/postgres?table=t"), "password authentication failed"),
        ("sqlite:no.db?table=t".to_owned(), "no.db cannot be read"),
        ("jsonl:no.jsonl".to_owned(), "line 2 of no.jsonl is not JSON"),
    ] {
        let outcome = run(&place, &["verify", "--against", &against]);
        assert!(outcome.code == Some(3) && outcome.stderr.contains(words), "{against}: {outcome:?}");
        assert!(!outcome.stderr.contains("hunter2"), "{outcome:?}");
    }
    // Of a sink's store, too: that nobody could look is no difference.
    let outcome = run(&place, &["verify", "--against", &format!("postgres:postgres://me:hunter2@127.0.0.1:{free}/d")]);
    assert!(outcome.code == Some(3) && outcome.stdout.contains("unavailable"), "{outcome:?}");
    assert!(!outcome.stdout.contains("hunter2") && !outcome.stderr.contains("hunter2"), "{outcome:?}");
    for text in
        ["postgres:hunter2", "postgres://me:hunter2@[/d?table=t", "postgres://me:hunter2@h/d?table=t&sslmode=maybe"]
    {
        let outcome = run(&place, &["verify", "--against", text]);
        assert_eq!(outcome.code, Some(2), "{text}: {outcome:?}");
        assert!(!outcome.stderr.contains("hunter2"), "{outcome:?}");
    }
    // No journal at all.
    let empty = place_without_journal();
    let outcome = run(&empty, &["verify", "--against", "jsonl:a.jsonl"]);
    assert!(outcome.code == Some(3) && outcome.stderr.contains("journal"), "{outcome:?}");
    let outcome = run(&empty, &["monitors", "compare"]);
    assert!(outcome.code == Some(3) && outcome.stderr.contains("journal"), "{outcome:?}");
}

fn place_without_journal() -> Workplace {
    place().with_file("a.jsonl", "{\"id\":1}\n")
}

#[test]
fn a_report_is_a_table_json_markdown_or_one_page_in_which_nothing_is_markup() {
    let hostile = "<img src=x onerror=alert(1)>";
    let given =
        Given { id: Id::Token(serde_json::to_string(hostile).unwrap()), payload: format!("\"{hostile}\""), ..trade(1) };
    let place = journal_of(&[trade(2), given]);
    let file = sqlite(&place, "old.db", &[row(2)]);
    file.execute("INSERT INTO trades VALUES ('</td><script>', ?1, ?1, 0)", [hostile]).unwrap();
    let against = format!("sqlite:old.db?{MAPPED}");
    let report = |format: &str, more: &[&str]| {
        run(&place, &[&["verify", "--against", &against, "--format", format], more].concat())
    };
    let page = report("html", &[]);
    assert_eq!(page.code, Some(1));
    assert!(
        page.stdout.starts_with("<!doctype html>") && page.stdout.contains("different: 1 missing, 1 extra"),
        "{page:?}"
    );
    assert!(!page.stdout.contains("<img") && !page.stdout.contains("<script"), "{page:?}");
    assert!(page.stdout.contains("&lt;img src=x onerror=alert(1)&gt;"), "{page:?}");
    assert!(page.stdout.contains("prefers-color-scheme: dark"), "{page:?}");
    let markdown = report("markdown", &[]).stdout;
    assert!(markdown.contains("# The journal against") && markdown.contains("| missing |"), "{markdown}");
    let table = report("table", &[]).stdout;
    assert!(table.contains("different: 1 missing, 1 extra, 0 differing") && table.contains(hostile), "{table}");
    let json: Value = serde_json::from_str(&report("json", &[]).stdout).unwrap();
    assert_eq!((&json["in_both"], &json["first"][0]["id"]), (&1.into(), &hostile.into()));
    // Into a file, and nothing beside.
    let outcome = report("html", &["--report-to", "report.html"]);
    assert_eq!((outcome.code, outcome.stdout.as_str(), outcome.stderr.as_str()), (Some(1), "", ""));
    assert_eq!(std::fs::read_to_string(place.path("report.html")).unwrap(), page.stdout);
    // How far it is, is told where it is asked for.
    let told = report("json", &["--progress"]).stderr;
    for words in
        ["reading the journal: 2 records", "reading table `trades` of old.db: 2 records", "comparing: 4 records, 100 %"]
    {
        assert!(told.contains(words), "{words}: {told}");
    }
}
