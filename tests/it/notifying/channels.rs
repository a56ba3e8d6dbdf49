//! What each channel's server is told.

use serde_json::{Value, json};
use sluice::alert::Severity;
use sluice::alert::notify::{Occasion, Outcome};

use super::servers::{MailServer, Mood, Server, python};
use super::{Channels, alert, assert_ended, assert_sent};
use crate::support::Workplace;

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// The signature as Python's own library makes it.
fn signature(id: &str, timestamp: &str, body: &str) -> String {
    const PROGRAM: &str = "import base64, hashlib, hmac, sys\n\
        key = base64.b64decode(sys.argv[1].removeprefix('whsec_'))\n\
        print(base64.b64encode(hmac.new(key, '.'.join(sys.argv[2:]).encode(), hashlib.sha256).digest()).decode())";
    let output =
        std::process::Command::new(python()).args(["-c", PROGRAM, SECRET, id, timestamp, body]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn a_webhook_is_signed_as_the_standard_says_and_a_repeat_is_known_by_its_id() {
    let place = Workplace::new().with_file("secret", format!("{SECRET}\n"));
    let server = Server::start(Mood::Answers(503, "", ""));
    let lines = format!(
        "[notify]\ndashboard_url = \"https://d.example/{{id}}\"\n[notify.webhook]\nurl = \"{}/hook?a=b\"\nallow_private = true\nsecret_file = \"secret\"",
        server.url()
    );
    let channels = Channels::start(&place, &lines);
    let alert = alert(Severity::Critical);
    channels.tell(&alert, Occasion::Opened);
    server.asked_so_often(1);
    server.be(Mood::Answers(204, "", ""));
    let delivery = channels.deliveries(1).remove(0);
    assert_sent(&delivery);
    assert_eq!((delivery.alert.as_str(), delivery.occasion), (alert.id.as_str(), Occasion::Opened));
    let asked = server.asked();
    assert!(asked.len() >= 2 && delivery.attempts as usize == asked.len(), "{asked:?}");
    for request in &asked {
        assert_eq!(request.target, "/hook?a=b");
        assert_eq!(request.headers["content-type"], "application/json");
        let (id, timestamp) = (&request.headers["webhook-id"], &request.headers["webhook-timestamp"]);
        let seconds: u64 = timestamp.parse().unwrap();
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        assert!(now.abs_diff(seconds) < 300, "{timestamp}");
        let signature = format!("v1,{}", signature(id, timestamp, &request.body));
        assert_eq!(request.headers["webhook-signature"], signature);
        assert_eq!((id, &request.body), (&asked[0].headers["webhook-id"], &asked[0].body), "the same message");
    }
    let body = asked[0].json();
    assert_eq!((&body["type"], &body["data"]["test"]), (&json!("alert.opened"), &json!(false)));
    assert_eq!(body["data"]["alert"], serde_json::to_value(&alert).unwrap());
    assert_eq!(body["data"]["link"], format!("https://d.example/{}", alert.id));
    assert!(body["data"]["text"].as_str().unwrap().contains("Value: 61.25"), "{body}");
}

#[test]
fn slack_is_told_in_a_channel_and_its_refusal_is_a_failure_without_the_token() {
    let place = Workplace::new();
    let server = Server::well();
    let lines = format!("[notify.slack]\nurl = \"{}/api\"\ntoken = \"xoxb-hunter2\"\nchannel = \"#ops\"", server.url());
    let channels = Channels::start(&place, &lines);
    channels.tell(&alert(Severity::Info), Occasion::Opened);
    channels.tell(&alert(Severity::Warning), Occasion::Opened);
    assert_sent(&channels.deliveries(1)[0]);
    let asked = server.asked();
    assert_eq!(asked.len(), 1, "an info is not routed there");
    assert_eq!(asked[0].target, "/api/chat.postMessage");
    assert_eq!(asked[0].headers["authorization"], "Bearer xoxb-hunter2");
    let body = asked[0].json();
    assert_eq!(body["channel"], "#ops");
    assert_eq!(body["text"], "[warning] SINK_DOWN: warehouse (opened)");
    let text = body["blocks"][1]["text"].clone();
    assert_eq!(text["type"], "plain_text");
    assert!(text["text"].as_str().unwrap().starts_with("the sink <warehouse> & its server"), "{body}");

    server.be(Mood::Answers(200, "", r#"{"ok":false,"error":"invalid_auth of xoxb-hunter2"}"#));
    let refused = channels.test();
    assert_ended(&refused, Outcome::Failed, "Slack refuses: invalid_auth");
    assert!(!format!("{refused:?}").contains("hunter2"), "{refused:?}");
    assert!(server.asked()[1].json()["text"].as_str().unwrap().starts_with("TEST: "));
}

#[test]
fn an_incident_of_pagerduty_is_triggered_acknowledged_and_resolved_by_the_alerts_id() {
    let place = Workplace::new().with_file("key", "R0UT1NG\n");
    let server = Server::start(Mood::Answers(202, "", r#"{"status":"success"}"#));
    let lines =
        format!("[notify.pagerduty]\nurl = \"{}\"\ntoken_file = \"key\"\nservice_id = \"PSERVICE\"", server.url());
    let channels = Channels::start(&place, &lines);
    let alert = alert(Severity::Critical);
    for occasion in [Occasion::Opened, Occasion::Acknowledged, Occasion::Resolved] {
        channels.tell(&alert, occasion);
    }
    channels.deliveries(3).iter().for_each(assert_sent);
    let asked = server.asked();
    let bodies: Vec<Value> = asked.iter().map(super::servers::Asked::json).collect();
    assert!(asked.iter().all(|request| request.target == "/v2/enqueue"));
    let actions: Vec<&Value> = bodies.iter().map(|body| &body["event_action"]).collect();
    assert_eq!(actions, ["trigger", "acknowledge", "resolve"]);
    for body in &bodies {
        assert_eq!((&body["routing_key"], &body["dedup_key"]), (&json!("R0UT1NG"), &json!(alert.id)));
    }
    let payload = &bodies[0]["payload"];
    assert_eq!(payload["summary"], "[critical] SINK_DOWN: warehouse (opened)");
    assert_eq!((&payload["severity"], &payload["class"]), (&json!("critical"), &json!("SINK_DOWN")));
    assert_eq!((&payload["source"], &payload["timestamp"]), (&json!("warehouse"), &json!("2026-11-20T12:00:00Z")));
    assert_eq!(payload["custom_details"]["service_id"], "PSERVICE");

    assert_sent(&channels.test());
    let test: Vec<Value> = server.asked()[3..].iter().map(super::servers::Asked::json).collect();
    assert_eq!((&test[0]["event_action"], &test[1]["event_action"]), (&json!("trigger"), &json!("resolve")));
    assert_eq!(test[0]["dedup_key"], test[1]["dedup_key"]);
    assert_ne!(test[0]["dedup_key"], bodies[0]["dedup_key"], "no alert of this id is touched by a test");
    assert_eq!(test[0]["payload"]["custom_details"]["test"], true);
}

#[test]
fn a_provider_of_short_messages_is_asked_for_each_number_and_not_again_for_one_that_has_it() {
    let place = Workplace::new();
    let server = Server::well();
    let host = server.url().replace("http://", "http://user:hunter2@");
    let channels = Channels::start(
        &place,
        &format!(
            "[notify.sms]\nurl = \"{host}/send\"\nallow_private = true\nphone = \"+491, +492\"\nformat = \"form\"\nfields = {{ To = \"{{phone}}\", Body = \"{{text}}\", Kind = \"{{type}}\" }}"
        ),
    );
    channels.tell(&alert(Severity::Warning), Occasion::Opened);
    channels.tell(&alert(Severity::Critical), Occasion::Acknowledged);
    channels.tell(&alert(Severity::Critical), Occasion::Opened);
    assert_sent(&channels.deliveries(1)[0]);
    let asked = server.asked();
    assert_eq!(asked.len(), 2, "what is not critical, or only acknowledged, is not told");
    assert_eq!(asked[0].headers["content-type"], "application/x-www-form-urlencoded");
    assert_eq!(asked[0].headers["authorization"], "Basic dXNlcjpodW50ZXIy");
    let text = "critical+SINK_DOWN+warehouse+opened%3A+the+sink+%3Cwarehouse%3E+%26+its+server+cannot+be+reached";
    assert_eq!(asked[0].body, format!("Body={text}&Kind=SINK_DOWN&To=%2B491"));
    assert_eq!(asked[1].body, format!("Body={text}&Kind=SINK_DOWN&To=%2B492"));

    let server = Server::well();
    let channels = Channels::start(
        &place,
        &format!(
            "[notify.sms]\nurl = \"{}\"\nallow_private = true\nphone = [\"+491\"]\ntoken = \"t0ken\"\nbody = \"{{subject}}\"",
            server.url()
        ),
    );
    channels.tell(&alert(Severity::Critical), Occasion::Resolved);
    assert_sent(&channels.deliveries(1)[0]);
    assert_eq!(server.asked()[0].json(), json!({"to": "+491", "body": "warehouse"}));
    assert_eq!(server.asked()[0].headers["authorization"], "Bearer t0ken");
}

#[test]
fn mail_goes_by_starttls_in_two_forms_and_nothing_of_an_alert_becomes_a_header() {
    let place = Workplace::new().with_file("password", "hunter2\n");
    let server = MailServer::start(&place);
    let lines = |more: &str| {
        format!(
            "[notify]\ndashboard_url = \"https://d.example/{{id}}\"\n[notify.email]\nurl = \"smtp://sluice@localhost:{}\"\n\
             password_file = \"password\"\nfrom = \"Sluice <sluice@example.org>\"\nto = [\"ops@example.org\", \"Boss <boss@example.org>\"]\n{more}",
            server.port()
        )
    };
    let untrusted = Channels::start(&place, &lines(""));
    let failed = untrusted.test();
    assert_ended(&failed, Outcome::Failed, "");
    assert!(server.mails().is_empty() && !format!("{failed:?}").contains("hunter2"), "{failed:?}");

    let channels = Channels::start(&place, &lines("ca_file = \"ca.pem\""));
    let mut alert = alert(Severity::Critical);
    alert.subject = "warehouse\r\nBcc: everybody@example.org\r\n\r\nörtlich".into();
    channels.tell(&alert, Occasion::Opened);
    assert_sent(&channels.deliveries(1)[0]);
    let mail = server.mails().remove(0);
    assert_eq!((&mail["tls"], &mail["user"]), (&json!(true), &json!("sluice")));
    assert_eq!(mail["from"], "sluice@example.org");
    assert_eq!(mail["to"], json!(["ops@example.org", "boss@example.org"]));
    let headers: Vec<(String, String)> = serde_json::from_value(mail["headers"].clone()).unwrap();
    let header = |name: &str| headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
    let words: Vec<&str> = header("Subject").unwrap().split_whitespace().collect();
    assert_eq!(words.join(" "), "[critical] SINK_DOWN: warehouse Bcc: everybody@example.org örtlich (opened)");
    assert_eq!((header("Bcc"), header("Auto-Submitted")), (None, Some("auto-generated")));
    let plain = mail["parts"]["text/plain"].as_str().unwrap();
    assert!(plain.starts_with("the sink <warehouse> & its server cannot be reached"), "{plain}");
    let html = mail["parts"]["text/html"].as_str().unwrap();
    assert!(html.contains("the sink &lt;warehouse&gt; &amp; its server"), "{html}");
    assert!(html.contains(&format!("<a href=\"https://d.example/{}\">", alert.id)), "{html}");
}
