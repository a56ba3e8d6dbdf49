//! `/metrics` holds what its reference says, in the form that Prometheus wants, of what there is and of nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::process::{Command, Stdio};

use serde_json::json;
use sluice::telemetry::metrics::{Metric, REFERENCE};

use super::super::changing::call;
use super::super::processes::until;
use super::super::support::Workplace;
use super::{at_work, program};

/// Every metric by its name.
pub(super) fn reference() -> BTreeMap<&'static str, &'static Metric> {
    REFERENCE.iter().copied().flatten().map(|metric| (metric.name, metric)).collect()
}

/// The lines of samples: name, labels, value.
pub(super) fn samples(text: &str) -> impl Iterator<Item = (&str, Vec<(&str, &str)>, &str)> {
    text.lines().filter(|line| !line.starts_with('#')).map(|line| {
        let (series, value) = line.rsplit_once(' ').expect("a value");
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        let pairs = labels.trim_end_matches('}').split("\",").filter(|pair| !pair.is_empty());
        let pairs = pairs.filter_map(|pair| pair.split_once("=\""));
        (name, pairs.map(|(key, value)| (key, value.trim_end_matches('"'))).collect(), value)
    })
}

/// The metric that a sample is of.
pub(super) fn family<'n>(name: &'n str, known: &BTreeMap<&str, &Metric>) -> &'n str {
    if known.contains_key(name) {
        return name;
    }
    let parts = ["_bucket", "_sum", "_count"];
    parts.into_iter().find_map(|part| name.strip_suffix(part)).unwrap_or(name)
}

#[test]
fn promtool_finds_nothing_wrong_with_the_metrics_of_a_daemon_under_load_with_sinks_and_faults() {
    let place = Workplace::new();
    let (_feed, daemon) = at_work(&place, "");
    let text = daemon.metrics().0;
    let mut child = Command::new(program("promtool"))
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool is there: see scripts/tools.sh");
    child.stdin.take().expect("it is piped").write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.is_empty(), "{said}");
    daemon.stop();
}

#[test]
fn what_metrics_show_is_in_their_reference_and_the_other_way_round() {
    let place = Workplace::new();
    let (_feed, daemon) = at_work(&place, "");
    let text = daemon.metrics().0;
    let known = reference();
    let mut shown = BTreeSet::new();
    let mut series = BTreeSet::new();
    for (name, labels, _) in samples(&text) {
        let family = family(name, &known);
        let metric = known.get(family).unwrap_or_else(|| panic!("{name} is not in the reference"));
        let names: Vec<&str> = labels.iter().map(|(key, _)| *key).filter(|key| *key != "le").collect();
        assert_eq!(names, metric.labels, "{name}");
        assert!(series.insert((name, labels.clone())), "{name} {labels:?} is there twice");
        shown.insert(family);
    }
    for metric in known.values().filter(|metric| metric.when.is_empty() || shown.contains(metric.name)) {
        let head = format!("# HELP {} {}\n# TYPE {} {}\n", metric.name, metric.help, metric.name, metric.kind.as_str());
        assert!(text.contains(&head), "{head} is not shown");
    }
    daemon.stop();
}

#[test]
fn the_series_of_a_monitor_that_is_removed_go_and_those_of_others_stay() {
    let place = Workplace::new();
    let (_feed, daemon) = at_work(&place, "");
    let of = |monitor: &str| {
        let text = daemon.metrics().0;
        let has = |labels: &[(&str, &str)]| labels.iter().any(|(key, value)| *key == "monitor" && *value == monitor);
        samples(&text).filter(|(_, labels, _)| has(labels)).count()
    };
    let before = of("two");
    assert!(of("one") > before && before > 3, "one has counters too");
    let (status, answer) = call(&daemon, "DELETE", "/api/v1/monitors/one", None);
    assert_eq!(status, 204, "{answer}");
    until("its series are gone", || (of("one") == 0).then_some(()));
    assert_eq!(of("two"), before);
    // It comes back, and begins anew.
    let monitor = json!({"name": "one", "domain": "spot", "upstream": "feed", "topics": ["btcusdt@trade"]});
    let (status, answer) = call(&daemon, "POST", "/api/v1/monitors", Some(&monitor));
    assert_eq!(status, 201, "{answer}");
    until("it is counted again", || {
        (daemon.metrics().value("sluice_events_total", &[("monitor", "one")]) > 10).then_some(())
    });
    daemon.stop();
}

#[test]
fn the_series_of_an_upstream_that_is_removed_go() {
    let place = Workplace::new();
    let (feed, daemon) = at_work(&place, "");
    let other = json!({"name": "other", "url": feed.url(), "dialect": "binance"});
    assert_eq!(call(&daemon, "POST", "/api/v1/upstreams", Some(&other)).0, 201);
    let three = json!({"name": "three", "domain": "spot", "upstream": "other", "topics": ["bnbusdt@trade"]});
    assert_eq!(call(&daemon, "POST", "/api/v1/monitors", Some(&three)).0, 201);
    let series = || {
        let text = daemon.metrics().0;
        samples(&text).filter(|(_, labels, _)| labels.contains(&("upstream", "other"))).count()
    };
    until("it brings something", || {
        (daemon.metrics().value("sluice_events_total", &[("monitor", "three")]) > 10).then_some(())
    });
    assert!(series() > 10, "links, frames, gaps");
    assert_eq!(call(&daemon, "DELETE", "/api/v1/monitors/three", None).0, 204);
    assert_eq!(call(&daemon, "DELETE", "/api/v1/upstreams/other", None).0, 204);
    until("its series are gone", || (series() == 0).then_some(()));
    daemon.stop();
}

#[test]
fn an_operation_is_counted_and_timed() {
    let place = Workplace::new();
    let (_feed, daemon) = at_work(&place, "");
    assert_eq!(call(&daemon, "POST", "/api/v1/checkpoints", None).0, 201);
    let metrics = daemon.metrics();
    assert_eq!(metrics.value("sluice_operations_total", &[("kind", "checkpoint"), ("outcome", "done")]), 1);
    assert_eq!(metrics.value("sluice_operation_seconds_count", &[("kind", "checkpoint")]), 1);
    assert_eq!(metrics.value("sluice_operations_running", &[("kind", "checkpoint")]), 0);
    daemon.stop();
}
