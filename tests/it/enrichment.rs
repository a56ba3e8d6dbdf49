//! What is looked up stands beside the payload, in every store and for every reader; and whatever becomes of a look-up, no event waits
//! for it or is lost.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use rusqlite::Connection;
use serde_json::Value;

use super::look_up_server::{LookUpServer, Mood};
use super::nats::bus;
use super::nats_server::NatsServer;
use super::postgres_server::PostgresServer;
use super::processes::{Daemon, Feed, Settings, json, until};
use super::support::Workplace;

const STORES: &str = "[batch]\nmin_size = 1\ntimeout = \"20ms\"\n\
    [sinks.days]\nkind = \"sqlite\"\nfolder = \"days\"\nflush_interval = \"10ms\"\n\
    [sinks.lines]\nkind = \"jsonl\"\nfolder = \"lines\"\nflush_interval = \"10ms\"\n";

fn feed(place: &Workplace, rate: &str) -> Feed {
    Feed::start(place, &["--dialect", "binance", "--rate", rate, "--seed", "21"])
}

/// A monitor of two keys with a look-up. The stores wait as long as they may, so that a slow machine changes nothing.
fn settings(feed: &Feed, look_up: &str) -> Settings {
    let enrich = format!("[monitors.trades.enrich.token]\n{look_up}");
    Settings::new().with(STORES).upstream("feed", "binance", feed.url()).monitor(
        "trades",
        "spot",
        "feed",
        &["btcusdt@trade", "ethusdt@trade"],
        &enrich,
    )
}

fn by_http(server: &LookUpServer, more: &str) -> String {
    format!(
        "url = \"{}/{{key}}\"\nfields = {{ name = \"/token/name\", version = \"/token/version\" }}\n{more}",
        server.url()
    )
}

