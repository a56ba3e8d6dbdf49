//! What the event rules promise, held against raw texts.

use std::collections::BTreeMap;

use super::*;
use crate::config::{EventRuleSettings, MonitorSettings, QuarantineSettings};
use crate::monitor::event_id::IdHasher;
use crate::monitor::roster::{Identities, Roster, RosterParts};

/// What became of one text: for each event its payload, id, key and time; and how many were control and quarantined.
#[derive(Debug, PartialEq)]
struct Read {
    events: Vec<(String, String, String, Option<i64>)>,
    control: u32,
    reasons: Vec<String>,
}

struct Bench {
    reading: Reading,
}

impl Bench {
    /// One monitor `m` with topic `t` and the rules that this TOML has under `event`.
    fn new(rules: &str) -> Self {
        #[derive(serde::Deserialize)]
        struct Rules {
            #[serde(deserialize_with = "crate::config::units::one_or_many")]
            event: Vec<EventRuleSettings>,
        }
        let rules: Rules = toml::from_str(rules).unwrap();
        let monitor: MonitorSettings = toml::from_str("domain = \"d\"\nupstream = \"u\"\ntopics = [\"t\"]").unwrap();
        let monitors = BTreeMap::from([("m".to_owned(), MonitorSettings { event: rules.event, ..monitor })]);
        let (quarantine, hasher) = (QuarantineSettings::default(), IdHasher::new(1));
        let parts = RosterParts::new("u", &monitors, &quarantine, &hasher);
        let roster = Roster::new(&parts, &mut Identities::default());
        Self { reading: Reading::new(Arc::new(roster.unwrap())) }
    }

    fn read(&mut self, text: &str) -> Read {
        self.reading.begin(UnixNanos(1_000_000_000_000_000_000));
        self.reading.message(TopicId(0), Message { bytes: text.as_bytes(), fields: None });
        let burst = self.reading.burst();
        let piece = |payload: &[u8], piece: Piece, burst: &Burst| {
            let bytes =
                if piece.literal { burst.literal(piece) } else { &payload[piece.start as usize..piece.end as usize] };
            String::from_utf8(bytes.to_vec()).unwrap()
        };
        let events = burst
            .candidates
            .iter()
            .map(|candidate| {
                let payload = burst.payload(candidate);
                let id = match candidate.id {
                    CandidateId::None => "none".to_owned(),
                    CandidateId::PayloadHash => "hash".to_owned(),
                    CandidateId::Pieces { start, len } => burst.pieces[start as usize..(start + len) as usize]
                        .iter()
                        .map(|part| piece(payload, *part, burst))
                        .collect::<Vec<_>>()
                        .join(":"),
                };
                let key = candidate.key.map_or("none".to_owned(), |key| piece(payload, key, burst));
                let payload = String::from_utf8(payload.to_vec()).unwrap();
                (payload, id, key, candidate.event_time.map(|time| time.0))
            })
            .collect::<Vec<_>>();
        let reasons = burst
            .quarantined
            .iter()
            .map(|frame| serde_json::from_slice::<Quarantined>(&frame.payload).unwrap().reason)
            .collect::<Vec<_>>();
        let counts: Vec<_> = burst.drain_counts().collect();
        let [(0, counts)] = counts[..] else { panic!("one monitor is counted: {counts:?}") };
        let found = events.len() + reasons.len() + counts.control as usize;
        assert_eq!(counts.messages as usize, found, "every message is accounted for");
        assert_eq!(counts.quarantined as usize, reasons.len());
        Read { events, control: counts.control, reasons }
    }

    /// Reads a text that must give one event.
    fn event(&mut self, text: &str) -> (String, String, String, Option<i64>) {
        let read = self.read(text);
        assert!(read.reasons.is_empty() && read.events.len() == 1, "{read:?}");
        read.events.into_iter().next().unwrap()
    }

    /// Reads a text that must be quarantined.
    fn refused(&mut self, text: &str) -> String {
        let read = self.read(text);
        assert!(read.events.is_empty() && read.reasons.len() == 1, "{read:?}");
        read.reasons.into_iter().next().unwrap()
    }
}

