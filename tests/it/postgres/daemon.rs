//! The whole daemon with sinks in PostgreSQL.

use std::fmt::Write as _;

use rustix::process::Signal;

use super::super::postgres_server::PostgresServer;
use super::super::processes::{Daemon, Feed, Settings, query, stat, until};
use super::super::support::Workplace;

/// A daemon's settings with a monitor and sinks, each in a server of its own.
fn settings(feed: &Feed, sinks: &[(&str, &PostgresServer)]) -> Settings {
    let mut toml = String::new();
    for (name, server) in sinks {
        writeln!(
            toml,
            "[sinks.{name}]\nkind = \"postgres\"\nurl = \"{}\"\ntimeout = \"2s\"\nflush_interval = \"20ms\"",
            server.url()
        )
        .unwrap();
    }
    Settings::new()
        .upstream("feed", "binance", feed.url())
        .monitor("trades", "spot", "feed", &["btcusdt@trade", "ethusdt@trade"], "")
        .with("[monitors.trades.fields]\nprice = { pointer = \"/data/p\", type = \"numeric\" }")
        .with(&toml)
}

/// How far a sink is, by its server's own word.
fn cursor(server: &PostgresServer, sink: &str) -> u64 {
    let cursor = server.try_sql(&format!("SELECT next FROM sluice_cursors WHERE sink = '{sink}'"));
    cursor.ok().and_then(|cursor| cursor.parse().ok()).unwrap_or(0)
}

fn durable(place: &Workplace) -> u64 {
    stat(place)["durable_offset"].as_u64().expect("a number")
}

