//! The tables in the database: found, checked, created, given the columns of newly declared fields.
//!
//! What is missing is made. What is there in another form is left alone: a person is told the SQL that mends it.

use std::collections::HashMap;

use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Row};

use super::super::store::StoreError;
use super::failure::Failure;
use super::table::{Column, Names, TableSetting, quote};

/// Held while tables are made, so that two sinks do not make the same one. The number is `sluice` in ASCII.
const MAKING_LOCK: i64 = 0x73_6c_75_69_63_65;

/// The tables, ready to be written to.
#[derive(Debug, Clone)]
pub(super) struct Tables {
    pub(super) names: Names,
    /// The events' table.
    pub(super) oid: u32,
}

/// Finds the tables, makes what is missing, checks the rest.
pub(super) async fn ready(client: &Client, setting: &TableSetting, columns: &[Column]) -> Result<Tables, Failure> {
    check_server(client).await?;
    let mut survey = Survey::of(client, setting, columns).await?;
    if !survey.missing.is_empty() {
        client.batch_execute("BEGIN").await?;
        client.execute("SELECT pg_advisory_xact_lock($1)", &[&MAKING_LOCK]).await?;
        // Somebody else may just have made it.
        survey = Survey::of(client, setting, columns).await?;
        for statement in &survey.missing {
            if let Err(error) = client.batch_execute(statement).await {
                return Err(not_made(error, &survey.missing));
            }
            tracing::info!("PostgreSQL: {}", statement.split(" (").next().unwrap_or(statement));
        }
        client.batch_execute("COMMIT").await?;
        survey = Survey::of(client, setting, columns).await?;
    }
    match survey.oid {
        Some(oid) if survey.missing.is_empty() => Ok(Tables { names: survey.names, oid }),
        _ => Err(StoreError::Unavailable(format!("the tables beside {} do not stay", survey.names.shown())).into()),
    }
}

/// Makes what is missing inside of the caller's transaction: the names of all, and how much was made.
pub(super) async fn make(
    client: &Client,
    setting: &TableSetting,
    columns: &[Column],
) -> Result<(Names, usize), Failure> {
    check_server(client).await?;
    let Survey { names, missing, .. } = Survey::of(client, setting, columns).await?;
    for statement in &missing {
        if let Err(error) = client.batch_execute(statement).await {
            return Err(not_made(error, &missing));
        }
    }
    Ok((names, missing.len()))
}

/// The events' table where there is one: its names, and whether its payload is `jsonb`.
pub(super) async fn find(client: &Client, setting: &TableSetting) -> Result<Option<(Names, bool)>, Failure> {
    let Some(found) = relation(client, &setting.quoted()).await? else { return Ok(None) };
    let jsonb = client
        .query_opt(
            "SELECT atttypid = 'jsonb'::regtype FROM pg_attribute \
             WHERE attrelid = $1 AND attname = 'payload' AND NOT attisdropped",
            &[&found.oid],
        )
        .await?;
    Ok(jsonb.map(|row| (found.names, row.get(0))))
}

/// Whether a table is there.
pub(super) async fn exists(client: &Client, quoted: &str) -> Result<bool, Failure> {
    Ok(client.query_one("SELECT to_regclass($1) IS NOT NULL", &[&quoted]).await?.get(0))
}

async fn check_server(client: &Client) -> Result<(), Failure> {
    let row = client.query_one("SELECT pg_is_in_recovery(), current_setting('server_encoding')", &[]).await?;
    if row.get(0) {
        return Err(StoreError::Unavailable("the server is a standby, which takes no writes".into()).into());
    }
    let encoding: &str = row.get(1);
    if !["UTF8", "SQL_ASCII"].contains(&encoding) {
        let reason = format!(
            "the database's encoding is {encoding}, which cannot hold every event; create one with ENCODING 'UTF8' \
             TEMPLATE template0"
        );
        return Err(StoreError::Stop(reason).into());
    }
    Ok(())
}

struct Relation {
    names: Names,
    oid: u32,
    kind: String,
}

async fn relation(client: &Client, quoted: &str) -> Result<Option<Relation>, Failure> {
    let row = client
        .query_opt(
            "SELECT n.nspname::text, c.relname::text, c.oid, c.relkind::text \
             FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = to_regclass($1)",
            &[&quoted],
        )
        .await?;
    Ok(row.map(|row| Relation {
        names: Names { schema: row.get(0), table: row.get(1) },
        oid: row.get(2),
        kind: row.get(3),
    }))
}

/// What is there, and the statements that make what is not.
struct Survey {
    names: Names,
    oid: Option<u32>,
    missing: Vec<String>,
}

impl Survey {
    async fn of(client: &Client, setting: &TableSetting, columns: &[Column]) -> Result<Self, Failure> {
        let mut missing = Vec::new();
        let (names, oid) = if let Some(found) = relation(client, &setting.quoted()).await? {
            missing = check(client, &found, columns).await?;
            (found.names, Some(found.oid))
        } else {
            let names = Names { schema: schema_for(client, setting).await?, table: setting.table.clone() };
            missing.push(names.create_events(columns));
            (names, None)
        };
        for (table, statement) in [(names.cursors(), names.create_cursors()), (names.parked(), names.create_parked())] {
            if !exists(client, &table).await? {
                missing.push(statement);
            }
        }
        Ok(Self { names, oid, missing })
    }
}

