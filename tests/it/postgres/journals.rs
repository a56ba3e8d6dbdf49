//! Cursors belong to a journal: a foreign one is never moved, an ancestor's is taken over.

use sluice::sink::{Opening, Store as _, StoreError};

use super::super::postgres_server::PostgresServer;
use super::support::{Source, cursor, held, opened, store};

#[tokio::test]
async fn a_cursor_of_a_foreign_journal_is_never_moved() {
    let server = PostgresServer::start();
    let (old, new) = (Source::of(10), Source::of(20));
    let mut store = store(&server);
    opened(&mut store, &old.live()).await;
    store.write(&old.batch(0, 10)).await.unwrap();

    let Err(StoreError::Stop(reason)) = store.open(&new.live()).await else { panic!("it belongs to another journal") };
    for part in [&old.id().to_string(), &new.id().to_string(), "offset 10", "DELETE FROM \"public\".sluice_cursors"] {
        assert!(reason.contains(part), "{part} is not in: {reason}");
    }
    let Err(StoreError::Stop(_)) = store.open(&new.inspect()).await else { panic!("also when only looking") };
    assert_eq!(cursor(&server), "warehouse|10");

    // What it says can be run as it stands.
    let statement = reason.split("run ").nth(1).and_then(|rest| rest.split(';').next()).unwrap();
    server.sql(statement);
    assert_eq!(opened(&mut store, &new.live()).await, None);
    store.write(&new.batch(0, 20)).await.unwrap();
    assert_eq!(server.sql("SELECT count(*) FROM events"), "30", "rows of both journals are told apart");
}

#[tokio::test]
async fn a_foreign_cursor_is_forgotten_only_when_a_person_says_so() {
    let server = PostgresServer::start();
    let (old, new) = (Source::of(10), Source::of(20));
    let mut store = store(&server);
    opened(&mut store, &old.live()).await;
    store.write(&old.batch(0, 10)).await.unwrap();
    assert_eq!(opened(&mut store, &Opening { anew: true, ..new.live() }).await, None);
    store.write(&new.batch(0, 20)).await.unwrap();
    assert_eq!(cursor(&server), "warehouse|20");
}

#[tokio::test]
async fn an_ancestors_cursor_is_taken_over_up_to_where_the_journals_part() {
    // The backup was taken at 8; the old journal went on to 10, the restored one has other events from 8 on.
    for (taken, expected) in [(10, 8), (5, 5)] {
        let server = PostgresServer::start();
        let (old, restored) = (Source::of(10), Source::of(30));
        let mut store = store(&server);
        opened(&mut store, &old.live()).await;
        store.write(&old.batch(0, taken)).await.unwrap();

        let opening = restored.restored_from(old.id(), 8);
        let looking = Opening { purpose: sluice::sink::Purpose::Inspect, ..opening.clone() };
        assert_eq!(opened(&mut store, &looking).await, Some(expected), "looking changes nothing");
        assert_eq!(server.sql("SELECT journal FROM sluice_cursors"), old.id().to_string());
        assert_eq!(opened(&mut store, &opening).await, Some(expected));
        store.write(&restored.batch(expected, 30)).await.unwrap();
        assert_eq!(opened(&mut store, &opening).await, Some(30));

        let offsets: Vec<_> = held(&mut store, &looking, 0, 100).await.iter().map(|row| row.offset).collect();
        assert_eq!(
            offsets,
            (0..30).collect::<Vec<_>>(),
            "each event once, those of the old journal's own end left out"
        );
        // The old journal's daemon, should it run on, finds that it has lost the sink.
        let Err(StoreError::Stop(_)) = store.open(&old.live()).await else { panic!("its cursor was taken over") };
    }
}
