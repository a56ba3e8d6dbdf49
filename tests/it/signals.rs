//! How the daemon ends and how it shows itself meanwhile: signals, health, metrics, log lines.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use tokio::time::Instant;

use super::processes::{Account, Daemon, Feed, Metrics, Settings, accounts, get, stat, until};
use super::support::Workplace;

fn flooded(place: &Workplace, more: &str) -> (Feed, Daemon) {
    let feed = Feed::start(place, &["--flood", "--flood-total", "2000000"]);
    let settings = Settings::new()
        .with(more)
        .upstream("feed", "binance", feed.url())
        .monitor("one", "spot", "feed", &["s0@trade", "s1@trade"], "")
        .monitor("two", "spot", "feed", &["s2@trade"], "");
    let daemon = Daemon::start(place, &settings);
    until("the flood is on", || {
        let durable = daemon.metrics().value("sluice_journal_durable_offset", &[]);
        (durable >= 5000).then_some(())
    });
    (feed, daemon)
}

#[test]
fn a_signal_under_load_leaves_everything_that_was_read_durable() {
    for signal in [Signal::TERM, Signal::INT] {
        let place = Workplace::new();
        let (_feed, mut daemon) = flooded(&place, "");
        // The server ends last, so that what it said last is what was read last, or nearly.
        let address = daemon.address().to_owned();
        let over = Arc::new(AtomicBool::new(false));
        let watch = thread::spawn({
            let over = Arc::clone(&over);
            move || {
                let mut last = 0;
                while !over.load(Ordering::Relaxed) {
                    let Ok((200, text)) = get(&address, "/metrics") else { continue };
                    last = Metrics(text).value("sluice_frames_received_total", &[("upstream", "feed")]);
                }
                last
            }
        });
        daemon.signal(signal);
        let status = daemon.end();
        over.store(true, Ordering::Relaxed);
        let read = watch.join().unwrap();
        let log = daemon.log();
        assert!(status.success(), "{log}");
        let name = if signal == Signal::TERM { "SIGTERM" } else { "Ctrl-C" };
        assert!(log.contains(&format!("{name}: stopping; once more to stop at once")), "{log}");

        let accounts = accounts(&place);
        assert!(accounts.values().all(Account::adds_up), "{accounts:?}");
        let messages: u64 = accounts.values().map(|account| account.messages).sum();
        assert!(read >= 5000 && messages >= read, "{read} frames were read, {messages} are accounted for");
        let stat = stat(&place);
        let events: u64 = accounts.values().map(|account| account.events).sum();
        assert_eq!((&stat["events"], &stat["durable_offset"]), (&Value::from(events), &Value::from(events)));
        assert!(log.contains(&format!("stopped; {events} events are durable")), "{log}");
    }
}

#[test]
fn a_batch_that_is_open_at_a_signal_becomes_durable() {
    for signal in [Signal::TERM, Signal::INT] {
        let place = Workplace::new();
        let feed = Feed::start(&place, &["--dialect", "binance", "--rate", "2000"]);
        // Nothing would close a batch for half a minute.
        let settings = Settings::new()
            .with("[batch]\nmin_size = 50000\nmax_size = 50000\nmax_bytes = \"16MiB\"\ntimeout = \"30s\"")
            .upstream("feed", "binance", feed.url())
            .monitor("trades", "spot", "feed", &["btcusdt@trade", "ethusdt@trade"], "");
        let mut daemon = Daemon::start(&place, &settings);
        let read = until("frames are read", || {
            let read = daemon.frames("feed");
            (read >= 500).then_some(read)
        });
        assert_eq!(daemon.metrics().value("sluice_journal_durable_offset", &[]), 0, "the batch is open");
        daemon.signal(signal);
        assert!(daemon.end().success(), "{}", daemon.log());
        let accounts = accounts(&place);
        let messages: u64 = accounts.values().map(|account| account.messages).sum();
        assert!(messages >= read, "{messages} of {read}");
        assert!(accounts["trades"].adds_up() && accounts["trades"].events >= read - 1, "{accounts:?}");
    }
}

/// A client that begins a request and never ends it.
fn half_a_request(daemon: &Daemon) -> TcpStream {
    let mut client = TcpStream::connect(daemon.address()).unwrap();
    client.write_all(b"GET /metrics HTTP/1.1\r\nHost:").unwrap();
    // The server accepts in order: once it has answered a later client, it has this one.
    daemon.get("/v1/health/live");
    client
}

fn quiet(place: &Workplace) -> Daemon {
    let settings =
        Settings::new().upstream("feed", "binance", "ws://127.0.0.1:9/").monitor("m", "d", "feed", &["x"], "");
    Daemon::start(place, &settings)
}

/// A stop waited for the server, and the server for its clients, however long one took to finish its request.
#[test]
fn a_client_that_never_finishes_its_request_does_not_hold_up_a_stop() {
    let place = Workplace::new();
    let daemon = quiet(&place);
    let _client = half_a_request(&daemon);
    let asked = Instant::now();
    let log = daemon.stop();
    assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
    assert!(log.contains("stopped; 0 events are durable"), "{log}");
}

#[test]
fn a_second_signal_ends_the_daemon_at_once() {
    let place = Workplace::new();
    let mut daemon = quiet(&place);
    // This one keeps a stop waiting for a moment.
    let _client = half_a_request(&daemon);
    daemon.signal(Signal::TERM);
    until("it is stopping", || daemon.log().contains("stopping").then_some(()));
    daemon.signal(Signal::INT);
    let status = daemon.end();
    let log = daemon.log();
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(log.contains("stopped at once, as asked"), "{log}");
    assert!(!log.contains("panicked"), "{log}");
}

