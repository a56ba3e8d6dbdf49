//! What operators set while the daemon runs: in force at once, over restarts, and refused where it cannot be used.

use rustix::process::Signal;
use serde_json::{Value, json};

use super::changing::{call, command, in_state, one_monitor, shown, takes};
use super::processes::{Daemon, Settings, figure, until};
use super::support::{Workplace, project_file};

const SET: &str = "set at run time";

#[test]
fn a_setting_made_at_run_time_is_in_force_at_once_and_over_a_restart_until_it_is_taken_back() {
    let place = Workplace::new();
    let (_feed, settings) = one_monitor(&place);
    let daemon = Daemon::start(&place, &settings);
    assert_eq!(shown(&place, "log.level").unwrap(), (json!("info"), "built-in default".into()));
    let dry = command(&place, &daemon, &["config", "set", "log.level", "debug", "--dry-run"]);
    assert!(dry.code == Some(0) && dry.stdout.contains("would change (risk: low)"), "{dry:?}");
    assert_eq!(shown(&place, "log.level").unwrap().0, "info");

    let set = command(&place, &daemon, &["config", "set", "log.level", "debug"]);
    assert!(set.code == Some(0) && set.stdout.contains("log.level"), "{set:?}");
    until("it logs more", || daemon.log().contains("DEBUG").then_some(()));
    assert_eq!(shown(&place, "log.level").unwrap(), (json!("debug"), SET.into()));
    let created = call(&daemon, "POST", "/api/v1/checkpoints", None);
    assert_eq!(created.0, 201, "{created:?}");
    let checkpoint = command(&place, &daemon, &["checkpoint", "show", "--output", "json"]);
    assert!(checkpoint.stdout.contains("\"log.level\""), "{checkpoint:?}");

    daemon.kill();
    assert_eq!(shown(&place, "log.level").unwrap(), (json!("debug"), SET.into()), "without a daemon");
    let daemon = Daemon::again(&place);
    let (_, rows) = call(&daemon, "GET", "/api/v1/settings", None);
    let row = rows.as_array().unwrap().iter().find(|row| row["key"] == "log.level").unwrap().clone();
    assert_eq!((&row["value"], &row["origin"]), (&json!("debug"), &json!(SET)));
    until("it logs more", || daemon.log().contains("DEBUG").then_some(()));

    let unset = command(&place, &daemon, &["config", "unset", "log.level"]);
    assert_eq!(unset.code, Some(0), "{unset:?}");
    let again = command(&place, &daemon, &["config", "unset", "log.level"]);
    assert!(again.code == Some(1) && again.stderr.contains("nothing was set at run time"), "{again:?}");
    daemon.kill();
    assert_eq!(shown(&place, "log.level").unwrap().1, "built-in default");
}

#[test]
fn a_key_that_cannot_be_set_at_run_time_is_refused_and_nothing_changes() {
    let place = Workplace::new();
    let (_feed, settings) = one_monitor(&place);
    let daemon = Daemon::start(&place, &settings);
    for (key, value, code, said) in [
        ("journal.retention", "1d", 1, "takes effect at a start only"),
        ("daemon.data_dir", "x", 1, "takes effect at a start only"),
        ("checkpoint.dir", "x", 1, "takes effect at a start only"),
        ("log.levle", "info", 78, "did you mean `level`?"),
        ("loog.level", "info", 78, "did you mean `log`?"),
        ("log.level", "verbose", 78, "is not a level"),
        ("monitors.one.upstream", "nobody", 78, "no such upstream"),
        ("monitors.one.topics", "[\"\"]", 78, "must not be empty"),
        ("upstreams.feed.url", "ws://me:hunter2@127.0.0.1:9/", 1, "may hold a secret"),
        ("a..b", "1", 2, "is not a key"),
    ] {
        let outcome = command(&place, &daemon, &["config", "set", key, value]);
        assert_eq!(outcome.code, Some(code), "{key}: {outcome:?}");
        assert!(outcome.stderr.contains(said) && !outcome.stderr.contains("hunter2"), "{key}: {outcome:?}");
    }
    let (_, rows) = call(&daemon, "GET", "/api/v1/settings", None);
    assert!(rows.as_array().unwrap().iter().all(|row| row["origin"] != SET), "{rows}");
    daemon.stop();
}

fn monitor(topic: &str) -> Value {
    json!({"domain": "spot", "upstream": "feed", "topics": [topic]})
}

fn named(name: &str, mut settings: Value) -> Value {
    settings["name"] = name.into();
    settings
}

