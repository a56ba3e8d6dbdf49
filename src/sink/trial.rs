//! What can be told of a sink's store without it: whether it could be written to, and nothing is left behind.

use super::any_store::AnyStore;
use super::store::StoreError;

/// What was found of a store that could be reached, and would take what the sink writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trial {
    /// A database.
    Postgres {
        /// Of the server.
        version: String,
        /// Whether the connection is encrypted.
        encrypted: bool,
        /// Tables and columns that the sink would make, and may.
        to_make: usize,
    },
    /// A message broker.
    Nats {
        /// Of the server.
        version: String,
        /// Messages in the sink's stream; none where there is no such stream yet.
        messages: Option<u64>,
    },
    /// Files, of which a look at their folder tells all there is.
    Files,
}

impl AnyStore {
    /// Looks whether the store is there and the sink has the rights that it needs.
    ///
    /// # Errors
    /// What a sink at its start would say of it.
    pub async fn try_out(&self) -> Result<Trial, StoreError> {
        match self {
            Self::Postgres(store) => store.try_out().await,
            Self::Nats(store) => store.try_out().await,
            Self::Sqlite(_) | Self::Jsonl(_) => Ok(Trial::Files),
        }
    }
}
