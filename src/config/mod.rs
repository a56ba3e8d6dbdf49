//! Typed settings, their layers, and the checks that name file, line and nearest key.
//!
//! [`load()`] takes the layers in order (built-in defaults, file, `.env`, environment, command line, run time), merges them into
//! one tree whose every value knows where it was set, reads the typed [`Settings`] out of it, and checks what must hold
//! between them.

mod auth_settings;
mod backfill_settings;
mod check;
mod command_line;
mod counter_settings;
mod endpoint;
mod enrich_settings;
mod environment;
mod event_rule_settings;
mod events_sink;
mod export_settings;
mod file;
mod hidden;
mod hole_template;
mod key;
mod layer;
mod limits;
mod load;
mod monitor_settings;
mod plan;
mod problem;
mod read;
mod report_settings;
mod rollout_settings;
mod run_time;
mod server_settings;
mod settings;
mod show;
mod sink_settings;
pub mod units;
mod upstream_settings;

pub use auth_settings::*;
pub use backfill_settings::*;
pub use counter_settings::{CounterSettings, CounterValue};
pub use endpoint::Endpoint;
pub use enrich_settings::EnrichSettings;
#[cfg(test)]
pub(crate) use environment::environment_names;
pub use event_rule_settings::*;
pub use export_settings::*;
pub use hidden::Hidden;
pub use hole_template::{Hole, HoleTemplate};
pub use key::KeyPath;
pub use limits::{LimitOverrides, Rate};
pub use load::{Base, LoadOptions, Loaded, Origins, load};
pub use monitor_settings::*;
pub use plan::{Change, Effect, Links, MonitorPlan, PathPlan, Plan, PlannedTopic, Risk, UpstreamPlan};
pub(crate) use problem::suggestion;
pub use problem::{ConfigError, Problem};
pub use report_settings::ReportSettings;
pub use rollout_settings::{GuardSettings, RolloutSettings, StageSettings};
pub use run_time::{Fitted, LeftOut, RunTimeLayer, RunTimeRefusal, RunTimeValue};
pub use server_settings::{Scope, ServerSettings, ServerTlsSettings, ServerTokenSettings};
pub use settings::*;
pub use show::{ShownSetting, show, shown_table};
pub use sink_settings::{FieldSettings, FieldType, FileCompression, PayloadType, SinkKind, SinkSettings};
pub use units::ByteSize;
pub use upstream_settings::*;
