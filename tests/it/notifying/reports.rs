//! Reports are sent by the channels that alerts are told by.

use std::collections::BTreeSet;

use serde_json::Value;

use super::servers::{MailServer, Mood, Server};
use crate::processes::{Daemon, Feed, Settings, until};
use crate::support::Workplace;

#[test]
fn a_scheduled_report_is_sent_by_mail_and_webhook_and_again_only_where_it_was_refused() {
    let place = Workplace::new().with_file("password", "hunter2\n");
    let (mail, hook) = (MailServer::start(&place), Server::start(Mood::Answers(500, "", "")));
    let feed = Feed::start(&place, &["--dialect", "binance", "--rate", "200"]);
    let settings = Settings::new()
        .with(&format!(
            "[notify.email]\nurl = \"smtp://sluice@localhost:{}\"\npassword_file = \"password\"\nca_file = \"ca.pem\"\n\
             from = \"sluice@example.org\"\nto = [\"ops@example.org\"]\n\
             [notify.webhook]\nurl = \"{}/\"\nallow_private = true\n\
             [reports.often]\nevery = \"4s\"\nsince = \"1h\"\nformat = \"json\"\nsend_to = [\"email\", \"webhook\"]\n",
            mail.port(),
            hook.url(),
        ))
        .upstream("feed", "binance", feed.url())
        .monitor("one", "spot", "feed", &["btcusdt@trade"], "");
    let daemon = Daemon::start(&place, &settings);
    let refused = until("the webhook has refused one", || hook.asked().into_iter().next());
    let log = until("that is told", || Some(daemon.log()).filter(|log| log.contains("it was not sent by webhook")));
    assert!(!log.contains("hunter2"), "{log}");
    hook.be(Mood::Answers(200, "", ""));
    let sent = until("the next ones are taken", || Some(hook.asked()).filter(|asked| asked.len() >= 3));
    for asked in &sent {
        let body = asked.json();
        assert!(asked.headers["webhook-id"].starts_with("report-often-"), "{asked:?}");
        assert_eq!((&body["type"], &body["data"]["media_type"]), (&"report".into(), &"application/json".into()));
        let report: Value = serde_json::from_str(body["data"]["text"].as_str().unwrap()).unwrap();
        assert!(report["until"].is_string(), "{report}");
    }
    let ids: BTreeSet<&str> = sent[1..].iter().map(|asked| asked.headers["webhook-id"].as_str()).collect();
    assert_eq!(ids.len(), sent.len() - 1, "what was taken is not sent again, {}", refused.headers["webhook-id"]);
    let mails = until("mails came", || Some(mail.mails()).filter(|mails| mails.len() >= 2));
    assert!(mails[0].to_string().contains("report often up to"), "{}", mails[0]);
    daemon.stop();
    feed.kill();
}

#[test]
fn a_report_to_a_channel_that_cannot_take_it_is_refused_with_what_is_missing() {
    for (channel, says) in [("slack", "`email` or `webhook`"), ("email", "[notify.email]")] {
        let text = format!("[reports.daily]\nsend_to = [\"{channel}\"]\n");
        let refused =
            Workplace::new().with_file("sluice.toml", text).run(["--config", "sluice.toml", "config", "check"]);
        assert!(refused.code == Some(78) && refused.stderr.contains(says), "{refused:?}");
    }
}
