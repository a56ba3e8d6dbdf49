//! A token that is asked for over HTTP, shared by everything that goes to its upstream.
//!
//! One call at a time, however many links want it. It is asked for again before it ends; after a failure there is a wait that
//! grows, and the breaker `token` of the upstream stands before it as well, so that nobody is hammered.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::{Mutex, watch};
use tokio::time::{Instant, sleep_until};

use super::answer;
use super::request::{RequestForm, RequestSettings};
use super::values::{Fault, TOKEN, Values};
use super::{Credentials, CredentialsError, Pass, renewed_after};
use crate::backoff::Backoff;
use crate::breaker::{Breaker, CircuitKind, Refusal};
use crate::circuits::Circuits;
use crate::clock::UnixNanos;
use crate::config::{LifetimeUnit, PoolSettings, TokenSettings};
use crate::http_client::HttpAnswer;
use crate::telemetry::TokenMetrics;

/// An answer with a token is no longer.
const ANSWER_BYTES_MAX: usize = 256 << 10;

/// No token is believed to hold longer; sums of times stay far from their types' limits.
const LIFETIME_MAX: Duration = Duration::from_hours(365 * 24);

/// Pause where the breaker lets nobody through and says no time.
const BREAKER_LOOK: Duration = Duration::from_secs(1);

/// A token, as long as it holds.
pub(super) struct Token {
    text: String,
    generation: u64,
    /// None: for ever.
    ends: Option<Instant>,
    refresh: Option<Instant>,
    refused: AtomicBool,
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").field("generation", &self.generation).finish_non_exhaustive()
    }
}

impl Token {
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// It was refused by whom it is for, and is not used again.
    pub(super) fn forget(&self) {
        self.refused.store(true, Ordering::Relaxed);
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    pub(super) fn ends(&self) -> Option<Instant> {
        self.ends
    }
}

/// Why the last call gave no token, and when the next may be made.
struct Calls {
    backoff: Backoff,
    not_before: Instant,
    last_failure: Option<(String, bool)>,
    generations: u64,
}

/// Why a call gave none.
struct Failure {
    reason: String,
    refused: bool,
    retry_after: Option<Duration>,
}

pub(super) struct TokenKeeper {
    settings: TokenSettings,
    request: RequestForm,
    extend: Option<RequestForm>,
    refused_wait: Duration,
    breaker: Breaker,
    calls: Mutex<Calls>,
    current: watch::Sender<Option<Arc<Token>>>,
}

impl TokenKeeper {
    pub(super) fn new(
        upstream: &str,
        settings: &TokenSettings,
        values: &Values,
        pool: &PoolSettings,
        circuits: &Circuits,
    ) -> Result<Self, Fault> {
        let TokenSettings { url, method, headers, query, body, .. } = settings;
        let place = "token.";
        let request = RequestSettings { place, url, method: *method, headers, query, body: body.as_deref() };
        let request = RequestForm::compile(&request, values)?;
        if request.uses(values, TOKEN) {
            return Err(("token".into(), "needs `{token}`, which it is to ask for".into()));
        }
        let extend = settings.extend.as_ref().map(|extend| {
            let own = RequestSettings {
                place: "token.extend.",
                url: extend.url.as_ref().unwrap_or(url),
                method: extend.method,
                headers: &extend.headers,
                query: &extend.query,
                body: extend.body.as_deref(),
            };
            RequestForm::compile(&own, values)
        });
        answer::check_pointers("token.value", [&settings.value])?;
        answer::check_pointers("token.lifetime_at", &settings.lifetime_at)?;
        answer::check_pointers("token.reason", &settings.reason)?;
        for (key, duration) in [("lifetime", settings.lifetime), ("timeout", Some(settings.timeout))] {
            if duration.is_some_and(|duration| duration.is_zero()) {
                return Err((format!("token.{key}"), "is 0; write a duration such as `10s`".into()));
            }
        }
        if let (Some(before), Some(lifetime)) = (settings.refresh_before, settings.lifetime)
            && before >= lifetime
        {
            return Err(("token.refresh_before".into(), "must be less than `lifetime`".into()));
        }
        Ok(Self {
            settings: settings.clone(),
            request,
            extend: extend.transpose()?,
            refused_wait: pool.refused_wait,
            breaker: circuits.register(CircuitKind::Token, upstream),
            calls: Mutex::new(Calls {
                backoff: Backoff::new(pool.backoff_min, pool.backoff_max),
                not_before: Instant::now(),
                last_failure: None,
                generations: 0,
            }),
            current: watch::Sender::new(None),
        })
    }

