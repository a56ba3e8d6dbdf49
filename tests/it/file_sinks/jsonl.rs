//! `jsonl`: whole lines, each event once, whatever a crash leaves.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sluice::journal::{Ancestor, Offset};
use sluice::sink::{AnyStore, Opening, Purpose, Store, StoreError};

use super::{DAY, Feed, NEW_YEAR, read_back, store, write_in_pieces};

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.retain(|name| name.starts_with("events-"));
    names.sort();
    names
}

fn open_file(folder: &Path) -> PathBuf {
    let name = names(folder).into_iter().find(|name| name.ends_with("jsonl.open")).unwrap();
    folder.join(name)
}

/// Offsets of all lines of all files, in the order of names.
fn offsets(folder: &Path) -> Vec<u64> {
    let lines = names(folder).into_iter().map(|name| fs::read_to_string(folder.join(name)).unwrap());
    let lines: Vec<String> = lines.flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>()).collect();
    lines
        .iter()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["offset"].as_u64().unwrap())
        .collect()
}

#[tokio::test]
async fn a_line_torn_at_any_byte_is_cut_and_written_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut feed = Feed::new();
    feed.trades(0, NEW_YEAR, 3);
    let opening = feed.opening(Purpose::Live);
    let mut sink = store("jsonl", folder.path(), "");
    assert_eq!(sink.open(&opening).await.unwrap(), None);
    let (first, last) = feed.batch(Offset::ZERO, &[]).split_at(2);
    sink.write(&first).await.unwrap();
    let path = open_file(folder.path());
    let before = fs::read(&path).unwrap();
    sink.write(&last).await.unwrap();
    let whole = fs::read(&path).unwrap();
    drop(sink);

    for end in before.len()..=whole.len() {
        fs::write(&path, &whole[..end]).unwrap();
        let mut sink = store("jsonl", folder.path(), "");
        let cursor = open(&mut sink, &opening).await.unwrap();
        assert_eq!(cursor, Offset(if end == whole.len() { 3 } else { 2 }), "cut at {end}");
        if cursor == Offset(2) {
            sink.write(&feed.batch(cursor, &[])).await.unwrap();
        }
        assert_eq!(fs::read(&path).unwrap(), whole, "cut at {end}");
    }
}

#[tokio::test]
async fn lines_are_what_query_prints_and_files_are_finished_by_size() {
    let folder = tempfile::tempdir().unwrap();
    let mut feed = Feed::new();
    feed.trades(0, NEW_YEAR, 100);
    let opening = feed.opening(Purpose::Live);
    let mut sink = store("jsonl", folder.path(), "rotate_size = \"2KiB\"");
    sink.open(&opening).await.unwrap();
    write_in_pieces(&mut sink, feed.batch(Offset::ZERO, &[]), 7).await.unwrap();
    sink.close(true).await.unwrap();

    assert_eq!(offsets(folder.path()), (0..100).collect::<Vec<_>>());
    let names = names(folder.path());
    assert!(names.len() > 5, "{names:?}");
    assert!(names[0].ends_with("-00000000000000000000-00000000000000000013-20260101T000000Z-20260101T000000Z.jsonl"));
    let text = fs::read_to_string(folder.path().join(&names[0])).unwrap();
    assert_eq!(
        text.lines().next().unwrap(),
        r#"{"offset":0,"path":"smart","monitor":"monitor-0","domain":"trading","topic":"btcusdt@trade","key":"BTC","id":"0","event_time":"2025-12-31T23:59:59.999Z","received_time":"2026-01-01T00:00:00Z","payload":{"e":"trade","s":"BTC","t":0,"p":"40000.50"}}"#
    );
    assert_eq!(read_back(&mut sink, &opening, 10, 20).await, feed.events(&[])[10..20]);
}

/// Opens a store whose folder another that was dropped may not have let go of yet.
async fn open(sink: &mut AnyStore, opening: &Opening) -> Option<Offset> {
    loop {
        match sink.open(opening).await {
            Ok(cursor) => return cursor,
            Err(StoreError::Unavailable(reason)) if reason.contains("another sink or daemon") => {}
            Err(error) => panic!("{error}"),
        }
    }
}

