//! `sqlite`: a file a day, each event once, with its cursor.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use rusqlite::Connection;
use sluice::journal::{Ancestor, JournalId, Offset};
use sluice::sink::{Opening, Purpose, Store, StoreError};

use super::{DAY, Feed, NEW_YEAR, opening, read_back, store, trade, write_in_pieces};

const KEYS: &str = "retention_days = 100000";

fn files(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.retain(|name| Path::new(name).extension().is_some_and(|ending| ending == "db"));
    names.sort();
    names
}

fn offsets(file: &Path) -> Vec<u64> {
    let connection = Connection::open(file).unwrap();
    let mut statement = connection.prepare("SELECT offset FROM events ORDER BY offset").unwrap();
    let rows = statement.query_map([], |row| row.get::<_, i64>(0)).unwrap();
    rows.map(|row| row.unwrap().cast_unsigned()).collect()
}

#[tokio::test]
async fn every_event_is_in_the_file_of_its_day_once() {
    let folder = tempfile::tempdir().unwrap();
    let mut feed = Feed::new();
    feed.trades(0, NEW_YEAR, 30);
    feed.trades(0, NEW_YEAR + DAY - 10_000, 20);
    feed.trades(0, NEW_YEAR + 3 * DAY, 5);
    let live = feed.opening(Purpose::Live);
    let mut sink = store("sqlite", folder.path(), KEYS);
    assert_eq!(sink.open(&live).await.unwrap(), None);
    write_in_pieces(&mut sink, feed.batch(Offset::ZERO, &[]), 17).await.unwrap();
    sink.close(true).await.unwrap();

    assert_eq!(files(folder.path()), ["events-2026-01-01.db", "events-2026-01-02.db", "events-2026-01-04.db"]);
    assert_eq!(offsets(&folder.path().join("events-2026-01-01.db")), (0..40).collect::<Vec<_>>());
    assert_eq!(offsets(&folder.path().join("events-2026-01-02.db")), (40..50).collect::<Vec<_>>());
    assert_eq!(offsets(&folder.path().join("events-2026-01-04.db")), (50..55).collect::<Vec<_>>());
    assert_eq!(read_back(&mut sink, &live, 0, 1000).await, feed.events(&[]));
    let figures = sink.figures();
    assert_eq!(figures.files, Some(3));
    assert!(figures.bytes.unwrap() > 10_000, "{figures:?}");
    let mut again = store("sqlite", folder.path(), KEYS);
    assert_eq!(again.open(&live).await.unwrap(), Some(Offset(55)));
}

#[tokio::test]
async fn the_day_never_goes_back() {
    let folder = tempfile::tempdir().unwrap();
    let mut feed = Feed::new();
    feed.trades(0, NEW_YEAR + DAY, 2);
    feed.trades(0, NEW_YEAR, 2);
    let mut sink = store("sqlite", folder.path(), KEYS);
    sink.open(&feed.opening(Purpose::Live)).await.unwrap();
    sink.write(&feed.batch(Offset::ZERO, &[])).await.unwrap();
    assert_eq!(files(folder.path()), ["events-2026-01-02.db"]);
}

#[tokio::test]
async fn a_payload_is_kept_to_the_byte_and_all_columns_are_there() {
    let folder = tempfile::tempdir().unwrap();
    let mut feed = Feed::new();
    let payloads =
        vec![b"{ \"a\" :\n 1.0 }".to_vec(), "\"caf\u{e9}\"".into(), vec![0xff, 0x00, 0x01], b"a\0b".to_vec()];
    feed.add(3, NEW_YEAR, &payloads);
    let live = feed.opening(Purpose::Live);
    let mut sink = store("sqlite", folder.path(), KEYS);
    sink.open(&live).await.unwrap();
    sink.write(&feed.batch(Offset::ZERO, &[])).await.unwrap();
    assert_eq!(read_back(&mut sink, &live, 0, 10).await, (0..).zip(payloads).collect::<Vec<_>>());
    let connection = Connection::open(folder.path().join("events-2026-01-01.db")).unwrap();
    let row: (String, String, String, String, String, String, i64, i64, String) = connection
        .query_row(
            "SELECT path, monitor, domain, topic, key, id, event_time, received_time, typeof(payload) FROM events
             WHERE offset = 2",
            [],
            |row| {
                Ok((
                    row.get(0)?,
                    row.get(1)?,
                    row.get(2)?,
                    row.get(3)?,
                    row.get(4)?,
                    row.get(5)?,
                    row.get(6)?,
                    row.get(7)?,
                    row.get(8)?,
                ))
            },
        )
        .unwrap();
    let texts = ("smart", "monitor-3", "trading", "btcusdt@trade", "BTC", "2");
    assert_eq!((&*row.0, &*row.1, &*row.2, &*row.3, &*row.4, &*row.5), texts);
    assert_eq!((row.6, row.7, &*row.8), (NEW_YEAR - 1_000_000, NEW_YEAR + 2000, "blob"));
}

