//! A broker's messages are acknowledged when they are durable, wherever the daemon dies.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use bytes::BytesMut;
use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::{ConnAck, ConnectReturnCode, Packet, Publish, SubAck, SubscribeReasonCode};
use tokio_tungstenite::tungstenite::{Message, WebSocket};

use super::brokers::{WITH_ID, ids, send, welcome};
use super::processes::{Daemon, Process, Settings, accounts, query, until};
use super::support::Workplace;

/// A broker that keeps what is not acknowledged, and sends it again, marked, to the same client.
#[derive(Default)]
struct Broker {
    /// By packet id; whether it was sent before.
    kept: BTreeMap<u16, bool>,
    acknowledged: BTreeSet<u16>,
    clients: BTreeSet<String>,
    /// Times that something was sent again.
    again: u32,
}

const MESSAGES: u16 = 40;
/// So many are under way at once, as brokers have it.
const WINDOW: usize = 3;

fn serve_mqtt(mut socket: WebSocket<TcpStream>, broker: &Mutex<Broker>) -> Option<()> {
    let mut buffer = BytesMut::new();
    // Sent over this connection.
    let mut sent = BTreeSet::new();
    let mut subscribed = false;
    loop {
        let Message::Binary(bytes) = socket.read().ok()? else { continue };
        buffer.extend_from_slice(&bytes);
        while !buffer.is_empty() {
            let answer = match Packet::read(&mut buffer, 1 << 20).ok()? {
                Packet::Connect(connect) => {
                    assert!(!connect.clean_session, "the session is to be kept");
                    let known = !broker.lock().unwrap().clients.insert(connect.client_id);
                    Some(Packet::ConnAck(ConnAck::new(ConnectReturnCode::Success, known)))
                }
                Packet::Subscribe(subscribe) => {
                    subscribed = true;
                    let codes = vec![SubscribeReasonCode::Success(QoS::AtLeastOnce); subscribe.filters.len()];
                    Some(Packet::SubAck(SubAck::new(subscribe.pkid, codes)))
                }
                Packet::PubAck(answer) => {
                    let mut broker = broker.lock().unwrap();
                    broker.kept.remove(&answer.pkid);
                    broker.acknowledged.insert(answer.pkid);
                    sent.remove(&answer.pkid);
                    None
                }
                Packet::PingReq => Some(Packet::PingResp),
                other => panic!("{other:?}"),
            };
            if let Some(answer) = answer {
                send(&mut socket, &answer)?;
            }
        }
        if !subscribed {
            continue;
        }
        let next: Vec<(u16, bool)> = {
            let mut broker = broker.lock().unwrap();
            let room = WINDOW - sent.len();
            let next = broker.kept.iter().filter(|(id, _)| !sent.contains(*id)).take(room);
            let next: Vec<(u16, bool)> = next.map(|(id, before)| (*id, *before)).collect();
            for (id, before) in &next {
                broker.again += u32::from(*before);
                broker.kept.insert(*id, true);
            }
            next
        };
        for (id, before) in next {
            sent.insert(id);
            let mut publish = Publish::new("plant/hall", QoS::AtLeastOnce, format!("{{\"id\":{id}}}"));
            (publish.pkid, publish.dup) = (id, before);
            send(&mut socket, &Packet::Publish(publish))?;
        }
    }
}

#[test]
fn what_a_broker_was_told_that_we_have_is_durable_whenever_we_die_and_nothing_is_lost_or_comes_twice() {
    for point in ["journal.appended", "journal.synced", "journal.watermark_written", "journal.published"] {
        let broker = Broker { kept: (1..=MESSAGES).map(|id| (id, false)).collect(), ..Broker::default() };
        let broker = Arc::new(Mutex::new(broker));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("ws://{}", listener.local_addr().unwrap());
        let serving = Arc::clone(&broker);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, serving) = (stream.unwrap(), Arc::clone(&serving));
                thread::spawn(move || serve_mqtt(welcome(stream)?, &serving));
            }
        });
        let place = Workplace::new();
        Settings::new()
            .with("[batch]\nmin_size = 1\nmax_size = 20\ntimeout = \"20ms\"")
            .upstream("broker", "mqtt", &url)
            .monitor("plant", "devices", "broker", &["plant/+"], WITH_ID)
            .write(&place);
        for hit in [2, 4, 7] {
            let mut command = place.command(["run", "--config", "sluice.toml"]);
            command.env("FAILPOINTS", format!("{point}={hit}*off->return"));
            let mut doomed = Process::of(command);
            until(&format!("it dies at {point}"), || doomed.has_ended().then_some(()));
            let durable: BTreeSet<u64> = ids(&query(&place, &[])).into_iter().collect();
            let told = broker.lock().unwrap().acknowledged.clone();
            let missing: Vec<_> = told.iter().filter(|id| !durable.contains(&u64::from(**id))).collect();
            assert!(missing.is_empty(), "{point}, hit {hit}: acknowledged and not durable: {missing:?}");
        }
        let daemon = Daemon::again(&place);
        until("all is acknowledged", || broker.lock().unwrap().kept.is_empty().then_some(()));
        daemon.stop();
        assert_eq!(ids(&query(&place, &[])), (1..=u64::from(MESSAGES)).collect::<Vec<_>>(), "{point}");
        let broker = broker.lock().unwrap();
        assert!(broker.again > 0, "{point}: something was under way when it died");
        assert_eq!(broker.clients.len(), 1, "the same client after every start: {:?}", broker.clients);
        assert!(accounts(&place)["plant"].adds_up());
    }
}
