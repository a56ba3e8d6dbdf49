//! What comes to the stream, and what can be read back.

use sluice::journal::{Ancestor, JournalId, Offset};
use sluice::sink::{Opening, Purpose, Store as _, StoreError, StoredPayload};

use super::bus::{Bus, SINK, assert_holds, header, messages};
use crate::nats_server::NatsServer;

#[tokio::test(flavor = "multi_thread")]
async fn every_event_is_published_once_in_order_with_all_that_is_known_of_it() {
    let server = NatsServer::start();
    let mut bus = Bus::new(&server.url());
    bus.append(300);
    assert_eq!(bus.open().await, Ok(None), "it has never had anything");
    bus.write(0..100).await.unwrap();
    bus.write(100..300).await.unwrap();
    assert_holds(&server, "SLUICE_BUS", 0..300).await;

    let journal = bus.journal.id();
    let message = &messages(&server, "SLUICE_BUS").await[7];
    assert_eq!(message.subject.as_str(), "sluice.bus.trading.spot%2Etrades");
    let expected = [
        ("Nats-Msg-Id", format!("{journal}-7")),
        ("Nats-Expected-Last-Sequence", "7".into()),
        ("Nats-Expected-Last-Msg-Id", format!("{journal}-6")),
        ("Sluice-Sink", "bus".into()),
        ("Sluice-Journal", journal.to_string()),
        ("Sluice-Offset", "7".into()),
        ("Sluice-Monitor", "spot.trades".into()),
        ("Sluice-Domain", "trading".into()),
        ("Sluice-Topic", "trades".into()),
        ("Sluice-Key", "BTC/USD".into()),
        ("Sluice-Id", "7".into()),
        ("Sluice-Event-Time", "2025-12-31T23:59:59.950007Z".into()),
        ("Sluice-Received-Time", "2026-01-01T00:00:00.000007Z".into()),
        ("Sluice-Path", "smart".into()),
    ];
    for (name, value) in &expected {
        assert_eq!(header(message, name).as_ref(), Some(value), "{name}");
    }
    assert_eq!(message.headers.len(), expected.len());

    // Another process goes on where the stream ends.
    bus.restart();
    assert_eq!(bus.open().await, Ok(Some(Offset(300))));
    let figures = bus.store.figures();
    assert_eq!(figures.sequence, Some(300));
    assert!(figures.bytes.unwrap() > 300 * 100, "{figures:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn texts_that_nats_cannot_carry_are_escaped_and_make_no_header_of_their_own() {
    let server = NatsServer::start();
    let mut bus = Bus::with(&server.url(), r#"subject = "sluice.bus.{key}""#);
    let key = "v1.*>$ \r\nNats-Rollup: all\r\n\u{fc}";
    bus.append_one("logs {\"a\":\"b\"}\r\nX: y", key, "{}");
    bus.append_one("", "", "{}");
    bus.follow().await;
    let messages = messages(&server, "SLUICE_BUS").await;
    assert_eq!(messages.len(), 2);
    assert_eq!(messages[0].subject.as_str(), "sluice.bus.v1%2E%2A%3E%24%20%0D%0ANats-Rollup:%20all%0D%0A%C3%BC");
    assert_eq!(header(&messages[0], "Sluice-Topic").unwrap(), r#"logs {"a":"b"}%0D%0AX: y"#);
    assert_eq!(header(&messages[0], "Sluice-Key").unwrap(), "v1.*>$ %0D%0ANats-Rollup: all%0D%0A%C3%BC");
    assert_eq!(header(&messages[0], "Nats-Rollup"), None);
    assert_eq!(messages[1].subject.as_str(), "sluice.bus.%");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_server_takes_is_parked_once_and_the_rest_flows() {
    let server = NatsServer::with("max_payload: 2000\n");
    let mut bus = Bus::with(&server.url(), r#"subject = "sluice.bus.{key}""#);
    bus.append(10);
    bus.append_one("trades", "big", &"x".repeat(3000));
    bus.append(10);
    bus.append_one("trades", &"long".repeat(600), "{}");
    bus.append(5);
    let account = bus.follow().await;
    let parked: Vec<u64> = account.parked.iter().map(|parked| parked.offset).collect();
    assert_eq!(parked, [10, 21]);
    assert!(account.parked[0].reason.contains("`max_payload` is 2000"), "{}", account.parked[0].reason);
    assert!(account.parked[1].reason.contains("subject"), "{}", account.parked[1].reason);
    assert_holds(&server, "SLUICE_BUS", (0..10).chain(11..21).chain(22..27)).await;

    // The cursor is the last message: behind it they are refused again after a crash, and still parked once.
    bus.append_one("trades", "big", &"y".repeat(3000));
    for _ in 0..2 {
        bus.restart();
        bus.follow().await;
    }
    let opening = bus.opening.clone();
    let parked = bus.store.parked(&opening, 100).await.unwrap();
    let offsets: Vec<u64> = parked.iter().map(|parked| parked.offset).collect();
    assert_eq!(offsets, [10, 21, 27]);
    assert_eq!(parked[0].payload.len(), 3000);
    assert_eq!((parked[0].monitor.as_str(), parked[0].domain.as_str()), ("spot.trades", "trading"));
    assert_eq!(bus.store.parked(&opening, 1).await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_larger_than_the_stream_wants_is_refused_before_anything_of_its_batch_is_published() {
    let server = NatsServer::start();
    let mut bus = Bus::new(&server.url());
    let context = server.jetstream().await;
    let config = async_nats::jetstream::stream::Config {
        name: "SLUICE_BUS".into(),
        subjects: vec!["sluice.bus.>".into()],
        max_message_size: 1500,
        ..Default::default()
    };
    context.create_stream(config).await.unwrap();
    bus.append(5);
    bus.append_one("trades", "k", &"x".repeat(1400));
    bus.open().await.unwrap();
    let Err(StoreError::Refused { reason, offset }) = bus.write(0..6).await else { panic!("it was taken") };
    assert_eq!(offset, Some(Offset(5)));
    assert!(reason.contains("max_msg_size"), "{reason}");
    assert_eq!(bus.open().await, Ok(None), "nothing of it was published");
}

#[tokio::test(flavor = "multi_thread")]
async fn events_that_are_not_wanted_move_the_cursor_and_leave_no_message() {
    let server = NatsServer::start();
    let mut bus = Bus::new(&server.url());
    bus.append(20);
    bus.open().await.unwrap();
    bus.write(0..10).await.unwrap();
    let mut empty = sluice::sink::BatchBuilder::new(Offset(10));
    empty.reach(Offset(15));
    bus.store.write(&empty.finish()).await.unwrap();
    assert_eq!(bus.open().await, Ok(Some(Offset(15))), "known in this process");
    let figures = bus.store.figures();

    bus.restart();
    assert_eq!(bus.open().await, Ok(Some(Offset(10))), "what the stream says");
    bus.restart();
    (bus.opening.known_sequence, bus.opening.known_next) = (figures.sequence, Some(Offset(15)));
    assert_eq!(bus.open().await, Ok(Some(Offset(15))), "what a checkpoint says of the same message");
    bus.write(15..20).await.unwrap();
    bus.restart();
    assert_eq!(bus.open().await, Ok(Some(Offset(20))), "a checkpoint of an earlier one says nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_stream_has_is_never_published_again() {
    let server = NatsServer::start();
    let mut bus = Bus::new(&server.url());
    bus.append(20);
    bus.open().await.unwrap();
    bus.write(0..10).await.unwrap();
    assert!(matches!(bus.write(5..20).await, Err(StoreError::Moved(_))));
    bus.follow().await;
    assert_holds(&server, "SLUICE_BUS", 0..20).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_published_can_be_read_back_whole_and_in_part() {
    let server = NatsServer::start();
    let mut bus = Bus::new(&server.url());
    bus.append(1500);
    bus.follow().await;
    for span in [0..1500, 700..1203, 1499..9000, 1500..1600, 0..0] {
        let mut rows = Vec::new();
        let opening = Opening { purpose: Purpose::Inspect, ..bus.opening.clone() };
        let offsets = Offset(span.start)..Offset(span.end);
        let mut take = |row: sluice::sink::StoredRow<'_>| {
            let StoredPayload::Raw(payload) = row.payload else { panic!("it is raw") };
            assert_eq!(row.monitor, "spot.trades");
            assert_eq!(row.received.0, crate::journal::support::START + i64::try_from(row.offset.0).unwrap() * 1000);
            assert_eq!(payload, super::bus::payload(row.offset.0).as_bytes());
            rows.push(row.offset.0);
        };
        bus.store.read_back(&opening, offsets, &mut take).await.unwrap();
        assert_eq!(rows, (span.start..span.end.min(1500)).collect::<Vec<_>>());
    }
    // Without a trace on the server.
    let mut stream = server.jetstream().await.get_stream("SLUICE_BUS").await.unwrap();
    assert_eq!(stream.info().await.unwrap().state.consumer_count, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_goes_into_an_empty_stream_only_and_resumes_there() {
    let server = NatsServer::start();
    let mut bus = Bus::new(&server.url());
    bus.append(50);
    bus.follow().await;
    let live = bus.opening.clone();
    let replay = |id: &str, to: Option<&str>| Opening {
        purpose: Purpose::Replay { id: id.into(), to: to.map(str::to_owned) },
        ..live.clone()
    };
    let refusal = bus.store.open(&replay("r1", None)).await.unwrap_err().to_string();
    assert!(refusal.contains("--to"), "{refusal}");
    let refusal = bus.store.open(&replay("r1", Some("SLUICE_BUS"))).await.unwrap_err().to_string();
    assert!(refusal.contains("SLUICE_BUS"), "{refusal}");

    bus.restart();
    assert_eq!(bus.store.open(&replay("r1", Some("AGAIN"))).await, Ok(None));
    let first = bus.batch(10..30);
    bus.store.write(&first).await.unwrap();
    bus.restart();
    assert_eq!(bus.store.open(&replay("r1", Some("AGAIN"))).await, Ok(Some(Offset(30))));
    let second = bus.batch(30..50);
    bus.store.write(&second).await.unwrap();
    bus.store.close(true).await.unwrap();
    assert_holds(&server, "AGAIN", 10..50).await;
    assert_eq!(messages(&server, "AGAIN").await[0].subject.as_str(), "sluice.replay.AGAIN.trading.spot%2Etrades");
    bus.restart();
    let refusal = bus.store.open(&replay("r2", Some("AGAIN"))).await.unwrap_err().to_string();
    assert!(refusal.contains("empty"), "{refusal}");
    // The live cursor has not moved.
    bus.restart();
    assert_eq!(bus.open().await, Ok(Some(Offset(50))));
    assert_holds(&server, "SLUICE_BUS", 0..50).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_restore_the_stream_of_the_ancestor_is_gone_on_with() {
    let server = NatsServer::start();
    let mut bus = Bus::new(&server.url());
    bus.append(50);
    bus.follow().await;
    // Restored with the first 40: what follows is another history.
    let old = bus.journal.id();
    let new = JournalId::random();
    let ancestors: std::sync::Arc<[Ancestor]> = [Ancestor { journal: old, end: Offset(40) }].into();
    let opening = Opening { ancestors, ..Opening::live(SINK, new) };
    bus.restart();
    assert_eq!(bus.store.open(&opening).await, Ok(Some(Offset(40))));
    let batch = bus.batch(40..45);
    bus.store.write(&batch).await.unwrap();
    let mut rows = Vec::new();
    let mut take = |row: sluice::sink::StoredRow<'_>| rows.push(row.offset.0);
    bus.store.read_back(&opening, Offset(35)..Offset(100), &mut take).await.unwrap();
    assert_eq!(rows, (35..45).collect::<Vec<_>>(), "what the ancestor had beyond its end is none of this journal's");
    let last = messages(&server, "SLUICE_BUS").await.pop().unwrap();
    assert_eq!(header(&last, "Nats-Msg-Id"), Some(format!("{new}-44")));
}
