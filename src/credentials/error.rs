//! Why we cannot prove who we are.

use std::time::Duration;

use super::values::Fault;

/// Why we cannot prove who we are. Names upstream, key and place; never a secret.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CredentialsError {
    /// A key of the table says something that cannot be.
    #[error("upstream `{upstream}`: `{key}`: {reason}")]
    Settings {
        /// Whose.
        upstream: String,
        /// Which, without `upstreams.NAME`.
        key: String,
        /// What is wrong.
        reason: String,
    },
    /// A secret is not where it should be, or cannot be read there.
    #[error("upstream `{upstream}`: the secret `auth.secrets.{name}` {state}: {looked}")]
    Missing {
        /// Whose.
        upstream: String,
        /// Its name.
        name: String,
        /// What it is, for people.
        state: &'static str,
        /// Where it was looked for, and what was found there.
        looked: String,
    },
    /// The client certificate cannot be used.
    #[error("upstream `{upstream}`: {reason}")]
    Identity {
        /// Whose.
        upstream: String,
        /// Why.
        reason: String,
    },
    /// There is no token.
    #[error("no token for upstream `{upstream}`: {reason}")]
    Token {
        /// Whose.
        upstream: String,
        /// Why.
        reason: String,
        /// Whether our credentials were refused, which asking again soon does not mend.
        refused: bool,
    },
    /// A token was asked for lately, in vain; nobody is asked before.
    #[error("no token for upstream `{upstream}`: {reason}; it is asked for again in {:.1} s", .wait.as_secs_f64())]
    Waiting {
        /// Whose.
        upstream: String,
        /// Why there was none.
        reason: String,
        /// How long.
        wait: Duration,
        /// As of [`CredentialsError::Token`].
        refused: bool,
    },
    /// A value cannot stand in a header.
    #[error("upstream `{upstream}`: `auth.{key}`: what comes of it cannot stand in a header")]
    Header {
        /// Whose.
        upstream: String,
        /// Which.
        key: String,
    },
}

impl CredentialsError {
    /// Of a key of the table; or of the upstream's own `url` or `proxy`.
    pub(super) fn of(upstream: &str, (key, reason): Fault) -> Self {
        let key = if matches!(key.as_str(), "url" | "proxy") { key } else { format!("auth.{key}") };
        Self::Settings { upstream: upstream.to_owned(), key, reason }
    }

    /// Of which upstream, and under which of its keys.
    pub fn place(&self) -> (&str, Vec<&str>) {
        match self {
            Self::Settings { upstream, key, .. } => (upstream, key.split('.').collect()),
            Self::Missing { upstream, name, .. } => (upstream, vec!["auth", "secrets", name]),
            Self::Identity { upstream, .. } => (upstream, vec!["client_cert"]),
            Self::Token { upstream, .. } | Self::Waiting { upstream, .. } => (upstream, vec!["auth", "token"]),
            Self::Header { upstream, key } => (upstream, ["auth"].into_iter().chain(key.split('.')).collect()),
        }
    }

    /// Whether our credentials were refused, which trying again soon does not mend.
    pub fn refuses_us(&self) -> bool {
        matches!(self, Self::Token { refused: true, .. } | Self::Waiting { refused: true, .. })
    }
}
