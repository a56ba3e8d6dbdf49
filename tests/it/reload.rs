//! Settings read again while the daemon runs: what changes, what does not, and what is said of it.

use rustix::process::Signal;
use serde_json::{Value, json};

use super::changing::{call, command, in_state, one_monitor, takes};
use super::processes::{Daemon, figure, until};
use super::support::Workplace;

fn add(place: &Workplace, toml: &str) {
    let text = std::fs::read_to_string(place.path("sluice.toml")).unwrap();
    place.write("sluice.toml", format!("{text}\n{toml}\n"));
}

const TWO: &str = "[monitors.two]\ndomain = \"spot\"\nupstream = \"feed\"\ntopics = [\"ethusdt@trade\"]\n";

fn reloads(daemon: &Daemon) -> usize {
    daemon.log().matches("settings read again").count()
}

#[test]
fn a_monitor_added_to_the_file_is_taken_at_sighup_over_the_link_that_is_there() {
    let place = Workplace::new();
    let (feed, settings) = one_monitor(&place);
    let daemon = Daemon::start(&place, &settings);
    takes(&daemon, "one");
    add(&place, TWO);
    daemon.signal(Signal::HUP);
    until("the settings are read again", || (reloads(&daemon) == 1).then_some(()));
    in_state(&daemon, "two", "live");
    takes(&daemon, "two");
    takes(&daemon, "one");
    // And gone again.
    settings.write(&place);
    daemon.signal(Signal::HUP);
    until("the settings are read again", || (reloads(&daemon) == 2).then_some(()));
    assert!(!daemon.monitors().contains_key("two"));
    takes(&daemon, "one");
    daemon.stop();
    assert_eq!(figure(&feed.stop().replace(" (", ", ").replace(')', ""), "accepted"), 1, "the link stayed open");
}

#[test]
fn settings_that_cannot_be_used_change_nothing_and_say_why_with_file_and_line() {
    let place = Workplace::new();
    let (_feed, settings) = one_monitor(&place);
    let daemon = Daemon::start(&place, &settings);
    takes(&daemon, "one");
    add(&place, "[monitors.two]\ndommain = \"spot\"\nupstream = \"feed\"\ntopics = [\"x@trade\"]\n");
    let lines = std::fs::read_to_string(place.path("sluice.toml")).unwrap();
    let line = 1 + lines.lines().position(|line| line.starts_with("dommain")).unwrap();

    let (status, answer) = call(&daemon, "POST", "/api/v1/reload", None);
    assert_eq!(status, 422, "{answer}");
    let place_of_it = format!("sluice.toml:{line}");
    let problem = answer["problems"].as_array().unwrap().iter().find(|problem| problem["origin"] == *place_of_it);
    let problem = problem.unwrap_or_else(|| panic!("{answer}"));
    assert_eq!(problem["key"], "monitors.two.dommain");
    assert!(problem["message"].as_str().unwrap().contains("did you mean `domain`?"), "{problem}");

    daemon.signal(Signal::HUP);
    until("the log says it", || {
        let log = daemon.log();
        (log.contains("so nothing is changed") && log.contains(&place_of_it)).then_some(())
    });
    let outcome = command(&place, &daemon, &["reload"]);
    // The command itself reads the file to find the daemon.
    assert_eq!(outcome.code, Some(78), "{outcome:?}");
    assert_eq!(daemon.monitors().keys().collect::<Vec<_>>(), ["one"]);
    takes(&daemon, "one");
    let operations: Vec<Value> = serde_json::from_str(&daemon.get("/api/v1/operations").1).unwrap();
    assert!(operations.iter().any(|row| row["kind"] == "reload" && row["state"] == "failed"), "{operations:?}");
    daemon.stop();
}

#[test]
fn what_needs_a_restart_is_listed_and_not_applied_while_the_rest_is() {
    let place = Workplace::new();
    let (_feed, settings) = one_monitor(&place);
    let daemon = Daemon::start(&place, &settings);
    add(&place, &format!("{TWO}[journal]\nretention = \"3d\"\n[log]\nlevel = \"debug\"\n"));
    let dry = command(&place, &daemon, &["reload", "--dry-run", "--output", "json"]);
    let dry: Value = serde_json::from_str(&dry.stdout).unwrap_or_else(|_| panic!("{dry:?}"));
    assert_eq!((&dry["dry_run"], &dry["risk"]), (&json!(true), &json!("high")));
    assert!(!daemon.monitors().contains_key("two"), "it was only asked");
    for again in [false, true] {
        let done = command(&place, &daemon, &["reload", "--output", "json"]);
        let done: Value = serde_json::from_str(&done.stdout).unwrap_or_else(|_| panic!("{done:?}"));
        assert_eq!(done["restart_needed"], json!(["journal.retention"]), "as long as it is so, again: {again}");
        assert_eq!(done["monitors"].as_array().unwrap().is_empty(), again);
    }
    in_state(&daemon, "two", "live");
    let (_, rows) = call(&daemon, "GET", "/api/v1/settings", None);
    let value = |key: &str| rows.as_array().unwrap().iter().find(|row| row["key"] == key).unwrap()["value"].clone();
    assert_eq!((value("journal.retention"), value("log.level")), (json!("14days"), json!("debug")));
    until("it logs more", || daemon.log().contains("DEBUG").then_some(()));
    let operations: Vec<Value> = serde_json::from_str(&daemon.get("/api/v1/operations").1).unwrap();
    let done = operations.iter().find(|row| row["kind"] == "reload").unwrap();
    assert_eq!((&done["state"], &done["outcome"]["restart_needed"]), (&json!("done"), &json!(["journal.retention"])));
    daemon.stop();
}

