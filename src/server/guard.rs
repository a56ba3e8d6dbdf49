//! Who may ask: a bearer token, or, where none is set, only programs on this host, and never a web page.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

/// Why access cannot be decided.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// The token's file.
    #[error("cannot read the token of `server.token_file` from {path}: {source}")]
    TokenFile {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is empty.
    #[error("`server.token_file` {path} is empty; put a token of at least 16 characters into it")]
    TokenEmpty {
        /// The file.
        path: PathBuf,
    },
    /// Anyone could ask.
    #[error(
        "`server.listen` {address} can be reached from other hosts; set `server.token_file`, or listen on 127.0.0.1"
    )]
    Unprotected {
        /// The address.
        address: SocketAddr,
    },
}

/// The rule in force.
#[derive(Debug)]
pub enum Access {
    /// Whoever shows this token.
    Token(String),
    /// Whoever is on this host and no web page.
    Loopback,
}

/// The fewest characters of a token. Source: 64 random bits in hexadecimal.
const TOKEN_CHARACTERS_MIN: usize = 16;

impl Access {
    /// The rule for an address.
    ///
    /// # Errors
    /// When other hosts could reach the server and there is no token, or the token cannot be read.
    pub fn new(address: SocketAddr, token_file: Option<&Path>) -> Result<Self, AccessError> {
        match token_file {
            Some(path) => {
                let token = std::fs::read_to_string(path)
                    .map_err(|source| AccessError::TokenFile { path: path.to_owned(), source })?;
                let token = token.trim();
                if token.len() < TOKEN_CHARACTERS_MIN {
                    return Err(AccessError::TokenEmpty { path: path.to_owned() });
                }
                Ok(Self::Token(token.to_owned()))
            }
            None if address.ip().is_loopback() => Ok(Self::Loopback),
            None => Err(AccessError::Unprotected { address }),
        }
    }

    fn allows(&self, headers: &HeaderMap) -> Result<(), (StatusCode, &'static str)> {
        match self {
            Self::Token(token) => {
                let shown = headers
                    .get(header::AUTHORIZATION)
                    .and_then(|value| value.as_bytes().strip_prefix(b"Bearer "))
                    .unwrap_or_default();
                if equal_in_constant_time(shown, token.as_bytes()) {
                    Ok(())
                } else {
                    Err((
                        StatusCode::UNAUTHORIZED,
                        "show the token of server.token_file as `Authorization: Bearer …`\n",
                    ))
                }
            }
            // A page in the operator's browser reaches loopback too; it cannot help telling its origin, and a name that
            // was rebound to this address stands in `Host`.
            Self::Loopback => {
                let local = |value: &str| {
                    let host = value.split_once("://").map_or(value, |(_, rest)| rest);
                    let host = host.rsplit_once(':').map_or(host, |(name, port)| {
                        if port.bytes().all(|byte| byte.is_ascii_digit()) { name } else { host }
                    });
                    matches!(host, "localhost" | "127.0.0.1" | "[::1]")
                };
                let foreign = |name| match headers.get(name).map(|value| value.to_str()) {
                    None => false,
                    Some(Ok(value)) => !local(value),
                    Some(Err(_)) => true,
                };
                if foreign(header::ORIGIN) || foreign(header::HOST) {
                    return Err((
                        StatusCode::FORBIDDEN,
                        "requests from web pages and foreign host names are refused\n",
                    ));
                }
                Ok(())
            }
        }
    }
}

/// The whole of both is compared whatever they hold, so that the time taken tells nothing of the token but its length.
fn equal_in_constant_time(shown: &[u8], token: &[u8]) -> bool {
    shown.len() == token.len() && shown.iter().zip(token).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
}

pub(super) async fn authorize(State(access): State<Arc<Access>>, request: Request, next: Next) -> Response {
    match access.allows(request.headers()) {
        Ok(()) => next.run(request).await,
        Err(refusal) => refusal.into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(header::HeaderName, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect()
    }

    #[test]
    fn without_a_token_only_loopback_is_served_and_no_web_page() {
        assert!(matches!(Access::new("0.0.0.0:1".parse().unwrap(), None), Err(AccessError::Unprotected { .. })));
        let access = Access::new("127.0.0.1:1".parse().unwrap(), None).unwrap();
        for host in ["127.0.0.1:9464", "localhost", "[::1]:9464"] {
            assert!(access.allows(&headers(&[(header::HOST, host)])).is_ok(), "{host}");
        }
        assert!(access.allows(&headers(&[(header::HOST, "rebound.example:9464")])).is_err());
        assert!(
            access.allows(&headers(&[(header::HOST, "127.0.0.1"), (header::ORIGIN, "https://page.example")])).is_err()
        );
    }

    #[test]
    fn with_a_token_nothing_else_opens() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "0123456789abcdef\n").unwrap();
        let access = Access::new("0.0.0.0:1".parse().unwrap(), Some(file.path())).unwrap();
        assert!(access.allows(&headers(&[(header::AUTHORIZATION, "Bearer 0123456789abcdef")])).is_ok());
        for wrong in ["Bearer 0123456789abcdeg", "Bearer ", "0123456789abcdef", "Basic 0123456789abcdef"] {
            assert!(access.allows(&headers(&[(header::AUTHORIZATION, wrong)])).is_err(), "{wrong}");
        }
        assert!(access.allows(&headers(&[])).is_err());
    }
}
