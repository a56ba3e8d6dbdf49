//! `sluice diagnostics dump`: what helps is in it, what is a secret is nowhere in it, with and without a daemon.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;

use flate2::read::GzDecoder;
use serde_json::Value;

use crate::auth::servers::{Answer, Guarded, acknowledged};
use crate::processes::{Daemon, Settings, until};
use crate::support::{Outcome, Workplace};

/// All secrets that are planted have this in them, as they are.
const PLANTED: &str = "pl4nted";

/// The parts of an archive, by name.
fn unpacked(place: &Workplace, file: &str) -> BTreeMap<String, String> {
    let file = std::fs::File::open(place.path(file)).expect("the archive is there");
    let mut archive = tar::Archive::new(GzDecoder::new(file));
    let parts = archive.entries().unwrap().map(|entry| {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().strip_prefix("sluice-diagnostics").unwrap().display().to_string();
        let mut text = String::new();
        entry.read_to_string(&mut text).unwrap();
        (name, text)
    });
    parts.collect()
}

fn assert_without_secrets(parts: &BTreeMap<String, String>) {
    for (name, text) in parts {
        let leak = text.lines().find(|line| line.contains(PLANTED));
        assert_eq!(leak, None, "a secret in {name}");
    }
}

fn dump(place: &Workplace, daemon: Option<&Daemon>) -> Outcome {
    let listen = daemon.map_or_else(|| "127.0.0.1:1".to_owned(), |daemon| daemon.address().to_owned());
    let listen = format!("server.listen={listen}");
    place.run([
        "--config",
        "sluice.toml",
        "--set",
        &listen,
        "diagnostics",
        "dump",
        "--to",
        "d.tar.gz",
        "--output",
        "json",
    ])
}

fn missing(parts: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let manifest: Value = serde_json::from_str(&parts["manifest.json"]).unwrap();
    let missing = manifest["missing"].as_array().unwrap().iter();
    missing.map(|row| (row["name"].as_str().unwrap().to_owned(), row["why"].as_str().unwrap().to_owned())).collect()
}

