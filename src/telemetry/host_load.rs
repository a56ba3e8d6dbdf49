//! How busy the host is: its CPUs, its memory, a disk. Linux's own files; elsewhere nothing is known.

use std::path::Path;

use super::host::Memory;
use super::memory_limit::memory_limit;

/// How busy the host is, in percent; none where it does not say.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct HostFigures {
    /// Time that its CPUs were not idle since the last look.
    pub cpu_percent: Option<f64>,
    /// Memory that is not available; or, where that is more, this process's part of its control group's limit.
    pub memory_percent: Option<f64>,
    /// Of the disk that a folder is on, what nobody but root can write to any more.
    pub disk_percent: Option<f64>,
}

/// Looks from time to time.
#[derive(Debug, Default)]
pub struct HostLoad {
    /// Busy and all ticks of the CPUs at the last look.
    ticks: Option<(u64, u64)>,
}

impl HostLoad {
    /// Takes a look; `folder` says which disk. Reads a few small files.
    pub fn look(&mut self, folder: &Path) -> HostFigures {
        let now = std::fs::read_to_string("/proc/stat").ok().and_then(|text| ticks(&text));
        let before = std::mem::replace(&mut self.ticks, now);
        HostFigures {
            cpu_percent: before.zip(now).and_then(|(before, now)| busy(before, now)),
            memory_percent: memory(),
            disk_percent: disk(folder),
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a percentage is a float")]
fn percent(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| 100.0 * part as f64 / whole as f64)
}

fn busy(before: (u64, u64), now: (u64, u64)) -> Option<f64> {
    percent(now.0.saturating_sub(before.0), now.1.saturating_sub(before.1))
}

/// Busy and all ticks since the host began: the line `cpu` of `/proc/stat`, of which idle and waiting for disks are not busy.
fn ticks(stat: &str) -> Option<(u64, u64)> {
    let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
    // Guests' time is in the first two already.
    let ticks: Vec<u64> = line.split_whitespace().take(8).filter_map(|ticks| ticks.parse().ok()).collect();
    let all: u64 = ticks.iter().sum();
    let idle = ticks.get(3)? + ticks.get(4).unwrap_or(&0);
    Some((all.saturating_sub(idle), all))
}

fn memory() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let kibibytes = |name: &str| -> Option<u64> {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse().ok()
    };
    let total = kibibytes("MemTotal:")?;
    let host = percent(total.saturating_sub(kibibytes("MemAvailable:")?), total)?;
    let group = percent(Memory::now().used, memory_limit()).unwrap_or(0.0);
    Some(host.max(group))
}

fn disk(folder: &Path) -> Option<f64> {
    let stat = rustix::fs::statvfs(folder).ok()?;
    let used = stat.f_blocks.saturating_sub(stat.f_bfree);
    // As `df` has it: what is left for root only counts neither way.
    percent(used, used + stat.f_bavail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_that_is_neither_idle_nor_waiting_is_busy() {
        let before = ticks("cpu  100 0 100 700 100 0 0 0 0 0\ncpu0 1 2 3\n").unwrap();
        let now = ticks("cpu  150 0 150 750 150 0 0 0 50 0\n").unwrap();
        assert_eq!((before, now), ((200, 1000), (300, 1200)));
        assert_eq!(busy(before, now), Some(50.0));
        assert_eq!(busy(now, now), None, "no time has passed");
        assert_eq!(ticks("intr 5"), None);
    }

    #[test]
    fn this_host_says_how_busy_it_is() {
        let mut load = HostLoad::default();
        let first = load.look(Path::new("/"));
        assert_eq!(first.cpu_percent, None, "nothing to compare with");
        assert!(first.memory_percent.is_some_and(|percent| percent > 0.0 && percent <= 100.0), "{first:?}");
        assert!(first.disk_percent.is_some_and(|percent| (0.0..=100.0).contains(&percent)), "{first:?}");
    }
}
