//! Talking to a daemon that is to change.

use serde_json::Value;

use super::processes::{Daemon, Feed, Settings, request, until};
use super::support::{Outcome, Workplace};

/// A request with a JSON body: the status, and the JSON of the answer, null where there is none.
pub(crate) fn call(daemon: &Daemon, method: &str, path: &str, body: Option<&Value>) -> (u16, Value) {
    let body = body.map(ToString::to_string).unwrap_or_default();
    let head = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n", daemon.address());
    let text = format!("{head}Content-Length: {}\r\n\r\n{body}", body.len());
    let (status, answer) = request(daemon.address(), &text).unwrap();
    (status, serde_json::from_str(&answer).unwrap_or(Value::Null))
}

/// A command that asks this daemon.
pub(crate) fn command(place: &Workplace, daemon: &Daemon, arguments: &[&str]) -> Outcome {
    let listen = format!("server.listen={}", daemon.address());
    place.run(["--config", "sluice.toml", "--set", &listen].iter().chain(arguments))
}

/// The value and the origin of a key, as `config show` says without asking a daemon.
pub(crate) fn shown(place: &Workplace, key: &str) -> Option<(Value, String)> {
    let outcome = place.run(["--config", "sluice.toml", "config", "show", "--output", "json"]);
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    let rows: Vec<Value> = serde_json::from_str(&outcome.stdout).unwrap();
    let row = rows.into_iter().find(|row| row["key"] == key)?;
    Some((row["value"].clone(), row["origin"].as_str().unwrap().to_owned()))
}

/// A feed and settings with one monitor of it, `one`.
pub(crate) fn one_monitor(place: &Workplace) -> (Feed, Settings) {
    let feed = Feed::start(place, &["--dialect", "binance", "--rate", "300"]);
    let settings = Settings::new().with("[batch]\ntimeout = \"20ms\"").upstream("feed", "binance", feed.url()).monitor(
        "one",
        "spot",
        "feed",
        &["btcusdt@trade"],
        "",
    );
    (feed, settings)
}

/// Waits until a monitor is in a state.
pub(crate) fn in_state(daemon: &Daemon, monitor: &str, state: &str) {
    until(&format!("{monitor} is {state}"), || {
        daemon.monitors().get(monitor).is_some_and(|row| row["state"] == state).then_some(())
    });
}

/// Waits until a monitor has more events than it had.
pub(crate) fn takes(daemon: &Daemon, monitor: &str) {
    let events = || daemon.monitors().get(monitor).map_or(0, |row| row["events"].as_u64().unwrap());
    let before = events();
    until(&format!("{monitor} takes events"), || (events() > before).then_some(()));
}