#[test]
fn monitors_are_made_changed_and_deleted_over_the_api_without_touching_the_link() {
    let place = Workplace::new();
    let (feed, settings) = one_monitor(&place);
    let daemon = Daemon::start(&place, &settings);
    takes(&daemon, "one");
    let two = named("two", monitor("ethusdt@trade"));
    let (status, answer) = call(&daemon, "POST", "/api/v1/monitors?dry_run=true", Some(&two));
    assert_eq!((status, &answer["risk"]), (200, &json!("low")), "{answer}");
    assert_eq!(call(&daemon, "GET", "/api/v1/monitors/two", None).0, 404);
    assert_eq!(call(&daemon, "POST", "/api/v1/monitors", Some(&two)).0, 201);
    in_state(&daemon, "two", "live");
    assert_eq!(call(&daemon, "POST", "/api/v1/monitors", Some(&two)).0, 409);
    let (status, answer) = call(&daemon, "POST", "/api/v1/monitors", Some(&named("three", json!({"domian": "x"}))));
    assert_eq!(status, 422, "{answer}");
    assert!(answer["problems"].as_array().unwrap().iter().any(|row| row["key"] == "monitors.three.domian"), "{answer}");

    let (status, answer) = call(&daemon, "PUT", "/api/v1/monitors/two", Some(&monitor("bnbusdt@trade")));
    assert_eq!(status, 200, "{answer}");
    let (_, answer) = call(&daemon, "GET", "/api/v1/monitors/two", None);
    assert_eq!(answer["settings"]["topics"], json!(["bnbusdt@trade"]), "{answer}");
    assert_eq!(call(&daemon, "PUT", "/api/v1/monitors/nobody", Some(&monitor("x@trade"))).0, 404);
    takes(&daemon, "two");

    daemon.kill();
    let daemon = Daemon::again(&place);
    takes(&daemon, "two");
    // One made at run time is gone; one of the file is taken away.
    assert_eq!(call(&daemon, "DELETE", "/api/v1/monitors/one", None).0, 204);
    assert_eq!(call(&daemon, "DELETE", "/api/v1/monitors/one", None).0, 404);
    assert_eq!(daemon.monitors().keys().collect::<Vec<_>>(), ["two"]);
    daemon.kill();
    assert_eq!(shown(&place, "monitors.one").unwrap(), (Value::Null, "removed at run time".into()));
    let daemon = Daemon::again(&place);
    assert_eq!(daemon.monitors().keys().collect::<Vec<_>>(), ["two"]);
    assert_eq!(command(&place, &daemon, &["config", "unset", "monitors.one"]).code, Some(0));
    takes(&daemon, "one");
    assert_eq!(call(&daemon, "DELETE", "/api/v1/monitors/two", None).0, 204);
    assert_eq!(shown(&place, "monitors.two"), None, "nothing is left of it");
    takes(&daemon, "one");
    daemon.stop();
    let accepted = figure(&feed.stop().replace(" (", ", ").replace(')', ""), "accepted");
    assert_eq!(accepted, 3, "one link for each start");
}

#[test]
fn upstreams_are_made_and_deleted_over_the_api_and_not_while_they_are_watched() {
    let place = Workplace::new();
    let (feed, settings) = one_monitor(&place);
    let daemon = Daemon::start(&place, &settings);
    let other = json!({"name": "other", "url": feed.url(), "dialect": "binance"});
    let (status, answer) = call(&daemon, "POST", "/api/v1/upstreams", Some(&other));
    assert_eq!(status, 201, "{answer}");
    let (_, row) = call(&daemon, "GET", "/api/v1/upstreams/other", None);
    assert_eq!((&row["state"], &row["monitors"]), (&json!("unused"), &json!([])), "{row}");
    let mut two = named("two", monitor("ethusdt@trade"));
    two["upstream"] = "other".into();
    assert_eq!(call(&daemon, "POST", "/api/v1/monitors", Some(&two)).0, 201);
    takes(&daemon, "two");
    let (status, answer) = call(&daemon, "DELETE", "/api/v1/upstreams/other", None);
    assert_eq!(status, 409, "{answer}");
    assert!(answer["detail"].as_str().unwrap().contains("watched by two"), "{answer}");
    assert_eq!(call(&daemon, "DELETE", "/api/v1/monitors/two", None).0, 204);
    assert_eq!(call(&daemon, "DELETE", "/api/v1/upstreams/other", None).0, 204);
    let (_, rows) = call(&daemon, "GET", "/api/v1/upstreams", None);
    assert_eq!(rows.as_array().unwrap().len(), 1, "{rows}");
    let secret = json!({"name": "s", "url": "wss://me:hunter2@example.com/", "dialect": "binance"});
    assert_eq!(call(&daemon, "POST", "/api/v1/upstreams", Some(&secret)).0, 422);
    takes(&daemon, "one");
    daemon.stop();
}

