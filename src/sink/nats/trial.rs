//! Whether the sink could publish: the server, JetStream, and the stream where it is there already.

use super::{NatsStore, pipeline, stream};
use crate::sink::{StoreError, Trial};

impl NatsStore {
    /// Connects, and asks for the account and the stream. Nothing is made or published.
    pub(in crate::sink) async fn try_out(&self) -> Result<Trial, StoreError> {
        let connection = self.access.connect(pipeline::ACKS_MAX).await?;
        let context = async_nats::jetstream::new(connection.client.clone());
        let account = connection.ask(context.query_account()).await?;
        account.map_err(|error| stream::unanswered(&connection, &error))?;
        let found = self.target.look(&connection, &context).await?;
        let version = connection.client.server_info().version.clone();
        Ok(Trial::Nats { version, messages: found.map(|found| found.last_sequence) })
    }
}
