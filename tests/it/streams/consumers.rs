//! Named consumers: whoever comes by the name goes on behind what was committed.

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use super::super::processes::{Daemon, request, until};
use super::super::support::Workplace;
use super::{Sse, journaled, start, text, websocket};

fn commit(socket: &mut super::Socket, offset: u64) -> u64 {
    socket.send(Message::text(json!({"type": "commit", "offset": offset}).to_string())).unwrap();
    loop {
        let said = text(socket);
        match said["type"].as_str() {
            Some("committed") => return said["offset"].as_u64().unwrap(),
            Some("error") => panic!("{said}"),
            _ => {}
        }
    }
}

#[test]
fn a_consumer_goes_on_behind_what_it_committed_also_when_the_daemon_has_died() {
    let place = Workplace::new();
    let (mut daemon, feed) = start(&place, "400", "");
    let mut handled = Vec::new();
    for _ in 0..3 {
        let mut socket = websocket(daemon.address(), "?consumer=billing&from=0");
        assert_eq!(text(&mut socket)["type"], "initial");
        for _ in 0..150 {
            let event = text(&mut socket);
            handled.push((event["offset"].as_u64().unwrap(), event["payload"].to_string()));
        }
        let last = handled.last().unwrap().0;
        assert_eq!(commit(&mut socket, last), last);
        // What it is told from here on it never committed.
        daemon.kill();
        daemon = Daemon::again(&place);
    }
    assert_eq!(handled, journaled(&place, &[])[..450]);
    drop((daemon, feed));
}

#[test]
fn the_newest_client_has_the_name_and_the_one_before_is_told() {
    let place = Workplace::new();
    let (daemon, feed) = start(&place, "100", "");
    let mut first = websocket(daemon.address(), "?consumer=one");
    assert_eq!(text(&mut first)["type"], "initial");
    let mut second = websocket(daemon.address(), "?consumer=one");
    assert_eq!(text(&mut second)["type"], "initial");
    let closed = loop {
        let said = text(&mut first);
        if said["type"] == "closed" {
            break said;
        }
    };
    assert_eq!(closed["kind"], "taken_over");
    let of = |daemon: &Daemon| -> Value { serde_json::from_str(&daemon.get("/v1/consumers").1).unwrap() };
    assert_eq!(of(&daemon)[0]["connected"], true);
    drop(second);
    until("the consumer is away", || (of(&daemon)[0]["connected"] == false).then_some(()));
    drop((daemon, feed));
}

#[test]
fn a_consumer_is_moved_and_forgotten_over_http_durably() {
    let place = Workplace::new();
    let (daemon, feed) = start(&place, "400", "");
    drop(Sse::open(daemon.address(), "?consumer=sse&from=0", "").event().unwrap());
    let call = |daemon: &Daemon, method: &str, body: &str| {
        let address = daemon.address();
        let text = format!(
            "{method} /v1/consumers/sse HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        request(address, &text).unwrap()
    };
    until("enough is durable", || {
        (super::super::processes::stat(&place)["durable_offset"].as_u64()? > 60).then_some(())
    });
    let (status, body) = call(&daemon, "PUT", r#"{"offset": 41}"#);
    assert_eq!(status, 200, "{body}");
    daemon.kill();
    let daemon = Daemon::again(&place);
    let row = |daemon: &Daemon| daemon.get("/v1/consumers/sse");
    assert!(row(&daemon).1.contains(r#""next":42"#), "{}", row(&daemon).1);
    assert_eq!(
        Sse::open(daemon.address(), "?consumer=sse", "").event().unwrap().id,
        Some(journaled(&place, &["--from", "42"])[0].0)
    );
    let (status, ahead) = call(&daemon, "PUT", r#"{"offset": 9999999}"#);
    assert!(status == 400 && ahead.contains("not durable"), "{status}: {ahead}");
    assert_eq!(call(&daemon, "DELETE", "").0, 204);
    assert_eq!(row(&daemon).0, 404);
    daemon.kill();
    let daemon = Daemon::again(&place);
    assert_eq!(row(&daemon).0, 404);
    drop((daemon, feed));
}
