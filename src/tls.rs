//! Trust: the system's certificates, and those an upstream or a sink adds.

mod identity;
mod inspect;
mod validity;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore};

pub use self::identity::{ClientIdentity, IdentityError};
pub use self::inspect::{Fault, Inspected, inspect};

/// Why no trust could be built.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The added file cannot be read.
    #[error("cannot read certificates from {path}: {reason}; `ca_file` must be a PEM file of certificates")]
    CaFile {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// Nothing to trust at all.
    #[error("the system has no trusted certificates{reason}; install the package ca-certificates, or set `ca_file`")]
    NoRoots {
        /// Why.
        reason: String,
    },
    /// The library refuses its own defaults.
    #[error("TLS cannot be set up: {0}")]
    Setup(#[from] rustls::Error),
}

/// A client that trusts the system's certificates and those of `ca_file`, and speaks to nobody whose certificate these do
/// not vouch for.
///
/// # Errors
/// When there is nothing to trust, or the file cannot be read.
pub fn client_config(ca_file: Option<&Path>) -> Result<Arc<ClientConfig>, TlsError> {
    client_config_with(ca_file, None)
}

/// The same, and where a client certificate is given, it proves who we are.
///
/// # Errors
/// As of [`client_config`].
pub fn client_config_with(
    ca_file: Option<&Path>,
    identity: Option<&Arc<ClientIdentity>>,
) -> Result<Arc<ClientConfig>, TlsError> {
    let roots = roots(ca_file)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots);
    Ok(Arc::new(match identity {
        Some(identity) => config.with_client_cert_resolver(Arc::clone(identity) as _),
        None => config.with_no_client_auth(),
    }))
}

/// The certificates of authorities: the system's, and those of `ca_file`.
fn roots(ca_file: Option<&Path>) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    let native = rustls_native_certs::load_native_certs();
    // A bad certificate among the system's is skipped: the others still serve.
    let (_, _) = roots.add_parsable_certificates(native.certs);
    if let Some(path) = ca_file {
        let unreadable = |reason: String| TlsError::CaFile { path: path.to_owned(), reason };
        let mut added = 0;
        for certificate in CertificateDer::pem_file_iter(path).map_err(|error| unreadable(error.to_string()))? {
            let certificate = certificate.map_err(|error| unreadable(error.to_string()))?;
            roots.add(certificate).map_err(|error| unreadable(error.to_string()))?;
            added += 1;
        }
        if added == 0 {
            return Err(unreadable("it holds no certificate".into()));
        }
    }
    if roots.is_empty() {
        let reason = native.errors.first().map_or_else(String::new, |error| format!(" ({error})"));
        return Err(TlsError::NoRoots { reason });
    }
    Ok(roots)
}
