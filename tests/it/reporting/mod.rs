//! `sluice report`: its figures against an account kept outside of the daemon that they are about.

#![allow(clippy::cast_precision_loss, reason = "counts of a test")]

mod scheduled;

use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use super::changing::{command, takes};
use super::processes::{Daemon, Feed, Settings, accounts, json, quarantined, query, until};
use super::support::{Outcome, Workplace};

/// `sluice report` with more arguments.
fn report(place: &Workplace, more: &[&str]) -> Outcome {
    let outcome = place.run(["--config", "sluice.toml", "report"].iter().chain(more));
    assert_eq!(outcome.code, Some(0), "{more:?}: {}", outcome.stderr);
    outcome
}

/// The same as JSON.
pub(super) fn report_json(place: &Workplace, more: &[&str]) -> Value {
    serde_json::from_str(&report(place, &[&["--format", "json"], more].concat()).stdout).expect("JSON")
}

/// A figure; none: unknown.
fn figure(report: &Value, section: &str, name: &str) -> Option<f64> {
    let figures = report["figures"].as_array().expect("figures");
    let found = figures.iter().find(|figure| figure["section"] == section && figure["name"] == name);
    found.unwrap_or_else(|| panic!("no {section}.{name} in {report:#}"))["value"].as_f64()
}

fn verdict(report: &Value, section: &str, name: &str) -> Value {
    let figures = report["figures"].as_array().expect("figures");
    let found = figures.iter().find(|figure| figure["section"] == section && figure["name"] == name);
    found.expect("a figure")["verdict"].clone()
}

fn near(found: Option<f64>, expected: f64, by: f64, what: &str) {
    let found = found.unwrap_or_else(|| panic!("{what} is unknown"));
    assert!((found - expected).abs() <= by, "{what}: {found} and not {expected}");
}

fn seconds(from: Timestamp, to: Timestamp) -> f64 {
    to.duration_since(from).as_secs_f64()
}

/// A feed with faults, one that nobody can reach, and a store.
fn place_with_troubles() -> (Workplace, Feed) {
    let place = Workplace::new();
    let feed =
        Feed::start(&place, &["--dialect", "binance", "--rate", "400", "--bad-frames", "0.05", "--repeats", "0.05"]);
    Settings::new()
        .with("[batch]\ntimeout = \"20ms\"\n[checkpoint]\ninterval = \"1h\"")
        .with("[sinks.files]\nkind = \"jsonl\"\nfolder = \"files\"")
        .upstream("feed", "binance", feed.url())
        // Port 9 is `discard`: nobody listens there.
        .upstream("gone", "binance", "ws://127.0.0.1:9/stream")
        .monitor("one", "spot", "feed", &["btcusdt@trade"], "")
        .monitor("two", "spot", "gone", &["ethusdt@trade"], "")
        .write(&place);
    (place, feed)
}

fn tripped(daemon: &Daemon) -> u64 {
    let (_, body) = daemon.get("/api/v1/circuits");
    let rows: Vec<Value> = serde_json::from_str(&body).expect("rows");
    rows.iter().map(|row| row["openings"].as_u64().expect("a count")).sum()
}

