//! What every setting is, with its type and its built-in default. `config/sluice.toml` shows the same with comments.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::endpoint::{self, Endpoint};
use super::export_settings::ExportSettings;
use super::monitor_settings::{MonitorSettings, Priority};
use super::report_settings::ReportSettings;
use super::rollout_settings::{GuardSettings, RolloutSettings};
use super::server_settings::ServerSettings;
use super::sink_settings::SinkSettings;
use super::units::{self, ByteSize};
use super::upstream_settings::{PoolOverrides, UpstreamSettings};

/// All settings of a daemon, as the layers gave them. Checked only in their own types; see `check` for what must hold
/// between them.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Where data lives.
    pub daemon: DaemonSettings,
    /// Which path monitors take.
    pub smart_streaming: SmartStreamingSettings,
    /// How the smart path is taken into use by steps.
    pub rollout: RolloutSettings,
    /// What takes monitors back from the smart path.
    pub guard: GuardSettings,
    /// The HTTP server.
    pub server: ServerSettings,
    /// Log output.
    pub log: LogSettings,
    /// Defaults of every upstream's pool.
    pub pool: PoolSettings,
    /// When events are put together into a block.
    pub batch: BatchSettings,
    /// How long and how many ids are remembered.
    pub dedupe: DedupeSettings,
    /// Last values and enrichment.
    pub cache: CacheSettings,
    /// The journal's files.
    pub journal: JournalSettings,
    /// Bookmarks of the journal.
    pub checkpoint: CheckpointSettings,
    /// What guards the daemon against faults around it.
    pub fault_tolerance: FaultToleranceSettings,
    /// Frames that could not be read.
    pub quarantine: QuarantineSettings,
    /// Monitors of low priority rest while the daemon cannot keep up.
    pub shedding: SheddingSettings,
    /// Where metrics and own events are sent to.
    pub export: ExportSettings,
    /// Settings files that are watched.
    pub reload: ReloadSettings,
    /// Dialects described in the settings file itself, by name: the same form as the presets in `src/dialect/presets`.
    pub dialects: BTreeMap<String, toml::Table>,
    /// Feed providers' endpoints, by name.
    pub upstreams: BTreeMap<String, UpstreamSettings>,
    /// Named watchers, by name.
    pub monitors: BTreeMap<String, MonitorSettings>,
    /// Stores outside of the journal, by name.
    pub sinks: BTreeMap<String, SinkSettings>,
    /// Reports that are made from time to time, by name.
    pub reports: BTreeMap<String, ReportSettings>,
}

/// `[daemon]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DaemonSettings {
    /// Folder of journal, views and state. Relative to the settings file.
    pub data_dir: PathBuf,
    /// The longest a stop waits for what was received to become durable.
    #[serde(with = "units::duration")]
    pub stop_timeout: Duration,
    /// The longest a process that takes over may need to start once everything is handed to it.
    #[serde(with = "units::duration")]
    pub take_over_timeout: Duration,
}

/// `[smart_streaming]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SmartStreamingSettings {
    /// False puts every monitor on the legacy path.
    pub enabled: bool,
    /// The fraction of monitors on the smart path, 0 to 1.
    pub canary: f64,
    /// Whether the legacy path drops repeats too.
    pub legacy_dedupe: bool,
    /// Whether the least important monitors are those that go first.
    pub low_priority_first: bool,
}

/// `[log]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogSettings {
    /// `human` or `json`.
    pub format: LogFormat,
    /// A tracing filter: `info`, or `warn,sluice::upstream=debug`.
    pub level: String,
}

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// For people.
    Human,
    /// One JSON object a line.
    Json,
}

