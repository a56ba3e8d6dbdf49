//! The WebSocket handshake.

use tokio_tungstenite::tungstenite;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::{HeaderName, HeaderValue};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

use super::error::refusal;
use super::stream::ByteStream;
use super::{ConnectError, Connector};
use crate::credentials::Dressed;
use crate::dialect::Opening;
use crate::upstream::wire::Socket;

/// Bytes read from a socket at once. Source: measured; the library zeroes the buffer before each read, so that larger
/// ones cost more on slow feeds than they save on fast ones.
const READ_BUFFER_BYTES: usize = 64 << 10;

/// Bytes that may wait to be sent. What we say is short; a peer that does not take this much is not reading.
const WRITE_BUFFER_BYTES_MAX: usize = 1 << 20;

impl Connector {
    /// Asks for the upgrade.
    pub(super) async fn upgrade(
        &self,
        stream: ByteStream,
        opening: &Opening,
        dressed: Dressed,
    ) -> Result<Socket, ConnectError> {
        let address = self.address();
        let foreign = |source| ConnectError::Handshake { address: address.clone(), source: Box::new(source) };
        let mut request = dressed.url.as_str().into_client_request().map_err(foreign)?;
        for (name, value) in self.headers.iter().chain(&opening.headers) {
            let name: HeaderName =
                name.parse().map_err(|error| foreign(tungstenite::http::Error::from(error).into()))?;
            let value: HeaderValue =
                value.parse().map_err(|error| foreign(tungstenite::http::Error::from(error).into()))?;
            request.headers_mut().insert(name, value);
        }
        request.headers_mut().extend(dressed.headers);
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER_BYTES)
            .max_write_buffer_size(WRITE_BUFFER_BYTES_MAX)
            .max_message_size(Some(self.message_bytes_max))
            .max_frame_size(Some(self.message_bytes_max));
        let (socket, _) = tokio_tungstenite::client_async_with_config(request, stream, Some(config))
            .await
            .map_err(|error| refusal(&address, error))?;
        Ok(socket)
    }
}
