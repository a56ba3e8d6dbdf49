//! The ready files in `config/prometheus` and `config/grafana` fit what the daemon shows: held against a Prometheus that asks it.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use sluice::alert::AlertKind;

use super::super::processes::{Daemon, Process, get, until, until_within};
use super::super::support::{Workplace, project_file};
use super::series::{family, reference, samples};
use super::{at_work, program};

/// It asks, stores and answers on a machine that other tests keep busy.
const PATIENCE: Duration = Duration::from_mins(1);

fn promtool(arguments: &[&str]) -> (bool, String) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/prometheus");
    let mut command = Command::new(program("promtool"));
    let output = command.args(arguments).current_dir(folder).output().expect("promtool is there: see scripts/tools.sh");
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output.status.success(), said)
}

#[test]
fn promtool_takes_the_scrape_example_and_the_rules_and_each_rule_fires_and_is_silent_when_it_should() {
    for arguments in [
        &["check", "config", "scrape.yml"][..],
        &["check", "rules", "alerts.yml"],
        &["test", "rules", "alerts_test.yml"],
    ] {
        let (success, said) = promtool(arguments);
        assert!(success && !said.contains("FAILED"), "{arguments:?}: {said}");
    }
    // A rule without a test would pass.
    let tests = project_file("config/prometheus/alerts_test.yml");
    for kind in AlertKind::ALL {
        for outcome in ["fires", "is silent"] {
            assert!(tests.contains(&format!("- name: {} {outcome}\n", kind.as_str())), "{} {outcome}", kind.as_str());
        }
    }
}

/// The rules: name, expression, severity, runbook.
fn rules() -> Vec<(String, String, String, String)> {
    let text = project_file("config/prometheus/alerts.yml");
    let mut rules = Vec::new();
    for part in text.split("      - alert: ").skip(1) {
        let of = |key: &str| {
            let line =
                part.lines().find_map(|line| line.trim().strip_prefix(key)).unwrap_or_else(|| panic!("{key} {part}"));
            line.trim().trim_matches('\'').replace("''", "'")
        };
        let name = part.lines().next().unwrap_or_default().to_owned();
        rules.push((name, of("expr:"), of("severity:"), of("runbook_url:")));
    }
    rules
}

#[test]
fn every_type_of_alert_has_a_rule_with_its_severity_and_its_runbook() {
    let rules = rules();
    for kind in AlertKind::ALL {
        let name = kind.as_str();
        let rule = rules.iter().find(|rule| rule.0 == name).unwrap_or_else(|| panic!("{name} has no rule"));
        assert_eq!(rule.2, kind.severity().as_str(), "{name}");
        // Those of an operator's own rules have no page of their own.
        let page = if name == "CUSTOM" { "README" } else { name };
        assert_eq!(rule.3, format!("docs/runbooks/{page}.md"), "{name}");
    }
}

/// The dashboard's queries, with what Grafana puts in for its variables.
fn dashboard() -> Vec<String> {
    let dashboard: Value = serde_json::from_str(&project_file("config/grafana/sluice.json")).unwrap();
    let variables: Vec<_> = dashboard["templating"]["list"].as_array().unwrap().iter().map(|of| &of["name"]).collect();
    assert_eq!(variables, ["datasource", "instance", "monitor"]);
    let panels = dashboard["panels"].as_array().unwrap();
    assert!(panels.iter().filter(|panel| panel["type"] == "row").count() >= 10, "a row for each stage");
    let targets = panels.iter().filter_map(|panel| panel["targets"].as_array()).flatten();
    targets
        .map(|target| {
            let text = target["expr"].as_str().expect("an expression");
            text.replace("$instance", ".*").replace("$monitor", ".*").replace("$__rate_interval", "1m")
        })
        .collect()
}

/// What an expression names: metrics with the labels that are asked of each, and labels that it groups by.
fn named(expression: &str) -> (Vec<(String, Vec<String>)>, Vec<String>) {
    let is_word = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    let (mut metrics, mut groups) = (Vec::new(), Vec::new());
    for (at, _) in expression.match_indices("sluice_") {
        let rest = &expression[at..];
        let end = rest.find(|letter| !is_word(letter)).unwrap_or(rest.len());
        let (name, behind) = rest.split_at(end);
        // One within quotes is a value.
        if expression[..at].ends_with('"') {
            continue;
        }
        let matchers =
            behind.strip_prefix('{').and_then(|behind| behind.split_once('}')).map_or("", |(inner, _)| inner);
        let labels = matchers.split(',').filter_map(|matcher| matcher.split(['=', '!']).next()).map(str::trim);
        metrics.push((name.to_owned(), labels.filter(|label| !label.is_empty()).map(str::to_owned).collect()));
    }
    for (at, word) in expression.match_indices(" by (") {
        let inner = expression[at + word.len()..].split(')').next().unwrap_or_default();
        groups.extend(inner.split(',').map(|label| label.trim().to_owned()));
    }
    (metrics, groups)
}

