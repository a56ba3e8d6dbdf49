//! The certificate that we prove ourselves with, as a client or as a server.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use tokio_rustls::rustls::client::ResolvesClientCert;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::{ClientHello, ResolvesServerCert};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{Error, InconsistentKeys, SignatureScheme};

use super::validity::Validity;
use crate::clock::UnixNanos;

/// Why a client certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A file cannot be read.
    #[error("cannot read {what} from {path}: {reason}")]
    File {
        /// Certificate or key.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// They are not a pair.
    #[error(
        "the key in {key} is not that of the certificate in {certificate}; `client_cert` and `client_key`, or those of `server.tls`, must be a pair"
    )]
    Mismatch {
        /// The file of the certificate.
        certificate: PathBuf,
        /// That of the key.
        key: PathBuf,
    },
    /// Its time is over, or has not come.
    #[error("the client certificate in {path} {what} {moment}; renew it, or look at this machine's clock")]
    Time {
        /// The file.
        path: PathBuf,
        /// In words.
        what: &'static str,
        /// Since or from when.
        moment: UnixNanos,
    },
    /// The library does not take it.
    #[error("the client certificate in {path} cannot be used: {reason}")]
    Unusable {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

/// A certificate and its key, as their files were when they were looked at last.
pub struct ClientIdentity {
    certificate: PathBuf,
    key: PathBuf,
    current: Mutex<Current>,
}

struct Current {
    /// As the files had them.
    read: (Vec<u8>, Vec<u8>),
    validity: Option<Validity>,
    certified: Arc<CertifiedKey>,
}

impl fmt::Debug for ClientIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientIdentity").field("certificate", &self.certificate).finish_non_exhaustive()
    }
}

impl ClientIdentity {
    /// Reads both files, in PEM. Whether their time has come, or is over, only a connection needs to know.
    ///
    /// # Errors
    /// When they cannot be used.
    pub fn read(certificate: PathBuf, key: PathBuf) -> Result<Self, IdentityError> {
        let read = (text_of("a certificate", &certificate)?, text_of("a private key", &key)?);
        let current = Mutex::new(Current::of(read, &certificate, &key)?);
        Ok(Self { certificate, key, current })
    }

    /// Looks at the files again, so that a renewed certificate is used from the next connection on. Small files: it may block for as
    /// long as a local disk does.
    ///
    /// # Errors
    /// When they cannot be used now.
    pub fn refresh(&self) -> Result<(), IdentityError> {
        let read = (text_of("a certificate", &self.certificate)?, text_of("a private key", &self.key)?);
        if self.lock().read != read {
            let current = Current::of(read, &self.certificate, &self.key)?;
            *self.lock() = current;
        }
        self.check_time()
    }

    fn check_time(&self) -> Result<(), IdentityError> {
        let Some(Validity { from, until }) = self.lock().validity else { return Ok(()) };
        let now = UnixNanos::now();
        let refused = |what, moment| Err(IdentityError::Time { path: self.certificate.clone(), what, moment });
        if now > until {
            return refused("expired at", until);
        }
        if now < from { refused("is not valid before", from) } else { Ok(()) }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Current {
    fn of(read: (Vec<u8>, Vec<u8>), certificate: &Path, key: &Path) -> Result<Self, IdentityError> {
        let file = |what, path: &Path, reason| IdentityError::File { what, path: path.to_owned(), reason };
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&read.0)
            .collect::<Result<_, _>>()
            .map_err(|error| file("a certificate", certificate, error.to_string()))?;
        let Some(first) = chain.first() else {
            return Err(file("a certificate", certificate, "it holds none in PEM".into()));
        };
        let validity = Validity::of(first);
        let private = PrivateKeyDer::from_pem_slice(&read.1)
            .map_err(|_| file("a private key", key, "it holds none in PEM that is not encrypted".into()))?;
        let certified = CertifiedKey::from_der(chain, private, &default_provider()).map_err(|error| match error {
            Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
                IdentityError::Mismatch { certificate: certificate.to_owned(), key: key.to_owned() }
            }
            error => IdentityError::Unusable { path: certificate.to_owned(), reason: error.to_string() },
        })?;
        Ok(Self { read, validity, certified: Arc::new(certified) })
    }
}

impl ResolvesClientCert for ClientIdentity {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.lock().certified))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

impl ResolvesServerCert for ClientIdentity {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.lock().certified))
    }
}

fn text_of(what: &'static str, path: &Path) -> Result<Vec<u8>, IdentityError> {
    std::fs::read(path).map_err(|error| IdentityError::File { what, path: path.to_owned(), reason: error.to_string() })
}