#[test]
fn what_no_longer_fits_the_file_is_left_out_at_the_start_with_a_warning_that_names_it() {
    let place = Workplace::new();
    let (feed, settings) = one_monitor(&place);
    let both = Settings::new().upstream("feed", "binance", feed.url());
    let both = both.monitor("one", "spot", "feed", &["btcusdt@trade"], "").monitor(
        "old",
        "spot",
        "feed",
        &["ethusdt@trade"],
        "",
    );
    let daemon = Daemon::start(&place, &both);
    assert_eq!(command(&place, &daemon, &["config", "set", "monitors.old.priority", "low"]).code, Some(0));
    assert_eq!(command(&place, &daemon, &["config", "set", "log.level", "debug"]).code, Some(0));
    daemon.stop();
    let daemon = Daemon::start(&place, &settings);
    takes(&daemon, "one");
    let log = daemon.log();
    assert!(log.contains("`monitors.old.priority` was set at run time and no longer fits"), "{log}");
    assert_eq!(shown(&place, "log.level").unwrap().1, SET);
    // Other settings can be made all the same, and this one taken back.
    assert_eq!(command(&place, &daemon, &["config", "set", "monitors.one.priority", "low"]).code, Some(0));
    assert_eq!(command(&place, &daemon, &["config", "unset", "monitors.old"]).code, Some(0));
    daemon.stop();
    let daemon = Daemon::again(&place);
    assert!(!daemon.log().contains("no longer fits"), "{}", daemon.log());
    daemon.stop();
}

#[test]
fn a_monitor_that_is_stopped_or_rests_takes_nothing_until_it_is_started_or_woken_also_over_a_restart() {
    let place = Workplace::new();
    let (_feed, settings) = one_monitor(&place);
    let settings = settings.monitor("low", "spot", "feed", &["ethusdt@trade"], "priority = \"low\"").monitor(
        "stopped",
        "spot",
        "feed",
        &["bnbusdt@trade"],
        "priority = \"low\"",
    );
    let daemon = Daemon::start(&place, &settings);
    for monitor in ["one", "low", "stopped"] {
        takes(&daemon, monitor);
    }
    let verified = command(&place, &daemon, &["monitors", "verify"]);
    assert_eq!(verified.code, Some(0), "{verified:?}");
    let stop = command(&place, &daemon, &["monitors", "stop", "stopped"]);
    assert_eq!((stop.code, stop.stdout.trim()), (Some(0), "stopped is stopped"), "{stop:?}");
    let rest = command(&place, &daemon, &["monitors", "rest", "--priority", "low"]);
    assert_eq!((rest.code, rest.stdout.trim()), (Some(0), "low is resting"), "{rest:?}");
    in_state(&daemon, "stopped", "stopped");
    in_state(&daemon, "low", "resting");
    takes(&daemon, "one");
    assert_eq!(command(&place, &daemon, &["monitors", "stop", "nobody"]).code, Some(1));

    daemon.kill();
    let daemon = Daemon::again(&place);
    in_state(&daemon, "stopped", "stopped");
    in_state(&daemon, "low", "resting");
    takes(&daemon, "one");
    let events = |name: &str| daemon.monitors()[name]["events"].as_u64().unwrap();
    assert_eq!((events("low"), events("stopped")), (0, 0));
    let wake = command(&place, &daemon, &["monitors", "wake"]);
    assert_eq!((wake.code, wake.stdout.trim()), (Some(0), "low is running"), "{wake:?}");
    takes(&daemon, "low");
    in_state(&daemon, "stopped", "stopped");
    let (status, answer) = call(&daemon, "PUT", "/api/v1/monitors/stopped/state", Some(&json!({"state": "running"})));
    assert_eq!((status, &answer["monitors"]), (200, &json!(["stopped"])), "{answer}");
    takes(&daemon, "stopped");
    daemon.stop();
}

#[test]
fn verify_says_which_monitor_is_not_well_and_why() {
    let place = Workplace::new();
    let (_feed, settings) = one_monitor(&place);
    let settings = settings.upstream("away", "binance", "ws://127.0.0.1:9/").monitor(
        "lost",
        "spot",
        "away",
        &["btcusdt@trade"],
        "",
    );
    let daemon = Daemon::start(&place, &settings);
    takes(&daemon, "one");
    let all = command(&place, &daemon, &["monitors", "verify", "--output", "json"]);
    assert_eq!(all.code, Some(1), "{all:?}");
    let rows: Vec<Value> = serde_json::from_str(&all.stdout).unwrap();
    let row = |name: &str| rows.iter().find(|row| row["name"] == name).unwrap();
    assert_eq!(row("lost")["well"], false);
    assert!(row("lost")["verdict"].as_str().unwrap().contains("upstream `away` has no open link"), "{rows:?}");
    until("the other is well", || {
        (command(&place, &daemon, &["monitors", "verify", "one"]).code == Some(0)).then_some(())
    });
    assert_eq!(command(&place, &daemon, &["monitors", "verify", "nobody"]).code, Some(1));
    daemon.stop();
}

