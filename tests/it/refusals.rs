//! Upstreams that do not want us, not now or not at all: they are not hammered, what they ask for is obeyed, and what is wrong
//! is said.

use std::time::Duration;

use rcgen::CertificateParams;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Message;

use super::fault_proxy::{FaultProxy, Plan};
use super::pool::TlsFront;
use super::processes::{Account, Daemon, Feed, Settings, accounts, query, until};
use super::raw_upstream::{Manner, RawUpstream, trade};
use super::support::Workplace;

fn watch(place: &Workplace, url: &str, pool: &str) -> Daemon {
    let settings = Settings::new()
        .upstream("feed", "binance", url)
        .with(&format!("[upstreams.feed.pool]\n{pool}"))
        .monitor("m", "d", "feed", &["x@trade"], "");
    Daemon::start(place, &settings)
}

fn state(daemon: &Daemon) -> String {
    daemon.monitors()["m"]["state"].as_str().unwrap().to_owned()
}

/// Time between one attempt and the next.
fn waits(proxy: &FaultProxy) -> Vec<Duration> {
    proxy.came().windows(2).map(|two| two[1] - two[0]).collect()
}

#[test]
fn refused_credentials_are_not_tried_again_for_long_and_the_reason_is_shown() {
    for status in ["401", "403"] {
        let place = Workplace::new();
        let feed =
            Feed::start(&place, &["--dialect", "binance", "--handshake-status", status, "--handshake-refusals", "3"]);
        let proxy = FaultProxy::start(feed.url());
        let daemon = watch(
            &place,
            &proxy.url(feed.url()),
            "backoff_min = \"10ms\"\nbackoff_max = \"600ms\"\nrefused_wait = \"600ms\"",
        );
        until("it was refused", || {
            let shown = daemon.monitors()["m"]["error"].as_str().map(str::to_owned)?;
            (shown.contains(status) && shown.contains("check the credentials")).then_some(())
        });
        until("it is let in after all", || (state(&daemon) == "live").then_some(()));
        let waits = waits(&proxy);
        assert_eq!(waits.len(), 3, "three refusals, and then it was let in");
        // At least half of `refused_wait`, though other failures would wait for some milliseconds at first; the proxy's own
        // clock may have been late for the first of the two.
        assert!(waits.iter().all(|wait| *wait > Duration::from_millis(280)), "{status}: {waits:?}");
        daemon.stop();
    }
}

#[test]
fn what_retry_after_asks_for_is_obeyed_by_every_link() {
    for status in ["429", "503"] {
        let place = Workplace::new();
        let arguments = ["--dialect", "binance", "--handshake-status", status];
        let feed =
            Feed::start(&place, &[&arguments[..], &["--handshake-refusals", "3", "--retry-after", "2s"]].concat());
        let proxy = FaultProxy::start(feed.url());
        let pool = "min_connections = 3\nmax_connections = 3\nbackoff_min = \"10ms\"\nbackoff_max = \"100ms\"";
        let daemon = watch(&place, &proxy.url(feed.url()), pool);
        until("it is let in", || (state(&daemon) == "live").then_some(()));
        // Those that were under way when the first was refused are its company; then nobody comes for two seconds.
        let came = proxy.came();
        let company = came.iter().filter(|at| **at - came[0] < Duration::from_secs(1)).count();
        assert!((1..=3).contains(&company), "{status}: {company}");
        assert!(came[company] - came[0] > Duration::from_millis(1900), "{status}: {:?}", came[company] - came[0]);
        daemon.stop();
    }
}

#[test]
fn an_upstream_that_accepts_and_closes_is_tried_ever_less_often_up_to_the_longest_wait() {
    let place = Workplace::new();
    let feed = Feed::start(&place, &["--dialect", "binance", "--accept-then-close", "1000000"]);
    let proxy = FaultProxy::start(feed.url());
    let daemon = watch(&place, &proxy.url(feed.url()), "backoff_min = \"20ms\"\nbackoff_max = \"320ms\"");
    until("it was tried seven times", || (proxy.came().len() >= 7).then_some(()));
    let came = proxy.came();
    // Each wait is at least half of 20, 40, 80, 160 and then always 320 ms; the proxy's clock may have been late for the first.
    let least = Duration::from_millis(10 + 20 + 40 + 80 + 2 * 160);
    assert!(came[6] - came[0] > least.mul_f64(0.9), "{:?}", came[6] - came[0]);
    let log = daemon.stop();
    assert!(log.matches("link lost").count() >= 6, "{log}");
    feed.stop();
}

#[test]
fn a_thousand_monitors_that_lose_their_links_at_once_come_back_over_as_many_connections_as_there_are_links() {
    const MONITORS: usize = 1000;
    const LINKS: u64 = 4;
    let place = Workplace::new();
    let feed = Feed::start(&place, &["--dialect", "kraken", "--rate", "2000"]);
    let proxy = FaultProxy::start(feed.url());
    let settings = Settings::new().upstream("feed", "kraken", &proxy.url(feed.url())).with(
        "topics_per_link = 250\n[upstreams.feed.pool]\nmin_connections = 4\nmax_connections = 4\nbackoff_min = \"100ms\"",
    );
    let settings = (0..MONITORS).fold(settings, |settings, number| {
        settings.monitor(&format!("m{number}"), "d", "feed", &[&format!("trade:S{number}/USD")], "")
    });
    let daemon = Daemon::start(&place, &settings);
    let live = || daemon.monitors().values().filter(|row| row["state"] == "live").count();
    until("all are live", || (live() == MONITORS).then_some(()));
    assert_eq!(proxy.done().connections, LINKS);
    for round in 1..=3 {
        proxy.reset_all();
        until("the links are lost", || {
            let lost = daemon.metrics().value("sluice_link_failures_total", &[("upstream", "feed")]);
            (lost == round * LINKS).then_some(())
        });
        until("all are live again", || (live() == MONITORS).then_some(()));
        assert_eq!(proxy.done().connections, (1 + round) * LINKS, "a connection for each lost link, and no more");
    }
    daemon.stop();
    feed.stop();
}

