//! A daemon that is killed in each state of an alert goes on where it was, and tells nobody twice.

use serde_json::{Value, json};

use super::super::changing::command;
use super::super::processes::{Daemon, Feed, until_within};
use super::super::support::Workplace;
use super::{PATH, PATIENCE, alerts, call, in_status, on_record, set_disk_limit, settings, with_full_disk};

const KIND: &str = "HIGH_DISK";

/// Killed once what it shows is on record, started again, and has looked at the disk.
fn killed(place: &Workplace, daemon: Daemon) -> Daemon {
    let shown = newest(&daemon);
    until_within(PATIENCE, "the newest change is on record", || {
        let last = on_record(place, KIND).pop();
        last.is_some_and(|last| (&last["id"], &last["what"]) == (&shown["id"], &shown["what"])).then_some(())
    });
    daemon.kill();
    let daemon = Daemon::again(place);
    until_within(PATIENCE, "the rule has looked", || {
        let (_, rules) = call(&daemon, "GET", &format!("{PATH}/rules"), None);
        let rule = rules.as_array()?.iter().find(|rule| rule["rule"] == KIND)?.clone();
        rule["subjects"][0]["value"].is_number().then_some(())
    });
    daemon
}

fn newest(daemon: &Daemon) -> Value {
    alerts(daemon, &format!("?type={KIND}")).into_iter().next().expect("it is remembered")
}

#[test]
fn a_kill_in_each_state_leaves_it_as_it_was_and_nobody_is_told_twice() {
    let place = Workplace::new();
    let (feed, daemon) = with_full_disk(&place, "1h");
    let open = in_status(&daemon, KIND, "process", "OPEN");
    let same = |now: &Value, before: &Value| {
        for key in ["id", "status", "told_at", "created_at", "acknowledged_by", "suppressed", "withheld"] {
            assert_eq!(now[key], before[key], "{key} of {now}");
        }
    };
    let daemon = killed(&place, daemon);
    same(&newest(&daemon), &open);

    let id = open["id"].as_str().unwrap();
    assert_eq!(command(&place, &daemon, &["alerts", "ack", id, "--by", "anna"]).code, Some(0));
    let seen = newest(&daemon);
    let daemon = killed(&place, daemon);
    same(&newest(&daemon), &seen);
    assert_eq!((&seen["status"], &seen["acknowledged_by"]), (&json!("ACKNOWLEDGED"), &json!("anna")));

    set_disk_limit(&daemon, 100.0);
    let over = in_status(&daemon, KIND, "process", "RESOLVED");
    let daemon = killed(&place, daemon);
    same(&newest(&daemon), &over);

    // In cooldown: also the process after the crash knows whom it would tell again.
    let daemon = killed(&place, daemon);
    set_disk_limit(&daemon, 0.0);
    let suppressed = in_status(&daemon, KIND, "process", "OPEN");
    assert_eq!((&suppressed["withheld"], &suppressed["told_at"]), (&json!("cooldown"), &Value::Null), "{suppressed}");
    let daemon = killed(&place, daemon);
    same(&newest(&daemon), &suppressed);

    // Silenced.
    assert_eq!(command(&place, &daemon, &["alerts", "silence", "--subject", "pro*", "--for", "1h"]).code, Some(0));
    let daemon = killed(&place, daemon);
    let silences = call(&daemon, "GET", &format!("{PATH}/silences"), None).1;
    assert_eq!((silences.as_array().unwrap().len(), &silences[0]["subject"]), (1, &json!("pro*")));

    // Resolved by an operator while it goes on: not opened anew.
    let id = suppressed["id"].as_str().unwrap();
    assert_eq!(command(&place, &daemon, &["alerts", "resolve", id, "--by", "anna"]).code, Some(0));
    let daemon = killed(&place, daemon);
    let last = newest(&daemon);
    assert_eq!((&last["id"], &last["status"], &last["resolved_by"]), (&json!(id), &json!("RESOLVED"), &json!("anna")));
    daemon.stop();
    let whats: Vec<Value> = on_record(&place, KIND).iter().map(|event| event["what"].clone()).collect();
    assert_eq!(whats, ["opened", "acknowledged", "resolved", "opened", "resolved"], "no restart has opened one");
    feed.kill();
}

#[test]
fn an_alert_that_is_open_is_known_when_its_beginning_is_no_longer_read_back() {
    let place = Workplace::new();
    let feed = Feed::start(&place, &["--dialect", "binance", "--rate", "5000"]);
    let alerts_of = "cooldown = \"1h\"\n[alerts.rules.HIGH_DISK]\nthreshold = 0.0\nfor = \"0s\"";
    let more = "[journal]\nsegment_size = \"32KiB\"\nmax_size = \"64KiB\"";
    let settings = settings(feed.url(), alerts_of, more).monitor("trades", "spot", "feed", &["btcusdt@trade"], "");
    settings.write(&place);
    let text = std::fs::read_to_string(place.path("sluice.toml")).unwrap();
    place.write("sluice.toml", text.replace("timeout = \"20ms\"", "timeout = \"20ms\"\nmax_bytes = \"8KiB\""));
    let daemon = Daemon::again(&place);
    let open = in_status(&daemon, KIND, "process", "OPEN");
    until_within(PATIENCE, "retention has deleted its beginning", || {
        // Retention may be quicker than the command.
        let found =
            place.run(["query", "--domain", "_sluice", "--monitor", "alerts", "--topic", "alerts", "--output", "json"]);
        (found.code == Some(0) && !found.stdout.contains(KIND)).then_some(())
    });
    daemon.kill();
    let daemon = Daemon::again(&place);
    let now = newest(&daemon);
    assert_eq!((&now["id"], &now["status"], &now["told_at"]), (&open["id"], &json!("OPEN"), &open["told_at"]));
    daemon.stop();
    feed.kill();
}
