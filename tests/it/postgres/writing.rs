//! A batch and its cursor, in one transaction, exactly once.

use sluice::sink::{Store as _, StoreError};

use super::super::postgres_server::PostgresServer;
use super::support::{START, Source, cursor, held, offsets, opened, payload, store, store_with};

#[tokio::test]
async fn a_batch_and_its_cursor_arrive_together_and_come_back_to_the_byte() {
    let server = PostgresServer::start();
    let mut source = Source::of(500);
    source.append(1, &[r#"{"s":"ÄÖ\u00dc", "odd" : [1,  2]}"#, r#"{"no":"key"}"#]);
    let mut store = store(&server);
    assert_eq!(opened(&mut store, &source.live()).await, None);
    store.write(&source.batch(0, 300)).await.unwrap();
    assert_eq!(cursor(&server), "warehouse|300");
    store.write(&source.batch(300, 502)).await.unwrap();
    assert_eq!(cursor(&server), "warehouse|502");
    assert_eq!(opened(&mut store, &source.live()).await, Some(502));

    assert_eq!(offsets(&server), (0..502).collect::<Vec<_>>());
    assert_eq!(
        server.sql(
            r#"SELECT journal, path, monitor, domain, topic, key, id, event_time AT TIME ZONE 'UTC', received_time AT TIME ZONE 'UTC',
            conflict, handover, payload FROM events WHERE "offset" IN (7, 500, 501) ORDER BY "offset""#
        ),
        format!(
            "{id}|smart|trades|trading|btcusdt@trade|BTCUSDT|7|2025-12-31 23:59:59.957|2026-01-01 00:00:00.008234|f|f|{}\n\
             {id}|smart|books|trading|btcusdt@trade|ÄÖÜ|500|2026-01-01 00:00:00.45|2026-01-01 00:00:00.501234|f|f|{}\n\
             {id}|smart|books|trading|btcusdt@trade||501|2026-01-01 00:00:00.451|2026-01-01 00:00:00.502234|f|f|{}",
            payload(7),
            r#"{"s":"ÄÖ\u00dc", "odd" : [1,  2]}"#,
            r#"{"no":"key"}"#,
            id = source.id(),
        )
    );

    let rows = held(&mut store, &source.inspect(), 6, 8).await;
    assert_eq!(rows.len(), 2);
    assert_eq!((rows[1].offset, rows[1].monitor.as_str(), rows[1].raw), (7, "trades", true));
    assert_eq!(rows[1].payload, payload(7));
    // To the microsecond.
    assert_eq!(rows[1].received, START + 8_234_000);
    assert_eq!(held(&mut store, &source.inspect(), 0, 1_000_000).await.len(), 502);
    assert!(store.figures().bytes.is_some_and(|bytes| bytes > 0));
    store.close(true).await.unwrap();
    assert_eq!(cursor(&server), "warehouse|502", "a live cursor stays when its sink ends");
}

#[tokio::test]
async fn an_empty_batch_moves_the_cursor_and_holes_stay_holes() {
    let server = PostgresServer::start();
    let source = Source::of(20);
    let mut store = store(&server);
    opened(&mut store, &source.live()).await;
    store.write(&source.batch_where(|_| false)).await.unwrap();
    assert_eq!(opened(&mut store, &source.live()).await, Some(20));
    assert_eq!(offsets(&server), Vec::<u64>::new());
}

#[tokio::test]
async fn of_two_that_write_for_one_sink_only_one_comes_through() {
    let server = PostgresServer::start();
    let source = Source::of(30);
    let (mut one, mut other) = (store(&server), store(&server));
    opened(&mut one, &source.live()).await;
    opened(&mut other, &source.live()).await;
    one.write(&source.batch(0, 10)).await.unwrap();
    let error = other.write(&source.batch(0, 10)).await.unwrap_err();
    assert!(matches!(error, StoreError::Moved(_)), "{error}");
    assert_eq!(opened(&mut other, &source.live()).await, Some(10));
    other.write(&source.batch(10, 20)).await.unwrap();
    let error = one.write(&source.batch(10, 30)).await.unwrap_err();
    assert!(matches!(error, StoreError::Moved(_)), "{error}");
    assert_eq!(opened(&mut one, &source.live()).await, Some(20));
    one.write(&source.batch(20, 30)).await.unwrap();
    assert_eq!(offsets(&server), (0..30).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_write_that_is_given_up_half_way_leaves_nothing() {
    let server = PostgresServer::start();
    let source = Source::of(5000);
    let batch = source.batch(0, 5000);
    for polls in [1, 2, 3, 5, 8, 13] {
        let mut store = store(&server);
        let cursor = opened(&mut store, &source.live()).await;
        if cursor == Some(5000) {
            // It was through already when it was given up, and only nobody had heard of it.
            break;
        }
        {
            let mut write = std::pin::pin!(store.write(&batch));
            let mut left = polls;
            std::future::poll_fn(|context| {
                left -= 1;
                let polled = write.as_mut().poll(context);
                if left == 0 || polled.is_ready() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
            })
            .await;
        }
        let cursor = opened(&mut store, &source.live()).await;
        let rows = offsets(&server).len();
        assert!(matches!((cursor, rows), (None, 0) | (Some(5000), 5000)), "{polls} polls: {cursor:?}, {rows} rows");
    }
}

#[tokio::test]
async fn a_jsonb_payload_comes_back_as_the_same_value() {
    let server = PostgresServer::start();
    let mut source = Source::new();
    source.append(0, &[r#"{"b": 1.50,   "a":"x"}"#]);
    let mut store = store_with(&server, "payload = \"jsonb\"");
    opened(&mut store, &source.live()).await;
    store.write(&source.batch(0, 1)).await.unwrap();
    assert_eq!(server.sql("SELECT payload->>'b', pg_typeof(payload) FROM events"), "1.50|jsonb");
    let rows = held(&mut store, &source.inspect(), 0, 1).await;
    assert!(!rows[0].raw);
    let value: serde_json::Value = serde_json::from_str(&rows[0].payload).unwrap();
    assert_eq!(value, serde_json::json!({"a": "x", "b": 1.50}));
}
