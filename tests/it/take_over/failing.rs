//! Take-overs that fail, at every step: the old process goes on, or, where that one dies, the new one does.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
#[cfg(feature = "failpoints")]
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};

use super::{
    Poller, Provider, WITH_IDS, adds_up, gaps, goes_on, missing, no_trade_twice, take_over, take_over_command,
};
#[cfg(feature = "failpoints")]
use crate::processes::until_within;
use crate::processes::{Daemon, Process, until};
use crate::support::Workplace;

/// Nothing of the old process was touched: no gap, no link lost, every event there once, and it can still be taken over.
fn untouched(place: &Workplace, old: Daemon, provider: Provider) {
    goes_on(place);
    assert_eq!(old.metrics().value("sluice_link_failures_total", &[]), 0, "{}", old.log());
    let (new, _) = take_over(place, old);
    goes_on(place);
    assert!(gaps(place).is_empty());
    new.stop();
    let absent = missing(place, &provider.made());
    assert!(absent.is_empty(), "{absent:?}");
    no_trade_twice(place);
    adds_up(place);
    provider.stop();
}

fn running(provider: &Provider, place: &Workplace) -> Daemon {
    let daemon = Daemon::start(place, &provider.settings(WITH_IDS).with("[log]\nlevel = \"info\""));
    goes_on(place);
    daemon
}

#[test]
fn settings_that_cannot_be_used_leave_the_old_process_as_it_is() {
    let provider = Provider::start();
    let place = Workplace::new();
    let old = running(&provider, &place);
    for (set, code, says) in [
        ("batch.min_size=0", 78, "must be at least 1"),
        ("upstreams.feed.dialect=nonsense", 78, "nonsense"),
        ("upstreams.feed.url=ws://127.0.0.1:9/", 1, "another address than these settings name"),
    ] {
        let refused = place.run(["run", "--config", "sluice.toml", "--take-over", "--set", set]);
        assert_eq!(refused.code, Some(code), "{set}: {}", refused.stderr);
        assert!(refused.stderr.contains(says), "{set}: {}", refused.stderr);
        assert!(!refused.stderr.contains("take_over = \"after\""), "that would not help: {}", refused.stderr);
    }
    untouched(&place, old, provider);
}

/// What the running daemon answers to a process that says this.
fn answer(place: &Workplace, hello: &Value) -> Value {
    let mut socket = UnixStream::connect(place.path("data/take-over.sock")).unwrap();
    writeln!(socket, "{hello}").unwrap();
    let mut answer = String::new();
    BufReader::new(socket).read_line(&mut answer).unwrap();
    serde_json::from_str(&answer).unwrap()
}

#[test]
fn who_finds_another_journal_or_speaks_otherwise_is_refused() {
    let provider = Provider::start();
    let place = Workplace::new();
    let old = running(&provider, &place);
    let socket = std::fs::metadata(place.path("data/take-over.sock")).unwrap();
    assert_eq!(socket.permissions().mode() & 0o777, 0o600, "nobody else may ask");
    for (hello, why) in [
        (json!({"say": "hello", "version": 2, "program": "x", "journal": "another"}), "that of the running daemon"),
        (json!({"say": "hello", "version": 2, "program": "x", "journal": null}), "the journal there is none"),
        (json!({"say": "hello", "version": 99, "program": "x", "journal": null}), "restart without one"),
        (json!({"say": "taken"}), "did not say what it wants"),
    ] {
        let answer = answer(&place, &hello);
        assert_eq!(answer["say"], "refused", "{answer}");
        assert!(answer["reason"].as_str().unwrap().contains(why), "{answer}");
    }
    untouched(&place, old, provider);
}

/// A process that has asked, and does nothing more until it is told to.
fn stopped_on_the_way(place: &Workplace, old: &Daemon) -> Process {
    let before = old.log().matches("prepares to take over").count();
    let new = Process::of(take_over_command(place));
    until("it has asked", || (old.log().matches("prepares to take over").count() > before).then_some(()));
    new.signal(Signal::STOP);
    assert!(!old.log().contains("letting go"), "it waits for its links to settle: {}", old.log());
    new
}

