//! Servers that are not well, and those that may not be told.

use std::time::Duration;

use sluice::alert::Severity;
use sluice::alert::notify::{Notifier, Occasion, Outcome};
use sluice::breaker::BreakerState;

use super::servers::{Mood, Server};
use super::{Channels, alert, assert_ended, assert_sent, settings};
use crate::processes::until;
use crate::support::Workplace;

fn webhook(server: &Server, more: &str) -> String {
    format!("{more}\n[notify.webhook]\nurl = \"{}/\"\nallow_private = true\n", server.url())
}

#[test]
fn a_server_is_left_alone_for_as_long_as_it_wants() {
    let place = Workplace::new();
    let server = Server::start(Mood::Answers(429, "Retry-After: 2\r\n", ""));
    let channels = Channels::start(&place, &webhook(&server, ""));
    channels.tell(&alert(Severity::Critical), Occasion::Opened);
    server.asked_so_often(1);
    server.be(Mood::Answers(200, "", ""));
    assert_sent(&channels.deliveries(1)[0]);
    let asked = server.asked();
    assert_eq!(asked.len(), 2);
    assert!(asked[1].at - asked[0].at >= Duration::from_secs(2), "{:?}", asked[1].at - asked[0].at);

    // Longer than it is tried at all: it is told at once that nobody was.
    server.be(Mood::Answers(503, "Retry-After: 3600\r\n", ""));
    channels.tell(&alert(Severity::Critical), Occasion::Resolved);
    let delivery = channels.deliveries(2).remove(1);
    assert_ended(&delivery, Outcome::Failed, "answered 503 (it wants to be left alone for 3600");
    assert_eq!(delivery.attempts, 1);
}