/// What a folder was in between.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to.join(entry.file_name()));
        } else {
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

#[tokio::test]
async fn a_replay_takes_the_place_of_what_was_there_when_it_is_complete() {
    for compression in ["none", "zstd"] {
        let folder = tempfile::tempdir().unwrap();
        let mut feed = Feed::new();
        for part in 0..6 {
            feed.trades(part % 2, NEW_YEAR + i64::from(part) * 1_000_000_000, 20);
        }
        let live = feed.opening(Purpose::Live);
        let keys = format!("rotate_size = \"3KiB\"\ncompression = \"{compression}\"");
        let mut sink = store("jsonl", folder.path(), &keys);
        open(&mut sink, &live).await;
        write_in_pieces(&mut sink, feed.batch(Offset::ZERO, &[]), 7).await.unwrap();
        sink.close(true).await.unwrap();
        // A file was deleted, with lines of both monitors; only one of them is replayed.
        let missing = names(folder.path())[2].clone();
        let offset = |part| missing.split('-').nth(part).unwrap().parse::<u64>().unwrap();
        let span = offset(2)..=offset(3);
        assert!(*span.start() < 40 && *span.end() > 20, "{missing}");
        fs::remove_file(folder.path().join(&missing)).unwrap();

        open(&mut sink, &live).await;
        feed.trades(0, NEW_YEAR + 9_000_000_000, 3);
        sink.write(&feed.batch(Offset(120), &[])).await.unwrap();
        let replay = feed.opening(Purpose::Replay { id: "r1".into(), to: None });
        let mut anew = store("jsonl", folder.path(), &keys);
        assert_eq!(open(&mut anew, &replay).await, None);
        let (some, rest) = feed.batch(Offset(3), &["monitor-0"]).split_at(21);
        anew.write(&some).await.unwrap();
        anew.close(false).await.unwrap();
        assert_eq!(open(&mut anew, &replay).await, Some(some.to()));
        anew.write(&rest).await.unwrap();
        anew.close(true).await.unwrap();
        feed.trades(1, NEW_YEAR + 10_000_000_000, 3);
        sink.write(&feed.batch(Offset(123), &[])).await.unwrap();

        let is_lost = |offset: u64| span.contains(&offset) && (offset / 20) % 2 == 1;
        let mut expected = feed.events(&[]);
        expected.retain(|(offset, _)| !is_lost(*offset));
        assert_eq!(read_back(&mut sink, &live, 0, 1000).await, expected, "{compression}");
        sink.close(true).await.unwrap();
        assert_eq!(open(&mut sink, &live).await, Some(Offset(126)));
        assert!(!folder.path().join("replay-r1").exists());
    }
}

#[tokio::test]
async fn a_replay_that_is_killed_while_files_are_swapped_is_finished_by_the_next_opening() {
    let folder = tempfile::tempdir().unwrap();
    let mut feed = Feed::new();
    feed.trades(0, NEW_YEAR, 60);
    let live = feed.opening(Purpose::Live);
    let mut sink = store("jsonl", folder.path(), "rotate_size = \"3KiB\"");
    open(&mut sink, &live).await;
    write_in_pieces(&mut sink, feed.batch(Offset::ZERO, &[]), 7).await.unwrap();
    sink.close(true).await.unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let before = elsewhere.path().to_owned();
    copy(folder.path(), &before);

    // As after a kill at each step: so many files removed; or all removed, and so many in place.
    let whole = names(&before);
    for removed in 0..=whole.len() {
        for placed in (0..=whole.len()).take(if removed == whole.len() { usize::MAX } else { 1 }) {
            let place = tempfile::tempdir().unwrap();
            let place = place.path();
            copy(&before, place);
            let merged = place.join("replay-r1").join("merged");
            copy(&before, &merged);
            for name in &whole[..removed] {
                fs::remove_file(place.join(name)).unwrap();
            }
            for name in &whole[..placed] {
                fs::rename(merged.join(name), place.join(name)).unwrap();
            }
            let phase = if placed > 0 { "add" } else { "remove" };
            let stems: Vec<_> = whole.iter().map(|name| name.strip_suffix(".jsonl").unwrap()).collect();
            let swap = serde_json::json!({ "phase": phase, "replay": "replay-r1", "remove": stems });
            fs::write(place.join("swap.json"), swap.to_string()).unwrap();
            let mut sink = store("jsonl", place, "");
            assert!(matches!(sink.open(&feed.opening(Purpose::Inspect)).await, Err(StoreError::Unavailable(_))));
            assert_eq!(open(&mut sink, &live).await, Some(Offset(60)));
            assert_eq!(offsets(place), (0..60).collect::<Vec<_>>(), "{removed} removed, {placed} placed");
            assert!(!place.join("swap.json").exists() && !place.join("replay-r1").exists());
        }
    }
}

#[tokio::test]
async fn finished_files_are_compressed_and_a_crash_in_between_doubles_nothing() {
    for (compression, ending) in [("gzip", "jsonl.gz"), ("zstd", "jsonl.zst")] {
        let folder = tempfile::tempdir().unwrap();
        let mut feed = Feed::new();
        feed.trades(0, NEW_YEAR, 60);
        let live = feed.opening(Purpose::Live);
        let keys = format!("rotate_size = \"3KiB\"\ncompression = \"{compression}\"");
        let mut plain = store("jsonl", folder.path(), "rotate_size = \"3KiB\"");
        open(&mut plain, &live).await;
        write_in_pieces(&mut plain, feed.batch(Offset::ZERO, &[]), 7).await.unwrap();
        plain.close(true).await.unwrap();
        // Killed while one was compressed, and after another was, but before its lines were removed.
        let whole = names(folder.path());
        for name in &whole {
            fs::rename(folder.path().join(name), folder.path().join(format!("{name}.closed"))).unwrap();
        }
        let suffix = ending.strip_prefix("jsonl").unwrap();
        fs::write(folder.path().join(format!("{}{suffix}.tmp", whole[0])), "half").unwrap();
        let lines = fs::read(folder.path().join(format!("{}.closed", whole[1]))).unwrap();
        let compressed = if compression == "zstd" {
            zstd::encode_all(&lines[..], 0).unwrap()
        } else {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
            std::io::Write::write_all(&mut encoder, &lines).unwrap();
            encoder.finish().unwrap()
        };
        fs::write(folder.path().join(format!("{}{suffix}", whole[1])), compressed).unwrap();
        let mut sink = store("jsonl", folder.path(), &keys);
        assert_eq!(read_back(&mut sink, &live, 0, 100).await, feed.events(&[]));
        assert_eq!(open(&mut sink, &live).await, Some(Offset(60)));
        sink.close(true).await.unwrap();
        assert!(names(folder.path()).iter().all(|name| name.ends_with(ending)), "{:?}", names(folder.path()));
        assert_eq!(names(folder.path()).len(), whole.len());
        assert_eq!(read_back(&mut sink, &live, 0, 100).await, feed.events(&[]));
    }
}

#[tokio::test]
async fn files_may_be_moved_away_and_are_not_written_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut feed = Feed::new();
    feed.trades(0, NEW_YEAR, 20);
    feed.trades(1, NEW_YEAR + 1_000_000, 20);
    let live = feed.opening(Purpose::Live);
    let mut sink = store("jsonl", folder.path(), "");
    open(&mut sink, &live).await;
    sink.write(&feed.batch(Offset::ZERO, &["monitor-0"])).await.unwrap();
    sink.close(true).await.unwrap();
    for name in names(folder.path()) {
        fs::remove_file(folder.path().join(name)).unwrap();
    }
    assert_eq!(open(&mut sink, &live).await, Some(Offset(40)));
}

