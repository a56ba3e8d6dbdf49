//! What the presets of the `json_rpc` dialect make of recorded feeds, and what is promised of subscriptions.

use crate::dialect::TopicId;
use crate::dialect::recordings::{Bench, Recording, json};

#[test]
fn every_frame_of_the_deribit_recording_is_accounted_for() {
    let recording = Recording::load("deribit-jsonrpc/public_2021-07-22");
    let recorded = json(&recording.sent[0]);
    let topics: Vec<String> = serde_json::from_value(recorded["params"]["channels"].clone()).unwrap();
    assert_eq!(topics.len(), 30);
    let mut bench = Bench::of("deribit", &topics);
    let sent = bench.subscribe_all();
    assert_eq!(sent.len(), 1);
    let mut request = json(&sent[0]);
    assert_eq!(request["id"], 1);
    request["id"] = 0.into();
    assert_eq!(request, recorded, "the recording client began to count at 0");
    bench.receive(&recording.received[0].replacen(r#""id":0"#, r#""id":1"#, 1));
    for text in &recording.received[1..] {
        bench.receive(text);
    }
    let kind = |topic: &str| topic.split('.').next().unwrap().to_owned();
    assert_eq!(bench.by_kind(kind), "book=46 ticker=89");
    assert_eq!((bench.messages(), bench.tally.control, bench.tally.unreadable.len()), (135, 1, 0));
    assert_eq!(bench.tally.acknowledged.len(), 30);
    assert_eq!(bench.tally.refused, []);
}

#[test]
fn a_channel_that_deribit_does_not_list_is_refused_and_a_test_request_is_answered() {
    let mut bench = Bench::of("deribit", &["trades.BTC-PERPETUAL.100ms", "trades.NO-SUCH.100ms"]);
    bench.subscribe_all();
    bench.receive(r#"{"jsonrpc":"2.0","id":1,"result":["trades.BTC-PERPETUAL.100ms"],"usIn":1}"#);
    assert_eq!(bench.acknowledged(), ["trades.BTC-PERPETUAL.100ms"]);
    assert_eq!(bench.tally.refused[0].0, [TopicId(1)]);
    let answer = bench.receive(r#"{"jsonrpc":"2.0","method":"heartbeat","params":{"type":"test_request"}}"#);
    assert_eq!(json(&answer[0])["method"], "public/test");
    bench.receive(r#"{"jsonrpc":"2.0","id":2,"result":{"version":"1.2.26"}}"#);
    assert_eq!((bench.tally.control, bench.tally.unreadable.len()), (3, 0));
    bench.receive(r#"{"jsonrpc":"2.0","method":"subscription","params":{"channel":"trades.ETH","data":[]}}"#);
    assert_eq!(bench.tally.unreadable[0].0, "data of channel \"trades.ETH\", which nobody asked for");
}

fn ethereum(name: &str, topics: &[&str]) -> (Bench, Recording) {
    let recording = Recording::load(name);
    let mut bench = Bench::of("ethereum", topics);
    let sent = bench.subscribe_all();
    let (sent, recorded): (Vec<_>, Vec<_>) = (
        sent.iter().map(|text| json(text)).collect(),
        recording.sent.iter().take(topics.len()).map(|text| json(text)).collect(),
    );
    assert_eq!(sent, recorded);
    bench.receive_all(&recording);
    (bench, recording)
}

fn counts(bench: &Bench) -> Vec<u64> {
    (0..u32::try_from(bench.topics.len()).unwrap())
        .map(|topic| bench.tally.messages.get(&TopicId(topic)).copied().unwrap_or(0))
        .collect()
}

#[test]
fn every_frame_of_the_ethereum_recordings_is_accounted_for() {
    let topics = ["newHeads", "logs {}", "newPendingTransactions", "bogus"];
    // The recording client also sent a batch of two requests; its answers are control, each by itself.
    let (bench, _) = ethereum("ethereum-jsonrpc/anvil_heads_logs_pending", &topics);
    assert_eq!(counts(&bench), [46, 300, 151, 0]);
    assert_eq!((bench.messages(), bench.tally.control, bench.tally.unreadable.len()), (497, 6, 0));
    assert_eq!(bench.acknowledged(), topics[..3]);
    let refusal = "data did not match any variant of untagged enum EthRpcCall";
    assert_eq!(bench.tally.refused, [(vec![TopicId(3)], refusal.into())]);

    let (bench, _) = ethereum("ethereum-jsonrpc/ganache_heads_logs_pending", &topics);
    assert_eq!(counts(&bench), [30, 120, 61, 0]);
    assert_eq!((bench.messages(), bench.tally.control, bench.tally.unreadable.len()), (211, 6, 0));
    assert_eq!(bench.acknowledged(), topics[..3]);
    assert_eq!(bench.tally.refused, [(vec![TopicId(3)], "no \"bogus\" subscription in eth namespace".into())]);

    let (bench, _) = ethereum("ethereum-jsonrpc/anvil_reorg", &topics[..2]);
    assert_eq!(counts(&bench), [17, 32]);
    assert_eq!((bench.messages(), bench.tally.control, bench.tally.unreadable.len()), (49, 2, 0));
}

#[test]
fn every_frame_of_the_solana_recording_is_accounted_for() {
    let recording = Recording::load("solana-pubsub/slots_logs_program");
    let topics = [
        "slotSubscribe",
        r#"logsSubscribe ["all",{"commitment":"processed"}]"#,
        r#"programSubscribe ["11111111111111111111111111111111",{"encoding":"base64","commitment":"processed"}]"#,
        r#"accountSubscribe ["8p72CpUWAU3SqqoXD6LJnYv9JD2CpHQGFXnmUMLyEa9y",{"encoding":"base64"}]"#,
        r#"blockSubscribe ["all"]"#,
    ];
    let mut bench = Bench::of("solana", &topics);
    let sent = bench.subscribe_all();
    let (sent, recorded): (Vec<_>, Vec<_>) =
        (sent.iter().map(|text| json(text)).collect(), recording.sent.iter().map(|text| json(text)).collect());
    assert_eq!(sent, recorded);
    bench.receive_all(&recording);
    assert_eq!(counts(&bench), [1465, 127, 192, 0, 0]);
    assert_eq!((bench.messages(), bench.tally.control, bench.tally.unreadable.len()), (1784, 5, 0));
    assert_eq!(bench.acknowledged(), topics[..4], "the slots' id is 0");
    assert_eq!(bench.tally.refused.len(), 1);
    assert_eq!(bench.tally.refused[0].0, [], "the refusal has no id");
    assert!(bench.tally.refused[0].1.contains("unknown variant `blockSubscribe`"));
}

#[test]
fn equal_subscription_ids_are_counted_and_ended_once() {
    let recording = Recording::load("solana-pubsub/duplicate_subscribe");
    let topics = ["slotSubscribe", "slotSubscribe []", r#"logsSubscribe ["all"]"#, r#"logsSubscribe [ "all" ]"#];
    let mut bench = Bench::of("solana", &topics);
    bench.subscribe_all();
    for text in &recording.received {
        // The recording client began to count at 2.
        let text = (2..=5).fold(text.clone(), |text, id| {
            text.replace(&format!(r#","id":{id}}}"#), &format!(r#","id":{}}}"#, id - 1))
        });
        bench.receive(&text);
    }
    assert_eq!(bench.acknowledged(), topics);
    // The first notification came before the second acknowledgement, the other three belong to both topics.
    assert_eq!(counts(&bench), [4, 3, 0, 0]);
    assert_eq!((bench.tally.control, bench.tally.unreadable.len()), (7, 0));
    assert_eq!(bench.tally.refused.len(), 2, "two refusals without an id");

    assert_eq!(bench.unsubscribe([0]), [""; 0], "the other topic still needs the subscription");
    bench.receive(r#"{"jsonrpc":"2.0","method":"slotNotification","params":{"result":{"slot":1},"subscription":0}}"#);
    assert_eq!(counts(&bench), [4, 4, 0, 0]);
    let sent = bench.unsubscribe([1]);
    assert_eq!(json(&sent[0]), json(r#"{"jsonrpc":"2.0","id":5,"method":"slotUnsubscribe","params":[0]}"#));
    bench.receive(r#"{"jsonrpc":"2.0","method":"slotNotification","params":{"result":{"slot":2},"subscription":0}}"#);
    bench.receive(r#"{"jsonrpc":"2.0","result":true,"id":5}"#);
    assert_eq!(counts(&bench), [4, 4, 0, 0]);
    assert_eq!(bench.tally.control, 9, "a late notification of an ended subscription is control");
}

fn notification(id: &str, number: u32) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","method":"eth_subscription","params":{{"subscription":{id},"result":"0x{number:x}"}}}}"#
    )
}

#[test]
fn notifications_before_their_acknowledgement_are_kept_and_delivered_in_order() {
    let mut bench = Bench::of("ethereum", &["newHeads", "logs {}"]);
    bench.subscribe_all();
    bench.receive(&notification(r#""0xb""#, 1));
    bench.receive(&notification(r#""0xa""#, 2));
    bench.receive(&notification(r#""0xb""#, 3));
    assert_eq!((bench.messages(), bench.tally.control), (0, 0));
    bench.receive(r#"{"jsonrpc":"2.0","id":2,"result":"0xb"}"#);
    let texts: Vec<_> = bench.tally.texts.iter().map(|(topic, text)| (topic.0, text.clone())).collect();
    assert_eq!(texts, [(1, notification(r#""0xb""#, 1)), (1, notification(r#""0xb""#, 3))]);
    bench.receive(r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32000,"message":"no heads today"}}"#);
    assert_eq!(bench.tally.refused, [(vec![TopicId(0)], "no heads today".into())]);
    assert_eq!(
        bench.tally.unreadable,
        [("notification of subscription \"0xa\", which nobody asked for".to_owned(), notification(r#""0xa""#, 2))],
        "once nothing can claim it any more"
    );
}

#[test]
fn early_notifications_are_bounded_and_what_is_lost_is_said() {
    let toml = "[mine]\nextends = \"ethereum\"\nearly = { messages = 2, bytes = \"1KiB\" }";
    let mut bench = Bench::declared("mine", toml, &["newHeads"], &[]);
    bench.subscribe_all();
    for number in 1..=3 {
        bench.receive(&notification(r#""0xa""#, number));
    }
    assert_eq!(bench.tally.unreadable.len(), 1);
    assert_eq!(bench.tally.unreadable[0].1, notification(r#""0xa""#, 1));
    assert!(bench.tally.unreadable[0].0.contains("before its subscription was acknowledged"));
    bench.receive(r#"{"jsonrpc":"2.0","id":1,"result":"0xa"}"#);
    assert_eq!(bench.messages(), 2);
}

#[test]
fn ids_are_compared_as_tokens() {
    let mut bench = Bench::of("ethereum", &["newHeads", "logs {}"]);
    bench.subscribe_all();
    bench.receive(r#"{"jsonrpc":"2.0","id":"1","result":"1"}"#);
    bench.receive(r#"{"jsonrpc":"2.0","id":2,"result":1}"#);
    bench.receive(&notification("1", 7));
    bench.receive(&notification(r#""1""#, 8));
    assert_eq!(counts(&bench), [1, 1]);
    assert_eq!(bench.tally.texts[0].0, TopicId(1));
    bench.receive(&notification(r#""2""#, 9));
    assert_eq!(bench.tally.unreadable[0].0, "notification of subscription \"2\", which nobody asked for");
}

#[test]
fn a_batch_is_read_element_by_element() {
    let mut bench = Bench::declared("ethereum", "", &["newHeads", "logs {}"], &["/params/result"]);
    bench.subscribe_all();
    let batch = format!(
        r#" [{{"jsonrpc":"2.0","id":2,"result":"0xb"}}, {} ,{{"jsonrpc":"2.0","id":1,"result":"0xa"}},7]"#,
        notification(r#""0xb""#, 5)
    );
    bench.receive(&batch);
    assert_eq!(bench.acknowledged(), ["logs {}", "newHeads"]);
    let (topic, text) = &bench.tally.texts[0];
    assert_eq!((topic.0, text), (1, &notification(r#""0xb""#, 5)), "the element's bytes and nothing around them");
    let span = bench.tally.last_fields.get(0).unwrap();
    assert_eq!(&text[span.start as usize..span.end as usize], r#""0x5""#);
    assert_eq!((bench.tally.control, bench.tally.unreadable.len()), (2, 1));
    bench.receive("[]");
    assert_eq!(bench.tally.unreadable[1].0, "is an empty batch");
}

#[test]
fn a_topic_ended_before_its_acknowledgement_is_ended_when_it_comes() {
    let mut bench = Bench::of("ethereum", &["newHeads"]);
    bench.subscribe_all();
    assert_eq!(bench.unsubscribe([0]), [""; 0], "no id to end yet");
    bench.receive(&notification(r#""0xa""#, 1));
    let sent = bench.receive(r#"{"jsonrpc":"2.0","id":1,"result":"0xa"}"#);
    assert_eq!(json(&sent[0]), json(r#"{"jsonrpc":"2.0","id":2,"method":"eth_unsubscribe","params":["0xa"]}"#));
    assert_eq!((bench.messages(), bench.tally.control, bench.tally.acknowledged.len()), (0, 2, 0));
}

#[test]
fn what_comes_late_of_a_topic_that_another_link_goes_on_with_is_data() {
    let mut bench = Bench::of("ethereum", &["newHeads"]);
    bench.subscribe_all();
    bench.receive(r#"{"jsonrpc":"2.0","id":1,"result":"0xa"}"#);
    let sent = bench.hand_over([0]);
    assert_eq!(json(&sent[0])["method"], "eth_unsubscribe");
    bench.receive(&notification(r#""0xa""#, 1));
    assert_eq!((bench.messages(), bench.tally.control), (1, 1));
}

#[test]
fn a_subscription_answered_twice_is_kept_once() {
    let mut bench = Bench::of("ethereum", &["newHeads"]);
    bench.subscribe_all();
    bench.subscribe_all();
    bench.receive(r#"{"jsonrpc":"2.0","id":1,"result":"0xa"}"#);
    let sent = bench.receive(r#"{"jsonrpc":"2.0","id":2,"result":"0xb"}"#);
    assert_eq!(json(&sent[0])["params"], json(r#"["0xb"]"#));
    bench.receive(&notification(r#""0xa""#, 1));
    bench.receive(&notification(r#""0xb""#, 1));
    assert_eq!((bench.messages(), bench.tally.control, bench.tally.acknowledged.len()), (1, 3, 1));
}

#[test]
fn a_topics_arguments_must_be_json_and_stay_in_their_place() {
    let dialect = Bench::of("solana", &["slotSubscribe"]).dialect;
    assert!(dialect.check_topic(r#"logsSubscribe ["all"],"id":1"#).unwrap_err().contains("has JSON or a number"));
    assert!(dialect.check_topic("slots").unwrap_err().contains("`slotSubscribe`"));
    let mut bench = Bench::of("ethereum", &[r#"x"],"method":"eth_sendTransaction"#]);
    let sent = bench.subscribe_all();
    assert_eq!(json(&sent[0])["method"], "eth_subscribe");
}
