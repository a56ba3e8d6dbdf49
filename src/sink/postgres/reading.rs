//! What the tables hold, for `verify` and for people.

use std::ops::Range;
use std::pin::pin;
use std::time::Duration;

use futures_util::TryStreamExt as _;
use tokio_postgres::Client;
use tokio_postgres::binary_copy::BinaryCopyOutStream;
use tokio_postgres::types::{FromSql, Type};

use super::super::batch::Parked;
use super::super::store::{Opening, StoredPayload, StoredRow};
use super::cursor;
use super::failure::Failure;
use super::row::EPOCH_MICROS;
use super::table::Names;
use crate::clock::UnixNanos;
use crate::journal::{JournalId, Offset, payload_of_text};

/// A `timestamptz` as it is sent: microseconds since 2000-01-01.
pub(super) struct Micros(pub(super) i64);

impl<'a> FromSql<'a> for Micros {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Self(i64::from_be_bytes(raw.try_into()?)))
    }

    fn accepts(kind: &Type) -> bool {
        *kind == Type::TIMESTAMPTZ
    }
}

/// A payload as it is sent, `text` or `jsonb`.
struct Payload<'a>(StoredPayload<'a>);

impl<'a> FromSql<'a> for Payload<'a> {
    fn from_sql(kind: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Self(match raw {
            // Behind the version of its form.
            [_, text @ ..] if *kind == Type::JSONB => StoredPayload::Json(text),
            _ => StoredPayload::Raw(raw),
        }))
    }

    fn accepts(kind: &Type) -> bool {
        *kind == Type::TEXT || *kind == Type::JSONB
    }
}

/// The journals whose rows are of this one, each with the offset from which on they are no longer.
fn journals(opening: &Opening) -> impl Iterator<Item = (JournalId, Offset)> {
    let ancestors = opening.ancestors.iter().map(|ancestor| (ancestor.journal, ancestor.end));
    std::iter::once((opening.journal, Offset(i64::MAX.cast_unsigned()))).chain(ancestors)
}

/// Gives the rows of a span in the order of offsets. Rows are read as the server finds them: no more than a few are in
/// memory, however long the span.
pub(super) async fn read_back(
    client: &Client,
    (names, jsonb): (&Names, bool),
    opening: &Opening,
    span: Range<Offset>,
    patience: Duration,
    take: &mut (dyn FnMut(StoredRow<'_>) + Send),
) -> Result<(), Failure> {
    // Each journal's rows come out of the key in order; the server merges them.
    let parts: Vec<String> = journals(opening)
        .map(|(journal, end)| {
            format!(
                "(SELECT \"offset\" AS number, monitor, received_time, payload FROM {} WHERE journal = '{journal}' \
                 AND \"offset\" >= {} AND \"offset\" < {} ORDER BY \"offset\")",
                names.events(),
                cursor::number(span.start),
                cursor::number(span.end.min(end)),
            )
        })
        .collect();
    let copy = format!(
        "COPY (SELECT * FROM ({}) AS held ORDER BY number) TO STDOUT (FORMAT binary)",
        parts.join(" UNION ALL ")
    );
    // A long look may take its time; what is bounded is the wait for each row.
    client.batch_execute("BEGIN READ ONLY; SET LOCAL statement_timeout = 0").await?;
    let types = [Type::INT8, Type::TEXT, Type::TIMESTAMPTZ, if jsonb { Type::JSONB } else { Type::TEXT }];
    let mut rows = pin!(BinaryCopyOutStream::new(client.copy_out(&copy).await?, &types));
    while let Some(row) = within(patience, rows.try_next()).await? {
        let Micros(received) = row.try_get(2)?;
        let Payload(payload) = row.try_get(3)?;
        let (StoredPayload::Raw(text) | StoredPayload::Json(text)) = payload;
        // What was no text when it came is what it was again.
        let bytes = payload_of_text(text);
        let payload = bytes.as_deref().map_or(payload, StoredPayload::Raw);
        take(StoredRow {
            offset: cursor::offset(row.try_get(0)?),
            monitor: row.try_get(1)?,
            received: UnixNanos(received.saturating_add(EPOCH_MICROS).saturating_mul(1000)),
            payload,
        });
    }
    client.batch_execute("COMMIT").await?;
    Ok(())
}

/// Rows that were put aside, the oldest first.
pub(super) async fn parked(
    client: &Client,
    names: &Names,
    opening: &Opening,
    limit: usize,
) -> Result<Vec<Parked>, Failure> {
    let (ids, ends): (Vec<uuid::Uuid>, Vec<i64>) =
        journals(opening).map(|(journal, end)| (journal.0, cursor::number(end))).unzip();
    let select = format!(
        "SELECT p.\"offset\", p.monitor, p.domain, to_char(p.parked_time AT TIME ZONE 'UTC', \
         'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'), p.reason, p.payload \
         FROM {} p JOIN unnest($2::uuid[], $3::bigint[]) AS j (journal, until) \
         ON p.journal = j.journal AND p.\"offset\" < j.until WHERE p.sink = $1 ORDER BY p.\"offset\" LIMIT $4",
        names.parked()
    );
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let rows = client.query(&select, &[&opening.sink.as_ref(), &ids, &ends, &limit]).await?;
    Ok(rows
        .iter()
        .map(|row| Parked {
            offset: cursor::offset(row.get(0)).0,
            monitor: row.get(1),
            domain: row.get(2),
            parked_time: row.get(3),
            reason: row.get(4),
            payload: String::from_utf8_lossy(row.get(5)).into_owned(),
        })
        .collect())
}

async fn within<T>(
    patience: Duration,
    answer: impl Future<Output = Result<T, tokio_postgres::Error>>,
) -> Result<T, Failure> {
    match tokio::time::timeout(patience, answer).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(Failure::Silent),
    }
}
