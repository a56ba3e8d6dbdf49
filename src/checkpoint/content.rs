//! What a checkpoint holds.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::clock::UnixNanos;
use crate::config::SinkKind;
use crate::journal::{JournalId, Offset};
use crate::sink::SinkMark;

/// How far everything had come at a moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Checkpoint {
    /// Whose offsets these are.
    pub journal: JournalId,
    /// The offset after the last event that was durable.
    pub durable: Offset,
    /// When, by the host's clock.
    pub written: UnixNanos,
    /// On what occasion.
    pub cause: Cause,
    /// The release that wrote it.
    pub program: String,
    /// Every sink's cursor, in the order of their names.
    pub sinks: Vec<SinkMark>,
    /// Where upstreams can be taken up again; of durable events only.
    pub tokens: Vec<TokenMark>,
    /// What operators set while the daemon ran, by the setting's name.
    pub settings: BTreeMap<String, Value>,
}

/// Why a checkpoint was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// It was time.
    Periodic,
    /// The daemon stopped.
    Shutdown,
    /// Somebody asked for it.
    Demand,
    /// A stage of a roll-out was about to begin.
    Stage,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Periodic => "periodic",
            Self::Shutdown => "shutdown",
            Self::Demand => "demand",
            Self::Stage => "stage",
        })
    }
}

/// Where topics of an upstream can be taken up again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenMark {
    /// The upstream.
    pub upstream: String,
    /// The topics that it is good for.
    pub topics: Vec<String>,
    /// In the dialect's own form.
    pub token: Vec<u8>,
    /// The offset after the last event of the block that carries it.
    pub offset: Offset,
    /// When that event was received.
    pub received: UnixNanos,
}

/// The JSON of a checkpoint. Unknown members are passed over: a later release may add to what it writes without another
/// version, as long as what stands here means the same.
#[derive(Debug, Serialize, Deserialize)]
struct Body {
    journal: String,
    durable_offset: u64,
    written: String,
    cause: Cause,
    program: String,
    sinks: Vec<SinkBody>,
    resume_tokens: Vec<TokenBody>,
    settings: BTreeMap<String, Value>,
}

#[derive(Debug, Serialize, Deserialize)]
struct SinkBody {
    name: String,
    kind: SinkKind,
    journal: String,
    next: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sequence: Option<u64>,
}

#[derive(Debug, Serialize, Deserialize)]
struct TokenBody {
    upstream: String,
    topics: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    token: Option<String>,
    /// Where it is no text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    token_base64: Option<String>,
    offset: u64,
    received: String,
}

impl Checkpoint {
    /// As JSON, for files and for programs.
    pub fn to_json(&self) -> Value {
        let body = Body {
            journal: self.journal.to_string(),
            durable_offset: self.durable.0,
            written: self.written.to_string(),
            cause: self.cause,
            program: self.program.clone(),
            sinks: self.sinks.iter().map(SinkBody::of).collect(),
            resume_tokens: self.tokens.iter().map(TokenBody::of).collect(),
            settings: self.settings.clone(),
        };
        // Strings, numbers and JSON values: serialization has nothing to refuse.
        serde_json::to_value(body).unwrap_or_default()
    }

    /// From JSON.
    pub(super) fn from_json(json: &[u8]) -> Result<Self, String> {
        let body: Body = serde_json::from_slice(json).map_err(|error| error.to_string())?;
        Ok(Self {
            journal: journal_id(&body.journal)?,
            durable: Offset(body.durable_offset),
            written: moment(&body.written)?,
            cause: body.cause,
            program: body.program,
            sinks: body.sinks.into_iter().map(SinkBody::read).collect::<Result<_, _>>()?,
            tokens: body.resume_tokens.into_iter().map(TokenBody::read).collect::<Result<_, _>>()?,
            settings: body.settings,
        })
    }

    /// How far a sink had come, if it was there.
    pub fn sink(&self, name: &str) -> Option<&SinkMark> {
        self.sinks.iter().find(|sink| sink.name == name)
    }
}

impl SinkBody {
    fn of(mark: &SinkMark) -> Self {
        let SinkMark { name, kind, journal, next, sequence } = mark;
        Self { name: name.clone(), kind: *kind, journal: journal.to_string(), next: next.0, sequence: *sequence }
    }

    fn read(self) -> Result<SinkMark, String> {
        let Self { name, kind, journal, next, sequence } = self;
        Ok(SinkMark { name, kind, journal: journal_id(&journal)?, next: Offset(next), sequence })
    }
}

impl TokenBody {
    fn of(mark: &TokenMark) -> Self {
        let text = String::from_utf8(mark.token.clone()).ok();
        Self {
            upstream: mark.upstream.clone(),
            topics: mark.topics.clone(),
            token_base64: text.is_none().then(|| BASE64.encode(&mark.token)),
            token: text,
            offset: mark.offset.0,
            received: mark.received.to_string(),
        }
    }

    fn read(self) -> Result<TokenMark, String> {
        let token = match (self.token, self.token_base64) {
            (Some(text), _) => text.into_bytes(),
            (None, Some(coded)) => BASE64.decode(coded).map_err(|error| error.to_string())?,
            (None, None) => return Err(format!("a resume token of upstream `{}` is missing", self.upstream)),
        };
        Ok(TokenMark {
            upstream: self.upstream,
            topics: self.topics,
            token,
            offset: Offset(self.offset),
            received: moment(&self.received)?,
        })
    }
}

fn journal_id(text: &str) -> Result<JournalId, String> {
    text.parse().map(JournalId).map_err(|_| format!("`{text}` is no journal's id"))
}

fn moment(text: &str) -> Result<UnixNanos, String> {
    let time: jiff::Timestamp = text.parse().map_err(|_| format!("`{text}` is no time"))?;
    i64::try_from(time.as_nanosecond()).map(UnixNanos).map_err(|_| format!("`{text}` is outside 1677 to 2262"))
}
