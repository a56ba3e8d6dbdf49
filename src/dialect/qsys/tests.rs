use serde_json::{Value, json};

use super::super::recordings::Bench;
use super::super::{TopicId, Transport};
use super::*;

const TOPICS: [&str; 4] = ["Main Gain", "Mixer/gain", "Mixer/mute", "@EngineStatus"];

fn bench(own: &str) -> Bench {
    let mut bench = Bench::declared("own", &format!("[own]\nextends = \"qsys\"\n{own}"), &TOPICS, &[]);
    let greeting = bench.dialect.greeting();
    bench.session.opened("group", &greeting, &mut bench.out);
    bench
}

fn all(texts: &[String]) -> Vec<Value> {
    texts.iter().map(|text| serde_json::from_str(text).unwrap()).collect()
}

/// Method and parameters of requests; their ids are from `first` on.
fn requests(texts: &[String], first: u64) -> Vec<(String, Value)> {
    (first..)
        .zip(all(texts))
        .map(|(id, mut request)| {
            assert_eq!((&request["jsonrpc"], &request["id"]), (&json!("2.0"), &json!(id)), "{request}");
            (request["method"].as_str().unwrap().to_owned(), request["params"].take())
        })
        .collect()
}

fn request(method: &str, params: Value) -> (String, Value) {
    (method.to_owned(), params)
}

