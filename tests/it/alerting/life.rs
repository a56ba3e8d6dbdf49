//! The life of an alert as operators have it: seen to, over, withheld by a cooldown or a silence.

use serde_json::{Value, json};

use super::super::changing::command;
use super::super::processes::until_within;
use super::super::support::Workplace;
use super::{PATH, PATIENCE, alerts, call, in_status, on_record, set_disk_limit, with_full_disk};

const KIND: &str = "HIGH_DISK";

#[test]
fn an_alert_is_seen_to_and_resolved_by_the_command_line_and_a_wrong_state_is_refused() {
    let place = Workplace::new();
    let (feed, daemon) = with_full_disk(&place, "1h");
    let alert = in_status(&daemon, KIND, "process", "OPEN");
    let id = alert["id"].as_str().unwrap().to_owned();
    let short = &id[id.len() - 8..];
    assert_eq!((&alert["severity"], &alert["threshold"]), (&json!("critical"), &json!(0.0)), "{alert}");
    assert!(alert["value"].as_f64().unwrap() > 0.0 && alert["told_at"].is_string(), "{alert}");

    let listed = command(&place, &daemon, &["alerts", "list", "--type", KIND]);
    assert!(
        listed.code == Some(0) && listed.stdout.contains(short) && listed.stdout.contains("critical"),
        "{listed:?}"
    );
    assert!(listed.stdout.lines().next().unwrap().len() <= 80, "{listed:?}");
    let rows = command(&place, &daemon, &["alerts", "list", "--severity", "critical", "--output", "json"]);
    let rows: Vec<Value> = serde_json::from_str(&rows.stdout).unwrap();
    assert!(rows.iter().any(|row| row["id"] == id.as_str()), "{rows:?}");
    let rules = command(&place, &daemon, &["alerts", "rules", "high_disk"]);
    assert!(rules.code == Some(0) && rules.stdout.contains("open") && rules.stdout.contains("> 0 %"), "{rules:?}");

    let seen = command(&place, &daemon, &["alerts", "ack", short, "--by", "anna", "--notes", "on it"]);
    assert!(seen.code == Some(0) && seen.stdout.contains("is acknowledged"), "{seen:?}");
    let path = format!("{PATH}/{id}");
    let shown = call(&daemon, "GET", &path, None).1;
    assert_eq!(
        (&shown["status"], &shown["acknowledged_by"], &shown["notes"]),
        (&json!("ACKNOWLEDGED"), &json!("anna"), &json!("on it"))
    );
    let twice = call(&daemon, "POST", &format!("{path}/acknowledge"), Some("{\"acknowledgedBy\": \"bob\"}"));
    assert_eq!(twice.0, 409, "{twice:?}");
    let unknown = call(&daemon, "POST", &format!("{PATH}/nobody/resolve"), Some("{}"));
    assert_eq!(unknown.0, 404, "{unknown:?}");
    let strange = call(&daemon, "POST", &format!("{path}/resolve"), Some("{\"by\": \"bob\"}"));
    assert_eq!(strange.0, 400, "{strange:?}");

    let resolve = "{\"resolvedBy\": \"anna\", \"resolution\": \"deleted films\"}";
    let (status, resolved) = call(&daemon, "POST", &format!("{path}/resolve"), Some(resolve));
    assert_eq!(
        (status, &resolved["status"], &resolved["resolution"]),
        (200, &json!("RESOLVED"), &json!("deleted films"))
    );
    assert_eq!(call(&daemon, "POST", &format!("{path}/resolve"), Some(resolve)).0, 409);
    assert_eq!(call(&daemon, "POST", &format!("{path}/acknowledge"), None).0, 409);
    let shown = command(&place, &daemon, &["alerts", "show", &id]);
    assert!(shown.code == Some(0) && shown.stdout.contains("deleted films"), "{shown:?}");

    let summary = call(&daemon, "GET", &format!("{PATH}/summary"), None).1;
    assert_eq!(summary["by_type"][KIND], json!({"open": 0, "acknowledged": 0, "resolved": 1}), "{summary}");
    let table = command(&place, &daemon, &["alerts", "summary"]);
    assert!(table.code == Some(0) && table.stdout.starts_with("SEVERITY"), "{table:?}");
    let whats: Vec<Value> = on_record(&place, KIND).iter().map(|event| event["what"].clone()).collect();
    assert_eq!(whats, ["opened", "acknowledged", "resolved"], "each change is on record");
    let metrics = daemon.metrics();
    for name in ["opened", "acknowledged", "resolved"] {
        assert_eq!(metrics.value(&format!("sluice_alerts_{name}_total"), &[("type", KIND)]), 1, "{name}");
    }
    daemon.stop();
    feed.kill();
}

