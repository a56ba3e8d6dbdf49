//! A full disk, a folder that cannot be written, too few file descriptors: the daemon says so, promises nothing, does not
//! spin, and goes on by itself where that is possible.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;

use super::changing::command;
use super::processes::{Daemon, Feed, Process, Settings, get, query, until};
use super::support::Workplace;

/// A small file system in memory; unmounted at the end.
pub(crate) struct SmallDisk(PathBuf);

impl SmallDisk {
    /// None where we may not mount.
    pub(crate) fn mount(at: &Path, size: &str) -> Option<Self> {
        std::fs::create_dir_all(at).unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"])
            .arg(at)
            .stderr(Stdio::null())
            .status();
        mounted.is_ok_and(|status| status.success()).then(|| Self(at.to_owned()))
    }

    fn remount(&self, options: &str) {
        let status = Command::new("mount").args(["-o", &format!("remount,{options}")]).arg(&self.0).status();
        assert!(status.unwrap().success());
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // What is still open keeps it until the process is gone.
        Command::new("umount").arg("-l").arg(&self.0).status().ok();
    }
}

fn settings(feed: &Feed, more: &str) -> Settings {
    Settings::new().with(more).upstream("feed", "binance", feed.url()).monitor(
        "trades",
        "prices",
        "feed",
        &["btcusdt@trade"],
        "",
    )
}

fn skip(why: &str) {
    eprintln!("skipped: {why}");
}

/// CPU time of a process so far, in clock ticks.
fn ticks(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

#[test]
fn a_full_disk_makes_the_daemon_unready_and_room_makes_it_go_on_by_itself() {
    let place = Workplace::new();
    let Some(disk) = SmallDisk::mount(&place.path("data"), "80m") else {
        return skip("only root can mount a small disk");
    };
    let feed = Feed::start(&place, &["--dialect", "binance", "--rate", "500"]);
    let daemon = Daemon::start(&place, &settings(&feed, ""));
    let durable = || daemon.metrics().value("sluice_journal_durable_offset", &[]);
    until("events become durable", || (durable() > 100).then_some(()));
    assert_eq!(daemon.get("/v1/health/ready").0, 200);
    // Somebody else fills the disk but for less than the reserve.
    std::fs::write(place.path("data/other"), vec![7_u8; 40 << 20]).unwrap();
    until("it is not ready", || (daemon.get("/v1/health/ready").0 == 503).then_some(()));
    let (_, body) = daemon.get("/v1/health/ready");
    assert!(body.contains("the journal is full"), "{body}");
    assert_eq!(daemon.metrics().value("sluice_journal_writable", &[]), 0);
    // No false promise: what is said to be durable is there, and nothing more comes.
    let (said, before) = (durable(), ticks(daemon.id()));
    std::thread::sleep(Duration::from_secs(1));
    let events = query(&place, &["--from", "0"]);
    assert!(events.last().unwrap().offset < durable());
    assert!(durable() <= said + 2, "only the daemon's own events get through");
    assert!(ticks(daemon.id()) - before < 50, "it does not spin");
    std::fs::remove_file(place.path("data/other")).unwrap();
    until("it is ready by itself", || (daemon.get("/v1/health/ready").0 == 200).then_some(()));
    until("and takes events", || (durable() > said + 100).then_some(()));
    daemon.stop();
    let offsets: Vec<u64> = query(&place, &[]).iter().map(|event| event.offset).collect();
    assert!(offsets.windows(2).all(|pair| pair[0] < pair[1]));
    drop(disk);
}

#[test]
fn monitors_of_low_priority_rest_while_the_journal_takes_nothing_and_wake_by_themselves() {
    let place = Workplace::new();
    let Some(disk) = SmallDisk::mount(&place.path("data"), "96m") else {
        return skip("only root can mount a small disk");
    };
    let feed = Feed::start(&place, &["--flood"]);
    let settings = Settings::new()
        .with("[shedding]\nenabled = true\nafter = \"1s\"\nwake_after = \"1s\"\n[journal]\nsegment_size = \"4MiB\"\nmax_size = \"8MiB\"")
        .upstream("feed", "binance", feed.url())
        .monitor("high", "spot", "feed", &["s0@trade"], "priority = \"high\"")
        .monitor("low", "spot", "feed", &["s1@trade"], "priority = \"low\"")
        .monitor("stopped", "spot", "feed", &["s2@trade"], "priority = \"low\"");
    let daemon = Daemon::start(&place, &settings);
    let state = |monitor: &str| daemon.monitors()[monitor]["state"].as_str().unwrap().to_owned();
    until("all are live", || ["high", "low", "stopped"].iter().all(|name| state(name) == "live").then_some(()));
    assert_eq!(command(&place, &daemon, &["monitors", "stop", "stopped"]).code, Some(0));
    std::fs::write(place.path("data/other"), vec![7_u8; 40 << 20]).unwrap();
    until("the least important one rests", || (state("low") == "resting").then_some(()));
    assert_ne!(state("high"), "resting");
    std::fs::remove_file(place.path("data/other")).unwrap();
    until("it is woken", || (state("low") == "live").then_some(()));
    assert_eq!(state("stopped"), "stopped", "an operator had it stop");
    let log = daemon.log();
    assert!(log.contains("under pressure: put to rest") && log.contains("the pressure is over: woken"), "{log}");
    daemon.kill();
    drop(disk);
}

#[test]
fn a_data_folder_that_cannot_be_written_is_named_and_nothing_runs() {
    let place = Workplace::new();
    let feed = Feed::start(&place, &["--dialect", "binance", "--rate", "10"]);
    settings(&feed, "").write(&place);
    // A file where the folder should be.
    place.write("data", "no folder");
    let refused = place.run(["run", "--config", "sluice.toml"]);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains("data"), "{refused:?}");
    std::fs::remove_file(place.path("data")).unwrap();
    // A folder that is not there is made.
    Daemon::again(&place).stop();
    assert!(place.path("data/journal").is_dir());

    let Some(disk) = SmallDisk::mount(&place.path("readonly"), "80m") else {
        return skip("only root can mount a read-only disk");
    };
    disk.remount("ro");
    let refused = place.run(["run", "--config", "sluice.toml", "--set", "daemon.data_dir=readonly"]);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains("readonly/journal") && refused.stderr.contains("ead-only"), "{refused:?}");
}

