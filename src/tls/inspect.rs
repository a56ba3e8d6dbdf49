//! A server's certificate as a connection would find it, looked at without speaking to the server.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::client::WebPkiServerVerifier;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, SignatureScheme};

use super::validity::Validity;
use super::{ClientIdentity, roots};
use crate::clock::UnixNanos;

/// What a server showed of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspected {
    /// When its certificate ends; none where that cannot be read.
    pub until: Option<UnixNanos>,
    /// Certificates it sent, its own among them.
    pub chain: usize,
    /// Why we would not speak to it, in words; none where we would.
    pub fault: Option<Fault>,
}

/// Why a certificate is not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// Its time is over.
    Expired,
    /// Its time has not come.
    NotYet,
    /// It is of another host.
    Name,
    /// Nobody that we trust vouches for it.
    Unknown,
    /// Anything else, as the library says it.
    Other(String),
}

impl Fault {
    fn of(error: &Error) -> Self {
        match error {
            Error::InvalidCertificate(reason) => match reason {
                CertificateError::Expired | CertificateError::ExpiredContext { .. } => Self::Expired,
                CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => Self::NotYet,
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => Self::Name,
                CertificateError::UnknownIssuer => Self::Unknown,
                other => Self::Other(other.to_string()),
            },
            other => Self::Other(other.to_string()),
        }
    }
}

/// Begins TLS over a stream, notes what the server shows, and closes: whatever the certificate is, nothing is said over it.
///
/// # Errors
/// When no handshake comes about, for a reason other than the certificate; also where there is nothing to trust.
pub async fn inspect(
    stream: TcpStream,
    host: &str,
    ca_file: Option<&Path>,
    identity: Option<&Arc<ClientIdentity>>,
) -> io::Result<Inspected> {
    let provider = Arc::new(default_provider());
    let roots = roots(ca_file).map_err(io::Error::other)?;
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
    let onlooker = Arc::new(Onlooker { verifier: verifier.build().map_err(io::Error::other)?, seen: Mutex::default() });
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::clone(&onlooker) as _);
    let config = match identity {
        Some(identity) => config.with_client_cert_resolver(Arc::clone(identity) as _),
        None => config.with_no_client_auth(),
    };
    let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    let shaken = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
    let seen = onlooker.seen.lock().unwrap_or_else(PoisonError::into_inner).take();
    match (seen, shaken) {
        // Where the certificate is at fault it does not matter what else is.
        (Some(seen), _) if seen.fault.is_some() => Ok(seen),
        (Some(seen), Ok(_)) => Ok(seen),
        (_, Err(error)) => Err(error),
        (None, Ok(_)) => Err(io::Error::other("the server showed no certificate")),
    }
}

/// Judges as every connection of ours does, and goes on whatever the judgement is.
#[derive(Debug)]
struct Onlooker {
    verifier: Arc<WebPkiServerVerifier>,
    seen: Mutex<Option<Inspected>>,
}

impl ServerCertVerifier for Onlooker {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let judged = self.verifier.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        let seen = Inspected {
            until: Validity::of(end_entity).map(|validity| validity.until),
            chain: intermediates.len() + 1,
            fault: judged.err().as_ref().map(Fault::of),
        };
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(seen);
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}
