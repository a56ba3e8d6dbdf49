//! Upstreams that wait to be told that we have what they sent: MQTT and NATS, recorded, written by a test, and real ones.

use std::collections::BTreeSet;
use std::io::Read as _;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use base64::Engine as _;
use bytes::BytesMut;
use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::{Packet, Publish};
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::stream::MaybeTlsStream;
use tokio_tungstenite::tungstenite::{self, Message, WebSocket, accept_hdr};

use super::nats_server::NatsServer;
use super::processes::{Account, Daemon, Event, Process, Settings, accounts, query, until};
use super::support::Workplace;

/// Accepts, and agrees to the protocol that is asked for.
#[expect(clippy::result_large_err, reason = "the library's callback has this shape")]
pub(crate) fn welcome(stream: TcpStream) -> Option<WebSocket<TcpStream>> {
    // A failure only makes it slower.
    stream.set_nodelay(true).ok();
    let agree = |request: &Request, mut response: Response| {
        if let Some(protocol) = request.headers().get("sec-websocket-protocol") {
            response.headers_mut().insert("sec-websocket-protocol", protocol.clone());
        }
        Ok(response)
    };
    accept_hdr(stream, agree).ok()
}

/// Serves the binary frames of a recording to the first connection, and nothing to later ones: the first `unasked` of them at once,
/// the others when the client has sent `asked`. Gives the address, and what came.
fn play(name: &str, unasked: usize, asked: usize) -> (SocketAddr, Arc<Mutex<Vec<u8>>>) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/data/{name}.session.jsonl.gz"));
    let mut text = String::new();
    flate2::read::GzDecoder::new(std::fs::File::open(path).unwrap()).read_to_string(&mut text).unwrap();
    let frames = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let frames = frames.filter(|frame| frame["dir"] == "in");
    let decode = |frame: serde_json::Value| {
        base64::engine::general_purpose::STANDARD.decode(frame["b64"].as_str().unwrap()).unwrap()
    };
    let frames: Vec<Vec<u8>> = frames.map(decode).collect();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, came) = (listener.local_addr().unwrap(), Arc::<Mutex<Vec<u8>>>::default());
    let noted = Arc::clone(&came);
    thread::spawn(move || {
        for (number, stream) in listener.incoming().enumerate() {
            let Some(mut socket) = stream.ok().and_then(welcome) else { continue };
            let (frames, noted) = (if number == 0 { frames.clone() } else { Vec::new() }, Arc::clone(&noted));
            thread::spawn(move || {
                let mut frames = frames.into_iter();
                for frame in frames.by_ref().take(unasked) {
                    // A client that leaves hears no more.
                    socket.send(Message::binary(frame)).ok();
                }
                let mut heard = 0;
                while let Ok(message) = socket.read() {
                    let Message::Binary(bytes) = message else { continue };
                    noted.lock().unwrap().extend_from_slice(&bytes);
                    heard += 1;
                    if heard == asked {
                        for frame in frames.by_ref() {
                            // As above.
                            socket.send(Message::binary(frame)).ok();
                        }
                    }
                }
            });
        }
    });
    (address, came)
}

