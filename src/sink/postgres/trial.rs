//! Whether the sink could make its tables and write to them: tried in a transaction that is taken back.

use std::time::Duration;

use tokio_postgres::Client;

use super::super::store::StoreError;
use super::failure::Failure;
use super::schema;
use super::session::Session;
use super::{PostgresStore, TableSetting};
use crate::sink::Trial;
use crate::sink::postgres::table::Column;

/// The longest a lock on a table that others use is waited for: nobody is held up by a trial.
const LOCK_TIMEOUT: Duration = Duration::from_millis(500);

/// What the sink does to its tables.
const RIGHTS: [&str; 4] = ["SELECT", "INSERT", "UPDATE", "DELETE"];

impl PostgresStore {
    /// Connects, makes what is missing, asks for the rights on it, and takes all of it back.
    pub(in crate::sink) async fn try_out(&self) -> Result<Trial, StoreError> {
        let tried = async {
            let session = Session::of(&self.pool).await?;
            let tried = try_tables(session.client(), &self.table, &self.columns).await;
            // Whatever came of it: nothing stays.
            let usable = tried.as_ref().err().is_none_or(Failure::leaves_the_session);
            session.settle(usable).await;
            tried
        };
        let tried = self.within(tried).await;
        tried.map_err(|failure: Failure| failure.meaning(&self.server, &self.doing("make, and write to")))
    }
}

async fn try_tables(client: &Client, table: &TableSetting, columns: &[Column]) -> Result<Trial, Failure> {
    let row = client
        .query_one(
            "SELECT current_setting('server_version'), \
             coalesce((SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()), false)",
            &[],
        )
        .await?;
    let (version, encrypted) = (row.get(0), row.get(1));
    client.batch_execute(&format!("BEGIN; SET LOCAL lock_timeout = {}", LOCK_TIMEOUT.as_millis())).await?;
    let (names, to_make) = schema::make(client, table, columns).await?;
    for made in [names.events(), names.cursors(), names.parked()] {
        for right in RIGHTS {
            let row = client.query_one("SELECT has_table_privilege($1, $2)", &[&made, &right]).await?;
            if !row.get::<_, bool>(0) {
                let reason =
                    format!("the role may not {right} on {made}; run GRANT {} ON {made} TO it", RIGHTS.join(", "));
                return Err(StoreError::Stop(reason).into());
            }
        }
    }
    Ok(Trial::Postgres { version, encrypted, to_make })
}
