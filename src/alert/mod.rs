//! Alerts: what a person should know of, from its opening to its end.

pub mod book;
mod engine;
mod figure;
mod kind;
pub mod notify;
pub mod rules;
pub mod silence;
mod watch;

pub use engine::{Crossing, Engine, Finding, Seen};
pub use figure::{Figure, Sample};
pub use kind::{AlertKind, Severity};

use serde::{Deserialize, Serialize};

/// Whoever keeps what became of notices.
pub trait Deliveries: Send + Sync + 'static {
    /// Telling a channel has ended.
    fn ended(&self, delivery: notify::Delivery);
}

/// Where an alert stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum AlertStatus {
    /// Nobody has seen to it.
    Open,
    /// Somebody sees to it.
    Acknowledged,
    /// It is over.
    Resolved,
}

/// One alert, as it is shown, journaled and sent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Alert {
    /// Its id, a UUID.
    pub id: String,
    /// Which rule found it.
    #[serde(rename = "type")]
    pub kind: AlertKind,
    /// How bad it is.
    pub severity: Severity,
    /// Where it stands.
    pub status: AlertStatus,
    /// What it is about: a monitor's, upstream's, sink's or channel's name, or `process`.
    pub subject: String,
    /// In a sentence.
    pub message: String,
    /// What was measured last, in the rule's unit.
    pub value: f64,
    /// What it is held against.
    pub threshold: f64,
    /// When it was opened, RFC 3339.
    pub created_at: String,
    /// When somebody began to see to it.
    #[serde(default)]
    pub acknowledged_at: Option<String>,
    /// Who.
    #[serde(default)]
    pub acknowledged_by: Option<String>,
    /// What they noted.
    #[serde(default)]
    pub notes: Option<String>,
    /// When it was over.
    #[serde(default)]
    pub resolved_at: Option<String>,
    /// Who resolved it; `sluice` where its condition ended.
    #[serde(default)]
    pub resolved_by: Option<String>,
    /// How.
    #[serde(default)]
    pub resolution: Option<String>,
    /// Who was told, the newest last.
    #[serde(default)]
    pub notifications: Vec<notify::Delivery>,
}
