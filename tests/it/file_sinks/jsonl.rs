//! `jsonl`: whole lines, each event once, whatever a crash leaves.

use std::fs;
use std::path::{Path, PathBuf};

use sluice::journal::Offset;
use sluice::sink::{Purpose, Store, StoreError};

use super::{Feed, NEW_YEAR, read_back, store, write_in_pieces};

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.retain(|name| name.starts_with("events-"));
    names.sort();
    names
}

fn open_file(folder: &Path) -> PathBuf {
    let name = names(folder).into_iter().find(|name| name.ends_with(".open")).unwrap();
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
        let cursor = loop {
            // The thread before us may not have let go yet.
            match sink.open(&opening).await {
                Ok(cursor) => break cursor.unwrap(),
                Err(StoreError::Unavailable(_)) => {}
                Err(error) => panic!("{error}"),
            }
        };
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
