//! Credentials, certificates, permissions; and that no secret is shown.

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use sluice::journal::Offset;
use sluice::sink::{Store as _, StoreError};

use super::bus::Bus;
use crate::nats_server::NatsServer;

async fn stop_of(bus: &mut Bus) -> String {
    match bus.open().await {
        Err(StoreError::Stop(reason)) => reason,
        other => panic!("it does not stop: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_or_token_in_the_address_is_used_and_never_shown() {
    for (settings, right, wrong) in [
        ("authorization { user: \"sluice\", password: \"s3cr3t/pw\" }\n", "sluice:s3cr3t%2Fpw", "sluice:wr0ng-pw"),
        ("authorization { token: \"t0k3n-right\" }\n", "t0k3n-right", "t0k3n-wr0ng"),
    ] {
        let server = NatsServer::with(settings);
        let url = |credentials: &str| format!("nats://{credentials}@{}", server.address());
        let mut bus = Bus::new(&url(right));
        bus.append(3);
        bus.open().await.unwrap();
        bus.write(0..3).await.unwrap();
        let shown = format!("{:?}", bus.store);
        assert!(!shown.contains("s3cr3t") && !shown.contains("t0k3n"), "{shown}");

        let reason = stop_of(&mut Bus::new(&url(wrong))).await;
        assert!(reason.contains("refuses the credentials"), "{reason}");
        assert!(!reason.contains("wr0ng") && reason.contains("***"), "{reason}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sink_that_may_not_do_what_it_must_stops_with_the_reason() {
    let server = NatsServer::with(
        "authorization { users: [\n\
         { user: admin, password: a },\n\
         { user: mute, password: m, permissions: { publish: [\"$JS.API.>\"] } },\n\
         { user: blind, password: b, permissions: { publish: [\"sluice.>\"] } } ] }\n",
    );
    let url = |credentials: &str| format!("nats://{credentials}@{}", server.address());
    Bus::new(&url("admin:a")).open().await.unwrap();
    let reason = stop_of(&mut Bus::new(&url("blind:b"))).await;
    assert!(reason.contains("does not let this sink") && reason.contains("$JS.API.STREAM.INFO"), "{reason}");

    let mut mute = Bus::new(&url("mute:m"));
    mute.append(3);
    mute.open().await.unwrap();
    let StoreError::Stop(reason) = mute.write(0..3).await.unwrap_err() else { panic!("it does not stop") };
    assert!(reason.contains("does not let this sink") && reason.contains("sluice.bus.trading"), "{reason}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_documented_permissions_are_enough() {
    let documented = crate::support::project_file("docs/sinks.md");
    let part = documented.split("It needs to publish to").nth(1).unwrap().split("\n\n").next().unwrap();
    let subjects: Vec<String> = part.split('`').filter(|text| text.starts_with("$JS")).map(with_name).collect();
    assert!(subjects.len() >= 5, "{subjects:?}");
    let subjects: Vec<String> = subjects.iter().map(|subject| format!("{subject:?}")).collect();
    let server = NatsServer::with(&format!(
        "authorization {{ users: [ {{ user: bus, password: b, permissions: {{ \
         publish: [{}, \"sluice.bus.>\"], subscribe: [\"_INBOX.>\"] }} }} ] }}\n",
        subjects.join(", ")
    ));
    let mut bus = Bus::new(&format!("nats://bus:b@{}", server.address()));
    bus.append(20);
    bus.follow().await;
    let opening = bus.opening.clone();
    let mut rows = 0;
    let mut take = |_: sluice::sink::StoredRow<'_>| rows += 1;
    bus.store.read_back(&opening, Offset(5)..Offset(20), &mut take).await.unwrap();
    assert_eq!(rows, 15);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_jetstream_stops_the_sink_and_one_that_is_not_there_is_waited_for() {
    let mut server = NatsServer::with("# no jetstream\n");
    let mut bus = Bus::new(&server.url());
    let reason = stop_of(&mut bus).await;
    assert!(reason.contains("has no JetStream"), "{reason}");
    server.kill();
    let error = bus.open().await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable(_)), "{error}");
    assert!(error.to_string().contains(&server.url()), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_trusted_by_the_given_certificates_only() {
    let (ca, certificate, key) = certificates();
    let server = NatsServer::with_files(
        "tls { cert_file: \"FOLDER/cert.pem\", key_file: \"FOLDER/key.pem\" }\n",
        &[("cert.pem", &certificate), ("key.pem", &key), ("ca.pem", &ca)],
    );
    let url = format!("tls://localhost:{}", server.address().port());
    let trusting = format!("ca_file = {:?}", server.folder().join("ca.pem"));
    let mut bus = Bus::with(&url, &trusting);
    bus.append(3);
    bus.open().await.unwrap();
    bus.write(0..3).await.unwrap();
    assert_eq!(bus.open().await, Ok(Some(Offset(3))));

    let error = Bus::new(&url).open().await.unwrap_err().to_string();
    assert!(error.contains("certificate"), "{error}");
    let error = Bus::with(&url.replace("localhost", "127.0.0.1"), &trusting).open().await.unwrap_err().to_string();
    assert!(error.contains("certificate"), "the name counts too: {error}");
    let reason = stop_of(&mut Bus::with(&url, "ca_file = \"/nowhere/ca.pem\"")).await;
    assert!(reason.contains("/nowhere/ca.pem"), "{reason}");
    let reason = stop_of(&mut Bus::with(&url, "credentials_file = \"/nowhere/sluice.creds\"")).await;
    assert!(reason.contains("/nowhere/sluice.creds"), "{reason}");

    // Never in the clear where certificates were asked for.
    let plain = NatsServer::start();
    let mut bus = Bus::with(&format!("tls://localhost:{}", plain.address().port()), &trusting);
    assert!(bus.open().await.is_err());
}

/// A certificate authority, and a certificate for `localhost` with its key.
fn certificates() -> (String, String, String) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, "a test's authority");
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["localhost".into()]).unwrap().signed_by(&key, &issuer).unwrap();
    (issuer.pem(), certificate.pem(), key.serialize_pem())
}

/// A subject with the stream's name in the place of the token `S`.
fn with_name(subject: &str) -> String {
    let tokens: Vec<&str> = subject.split('.').map(|token| if token == "S" { "SLUICE_BUS" } else { token }).collect();
    tokens.join(".")
}
