//! A disk that fails, and one that is slow: strace has the system say so to the daemon as it is built.
//!
//! Where processes may not be traced these tests say that they were skipped.

use std::os::unix::process::ExitStatusExt as _;
use std::process::Command;

use rustix::process::{Pid, Signal, kill_process};

use super::ledger::{assert_first_ones_of_each_connection, ledger, mark_of};
use super::processes::{Daemon, Feed, Metrics, Settings, get, query, until};
use super::support::Workplace;

/// Whether processes can be traced here.
fn can_trace() -> bool {
    let traced = Command::new("strace").args(["-f", "-qq", "-e", "trace=none", "true"]).output();
    let can = traced.as_ref().is_ok_and(|output| output.status.success());
    if !can {
        eprintln!("skipped, no process can be traced: {traced:?}");
    }
    can
}

/// A daemon whose system calls strace tampers with.
struct Traced {
    daemon: Daemon,
    /// The daemon itself, a child of strace.
    pid: Pid,
}

impl Traced {
    fn start(place: &Workplace, inject: &str) -> Self {
        let daemon = place.command(["run", "--config", "sluice.toml"]);
        let mut command = Command::new("strace");
        command
            .args(["-f", "-qq", "-o", "trace.txt", "-e", "trace=fdatasync", "-e", &format!("inject={inject}")])
            .arg(daemon.get_program())
            .args(daemon.get_args())
            .current_dir(place.path(""))
            .env_clear();
        let daemon = Daemon::of(command);
        let strace = daemon.id();
        let children = std::fs::read_to_string(format!("/proc/{strace}/task/{strace}/children")).expect("strace runs");
        let pid = children.trim().parse().ok().and_then(Pid::from_raw).expect("strace has one child");
        Self { daemon, pid }
    }

    /// The most memory that it has had, in bytes.
    fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid.as_raw_nonzero())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok()).expect("it runs") << 10
    }
}

impl Drop for Traced {
    fn drop(&mut self) {
        if !self.daemon.has_ended() {
            // Killing strace would only let it go.
            kill_process(self.pid, Signal::KILL).ok();
        }
    }
}

#[test]
fn a_sync_that_fails_ends_the_daemon_and_what_it_was_about_is_written_anew() {
    if !can_trace() {
        return;
    }
    let place = Workplace::new();
    let feed =
        Feed::start(&place, &["--dialect", "binance", "--rate", "2000", "--seed", "3", "--ledger", "ledger.jsonl"]);
    let settings = Settings::new()
        .with("[batch]\nmin_size = 1\nmax_size = 50\ntimeout = \"20ms\"\n[journal]\nsync_interval = \"1ms\"")
        .upstream("feed", "binance", feed.url())
        .monitor("trades", "spot", "feed", &["btcusdt@trade", "ethusdt@trade"], "");
    settings.write(&place);
    let mut traced = Traced::start(&place, "fdatasync:error=EIO:when=40");
    let mut promised = 0;
    until("a sync fails", || {
        if let Ok((200, text)) = get(traced.daemon.address(), "/metrics") {
            promised = promised.max(Metrics(text).value("sluice_journal_durable_offset", &[]));
        }
        traced.daemon.has_ended().then_some(())
    });
    let status = traced.daemon.end();
    let log = traced.daemon.log();
    assert_eq!((status.code(), status.signal()), (Some(74), None), "{log}");
    assert!(log.contains("sync of") && log.contains("Input/output error"), "{log}");
    // The call that failed is the last: there is no second try.
    let trace = std::fs::read_to_string(place.path("trace.txt")).unwrap();
    let behind = trace.split("(INJECTED)").nth(1).unwrap_or_else(|| panic!("nothing was injected: {trace}"));
    assert!(!behind.contains("fdatasync"), "{behind}");

    // What the failed sync was about is written, but nobody sees it.
    let before = query(&place, &["--domain", "spot", "--domain", "_sluice"]);
    assert!(promised > 0 && before.len() as u64 >= promised, "{promised} were promised, {} are there", before.len());
    let daemon = Daemon::again(&place);
    let log = daemon.log();
    assert!(log.contains("were written anew"), "{log}");
    let told = log.split("durable up to offset ").nth(1).and_then(|rest| rest.split(',').next()?.parse().ok());
    let found: u64 = told.unwrap_or_else(|| panic!("it does not say what is durable: {log}"));
    assert!(found > before.len() as u64, "whole blocks of the failed sync are kept: {log}");
    let durable = || daemon.metrics().value("sluice_journal_durable_offset", &[]);
    until("it goes on", || (durable() > found + 100).then_some(()));
    daemon.stop();
    feed.stop();
    let after = query(&place, &["--domain", "spot", "--domain", "_sluice"]);
    for (before, after) in before.iter().zip(&after) {
        assert_eq!((before.offset, before.payload.get()), (after.offset, after.payload.get()));
    }
    let marks: Vec<_> = after.iter().filter(|event| event.domain == "spot").map(mark_of).collect();
    assert_first_ones_of_each_connection(&marks, &ledger(&place), "after a failed sync");
}

