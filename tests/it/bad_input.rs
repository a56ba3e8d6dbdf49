//! Bad input: a clear message that says where and what to do, a metric, a quarantined frame where there is one; the other
//! monitors go on, and nothing panics.

use std::net::TcpListener;

use serde_json::Value;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use super::processes::{Account, Daemon, Feed, Settings, accounts, quarantined, query, until};
use super::raw_upstream::{Manner, RawUpstream, text_of, trade};
use super::support::{Outcome, Workplace};

/// A daemon with a healthy upstream beside the bad one, `bad`.
struct Beside {
    place: Workplace,
    daemon: Daemon,
    _feed: Feed,
}

impl Beside {
    fn start(url: &str, more: &str) -> Self {
        let place = Workplace::new();
        let feed = Feed::start(&place, &["--dialect", "okx", "--rate", "200"]);
        let settings = Settings::new()
            .upstream("good", "okx", feed.url())
            .monitor("fine", "healthy", "good", &["trades:BTC-USDT"], "")
            .upstream("bad", "binance", url)
            .with(more)
            .monitor("odd", "ill", "bad", &["x@trade"], "");
        let daemon = Daemon::start(&place, &settings);
        Self { place, daemon, _feed: feed }
    }

    fn until_logged(&self, what: &str) {
        until(what, || self.daemon.log().contains(what).then_some(()));
    }

    fn failures(&self, cause: &str) -> u64 {
        self.daemon.metrics().value("sluice_link_failures_total", &[("upstream", "bad"), ("cause", cause)])
    }

    /// Events of the healthy monitor go on coming; then a clean stop. What the daemon logged.
    fn goes_on(self) -> (Workplace, String) {
        let events = || self.daemon.monitors()["fine"]["events"].as_u64().unwrap();
        let before = events();
        until("the healthy monitor goes on", || (events() >= before + 50).then_some(()));
        assert_eq!(self.daemon.monitors()["fine"]["state"], "live");
        let (place, daemon) = (self.place, self.daemon);
        let log = daemon.stop();
        let accounts = accounts(&place);
        assert!(accounts.values().all(Account::adds_up), "{accounts:?}");
        let fine = accounts["fine"];
        assert!(fine.events >= 50 && fine.quarantined == 0 && fine.repeats == 0, "{fine:?}");
        (place, log)
    }
}