#[test]
fn every_section_of_a_report_agrees_with_an_account_that_was_kept_outside() {
    let (place, _feed) = place_with_troubles();
    let began = Timestamp::now();
    let first = Daemon::again(&place);
    takes(&first, "one");
    takes(&first, "one");
    let killed = Timestamp::now();
    first.kill();
    // Down for a time that shows.
    std::thread::sleep(Duration::from_secs(1));
    let again = Timestamp::now();
    let daemon = Daemon::again(&place);
    let ready = Timestamp::now();
    takes(&daemon, "one");
    let taken = Timestamp::now();
    for _ in 0..2 {
        assert_eq!(command(&place, &daemon, &["checkpoint", "create"]).code, Some(0));
    }
    until("the upstream that is gone trips its breaker", || (tripped(&daemon) > 0).then_some(()));
    let while_running = report_json(&place, &[]);
    assert_eq!(while_running["running"], true);
    assert!(figure(&while_running, "throughput", "events") > Some(0.0));
    let (_, health) = daemon.get("/v1/health/ready");
    let health: Value = serde_json::from_str(&health).unwrap();
    let trips = tripped(&daemon);
    daemon.stop();
    let stopped = Timestamp::now();
    let report = report_json(&place, &[]);

    // What came, by the journal's other readers.
    let events = query(&place, &["--domain", "spot"]);
    let account = accounts(&place)["one"];
    let quarantined_in_all: u64 = accounts(&place).values().map(|account| account.quarantined).sum();
    assert_eq!(figure(&report, "throughput", "events"), Some(events.len() as f64));
    assert_eq!(figure(&report, "throughput", "repeats"), Some(account.repeats as f64));
    assert_eq!(figure(&report, "quarantine", "messages"), Some(quarantined_in_all as f64));
    assert_eq!(figure(&report, "quarantine", "kept_frames"), Some(quarantined(&place).len() as f64));
    assert!(quarantined_in_all > 0);
    let messages: u64 = accounts(&place)
        .iter()
        .filter(|(name, _)| *name == "one" || name.starts_with("upstream:"))
        .map(|(_, account)| account.messages - account.control)
        .sum();
    assert_eq!(figure(&report, "parsing", "messages"), Some(messages as f64));
    near(
        figure(&report, "parsing", "parse_rate"),
        1.0 - quarantined_in_all as f64 / messages as f64,
        1e-9,
        "the parse rate",
    );

    // A kill and a start.
    assert_eq!(figure(&report, "recovery", "restarts"), Some(1.0));
    assert_eq!(figure(&report, "recovery", "of_these_after_a_kill"), Some(1.0));
    let recovery = figure(&report, "recovery", "longest_from_down_to_ready").unwrap();
    // The last that is known of the process is at most a batch and a sync before the kill.
    assert!(recovery >= seconds(killed, again) && recovery <= seconds(killed, ready) + 1.0, "{recovery}");
    let durable = figure(&report, "recovery", "longest_from_down_to_first_durable_event").unwrap();
    assert!(durable >= recovery && durable <= seconds(killed, taken) + 1.0, "{durable}");
    assert_eq!(verdict(&report, "recovery", "longest_from_down_to_ready"), "met");
    assert_eq!(report["restarts"][0]["ending"], "killed");
    let down = figure(&report, "uptime", "down").unwrap();
    assert!(down >= seconds(killed, again), "{down}");
    let known = figure(&report, "uptime", "known").unwrap();
    assert!(known <= seconds(began, Timestamp::now()) && known >= seconds(killed, stopped), "{known}");
    near(figure(&report, "uptime", "share"), 1.0 - down / known, 1e-6, "uptime");
    assert_eq!(verdict(&report, "uptime", "share"), "not_met", "a second of some is more than one of a thousand");

    // What the second process told when it stopped.
    assert_eq!(figure(&report, "checkpoints", "written"), Some(2.0));
    assert_eq!(figure(&report, "checkpoints", "failed"), Some(0.0));
    assert!(figure(&report, "breakers", "trips") >= Some(trips as f64));
    assert!(figure(&report, "breakers", "trips of upstream gone") >= Some(1.0));
    let after = events.iter().filter(|event| event.received_time.parse::<Timestamp>().unwrap() > again).count();
    let timed = figure(&report, "latency", "events_timed").unwrap();
    // Frames that are put aside and gaps come from links too.
    let most = after as f64 + quarantined_in_all as f64 + 100.0;
    assert!(timed >= after as f64 && timed <= most, "{timed} and not {after}");
    let (p50, p99) = (figure(&report, "latency", "p50").unwrap(), figure(&report, "latency", "p99").unwrap());
    assert!(p50 > 0.0 && p50 <= p99 && p99 < 20.0, "{p50} {p99}");
    let used = health["memory"]["used"].as_f64().unwrap();
    near(figure(&report, "memory", "last"), used, used / 2.0, "memory");
    let rows = figure(&report, "sinks", "rows of files").unwrap();
    assert!(rows > 0.0 && rows <= events.len() as f64, "{rows}");
    assert_eq!(figure(&report, "sinks", "parked of files"), Some(0.0));

    // What was not seen, by the gap ledger.
    let gaps: Vec<Value> = serde_json::from_str(&json(&place, &["gaps"])).unwrap();
    assert_eq!(figure(&report, "gaps", "gaps"), Some(gaps.len() as f64));
    let cause = gaps[0]["cause"].as_str().unwrap();
    let of_cause = || gaps.iter().filter(|gap| gap["cause"] == cause);
    assert_eq!(figure(&report, "gaps", &format!("gaps by {cause}")), Some(of_cause().count() as f64));
    let lasted: f64 = of_cause().filter(|gap| gap["end"].is_string()).map(|gap| gap["seconds"].as_f64().unwrap()).sum();
    assert!(figure(&report, "gaps", &format!("topic_seconds by {cause}")) >= Some(lasted - 1e-6));
    let whole = figure(&report, "completeness", "of_time").unwrap();
    assert!(whole > 0.0 && whole < 1.0, "{whole}");

    // What nobody measured is unknown.
    assert_eq!(figure(&report, "data_match", "data_match"), None);
    assert_eq!(verdict(&report, "data_match", "data_match"), "unknown");
    assert_eq!(figure(&report, "trends", "events_before"), None);
    assert_eq!(verdict(&report, "recovery", "connections_lost"), "unknown", "a day was not watched yet");
    assert_eq!(report["running"], false);
}

