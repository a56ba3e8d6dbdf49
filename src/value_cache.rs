//! A cache of values that are bytes: bounded in bytes, each value for its time, large ones compressed.
//!
//! What is in it is a copy of something that can be had again. `moka` decides what goes first; hits and misses are counted here.

use std::borrow::Cow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use moka::Expiry;
use moka::sync::Cache;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::config::CacheSettings;

/// No multiplied time is longer.
const TTL_MAX: Duration = Duration::from_hours(100 * 365 * 24);

/// What an entry takes beside its key and value. Source: a guess.
const ENTRY_BYTES: usize = 128;

const COMPRESSION_LEVEL: i32 = 3;

/// How a cache is used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct CacheFigures {
    /// Questions that it answered.
    pub hits: u64,
    /// Questions that it could not answer.
    pub misses: u64,
    /// The share of the first; none before the first question.
    pub hit_rate: Option<f64>,
    /// Values in it.
    pub entries: u64,
    /// Bytes of them, as they are kept.
    pub bytes: u64,
}

/// The cache.
#[derive(Debug)]
pub struct ValueCache {
    values: Cache<Box<str>, Stored>,
    compression_threshold: usize,
    hits: AtomicU64,
    misses: AtomicU64,
}

/// A value that is at hand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cached {
    /// The value.
    pub value: Vec<u8>,
    /// Whether it should be asked for again.
    pub stale: bool,
}

#[derive(Debug, Clone)]
struct Stored {
    bytes: std::sync::Arc<[u8]>,
    /// Of the value, where the bytes are compressed.
    value_bytes: Option<usize>,
    fresh_until: Instant,
    keep: Duration,
}

#[derive(Debug)]
struct ByEntry;

impl Expiry<Box<str>, Stored> for ByEntry {
    fn expire_after_create(&self, _: &Box<str>, stored: &Stored, _: std::time::Instant) -> Option<Duration> {
        Some(stored.keep)
    }

    fn expire_after_update(
        &self,
        _: &Box<str>,
        stored: &Stored,
        _: std::time::Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        Some(stored.keep)
    }
}

/// A time to live as `cache.ttl_multiplier` has it.
pub fn multiplied(ttl: Duration, settings: &CacheSettings) -> Duration {
    Duration::try_from_secs_f64(ttl.as_secs_f64() * settings.ttl_multiplier).unwrap_or(TTL_MAX).min(TTL_MAX)
}

impl ValueCache {
    /// An empty one of at most so many bytes.
    pub fn new(bytes_max: usize, settings: &CacheSettings) -> Self {
        let weight = |key: &Box<str>, stored: &Stored| {
            u32::try_from(key.len() + stored.bytes.len() + ENTRY_BYTES).unwrap_or(u32::MAX)
        };
        let values = Cache::builder().max_capacity(bytes_max as u64).weigher(weight).expire_after(ByEntry).build();
        let compression_threshold = settings.compression_threshold.as_usize();
        Self { values, compression_threshold, hits: AtomicU64::new(0), misses: AtomicU64::new(0) }
    }

    /// The value of a key, counted as a hit or a miss.
    pub fn get(&self, key: &str) -> Option<Cached> {
        self.get_if(key, |_| true)
    }

    /// The same; a value that is not `valid` any more is a miss.
    pub fn get_if(&self, key: &str, valid: impl Fn(&[u8]) -> bool) -> Option<Cached> {
        let found = self.peek(key).filter(|cached| valid(&cached.value));
        let counter = if found.is_some() { &self.hits } else { &self.misses };
        counter.fetch_add(1, Ordering::Relaxed);
        found
    }

    /// The same without being counted.
    pub fn peek(&self, key: &str) -> Option<Cached> {
        let stored = self.values.get(key)?;
        let value = match stored.value_bytes {
            None => Cow::Borrowed(&*stored.bytes),
            // What cannot be decompressed any more is as good as not there.
            Some(bytes) => Cow::Owned(zstd::bulk::decompress(&stored.bytes, bytes).ok()?),
        };
        Some(Cached { value: value.into_owned(), stale: stored.fresh_until <= Instant::now() })
    }