#[test]
fn no_secret_is_in_it_whatever_way_it_takes() {
    // An upstream that repeats in its refusal what it was told, and something of its own that looks like a secret; it comes to health,
    // state and log.
    let upstream = Guarded::start(
        |_| None,
        |_, request| {
            let id = &request["id"];
            let reason =
                "no right for pl4nted-key of wss://somebody:pl4nted-login@other.example/x?token=pl4nted-parameter";
            Answer::Text(format!(r#"{{"error":{{"code":2,"msg":"{reason}"}},"id":{id}}}"#))
        },
    );
    let place = Workplace::new()
        .with_variable("FEED_KEY", "pl4nted-key")
        .with_variable("SLACK_TOKEN", "xoxb-pl4nted-slack")
        .with_variable("DATABASE", "postgres://u:pl4nted-database@127.0.0.1/d")
        .with_file("token", "pl4nted-server-token\n")
        .with_file("secret.txt", "pl4nted-file\n")
        .with_file(
            "nats.creds",
            "-----BEGIN NATS USER JWT-----\neyJpl4ntedjwt\n------END NATS USER JWT------\n-----BEGIN USER NKEY SEED-----\nSUpl4ntedSEED\n",
        );
    let url = upstream.url().replace("/stream", "/pl4nted0123456789abcdef/stream?listenKey=pl4nted-query");
    let text = format!(
        "[smart_streaming]\nenabled = true\n[server]\nlisten = '127.0.0.1:0'\ntoken_file = 'token'\n[log]\nlevel = 'debug'\n\
         [pool]\nmin_connections = 1\nmax_connections = 1\nbackoff_min = '50ms'\nbackoff_max = '500ms'\nrefused_wait = '1s'\n\
         proxy = 'none'\n\
         [upstreams.feed]\nurl = '{url}'\ndialect = 'binance'\n\
         [upstreams.feed.auth]\nsecrets.key = {{ env = 'FEED_KEY' }}\nsecrets.other = {{ file = 'secret.txt' }}\n\
         headers = {{ X-Key = '{{key}}', X-Other = '{{other}}' }}\n\
         [upstreams.dead]\nurl = 'wss://me:pl4nted-userinfo@127.0.0.1:1/x'\ndialect = 'binance'\n\
         [sinks.bus]\nkind = 'nats'\nurl = 'nats://127.0.0.1:1'\ncredentials_file = 'nats.creds'\n\
         [sinks.warehouse]\nkind = 'postgres'\nurl = 'postgres://u:pl4nted%2Dpg@127.0.0.1:1/d'\n"
    );
    let settings =
        Settings::of(text).monitor("m", "d", "feed", &["x@trade"], "").monitor("n", "d", "dead", &["x@trade"], "");
    let daemon = Daemon::start(&place, &settings);
    // It is in the log itself, so that there is something to be taken out.
    until("the refusal is in the log", || daemon.log().contains("pl4nted-parameter").then_some(()));
    let outcome = dump(&place, Some(&daemon));
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    assert!(!outcome.stdout.contains(PLANTED) && !outcome.stderr.contains(PLANTED), "{outcome:?}");
    let parts = unpacked(&place, "d.tar.gz");
    assert!(parts["logs.txt"].contains("no right for ***"), "{}", parts["logs.txt"]);
    assert!(parts["environment.json"].contains("SLACK_TOKEN"), "names are told");
    assert!(parts["settings.json"].contains("token_file"), "{}", parts["settings.json"]);
    assert_without_secrets(&parts);
    let mode = std::fs::metadata(place.path("d.tar.gz")).unwrap().permissions().mode();
    assert_eq!(mode & 0o077, 0, "only its owner reads it");
    daemon.stop();
}

#[test]
fn of_a_running_daemon_it_has_state_metrics_log_journal_and_process() {
    let upstream = Guarded::start(|_| None, |_, request| acknowledged(request));
    let place = Workplace::new();
    let settings = Settings::new()
        .upstream("feed", "binance", &upstream.url())
        .monitor("m", "d", "feed", &["x@trade"], "")
        .with("[checkpoint]\ninterval = '100ms'");
    let daemon = Daemon::start(&place, &settings);
    until("events come", || (daemon.frames("feed") > 0).then_some(()));
    let outcome = dump(&place, Some(&daemon));
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    let parts = unpacked(&place, "d.tar.gz");
    for part in [
        "state/health.json",
        "state/monitors.json",
        "state/pool.json",
        "state/circuits.json",
        "state/sinks.json",
        "state/gaps.json",
        "state/canary.json",
        "state/operations.json",
        "state/statistics.json",
        "state/journal.json",
        "state/settings.json",
        "settings.json",
        "environment.json",
        "metrics.txt",
        "logs.txt",
        "journal.json",
        "checkpoints.json",
        "files.json",
        "versions.json",
        "host.json",
        "host/meminfo",
        "process/status",
        "process/smaps_rollup",
        "process/limits",
    ] {
        assert!(parts.contains_key(part), "no {part}: {:?}", missing(&parts));
    }
    assert!(parts["metrics.txt"].contains("sluice_"), "{}", parts["metrics.txt"]);
    assert!(parts["logs.txt"].contains("/v1/health/ready"), "{}", parts["logs.txt"]);
    let versions: Value = serde_json::from_str(&parts["versions.json"]).unwrap();
    assert!(versions["rustc"].as_str().unwrap().starts_with("rustc 1."), "{versions}");
    assert!(versions["kernel"].as_str().unwrap().contains("Linux"), "{versions}");
    assert!(missing(&parts)["memory-profile"].contains("no heap profiler"));
    // Every part is in the manifest.
    let manifest: Value = serde_json::from_str(&parts["manifest.json"]).unwrap();
    assert_eq!(manifest["entries"].as_array().unwrap().len(), parts.len() - 1);
    assert_eq!(manifest["daemon"], daemon.id());
    // It is not written over another.
    let again = dump(&place, Some(&daemon));
    assert!(again.code == Some(1) && again.stderr.contains("--to"), "{again:?}");
    daemon.stop();
}

#[test]
fn without_a_daemon_it_has_what_the_files_tell_and_says_what_is_missing() {
    let upstream = Guarded::start(|_| None, |_, request| acknowledged(request));
    let place = Workplace::new();
    let settings =
        Settings::new().upstream("feed", "binance", &upstream.url()).monitor("m", "d", "feed", &["x@trade"], "");
    let daemon = Daemon::start(&place, &settings);
    until("events come", || (daemon.frames("feed") > 0).then_some(()));
    daemon.stop();
    let outcome = dump(&place, None);
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    let parts = unpacked(&place, "d.tar.gz");
    let stat: Value = serde_json::from_str(&parts["journal.json"]).unwrap();
    assert!(stat["events"].as_u64() > Some(0), "{stat}");
    assert!(parts["checkpoints.json"].contains("durable_offset"), "{}", parts["checkpoints.json"]);
    let missing = missing(&parts);
    assert!(missing["metrics.txt"].contains("no daemon answers"), "{missing:?}");
    assert!(missing["process"].contains("no daemon"), "{missing:?}");
}

#[test]
fn settings_that_cannot_be_used_are_a_part_of_it() {
    let place = Workplace::new().with_file("sluice.toml", "[batch]\nmax_size = 'many'\n");
    let outcome = place.run(["--config", "sluice.toml", "diagnostics", "dump", "--to", "d.tar.gz"]);
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    let parts = unpacked(&place, "d.tar.gz");
    assert!(parts["settings-error.txt"].contains("max_size"), "{}", parts["settings-error.txt"]);
    assert!(missing(&parts).contains_key("settings.json"));
}

#[test]
fn the_last_lines_of_the_log_are_told_and_only_to_those_who_may_know() {
    let upstream = Guarded::start(|_| None, |_, request| acknowledged(request));
    let place = Workplace::new().with_file("token", "0123456789abcdef");
    let settings = Settings::of(format!(
        "[smart_streaming]\nenabled = true\n[server]\nlisten = '127.0.0.1:0'\ntoken_file = 'token'\n\
         [upstreams.feed]\nurl = '{}'\ndialect = 'binance'\n",
        upstream.url()
    ))
    .monitor("m", "d", "feed", &["x@trade"], "");
    let daemon = Daemon::start(&place, &settings);
    assert_eq!(daemon.get("/api/v1/logs").0, 401);
    let text = "Authorization: Bearer 0123456789abcdef\r\nConnection: close\r\n\r\n";
    let asked = format!("GET /api/v1/logs?limit=1 HTTP/1.1\r\nHost: {}\r\n{text}", daemon.address());
    let (status, body) = crate::processes::request(daemon.address(), &asked).unwrap();
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, body["lines"].as_array().map(Vec::len)), (200, Some(1)), "{body}");
    daemon.stop();
}
