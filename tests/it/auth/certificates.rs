//! Client certificates: shown to whoever asks, read anew for each connection, and what is wrong with one is said.

use std::sync::Arc;
use std::thread;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::json;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

use super::handshake::live;
use super::servers::{Guarded, HttpServer, acknowledged};
use crate::processes::{Daemon, Settings, until};
use crate::support::Workplace;

/// An authority, of servers and of clients.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn vouch(&self, mut certificate: CertificateParams, until: i32) -> (String, String) {
        certificate.not_before = rcgen::date_time_ymd(2019, 1, 1);
        certificate.not_after = rcgen::date_time_ymd(until, 1, 1);
        let key = KeyPair::generate().unwrap();
        (certificate.signed_by(&key, &self.0).unwrap().pem(), key.serialize_pem())
    }

    /// A client's certificate and its key.
    fn client(&self, until: i32) -> (String, String) {
        self.vouch(CertificateParams::new(vec!["sluice".to_owned()]).unwrap(), until)
    }

    /// TLS before a server of this machine, which takes nobody without a certificate of this authority.
    fn guard(&self, port: u16) -> u16 {
        let key = KeyPair::generate().unwrap();
        let certificate =
            CertificateParams::new(vec!["localhost".to_owned()]).unwrap().signed_by(&key, &self.0).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).unwrap();
        let provider = Arc::new(default_provider());
        let clients =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build().unwrap();
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(clients)
            .with_single_cert(vec![certificate.der().clone()], PrivateKeyDer::try_from(key.serialize_der()).unwrap())
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let (told, listening) = std::sync::mpsc::channel();
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                told.send(listener.local_addr().unwrap().port()).unwrap();
                let mut connections = tokio::task::JoinSet::new();
                loop {
                    let (stream, _) = listener.accept().await.unwrap();
                    let acceptor = acceptor.clone();
                    connections.spawn(async move {
                        let Ok(mut stream) = acceptor.accept(stream).await else { return };
                        let Ok(mut there) = TcpStream::connect(("127.0.0.1", port)).await else { return };
                        // Ends with either of them.
                        copy_bidirectional(&mut stream, &mut there).await.ok();
                    });
                }
            });
        });
        listening.recv().unwrap()
    }
}

fn upstream() -> Guarded {
    Guarded::start(|_| None, |_, request| acknowledged(request))
}

fn settings(port: u16, more: &str) -> Settings {
    Settings::new()
        .upstream("feed", "binance", &format!("wss://localhost:{port}/stream"))
        .with(&format!("ca_file = 'ca.pem'\n{more}"))
        .monitor("m", "d", "feed", &["x@trade"], "")
}

const PAIR: &str = "client_cert = 'client.pem'\nclient_key = 'client.key'";

fn write(place: &Workplace, (certificate, key): &(String, String)) {
    place.write("client.pem", certificate);
    place.write("client.key", key);
}

fn error(daemon: &Daemon) -> String {
    until("it is told", || {
        daemon.monitors()["m"]["error"].as_str().filter(|error| !error.is_empty()).map(str::to_owned)
    })
}

#[test]
fn a_server_that_wants_a_certificate_gets_it_and_says_so_where_there_is_none() {
    let (authority, upstream) = (Authority::new(), upstream());
    let port = authority.guard(upstream.port());
    let place = Workplace::new().with_file("ca.pem", authority.0.pem());
    let daemon = Daemon::start(&place, &settings(port, ""));
    let said = error(&daemon);
    assert!(said.contains("TLS with localhost") && said.contains("client_cert"), "{said}");
    daemon.stop();
    write(&place, &authority.client(2100));
    let daemon = Daemon::start(&place, &settings(port, PAIR));
    live(&daemon);
    daemon.stop();
}

#[test]
fn a_certificate_that_is_renewed_is_used_from_the_next_connection_on() {
    let (old, new) = (Authority::new(), Authority::new());
    let upstream = upstream();
    let port = new.guard(upstream.port());
    let place = Workplace::new().with_file("ca.pem", new.0.pem());
    write(&place, &old.client(2100));
    let daemon = Daemon::start(&place, &settings(port, PAIR));
    let said = error(&daemon);
    assert!(said.contains("TLS with localhost") && said.contains("does not take our client certificate"), "{said}");
    write(&place, &new.client(2100));
    live(&daemon);
    daemon.stop();
}

#[test]
fn a_certificate_that_expired_or_is_of_another_key_is_told_before_anybody_is_asked() {
    let (authority, upstream) = (Authority::new(), upstream());
    let port = authority.guard(upstream.port());
    let place = Workplace::new().with_file("ca.pem", authority.0.pem());
    write(&place, &authority.client(2020));
    settings(port, PAIR).write(&place);
    let check = || place.run(["--config", "sluice.toml", "config", "check"]);
    let outcome = check();
    assert_eq!(outcome.code, Some(78), "{}", outcome.stdout);
    let expected = "expired at 2020-01-01T00:00:00Z; renew it";
    assert!(outcome.stderr.contains("upstream `feed`") && outcome.stderr.contains(expected), "{}", outcome.stderr);
    // A daemon waits for its renewal.
    let daemon = Daemon::again(&place);
    assert!(error(&daemon).contains(expected));
    write(&place, &authority.client(2100));
    live(&daemon);
    daemon.stop();
    assert_eq!(check().code, Some(0));

    place.write("client.key", authority.client(2100).1);
    let outcome = check();
    assert_eq!(outcome.code, Some(78));
    assert!(outcome.stderr.contains("is not that of the certificate in"), "{}", outcome.stderr);
    place.write("client.key", "no key");
    let outcome = check();
    assert!(
        outcome.stderr.contains("cannot read a private key from") && !outcome.stderr.contains("no key"),
        "{}",
        outcome.stderr
    );
    settings(port, "client_cert = 'client.pem'").write(&place);
    assert!(check().stderr.contains("`client_cert` is set and `client_key` is not"), "{}", check().stderr);
}

#[test]
fn a_token_is_asked_for_with_the_certificate_too() {
    let (authority, upstream) = (Authority::new(), upstream());
    let server = HttpServer::start(|_, _| (200, json!({ "token": "t0k3n" }).to_string()));
    let http = server.url("").rsplit(':').next().unwrap().parse().unwrap();
    let (links, tokens) = (authority.guard(upstream.port()), authority.guard(http));
    let place = Workplace::new().with_file("ca.pem", authority.0.pem());
    write(&place, &authority.client(2100));
    let more = format!(
        "{PAIR}\nauth.token = {{ url = 'https://localhost:{tokens}/t', value = '/token' }}\nauth.headers = {{ X-Token = '{{token}}' }}"
    );
    let daemon = Daemon::start(&place, &settings(links, &more));
    live(&daemon);
    assert_eq!(upstream.shakes()[0].headers["x-token"], "t0k3n");
    daemon.stop();
}
