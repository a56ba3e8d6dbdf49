//! The share of monitors on the smart path: decided by operators and by a plan, on record, and over restarts.

use serde_json::{Value, json};

use super::changing::{call, command};
use super::processes::{Daemon, Feed, Settings, query, until};
use super::support::{Outcome, Workplace};

/// Monitors of the tests.
const MONITORS: usize = 8;

/// A feed and settings with monitors `m0` and so on, a topic each.
pub(crate) fn monitors(place: &Workplace, more: &str) -> (Feed, Settings) {
    let feed = Feed::start(place, &["--dialect", "binance", "--rate", "400"]);
    let settings = of_feed(feed.url(), more);
    (feed, settings)
}

/// The same of a feed that is there.
pub(crate) fn of_feed(url: &str, more: &str) -> Settings {
    let settings = Settings::new().with("[batch]\ntimeout = \"20ms\"").with(more).upstream("feed", "binance", url);
    (0..MONITORS).fold(settings, |settings, number| {
        settings.monitor(&format!("m{number}"), "spot", "feed", &[&format!("t{number}usdt@trade")], "")
    })
}

pub(crate) fn status(daemon: &Daemon) -> Value {
    let (status, body) = call(daemon, "GET", "/api/v1/canary", None);
    assert_eq!(status, 200, "{body}");
    body
}

/// `sluice canary …`, which must not be refused.
pub(crate) fn canary(place: &Workplace, daemon: &Daemon, arguments: &[&str]) -> String {
    let outcome = try_canary(place, daemon, arguments);
    assert_eq!(outcome.code, Some(0), "{arguments:?}: {outcome:?}");
    outcome.stdout
}

pub(crate) fn try_canary(place: &Workplace, daemon: &Daemon, arguments: &[&str]) -> Outcome {
    command(place, daemon, &[&["canary"], arguments].concat())
}

/// What was decided, without asking a daemon: what, from, to and by whom.
pub(crate) fn history(place: &Workplace) -> Vec<(String, f64, f64, String)> {
    let row = |row: Value| {
        let text = |key: &str| row[key].as_str().unwrap().to_owned();
        let number = |key: &str| row[key].as_f64().unwrap();
        (text("what"), number("from"), number("to"), text("by"))
    };
    rows(place).into_iter().map(row).collect()
}

/// The same in full.
pub(crate) fn rows(place: &Workplace) -> Vec<Value> {
    let outcome = place.run(["--config", "sluice.toml", "canary", "history", "--output", "json"]);
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    serde_json::from_str(&outcome.stdout).unwrap()
}

fn decision(what: &str, from: f64, to: f64, by: &str) -> (String, f64, f64, String) {
    (what.to_owned(), from, to, by.to_owned())
}

#[test]
fn a_decision_survives_a_kill_and_is_on_record_with_who_when_and_why() {
    let place = Workplace::new();
    let (_feed, settings) = monitors(&place, "");
    let daemon = Daemon::start(&place, &settings);
    let said = canary(&place, &daemon, &["set", "50%", "--reason", "first try"]);
    assert!(said.starts_with("50 % of the monitors are to be on the smart path"), "{said}");
    daemon.kill();
    assert_eq!(history(&place), [decision("set", 1.0, 0.5, "operator")], "without a daemon");

    let daemon = Daemon::again(&place);
    let now = status(&daemon);
    assert_eq!((&now["fraction"], &now["by"], &now["reason"]), (&json!(0.5), &json!("operator"), &json!("first try")));
    assert_eq!(now["since"], rows(&place)[0]["time"]);
    assert_eq!(now["settings"]["fraction"], 1.0);
    let wanted = |path: usize| now["paths"][path]["wanted"].as_u64().unwrap();
    assert_eq!(wanted(0) + wanted(1), MONITORS as u64, "{now}");
    assert!(wanted(0) > 0 && wanted(1) > 0, "{now}");
    let (_, by_daemon) = call(&daemon, "GET", "/api/v1/canary/history", None);
    assert_eq!(by_daemon, json!(rows(&place)));

    // From the checkpoint too, and from the snapshot of a later segment.
    assert_eq!(call(&daemon, "POST", "/api/v1/checkpoints", None).0, 201);
    let checkpoint = command(&place, &daemon, &["checkpoint", "show", "--output", "json"]);
    let checkpoint: Value = serde_json::from_str(&checkpoint.stdout).unwrap();
    assert_eq!(checkpoint["settings"]["rollout"]["decision"]["fraction"], 0.5, "{checkpoint}");

    canary(&place, &daemon, &["clear"]);
    daemon.kill();
    let daemon = Daemon::again(&place);
    let now = status(&daemon);
    assert_eq!((&now["fraction"], &now["by"]), (&json!(1.0), &Value::Null));
    assert_eq!(history(&place)[1..], [decision("cleared", 0.5, 1.0, "operator")]);
    let again = try_canary(&place, &daemon, &["clear"]);
    assert!(again.code == Some(1) && again.stderr.contains("nothing was decided"), "{again:?}");
    daemon.stop();
}

