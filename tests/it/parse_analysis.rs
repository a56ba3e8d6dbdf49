//! `sluice parse analyze`: what it proposes is put into the settings, and helps.

use serde_json::Value;
use tokio_tungstenite::tungstenite::Message;

use super::changing::takes;
use super::processes::{Daemon, Feed, Settings, accounts, json, until};
use super::raw_upstream::{Manner, RawUpstream};
use super::support::Workplace;

fn analysis(place: &Workplace, more: &[&str]) -> Value {
    serde_json::from_str(&json(place, &[&["parse", "analyze"], more].concat())).expect("JSON")
}

/// A monitor of trades by a rule of its own, and another one beside it.
fn settings(feed: &Feed, rule: &str) -> Settings {
    Settings::new()
        .with("[batch]\ntimeout = \"20ms\"")
        .upstream("feed", "binance", feed.url())
        .monitor(
            "one",
            "spot",
            "feed",
            &["btcusdt@trade"],
            &format!("[[monitors.one.event]]\nid = \"/data/t\"\n{rule}"),
        )
        .monitor(
            "two",
            "spot",
            "feed",
            &["ethusdt@trade"],
            "[[monitors.two.event]]\nwhen = { \"/data/e\" = \"candle\" }",
        )
}

fn counted(daemon: &Daemon, monitor: &str) -> u64 {
    daemon.monitors()[monitor]["quarantined"].as_u64().unwrap()
}

#[test]
fn the_pointer_that_is_proposed_reads_what_failed_before() {
    let place = Workplace::new();
    let feed = Feed::start(&place, &["--dialect", "binance", "--rate", "200"]);
    let daemon = Daemon::start(&place, &settings(&feed, "time = \"/data/Moved\""));
    until("both fail", || (counted(&daemon, "one") > 20 && counted(&daemon, "two") > 20).then_some(()));
    let running = analysis(&place, &[]);
    assert!(running["quarantined"].as_u64() > Some(0), "while the daemon runs");
    daemon.stop();

    let told = analysis(&place, &["--samples", "2"]);
    let accounts = accounts(&place);
    let failures = told["failures"].as_array().unwrap();
    for monitor in ["one", "two"] {
        let of: u64 =
            failures.iter().filter(|row| row["monitor"] == monitor).map(|row| row["count"].as_u64().unwrap()).sum();
        assert_eq!(of, accounts[monitor].quarantined, "{monitor}");
    }
    assert_eq!(told["quarantined"].as_u64(), Some(accounts["one"].quarantined + accounts["two"].quarantined));
    let of = |monitor: &str| failures.iter().find(|row| row["monitor"] == monitor).unwrap();
    let one = of("one");
    assert_eq!((&one["kind"], one["samples"].as_array().unwrap().len()), (&"missing_value".into(), 2), "{one}");
    assert!(one["samples"][0]["frame"].as_str().unwrap().contains("btcusdt@trade"), "{one}");
    let suggestion = &one["suggestion"];
    assert!(suggestion["text"].as_str().unwrap().contains("a plausible time in 100 % of the failures"), "{suggestion}");
    let two = of("two");
    assert_eq!(
        (&two["kind"], &two["suggestion"]["rule"]),
        (&"no_event_rule".into(), &"when = { \"/data/e\" = \"trade\" }".into()),
        "{two}"
    );
    let only = analysis(&place, &["--monitor", "two"]);
    assert_eq!(
        (only["failures"].as_array().unwrap().len(), only["quarantined"].as_u64()),
        (1, Some(accounts["two"].quarantined))
    );
    let shown = place.run(["--config", "sluice.toml", "parse", "analyze"]);
    assert!(
        shown.stdout.contains("suggestion: ") && shown.stdout.contains("time: there is nothing at `/data/Moved`"),
        "{}",
        shown.stdout
    );

    // The rule as it was proposed, a line each.
    let rule = suggestion["rule"].as_str().unwrap().replace(", time_unit", "\ntime_unit");
    let daemon = Daemon::start(&place, &settings(&feed, &rule));
    takes(&daemon, "one");
    assert_eq!(counted(&daemon, "one"), 0, "every one of them is read now");
    daemon.stop();
    feed.stop();
}

#[test]
fn what_is_no_json_or_broken_off_is_said_to_be() {
    let place = Workplace::new();
    let frames = || -> Vec<Message> {
        let broken = (0..5).map(|number| format!("{{\"stream\":\"x@trade\",\"data\":{{\"t\":{number}"));
        let pages = (0..5).map(|number| format!("<html>\u{1b}[2J{number}</html>"));
        broken.chain(pages).map(Message::text).collect()
    };
    let upstream =
        RawUpstream::start(Manner::Acknowledges, move |connection| if connection == 1 { frames() } else { Vec::new() });
    let settings =
        Settings::new().upstream("raw", "binance", &upstream.url()).monitor("m", "d", "raw", &["x@trade"], "");
    let daemon = Daemon::start(&place, &settings);
    let failed = || daemon.metrics().value("sluice_quarantined_total", &[]);
    until("all are put aside", || (failed() >= 10).then_some(()));
    daemon.stop();
    let told = analysis(&place, &[]);
    assert_eq!(told["quarantined"], 10, "{told}");
    let text = told["failures"].to_string();
    assert!(text.contains("HTML or XML") && text.contains("broken off or damaged"), "{text}");
    assert!(told["failures"].as_array().unwrap().iter().all(|row| row["kind"] == "not_json"), "{text}");
    let shown = place.run(["--config", "sluice.toml", "parse", "analyze"]).stdout;
    assert!(shown.contains("<html>\u{b7}[2J") && !shown.contains('\u{1b}'), "no frame moves the cursor: {shown}");
}

#[test]
fn a_monitor_that_nobody_has_is_named_and_not_taken_for_a_good_one() {
    let place = Workplace::new();
    let feed = Feed::start(&place, &["--dialect", "binance", "--rate", "200"]);
    let settings = Settings::new().upstream("feed", "binance", feed.url()).monitor(
        "trades",
        "spot",
        "feed",
        &["btcusdt@trade"],
        "",
    );
    let daemon = Daemon::start(&place, &settings);
    let analyze = |monitor: &str| place.run(["--config", "sluice.toml", "parse", "analyze", "--monitor", monitor]);
    until("there is something of the monitor", || (analyze("trades").code == Some(0)).then_some(()));
    let refused = analyze("zzz");
    assert!(refused.code == Some(1) && refused.stderr.contains("`zzz`"), "{refused:?}");
    daemon.stop();
    feed.stop();
}