/// Where a table that is not there yet will be.
async fn schema_for(client: &Client, setting: &TableSetting) -> Result<String, Failure> {
    if let Some(schema) = &setting.schema {
        return Ok(schema.clone());
    }
    let schema: Option<String> = client.query_one("SELECT current_schema()::text", &[]).await?.get(0);
    schema.ok_or_else(|| {
        let reason = "the role's search_path names no schema that exists; write `table = \"SCHEMA.TABLE\"`";
        StoreError::Stop(reason.into()).into()
    })
}

/// A column as it is.
struct Present {
    kind: String,
    required: bool,
    filled: bool,
    generated: bool,
}

/// The statements that add the columns of declared fields.
async fn check(client: &Client, found: &Relation, columns: &[Column]) -> Result<Vec<String>, Failure> {
    let names = &found.names;
    let stop = |reason: String| Err(Failure::from(StoreError::Stop(format!("the table {} {reason}", names.shown()))));
    // Ordinary and partitioned tables.
    if found.kind != "r" && found.kind != "p" {
        return stop("is a view or another thing that cannot be copied into; give the sink a table of its own".into());
    }
    let rows = client
        .query(
            "SELECT attname::text, format_type(atttypid, atttypmod), attnotnull, atthasdef OR attidentity <> '', \
             attgenerated <> '' FROM pg_attribute WHERE attrelid = $1 AND attnum > 0 AND NOT attisdropped",
            &[&found.oid],
        )
        .await?;
    let present: HashMap<String, Present> = rows.iter().map(present).collect();

    let mut missing = Vec::new();
    for column in columns {
        match present.get(&column.name) {
            None if column.field => missing.push(names.add_column(column)),
            None => {
                return stop(format!(
                    "has no column {}; if it is the sink's: {}; else give the sink another `table`",
                    quote(&column.name),
                    names.add_column(column)
                ));
            }
            Some(there) if there.generated => {
                return stop(format!(
                    "computes its column {} itself; give the sink another `table`",
                    quote(&column.name)
                ));
            }
            Some(there) if !column.accepts(&there.kind) => {
                let name = quote(&column.name);
                let setting = match (column.name.as_str(), column.field) {
                    ("payload", _) => ", or set the sink's `payload`",
                    (_, true) => ", or set the field's `type`",
                    _ => "",
                };
                return stop(format!(
                    "has its column {name} as {}, not {}; run ALTER TABLE {} ALTER COLUMN {name} TYPE {} USING {name}::{}{setting}",
                    there.kind,
                    column.kind,
                    names.events(),
                    column.kind,
                    column.kind
                ));
            }
            Some(_) => {}
        }
    }
    let strange = present.iter().find(|(name, there)| {
        there.required && !there.filled && !there.generated && !columns.iter().any(|column| column.name == **name)
    });
    if let Some((name, _)) = strange {
        let name = quote(name);
        return stop(format!(
            "has a column {name} that must not be NULL and that nobody fills, so that it would refuse every row; run ALTER \
             TABLE {} ALTER COLUMN {name} DROP NOT NULL, or give it a default",
            names.events()
        ));
    }
    if !has_key(client, found.oid).await? {
        return stop(format!(
            "has no primary or unique key of just (journal, \"offset\"), without which an event could be there twice; \
             run ALTER TABLE {} ADD UNIQUE (journal, \"offset\")",
            names.events()
        ));
    }
    Ok(missing)
}

fn present(row: &Row) -> (String, Present) {
    (row.get(0), Present { kind: row.get(1), required: row.get(2), filled: row.get(3), generated: row.get(4) })
}

async fn has_key(client: &Client, oid: u32) -> Result<bool, Failure> {
    let row = client
        .query_one(
            "SELECT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = $1 AND i.indisunique AND i.indisvalid \
             AND i.indimmediate AND i.indpred IS NULL AND i.indnkeyatts = 2 \
             AND (SELECT count(*) FROM pg_attribute a WHERE a.attrelid = $1 \
                  AND a.attnum IN (i.indkey[0], i.indkey[1]) AND a.attname IN ('journal', 'offset')) = 2)",
            &[&oid],
        )
        .await?;
    Ok(row.get(0))
}

/// Why tables could not be made, with what somebody who may has to run.
fn not_made(error: tokio_postgres::Error, statements: &[String]) -> Failure {
    let lacking = [SqlState::INSUFFICIENT_PRIVILEGE, SqlState::INVALID_SCHEMA_NAME, SqlState::UNDEFINED_OBJECT];
    match error.as_db_error() {
        Some(said) if lacking.contains(said.code()) => {
            let reason = format!(
                "the sink's tables cannot be made: {}; let somebody who may run: {};",
                said.message(),
                statements.join("; ")
            );
            StoreError::Stop(reason).into()
        }
        // Somebody else made it at the same moment, without our lock.
        Some(said) if [SqlState::DUPLICATE_TABLE, SqlState::UNIQUE_VIOLATION].contains(said.code()) => {
            StoreError::Unavailable(format!("the sink's tables were just made by somebody else: {}", said.message()))
                .into()
        }
        _ => error.into(),
    }
}