#[test]
fn a_change_group_is_built_looked_at_and_every_change_in_it_is_a_message() {
    let mut bench = bench("rate = \"200ms\"");
    let asked = bench.subscribe_all();
    assert_eq!(
        requests(&asked, 1),
        [
            request("ChangeGroup.AddControl", json!({"Id": "group", "Controls": ["Main Gain"]})),
            request(
                "ChangeGroup.AddComponentControl",
                json!({"Id": "group", "Component": {"Name": "Mixer", "Controls": [{"Name": "gain"}, {"Name": "mute"}]}})
            ),
            request("StatusGet", json!(0)),
        ]
    );
    let begun = bench.receive(r#"{"jsonrpc":"2.0","result":true,"id":1}"#);
    assert_eq!(
        requests(&begun, 4),
        [
            request("ChangeGroup.Invalidate", json!({"Id": "group"})),
            request("ChangeGroup.AutoPoll", json!({"Id": "group", "Rate": 0.2})),
        ]
    );
    assert!(bench.receive(r#"{"jsonrpc":"2.0","result":true,"id":2}"#).is_empty(), "once");
    assert_eq!(bench.tally.acknowledged, [TopicId(0), TopicId(1), TopicId(2)]);
    let changes = [
        r#"{"Name":"Main Gain","Value":-12.50,"String":"-12.5dB"}"#,
        r#"{"Component":"Mixer","Name":"gain","Value":0,"String":"0dB"}"#,
    ];
    // Under the id of the request, again and again, or as calls.
    let list = changes.join(",");
    bench.receive(&format!(r#"{{"jsonrpc":"2.0","result":{{"Id":"group","Changes":[{list}]}},"id":5}}"#));
    bench.receive(&format!(r#"{{"jsonrpc":"2.0","id":5,"result":{{"Id":"group","Changes":[{}]}}}}"#, changes[1]));
    bench.receive(&format!(
        r#"{{"jsonrpc":"2.0","method":"ChangeGroup.Poll","params":{{"Id":"group","Changes":[{}]}}}}"#,
        changes[0]
    ));
    let control = bench.tally.control;
    bench.receive(r#"{"jsonrpc":"2.0","result":{"Id":"group","Changes":[]},"id":5}"#);
    assert_eq!(bench.tally.control, control + 1, "nothing changed, and the Core said so");
    let text = |topic: u32, text: &str| (TopicId(topic), text.to_owned());
    let [main, gain] = changes;
    assert_eq!(bench.tally.texts, [text(0, main), text(1, gain), text(1, gain), text(0, main)]);
    assert_eq!(requests(&bench.unsubscribe([1]), 6).len(), 1);
    let beat = {
        bench.session.keep_alive(&mut bench.out);
        bench.subscribe([])
    };
    assert_eq!(requests(&beat, 7), [request("NoOp", json!({}))]);
    assert!(bench.tally.unreadable.is_empty() && bench.tally.broken.is_empty());
}

#[test]
fn a_control_that_is_not_there_is_found_among_many_and_refused_alone() {
    let mut bench = bench("");
    bench.subscribe_all();
    let again = bench.receive(r#"{"jsonrpc":"2.0","error":{"code":8,"message":"Unknown control"},"id":2}"#);
    let name = |request: &(String, Value)| request.1["Component"]["Controls"][0]["Name"].as_str().unwrap().to_owned();
    assert_eq!(requests(&again, 4).iter().map(name).collect::<Vec<_>>(), ["gain", "mute"]);
    bench.receive(r#"{"jsonrpc":"2.0","error":{"code":8,"message":"Unknown control"},"id":4}"#);
    assert_eq!(bench.tally.refused, [(vec![TopicId(1)], "Unknown control (8)".to_owned())]);
    bench.receive(r#"{"jsonrpc":"2.0","result":true,"id":5}"#);
    assert_eq!(bench.tally.acknowledged, [TopicId(2)]);
}

#[test]
fn a_group_that_the_core_has_lost_is_built_anew_and_a_core_that_is_of_no_use_is_left() {
    let mut bench = bench("");
    bench.subscribe_all();
    bench.receive(r#"{"jsonrpc":"2.0","result":true,"id":1}"#);
    let lost = bench.receive(r#"{"jsonrpc":"2.0","error":{"code":6,"message":"Unknown change group"},"id":5}"#);
    assert_eq!(requests(&lost, 6).len(), 2);
    let begun = bench.receive(r#"{"jsonrpc":"2.0","result":true,"id":6}"#);
    assert_eq!(begun.len(), 2, "looked at again");
    let status = |state: &str, design: &str| {
        format!(
            r#"{{"jsonrpc":"2.0","method":"EngineStatus","params":{{"State":"{state}","DesignName":"D","DesignCode":"{design}"}}}}"#
        )
    };
    assert!(bench.receive(&status("Active", "one")).is_empty());
    assert_eq!(bench.receive(&status("Active", "two")).len(), 2, "another design has none of our groups");
    assert_eq!(bench.tally.texts.iter().filter(|(topic, _)| *topic == TopicId(3)).count(), 2, "and both are events");
    bench.receive(&status("Standby", "two"));
    assert!(bench.tally.broken[0].contains("standby"), "{:?}", bench.tally.broken);
    for (code, said) in [(5, "no change group left"), (10, "wants a logon"), (-32604, "on standby")] {
        let mut bench = self::bench("");
        bench.subscribe_all();
        bench.receive(&format!(r#"{{"jsonrpc":"2.0","error":{{"code":{code},"message":"m"}},"id":1}}"#));
        assert!(bench.tally.broken[0].contains(said), "{:?}", bench.tally.broken);
    }
}

#[test]
fn a_core_that_does_not_send_by_itself_is_asked_and_one_that_wants_a_logon_gets_it_first() {
    let mut bench = bench("poll = true\nlogon = { user = \"u\", password = \"{auth.pin}\" }");
    let asked = bench.subscribe([0]);
    assert_eq!(requests(&asked, 1)[0], request("Logon", json!({"User": "u", "Password": "{auth.pin}"})));
    let begun = bench.receive(r#"{"jsonrpc":"2.0","result":true,"id":2}"#);
    assert_eq!(requests(&begun, 3), [request("ChangeGroup.Invalidate", json!({"Id": "group"}))]);
    let ask = |bench: &mut Bench| {
        bench.session.keep_alive(&mut bench.out);
        bench.subscribe([])
    };
    assert_eq!(requests(&ask(&mut bench), 4), [request("ChangeGroup.Poll", json!({"Id": "group"}))]);
    assert!(ask(&mut bench).is_empty(), "not before it has answered");
    bench.receive(r#"{"jsonrpc":"2.0","result":{"Id":"group","Changes":[{"Name":"Main Gain","Value":1}]},"id":4}"#);
    assert_eq!((bench.messages(), ask(&mut bench).len()), (1, 1));
    bench.receive(r#"{"jsonrpc":"2.0","error":{"code":10,"message":"Logon failed"},"id":1}"#);
    assert_eq!(bench.tally.broken, ["the Core refused the logon: Logon failed (10)"]);
}

/// An answer that could not be read left a Core unasked for ever.
#[test]
fn a_poll_whose_answer_was_lost_is_made_again() {
    let mut bench = bench("poll = true");
    bench.subscribe([0]);
    bench.receive(r#"{"jsonrpc":"2.0","result":true,"id":1}"#);
    let look = |bench: &mut Bench| {
        bench.session.keep_alive(&mut bench.out);
        bench.subscribe([])
    };
    assert_eq!(look(&mut bench).len(), 1);
    bench.receive(r#"{"jsonrpc":"2.0","result":{"Id":"group","Chan"#);
    let asked = (0..100).find_map(|_| look(&mut bench).pop()).expect("another poll");
    assert_eq!(requests(&[asked], 4), [request("ChangeGroup.Poll", json!({"Id": "group"}))]);
    bench.receive(r#"{"jsonrpc":"2.0","result":{"Id":"group","Changes":[{"Name":"Main Gain","Value":1}]},"id":4}"#);
    assert_eq!((bench.messages(), look(&mut bench).len()), (1, 1));
}

#[test]
fn topics_and_addresses_are_checked() {
    let dialect = &bench("").dialect;
    for good in ["Main Gain", "Mixer/in.1.gain", "a/b/c", "@EngineStatus"] {
        assert_eq!(dialect.check_topic(good), Ok(()), "{good}");
    }
    for bad in ["", "/gain", "Mixer/", "@Other", "a\nb"] {
        assert!(dialect.check_topic(bad).is_err(), "{bad}");
    }
    let of = |scheme| Transport::of(dialect.transports(), scheme);
    assert_eq!((of("tcp"), of("tls")), (Some(Transport::NulEnded), Some(Transport::NulEnded)));
    assert_eq!((of("wss"), of("https")), (Some(Transport::WebSocket), None));
    let table: toml::Table = "rate = \"1m\"".parse().unwrap();
    assert_eq!(QsysDialect::from_table(table).unwrap_err().key, "rate");
}