/// Checks that a table has what the journal has: every event of the feed, in its order, to the byte, and nothing else.
fn assert_same(place: &Workplace, server: &PostgresServer) {
    let text = server.sql(r#"SELECT "offset", monitor, id, payload FROM events ORDER BY "offset""#);
    let held: Vec<&str> = text.lines().collect();
    let events = query(place, &["--monitor", "trades", "--limit", "10000000"]);
    let journaled: Vec<String> = events
        .iter()
        .map(|event| {
            format!("{}|{}|{}|{}", event.offset, event.monitor, event.id.as_deref().unwrap_or(""), event.payload.get())
        })
        .collect();
    assert_eq!(held.len(), journaled.len());
    for (held, journaled) in held.iter().zip(&journaled) {
        assert_eq!(held, journaled);
    }
    assert_eq!(server.sql("SELECT count(*) FROM events WHERE price IS NULL"), "0");
}

#[test]
fn every_event_arrives_once_though_daemon_and_server_are_killed_under_load() {
    let place = Workplace::new();
    let mut server = PostgresServer::start();
    let feed = Feed::start(&place, &["--dialect", "binance", "--rate", "4000", "--seed", "11"]);
    let mut daemon = Daemon::start(&place, &settings(&feed, &[("warehouse", &server)]));
    let mut before = 0;
    for round in 0..4 {
        // Each time some way further.
        let reached = until("the sink goes on", || {
            let now = cursor(&server, "warehouse");
            (now > before + 500 + 300 * round).then_some(now)
        });
        before = reached;
        if round % 2 == 0 {
            daemon.kill();
            daemon = Daemon::again(&place);
        } else {
            server.kill();
            server.restart();
        }
    }
    feed.stop();
    until("the sink has everything", || (cursor(&server, "warehouse") >= durable(&place)).then_some(()));
    daemon.stop();
    assert_same(&place, &server);
}

#[test]
fn a_server_that_hangs_holds_up_no_other_sink() {
    let place = Workplace::new();
    let (one, other) = (PostgresServer::start(), PostgresServer::start());
    let feed = Feed::start(&place, &["--dialect", "binance", "--rate", "2000", "--seed", "3"]);
    let daemon = Daemon::start(&place, &settings(&feed, &[("one", &one), ("other", &other)]));
    until("both write", || (cursor(&one, "one") > 200 && cursor(&other, "other") > 200).then_some(()));
    one.hang();
    let (start, hung_at) = (cursor(&other, "other"), durable(&place));
    // Longer than a transaction of the hung one may take.
    until("the other goes on", || (cursor(&other, "other") > start + 8000).then_some(()));
    assert!(durable(&place) > hung_at + 4000, "the journal goes on too");
    one.go_on();
    feed.stop();
    for (server, sink) in [(&one, "one"), (&other, "other")] {
        until("it has everything", || (cursor(server, sink) >= durable(&place)).then_some(()));
    }
    daemon.stop();
    assert_same(&place, &one);
    assert_same(&place, &other);
}

#[test]
fn a_stopped_daemon_leaves_a_sink_that_has_everything() {
    let place = Workplace::new();
    let server = PostgresServer::start();
    let feed = Feed::start(&place, &["--dialect", "binance", "--rate", "3000", "--seed", "5"]);
    let mut daemon = Daemon::start(&place, &settings(&feed, &[("warehouse", &server)]));
    until("it writes", || (cursor(&server, "warehouse") > 1000).then_some(()));
    daemon.signal(Signal::TERM);
    assert!(daemon.end().success(), "{}", daemon.log());
    assert!(!daemon.log().contains("panicked"), "{}", daemon.log());
    assert_eq!(server.sql("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'sluice warehouse'"), "0");
    assert_same(&place, &server);
}

/// A sink makes one call at a time; what a breaker adds is that half of them failing is enough, and that it is then left alone.
#[test]
fn a_sink_of_which_half_of_the_calls_fail_is_left_alone_probed_by_single_calls_and_gets_everything_once() {
    let place = Workplace::new();
    let server = PostgresServer::start();
    let feed = Feed::start(&place, &["--dialect", "binance", "--rate", "300"]);
    let daemon = Daemon::start(&place, &settings(&feed, &[("warehouse", &server)]));
    until("the first rows", || (cursor(&server, "warehouse") > 0).then_some(()));
    // A sequence is not rolled back, so it counts calls; two at a time would find the lock taken.
    server.sql(
        "CREATE SEQUENCE calls; CREATE SEQUENCE together;
         CREATE FUNCTION flap() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
           IF NOT pg_try_advisory_xact_lock(1) THEN PERFORM nextval('together'); END IF;
           IF nextval('calls') % 2 = 0 THEN RAISE EXCEPTION 'half of the calls fail' USING ERRCODE = '53300'; END IF;
           RETURN NULL; END $$;
         CREATE TRIGGER flap BEFORE INSERT ON events FOR EACH STATEMENT EXECUTE FUNCTION flap()",
    );
    let circuit = [("kind", "sink"), ("name", "warehouse")];
    let openings = || daemon.metrics().value("sluice_circuit_openings_total", &circuit);
    until("half of the calls open it", || (openings() > 0).then_some(()));
    let calls = || server.sql("SELECT last_value FROM calls").parse::<u64>().unwrap();
    let at_first = calls();
    until("it opens again and again", || (openings() >= 3).then_some(()));
    let (closed_for, called) = (openings(), calls() - at_first);
    assert!(called <= closed_for * 20, "at most as many calls as it takes to judge, and then none: {called} calls");
    assert_eq!(server.sql("SELECT is_called FROM together"), "f", "never two calls at a time");
    let log = daemon.log();
    assert!(log.contains("half of the last calls failed") && log.contains("circuit half open"), "{log}");
    server.sql("DROP TRIGGER flap ON events");
    until("it is closed again, and has caught up", || {
        let rows: Vec<serde_json::Value> = serde_json::from_str(&daemon.get("/api/v1/sinks").1).unwrap();
        (rows[0]["breaker"] == "closed" && rows[0]["state"] == "connected").then_some(())
    });
    daemon.stop();
    feed.kill();
    assert_same(&place, &server);
}
