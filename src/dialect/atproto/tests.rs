//! Frames of an event stream.

use super::session::put_view;
use crate::dialect::recordings::Bench;
use crate::dialect::{Frame, TopicId};

/// `{"op":1,"t":"#KIND"}` and `{"seq":SEQ}`.
fn frame(kind: &str, sequence: u8) -> Vec<u8> {
    let kind = kind.as_bytes();
    let head = [b"\xa2\x62op\x01\x61t", &[0x60 + u8::try_from(kind.len()).unwrap()][..], kind].concat();
    [&head[..], b"\xa1\x63seq\x18", &[sequence]].concat()
}

fn receive(bench: &mut Bench, bytes: &[u8]) {
    bench.session.receive(Frame::Binary(bytes), &mut bench.tally, &mut bench.out);
}

#[test]
fn a_frame_is_kept_as_it_came_and_read_as_json() {
    let mut bench = Bench::declared("atproto", "", &["#commit", "*", "#sync"], &["/body/seq"]);
    assert!(bench.subscribe_all().is_empty(), "nothing is said");
    let commit = frame("#commit", 77);
    receive(&mut bench, &commit);
    let view = r##"{"header":{"op":1,"t":"#commit"},"body":{"seq":77}}"##;
    assert_eq!(bench.tally.texts, [(TopicId(0), view.to_owned()), (TopicId(1), view.to_owned())]);
    assert_eq!(bench.tally.raw, [commit.clone(), commit.clone()]);
    assert_eq!(bench.tally.last_fields.get(0).unwrap().of(view.as_bytes()), b"77");
    assert_eq!(bench.tally.acknowledged.len(), 3, "all of the stream comes, whatever it brings first");
    assert_eq!(bench.session.take_tokens()[0].token, b"77");
    let mut again = Vec::new();
    assert_eq!(bench.session.view(&commit, &mut again), Ok(true));
    assert_eq!(again, view.as_bytes());
}

#[test]
fn what_no_topic_takes_is_control_and_counts_for_going_on() {
    let mut bench = Bench::of("atproto", &["#commit"]);
    bench.subscribe_all();
    receive(&mut bench, &frame("#identity", 30));
    assert_eq!((bench.messages(), bench.tally.control), (0, 1));
    assert_eq!(bench.session.take_tokens()[0].token, b"30");
    bench.unsubscribe([0]);
    receive(&mut bench, &frame("#commit", 31));
    assert_eq!((bench.messages(), bench.tally.control), (0, 2));
}

#[test]
fn an_error_ends_all_topics_with_its_reason() {
    let mut bench = Bench::of("atproto", &["#commit", "#sync"]);
    bench.subscribe_all();
    receive(&mut bench, b"\xa1\x62op\x20\xa2\x65error\x6cFutureCursor\x67message\x67too far");
    assert_eq!(bench.tally.refused, [(vec![TopicId(0), TopicId(1)], "FutureCursor: too far".to_owned())]);
    assert_eq!(bench.tally.control, 1);
}

#[test]
fn a_past_that_is_kept_no_longer_is_reported() {
    let mut bench = Bench::of("atproto", &["#commit"]);
    bench.subscribe_all();
    receive(&mut bench, b"\xa2\x62op\x01\x61t\x65#info\xa1\x64name\x6eOutdatedCursor");
    assert!(bench.tally.refused[0].1.starts_with("OutdatedCursor"), "{:?}", bench.tally.refused);
}

#[test]
fn damage_is_told_with_its_place() {
    let mut bench = Bench::of("atproto", &["#commit"]);
    bench.subscribe_all();
    let sound = frame("#commit", 77);
    for (bytes, reason) in [
        (&b""[..], "its header is no CBOR"),
        (&sound[..3], "its header is no CBOR"),
        (&sound[..sound.len() - 1], "its body is no CBOR"),
        (&[&sound[..], b"\x01"].concat(), "has 1 bytes behind its body"),
        (b"\xa0\xa0", "`op` is neither"),
        (b"\xa1\x62op\x01\xa0", "has no `t`"),
        (b"\x01\x01", "`op` is neither"),
    ] {
        bench.tally.unreadable.clear();
        receive(&mut bench, bytes);
        assert!(bench.tally.unreadable[0].0.contains(reason), "{:?}", bench.tally.unreadable);
    }
    bench.receive("{}");
    assert!(bench.tally.unreadable.last().unwrap().0.contains("text frame"));
}

#[test]
fn a_view_of_any_bytes_is_json_or_an_error() {
    proptest::proptest!(|(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200))| {
        let mut view = Vec::new();
        if put_view(&bytes, &mut view).is_ok() {
            serde_json::from_slice::<serde::de::IgnoredAny>(&view).unwrap();
        }
    });
}
