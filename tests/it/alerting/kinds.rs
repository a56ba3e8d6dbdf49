//! Each type of alert, by a condition that is really there. What tests shorten is how long it must be there, or how much is too much.

use std::fs;

use serde_json::{Value, json};
use sluice::simulator::{Faults, SimulatedDialect, Simulator, SimulatorSettings};
use tokio::runtime::Runtime;

use super::super::changing::command;
use super::super::processes::{Daemon, Feed, until_within};
use super::super::support::Workplace;
use super::{PATH, PATIENCE, call, in_status, settings};

/// Has a look at everything soon.
const QUICK: &str = r#"
[alerts.rules.PARSE_RATE_LOW]
window = "4s"
[alerts.rules.QUARANTINE_GROWING]
window = "4s"
threshold = 20.0
[alerts.rules.HIGH_ORDER_CREATION_RATE]
threshold = 50.0
[alerts.rules.POOL_NEARLY_FULL]
for = "0s"
[alerts.rules.LATENCY_HIGH]
threshold = 0.0
for = "0s"
[alerts.rules.RATE_ANOMALY]
# What came before has widened what is usual.
threshold = 2.0
window = "1s"
least = 10.0
for = "1s"
[alerts.rules.NO_EVENTS]
threshold = 2.0
[alerts.rules.CONNECTION_FAILURES]
window = "10s"
[alerts.custom.quiet-feed]
figure = "monitor_events"
kind = "absence"
threshold = 1.0
subject = "tra*"
severity = "info"
"#;

#[test]
fn what_a_feed_does_opens_alerts_of_its_types_and_they_are_over_with_it() {
    let runtime = Runtime::new().unwrap();
    let simulated = SimulatorSettings { rate: 200, ..SimulatorSettings::synthetic(SimulatedDialect::Binance) };
    let feed = runtime.block_on(Simulator::start(simulated.clone())).unwrap();
    let address = feed.address();
    let place = Workplace::new();
    let limits = "topics_per_link = 2\n[upstreams.feed.limits]\nconnects = { count = 1000, per = \"1s\" }";
    let settings = settings(&feed.url(), QUICK, "").with(limits).monitor(
        "trades",
        "spot",
        "feed",
        &["btcusdt@trade", "ethusdt@trade"],
        "counters = { orders = { pointer = \"/data/e\", equals = \"trade\" } }",
    );
    let daemon = Daemon::start(&place, &settings);
    let opened = |kind: &str, subject: &str| in_status(&daemon, kind, subject, "OPEN");
    let over = |kind: &str, subject: &str| {
        let row = in_status(&daemon, kind, subject, "RESOLVED");
        assert_eq!(row["resolved_by"], "sluice", "{row}");
    };

    let full = opened("POOL_NEARLY_FULL", "feed");
    assert_eq!((&full["value"], &full["threshold"]), (&json!(100.0), &json!(80.0)), "{full}");
    let orders = opened("HIGH_ORDER_CREATION_RATE", "trades");
    assert!(orders["value"].as_f64().unwrap() > 50.0, "{orders}");
    assert!(opened("LATENCY_HIGH", "process")["value"].as_f64().unwrap() > 0.0);
    // Before the feed does something unusual it must be known what is usual.
    until_within(PATIENCE, "the feed's usual rate is known", || {
        let (_, rules) = call(&daemon, "GET", &format!("{PATH}/rules"), None);
        let rule = rules.as_array().unwrap().iter().find(|rule| rule["rule"] == "RATE_ANOMALY").unwrap().clone();
        rule["subjects"][0]["value"].is_number().then_some(())
    });

    feed.set_faults(Faults { bad_frames: 0.5, ..Faults::default() }).unwrap();
    // Frames that are no JSON belong to no monitor.
    let low = opened("PARSE_RATE_LOW", "upstream:feed");
    assert!(low["value"].as_f64().unwrap() < 90.0 && low["severity"] == "warning", "{low}");
    opened("QUARANTINE_GROWING", "upstream:feed");
    feed.set_faults(Faults::default()).unwrap();
    over("PARSE_RATE_LOW", "upstream:feed");
    over("QUARANTINE_GROWING", "upstream:feed");

    runtime.block_on(feed.kill());
    opened("GAP_OPENED", "feed");
    opened("CONNECTION_FAILURES", "feed");
    let circuit = opened("CIRCUIT_OPEN", "upstream:feed");
    assert!(circuit["message"].as_str().unwrap().contains("circuit of upstream feed is not closed"), "{circuit}");
    let silent = opened("NO_EVENTS", "trades");
    assert!(silent["value"].as_f64().unwrap() > 2.0, "{silent}");
    assert_eq!(opened("RATE_ANOMALY", "trades")["severity"], "info");
    let own = opened("quiet-feed", "trades");
    assert_eq!(
        (&own["type"], &own["rule"], &own["severity"]),
        (&json!("CUSTOM"), &json!("quiet-feed"), &json!("info"))
    );
    assert!(own["message"].as_str().unwrap().starts_with("quiet-feed: "), "{own}");

    let again = SimulatorSettings { listen: address, ..simulated };
    let feed = runtime.block_on(Simulator::start(again)).unwrap();
    for (kind, subject) in [
        ("NO_EVENTS", "trades"),
        ("quiet-feed", "trades"),
        ("GAP_OPENED", "feed"),
        ("CIRCUIT_OPEN", "upstream:feed"),
        ("CONNECTION_FAILURES", "feed"),
    ] {
        over(kind, subject);
    }
    let metrics = daemon.metrics();
    assert!(metrics.value("sluice_alerts_opened_total", &[("type", "GAP_OPENED")]) >= 1);
    assert!(metrics.value("sluice_alerts_resolved_total", &[("type", "NO_EVENTS")]) >= 1);
    assert!(metrics.value("sluice_alerts_open", &[("severity", "warning")]) >= 1);
    let log = daemon.stop();
    assert!(log.contains("alert is over") && log.contains("NO_EVENTS"), "{log}");
    runtime.block_on(feed.stop()).unwrap();
}

