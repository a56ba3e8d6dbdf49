//! What a server sends, and which topics it is of.

use crate::dialect::TopicId;
use crate::dialect::recordings::{Bench, json};

fn commit(account: &str, collection: &str) -> String {
    format!(r#"{{"did":"{account}","time_us":7,"kind":"commit","commit":{{"collection":"{collection}"}}}}"#)
}

#[test]
fn a_message_is_of_every_topic_that_takes_it_and_the_rest_is_control() {
    let topics = ["a.b.post", "a.b.*", "did:plc:x", "a.b.post@did:plc:x", "#identity", "*"];
    let mut bench = Bench::of("jetstream", &topics);
    assert!(bench.subscribe([0, 1, 2, 3, 4]).is_empty(), "the address has said it");
    bench.receive(&commit("did:plc:x", "a.b.post"));
    assert_eq!(bench.tally.messages.keys().copied().collect::<Vec<_>>(), [0, 1, 2, 3].map(TopicId));
    bench.receive(&commit("did:plc:y", "a.b.like"));
    assert_eq!(bench.tally.messages[&TopicId(1)], 2);
    bench.receive(r#"{"did":"did:plc:y","time_us":7,"kind":"identity","identity":{}}"#);
    assert_eq!((bench.tally.messages[&TopicId(4)], bench.messages()), (1, 6));
    bench.receive(&commit("did:plc:y", "a.c.post"));
    bench.receive(r#"{"did":"did:plc:y","time_us":7,"kind":"account","account":{}}"#);
    assert_eq!((bench.messages(), bench.tally.control), (6, 2));
    assert_eq!(bench.tally.acknowledged.len(), 5, "a message says that the address was understood");
}

#[test]
fn topics_that_change_are_said_in_the_place_of_all_before() {
    let mut bench = Bench::of("jetstream", &["a.b.post", "a.b.like", "did:plc:x"]);
    assert!(bench.subscribe([0]).is_empty());
    assert!(bench.subscribe([0]).is_empty(), "asked for already");
    let update = |said: &[String]| json(&said[0])["payload"].clone();
    let said = bench.subscribe([1]);
    assert_eq!(update(&said), json(r#"{"wantedCollections":["a.b.post","a.b.like"],"wantedDids":[]}"#));
    let said = bench.unsubscribe([0]);
    assert_eq!(update(&said), json(r#"{"wantedCollections":["a.b.like"],"wantedDids":[]}"#));
    bench.receive(&commit("did:plc:x", "a.b.post"));
    assert_eq!((bench.messages(), bench.tally.control), (0, 1), "under way when it ended");
    let said = bench.unsubscribe([1]);
    assert_eq!(update(&said)["wantedCollections"][0], "invalid.sluice.nothing", "an empty list would be everything");
}

#[test]
fn the_last_time_is_where_to_go_on_from_whatever_the_message_was() {
    let mut bench = Bench::of("jetstream", &["a.b.post"]);
    bench.subscribe_all();
    bench.receive(&commit("did:plc:x", "a.b.post"));
    bench.receive(r#"{"did":"did:plc:y","time_us":6,"kind":"account"}"#);
    let tokens = bench.session.take_tokens();
    assert_eq!(tokens[0].token, b"6", "the last of the link's one order, though it is less");
    assert!(bench.session.take_tokens().is_empty());
    bench.receive("{}");
    assert!(bench.tally.unreadable[0].0.contains("no `kind`"));
}

#[test]
fn the_address_names_topics_and_the_cursor() {
    let bench = Bench::of("jetstream", &["a.b.post"]);
    let opening = bench.dialect.opening(&["a.b.post", "a.b.*"], Some("17"));
    let url = opening.address(&"wss://host/subscribe?cursor=1&maxMessageSizeBytes=9".parse().unwrap());
    assert_eq!(url.query(), Some("maxMessageSizeBytes=9&cursor=17&wantedCollections=a.b.post&wantedCollections=a.b.*"));
}