    /// The token that there is, if it holds.
    pub(super) fn usable(&self, now: Instant) -> Option<Arc<Token>> {
        let token = self.current.borrow().clone()?;
        let holds = token.ends.is_none_or(|ends| now < ends) && !token.refused.load(Ordering::Relaxed);
        holds.then_some(token)
    }

    pub(super) fn generation(&self) -> u64 {
        self.current.borrow().as_ref().map_or(0, |token| token.generation)
    }

    /// The token that there is, or one that is asked for now. Cancel safe: a call that is broken off is none.
    pub(super) async fn get(&self, credentials: &Credentials, pass: &Pass) -> Result<Arc<Token>, CredentialsError> {
        let mut calls = self.calls.lock().await;
        match self.usable(Instant::now()) {
            // Another link has asked meanwhile.
            Some(token) => Ok(token),
            None => self.call(&mut calls, credentials, pass, None).await,
        }
    }

    /// See [`Credentials::keep_fresh`].
    pub(super) async fn keep_fresh(&self, credentials: &Credentials) {
        let mut changes = self.current.subscribe();
        loop {
            let token = changes.borrow_and_update().clone();
            let Some((token, due)) = token.and_then(|token| Some((Arc::clone(&token), token.refresh?))) else {
                // The sender is ours.
                if changes.changed().await.is_err() {
                    return;
                }
                continue;
            };
            let due = due.max(self.calls.lock().await.not_before);
            tokio::select! {
                // Asked for by a link: the one before had ended, or was refused.
                _ = changes.changed() => continue,
                () = sleep_until(due) => {}
            }
            let mut calls = self.calls.lock().await;
            if self.generation() != token.generation {
                continue;
            }
            let refreshed = match credentials.read() {
                Ok(pass) => self.call(&mut calls, credentials, &pass, Some(&token)).await.map(drop),
                Err(error) => {
                    calls.not_before = Instant::now() + calls.backoff.next(None);
                    Err(error)
                }
            };
            if let Err(error) = refreshed {
                tracing::warn!(upstream = %credentials.upstream, "the token is not refreshed: {error}");
            }
        }
    }

    /// One call, if it may be made. `before` is the token that another takes the place of.
    async fn call(
        &self,
        calls: &mut Calls,
        credentials: &Credentials,
        pass: &Pass,
        before: Option<&Arc<Token>>,
    ) -> Result<Arc<Token>, CredentialsError> {
        let now = Instant::now();
        let upstream = || credentials.upstream.clone();
        if now < calls.not_before
            && let Some((reason, refused)) = calls.last_failure.clone()
        {
            let wait = calls.not_before - now;
            return Err(CredentialsError::Waiting { upstream: upstream(), reason, wait, refused });
        }
        let permit = self.breaker.permit().map_err(|refusal| {
            let until = match refusal {
                Refusal::Until(until) => until,
                Refusal::Probing | Refusal::Forced => now + BREAKER_LOOK,
            };
            calls.not_before = calls.not_before.max(until);
            let reason = match &calls.last_failure {
                Some((failure, _)) => format!("{refusal}: {failure}"),
                None => refusal.to_string(),
            };
            CredentialsError::Token { upstream: upstream(), reason, refused: false }
        })?;
        let extendable = before.filter(|token| !token.refused.load(Ordering::Relaxed)).zip(self.extend.as_ref());
        let mut made = match extendable {
            Some((token, extend)) => self.extended(credentials, pass, token, extend).await,
            None => self.fetched(credentials, pass).await,
        };
        if let (Err(failure), Some(_)) = (&made, extendable) {
            tracing::warn!(upstream = %credentials.upstream, "the token cannot be extended, and another is asked for: {}", failure.reason);
            made = self.fetched(credentials, pass).await;
        }
        TokenMetrics::asked(&credentials.upstream, made.is_ok());
        match made {
            Ok((text, life)) => {
                permit.succeeded();
                calls.backoff.reset();
                calls.last_failure = None;
                // A token that was extended is the same one: open links have nothing to do.
                if before.is_none_or(|before| before.text != text) {
                    calls.generations += 1;
                }
                let token = Arc::new(self.token_of(text, life, calls.generations));
                let holds =
                    life.map_or_else(|| "for ever".to_owned(), |life| format!("for {:.0} s", life.as_secs_f64()));
                tracing::info!(upstream = %credentials.upstream, "there is a token, which holds {holds}");
                self.current.send_replace(Some(Arc::clone(&token)));
                Ok(token)
            }
            Err(Failure { reason, refused, retry_after }) => {
                let reason = pass.scrub(&reason);
                permit.failed(&reason);
                let wait = match (refused, retry_after) {
                    (true, None) => calls.backoff.refused(self.refused_wait),
                    (_, asked) => calls.backoff.next(asked),
                };
                calls.not_before = Instant::now() + wait;
                calls.last_failure = Some((reason.clone(), refused));
                Err(CredentialsError::Token { upstream: upstream(), reason, refused })
            }
        }
    }