/// The same, of what is around the journal.
const AROUND: &str = r#"
[alerts.rules.SINK_DOWN]
for = "0s"
[alerts.rules.SINK_LAGGING]
threshold = 1.0
for = "0s"
[alerts.rules.DATABASE_LATENCY]
threshold = 0.0
for = "0s"
[alerts.rules.JOURNAL_NEARLY_FULL]
for = "0s"
[alerts.rules.CHECKPOINT_STALE]
threshold = 1.0
[alerts.rules.JOB_FAILURES]
window = "5s"
[alerts.rules.API_ERRORS]
window = "5s"
least = 5.0
[alerts.rules.HIGH_CPU]
threshold = 0.0
for = "0s"
[alerts.rules.HIGH_MEMORY]
threshold = 0.0
for = "0s"
[alerts.rules.HIGH_DISK]
threshold = 0.0
for = "0s"
[alerts.rules.MEMORY_GROWTH]
threshold = 0.0
window = "1s"
for = "0s"
"#;

#[test]
fn what_goes_wrong_around_the_journal_opens_alerts_of_its_types_and_they_are_over_with_it() {
    let place = Workplace::new();
    let mut ended = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
    ended.not_before = rcgen::date_time_ymd(2019, 1, 1);
    ended.not_after = rcgen::date_time_ymd(2020, 1, 1);
    let ended = ended.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap();
    place.write("ca.pem", ended.pem());
    let feed = Feed::start(&place, &["--dialect", "binance", "--rate", "2000"]);
    let more = "[journal]\nsegment_size = \"64KiB\"\nmax_size = \"192KiB\"\n[checkpoint]\ninterval = \"500ms\"\n\
                [sinks.files]\nkind = \"jsonl\"\nfolder = \"files\"\nflush_interval = \"20ms\"";
    let settings = settings(feed.url(), AROUND, more)
        .with("[upstreams.other]\nurl = \"wss://localhost:1\"\ndialect = \"binance\"\nca_file = \"ca.pem\"")
        .monitor("trades", "spot", "feed", &["btcusdt@trade"], "");
    settings.write(&place);
    let text = fs::read_to_string(place.path("sluice.toml")).unwrap();
    place.write("sluice.toml", text.replace("timeout = \"20ms\"", "timeout = \"20ms\"\nmax_bytes = \"8KiB\""));
    let daemon = Daemon::again(&place);
    let opened = |kind: &str, subject: &str| in_status(&daemon, kind, subject, "OPEN");
    let over = |kind: &str, subject: &str| in_status(&daemon, kind, subject, "RESOLVED");

    for kind in ["HIGH_CPU", "HIGH_MEMORY", "HIGH_DISK", "MEMORY_GROWTH"] {
        // Growth may be over by now; it was measured.
        let row = until_within(PATIENCE, &format!("{kind} is opened"), || {
            super::alerts(&daemon, &format!("?type={kind}")).into_iter().next()
        });
        assert!(row["value"].as_f64().unwrap() > 0.0 && row["subject"] == "process", "{row}");
    }
    assert!(opened("DATABASE_LATENCY", "files")["value"].as_f64().unwrap() > 0.0);
    let certificate = opened("CERTIFICATE_EXPIRING", &place.path("ca.pem").display().to_string());
    assert!(certificate["value"].as_f64().unwrap() < 0.0, "{certificate}");

    assert_eq!(command(&place, &daemon, &["circuits", "open", "files"]).code, Some(0));
    for (kind, subject) in [("SINK_DOWN", "files"), ("SINK_LAGGING", "files"), ("CIRCUIT_OPEN", "sink:files")] {
        opened(kind, subject);
    }
    let full = opened("JOURNAL_NEARLY_FULL", "process");
    assert!(full["value"].as_f64().unwrap() > 90.0 && full["severity"] == "critical", "{full}");
    assert_eq!(command(&place, &daemon, &["circuits", "reset", "files"]).code, Some(0));
    for (kind, subject) in [("SINK_DOWN", "files"), ("SINK_LAGGING", "files"), ("CIRCUIT_OPEN", "sink:files")] {
        over(kind, subject);
    }

    // No checkpoint can be written where a file is in the folder's place.
    fs::rename(place.path("checkpoints"), place.path("aside")).unwrap();
    place.write("checkpoints", "");
    opened("CHECKPOINT_STALE", "process");
    let failures = opened("JOB_FAILURES", "process");
    assert!(failures["value"].as_f64().unwrap() > 10.0, "{failures}");
    let errors = until_within(PATIENCE, "requests that fail are found", || {
        let (status, _) = call(&daemon, "POST", "/api/v1/checkpoints", None);
        assert!(status >= 500, "{status}");
        super::alerts(&daemon, "?type=API_ERRORS").into_iter().next()
    });
    assert!(errors["value"].as_f64().unwrap() > 5.0, "{errors}");
    fs::remove_file(place.path("checkpoints")).unwrap();
    fs::rename(place.path("aside"), place.path("checkpoints")).unwrap();
    for kind in ["CHECKPOINT_STALE", "JOB_FAILURES", "API_ERRORS"] {
        over(kind, "process");
    }
    daemon.stop();
    feed.kill();
}