#[test]
fn a_recorded_mqtt_session_is_journaled_to_the_byte_and_acknowledged() {
    let (address, came) = play("mqtt-websocket/qos1_sub", 0, 1);
    let place = Workplace::new();
    let settings = Settings::new().upstream("broker", "mqtt", &format!("ws://{address}")).monitor(
        "prices",
        "devices",
        "broker",
        &["md/#"],
        "",
    );
    let daemon = Daemon::start(&place, &settings);
    until("all is journaled", || (query(&place, &[]).len() == 4).then_some(()));
    until("what was sent with QoS 1 is acknowledged, in order", || {
        let came = came.lock().unwrap();
        came.ends_with(&[0x40, 2, 0, 1, 0x40, 2, 0, 2, 0x40, 2, 0, 3]).then_some(())
    });
    daemon.stop();
    let events = query(&place, &[]);
    let payloads: Vec<&str> = events.iter().map(|event| event.payload.get()).collect();
    let retained = r#"{"topic":"md/ret","qos":0,"text":"retained"}"#;
    assert_eq!(payloads, [r#"{"i":1}"#, r#"{"i":2}"#, r#"{"i":3}"#, retained]);
    assert_eq!(events[3].key.as_deref(), Some("md/ret"));
    let account = |events, control| Account { messages: events + control, events, control, ..Account::default() };
    assert_eq!(accounts(&place)["prices"], account(4, 0));
    assert_eq!(accounts(&place)["upstream:broker"], account(0, 3), "CONNACK, SUBACK, PINGRESP");
}

#[test]
fn a_recorded_nats_session_is_journaled_to_the_byte_and_the_error_that_ended_it_is_told() {
    let (address, came) = play("nats-websocket/core_sub", 1, 2);
    let place = Workplace::new();
    let settings = Settings::new()
        .upstream("bus", "nats", &format!("ws://{address}"))
        .monitor("all", "devices", "bus", &["md.>"], "")
        .monitor("one", "devices", "bus", &["md.btc"], "");
    let daemon = Daemon::start(&place, &settings);
    until("all is journaled", || (query(&place, &[]).len() == 9).then_some(()));
    until("the error is told", || daemon.log().contains("the server said: Unknown Protocol Operation").then_some(()));
    daemon.stop();
    let events = query(&place, &[]);
    let of = |monitor: &str| -> Vec<String> {
        let events = events.iter().filter(|event| event.monitor == monitor);
        events.map(|event| format!("{} {}", event.key.as_deref().unwrap_or("-"), event.payload.get())).collect()
    };
    let message =
        |i: u8| format!("md.{} {{\"i\": {i}, \"p\": \"1.5\"}}", if i.is_multiple_of(2) { "eth" } else { "btc" });
    assert_eq!(of("all"), (0..6).map(message).collect::<Vec<_>>());
    assert_eq!(of("one"), [1, 3, 5].map(message));
    let control = Account { messages: 7, control: 7, ..Account::default() };
    assert_eq!(accounts(&place)["upstream:bus"], control, "INFO, three +OK, PONG, PING, -ERR");
    let came = String::from_utf8(came.lock().unwrap().clone()).unwrap();
    assert!(came.contains("SUB md.> 1\r\nSUB md.btc 2\r\nPING\r\n"), "{came}");
}

pub(crate) fn send<S: std::io::Read + std::io::Write>(socket: &mut WebSocket<S>, packet: &Packet) -> Option<()> {
    let mut bytes = BytesMut::new();
    packet.write(&mut bytes, 1 << 20).unwrap();
    socket.send(Message::binary(bytes.to_vec())).ok()
}

pub(crate) fn ids(events: &[Event]) -> Vec<u64> {
    let mut ids: Vec<u64> = events.iter().map(|event| event.id.as_deref().expect("an id").parse().unwrap()).collect();
    ids.sort_unstable();
    ids
}

pub(crate) const WITH_ID: &str = "event = { id = \"/payload/id\", payload = \"/payload\", key = \"/topic\" }";

/// With what JSON would escape.
const PASSWORD: &str = "pass\"word\\1";

const MOSQUITTO: &str = r#"
[dialects.mosquitto]
extends = "mqtt"
username = "sluice"
password = "{auth.password}"
"#;

/// A port that hardly anybody else takes before the server does.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A real mosquitto that speaks WebSocket and knows one user. Killed when the test ends.
fn mosquitto(place: &Workplace) -> (Process, u16) {
    let passwords = place.path("passwords");
    let made = Command::new("mosquitto_passwd").args(["-b", "-c"]).arg(&passwords).args(["sluice", PASSWORD]).status();
    assert!(made.unwrap().success());
    #[cfg(unix)]
    {
        // As root it gives its rights up first, and must be able to read the file afterwards.
        use std::os::unix::fs::PermissionsExt as _;
        for (path, mode) in [(place.path("."), 0o755), (passwords.clone(), 0o644)] {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        }
    }
    let port = free_port();
    // With a listener for WebSocket alone, version 2.0.11 says that it could start none.
    let plain = free_port();
    let settings = format!(
        "listener {plain} 127.0.0.1\nlistener {port} 127.0.0.1\nprotocol websockets\npassword_file {}\n",
        passwords.display()
    );
    place.write("mosquitto.conf", settings);
    let mut command = Command::new("mosquitto");
    command.arg("-c").arg(place.path("mosquitto.conf"));
    let mut process = Process::of(command);
    until("mosquitto answers", || {
        assert!(!process.has_ended(), "mosquitto ended: {}", process.stderr());
        TcpStream::connect(("127.0.0.1", port)).ok()
    });
    (process, port)
}

/// Publishes with quality of service 1 and waits until the broker has each.
fn publish(port: u16, numbers: impl IntoIterator<Item = u16>) {
    let mut request = format!("ws://127.0.0.1:{port}").into_client_request().unwrap();
    request.headers_mut().insert("sec-websocket-protocol", HeaderValue::from_static("mqtt"));
    let (mut socket, _): (WebSocket<MaybeTlsStream<TcpStream>>, _) = tungstenite::connect(request).unwrap();
    let mut connect = rumqttc::mqttbytes::v4::Connect::new("publisher");
    connect.set_login("sluice", PASSWORD);
    send(&mut socket, &Packet::Connect(connect)).unwrap();
    let mut waiting = BTreeSet::new();
    for number in numbers {
        let mut publish = Publish::new("plant/hall", QoS::AtLeastOnce, format!("{{\"id\":{number}}}"));
        publish.pkid = number;
        waiting.insert(number);
        send(&mut socket, &Packet::Publish(publish)).unwrap();
    }
    let mut buffer = BytesMut::new();
    while !waiting.is_empty() {
        let Message::Binary(bytes) = socket.read().unwrap() else { continue };
        buffer.extend_from_slice(&bytes);
        while let Ok(packet) = Packet::read(&mut buffer, 1 << 20) {
            if let Packet::PubAck(answer) = packet {
                waiting.remove(&answer.pkid);
            }
        }
    }
}

#[test]
fn what_a_real_mosquitto_has_while_the_daemon_is_dead_is_journaled_once() {
    let place = Workplace::new().with_variable("PASSWORD", PASSWORD);
    let (_mosquitto, port) = mosquitto(&place);
    let settings = Settings::new()
        .with(MOSQUITTO)
        .upstream("broker", "mosquitto", &format!("ws://127.0.0.1:{port}"))
        .with("auth.secrets.password = { env = \"PASSWORD\" }")
        .monitor("plant", "devices", "broker", &["plant/+"], WITH_ID);
    let daemon = Daemon::start(&place, &settings);
    until("it is live", || (daemon.monitors()["plant"]["state"] == "live").then_some(()));
    publish(port, 1..=200);
    until("some are durable", || (query(&place, &[]).len() > 20).then_some(()));
    daemon.kill();
    publish(port, 201..=300);
    let daemon = Daemon::again(&place);
    until("all are durable", || (query(&place, &[]).len() >= 300).then_some(()));
    daemon.stop();
    assert_eq!(ids(&query(&place, &[])), (1..=300).collect::<Vec<_>>());
    assert!(accounts(&place)["plant"].adds_up());
}

#[test]
fn a_stop_in_order_leaves_nothing_to_be_sent_again_so_that_nothing_comes_twice_without_ids_either() {
    let place = Workplace::new().with_variable("PASSWORD", PASSWORD);
    let (_mosquitto, port) = mosquitto(&place);
    let settings = Settings::new()
        .with(MOSQUITTO)
        // So that much is read and not durable at any time.
        .with("[batch]\nmin_size = 1000\ntimeout = \"400ms\"")
        .upstream("broker", "mosquitto", &format!("ws://127.0.0.1:{port}"))
        .with("auth.secrets.password = { env = \"PASSWORD\" }")
        .monitor("plant", "devices", "broker", &["plant/+"], "");
    let mut daemon = Daemon::start(&place, &settings);
    until("it is live", || (daemon.monitors()["plant"]["state"] == "live").then_some(()));
    for begin in [1, 31, 61] {
        publish(port, begin..begin + 30);
        until("some are read", || (daemon.frames("broker") > 10).then_some(()));
        daemon.stop();
        daemon = Daemon::again(&place);
    }
    let payloads = || query(&place, &[]).iter().map(|event| event.payload.get().to_owned()).collect::<Vec<_>>();
    until("all are durable", || (payloads().len() >= 90).then_some(()));
    daemon.stop();
    let mut payloads = payloads();
    payloads.sort_by_key(|payload| (payload.len(), payload.clone()));
    assert_eq!(payloads, (1..=90).map(|number| format!("{{\"id\":{number}}}")).collect::<Vec<_>>());
}

#[test]
fn what_a_jetstream_consumer_of_a_real_nats_server_delivers_is_acknowledged_when_durable_and_journaled_once() {
    use async_nats::jetstream::consumer::{AckPolicy, push};
    use async_nats::jetstream::stream;
    let port = free_port();
    // Whoever comes over WebSocket must say who they are.
    let server = NatsServer::with(&format!(
        "websocket {{ listen: \"127.0.0.1:{port}\", no_tls: true, authorization {{ token: \"let me in\" }} }}\n"
    ));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let context = runtime.block_on(server.jetstream());
    let config = stream::Config { name: "PLANT".into(), subjects: vec!["plant.>".into()], ..Default::default() };
    let stream = runtime.block_on(context.create_stream(config)).unwrap();
    let consumer = push::Config {
        durable_name: Some("sluice".into()),
        deliver_subject: "deliver.sluice".into(),
        ack_policy: AckPolicy::Explicit,
        ack_wait: Duration::from_millis(500),
        ..Default::default()
    };
    runtime.block_on(stream.create_consumer(consumer)).unwrap();
    let publish = |numbers: std::ops::RangeInclusive<u64>| {
        for number in numbers {
            let published = async {
                context.publish("plant.hall", format!("{{\"n\":{number}}}").into()).await.unwrap().await.unwrap();
            };
            runtime.block_on(published);
        }
    };
    let place = Workplace::new().with_variable("TOKEN", "let me in");
    let settings = Settings::new()
        .with("[dialects.guarded]\nextends = \"nats\"\nconnect = { auth_token = \"{auth.token_text}\" }")
        .upstream("bus", "guarded", &format!("ws://127.0.0.1:{port}"))
        .with("auth.secrets.token_text = { env = \"TOKEN\" }")
        .monitor("plant", "devices", "bus", &["deliver.sluice"], "")
        .monitor("core", "devices", "bus", &["other.*"], "");
    let daemon = Daemon::start(&place, &settings);
    let live = |monitor: &str| daemon.monitors()[monitor]["state"] == "live";
    until("it is live", || (live("plant") && live("core")).then_some(()));
    publish(1..=50);
    let core = async {
        let client = async_nats::connect(server.url()).await.unwrap();
        client.publish("other.x", "plain text".into()).await.unwrap();
        client.flush().await.unwrap();
    };
    runtime.block_on(core);
    until("some are durable", || (query(&place, &["--monitor", "plant"]).len() > 10).then_some(()));
    until("and what came by core NATS", || query(&place, &["--monitor", "core"]).pop());
    daemon.kill();
    publish(51..=80);
    let daemon = Daemon::again(&place);
    until("all are durable", || (query(&place, &["--monitor", "plant"]).len() >= 80).then_some(()));
    until("all are acknowledged", || {
        let consumer = runtime.block_on(stream.consumer_info("sluice")).unwrap();
        (consumer.num_ack_pending == 0 && consumer.num_pending == 0).then_some(())
    });
    daemon.stop();
    let mut sequences: Vec<u64> = query(&place, &["--monitor", "plant"])
        .iter()
        .map(|event| {
            assert_eq!(event.key.as_deref(), Some("plant.hall"));
            assert!(event.event_time.is_some());
            let (stream, sequence) = event.id.as_deref().expect("an id").split_once(':').expect("two parts");
            assert_eq!(stream, "PLANT");
            assert_eq!(event.payload.get(), format!("{{\"n\":{sequence}}}"));
            sequence.parse().unwrap()
        })
        .collect();
    sequences.sort_unstable();
    assert_eq!(sequences, (1..=80).collect::<Vec<_>>());
    let core = query(&place, &["--monitor", "core"]);
    assert_eq!(core[0].payload.get(), r#"{"subject":"other.x","text":"plain text"}"#);
}