#[test]
fn a_slow_disk_holds_links_up_and_memory_stays_bounded() {
    const MEMORY_MAX: u64 = 150 << 20;
    if !can_trace() {
        return;
    }
    let place = Workplace::new();
    let feed = Feed::start(&place, &["--flood"]);
    // A sync takes a fifth of a second, in which the flood would bring more than the writer's queue has room for.
    let settings = Settings::new().with("[batch]\nmax_size = 20").upstream("feed", "binance", feed.url()).monitor(
        "one",
        "spot",
        "feed",
        &["s0@trade", "s1@trade"],
        "",
    );
    settings.write(&place);
    let mut traced = Traced::start(&place, "fdatasync:delay_enter=200000");
    let held = |daemon: &Daemon| daemon.metrics().value("sluice_links", &[("state", "held")]);
    let durable = |daemon: &Daemon| daemon.metrics().value("sluice_journal_durable_offset", &[]);
    until("the link is held, and shown to be", || (held(&traced.daemon) == 1).then_some(()));
    let before = durable(&traced.daemon);
    let mut times_held = 0;
    until("much became durable all the same", || {
        times_held += held(&traced.daemon);
        (durable(&traced.daemon) > before + 6_000).then_some(())
    });
    assert!(times_held > 0, "it was held again");
    let memory = traced.memory();
    assert!(memory < MEMORY_MAX, "{memory} bytes");
    assert_eq!(traced.daemon.get("/v1/health/live").0, 200);
    kill_process(traced.pid, Signal::TERM).unwrap();
    let status = traced.daemon.end();
    assert!(status.success(), "{status}: {}", traced.daemon.log());
    feed.kill();
}

#[test]
fn a_slow_disk_costs_the_legacy_path_no_connection_whose_pings_are_answered() {
    if !can_trace() {
        return;
    }
    let place = Workplace::new();
    let feed = Feed::start(&place, &["--dialect", "binance", "--rate", "50"]);
    // While a message waits for its sync nothing is read, the answers to pings neither.
    let settings = Settings::new()
        .upstream("feed", "binance", feed.url())
        .with("[upstreams.feed.pool]\nhealth_check_interval = \"100ms\"\npong_timeout = \"200ms\"")
        .monitor("one", "spot", "feed", &["btcusdt@trade"], "path = \"legacy\"");
    settings.write(&place);
    let mut traced = Traced::start(&place, "fdatasync:delay_enter=600000");
    let durable = |daemon: &Daemon| daemon.metrics().value("sluice_journal_durable_offset", &[]);
    until("some became durable one by one", || (durable(&traced.daemon) > 12).then_some(()));
    let failures = traced.daemon.metrics().value("sluice_link_failures_total", &[("upstream", "feed")]);
    assert_eq!(failures, 0, "{}", traced.daemon.log());
    kill_process(traced.pid, Signal::TERM).unwrap();
    let status = traced.daemon.end();
    assert!(status.success(), "{status}: {}", traced.daemon.log());
    feed.kill();
}
