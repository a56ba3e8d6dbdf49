//! What could not be read is not lost: after the rule was mended it is parsed again, through the same dedupe window, into the
//! journal, marked, once; and every message is still accounted for.

use serde_json::Value;
use tokio_tungstenite::tungstenite::Message;

use super::processes::{Account, Daemon, Settings, accounts, json, quarantined, query, until};
use super::raw_upstream::{Manner, RawUpstream, trade};
use super::support::{Outcome, Workplace};

fn retry(place: &Workplace, daemon: &Daemon, more: &[&str]) -> Outcome {
    let listen = format!("server.listen={}", daemon.address());
    let command = ["--config", "sluice.toml", "--set", &listen, "quarantine", "retry", "--output", "json"];
    place.run(command.iter().chain(more))
}

/// The rows of a retry that goes well, as outcomes by offset.
fn retried(place: &Workplace, daemon: &Daemon, more: &[&str]) -> Vec<Value> {
    let outcome = retry(place, daemon, more);
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    let report: Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!(report["durable"], true, "{report}");
    report["frames"].as_array().unwrap().clone()
}

fn outcomes(rows: &[Value]) -> Vec<&str> {
    rows.iter().map(|row| row["outcome"].as_str().unwrap()).collect()
}

/// Events of a monitor as programs see them, those of the retry with the frame's offset.
fn events(place: &Workplace, monitor: &str) -> Vec<Value> {
    let text = json(place, &["query", "--monitor", monitor]);
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn settings(url: &str, topics: &[&str], event: &str) -> Settings {
    Settings::new().upstream("bad", "binance", url).monitor("odd", "ill", "bad", topics, &format!("event = {event}"))
}

fn until_quarantined(daemon: &Daemon, upstream_and_monitors: u64) {
    until("frames are in quarantine", || {
        (daemon.metrics().value("sluice_quarantined_total", &[]) >= upstream_and_monitors).then_some(())
    });
}

#[test]
fn after_a_rule_was_mended_each_frame_is_parsed_again_once_marked_and_accounted_for() {
    let of_y = "{\"stream\":\"y@trade\",\"data\":{\"e\":\"trade\",\"s\":\"Y\",\"t\":9}}";
    let upstream = RawUpstream::start(Manner::Acknowledges, move |connection| match connection {
        1 => ["1", "2", "3", "4", "5"]
            .map(trade)
            .into_iter()
            .chain([Message::text(of_y), Message::binary(b"\x1f\x8b\x08gzip".to_vec())])
            .collect(),
        // The third comes once more, to the mended rule.
        2 => vec![trade("3"), trade("6")],
        _ => Vec::new(),
    });
    let place = Workplace::new();
    let wrong = settings(&upstream.url(), &["x@trade"], "{ id = \"/data/tid\", key = \"/data/s\" }");
    let daemon = Daemon::start(&place, &wrong);
    until_quarantined(&daemon, 7);
    daemon.stop();
    let frames = quarantined(&place);
    assert_eq!(frames.len(), 7);

    // Without a daemon nobody knows what was seen lately.
    let outcome = place.run(["--config", "sluice.toml", "--set", "server.listen=127.0.0.1:1", "quarantine", "retry"]);
    assert_eq!(outcome.code, Some(3), "{}", outcome.stderr);

    let mended = settings(&upstream.url(), &["x@trade", "y@trade"], "{ id = \"/data/t\", key = \"/data/s\" }");
    let daemon = Daemon::start(&place, &mended);
    until("the third and sixth are read", || (query(&place, &["--monitor", "odd"]).len() == 2).then_some(()));

    let dry = retried(&place, &daemon, &["--dry-run"]);
    let expected = ["event", "event", "event", "event", "event", "event", "unreadable"];
    assert_eq!(outcomes(&dry), expected);
    assert_eq!(events(&place, "odd").len(), 2, "a dry run changes nothing");

    let rows = retried(&place, &daemon, &[]);
    assert_eq!(outcomes(&rows), ["event", "event", "repeat", "event", "event", "event", "unreadable"]);
    assert!(rows[6]["reason"].as_str().unwrap().contains("UTF-8"), "{}", rows[6]);
    let journaled = events(&place, "odd");
    let marked: Vec<_> = journaled.iter().filter(|event| event.get("retried_from").is_some()).collect();
    assert_eq!((journaled.len(), marked.len()), (7, 5), "{journaled:?}");
    for event in &marked {
        let frame = frames.iter().find(|frame| frame["offset"] == event["retried_from"]).unwrap();
        let raw = query(&place, &["--monitor", "odd"]).into_iter().find(|raw| event["offset"] == raw.offset).unwrap();
        assert_eq!(frame["frame"].as_str().unwrap(), raw.payload.get(), "to the byte");
        let row = rows.iter().find(|row| row["offset"] == frame["offset"]).unwrap();
        assert_eq!(row["first_event"], event["offset"]);
    }
    let keys: Vec<_> = marked.iter().map(|event| event["key"].as_str().unwrap()).collect();
    assert_eq!(keys, ["X", "X", "X", "X", "Y"]);
    let listed: Vec<_> = quarantined(&place).iter().map(|frame| frame["retried"].as_bool().unwrap()).collect();
    assert_eq!(listed, [true, true, true, true, true, true, false]);

    // Once and not again, also over a crash; a frame that is asked for says why.
    assert_eq!(outcomes(&retried(&place, &daemon, &[])), ["unreadable"]);
    daemon.kill();
    let daemon = Daemon::again(&place);
    assert_eq!(outcomes(&retried(&place, &daemon, &["--since", "1h"])), ["unreadable"]);
    assert_eq!(outcomes(&retried(&place, &daemon, &["--monitor", "odd"])), Vec::<&str>::new());
    let first = frames[0]["offset"].to_string();
    assert_eq!(outcomes(&retried(&place, &daemon, &[&first])), ["already_retried"]);
    assert_eq!(retry(&place, &daemon, &["999999"]).code, Some(1), "there is no such frame");
    daemon.stop();

    assert_eq!(events(&place, "odd").len(), 7);
    let accounts = accounts(&place);
    assert!(accounts.values().all(Account::adds_up), "{accounts:?}");
    let odd = accounts["odd"];
    // 5 that could not be read, 2 that could, and 6 that were parsed again, one of which was known by then. An acknowledgement
    // was of one topic alone.
    assert_eq!((odd.quarantined, odd.events, odd.repeats, odd.control), (5, 7, 1, 1));
}

#[test]
fn an_element_is_parsed_again_within_its_message_also_where_nothing_has_an_id() {
    let message = "{\"arg\":{\"channel\":\"trades\",\"instId\":\"BTC-USDT\"},\"data\":[{\"n\":1,\"ts\":\"1700000000001\"},\
                   {\"n\":2,\"ts\":\"1700000000002\"},{\"n\":3,\"ts\":\"soon\"}]}";
    let upstream = RawUpstream::start(Manner::Silent, move |connection| match connection {
        1 => vec![Message::text(message)],
        _ => Vec::new(),
    });
    let place = Workplace::new();
    let settings = |time: &str| {
        Settings::new().upstream("okx", "okx", &upstream.url()).monitor(
            "trades",
            "spot",
            "okx",
            &["trades:BTC-USDT"],
            &format!("event = {{ each = \"/data\", key = \"frame:/arg/instId\", time = \"{time}\" }}"),
        )
    };
    let daemon = Daemon::start(&place, &settings("/when"));
    until_quarantined(&daemon, 3);
    daemon.stop();
    let daemon = Daemon::start(&place, &settings("/ts"));
    assert_eq!(outcomes(&retried(&place, &daemon, &[])), ["event", "event", "unreadable"]);
    assert_eq!(outcomes(&retried(&place, &daemon, &[])), ["unreadable"], "the record keeps it from being taken twice");
    daemon.stop();
    let journaled = events(&place, "trades");
    let raw = query(&place, &["--monitor", "trades"]);
    let payloads: Vec<_> = raw.iter().map(|event| event.payload.get()).collect();
    assert_eq!(payloads, ["{\"n\":1,\"ts\":\"1700000000001\"}", "{\"n\":2,\"ts\":\"1700000000002\"}"]);
    assert!(journaled.iter().all(|event| event["key"] == "BTC-USDT"), "{journaled:?}");
    let accounts = accounts(&place);
    assert!(accounts.values().all(Account::adds_up), "{accounts:?}");
}

#[test]
fn a_frame_of_which_not_all_was_kept_says_so() {
    let upstream = RawUpstream::start(Manner::Acknowledges, |connection| match connection {
        1 => vec![trade(&format!("\"{}\"", "7".repeat(200)))],
        _ => Vec::new(),
    });
    let place = Workplace::new();
    let with = |event: &str| settings(&upstream.url(), &["x@trade"], event).with("[quarantine]\nframe_bytes = \"64B\"");
    let daemon = Daemon::start(&place, &with("{ id = \"/data/tid\" }"));
    until_quarantined(&daemon, 1);
    daemon.stop();
    let daemon = Daemon::start(&place, &with("{ id = \"/data/t\" }"));
    let rows = retried(&place, &daemon, &[]);
    assert_eq!(outcomes(&rows), ["cut"]);
    assert!(rows[0]["reason"].as_str().unwrap().contains("of which 64 were kept"), "{}", rows[0]);
    assert_eq!(retry(&place, &daemon, &[&rows[0]["offset"].to_string()]).code, Some(1));
    daemon.stop();
}
