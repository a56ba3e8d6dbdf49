//! What the kernel counts: CPU time, I/O of disks, bytes of interfaces.

use std::fs::read_to_string;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// CPU time of the host since it started, in ticks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CpuTimes {
    busy: u64,
    all: u64,
}

impl CpuTimes {
    pub(super) fn now() -> Option<Self> {
        Self::parse(&read_to_string("/proc/stat").ok()?)
    }

    /// The first line is `cpu  user nice system idle iowait irq softirq steal guest guest_nice`.
    fn parse(text: &str) -> Option<Self> {
        let line = text.lines().next()?.strip_prefix("cpu ")?;
        // The time of guests is within that of `user` and `nice`.
        let times: Vec<u64> = line.split_whitespace().take(8).filter_map(|time| time.parse().ok()).collect();
        let idle = times.get(3)? + times.get(4).copied().unwrap_or(0);
        let all = times.iter().sum();
        Some(Self { busy: all - idle, all })
    }

    /// None where no tick has passed.
    pub(super) fn busy_percent_since(&self, before: &Self) -> Option<f64> {
        super::percent(self.busy.saturating_sub(before.busy), self.all.saturating_sub(before.all))
            .map(|percent| percent.min(100.0))
    }
}

/// How much CPU the control groups of this process allow (version 2).
#[derive(Debug, Clone, PartialEq)]
pub(super) struct CpuQuota {
    /// In CPUs.
    pub(super) cpus: f64,
    folder: PathBuf,
}

impl CpuQuota {
    pub(super) fn of_this_process() -> Option<Self> {
        Self::of(&read_to_string("/proc/self/cgroup").ok()?, Path::new("/sys/fs/cgroup"))
    }

    /// The least of the group that `/proc/self/cgroup` names and of those that it is in.
    fn of(groups: &str, root: &Path) -> Option<Self> {
        let path = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
        let folder = root.join(path);
        let quotas = folder.ancestors().take_while(|folder| folder.starts_with(root)).filter_map(|folder| {
            // `quota period` in µs; the quota is `max` where there is none.
            let text = read_to_string(folder.join("cpu.max")).ok()?;
            let (quota, period) = text.trim().split_once(' ')?;
            let (quota, period): (f64, f64) = (quota.parse().ok()?, period.parse().ok()?);
            (period > 0.0).then(|| Self { cpus: quota / period, folder: folder.to_owned() })
        });
        quotas.min_by(|one, other| one.cpus.total_cmp(&other.cpus))
    }

    /// CPU time that all in the group have used.
    pub(super) fn used_seconds(&self) -> Option<f64> {
        let text = read_to_string(self.folder.join("cpu.stat")).ok()?;
        let micros: f64 = text.lines().find_map(|line| line.strip_prefix("usage_usec "))?.trim().parse().ok()?;
        Some(micros / 1e6)
    }
}

/// CPU time of this process, all its threads together.
pub(super) fn process_cpu_seconds() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    #[expect(clippy::cast_precision_loss, reason = "2^52 s are not reached")]
    let seconds = time.tv_sec as f64 + time.tv_nsec as f64 / 1e9;
    seconds
}

/// Descriptors that are open now; the one that this is found with is not counted.
pub(super) fn open_files() -> u64 {
    std::fs::read_dir("/proc/self/fd").map_or(0, |entries| entries.count().saturating_sub(1) as u64)
}

/// Threads of this process.
pub(super) fn threads() -> u64 {
    let status = read_to_string("/proc/self/status").unwrap_or_default();
    status.lines().find_map(|line| line.strip_prefix("Threads:")?.trim().parse().ok()).unwrap_or(0)
}

/// What a block device has done since the host started.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct DiskCounts {
    pub(super) read_bytes: u64,
    pub(super) written_bytes: u64,
    pub(super) busy_seconds: f64,
}

impl DiskCounts {
    /// Of the device that a folder is on; none of file systems that are on several or on none, such as overlays and btrfs.
    pub(super) fn of_folder(folder: &Path) -> Option<Self> {
        let device = std::fs::metadata(folder).ok()?.dev();
        let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
        Self::parse(&read_to_string("/proc/diskstats").ok()?, major, minor)
    }

