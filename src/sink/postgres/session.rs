//! A connection on loan from the pool. It goes back only when it is said to be in order; lost in any other way, a future that was
//! dropped included, it is closed, so that nobody finds another's open transaction in it.

use deadpool_postgres::{ClientWrapper, Object, Pool};

use super::failure::Failure;

/// A connection on loan.
pub(super) struct Session {
    client: Option<Object>,
}

impl Session {
    /// Waits for one, or makes one, no longer than the pool says.
    pub(super) async fn of(pool: &Pool) -> Result<Self, Failure> {
        Ok(Self { client: Some(pool.get().await?) })
    }

    pub(super) fn client(&self) -> &ClientWrapper {
        self.client.as_ref().expect("it is taken out only by those who consume the session")
    }

    /// No transaction is open in it, and no answer outstanding.
    pub(super) fn give_back(mut self) {
        drop(self.client.take());
    }

    /// After an error: ends what transaction there is, and gives the connection back if it is `usable`.
    pub(super) async fn settle(self, usable: bool) {
        if usable && self.client().batch_execute("ROLLBACK").await.is_ok() {
            self.give_back();
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Some(client) = self.client.take() {
            drop(Object::take(client));
        }
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").finish_non_exhaustive()
    }
}
