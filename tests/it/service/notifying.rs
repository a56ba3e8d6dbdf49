//! The words of `man sd_notify`, over a real socket.

use std::time::Duration;

use rustix::process::Signal;
use rustix::time::{ClockId, clock_gettime};

use super::manager::Manager;
use crate::processes::{Daemon, Feed, Settings, until, until_within};
use crate::scarcity::SmallDisk;
use crate::support::Workplace;

/// How often the manager wants to hear of it; a stage has half of that. Far longer than any of them takes, also on a machine that is busy.
const WATCHDOG_USEC: u64 = 6_000_000;

fn settings(place: &Workplace, url: &str) {
    Settings::new()
        .upstream("feed", "binance", url)
        .monitor("one", "spot", "feed", &["btcusdt@trade"], "")
        .write(place);
}

/// Waits until the manager was told so much more often that all is well.
fn is_fed(manager: &Manager, daemon: &Daemon) {
    let before = manager.count("WATCHDOG=1");
    until("the watchdog is fed", || (manager.count("WATCHDOG=1") >= before + 4).then_some(()));
    assert!(!daemon.log().contains("has not answered"), "{}", daemon.log());
}

fn micros() -> u128 {
    Duration::try_from(clock_gettime(ClockId::Monotonic)).unwrap().as_micros()
}

#[test]
fn the_manager_is_told_of_the_start_a_reload_how_it_is_and_the_stop() {
    let place = Workplace::new();
    let feed = Feed::start(&place, &["--dialect", "binance", "--rate", "200"]);
    settings(&place, feed.url());
    let manager = Manager::listen(&place);
    let daemon = Manager::start(&place, Some(WATCHDOG_USEC));
    assert_eq!(manager.main_process(0), daemon.id());
    assert!(manager.told("STATUS=", 0).contains("started"), "{:?}", manager.all());
    is_fed(&manager, &daemon);

    for (text, refused) in [("", false), ("[batch]\nmin_size = 0\n", true)] {
        let good = std::fs::read_to_string(place.path("sluice.toml")).unwrap();
        let (reloads, readies) = (manager.count("RELOADING=1"), manager.count("READY=1"));
        place.write("sluice.toml", format!("{good}{text}"));
        let asked = micros();
        daemon.signal(Signal::HUP);
        let told = manager.told("RELOADING=1\nMONOTONIC_USEC=", reloads);
        let at: u128 = told.trim().rsplit_once('=').unwrap().1.parse().unwrap();
        assert!((asked..=micros()).contains(&at), "it tells our signal from an earlier one: {asked} {told}");
        manager.told("READY=1", readies);
        let all = manager.all();
        let place_of = |what: &str| all.iter().rposition(|word| word.starts_with(what)).unwrap();
        assert!(place_of("RELOADING=1") < place_of("READY=1"), "{all:?}");
        let says_why = all.iter().any(|word| word.starts_with("STATUS=the settings cannot be used"));
        assert_eq!(says_why, refused, "{all:?}");
        place.write("sluice.toml", good);
    }

    // Ten seconds after the first line.
    let line = until_within(Duration::from_mins(1), "there is a line with figures", || {
        manager.all().into_iter().find(|word| word.starts_with("STATUS=") && word.contains("events/s"))
    });
    assert!(line.contains("links 1 of 1; canary 100%"), "{line}");
    let rate: f64 = line.strip_prefix("STATUS=").unwrap().split(' ').next().unwrap().parse().unwrap();
    assert!(rate > 10.0, "{line}");

    daemon.stop();
    let stopping = manager.told("STOPPING=1\nEXTEND_TIMEOUT_USEC=", 0);
    assert_eq!(stopping, "STOPPING=1\nEXTEND_TIMEOUT_USEC=26000000\n", "`daemon.stop_timeout`, and what follows it");
    feed.stop();
}

#[test]
fn a_quiet_daemon_lives() {
    let place = Workplace::new();
    let feed = Feed::start(&place, &["--dialect", "binance", "--rate", "10"]);
    settings(&place, feed.url());
    let manager = Manager::listen(&place);
    let daemon = Manager::start(&place, Some(WATCHDOG_USEC));
    until("events come", || (daemon.frames("feed") > 3).then_some(()));
    feed.signal(Signal::STOP);
    let before = daemon.frames("feed");
    is_fed(&manager, &daemon);
    is_fed(&manager, &daemon);
    assert!(daemon.frames("feed") <= before + 1, "nothing came");
    let metrics = daemon.metrics();
    assert_eq!(metrics.value("sluice_stage_hung", &[]), 0);
    for stage in ["journal", "ingest", "operations", "http", "tend", "main", "upstream feed"] {
        let sample = format!("sluice_stage_hung{{stage=\"{stage}\"}} 0");
        assert!(metrics.0.contains(&sample), "{stage}: {}", metrics.0);
    }
    feed.signal(Signal::CONT);
    daemon.stop();
}

#[test]
fn a_daemon_that_waits_for_room_on_the_disk_lives() {
    let place = Workplace::new();
    let Some(disk) = SmallDisk::mount(&place.path("data"), "80m") else {
        eprintln!("skipped: only root can mount a small disk");
        return;
    };
    let feed = Feed::start(&place, &["--dialect", "binance", "--rate", "500"]);
    settings(&place, feed.url());
    let manager = Manager::listen(&place);
    let daemon = Manager::start(&place, Some(WATCHDOG_USEC));
    until("events come", || (daemon.frames("feed") > 100).then_some(()));
    std::fs::write(place.path("data/other"), vec![7_u8; 40 << 20]).unwrap();
    until("the journal takes nothing", || (daemon.get("/v1/health/ready").0 == 503).then_some(()));
    is_fed(&manager, &daemon);
    is_fed(&manager, &daemon);
    assert_eq!(daemon.get("/v1/health/ready").0, 503);
    daemon.kill();
    drop(disk);
}

#[test]
fn one_who_is_not_asked_to_feed_a_watchdog_does_not_and_another_process_is_not_taken_for_this_one() {
    let place = Workplace::new();
    let feed = Feed::start(&place, &["--dialect", "binance", "--rate", "10"]);
    settings(&place, feed.url());
    let manager = Manager::listen(&place);
    for pid in [None, Some("1")] {
        let mut command = Manager::command(&place, pid.map(|_| WATCHDOG_USEC));
        command.envs(pid.map(|pid| ("WATCHDOG_PID", pid)));
        let readies = manager.count("MAINPID=");
        let daemon = Daemon::of(command);
        manager.main_process(readies);
        until("it takes events", || (daemon.frames("feed") > 3).then_some(()));
        daemon.stop();
        assert_eq!(manager.count("WATCHDOG=1"), 0);
    }
    feed.stop();
}