#[test]
fn thresholds_come_from_the_environment_by_the_names_that_users_know() {
    let names = [
        ("MONITORING_ORDER_RATE_THRESHOLD", "HIGH_ORDER_CREATION_RATE"),
        ("MONITORING_JOB_FAILURE_THRESHOLD", "JOB_FAILURES"),
        ("MONITORING_WHATSAPP_FAILURE_THRESHOLD", "NOTIFICATION_FAILURES"),
        ("MONITORING_API_ERROR_THRESHOLD", "API_ERRORS"),
        ("MONITORING_DB_LATENCY_THRESHOLD", "DATABASE_LATENCY"),
        ("MONITORING_CPU_THRESHOLD", "HIGH_CPU"),
        ("MONITORING_MEMORY_THRESHOLD", "HIGH_MEMORY"),
        ("MONITORING_DISK_THRESHOLD", "HIGH_DISK"),
    ];
    let place = Workplace::new().with_variable("MONITORING_ALERT_COOLDOWN", "7000");
    let place = (41_u32..)
        .zip(names)
        .fold(place, |place, (threshold, (name, _))| place.with_variable(name, &threshold.to_string()));
    let feed = Feed::start(&place, &["--dialect", "binance"]);
    let settings =
        settings(feed.url(), "[alerts.rules.HIGH_CPU]\ncooldown = \"3s\"", "[fault_tolerance]\nenabled = false")
            .monitor("trades", "spot", "feed", &["btcusdt@trade"], "");
    let daemon = Daemon::start(&place, &settings);
    let (_, rules) = call(&daemon, "GET", &format!("{PATH}/rules"), None);
    let rule = |name: &str| rules.as_array().unwrap().iter().find(|rule| rule["rule"] == name).unwrap().clone();
    for (threshold, (_, kind)) in (41_u32..).zip(names) {
        let rule = rule(kind);
        // `fault_tolerance.enabled` is not about alerts.
        assert_eq!(
            (&rule["threshold"], &rule["enabled"]),
            (&json!(f64::from(threshold)), &Value::Bool(true)),
            "{rule}"
        );
    }
    let cooldown = |name: &str| rule(name)["cooldown_seconds"].as_f64().unwrap();
    assert!((cooldown("HIGH_DISK") - 7.0).abs() < 1e-9 && (cooldown("HIGH_CPU") - 3.0).abs() < 1e-9);
    daemon.stop();
    feed.kill();
}

#[test]
fn notifications_that_nobody_gets_open_an_alert_of_their_channel() {
    let place = Workplace::new();
    let feed = Feed::start(&place, &["--dialect", "binance"]);
    // Nobody listens there.
    let webhook = "[notify]\nattempts = 1\n[notify.webhook]\nurl = \"https://127.0.0.1:1/hook\"\nallow_private = true";
    let full = "[alerts.rules.HIGH_DISK]\nthreshold = 0.0\nfor = \"0s\"";
    let settings = settings(feed.url(), full, webhook).monitor("trades", "spot", "feed", &["btcusdt@trade"], "");
    let daemon = Daemon::start(&place, &settings);
    let failed = in_status(&daemon, "NOTIFICATION_FAILURES", "webhook", "OPEN");
    assert_eq!((&failed["value"], &failed["threshold"]), (&json!(100.0), &json!(20.0)), "{failed}");
    let disk = in_status(&daemon, "HIGH_DISK", "process", "OPEN");
    let delivery = &disk["notifications"][0];
    assert_eq!((&delivery["channel"], &delivery["outcome"]), (&json!("webhook"), &json!("failed")), "{disk}");
    daemon.stop();
    feed.kill();
}