#[test]
fn a_frame_that_cannot_be_read_is_put_aside_with_its_reason_and_nothing_else_is_lost() {
    let envelope = |inner: &str| format!("{{\"stream\":\"x@trade\",\"data\":{inner}}}");
    let deep = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    // What is sent, and what its reason must say.
    let table: Vec<(Message, &[&str])> = vec![
        (Message::binary([0x07, 0xff, 0x00, 0x80].to_vec()), &["UTF-8"]),
        (Message::binary(b"\x1f\x8b\x08gzip".to_vec()), &["UTF-8"]),
        (Message::text(deep(1_000_000)), &["deep", "128"]),
        (Message::text(envelope(&deep(1_000_000))), &["deep", "128"]),
        (Message::text(deep(1_000_000).replace('[', "{\"a\":").replace(']', "}")), &["deep", "128"]),
        (
            Message::text(envelope("{\"e\":\"trade\",\"t\":12").trim_end_matches('}').to_owned()),
            &["invalid JSON at byte"],
        ),
        (Message::text("{\"stream\":\"x@trade\",\"data\":{\"e\":\"trade\",\"t\":1}} more"), &["invalid JSON at byte"]),
        (Message::text(""), &["invalid JSON at byte 0"]),
        (Message::text("[]"), &["no rule"]),
        (Message::text("null"), &["no rule"]),
        (Message::text("{\"stream\":7,\"data\":{}}"), &["topic `7`, which nobody asked for"]),
        (Message::text("{\"stream\":\"y@trade\",\"data\":{\"t\":1}}"), &["y@trade"]),
        (trade("{\"was\":7}"), &["id", "/data/t", "neither a string nor a number"]),
        (trade("[7]"), &["id", "/data/t", "neither a string nor a number"]),
        (trade("null"), &["id", "/data/t", "neither a string nor a number"]),
        (Message::text(envelope("{\"e\":\"trade\",\"E\":1,\"s\":\"X\"}")), &["id", "nothing at `/data/t`"]),
        (Message::text(envelope("{\"e\":\"trade\",\"E\":\"soon\",\"s\":\"X\",\"t\":9}")), &["time", "/data/E", "soon"]),
        (Message::text(envelope("{\"e\":\"trade\",\"s\":\"X\",\"t\":9}")), &["time", "nothing at `/data/E`"]),
        (Message::text(envelope("\"\\ud800\"")), &["invalid JSON"]),
    ];
    let frames: Vec<Message> = table.iter().map(|(frame, _)| frame.clone()).collect();
    let upstream = RawUpstream::start(Manner::Acknowledges, move |connection| {
        if connection > 1 {
            return Vec::new();
        }
        // Sound ones in between: each bad frame costs itself only.
        let sound = (1..).map(|id: usize| trade(&id.to_string()));
        frames.clone().into_iter().zip(sound).flat_map(|(bad, sound)| [bad, sound]).collect()
    });
    // Three of these frames are kept with 256 KiB each, more than the ordinary budget of a burst.
    let run = Beside::start(&upstream.url(), "[quarantine]\nbytes_per_second = \"1MiB\"");
    let sent = 2 * table.len() as u64 + 1;
    until("all frames are read", || (run.daemon.frames("bad") == sent).then_some(()));
    assert_eq!(run.daemon.metrics().value("sluice_link_failures_total", &[("upstream", "bad")]), 0, "the link stays");
    until("the metric shows them", || {
        let metrics = run.daemon.metrics();
        let of = |monitor| metrics.value("sluice_quarantined_total", &[("monitor", monitor)]);
        (of("odd") + of("upstream:bad") == table.len() as u64).then_some(())
    });
    let row = &run.daemon.monitors()["odd"];
    assert!(row["quarantined"].as_u64() > Some(0) && row["parse_rate"].as_f64() < Some(1.0), "{row}");
    let (place, _) = run.goes_on();

    let odd = query(&place, &["--monitor", "odd"]);
    assert_eq!(odd.len(), table.len(), "the sound ones are all there");
    let aside = quarantined(&place);
    assert_eq!(aside.len(), table.len());
    for (row, (frame, words)) in aside.iter().zip(&table) {
        let reason = row["reason"].as_str().unwrap();
        for word in *words {
            assert!(reason.contains(word), "`{word}` is not in the reason `{reason}` of {row:.300}");
        }
        assert_eq!(row["upstream"], "bad");
        let bytes = frame.clone().into_data();
        assert_eq!(row["bytes"], bytes.len(), "{reason}");
        // Kept raw: as text where it is one, up to the limit.
        let offset = row["offset"].to_string();
        let raw = place.command(["--config", "sluice.toml", "quarantine", "show", &offset]).output().unwrap().stdout;
        assert!(bytes.starts_with(&raw) && raw.len() >= bytes.len().min(256 << 10), "{reason}: {} bytes", raw.len());
    }
}

#[test]
fn an_id_that_changes_between_number_and_text_is_another_id() {
    let upstream = RawUpstream::start(Manner::Acknowledges, |_| {
        ["5", "\"5\"", "5.0", "5", "\"5\"", "\"\\u0035\"", "true"].map(trade).to_vec()
    });
    let run = Beside::start(&upstream.url(), "");
    until("all frames are read", || (run.daemon.frames("bad") == 8).then_some(()));
    let (place, _) = run.goes_on();
    // Ids are compared as they are spelt; only `5` and `"5"` came twice to the byte.
    let odd = accounts(&place)["odd"];
    assert_eq!((odd.events, odd.repeats, odd.quarantined), (5, 2, 0), "{odd:?}");
}

