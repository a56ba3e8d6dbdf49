//! An operation can be followed until its end.

use serde_json::{Value, json};

use super::{ask, get};
use crate::processes::{Daemon, Feed, Settings, until};
use crate::support::Workplace;

#[test]
fn an_operation_is_told_as_it_goes_on_until_its_end() {
    let place = Workplace::new();
    let feed = Feed::start(&place, &["--dialect", "binance", "--rate", "1000"]);
    let settings = Settings::new()
        .upstream("feed", "binance", feed.url())
        .monitor("m", "spot", "feed", &["btcusdt@trade"], "")
        .with("[sinks.days]\nkind = \"sqlite\"\nfolder = \"days\"");
    let daemon = Daemon::start(&place, &settings);
    until("the sink has some", || {
        let sinks = get(&daemon, "/api/v1/sinks").json();
        (sinks[0]["cursor"].as_u64()? > 500).then_some(())
    });
    let json_body = [("Content-Type", "application/json")];
    let body = json!({ "sink": "days", "from_offset": 0, "to_offset": 400 }).to_string();
    let begun = ask(&daemon, "POST", "/api/v1/replay", &json_body, body.as_bytes());
    assert_eq!(begun.status, 202, "{begun:?}");
    let id = begun.json()["operation"]["id"].as_str().unwrap().to_owned();
    let followed = get(&daemon, &format!("/api/v1/operations/{id}/events"));
    assert_eq!((followed.status, followed.header("content-type")), (200, Some("text/event-stream")));
    let last = followed.body.trim_end().rsplit("\n\n").next().unwrap();
    let (kind, data) = last.split_once('\n').unwrap();
    let row: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
    assert_eq!((kind, row["state"].as_str(), row["id"].as_str()), ("event: end", Some("done"), Some(id.as_str())));
    assert_eq!(get(&daemon, "/api/v1/operations/none/events").status, 404);

    let statistics = get(&daemon, "/api/v1/statistics").json();
    assert!(statistics["operations"]["total"].as_u64() >= Some(1), "{statistics}");
    assert_eq!(statistics["sinks"][0]["name"], "days");
    let would = ask(&daemon, "POST", "/api/v1/checkpoints?dry_run=true", &[], b"");
    assert_eq!((would.status, &would.json()["dry_run"]), (200, &true.into()));
    for path in ["metrics", "system-metrics", "dashboard"] {
        let shown = get(&daemon, &format!("/api/v1/monitoring/{path}"));
        assert_eq!(shown.status, 200, "{shown:?}");
    }
    let metrics = get(&daemon, "/api/v1/monitoring/metrics").json();
    assert!(metrics["http"]["requests"].as_u64() > Some(3) && metrics["system"]["cpus"].is_number(), "{metrics}");
    feed.stop();
    daemon.stop();
}
