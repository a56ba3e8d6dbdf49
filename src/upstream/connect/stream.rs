//! The bytes under a connection: name, TCP, TLS.

use std::io;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_util::either::Either;

use super::{ConnectError, Connector};

/// A connected stream, in the clear or not.
pub(in crate::upstream) type ByteStream = Either<TcpStream, TlsStream<TcpStream>>;

impl Connector {
    /// Connects to the upstream's host, without TLS.
    pub(super) async fn reach(&self) -> Result<TcpStream, ConnectError> {
        let address = self.address();
        let late =
            ConnectError::Timeout { address: address.clone(), what: "the TCP connection", limit: self.connect_timeout };
        let tcp = timeout(self.connect_timeout, TcpStream::connect(address.as_str()))
            .await
            .map_err(|_| late)?
            .map_err(|source| ConnectError::Tcp { address, source })?;
        // Subscriptions and pongs are small and wanted at once. A refusal leaves a working connection.
        tcp.set_nodelay(true).ok();
        Ok(tcp)
    }

    /// Puts TLS around it, where the address says so.
    pub(super) async fn secure(&self, tcp: TcpStream) -> Result<ByteStream, ConnectError> {
        let Some(config) = &self.tls else { return Ok(Either::Left(tcp)) };
        let tls = |source| ConnectError::Tls { address: self.address(), source };
        let host = self.endpoint.reveal().host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let name = ServerName::try_from(host).map_err(|error| tls(io::Error::other(error)))?;
        Ok(Either::Right(TlsConnector::from(Arc::clone(config)).connect(name, tcp).await.map_err(tls)?))
    }
}
