//! Who we are to an upstream: headers, parameters, a login, signatures, tokens, and the proxy on the way there.
//!
//! [`Credentials`] live as long as their upstream and are shared by all that is asked of it. For each connection and each request
//! they give a [`Pass`]: secrets as they stand in that moment, so that one that was changed is used from then on. Nothing here shows
//! a secret: neither errors, nor `Debug`, nor what [`Pass::scrub`] was asked about.

mod answer;
mod error;
mod login;
mod request;
mod scrub;
mod secret;
mod token;
mod values;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{HeaderName, HeaderValue};
use tokio::time::Instant;
use url::Url;

pub use self::error::CredentialsError;
use self::login::Login;
pub use self::login::LoginAnswer;
use self::request::{Dress, ProxyForm};
pub use self::scrub::Scrubber;
use self::secret::Secrets;
use self::token::{Token, TokenKeeper};
use self::values::{Fault, Keys, Scene, Target, Values};
use crate::circuits::Circuits;
use crate::config::{OnRefresh, PoolSettings, SecretSource, UpstreamSettings};
use crate::dialect::template::Fill as _;
use crate::http_client::{HttpClient, HttpError, HttpSettings, Way};
use crate::proxy::Proxy;
use crate::tls::ClientIdentity;

/// Shorter texts are left where [`Pass::scrub`] finds them: they are in every other word.
const SCRUBBED_BYTES_MIN: usize = 4;

/// What holds for a time is renewed so long before its end: this part of it, and no more than that. Source: a guess; tokens and
/// logins of providers hold for 15 minutes to a day.
const RENEWED_PART: f64 = 0.2;
const RENEWED_BEFORE_MAX: Duration = Duration::from_mins(5);

/// How long after its beginning something is renewed that holds for so long.
pub fn renewed_after(lifetime: Duration) -> Duration {
    lifetime.saturating_sub(lifetime.mul_f64(RENEWED_PART).min(RENEWED_BEFORE_MAX))
}

/// What settings say, checked.
#[derive(Debug)]
struct Shape {
    values: Values,
    dress: Dress,
    login: Option<Login>,
    proxy: Option<ProxyForm>,
}

impl Shape {
    fn compile(settings: &UpstreamSettings, pool: &PoolSettings) -> Result<Self, Fault> {
        let auth = &settings.auth;
        let values = Values::compile(auth)?;
        let dress = Dress::compile("", &auth.headers, &auth.query, &values)?;
        request::check_path(settings.url.reveal(), &values)?;
        let login = auth.login.as_ref().map(|login| Login::compile(login, &values)).transpose()?;
        let proxy = settings.proxy(pool).map(|proxy| ProxyForm::compile(proxy, &values)).transpose()?;
        Ok(Self { values, dress, login, proxy })
    }
}

/// Who we are to one upstream.
pub struct Credentials {
    upstream: String,
    sources: BTreeMap<String, SecretSource>,
    shape: Arc<Shape>,
    token: Option<TokenKeeper>,
    on_refresh: OnRefresh,
    identity: Option<Arc<ClientIdentity>>,
    ca_file: Option<PathBuf>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("upstream", &self.upstream).finish_non_exhaustive()
    }
}

