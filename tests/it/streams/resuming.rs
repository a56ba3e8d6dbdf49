//! Coming back: nothing is missing, nothing comes twice.

use serde_json::Value;

use super::super::processes::{Daemon, request};
use super::super::support::Workplace;
use super::{Sse, journaled, start, text, websocket};

fn pair(event: &Value) -> (u64, String) {
    (event["offset"].as_u64().unwrap(), event["payload"].to_string())
}

#[test]
fn a_stream_begins_with_a_snapshot_and_then_has_each_event_once_in_order() {
    let place = Workplace::new();
    let (daemon, feed) = start(&place, "500", "");
    let mut stream = Sse::open(daemon.address(), "?from=0", "");
    let first = stream.next().unwrap();
    let snapshot = first.json();
    assert_eq!(
        (first.event.as_str(), &snapshot["type"], &snapshot["next_offset"]),
        ("initial", &"initial".into(), &0.into())
    );
    assert_eq!(snapshot["monitors"].as_array().unwrap().len(), 2, "{snapshot}");
    let got: Vec<_> = std::iter::from_fn(|| stream.event()).take(1500).collect();
    assert!(got.iter().all(|sent| sent.id == sent.json()["offset"].as_u64()));
    let got: Vec<_> = got.iter().map(|sent| pair(&sent.json())).collect();
    let journal = journaled(&place, &[]);
    assert_eq!(got, journal[..1500]);
    drop((daemon, feed));
}

#[test]
fn who_comes_back_with_the_last_id_loses_nothing_over_a_death_of_the_daemon() {
    let place = Workplace::new();
    let (mut daemon, feed) = start(&place, "500", "");
    let mut got = Vec::new();
    let mut last = None::<u64>;
    for round in 0..4 {
        let header = last.map_or(String::new(), |last| format!("Last-Event-ID: {last}\r\n"));
        // Where it once began stays in the address of a browser that comes back.
        let mut stream = Sse::open(daemon.address(), "?from=0", &header);
        for _ in 0..400 {
            let sent = stream.event().unwrap();
            last = sent.id;
            got.push(pair(&sent.json()));
        }
        if round < 3 {
            daemon.kill();
            daemon = Daemon::again(&place);
        }
    }
    let journal = journaled(&place, &[]);
    assert_eq!(got, journal[..1600]);
    drop((daemon, feed));
}

#[test]
fn a_websocket_brings_what_it_asks_for_and_nothing_else() {
    let place = Workplace::new();
    let (daemon, feed) = start(&place, "500", "");
    let mut key = websocket(daemon.address(), "?from=0&monitor=trades&key=ETHUSDT");
    let mut domain = websocket(daemon.address(), "?from=0&events=other");
    let mut both = websocket(daemon.address(), "?from=0&events=monitor:solana,monitor:trades&topic=solusdt@trade");
    for (socket, query) in [
        (&mut key, &["--monitor", "trades", "--key", "ETHUSDT"][..]),
        (&mut domain, &["--domain", "other"]),
        (&mut both, &["--topic", "solusdt@trade"]),
    ] {
        assert_eq!(text(socket)["type"], "initial");
        let got: Vec<_> = (0..200).map(|_| pair(&text(socket))).collect();
        assert_eq!(got, journaled(&place, query)[..200], "{query:?}");
    }
    drop((daemon, feed));
}

#[test]
fn cloud_events_name_each_event_for_good_and_hold_the_same() {
    let place = Workplace::new();
    let (daemon, feed) = start(&place, "500", "");
    let mut plain = websocket(daemon.address(), "?from=0");
    let mut cloud = websocket(daemon.address(), "?from=0&format=cloudevents");
    assert_eq!(
        (text(&mut plain)["type"].clone(), text(&mut cloud)["type"].clone()),
        ("initial".into(), "initial".into())
    );
    let source = text(&mut cloud);
    let first = text(&mut plain);
    assert_eq!((&source["data"], &source["specversion"]), (&first, &"1.0".into()));
    assert_eq!(source["id"], first["offset"].to_string());
    assert_eq!(
        source["type"],
        format!("sluice.{}.{}", first["domain"].as_str().unwrap(), first["monitor"].as_str().unwrap())
    );
    assert!(source["source"].as_str().unwrap().starts_with("urn:uuid:"), "{source}");
    drop((daemon, feed));
}

#[test]
fn the_daemon_s_own_kinds_come_to_who_names_them() {
    let place = Workplace::new();
    let (daemon, feed) = start(&place, "200", "");
    let mut operations = websocket(daemon.address(), "?events=operations");
    let mut alone = websocket(daemon.address(), "?events=all&monitor=nobody");
    assert_eq!(
        (text(&mut operations)["type"].clone(), text(&mut alone)["type"].clone()),
        ("initial".into(), "initial".into())
    );
    let address = daemon.address();
    let ask = "POST /api/v1/checkpoints HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
    let (status, body) = request(address, ask).unwrap();
    assert_eq!(status, 201, "{body}");
    let begun = text(&mut operations);
    let ended = text(&mut operations);
    assert_eq!((&begun["monitor"], &begun["payload"]["state"]), (&"operations".into(), &"running".into()));
    assert_eq!((&ended["payload"]["kind"], &ended["payload"]["state"]), (&"checkpoint".into(), &"done".into()));
    drop((daemon, feed));
}

#[test]
fn a_figure_that_goes_over_its_threshold_is_told_to_who_asks_for_thresholds() {
    let place = Workplace::new();
    let (daemon, feed) = start(&place, "200", "[alerts.rules.HIGH_DISK]\nthreshold = 100.0\nfor = \"1h\"\n");
    let mut thresholds = websocket(daemon.address(), "?events=thresholds");
    assert_eq!(text(&mut thresholds)["type"], "initial");
    let address = daemon.address();
    let set = |key: &str, value: &str| {
        let body = format!("{{\"value\": {value}}}");
        let ask = format!(
            "PUT /api/v1/settings/{key} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let (status, body) = request(address, &ask).unwrap();
        assert_eq!(status, 200, "{body}");
    };
    set("alerts.enabled", "true");
    set("alerts.rules.HIGH_DISK.threshold", "0.0");
    let crossing = loop {
        let event = text(&mut thresholds);
        if event["payload"]["rule"] == "HIGH_DISK" {
            break event;
        }
    };
    assert_eq!((&crossing["monitor"], &crossing["payload"]["over"]), (&"thresholds".into(), &true.into()));
    assert!(crossing["payload"]["value"].as_f64().unwrap() > 0.0, "{crossing}");
    drop((daemon, feed));
}
