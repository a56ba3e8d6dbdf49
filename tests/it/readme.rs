//! What README.md shows is what the program does.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use rustix::process::{Pid, Signal, kill_process};
use tokio::net::TcpListener;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Message;

use crate::support::{Workplace, project_file};

/// Where examples are, each of which is shown in full on one of the pages, behind a comment that names the file.
const EXAMPLES: &str = "config/examples";
const PAGES: [&str; 9] = [
    "README.md",
    "docs/feeds.md",
    "docs/guide/commands.md",
    "docs/guide/daemon.md",
    "docs/guide/events.md",
    "docs/guide/feeds.md",
    "docs/guide/journal.md",
    "docs/guide/links.md",
    "docs/guide/sinks.md",
];

fn examples() -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(EXAMPLES);
    let names = std::fs::read_dir(folder).expect("examples").map(|entry| entry.map(|entry| entry.file_name()));
    let names: io::Result<Vec<_>> = names.collect();
    let mut paths: Vec<_> = names.expect("names").iter().map(|name| format!("{EXAMPLES}/{}", name.display())).collect();
    paths.sort();
    paths
}

#[test]
fn every_settings_file_shown_is_one_that_the_program_takes() {
    let readme = PAGES.map(project_file).join("\n");
    let mut shown: Vec<String> = Vec::new();
    for (before, block) in readme.split("```toml\n").zip(readme.split("```toml\n").skip(1)) {
        let block = block.split("```").next().expect("an end");
        let name = before.trim_end().lines().last().unwrap_or_default();
        let name = name.strip_prefix("<!-- ").and_then(|name| name.strip_suffix(" -->"));
        let name = name.unwrap_or_else(|| panic!("no file is named for this:\n{block}"));
        assert_eq!(block, project_file(name), "{name} and where it is shown differ");
        shown.push(name.to_owned());
    }
    shown.sort();
    assert_eq!(shown, examples());

    // Secrets that examples say where they are.
    let place = Workplace::new()
        .with_variable("MASTODON_TOKEN", "t")
        .with_variable("BYBIT_KEY", "k")
        .with_variable("BYBIT_SECRET", "s")
        .with_file("credentials/kraken-key", "k")
        .with_file("credentials/kraken-secret", "c2VjcmV0");
    let credentials = place.path("credentials").display().to_string();
    let place = place.with_variable("CREDENTIALS_DIRECTORY", &credentials);
    for path in shown.iter().map(String::as_str).chain(["config/demo.toml", "config/sluice.toml"]) {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
        let outcome = place.run(["config", "check", "--config", &file.to_string_lossy()]);
        assert_eq!(outcome.code, Some(0), "{path}: {outcome:?}");
    }
}

/// The provider that the example describes: it acknowledges, and sends each channel's message twice.
async fn sensornet(listener: TcpListener) {
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(async move {
            let mut socket = tokio_tungstenite::accept_async(stream).await.expect("a handshake");
            while let Some(Ok(message)) = socket.next().await {
                let Message::Text(text) = message else { continue };
                let request: serde_json::Value = serde_json::from_str(&text).expect("JSON");
                if request["op"] != "sub" {
                    continue;
                }
                let mut replies = vec![format!(r#"{{"op":"ok","id":{}}}"#, request["id"]), r#"{"op":"beat"}"#.into()];
                for channel in request["channels"].as_array().expect("channels") {
                    let readings = r#"[{"n":17,"s":"a3","v":21.5},{"n":18,"s":"b1","v":21.4}]"#;
                    let data = format!(r#"{{"ch":{channel},"at":1795218339447,"readings":{readings}}}"#);
                    replies.extend([data.clone(), data]);
                }
                for reply in replies {
                    socket.send(Message::text(reply)).await.expect("a client that reads");
                }
            }
        });
    }
}

#[test]
fn the_example_of_an_own_dialect_reads_its_provider() {
    let runtime = tokio::runtime::Runtime::new().expect("threads");
    let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let listener = runtime.block_on(TcpListener::bind(any)).expect("a port");
    let port = listener.local_addr().expect("an address").port();
    runtime.spawn(sensornet(listener));

    let place = Workplace::new().with_file("s.toml", project_file("config/examples/own-dialect.toml"));
    let url = format!("upstreams.sensornet.url=ws://127.0.0.1:{port}/v1");
    let mut daemon = place
        .command(["run", "--config", "s.toml", "--set", &url, "--set", "server.listen=127.0.0.1:0"])
        .stderr(Stdio::null())
        .spawn()
        .expect("the program starts");
    let deadline = Instant::now() + Duration::from_secs(30);
    let events: Vec<serde_json::Value> = loop {
        let outcome = place.run(["query", "--config", "s.toml", "--output", "json"]);
        if outcome.code == Some(0) && outcome.stdout.lines().count() >= 4 {
            break outcome.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        }
        assert!(Instant::now() < deadline, "{outcome:?}");
        std::thread::sleep(Duration::from_millis(50));
    };
    kill_process(Pid::from_child(&daemon), Signal::TERM).expect("a signal");
    assert_eq!(daemon.wait().expect("an end").code(), Some(0));

    let mut ids: Vec<&str> = events.iter().map(|event| event["id"].as_str().unwrap()).collect();
    ids.sort_unstable();
    assert_eq!(ids, ["temp.hall-1:17", "temp.hall-1:18", "temp.hall-2:17", "temp.hall-2:18"]);
    for event in &events {
        assert_eq!(event["monitor"], "hall-temperatures");
        assert_eq!(event["event_time"], "2026-11-20T23:45:39.447Z");
        assert_eq!(event["key"], event["payload"]["s"]);
    }
    let stat = place.run(["journal", "stat", "--config", "s.toml", "--output", "json"]);
    let stat: serde_json::Value = serde_json::from_str(&stat.stdout).unwrap();
    assert_eq!((&stat["duplicates"], &stat["quarantined"]), (&4.into(), &0.into()));
}