#[tokio::test]
async fn a_locked_file_is_waited_for_and_a_moved_cursor_is_seen() {
    let folder = tempfile::tempdir().unwrap();
    let mut feed = Feed::new();
    feed.trades(0, NEW_YEAR, 4);
    let live = feed.opening(Purpose::Live);
    let mut sink = store("sqlite", folder.path(), KEYS);
    sink.open(&live).await.unwrap();
    let (first, rest) = feed.batch(Offset::ZERO, &[]).split_at(2);
    sink.write(&first).await.unwrap();

    let file = folder.path().join("events-2026-01-01.db");
    let other = Connection::open(&file).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let Err(StoreError::Unavailable(reason)) = sink.write(&rest).await else { panic!("a locked file was written") };
    assert!(reason.contains("events-2026-01-01.db is locked by another program"), "{reason}");
    other.execute_batch("COMMIT").unwrap();
    assert_eq!(sink.open(&live).await.unwrap(), Some(Offset(2)));
    other.execute_batch("UPDATE journals SET next = 3").unwrap();
    assert!(matches!(sink.write(&rest).await, Err(StoreError::Moved(_))));
    other.execute_batch("UPDATE journals SET next = 2").unwrap();
    assert_eq!(sink.open(&live).await.unwrap(), Some(Offset(2)));
    sink.write(&rest).await.unwrap();
    assert_eq!(offsets(&file), [0, 1, 2, 3]);
}

#[tokio::test]
async fn a_damaged_file_stops_the_sink_and_is_not_touched() {
    let folder = tempfile::tempdir().unwrap();
    let mut feed = Feed::new();
    feed.trades(0, NEW_YEAR, 500);
    feed.trades(0, NEW_YEAR + DAY, 500);
    let live = feed.opening(Purpose::Live);
    let mut sink = store("sqlite", folder.path(), KEYS);
    sink.open(&live).await.unwrap();
    sink.write(&feed.batch(Offset::ZERO, &[])).await.unwrap();
    sink.close(true).await.unwrap();

    let file = folder.path().join("events-2026-01-02.db");
    let whole = fs::read(&file).unwrap();
    // A bit of the head; the type of a tree's page; its number of cells.
    for bit in [3, 4096 * 3 * 8, (4096 * 3 + 3) * 8 + 6] {
        let mut flipped = whole.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        fs::write(&file, &flipped).unwrap();
        let mut sink = store("sqlite", folder.path(), KEYS);
        let Err(StoreError::Stop(reason)) = sink.open(&live).await else { panic!("bit {bit}: it was taken for good") };
        assert!(reason.contains("events-2026-01-02.db is damaged"), "{reason}");
        assert!(reason.contains("Move it out of its folder"), "{reason}");
        assert_eq!(fs::read(&file).unwrap(), flipped);
    }
    // As it says: moved away, the day is written anew.
    fs::rename(&file, folder.path().join("damaged")).unwrap();
    for ending in ["-wal", "-shm"] {
        fs::remove_file(folder.path().join(format!("events-2026-01-02.db{ending}"))).ok();
    }
    let mut sink = store("sqlite", folder.path(), KEYS);
    assert_eq!(sink.open(&live).await.unwrap(), Some(Offset(500)));
    sink.write(&feed.batch(Offset(500), &[])).await.unwrap();
    assert_eq!(read_back(&mut sink, &live, 0, 1000).await, feed.events(&[]));
}