    /// Keeps a value for `keep`; after `fresh` it should be asked for again.
    pub fn insert(&self, key: &str, value: &[u8], fresh: Duration, keep: Duration) {
        let compressed = (value.len() > self.compression_threshold)
            .then(|| zstd::bulk::compress(value, COMPRESSION_LEVEL).ok())
            .flatten()
            .filter(|compressed| compressed.len() < value.len());
        let (bytes, value_bytes) = match compressed {
            Some(compressed) => (compressed.into(), Some(value.len())),
            None => (value.into(), None),
        };
        let fresh_until = Instant::now() + fresh.min(TTL_MAX);
        self.values.insert(key.into(), Stored { bytes, value_bytes, fresh_until, keep: keep.min(TTL_MAX) });
    }

    /// Forgets a value.
    pub fn remove(&self, key: &str) {
        self.values.invalidate(key);
    }

    /// Keys of all values.
    pub fn keys(&self) -> Vec<Box<str>> {
        self.values.iter().map(|(key, _)| (*key).clone()).collect()
    }

    /// How it is used.
    pub fn figures(&self) -> CacheFigures {
        self.values.run_pending_tasks();
        let (hits, misses) = (self.hits.load(Ordering::Relaxed), self.misses.load(Ordering::Relaxed));
        let overhead = self.values.entry_count() * ENTRY_BYTES as u64;
        #[expect(clippy::cast_precision_loss, reason = "a ratio is a float")]
        let hit_rate = (hits + misses > 0).then(|| hits as f64 / (hits + misses) as f64);
        CacheFigures {
            hits,
            misses,
            hit_rate,
            entries: self.values.entry_count(),
            bytes: self.values.weighted_size().saturating_sub(overhead),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_mins(5);

    fn cache(bytes_max: usize) -> ValueCache {
        ValueCache::new(bytes_max, &CacheSettings::default())
    }

    #[test]
    fn a_value_above_the_threshold_is_compressed_and_comes_back_to_the_byte() {
        let cache = cache(1 << 20);
        let large: Vec<u8> = (0..20_000u32).map(|number| b'a' + u8::try_from(number % 7).unwrap()).collect();
        for (key, value) in [("threshold", &large[..5000]), ("above", &large[..5001]), ("large", &large[..])] {
            let before = cache.figures().bytes;
            cache.insert(key, value, LONG, LONG);
            assert_eq!(cache.get(key).unwrap().value, value);
            let kept = cache.figures().bytes - before;
            assert_eq!(kept < value.len() as u64 / 2, value.len() > 5000, "{key}: {kept}");
        }
        assert_eq!(cache.get("none"), None);
        let figures = cache.figures();
        assert_eq!((figures.hits, figures.misses, figures.hit_rate, figures.entries), (3, 1, Some(0.75), 3));
    }

    #[test]
    fn values_go_when_their_time_is_over_and_are_stale_before() {
        let cache = cache(1 << 20);
        cache.insert("stale", b"1", Duration::ZERO, LONG);
        cache.insert("gone", b"2", Duration::ZERO, Duration::ZERO);
        cache.insert("fresh", b"3", LONG, LONG);
        assert!(cache.get("stale").unwrap().stale);
        assert_eq!(cache.get("gone"), None);
        assert!(!cache.get("fresh").unwrap().stale);
        let multiplier = CacheSettings { ttl_multiplier: 0.5, ..CacheSettings::default() };
        assert_eq!(multiplied(Duration::from_secs(10), &multiplier), Duration::from_secs(5));
    }

    #[test]
    fn it_stays_within_its_bytes() {
        let cache = cache(64 << 10);
        for number in 0..1000 {
            cache.insert(&number.to_string(), &[7; 1000], LONG, LONG);
        }
        let figures = cache.figures();
        assert!(figures.bytes <= 64 << 10 && figures.entries > 10, "{figures:?}");
    }
}