#[test]
fn a_decision_is_an_event_of_the_daemons_own() {
    let place = Workplace::new();
    let (_feed, settings) = monitors(&place, "");
    let daemon = Daemon::start(&place, &settings);
    let (code, answer) =
        call(&daemon, "PUT", "/api/v1/canary", Some(&json!({"fraction": 0.25, "reason": "over HTTP"})));
    assert_eq!((code, &answer["fraction"]), (200, &json!(0.25)), "{answer}");
    let events = query(&place, &["--domain", "_sluice", "--monitor", "canary"]);
    assert_eq!(events.len(), 1);
    let payload: Value = serde_json::from_str(events[0].payload.get()).unwrap();
    assert_eq!(
        (&payload["what"], &payload["to"], &payload["reason"]),
        (&json!("set"), &json!(0.25), &json!("over HTTP"))
    );
    assert!(payload["durable_offset"].as_u64().unwrap() <= events[0].offset, "{payload}");
    daemon.stop();
}

#[test]
fn a_dry_run_names_those_that_would_move_and_nothing_changes() {
    let place = Workplace::new();
    let (_feed, settings) = monitors(&place, "");
    let daemon = Daemon::start(&place, &settings);
    let (_, half) = call(&daemon, "PUT", "/api/v1/canary", Some(&json!({"fraction": 0.5, "dry_run": true})));
    let names = |answer: &Value, key: &str| -> Vec<String> { serde_json::from_value(answer[key].clone()).unwrap() };
    let (to_smart, to_legacy) = (names(&half, "to_smart"), names(&half, "to_legacy"));
    assert!(to_smart.is_empty() && !to_legacy.is_empty() && to_legacy.len() < MONITORS, "{half}");
    let said = canary(&place, &daemon, &["set", "0.5", "--dry-run"]);
    assert!(said.contains("would be") && said.contains(&to_legacy.join(", ")), "{said}");
    assert_eq!(status(&daemon)["fraction"], 1.0);
    assert!(history(&place).is_empty());
    daemon.stop();
}

#[test]
fn what_is_no_fraction_is_refused_in_words() {
    let place = Workplace::new();
    let (_feed, settings) = monitors(&place, "");
    let daemon = Daemon::start(&place, &settings);
    for wrong in ["1.5", "-0.1", "101%", "half"] {
        let refused = try_canary(&place, &daemon, &["set", wrong]);
        assert_eq!(refused.code, Some(2), "{wrong}: {refused:?}");
        assert!(
            refused.stderr.contains("from 0 to 1") || refused.stderr.contains("unexpected argument"),
            "{refused:?}"
        );
    }
    for wrong in [json!({"fraction": 1.5}), json!({"fraction": "x"}), json!({}), json!({"fracton": 1}), json!([])] {
        let (status, answer) = call(&daemon, "PUT", "/api/v1/canary", Some(&wrong));
        assert_eq!(status, 400, "{wrong}: {answer}");
    }
    assert!(history(&place).is_empty());
    daemon.stop();
}

#[test]
fn what_was_decided_at_run_time_wins_over_the_environment_until_it_is_cleared() {
    let place = Workplace::new().with_variable("SMART_STREAMING_CANARY", "1.0");
    let (_feed, settings) = monitors(&place, "");
    let daemon = Daemon::start(&place, &settings);
    let now = status(&daemon);
    assert_eq!(now["settings"]["origin"], "environment variable SMART_STREAMING_CANARY");
    canary(&place, &daemon, &["set", "0"]);
    daemon.kill();
    let daemon = Daemon::again(&place);
    let now = status(&daemon);
    assert_eq!((&now["fraction"], &now["settings"]["fraction"]), (&json!(0.0), &json!(1.0)));
    let said = canary(&place, &daemon, &[]);
    assert!(said.contains("decided by operator") && said.contains("SMART_STREAMING_CANARY"), "{said}");
    canary(&place, &daemon, &["clear"]);
    assert_eq!(status(&daemon)["fraction"], 1.0);
    daemon.stop();
}

