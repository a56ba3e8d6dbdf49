//! `[sinks.NAME]`: what every sink is told, whatever its kind. Keys that belong to one kind only are refused on the others
//! by `check`.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::endpoint::{self, Endpoint};
use super::units::{self, ByteSize};

/// `[sinks.NAME]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SinkSettings {
    /// Which store.
    pub kind: SinkKind,
    /// Whether it runs. What an operator said at run time wins.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// Only these monitors; empty: all but the daemon's own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub monitors: Vec<String>,
    /// Only these domains; empty: all but the daemon's own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub domains: Vec<String>,
    /// The most events of a transaction.
    #[serde(default = "SinkSettings::default_batch_max")]
    pub batch_max: u32,
    /// The longest an event waits for others to fill a transaction.
    #[serde(default = "SinkSettings::default_flush_interval", with = "units::duration")]
    pub flush_interval: Duration,
    /// Bytes read ahead of the store.
    #[serde(default = "SinkSettings::default_read_ahead")]
    pub read_ahead: ByteSize,
    /// The longest a single transaction may take.
    #[serde(default = "SinkSettings::default_timeout", with = "units::duration")]
    pub timeout: Duration,
    /// How much behind the cursor retention keeps, because a server may lose what it acknowledged.
    #[serde(default = "SinkSettings::default_rewind", with = "units::duration")]
    pub rewind: Duration,
    /// `postgres`, `nats`: where it is. Credentials in it are shown redacted.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "endpoint::of_a_store")]
    pub url: Option<Endpoint>,
    /// `postgres`, `nats`: a PEM file of certificates trusted beside the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// `postgres`: the table, `events` or `schema.events`. Created where it is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<String>,
    /// `postgres`: the payload's type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<PayloadType>,
    /// `nats`: the JetStream stream, which belongs to this sink alone. Created where it is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream: Option<String>,
    /// `nats`: the subject, with `{domain}`, `{monitor}` and `{key}` replaced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// `nats`: a file of credentials.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials_file: Option<PathBuf>,
    /// `sqlite`, `jsonl`: where the files are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folder: Option<PathBuf>,
    /// `sqlite`: days that files are kept. `jsonl`: as there; absent: for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention_days: Option<u32>,
    /// `jsonl`: size at which a file is finished and the next one begun, before compression.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotate_size: Option<ByteSize>,
    /// `jsonl`: age at which a file is finished.
    #[serde(default, with = "units::optional_duration", skip_serializing_if = "Option::is_none")]
    pub rotate_interval: Option<Duration>,
    /// `jsonl`: what finished files are compressed by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compression: Option<FileCompression>,
}

/// Which store a sink writes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SinkKind {
    /// A table in PostgreSQL.
    Postgres,
    /// A file a day.
    Sqlite,
    /// A stream of NATS JetStream.
    Nats,
    /// Files of JSON lines.
    Jsonl,
}

impl SinkKind {
    /// As settings have it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::Sqlite => "sqlite",
            Self::Nats => "nats",
            Self::Jsonl => "jsonl",
        }
    }
}

/// The type of the payload's column.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PayloadType {
    /// To the byte.
    #[default]
    Text,
    /// As PostgreSQL understands it; it refuses some texts that are JSON, such as `\u0000`.
    Jsonb,
}

/// How finished files are compressed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FileCompression {
    /// Not at all.
    #[default]
    None,
    /// `.gz`
    Gzip,
    /// `.zst`
    Zstd,
}

/// A field of a monitor's payloads that stores may give a column of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FieldSettings {
    /// JSON Pointer into the payload as it is journaled.
    pub pointer: String,
    /// The column's type.
    #[serde(default, rename = "type")]
    pub kind: FieldType,
}

/// The type of a declared field.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FieldType {
    /// A string without its quotes, any other token as it stands.
    #[default]
    Text,
    /// A number of any size and precision, also where it is written as a string.
    Numeric,
    /// A whole number of 64 bits, also where it is written as a string.
    Bigint,
    /// A floating-point number, also where it is written as a string.
    Double,
    /// `true` or `false`.
    Boolean,
}

impl SinkSettings {
    fn default_batch_max() -> u32 {
        5000
    }

    fn default_flush_interval() -> Duration {
        Duration::from_millis(100)
    }

    fn default_read_ahead() -> ByteSize {
        ByteSize::mib(8)
    }

    fn default_timeout() -> Duration {
        Duration::from_secs(30)
    }

    fn default_rewind() -> Duration {
        Duration::from_mins(10)
    }
}

fn yes() -> bool {
    true
}