#[test]
fn a_text_that_is_not_utf_8_costs_its_link_and_not_what_came_before() {
    let upstream = RawUpstream::start(Manner::Acknowledges, |connection| match connection {
        1 => vec![trade("1"), trade("2"), text_of(b"{\"stream\":\"x@trade\xff\"}"), trade("3")],
        _ => vec![trade("3"), trade("4")],
    });
    let run = Beside::start(&upstream.url(), "");
    until("the link is back", || (run.daemon.frames("bad") >= 6).then_some(()));
    assert_eq!(run.failures("protocol"), 1, "{}", run.daemon.metrics().0);
    run.until_logged("not UTF-8");
    let (place, log) = run.goes_on();
    assert!(log.contains("upstream=bad"), "{log}");
    let ids: Vec<String> = query(&place, &["--monitor", "odd"]).into_iter().filter_map(|event| event.id).collect();
    assert_eq!(ids, ["x@trade:1", "x@trade:2", "x@trade:3", "x@trade:4"]);
    let aside = quarantined(&place);
    assert_eq!(aside.len(), 1, "{aside:?}");
    assert!(aside[0]["reason"].as_str().unwrap().contains("UTF-8"), "{aside:?}");
}

#[test]
fn a_frame_of_a_gibibyte_is_refused_when_it_is_announced() {
    let place = Workplace::new();
    for more in [&["--giant-frame", "1GiB"][..], &["--giant-frame", "1GiB", "--giant-fragments"][..]] {
        let feed = Feed::start(&place, &[&["--dialect", "binance", "--rate", "500"], more].concat());
        let run = Beside::start(feed.url(), "");
        run.until_logged("raise `upstreams.bad.max_message` if it is meant");
        until("the link is back", || {
            (run.daemon.metrics().value("sluice_link_connects_total", &[("upstream", "bad")]) >= 2).then_some(())
        });
        assert_eq!(run.failures("too_large"), 1);
        until("its monitor is live again", || (run.daemon.monitors()["odd"]["state"] == "live").then_some(()));
        let status = std::fs::read_to_string(format!("/proc/{}/status", run.daemon.id())).unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap().trim();
        let peak: u64 = peak.trim_end_matches(" kB").parse().unwrap();
        assert!(peak < 150 << 10, "the peak of memory is {peak} kB");
        let (place, _) = run.goes_on();
        let aside = quarantined(&place);
        assert_eq!(aside.len(), 1, "{aside:?}");
        assert!(aside[0]["reason"].as_str().unwrap().contains("above the limit of 16777216"), "{aside:?}");
        assert!(accounts(&place)["odd"].events > 0);
    }
}

#[test]
fn an_upstream_that_cannot_be_reached_is_named_with_the_reason() {
    // A port that was free a moment ago.
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let run = Beside::start(&format!("ws://{free}/stream?key=hidden"), "");
    run.until_logged(&format!("cannot connect to {free}: Connection refused"));
    assert!(run.failures("connect") >= 1);
    let row = &run.daemon.monitors()["odd"];
    assert_eq!(row["state"], "waiting");
    assert!(row["error"].as_str().unwrap().contains("Connection refused"), "{row}");
    let (status, health) = run.daemon.get("/v1/health/ready");
    let health: Value = serde_json::from_str(&health).unwrap();
    // What does come becomes durable, so that the daemon is ready all the same.
    assert_eq!((status, &health["status"]), (200, &Value::from("degraded")), "{health}");
    assert!(health["reasons"][0].as_str().unwrap().starts_with("upstream `bad` has no open link"), "{health}");
    assert_eq!(health["upstreams"]["bad"], "disconnected");
    assert_eq!(health["upstreams"]["good"], "connected");
    let (_, log) = run.goes_on();
    assert!(!log.contains("hidden"), "an address may hold a key: {log}");
}

