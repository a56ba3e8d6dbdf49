//! Alerts behind the whole program: opened by what is really measured, seen to, over, withheld, and the same over a crash.

mod kinds;
mod life;
mod restarts;

use std::time::Duration;

use serde_json::Value;

use super::changing;
use super::processes::{Daemon, Feed, Settings, query, until_within};
use super::support::Workplace;

/// Windows and backoffs go at the machine's pace.
const PATIENCE: Duration = Duration::from_mins(1);

const PATH: &str = "/api/v1/monitoring/alerts";

/// A monitor of a feed; `more` are further lines, `alerts` those of `[alerts]`.
fn settings(url: &str, alerts: &str, more: &str) -> Settings {
    let text = format!(
        "[smart_streaming]\nenabled = true\n[server]\nlisten = \"127.0.0.1:0\"\n[batch]\ntimeout = \"20ms\"\n\
         [pool]\nmin_connections = 1\nmax_connections = 1\nbackoff_min = \"50ms\"\nbackoff_max = \"200ms\"\n\
         [alerts]\n{alerts}\n{more}\n"
    );
    Settings::of(text).upstream("feed", "binance", url)
}

/// A daemon of which the disk's rule finds something at once, and may do so again after `cooldown`.
fn with_full_disk(place: &Workplace, cooldown: &str) -> (Feed, Daemon) {
    let feed = Feed::start(place, &["--dialect", "binance", "--rate", "50"]);
    let alerts = format!("cooldown = \"{cooldown}\"\n[alerts.rules.HIGH_DISK]\nthreshold = 0.0\nfor = \"0s\"");
    let settings = settings(feed.url(), &alerts, "").monitor("trades", "spot", "feed", &["btcusdt@trade"], "");
    let daemon = Daemon::start(place, &settings);
    (feed, daemon)
}

/// What more than `percent` of the disk must be used for, from now on.
fn set_disk_limit(daemon: &Daemon, percent: f64) {
    let body = format!("{{\"value\": {percent:.1}}}");
    let set = call(daemon, "PUT", "/api/v1/settings/alerts.rules.HIGH_DISK.threshold", Some(&body));
    assert_eq!(set.0, 200, "{set:?}");
}

/// A request with a body that is JSON.
fn call(daemon: &Daemon, method: &str, path: &str, body: Option<&str>) -> (u16, Value) {
    let body: Option<Value> = body.map(|body| serde_json::from_str(body).unwrap());
    changing::call(daemon, method, path, body.as_ref())
}

/// All alerts that a query asks for, newest first.
fn alerts(daemon: &Daemon, query: &str) -> Vec<Value> {
    let (status, rows) = call(daemon, "GET", &format!("{PATH}{query}"), None);
    assert_eq!(status, 200, "{rows}");
    rows.as_array().unwrap().clone()
}

/// The newest of a type about a subject, once it is in this state.
fn in_status(daemon: &Daemon, kind: &str, subject: &str, status: &str) -> Value {
    until_within(PATIENCE, &format!("{kind} of {subject} is {status}"), || {
        let newest = alerts(daemon, &format!("?type={kind}")).into_iter().find(|row| row["subject"] == subject)?;
        (newest["status"] == status).then_some(newest)
    })
}

/// What is on record of a type, oldest first.
fn on_record(place: &Workplace, kind: &str) -> Vec<Value> {
    let events = query(place, &["--domain", "_sluice", "--monitor", "alerts", "--topic", "alerts"]).into_iter();
    let events = events.map(|event| serde_json::from_str::<Value>(event.payload.get()).unwrap());
    events.filter(|event| event["type"] == kind).collect()
}