impl Credentials {
    /// Of the upstream `name`. Nothing is read or asked yet, but for the files of a client certificate.
    ///
    /// # Errors
    /// When settings cannot be meant, or the client certificate cannot be used.
    pub fn new(
        name: &str,
        settings: &UpstreamSettings,
        pool: &PoolSettings,
        circuits: &Circuits,
    ) -> Result<Self, CredentialsError> {
        let fault = |fault| CredentialsError::of(name, fault);
        let shape = Shape::compile(settings, pool).map_err(fault)?;
        let auth = &settings.auth;
        let token = auth.token.as_ref().map(|token| TokenKeeper::new(name, token, &shape.values, pool, circuits));
        let logs_in_with_it = shape.login.as_ref().is_some_and(|login| login.has_token);
        let asked = auth.token.as_ref().and_then(|token| token.on_refresh);
        let on_refresh = asked.unwrap_or(if logs_in_with_it { OnRefresh::Login } else { OnRefresh::Replace });
        if on_refresh == OnRefresh::Login && !logs_in_with_it {
            let reason = "is \"login\", and there is no `auth.login` that has `{token}`".to_owned();
            return Err(fault(("token.on_refresh".into(), reason)));
        }
        let identity = match (&settings.client_cert, &settings.client_key) {
            (None, None) => None,
            (Some(certificate), Some(key)) => {
                let identity = ClientIdentity::read(certificate.clone(), key.clone());
                let refused =
                    |error| CredentialsError::Identity { upstream: name.to_owned(), reason: format!("{error}") };
                Some(Arc::new(identity.map_err(refused)?))
            }
            (one, _) => {
                let (there, missing) =
                    if one.is_some() { ("client_cert", "client_key") } else { ("client_key", "client_cert") };
                let reason = format!("`{there}` is set and `{missing}` is not; a client certificate is both");
                return Err(CredentialsError::Identity { upstream: name.to_owned(), reason });
            }
        };
        Ok(Self {
            upstream: name.to_owned(),
            sources: auth.secrets.clone(),
            shape: Arc::new(shape),
            token: token.transpose().map_err(fault)?,
            on_refresh,
            identity,
            ca_file: settings.ca_file.clone(),
        })
    }

    /// Whether settings can be used as things stand: every secret is there, and written as it should be.
    ///
    /// # Errors
    /// When they cannot.
    pub fn check(name: &str, settings: &UpstreamSettings, pool: &PoolSettings) -> Result<(), CredentialsError> {
        Self::new(name, settings, pool, &Circuits::new(false, Vec::new()))?.read().map(drop)
    }