const STAGES: &str =
    "[rollout]\nstages = [{ fraction = 0.3, for = \"2s\" }, { fraction = 0.6, for = \"2s\" }, { fraction = 1.0 }]";

/// Waits until the plan is in a state and a stage.
fn plan_is(daemon: &Daemon, state: &str, number: u64) -> Value {
    until(&format!("the plan is {state} in stage {number}"), || {
        let plan = status(daemon)["plan"].clone();
        (plan["state"] == state && plan["stage"] == number).then_some(plan)
    })
}

#[test]
fn a_plan_enters_its_stages_by_itself_with_a_checkpoint_before_each() {
    let place = Workplace::new();
    let (_feed, settings) = monitors(&place, &format!("{STAGES}\n[checkpoint]\nkeep = 1000"));
    let daemon = Daemon::start(&place, &settings);
    let all = try_canary(&place, &daemon, &["plan", "start"]);
    assert!(all.code == Some(1) && all.stderr.contains("100 % of the monitors are on the smart path"), "{all:?}");
    canary(&place, &daemon, &["set", "0"]);
    assert_eq!(status(&daemon)["plan"]["state"], Value::Null, "nothing starts by itself");
    canary(&place, &daemon, &["plan", "start"]);
    let twice = try_canary(&place, &daemon, &["plan", "start"]);
    assert!(twice.code == Some(1) && twice.stderr.contains("already"), "{twice:?}");
    plan_is(&daemon, "completed", 3);
    assert_eq!(status(&daemon)["fraction"], 1.0);
    let told: Vec<_> = history(&place).into_iter().skip(1).collect();
    let expected = [
        decision("plan_started", 0.0, 0.0, "operator"),
        decision("stage", 0.0, 0.3, "plan"),
        decision("stage", 0.3, 0.6, "plan"),
        decision("stage", 0.6, 1.0, "plan"),
        decision("plan_completed", 1.0, 1.0, "plan"),
    ];
    assert_eq!(told, expected);
    let (_, checkpoints) = call(&daemon, "GET", "/api/v1/checkpoints", None);
    let of_stages = checkpoints.as_array().unwrap().iter().filter(|row| row["cause"] == "stage").count();
    assert_eq!(of_stages, 3, "{checkpoints}");
    let ids: Vec<Value> = rows(&place).iter().map(|row| row["evidence"]["checkpoint"].clone()).collect();
    let known = |id: &&Value| checkpoints.as_array().unwrap().iter().any(|row| row["id"] == **id);
    assert_eq!(ids.iter().filter(known).count(), 3, "{ids:?}: {checkpoints}");
    let (_, operations) = call(&daemon, "GET", "/api/v1/operations", None);
    let stages =
        operations.as_array().unwrap().iter().filter(|row| row["kind"] == "canary_stage" && row["state"] == "done");
    assert_eq!(stages.count(), 3, "{operations}");
    daemon.stop();
}

#[test]
fn a_plan_is_paused_over_a_restart_resumed_and_given_up() {
    let place = Workplace::new();
    let stages = STAGES.replace("2s", "1h");
    let (_feed, settings) = monitors(&place, &stages);
    let daemon = Daemon::start(&place, &settings);
    canary(&place, &daemon, &["set", "0.1"]);
    canary(&place, &daemon, &["plan", "start"]);
    plan_is(&daemon, "running", 1);
    until("time counts", || (status(&daemon)["plan"]["well_seconds"].as_f64().unwrap() > 1.5).then_some(()));
    canary(&place, &daemon, &["pause", "--reason", "lunch"]);
    let paused = plan_is(&daemon, "paused", 1);
    daemon.kill();
    let daemon = Daemon::again(&place);
    let again = plan_is(&daemon, "paused", 1);
    assert_eq!(again["well_seconds"], paused["well_seconds"], "it stands still, also while nothing runs");
    let twice = try_canary(&place, &daemon, &["pause"]);
    assert!(twice.code == Some(1) && twice.stderr.contains("it is paused"), "{twice:?}");
    canary(&place, &daemon, &["resume"]);
    until("it goes on where it was", || {
        let plan = status(&daemon)["plan"].clone();
        (plan["well_seconds"].as_f64() > again["well_seconds"].as_f64()).then_some(())
    });
    let text = canary(&place, &daemon, &["plan"]);
    assert!(text.contains("running, stage 1 of 3") && text.contains("60 %"), "{text}");
    canary(&place, &daemon, &["abort"]);
    assert_eq!(status(&daemon)["fraction"], 0.1, "as it was before the plan");
    plan_is(&daemon, "aborted", 1);
    let none = try_canary(&place, &daemon, &["resume"]);
    assert!(none.code == Some(1) && none.stderr.contains("it is aborted"), "{none:?}");
    let whats: Vec<String> = history(&place).into_iter().map(|(what, ..)| what).collect();
    assert_eq!(whats, ["set", "plan_started", "stage", "plan_paused", "plan_resumed", "plan_aborted"]);
    daemon.stop();
}

