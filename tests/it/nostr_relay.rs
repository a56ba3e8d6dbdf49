//! The relay nostr-relay, which `scripts/test` installs: a server that is not ours, with real, signed events.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::{self, Message};

use super::anvil_node::free_port;
use super::processes::{Daemon, Process, Settings, query, until};
use super::support::Workplace;

struct Relay {
    process: Process,
    port: u16,
}

impl Relay {
    /// On `port`, with what it stored before.
    fn start(place: &Workplace, port: u16, more: &str) -> Self {
        let Ok(program) = std::env::var("NOSTR_RELAY") else {
            panic!(
                "NOSTR_RELAY does not name the program `nostr-relay`; run `scripts/test`, which installs it and sets this"
            );
        };
        let database = place.path("relay.sqlite3");
        place.write(
            "relay.yaml",
            format!(
                "storage:\n  sqlalchemy.url: sqlite+aiosqlite:///{}\n  validators:\n    - nostr_relay.validators.is_signed\n\
                 gunicorn:\n  bind: 127.0.0.1:{port}\n  workers: 1\n  loglevel: warning\n{more}",
                database.display()
            ),
        );
        let mut command = Command::new(&program);
        command.arg("-c").arg(place.path("relay.yaml")).arg("serve").current_dir(place.path(""));
        let mut process = Process::of(command);
        until("the relay answers", || {
            assert!(!process.has_ended(), "{program}: {}", process.stderr());
            TcpStream::connect(("127.0.0.1", port)).is_ok().then_some(())
        });
        Self { process, port }
    }

    /// Publishes events, each of which it must take.
    fn publish(&self, events: &[Value]) {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        let url = format!("ws://127.0.0.1:{}/", self.port);
        let (mut socket, _) = tungstenite::client(url.as_str(), stream).unwrap();
        for event in events {
            socket.send(Message::text(json!(["EVENT", event]).to_string())).unwrap();
            let answer = loop {
                if let Message::Text(text) = socket.read().unwrap() {
                    break serde_json::from_str::<Value>(&text).unwrap();
                }
            };
            assert_eq!((answer[0].as_str(), answer[2].as_bool()), (Some("OK"), Some(true)), "{answer}");
        }
    }

    /// At once, its worker first: told to stop in order, it would wait for its clients.
    fn stop(mut self) {
        self.process.signal(Signal::STOP);
        let id = self.process.id();
        let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")).expect("a running process");
        for child in children.split_whitespace().filter_map(|child| Pid::from_raw(child.parse().ok()?)) {
            kill_process(child, Signal::KILL).expect("a worker of ours");
        }
        self.process.signal(Signal::KILL);
        self.process.end();
        until("nobody answers any more", || TcpStream::connect(("127.0.0.1", self.port)).is_err().then_some(()));
    }
}

/// Recorded events, the oldest first.
fn events() -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/nostr/relay_replay.session.jsonl.gz");
    let mut text = String::new();
    flate2::read::GzDecoder::new(std::fs::File::open(path).unwrap()).read_to_string(&mut text).unwrap();
    let frames = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let received = frames.filter(|frame| frame["dir"] == "in");
    let messages = received.map(|frame| serde_json::from_str::<Value>(frame["text"].as_str().unwrap()).unwrap());
    let mut events: Vec<Value> =
        messages.filter(|message| message[0] == "EVENT").map(|mut message| message[2].take()).collect();
    events.sort_by_key(|event| event["created_at"].as_u64());
    events
}

/// Events in the journal by id; none is there twice.
fn journaled(place: &Workplace) -> BTreeMap<String, Value> {
    let events = query(place, &["--monitor", "m"]);
    let count = events.len();
    let parsed =
        events.into_iter().map(|event| (event.id.unwrap(), serde_json::from_str(event.payload.get()).unwrap()));
    let journaled: BTreeMap<String, Value> = parsed.collect();
    assert_eq!(journaled.len(), count, "an event is in the journal twice");
    journaled
}

#[test]
fn stored_and_live_events_of_a_real_relay_are_journaled_once_whatever_is_restarted() {
    let place = Workplace::new();
    let events = events();
    let (stored, rest) = events.split_at(150);
    let (live, rest) = rest.split_at(150);
    let (missed, last) = rest.split_at(100);
    let port = free_port();
    let relay = Relay::start(&place, port, "");
    relay.publish(stored);
    let settings = Settings::new()
        .upstream("relay", "nostr", &format!("ws://127.0.0.1:{port}/"))
        // Two filters that overlap: what comes by both is one event.
        .monitor("m", "social", "relay", &["kinds=1,6,7", r#"{"kinds":[1]}"#], "");
    settings.write(&place);
    let daemon = Daemon::again(&place);
    let all_of = |events: usize| until("they are durable", || (journaled(&place).len() == events).then_some(()));
    all_of(150);
    relay.publish(live);
    all_of(300);
    daemon.kill();
    relay.publish(missed);
    let daemon = Daemon::again(&place);
    all_of(400);
    relay.stop();
    let relay = Relay::start(&place, port, "");
    relay.publish(last);
    all_of(events.len());
    let metrics = daemon.metrics();
    assert_eq!(metrics.value("sluice_conflicts_total", &[]), 0, "stored and live it is written alike");
    daemon.stop();
    let (journaled, ids): (_, BTreeSet<&str>) =
        (journaled(&place), events.iter().map(|event| event["id"].as_str().unwrap()).collect());
    assert_eq!(journaled.keys().map(String::as_str).collect::<BTreeSet<_>>(), ids);
    for event in &events {
        assert_eq!(&journaled[event["id"].as_str().unwrap()], event);
    }
    relay.stop();
}

#[test]
fn a_real_relay_that_wants_a_login_is_reported_with_its_reason() {
    let place = Workplace::new();
    let port = free_port();
    let more = format!(
        "authentication:\n  enabled: true\n  relay_urls:\n    - ws://127.0.0.1:{port}\n  actions:\n    save: a\n    query: w\n"
    );
    let relay = Relay::start(&place, port, &more);
    let settings = Settings::new().upstream("relay", "nostr", &format!("ws://127.0.0.1:{port}/")).monitor(
        "m",
        "social",
        "relay",
        &["kinds=1"],
        "",
    );
    let daemon = Daemon::start(&place, &settings);
    until("it is refused", || (daemon.metrics().value("sluice_subscriptions_refused_total", &[]) > 0).then_some(()));
    let log = daemon.stop();
    assert!(log.contains("the upstream refused a subscription"), "{log}");
    relay.stop();
}
