//! What the host says of this process.

use serde::{Deserialize, Serialize};

/// Memory of this process and of the host.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Memory {
    /// Bytes that the process has resident.
    pub used: u64,
    /// Bytes that the host has.
    pub total: u64,
    /// The one of the other, in percent.
    pub percentage: f64,
}

impl Memory {
    /// As it is now; zeros where the host does not say.
    #[expect(clippy::cast_precision_loss, reason = "a percentage is a float")]
    pub fn now() -> Self {
        let used = kibibytes("/proc/self/status", "VmRSS:") << 10;
        let total = kibibytes("/proc/meminfo", "MemTotal:") << 10;
        let percentage = if total == 0 { 0.0 } else { (used as f64 / total as f64 * 1000.0).round() / 10.0 };
        Self { used, total, percentage }
    }
}

/// The number behind a name in a file of lines such as `VmRSS:   1234 kB`.
pub(super) fn kibibytes(path: &str, name: &str) -> u64 {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_uses_some_of_the_host_s_memory() {
        let memory = Memory::now();
        assert!(memory.used > 0 && memory.used < memory.total, "{memory:?}");
        assert!((0.0..100.0).contains(&memory.percentage));
    }
}