/// `[pool]`, and the same keys under `[upstreams.NAME]` where an upstream says otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PoolSettings {
    /// Links kept open.
    pub min_connections: u32,
    /// Links that may be open.
    pub max_connections: u32,
    /// Time between pings of a link.
    #[serde(with = "units::duration")]
    pub health_check_interval: Duration,
    /// The longest an answer to a ping may take before the link is given up.
    #[serde(with = "units::duration")]
    pub pong_timeout: Duration,
    /// The longest name resolution and TCP connect may take.
    #[serde(with = "units::duration")]
    pub connect_timeout: Duration,
    /// The longest TLS and WebSocket handshake may take.
    #[serde(with = "units::duration")]
    pub handshake_timeout: Duration,
    /// The longest a subscription may stay unacknowledged before it is asked for once more.
    #[serde(with = "units::duration")]
    pub confirm_timeout: Duration,
    /// Wait before the first reconnect; doubled each time, with jitter.
    #[serde(with = "units::duration")]
    pub backoff_min: Duration,
    /// The longest wait between reconnects.
    #[serde(with = "units::duration")]
    pub backoff_max: Duration,
    /// The longest wait after credentials or rights were refused, where it is longer than `backoff_max`.
    #[serde(with = "units::duration")]
    pub refused_wait: Duration,
    /// A topic that is quiet for less is never found silent, however often it came.
    #[serde(with = "units::duration")]
    pub silence_min: Duration,
    /// A topic that has come often enough to be judged is found silent after this at the latest; 0: none is.
    #[serde(with = "units::duration")]
    pub silence_max: Duration,
    /// Messages a second a link may carry on average before the pool grows.
    pub link_rate_max: u32,
    /// How long the load must have been small before the pool shrinks.
    #[serde(with = "units::duration")]
    pub shrink_after: Duration,
    /// The proxy that upstreams are reached through which say nothing else; absent: none.
    #[serde(deserialize_with = "endpoint::of_a_proxy")]
    pub proxy: Option<Endpoint>,
}

/// `[batch]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BatchSettings {
    /// Events from which on an idle writer takes a batch.
    pub min_size: u32,
    /// The most events of a batch.
    pub max_size: u32,
    /// The most bytes of a batch; a larger event is alone in its block.
    pub max_bytes: ByteSize,
    /// The longest an event waits in a batch.
    #[serde(with = "units::duration")]
    pub timeout: Duration,
}

/// `[dedupe]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DedupeSettings {
    /// How long an id is remembered, in journal time.
    #[serde(with = "units::duration")]
    pub ttl: Duration,
    /// The most memory for remembered ids, all monitors together; the oldest go first.
    pub max_bytes: ByteSize,
}

/// `[cache]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CacheSettings {
    /// How long a value is kept.
    #[serde(with = "units::duration")]
    pub ttl: Duration,
    /// Multiplies `cache.ttl` and `dedupe.ttl`.
    pub ttl_multiplier: f64,
    /// Values above this size are compressed.
    pub compression_threshold: ByteSize,
}

/// `[journal]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct JournalSettings {
    /// Size at which a segment is sealed and the next one begun.
    pub segment_size: ByteSize,
    /// A sync starts at most this long after the first unsynced append.
    #[serde(with = "units::duration")]
    pub sync_interval: Duration,
    /// Sealed segments whose last event is older are deleted.
    #[serde(with = "units::duration")]
    pub retention: Duration,
    /// The most bytes of all segments together.
    pub max_size: ByteSize,
    /// What happens when the disk has no room left.
    pub when_full: WhenFull,
}

/// What a journal without room does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WhenFull {
    /// Taking stops until there is room.
    Block,
    /// The oldest segment is deleted, and what was lost is recorded.
    DropOldest,
}

/// `[checkpoint]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CheckpointSettings {
    /// Folder of checkpoints. Relative to the settings file; under systemd the default is in `$STATE_DIRECTORY`.
    pub dir: PathBuf,
    /// Time between periodic checkpoints.
    #[serde(with = "units::duration")]
    pub interval: Duration,
    /// How many are kept, the newest.
    pub keep: u32,
}

/// `[fault_tolerance]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FaultToleranceSettings {
    /// False turns breakers, `[guard]` and periodic checkpoints off; durability stays.
    pub enabled: bool,
}

/// `[quarantine]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct QuarantineSettings {
    /// Raw bytes kept a second for each monitor; beyond it frames are only counted.
    pub bytes_per_second: ByteSize,
    /// A longer frame is kept up to here.
    pub frame_bytes: ByteSize,
}

/// `[shedding]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SheddingSettings {
    /// Whether monitors are put to rest by themselves.
    pub enabled: bool,
    /// From this fill of the journal's queue on, in percent, the daemon is under pressure.
    pub queue_percent: u8,
    /// Pressure that lasts so long puts monitors to rest.
    #[serde(with = "units::duration")]
    pub after: Duration,
    /// So long without pressure wakes them.
    #[serde(with = "units::duration")]
    pub wake_after: Duration,
    /// Monitors of this priority, and lower ones.
    pub priority: Priority,
}

/// `[reload]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ReloadSettings {
    /// Whether the settings file and the `.env` beside it are watched.
    pub watch: bool,
    /// What of a change is applied by itself.
    pub apply: ApplyWatched,
}

