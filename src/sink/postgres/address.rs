//! Where the server is, how it is spoken to, and the pool of connections to it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::{Hook, HookError, Manager, ManagerConfig, Pool, RecyclingMethod, Runtime};
use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres_rustls::MakeRustlsConnect;
use url::Url;

use super::super::store::StoreError;
use super::unverified;
use crate::tls;

/// Connections of a store: the one that writes, and one for questions beside it.
const CONNECTIONS_MAX: usize = 2;

/// The longest that connecting may take, however long a transaction may.
/// Source: a guess; a server that is there answers within a second or two, also across an ocean.
const CONNECT_TIMEOUT_MAX: Duration = Duration::from_secs(10);

/// Whose connections these are, for the server's own lists, and how long they may take.
pub(super) struct Caller<'a> {
    /// The sink's name.
    pub(super) sink: &'a str,
    /// The longest a transaction may take.
    pub(super) timeout: Duration,
}

/// A server, without its secrets, for people: `db.example:5432/market`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ServerName(String);

impl std::fmt::Display for ServerName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl ServerName {
    fn of(config: &Config) -> Self {
        let host = match config.get_hosts().first() {
            Some(Host::Tcp(host)) => host.clone(),
            Some(Host::Unix(path)) => path.display().to_string(),
            None => config.get_hostaddrs().first().map_or_else(|| "?".to_owned(), ToString::to_string),
        };
        let port = config.get_ports().first().copied().unwrap_or(5432);
        Self(format!("{host}:{port}/{}", config.get_dbname().or(config.get_user()).unwrap_or_default()))
    }
}

/// How much of TLS an address asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Security {
    /// `disable`
    Plain,
    /// `prefer`: if the server has it, and whatever its certificate.
    Opportunistic,
    /// `require`, `verify-ca`, `verify-full`: always, and the certificate must be the server's.
    Verified,
}

impl Security {
    fn of(mode: &str) -> Option<Self> {
        Some(match mode {
            "disable" => Self::Plain,
            "prefer" => Self::Opportunistic,
            "require" | "verify-ca" | "verify-full" => Self::Verified,
            _ => return None,
        })
    }
}

/// The pool that an address and a file of certificates mean. Nothing is connected yet.
///
/// # Errors
/// [`StoreError::Stop`] when they cannot be used. The address's secrets are not in it.
pub(super) fn pool(url: &Url, ca_file: Option<&Path>, caller: &Caller<'_>) -> Result<(Pool, ServerName), StoreError> {
    let (mut config, security) = parse(url, ca_file.is_some())?;
    if config.get_application_name().is_none() {
        config.application_name(format!("sluice {}", caller.sink));
    }
    let connect_timeout = caller.timeout.min(CONNECT_TIMEOUT_MAX);
    if config.get_connect_timeout().is_none() {
        config.connect_timeout(connect_timeout);
    }
    // Without these a server that vanished is noticed after hours.
    config.keepalives_idle(Duration::from_secs(30)).tcp_user_timeout(caller.timeout);

    let tls = match security {
        Security::Plain | Security::Opportunistic => unverified::client_config(),
        Security::Verified => tls::client_config(ca_file).map(|config| (*config).clone()),
    };
    let tls = tls.map_err(|error| StoreError::Stop(error.to_string()))?;
    let server = ServerName::of(&config);
    let manager = Manager::from_config(
        config,
        MakeRustlsConnect::new(tls),
        ManagerConfig { recycling_method: RecyclingMethod::Verified },
    );
    let settings: Arc<str> = session_settings(caller.timeout).into();
    let pool = Pool::builder(manager)
        .max_size(CONNECTIONS_MAX)
        .runtime(Runtime::Tokio1)
        .wait_timeout(Some(connect_timeout))
        .create_timeout(Some(connect_timeout))
        .recycle_timeout(Some(connect_timeout))
        .post_create(Hook::async_fn(move |client, _| {
            let settings = Arc::clone(&settings);
            Box::pin(async move { client.batch_execute(&settings).await.map_err(HookError::Backend) })
        }))
        .build()
        .map_err(|error| StoreError::Stop(error.to_string()))?;
    Ok((pool, server))
}

