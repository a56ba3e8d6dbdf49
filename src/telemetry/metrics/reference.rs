//! What each metric is: the one list that recording, `/metrics`, the documentation and the tests go by.

/// One metric: all series of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metric {
    /// Its name, with its base unit and, of a counter, `_total`.
    pub name: &'static str,
    /// How it behaves.
    pub kind: Kind,
    /// The names of its labels, in order of their weight.
    pub labels: &'static [&'static str],
    /// What it says, without a full stop.
    pub help: &'static str,
    /// When it is there; empty where it always is.
    pub when: &'static str,
}

impl Metric {
    /// Its unit as its name says it: `seconds`, `bytes`, `ratio`; empty where it counts things.
    pub fn unit(&self) -> &'static str {
        let name = self.name.strip_suffix("_total").unwrap_or(self.name);
        ["seconds", "bytes", "ratio"]
            .into_iter()
            .find(|unit| name.strip_suffix(unit).is_some_and(|rest| rest.ends_with('_')))
            .unwrap_or_default()
    }
}

/// How a metric behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows, from the start on.
    Counter,
    /// Says how something is now.
    Gauge,
    /// Counts measurements by their size.
    Histogram,
}

impl Kind {
    /// Its name in the text format.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// Declares the metrics of a stage: a constant with the name of each, and `METRICS`, its part of the reference.
macro_rules! metrics {
    ($($constant:ident = $kind:ident $name:literal [$($label:literal),*] $help:literal $(, $when:literal)?;)*) => {
        $(const $constant: &str = $name;)*

        /// What this stage tells.
        pub(super) const METRICS: &[$crate::telemetry::metrics::Metric] = &[$($crate::telemetry::metrics::Metric {
            name: $constant,
            kind: $crate::telemetry::metrics::Kind::$kind,
            labels: &[$($label),*],
            help: $help,
            when: concat!($($when)?),
        }),*];
    };
}
pub(super) use metrics;