#[tokio::test]
async fn a_file_damaged_where_it_was_durable_stops_the_sink_and_is_not_cut() {
    let folder = tempfile::tempdir().unwrap();
    let mut feed = Feed::new();
    feed.trades(0, NEW_YEAR, 20);
    let live = feed.opening(Purpose::Live);
    let mut sink = store("jsonl", folder.path(), "");
    open(&mut sink, &live).await;
    sink.write(&feed.batch(Offset::ZERO, &[])).await.unwrap();
    let path = open_file(folder.path());
    let whole = fs::read(&path).unwrap();
    drop(sink);
    // It is on record how far it was durable, as soon as it was opened again.
    let mut sink = store("jsonl", folder.path(), "");
    assert_eq!(open(&mut sink, &live).await, Some(Offset(20)));
    drop(sink);
    let mut damaged = whole.clone();
    damaged[whole.len() / 2] = b'\n';
    fs::write(&path, &damaged).unwrap();
    let mut sink = store("jsonl", folder.path(), "");
    let reason = loop {
        match sink.open(&live).await {
            Err(StoreError::Stop(reason)) => break reason,
            Err(StoreError::Unavailable(_)) => {}
            other => panic!("{other:?}"),
        }
    };
    assert!(reason.contains("is damaged at byte") && reason.contains("Nothing was changed"), "{reason}");
    assert_eq!(fs::read(&path).unwrap(), damaged);
}