#[test]
fn a_refused_handshake_says_why_and_is_not_hammered() {
    let place = Workplace::new();
    for (status, words) in [("401", "check the credentials"), ("429", "it limits connections")] {
        let feed = Feed::start(
            &place,
            &["--dialect", "binance", "--handshake-status", status, "--handshake-refusals", "1000"],
        );
        let run = Beside::start(feed.url(), "");
        run.until_logged(&format!("refused the WebSocket handshake with HTTP {status}; {words}"));
        assert!(run.daemon.monitors()["odd"]["error"].as_str().unwrap().contains(status));
        // The shortest wait of these settings is 50 ms, the longest 500 ms: a refusal asks for the longest, and half of it is chance.
        let log = run.daemon.log();
        let wait = log.split("trying again in ").nth(1).unwrap().split(' ').next().unwrap();
        assert!(wait.parse::<f64>().unwrap() >= 0.2, "{log}");
        assert!(run.failures("refused") >= 1);
        run.goes_on();
    }
}

#[test]
fn an_upstream_that_asks_to_be_left_alone_is() {
    let place = Workplace::new();
    let feed = Feed::start(
        &place,
        &["--dialect", "binance", "--handshake-status", "503", "--handshake-refusals", "1", "--retry-after", "2s"],
    );
    let run = Beside::start(feed.url(), "");
    run.until_logged("refused the WebSocket handshake with HTTP 503");
    let refused = tokio::time::Instant::now();
    until("it is connected to after all", || (run.daemon.monitors()["odd"]["state"] == "live").then_some(()));
    assert!(refused.elapsed() >= std::time::Duration::from_millis(1700), "{:?}", refused.elapsed());
    run.goes_on();
}

#[test]
fn an_upstream_that_closes_at_once_is_tried_again_with_longer_waits() {
    let place = Workplace::new();
    let feed = Feed::start(&place, &["--dialect", "binance", "--accept-then-close", "3"]);
    let run = Beside::start(feed.url(), "");
    until("it is up in the end", || (run.daemon.monitors()["odd"]["state"] == "live").then_some(()));
    let metrics = run.daemon.metrics();
    assert_eq!(metrics.value("sluice_link_failures_total", &[("upstream", "bad")]), 3);
    assert_eq!(metrics.value("sluice_link_connects_total", &[("upstream", "bad")]), 4);
    let (_, log) = run.goes_on();
    assert_eq!(log.matches("link lost").count(), 3, "{log}");
}

#[test]
fn a_server_that_speaks_no_websocket_is_said_so() {
    // The daemon's own HTTP server is one.
    let other = Beside::start("ws://127.0.0.1:9/stream", "");
    let run = Beside::start(&format!("ws://{}/metrics", other.daemon.address()), "");
    run.until_logged("HTTP 200");
    assert!(run.failures("refused") + run.failures("handshake") >= 1);
    run.goes_on();
}

#[test]
fn a_refused_subscription_is_shown_on_its_monitor() {
    let place = Workplace::new();
    let feed = Feed::start(&place, &["--dialect", "binance", "--refuse", "x@trade"]);
    let run = Beside::start(feed.url(), "");
    run.until_logged("the upstream refused a subscription; check the topic's wording and your rights there");
    let row = until("the monitor shows it", || {
        let row = run.daemon.monitors().remove("odd").unwrap();
        (row["state"] == "refused").then_some(row)
    });
    assert_eq!(row["topics"], "0/1");
    assert!(row["error"].as_str().is_some_and(|error| !error.is_empty()), "{row}");
    assert_eq!(run.daemon.metrics().value("sluice_subscriptions_refused_total", &[("upstream", "bad")]), 1);
    let (_, log) = run.goes_on();
    assert!(log.contains("topics=x@trade"), "{log}");
}

#[test]
fn an_unanswered_subscription_is_asked_for_once_more_and_then_shown() {
    let upstream = RawUpstream::start(Manner::Silent, |_| Vec::new());
    let run = Beside::start(&upstream.url(), "pool = { confirm_timeout = \"200ms\" }");
    run.until_logged("asking once more");
    run.until_logged("subscriptions neither acknowledged nor refused");
    let row = &run.daemon.monitors()["odd"];
    assert_eq!(row["state"], "unconfirmed", "{row}");
    let (_, log) = run.goes_on();
    assert!(log.contains("topics=x@trade"), "{log}");
    let requests = upstream.requests();
    let asked = requests.iter().filter(|text| text.contains("\"SUBSCRIBE\"")).count();
    assert_eq!(asked, 2, "{requests:?}");
}

