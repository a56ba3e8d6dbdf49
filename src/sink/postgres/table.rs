//! The form of the table that events go to, and of the two beside it.

use super::super::store::StoreError;
use super::field::FieldColumn;
use crate::config::PayloadType;

/// The cursors' table, in the schema of the events'.
const CURSORS: &str = "sluice_cursors";
/// The table of rows that were put aside.
const PARKED: &str = "sluice_parked";

/// The server cuts longer names.
const NAME_BYTES_MAX: usize = 63;

/// The table as settings name it. Letters keep their case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TableSetting {
    pub(super) schema: Option<String>,
    pub(super) table: String,
}

impl TableSetting {
    /// `events` or `schema.events`.
    pub(super) fn parse(text: &str) -> Result<Self, StoreError> {
        let refuse = |reason: &str| {
            Err(StoreError::Stop(format!("the sink's `table` = \"{}\" {reason}", text.escape_default())))
        };
        let (schema, table) = match text.split_once('.') {
            Some((schema, table)) => (Some(schema), table),
            None => (None, text),
        };
        if table.contains('.') {
            return refuse("has more than one dot; write `table` or `schema.table`");
        }
        for name in schema.into_iter().chain([table]) {
            if let Some(problem) = name_problem(name) {
                return refuse(problem);
            }
        }
        if [CURSORS, PARKED].contains(&table) {
            return refuse("is a table of the sink's own; choose another name");
        }
        Ok(Self { schema: schema.map(str::to_owned), table: table.to_owned() })
    }

    /// For people.
    pub(super) fn shown(&self) -> String {
        match &self.schema {
            Some(schema) => format!("{schema}.{}", self.table),
            None => self.table.clone(),
        }
    }

    /// As `to_regclass` reads it.
    pub(super) fn quoted(&self) -> String {
        match &self.schema {
            Some(schema) => format!("{}.{}", quote(schema), quote(&self.table)),
            None => quote(&self.table),
        }
    }
}

/// What is wrong with a name of a table or column.
pub(super) fn name_problem(name: &str) -> Option<&'static str> {
    if name.is_empty() {
        Some("has an empty name")
    } else if name.len() > NAME_BYTES_MAX {
        Some("has a name of more than 63 bytes, which PostgreSQL would cut")
    } else if name.chars().any(char::is_control) {
        Some("has a control character")
    } else {
        None
    }
}

/// A name in SQL.
pub(super) fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A column of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Column {
    pub(super) name: String,
    /// As the server calls its type.
    pub(super) kind: &'static str,
    pub(super) required: bool,
    /// Of a declared field: added where it is missing.
    pub(super) field: bool,
}

impl Column {
    /// In a `CREATE TABLE` or `ADD COLUMN`.
    pub(super) fn definition(&self) -> String {
        format!("{} {}{}", quote(&self.name), self.kind, if self.required { " NOT NULL" } else { "" })
    }

    /// Whether what is there will do. A text may have a limit of its length, a number of its digits: what is beyond is
    /// refused row by row.
    pub(super) fn accepts(&self, kind: &str) -> bool {
        let base = kind.split('(').next().unwrap_or(kind);
        base == self.kind || self.kind == "text" && base == "character varying"
    }
}

/// What each event has, in the order of the copy. See [`RowEncoder`](super::row::RowEncoder), which writes them.
pub(super) const EVENT_COLUMNS: [(&str, &str, bool); 13] = [
    ("journal", "uuid", true),
    ("offset", "bigint", true),
    ("path", "text", true),
    ("monitor", "text", true),
    ("domain", "text", true),
    ("topic", "text", true),
    ("key", "text", false),
    ("id", "text", false),
    ("event_time", "timestamp with time zone", false),
    ("received_time", "timestamp with time zone", true),
    ("conflict", "boolean", true),
    ("handover", "boolean", true),
    ("payload", "", true),
];

/// What was looked up, by look-up; of sinks whose monitors enrich.
pub(super) const ENRICHED: &str = "enriched";

