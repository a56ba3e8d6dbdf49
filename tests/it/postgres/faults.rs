//! The server dies, hangs, is locked, or refuses: nothing is lost, nothing is there twice.

use std::process::Child;
use std::time::Duration;

use sluice::journal::Offset;
use sluice::sink::{AnyStore, Batch, Store as _, StoreError};
use tokio::time::Instant;

use super::super::postgres_server::{PostgresServer, TIMEOUT};
use super::super::processes::until;
use super::support::{Source, offsets, opened, payload, store, store_with};

/// As the runner does: what is refused is halved, or cut out where it was named, and put aside at last.
async fn take(store: &mut AnyStore, source: &Source, batch: Batch) -> usize {
    let mut work = vec![batch];
    let mut refused = 0;
    while let Some(batch) = work.pop() {
        let Err(error) = store.write(&batch).await else { continue };
        let StoreError::Refused { reason, offset } = error else { panic!("{error}") };
        refused += 1;
        opened(store, &source.live()).await;
        if batch.len() == 1 {
            work.push(batch.park(&reason));
            continue;
        }
        let named = offset.and_then(|offset| batch.events().position(|event| event.offset == offset));
        let (first, second) = batch.split_at(named.unwrap_or(batch.len() / 2).max(1));
        work.push(second);
        work.push(first);
    }
    refused
}

