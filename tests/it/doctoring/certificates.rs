//! Certificates: whose, of which host, until when.

use std::sync::Arc;
use std::thread;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

use super::{Findings, doctor, feed};
use crate::auth::servers::{Guarded, acknowledged};
use crate::support::Workplace;

/// An authority that vouches for servers.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// TLS before a server of this machine, with a certificate for a host until a year.
    fn cover(&self, port: u16, host: &str, until: i32) -> u16 {
        let mut params = CertificateParams::new(vec![host.to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2019, 1, 1);
        params.not_after = rcgen::date_time_ymd(until, 1, 1);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
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
                        tokio::io::copy_bidirectional(&mut stream, &mut there).await.ok();
                    });
                }
            });
        });
        listening.recv().unwrap()
    }
}

/// What is found of a server with such a certificate.
fn found(host: &str, until: i32, trusted: bool) -> Findings {
    let (authority, upstream) = (Authority::new(), Guarded::start(|_| None, |_, request| acknowledged(request)));
    let port = authority.cover(upstream.port(), host, until);
    let ca = if trusted { authority.0.pem() } else { Authority::new().0.pem() };
    let place = Workplace::new().with_file("ca.pem", ca);
    feed(&format!("wss://localhost:{port}/stream"), "ca_file = 'ca.pem'").write(&place);
    doctor(&place, "5s", &["--upstream", "feed"])
}

#[test]
fn a_certificate_that_is_good_is_told_with_its_end() {
    let found = found("localhost", 2100, true);
    assert_eq!(found.code, Some(0), "{}", found.text);
    found.assert(("certificate", "feed"), "ok", "2100-01-01");
    found.assert(("subscription", "feed"), "ok", "x@trade");
}

#[test]
fn a_certificate_of_another_host_is_told_as_that() {
    let found = found("example.org", 2100, true);
    assert_eq!(found.code, Some(1), "{}", found.text);
    found.assert(("certificate", "feed"), "failed", "it is not for localhost");
    found.assert(("handshake", "feed"), "failed", "");
}

#[test]
fn a_certificate_that_has_ended_is_told_with_the_day() {
    let found = found("localhost", 2020, true);
    assert_eq!(found.code, Some(1), "{}", found.text);
    found.assert(("certificate", "feed"), "failed", "it ended at 2020-01-01");
}

#[test]
fn a_certificate_that_nobody_vouches_for_is_told_as_that() {
    let found = found("localhost", 2100, false);
    assert_eq!(found.code, Some(1), "{}", found.text);
    found.assert(("certificate", "feed"), "failed", "nobody that this machine trusts");
}
