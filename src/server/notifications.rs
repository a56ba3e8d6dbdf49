//! `/api/v1/monitoring/notifications`: what became of notices of alerts, and trying how somebody is told.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};

use super::problem::Problem;
use super::serve::Shown;
use crate::alert::AlertKind;
use crate::alert::notify::{ChannelFigures, Delivery, Notifier, TestRefusal};

/// Deliveries that are listed where nothing is said.
const LIMIT: usize = 100;

/// What became of notices.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Notifications {
    /// Each channel's counts since the start.
    pub channels: Vec<ChannelFigures>,
    /// The newest first.
    pub deliveries: Vec<Delivery>,
}

/// What is tried: a channel, how alerts of a type are told, or with neither every channel.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NotificationTest {
    /// This channel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channel: Option<String>,
    /// Channels that alerts of this type are routed to.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<AlertKind>,
}

/// What of notifications is shown and tried.
pub trait NotificationsView: Send + Sync + 'static {
    /// What became of them; at most so many deliveries.
    fn notifications(&self, limit: usize) -> Notifications;
    /// Tries, and waits for what becomes of it. Blocking, for some seconds.
    ///
    /// # Errors
    /// When there is nothing to try.
    fn test(&self, test: &NotificationTest) -> Result<Vec<Delivery>, TestRefusal>;
}

impl NotificationsView for Notifier {
    fn notifications(&self, limit: usize) -> Notifications {
        Notifications { channels: self.figures(), deliveries: self.deliveries(limit) }
    }

    fn test(&self, test: &NotificationTest) -> Result<Vec<Delivery>, TestRefusal> {
        match test.kind {
            Some(kind) => self.test_kind(kind),
            None => self.test_channel(test.channel.as_deref()),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    limit: Option<usize>,
}

/// Its routes.
pub(super) fn routes() -> Router<Shown> {
    Router::new()
        .route("/api/v1/monitoring/notifications", get(notifications))
        .route("/api/v1/monitoring/notifications/test", post(try_out))
}

async fn notifications(State(shown): State<Shown>, Query(asked): Query<Asked>) -> Json<Notifications> {
    Json(shown.view.notifications().notifications(asked.limit.unwrap_or(LIMIT)))
}

async fn try_out(State(shown): State<Shown>, body: Bytes) -> Response {
    let refused = |status: StatusCode, error: String| Problem::new(status, error).into_response();
    let test = if body.is_empty() { Ok(NotificationTest::default()) } else { serde_json::from_slice(&body) };
    let test = match test {
        Ok(NotificationTest { channel: Some(_), kind: Some(_) }) => {
            let error = "expected a `channel` or a `type`, not both: a type goes to the channels that it is routed to";
            return refused(StatusCode::BAD_REQUEST, error.to_owned());
        }
        Ok(test) => test,
        Err(error) => {
            let error = format!(r#"expected {{"channel": NAME}}, {{"type": TYPE}} or nothing: {error}"#);
            return refused(StatusCode::BAD_REQUEST, error);
        }
    };
    let view: Arc<dyn NotificationsView> = shown.view.notifications();
    // Off the thread that serves everybody: it waits for other servers.
    match tokio::task::spawn_blocking(move || view.test(&test)).await {
        Ok(Ok(deliveries)) => Json(deliveries).into_response(),
        Ok(Err(refusal)) => {
            let status = match refusal {
                TestRefusal::Unknown(_) => StatusCode::NOT_FOUND,
                TestRefusal::NoChannel | TestRefusal::NotConfigured(_) | TestRefusal::NotRouted(_) => {
                    StatusCode::CONFLICT
                }
            };
            refused(status, refusal.to_string())
        }
        Err(error) => refused(StatusCode::INTERNAL_SERVER_ERROR, format!("a bug of Sluice: {error}")),
    }
}
