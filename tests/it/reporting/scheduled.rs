//! `[reports.NAME]`: reports that the daemon makes by itself.

use std::collections::BTreeMap;
use std::time::SystemTime;

use serde_json::Value;

use super::super::changing::takes;
use super::super::processes::{Daemon, Feed, Settings, until};
use super::super::support::Workplace;

/// The files of a report, and when each was written.
fn written(place: &Workplace) -> BTreeMap<String, SystemTime> {
    let Ok(entries) = std::fs::read_dir(place.path("out")) else { return BTreeMap::new() };
    let entries = entries.map(|entry| entry.unwrap());
    let whole = entries.filter(|entry| entry.path().extension().is_some_and(|kind| kind == "json"));
    whole
        .map(|entry| (entry.file_name().into_string().unwrap(), entry.metadata().unwrap().modified().unwrap()))
        .collect()
}

#[test]
fn a_scheduled_report_is_an_operation_and_no_period_has_two_over_restarts() {
    let place = Workplace::new();
    let feed = Feed::start(&place, &["--dialect", "binance", "--rate", "300"]);
    let settings = Settings::new()
        .with("[reports.often]\nevery = \"3s\"\nsince = \"1h\"\nformat = \"json\"\nto = \"out/{name}-{date}-{time}.json\"")
        .upstream("feed", "binance", feed.url())
        .monitor("one", "spot", "feed", &["btcusdt@trade"], "");
    let daemon = Daemon::start(&place, &settings);
    takes(&daemon, "one");
    until("two periods have their report", || (written(&place).len() >= 2).then_some(()));
    let (_, body) = daemon.get("/api/v1/operations");
    let operations: Vec<Value> = serde_json::from_str(&body).unwrap();
    let of_report: Vec<&Value> = operations.iter().filter(|row| row["kind"] == "report").collect();
    assert!(
        of_report.len() >= 2 && of_report.iter().all(|row| row["subject"] == "often" && row["state"] == "done"),
        "{body}"
    );
    // As nobody would: again and again, with and without a word.
    daemon.kill();
    let before = written(&place);
    let daemon = Daemon::again(&place);
    until("the next period has its report", || (written(&place).len() > before.len()).then_some(()));
    daemon.stop();
    let after = written(&place);
    for (file, time) in &before {
        assert_eq!(after.get(file), Some(time), "{file} was written once");
    }
    let newest = after.keys().next_back().unwrap();
    let report: Value =
        serde_json::from_str(&std::fs::read_to_string(place.path("out").join(newest)).unwrap()).unwrap();
    let until: jiff::Timestamp = report["until"].as_str().unwrap().parse().unwrap();
    assert_eq!(until.as_second() % 3, 0, "periods are counted from 1970 on");
    assert!(super::figure(&report, "throughput", "events") > Some(0.0));
    feed.stop();
}

#[test]
fn a_report_whose_periods_share_a_file_or_that_goes_nowhere_is_refused_with_what_to_do() {
    for (more, says) in [
        ("to = \"out.html\"", "{date}"),
        ("every = \"1h\"\nto = \"{date}.html\"", "{time}"),
        ("", "must say where to"),
        ("at = \"noon\"\nto = \"{date}.html\"", "06:00"),
    ] {
        let place = Workplace::new().with_file("sluice.toml", format!("[reports.daily]\n{more}\n"));
        let refused = place.run(["--config", "sluice.toml", "config", "check"]);
        assert_eq!(refused.code, Some(78), "{more}");
        assert!((refused.stdout + &refused.stderr).contains(says), "{more}");
    }
}