#[tokio::test]
async fn a_poison_row_is_named_put_aside_with_its_reason_and_the_rest_flows() {
    let server = PostgresServer::start();
    let source = Source::of(500);
    let mut store = store(&server);
    opened(&mut store, &source.live()).await;
    server.sql(r#"ALTER TABLE events ADD CONSTRAINT no_sevens CHECK ("offset" % 100 <> 77)"#);
    let error = store.write(&source.batch(0, 500)).await.unwrap_err();
    let StoreError::Refused { reason, offset } = &error else { panic!("{error:?}") };
    assert_eq!(*offset, Some(Offset(77)), "{reason}");
    assert!(reason.contains("no_sevens") && reason.contains("23514"), "{reason}");

    opened(&mut store, &source.live()).await;
    take(&mut store, &source, source.batch(0, 500)).await;
    assert_eq!(opened(&mut store, &source.live()).await, Some(500));
    assert_eq!(offsets(&server), (0..500).filter(|offset| offset % 100 != 77).collect::<Vec<_>>());
    let parked = store.parked(&source.live(), 3).await.unwrap();
    assert_eq!(parked.iter().map(|row| row.offset).collect::<Vec<_>>(), [77, 177, 277], "at most as many as asked for");
    assert_eq!(parked[1].payload, payload(177));
    assert!(parked[1].reason.contains("no_sevens"), "{}", parked[1].reason);
}

#[tokio::test]
async fn what_no_text_and_no_jsonb_holds_is_named_and_parked_as_it_was() {
    for (settings, poison, reason_has) in [
        ("", "{\"s\":\"a\0b\"}", "0x00"),
        // The key is the string's value, which has a NUL where the payload has six characters.
        ("", r#"{"s":"a\u0000b"}"#, "key"),
        ("payload = \"jsonb\"", r#"{"x":"a\u0000b"}"#, "Unicode"),
        ("payload = \"jsonb\"", "{broken", "json"),
    ] {
        let server = PostgresServer::start();
        let mut source = Source::of(20);
        source.append(0, &[payload(20), poison.to_owned(), payload(22)]);
        let mut store = store_with(&server, settings);
        opened(&mut store, &source.live()).await;
        let error = store.write(&source.batch(0, 23)).await.unwrap_err();
        let StoreError::Refused { reason, offset } = &error else { panic!("{error:?}") };
        assert_eq!(*offset, Some(Offset(21)), "{reason}");
        opened(&mut store, &source.live()).await;
        take(&mut store, &source, source.batch(0, 23)).await;
        assert_eq!(offsets(&server), (0..23).filter(|offset| *offset != 21).collect::<Vec<_>>());
        let parked = store.parked(&source.live(), 10).await.unwrap();
        assert_eq!((parked.len(), parked[0].payload.as_str()), (1, poison));
        assert!(parked[0].reason.contains(reason_has), "{}", parked[0].reason);
    }
}

#[tokio::test]
async fn a_refusal_that_names_no_row_is_found_by_halving() {
    let server = PostgresServer::start();
    let source = Source::of(200);
    let mut store = store(&server);
    opened(&mut store, &source.live()).await;
    // Checked at the commit, when the server knows of no row any more.
    server.sql(
        r#"CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
           $$ BEGIN RAISE EXCEPTION 'not on a sunday' USING ERRCODE = 'P0001'; END $$;
           CREATE CONSTRAINT TRIGGER late AFTER INSERT ON events DEFERRABLE INITIALLY DEFERRED
           FOR EACH ROW WHEN (NEW."offset" = 123) EXECUTE FUNCTION refuse()"#,
    );
    let error = store.write(&source.batch(0, 200)).await.unwrap_err();
    assert!(matches!(&error, StoreError::Refused { offset: None, .. }), "{error:?}");
    opened(&mut store, &source.live()).await;
    take(&mut store, &source, source.batch(0, 200)).await;
    assert_eq!(offsets(&server), (0..200).filter(|offset| *offset != 123).collect::<Vec<_>>());
    assert!(store.parked(&source.live(), 9).await.unwrap()[0].reason.contains("not on a sunday"));
}

/// A session that holds a lock until it is killed.
struct Locker(Child);

impl Locker {
    fn of(server: &PostgresServer, lock: &str) -> Self {
        let child = server.psql().args(["-c", &format!("BEGIN; {lock}; SELECT pg_sleep(600)")]).spawn().unwrap();
        until("the lock is held", || {
            let held = server.sql("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'");
            (held == "1").then_some(())
        });
        Self(child)
    }

    fn release(mut self, server: &PostgresServer) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
        server.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'PgSleep'");
    }
}

#[tokio::test]
async fn a_locked_table_is_waited_for_no_longer_than_the_timeout() {
    let server = PostgresServer::start();
    let source = Source::of(20);
    let mut store = store(&server);
    opened(&mut store, &source.live()).await;
    store.write(&source.batch(0, 10)).await.unwrap();
    for lock in ["LOCK TABLE events IN ACCESS EXCLUSIVE MODE", "SELECT FROM sluice_cursors FOR UPDATE"] {
        let locker = Locker::of(&server, lock);
        let started = Instant::now();
        let error = store.write(&source.batch(10, 20)).await.unwrap_err();
        assert!(started.elapsed() < TIMEOUT + TIMEOUT / 2, "{:?}", started.elapsed());
        assert!(matches!(&error, StoreError::Unavailable(reason) if reason.contains("lock timeout")), "{error:?}");
        locker.release(&server);
        assert_eq!(opened(&mut store, &source.live()).await, Some(10));
    }
    store.write(&source.batch(10, 20)).await.unwrap();
    assert_eq!(offsets(&server), (0..20).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_server_that_stops_answering_is_given_up_in_time_and_nothing_is_there_twice() {
    let server = PostgresServer::start();
    let source = Source::of(40_000);
    let mut store = store(&server);
    opened(&mut store, &source.live()).await;
    let mut next = 0;
    for round in 0..3_u64 {
        // Somewhere in the batch, each time somewhere else.
        let batch = source.batch(next, next + 10_000);
        let (wrote, ()) = tokio::join!(store.write(&batch), async {
            tokio::time::sleep(Duration::from_millis(5 + 20 * round)).await;
            server.hang();
        });
        if wrote.is_ok() {
            // It was through before; then it is the next one that meets nobody.
            next += 10_000;
        }
        let started = Instant::now();
        let error = match wrote {
            Err(error) => error,
            Ok(()) => store.write(&source.batch(next, next + 10)).await.unwrap_err(),
        };
        assert!(matches!(&error, StoreError::Unavailable(_)), "{error:?}");
        assert!(started.elapsed() < 3 * TIMEOUT, "{:?}", started.elapsed());
        let error = store.open(&source.live()).await.unwrap_err();
        assert!(matches!(&error, StoreError::Unavailable(_)), "{error:?}");
        server.go_on();
        // What the server had in its sockets may be committed yet, or never: the cursor tells.
        let cursor = settled(&mut store, &source).await;
        assert_eq!(offsets(&server), (0..cursor).collect::<Vec<_>>(), "round {round}");
        next = cursor;
    }
    store.write(&source.batch(next, 40_000)).await.unwrap();
    assert_eq!(offsets(&server), (0..40_000).collect::<Vec<_>>());
}

/// Opens until it opens, and says where the cursor is.
async fn settled(store: &mut AnyStore, source: &Source) -> u64 {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        match store.open(&source.live()).await {
            Ok(cursor) => return cursor.map_or(0, |cursor| cursor.0),
            Err(StoreError::Unavailable(reason)) => assert!(Instant::now() < deadline, "{reason}"),
            Err(error) => panic!("{error}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_server_killed_at_any_moment_of_a_transaction_has_all_of_it_or_nothing() {
    let seed = fastrand::u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    let mut server = PostgresServer::start();
    let source = Source::of(60_000);
    let mut store = store(&server);
    let mut cursor = settled(&mut store, &source).await;
    let mut unheard = 0;
    for kill in 0..8 {
        let after = Duration::from_micros(random.u64(..30_000));
        let deadline = Instant::now() + after;
        let heard = {
            let mut killed = false;
            let mut heard = cursor;
            // Small batches, so that commits are what is met most.
            while heard + 50 <= 60_000 {
                let batch = source.batch(heard, heard + 50);
                let mut writing = std::pin::pin!(store.write(&batch));
                let outcome = tokio::select! {
                    biased;
                    outcome = &mut writing => outcome,
                    () = tokio::time::sleep_until(deadline), if !killed => {
                        killed = true;
                        server.kill();
                        writing.await
                    }
                };
                match outcome {
                    Ok(()) => heard += 50,
                    Err(StoreError::Unavailable(_)) => break,
                    Err(error) => panic!("seed {seed}, kill {kill}: {error}"),
                }
            }
            heard
        };
        server.restart();
        cursor = settled(&mut store, &source).await;
        assert!(cursor >= heard, "seed {seed}, kill {kill}: {heard} was confirmed, {cursor} is there");
        unheard += cursor - heard;
        assert_eq!(offsets(&server), (0..cursor).collect::<Vec<_>>(), "seed {seed}, kill {kill}");
    }
    println!("rows whose commit nobody heard of: {unheard}");
}
