//! `PagerDuty`, by its Events API v2.

use serde_json::{Value, json};

use super::channel::Failure;
use super::message::{Message, Wording, cut};
use super::poster::{Poster, secret_of};
use super::queue::Waiting;
use super::{Notice, NotifierError, Occasion};
use crate::config::{NotifySettings, PagerDutySettings};

/// A summary has at most so many characters, by the API's documentation.
const SUMMARY_CHARACTERS_MAX: usize = 1000;

/// A service of `PagerDuty`.
pub(super) struct PagerDuty {
    settings: PagerDutySettings,
    wording: Wording,
    poster: Poster,
}

impl PagerDuty {
    pub(super) fn new(notify: &NotifySettings) -> Result<Self, NotifierError> {
        let settings = notify.pagerduty.clone();
        let wording = Wording::new(notify, settings.subject.as_ref(), None);
        Ok(Self { settings, wording, poster: Poster::new(notify.timeout)? })
    }

    pub(super) async fn send(&self, waiting: &Waiting) -> Result<(), Failure> {
        let key = secret_of(self.settings.token_file.as_deref(), self.settings.token.as_ref())?.unwrap_or_default();
        self.enqueue(&key, self.event(&key, &waiting.notice, action_of(waiting.notice.occasion))).await?;
        if waiting.notice.occasion == Occasion::Test {
            // Nobody is to be kept awake by a test.
            self.enqueue(&key, self.event(&key, &waiting.notice, "resolve")).await?;
        }
        Ok(())
    }

    async fn enqueue(&self, key: &str, event: Value) -> Result<(), Failure> {
        let url = format!("{}/v2/enqueue", self.settings.url.reveal().as_str().trim_end_matches('/'));
        let request = self.poster.client().post(url).header("content-type", "application/json").body(event.to_string());
        self.poster.post(request, &[key]).await.map(drop)
    }

    fn event(&self, key: &str, notice: &Notice, action: &str) -> Value {
        let Message { subject, link, runbook, .. } = self.wording.message(notice);
        let alert = &notice.alert;
        let mut event = json!({
            "routing_key": key,
            "event_action": action,
            "dedup_key": alert.id,
        });
        if action != "trigger" {
            return event;
        }
        event["client"] = "Sluice".into();
        if let Some(link) = &link {
            event["client_url"] = link.clone().into();
        }
        let links = [("Dashboard", link), ("Runbook", runbook)];
        let links = links.into_iter().filter_map(|(text, href)| Some(json!({"href": href?, "text": text})));
        event["links"] = links.collect();
        event["payload"] = json!({
            "summary": cut(&subject, SUMMARY_CHARACTERS_MAX),
            "source": alert.subject,
            "severity": alert.severity.as_str(),
            "timestamp": alert.created_at,
            "component": alert.subject,
            "class": alert.kind.as_str(),
            "custom_details": {
                "message": alert.message,
                "value": alert.value,
                "threshold": alert.threshold,
                "service_id": self.settings.service_id,
                "test": notice.occasion == Occasion::Test,
            },
        });
        event
    }
}

fn action_of(occasion: Occasion) -> &'static str {
    match occasion {
        Occasion::Opened | Occasion::Test => "trigger",
        Occasion::Acknowledged => "acknowledge",
        Occasion::Resolved => "resolve",
    }
}
