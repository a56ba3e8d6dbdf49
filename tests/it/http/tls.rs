//! TLS: the certificate of the settings, and the next one without a restart.

use rcgen::{CertificateParams, KeyPair};

use super::{connect_from, quiet_settings};
use crate::processes::{Daemon, until};
use crate::support::Workplace;

/// A certificate that nobody vouches for, and its key, into the folder.
fn renew(place: &Workplace) {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["sluice.example".to_owned()]).unwrap().self_signed(&key).unwrap();
    place.write("server.crt", certificate.pem());
    place.write("server.key", key.serialize_pem());
}

#[test]
fn tls_is_spoken_and_a_new_certificate_is_used_without_a_restart() {
    use std::io::{Read as _, Write as _};
    const TLS: &str = "[server.tls]\ncertificate = \"server.crt\"\nkey = \"server.key\"";
    let place = Workplace::new();
    renew(&place);
    let daemon = Daemon::start(&place, &quiet_settings(TLS));
    let listen = format!("server.listen={}", daemon.address());
    let command = ["--config", "sluice.toml", "--set", &listen, "monitors"];
    let asked = place.run(command);
    assert_eq!(asked.code, Some(0), "{}", asked.stderr);
    // Without TLS nothing is told.
    let mut plain = connect_from(1, daemon.address());
    plain.write_all(b"GET /v1/health/live HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    plain.read_to_end(&mut answer).ok();
    assert!(!answer.windows(3).any(|part| part == b"ok\n"), "{answer:?}");
    // The command takes the very certificate of the settings and no other.
    let (before, key) = (std::fs::read(place.path("server.crt")), std::fs::read(place.path("server.key")));
    renew(&place);
    until("the new certificate is shown", || (place.run(command).code == Some(0)).then_some(()));
    // What cannot be used leaves the last one that could; another folder has that still.
    let other = Workplace::new();
    for file in ["server.crt", "server.key", "sluice.toml"] {
        other.write(file, std::fs::read(place.path(file)).unwrap());
    }
    place.write("server.crt", "no certificate");
    until("the mistake is told", || {
        assert_eq!(other.run(command).code, Some(0), "whoever knows the certificate is served");
        daemon.log().contains("the certificate stays as it was").then_some(())
    });
    place.write("server.crt", before.unwrap());
    place.write("server.key", key.unwrap());
    until("the one before is shown again", || (place.run(command).code == Some(0)).then_some(()));
    daemon.stop();
}