#[test]
fn of_two_take_overs_at_once_one_is_refused_and_the_other_succeeds() {
    let provider = Provider::start();
    let place = Workplace::new();
    let mut old = running(&provider, &place);
    let mut first = stopped_on_the_way(&place, &old);
    let second = place.run(["run", "--config", "sluice.toml", "--take-over"]);
    assert_eq!(second.code, Some(1), "{}", second.stderr);
    assert!(second.stderr.contains(&format!("process {} is taking over already", first.id())), "{}", second.stderr);
    first.signal(Signal::CONT);
    assert!(old.end().success(), "{}", old.log());
    goes_on(&place);
    first.signal(Signal::TERM);
    assert!(first.end().success(), "{}", first.stderr());
    assert!(missing(&place, &provider.made()).is_empty());
    no_trade_twice(&place);
    provider.stop();
}

#[test]
fn while_a_take_over_goes_on_changes_are_refused_for_that_reason_and_made_again_behind_one_that_fails() {
    let provider = Provider::start();
    let place = Workplace::new();
    let old = running(&provider, &place);
    let mut new = stopped_on_the_way(&place, &old);
    for change in [&["canary", "set", "0.5"][..], &["monitors", "stop", "m"], &["config", "set", "log.level", "debug"]]
    {
        let refused = crate::paths::ask(&place, &old, change);
        assert_ne!(refused.code, Some(0), "{change:?}");
        assert!(refused.stderr.contains("another process is taking over"), "{change:?}: {}", refused.stderr);
    }
    new.signal(Signal::KILL);
    assert!(!new.end().success());
    until("changes are made again", || {
        (crate::paths::ask(&place, &old, &["config", "set", "log.level", "debug"]).code == Some(0)).then_some(())
    });
    untouched(&place, old, provider);
}

#[test]
fn a_daemon_that_is_told_to_stop_meanwhile_stops_and_is_not_taken_over() {
    let provider = Provider::start();
    let place = Workplace::new();
    let mut old = running(&provider, &place);
    let mut new = stopped_on_the_way(&place, &old);
    old.signal(Signal::TERM);
    assert!(old.end().success(), "{}", old.log());
    new.signal(Signal::CONT);
    assert_eq!(new.end().code(), Some(1), "{}", new.stderr());
    assert!(new.stderr().contains("the daemon was told to stop"), "{}", new.stderr());
    adds_up(&place);
    provider.stop();
}

#[cfg(feature = "failpoints")]
fn failing_at(place: &Workplace, point: &str, how: &str) -> std::process::Command {
    let mut command = take_over_command(place);
    command.env("FAILPOINTS", format!("{point}={how}"));
    command
}

#[cfg(feature = "failpoints")]
#[test]
fn a_new_process_that_dies_before_it_is_ready_leaves_the_old_one_as_it_is() {
    let provider = Provider::start();
    let place = Workplace::new();
    let old = running(&provider, &place);
    for point in ["take_over.connected", "take_over.ready"] {
        let mut new = Process::of(failing_at(&place, point, "return"));
        assert!(!new.end().success(), "{point}: {}", new.stderr());
    }
    until("the old one has noticed", || {
        (old.log().matches("the other process does not take over, so we go on").count() == 2).then_some(())
    });
    assert!(!old.log().contains("letting go"), "{}", old.log());
    untouched(&place, old, provider);
}

/// The old process has started again, by itself, and takes what comes; what was missed meanwhile is on record.
#[cfg(feature = "failpoints")]
fn started_again(place: &Workplace, old: &Daemon, times: usize) {
    until("the old one starts again", || {
        (old.log().matches("not taken over, so we start again").count() == times).then_some(())
    });
    goes_on(place);
    until("its gaps are over", || gaps(place).iter().all(|gap| gap["end"].is_string()).then_some(()));
    let gaps = gaps(place);
    assert_eq!(gaps.len(), super::TOPICS.len() * times, "{gaps:?}");
    assert!(gaps.iter().all(|gap| gap["cause"] == "handover"), "{gaps:?}");
}

#[cfg(feature = "failpoints")]
#[test]
fn a_new_process_that_dies_after_the_old_one_has_let_go_has_that_one_start_again() {
    let provider = Provider::start();
    let place = Workplace::new();
    let old = running(&provider, &place);
    let mut poller = Some(Poller::start(&old));
    for (times, point) in (1..).zip(["take_over.let_go", "take_over.handed", "take_over.started"]) {
        if point == "take_over.started" {
            // From then on it answers as well, and what it has accepted dies with it.
            if let Some(poller) = poller.take() {
                poller.stop();
            }
        }
        let mut new = Process::of(failing_at(&place, point, "return"));
        assert!(!new.end().success(), "{point}: {}", new.stderr());
        started_again(&place, &old, times);
    }
    assert!(!old.log().contains("panicked"), "{}", old.log());
    let (new, _) = take_over(&place, old);
    goes_on(&place);
    new.stop();
    super::succeeding::missing_is_on_record(&missing(&place, &provider.made()), &gaps(&place));
    no_trade_twice(&place);
    adds_up(&place);
    provider.stop();
}

