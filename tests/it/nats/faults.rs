//! Row 22 of the faults that must be survived: NATS killed, acknowledgement lost, stream full or deleted, outage longer than the
//! duplicate window. No false cursor; no duplicates in the stream. (A deleted stream: see `ownership`.)

use std::time::Duration;

use async_nats::jetstream::stream::{Config, DiscardPolicy};
use rustix::process::Signal;
use sluice::journal::Offset;
use sluice::sink::{Store as _, StoreError};
use tokio::time::Instant;

use super::bus::{Bus, assert_holds};
use super::proxy::{Plan, Proxy};
use crate::nats_server::NatsServer;
use crate::processes::until;

/// The shortest duplicate window that a server takes: after it, only the expected sequence numbers keep repeats out.
const WINDOW: Duration = Duration::from_millis(100);

/// A stream that forgets message ids soon.
async fn forgetful_stream(server: &NatsServer) {
    let config = Config {
        name: "SLUICE_BUS".into(),
        subjects: vec!["sluice.bus.>".into()],
        duplicate_window: WINDOW,
        ..Config::default()
    };
    server.jetstream().await.create_stream(config).await.unwrap();
}

/// Waits until the server has forgotten all message ids.
async fn outlast_the_window() {
    tokio::time::sleep(3 * WINDOW).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_acknowledgement_lost_in_mid_pipeline_loses_and_repeats_nothing() {
    let server = NatsServer::start();
    let proxy = Proxy::start(server.address());
    let mut bus = Bus::new(&proxy.url());
    bus.append(1000);
    bus.open().await.unwrap();
    proxy.plan(Plan::LoseAck(500));
    let started = Instant::now();
    let error = bus.write(0..1000).await.unwrap_err();
    assert_eq!(error, StoreError::Moved("the acknowledgement of event 499 was lost".into()));
    assert!(started.elapsed() < Duration::from_secs(1), "it is seen by the next one, not by waiting");
    assert_eq!(proxy.lost(), 1);

    let account = bus.follow().await;
    assert_eq!(account.reopened, 0, "{:?}", account.reasons);
    assert_holds(&server, "SLUICE_BUS", 0..1000).await;
    assert_eq!(bus.open().await, Ok(Some(Offset(1000))));
}

#[tokio::test(flavor = "multi_thread")]
async fn acknowledgements_lost_to_the_end_and_an_outage_longer_than_the_duplicate_window_repeat_nothing() {
    let server = NatsServer::start();
    forgetful_stream(&server).await;
    let proxy = Proxy::start(server.address());
    let mut bus = Bus::new(&proxy.url());
    bus.append(300);
    bus.open().await.unwrap();
    proxy.plan(Plan::LoseAcksFrom(120));
    let error = bus.write(0..300).await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable(_)), "{error}");
    assert!(error.to_string().contains("acknowledged nothing"), "{error}");
    outlast_the_window().await;

    proxy.plan(Plan::Pass);
    bus.restart();
    bus.follow().await;
    assert_holds(&server, "SLUICE_BUS", 0..300).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stale_publish_delivered_late_is_refused_by_the_sequence_that_it_expects() {
    let server = NatsServer::start();
    forgetful_stream(&server).await;
    let proxy = Proxy::start(server.address());
    let mut bus = Bus::new(&proxy.url());
    bus.append(100);
    bus.open().await.unwrap();
    bus.write(0..40).await.unwrap();
    // Ten and more are on their way when the connection breaks, and nobody knows whether they will arrive.
    proxy.plan(Plan::HoldFrom(50));
    let error = bus.write(40..100).await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable(_)), "{error}");
    until("publishes are held back", || (proxy.held() > 0).then_some(()));

    // The store goes on over a new connection, and the server forgets the ids.
    proxy.plan(Plan::Pass);
    assert_eq!(bus.open().await, Ok(Some(Offset(50))));
    bus.write(50..100).await.unwrap();
    outlast_the_window().await;

    // Of those that came before.
    let answered = proxy.late_answers().len();
    proxy.release();
    let late = until("the server has answered them", || {
        let late = proxy.late_answers().split_off(answered);
        (!late.is_empty()).then_some(late)
    });
    for answer in late {
        assert!(answer.contains("10071") && answer.contains("wrong last sequence"), "{answer}");
    }
    // Nor do they disturb what follows.
    bus.append(10);
    bus.write(100..110).await.unwrap();
    assert_holds(&server, "SLUICE_BUS", 0..110).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stale_publish_that_still_fits_is_taken_in_its_place_and_not_repeated() {
    let server = NatsServer::start();
    let proxy = Proxy::start(server.address());
    let mut bus = Bus::new(&proxy.url());
    bus.append(100);
    bus.open().await.unwrap();
    proxy.plan(Plan::HoldFrom(50));
    bus.write(0..100).await.unwrap_err();
    until("publishes are held back", || (proxy.held() > 0).then_some(()));
    proxy.plan(Plan::Pass);
    // Between asking the stream where it ends and publishing, the old ones come through.
    assert_eq!(bus.open().await, Ok(Some(Offset(50))));
    proxy.release();
    until("they have come through", || {
        proxy.late_answers().iter().any(|answer| answer.contains("\"seq\":51")).then_some(())
    });
    bus.follow().await;
    assert_holds(&server, "SLUICE_BUS", 0..100).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_killed_in_mid_pipeline_again_and_again_ends_up_with_every_event_once() {
    let mut server = NatsServer::start();
    let mut bus = Bus::new(&server.url());
    let mut random = fastrand::Rng::with_seed(22);
    let mut interrupted = 0;
    for round in 0..6 {
        bus.append(4000);
        bus.restart();
        let end = bus.appended;
        let cursor = bus.open().await.unwrap().map_or(0, |cursor| cursor.0);
        let batch = bus.batch(cursor..end);
        let pause = Duration::from_micros(random.u64(2_000..60_000));
        let killing = async {
            tokio::time::sleep(pause).await;
            server.kill();
        };
        let (written, ()) = tokio::join!(bus.store.write(&batch), killing);
        interrupted += u32::from(written.is_err());
        if let Err(error) = written {
            assert!(matches!(error, StoreError::Unavailable(_)), "round {round}: {error}");
        }
        let error = bus.open().await.unwrap_err();
        assert!(matches!(error, StoreError::Unavailable(_)), "round {round}: {error}");
        server.begin();
    }
    assert!(interrupted > 0, "no kill came in the middle of a batch");
    bus.follow().await;
    let mut seen = 0;
    let opening = bus.opening.clone();
    let mut take = |row: sluice::sink::StoredRow<'_>| {
        assert_eq!(row.offset.0, seen);
        seen += 1;
    };
    bus.store.read_back(&opening, Offset(0)..Offset(u64::MAX), &mut take).await.unwrap();
    assert_eq!(seen, bus.appended);
    let stream = server.jetstream().await.get_stream("SLUICE_BUS").await.unwrap();
    assert_eq!(stream.cached_info().state.last_sequence, bus.appended, "no message more than there are events");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_hangs_is_given_up_and_what_it_takes_late_is_not_repeated() {
    let server = NatsServer::start();
    forgetful_stream(&server).await;
    let mut bus = Bus::new(&server.url());
    bus.append(2000);
    bus.open().await.unwrap();
    bus.write(0..100).await.unwrap();
    server.signal(Signal::STOP);
    let started = Instant::now();
    let error = bus.write(100..1500).await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable(_)), "{error}");
    assert!(started.elapsed() < Duration::from_secs(5), "given up after {:?}", started.elapsed());
    // What is in its socket is taken while the store asks where the stream ends.
    server.signal(Signal::CONT);
    bus.follow().await;
    outlast_the_window().await;
    bus.restart();
    bus.follow().await;
    assert_holds(&server, "SLUICE_BUS", 0..2000).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_is_given_up_half_way_is_made_good() {
    let server = NatsServer::start();
    let mut bus = Bus::new(&server.url());
    bus.append(5000);
    bus.open().await.unwrap();
    let batch = bus.batch(0..5000);
    // As a runner's timeout does it.
    let given_up = tokio::time::timeout(Duration::from_millis(5), bus.store.write(&batch)).await;
    assert!(given_up.is_err(), "it was quicker than that");
    assert!(matches!(bus.store.write(&batch).await, Err(StoreError::Moved(_))), "it wants to be opened first");
    bus.follow().await;
    let stream = server.jetstream().await.get_stream("SLUICE_BUS").await.unwrap();
    assert_eq!(stream.cached_info().state.last_sequence, 5000);
    assert_holds(&server, "SLUICE_BUS", 0..5000).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_stream_says_so_and_goes_on_without_a_gap_when_there_is_room() {
    let server = NatsServer::start();
    let context = server.jetstream().await;
    let config = Config {
        name: "SLUICE_BUS".into(),
        subjects: vec!["sluice.bus.>".into()],
        max_messages: 50,
        discard: DiscardPolicy::New,
        ..Config::default()
    };
    let stream = context.create_stream(config.clone()).await.unwrap();
    let mut bus = Bus::new(&server.url());
    bus.append(100);
    bus.open().await.unwrap();
    let error = bus.write(0..100).await.unwrap_err();
    let StoreError::Unavailable(reason) = error else { panic!("{error:?}") };
    assert!(reason.contains("takes no more") && reason.contains("maximum messages exceeded"), "{reason}");
    assert_eq!(bus.open().await, Ok(Some(Offset(50))), "what it took before it was full");
    context.update_stream(Config { max_messages: -1, ..config }).await.unwrap();
    bus.follow().await;
    assert_holds(&server, "SLUICE_BUS", 0..100).await;
    drop(stream);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_lost_what_it_had_acknowledged_gets_it_again() {
    let mut server = NatsServer::start();
    let mut bus = Bus::new(&server.url());
    bus.append(100);
    bus.open().await.unwrap();
    bus.write(0..40).await.unwrap();
    // As after a power cut without a sync: the server's files are those of an earlier time.
    server.signal(Signal::TERM);
    server.kill();
    let (store, copy) = (server.store(), server.folder().join("copy"));
    copy_folder(&store, &copy);
    server.begin();
    bus.open().await.unwrap();
    bus.write(40..100).await.unwrap();
    let figures = bus.store.figures();
    server.kill();
    std::fs::remove_dir_all(&store).unwrap();
    std::fs::rename(&copy, &store).unwrap();
    server.begin();

    (bus.opening.known_sequence, bus.opening.known_next) = (figures.sequence, Some(Offset(100)));
    assert_eq!(bus.open().await, Ok(Some(Offset(40))), "the stream's word counts");
    bus.follow().await;
    assert_holds(&server, "SLUICE_BUS", 0..100).await;
}

fn copy_folder(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().flatten() {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}
