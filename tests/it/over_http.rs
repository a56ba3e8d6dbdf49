//! Upstreams that are no sockets of messages: event streams and endpoints that are asked again and again.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::http_upstream::{Answer, HttpUpstream};
use super::processes::{Account, Daemon, Settings, accounts, json, query, until};
use super::support::Workplace;

fn recorded() -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/wikimedia-sse/recentchange_2022-12-11.sse");
    let mut stream = std::fs::read(path).expect("the recording");
    // It ends with the last event's data, before the empty line that ends the event.
    stream.extend_from_slice(b"\n\n");
    stream
}

#[test]
fn a_recorded_event_stream_is_journaled_to_the_byte_and_taken_up_behind_what_is_durable() {
    const RETRY: Duration = Duration::from_millis(400);
    let recording = recorded();
    let text = String::from_utf8(recording.clone()).unwrap();
    let data: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
    let over = [Arc::new(Mutex::new(false)), Arc::new(Mutex::new(false))];
    let (stream, ends) = (recording.clone(), over.clone());
    let feed = HttpUpstream::start(move |number, _| {
        let canary = b"id: [0]\ndata: {\"meta\":{\"domain\":\"canary\",\"id\":\"x\"}}\n\n".to_vec();
        // The whole recording again: what was durable is told by its id.
        let mut pieces = vec![b":ok\n\n".to_vec()];
        pieces.extend(if number == 1 { vec![b"retry: 400\n".to_vec(), canary] } else { vec![] });
        pieces.extend(stream.chunks(500).map(<[u8]>::to_vec));
        Answer::Endless(pieces, Arc::clone(&ends[(number - 1).min(1)]))
    });
    let place = Workplace::new();
    let settings = Settings::new().upstream("wiki", "wikimedia", &feed.url("/")).monitor(
        "changes",
        "web",
        "wiki",
        &["recentchange"],
        "",
    );
    let daemon = Daemon::start(&place, &settings);
    until("the recording is journaled", || (query(&place, &[]).len() == data.len()).then_some(()));
    *over[0].lock().unwrap() = true;
    let ended = tokio::time::Instant::now();
    until("it is asked for again", || (feed.asked().len() == 2).then_some(()));
    let asked = feed.asked();
    assert_eq!(asked[0].target, "/v2/stream/recentchange");
    assert_eq!((asked[0].header("accept"), asked[0].header("last-event-id")), (Some("text/event-stream"), None));
    let id = text.lines().find_map(|line| line.strip_prefix("id: ")).unwrap();
    assert_eq!(asked[1].header("last-event-id"), Some(id), "opaque, and given back as it came");
    assert!(asked[1].at - ended >= RETRY, "the stream said how long to stay away");
    until("all came again", || {
        let account = accounts(&place).remove("changes")?;
        (account.repeats == data.len() as u64).then_some(())
    });
    daemon.stop();

    let events = query(&place, &[]);
    let payloads: Vec<&str> = events.iter().map(|event| event.payload.get()).collect();
    assert_eq!(payloads, data);
    for event in &events {
        let payload: serde_json::Value = serde_json::from_str(event.payload.get()).unwrap();
        assert_eq!(event.id.as_deref(), payload["meta"]["id"].as_str());
        assert_eq!(event.key.as_deref(), payload["meta"]["domain"].as_str());
    }
    // Each answer's head and first comment, and the canary.
    let count = data.len() as u64;
    let expected = Account { messages: 2 * count + 5, events: count, repeats: count, control: 5, quarantined: 0 };
    assert_eq!(accounts(&place)["changes"], expected);
    let gaps: serde_json::Value = serde_json::from_str(&json(&place, &["gaps"])).unwrap();
    let gap = &gaps[0];
    assert_eq!((&gap["cause"], &gap["topic"]), (&"disconnect".into(), &"recentchange".into()), "{gaps}");
}

#[test]
fn an_event_stream_that_is_refused_says_why_and_is_left_alone_as_long_as_it_asks() {
    let over = Arc::new(Mutex::new(false));
    let end = Arc::clone(&over);
    let feed = HttpUpstream::start(move |number, _| match number {
        1 => Answer::status("429 Too Many Requests\r\nRetry-After: 1"),
        2 => Answer::ok("Content-Type: text/html\r\n", "<p>hello</p>"),
        _ => Answer::Endless(
            vec![b"data: {\"meta\":{\"id\":\"1\",\"dt\":\"2022-12-11T04:27:02Z\"}}\n\n".to_vec()],
            Arc::clone(&end),
        ),
    });
    let place = Workplace::new();
    let settings = Settings::new().upstream("wiki", "wikimedia", &feed.url("/")).monitor(
        "changes",
        "web",
        "wiki",
        &["recentchange"],
        "",
    );
    let daemon = Daemon::start(&place, &settings);
    until("an event", || (query(&place, &[]).len() == 1).then_some(()));
    let log = daemon.stop();
    assert!(log.contains("refused the request with HTTP 429; it limits connections"), "{log}");
    assert!(log.contains("`text/html` and no `text/event-stream`"), "{log}");
    let asked = feed.asked();
    assert!(asked[1].at - asked[0].at >= Duration::from_secs(1));
    *over.lock().unwrap() = true;
}

