//! How far a sink is: one row of `sluice_cursors`, moved in the transaction of the rows.

use tokio_postgres::Client;
use uuid::Uuid;

use super::super::store::{Opening, Purpose, StoreError};
use super::address::ServerName;
use super::failure::Failure;
use super::table::Names;
use crate::journal::{JournalId, Offset};

/// The name under which the cursor is kept. A sink's name has no spaces, so that none is taken for a replay of another.
pub(super) fn key(opening: &Opening) -> String {
    match &opening.purpose {
        Purpose::Live | Purpose::Inspect => opening.sink.to_string(),
        Purpose::Replay { id, .. } => format!("{} replay {id}", opening.sink),
    }
}

/// An offset as the server keeps it.
pub(super) fn number(offset: Offset) -> i64 {
    i64::try_from(offset.0).unwrap_or(i64::MAX)
}

/// The offset that a number of the server's means; none of ours is negative.
pub(super) fn offset(number: i64) -> Offset {
    Offset(u64::try_from(number).unwrap_or(0))
}

/// The cursor, or none where there is none yet. That of an ancestor is taken over, unless `opening` only looks.
pub(super) async fn find(
    client: &Client,
    names: &Names,
    opening: &Opening,
    server: &ServerName,
) -> Result<Option<Offset>, Failure> {
    let looks_only = opening.purpose == Purpose::Inspect;
    // Waits for a transaction that an earlier connection of ours may have left under way: either it is committed by then, or it
    // never will be.
    let lock = if looks_only { "" } else { " FOR UPDATE" };
    let select = format!("SELECT journal, next FROM {} WHERE sink = $1{lock}", names.cursors());
    let key = key(opening);
    let Some(row) = client.query_opt(&select, &[&key]).await? else { return Ok(None) };
    let (journal, next): (Uuid, i64) = (row.get(0), row.get(1));
    if journal == opening.journal.0 {
        return Ok(Some(offset(next)));
    }
    let Some(ancestor) = opening.ancestors.iter().find(|ancestor| ancestor.journal.0 == journal) else {
        if opening.anew && !looks_only {
            // A person has read what `foreign` says, and decided. The other journal's rows stay.
            let delete = format!("DELETE FROM {} WHERE sink = $1 AND journal = $2 AND next = $3", names.cursors());
            client.execute(&delete, &[&key, &journal, &next]).await?;
            tracing::warn!(sink = key, %journal, next, "forgot the cursor of a foreign journal, as told");
            return Ok(None);
        }
        return Err(foreign(&key, JournalId(journal), offset(next), names, opening, server).into());
    };
    let taken = offset(next).min(ancestor.end);
    if looks_only {
        return Ok(Some(taken));
    }
    let update = format!(
        "UPDATE {} SET journal = $1, next = $2, updated_at = now() WHERE sink = $3 AND journal = $4 AND next = $5",
        names.cursors()
    );
    let moved = client.execute(&update, &[&opening.journal.0, &number(taken), &key, &journal, &next]).await?;
    if moved == 0 {
        return Err(StoreError::Moved(format!("the cursor of `{key}` was moved while it was taken over")).into());
    }
    tracing::info!(
        sink = key,
        from = %ancestor.journal,
        was = next,
        now = taken.0,
        "took over the cursor of the journal that this one was restored from"
    );
    if offset(next) > taken {
        tracing::warn!(
            sink = key,
            "the store has events {taken} to {next} of journal {}, which the restored one does not: they stay in it under \
             that journal's UUID",
            ancestor.journal
        );
    }
    Ok(Some(taken))
}

fn foreign(
    key: &str,
    journal: JournalId,
    next: Offset,
    names: &Names,
    opening: &Opening,
    server: &ServerName,
) -> StoreError {
    StoreError::Stop(format!(
        "at {server} the sink `{key}` stands at offset {next} of the journal {journal}; this journal is {}, and was not restored \
         from that one. If another daemon writes there, give this sink another name. If that journal is gone for good, run \
         DELETE FROM {} WHERE sink = '{}'; its rows may stay, under their own journal, or be deleted with DELETE FROM {} \
         WHERE journal = '{journal}'",
        opening.journal,
        names.cursors(),
        key.replace('\'', "''"),
        names.events(),
    ))
}
