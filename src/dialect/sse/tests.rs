use std::path::Path;

use super::super::recordings::Bench;
use super::*;

const OWN: &str = "[own]\nkind = \"sse\"\npath = \"v2/\"\n";

#[test]
fn the_recorded_stream_is_read_whole_and_taken_up_behind_its_last_event() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/wikimedia-sse/recentchange_2022-12-11.sse");
    let mut stream = std::fs::read(path).unwrap();
    // The recording ends with the last event's data, before the empty line that ends the event.
    stream.extend_from_slice(b"\n\n");
    let data: Vec<&str> =
        std::str::from_utf8(&stream).unwrap().lines().filter_map(|line| line.strip_prefix("data: ")).collect();
    for size in [1, 7, 1000, stream.len()] {
        let mut bench = Bench::declared("own", OWN, &["recentchange"], &[]);
        assert_eq!(bench.dialect.opening(&["recentchange"], Some("[1]")).path.as_deref(), Some("v2/recentchange"));
        bench.session.subscribe(&[TopicId(0)], &mut bench.out);
        assert_eq!(bench.out, [OutFrame::Text("v2/recentchange".into())]);
        bench.receive_frame(Frame::Text("v2/recentchange"));
        for piece in stream.chunks(size) {
            bench.receive_frame(Frame::Binary(piece));
        }
        let texts: Vec<&str> = bench.tally.texts.iter().map(|(_, text)| text.as_str()).collect();
        assert_eq!(texts, data, "in pieces of {size}");
        assert_eq!((bench.tally.control, &*bench.tally.acknowledged), (1, &[TopicId(0)][..]));
        let tokens = bench.session.take_tokens();
        assert_eq!(tokens.len(), 1);
        let token = std::str::from_utf8(&tokens[0].token).unwrap();
        assert!(token.starts_with("[{\"topic\":\"eqiad.mediawiki.recentchange\""), "{token}");
        let point = bench.dialect.resumption().unwrap().point([token.as_bytes()]).unwrap();
        let opening = bench.dialect.opening(&["recentchange"], Some(&point));
        assert_eq!(opening.headers, [("Last-Event-ID".to_owned(), token.to_owned())]);
    }
}

#[test]
fn a_topic_that_is_asked_for_anew_goes_on_behind_what_came_and_one_that_ended_brings_nothing() {
    let mut bench = Bench::declared("own", OWN, &["a"], &[]);
    bench.session.subscribe(&[TopicId(0)], &mut bench.out);
    bench.receive_frame(Frame::Text("v2/a"));
    bench.receive_frame(Frame::Binary(b"id: 7\ndata: {}\n\n"));
    bench.out.clear();
    bench.session.unsubscribe(&[TopicId(0)], &mut bench.out);
    bench.receive_frame(Frame::Binary(b"id: 8\ndata: {}\n\n"));
    bench.session.subscribe(&[TopicId(0)], &mut bench.out);
    assert_eq!(bench.out, [OutFrame::Text(String::new()), OutFrame::Text("v2/a\n8".into())]);
    assert_eq!((bench.tally.texts.len(), bench.tally.control), (1, 2));
}

#[test]
fn an_envelope_keeps_the_events_name_and_id() {
    let mut bench = Bench::declared("own", &format!("{OWN}envelope = true\n"), &["a"], &[]);
    bench.session.subscribe(&[TopicId(0)], &mut bench.out);
    bench.receive_frame(Frame::Binary(b"event: delete\ndata: 109\n\n: thump\nid: 1\ndata: not json\n\n"));
    let texts: Vec<&str> = bench.tally.texts.iter().map(|(_, text)| text.as_str()).collect();
    assert_eq!(texts, [r#"{"event":"delete","payload":109}"#, r#"{"event":"message","id":"1","text":"not json"}"#]);
    assert_eq!(bench.tally.control, 1);
}
