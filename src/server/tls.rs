//! TLS of the server: a certificate that is looked at again when its file changes.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::server::{ClientHello, ResolvesServerCert};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{self, ServerConfig};

use crate::config::{ServerSettings, ServerTlsSettings};
use crate::tls::{ClientIdentity, IdentityError};

/// How often the files are looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Why TLS cannot be spoken.
#[derive(Debug, thiserror::Error)]
pub enum ServerTlsError {
    /// The certificate or its key.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The library refuses its own defaults.
    #[error("TLS cannot be set up: {0}")]
    Setup(#[from] rustls::Error),
}

/// The server's certificate.
struct Renewing {
    identity: ClientIdentity,
    files: [PathBuf; 2],
    looked: Mutex<Looked>,
}

struct Looked {
    at: Instant,
    stamps: [Option<(SystemTime, u64)>; 2],
}

impl std::fmt::Debug for Renewing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Renewing").field("files", &self.files).finish_non_exhaustive()
    }
}

fn stamp(path: &Path) -> Option<(SystemTime, u64)> {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}

impl Renewing {
    fn stamps(files: &[PathBuf; 2]) -> [Option<(SystemTime, u64)>; 2] {
        [stamp(&files[0]), stamp(&files[1])]
    }

    fn look(&self) {
        let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        if looked.at.elapsed() < LOOK_INTERVAL {
            return;
        }
        looked.at = Instant::now();
        let stamps = Self::stamps(&self.files);
        if stamps == looked.stamps {
            return;
        }
        match self.identity.refresh() {
            // Files that do not fit each other yet are looked at again: one of them is being replaced.
            Err(error @ IdentityError::Time { .. }) => {
                looked.stamps = stamps;
                tracing::error!("`server.tls`: {error}");
            }
            Err(error) => tracing::error!("`server.tls`: the certificate stays as it was: {error}"),
            Ok(()) => {
                looked.stamps = stamps;
                tracing::info!("the certificate of `server.tls` was read again");
            }
        }
    }
}

impl ResolvesServerCert for Renewing {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.look();
        self.identity.resolve(hello)
    }
}

/// What speaks TLS with clients; none where it is not set.
pub(super) fn acceptor(settings: &ServerTlsSettings) -> Result<Option<TlsAcceptor>, ServerTlsError> {
    let (Some(certificate), Some(key)) = (&settings.certificate, &settings.key) else { return Ok(None) };
    let files = [certificate.clone(), key.clone()];
    let looked = Mutex::new(Looked { at: Instant::now(), stamps: Renewing::stamps(&files) });
    let identity = ClientIdentity::read(certificate.clone(), key.clone())?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(Renewing { identity, files, looked }));
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Some(TlsAcceptor::from(Arc::new(config))))
}

/// Says whether the certificate of the settings can be used.
///
/// # Errors
/// When it cannot.
pub fn check_tls(settings: &ServerSettings) -> Result<(), super::ServerError> {
    acceptor(&settings.tls)?;
    Ok(())
}
