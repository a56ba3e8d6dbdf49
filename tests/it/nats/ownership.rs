//! A stream belongs to one sink of one journal; what cannot be reconciled stops the sink and says what to do.

use async_nats::jetstream::stream::{Config, RetentionPolicy};
use sluice::journal::Offset;
use sluice::sink::{AnyStore, Opening, Store as _, StoreError};

use super::bus::{Bus, assert_holds};
use crate::nats_server::NatsServer;

/// Why the sink stands still.
async fn stop_of(bus: &mut Bus) -> String {
    match bus.open().await {
        Err(StoreError::Stop(reason)) => reason,
        other => panic!("it does not stop: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_with_events_of_another_journal_is_refused() {
    let server = NatsServer::start();
    let mut theirs = Bus::new(&server.url());
    theirs.append(3);
    theirs.follow().await;
    let mut ours = Bus::new(&server.url());
    ours.append(3);
    let reason = stop_of(&mut ours).await;
    for part in ["another journal", &theirs.journal.id().to_string(), &ours.journal.id().to_string(), "nats stream rm"]
    {
        assert!(reason.contains(part), "{reason}");
    }
    assert_holds(&server, "SLUICE_BUS", 0..3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_others_publish_to_is_refused() {
    let server = NatsServer::start();
    let mut bus = Bus::new(&server.url());
    bus.append(10);
    bus.open().await.unwrap();
    bus.write(0..5).await.unwrap();
    let context = server.jetstream().await;
    context.publish("sluice.bus.trading.x", "not ours".into()).await.unwrap().await.unwrap();
    let error = bus.write(5..10).await.unwrap_err();
    assert!(matches!(error, StoreError::Moved(_)), "{error}");
    let reason = stop_of(&mut bus).await;
    assert!(reason.contains("has messages that this sink has not published"), "{reason}");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_sinks_cannot_share_a_stream() {
    let server = NatsServer::start();
    let mut bus = Bus::new(&server.url());
    bus.append(3);
    // As its description says, before there is a message.
    bus.open().await.unwrap();
    let mut other = Opening::live("other", bus.journal.id());
    let sink = toml::from_str("kind = \"nats\"\nstream = \"SLUICE_BUS\"\nsubject = \"sluice.bus.{key}\"").unwrap();
    let sink = sluice::config::SinkSettings { url: Some(server.url().parse::<url::Url>().unwrap().into()), ..sink };
    let mut store = AnyStore::new("other", &sink, &sluice::config::Settings::default()).unwrap();
    let reason = store.open(&other).await.unwrap_err().to_string();
    assert!(reason.contains("`sluice sink bus`"), "{reason}");

    // As its messages say, whatever the description.
    bus.write(0..3).await.unwrap();
    other.sink = "bus2".into();
    bus.restart();
    let reason = bus.store.open(&other).await.unwrap_err().to_string();
    assert!(reason.contains("belongs to the sink `bus`"), "{reason}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_cannot_be_a_sinks_is_refused_with_what_to_mend() {
    let server = NatsServer::start();
    let context = server.jetstream().await;
    let config = |name: &str| Config { name: name.into(), subjects: vec![format!("{name}.>")], ..Config::default() };
    context.create_stream(config("elsewhere")).await.unwrap();
    context.create_stream(Config { retention: RetentionPolicy::WorkQueue, ..config("work") }).await.unwrap();
    for (stream, subject, part) in [
        ("elsewhere", "nowhere.{key}", "but not `nowhere.>`"),
        ("work", "work.{key}", "retention"),
        ("fresh", "work.{key}", "another stream"),
    ] {
        let settings = format!("stream = \"{stream}\"\nsubject = \"{subject}\"");
        let reason = stop_of(&mut Bus::with(&server.url(), &settings)).await;
        assert!(reason.contains(part), "{reason}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_made_by_an_operator_is_taken_as_it_is() {
    let server = NatsServer::start();
    let context = server.jetstream().await;
    let config = Config {
        name: "market".into(),
        subjects: vec!["market.>".into()],
        max_messages: 5,
        description: Some("by hand".into()),
        ..Config::default()
    };
    context.create_stream(config).await.unwrap();
    let mut bus = Bus::with(&server.url(), "stream = \"market\"\nsubject = \"market.{domain}.{monitor}\"");
    bus.append(20);
    bus.follow().await;
    assert_holds(&server, "market", 15..20).await;
    bus.restart();
    assert_eq!(bus.open().await, Ok(Some(Offset(20))));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_stream_stops_the_sink_until_a_person_decides() {
    let server = NatsServer::start();
    let mut bus = Bus::new(&server.url());
    bus.append(20);
    bus.open().await.unwrap();
    bus.write(0..10).await.unwrap();
    let figures = bus.store.figures();
    server.jetstream().await.delete_stream("SLUICE_BUS").await.unwrap();
    let error = bus.write(10..20).await.unwrap_err();
    assert!(matches!(error, StoreError::Moved(_)), "{error}");
    let reason = stop_of(&mut bus).await;
    for part in ["is gone", "10 messages", "below offset 10", "sluice sinks enable bus --anew"] {
        assert!(reason.contains(part), "{reason}");
    }
    // A restart does not forget it, as long as there is a checkpoint.
    bus.restart();
    (bus.opening.known_sequence, bus.opening.known_next) = (figures.sequence, Some(Offset(10)));
    stop_of(&mut bus).await;
    // Made anew by somebody, it is as empty.
    let config = Config { name: "SLUICE_BUS".into(), subjects: vec!["sluice.bus.>".into()], ..Config::default() };
    server.jetstream().await.create_stream(config).await.unwrap();
    let reason = stop_of(&mut bus).await;
    assert!(reason.contains("made anew"), "{reason}");

    bus.opening.anew = true;
    assert_eq!(bus.open().await, Ok(None));
    bus.opening.anew = false;
    assert_eq!(bus.open().await, Ok(None), "decided once for all");
    bus.write(0..20).await.unwrap();
    assert_eq!(bus.open().await, Ok(Some(Offset(20))));
    assert_holds(&server, "SLUICE_BUS", 0..20).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_whose_last_message_has_expired_is_gone_on_with_by_the_checkpoint() {
    let server = NatsServer::start();
    let mut bus = Bus::new(&server.url());
    bus.append(20);
    bus.open().await.unwrap();
    bus.write(0..10).await.unwrap();
    let figures = bus.store.figures();
    server.jetstream().await.get_stream("SLUICE_BUS").await.unwrap().purge().await.unwrap();

    bus.restart();
    let reason = stop_of(&mut bus).await;
    for part in ["expired or was removed", "no checkpoint remembers", "--anew"] {
        assert!(reason.contains(part), "{reason}");
    }
    (bus.opening.known_sequence, bus.opening.known_next) = (Some(9), Some(Offset(9)));
    let reason = stop_of(&mut bus).await;
    assert!(reason.contains("only up to sequence 9"), "{reason}");
    (bus.opening.known_sequence, bus.opening.known_next) = (figures.sequence, Some(Offset(10)));
    assert_eq!(bus.open().await, Ok(Some(Offset(10))));
    bus.write(10..20).await.unwrap();
    assert_holds(&server, "SLUICE_BUS", 10..20).await;
}