/// `sluice run` that cannot start.
fn refused(place: &Workplace, settings: &Settings) -> Outcome {
    settings.write(place);
    let outcome = place.run(["run", "--config", "sluice.toml"]);
    assert!(!outcome.stderr.contains("panicked"), "{}", outcome.stderr);
    outcome
}

fn ordinary() -> Settings {
    Settings::new().upstream("feed", "binance", "ws://127.0.0.1:9/stream").monitor("m", "d", "feed", &["x@trade"], "")
}

#[test]
fn a_daemon_that_cannot_start_says_where_and_what_to_do() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let with_upstream = |dialect: &str, url: &str| {
        Settings::new().upstream("feed", dialect, url).monitor("m", "d", "feed", &["x@trade"], "")
    };
    let table: Vec<(&str, Settings, i32, Vec<&str>)> = vec![
        (
            "unknown dialect",
            with_upstream("binanse", "ws://h/"),
            78,
            vec!["upstreams.feed.dialect", "binanse", "`binance`"],
        ),
        ("unknown key", ordinary().with("domian = \"x\""), 78, vec!["sluice.toml", "domian", "domain"]),
        ("no WebSocket address", with_upstream("binance", "http://h/"), 78, vec!["upstreams.feed.url", "ws://"]),
        ("no monitor", Settings::new(), 78, vec!["no monitor", "sluice demo"]),
        (
            "no such upstream",
            Settings::new().monitor("m", "d", "feed", &["x"], ""),
            78,
            vec!["monitors.m.upstream", "feed"],
        ),
        (
            "a pointer that is none",
            ordinary().with("event = { id = \"data/t\" }"),
            78,
            vec!["sluice.toml:", "monitors.m.event.id", "data/t", "it must start with `/`"],
        ),
        (
            "a data folder under a file",
            ordinary().with("[daemon]\ndata_dir = \"sluice.toml/data\""),
            1,
            vec!["sluice.toml/data", "Not a directory"],
        ),
        (
            "a data folder that cannot be made",
            ordinary().with("[daemon]\ndata_dir = \"/proc/sluice\""),
            1,
            vec!["/proc/sluice", "No such file or directory"],
        ),
    ];
    for (what, settings, code, words) in table {
        let place = Workplace::new();
        let outcome = refused(&place, &settings);
        assert_eq!(outcome.code, Some(code), "{what}: {}", outcome.stderr);
        for word in words {
            assert!(outcome.stderr.contains(word), "{what}: `{word}` is not in {}", outcome.stderr);
        }
        assert!(!place.path("data").exists(), "{what}: nothing was made");
    }
    let place = Workplace::new();
    ordinary().write(&place);
    let outcome = place.run(["run", "--config", "sluice.toml", "--set", &format!("server.listen={taken}")]);
    assert_eq!(outcome.code, Some(1), "{}", outcome.stderr);
    for word in [taken.as_str(), "server.listen", "in use"] {
        assert!(outcome.stderr.contains(word), "{}", outcome.stderr);
    }
}

#[test]
fn a_second_daemon_on_the_same_data_names_the_first() {
    let place = Workplace::new();
    let daemon = Daemon::start(&place, &ordinary());
    for _ in 0..3 {
        let outcome = place.run(["run", "--config", "sluice.toml"]);
        assert_eq!(outcome.code, Some(73), "{}", outcome.stderr);
        assert!(outcome.stderr.contains(&format!("process {}", daemon.id())), "{}", outcome.stderr);
        assert!(outcome.stderr.contains("daemon.data_dir"), "{}", outcome.stderr);
    }
    daemon.stop();
    Daemon::again(&place).stop();
}