#[test]
fn a_certificate_that_has_expired_is_refused_with_the_reason() {
    let place = Workplace::new();
    let feed = Feed::start(&place, &["--dialect", "binance"]);
    let mut certificate = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    certificate.not_before = rcgen::date_time_ymd(2019, 1, 1);
    certificate.not_after = rcgen::date_time_ymd(2020, 1, 1);
    let front = TlsFront::start_with(&feed, &certificate, "ours");
    place.write("ca.pem", &front.ca_pem);
    let settings = Settings::new()
        .upstream("feed", "binance", &format!("wss://localhost:{}/stream", front.port))
        .with("ca_file = \"ca.pem\"")
        .monitor("m", "d", "feed", &["x@trade"], "");
    let daemon = Daemon::start(&place, &settings);
    let error = until("the monitor shows it", || {
        daemon.monitors()["m"]["error"].as_str().filter(|error| !error.is_empty()).map(str::to_owned)
    });
    assert!(error.contains("TLS with localhost") && error.to_lowercase().contains("expired"), "{error}");
    assert!(daemon.metrics().value("sluice_link_failures_total", &[("upstream", "feed"), ("cause", "tls")]) > 0);
    daemon.stop();
}

#[test]
fn an_acknowledgement_that_comes_late_is_waited_for_and_asked_for_once_more_at_most() {
    let place = Workplace::new();
    // Nothing is made of a topic that does not exist: what confirms it is its acknowledgement alone.
    let feed = Feed::start(&place, &["--dialect", "binance", "--ack-delay", "1s", "--rate", "1"]);
    let settings = Settings::new()
        .upstream("feed", "binance", feed.url())
        .with("pool = { confirm_timeout = \"300ms\" }")
        .monitor("m", "d", "feed", &["x@nothing"], "");
    let daemon = Daemon::start(&place, &settings);
    let since = Instant::now();
    until("it is asked for once more", || daemon.log().contains("asking once more").then_some(()));
    until("it is live by the late answer", || (state(&daemon) == "live").then_some(()));
    assert!(since.elapsed() >= Duration::from_millis(300));
    let log = daemon.stop();
    assert_eq!(log.matches("asking once more").count(), 1, "{log}");
    assert!(!log.contains("link lost"), "{log}");
    feed.stop();
}

#[test]
fn an_answer_to_a_request_that_nobody_made_changes_nothing() {
    let place = Workplace::new();
    let stray = [
        r#"{"result":null,"id":77}"#,
        r#"{"error":{"code":2,"msg":"Invalid request: invalid stream"},"id":78}"#,
        r#"{"result":null,"id":"seventy-nine"}"#,
    ];
    let upstream = RawUpstream::start(Manner::Acknowledges, move |_| {
        stray.iter().map(|text| Message::text(*text)).chain(["1", "2"].map(trade)).collect()
    });
    let daemon = watch(&place, &upstream.url(), "");
    until("what comes behind it is read", || (daemon.monitors()["m"]["events"] == 2).then_some(()));
    assert_eq!(state(&daemon), "live", "its subscription is in force: {:?}", daemon.monitors());
    let log = daemon.stop();
    assert!(!log.contains("link lost"), "{log}");
    assert_eq!(query(&place, &["--monitor", "m"]).len(), 2);
    assert!(accounts(&place).values().all(Account::adds_up));
}

#[test]
fn the_proxy_of_these_tests_passes_everything_unless_it_is_told_otherwise() {
    let place = Workplace::new();
    let feed = Feed::start(&place, &["--dialect", "okx", "--rate", "2000", "--ledger", "ledger.jsonl"]);
    let proxy = FaultProxy::start(feed.url());
    let settings = Settings::new().upstream("feed", "okx", &proxy.url(feed.url())).monitor(
        "m",
        "d",
        "feed",
        &["trades:BTC-USDT", "trades:ETH-USDT"],
        "",
    );
    let daemon = Daemon::start(&place, &settings);
    until("events come", || (daemon.monitors()["m"]["events"].as_u64() > Some(1000)).then_some(()));
    proxy.set(Plan::Pass);
    daemon.stop();
    feed.stop();
    let sent: std::collections::BTreeSet<_> =
        super::ledger::ledger(&place).iter().map(|sent| (sent.topic.clone(), sent.id.clone())).collect();
    let events = query(&place, &["--monitor", "m"]);
    assert!(events.len() > 1000);
    for event in events {
        let id = event.id.as_deref().unwrap().rsplit_once(':').unwrap().1.to_owned();
        assert!(sent.contains(&(event.topic.clone(), id)), "{event:?}");
    }
    let done = proxy.done();
    assert_eq!((done.resets, done.stalls, done.corrupted, done.duplicated), (0, 0, 0, 0));
    assert_eq!(done.connections, 1);
}