#[test]
fn what_of_a_stage_was_well_before_a_kill_is_counted_but_for_the_last_of_it() {
    let place = Workplace::new();
    // Noted each twentieth of a minute.
    let (_feed, settings) = monitors(&place, &STAGES.replacen("2s", "1m", 1));
    let daemon = Daemon::start(&place, &settings);
    canary(&place, &daemon, &["set", "0"]);
    canary(&place, &daemon, &["plan", "start"]);
    plan_is(&daemon, "running", 1);
    let well = |daemon: &Daemon| status(daemon)["plan"]["well_seconds"].as_f64().unwrap();
    let before = until("some of it is behind", || Some(well(&daemon)).filter(|well| *well > 8.0));
    daemon.kill();
    let daemon = Daemon::again(&place);
    let after = well(&daemon);
    assert!(after > before - 6.0 && after < before + 6.0, "{before} s before, {after} s after");
    daemon.stop();
}

#[test]
fn an_operators_fraction_has_the_plan_wait() {
    let place = Workplace::new();
    let (_feed, settings) = monitors(&place, &STAGES.replace("2s", "1h"));
    let daemon = Daemon::start(&place, &settings);
    canary(&place, &daemon, &["set", "0"]);
    canary(&place, &daemon, &["plan", "start"]);
    plan_is(&daemon, "running", 1);
    let said = canary(&place, &daemon, &["set", "0.05"]);
    assert!(said.contains("the plan is paused"), "{said}");
    plan_is(&daemon, "paused", 1);
    canary(&place, &daemon, &["resume"]);
    plan_is(&daemon, "running", 1);
    assert_eq!(status(&daemon)["fraction"], 0.3, "the stage is entered anew");
    daemon.stop();
}

#[test]
fn watch_shows_the_plan_both_paths_and_the_guard() {
    let place = Workplace::new();
    let (_feed, settings) = monitors(&place, "");
    let daemon = Daemon::start(&place, &settings);
    until("messages are counted", || {
        let figures = status(&daemon)["figures"].clone();
        let smart = figures.as_array()?.iter().find(|row| row["path"] == "smart")?.clone();
        (smart["messages_per_second"].as_f64()? > 100.0 && smart["parse_rate"] == 1.0).then_some(())
    });
    let said = canary(&place, &daemon, &["watch", "--once"]);
    for word in ["fraction  100 %", "plan      not started", "guard     ", "memory    ", "MESSAGES/S", "smart"] {
        assert!(said.contains(word), "{word}: {said}");
    }
    let json = canary(&place, &daemon, &["watch", "--once", "--output", "json"]);
    let json: Value = serde_json::from_str(&json).unwrap();
    assert!(json["memory"]["used"].as_u64().unwrap() > 0 && json["memory"]["limit"].as_u64().unwrap() > 0, "{json}");
    let metrics = daemon.metrics();
    assert_eq!(metrics.value("sluice_canary_fraction", &[]), 1);
    assert_eq!(metrics.value("sluice_canary_rollbacks_total", &[]), 0);
    assert!(metrics.0.contains("sluice_canary_rollbacks_total{reason=\"parse_rate\"} 0"), "{}", metrics.0);
    daemon.stop();
}

#[test]
fn a_way_back_that_the_provider_would_not_let_be_quick_is_warned_of_first() {
    let place = Workplace::new();
    let feed = Feed::start(&place, &["--dialect", "binance"]);
    let settings = of_feed(feed.url(), "");
    let settings = settings.with("[upstreams.feed.limits]\nconnects = { count = 1, per = \"10s\" }");
    let daemon = Daemon::start(&place, &settings);
    canary(&place, &daemon, &["set", "0", "--dry-run"]);
    let said = canary(&place, &daemon, &["set", "1", "--dry-run"]);
    assert!(said.contains("warning: the way back would take 70 s at upstream `feed`"), "{said}");
    assert!(said.contains("8 connections") && said.contains("1 in 10s are allowed"), "{said}");
    let said = canary(&place, &daemon, &["set", "0", "--dry-run"]);
    assert!(!said.contains("warning"), "{said}");
    assert_eq!(status(&daemon)["way_back"]["seconds"], 70.0);
    daemon.stop();
}
