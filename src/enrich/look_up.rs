//! One look-up: what is known, what is asked for now, and how the asking goes.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tokio::sync::mpsc;

use super::answer::Answer;
use super::subject::Subject;
use crate::breaker::{Breaker, BreakerState};
use crate::config::{CacheSettings, EnrichSettings};
use crate::telemetry::LookUpMetrics;
use crate::value_cache::{CacheFigures, ValueCache, multiplied};

/// Memory of the answers of a look-up.
const CACHE_BYTES_MAX: usize = 32 << 20;

/// Keys that wait to be asked for. What comes beyond is left to the key's next event.
pub(super) const QUEUE_MAX: usize = 10_000;

/// After a failure a key is not asked for again before this. Source: a guess; the breaker sees to more.
const FAILED_WAIT: Duration = Duration::from_secs(2);

/// What was found is shown for at least so long after it should be asked for again. Source: a guess; keys come again within it, or
/// are of little interest.
const STALE_MIN: Duration = Duration::from_mins(1);

/// A look-up as it stands, for people and programs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LookUpRow {
    /// Whose events.
    pub monitor: String,
    /// Its name.
    pub look_up: String,
    /// Requests that were answered with fields, since the start,
    pub found: u64,
    /// that there is nothing,
    pub nothing: u64,
    /// and that failed.
    pub failed: u64,
    /// Keys that were not asked for: too many waited, or the breaker was open.
    pub skipped: u64,
    /// Of those that were asked for, the share that was answered; none before the first.
    pub success_rate: Option<f64>,
    /// Keys that are asked for, or wait for it.
    pub waiting: usize,
    /// Why the last one failed that did.
    pub last_error: Option<String>,
}

/// A look-up.
#[derive(Debug)]
pub(super) struct LookUp {
    pub(super) monitor: String,
    pub(super) name: String,
    pub(super) settings: EnrichSettings,
    pub(super) subject: Subject,
    pub(super) breaker: Breaker,
    cache: ValueCache,
    cache_settings: CacheSettings,
    waiting: Mutex<HashSet<Box<str>>>,
    queue: mpsc::Sender<Box<str>>,
    found: AtomicU64,
    nothing: AtomicU64,
    failed: AtomicU64,
    skipped: AtomicU64,
    last_error: Mutex<Option<String>>,
    metrics: LookUpMetrics,
}

/// What changed by an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum News {
    /// Nothing.
    None,
    /// These fields; none: there is nothing any more.
    Fields(Option<Box<str>>),
}

impl LookUp {
    pub(super) fn new(
        (monitor, name): (&str, &str),
        settings: &EnrichSettings,
        cache_settings: &CacheSettings,
        subject: Subject,
        breaker: Breaker,
    ) -> (Self, mpsc::Receiver<Box<str>>) {
        let (queue, asked) = mpsc::channel(QUEUE_MAX);
        let look_up = Self {
            monitor: monitor.to_owned(),
            name: name.to_owned(),
            settings: settings.clone(),
            subject,
            breaker,
            cache: ValueCache::new(CACHE_BYTES_MAX, cache_settings),
            cache_settings: cache_settings.clone(),
            waiting: Mutex::default(),
            queue,
            found: AtomicU64::new(0),
            nothing: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            skipped: AtomicU64::new(0),
            last_error: Mutex::default(),
            metrics: LookUpMetrics::new(monitor, name),
        };
        (look_up, asked)
    }