#[test]
fn rules_and_dashboard_ask_for_metrics_and_labels_that_there_are() {
    let known = reference();
    let mut used = 0;
    for expression in rules().into_iter().map(|rule| rule.1).chain(dashboard()) {
        let (metrics, groups) = named(&expression);
        assert!(!metrics.is_empty(), "{expression}");
        let mut all = BTreeSet::from(["instance", "job", "le"]);
        for (name, labels) in &metrics {
            let metric = known.get(family(name, &known)).unwrap_or_else(|| panic!("{name} of {expression}"));
            for label in labels {
                let of_all = label == "instance" || label == "job";
                assert!(of_all || metric.labels.contains(&label.as_str()), "{name} has no {label}: {expression}");
            }
            all.extend(metric.labels);
            used += 1;
        }
        for group in &groups {
            assert!(all.contains(group.as_str()), "nothing has {group}: {expression}");
        }
    }
    assert!(used > 100, "{used}");
}

/// A Prometheus that asks a daemon each second, by the example and the rules of the project.
struct Prometheus {
    address: String,
    _process: Process,
}

impl Prometheus {
    fn start(place: &Workplace, daemon: &Daemon) -> Self {
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let scrape = project_file("config/prometheus/scrape.yml")
            .replace("127.0.0.1:9464", daemon.address())
            .replace("interval: 15s", "interval: 1s");
        assert!(scrape.contains(daemon.address()) && scrape.contains("scrape_interval: 1s"), "{scrape}");
        place.write("prometheus/scrape.yml", scrape);
        place.write("prometheus/alerts.yml", project_file("config/prometheus/alerts.yml"));
        let mut command = Command::new(program("prometheus"));
        command
            .current_dir(place.path("prometheus"))
            .args(["--config.file=scrape.yml", "--storage.tsdb.path=data"])
            .arg(format!("--web.listen-address={free}"));
        Self { address: free.to_string(), _process: Process::of(command) }
    }

    /// The answer to a query: the status and, where that is success, the result.
    fn ask(&self, expression: &str) -> Result<Vec<Value>, String> {
        let text: String = url::form_urlencoded::byte_serialize(expression.as_bytes()).collect();
        let (_, body) =
            get(&self.address, &format!("/api/v1/query?query={text}")).map_err(|error| error.to_string())?;
        // It may come in chunks; the JSON is one line of it.
        let json = body.lines().find(|line| line.starts_with('{')).unwrap_or(&body);
        let answer: Value = serde_json::from_str(json).map_err(|error| format!("{error}: {body}"))?;
        match answer["data"]["result"].as_array() {
            Some(result) if answer["status"] == "success" => Ok(result.clone()),
            _ => Err(answer.to_string()),
        }
    }
}

#[test]
fn a_prometheus_that_asks_the_daemon_answers_every_query_of_the_rules_and_the_dashboard() {
    let place = Workplace::new();
    let (_feed, daemon) = at_work(&place, "");
    let prometheus = Prometheus::start(&place, &daemon);
    until_within(PATIENCE, "it has asked several times", || {
        let asked = prometheus.ask("count_over_time(sluice_start_time_seconds[1m])").ok()?;
        let count: u64 = asked.first()?["value"][1].as_str()?.parse().ok()?;
        (count >= 5).then_some(())
    });
    let text = daemon.metrics().0;
    let present: BTreeSet<&str> = samples(&text).map(|(name, ..)| name).collect();
    for (name, expression, ..) in rules() {
        prometheus.ask(&expression).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    let mut answered = 0;
    for expression in dashboard() {
        let what = |error| panic!("{expression}: {error}");
        let asked = || prometheus.ask(&expression).unwrap_or_else(what);
        // A comparison shows only what is out of the ordinary.
        let filtered = expression.contains(" > ") || expression.contains("!=\"");
        if named(&expression).0.iter().all(|(metric, _)| present.contains(metric.as_str())) && !filtered {
            // A series that has just come needs two looks for a rate.
            until(&format!("there is something of {expression}"), || (!asked().is_empty()).then_some(()));
            answered += 1;
        } else {
            asked();
        }
    }
    assert!(answered > 60, "{answered}");
    let firing = until_within(PATIENCE, "the sink that is away is told of", || {
        let firing = prometheus.ask("ALERTS{alertname=\"SINK_DOWN\", alertstate=\"firing\"}").ok()?;
        (!firing.is_empty()).then_some(firing)
    });
    assert_eq!(firing[0]["metric"]["sink"], "away");
    daemon.stop();
}