#[test]
fn a_disk_that_turns_read_only_ends_the_daemon_and_loses_nothing_durable() {
    let place = Workplace::new();
    let Some(disk) = SmallDisk::mount(&place.path("data"), "160m") else {
        return skip("only root can mount a small disk");
    };
    let feed = Feed::start(&place, &["--dialect", "binance", "--rate", "500"]);
    // Segments are begun often: an open file may still be written on a disk that became read-only.
    let more = "[journal]\nsegment_size = \"32KiB\"\n[batch]\nmax_bytes = \"16KiB\"";
    let mut daemon = Daemon::start(&place, &settings(&feed, more));
    let durable = |daemon: &Daemon| daemon.metrics().value("sluice_journal_durable_offset", &[]);
    until("events become durable", || (durable(&daemon) > 500).then_some(()));
    let said = durable(&daemon);
    // Forced as the kernel does after an error of the disk: files that are open for writing do not keep it from it.
    let forced =
        Command::new("mount").args(["-o", "remount,ro"]).arg(place.path("data")).stderr(Stdio::null()).status();
    if !forced.unwrap().success() {
        daemon.signal(Signal::TERM);
        daemon.end();
        return skip("a busy file system cannot be made read-only here");
    }
    let status = daemon.end();
    assert_eq!(status.code(), Some(74), "{}", daemon.log());
    disk.remount("rw");
    let daemon = Daemon::again(&place);
    assert!(durable(&daemon) >= said);
    daemon.stop();
}

#[test]
fn without_file_descriptors_the_daemon_ends_clearly_or_waits_and_does_not_spin() {
    let place = Workplace::new();
    let feed = Feed::start(&place, &["--dialect", "binance", "--rate", "200"]);
    settings(&feed, "").write(&place);
    if Command::new("prlimit").arg("--version").stdout(Stdio::null()).status().is_err() {
        return skip("prlimit is not installed");
    }
    let limited = |limit: u32| {
        let mut command = Command::new("prlimit");
        command
            .arg(format!("--nofile={limit}"))
            .arg(env!("CARGO_BIN_EXE_sluice"))
            .args(["run", "--config", "sluice.toml"])
            .current_dir(place.path("."))
            .env_clear()
            .env("PATH", std::env::var("PATH").unwrap_or_default())
            .stdin(Stdio::null());
        Process::of(command)
    };
    for limit in [8, 16, 63] {
        let mut process = limited(limit);
        let status = process.end();
        let said = process.stderr();
        assert_eq!(status.code(), Some(1), "limit {limit}: {said}");
        assert!(said.contains("LimitNOFILE"), "limit {limit}: {said}");
    }
    // All taken by clients that never say anything: it does not spin, and either goes on afterwards or ends as for any
    // file that it cannot have.
    let mut process = limited(64);
    let address = until("the daemon serves", || {
        let said = process.stderr();
        assert!(!process.has_ended(), "{said}");
        let line = said.lines().find(|line| line.contains("/v1/health/ready"))?;
        Some(line.split_once("http://")?.1.split_once('/')?.0.to_owned())
    });
    let clients: Vec<_> = (0..100).map(|_| std::net::TcpStream::connect(&address)).collect();
    let before = ticks(process.id());
    std::thread::sleep(Duration::from_secs(1));
    assert!(ticks(process.id()) - before < 50, "it spins\n{}", process.stderr());
    drop(clients);
    if !process.has_ended() {
        until("it answers again", || get(&address, "/v1/health/ready").ok());
        process.signal(Signal::TERM);
    }
    let status = process.end();
    assert!(matches!(status.code(), Some(0 | 74)), "{status}: {}", process.stderr());
    assert!(!process.stderr().contains("panicked"), "{}", process.stderr());
}
