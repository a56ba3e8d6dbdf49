//! How busy the host and this process are, looked at beside everything from what the kernel tells in `/proc` and of control groups.

mod counters;

use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

use self::counters::{CpuQuota, CpuTimes, DiskCounts, NetworkCounts};
use super::host::{Memory, kibibytes};
use super::memory_limit::limiting_group;
use super::metrics::HostMetrics;

/// Time between two looks, each of which costs some 0.2 ms of CPU. Source: alerts on these figures last minutes.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);

/// The host and this process at one look. What the kernel does not tell is none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct HostSample {
    /// CPUs that this process may use: those of the host, or fewer by its control group's quota.
    pub cpus: f64,
    /// How busy they were since the look before, in percent of all of them; the control group's where it has a quota.
    pub cpu_percent: Option<f64>,
    /// How busy this process was, in percent of one CPU.
    pub process_cpu_percent: Option<f64>,
    /// CPU time of this process since its start, in seconds.
    pub process_cpu_seconds: f64,
    /// Bytes of memory in use: by the host, or by the control group that limits this process.
    pub memory_used: u64,
    /// Bytes of memory that there are for it.
    pub memory_limit: u64,
    /// The one of the other, in percent.
    pub memory_percent: Option<f64>,
    /// Bytes that this process has resident.
    pub process_memory: u64,
    /// Bytes of the file system that holds the data folder.
    pub disk_size: u64,
    /// Bytes of it that this process may still write.
    pub disk_free: u64,
    /// How full it is, in percent, as `df` has it.
    pub disk_percent: Option<f64>,
    /// Bytes read from its device since the host started; none where it is not on a device of its own.
    pub disk_read_bytes: Option<u64>,
    /// Bytes written to it.
    pub disk_written_bytes: Option<u64>,
    /// Seconds that it was busy.
    pub disk_busy_seconds: Option<f64>,
    /// Bytes that came over all interfaces but the loopback one since the host started.
    pub network_received_bytes: u64,
    /// Bytes that went.
    pub network_sent_bytes: u64,
    /// Descriptors that this process has open.
    pub open_files: u64,
    /// How many it may have.
    pub open_files_limit: Option<u64>,
    /// Threads of this process.
    pub threads: u64,
}

/// What the host was like at the last look.
#[derive(Debug)]
pub struct HostWatch {
    data_dir: PathBuf,
    looked: Mutex<Looked>,
}

#[derive(Debug, Default)]
struct Looked {
    sample: HostSample,
    /// When, and the times that the next look is compared with.
    before: Option<Before>,
}

#[derive(Debug, Clone, Copy)]
struct Before {
    at: Instant,
    host: Option<CpuTimes>,
    group_seconds: Option<f64>,
    process_seconds: f64,
}

impl HostWatch {
    /// Of the file system that holds `data_dir`; has looked once.
    pub fn new(data_dir: &Path) -> Self {
        let watch = Self { data_dir: data_dir.to_owned(), looked: Mutex::default() };
        watch.look();
        watch
    }

    /// The last look. Never waits for the kernel.
    pub fn latest(&self) -> HostSample {
        self.looked.lock().unwrap_or_else(PoisonError::into_inner).sample
    }

    /// Looks now. Reads some ten small files.
    pub fn look(&self) -> HostSample {
        let before = self.looked.lock().unwrap_or_else(PoisonError::into_inner).before;
        let (sample, now) = observe(&self.data_dir, before);
        *self.looked.lock().unwrap_or_else(PoisonError::into_inner) = Looked { sample, before: Some(now) };
        sample
    }

    /// Looks every two seconds on a thread of its own until what is returned is dropped, and keeps the metrics true.
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub fn follow(self: &Arc<Self>) -> std::io::Result<Following> {
        let (stop, stopped) = channel::<()>();
        let watch = Arc::clone(self);
        let thread = thread::Builder::new().name("host-watch".into()).spawn(move || {
            loop {
                HostMetrics::set(&watch.look());
                if stopped.recv_timeout(LOOK_INTERVAL) != Err(RecvTimeoutError::Timeout) {
                    return;
                }
            }
        })?;
        Ok(Following { stop: Some(stop), thread: Some(thread) })
    }
}

