//! How anything is asked over HTTP: backfills, polls, look-ups, tokens.
//!
//! A thin cover of `reqwest` that fixes what must be the same everywhere: whom to trust, no proxy but the one that is
//! set, a deadline for the whole answer, a bound on its size, and errors that never show an address's secrets.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use reqwest::dns::Resolve;
use reqwest::header;
use reqwest::redirect::{self, Policy};

use crate::clock::UnixNanos;
use crate::proxy::Proxy;
use crate::retry_after::wait_of;
use crate::tls::{self, ClientIdentity, TlsError};

/// How a client of one side is set up.
#[derive(Debug, Clone)]
pub struct HttpSettings<'a> {
    /// Certificates trusted beside the system's.
    pub ca_file: Option<&'a Path>,
    /// The longest an answer may take, from connecting to its last byte.
    pub timeout: Duration,
    /// The longest body that is taken.
    pub body_bytes_max: usize,
}

/// The way to one side.
#[derive(Debug, Clone, Default)]
pub struct Way<'a> {
    /// The proxy that everything goes through.
    pub proxy: Option<&'a Proxy>,
    /// The client certificate.
    pub identity: Option<&'a Arc<ClientIdentity>>,
}

/// A client, whose connections are kept for the next request. Cheap to clone.
#[derive(Debug, Clone)]
pub struct HttpClient {
    client: reqwest::Client,
    body_bytes_max: usize,
}

/// What was answered, whatever its status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpAnswer {
    /// The status.
    pub status: u16,
    /// How long the server wants to be left alone.
    pub retry_after: Option<Duration>,
    /// The body, decompressed.
    pub body: Vec<u8>,
    /// Its headers.
    pub headers: header::HeaderMap,
}

impl HttpAnswer {
    /// Whether it is what was asked for.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

/// An answer without an end, read as it comes.
pub struct HttpStream {
    /// The status.
    pub status: u16,
    /// How long the server wants to be left alone.
    pub retry_after: Option<Duration>,
    /// Its headers.
    pub headers: header::HeaderMap,
    /// The body, decompressed, in pieces.
    pub body: BoxStream<'static, Result<Bytes, HttpError>>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The client cannot be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The library refuses the settings.
    #[error("the HTTP client cannot be set up: {0}")]
    Setup(String),
    /// It did not come, or not in time.
    #[error("{host}: {reason}")]
    Failed {
        /// Who was asked: never the path, which may hold a key.
        host: String,
        /// Why.
        reason: String,
    },
    /// It is longer than may be.
    #[error("{host}: the answer is longer than {limit} bytes")]
    TooLong {
        /// Who was asked.
        host: String,
        /// The bound.
        limit: usize,
    },
}

impl HttpClient {
    /// A client.
    ///
    /// # Errors
    /// When its trust cannot be built.
    pub fn new(settings: &HttpSettings<'_>) -> Result<Self, HttpError> {
        Self::by(settings, &Way::default())
    }

    /// A client that goes a way of its own.
    ///
    /// # Errors
    /// When its trust cannot be built, or its proxy is none.
    pub fn by(settings: &HttpSettings<'_>, way: &Way<'_>) -> Result<Self, HttpError> {
        let tls = tls::client_config_with(settings.ca_file, way.identity)?;
        let client = reqwest::Client::builder().tls_backend_preconfigured((*tls).clone()).no_proxy();
        let client = match way.proxy {
            Some(proxy) => client.proxy(proxy.for_http().map_err(|error| setup(&error))?),
            None => client,
        };
        let client = client
            .redirect(Policy::custom(within_the_host))
            .timeout(settings.timeout)
            .user_agent(USER_AGENT)
            .build()
            .map_err(|error| setup(&error))?;
        Ok(Self { client, body_bytes_max: settings.body_bytes_max })
    }