/// What of a watched file's changes is applied by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ApplyWatched {
    /// Changes of low risk.
    LowRisk,
    /// Nothing: it is only told what `sluice reload` would do.
    None,
}

impl Default for DaemonSettings {
    fn default() -> Self {
        Self {
            data_dir: "data".into(),
            stop_timeout: Duration::from_secs(20),
            take_over_timeout: Duration::from_secs(30),
        }
    }
}

impl Default for SmartStreamingSettings {
    fn default() -> Self {
        Self { enabled: false, canary: 1.0, legacy_dedupe: false, low_priority_first: false }
    }
}

impl Default for LogSettings {
    fn default() -> Self {
        Self { format: LogFormat::Human, level: "info".into() }
    }
}

impl Default for PoolSettings {
    fn default() -> Self {
        Self {
            min_connections: 2,
            max_connections: 3,
            health_check_interval: Duration::from_secs(20),
            pong_timeout: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(10),
            handshake_timeout: Duration::from_secs(10),
            confirm_timeout: Duration::from_secs(10),
            backoff_min: Duration::from_millis(250),
            backoff_max: Duration::from_secs(30),
            refused_wait: Duration::from_mins(5),
            silence_min: Duration::from_secs(30),
            silence_max: Duration::from_hours(1),
            link_rate_max: 20_000,
            shrink_after: Duration::from_mins(1),
            proxy: None,
        }
    }
}

impl PoolSettings {
    /// These settings with an upstream's own in their place.
    #[must_use]
    pub fn overridden_by(&self, own: &PoolOverrides) -> Self {
        Self {
            min_connections: own.min_connections.unwrap_or(self.min_connections),
            max_connections: own.max_connections.unwrap_or(self.max_connections),
            health_check_interval: own.health_check_interval.unwrap_or(self.health_check_interval),
            pong_timeout: own.pong_timeout.unwrap_or(self.pong_timeout),
            connect_timeout: own.connect_timeout.unwrap_or(self.connect_timeout),
            handshake_timeout: own.handshake_timeout.unwrap_or(self.handshake_timeout),
            confirm_timeout: own.confirm_timeout.unwrap_or(self.confirm_timeout),
            backoff_min: own.backoff_min.unwrap_or(self.backoff_min),
            backoff_max: own.backoff_max.unwrap_or(self.backoff_max),
            refused_wait: own.refused_wait.unwrap_or(self.refused_wait),
            silence_min: own.silence_min.unwrap_or(self.silence_min),
            silence_max: own.silence_max.unwrap_or(self.silence_max),
            link_rate_max: own.link_rate_max.unwrap_or(self.link_rate_max),
            shrink_after: own.shrink_after.unwrap_or(self.shrink_after),
            proxy: self.proxy.clone(),
        }
    }
}

impl Default for BatchSettings {
    fn default() -> Self {
        Self { min_size: 20, max_size: 5000, max_bytes: ByteSize::mib(1), timeout: Duration::from_millis(500) }
    }
}

impl Default for DedupeSettings {
    fn default() -> Self {
        Self { ttl: Duration::from_mins(5), max_bytes: ByteSize::mib(64) }
    }
}

impl Default for CacheSettings {
    fn default() -> Self {
        Self { ttl: Duration::from_mins(5), ttl_multiplier: 1.0, compression_threshold: ByteSize(5000) }
    }
}

impl Default for JournalSettings {
    fn default() -> Self {
        Self {
            segment_size: ByteSize::mib(64),
            sync_interval: Duration::from_millis(10),
            retention: Duration::from_hours(14 * 24),
            max_size: ByteSize::gib(50),
            when_full: WhenFull::Block,
        }
    }
}

impl Default for CheckpointSettings {
    fn default() -> Self {
        Self { dir: "checkpoints".into(), interval: Duration::from_secs(10), keep: 10 }
    }
}

impl Default for FaultToleranceSettings {
    fn default() -> Self {
        Self { enabled: true }
    }
}

impl Default for SheddingSettings {
    fn default() -> Self {
        Self {
            enabled: false,
            queue_percent: 80,
            after: Duration::from_secs(10),
            wake_after: Duration::from_mins(1),
            priority: Priority::Low,
        }
    }
}

impl Default for ReloadSettings {
    fn default() -> Self {
        Self { watch: false, apply: ApplyWatched::LowRisk }
    }
}

impl Default for QuarantineSettings {
    fn default() -> Self {
        Self { bytes_per_second: ByteSize::kib(64), frame_bytes: ByteSize::kib(256) }
    }
}