/// Looks at the host as long as it is kept.
#[derive(Debug)]
pub struct Following {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Following {
    fn drop(&mut self) {
        // The thread hears that there is nobody left.
        self.stop.take();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that looks at the host panicked; this is a bug");
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a percentage is a float")]
fn percent(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| 100.0 * part as f64 / whole as f64)
}

#[expect(clippy::cast_precision_loss, reason = "CPUs are few")]
fn observe(data_dir: &Path, before: Option<Before>) -> (HostSample, Before) {
    let host_cpus = thread::available_parallelism().map_or(1, usize::from) as f64;
    let quota = CpuQuota::of_this_process().filter(|quota| quota.cpus < host_cpus);
    let now = Before {
        at: Instant::now(),
        host: CpuTimes::now(),
        group_seconds: quota.as_ref().and_then(CpuQuota::used_seconds),
        process_seconds: counters::process_cpu_seconds(),
    };
    let cpus = quota.as_ref().map_or(host_cpus, |quota| quota.cpus);
    let passed = before.map(|before| now.at.duration_since(before.at).as_secs_f64()).filter(|passed| *passed > 0.0);
    let of_group = passed.and_then(|passed| {
        let used = now.group_seconds? - before?.group_seconds?;
        Some((100.0 * used / (passed * cpus)).clamp(0.0, 100.0))
    });
    let of_host = before.and_then(|before| now.host?.busy_percent_since(&before.host?));
    let memory = Memory::now();
    let limiting = limiting_group(memory.total).and_then(|group| Some((group.used()?, group.limit)));
    let (memory_used, memory_limit) = limiting.unwrap_or_else(|| {
        let available = kibibytes("/proc/meminfo", "MemAvailable:") << 10;
        (memory.total.saturating_sub(available), memory.total)
    });
    let disk = rustix::fs::statvfs(data_dir).ok();
    let blocks = |count: u64| disk.as_ref().map_or(0, |disk| count.saturating_mul(disk.f_frsize));
    let (disk_size, disk_free, disk_used) = disk.as_ref().map_or((0, 0, 0), |disk| {
        (blocks(disk.f_blocks), blocks(disk.f_bavail), blocks(disk.f_blocks.saturating_sub(disk.f_bfree)))
    });
    let io = DiskCounts::of_folder(data_dir);
    let network = NetworkCounts::now();
    let sample = HostSample {
        cpus,
        cpu_percent: of_group.or(of_host),
        process_cpu_percent: before
            .zip(passed)
            .map(|(before, passed)| (100.0 * (now.process_seconds - before.process_seconds) / passed).max(0.0)),
        process_cpu_seconds: now.process_seconds,
        memory_used,
        memory_limit,
        memory_percent: percent(memory_used, memory_limit),
        process_memory: memory.used,
        disk_size,
        disk_free,
        // Blocks that are kept for root count on neither side.
        disk_percent: percent(disk_used, disk_used + disk_free),
        disk_read_bytes: io.map(|io| io.read_bytes),
        disk_written_bytes: io.map(|io| io.written_bytes),
        disk_busy_seconds: io.map(|io| io.busy_seconds),
        network_received_bytes: network.received_bytes,
        network_sent_bytes: network.sent_bytes,
        open_files: counters::open_files(),
        open_files_limit: rustix::process::getrlimit(rustix::process::Resource::Nofile).current,
        threads: counters::threads(),
    };
    (sample, now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_finds_the_host_and_this_process() {
        let folder = tempfile::tempdir().unwrap();
        let watch = HostWatch::new(folder.path());
        assert_eq!(watch.latest().cpu_percent, None, "there is nothing to compare the first look with");
        let deadline = std::time::Duration::from_secs(30);
        #[expect(clippy::disallowed_methods, reason = "the kernel's clock is not paused")]
        let began = std::time::Instant::now();
        // Busy until the kernel has counted some of it.
        let sample = loop {
            let sample = watch.look();
            if sample.process_cpu_percent > Some(0.0) && sample.cpu_percent > Some(0.0) {
                break sample;
            }
            assert!(began.elapsed() < deadline, "{sample:?}");
        };
        assert_eq!(watch.latest(), sample);
        assert!(sample.cpu_percent <= Some(100.0) && sample.cpus > 0.0, "{sample:?}");
        assert!(sample.process_cpu_seconds > 0.0 && sample.threads > 0 && sample.open_files > 2, "{sample:?}");
        assert!(sample.memory_used > 0 && sample.memory_used <= sample.memory_limit, "{sample:?}");
        assert!(sample.disk_free > 0 && sample.disk_free <= sample.disk_size, "{sample:?}");
        assert!(sample.disk_percent.is_some_and(|percent| (0.0..=100.0).contains(&percent)), "{sample:?}");
        assert!(sample.open_files_limit > Some(sample.open_files), "{sample:?}");
    }

    #[test]
    fn an_open_descriptor_is_counted() {
        let folder = tempfile::tempdir().unwrap();
        let watch = HostWatch::new(folder.path());
        let before = watch.look().open_files;
        let open: Vec<_> = (0..20).map(|_| std::fs::File::open(folder.path()).unwrap()).collect();
        // Other tests in this process may close some meanwhile.
        assert!(watch.look().open_files >= before.saturating_sub(10) + 20 - 10, "{} are open", open.len());
    }
}