#[test]
fn an_event_has_its_raw_tokens_and_its_text_to_the_byte() {
    let mut bench = Bench::new(r#"event = { id = "/data/t", key = "/data/s", time = "/data/E" }"#);
    let text = r#" {"data" : {"t":12345678901234567890, "s":"BTC\u0055SDT","E":"1723161255343","p":1.10} } "#;
    let (payload, id, key, time) = bench.event(text);
    assert_eq!(payload, text);
    assert_eq!(id, "12345678901234567890", "no digit is lost");
    assert_eq!(key, r#""BTC\u0055SDT""#);
    assert_eq!(time, Some(1_723_161_255_343_000_000));
}

#[test]
fn the_first_rule_that_fits_wins() {
    let mut bench = Bench::new(
        r#"
        [[event]]
        when = { "/e" = "trade" }
        id = "/t"
        [[event]]
        when = { "/e" = ["kline", "candle"], "/u" = false }
        id = "/k"
        [[event]]
        when = { "/n" = 7 }
        ignore = true
        "#,
    );
    assert_eq!(bench.event(r#"{"e":"trade","t":1,"k":2}"#).1, "1");
    assert_eq!(bench.event(r#"{"e":"candle","t":1,"k":2}"#).1, "2");
    assert_eq!(bench.refused(r#"{"e":"candle","u":0,"k":2}"#), "no event rule fits");
    assert_eq!(bench.read(r#"{"n":7}"#).control, 1);
    assert_eq!(bench.refused(r#"{"n":"7"}"#), "no event rule fits", "a string is no number");
}

#[test]
fn each_element_is_an_event_and_frame_reaches_the_whole_message() {
    let mut bench = Bench::new(
        r#"
        [[event]]
        when = { "frame:/channel" = "trade", "/q" = true }
        each = "/data"
        payload = "/2"
        id = ["frame:/arg/instId", "/i", "/2/x"]
        key = "frame:/arg/instId"
        [[event]]
        when = { "frame:/channel" = "trade2" }
        each = "/data"
        id = "/i"
        "#,
    );
    let read = bench.read(r#"{"channel":"trade2","arg":{"instId":"BTC"},"data":[{"i":1}, {"i":"2"},{"j":3}]}"#);
    assert_eq!(read.events.len(), 2);
    assert_eq!(read.events[1], (r#"{"i":"2"}"#.into(), r#""2""#.into(), "none".into(), None));
    assert_eq!(read.reasons, ["id: there is nothing at `/i`"]);
    assert_eq!(bench.read(r#"{"channel":"trade2","data":[]}"#).control, 1, "an empty list is no event");
    assert_eq!(bench.refused(r#"{"channel":"trade2","data":{}}"#), "each: there is no array at `/data`");
    assert_eq!(
        bench.refused(r#"{"channel":"trade","arg":{"instId":"BTC"},"data":[{"i":1}]}"#),
        "no event rule fits this element"
    );
}

#[test]
fn an_element_is_read_by_the_first_rule_of_its_list_that_fits_it() {
    let mut bench = Bench::new(
        r#"
        [[event]]
        each = "/data"
        when = { "/s" = "beat" }
        ignore = true
        [[event]]
        each = "/other"
        [[event]]
        each = "/data"
        when = { "/n" = true }
        id = "/n"
        [[event]]
        each = "/data"
        when = { "frame:/all" = true }
        key = "/s"
        "#,
    );
    let read = bench.read(r#"{"data":[{"s":"beat"},{"s":"a","n":1},{"s":"b"}]}"#);
    assert_eq!((read.events.len(), read.control), (1, 1));
    assert_eq!(read.events[0].1, "1");
    assert_eq!(read.reasons, ["no event rule fits this element"]);
    let read = bench.read(r#"{"all":1,"data":[{"s":"beat"},{"s":"a","n":1},{"s":"b"}]}"#);
    assert_eq!(read.events[1].2, r#""b""#);
}

#[test]
fn a_payload_may_be_narrowed_and_what_lies_outside_is_kept_beside_it() {
    let mut bench = Bench::new(r#"event = { payload = "/data", id = ["/type", "/data/i"], key = "/sym" }"#);
    let event = bench.event(r#"{"type":"x","sym":"S","data":{"i":5}}"#);
    assert_eq!(event, (r#"{"i":5}"#.into(), r#""x":5"#.into(), r#""S""#.into(), None));
}

#[test]
fn what_is_missing_or_of_the_wrong_kind_is_quarantined_with_what_and_where() {
    let mut bench = Bench::new(r#"event = { id = "/t", key = "/s", time = "/E", time_unit = "ms" }"#);
    assert_eq!(bench.refused(r#"{"s":"A","E":1}"#), "id: there is nothing at `/t`");
    assert_eq!(
        bench.refused(r#"{"t":{"a":1},"s":"A","E":1}"#),
        "id: `{\"a\":1}` at `/t` is neither a string nor a number"
    );
    assert_eq!(bench.refused(r#"{"t":null,"s":"A","E":1}"#), "id: `null` at `/t` is neither a string nor a number");
    assert_eq!(bench.event(r#"{"t":1,"E":1}"#).2, "none", "a key sorts events, it does not tell them apart");
    assert_eq!(bench.refused(r#"{"t":1,"s":[],"E":1}"#), "key: `[]` at `/s` is neither a string nor a number");
    assert_eq!(bench.refused(r#"{"t":1,"s":"A"}"#), "time: there is nothing at `/E`");
    assert_eq!(bench.refused(r#"{"t":1,"s":"A","E":"x"}"#), "time: `\"x\"` at `/E` is no time in milliseconds (ms)");
    assert!(bench.refused(r#"{"t":1,"s":"A","E":1"#).starts_with("invalid JSON at byte 20"));
    let deep = format!("{}1{}", "[".repeat(1_000_000), "]".repeat(1_000_000));
    assert!(bench.refused(&deep).contains("deep"), "and the stack holds");
}

#[test]
fn a_message_without_its_time_is_taken_where_that_is_allowed() {
    let mut bench = Bench::new(r#"event = { id = "/t", time = "/E", time_optional = true }"#);
    assert_eq!(bench.event(r#"{"t":1}"#).3, None);
    assert_eq!(bench.event(r#"{"t":1,"E":null}"#).3, None);
    assert_eq!(bench.event(r#"{"t":1,"E":2}"#).3, Some(2_000_000));
    assert!(bench.refused(r#"{"t":1,"E":"x"}"#).contains("is no time"));
}

#[test]
fn a_payload_is_its_own_id_only_when_asked_for() {
    let mut bench = Bench::new(r#"event = { id = "hash" }"#);
    assert_eq!(bench.event(r#"{"a":1}"#).1, "hash");
    let mut bench = Bench::new("event = {}");
    assert_eq!(bench.event(r#"{"a":1}"#).1, "none");
}

#[test]
fn the_first_message_of_a_topic_is_news_and_the_next_is_not() {
    let mut bench = Bench::new("event = {}");
    bench.event("{}");
    assert_eq!(bench.reading.take_news(), [SubscriptionNews::Live(TopicId(0))]);
    bench.event("{}");
    assert_eq!(bench.reading.take_news(), []);
    bench.reading.refused(&[], &"x".repeat(1_000_000));
    let [SubscriptionNews::Refused(_, long)] = &bench.reading.take_news()[..] else { panic!("one refusal") };
    assert_eq!(long.len(), REFUSAL_CHARACTERS_MAX, "however much an upstream has to say");
    bench.reading.refused(&[TopicId(0)], "gone");
    bench.event("{}");
    assert_eq!(
        bench.reading.take_news(),
        [SubscriptionNews::Refused(vec![TopicId(0)], "gone".into()), SubscriptionNews::Live(TopicId(0))]
    );
}
