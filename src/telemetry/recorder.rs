//! What is measured, kept as one number a series: the one source of `/metrics` and of what is exported.
//!
//! A recorder of our own behind the `metrics` facade, since the usual exporter gives text alone, keeps each measured value of a histogram
//! until it is next tended, and lets go of a series only together with handles that are still in use.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use metrics::{Counter, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, SharedString, Unit};

use super::metrics::{Kind, SECONDS};

/// Bounds of what is no time: counts and bytes.
const COUNTS: [f64; 16] = [
    1.0,
    4.0,
    16.0,
    64.0,
    256.0,
    1_024.0,
    4_096.0,
    16_384.0,
    65_536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    16_777_216.0,
    67_108_864.0,
    268_435_456.0,
    1_073_741_824.0,
];

/// All series of a name, as they were at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Family {
    /// The metric's name.
    pub name: String,
    /// How it behaves.
    pub kind: Kind,
    /// What it says; empty where nobody told.
    pub help: String,
    /// By their labels.
    pub series: Vec<Series>,
}

/// One of them.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// Names and values, as they were given.
    pub labels: Vec<(String, String)>,
    /// What was measured.
    pub value: Value,
}

/// What was measured.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// So many since the start.
    Counter(u64),
    /// So much now; not a number where that is not known.
    Gauge(f64),
    /// How many were at most as large as each bound and larger than the one before.
    Histogram {
        /// Upper bounds, growing.
        bounds: &'static [f64],
        /// One count more than bounds: what is beyond the last.
        counts: Vec<u64>,
        /// All of them together.
        sum: f64,
    },
}

/// Buckets that are counted into without a lock.
#[derive(Debug)]
struct Buckets {
    bounds: &'static [f64],
    counts: Vec<AtomicU64>,
    sum_bits: AtomicU64,
}

impl HistogramFn for Buckets {
    fn record(&self, value: f64) {
        let bucket = self.bounds.partition_point(|bound| *bound < value);
        self.counts[bucket].fetch_add(1, Ordering::Relaxed);
        let add = |bits| Some((f64::from_bits(bits) + value).to_bits());
        // It always has something to put there.
        self.sum_bits.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add).ok();
    }
}

impl Buckets {
    fn new(name: &str) -> Self {
        let bounds: &'static [f64] = if name.ends_with("_seconds") { &SECONDS } else { &COUNTS };
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self { bounds, counts, sum_bits: AtomicU64::new(0) }
    }

    fn now(&self) -> Value {
        Value::Histogram {
            bounds: self.bounds,
            counts: self.counts.iter().map(|count| count.load(Ordering::Relaxed)).collect(),
            sum: f64::from_bits(self.sum_bits.load(Ordering::Relaxed)),
        }
    }
}

#[derive(Debug, Default)]
struct Known {
    // Keys are shared, so that a snapshot holds the lock for no longer than it takes to count references up: links look their handles up.
    counters: HashMap<Arc<Key>, Arc<AtomicU64>>,
    gauges: HashMap<Arc<Key>, Arc<AtomicU64>>,
    histograms: HashMap<Arc<Key>, Arc<Buckets>>,
    help: HashMap<String, String>,
}

/// All of them, without copying what they are.
fn shared<C>(series: &HashMap<Arc<Key>, Arc<C>>) -> Vec<(Arc<Key>, Arc<C>)> {
    series.iter().map(|(key, cell)| (Arc::clone(key), Arc::clone(cell))).collect()
}

/// Every series there is.
#[derive(Debug, Clone, Default)]
pub(super) struct Recorder(Arc<Mutex<Known>>);

impl Recorder {
    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everything, by name and labels.
    pub(super) fn snapshot(&self) -> Vec<Family> {
        let known = self.lock();
        let (counters, gauges, histograms) =
            (shared(&known.counters), shared(&known.gauges), shared(&known.histograms));
        let help = known.help.clone();
        drop(known);
        let number = |cell: &AtomicU64| cell.load(Ordering::Relaxed);
        let counters = counters.iter().map(|(key, cell)| (key, Kind::Counter, Value::Counter(number(cell))));
        let gauges = gauges.iter().map(|(key, cell)| (key, Kind::Gauge, Value::Gauge(f64::from_bits(number(cell)))));
        let histograms = histograms.iter().map(|(key, cell)| (key, Kind::Histogram, cell.now()));
        let mut families: BTreeMap<&str, (Kind, Vec<Series>)> = BTreeMap::new();
        for (key, kind, value) in counters.chain(gauges).chain(histograms) {
            let labels = key.labels().map(|label| (label.key().to_owned(), label.value().to_owned())).collect();
            families.entry(key.name()).or_insert_with(|| (kind, Vec::new())).1.push(Series { labels, value });
        }
        let families = families.into_iter().map(|(name, (kind, mut series))| {
            series.sort_by(|one, other| one.labels.cmp(&other.labels));
            Family { name: name.to_owned(), kind, help: help.get(name).cloned().unwrap_or_default(), series }
        });
        families.collect()
    }