/// What every session is told first. The limits are the server's own, below ours, so that it says what it waited for before
/// we give up on it.
fn session_settings(timeout: Duration) -> String {
    let millis = |share: f64| (timeout.mul_f64(share).as_millis()).max(1);
    format!(
        "SET lock_timeout = {}; SET statement_timeout = {}; SET idle_in_transaction_session_timeout = {}; \
         SET tcp_keepalives_idle = 30; SET tcp_keepalives_interval = 10; SET tcp_keepalives_count = 3; \
         SET client_min_messages = error; SET TimeZone = 'UTC'; \
         SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'",
        millis(0.8),
        millis(0.9),
        millis(2.0)
    )
}

/// Takes the words of an address that we understand ourselves, leaves the others to the library.
fn parse(url: &Url, has_ca_file: bool) -> Result<(Config, Security), StoreError> {
    let refuse = |reason: String| Err(StoreError::Stop(format!("the sink's `url` cannot be used: {reason}")));
    let mut security = if has_ca_file { Security::Verified } else { Security::Opportunistic };
    let mut rest = Vec::new();
    for pair in url.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
        match pair.split_once('=') {
            Some(("sslmode", mode)) => match Security::of(mode) {
                Some(known) => security = known,
                None => {
                    return refuse("`sslmode` is `disable`, `prefer`, `require`, `verify-ca` or `verify-full`".into());
                }
            },
            Some(("sslrootcert" | "sslcert" | "sslkey", _)) => {
                return refuse(
                    "certificates to trust are named by `ca_file`; those of a client are not supported".into(),
                );
            }
            _ => rest.push(pair),
        }
    }
    let mut plain = url.clone();
    plain.set_fragment(None);
    plain.set_query(if rest.is_empty() { None } else { Some(rest.join("&")) }.as_deref());
    let mut config: Config = match plain.as_str().parse() {
        Ok(config) => config,
        // The library's words name keys, and none of their values.
        Err(error) => return refuse(super::failure::chain(&error)),
    };
    if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
        return refuse("it names no host; write postgres://USER@HOST/DATABASE".into());
    }
    config.ssl_mode(match security {
        Security::Plain => SslMode::Disable,
        Security::Opportunistic => SslMode::Prefer,
        Security::Verified => SslMode::Require,
    });
    Ok((config, security))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(url: &str, has_ca_file: bool) -> Result<(Config, Security), StoreError> {
        parse(&Url::parse(url).unwrap(), has_ca_file)
    }

    #[test]
    fn certificates_are_looked_at_wherever_tls_is_asked_for_by_name() {
        let security = |url, ca| read(url, ca).unwrap().1;
        assert_eq!(security("postgres://u@h/d", false), Security::Opportunistic);
        assert_eq!(security("postgres://u@h/d", true), Security::Verified);
        assert_eq!(security("postgres://u@h/d?sslmode=disable", true), Security::Plain);
        assert_eq!(security("postgres://u@h/d?sslmode=prefer", false), Security::Opportunistic);
        for mode in ["require", "verify-ca", "verify-full"] {
            let (config, security) =
                read(&format!("postgres://u@h/d?connect_timeout=3&sslmode={mode}"), false).unwrap();
            assert_eq!(security, Security::Verified);
            assert_eq!(config.get_ssl_mode(), SslMode::Require);
            assert_eq!(config.get_connect_timeout(), Some(&Duration::from_secs(3)));
        }
    }

    #[test]
    fn an_address_that_cannot_be_used_is_refused_without_its_password() {
        for url in [
            "postgres://u:hunter2@h/d?sslmode=maybe",
            "postgres://u:hunter2@h/d?sslrootcert=/x",
            "postgres://u:hunter2@h/d?surprise=hunter2",
            "postgres:///d?password=hunter2",
        ] {
            let error = read(url, false).unwrap_err().to_string();
            assert!(!error.contains("hunter2"), "{error}");
            assert!(error.contains("`url`"), "{error}");
        }
    }

    #[test]
    fn a_server_is_named_without_its_secrets() {
        let name = |url| ServerName::of(&read(url, false).unwrap().0).to_string();
        assert_eq!(name("postgres://u:hunter2@db.example/market"), "db.example:5432/market");
        assert_eq!(name("postgresql://u@[::1]:6000/market"), "::1:6000/market");
        assert_eq!(name("postgres://u@%2Frun%2Fpostgresql/market"), "/run/postgresql:5432/market");
        assert_eq!(name("postgres:///market?host=/run/postgresql&user=u"), "/run/postgresql:5432/market");
    }
}
