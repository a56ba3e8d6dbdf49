//! The HTTP server: metrics, health, and what the daemon knows of its monitors and sinks.

mod accept;
mod alerts;
mod attempts;
mod audit;
mod body;
mod canary;
mod circuits;
mod events;
mod gaps;
mod guard;
mod health;
mod journal;
mod metrics;
mod monitoring;
mod monitors;
mod notifications;
mod observe;
mod openapi;
mod operations;
mod page;
mod polls;
mod pool;
mod problem;
mod quarantine;
mod scope;
mod sequences;
mod serve;
mod settings;
mod sinks;
mod stall;
mod streams;
mod support;
mod tls;
mod tokens;
mod views;

pub use alerts::{
    AcknowledgeRequest, AlertCounts, AlertQuery, AlertRow, AlertSummary, Alerts, ResolveRequest, RuleRow, RuleSubject,
    SilenceRequest,
};
pub use audit::AuditRecord;
pub use canary::{
    CanaryAction, CanaryAnswer, CanaryRequest, CanarySettings, CanaryStatus, GuardShown, MemoryShown, PathCount,
    PlanShown, RollBackShown,
};
pub use gaps::{FillRequest, FillRow};
pub use guard::{Access, AccessError};
pub use health::{Health, HealthState};
pub use journal::{JournalRow, RetentionRow};
pub use monitors::{MonitorRow, RaceRow};
pub use notifications::{NotificationTest, Notifications, NotificationsView};
pub use operations::{OperationRow, OperationState, Refusal, ReplayAnswer};
pub use polls::{PollAction, PollChange, PollRow};
pub use pool::{LinkRow, PoolLimits, PoolRow, TopicRow};
pub use quarantine::{RetryOutcome, RetryRefusal, RetryReport, RetryRequest, RetryRow};
pub use sequences::{CountedSequence, TopicSequence};
pub use serve::{Listening, ServerError, Serving, View, listen, serve};
pub use settings::{
    ChangeRefusal, Changed, Control, EmergencyRow, Kind, MonitorState, MonitorVerdict, ProposedFile, ShadowRow,
    StateAnswer, StateRequest,
};
pub use streams::{StreamDesk, StreamFigures};
pub use support::{LogLines, Support};
pub use tls::{ServerTlsError, check_tls};
pub use tokens::{NewToken, TokenError};
pub use views::{Buffer, Latency, Running};
