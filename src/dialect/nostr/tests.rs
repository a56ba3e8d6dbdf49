//! What a relay says, and what becomes of it.

use crate::dialect::recordings::Bench;
use crate::dialect::{SessionToken, TopicId};

fn event(subscription: u64, created: u64) -> String {
    format!(r#"["EVENT","sluice-{subscription}",{{"id":"{created:064x}","created_at":{created}}}]"#)
}

fn token(bench: &mut Bench) -> Option<String> {
    let tokens = bench.session.take_tokens();
    tokens.into_iter().next().map(|SessionToken { topic, token }| {
        assert_eq!(topic, None);
        String::from_utf8(token).unwrap()
    })
}

#[test]
fn a_subscription_is_in_force_when_all_stored_events_have_come() {
    let mut bench = Bench::of("nostr", &["kinds=1", "kinds=7"]);
    let asked = bench.subscribe_all();
    assert_eq!(asked, [r#"["REQ","sluice-1",{"kinds":[1]}]"#, r#"["REQ","sluice-2",{"kinds":[7]}]"#]);
    bench.receive(&event(1, 5));
    assert!(bench.tally.acknowledged.is_empty());
    bench.receive(r#"["EOSE","sluice-1"]"#);
    assert_eq!(bench.tally.acknowledged, [TopicId(0)]);
    assert_eq!((bench.messages(), bench.tally.control), (1, 1));
}

/// Stored events come the newest first: with the newest noted too early, a loss in between would lose all older ones.
#[test]
fn no_point_to_go_on_from_is_noted_while_stored_events_are_under_way() {
    let mut bench = Bench::of("nostr", &["kinds=1", "kinds=7"]);
    bench.subscribe_all();
    bench.receive(&event(1, 900));
    bench.receive(&event(1, 800));
    bench.receive(r#"["EOSE","sluice-1"]"#);
    bench.receive(&event(1, 950));
    assert_eq!(token(&mut bench), None, "the other subscription has older ones under way");
    bench.receive(r#"["EOSE","sluice-2"]"#);
    assert_eq!(token(&mut bench).as_deref(), Some("950"));
    bench.receive(&event(2, 20));
    assert_eq!(token(&mut bench).as_deref(), Some("950"), "late ones do not set it back");
    assert_eq!(token(&mut bench), None);
}

/// Anybody may write any time into an event, and what is made until then would not be asked for.
#[test]
fn an_event_from_the_future_counts_as_now() {
    let mut bench = Bench::of("nostr", &["*"]);
    bench.subscribe_all();
    bench.receive(r#"["EOSE","sluice-1"]"#);
    bench.receive(&event(1, 99_000_000_000));
    let token: u64 = token(&mut bench).unwrap().parse().unwrap();
    assert!((1_700_000_000..9_000_000_000).contains(&token), "{token}");
}

#[test]
fn what_is_taken_up_again_begins_at_the_point_and_has_a_new_id_after_its_end() {
    let mut bench = Bench::of("nostr", &["kinds=1 limit=3"]);
    bench.session.resume_from("700");
    assert_eq!(bench.subscribe([0]), [r#"["REQ","sluice-1",{"kinds":[1],"since":700}]"#]);
    assert_eq!(bench.subscribe([0]), [r#"["REQ","sluice-1",{"kinds":[1],"since":700}]"#], "unanswered: in its place");
    assert_eq!(bench.unsubscribe([0]), [r#"["CLOSE","sluice-1"]"#]);
    assert_eq!(bench.subscribe([0]), [r#"["REQ","sluice-2",{"kinds":[1],"since":700}]"#]);
    bench.receive(&event(1, 5));
    assert_eq!((bench.messages(), bench.tally.control), (0, 1), "of the one that has ended");
    bench.receive(&event(9, 5));
    assert_eq!(bench.tally.unreadable.len(), 1, "of one that nobody asked for");
}

#[test]
fn refusals_say_why_and_a_login_that_is_wanted_is_named() {
    let mut bench = Bench::of("nostr", &["kinds=1", "kinds=4"]);
    bench.subscribe_all();
    bench.receive(r#"["NOTICE","slow down"]"#);
    bench.receive(r#"["AUTH","challenge"]"#);
    bench.receive(r#"["CLOSED","sluice-2","auth-required: we only serve friends"]"#);
    bench.receive(r#"["EOSE","sluice-1"]"#);
    bench.receive(r#"["CLOSED","sluice-1","error: shutting down"]"#);
    bench.receive(r#"["NOTICE","bye"]"#);
    bench.receive(r#"["OK","x",false,"why"]"#);
    let [notice, login, ended] = &bench.tally.refused[..] else { panic!("{:?}", bench.tally.refused) };
    assert_eq!((notice.0.len(), notice.1.as_str()), (0, "NOTICE: slow down"));
    assert_eq!(login.0, [TopicId(1)]);
    assert!(login.1.contains("we only serve friends") && login.1.contains("NIP-42"), "{}", login.1);
    assert_eq!((&ended.0[..], ended.1.as_str()), (&[TopicId(0)][..], "error: shutting down"));
    assert_eq!(bench.tally.control, 7);
    bench.receive(r#"{"id":1}"#);
    bench.receive(r#"["EVENT"]"#);
    assert_eq!(bench.tally.unreadable.len(), 2);
}
