//! The bytes under a connection: name, TCP, TLS.

use std::io;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_util::either::Either;

use super::error::certificate_hint;
use super::{ConnectError, Connector};
use crate::proxy::Proxy;

/// A connected stream, in the clear or not.
pub(in crate::upstream) type ByteStream = Either<TcpStream, TlsStream<TcpStream>>;

impl Connector {
    /// Connects to the upstream's host, without TLS, through the proxy where there is one.
    pub(super) async fn reach(&self, proxy: Option<&Proxy>) -> Result<TcpStream, ConnectError> {
        let address = self.address();
        let limit = self.connect_timeout;
        let late = match proxy {
            None => ConnectError::Timeout { address: address.clone(), what: "the TCP connection", limit },
            Some(proxy) => {
                let silent = io::Error::new(io::ErrorKind::TimedOut, format!("it did not answer within {limit:?}"));
                ConnectError::Proxy { proxy: proxy.to_string(), address: address.clone(), source: silent.into() }
            }
        };
        let connected = async {
            let Some(proxy) = proxy else {
                return TcpStream::connect(address.as_str())
                    .await
                    .map_err(|source| ConnectError::Tcp { address: address.clone(), source });
            };
            let url = self.endpoint.reveal();
            let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
            let connected = proxy.connect(host, url.port_or_known_default().unwrap_or_default()).await;
            let (proxy, address) = (proxy.to_string(), address.clone());
            connected.map_err(|source| ConnectError::Proxy { proxy, address, source })
        };
        let tcp = timeout(self.connect_timeout, connected).await.map_err(|_| late)??;
        // Subscriptions and pongs are small and wanted at once. A refusal leaves a working connection.
        tcp.set_nodelay(true).ok();
        Ok(tcp)
    }

    /// Puts TLS around it, where the address says so.
    pub(super) async fn secure(&self, tcp: TcpStream) -> Result<ByteStream, ConnectError> {
        let Some(config) = &self.tls else { return Ok(Either::Left(tcp)) };
        let tls = |source| ConnectError::Tls { hint: certificate_hint(&source), address: self.address(), source };
        let host = self.endpoint.reveal().host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let name = ServerName::try_from(host).map_err(|error| tls(io::Error::other(error)))?;
        Ok(Either::Right(TlsConnector::from(Arc::clone(config)).connect(name, tcp).await.map_err(tls)?))
    }
}