#[tokio::test]
async fn a_refused_row_is_named_and_parked_with_the_cursor() {
    let folder = tempfile::tempdir().unwrap();
    let mut feed = Feed::new();
    feed.trades(0, NEW_YEAR, 10);
    let live = feed.opening(Purpose::Live);
    let mut sink = store("sqlite", folder.path(), KEYS);
    sink.open(&live).await.unwrap();
    let (first, rest) = feed.batch(Offset::ZERO, &[]).split_at(2);
    sink.write(&first).await.unwrap();
    let file = folder.path().join("events-2026-01-01.db");
    Connection::open(&file)
        .unwrap()
        .execute_batch(
            "CREATE TRIGGER no_fives BEFORE INSERT ON events WHEN json_extract(NEW.payload, '$.t') = 5
             BEGIN SELECT RAISE(ABORT, 'no fives here'); END",
        )
        .unwrap();
    let Err(StoreError::Refused { reason, offset }) = sink.write(&rest).await else { panic!("it was not refused") };
    assert!(reason.contains("no fives here"), "{reason}");
    assert_eq!(offset, Some(Offset(5)));
    assert_eq!(sink.open(&live).await.unwrap(), Some(Offset(2)));
    let (before, from_five) = rest.split_at(3);
    let (bad, behind) = from_five.split_at(1);
    for batch in [&before, &bad.park(&reason), &behind] {
        sink.write(batch).await.unwrap();
    }
    assert_eq!(offsets(&file), [0, 1, 2, 3, 4, 6, 7, 8, 9]);
    let parked = sink.parked(&live, 10).await.unwrap();
    assert_eq!(parked.len(), 1);
    assert_eq!((parked[0].offset, parked[0].payload.as_bytes()), (5, &trade(5)[..]));
    assert_eq!(sink.open(&live).await.unwrap(), Some(Offset(10)));

    // Where the trigger is gone, a replay brings it in.
    Connection::open(&file).unwrap().execute_batch("DROP TRIGGER no_fives").unwrap();
    let mut anew = store("sqlite", folder.path(), KEYS);
    anew.open(&feed.opening(Purpose::Replay { id: "r1".into(), to: None })).await.unwrap();
    anew.write(&feed.batch(Offset(4), &[])).await.unwrap();
    anew.close(true).await.unwrap();
    assert_eq!(offsets(&file), (0..10).collect::<Vec<_>>());
    assert!(sink.parked(&live, 10).await.unwrap().is_empty());
}

#[tokio::test]
async fn another_journal_is_refused_and_one_restored_from_it_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let mut feed = Feed::new();
    feed.trades(0, NEW_YEAR, 10);
    let live = feed.opening(Purpose::Live);
    let mut sink = store("sqlite", folder.path(), KEYS);
    sink.open(&live).await.unwrap();
    sink.write(&feed.batch(Offset::ZERO, &[])).await.unwrap();
    let restored = JournalId::random();
    let Err(StoreError::Stop(reason)) = sink.open(&opening(restored, Purpose::Live)).await else { panic!("taken") };
    assert!(reason.contains(&restored.to_string()) && reason.contains("give this sink another"), "{reason}");
    for (end, cursor) in [(10, 10), (7, 7), (12, 10)] {
        let ancestors = Arc::new([Ancestor { journal: feed.journal.id(), end: Offset(end) }]);
        let opening = Opening { ancestors, ..opening(restored, Purpose::Inspect) };
        assert_eq!(sink.open(&opening).await.unwrap(), Some(Offset(cursor)));
    }
}

#[tokio::test]
async fn only_days_beyond_retention_are_deleted_and_never_the_newest() {
    let folder = tempfile::tempdir().unwrap();
    let mut feed = Feed::new();
    let today = sluice::clock::UnixNanos::now().0;
    for (day, count) in [(20, 1), (15, 2), (2, 3)] {
        feed.trades(0, today - day * DAY, count);
    }
    let live = feed.opening(Purpose::Live);
    let mut sink = store("sqlite", folder.path(), "retention_days = 14");
    sink.open(&live).await.unwrap();
    let (oldest, rest) = feed.batch(Offset::ZERO, &[]).split_at(1);
    sink.write(&oldest).await.unwrap();
    sink.open(&live).await.unwrap();
    assert_eq!(files(folder.path()).len(), 1, "the newest stays, however old it is");
    sink.write(&rest).await.unwrap();
    assert_eq!(sink.open(&live).await.unwrap(), Some(Offset(6)));
    assert_eq!(files(folder.path()).len(), 1);
    assert_eq!(read_back(&mut sink, &live, 0, 10).await, feed.events(&[])[3..]);
}