/// Fault 26. A file that was good, with one to three places changed by chance.
fn mutated(text: &str, random: &mut fastrand::Rng) -> String {
    const NEW: [&str; 16] =
        ["\"", "[", "]", "{", "}", "=", ".", ",", "\n", "\0", "-1", "9e999", "true", "nan", "é", "x"];
    let mut characters: Vec<char> = text.chars().collect();
    for _ in 0..random.usize(1..=3) {
        let at = random.usize(0..characters.len());
        let end = (at + random.usize(1..8)).min(characters.len());
        match random.u8(0..3) {
            0 => drop(characters.drain(at..end)),
            1 => drop(characters.splice(at..at, NEW[random.usize(0..NEW.len())].chars())),
            _ => drop(characters.splice(at..end, NEW[random.usize(0..NEW.len())].chars())),
        }
    }
    characters.into_iter().collect()
}

fn names_a_line(said: &str, file: &str, lines: usize) -> bool {
    let mark = format!("{file}:");
    let number = |rest: &str| rest.split(|character: char| !character.is_ascii_digit()).next()?.parse::<usize>().ok();
    said.split(&mark).skip(1).filter_map(number).any(|line| (1..=lines).contains(&line))
}

#[test]
fn damaged_settings_are_refused_at_a_reload_with_file_and_line_and_the_old_ones_go_on() {
    const SEED: u64 = 2026;
    let place = Workplace::new();
    let (_feed, settings) = one_monitor(&place);
    let daemon = Daemon::start(&place, &settings);
    takes(&daemon, "one");
    let good = std::fs::read_to_string(place.path("sluice.toml")).unwrap();
    let in_force = || call(&daemon, "GET", "/api/v1/settings", None).1;
    let before = in_force();
    let mut random = fastrand::Rng::with_seed(SEED);
    let mut refused = 0;
    for round in 0..150 {
        let text = mutated(&good, &mut random);
        place.write("sluice.toml", &text);
        // Those that can be used are only planned, so that the old ones stay what they are held against.
        let (status, answer) = call(&daemon, "POST", "/api/v1/reload?dry_run=true", None);
        if status == 200 {
            continue;
        }
        let (status, answer) =
            (status, call(&daemon, "POST", "/api/v1/reload", None).1.to_string() + &answer.to_string());
        assert_eq!(status, 422, "round {round} of seed {SEED}: {answer}\n{text}");
        let lines = text.split('\n').count();
        let no_monitor = answer.contains("no monitor left");
        assert!(
            no_monitor || names_a_line(&answer, "sluice.toml", lines),
            "round {round} of seed {SEED}: {answer}\n{text}"
        );
        refused += 1;
        if round % 30 == 0 {
            daemon.signal(Signal::HUP);
        }
    }
    assert!(refused > 50, "{refused} refused: the changes miss");
    assert_eq!(in_force(), before);
    takes(&daemon, "one");
    daemon.stop();
}

#[test]
fn damaged_settings_are_refused_at_a_start_with_file_line_and_nearest_key() {
    const SEED: u64 = 26;
    let place = Workplace::new();
    let good = project_file("config/examples/binance.toml");
    let mut random = fastrand::Rng::with_seed(SEED);
    let mut refused = 0;
    for round in 0..200 {
        let text = mutated(&good, &mut random);
        place.write("s.toml", &text);
        // Whether it would start is asked without starting it.
        let check = place.run(["config", "check", "--config", "s.toml"]);
        assert!(matches!(check.code, Some(0 | 78)), "round {round} of seed {SEED}: {check:?}\n{text}");
        if check.code == Some(0) {
            continue;
        }
        refused += 1;
        if refused % 10 == 0 {
            let run = place.run(["run", "--config", "s.toml"]);
            assert_eq!(run.code, Some(78), "round {round} of seed {SEED}: {run:?}\n{text}");
            assert!(!place.path("data").exists(), "nothing was begun");
        }
        let lines = text.split('\n').count();
        assert!(names_a_line(&check.stderr, "s.toml", lines), "round {round} of seed {SEED}: {check:?}\n{text}");
    }
    assert!(refused > 50, "{refused} refused: the changes miss");
    // Every key, mistyped by one letter, is told from the nearest one.
    for (known, typed) in
        [("domain", "domian"), ("upstream", "upsteam"), ("topics", "topcis"), ("dialect", "dialetc"), ("url", "urll")]
    {
        place.write("s.toml", good.replacen(&format!("{known} ="), &format!("{typed} ="), 1));
        let run = place.run(["run", "--config", "s.toml"]);
        assert_eq!(run.code, Some(78), "{run:?}");
        assert!(run.stderr.contains(&format!("did you mean `{known}`?")), "{run:?}");
    }
}