    /// Which of these names a template of a dialect may not have in `{auth.NAME}`.
    pub fn unknown<'n>(&self, names: &'n BTreeSet<String>) -> Option<&'n str> {
        names.iter().map(String::as_str).find(|name| !self.shape.values.knows(name))
    }

    /// The client certificate, where there is one.
    pub fn identity(&self) -> Option<&Arc<ClientIdentity>> {
        self.identity.as_ref()
    }

    /// Secrets as they stand now, without a token.
    fn read(&self) -> Result<Pass, CredentialsError> {
        let upstream = || self.upstream.clone();
        let secrets = Secrets::read(&self.sources).map_err(|(name, unhad)| CredentialsError::Missing {
            upstream: upstream(),
            name,
            state: unhad.state,
            looked: unhad.looked,
        })?;
        let keys = self.shape.values.keys(&secrets);
        let keys = keys.map_err(|fault| CredentialsError::of(&self.upstream, fault))?;
        if let Some(identity) = &self.identity {
            let refused = |error| CredentialsError::Identity { upstream: upstream(), reason: format!("{error}") };
            identity.refresh().map_err(refused)?;
        }
        let mut pass =
            Pass { upstream: upstream(), shape: Arc::clone(&self.shape), secrets, keys, token: None, proxy: None };
        pass.proxy = self.shape.proxy.as_ref().map(|proxy| proxy.fill(&pass.scene(Target::default())));
        Ok(pass)
    }

    /// What one connection or request proves itself with; asks for a token first where there is none that holds. Cancel safe.
    ///
    /// # Errors
    /// When a secret is missing, or there is no token.
    pub async fn pass(&self) -> Result<Pass, CredentialsError> {
        let mut pass = self.read()?;
        if let Some(keeper) = &self.token {
            pass.token = Some(keeper.get(self, &pass).await?);
        }
        Ok(pass)
    }

    /// The same with the token that there is, if it holds: nobody is asked.
    ///
    /// # Errors
    /// When a secret is missing, or there is no token.
    pub fn pass_now(&self) -> Result<Pass, CredentialsError> {
        let mut pass = self.read()?;
        if let Some(keeper) = &self.token {
            let none = || CredentialsError::Token {
                upstream: self.upstream.clone(),
                reason: "the last one has ended".into(),
                refused: false,
            };
            pass.token = Some(keeper.usable(Instant::now()).ok_or_else(none)?);
        }
        Ok(pass)
    }

    /// Puts headers and parameters on a request to the upstream, with a body that is known. Cancel safe.
    ///
    /// # Errors
    /// When a secret is missing, or there is no token.
    pub async fn dress(&self, request: &mut reqwest::Request) -> Result<(), CredentialsError> {
        let pass = self.pass().await?;
        let body = request.body().and_then(reqwest::Body::as_bytes).map(String::from_utf8_lossy).unwrap_or_default();
        let dressed = pass.dress(request.method().as_str(), request.url(), &body)?;
        *request.url_mut() = dressed.url;
        for (name, value) in dressed.headers {
            request.headers_mut().insert(name, value);
        }
        Ok(())
    }

    /// The proxy that everything goes through, where there is one.
    ///
    /// # Errors
    /// When a secret is missing.
    pub fn proxy(&self) -> Result<Option<Proxy>, CredentialsError> {
        Ok(self.read()?.proxy)
    }

    /// A client for requests to the upstream: with its trust, its client certificate and its proxy.
    ///
    /// # Errors
    /// When a secret of the proxy is missing, or the client cannot be set up.
    pub fn http_client(&self, timeout: Duration, body_bytes_max: usize) -> Result<HttpClient, HttpError> {
        let pass = self.read().map_err(|error| HttpError::Setup(error.to_string()))?;
        self.client_of(&pass, timeout, body_bytes_max)
    }

    fn client_of(&self, pass: &Pass, timeout: Duration, body_bytes_max: usize) -> Result<HttpClient, HttpError> {
        let settings = HttpSettings { ca_file: self.ca_file.as_deref(), timeout, body_bytes_max };
        HttpClient::by(&settings, &Way { proxy: pass.proxy.as_ref(), identity: self.identity.as_ref() })
    }

    /// The upstream did not take a connection's credentials: its token is not used again.
    pub fn refused(&self, pass: &Pass) {
        if let Some(token) = &pass.token {
            tracing::debug!(upstream = %self.upstream, "the upstream refused us; the token is not used again");
            token.forget();
        }
    }

    /// Which token is the newest: open links look whether theirs is. 0 where there is none.
    pub fn generation(&self) -> u64 {
        self.token.as_ref().map_or(0, TokenKeeper::generation)
    }

    /// What open links do when there is another token.
    pub fn on_refresh(&self) -> OnRefresh {
        self.on_refresh
    }

    /// Asks for another token before the one in use ends. Runs as long as the upstream does.
    pub async fn keep_fresh(&self) {
        match &self.token {
            Some(keeper) => keeper.keep_fresh(self).await,
            None => std::future::pending().await,
        }
    }
}

/// What one connection or request proves itself with.
#[derive(Debug, Clone)]
pub struct Pass {
    upstream: String,
    shape: Arc<Shape>,
    secrets: Secrets,
    keys: Keys,
    token: Option<Arc<Token>>,
    proxy: Option<Proxy>,
}

/// An address and headers that carry our credentials.
pub struct Dressed {
    /// With parameters, and what its path has of them.
    pub url: Url,
    /// Marked so that nothing shows their values.
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

impl Pass {
    /// The proxy on the way.
    pub fn proxy(&self) -> Option<&Proxy> {
        self.proxy.as_ref()
    }