#[test]
fn a_report_is_given_in_every_form_and_set_beside_one_that_was_written_before() {
    let place = Workplace::new();
    let feed = Feed::start(&place, &["--dialect", "binance", "--rate", "300"]);
    let settings =
        Settings::new().upstream("feed", "binance", feed.url()).monitor("one", "spot", "feed", &["btcusdt@trade"], "");
    let daemon = Daemon::start(&place, &settings);
    takes(&daemon, "one");
    daemon.stop();
    report(&place, &["--format", "json", "--to", "before.json"]);
    let before: Value = serde_json::from_str(&std::fs::read_to_string(place.path("before.json")).unwrap()).unwrap();
    let daemon = Daemon::again(&place);
    takes(&daemon, "one");
    daemon.stop();
    let now = report_json(&place, &["--compare", "before.json"]);
    let events = |report: &Value, field: &str| {
        let figures = report["figures"].as_array().unwrap();
        figures.iter().find(|figure| figure["name"] == "events").unwrap()[field].as_f64()
    };
    assert_eq!(events(&now, "before"), events(&before, "value"));
    assert!(events(&now, "value") > events(&now, "before"));
    let restart = &now["restarts"][0];
    assert_eq!(restart["ending"], "stopped", "a process that was told to stop said that it did");

    let csv = report(&place, &["--format", "csv"]).stdout;
    let mut rows = csv::Reader::from_reader(csv.as_bytes());
    assert_eq!(rows.headers().unwrap(), vec!["section", "name", "value", "unit", "target", "verdict"]);
    let rows: Vec<csv::StringRecord> = rows.records().map(Result::unwrap).collect();
    let row = rows.iter().find(|row| &row[0] == "throughput" && &row[1] == "events").unwrap();
    assert_eq!((row[2].parse().ok(), &row[3]), (events(&now, "value"), "count"));
    let unknown = rows.iter().find(|row| &row[0] == "data_match").unwrap();
    assert_eq!((&unknown[2], &unknown[5]), ("unknown", "unknown"));
    for section in [
        "throughput",
        "parsing",
        "latency",
        "recovery",
        "breakers",
        "checkpoints",
        "gaps",
        "completeness",
        "uptime",
        "memory",
        "quarantine",
        "data_match",
        "trends",
        "hours",
    ] {
        assert!(rows.iter().any(|row| &row[0] == section), "{section}");
    }

    let page = report(&place, &["--format", "html", "--compare", "before.json"]).stdout;
    for needed in [
        "prefers-color-scheme: dark",
        "<h2>Throughput</h2>",
        "<h2>Restarts</h2>",
        "<th>Before</th>",
        "default-src 'none'",
    ] {
        assert!(page.contains(needed), "{needed}");
    }
    for foreign in ["http://", "https://", "<script", "src=", "<link", "@import", "url("] {
        assert!(!page.contains(foreign), "{foreign}");
    }
    let text = report(&place, &["--format", "md"]).stdout;
    assert!(text.starts_with("# How Sluice did") && text.contains("## Uptime"), "{text}");
    assert!(report(&place, &[]).stdout.contains("events per second"));

    place.write("odd.json", "{}");
    let refused = place.run(["--config", "sluice.toml", "report", "--compare", "odd.json"]);
    assert_eq!(refused.code, Some(2));
    assert!(
        refused.stderr.contains("odd.json is no baseline") && refused.stderr.contains("--format json"),
        "{}",
        refused.stderr
    );
    let refused = place.run(["--config", "sluice.toml", "report", "--since", "1m", "--until", "2m"]);
    assert_eq!((refused.code, refused.stderr.contains("is not before")), (Some(2), true), "{}", refused.stderr);
    feed.stop();
}

#[test]
fn a_journal_whose_oldest_part_is_gone_is_told_from_where_it_is_known() {
    let place = Workplace::new();
    let feed = Feed::start(&place, &["--dialect", "binance", "--rate", "300"]);
    let settings =
        Settings::new().upstream("feed", "binance", feed.url()).monitor("one", "spot", "feed", &["btcusdt@trade"], "");
    for _ in 0..3 {
        let daemon = Daemon::start(&place, &settings);
        takes(&daemon, "one");
        daemon.stop();
    }
    let whole = report_json(&place, &[]);
    assert_eq!(figure(&whole, "recovery", "restarts"), Some(2.0));
    let segments = |place: &Workplace| {
        let data = std::fs::read_dir(place.path("data/journal")).unwrap().map(|entry| entry.unwrap().path());
        let mut segments: Vec<_> = data.filter(|path| path.extension().is_some_and(|kind| kind == "seg")).collect();
        segments.sort();
        segments
    };
    // As retention deletes them: the oldest whole.
    let all = segments(&place);
    assert!(all.len() >= 3, "{all:?}");
    std::fs::remove_file(&all[0]).unwrap();
    let left = report_json(&place, &[]);
    let kept = query(&place, &["--domain", "spot"]);
    assert_eq!(figure(&left, "throughput", "events"), Some(kept.len() as f64));
    assert!(figure(&left, "throughput", "events") < figure(&whole, "throughput", "events"));
    let known: Timestamp = left["known_from"].as_str().unwrap().parse().unwrap();
    let before: Timestamp = whole["known_from"].as_str().unwrap().parse().unwrap();
    assert!(known > before, "{known} {before}");
    assert!(left["notes"].to_string().contains("what was before is deleted"), "{}", left["notes"]);
    feed.stop();
}
