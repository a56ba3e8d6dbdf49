use super::super::recordings::{Bench, binary_frames};
use super::super::{Frame, OutFrame, Receipt, TopicId};

const INFO: &[u8] = b"INFO {\"max_payload\":1048576,\"headers\":true}\r\n";

fn bench(topics: &[&str]) -> Bench {
    let mut bench = Bench::of("nats", topics);
    bench.session.opened("sl00000000aaaaaaaa0", &[], &mut bench.out);
    let ids: Vec<TopicId> = (0..).zip(topics).map(|(id, _)| TopicId(id)).collect();
    bench.session.subscribe(&ids, &mut bench.out);
    assert!(bench.out.is_empty(), "nothing is said before the server has");
    bench
}

fn sent(bench: &mut Bench) -> String {
    let text = |frame| match frame {
        OutFrame::Binary(bytes) => String::from_utf8(bytes).unwrap(),
        OutFrame::Text(text) => panic!("a text frame: {text}"),
    };
    bench.out.drain(..).map(text).collect()
}

#[test]
fn the_recorded_session_is_read_whole_however_its_lines_are_cut() {
    let frames = binary_frames("nats-websocket/core_sub");
    let stream: Vec<u8> = frames.concat();
    let mut all: Vec<Vec<Vec<u8>>> = vec![frames, vec![stream.clone()]];
    all.extend([1, 5].map(|size| stream.chunks(size).map(<[u8]>::to_vec).collect()));
    for pieces in all {
        let mut bench = bench(&["md.>", "md.btc"]);
        for piece in &pieces {
            bench.receive_frame(Frame::Binary(piece));
        }
        let of =
            |topic: u32| bench.tally.texts.iter().filter(move |(of, _)| of.0 == topic).map(|(_, text)| text.as_str());
        let message = |subject: &str, i: u8| format!(r#"{{"subject":"{subject}","payload":{{"i": {i}, "p": "1.5"}}}}"#);
        let all: Vec<String> = (0..6).map(|i| message(if i % 2 == 0 { "md.eth" } else { "md.btc" }, i)).collect();
        assert_eq!(of(0).collect::<Vec<_>>(), all);
        assert_eq!(of(1).collect::<Vec<_>>(), [all[1].as_str(), &all[3], &all[5]]);
        // INFO, three +OK, PONG, PING, -ERR.
        assert_eq!((bench.tally.control, &*bench.tally.acknowledged), (7, &[TopicId(0), TopicId(1)][..]));
        assert_eq!(bench.tally.broken, ["the server said: Unknown Protocol Operation"]);
        let said = sent(&mut bench);
        let (connect, rest) = said.split_once("\r\n").unwrap();
        assert!(connect.starts_with("CONNECT {") && connect.contains("\"verbose\":false"), "{connect}");
        assert_eq!(rest, "SUB md.> 1\r\nSUB md.btc 2\r\nPING\r\nPONG\r\n");
    }
}

#[test]
fn what_a_consumer_delivers_has_its_place_in_the_stream_and_is_acknowledged_when_durable() {
    let mut bench = bench(&["deliver.a"]);
    bench.receive_frame(Frame::Binary(INFO));
    sent(&mut bench);
    let headers = "NATS/1.0\r\nSource: a\\b\r\nNats-Msg-Id: 7\r\n\r\n";
    let (bytes, total) = (headers.len(), headers.len() + 2);
    let reply = |sequence: u8| format!("$JS.ACK.S.C.2.{sequence}.5.1700000000000000001.0");
    let text =
        format!("HMSG md.x 1 {} {bytes} {total}\r\n{headers}{{}}\r\nMSG md.x 1 {} 1\r\nx\r\n", reply(17), reply(18));
    bench.receive_frame(Frame::Binary(text.as_bytes()));
    let first = concat!(
        r#"{"subject":"md.x","stream":"S","consumer":"C","sequence":17,"delivered":2,"time":1700000000000000001,"#,
        r#""headers":{"Source":"a\\b","Nats-Msg-Id":"7"},"payload":{}}"#
    );
    assert_eq!(bench.tally.texts[0].1, first);
    assert!(bench.tally.texts[1].1.ends_with(r#""text":"x"}"#));
    let receipts = bench.session.take_receipts();
    assert_eq!((receipts.len(), sent(&mut bench)), (2, String::new()), "nothing is said before");
    bench.session.durable(&receipts[..1], &mut bench.out);
    assert_eq!(sent(&mut bench), format!("PUB {} 4\r\n+ACK\r\n", reply(17)));
    bench.session.durable(&receipts[1..], &mut bench.out);
    assert_eq!(sent(&mut bench), format!("PUB {} 4\r\n+ACK\r\n", reply(18)));
    bench.session.durable(&[Receipt(99)], &mut bench.out);
    // Heartbeats and flow control are no messages; the latter is answered.
    bench.receive_frame(Frame::Binary(b"HMSG d 1 $JS.FC.x 28 28\r\nNATS/1.0 100 FlowControl\r\n\r\n\r\n"));
    assert_eq!((sent(&mut bench), bench.tally.texts.len()), ("PUB $JS.FC.x 0\r\n\r\n".to_owned(), 2));
}

#[test]
fn a_refused_subject_is_told_from_an_error_that_ends_the_link_and_a_lame_duck_is_left_in_time() {
    let mut bench = bench(&["a.b", "c q"]);
    bench.receive_frame(Frame::Binary(INFO));
    assert!(sent(&mut bench).ends_with("SUB a.b 1\r\nSUB c q 2\r\nPING\r\n"));
    bench.receive_frame(Frame::Binary(b"-ERR 'Permissions Violation for Subscription to \"a.b\"'\r\nPONG\r\n"));
    assert_eq!(bench.tally.refused[0].0, [TopicId(0)]);
    assert_eq!(bench.tally.acknowledged, [TopicId(1)]);
    assert!(bench.tally.broken.is_empty());
    bench.receive_frame(Frame::Binary(b"INFO {\"ldm\":true}\r\n"));
    assert_eq!((bench.tally.closing, sent(&mut bench)), (1, String::new()), "CONNECT is said once");
    bench.receive_frame(Frame::Binary(b"-ERR 'Authorization Violation'\r\nPING\r\n"));
    assert_eq!(bench.tally.broken, ["the server said: Authorization Violation"]);
    assert_eq!(sent(&mut bench), "", "nothing is read on");
}

#[test]
fn what_is_not_of_the_protocol_is_given_up() {
    for line in [
        "HELLO\r\n",
        "MSG a 1 2\r\nabc\r\n",
        "MSG a 1 x\r\n",
        "MSG a\r\n",
        "HMSG a 1 9 3\r\n",
        "MSG a 1 99999999999\r\n",
        "MSG a 1 99999999999999999999999\r\n",
    ] {
        let mut bench = bench(&["a"]);
        bench.receive_frame(Frame::Binary(line.as_bytes()));
        assert_eq!((bench.tally.unreadable.len(), bench.tally.broken.len()), (1, 1), "{line:?}");
    }
}

#[test]
fn subjects_are_checked_before_anything_is_connected() {
    use super::check_topic;
    for good in ["a", "a.b.>", "*.b", "> ", "a.b queue"].map(str::trim_end) {
        assert_eq!(check_topic(good), Ok(()), "{good}");
    }
    for bad in ["", "a..b", ".a", "a.", ">.a", "a b c", "a  b", "a\r\nPUB x 0"] {
        assert!(check_topic(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn a_message_longer_than_max_message_ends_the_link_before_it_is_kept() {
    let mut bench = bench(&["md.>"]);
    bench.session.bound_messages(100);
    bench.receive_frame(Frame::Binary(INFO));
    bench.receive_frame(Frame::Binary(b"MSG md.a 1 100\r\n"));
    assert!(bench.tally.broken.is_empty(), "{:?}", bench.tally.broken);
    let mut bench = self::bench(&["md.>"]);
    bench.session.bound_messages(100);
    bench.receive_frame(Frame::Binary(INFO));
    bench.receive_frame(Frame::Binary(b"MSG md.a 1 101\r\n"));
    assert!(bench.tally.broken[0].contains("more than 100 bytes; raise `max_message`"), "{:?}", bench.tally.broken);
}

/// Found by fuzzing: a message that did not end where its line said was noticed a byte later when it came in pieces.
#[test]
fn a_message_that_does_not_end_is_given_up_at_the_same_byte_however_it_is_cut() {
    let stream: &[u8] = b"INFO {\"server_id\":\"NDHBOVYMPTBVHRC\":true,\"max_payload\":1048576: 3, \"p\": \"1.5\"}\r\n\
        MSG md.btc 2 20\r\n{\"i\": 3, \"p\": \"event\r\nMSG md.eth 1 20\r\n{\"i\": 4, \x03INFO {\"serv";
    for size in [1, 7, stream.len()] {
        let mut bench = bench(&["md.>", "md.btc"]);
        for piece in stream.chunks(size) {
            bench.receive_frame(Frame::Binary(piece));
        }
        assert_eq!((bench.messages(), bench.tally.broken.len()), (1, 1), "in pieces of {size}");
    }
}
