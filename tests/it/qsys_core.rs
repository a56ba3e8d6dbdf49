//! A Core of Q-SYS as its documentation describes it, over TCP and over WebSocket.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::{Message, WebSocket, accept};

use super::processes::{Daemon, Settings, accounts, json as printed, query, until};
use super::support::Workplace;

/// Either way of speaking.
enum Line {
    Tcp(BufReader<TcpStream>, TcpStream),
    WebSocket(Box<WebSocket<TcpStream>>),
}

impl Line {
    fn hear(&mut self) -> Option<Value> {
        let text = match self {
            Self::Tcp(reader, _) => {
                let mut bytes = Vec::new();
                reader.read_until(0, &mut bytes).ok().filter(|read| *read > 0)?;
                assert_eq!(bytes.pop(), Some(0), "a command ends with a NUL");
                String::from_utf8(bytes).unwrap()
            }
            Self::WebSocket(socket) => loop {
                if let Message::Text(text) = socket.read().ok()? {
                    break text.to_string();
                }
            },
        };
        Some(serde_json::from_str(&text).unwrap())
    }

    fn say(&mut self, text: &str) -> Option<()> {
        match self {
            Self::Tcp(_, stream) => {
                // In two pieces, as TCP may have it.
                let (one, other) = text.as_bytes().split_at(text.len() / 2);
                stream.write_all(one).ok()?;
                stream.flush().ok()?;
                stream.write_all(&[other, &[0]].concat()).ok()
            }
            Self::WebSocket(socket) => socket.send(Message::text(text)).ok(),
        }
    }
}

/// Connections beyond these are left alone.
const CONNECTIONS: usize = 2;

/// Serves two connections: what is asked for is taken but for the control `Missing`; when all is looked at, every value is told, then
/// changes one by one; then the first connection is cut.
fn serve(mut line: Line, number: usize, seen: &Mutex<Vec<String>>) -> Option<()> {
    line.say(r#"{"jsonrpc":"2.0","method":"EngineStatus","params":{"State":"Active","DesignName":"Hall","DesignCode":"c0","IsRedundant":false,"IsEmulator":true}}"#)?;
    loop {
        let request = line.hear()?;
        let (method, id) = (request["method"].as_str().unwrap().to_owned(), request["id"].clone());
        seen.lock().unwrap().push(format!("{number} {method}"));
        if request["params"].to_string().contains("Missing") {
            line.say(
                &json!({"jsonrpc": "2.0", "error": {"code": 8, "message": "Unknown control"}, "id": id}).to_string(),
            )?;
            continue;
        }
        if method != "ChangeGroup.AutoPoll" {
            line.say(&json!({"jsonrpc": "2.0", "result": true, "id": id}).to_string())?;
            continue;
        }
        let group = request["params"]["Id"].as_str().unwrap();
        let all = r#"{"Name":"Main Gain","Value":-12.50,"String":"-12.5dB"},{"Component":"Mixer","Name":"mute","Value":false,"String":"unmuted"}"#;
        line.say(&format!(r#"{{"jsonrpc":"2.0","result":{{"Id":"{group}","Changes":[{all}]}},"id":{id}}}"#))?;
        for value in 1..=5 {
            let change = format!(r#"{{"Name":"Main Gain","Value":{value}.0,"String":"{value}dB"}}"#);
            line.say(&format!(r#"{{"jsonrpc":"2.0","result":{{"Id":"{group}","Changes":[{change}]}},"id":{id}}}"#))?;
        }
        line.say(&format!(r#"{{"jsonrpc":"2.0","result":{{"Id":"{group}","Changes":[]}},"id":{id}}}"#))?;
        if number == 1 {
            return None;
        }
    }
}

fn try_core(scheme: &'static str) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("{scheme}://{}/qrc", listener.local_addr().unwrap());
    let seen = Arc::<Mutex<Vec<String>>>::default();
    let noted = Arc::clone(&seen);
    thread::spawn(move || {
        for (number, stream) in (1..=CONNECTIONS).zip(listener.incoming()) {
            let (stream, noted) = (stream.unwrap(), Arc::clone(&noted));
            thread::spawn(move || {
                // A failure only makes it slower.
                stream.set_nodelay(true).ok();
                let line = match scheme {
                    "tcp" => Line::Tcp(BufReader::new(stream.try_clone().unwrap()), stream),
                    _ => Line::WebSocket(Box::new(accept(stream).unwrap())),
                };
                serve(line, number, &noted)
            });
        }
    });
    let place = Workplace::new();
    let settings = Settings::new()
        .upstream("core", "qsys", &url)
        .monitor("gain", "devices", "core", &["Main Gain"], "")
        .monitor("mixer", "devices", "core", &["Mixer/mute", "Mixer/Missing"], "");
    let daemon = Daemon::start(&place, &settings);
    until("both connections have told all", || (query(&place, &[]).len() == 14).then_some(()));
    let log = daemon.stop();
    assert!(log.contains("Unknown control (8)"), "{log}");
    let events = query(&place, &["--monitor", "gain"]);
    let values: Vec<&str> = events.iter().map(|event| event.payload.get()).collect();
    let mut expected = vec![r#"{"Name":"Main Gain","Value":-12.50,"String":"-12.5dB"}"#.to_owned()];
    expected.extend((1..=5).map(|value| format!(r#"{{"Name":"Main Gain","Value":{value}.0,"String":"{value}dB"}}"#)));
    assert_eq!(values, [expected.clone(), expected].concat(), "to the byte, and all again after a new connection");
    assert!(events.iter().all(|event| event.key.as_deref() == Some("Main Gain") && event.id.is_none()));
    let mixer = query(&place, &["--monitor", "mixer"]);
    assert_eq!((mixer.len(), mixer[0].topic.as_str()), (2, "Mixer/mute"));
    let accounts = accounts(&place);
    assert_eq!((accounts["gain"].events, accounts["gain"].quarantined), (12, 0));
    assert!(accounts.values().all(|account| account.adds_up() && account.quarantined == 0), "{accounts:?}");
    let gaps: Value = serde_json::from_str(&printed(&place, &["gaps"])).unwrap();
    let lost = gaps.as_array().unwrap().iter().filter(|gap| gap["cause"] == "disconnect").count();
    assert_eq!(lost, 2, "{gaps}");
    let seen = seen.lock().unwrap();
    for number in 1..=CONNECTIONS {
        let of: Vec<&str> = seen.iter().filter_map(|line| line.strip_prefix(&format!("{number} "))).collect();
        assert_eq!(of.iter().filter(|method| **method == "ChangeGroup.AutoPoll").count(), 1, "{of:?}");
        assert_eq!(of.iter().filter(|method| **method == "ChangeGroup.Invalidate").count(), 1, "{of:?}");
    }
}

#[test]
fn every_change_of_a_core_is_journaled_over_tcp() {
    try_core("tcp");
}

#[test]
fn every_change_of_a_core_is_journaled_over_websocket() {
    try_core("ws");
}