#[tokio::test]
async fn what_is_of_no_interest_moves_the_cursor_too() {
    let folder = tempfile::tempdir().unwrap();
    let mut feed = Feed::new();
    feed.trades(0, NEW_YEAR, 3);
    feed.trades(1, NEW_YEAR + 1_000_000, 5);
    let live = feed.opening(Purpose::Live);
    let mut sink = store("sqlite", folder.path(), KEYS);
    sink.open(&live).await.unwrap();
    sink.write(&feed.batch(Offset::ZERO, &["monitor-0"])).await.unwrap();
    feed.trades(1, NEW_YEAR + 2_000_000, 5);
    sink.write(&feed.batch(Offset(8), &["monitor-0"])).await.unwrap();
    sink.close(true).await.unwrap();
    assert_eq!(sink.open(&live).await.unwrap(), Some(Offset(13)));
    assert_eq!(read_back(&mut sink, &live, 0, 100).await, feed.events(&["monitor-0"]));
}

#[tokio::test]
async fn a_replay_mends_rows_in_the_files_that_have_them_and_leaves_the_cursor() {
    let folder = tempfile::tempdir().unwrap();
    let mut feed = Feed::new();
    feed.trades(0, NEW_YEAR, 30);
    feed.trades(1, NEW_YEAR + 2 * DAY, 30);
    feed.trades(0, NEW_YEAR + 3 * DAY, 30);
    let live = feed.opening(Purpose::Live);
    let mut sink = store("sqlite", folder.path(), KEYS);
    sink.open(&live).await.unwrap();
    write_in_pieces(&mut sink, feed.batch(Offset::ZERO, &[]), 1000).await.unwrap();
    sink.close(true).await.unwrap();

    // Rows were spoilt, a day's file is gone, and another monitor's rows are none of the replay's business.
    let first = folder.path().join("events-2026-01-01.db");
    let spoil = "DELETE FROM events WHERE offset BETWEEN 5 AND 9; UPDATE events SET payload = 'x' WHERE offset = 12";
    Connection::open(&first).unwrap().execute_batch(spoil).unwrap();
    fs::remove_file(folder.path().join("events-2026-01-03.db")).unwrap();
    let replay = Purpose::Replay { id: "r1".into(), to: None };
    let replay = feed.opening(replay);
    let mut anew = store("sqlite", folder.path(), KEYS);
    assert_eq!(anew.open(&replay).await.unwrap(), None);
    let (some, rest) = feed.batch(Offset(3), &[]).split_at(40);
    write_in_pieces(&mut anew, some, 7).await.unwrap();
    anew.close(false).await.unwrap();
    assert_eq!(sink.open(&live).await.unwrap(), Some(Offset(90)));

    // Interrupted and resumed, while the live sink goes on.
    feed.trades(0, NEW_YEAR + 4 * DAY, 5);
    sink.write(&feed.batch(Offset(90), &[])).await.unwrap();
    let mut anew = store("sqlite", folder.path(), KEYS);
    assert_eq!(anew.open(&replay).await.unwrap(), Some(Offset(43)));
    write_in_pieces(&mut anew, rest, 11).await.unwrap();
    assert!(matches!(anew.write(&feed.batch(Offset(43), &[])).await, Err(StoreError::Moved(_))));
    anew.close(true).await.unwrap();
    assert_eq!(read_back(&mut sink, &live, 0, 1000).await, feed.events(&[]));
    assert_eq!(offsets(&folder.path().join("events-2026-01-03.db")), (30..60).collect::<Vec<_>>());
    sink.close(true).await.unwrap();
    assert_eq!(sink.open(&live).await.unwrap(), Some(Offset(95)));
    assert_eq!(anew.open(&replay).await.unwrap(), None, "a replay that is over is forgotten");
}
