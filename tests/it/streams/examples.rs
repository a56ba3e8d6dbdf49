//! The clients in `examples/streams` go on where they were, whoever dies.

use std::process::{Command, Stdio};

use serde_json::Value;

use super::super::processes::{Daemon, Process, until};
use super::super::support::Workplace;
use super::{journaled, start};

fn lines(process: &Process) -> Vec<(u64, String)> {
    let text = process.stdout();
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let event = |line: &str| {
        let event: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        (event["offset"].as_u64().unwrap(), event["payload"].to_string())
    };
    whole.lines().map(event).collect()
}

/// Runs an example over a daemon that dies and comes back, and the example itself once anew.
fn goes_on(program: &str, script: &str, memory: &str) {
    let place = Workplace::new();
    let (daemon, feed) = start(&place, "200", "");
    // The same port after the daemon's death.
    let address = daemon.address().to_owned();
    let settings = std::fs::read_to_string(place.path("sluice.toml")).unwrap();
    place.write("sluice.toml", settings.replace("127.0.0.1:0", &address));
    let script = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/streams").join(script);
    let run = || {
        let mut command = Command::new(program);
        command.arg(&script).arg(format!("http://{address}")).arg(memory).current_dir(place.path(""));
        command.stdin(Stdio::null());
        Process::of(command)
    };
    let mut first = run();
    until("it has followed for a while", || (lines(&first).len() > 200).then_some(()));
    daemon.kill();
    let daemon = Daemon::again(&place);
    until("it has come back", || (lines(&first).len() > 600).then_some(()));
    first.signal(rustix::process::Signal::TERM);
    first.end();
    let done = lines(&first);
    let second = run();
    until("the next one goes on", || (lines(&second).len() > 200).then_some(()));
    let next = lines(&second);
    // It went on near where it had been: what was done and not yet remembered comes once more.
    let last = done.last().unwrap().0;
    assert!(next[0].0 <= last + 20 && next[0].0 + 400 > last, "{} after {last}", next[0].0);
    let mut got: Vec<(u64, String)> = Vec::new();
    for event in done.into_iter().chain(next) {
        let again = got.last().is_some_and(|(offset, _)| event.0 <= *offset);
        assert!(!again || got.contains(&event), "what comes once more is the same: {event:?}");
        if !again {
            got.push(event);
        }
    }
    assert_eq!(got, journaled(&place, &[])[..got.len()]);
    drop((second, daemon, feed));
}

#[test]
fn curl_goes_on_behind_the_last_event() {
    goes_on("bash", "follow.sh", "last-offset");
}

#[test]
fn python_goes_on_behind_the_last_event() {
    goes_on("python3", "follow.py", "last-offset");
}

#[test]
fn node_goes_on_behind_what_it_committed() {
    goes_on("node", "consume.mjs", "billing");
}
