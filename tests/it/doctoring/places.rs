//! The machine: folders, the server's port, its token, files that may be open.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;

use super::doctor;
use crate::processes::{Daemon, Settings, until};
use crate::support::Workplace;

/// Of a daemon that listens there.
fn listening(port: u16, more: &str) -> Settings {
    Settings::of(format!("[server]\nlisten = \"127.0.0.1:{port}\"\n{more}\n"))
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[test]
fn a_folder_that_cannot_be_written_is_told() {
    let place = Workplace::new();
    // Not even root may make files there.
    listening(free_port(), "[daemon]\ndata_dir = '/proc/sluice'\n[sinks.rows]\nkind = 'sqlite'\nfolder = '/proc/rows'")
        .write(&place);
    let found = doctor(&place, "5s", &[]);
    assert_eq!(found.code, Some(1), "{}", found.text);
    found.assert(("folder", "data_dir"), "failed", "/proc cannot be written");
    found.assert(("folder", "rows"), "failed", "/proc cannot be written");
}

#[test]
fn a_folder_in_memory_is_a_warning() {
    let memory = std::path::Path::new("/dev/shm");
    if !memory.is_dir() {
        return;
    }
    let place = Workplace::new();
    listening(free_port(), "[daemon]\ndata_dir = '/dev/shm/sluice-of-a-test'").write(&place);
    doctor(&place, "5s", &[]).assert(("disk", "data_dir"), "warning", "is in memory (tmpfs)");
    assert!(!memory.join("sluice-of-a-test").exists());
}

#[test]
fn a_port_that_another_program_has_is_told_and_one_of_a_running_daemon_is_not() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let place = Workplace::new();
    let port = taken.local_addr().unwrap().port();
    listening(port, "").write(&place);
    let subject = format!("127.0.0.1:{port}");
    doctor(&place, "5s", &[]).assert(("port", &subject), "failed", "another program has it");
    drop(taken);

    let port = free_port();
    let settings = listening(port, "[upstreams.feed]\nurl = 'ws://127.0.0.1:1/x'\ndialect = 'binance'").monitor(
        "m",
        "d",
        "feed",
        &["x@trade"],
        "",
    );
    let daemon = Daemon::start(&place, &settings);
    until("it answers", || (daemon.get("/v1/health/live").0 == 200).then_some(()));
    let found = doctor(&place, "5s", &[]);
    found.assert(("port", &format!("127.0.0.1:{port}")), "ok", "a running daemon has it");
    found.assert(("files", "this host"), "ok", "the running daemon");
    daemon.stop();
}

#[test]
fn a_token_that_others_may_read_is_a_warning() {
    let place = Workplace::new().with_file("token", "0123456789abcdef\n");
    listening(free_port(), "token_file = 'token'").write(&place);
    let subject = place.path("token").display().to_string();
    for (mode, result, words) in [(0o644, "warning", "chmod 600"), (0o600, "ok", "only its owner")] {
        std::fs::set_permissions(place.path("token"), std::fs::Permissions::from_mode(mode)).unwrap();
        let found = doctor(&place, "5s", &[]);
        found.assert(("token", &subject), result, words);
        assert!(!found.text.contains("0123456789abcdef"), "{}", found.text);
    }
}

#[test]
fn too_few_files_are_told() {
    let place = Workplace::new();
    listening(free_port(), "").write(&place);
    let command = "ulimit -n 100; exec \"$0\" --config sluice.toml config doctor --output json";
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", command, env!("CARGO_BIN_EXE_sluice")]).current_dir(place.path(".")).env_clear();
    let output = shell.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("may open 100 files") && said.contains("LimitNOFILE"), "{said}");
}

#[test]
fn the_table_says_what_the_json_says() {
    let place = Workplace::new();
    listening(free_port(), "[upstreams.feed]\nurl = 'ws://127.0.0.1:1/x'\ndialect = 'binance'").write(&place);
    let outcome = place.run(["--config", "sluice.toml", "config", "doctor", "--timeout", "5s"]);
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    let said = &outcome.stdout;
    assert!(said.contains("failed") && said.contains("→ check host and port") && said.contains("1 failed"), "{said}");
}