    fn token_of(&self, text: String, life: Option<Duration>, generation: u64) -> Token {
        let now = Instant::now();
        let after = |life: Duration| {
            // One that is as long as the life that the provider grants now would have us ask without end.
            let set = self.settings.refresh_before.filter(|before| *before < life);
            set.map_or_else(|| renewed_after(life), |before| life.saturating_sub(before))
        };
        Token {
            text,
            generation,
            ends: life.map(|life| now + life),
            refresh: life.map(|life| now + after(life)),
            refused: AtomicBool::new(false),
        }
    }

    async fn fetched(&self, credentials: &Credentials, pass: &Pass) -> Result<(String, Option<Duration>), Failure> {
        let (answer, host) = self.ask(credentials, pass, &self.request).await?;
        let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let refused = |reason| Failure { reason, refused: true, retry_after: None };
        let text = match body.pointer(&self.settings.value) {
            Some(Value::String(text)) if !text.is_empty() && !text.contains(char::is_control) => text.clone(),
            _ => {
                let at = &self.settings.value;
                return Err(refused(match (answer::reason(&self.settings.reason, &body), &body) {
                    (Some(reason), _) => format!("{host} gave none: {reason}"),
                    // Keys alone: one of the values may be the token.
                    (None, Value::Object(keys)) => {
                        let keys = super::values::listed(keys.keys().take(10).map(String::as_str));
                        format!("the answer of {host} has no text at `{at}`; it has {keys}")
                    }
                    _ => format!("the answer of {host} has no text at `{at}`"),
                }));
            }
        };
        Ok((text, self.life_in(&body)))
    }

    async fn extended(
        &self,
        credentials: &Credentials,
        pass: &Pass,
        token: &Arc<Token>,
        extend: &RequestForm,
    ) -> Result<(String, Option<Duration>), Failure> {
        let pass = Pass { token: Some(Arc::clone(token)), ..pass.clone() };
        let (answer, _) = self.ask(credentials, &pass, extend).await?;
        let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        Ok((token.text.clone(), self.life_in(&body)))
    }

    fn life_in(&self, answer: &Value) -> Option<Duration> {
        let TokenSettings { lifetime_at, lifetime_unit, lifetime, .. } = &self.settings;
        let stated = lifetime_at.as_deref().and_then(|at| answer::number(at, answer));
        #[expect(clippy::cast_precision_loss, reason = "a microsecond of a moment is of no matter")]
        let now = UnixNanos::now().0 as f64 / 1e9;
        let seconds = stated.map(|stated| match lifetime_unit {
            LifetimeUnit::S => stated,
            LifetimeUnit::Ms => stated / 1e3,
            LifetimeUnit::UnixS => (stated - now).max(0.0),
            LifetimeUnit::UnixMs => (stated / 1e3 - now).max(0.0),
        });
        let life = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()).or(*lifetime);
        life.map(|life| life.min(LIFETIME_MAX))
    }

    /// The answer, if it is of success, and whose it is.
    async fn ask(
        &self,
        credentials: &Credentials,
        pass: &Pass,
        form: &RequestForm,
    ) -> Result<(HttpAnswer, String), Failure> {
        let failed = |reason| Failure { reason, refused: false, retry_after: None };
        let request = form.fill(&mut pass.scene(form.target()));
        let request = request.map_err(|key| failed(format!("`auth.token.{key}` cannot stand in a header")))?;
        let url = request.url();
        let host =
            format!("{}:{}", url.host_str().unwrap_or_default(), url.port_or_known_default().unwrap_or_default());
        // A client for each call: calls are rare, and trust, certificate and proxy may have changed.
        let client = credentials.client_of(pass, self.settings.timeout, ANSWER_BYTES_MAX);
        let answer = match client {
            Ok(client) => client.send(request).await.map_err(|error| failed(error.to_string()))?,
            Err(error) => return Err(failed(error.to_string())),
        };
        if answer.is_success() {
            return Ok((answer, host));
        }
        let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let said = answer::reason(&self.settings.reason, &body).map_or_else(String::new, |said| format!(": {said}"));
        let refused = matches!(answer.status, 400 | 401 | 403);
        let hint = if refused { "; check the credentials" } else { "" };
        let reason = format!("{host} answered with HTTP {}{said}{hint}", answer.status);
        Err(Failure { reason, refused, retry_after: answer.retry_after })
    }
}