    /// A client that follows nobody elsewhere and keeps no connection, so that `resolver`, where one is given, says for each request
    /// whom a name means.
    ///
    /// # Errors
    /// When its trust cannot be built.
    pub fn unswerving<R: Resolve + 'static>(
        settings: &HttpSettings<'_>,
        resolver: Option<R>,
    ) -> Result<Self, HttpError> {
        let tls = tls::client_config_with(settings.ca_file, None)?;
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured((*tls).clone())
            .no_proxy()
            .redirect(Policy::none())
            .pool_max_idle_per_host(0)
            .timeout(settings.timeout)
            .user_agent(USER_AGENT);
        let client = match resolver {
            Some(resolver) => client.dns_resolver(Arc::new(resolver)),
            None => client,
        };
        let client = client.build().map_err(|error| setup(&error))?;
        Ok(Self { client, body_bytes_max: settings.body_bytes_max })
    }

    /// For building a request with.
    pub fn client(&self) -> &reqwest::Client {
        &self.client
    }

    /// Asks, and reads the whole answer.
    ///
    /// # Errors
    /// When no answer came, not in time, or a longer one than may be. An answer of any status is an answer.
    pub async fn send(&self, request: reqwest::Request) -> Result<HttpAnswer, HttpError> {
        let host = host_of(request.url());
        let HttpStream { status, retry_after, headers, body: mut chunks } = self.execute(request).await?;
        let mut body = Vec::new();
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk?;
            if body.len() + chunk.len() > self.body_bytes_max {
                return Err(HttpError::TooLong { host, limit: self.body_bytes_max });
            }
            body.extend_from_slice(&chunk);
        }
        Ok(HttpAnswer { status, retry_after, body, headers })
    }

    /// Asks for something without an end. Neither the time nor the length of the answer is bounded: both are up to whoever
    /// reads it, as is how long its head is waited for.
    ///
    /// # Errors
    /// When no answer came.
    pub async fn open(&self, mut request: reqwest::Request) -> Result<HttpStream, HttpError> {
        *request.timeout_mut() = Some(ENDLESS);
        self.execute(request).await
    }

    async fn execute(&self, request: reqwest::Request) -> Result<HttpStream, HttpError> {
        let host = host_of(request.url());
        let failed = move |error: reqwest::Error| HttpError::Failed { host: host.clone(), reason: reason_of(error) };
        let response = self.client.execute(request).await.map_err(&failed)?;
        let status = response.status().as_u16();
        let headers = response.headers().clone();
        let text = |name| headers.get(name).and_then(|value: &header::HeaderValue| value.to_str().ok());
        let retry_after =
            text(header::RETRY_AFTER).and_then(|wait| wait_of(wait, text(header::DATE), UnixNanos::now()));
        let body = response.bytes_stream().map(move |chunk| chunk.map_err(&failed)).boxed();
        Ok(HttpStream { status, retry_after, headers, body })
    }
}

/// What we call ourselves.
const USER_AGENT: &str = concat!("sluice/", env!("CARGO_PKG_VERSION"));

fn setup(error: &reqwest::Error) -> HttpError {
    // Nothing was asked yet, so that no address is in it.
    HttpError::Setup(error.to_string())
}

/// Stands for no deadline, which a request can only have of its own or from its client.
const ENDLESS: Duration = Duration::from_hours(24 * 365);

/// Follows redirects of a host to itself, not in the clear where it was not before: what proves who we are is for nobody else. Any
/// other is the answer.
fn within_the_host(attempt: redirect::Attempt<'_>) -> redirect::Action {
    const REDIRECTS_MAX: usize = 3;
    let first = attempt.previous().first();
    let (from, to) = (first.map(url::Url::host_str), attempt.url());
    let safe = to.scheme() == "https" || first.is_some_and(|first| first.scheme() == to.scheme());
    let stays = from == Some(to.host_str()) && safe && attempt.previous().len() <= REDIRECTS_MAX;
    if stays { attempt.follow() } else { attempt.stop() }
}

/// Host and port.
fn host_of(url: &url::Url) -> String {
    let port = url.port_or_known_default().map_or_else(String::new, |port| format!(":{port}"));
    format!("{}{port}", url.host_str().unwrap_or_default())
}

/// The whole chain of causes: the outermost only says that something failed.
fn reason_of(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(inner) = cause {
        let more = inner.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = inner.source();
    }
    text
}