#[test]
fn within_the_cooldown_an_alert_is_recorded_and_told_to_nobody_and_behind_it_it_is_told() {
    let place = Workplace::new();
    let (feed, daemon) = with_full_disk(&place, "8s");
    let first = in_status(&daemon, KIND, "process", "OPEN");
    set_disk_limit(&daemon, 100.0);
    let over = in_status(&daemon, KIND, "process", "RESOLVED");
    assert_eq!((&over["id"], &over["resolved_by"]), (&first["id"], &json!("sluice")));
    set_disk_limit(&daemon, 0.0);
    let second = in_status(&daemon, KIND, "process", "OPEN");
    assert_eq!(
        (&second["suppressed"], &second["withheld"], &second["told_at"]),
        (&json!(true), &json!("cooldown"), &Value::Null)
    );
    let labels = [("type", KIND), ("reason", "cooldown")];
    until_within(PATIENCE, "it is counted", || {
        (daemon.metrics().value("sluice_alerts_suppressed_total", &labels) == 1).then_some(())
    });
    let told = until_within(PATIENCE, "it is told when the cooldown is over", || {
        let row = alerts(&daemon, &format!("?type={KIND}&status=open")).into_iter().next()?;
        row["told_at"].is_string().then_some(row)
    });
    assert_eq!((&told["id"], &told["withheld"], &told["suppressed"]), (&second["id"], &Value::Null, &json!(true)));
    let moment = |row: &Value| row["told_at"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    assert!(moment(&told).duration_since(moment(&first)) >= jiff::SignedDuration::from_secs(8), "{told}");
    daemon.stop();
    feed.kill();
}

#[test]
fn a_silence_keeps_alerts_from_being_told_until_it_ends_by_itself_or_is_taken_away() {
    let place = Workplace::new();
    let (feed, daemon) = with_full_disk(&place, "0s");
    in_status(&daemon, KIND, "process", "OPEN");
    set_disk_limit(&daemon, 100.0);
    in_status(&daemon, KIND, "process", "RESOLVED");
    let nothing = command(&place, &daemon, &["alerts", "silence", "--for", "1h"]);
    assert_eq!(nothing.code, Some(2), "{nothing:?}");
    let passed = call(
        &daemon,
        "POST",
        &format!("{PATH}/silences"),
        Some("{\"rule\": \"*\", \"until\": \"2020-01-01T00:00:00Z\"}"),
    );
    assert_eq!(passed.0, 400, "{passed:?}");
    let long = ["alerts", "silence", "--rule", "HIGH_*", "--for", "1h", "--reason", "films", "--output", "json"];
    let long: Value = serde_json::from_str(&command(&place, &daemon, &long).stdout).unwrap();
    set_disk_limit(&daemon, 0.0);
    let silenced = in_status(&daemon, KIND, "process", "OPEN");
    assert_eq!((&silenced["withheld"], &silenced["told_at"]), (&json!("silence"), &Value::Null), "{silenced}");
    let table = command(&place, &daemon, &["alerts", "silences"]);
    assert!(table.stdout.contains("HIGH_*") && table.stdout.contains("films"), "{table:?}");
    assert_eq!(call(&daemon, "GET", &format!("{PATH}/summary"), None).1["silenced"], 1);

    // A short one takes its place, which ends by itself.
    let short = "{\"subject\": \"process\", \"until\": \"3s\", \"by\": \"anna\"}";
    assert_eq!(call(&daemon, "POST", &format!("{PATH}/silences"), Some(short)).0, 201);
    let id = long["id"].as_str().unwrap();
    let ended = command(&place, &daemon, &["alerts", "unsilence", &id[id.len() - 8..]]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(call(&daemon, "DELETE", &format!("{PATH}/silences/{id}"), None).0, 404);
    let told = until_within(PATIENCE, "it is told when the silence is over", || {
        let row = alerts(&daemon, &format!("?type={KIND}&status=open")).into_iter().next()?;
        row["told_at"].is_string().then_some(row)
    });
    assert_eq!((&told["id"], &told["withheld"]), (&silenced["id"], &Value::Null));
    assert!(call(&daemon, "GET", &format!("{PATH}/silences"), None).1.as_array().unwrap().is_empty());
    daemon.stop();
    feed.kill();
}
