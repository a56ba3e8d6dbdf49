//! `[server]`: where HTTP is served, to whom, and how much of it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::stream_settings::StreamSettings;
use super::units::{self, ByteSize};

/// `[server]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ServerSettings {
    /// Address of the API, health and metrics.
    pub listen: SocketAddr,
    /// A file whose content is a bearer token of scope `admin`.
    pub token_file: Option<PathBuf>,
    /// A file of hashed tokens, one a line: `NAME SCOPE sha256:HEX`.
    pub tokens_file: Option<PathBuf>,
    /// Hashed tokens, by name.
    pub tokens: BTreeMap<String, ServerTokenSettings>,
    /// Where both are set, only TLS is spoken.
    pub tls: ServerTlsSettings,
    /// Origins of web pages that may ask: `https://board.example`.
    pub cors_origins: Vec<String>,
    /// Names in `Host` that are ours beside `localhost` and addresses.
    pub hosts: Vec<String>,
    /// The longest the head of a request may take to come; an idle connection is closed after it, too.
    #[serde(with = "units::duration")]
    pub head_timeout: Duration,
    /// The longest a request's body may take to come.
    #[serde(with = "units::duration")]
    pub body_timeout: Duration,
    /// The most bytes of a request's body, as it comes and unpacked.
    pub body_max: ByteSize,
    /// Connections at once, but for streams.
    pub connections_max: u32,
    /// Connections at once from one address. Streams are not counted here.
    pub connections_per_peer: u32,
    /// Events as they become durable.
    pub streams: StreamSettings,
}

/// `[server.tokens.NAME]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerTokenSettings {
    /// What it may be used for.
    pub scope: Scope,
    /// `sha256:HEX`, as `sluice token create` prints it.
    #[serde(default)]
    pub hash: Option<String>,
    /// A file with the hash.
    #[serde(default)]
    pub file: Option<PathBuf>,
}

/// What a token may be used for. Each includes those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Looking.
    Read,
    /// What runs: switches, breakers, replays, the canary, alerts.
    Operate,
    /// What is set: settings, monitors, upstreams.
    Admin,
}

impl Scope {
    /// All of them, from the least.
    pub const ALL: [Self; 3] = [Self::Read, Self::Operate, Self::Admin];

    /// As users write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Operate => "operate",
            Self::Admin => "admin",
        }
    }
}

/// `[server.tls]`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ServerTlsSettings {
    /// The server's certificate and those that vouch for it, in PEM.
    pub certificate: Option<PathBuf>,
    /// Its key, in PEM.
    pub key: Option<PathBuf>,
}

impl Default for ServerSettings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 9464)),
            token_file: None,
            tokens_file: None,
            tokens: BTreeMap::new(),
            tls: ServerTlsSettings::default(),
            cors_origins: Vec::new(),
            hosts: Vec::new(),
            // Guesses: far above what a slow line needs, far below what would let connections pile up.
            head_timeout: Duration::from_secs(15),
            body_timeout: Duration::from_secs(30),
            body_max: ByteSize::mib(1),
            connections_max: 1024,
            connections_per_peer: 512,
            streams: StreamSettings::default(),
        }
    }
}
