//! Which path each monitor is on.

use std::collections::BTreeMap;

use crate::journal::Path;

/// How a monitor is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MonitorPath {
    /// The path whose events count.
    pub path: Path,
    /// Whether the other path takes it as well, to be compared.
    pub shadowed: bool,
}

/// How all monitors are taken. One that is not named is on the smart path.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Paths {
    by_monitor: BTreeMap<String, MonitorPath>,
}

impl Paths {
    /// How a monitor is taken.
    pub fn of(&self, monitor: &str) -> MonitorPath {
        self.by_monitor.get(monitor).copied().unwrap_or(MonitorPath { path: Path::Smart, shadowed: false })
    }

    /// Puts a monitor on a path, without a shadow.
    pub fn put(&mut self, monitor: &str, path: Path) {
        self.by_monitor.insert(monitor.to_owned(), MonitorPath { path, shadowed: false });
    }

    /// Has the other path take a monitor as well.
    pub fn shadow(&mut self, monitor: &str) {
        let now = self.of(monitor);
        self.by_monitor.insert(monitor.to_owned(), MonitorPath { shadowed: true, ..now });
    }

    /// All that were put somewhere, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, MonitorPath)> {
        self.by_monitor.iter().map(|(name, path)| (name.as_str(), *path))
    }

    /// How many are on a path.
    pub fn count(&self, path: Path) -> usize {
        self.by_monitor.values().filter(|monitor| monitor.path == path).count()
    }
}

impl Path {
    /// The other one.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::Smart => Self::Legacy,
            Self::Legacy => Self::Smart,
        }
    }
}