const QUAKES: &str = r#"
[dialects.quakes]
kind = "poll"
interval = "100ms"
limits = { send_interval = "0s" }
event = { each = "/features", id = "/id", key = "/place", time = "/at" }
"#;

#[test]
fn an_endpoint_is_asked_again_and_again_and_what_it_knows_we_have_is_not_sent_again() {
    let answers = |number: usize| {
        let features: Vec<String> =
            (0..number.min(3)).map(|n| format!(r#"{{"id":"q{n}","place":"p","at":1700000000000}}"#)).collect();
        format!(r#"{{"features":[{}]}}"#, features.join(","))
    };
    let feed = HttpUpstream::start(move |number, asked| {
        if asked.target == "/feed/b?s=1" {
            return Answer::ok("", r#"{"features":[{"id":"b","place":"b","at":1700000000000}]}"#);
        }
        // The tag changes while new quakes come; from then on nothing does.
        let tag = format!("\"{}\"", number.min(20));
        match asked.header("if-none-match") {
            Some(known) if known == tag => Answer::Whole("304 Not Modified\r\n".into(), Vec::new()),
            _ => Answer::ok(&format!("ETag: {tag}\r\n"), &answers(number)),
        }
    });
    let place = Workplace::new();
    let settings = Settings::new().with(QUAKES).upstream("earth", "quakes", &feed.url("/feed/")).monitor(
        "quakes",
        "nature",
        "earth",
        &["hour.json", "b?s=1"],
        "",
    );
    let daemon = Daemon::start(&place, &settings);
    until("nothing new any more", || {
        let asked = feed.asked();
        let known = asked.iter().filter(|asked| asked.header("if-none-match") == Some("\"20\"")).count();
        (known >= 3).then_some(())
    });
    until("all quakes", || (query(&place, &[]).len() == 4).then_some(()));
    assert_eq!(daemon.monitors()["quakes"]["state"], "live");
    daemon.stop();
    let mut ids: Vec<_> = query(&place, &[]).into_iter().map(|event| (event.topic, event.id.unwrap())).collect();
    ids.sort();
    let hour = |id: &str| ("hour.json".to_owned(), id.to_owned());
    assert_eq!(ids, [("b?s=1".to_owned(), "b".to_owned()), hour("q0"), hour("q1"), hour("q2")]);
    let account = accounts(&place)["quakes"];
    assert!(account.adds_up() && account.control >= 3 && account.quarantined == 0, "{account:?}");
    let targets: std::collections::BTreeSet<String> = feed.asked().into_iter().map(|asked| asked.target).collect();
    assert_eq!(targets.into_iter().collect::<Vec<_>>(), ["/feed/b?s=1", "/feed/hour.json"]);
}

#[test]
fn an_endpoint_that_fails_is_a_lost_link_with_its_gap_and_is_asked_ever_less_often() {
    let feed = HttpUpstream::start(|number, _| match number {
        3..=5 => Answer::status("503 Service Unavailable"),
        _ => Answer::ok("", &format!(r#"{{"features":[{{"id":"q{number}","place":"p","at":1700000000000}}]}}"#)),
    });
    let place = Workplace::new();
    let settings = Settings::new().with(QUAKES).upstream("earth", "quakes", &feed.url("/feed/")).monitor(
        "quakes",
        "nature",
        "earth",
        &["hour.json"],
        "",
    );
    let daemon = Daemon::start(&place, &settings);
    until("it answers again", || (feed.asked().len() > 7).then_some(()));
    let log = daemon.stop();
    assert!(log.contains("link lost") && log.contains("refused the request with HTTP 503"), "{log}");
    let gaps: serde_json::Value = serde_json::from_str(&json(&place, &["gaps"])).unwrap();
    assert_eq!(
        (gaps[0]["cause"].as_str(), gaps[0]["topic"].as_str()),
        (Some("disconnect"), Some("hour.json")),
        "{gaps}"
    );
    let ids: Vec<String> = query(&place, &[]).into_iter().filter_map(|event| event.id).collect();
    assert!(ids.contains(&"q6".to_owned()) && !ids.contains(&"q4".to_owned()), "{ids:?}");
}

#[test]
fn an_address_that_its_dialect_is_not_spoken_over_is_refused_with_what_to_write() {
    let says = |dialect: &str, url: &str| {
        let place = Workplace::new();
        Settings::new()
            .with(QUAKES)
            .upstream("feed", dialect, url)
            .monitor("m", "d", "feed", &["btcusdt@trade"], "")
            .write(&place);
        let outcome = place.run(["config", "check", "--config", "sluice.toml"]);
        assert_eq!(outcome.code, Some(78), "{outcome:?}");
        outcome.stderr + &outcome.stdout
    };
    let said = says("binance", "https://h/stream");
    assert!(said.contains("not spoken over `https:`; write `ws://HOST` or `wss://HOST`"), "{said}");
    let said = says("quakes", "wss://h/");
    assert!(said.contains("write `http://HOST` or `https://HOST`"), "{said}");
    let said = says("quakes", "ftp://h/");
    assert!(said.contains("`ftp:` is not spoken"), "{said}");
}