#[tokio::test]
async fn another_journal_is_refused_and_one_restored_from_it_goes_on_in_files_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let mut old = Feed::new();
    old.trades(0, NEW_YEAR, 10);
    let mut sink = store("jsonl", folder.path(), "");
    open(&mut sink, &old.opening(Purpose::Live)).await;
    sink.write(&old.batch(Offset::ZERO, &[])).await.unwrap();
    let mut new = Feed::new();
    new.trades(0, NEW_YEAR, 7);
    new.trades(1, NEW_YEAR + DAY, 5);
    let live = new.opening(Purpose::Live);
    let Err(StoreError::Stop(reason)) = sink.open(&live).await else { panic!("taken") };
    assert!(reason.contains(&old.journal.id().to_string()), "{reason}");

    let ancestors: Arc<[Ancestor]> = Arc::new([Ancestor { journal: old.journal.id(), end: Offset(7) }]);
    let live = Opening { ancestors, ..live };
    assert_eq!(open(&mut sink, &live).await, Some(Offset(7)));
    sink.write(&new.batch(Offset(7), &[])).await.unwrap();
    assert_eq!(read_back(&mut sink, &live, 0, 100).await, new.events(&[]));
    sink.close(true).await.unwrap();
    assert_eq!(open(&mut sink, &live).await, Some(Offset(12)));

    // A replay over the border keeps each journal's lines in its own files.
    let mut anew = store("jsonl", folder.path(), "");
    let replay = Opening { purpose: Purpose::Replay { id: "r2".into(), to: None }, ..live.clone() };
    open(&mut anew, &replay).await;
    anew.write(&new.batch(Offset(2), &[])).await.unwrap();
    anew.close(true).await.unwrap();
    assert_eq!(read_back(&mut sink, &live, 0, 100).await, new.events(&[]));
    assert_eq!(names(folder.path()).len(), 2);
    assert_eq!(offsets(folder.path()).len(), 10 + 5);
}

#[tokio::test]
async fn only_files_beyond_retention_are_deleted() {
    let folder = tempfile::tempdir().unwrap();
    let mut feed = Feed::new();
    let now = sluice::clock::UnixNanos::now().0;
    feed.trades(0, now - 10 * DAY, 5);
    feed.trades(0, now - DAY, 5);
    let live = feed.opening(Purpose::Live);
    let mut sink = store("jsonl", folder.path(), "rotate_size = \"1B\"\nretention_days = 3");
    open(&mut sink, &live).await;
    write_in_pieces(&mut sink, feed.batch(Offset::ZERO, &[]), 5).await.unwrap();
    assert_eq!(open(&mut sink, &live).await, Some(Offset(10)));
    assert_eq!(offsets(folder.path()), (5..10).collect::<Vec<_>>());
}