/// Events of the monitor as `query` prints them.
fn queried(place: &Workplace) -> Vec<Value> {
    let printed = json(place, &["query", "--monitor", "trades"]);
    printed.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Answers on record: key and fields.
fn on_record(place: &Workplace) -> Vec<(String, Value)> {
    let printed = json(place, &["query", "--monitor", "enrichments", "--domain", "_sluice"]);
    let record = |line: &str| {
        let event: Value = serde_json::from_str(line).unwrap();
        (event["key"].as_str().unwrap().to_owned(), event["payload"]["fields"].clone())
    };
    printed.lines().map(record).collect()
}

/// What the sinks have, by offset: the key, and what is enriched.
fn stored(place: &Workplace) -> [BTreeMap<u64, (String, Value)>; 2] {
    let entries = |folder: &str| {
        let entries = fs::read_dir(place.path(folder)).into_iter().flatten().map(|entry| entry.unwrap().path());
        entries.collect::<Vec<_>>()
    };
    let mut days = BTreeMap::new();
    for path in entries("days").into_iter().filter(|path| path.extension().is_some_and(|ending| ending == "db")) {
        let connection = Connection::open(path).unwrap();
        let Ok(mut statement) = connection.prepare("SELECT offset, key, enriched FROM events") else { continue };
        let mut rows = statement.query([]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            let enriched: Option<String> = row.get(2).unwrap();
            let enriched = enriched.map_or(Value::Null, |text| serde_json::from_str(&text).unwrap());
            days.insert(row.get::<_, i64>(0).unwrap().cast_unsigned(), (row.get(1).unwrap(), enriched));
        }
    }
    let mut lines = BTreeMap::new();
    for path in entries("lines").into_iter().filter(|path| path.to_string_lossy().contains("events-")) {
        for line in fs::read_to_string(path).unwrap().lines() {
            // The last one may be half written.
            let Ok(event) = serde_json::from_str::<Value>(line) else { continue };
            let key = event["key"].as_str().unwrap().to_owned();
            lines.insert(event["offset"].as_u64().unwrap(), (key, event["enriched"].clone()));
        }
    }
    [days, lines]
}

fn stored_count(place: &Workplace) -> usize {
    stored(place).iter().map(BTreeMap::len).min().unwrap()
}

fn circuit(daemon: &Daemon) -> Value {
    let (_, body) = daemon.get("/api/v1/circuits");
    let rows: Vec<Value> = serde_json::from_str(&body).unwrap();
    rows.into_iter().find(|row| row["kind"] == "look_up" && row["name"] == "trades.token").expect("it is listed")
}

/// Every event that was journaled is in both stores, once the feed is gone.
fn complete(place: &Workplace) {
    until("the stores have everything", || {
        let journaled: BTreeSet<u64> = queried(place).iter().map(|event| event["offset"].as_u64().unwrap()).collect();
        stored(place).iter().all(|store| store.keys().copied().collect::<BTreeSet<_>>() == journaled).then_some(())
    });
}

#[test]
fn from_its_first_event_on_a_key_has_its_fields_in_every_store_and_the_payload_stays() {
    let place = Workplace::new();
    let feed = feed(&place, "150");
    let server = LookUpServer::start(Mood::Answers { version: 1 });
    let daemon = Daemon::start(&place, &settings(&feed, &by_http(&server, "wait = \"5s\"\nttl = \"1h\"")));
    until("events are stored", || (stored_count(&place) >= 200).then_some(()));
    feed.stop();
    complete(&place);
    let expected = |key: &str| serde_json::json!({ "token": { "name": format!("about /{key}"), "version": 1 } });
    for store in stored(&place) {
        for (offset, (key, enriched)) in store {
            assert_eq!(enriched, expected(&key), "{offset}");
        }
    }
    for event in queried(&place) {
        assert_eq!(event["enriched"], expected(event["key"].as_str().unwrap()));
        assert!(event["payload"]["data"]["e"] == "trade" && event["payload"]["token"].is_null(), "{event}");
    }
    let keys = BTreeMap::from([("/BTCUSDT".to_owned(), 1), ("/ETHUSDT".to_owned(), 1)]);
    assert_eq!(server.asked(), keys, "a key is asked for once");
    let metrics = daemon.metrics();
    let labels = [("monitor", "trades"), ("lookup", "token")];
    assert_eq!(metrics.value("sluice_lookups_total", &[labels[0], labels[1], ("outcome", "found")]), 2);
    assert_eq!(metrics.value("sluice_lookup_success_ratio", &labels), 1);
    let (_, body) = daemon.get("/api/v1/statistics");
    let body: Value = serde_json::from_str(&body).unwrap();
    let cache = &body["caches"]["trades.token"];
    assert!(cache["hits"].as_u64().unwrap() > 0 && cache["misses"].as_u64().unwrap() >= 2, "{body}");
    assert_eq!((&body["enrichment"][0]["found"], &body["enrichment"][0]["success_rate"]), (&2.into(), &1.0.into()));

    // Killed, it knows what it knew, without asking again; and a replay stores what was known.
    daemon.kill();
    assert_eq!(on_record(&place).len(), 2);
    let feed = self::feed(&place, "150");
    let before = queried(&place).len();
    let daemon = Daemon::start(&place, &settings(&feed, &by_http(&server, "wait = \"5s\"\nttl = \"1h\"")));
    until("more is stored", || (stored_count(&place) >= before + 100).then_some(()));
    feed.stop();
    complete(&place);
    assert_eq!(server.asked(), keys, "asked for again");
    for store in stored(&place) {
        for (offset, (key, enriched)) in store {
            assert_eq!(enriched, expected(&key), "{offset}");
        }
    }
    daemon.stop();
    for path in fs::read_dir(place.path("days")).unwrap().map(|entry| entry.unwrap().path()) {
        Connection::open(path).unwrap().execute("UPDATE events SET enriched = NULL", []).unwrap();
    }
    let said = place.run(["--config", "sluice.toml", "replay", "--sink", "days", "--from-offset", "0"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    let [days, _] = stored(&place);
    assert_eq!(days.len(), queried(&place).len());
    assert!(days.values().all(|(key, enriched)| *enriched == expected(key)));
}

#[test]
fn a_service_that_is_silent_and_fails_delays_and_loses_nothing_and_is_left_alone_until_it_answers() {
    let place = Workplace::new();
    let feed = feed(&place, "300");
    let server = LookUpServer::start(Mood::IsSilent);
    // Every trade is a key of its own.
    let look_up = format!(
        "url = \"{}/{{key}}/{{/data/t}}\"\nfields = {{ name = \"/token/name\" }}\ntimeout = \"200ms\"\nrate = 1000\nwait = \"100ms\"",
        server.url()
    );
    let daemon = Daemon::start(&place, &settings(&feed, &look_up));
    until("its circuit is open", || (circuit(&daemon)["state"] == "open").then_some(()));
    let so_far = stored_count(&place);
    until("events are stored all the same", || (stored_count(&place) >= so_far + 300).then_some(()));
    server.be(Mood::Fails);
    let labels = [("monitor", "trades"), ("lookup", "token"), ("outcome", "failed")];
    let failed = daemon.metrics().value("sluice_lookups_total", &labels);
    assert!(failed >= 5, "{failed}");
    let listen = format!("server.listen={}", daemon.address());
    let said = place.run(["--config", "sluice.toml", "--set", &listen, "circuits"]);
    assert!(said.stdout.contains("trades.token"), "{said:?}");
    assert!(daemon.metrics().value("sluice_lookups_total", &[labels[0], labels[1], ("outcome", "skipped")]) > 0);

    server.be(Mood::Answers { version: 7 });
    until("its circuit is closed", || (circuit(&daemon)["state"] == "closed").then_some(()));
    until("fields come", || {
        stored(&place).iter().all(|store| store.values().any(|(_, of)| !of.is_null())).then_some(())
    });
    // Held by an operator, it is asked for nothing.
    let held = place.run(["--config", "sluice.toml", "--set", &listen, "circuits", "open", "trades.token"]);
    assert_eq!(held.code, Some(0), "{held:?}");
    let so_far = stored_count(&place);
    until("events are stored all the same", || (stored_count(&place) >= so_far + 100).then_some(()));
    let asked = server.asked().len();
    let so_far = stored_count(&place);
    until("events are stored all the same", || (stored_count(&place) >= so_far + 100).then_some(()));
    assert_eq!(server.asked().len(), asked);
    feed.stop();
    complete(&place);
    assert_eq!(server.most_at_once(), 1, "one request for a key");
    for [days, lines] in [stored(&place)] {
        assert!(days.values().any(|(_, enriched)| enriched.is_null()) && lines.len() == days.len());
    }
    let log = daemon.stop();
    assert!(log.contains("circuit open"), "{log}");
}

#[test]
fn the_last_answer_stays_while_a_service_fails_and_goes_when_it_says_that_there_is_nothing() {
    let place = Workplace::new();
    let feed = feed(&place, "100");
    let server = LookUpServer::start(Mood::AnswersAtLength { bytes: 12_000 });
    let look_up = by_http(&server, "wait = \"5s\"\nttl = \"100ms\"\nnegative_ttl = \"100ms\"\nrate = 1000");
    let daemon = Daemon::start(&place, &settings(&feed, &look_up));
    let all_have = |from: usize| {
        stored(&place)[0]
            .values()
            .skip(from)
            .all(|(_, of)| of["token"]["name"].as_str().is_some_and(|name| name.len() == 12_000))
    };
    until("events are stored", || (stored_count(&place) >= 50).then_some(()));
    server.be(Mood::Fails);
    let failed = || daemon.metrics().value("sluice_lookups_total", &[("lookup", "token"), ("outcome", "failed")]);
    until("look-ups fail", || (failed() >= 2).then_some(()));
    let so_far = stored_count(&place);
    until("more is stored", || (stored_count(&place) >= so_far + 50).then_some(()));
    assert!(all_have(0), "the last answer stays");
    // Large answers take little room.
    let (_, body) = daemon.get("/api/v1/statistics");
    let body: Value = serde_json::from_str(&body).unwrap();
    let bytes = body["caches"]["trades.token"]["bytes"].as_u64().unwrap();
    assert!(bytes < 10_000, "compressed: {bytes}");
    server.be(Mood::KnowsNothing);
    until("the fields go", || {
        let [days, _] = stored(&place);
        let gone = |key: &str| days.values().rfind(|(of, _)| of == key).is_some_and(|(_, enriched)| enriched.is_null());
        (gone("BTCUSDT") && gone("ETHUSDT")).then_some(())
    });
    feed.stop();
    complete(&place);
    daemon.stop();
    let record = on_record(&place);
    for key in ["BTCUSDT", "ETHUSDT"] {
        let of: Vec<&Value> = record.iter().filter(|(of, _)| of == key).map(|(_, fields)| fields).collect();
        assert!(of.len() == 2 && of[0]["name"].is_string() && of[1].is_null(), "once each: {}", of.len());
    }
}

#[test]
fn a_file_that_changes_is_read_again_and_what_was_known_when_stays_on_record() {
    for (name, form, first, second) in [
        ("tokens.csv", "", "symbol,title\nBTCUSDT,Bitcoin\n", "symbol,title\nBTCUSDT,Bitcoin II\nETHUSDT,Ether\n"),
        (
            "tokens.json",
            "key_field = \"/symbol\"\n",
            r#"[{"symbol":"BTCUSDT","title":"Bitcoin"}]"#,
            r#"[{"symbol":"BTCUSDT","title":"Bitcoin II"},{"symbol":"ETHUSDT","title":"Ether"}]"#,
        ),
    ] {
        let place = Workplace::new();
        let feed = feed(&place, "150");
        place.write(name, first);
        let field = if name.ends_with("csv") { "title" } else { "/title" };
        let look_up = format!("file = \"{name}\"\n{form}fields = {{ title = \"{field}\" }}\nwait = \"5s\"");
        let daemon = Daemon::start(&place, &settings(&feed, &look_up));
        until("events are stored", || (stored_count(&place) >= 100).then_some(()));
        // Renamed into place, as whoever writes such a file should.
        place.write("new", second);
        fs::rename(place.path("new"), place.path(name)).unwrap();
        let newest = |title: &'static str, key: &'static str| {
            until("the new file is in force", || {
                let [days, _] = stored(&place);
                let of = days.values().rev().find(|(of, _)| of == key)?.1["token"]["title"] == title;
                of.then_some(())
            });
        };
        newest("Bitcoin II", "BTCUSDT");
        newest("Ether", "ETHUSDT");
        // One that cannot be read changes nothing, and is said so.
        place.write(name, "{");
        until("it is said", || daemon.log().contains("what was read before stays").then_some(()));
        let so_far = stored_count(&place);
        until("more is stored", || (stored_count(&place) >= so_far + 50).then_some(()));
        feed.stop();
        complete(&place);
        daemon.stop();
        let titles = |events: Vec<(String, Value)>| -> Vec<String> {
            let mut seen: Vec<String> = Vec::new();
            for (_, enriched) in events.into_iter().filter(|(key, _)| key == "BTCUSDT") {
                let title = enriched["token"]["title"].as_str().unwrap_or("none").to_owned();
                if seen.last() != Some(&title) {
                    seen.push(title);
                }
            }
            seen
        };
        let [days, lines] = stored(&place);
        assert_eq!(titles(days.into_values().collect()), ["Bitcoin", "Bitcoin II"], "{name}");
        assert_eq!(titles(lines.into_values().collect()), ["Bitcoin", "Bitcoin II"], "{name}");
        let events = queried(&place)
            .into_iter()
            .map(|event| (event["key"].as_str().unwrap().to_owned(), event["enriched"].clone()));
        assert_eq!(titles(events.collect()), ["Bitcoin", "Bitcoin II"], "{name}");
    }
}

#[test]
fn a_reload_adds_and_takes_away_look_ups() {
    let place = Workplace::new();
    let feed = feed(&place, "150");
    let server = LookUpServer::start(Mood::Answers { version: 1 });
    let plain = Settings::new().with(STORES).upstream("feed", "binance", feed.url()).monitor(
        "trades",
        "spot",
        "feed",
        &["btcusdt@trade"],
        "",
    );
    let daemon = Daemon::start(&place, &plain);
    until("events are stored", || (stored_count(&place) >= 20).then_some(()));
    let reload = |settings: &Settings| {
        settings.write(&place);
        let listen = format!("server.listen={}", daemon.address());
        let said = place.run(["--config", "sluice.toml", "--set", &listen, "reload"]);
        assert_eq!(said.code, Some(0), "{said:?}");
    };
    let newest_has = |has: bool| {
        until("the newest events show it", || {
            stored(&place)
                .iter()
                .all(|store| store.values().next_back().is_some_and(|(_, of)| of.is_null() != has))
                .then_some(())
        });
    };
    reload(&settings(&feed, &by_http(&server, "")));
    newest_has(true);
    reload(&plain);
    newest_has(false);
    let (_, circuits) = daemon.get("/api/v1/circuits");
    assert!(!circuits.contains("look_up"), "{circuits}");
    daemon.stop();
}

#[test]
fn a_file_of_a_sqlite_sink_of_the_form_before_is_gone_on_with() {
    let place = Workplace::new();
    let feed = feed(&place, "150");
    let server = LookUpServer::start(Mood::Answers { version: 1 });
    let daemon = Daemon::start(&place, &settings(&feed, &by_http(&server, "wait = \"5s\"")));
    until("events are stored", || (stored_count(&place) >= 50).then_some(()));
    daemon.stop();
    let before = stored_count(&place);
    for path in fs::read_dir(place.path("days")).unwrap().map(|entry| entry.unwrap().path()) {
        let connection = Connection::open(path).unwrap();
        connection.execute_batch("ALTER TABLE events DROP COLUMN enriched; PRAGMA user_version = 1").unwrap();
    }
    let verified = || place.run(["--config", "sluice.toml", "verify", "--sink", "days"]);
    assert_eq!(verified().code, Some(0), "{:?}", verified());
    let daemon = Daemon::again(&place);
    until("more is stored", || (stored_count(&place) >= before + 50).then_some(()));
    feed.stop();
    complete(&place);
    daemon.stop();
    let [days, _] = stored(&place);
    assert!(days.values().take(10).all(|(_, enriched)| enriched.is_null()), "what was stored before had none");
    assert!(days.values().next_back().unwrap().1["token"]["version"] == 1);
    assert_eq!(verified().code, Some(0), "{:?}", verified());
}

#[test]
fn a_table_in_postgres_that_has_no_column_for_it_gets_one_and_a_message_of_nats_has_a_header() {
    let place = Workplace::new();
    let (postgres, nats) = (PostgresServer::start(), NatsServer::start());
    let feed = feed(&place, "150");
    let server = LookUpServer::start(Mood::Answers { version: 1 });
    let sinks = format!(
        "[sinks.warehouse]\nkind = \"postgres\"\nurl = \"{}\"\nflush_interval = \"10ms\"\n\
         [sinks.bus]\nkind = \"nats\"\nurl = \"{}\"\nflush_interval = \"10ms\"\n",
        postgres.url(),
        nats.url()
    );
    let settings = |enrich: &str| {
        Settings::new().with(&sinks).upstream("feed", "binance", feed.url()).monitor(
            "trades",
            "spot",
            "feed",
            &["btcusdt@trade", "ethusdt@trade"],
            enrich,
        )
    };
    let count = |condition: &str| -> u64 {
        let counted = postgres.try_sql(&format!("SELECT count(*) FROM events WHERE {condition}"));
        counted.ok().and_then(|counted| counted.parse().ok()).unwrap_or(0)
    };
    let daemon = Daemon::start(&place, &settings(""));
    until("events are stored", || (count("true") >= 50).then_some(()));
    daemon.stop();
    let columns =
        "SELECT count(*) FROM information_schema.columns WHERE table_name = 'events' AND column_name = 'enriched'";
    assert_eq!(postgres.sql(columns), "0");
    let before = count("true");
    let look_up = by_http(&server, "wait = \"5s\"\nttl = \"1h\"");
    let daemon = Daemon::start(&place, &settings(&format!("[monitors.trades.enrich.token]\n{look_up}")));
    until("more is stored", || (count("true") >= before + 100).then_some(()));
    feed.stop();
    daemon.stop();
    let enriched =
        count("enriched -> 'token' ->> 'name' = 'about /' || key AND (enriched -> 'token' -> 'version')::int = 1");
    assert_eq!((count("enriched IS NULL"), enriched), (before, count("true") - before));
    let headers = tokio::runtime::Runtime::new().unwrap().block_on(async {
        let messages = bus::messages(&nats, "SLUICE_BUS").await;
        let header = |name: &'static str| messages.iter().map(|message| bus::header(message, name)).collect::<Vec<_>>();
        header("Sluice-Enriched").into_iter().zip(header("Sluice-Key")).collect::<Vec<_>>()
    });
    let last = headers.last().unwrap();
    let expected = format!(r#"{{"token":{{"name":"about /{}","version":1}}}}"#, last.1.as_deref().unwrap());
    assert_eq!(last.0.as_deref(), Some(&*expected));
    assert!(headers[0].0.is_none());
}

#[test]
fn a_look_up_that_cannot_work_is_refused_with_what_to_write() {
    let refused = |look_ups: &str| {
        let place = Workplace::new();
        let monitor = "[smart_streaming]\nenabled = true\n[upstreams.u]\nurl = \"ws://127.0.0.1:1\"\ndialect = \"binance\"\n\
             [monitors.m]\ndomain = \"d\"\nupstream = \"u\"\ntopics = [\"btcusdt@trade\"]\n";
        place.write("sluice.toml", format!("{monitor}{look_ups}"));
        let said = place.run(["--config", "sluice.toml", "config", "check"]);
        assert_eq!(said.code, Some(78), "{said:?}");
        format!("{}{}", said.stdout, said.stderr)
    };
    let said = refused(
        "[monitors.m.enrich.a]\nurl = \"ftp://h/{key}\"\nfields = { x = \"/x\" }\n\
         [monitors.m.enrich.b]\nurl = \"http://h/x\"\nfields = {}\n\
         [monitors.m.enrich.c]\nfile = \"x.txt\"\nfields = { x = \"x\" }\n\
         [monitors.m.enrich.e]\nfields = { x = \"x\" }\n",
    );
    for part in [
        "`ftp:` is not spoken",
        "has no hole",
        "at least one field",
        "must end in `.csv` or `.json`",
        "either `url` or `file`",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let said = refused("[monitors.m.enrich.d]\nurl = \"http://h/{mint}\"\nfields = { x = \"/x\" }\n");
    let part = "`{mint}` is no hole; write {key}, {id}, {topic} or a pointer such as {/mint}";
    assert!(said.contains(part), "{said}");
}