    fn waiting(&self) -> MutexGuard<'_, HashSet<Box<str>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ttl(&self) -> Duration {
        multiplied(self.settings.ttl.unwrap_or(self.cache_settings.ttl), &self.cache_settings)
    }

    /// Has a key asked for, unless it is known or asked for already.
    pub(super) fn want(&self, key: &str) {
        if !self.cache.get(key).is_none_or(|cached| cached.stale) {
            return;
        }
        self.ask(key);
    }

    fn ask(&self, key: &str) {
        if !self.waiting().insert(key.into()) {
            return;
        }
        if self.queue.try_send(key.into()).is_err() {
            self.skip(key);
        }
    }

    /// As [`LookUp::want`], for a sink that may wait for the answer. Whether there is anything to wait for.
    pub(super) fn want_at_once(&self, key: &str) -> bool {
        let known = self.cache.peek(key);
        if known.as_ref().is_none_or(|cached| cached.stale) {
            self.ask(key);
        }
        // One that is stale is better than waiting.
        known.is_none() && self.breaker.state() == BreakerState::Closed && self.is_waiting(key)
    }

    /// Whether it is asked for, or waits for that.
    pub(super) fn is_waiting(&self, key: &str) -> bool {
        self.waiting().contains(key)
    }

    /// Whether it has come to be known since it was asked for; it is waited for no longer then.
    pub(super) fn is_settled(&self, key: &str) -> bool {
        let known = self.cache.peek(key).is_some_and(|cached| !cached.stale);
        if known {
            self.waiting().remove(key);
        }
        known
    }

    /// It is not asked for now.
    pub(super) fn skip(&self, key: &str) {
        self.waiting().remove(key);
        self.skipped.fetch_add(1, Ordering::Relaxed);
        self.metrics.skipped();
    }

    /// The fields that are known.
    pub(super) fn fields(&self, key: &str) -> Option<String> {
        let value = self.cache.peek(key)?.value;
        if value.is_empty() { None } else { String::from_utf8(value).ok() }
    }

    /// What an answer, or its failing, means.
    pub(super) fn settle(&self, key: &str, answer: Result<Answer, String>) -> News {
        let before = self.fields(key);
        let ttl = self.ttl();
        let news = match answer {
            Ok(Answer::Fields(fields)) => {
                self.found.fetch_add(1, Ordering::Relaxed);
                self.metrics.found();
                self.know(key, Some(&fields), ttl);
                if before.as_deref() == Some(&*fields) { News::None } else { News::Fields(Some(fields)) }
            }
            Ok(Answer::Nothing) => {
                self.nothing.fetch_add(1, Ordering::Relaxed);
                self.metrics.nothing();
                let ttl = multiplied(self.settings.negative_ttl, &self.cache_settings);
                self.cache.insert(key, b"", ttl, ttl);
                if before.is_none() { News::None } else { News::Fields(None) }
            }
            Err(reason) => {
                self.failed.fetch_add(1, Ordering::Relaxed);
                self.metrics.failed();
                *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason);
                match &before {
                    // Better what was known last than nothing.
                    Some(fields) => self.know(key, Some(fields), FAILED_WAIT),
                    None => self.cache.insert(key, b"", FAILED_WAIT, FAILED_WAIT),
                }
                News::None
            }
        };
        self.metrics.set_success(self.success_rate());
        self.waiting().remove(key);
        news
    }

    /// Takes over what was found, for so long; then it is shown for the time to live again, until it was asked for anew.
    pub(super) fn know(&self, key: &str, fields: Option<&str>, fresh: Duration) {
        match fields {
            Some(fields) => self.cache.insert(key, fields.as_bytes(), fresh, fresh + self.ttl().max(STALE_MIN)),
            None => self.cache.remove(key),
        }
    }

    /// Takes over what an earlier run of the daemon found, so long ago.
    pub(super) fn recall(&self, key: &str, fields: Option<&str>, age: Duration) {
        self.know(key, fields, self.ttl().saturating_sub(age));
    }

    /// Everything that is known should be asked for again when it is wanted.
    pub(super) fn doubt(&self, keys: impl Fn(&str) -> Option<Box<str>>) -> Vec<(Box<str>, News)> {
        let mut news = Vec::new();
        for key in self.cache.keys() {
            let before = self.fields(&key);
            match (keys(&key), before) {
                (Some(now), before) if before.as_deref() != Some(&*now) => {
                    self.know(&key, Some(&now), self.ttl());
                    news.push((key, News::Fields(Some(now))));
                }
                (None, Some(_)) => {
                    let ttl = multiplied(self.settings.negative_ttl, &self.cache_settings);
                    self.cache.insert(&key, b"", ttl, ttl);
                    news.push((key, News::Fields(None)));
                }
                _ => {}
            }
        }
        news
    }

    fn success_rate(&self) -> Option<f64> {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let (answered, failed) = (count(&self.found) + count(&self.nothing), count(&self.failed));
        #[expect(clippy::cast_precision_loss, reason = "a ratio is a float")]
        let rate = (answered + failed > 0).then(|| answered as f64 / (answered + failed) as f64);
        rate
    }

    /// As it stands.
    pub(super) fn row(&self) -> LookUpRow {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        LookUpRow {
            monitor: self.monitor.clone(),
            look_up: self.name.clone(),
            found: count(&self.found),
            nothing: count(&self.nothing),
            failed: count(&self.failed),
            skipped: count(&self.skipped),
            success_rate: self.success_rate(),
            waiting: self.waiting().len(),
            last_error: self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }

    /// How its cache is used.
    pub(super) fn cache_figures(&self) -> CacheFigures {
        self.cache.figures()
    }

    /// `MONITOR.NAME`: its circuit, and its cache.
    pub(super) fn full_name(&self) -> String {
        format!("{}.{}", self.monitor, self.name)
    }
}
