//! Who may ask: whoever shows a token of the scope that a route wants; where there are no tokens, only programs on this host.
//! Never a web page of another origin, nor anyone who calls this server by a name that is not its own.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::{ConnectInfo, MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tokio::time::Instant;

use super::attempts::Attempts;
use super::problem::Problem;
use super::scope;
use super::streams::Tickets;
use super::tokens::{Caller, TokenError, Tokens};
use crate::config::{Scope, ServerSettings};

/// Why access cannot be decided.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// Tokens.
    #[error(transparent)]
    Tokens(#[from] TokenError),
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
pub struct Access {
    /// None: whoever is on this host.
    tokens: Option<Tokens>,
    attempts: Attempts,
    hosts: Vec<String>,
    origins: Vec<String>,
    /// What opens a stream, too.
    pub(super) tickets: Arc<Tickets>,
}

impl Access {
    /// The rule of the settings.
    ///
    /// # Errors
    /// When other hosts could reach the server and there is no token, or tokens cannot be read.
    pub fn new(settings: &ServerSettings) -> Result<Self, AccessError> {
        let tokens = Tokens::new(settings)?;
        if tokens.is_none() && !settings.listen.ip().is_loopback() {
            return Err(AccessError::Unprotected { address: settings.listen });
        }
        let hosts = settings.hosts.iter().map(|host| host.to_lowercase()).collect();
        let origins = settings.cors_origins.clone();
        Ok(Self { tokens, attempts: Attempts::default(), hosts, origins, tickets: Arc::default() })
    }

    /// A page in the operator's browser reaches loopback too; it cannot help telling its origin, and a name that was rebound to
    /// our address stands in `Host`.
    fn is_ours(&self, headers: &HeaderMap) -> Result<(), Problem> {
        let forbidden = |detail: String| Err(Problem::new(StatusCode::FORBIDDEN, detail));
        let host = match headers.get(header::HOST).map(HeaderValue::to_str) {
            None => None,
            Some(Ok(host)) if self.is_own_name(host) => Some(host),
            Some(_) => {
                let detail = "requests by a foreign host name are refused; name it in `server.hosts` if it is ours";
                return forbidden(detail.to_owned());
            }
        };
        match headers.get(header::ORIGIN).map(HeaderValue::to_str) {
            None => Ok(()),
            Some(Ok(origin)) if self.origins.iter().any(|known| known == origin) => Ok(()),
            // Our own pages.
            Some(Ok(origin)) if host.is_some() && origin.split_once("://").map(|(_, rest)| rest) == host => Ok(()),
            Some(_) => {
                forbidden("requests of foreign web pages are refused; name the origin in `server.cors_origins`".into())
            }
        }
    }

    /// An address cannot be rebound; a name can.
    fn is_own_name(&self, host: &str) -> bool {
        let name = host.rsplit_once(':').map_or(host, |(name, port)| {
            if !name.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) { name } else { host }
        });
        let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
        let name = name.to_lowercase();
        bare.parse::<IpAddr>().is_ok() || name == "localhost" || self.hosts.contains(&name)
    }

    fn caller(&self, headers: &HeaderMap, peer: IpAddr) -> Result<Caller, Problem> {
        let Some(tokens) = &self.tokens else {
            return Ok(Caller { name: "this host".into(), scope: Scope::Admin });
        };
        let unauthorized = |detail: &str| Problem::new(StatusCode::UNAUTHORIZED, detail);
        let Some(shown) = headers.get(header::AUTHORIZATION) else {
            return Err(unauthorized(
                "a token is wanted: show it as `Authorization: Bearer …`; `sluice token create` makes one",
            ));
        };
        let now = Instant::now();
        // Also a good token has to wait, or else guessing would cost nothing.
        if let Some(wait) = self.attempts.wait(peer, now) {
            let detail = format!("too many wrong tokens from {peer}; try again in {} s", wait.as_secs() + 1);
            let wait = wait + std::time::Duration::from_secs(1);
            return Err(Problem::new(StatusCode::TOO_MANY_REQUESTS, detail).retry_after(wait));
        }
        let (scheme, token) = shown.as_bytes().split_at(shown.len().min(7));
        let Some(caller) = tokens.caller(token).filter(|_| scheme.eq_ignore_ascii_case(b"bearer ")) else {
            self.attempts.failed(peer, now);
            tracing::warn!(%peer, "a token was shown that is none of ours");
            return Err(unauthorized("this token is not known; show one of ours as `Authorization: Bearer …`"));
        };
        self.attempts.succeeded(peer);
        Ok(caller)
    }
}