#[test]
fn json_logs_are_one_object_a_line() {
    let place = Workplace::new();
    let (feed, daemon) = flooded(&place, "[log]\nformat = \"json\"");
    feed.kill();
    until("the loss is logged", || daemon.log().contains("link lost").then_some(()));
    let log = daemon.stop();
    let lines: Vec<Value> =
        log.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect();
    assert!(lines.len() >= 8, "{log}");
    for line in &lines {
        for name in ["timestamp", "level", "message"] {
            assert!(line[name].is_string(), "no {name} in {line}");
        }
    }
    let lost = lines.iter().find(|line| line["message"].as_str().unwrap().starts_with("link lost")).unwrap();
    assert_eq!((lost["level"].as_str(), lost["upstream"].as_str()), (Some("WARN"), Some("feed")));
}

#[test]
fn health_answers_and_only_what_is_served_does() {
    let place = Workplace::new();
    let (_feed, daemon) = flooded(&place, "");
    assert_eq!(daemon.get("/v1/health/live"), (200, "ok\n".to_owned()));
    let (status, body) = daemon.get("/v1/health/ready");
    let health: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, health["status"].as_str()), (200, Some("healthy")), "{body}");
    assert_eq!((&health["journal"], &health["upstreams"]["feed"]), (&"writable".into(), &"connected".into()));
    assert!(health["timestamp"].is_string() && health["uptime"].is_u64() && health["reasons"] == Value::Array(vec![]));
    assert_eq!(daemon.get("/nothing").0, 404);
    let (status, _) = super::processes::request(
        daemon.address(),
        "GET /api/v1/monitors HTTP/1.1\r\nHost: rebound.example\r\nConnection: close\r\n\r\n",
    )
    .unwrap();
    assert_eq!(status, 403, "a page of another host");
    daemon.stop();
}

/// A sample's name, labels and value.
fn parse_sample(line: &str) -> (&str, Vec<(&str, &str)>, f64) {
    let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no value: {line}"));
    let value = match value {
        "+Inf" => f64::INFINITY,
        "NaN" => f64::NAN,
        value => value.parse().unwrap_or_else(|error| panic!("{error}: {line}")),
    };
    let Some((name, labels)) = series.split_once('{') else { return (series, Vec::new(), value) };
    let labels = labels.strip_suffix('}').unwrap_or_else(|| panic!("labels without an end: {line}"));
    let labels = labels.split("\",").map(|label| {
        let (key, value) = label.split_once("=\"").unwrap_or_else(|| panic!("a label without a value: {line}"));
        (key, value.trim_end_matches('"'))
    });
    (name, labels.collect(), value)
}

#[test]
fn metrics_are_valid_prometheus_text_with_units_in_their_names() {
    let place = Workplace::new();
    let (_feed, daemon) = flooded(&place, "");
    until("what is brought up to date once a second", || {
        (daemon.metrics().value("sluice_events_total", &[("monitor", "one")]) > 0).then_some(())
    });
    let (status, text) = daemon.get("/metrics");
    assert_eq!(status, 200);
    let (mut helped, mut typed, mut named) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for line in text.lines().filter(|line| !line.is_empty()) {
        let legal = |name: &str| {
            name.starts_with("sluice_") && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        };
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, help) = help.split_once(' ').unwrap();
            assert!(legal(name) && help.len() > 10, "{line}");
            helped.insert(name);
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').unwrap();
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            assert_eq!(kind == "counter", name.ends_with("_total"), "counters and only they end in _total: {line}");
            assert!(typed.insert((name, kind)), "twice: {line}");
        } else {
            let (name, labels, value) = parse_sample(line);
            assert!(legal(name), "{line}");
            assert!(labels.iter().all(|(key, value)| !key.is_empty() && !value.contains('\n')), "{line}");
            assert!(value.is_nan() || value >= 0.0, "{line}");
            let histogram = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| {
                let base = name.strip_suffix(suffix)?;
                typed.contains(&(base, "histogram")).then_some(base)
            });
            named.insert(histogram.unwrap_or(name));
        }
    }
    let units = ["_total", "_seconds", "_bytes", "_ratio", "_info"];
    // What each metric is stands in the program's own table; a gauge that counts things has no unit there either.
    let counts: BTreeSet<&str> = sluice::telemetry::metrics::REFERENCE
        .iter()
        .flat_map(|stage| stage.iter())
        .filter(|metric| metric.kind == sluice::telemetry::metrics::Kind::Gauge && metric.unit().is_empty())
        .map(|metric| metric.name)
        .collect();
    for name in &named {
        assert!(helped.contains(name), "{name} has no HELP");
        assert!(typed.iter().any(|(typed, _)| typed == name), "{name} has no TYPE");
        assert!(units.iter().any(|unit| name.ends_with(unit)) || counts.contains(name), "{name} names no unit");
    }
    for name in [
        "sluice_messages_total",
        "sluice_events_total",
        "sluice_repeats_total",
        "sluice_control_total",
        "sluice_quarantined_total",
        "sluice_parse_ratio",
        "sluice_frames_received_total",
        "sluice_links",
        "sluice_event_durable_seconds",
        "sluice_journal_sync_seconds",
        "sluice_journal_durable_offset",
        "sluice_dedupe_ids",
        "sluice_build_info",
    ] {
        assert!(named.contains(name), "{name} is missing");
    }
    daemon.stop();
}
