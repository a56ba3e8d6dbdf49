//! A stage that hangs: crash points that sleep have it do so.

use std::time::Duration;

use super::manager::Manager;
use crate::processes::{Daemon, Feed, Settings, until};
use crate::support::Workplace;

/// How often the manager wants to hear of it; a stage has half of that. Far longer than any of them takes, also on a machine that is busy.
const WATCHDOG_USEC: u64 = 6_000_000;
const FOR_EVER: u64 = 600_000;

struct Hanging {
    place: Workplace,
    manager: Manager,
    daemon: Daemon,
    _feed: Feed,
}

/// A daemon that comes by `point` so often before it sleeps there.
fn hanging(point: &str, after: u32, millis: u64, then: &str) -> Hanging {
    let place = Workplace::new();
    let feed = Feed::start(&place, &["--dialect", "binance", "--rate", "100"]);
    let settings = Settings::new().upstream("feed", "binance", feed.url());
    settings.monitor("one", "spot", "feed", &["btcusdt@trade"], "").write(&place);
    let manager = Manager::listen(&place);
    let mut command = Manager::command(&place, Some(WATCHDOG_USEC));
    command.env("FAILPOINTS", format!("{point}={after}*off->1*sleep({millis}){then}"));
    let daemon = Daemon::of(command);
    Hanging { place, manager, daemon, _feed: feed }
}

/// The log names it, and the manager is told nothing more.
fn is_named_and_not_fed(hanging: &Hanging, stage: &str) {
    let Hanging { manager, daemon, .. } = hanging;
    until("the log names the stage", || {
        let log = daemon.log();
        let line = log.lines().find(|line| line.contains("it has not answered"))?;
        assert!(line.contains(stage), "{line}");
        Some(())
    });
    let before = manager.count("WATCHDOG=1");
    assert!(before > 0, "it was fed as long as all was well");
    // As long as the manager would wait: it would have been told thrice.
    std::thread::sleep(Duration::from_micros(WATCHDOG_USEC));
    assert_eq!(manager.count("WATCHDOG=1"), before);
    assert!(manager.count("READY=1") == 0 && manager.count("STOPPING=1") == 0);
}

#[test]
fn a_writer_that_hangs_is_named_shown_and_the_watchdog_no_longer_fed() {
    let hanging = hanging("journal.appended", 10, FOR_EVER, "");
    is_named_and_not_fed(&hanging, "stage=journal");
    let metrics = hanging.daemon.metrics();
    assert_eq!(metrics.value("sluice_stage_hung", &[("stage", "journal")]), 1, "{}", metrics.0);
    assert!(metrics.value("sluice_stage_unanswered_seconds", &[("stage", "journal")]) >= 1);
    assert_eq!(metrics.value("sluice_stage_hung", &[]), 1, "and no other");
    hanging.daemon.kill();
    // What was durable before is there.
    assert!(!crate::processes::query(&hanging.place, &[]).is_empty());
}

#[test]
fn an_upstreams_keeper_that_hangs_is_named_and_the_watchdog_no_longer_fed() {
    let hanging = hanging("stage.keeper", 10, FOR_EVER, "");
    is_named_and_not_fed(&hanging, "upstream feed");
    assert_eq!(hanging.daemon.metrics().value("sluice_stage_hung", &[("stage", "upstream feed")]), 1);
    hanging.daemon.kill();
}

#[test]
fn a_daemon_that_no_longer_looks_after_itself_is_named_and_the_watchdog_no_longer_fed() {
    let hanging = hanging("stage.tend", 3, FOR_EVER, "");
    // Those two are one thread, and are looked at in the same round.
    is_named_and_not_fed(&hanging, "stage=");
    let log = hanging.daemon.log();
    assert!(log.contains("stage=tend") && log.contains("stage=http"), "{log}");
    hanging.daemon.kill();
}

#[test]
fn a_stage_that_answers_again_is_told_and_the_watchdog_fed_again() {
    let hanging = hanging("journal.appended", 10, 6_000, "->off");
    let Hanging { manager, daemon, .. } = &hanging;
    until("it hangs", || daemon.log().contains("it has not answered").then_some(()));
    until("it answers", || daemon.log().contains("it answers again").then_some(()));
    let before = manager.count("WATCHDOG=1");
    until("the watchdog is fed", || (manager.count("WATCHDOG=1") > before + 3).then_some(()));
    assert_eq!(daemon.metrics().value("sluice_stage_hung", &[]), 0);
    hanging.daemon.stop();
}
