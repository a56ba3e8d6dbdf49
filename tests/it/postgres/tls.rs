//! Whom a sink trusts, and what it says of those it does not.

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use sluice::sink::{Store as _, StoreError};

use super::super::postgres_server::PostgresServer;
use super::support::{Source, opened, store_at};

/// An authority, and a certificate of it for a host.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self { issuer: CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap() }
    }

    /// The certificate and its key.
    fn vouch_for(&self, host: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec![host.to_owned()]).unwrap().signed_by(&key, &self.issuer).unwrap();
        (certificate.pem(), key.serialize_pem())
    }
}

/// A server that takes nobody without TLS.
fn server(certificate: &str, key: &str) -> PostgresServer {
    let server = PostgresServer::start_with(
        "ssl = on\nssl_cert_file = 'server.pem'\nssl_key_file = 'server.key'\n",
        &[("server.pem", certificate), ("server.key", key)],
    );
    server.sql("CREATE ROLE feed LOGIN PASSWORD 'hunter2'");
    let rules =
        "local all all trust\nhostssl all feed 127.0.0.1/32 scram-sha-256\nhost all sluice 127.0.0.1/32 trust\n";
    std::fs::write(server.folder().join("data/pg_hba.conf"), rules).unwrap();
    server.sql("GRANT CREATE ON SCHEMA public TO feed; SELECT pg_reload_conf()");
    server
}

fn url(server: &PostgresServer, host: &str, password: &str, mode: &str) -> String {
    format!("postgres://feed:{password}@{host}:{}/postgres?sslmode={mode}", server.port())
}

#[tokio::test]
async fn a_server_is_trusted_by_the_authority_that_is_named_and_no_other() {
    let (ours, foreign) = (Authority::new(), Authority::new());
    let (certificate, key) = ours.vouch_for("localhost");
    let server = server(&certificate, &key);
    let folder = tempfile::tempdir().unwrap();
    let ca = |name: &str, authority: &Authority| {
        let path = folder.path().join(name);
        std::fs::write(&path, authority.issuer.pem()).unwrap();
        format!("ca_file = \"{}\"", path.display())
    };
    let (trusted, untrusted) = (ca("ours.pem", &ours), ca("foreign.pem", &foreign));
    let source = Source::of(100);

    let mut store = store_at(&url(&server, "localhost", "hunter2", "verify-full"), &trusted, "").unwrap();
    opened(&mut store, &source.live()).await;
    store.write(&source.batch(0, 100)).await.unwrap();
    assert_eq!(
        server.sql("SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE usename = 'feed'"),
        "t"
    );

    // The file alone asks for it too.
    let address = url(&server, "localhost", "hunter2", "prefer").replace("?sslmode=prefer", "");
    opened(&mut store_at(&address, &trusted, "").unwrap(), &source.live()).await;
    // Encrypted, and whoever it is.
    opened(&mut store_at(&address, "", "").unwrap(), &source.live()).await;

    for (host, mode, ca, why) in [
        ("localhost", "verify-full", &untrusted, "certificate"),
        ("localhost", "require", &untrusted, "certificate"),
        // The certificate names the host, not its number.
        ("127.0.0.1", "verify-full", &trusted, "certificate"),
        ("localhost", "require", &String::new(), "certificate"),
        ("localhost", "disable", &trusted, "pg_hba.conf"),
    ] {
        let mut store = store_at(&url(&server, host, "hunter2", mode), ca, "").unwrap();
        let error = store.open(&source.live()).await.unwrap_err().to_string();
        assert!(error.contains(why), "{host} {mode}: {error}");
        assert!(!error.contains("hunter2"), "{error}");
    }

    let mut store = store_at(&url(&server, "localhost", "wrong-hunter", "verify-full"), &trusted, "").unwrap();
    let Err(StoreError::Stop(reason)) = store.open(&source.live()).await else { panic!("the password is wrong") };
    assert!(reason.contains("password") && !reason.contains("wrong-hunter"), "{reason}");
}

#[test]
fn a_file_of_certificates_that_cannot_be_read_is_refused_at_once() {
    let error = store_at("postgres://u:hunter2@h/d", "ca_file = \"/nowhere/ca.pem\"", "").err().unwrap().to_string();
    assert!(error.contains("/nowhere/ca.pem") && !error.contains("hunter2"), "{error}");
}