    /// Address and headers of a request.
    ///
    /// # Errors
    /// When a value cannot stand in a header.
    pub fn dress(&self, method: &str, url: &Url, body: &str) -> Result<Dressed, CredentialsError> {
        let mut scene = self.scene(Target::of(method, url));
        body.clone_into(&mut scene.target.body);
        let refused = |key| CredentialsError::Header { upstream: self.upstream.clone(), key };
        self.shape.dress.put_on(&mut scene, url).map_err(refused)
    }

    /// The login for a connection to an address; none where there is none to send.
    pub fn login(&self, url: &Url) -> Option<String> {
        let login = self.shape.login.as_ref()?;
        Some(self.scene(Target::of("GET", url)).render(&login.template))
    }

    /// How long its answer is waited for; none where it is not.
    pub fn login_answer_within(&self) -> Option<Duration> {
        self.shape.login.as_ref().and_then(Login::answer_within)
    }

    /// How long a login holds that is not answered.
    pub fn login_lifetime(&self) -> Option<Duration> {
        self.shape.login.as_ref().and_then(Login::lifetime)
    }

    /// What a frame says about the login; none where it is about something else.
    pub fn judge_login(&self, text: &str) -> Option<LoginAnswer> {
        match self.shape.login.as_ref()?.judge(text)? {
            LoginAnswer::Refused(reason) => Some(LoginAnswer::Refused(self.scrub(&reason))),
            accepted @ LoginAnswer::Accepted(_) => Some(accepted),
        }
    }

    /// A message of a dialect with those of its `{auth.NAME}` filled that the dialect has `named`; they stand inside of JSON strings.
    /// Any other was said by somebody else, and stays as it is: an upstream that has us repeat its words gets no secret by it.
    pub fn fill(&self, text: &str, named: &BTreeSet<String>, url: &Url) -> String {
        const START: &str = "{auth.";
        let scene = self.scene(Target::of("GET", url));
        let (mut out, mut rest) = (String::with_capacity(text.len()), text);
        while let Some(at) = rest.find(START) {
            let behind = at + START.len();
            let end = rest[behind..].find('}').map(|end| behind + end);
            let value = end.map(|end| &rest[behind..end]).filter(|name| named.contains(*name));
            let value = value.and_then(|name| scene.text(name));
            if let (Some(value), Some(end)) = (value, end) {
                let quoted = serde_json::Value::from(&*value).to_string();
                out.push_str(&rest[..at]);
                out.push_str(&quoted[1..quoted.len() - 1]);
                rest = &rest[end + 1..];
            } else {
                out.push_str(&rest[..behind]);
                rest = &rest[behind..];
            }
        }
        out.push_str(rest);
        out
    }

    /// As [`Pass::fill`], for a text that stands in no JSON string.
    pub fn fill_plain(&self, text: String, named: &BTreeSet<String>, url: &Url) -> String {
        if !text.contains("{auth.") {
            return text;
        }
        let filled = self.fill(&serde_json::Value::from(text.as_str()).to_string(), named, url);
        serde_json::from_str(&filled).unwrap_or(text)
    }

    /// A text of the upstream's, without the secrets that it may repeat.
    pub fn scrub(&self, text: &str) -> String {
        let secrets = self.secrets.texts().chain(self.token.as_deref().map(Token::text));
        secrets.filter(|secret| secret.len() >= SCRUBBED_BYTES_MIN).fold(text.to_owned(), |text, secret| {
            if text.contains(secret) { text.replace(secret, "***") } else { text }
        })
    }

    /// Which token it has; 0 where none.
    pub fn generation(&self) -> u64 {
        self.token.as_ref().map_or(0, |token| token.generation())
    }

    /// When its token ends.
    pub fn token_ends(&self) -> Option<Instant> {
        self.token.as_ref().and_then(|token| token.ends())
    }

    fn scene(&self, target: Target) -> Scene<'_> {
        let token = self.token.as_deref().map(Token::text);
        Scene::now(&self.shape.values, (&self.secrets, &self.keys), token, target)
    }
}
