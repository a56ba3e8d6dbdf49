//! The protocol's conversation.

use crate::dialect::TopicId;
use crate::dialect::recordings::Bench;

const ONE: &str = "subscription { one { i } }";
const TWO: &str = r#"{"query":"subscription($s:ID){two(s:$s){i}}","variables":{"s":"7"}}"#;
const PING: &str = r#"{"type":"ping"}"#;

fn agreed() -> Bench {
    let mut bench = Bench::of("graphql-transport-ws", &[ONE, TWO]);
    assert_eq!(bench.subscribe_all(), [r#"{"type":"connection_init"}"#]);
    let asked = bench.receive(r#"{"type":"connection_ack"}"#);
    let first = r#"{"id":"1","type":"subscribe","payload":{"query":"subscription { one { i } }"}}"#;
    let second = format!(r#"{{"id":"2","type":"subscribe","payload":{TWO}}}"#);
    assert_eq!(asked, [first, &second, PING]);
    bench
}

#[test]
fn nothing_is_asked_for_before_the_server_has_agreed_and_it_is_asked_to_once() {
    let mut bench = Bench::of("graphql-transport-ws", &[ONE, TWO]);
    assert_eq!(bench.subscribe([0]).len(), 1);
    assert!(bench.subscribe([0, 1]).is_empty(), "a second beginning would close the connection: 4429");
    let mut said = Vec::new();
    bench.session.keep_alive(&mut said);
    assert!(said.is_empty(), "nor is anything else said");
    assert_eq!(bench.receive(r#"{"type":"connection_ack"}"#).len(), 3);
}

#[test]
fn an_answered_ping_says_that_what_was_asked_before_is_in_force() {
    let mut bench = agreed();
    bench.receive(r#"{"id":"2","type":"error","payload":[{"message":"no such field"}]}"#);
    assert!(bench.tally.acknowledged.is_empty());
    bench.receive(r#"{"type":"pong"}"#);
    assert_eq!(bench.tally.acknowledged, [TopicId(0)], "but for what was refused");
    assert_eq!(bench.tally.refused, [(vec![TopicId(1)], "no such field".to_owned())]);
}

#[test]
fn a_ping_is_answered_at_once() {
    assert_eq!(agreed().receive(r#"{"type":"ping","payload":{"x":1}}"#), [r#"{"type":"pong"}"#]);
}

/// An id that is in use closes the connection: 4409.
#[test]
fn an_id_is_never_used_again() {
    let mut bench = agreed();
    assert!(bench.subscribe([0]).iter().all(|said| said == PING), "it is going on: nothing to ask for");
    bench.receive(r#"{"id":"1","type":"next","payload":{"data":{"one":{"i":1}}}}"#);
    assert_eq!(bench.unsubscribe([0]), [r#"{"id":"1","type":"complete"}"#]);
    let said = bench.subscribe([0]);
    assert!(said[0].starts_with(r#"{"id":"3","type":"subscribe""#), "{said:?}");
    bench.receive(r#"{"id":"1","type":"next","payload":{"data":{"one":{"i":2}}}}"#);
    bench.receive(r#"{"id":"3","type":"next","payload":{"data":{"one":{"i":2}}}}"#);
    assert_eq!((bench.messages(), bench.tally.control), (2, 2));
    bench.receive(r#"{"id":"8","type":"next","payload":{}}"#);
    bench.receive(r#"{"id":"x","type":"next","payload":{}}"#);
    bench.receive(r#"{"type":"other"}"#);
    assert_eq!(bench.tally.unreadable.len(), 3);
}

#[test]
fn what_the_server_completes_is_over() {
    let mut bench = agreed();
    bench.receive(r#"{"id":"1","type":"complete"}"#);
    assert!(bench.tally.refused[0].1.contains("completed"));
}

#[test]
fn a_topic_is_a_subscription() {
    let bench = Bench::of("graphql-transport-ws", &[ONE]);
    for (topic, reason) in [
        ("query { one }", "is neither a subscription"),
        ("subscriptions", "is neither a subscription"),
        (r#"{"query":1}"#, "no text `query`"),
        (r#"{"query":"x""#, "EOF"),
    ] {
        let said = bench.dialect.check_topic(topic).unwrap_err();
        assert!(said.contains(reason), "{topic}: {said}");
    }
}