#[test]
fn a_refusal_for_good_is_not_tried_again_and_a_redirect_is_not_followed() {
    let place = Workplace::new();
    let elsewhere = Server::well();
    let server = Server::start(Mood::Answers(400, "", r#"{"message":"no such\r\nhook"}"#));
    let channels = Channels::start(&place, &webhook(&server, ""));
    channels.tell(&alert(Severity::Critical), Occasion::Opened);
    assert_ended(&channels.deliveries(1)[0], Outcome::Failed, "answered 400: no such  hook");
    let location = format!("Location: {}/\r\n", elsewhere.url()).leak();
    server.be(Mood::Answers(307, location, ""));
    channels.tell(&alert(Severity::Critical), Occasion::Resolved);
    assert_ended(&channels.deliveries(2)[1], Outcome::Failed, "it redirects, which is not followed");
    assert_eq!((server.asked().len(), elsewhere.asked().len()), (2, 0));
}

#[test]
fn an_address_near_the_host_is_told_nothing_by_number_nor_by_name() {
    let place = Workplace::new();
    let server = Server::well();
    for channel in ["webhook", "sms"] {
        let by_name = format!(
            "[notify.{channel}]\nurl = \"http://localhost:{}/\"\n{}",
            server.port(),
            if channel == "sms" { "phone = \"+491\"" } else { "" }
        );
        let channels = Channels::start(&place, &by_name);
        let refused = channels.test();
        assert_ended(&refused, Outcome::Failed, "localhost is");
        assert_ended(&refused, Outcome::Failed, "allow_private = true");
        let allowed = Channels::start(&place, &format!("{by_name}\nallow_private = true"));
        assert_sent(&allowed.test());
    }
    assert_eq!(server.asked().len(), 2, "those that were allowed, and no other");
    for host in ["127.0.0.1", "10.0.0.1", "169.254.169.254", "[::1]", "[::ffff:192.168.0.1]", "2130706433"] {
        let text = format!("[notify.webhook]\nurl = \"http://{host}:{}/\"\n", server.port());
        let outcome = Workplace::new().with_file("s.toml", text).run(["--config", "s.toml", "config", "check"]);
        assert_eq!(outcome.code, Some(78), "{host}: {outcome:?}");
        assert!(outcome.stderr.contains("notify.webhook.allow_private = true"), "{outcome:?}");
    }
}

#[test]
fn the_least_severe_is_dropped_where_too_many_wait_and_a_stop_is_short() {
    let place = Workplace::new();
    let server = Server::start(Mood::Hangs);
    let lines = webhook(&server, "[notify]\nqueue = 2\ntimeout = \"1h\"\ngive_up_after = \"2h\"");
    let channels = Channels::start(&place, &lines);
    let tell = |id: &str, severity| {
        let mut alert = alert(severity);
        alert.id = id.into();
        channels.tell(&alert, Occasion::Opened);
    };
    tell("under-way", Severity::Info);
    server.asked_so_often(1);
    tell("info", Severity::Info);
    tell("warning", Severity::Warning);
    tell("critical", Severity::Critical);
    let dropped = channels.deliveries(1).remove(0);
    assert_ended(&dropped, Outcome::Dropped, "too many notices wait");
    assert_eq!((dropped.alert.as_str(), dropped.attempts), ("info", 0));
    assert_eq!(channels.notifier.figures()[0].waiting, 2);
    // It would hang for an hour; the test's own deadline would end it long before.
    channels.notifier.stop();
    let last = channels.deliveries(4);
    assert_ended(&last[1], Outcome::Failed, "the daemon stopped before the answer came");
    for (delivery, id) in last[2..].iter().zip(["warning", "critical"]) {
        assert_ended(delivery, Outcome::Dropped, "the daemon stopped first");
        assert_eq!(delivery.alert, id);
    }
    let figures = channels.notifier.figures().remove(0);
    assert_eq!((figures.sent, figures.failed, figures.dropped, figures.waiting), (0, 1, 3, 0));
}

#[test]
fn a_server_that_fails_is_left_alone_until_one_call_has_shown_that_it_is_well() {
    let place = Workplace::new();
    let server = Server::start(Mood::Answers(500, "", ""));
    let channels = Channels::start(&place, &webhook(&server, ""));
    let state = || channels.circuits.rows().remove(0).state;
    let mut failures = 0;
    while state() == BreakerState::Closed {
        assert_ended(&channels.test(), Outcome::Failed, "answered 500");
        failures += 1;
        assert!(failures < 20, "the circuit never opens");
    }
    let asked = server.asked().len();
    assert_eq!(asked, failures, "a test is one attempt");
    let refused = channels.test();
    if server.asked().len() == asked {
        assert_ended(&refused, Outcome::Failed, "its breaker is open");
        assert_eq!(refused.attempts, 0);
    }
    server.be(Mood::Answers(200, "", ""));
    // A notice waits for the breaker and is told then.
    channels.tell(&alert(Severity::Critical), Occasion::Opened);
    until("the notice is told", || {
        let told = channels.notifier.deliveries(1).remove(0);
        (told.occasion == Occasion::Opened && told.outcome == Outcome::Sent).then_some(())
    });
    assert_eq!(state(), BreakerState::Closed);
}

#[test]
fn no_more_is_sent_than_the_rate_allows() {
    let place = Workplace::new();
    let server = Server::well();
    let channels = Channels::start(&place, &(webhook(&server, "") + "rate = { count = 2, per = \"1h\" }"));
    for _ in 0..3 {
        channels.tell(&alert(Severity::Critical), Occasion::Opened);
    }
    let deliveries = channels.deliveries(3);
    deliveries[..2].iter().for_each(assert_sent);
    assert_ended(&deliveries[2], Outcome::Dropped, "rate, 2 in 1h, is used up");
    assert_eq!(server.asked().len(), 2);
}

#[test]
fn what_waits_goes_on_with_changed_settings_and_a_channel_that_is_gone_has_no_circuit() {
    let place = Workplace::new();
    let (dead, well) = (Server::start(Mood::Hangs), Server::well());
    let channels = Channels::start(&place, &webhook(&dead, "[notify]\ntimeout = \"1h\"\ngive_up_after = \"2h\""));
    channels.tell(&alert(Severity::Critical), Occasion::Opened);
    dead.asked_so_often(1);
    channels.tell(&alert(Severity::Critical), Occasion::Resolved);
    channels.notifier.apply(&settings(&place, &webhook(&well, ""))).unwrap();
    let told = channels.deliveries(1).remove(0);
    assert_sent(&told);
    assert_eq!((told.occasion, dead.asked().len()), (Occasion::Resolved, 1));
    channels.notifier.apply(&settings(&place, "")).unwrap();
    assert!(channels.circuits.rows().is_empty());
    assert!(channels.notifier.test_channel(None).is_err());
}

#[test]
fn templates_with_unknown_holes_are_refused_and_half_a_channel_is_told_of() {
    let refused = |lines: &str| {
        let outcome = Workplace::new().with_file("s.toml", lines).run(["--config", "s.toml", "config", "check"]);
        assert_eq!(outcome.code, Some(78), "{lines}: {outcome:?}");
        outcome.stderr
    };
    let error = refused("[notify.slack]\nsubject = \"{severty} x\"\n");
    assert!(error.contains("s.toml:2: notify.slack.subject") && error.contains("did you mean `severity`?"), "{error}");
    let error = refused("[notify]\nbody = \"{phone}\"\n");
    assert!(error.contains("`{phone}` stands for something in `notify.sms.fields` only"), "{error}");
    let error = refused("[notify.email]\nto = [\"ops@example.org\", \"a\\r\\nb@c\"]\n");
    assert!(error.contains("notify.email.to[1]"), "{error}");
    let error = refused("[notify.webhook]\nsecret = \"hunter2hunter2\"\n");
    assert!(error.contains("does not begin with `whsec_`") && !error.contains("hunter2"), "{error}");
    let error = refused("[notify.email]\nmin_severity = \"info\"\nseverities = [\"critical\"]\n");
    assert!(error.contains("notify.email.severities") && error.contains("leave one of them out"), "{error}");

    let half =
        Workplace::new().with_variable("SLACK_TOKEN", "xoxb-hunter2").with_variable("ALERT_EMAIL_TO", "a@b.example");
    let outcome = half.run(["config", "check"]);
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    let said = &outcome.stdout;
    assert!(
        said.contains(
            "by slack: `notify.slack.token` (SLACK_TOKEN) is set, and `notify.slack.channel` (SLACK_CHANNEL) is not"
        ),
        "{said}"
    );
    assert!(said.contains("`notify.email.url` (SMTP_URL), `notify.email.from` (ALERT_EMAIL_FROM) is not"), "{said}");
    assert!(!said.contains("hunter2"), "{said}");
    let off = half.run(["config", "check", "--set", "notify.slack.enabled=false"]);
    assert!(!off.stdout.contains("slack"), "{off:?}");
    let settings = settings(&Workplace::new(), "[notify.webhook]\nurl = \"http://example.org/\"\nenabled = false\n");
    assert!(settings.configured().is_empty() && Notifier::check(&settings).is_ok());
}
