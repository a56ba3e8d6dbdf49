//! The switches of the environment file as operators use them: the file is changed, the daemon told to reload, and within seconds it does
//! as the file says, with nothing lost.

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::runtime::Runtime;

use super::manager::Manager;
use crate::changing::call;
use crate::paths::{self, WITH_IDS, assert_every_one_once};
use crate::processes::{Account, Daemon, accounts, json as printed, until};
use crate::support::Workplace;

/// As systemd starts it: what the file said then is in the process's environment, and stays there.
fn start(place: &Workplace) -> Daemon {
    let mut command = Manager::command(place, None);
    let text = std::fs::read_to_string(place.path("environment")).unwrap();
    let variables = text.lines().filter_map(|line| line.split_once('='));
    command.env("SLUICE_ENVIRONMENT_FILE", place.path("environment")).envs(variables);
    Daemon::of(command)
}

fn set(place: &Workplace, daemon: &Daemon, text: &str) {
    let before = daemon.log().matches("settings read again").count();
    place.write("environment", text);
    daemon.signal(Signal::HUP);
    until("the settings are read again", || {
        (daemon.log().matches("settings read again").count() > before).then_some(())
    });
}

#[test]
fn smart_streaming_and_canary_are_switched_by_the_environment_file_and_a_reload_and_nothing_is_lost() {
    let runtime = Runtime::new().unwrap();
    let feed = paths::simulator(&runtime, 400);
    let place = Workplace::new();
    // The settings file alone would have all on the smart path.
    paths::monitors(&feed.url(), 1.0, WITH_IDS).write(&place);
    place.write("environment", "# The service's.\nUSE_SMART_STREAMING=true\nSMART_STREAMING_CANARY=0\n");
    let manager = Manager::listen(&place);
    let mut daemon = start(&place);
    paths::wait_for(&place, &daemon, 0.0);
    for (text, fraction) in [
        ("USE_SMART_STREAMING=true\nSMART_STREAMING_CANARY=0.5\n", 0.5),
        ("USE_SMART_STREAMING=true\nSMART_STREAMING_CANARY=1\n", 1.0),
        ("USE_SMART_STREAMING=false\nSMART_STREAMING_CANARY=1\n", 0.0),
        // What is no longer in the file is no longer set, whatever the process was started with.
        ("# nothing\n", 1.0),
    ] {
        set(&place, &daemon, text);
        paths::wait_for(&place, &daemon, fraction);
    }
    // A process that takes over is not told what the file no longer says.
    let address = daemon.address().to_owned();
    daemon.signal(Signal::USR2);
    let heir = Pid::from_raw(i32::try_from(manager.main_process(1)).unwrap()).unwrap();
    until("the old process ends", || daemon.has_ended().then_some(()));
    let row = until("the heir answers", || {
        let (status, body) = crate::processes::get(&address, "/api/v1/canary").ok()?;
        (status == 200).then(|| serde_json::from_str::<Value>(&body).unwrap())
    });
    assert_eq!(row["fraction"], 1.0, "{row}");
    kill_process(heir, Signal::TERM).unwrap();
    manager.told("STOPPING=1", 0);
    until("the heir has ended", || kill_process(heir, Signal::CONT).is_err().then_some(()));

    assert_every_one_once(&paths::made(&feed), &paths::journaled(&place));
    let accounts = accounts(&place);
    assert!(accounts.values().all(Account::adds_up), "{accounts:?}");
    let gaps: Vec<Value> = serde_json::from_str(&printed(&place, &["gaps"])).unwrap();
    assert!(gaps.iter().all(|gap| gap["cause"] == "downtime"), "but for the stop at the end: {gaps:?}");
    runtime.block_on(feed.stop()).unwrap();
}

#[test]
fn fault_tolerance_is_switched_by_the_environment_file_and_a_reload() {
    let runtime = Runtime::new().unwrap();
    let feed = paths::simulator(&runtime, 100);
    let place = Workplace::new();
    paths::monitors(&feed.url(), 1.0, WITH_IDS).with("[checkpoint]\ninterval = \"1s\"").write(&place);
    place.write("environment", "FAULT_TOLERANCE_ENABLED=true\n");
    let daemon = start(&place);
    let enabled = || {
        let (_, rows) = call(&daemon, "GET", "/api/v1/circuits", None);
        rows.as_array().unwrap().iter().all(|row| row["enabled"] == true)
    };
    let checkpoints = || daemon.metrics().value("sluice_checkpoints_written_total", &[]);
    assert!(enabled());
    let hold = serde_json::json!({"action": "open"});
    assert_eq!(call(&daemon, "PUT", "/api/v1/circuits/upstream/feed", Some(&hold)).0, 200);
    until("its links are closed", || (daemon.metrics().value("sluice_links", &[("state", "open")]) == 0).then_some(()));
    until("checkpoints are written", || (checkpoints() > 0).then_some(()));

    set(&place, &daemon, "FAULT_TOLERANCE_ENABLED=false\n");
    assert!(!enabled());
    assert_eq!(call(&daemon, "PUT", "/api/v1/circuits/upstream/feed", Some(&hold)).0, 409);
    until("it connects, with no breaker before it", || {
        (daemon.metrics().value("sluice_links", &[("state", "open")]) > 0).then_some(())
    });
    let before = checkpoints();
    std::thread::sleep(std::time::Duration::from_secs(3));
    assert!(checkpoints() <= before + 1, "one may have been under way");

    set(&place, &daemon, "FAULT_TOLERANCE_ENABLED=true\n");
    assert!(enabled());
    until("the operator's hold counts again", || {
        (daemon.metrics().value("sluice_links", &[("state", "open")]) == 0).then_some(())
    });
    until("checkpoints are written", || (checkpoints() > before + 1).then_some(()));
    daemon.stop();
    runtime.block_on(feed.stop()).unwrap();
}

#[test]
fn a_line_of_the_file_that_is_no_setting_changes_nothing_and_is_named() {
    let runtime = Runtime::new().unwrap();
    let feed = paths::simulator(&runtime, 100);
    let place = Workplace::new();
    paths::monitors(&feed.url(), 1.0, WITH_IDS).write(&place);
    place.write("environment", "\n");
    let daemon = start(&place);
    place.write("environment", "USE_SMART_STREAMING=false\nSLUICE_BATCH__TIMEOUTS=5ms\n");
    daemon.signal(Signal::HUP);
    let named = format!("{}:2", place.path("environment").display());
    until("the line is named", || daemon.log().contains(&named).then_some(()));
    paths::wait_for(&place, &daemon, 1.0);
    daemon.stop();
    runtime.block_on(feed.stop()).unwrap();
}
