//! `sluice demo`, and the commands that ask a running daemon.

use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::time::Instant;

use crate::support::Workplace;

const MONITORS: [&str; 6] = ["spot-trades", "spot-books", "usd-matches", "usd-tickers", "blocks", "token-logs"];
/// No fixed port: other tests run beside this one.
const ANY_PORT: [&str; 2] = ["--set", "server.listen=127.0.0.1:0"];

#[test]
fn the_demo_shows_events_of_all_monitors_and_commands_that_work() {
    let place = Workplace::new();
    let outcome = place.run(["demo", "--for", "5s", "--data-dir", "my data"].iter().chain(&ANY_PORT));
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    for name in MONITORS {
        let row = outcome.stdout.lines().find(|line| line.starts_with(name));
        let row = row.unwrap_or_else(|| panic!("no row of {name}: {}", outcome.stdout));
        let events: u64 = row.split_whitespace().nth(3).unwrap().replace(',', "").parse().unwrap();
        assert!(events > 0, "{row}");
    }

    let (_, commands) = outcome.stdout.split_once("Look at this journal").expect("commands");
    let commands: Vec<&str> = commands.lines().filter(|line| line.starts_with("  ")).collect();
    assert!(commands.len() >= 4, "{commands:?}");
    for line in commands {
        let output = Command::new("/bin/sh")
            .args(["-c", line])
            .current_dir(place.path(""))
            .env_clear()
            .stdin(Stdio::null())
            .output()
            .expect("a shell");
        let printed = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && printed.lines().count() > 1, "{line}: {output:?}");
    }

    // The same folder again: the journal goes on, and ids do not begin anew.
    let again = place.run(["demo", "--for", "2s", "--data-dir", "my data"].iter().chain(&ANY_PORT));
    assert_eq!(again.code, Some(0), "{again:?}");
    assert!(again.stdout.contains("continued from offset"), "{}", again.stdout);
}

#[test]
fn the_demo_has_settings_of_its_own() {
    let outcome = Workplace::new().with_file("s.toml", "").run(["demo", "--config", "s.toml"]);
    assert_eq!(outcome.code, Some(2), "{outcome:?}");
    assert!(outcome.stderr.contains("--set"), "{}", outcome.stderr);
}

#[test]
fn health_and_monitors_ask_the_running_daemon() {
    let place = Workplace::new();
    let mut demo = place
        .command(["demo", "--for", "60s", "--rate", "100"].iter().chain(&ANY_PORT))
        .stdout(Stdio::null())
        .spawn()
        .expect("the program starts");
    let ask = |command: &str| place.run([command, "--config", "demo-data/demo.toml", "--output", "json"]);
    let deadline = Instant::now() + Duration::from_secs(30);
    let healthy = loop {
        let outcome = ask("health");
        if outcome.code == Some(0) && outcome.stdout.contains(r#""status": "healthy""#) {
            break outcome;
        }
        assert!(Instant::now() < deadline, "{outcome:?}");
        std::thread::sleep(Duration::from_millis(50));
    };
    let health: serde_json::Value = serde_json::from_str(&healthy.stdout).unwrap();
    assert_eq!(health["journal"], "writable");
    assert_eq!(health["upstreams"]["ethereum"], "connected");

    let monitors = ask("monitors");
    assert_eq!(monitors.code, Some(0), "{monitors:?}");
    // The names that programs rely on come first, in this order.
    let order = ["name", "domain", "upstream", "path", "state", "topics", "parse_rate"];
    let places: Vec<_> = order.iter().map(|field| monitors.stdout.find(&format!("\"{field}\":"))).collect();
    assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{}", monitors.stdout);
    let rows: Vec<serde_json::Value> = serde_json::from_str(&monitors.stdout).unwrap();
    let mut names: Vec<&str> = rows.iter().map(|row| row["name"].as_str().unwrap()).collect();
    names.sort_unstable();
    let mut wanted = MONITORS;
    wanted.sort_unstable();
    assert_eq!(names, wanted);

    kill_process(Pid::from_child(&demo), Signal::TERM).expect("a signal");
    assert_eq!(demo.wait().expect("an end").code(), Some(0));

    for command in ["health", "monitors"] {
        let gone = ask(command);
        assert_eq!(gone.code, Some(3), "{gone:?}");
        assert!(gone.stderr.contains("127.0.0.1:") && gone.stderr.contains("sluice run"), "{}", gone.stderr);
    }
}