/// The columns of a sink's table.
pub(super) fn columns(payload: PayloadType, enriched: bool, fields: &[FieldColumn]) -> Vec<Column> {
    let payload = match payload {
        PayloadType::Text => "text",
        PayloadType::Jsonb => "jsonb",
    };
    let event = EVENT_COLUMNS.iter().map(|&(name, kind, required)| Column {
        name: name.to_owned(),
        kind: if name == "payload" { payload } else { kind },
        required,
        field: false,
    });
    let fields = fields.iter().map(|field| Column {
        name: field.name.clone(),
        kind: field.kind_name(),
        required: false,
        field: true,
    });
    let enriched = enriched.then(|| Column { name: ENRICHED.to_owned(), kind: "jsonb", required: false, field: true });
    event.chain(enriched).chain(fields).collect()
}

/// The tables as the server has them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Names {
    pub(super) schema: String,
    pub(super) table: String,
}

impl Names {
    pub(super) fn events(&self) -> String {
        format!("{}.{}", quote(&self.schema), quote(&self.table))
    }

    pub(super) fn cursors(&self) -> String {
        format!("{}.{CURSORS}", quote(&self.schema))
    }

    pub(super) fn parked(&self) -> String {
        format!("{}.{PARKED}", quote(&self.schema))
    }

    /// For people.
    pub(super) fn shown(&self) -> String {
        format!("{}.{}", self.schema, self.table)
    }

    pub(super) fn create_events(&self, columns: &[Column]) -> String {
        let definitions: Vec<_> = columns.iter().map(Column::definition).collect();
        format!("CREATE TABLE {} ({}, PRIMARY KEY (journal, \"offset\"))", self.events(), definitions.join(", "))
    }

    pub(super) fn add_column(&self, column: &Column) -> String {
        format!("ALTER TABLE {} ADD COLUMN {}", self.events(), column.definition())
    }

    pub(super) fn create_cursors(&self) -> String {
        // A row that is written over and over fits its page with room for its next versions.
        format!(
            "CREATE TABLE IF NOT EXISTS {} (sink text PRIMARY KEY, journal uuid NOT NULL, next bigint NOT NULL, \
             updated_at timestamp with time zone NOT NULL DEFAULT now()) WITH (fillfactor = 50)",
            self.cursors()
        )
    }

    pub(super) fn create_parked(&self) -> String {
        // The payload may be what no text column takes.
        format!(
            "CREATE TABLE IF NOT EXISTS {} (sink text NOT NULL, journal uuid NOT NULL, \"offset\" bigint NOT NULL, \
             monitor text NOT NULL, domain text NOT NULL, parked_time timestamp with time zone NOT NULL, \
             reason text NOT NULL, payload bytea NOT NULL, PRIMARY KEY (sink, journal, \"offset\"))",
            self.parked()
        )
    }

    /// A copy of the whole table or of one that is merged into it.
    pub(super) fn copy_into(target: &str, columns: &[Column]) -> String {
        format!("COPY {target} ({}) FROM STDIN (FORMAT binary)", list(columns))
    }
}

/// Columns' names, quoted, with commas between.
pub(super) fn list(columns: &[Column]) -> String {
    let names: Vec<_> = columns.iter().map(|column| quote(&column.name)).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_may_have_a_schema_and_no_name_breaks_out_of_its_quotes() {
        let parse = |text| TableSetting::parse(text).map(|table| table.quoted());
        assert_eq!(parse("events").unwrap(), r#""events""#);
        assert_eq!(parse("market.Events").unwrap(), r#""market"."Events""#);
        assert_eq!(parse(r#"x"; DROP TABLE y; --"#).unwrap(), r#""x""; DROP TABLE y; --""#);
        for refused in ["", "a.b.c", ".events", "market.", "a\0b", "sluice_cursors", "x.sluice_parked"] {
            assert!(parse(refused).unwrap_err().to_string().contains("`table`"), "{refused:?}");
        }
        assert!(parse(&"x".repeat(64)).is_err());
    }
}
