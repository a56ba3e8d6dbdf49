//! When certificates end that the settings name.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::Instant;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use x509_cert::Certificate;
use x509_cert::der::Decode;

use crate::clock::UnixNanos;
use crate::config::Settings;

/// Time between two readings of the files. Source: a guess; they end by days.
const INTERVAL: Duration = Duration::from_mins(1);

const DAY_SECONDS: f64 = 86_400.0;

/// What a file of certificates is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Use {
    /// We show it: as soon as one of the chain has ended, it is refused.
    Own,
    /// We trust it: as long as one of them has not ended, something is.
    Trusted,
}

/// The files, read from time to time.
#[derive(Debug, Default)]
pub(super) struct Certificates {
    read: Option<Instant>,
    /// The end of each, seconds since 1970.
    ends: BTreeMap<PathBuf, f64>,
}

impl Certificates {
    /// How many days are left, by file. Blocking.
    pub(super) fn days(&mut self, now: Instant, settings: &Settings) -> Vec<(String, f64)> {
        if self.read.is_none_or(|read| now.saturating_duration_since(read) >= INTERVAL) {
            self.read = Some(now);
            let ends = files(settings).into_iter().filter_map(|(path, is)| Some((path.to_owned(), end(path, is)?)));
            self.ends = ends.collect();
        }
        #[expect(clippy::cast_precision_loss, reason = "days")]
        let seconds = UnixNanos::now().0 as f64 / 1e9;
        self.ends.iter().map(|(path, end)| (path.display().to_string(), (end - seconds) / DAY_SECONDS)).collect()
    }
}

fn files(settings: &Settings) -> Vec<(&Path, Use)> {
    let upstreams = settings.upstreams.values();
    let own = upstreams.clone().filter_map(|upstream| upstream.client_cert.as_deref()).map(|path| (path, Use::Own));
    let trusted = upstreams.filter_map(|upstream| upstream.ca_file.as_deref());
    let sinks = settings.sinks.values().filter_map(|sink| sink.ca_file.as_deref());
    let served = settings.server.tls.certificate.as_deref().map(|path| (path, Use::Own));
    served.into_iter().chain(own).chain(trusted.chain(sinks).map(|path| (path, Use::Trusted))).collect()
}

/// When what is in a file ends; none where there is no certificate in it, which whoever uses it says.
fn end(path: &Path, is: Use) -> Option<f64> {
    let ends = CertificateDer::pem_file_iter(path).ok()?.filter_map(|certificate| {
        let certificate = Certificate::from_der(&certificate.ok()?).ok()?;
        Some(certificate.tbs_certificate.validity.not_after.to_unix_duration().as_secs_f64())
    });
    match is {
        Use::Own => ends.min_by(f64::total_cmp),
        Use::Trusted => ends.max_by(f64::total_cmp),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_ends_with_its_first_and_trust_with_its_last() {
        let dir = tempfile::tempdir().unwrap();
        let key = rcgen::KeyPair::generate().unwrap();
        let pem = |year: i32| {
            let mut params = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
            params.not_after = rcgen::date_time_ymd(year, 1, 1);
            params.self_signed(&key).unwrap().pem()
        };
        let path = dir.path().join("chain.pem");
        std::fs::write(&path, pem(2040) + &pem(2035)).unwrap();
        let year = |is: Use| (end(&path, is).unwrap() / DAY_SECONDS / 365.2425).floor();
        assert!((year(Use::Own) - 65.0).abs() < 0.5 && (year(Use::Trusted) - 70.0).abs() < 0.5);
        std::fs::write(&path, "no certificate").unwrap();
        assert_eq!(end(&path, Use::Own), None);
    }
}
