//! An upstream's or a sink's address, whose secrets are shown to nobody.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use url::Url;

/// Query parameters whose value is shown as it is; any other may be a key.
pub(super) const HARMLESS_PARAMETERS: [&str; 10] = [
    "streams",
    "wantedCollections",
    "wantedDids",
    "cursor",
    "compress",
    "since",
    "sslmode",
    "host",
    "application_name",
    "connect_timeout",
];

/// What stands in the place of a secret.
const REDACTED: &str = "***";

/// An address with its credentials; `Display`, `Debug` and serialization show them as `***`.
#[derive(Clone, PartialEq, Eq)]
pub struct Endpoint(Url);

impl Endpoint {
    /// Host and port: never the path, which may hold a key.
    pub fn address(&self) -> String {
        let host = self.0.host_str().unwrap_or_default();
        format!("{host}:{}", self.0.port_or_known_default().unwrap_or_default())
    }

    /// The whole address, secrets included: for connecting only.
    pub fn reveal(&self) -> &Url {
        &self.0
    }
}

impl From<Url> for Endpoint {
    fn from(url: Url) -> Self {
        Self(url)
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = self.0.clone();
        // A URL without a host has no place for credentials either, so that a refusal here hides nothing.
        if shown.password().is_some() {
            shown.set_password(Some(REDACTED)).ok();
        } else if !shown.username().is_empty() {
            shown.set_username(REDACTED).ok();
        }
        // Providers put keys into the path too: `/ws/v3/0123456789abcdef`.
        let parts: Vec<&str> = self.0.path().split('/').collect();
        if parts.iter().any(|part| looks_like_a_key(part)) {
            let redacted: Vec<&str> =
                parts.iter().map(|part| if looks_like_a_key(part) { REDACTED } else { part }).collect();
            shown.set_path(&redacted.join("/"));
        }
        if let Some(query) = self.0.query() {
            let redacted: Vec<String> = query
                .split('&')
                .map(|pair| match pair.split_once('=') {
                    Some((name, _)) if HARMLESS_PARAMETERS.contains(&name) => pair.to_owned(),
                    Some((name, _)) => format!("{name}={REDACTED}"),
                    // A key may stand there without a name.
                    None => REDACTED.to_owned(),
                })
                .collect();
            shown.set_query(Some(&redacted.join("&")));
        }
        if shown.fragment().is_some() {
            shown.set_fragment(Some(REDACTED));
        }
        shown.fmt(f)
    }
}

/// Long, and letters mixed with digits: more likely made by a machine than a name.
pub(super) fn looks_like_a_key(part: &str) -> bool {
    const KEY_BYTES_MIN: usize = 16;
    part.len() >= KEY_BYTES_MIN
        && part.bytes().any(|byte| byte.is_ascii_digit())
        && part.bytes().any(|byte| byte.is_ascii_alphabetic())
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Endpoint({self})")
    }
}

impl Serialize for Endpoint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Endpoint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Which of them a dialect is spoken over is up to that.
        parse(deserializer, &["ws", "wss", "http", "https", "tcp", "tls"])
    }
}

/// The address of a sink's store. Which of the schemes is meant for which kind of store is up to that.
pub(super) fn of_a_store<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Endpoint>, D::Error> {
    parse(deserializer, &["postgres", "postgresql", "nats", "tls"]).map(Some)
}

/// The address of something that is asked over HTTP.
pub(super) fn over_http<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Endpoint, D::Error> {
    parse(deserializer, &["http", "https"])
}

/// The address of a proxy; none for the word `none`.
pub(super) fn of_a_proxy<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Endpoint>, D::Error> {
    match Option::<String>::deserialize(deserializer)? {
        None => Ok(None),
        Some(none) if none == "none" => Ok(None),
        Some(text) => parse_text(&text, &["http", "socks5"]).map(Some).map_err(serde::de::Error::custom),
    }
}

fn parse<'de, D: Deserializer<'de>>(deserializer: D, schemes: &[&str]) -> Result<Endpoint, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse_text(&text, schemes).map_err(serde::de::Error::custom)
}

fn parse_text(text: &str, schemes: &[&str]) -> Result<Endpoint, String> {
    // The text may hold a secret: the error names what is wrong with it, never the text.
    // Braces that are written out are no holes: an address encodes a hole's with a capital letter, as `{` is.
    let text = &text.replace("%7B", "%7b");
    let url = Url::parse(text).map_err(|error| format!("not an address: {error}"))?;
    // Of PostgreSQL the host may be a parameter: the folder of the server's socket.
    if schemes.contains(&url.scheme()) && (url.host().is_some() || url.scheme().starts_with("postgres")) {
        return Ok(Endpoint(url));
    }
    let spoken: Vec<String> = schemes.iter().map(|scheme| format!("`{scheme}://HOST`")).collect();
    Err(format!("`{}:` is not spoken; write {}", url.scheme(), spoken.join(" or ")))
}
