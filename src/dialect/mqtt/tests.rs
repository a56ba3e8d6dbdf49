use super::super::recordings::{Bench, binary_frames};
use super::super::{Frame, OutFrame, Receipt, TopicId};

const MD: TopicId = TopicId(0);

/// A session that the broker has taken, and what it asked for.
fn connected(own: &str, topics: &[&str]) -> Bench {
    let mut bench = Bench::declared("own", &format!("[own]\nextends = \"mqtt\"\n{own}"), topics, &[]);
    let ids: Vec<TopicId> = (0..).zip(topics).map(|(id, _)| TopicId(id)).collect();
    bench.session.opened("sl00000000aaaaaaaa0", &[], &mut bench.out);
    bench.session.subscribe(&ids, &mut bench.out);
    bench.receive_frame(Frame::Binary(&[0x20, 2, 0, 0]));
    bench
}

fn sent(bench: &mut Bench) -> Vec<Vec<u8>> {
    let bytes = |frame| match frame {
        OutFrame::Binary(bytes) => bytes,
        OutFrame::Text(text) => panic!("text: {text}"),
    };
    bench.out.drain(..).map(bytes).collect()
}

#[test]
fn the_recorded_session_is_read_whole_however_its_packets_are_cut() {
    let frames = binary_frames("mqtt-websocket/qos1_sub");
    let stream: Vec<u8> = frames.concat();
    let mut pieces: Vec<Vec<Vec<u8>>> = vec![frames, vec![stream.clone()]];
    pieces.extend([1, 3].map(|size| stream.chunks(size).map(<[u8]>::to_vec).collect()));
    for pieces in pieces {
        let mut bench = Bench::of("mqtt", &["md/#"]);
        bench.session.opened("sl00000000aaaaaaaa0", &[], &mut bench.out);
        bench.session.subscribe(&[MD], &mut bench.out);
        for piece in &pieces {
            bench.receive_frame(Frame::Binary(piece));
        }
        let texts: Vec<&str> = bench.tally.texts.iter().map(|(_, text)| text.as_str()).collect();
        assert_eq!(
            texts,
            [
                r#"{"topic":"md/btc","qos":1,"payload":{"i":1}}"#,
                r#"{"topic":"md/btc","qos":1,"payload":{"i":2}}"#,
                r#"{"topic":"md/btc","qos":1,"payload":{"i":3}}"#,
                r#"{"topic":"md/ret","qos":0,"text":"retained"}"#,
            ]
        );
        assert_eq!((bench.tally.control, &*bench.tally.acknowledged), (3, &[MD][..]), "CONNACK, SUBACK, PINGRESP");
        assert!(bench.tally.unreadable.is_empty() && bench.tally.broken.is_empty());
        let receipts = bench.session.take_receipts();
        assert_eq!(receipts, [1, 2, 3].map(Receipt));
        sent(&mut bench);
        bench.session.durable(&receipts, &mut bench.out);
        assert_eq!(sent(&mut bench), [vec![0x40, 2, 0, 1, 0x40, 2, 0, 2, 0x40, 2, 0, 3]], "nothing is said before");
    }
}

#[test]
fn a_link_says_who_it_is_and_asks_only_when_it_was_taken() {
    let mut bench = connected("keep_alive = \"5s\"", &["a/+", "b"]);
    let sent = sent(&mut bench);
    let connect = [&[0x10, 31, 0, 4][..], b"MQTT", &[4, 0, 0, 5, 0, 19], b"sl00000000aaaaaaaa0"].concat();
    assert_eq!(sent[0], connect, "clean session is off, and the name is that of the place");
    let subscribe = [&[0x82, 12, 0, 1, 0, 3][..], b"a/+", &[1, 0, 1], b"b", &[1]].concat();
    assert_eq!(sent[1..], [subscribe]);
    bench.receive_frame(Frame::Binary(&[0x90, 4, 0, 1, 1, 0x80]));
    assert_eq!(bench.tally.acknowledged, [TopicId(0)]);
    assert_eq!(bench.tally.refused.len(), 1);
    assert_eq!(bench.tally.refused[0].0, [TopicId(1)]);
}

#[test]
fn a_broker_that_refuses_us_or_speaks_something_else_is_given_up_with_the_reason() {
    let mut bench = Bench::of("mqtt", &["a"]);
    bench.receive_frame(Frame::Binary(&[0x20, 2, 0, 5]));
    assert_eq!(bench.tally.broken, ["the broker refused the connection: NotAuthorized"]);
    let mut bench = connected("", &["a"]);
    bench.receive_frame(Frame::Binary(&[0x30, 0xff, 0xff, 0xff, 0xff, 1]));
    assert!(bench.tally.broken[0].contains("broke the MQTT protocol"), "{:?}", bench.tally.broken);
    // Nothing is read on.
    bench.receive_frame(Frame::Binary(&[0xd0, 0]));
    assert_eq!(bench.tally.control, 1);
}

#[test]
fn what_the_broker_still_has_under_our_name_is_taken_and_ended_and_a_repeat_says_so() {
    let mut bench = Bench::of("mqtt", &["mine", "old/#"]);
    bench.session.opened("sl00000000aaaaaaaa0", &[], &mut bench.out);
    bench.session.subscribe(&[MD], &mut bench.out);
    bench.receive_frame(Frame::Binary(&[0x20, 2, 1, 0]));
    sent(&mut bench);
    let publish = [&[0x3a, 10, 0, 5][..], b"old/x", &[0, 9], b"7"].concat();
    bench.receive_frame(Frame::Binary(&publish));
    bench.receive_frame(Frame::Binary(&publish));
    assert_eq!(bench.tally.texts[0], (TopicId(1), r#"{"topic":"old/x","qos":1,"dup":true,"payload":7}"#.to_owned()));
    let end = [&[0xa2, 9, 0, 2, 0, 5][..], b"old/#"].concat();
    assert_eq!(sent(&mut bench), [end], "once");
    bench.receive_frame(Frame::Binary(&[&[0x30, 4, 0, 2][..], b"no"].concat()));
    assert!(bench.tally.unreadable[0].0.contains("nobody asked for"));
    assert_eq!(bench.session.take_receipts(), [Receipt(9), Receipt(9)]);
}

#[test]
fn mistakes_in_settings_name_their_key() {
    use std::collections::BTreeMap;
    for (own, expected) in
        [("qos = 2", "`qos`: is 2"), ("keep_alive = \"1s\"", "`keep_alive`"), ("quality = 1", "quality")]
    {
        let declared: BTreeMap<String, toml::Table> =
            toml::from_str(&format!("[own]\nextends = \"mqtt\"\n{own}")).unwrap();
        let said = super::super::registry::build("own", &declared).unwrap_err().to_string();
        assert!(said.contains(expected), "{said}");
    }
}

#[test]
fn a_packet_longer_than_max_message_ends_the_link_before_it_is_kept() {
    for (length, ends) in [(100, false), (101, true)] {
        let mut bench = Bench::of("mqtt", &["a"]);
        bench.session.bound_messages(100);
        // The head of a PUBLISH; the rest of it would come in further frames.
        bench.receive_frame(Frame::Binary(&[0x30, length]));
        let said = &bench.tally.broken;
        assert_eq!(said.first().is_some_and(|said| said.contains("raise `max_message`")), ends, "{said:?}");
    }
}
