//! Tables: created, checked, and never changed behind somebody's back.

use sluice::sink::{Store as _, StoreError};

use super::super::postgres_server::PostgresServer;
use super::support::{Source, offsets, opened, store, store_at, store_with};

/// What an operator is told.
async fn stopped(server: &PostgresServer, more: &str) -> String {
    let source = Source::new();
    match store_with(server, more).open(&source.live()).await {
        Err(StoreError::Stop(reason)) => reason,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn tables_are_created_once_and_in_the_schema_that_is_named() {
    let server = PostgresServer::start();
    server.sql(r#"CREATE SCHEMA "Market""#);
    let source = Source::of(3);
    for _ in 0..2 {
        let mut store = store_with(&server, "table = \"Market.Ticks\"");
        opened(&mut store, &source.live()).await;
    }
    let mut store = store_with(&server, "table = \"Market.Ticks\"");
    opened(&mut store, &source.live()).await;
    store.write(&source.batch(0, 3)).await.unwrap();
    assert_eq!(server.sql(r#"SELECT count(*) FROM "Market"."Ticks""#), "3");
    assert_eq!(server.sql(r#"SELECT next FROM "Market".sluice_cursors"#), "3");
    assert_eq!(
        server.sql("SELECT tablename FROM pg_tables WHERE schemaname = 'Market' ORDER BY 1"),
        "Ticks\nsluice_cursors\nsluice_parked"
    );
}

#[tokio::test]
async fn two_sinks_that_start_at_once_make_the_tables_together() {
    let server = PostgresServer::start();
    let source = Source::of(10);
    let (one, two) = (source.live(), sluice::sink::Opening { sink: "other".into(), ..source.live() });
    let (mut first, mut second) = (store(&server), store(&server));
    let (a, b) = tokio::join!(first.open(&one), second.open(&two));
    assert_eq!((a.unwrap(), b.unwrap()), (None, None));
    first.write(&source.batch_where(|offset| offset % 2 == 0)).await.unwrap();
    second.write(&source.batch_where(|offset| offset % 2 == 1)).await.unwrap();
    assert_eq!(offsets(&server), (0..10).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_table_of_another_form_is_refused_with_the_sql_that_mends_it() {
    let server = PostgresServer::start();
    // Lacks nearly everything.
    server.sql("CREATE TABLE events (journal uuid, \"offset\" bigint, PRIMARY KEY (journal, \"offset\"))");
    let reason = stopped(&server, "").await;
    assert!(reason.contains(r#"ALTER TABLE "public"."events" ADD COLUMN "path" text NOT NULL"#), "{reason}");
    server.sql("DROP TABLE events");

    let source = Source::of(1);
    opened(&mut store(&server), &source.live()).await;
    for (spoil, mend) in [
        (
            "ALTER TABLE events ALTER COLUMN received_time TYPE text",
            r#"ALTER TABLE "public"."events" ALTER COLUMN "received_time" TYPE timestamp with time zone USING "received_time"::timestamp with time zone"#,
        ),
        (
            "ALTER TABLE events DROP CONSTRAINT events_pkey",
            r#"ALTER TABLE "public"."events" ADD UNIQUE (journal, "offset")"#,
        ),
        (
            "ALTER TABLE events ADD COLUMN desk text NOT NULL",
            r#"ALTER TABLE "public"."events" ALTER COLUMN "desk" DROP NOT NULL"#,
        ),
        (
            "ALTER TABLE events ALTER COLUMN payload TYPE jsonb USING payload::jsonb",
            r#"ALTER TABLE "public"."events" ALTER COLUMN "payload" TYPE text USING "payload"::text"#,
        ),
    ] {
        server.sql(spoil);
        let reason = stopped(&server, "").await;
        assert!(reason.contains(mend), "{spoil}: {reason}");
        server.sql(mend);
        opened(&mut store(&server), &source.live()).await;
    }
    server.sql("DROP TABLE events; CREATE VIEW events AS SELECT 1 AS one");
    let reason = stopped(&server, "").await;
    assert!(reason.contains("is a view"), "{reason}");
}

#[tokio::test]
async fn columns_of_the_users_own_are_left_to_their_defaults() {
    let server = PostgresServer::start();
    let source = Source::of(5);
    opened(&mut store(&server), &source.live()).await;
    server.sql(
        "ALTER TABLE events ADD COLUMN note text, ADD COLUMN stored_at timestamptz NOT NULL DEFAULT now(), \
         ADD COLUMN price numeric GENERATED ALWAYS AS (((payload::jsonb)->>'p')::numeric) STORED",
    );
    let mut store = store(&server);
    opened(&mut store, &source.live()).await;
    store.write(&source.batch(0, 5)).await.unwrap();
    assert_eq!(
        server.sql("SELECT count(*), count(note), count(stored_at), min(price) FROM events"),
        "5|0|5|40000.50000000"
    );
}

#[tokio::test]
async fn a_role_that_may_not_is_told_what_somebody_else_has_to_run() {
    let server = PostgresServer::start();
    server.sql("CREATE ROLE reader LOGIN; CREATE SCHEMA closed; GRANT USAGE ON SCHEMA closed TO reader");
    let source = Source::new();
    let url = server.url().replace("sluice@", "reader@");
    let mut sink = store_at(&url, "table = \"closed.events\"", "").unwrap();
    let Err(StoreError::Stop(reason)) = sink.open(&source.live()).await else { panic!("it has no right to") };
    assert!(reason.contains(r#"CREATE TABLE "closed"."events""#), "{reason}");
    assert!(reason.contains(r#"CREATE TABLE IF NOT EXISTS "closed".sluice_cursors"#), "{reason}");

    // Tables that another made, without a right to write.
    let mut owner = store_with(&server, "table = \"closed.events\"");
    opened(&mut owner, &source.live()).await;
    let Err(StoreError::Stop(reason)) = sink.open(&source.live()).await else { panic!("it has no right to") };
    assert!(reason.contains("grant"), "{reason}");
    server.sql("GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA closed TO reader");
    let source = Source::of(4);
    assert_eq!(opened(&mut sink, &source.live()).await, None);
    sink.write(&source.batch(0, 4)).await.unwrap();
    assert_eq!(server.sql("SELECT count(*) FROM closed.events"), "4");
}