    /// Lets go of every series that is not `wanted`. Handles of it that somebody still has go on counting for nobody.
    pub(super) fn retain(&self, wanted: impl Fn(&Key) -> bool) {
        let mut known = self.lock();
        known.counters.retain(|key, _| wanted(key));
        known.gauges.retain(|key, _| wanted(key));
        known.histograms.retain(|key, _| wanted(key));
    }

    fn describe(&self, name: &KeyName, help: &SharedString) {
        self.lock().help.insert(name.as_str().to_owned(), help.to_string());
    }
}

impl metrics::Recorder for Recorder {
    fn describe_counter(&self, name: KeyName, _: Option<Unit>, help: SharedString) {
        self.describe(&name, &help);
    }

    fn describe_gauge(&self, name: KeyName, _: Option<Unit>, help: SharedString) {
        self.describe(&name, &help);
    }

    fn describe_histogram(&self, name: KeyName, _: Option<Unit>, help: SharedString) {
        self.describe(&name, &help);
    }

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        let mut known = self.lock();
        let cell = match known.counters.get(key) {
            Some(cell) => Arc::clone(cell),
            None => Arc::clone(known.counters.entry(Arc::new(key.clone())).or_default()),
        };
        Counter::from_arc(cell)
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        let mut known = self.lock();
        let cell = match known.gauges.get(key) {
            Some(cell) => Arc::clone(cell),
            None => Arc::clone(known.gauges.entry(Arc::new(key.clone())).or_default()),
        };
        Gauge::from_arc(cell)
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        let mut known = self.lock();
        let cell = if let Some(cell) = known.histograms.get(key) {
            Arc::clone(cell)
        } else {
            let new = || Arc::new(Buckets::new(key.name()));
            Arc::clone(known.histograms.entry(Arc::new(key.clone())).or_insert_with(new))
        };
        Histogram::from_arc(cell)
    }
}

#[cfg(test)]
mod tests {
    use metrics::{Recorder as _, counter, gauge, histogram};

    use super::*;

    #[test]
    fn what_is_recorded_is_in_the_snapshot_by_name_and_labels() {
        let recorder = Recorder::default();
        recorder.describe_counter("a_total".into(), None, "How many".into());
        metrics::with_local_recorder(&recorder, || {
            counter!("a_total", "of" => "two").increment(3);
            counter!("a_total", "of" => "one").absolute(7);
            counter!("a_total", "of" => "one").absolute(5);
            gauge!("b").set(-1.5);
            histogram!("c_seconds").record(0.025);
            histogram!("c_seconds").record(100.0);
        });
        let families = recorder.snapshot();
        assert_eq!(
            families.iter().map(|family| family.name.as_str()).collect::<Vec<_>>(),
            ["a_total", "b", "c_seconds"]
        );
        assert_eq!((families[0].kind, families[0].help.as_str()), (Kind::Counter, "How many"));
        let counts: Vec<_> = families[0].series.iter().map(|series| (&series.labels[0].1[..], &series.value)).collect();
        assert_eq!(counts, [("one", &Value::Counter(7)), ("two", &Value::Counter(3))], "an absolute count never falls");
        assert_eq!(families[1].series[0].value, Value::Gauge(-1.5));
        let Value::Histogram { bounds, counts, sum } = &families[2].series[0].value else { panic!("{families:?}") };
        let at = bounds.iter().position(|bound| (bound - 0.025).abs() < 1e-9).unwrap();
        assert_eq!((counts[at], counts[bounds.len()], counts.iter().sum()), (1, 1, 2u64));
        assert!((sum - 100.025).abs() < 1e-9);
    }

    #[test]
    fn a_series_that_is_let_go_begins_anew() {
        let recorder = Recorder::default();
        metrics::with_local_recorder(&recorder, || {
            let kept = counter!("a_total", "of" => "one");
            kept.increment(3);
            counter!("a_total", "of" => "two").increment(4);
            recorder.retain(|key| key.labels().all(|label| label.value() != "one"));
            kept.increment(1);
            assert_eq!(recorder.snapshot()[0].series.len(), 1, "its handle counts for nobody");
            counter!("a_total", "of" => "one").increment(1);
            assert_eq!(recorder.snapshot()[0].series[0].value, Value::Counter(1));
        });
    }
}
