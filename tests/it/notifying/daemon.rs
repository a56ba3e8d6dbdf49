//! Notifications behind the whole program: tried, listed, on record, and never in the way of what is taken in.

use std::thread;

use serde_json::Value;

use super::servers::{Mood, Server};
use crate::ledger::{Mark, Sent, ledger, mark_of};
use crate::processes::{Daemon, Feed, Settings, accounts, query, request, until};
use crate::support::{Outcome, Workplace};

fn alerts(place: &Workplace, daemon: &Daemon, arguments: &[&str]) -> Outcome {
    let listen = format!("server.listen={}", daemon.address());
    place.run(["--config", "sluice.toml", "--set", &listen, "alerts"].iter().chain(arguments))
}

#[test]
fn a_channel_is_tried_by_a_command_that_says_what_became_of_it_and_all_is_on_record() {
    let place = Workplace::new().with_variable("SLACK_TOKEN", "xoxb-hunter2").with_variable("SLACK_CHANNEL", "#ops");
    let server = Server::well();
    let feed = Feed::start(&place, &["--dialect", "binance", "--rate", "50"]);
    let lines = format!(
        "[notify.slack]\nurl = \"{0}\"\n[notify.webhook]\nurl = \"{0}/hook\"\nallow_private = true\nmin_severity = \"critical\"\n",
        server.url()
    );
    let settings = Settings::new().with(&lines).upstream("feed", "binance", feed.url()).monitor(
        "trades",
        "trading",
        "feed",
        &["btcusdt@trade"],
        "",
    );
    let daemon = Daemon::start(&place, &settings);

    let tried = alerts(&place, &daemon, &["test", "slack"]);
    assert_eq!(tried.code, Some(0), "{tried:?}");
    assert!(tried.stdout.contains("slack") && tried.stdout.contains("sent"), "{tried:?}");
    assert!(server.asked()[0].json()["text"].as_str().unwrap().starts_with("TEST: "));

    // A type goes where it is routed to: a warning to Slack, what is critical to both.
    let tried = alerts(&place, &daemon, &["test", "high_cpu", "--output", "json"]);
    let deliveries: Vec<Value> =
        serde_json::from_str(&tried.stdout).unwrap_or_else(|error| panic!("{error}: {tried:?}"));
    assert_eq!(deliveries.iter().map(|delivery| &delivery["channel"]).collect::<Vec<_>>(), ["slack"]);
    let tried = alerts(&place, &daemon, &["test", "SINK_DOWN", "--output", "json"]);
    let deliveries: Vec<Value> = serde_json::from_str(&tried.stdout).unwrap();
    assert_eq!(deliveries.len(), 2, "{deliveries:?}");

    server.be(Mood::Answers(200, "", r#"{"ok":false,"error":"channel_not_found"}"#));
    let tried = alerts(&place, &daemon, &["test", "slack"]);
    assert_eq!(tried.code, Some(1), "{tried:?}");
    assert!(tried.stdout.contains("channel_not_found"), "{tried:?}");
    let unknown = alerts(&place, &daemon, &["test", "slak"]);
    assert!(unknown.code == Some(2) && unknown.stderr.contains("did you mean `slack`?"), "{unknown:?}");
    let missing = alerts(&place, &daemon, &["test", "email"]);
    assert!(missing.code == Some(1) && missing.stderr.contains("`email` is off or not configured"), "{missing:?}");

    let listed = alerts(&place, &daemon, &["deliveries", "--output", "json"]);
    let listed: Value = serde_json::from_str(&listed.stdout).unwrap();
    let deliveries = listed["deliveries"].as_array().unwrap();
    assert_eq!(deliveries.len(), 5, "{listed}");
    assert_eq!(
        (&deliveries[0]["outcome"], &deliveries[0]["occasion"]),
        (&"failed".into(), &"test".into()),
        "the newest first"
    );
    let labels = |outcome| [("channel", "slack"), ("outcome", outcome)];
    let metrics = daemon.metrics();
    assert_eq!(metrics.value("sluice_notifications_total", &labels("sent")), 3);
    assert_eq!(metrics.value("sluice_notifications_total", &labels("failed")), 1);
    let circuits = daemon.get("/api/v1/circuits").1;
    assert!(circuits.contains(r#""name":"slack","kind":"channel""#), "{circuits}");

    let shown = place.run(["--config", "sluice.toml", "config", "show"]);
    assert!(shown.stdout.contains("notify.slack.token") && !shown.stdout.contains("hunter2"), "{shown:?}");
    let log = daemon.stop();
    assert!(log.contains("nobody was told of an alert") && !log.contains("hunter2"), "{log}");
    feed.kill();
    let journaled = query(&place, &["--domain", "_sluice", "--monitor", "notifications"]);
    let mut journaled: Vec<Value> =
        journaled.iter().map(|event| serde_json::from_str(event.payload.get()).unwrap()).collect();
    journaled.reverse();
    assert_eq!(&journaled, deliveries);
}

#[test]
fn with_every_channel_dead_all_that_is_sent_is_taken() {
    let place = Workplace::new();
    let (hangs, fails) = (Server::start(Mood::Hangs), Server::start(Mood::Answers(500, "", "")));
    let refuses = crate::anvil_node::free_port();
    let feed =
        Feed::start(&place, &["--dialect", "binance", "--rate", "2000", "--seed", "11", "--ledger", "ledger.jsonl"]);
    let lines = format!(
        "[notify]\nqueue = 3\ntimeout = \"2s\"\n[notify.webhook]\nurl = \"{0}/\"\nallow_private = true\n\
         [notify.slack]\nurl = \"http://127.0.0.1:{refuses}\"\ntoken = \"t\"\nchannel = \"c\"\n\
         [notify.pagerduty]\nurl = \"{1}\"\ntoken = \"t\"\n\
         [notify.sms]\nurl = \"{1}/\"\nallow_private = true\nphone = \"+491\"\n\
         [notify.email]\nurl = \"smtp://127.0.0.1:{2}\"\nfrom = \"a@example.org\"\nto = \"b@example.org\"\n",
        hangs.url(),
        fails.url(),
        hangs.port(),
    );
    let settings = Settings::new().with(&lines).upstream("feed", "binance", feed.url()).monitor(
        "trades",
        "trading",
        "feed",
        &["btcusdt@trade", "ethusdt@trade"],
        "",
    );
    let daemon = Daemon::start(&place, &settings);
    let address = daemon.address().to_owned();
    // More than wait in any queue, all at once, all the time.
    let askers: Vec<_> = (0..8)
        .map(|_| {
            let address = address.clone();
            thread::spawn(move || {
                let body = r#"{"type":"SINK_DOWN"}"#;
                let head = format!(
                    "POST /api/v1/monitoring/notifications/test HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
                    body.len()
                );
                // Given up when the daemon stops.
                request(&address, &(head + body)).ok();
            })
        })
        .collect();
    let sums = || {
        let labels = |channel, outcome| [("channel", channel), ("outcome", outcome)];
        let metrics = daemon.metrics();
        let value = |channel, outcome| metrics.value("sluice_notifications_total", &labels(channel, outcome));
        ["webhook", "slack", "pagerduty", "sms", "email"]
            .map(|channel| (value(channel, "sent"), value(channel, "failed") + value(channel, "dropped")))
    };
    until("every channel has failed", || {
        let sums = sums();
        assert!(sums.iter().all(|(sent, _)| *sent == 0), "{sums:?}");
        sums.iter().all(|(_, not)| *not > 0).then_some(())
    });
    let before = daemon.frames("feed");
    until("the feed is taken meanwhile", || (daemon.frames("feed") > before + 1000).then_some(()));
    daemon.stop();
    feed.stop();
    for asker in askers {
        asker.join().unwrap();
    }
    let account = &accounts(&place)["trades"];
    assert!(account.adds_up(), "{account:?}");
    // One link, never lost: it read a whole number of the frames sent, in order.
    let sent = ledger(&place);
    let taken: Vec<Mark> = query(&place, &["--monitor", "trades"]).iter().map(mark_of).collect();
    let read: Vec<Mark> = sent.iter().take(taken.len()).map(Sent::mark).collect();
    assert!(taken.len() > 1000, "{}", taken.len());
    assert_eq!(taken, read, "each frame that was sent is an event, once and in order");
    assert_eq!((account.events, account.quarantined), (taken.len() as u64, 0));
}
