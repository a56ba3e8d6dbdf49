//! Promises of the pool: how many links there are, who is on which, and what becomes of a lost one.

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::processes::{Daemon, Feed, Settings, figure, query, until};
use crate::support::Workplace;

fn topics(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("s{number}usdt@trade")).collect()
}

/// One monitor for each topic.
fn watching(settings: Settings, upstream: &str, topics: &[String]) -> Settings {
    topics.iter().enumerate().fold(settings, |settings, (number, topic)| {
        settings.monitor(&format!("m{number}"), "trading", upstream, &[topic], "")
    })
}

fn pool(name: &str, min: u32, max: u32) -> String {
    format!("[upstreams.{name}.pool]\nmin_connections = {min}\nmax_connections = {max}")
}

fn states(daemon: &Daemon) -> Vec<String> {
    daemon.monitors().values().map(|row| row["state"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn topics_of_many_monitors_share_few_links() {
    let place = Workplace::new();
    let feed = Feed::start(&place, &["--dialect", "binance", "--rate", "2000"]);
    let settings = Settings::new().upstream("feed", "binance", feed.url()).with(&pool("feed", 2, 3));
    let daemon = Daemon::start(&place, &watching(settings, "feed", &topics(40)));
    until("all 40 monitors are live", || states(&daemon).iter().all(|state| state == "live").then_some(()));
    let open = daemon.metrics().value("sluice_links", &[("upstream", "feed"), ("state", "open")]);
    assert!(open <= 2, "the minimum is enough for them: {open}");
    daemon.stop();
    assert_eq!(figure(&feed.stop().replace(" (", ", ").replace(')', ""), "accepted"), 2);
}

#[test]
fn a_pool_grows_to_its_maximum_and_then_the_least_important_topics_stay_out() {
    let place = Workplace::new();
    let feed = Feed::start(&place, &["--dialect", "binance", "--rate", "500"]);
    let settings = Settings::new()
        .upstream("feed", "binance", feed.url())
        .with("topics_per_link = 2")
        .with(&pool("feed", 1, 3))
        .monitor("low", "trading", "feed", &["lowusdt@trade"], "priority = \"low\"");
    let daemon = Daemon::start(&place, &watching(settings, "feed", &topics(6)));
    until("six monitors are live", || {
        (states(&daemon).iter().filter(|state| *state == "live").count() == 6).then_some(())
    });
    assert_eq!(daemon.monitors()["low"]["state"], "left_out");
    until("the links are counted", || {
        let open = daemon.metrics().value("sluice_links", &[("upstream", "feed"), ("state", "open")]);
        (open == 3).then_some(())
    });
    let log = daemon.stop();
    assert!(log.contains("not all topics fit") && log.contains("pool.max_connections"), "{log}");
}

#[test]
fn an_upstream_that_closes_idle_links_gets_none_without_a_topic() {
    let place = Workplace::new();
    let feed = Feed::start(&place, &["--dialect", "coinbase", "--rate", "100"]);
    let settings = Settings::new().upstream("feed", "coinbase", feed.url()).with(&pool("feed", 2, 3)).monitor(
        "only",
        "trading",
        "feed",
        &["matches:BTC-USD"],
        "",
    );
    let daemon = Daemon::start(&place, &settings);
    until("it is live", || (states(&daemon) == ["live"]).then_some(()));
    daemon.stop();
    assert_eq!(figure(&feed.stop().replace(" (", ", ").replace(')', ""), "accepted"), 1);
}

#[test]
fn each_monitor_of_a_shared_topic_gets_every_message() {
    let place = Workplace::new();
    let feed = Feed::start(&place, &["--dialect", "binance", "--rate", "500"]);
    let settings = Settings::new()
        .upstream("feed", "binance", feed.url())
        .monitor("one", "trading", "feed", &["btcusdt@trade"], "")
        .monitor("two", "liquidity", "feed", &["btcusdt@trade", "ethusdt@trade"], "");
    let daemon = Daemon::start(&place, &settings);
    until("events came", || (daemon.metrics().value("sluice_journal_durable_offset", &[]) > 100).then_some(()));
    daemon.stop();
    let ids = |monitor: &str| -> Vec<Option<String>> {
        let events = query(&place, &["--monitor", monitor, "--topic", "btcusdt@trade"]);
        events.into_iter().map(|event| event.id).collect()
    };
    assert!(!ids("one").is_empty());
    assert_eq!(ids("one"), ids("two"));
}

#[test]
fn after_a_disconnect_every_topic_is_subscribed_again_and_the_gap_is_recorded() {
    let place = Workplace::new();
    let feed = Feed::start(&place, &["--dialect", "binance", "--rate", "400", "--disconnect-every", "700ms"]);
    let settings = Settings::new().upstream("feed", "binance", feed.url());
    let daemon = Daemon::start(&place, &watching(settings, "feed", &topics(3)));
    let count = |name: &str, labels: &[(&str, &str)]| daemon.metrics().value(name, labels);
    until("it connected four times", || {
        (count("sluice_link_connects_total", &[("upstream", "feed")]) >= 4).then_some(())
    });
    let before: Vec<u64> = (0..3).map(|m| count("sluice_messages_total", &[("monitor", &format!("m{m}"))])).collect();
    until("every topic goes on", || {
        (0..3).all(|m| count("sluice_messages_total", &[("monitor", &format!("m{m}"))]) > before[m]).then_some(())
    });
    let log = daemon.stop();
    assert!(log.contains("link lost") && log.contains("trying again in"), "{log}");
    let gaps = query(&place, &["--domain", "_sluice", "--monitor", "gaps"]);
    for topic in topics(3) {
        let gap = gaps.iter().find(|gap| gap.payload.get().contains(&topic)).expect("a gap of each topic");
        let gap: serde_json::Value = serde_json::from_str(gap.payload.get()).unwrap();
        assert_eq!(gap["cause"], "disconnect");
        assert!(gap["start"].as_str().unwrap() <= gap["end"].as_str().unwrap(), "{gap}");
    }
}

#[test]
fn a_link_that_answers_no_ping_is_replaced() {
    let place = Workplace::new();
    let feed = Feed::start(&place, &["--dialect", "binance", "--rate", "100", "--no-pong"]);
    let settings = Settings::new()
        .upstream("feed", "binance", feed.url())
        .with("[upstreams.feed.pool]\nhealth_check_interval = \"100ms\"\npong_timeout = \"200ms\"")
        .monitor("m", "trading", "feed", &["btcusdt@trade"], "");
    let daemon = Daemon::start(&place, &settings);
    until("it was given up for its silence", || {
        let failures = daemon.metrics().value("sluice_link_failures_total", &[("upstream", "feed"), ("cause", "pong")]);
        (failures >= 2).then_some(())
    });
    let log = daemon.stop();
    assert!(log.contains("did not answer a ping within 200ms"), "{log}");
}

/// A TLS front for a feed: takes connections with a certificate for `name`, and passes the bytes on.
pub(crate) struct TlsFront {
    pub(crate) port: u16,
    pub(crate) ca_pem: String,
    _runtime: tokio::runtime::Runtime,
}

impl TlsFront {
    /// Its authority is called `authority`.
    fn start(feed: &Feed, name: &str, authority: &str) -> Self {
        Self::start_with(feed, &CertificateParams::new(vec![name.to_owned()]).unwrap(), authority)
    }

    /// With a certificate made of these.
    pub(crate) fn start_with(feed: &Feed, certificate: &CertificateParams, authority: &str) -> Self {
        let called = authority;
        let mut authority = CertificateParams::new(Vec::new()).unwrap();
        authority.distinguished_name.push(DnType::CommonName, called);
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let certificate = certificate.signed_by(&key, &authority).unwrap();
        let chain = vec![CertificateDer::from(certificate.der().to_vec())];
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let port = listener.local_addr().unwrap().port();
        let behind = feed.url().trim_start_matches("ws://").split('/').next().unwrap().to_owned();
        runtime.spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((tcp, _)) = listener.accept().await {
                let (acceptor, behind) = (acceptor.clone(), behind.clone());
                connections.spawn(async move {
                    // A client that refuses the certificate goes away here.
                    let Ok(mut front) = acceptor.accept(tcp).await else { return };
                    let mut back = tokio::net::TcpStream::connect(behind).await.unwrap();
                    tokio::io::copy_bidirectional(&mut front, &mut back).await.ok();
                });
            }
        });
        Self { port, ca_pem: authority.pem(), _runtime: runtime }
    }
}

fn watch_over_tls(place: &Workplace, host: &str, front: &TlsFront, ca_file: &str) -> Daemon {
    let settings = Settings::new()
        .upstream("feed", "binance", &format!("wss://{host}:{}/stream", front.port))
        .with(ca_file)
        .monitor("m", "trading", "feed", &["btcusdt@trade"], "");
    Daemon::start(place, &settings)
}

#[test]
fn a_certificate_of_a_declared_authority_is_trusted() {
    let place = Workplace::new();
    let feed = Feed::start(&place, &["--dialect", "binance", "--rate", "100"]);
    let front = TlsFront::start(&feed, "localhost", "ours");
    place.write("ca.pem", &front.ca_pem);
    let daemon = watch_over_tls(&place, "localhost", &front, "ca_file = \"ca.pem\"");
    until("events come over TLS", || (daemon.metrics().value("sluice_journal_durable_offset", &[]) > 10).then_some(()));
    daemon.stop();
}

#[test]
fn a_certificate_that_is_untrusted_or_for_another_host_is_refused_with_the_reason() {
    for (name, with_ca, reason) in
        [("localhost", false, "UnknownIssuer"), ("elsewhere.example", true, "not valid for name")]
    {
        let place = Workplace::new();
        let feed = Feed::start(&place, &["--dialect", "binance"]);
        let front = TlsFront::start(&feed, name, "ours");
        place.write("ca.pem", &front.ca_pem);
        // Some authority must be trusted, or nothing could be verified at all.
        let other = TlsFront::start(&feed, "localhost", "another");
        place.write("other.pem", &other.ca_pem);
        let ca_file = if with_ca { "ca_file = \"ca.pem\"" } else { "ca_file = \"other.pem\"" };
        let daemon = watch_over_tls(&place, "localhost", &front, ca_file);
        until("it is refused", || {
            let failures =
                daemon.metrics().value("sluice_link_failures_total", &[("upstream", "feed"), ("cause", "tls")]);
            (failures > 0).then_some(())
        });
        assert_eq!(daemon.get("/v1/health/ready").0, 200, "what comes from elsewhere would still become durable");
        let log = daemon.stop();
        assert!(log.contains("TLS with localhost") && log.contains(reason), "{log}");
    }
}
