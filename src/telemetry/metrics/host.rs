//! The host, and what this process takes of it.

use metrics::{counter, gauge};

use crate::telemetry::host_watch::HostSample;

super::metrics! {
    HOST_CPUS = Gauge "sluice_host_cpus" []
        "CPUs that the process may use: the host's, or fewer by its control group's quota";
    HOST_CPU = Gauge "sluice_host_cpu_usage_ratio" []
        "How busy these CPUs are, of all of them";
    HOST_MEMORY_USED = Gauge "sluice_host_memory_used_bytes" []
        "Memory in use: by the host, or by the control group that limits the process";
    HOST_MEMORY_LIMIT = Gauge "sluice_host_memory_limit_bytes" []
        "Memory that there is: the host's, or the control group's limit";
    HOST_DISK_SIZE = Gauge "sluice_host_disk_size_bytes" []
        "Size of the file system that holds the data folder";
    HOST_DISK_FREE = Gauge "sluice_host_disk_free_bytes" []
        "What may still be written to the file system that holds the data folder";
    HOST_DISK = Gauge "sluice_host_disk_usage_ratio" []
        "How full the file system that holds the data folder is";
    HOST_DISK_READ = Counter "sluice_host_disk_read_bytes_total" []
        "Bytes read from the device that holds the data folder, by anyone",
        "where the data folder is on a block device";
    HOST_DISK_WRITTEN = Counter "sluice_host_disk_written_bytes_total" []
        "Bytes written to the device that holds the data folder, by anyone",
        "where the data folder is on a block device";
    HOST_DISK_BUSY = Gauge "sluice_host_disk_busy_seconds" []
        "How long the device that holds the data folder was busy since the host started",
        "where the data folder is on a block device";
    HOST_RECEIVED = Counter "sluice_host_network_received_bytes_total" []
        "Bytes that came over the host's interfaces, but for the loopback one";
    HOST_SENT = Counter "sluice_host_network_sent_bytes_total" []
        "Bytes that went over the host's interfaces, but for the loopback one";
    PROCESS_CPU = Gauge "sluice_process_cpu_usage_ratio" []
        "How busy the process is, of one CPU";
    PROCESS_MEMORY = Gauge "sluice_process_resident_memory_bytes" []
        "Memory that the process has resident";
    PROCESS_FILES = Gauge "sluice_process_open_fds" []
        "File descriptors that the process has open";
    PROCESS_FILES_MAX = Gauge "sluice_process_max_fds" []
        "File descriptors that the process may have open",
        "where there is a limit";
    PROCESS_THREADS = Gauge "sluice_process_threads" []
        "Threads of the process";
}

/// Figures of the host.
#[derive(Debug)]
pub struct HostMetrics;

impl HostMetrics {
    /// Brings the metrics up to a look. What is not known is not a number.
    #[expect(clippy::cast_precision_loss, reason = "gauges are floats")]
    pub fn set(sample: &HostSample) {
        let ratio = |percent: Option<f64>| percent.map_or(f64::NAN, |percent| percent / 100.0);
        gauge!(HOST_CPUS).set(sample.cpus);
        gauge!(HOST_CPU).set(ratio(sample.cpu_percent));
        gauge!(HOST_MEMORY_USED).set(sample.memory_used as f64);
        gauge!(HOST_MEMORY_LIMIT).set(sample.memory_limit as f64);
        gauge!(HOST_DISK_SIZE).set(sample.disk_size as f64);
        gauge!(HOST_DISK_FREE).set(sample.disk_free as f64);
        gauge!(HOST_DISK).set(ratio(sample.disk_percent));
        if let Some(bytes) = sample.disk_read_bytes {
            counter!(HOST_DISK_READ).absolute(bytes);
        }
        if let Some(bytes) = sample.disk_written_bytes {
            counter!(HOST_DISK_WRITTEN).absolute(bytes);
        }
        if let Some(seconds) = sample.disk_busy_seconds {
            gauge!(HOST_DISK_BUSY).set(seconds);
        }
        counter!(HOST_RECEIVED).absolute(sample.network_received_bytes);
        counter!(HOST_SENT).absolute(sample.network_sent_bytes);
        gauge!(PROCESS_CPU).set(ratio(sample.process_cpu_percent));
        gauge!(PROCESS_MEMORY).set(sample.process_memory as f64);
        gauge!(PROCESS_FILES).set(sample.open_files as f64);
        if let Some(limit) = sample.open_files_limit {
            gauge!(PROCESS_FILES_MAX).set(limit as f64);
        }
        gauge!(PROCESS_THREADS).set(sample.threads as f64);
    }
}
