//! Slack, by `chat.postMessage`.

use serde::Deserialize;
use serde_json::{Value, json};

use super::NotifierError;
use super::channel::{Again, Failure};
use super::message::{Message, Wording, cut, one_line};
use super::poster::{Poster, scrub, secret_of};
use super::queue::Waiting;
use crate::config::{NotifySettings, SlackSettings};

/// A block's text has at most 3,000 characters; escapes make it longer.
const BLOCK_CHARACTERS_MAX: usize = 2900;

/// Errors that pass, of those that Slack's documentation lists.
const PASSING: [&str; 6] =
    ["ratelimited", "rate_limited", "internal_error", "fatal_error", "service_unavailable", "request_timeout"];

/// A channel of Slack.
pub(super) struct Slack {
    settings: SlackSettings,
    wording: Wording,
    poster: Poster,
}

/// What Slack says, whatever the status.
#[derive(Deserialize)]
struct Said {
    ok: bool,
    #[serde(default)]
    error: Option<String>,
}

impl Slack {
    pub(super) fn new(notify: &NotifySettings) -> Result<Self, NotifierError> {
        let settings = notify.slack.clone();
        let wording = Wording::new(notify, settings.subject.as_ref(), settings.body.as_ref());
        Ok(Self { settings, wording, poster: Poster::new(notify.timeout)? })
    }

    pub(super) async fn send(&self, waiting: &Waiting) -> Result<(), Failure> {
        let token = secret_of(self.settings.token_file.as_deref(), self.settings.token.as_ref())?.unwrap_or_default();
        let url = format!("{}/chat.postMessage", self.settings.url.reveal().as_str().trim_end_matches('/'));
        let body = body(self.settings.channel.as_deref().unwrap_or_default(), &self.wording.message(&waiting.notice));
        let request = self
            .poster
            .client()
            .post(url)
            .bearer_auth(&token)
            .header("content-type", "application/json; charset=utf-8")
            .body(body.to_string());
        let answer = self.poster.post(request, &[&token]).await?;
        let said: Said = serde_json::from_slice(&answer.body)
            .map_err(|_| Failure::later("Slack answered with something that is not Slack's"))?;
        match (said.ok, said.error.unwrap_or_else(|| "unknown_error".into())) {
            (true, _) => Ok(()),
            (false, error) => {
                let again =
                    if PASSING.contains(&error.as_str()) { Again::Later(answer.retry_after) } else { Again::Never };
                let reason = format!("Slack refuses: {}", cut(&one_line(&error), 100));
                Err(Failure { reason: scrub(reason, &[&token]), again })
            }
        }
    }
}

fn body(channel: &str, message: &Message) -> Value {
    let mut blocks = vec![
        json!({"type": "section", "text": {"type": "mrkdwn", "text": format!("*{}*", escaped(&message.subject))}}),
        json!({"type": "section", "text": {"type": "plain_text", "text": cut(&message.body, BLOCK_CHARACTERS_MAX)}}),
    ];
    let link = |(name, url): (&str, &Option<String>)| Some(format!("<{}|{name}>", escaped(url.as_ref()?)));
    let links: Vec<String> =
        [("Dashboard", &message.link), ("Runbook", &message.runbook)].into_iter().filter_map(link).collect();
    if !links.is_empty() {
        blocks.push(json!({"type": "context", "elements": [{"type": "mrkdwn", "text": links.join(" · ")}]}));
    }
    json!({"channel": channel, "text": escaped(&message.subject), "blocks": blocks, "unfurl_links": false})
}

/// As Slack wants it: these three begin links and calls of everybody (`<!channel>`).
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