/// The ticket in the address of a stream.
fn ticket(request: &Request, wanted: Scope) -> Option<String> {
    let path = request.uri().path();
    if wanted != Scope::Read || !matches!(path, "/v1/ws/events" | "/v1/sse/events") {
        return None;
    }
    let pairs = url::form_urlencoded::parse(request.uri().query().unwrap_or_default().as_bytes());
    pairs.into_iter().find(|(name, _)| name == "ticket").map(|(_, ticket)| ticket.into_owned())
}

pub(super) async fn authorize(State(access): State<Arc<Access>>, mut request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
    // What is not there wants no token.
    let Some(wanted) = route.and_then(|route| scope::required(request.method(), route)) else {
        return next.run(request).await;
    };
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(peer)| peer.ip());
    let Some(peer) = peer else { return Problem::bug("a request without a peer").into_response() };
    let allowed = access.is_ours(request.headers()).and_then(|()| match ticket(&request, wanted) {
        Some(ticket) if access.tickets.take(&ticket) => Ok(Caller { name: "a ticket".into(), scope: Scope::Read }),
        Some(_) => {
            let detail = "this ticket is used, too old, or none of ours; POST /v1/stream-tickets gives another";
            Err(Problem::new(StatusCode::UNAUTHORIZED, detail))
        }
        None => access.caller(request.headers(), peer),
    });
    let refusal = match allowed {
        Ok(caller) if caller.scope >= wanted => {
            request.extensions_mut().insert(caller);
            return next.run(request).await;
        }
        Ok(caller) => {
            let (has, wanted) = (caller.scope.as_str(), wanted.as_str());
            let detail = format!("the token `{}` has scope `{has}`; this wants `{wanted}`", caller.name);
            Problem::new(StatusCode::FORBIDDEN, detail).with("scope", wanted)
        }
        Err(refusal) => refusal,
    };
    let mut response = refusal.into_response();
    if response.status() == StatusCode::UNAUTHORIZED {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"sluice\""));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(header::HeaderName, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect()
    }

    fn listening(address: &str) -> ServerSettings {
        ServerSettings { listen: address.parse().unwrap(), ..ServerSettings::default() }
    }

    #[test]
    fn without_a_token_only_loopback_is_served_and_no_web_page() {
        assert!(matches!(Access::new(&listening("0.0.0.0:1")), Err(AccessError::Unprotected { .. })));
        let named = ServerSettings { hosts: vec!["Sluice.example".into()], ..listening("127.0.0.1:1") };
        let access = Access::new(&ServerSettings { cors_origins: vec!["https://a.example".into()], ..named }).unwrap();
        for host in ["127.0.0.1:9464", "localhost", "[::1]:9464", "10.1.2.3:80", "sluice.example:9464"] {
            assert!(access.is_ours(&headers(&[(header::HOST, host)])).is_ok(), "{host}");
        }
        for host in ["rebound.example:9464", "localhost.example", "", ":80", "[::1].example"] {
            assert!(access.is_ours(&headers(&[(header::HOST, host)])).is_err(), "{host}");
        }
        for (origin, ours) in [
            ("https://page.example", false),
            ("null", false),
            ("http://localhost:3000", false),
            ("http://127.0.0.1:9464", true),
            ("https://a.example", true),
        ] {
            let headers = headers(&[(header::HOST, "127.0.0.1:9464"), (header::ORIGIN, origin)]);
            assert_eq!(access.is_ours(&headers).is_ok(), ours, "{origin}");
        }
    }

    #[test]
    fn with_a_token_nothing_else_opens() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "0123456789abcdef\n").unwrap();
        let settings = ServerSettings { token_file: Some(file.path().to_owned()), ..listening("0.0.0.0:1") };
        let access = Access::new(&settings).unwrap();
        let peer = |last: u8| IpAddr::from([10, 0, 0, last]);
        let caller = access.caller(&headers(&[(header::AUTHORIZATION, "Bearer 0123456789abcdef")]), peer(1)).unwrap();
        assert_eq!(caller.scope, Scope::Admin);
        let wrong = ["Bearer 0123456789abcdeg", "Bearer ", "0123456789abcdef", "Basic 0123456789abcdef"];
        for (last, wrong) in (2..).zip(wrong) {
            assert!(access.caller(&headers(&[(header::AUTHORIZATION, wrong)]), peer(last)).is_err(), "{wrong}");
        }
        assert!(access.caller(&headers(&[]), peer(1)).is_err());
    }
}