    /// Lines are `major minor name reads merged sectors ms writes merged sectors ms in_flight busy_ms …`; a sector is 512 bytes on all
    /// devices.
    fn parse(text: &str, major: u32, minor: u32) -> Option<Self> {
        text.lines().find_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let number = |index: usize| fields.get(index)?.parse::<u64>().ok();
            if number(0)? != u64::from(major) || number(1)? != u64::from(minor) {
                return None;
            }
            #[expect(clippy::cast_precision_loss, reason = "2^52 ms are not reached")]
            let busy_seconds = number(12)? as f64 / 1e3;
            Some(Self { read_bytes: number(5)? * 512, written_bytes: number(9)? * 512, busy_seconds })
        })
    }
}

/// What went over the interfaces but the loopback one since the host started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct NetworkCounts {
    pub(super) received_bytes: u64,
    pub(super) sent_bytes: u64,
}

impl NetworkCounts {
    pub(super) fn now() -> Self {
        Self::parse(&read_to_string("/proc/self/net/dev").unwrap_or_default())
    }

    /// Lines are `name: bytes packets errs drop fifo frame compressed multicast bytes …`, behind two of headings.
    fn parse(text: &str) -> Self {
        let mut counts = Self::default();
        for line in text.lines() {
            let Some((name, rest)) = line.split_once(':') else { continue };
            let fields: Vec<u64> = rest.split_whitespace().filter_map(|field| field.parse().ok()).collect();
            if let (true, [received, ..]) = (name.trim() != "lo", &fields[..]) {
                counts.received_bytes += received;
                counts.sent_bytes += fields.get(8).copied().unwrap_or(0);
            }
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_for_a_disk_is_not_being_busy() {
        let before = CpuTimes::parse("cpu  100 0 100 800 0 0 0 0 0 0\ncpu0 1 2 3 4\n").unwrap();
        let after = CpuTimes::parse("cpu  140 0 110 820 30 0 0 0 7 0\n").unwrap();
        assert_eq!(after.busy_percent_since(&before), Some(50.0));
        assert_eq!(before.busy_percent_since(&before), None);
        assert_eq!(CpuTimes::parse("intr 5"), None);
    }

    #[test]
    fn the_least_quota_of_the_groups_counts() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        std::fs::create_dir_all(root.join("a/b")).unwrap();
        std::fs::write(root.join("a/b/cpu.max"), "max 100000\n").unwrap();
        assert_eq!(CpuQuota::of("0::/a/b\n", root), None);
        std::fs::write(root.join("a/cpu.max"), "150000 100000\n").unwrap();
        std::fs::write(root.join("a/cpu.stat"), "usage_usec 2500000\nuser_usec 1\n").unwrap();
        let quota = CpuQuota::of("1:name=x:/\n0::/a/b\n", root).unwrap();
        assert!((quota.cpus - 1.5).abs() < 1e-9);
        assert_eq!(quota.used_seconds(), Some(2.5));
    }

    #[test]
    fn a_disk_is_found_by_its_numbers_and_counts_sectors() {
        let text = "   8       0 sda 9 9 9 9 9 9 9 9 9 9 9\n 259       1 nvme0n1p1 120 3 1000 40 60 2 500 20 0 1250 60 0 0 0 0\n";
        let counts = DiskCounts::parse(text, 259, 1).unwrap();
        assert_eq!((counts.read_bytes, counts.written_bytes), (512_000, 256_000));
        assert!((counts.busy_seconds - 1.25).abs() < 1e-9);
        assert_eq!(DiskCounts::parse(text, 0, 44), None);
    }

    #[test]
    fn the_loopback_interface_is_not_the_network() {
        let text = "Inter-|   Receive                                                |  Transmit\n face |bytes    packets errs\n    lo: 500 1 0 0 0 0 0 0 500 1 0 0 0 0 0 0\n  eth0: 1000 2 0 0 0 0 0 0 300 1 0 0 0 0 0 0\neth1:7 2 0 0 0 0 0 0 3 1 0 0 0 0 0 0\n";
        assert_eq!(NetworkCounts::parse(text), NetworkCounts { received_bytes: 1007, sent_bytes: 303 });
    }
}