#[test]
fn a_deleted_journal_is_missed_by_its_checkpoints_and_begins_anew_without_them() {
    let place = Workplace::new();
    let feed = Feed::start(&place, &["--dialect", "binance", "--rate", "500"]);
    let settings =
        Settings::new().upstream("feed", "binance", feed.url()).monitor("m", "d", "feed", &["btcusdt@trade"], "");
    let journaled = |daemon: &Daemon| {
        until("events", || (daemon.metrics().value("sluice_journal_durable_offset", &[]) >= 20).then_some(()));
    };
    let daemon = Daemon::start(&place, &settings);
    journaled(&daemon);
    daemon.stop();
    let journal = |place: &Workplace| super::processes::stat(place)["journal"].clone();
    let before = journal(&place);
    std::fs::remove_dir_all(place.path("data/journal")).unwrap();
    // A disk that was not mounted looks the same: nothing begins anew by itself where something was.
    let refused = place.run(["run", "--config", "sluice.toml"]);
    assert_eq!(refused.code, Some(65), "{}", refused.stderr);
    assert!(refused.stderr.contains("move the checkpoints away"), "{}", refused.stderr);
    std::fs::remove_dir_all(place.path("checkpoints")).unwrap();
    let daemon = Daemon::again(&place);
    assert!(daemon.log().contains("new, "), "{}", daemon.log());
    journaled(&daemon);
    daemon.stop();
    assert_ne!(journal(&place), before, "another journal has another name");
    assert_eq!(
        query(&place, &["--domain", "_sluice", "--limit", "1"])[0].offset,
        0,
        "the snapshot that a segment begins with"
    );
    let first = query(&place, &["--limit", "1"])[0].offset;
    assert!(first <= 2, "behind it, and perhaps behind that the topic is watched: {first}");
}

#[test]
fn a_mistake_in_a_dialect_a_topic_or_a_rule_names_file_line_and_key() {
    let head = "[smart_streaming]\nenabled = true\n[upstreams.a]\nurl = \"ws://127.0.0.1:1\"\n";
    for (rest, words) in [
        ("dialect = \"binnance\"\n", ["sluice.toml:5", "binance"]),
        (
            "dialect = \"kraken\"\n[monitors.m]\ndomain = \"d\"\nupstream = \"a\"\ntopics = [\"trade:BTC/USD\", \"nonsense\"]\n",
            ["sluice.toml:9", "`nonsense`"],
        ),
        (
            "dialect = \"d\"\n[dialects.d]\nextends = \"binance\"\nheaders = { \"Bad Header\" = \"x\" }\n",
            ["sluice.toml:5", "Bad Header"],
        ),
    ] {
        let place = Workplace::new().with_file("sluice.toml", format!("{head}{rest}"));
        let outcome = place.run(["--config", "sluice.toml", "config", "check"]);
        assert_eq!(outcome.code, Some(78), "{}", outcome.stderr);
        for word in words {
            assert_eq!(outcome.stderr.matches(word).count().min(1), 1, "{word} is not in {}", outcome.stderr);
        }
        assert_eq!(outcome.stderr.matches("error:").count(), 1, "said once: {}", outcome.stderr);
    }
}

#[test]
fn a_close_is_told_with_its_code_and_reason_and_ends_the_link_at_once() {
    let place = Workplace::new();
    // It says goodbye and leaves the connection standing, as long as nobody closes it.
    let upstream = RawUpstream::start(Manner::Silent, |_| {
        let frame = CloseFrame { code: CloseCode::Policy, reason: "no rights here".into() };
        vec![Message::Close(Some(frame))]
    });
    let settings =
        Settings::new().upstream("bad", "binance", &upstream.url()).monitor("m", "d", "bad", &["x@trade"], "");
    let daemon = Daemon::start(&place, &settings);
    until("the loss is told", || daemon.log().contains("link lost").then_some(()));
    let log = daemon.stop();
    assert!(log.contains("the upstream closed it with code 1008: no rights here"), "{log}");
}
