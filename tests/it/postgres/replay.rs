//! Replays write anew what is there, and leave the live cursor alone.

use sluice::sink::Store as _;

use super::super::postgres_server::PostgresServer;
use super::support::{Source, cursor, offsets, opened, payload, store};

#[tokio::test]
async fn a_replay_writes_over_what_is_there_and_is_resumed_by_its_own_cursor() {
    let server = PostgresServer::start();
    let source = Source::of(100);
    let mut live = store(&server);
    opened(&mut live, &source.live()).await;
    live.write(&source.batch(0, 60)).await.unwrap();
    server.sql(r#"UPDATE events SET payload = 'spoilt' WHERE "offset" = 12; DELETE FROM events WHERE "offset" BETWEEN 20 AND 29"#);

    let mut replay = store(&server);
    assert_eq!(opened(&mut replay, &source.replay("one")).await, None);
    replay.write(&source.batch(10, 40)).await.unwrap();
    assert_eq!(cursor(&server), "warehouse|60\nwarehouse replay one|40");
    // Interrupted, and taken up again.
    let mut replay = store(&server);
    assert_eq!(opened(&mut replay, &source.replay("one")).await, Some(40));
    assert_eq!(opened(&mut store(&server), &source.replay("two")).await, None, "another replay has another cursor");
    // Beyond where the live sink is.
    replay.write(&source.batch(40, 70)).await.unwrap();
    replay.close(true).await.unwrap();
    assert_eq!(cursor(&server), "warehouse|60");
    assert_eq!(offsets(&server), (0..70).collect::<Vec<_>>());
    assert_eq!(server.sql(r#"SELECT payload FROM events WHERE "offset" = 12"#), payload(12));

    // The live sink comes to rows that the replay has brought: they are there once.
    live.write(&source.batch(60, 100)).await.unwrap();
    assert_eq!(opened(&mut live, &source.live()).await, Some(100));
    assert_eq!(offsets(&server), (0..100).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_replay_of_what_an_ancestor_wrote_leaves_each_event_once() {
    let server = PostgresServer::start();
    let (old, restored) = (Source::of(10), Source::of(30));
    let mut live = store(&server);
    opened(&mut live, &old.live()).await;
    live.write(&old.batch(0, 10)).await.unwrap();
    let opening = restored.restored_from(old.id(), 10);
    opened(&mut live, &opening).await;
    live.write(&restored.batch(10, 30)).await.unwrap();

    let mut replay = store(&server);
    let again = sluice::sink::Opening { ancestors: opening.ancestors.clone(), ..restored.replay("one") };
    opened(&mut replay, &again).await;
    replay.write(&restored.batch(5, 15)).await.unwrap();
    replay.close(true).await.unwrap();
    assert_eq!(offsets(&server), (0..30).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_replay_brings_what_had_been_parked_once_its_cause_is_gone() {
    let server = PostgresServer::start();
    let source = Source::of(10);
    let mut live = store(&server);
    opened(&mut live, &source.live()).await;
    live.write(&source.batch(0, 4)).await.unwrap();
    live.write(&source.batch(4, 5).park("it was not liked")).await.unwrap();
    live.write(&source.batch(5, 10)).await.unwrap();
    let parked = live.parked(&source.live(), 10).await.unwrap();
    assert_eq!(parked.len(), 1);
    assert_eq!((parked[0].offset, parked[0].reason.as_str()), (4, "it was not liked"));
    assert_eq!(parked[0].payload, payload(4));
    assert_eq!((parked[0].monitor.as_str(), parked[0].domain.as_str()), ("trades", "trading"));
    assert!(parked[0].parked_time.ends_with('Z'), "{}", parked[0].parked_time);

    let mut replay = store(&server);
    opened(&mut replay, &source.replay("one")).await;
    replay.write(&source.batch(0, 10)).await.unwrap();
    replay.close(true).await.unwrap();
    assert_eq!(live.parked(&source.live(), 10).await.unwrap(), []);
    assert_eq!(offsets(&server), (0..10).collect::<Vec<_>>());
}