#[test]
fn a_plan_says_what_another_file_would_do_and_does_nothing() {
    let place = Workplace::new();
    let (_feed, settings) = one_monitor(&place);
    let daemon = Daemon::start(&place, &settings);
    in_state(&daemon, "one", "live");
    let now = std::fs::read_to_string(place.path("sluice.toml")).unwrap();
    let plan = |text: &str| {
        place.write("new.toml", text);
        let outcome = command(&place, &daemon, &["config", "plan", "new.toml", "--output", "json"]);
        assert_eq!(outcome.code, Some(0), "{outcome:?}");
        serde_json::from_str::<Value>(&outcome.stdout).unwrap()
    };
    assert_eq!(plan(&now)["risk"], "none");
    let more = plan(&format!("{now}\n{TWO}"));
    assert_eq!((&more["risk"], &more["connections_opened"]), (&json!("low"), &json!(0)));
    assert_eq!(more["topics_added"], json!([{"upstream": "feed", "topic": "ethusdt@trade"}]));
    let larger = plan(&format!(
        "{now}\n[upstreams.other]\nurl = \"ws://127.0.0.1:9/\"\ndialect = \"binance\"\n{}",
        TWO.replace("\"feed\"", "\"other\"")
    ));
    assert_eq!((&larger["risk"], &larger["connections_opened"]), (&json!("medium"), &json!(1)));
    let elsewhere = plan(&now.replace("\"binance\"", "\"okx\"").replace("btcusdt@trade", "trades:BTC-USDT"));
    assert_eq!(elsewhere["risk"], "high");
    assert_eq!(
        (&elsewhere["upstreams"][0]["change"], &elsewhere["connections_closed"]),
        (&json!("restarted"), &json!(1))
    );
    assert_eq!(daemon.monitors().keys().collect::<Vec<_>>(), ["one"]);

    let table = command(&place, &daemon, &["config", "plan", "new.toml"]);
    assert!(table.code == Some(0) && table.stdout.contains("would change (risk: high)"), "{table:?}");
    place.write("new.toml", format!("{now}\n[pool]\nmax_conections = 3\n"));
    let refused = command(&place, &daemon, &["config", "plan", "new.toml"]);
    assert_eq!(refused.code, Some(78), "{refused:?}");
    assert!(refused.stderr.contains("new.toml:"), "{refused:?}");
    daemon.stop();
}

#[test]
fn a_watched_file_is_applied_by_itself_where_that_only_adds_and_else_told() {
    let place = Workplace::new();
    let (_feed, settings) = one_monitor(&place);
    let daemon = Daemon::start(&place, &settings.with("[reload]\nwatch = true\n"));
    takes(&daemon, "one");
    add(&place, TWO);
    in_state(&daemon, "two", "live");
    until("it says so", || daemon.log().contains("has changed, and is applied").then_some(()));
    let text = std::fs::read_to_string(place.path("sluice.toml")).unwrap();
    place.write("sluice.toml", text.replace(TWO, ""));
    until("it is told", || daemon.log().contains("`sluice reload` would do: risk high").then_some(()));
    assert!(daemon.monitors().contains_key("two"));
    place.write("sluice.toml", "[pool");
    until("it is told", || daemon.log().contains("has changed and cannot be used").then_some(()));
    takes(&daemon, "two");
    daemon.stop();
}

#[test]
fn variables_of_the_dot_env_file_are_read_again() {
    let place = Workplace::new();
    let (_feed, settings) = one_monitor(&place);
    let daemon = Daemon::start(&place, &settings);
    place.write(".env", "SLUICE_LOG__LEVEL=debug\n");
    let done = command(&place, &daemon, &["reload", "--output", "json"]);
    assert_eq!(done.code, Some(0), "{done:?}");
    let done: Value = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!((&done["at_once"], &done["risk"]), (&json!(["log.level"]), &json!("low")));
    daemon.stop();
}