#[cfg(feature = "failpoints")]
#[test]
fn a_new_process_that_hangs_is_ended_and_the_old_one_starts_again() {
    let provider = Provider::start();
    let place = Workplace::new();
    let settings = provider.settings(WITH_IDS).with("[daemon]\ntake_over_timeout = \"300ms\"");
    let old = Daemon::start(&place, &settings);
    goes_on(&place);
    let mut new = Process::of(failing_at(&place, "take_over.handed", "pause"));
    started_again(&place, &old, 1);
    assert!(old.log().contains("`daemon.take_over_timeout`"), "{}", old.log());
    assert!(!new.end().success());
    old.stop();
    no_trade_twice(&place);
    adds_up(&place);
    provider.stop();
}

#[cfg(feature = "failpoints")]
#[test]
fn a_signal_while_the_new_process_starts_ends_both() {
    let provider = Provider::start();
    let place = Workplace::new();
    let mut old = running(&provider, &place);
    let mut new = Process::of(failing_at(&place, "take_over.handed", "pause"));
    until("it is handed everything", || old.log().contains("letting go").then_some(()));
    until("the journal is closed", || {
        // The last thing before is the last checkpoint.
        std::fs::read_dir(place.path("checkpoints")).ok()?.flatten().find(|file| file.path().is_file()).map(drop)
    });
    old.signal(Signal::TERM);
    assert!(old.end().success(), "{}", old.log());
    assert!(!new.end().success() || new.stderr().contains("told to stop"), "{}", new.stderr());
    adds_up(&place);
    provider.stop();
}

#[cfg(feature = "failpoints")]
#[test]
fn where_the_old_process_dies_on_the_way_the_new_one_goes_on_as_after_a_crash() {
    for (point, handed) in [("take_over.stopped", false), ("take_over.closed", false), ("take_over.handed_over", true)]
    {
        let provider = Provider::start();
        let place = Workplace::new();
        provider.settings(WITH_IDS).write(&place);
        let mut command = place.command(["run", "--config", "sluice.toml"]);
        command.env("FAILPOINTS", format!("{point}=return"));
        let mut old = Daemon::of(command);
        goes_on(&place);
        let new = Daemon::of(take_over_command(&place));
        assert!(!old.end().success(), "{point}: {}", old.log());
        assert_eq!(new.log().contains("has died"), !handed, "{point}: {}", new.log());
        goes_on(&place);
        let measured: Value = until("it is on record", || super::on_record(&place).pop());
        assert_eq!(measured["handed_over"], handed, "{measured}");
        new.stop();
        // What the old one had read and lost with it the new one had read as well, since both were subscribed by then.
        let absent = missing(&place, &provider.made());
        assert!(absent.is_empty(), "{point}: {absent:?}");
        no_trade_twice(&place);
        adds_up(&place);
        provider.stop();
    }
}

/// The old process was behind its feed: what waited in its sockets was older than what came first to the new one, and was lost without
/// a word. Now it reads as far, and what it cannot read in time is a gap.
#[cfg(feature = "failpoints")]
#[test]
fn what_waits_in_the_sockets_of_a_process_that_is_behind_is_read_or_on_record() {
    let provider = Provider::start();
    let place = Workplace::new();
    let legacy = ["run", "--config", "sluice.toml", "--set", "smart_streaming.enabled=false"];
    provider.settings(WITH_IDS).write(&place);
    let mut command = place.command(legacy);
    // Each message waits for the disk, which is slower than they come.
    command.env("FAILPOINTS", "journal.appended=sleep(10)");
    let mut old = Daemon::of(command);
    goes_on(&place);
    let new = Process::of(place.command(legacy.iter().copied().chain(["--take-over"])));
    until_within(Duration::from_mins(1), "the old one ends", || old.has_ended().then_some(()));
    goes_on(&place);
    until("its gaps are over", || gaps(&place).iter().all(|gap| gap["end"].is_string()).then_some(()));
    new.signal(Signal::TERM);
    until("it ends", || new.stderr().contains("events are durable").then_some(()));
    let absent = missing(&place, &provider.made());
    assert!(!absent.is_empty() && !gaps(&place).is_empty(), "it was behind: {}", old.log());
    super::succeeding::missing_is_on_record(&absent, &gaps(&place));
    no_trade_twice(&place);
    adds_up(&place);
    provider.stop();
}
