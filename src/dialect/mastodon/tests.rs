//! Streams and what is in their messages.

use crate::dialect::TopicId;
use crate::dialect::recordings::Bench;

const TOPICS: [&str; 3] = ["public", "hashtag:Rust", "list:12"];

#[test]
fn a_stream_is_asked_for_with_what_belongs_to_it() {
    let mut bench = Bench::of("mastodon", &TOPICS);
    assert_eq!(
        bench.subscribe_all(),
        [
            r#"{"stream":"public","type":"subscribe"}"#,
            r#"{"stream":"hashtag","tag":"Rust","type":"subscribe"}"#,
            r#"{"list":"12","stream":"list","type":"subscribe"}"#,
        ]
    );
    assert_eq!(bench.unsubscribe([0]), [r#"{"stream":"public","type":"unsubscribe"}"#]);
    for topic in ["", "hashtag", "hashtag:", "list:a b", "publik"] {
        assert!(bench.dialect.check_topic(topic).unwrap_err().contains("is no stream"), "{topic}");
    }
}

#[test]
fn pointers_reach_into_the_payload_and_the_message_stays_as_it_came() {
    let mut bench = Bench::declared("mastodon", "", &TOPICS, &["/payload/account/acct", "/event"]);
    bench.subscribe_all();
    let message =
        r#"{"stream":["hashtag","rust"],"event":"update","payload":"{\"account\":{\"acct\":\"a\\u00e9\\\"b\"}}"}"#;
    bench.receive(message);
    assert_eq!(bench.tally.raw, [message.as_bytes()]);
    let (topic, view) = &bench.tally.texts[0];
    assert_eq!(*topic, TopicId(1));
    let found = bench.tally.last_fields.get(0).unwrap();
    assert_eq!(found.of(view.as_bytes()), br#""a\u00e9\"b""#, "an escape of the payload's own is left alone");
    let mut again = Vec::new();
    assert_eq!(bench.session.view(message.as_bytes(), &mut again), Ok(true));
    assert_eq!(again, view.as_bytes(), "as a frame out of the quarantine is read");
    // An id is no object, and damage inside of the string is none of the message's.
    bench.receive(r#"{"stream":["public"],"event":"delete","payload":"12"}"#);
    bench.receive(r#"{"stream":["public"],"event":"update","payload":"{"}"#);
    assert_eq!((bench.messages(), bench.tally.raw.len()), (3, 1));
}

#[test]
fn an_error_is_about_the_one_stream_that_is_waited_for() {
    let mut bench = Bench::of("mastodon", &TOPICS);
    bench.subscribe([0, 1]);
    bench.receive(r#"{"error":"Unknown stream type","status":400}"#);
    bench.receive(r#"{"stream":["public"],"event":"filters_changed"}"#);
    bench.receive(r#"{"error":"Unknown stream type","status":400}"#);
    let refused: Vec<_> = bench.tally.refused.iter().map(|(topics, _)| topics.clone()).collect();
    assert_eq!(refused, [vec![], vec![TopicId(1)]]);
    bench.receive(r#"{"stream":["list","12"],"event":"filters_changed"}"#);
    assert_eq!(bench.tally.control, 3, "a stream that was not asked for here");
    bench.receive(r#"{"stream":["direct"],"event":"x"}"#);
    assert_eq!(bench.tally.unreadable.len(), 1);
}
