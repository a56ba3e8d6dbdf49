//! `[notify]`: who is told of alerts, and how.
//!
//! A channel is on if it is configured: it has all that it cannot do without. One that has some of it is told of by
//! [`NotifySettings::half_configured`].

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::de::{SeqAccess, Visitor, value::SeqAccessDeserializer};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::endpoint::{self, Endpoint};
use super::limits::Rate;
use super::notice_template::NoticeTemplate;
use super::units;
use crate::alert::Severity;
use crate::alert::notify::Occasion;

/// `[notify]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NotifySettings {
    /// Where people look at alerts: `{link}` of messages. May have holes, such as `{id}`.
    pub dashboard_url: Option<NoticeTemplate>,
    /// Where it is written what to do: `{runbook}` of messages. May have holes, such as `{type}`.
    pub runbook_url: Option<NoticeTemplate>,
    /// The first line of messages.
    pub subject: NoticeTemplate,
    /// What else they say.
    pub body: NoticeTemplate,
    /// Notices that wait for a channel at most, each channel; the least severe is dropped for one that is more so.
    pub queue: u32,
    /// How often a notice is tried at most.
    pub attempts: u32,
    /// How long it is tried at most, from when it was to be told.
    #[serde(with = "units::duration")]
    pub give_up_after: Duration,
    /// The longest that one attempt may take.
    #[serde(with = "units::duration")]
    pub timeout: Duration,
    /// By SMTP.
    pub email: EmailSettings,
    /// By a signed POST.
    pub webhook: WebhookSettings,
    /// By Slack.
    pub slack: SlackSettings,
    /// By `PagerDuty`.
    pub pagerduty: PagerDutySettings,
    /// By a provider of short messages that is asked over HTTP.
    pub sms: SmsSettings,
}

/// `[notify.email]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EmailSettings {
    /// False: nobody is told by it.
    pub enabled: bool,
    /// The server: `smtp://USER:PASSWORD@HOST:587` begins in the clear and goes on by STARTTLS, `smtps://` is TLS from the start.
    #[serde(deserialize_with = "endpoint::of_a_mail_server")]
    pub url: Option<Endpoint>,
    /// A file whose text is the password, in the place of one in `url`.
    pub password_file: Option<PathBuf>,
    /// Whether `smtp://` goes on by TLS. Absent: `required` with a user in `url`, else `opportunistic`.
    pub starttls: Option<StartTls>,
    /// Certificates trusted beside the system's.
    pub ca_file: Option<PathBuf>,
    /// Who it is from: `Sluice <sluice@example.org>`.
    pub from: Option<String>,
    /// Whom it goes to: a list, or with commas between.
    #[serde(deserialize_with = "listed_if_any")]
    pub to: Option<Vec<String>>,
    /// From which severity on.
    pub min_severity: Option<Severity>,
    /// Only these, in the place of `min_severity`.
    #[serde(deserialize_with = "listed")]
    pub severities: Vec<Severity>,
    /// Of which occasions.
    #[serde(deserialize_with = "listed")]
    pub occasions: Vec<Occasion>,
    /// How many at most.
    pub rate: Rate,
    /// In the place of `notify.subject`.
    pub subject: Option<NoticeTemplate>,
    /// In the place of `notify.body`.
    pub body: Option<NoticeTemplate>,
}

/// When a connection to a mail server goes on by TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StartTls {
    /// Or nothing is sent.
    Required,
    /// Where the server offers it.
    Opportunistic,
    /// Never.
    None,
}

/// `[notify.webhook]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WebhookSettings {
    /// False: nobody is told by it.
    pub enabled: bool,
    /// Where to.
    #[serde(deserialize_with = "endpoint::over_http_if_any")]
    pub url: Option<Endpoint>,
    /// What it is signed with: `whsec_` and base64. Two with a space between, while one takes the other's place.
    pub secret: Option<SecretText>,
    /// The same, in a file.
    pub secret_file: Option<PathBuf>,
    /// Whether addresses that only this host or its network reach may be told.
    pub allow_private: bool,
    /// Certificates trusted beside the system's.
    pub ca_file: Option<PathBuf>,
    /// From which severity on.
    pub min_severity: Option<Severity>,
    /// Only these, in the place of `min_severity`.
    #[serde(deserialize_with = "listed")]
    pub severities: Vec<Severity>,
    /// Of which occasions.
    #[serde(deserialize_with = "listed")]
    pub occasions: Vec<Occasion>,
    /// How many at most.
    pub rate: Rate,
    /// In the place of `notify.subject`.
    pub subject: Option<NoticeTemplate>,
    /// In the place of `notify.body`.
    pub body: Option<NoticeTemplate>,
}

/// `[notify.slack]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SlackSettings {
    /// False: nobody is told by it.
    pub enabled: bool,
    /// Where the API is.
    #[serde(deserialize_with = "endpoint::over_http")]
    pub url: Endpoint,
    /// A bot's token with the right `chat:write`.
    pub token: Option<SecretText>,
    /// The same, in a file.
    pub token_file: Option<PathBuf>,
    /// Where it is written: a channel's id or name.
    pub channel: Option<String>,
    /// From which severity on.
    pub min_severity: Option<Severity>,
    /// Only these, in the place of `min_severity`.
    #[serde(deserialize_with = "listed")]
    pub severities: Vec<Severity>,
    /// Of which occasions.
    #[serde(deserialize_with = "listed")]
    pub occasions: Vec<Occasion>,
    /// How many at most.
    pub rate: Rate,
    /// In the place of `notify.subject`.
    pub subject: Option<NoticeTemplate>,
    /// In the place of `notify.body`.
    pub body: Option<NoticeTemplate>,
}

/// `[notify.pagerduty]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PagerDutySettings {
    /// False: nobody is told by it.
    pub enabled: bool,
    /// Where the Events API v2 is.
    #[serde(deserialize_with = "endpoint::over_http")]
    pub url: Endpoint,
    /// The integration's routing key.
    pub token: Option<SecretText>,
    /// The same, in a file.
    pub token_file: Option<PathBuf>,
    /// The service, for those who read the event.
    pub service_id: Option<String>,
    /// From which severity on.
    pub min_severity: Option<Severity>,
    /// Only these, in the place of `min_severity`.
    #[serde(deserialize_with = "listed")]
    pub severities: Vec<Severity>,
    /// Of which occasions.
    #[serde(deserialize_with = "listed")]
    pub occasions: Vec<Occasion>,
    /// How many at most.
    pub rate: Rate,
    /// In the place of `notify.subject`.
    pub subject: Option<NoticeTemplate>,
}

/// `[notify.sms]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SmsSettings {
    /// False: nobody is told by it.
    pub enabled: bool,
    /// The provider. A user and a password in it are sent as `Authorization: Basic`.
    #[serde(deserialize_with = "endpoint::over_http_if_any")]
    pub url: Option<Endpoint>,
    /// Sent as `Authorization: Bearer`.
    pub token: Option<SecretText>,
    /// The same, in a file.
    pub token_file: Option<PathBuf>,
    /// Whom it goes to: a list, or with commas between. Each is a request.
    #[serde(deserialize_with = "listed_if_any")]
    pub phone: Option<Vec<String>>,
    /// How the provider wants to be asked.
    pub format: SmsFormat,
    /// What it wants to be told, by its names; empty: `{ to = "{phone}", body = "{text}" }`.
    pub fields: BTreeMap<String, NoticeTemplate>,
    /// Whether addresses that only this host or its network reach may be told.
    pub allow_private: bool,
    /// Certificates trusted beside the system's.
    pub ca_file: Option<PathBuf>,
    /// From which severity on.
    pub min_severity: Option<Severity>,
    /// Only these, in the place of `min_severity`.
    #[serde(deserialize_with = "listed")]
    pub severities: Vec<Severity>,
    /// Of which occasions.
    #[serde(deserialize_with = "listed")]
    pub occasions: Vec<Occasion>,
    /// How many at most.
    pub rate: Rate,
    /// `{text}`: what a message says, in short.
    pub body: Option<NoticeTemplate>,
}

/// How a provider of short messages wants to be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SmsFormat {
    /// By a JSON object.
    Json,
    /// As a form of a page.
    Form,
}

/// A secret that stands in settings, or came from the environment. It is not shown.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct SecretText(String);

impl SecretText {
    /// The secret itself: for proving who we are only.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretText(***)")
    }
}

impl Serialize for SecretText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("***")
    }
}

/// What of alerts a channel is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Routing {
    /// Of these severities.
    pub severities: Vec<Severity>,
    /// Of these occasions.
    pub occasions: Vec<Occasion>,
}

impl Routing {
    fn new(least: Severity, only: &[Severity], occasions: &[Occasion]) -> Self {
        let severities = match only {
            [] => Severity::ALL.into_iter().filter(|severity| *severity >= least).collect(),
            only => only.to_vec(),
        };
        Self { severities, occasions: occasions.to_vec() }
    }

    /// Whether it is told of this.
    pub fn takes(&self, severity: Severity, occasion: Occasion) -> bool {
        self.severities.contains(&severity) && (occasion == Occasion::Test || self.occasions.contains(&occasion))
    }
}

macro_rules! routed {
    ($($settings:ty = $least:ident;)*) => {$(
        impl $settings {
            /// The least severity that it is told of where nothing else is said.
            pub const LEAST: Severity = Severity::$least;

            /// What it is told.
            pub fn routing(&self) -> Routing {
                Routing::new(self.min_severity.unwrap_or(Self::LEAST), &self.severities, &self.occasions)
            }
        }
    )*};
}

routed! {
    EmailSettings = Warning;
    // Whoever is told by a program chooses there.
    WebhookSettings = Info;
    SlackSettings = Warning;
    PagerDutySettings = Warning;
    // A telephone that rings for everything is switched off.
    SmsSettings = Critical;
}

/// The channels' names in the settings.
pub const CHANNELS: [&str; 5] = ["email", "webhook", "slack", "pagerduty", "sms"];

/// What a channel cannot do without: the setting, its name in the environment if it has one of its own, and whether it is there.
type Needs = Vec<(&'static str, Option<&'static str>, bool)>;

impl NotifySettings {
    fn needs(&self) -> [(&'static str, bool, Needs); 5] {
        let Self { email, webhook, slack, pagerduty, sms, .. } = self;
        [
            (
                "email",
                email.enabled,
                vec![
                    ("url", Some("SMTP_URL"), email.url.is_some()),
                    ("from", Some("ALERT_EMAIL_FROM"), email.from.is_some()),
                    ("to", Some("ALERT_EMAIL_TO"), email.to.as_ref().is_some_and(|to| !to.is_empty())),
                ],
            ),
            ("webhook", webhook.enabled, vec![("url", Some("MONITORING_ALERT_WEBHOOK_URL"), webhook.url.is_some())]),
            (
                "slack",
                slack.enabled,
                vec![
                    ("token", Some("SLACK_TOKEN"), slack.token.is_some() || slack.token_file.is_some()),
                    ("channel", Some("SLACK_CHANNEL"), slack.channel.is_some()),
                ],
            ),
            (
                "pagerduty",
                pagerduty.enabled,
                vec![("token", Some("PAGERDUTY_TOKEN"), pagerduty.token.is_some() || pagerduty.token_file.is_some())],
            ),
            (
                "sms",
                sms.enabled,
                vec![
                    ("url", None, sms.url.is_some()),
                    ("phone", Some("ALERT_SMS_PHONE"), sms.phone.as_ref().is_some_and(|phone| !phone.is_empty())),
                ],
            ),
        ]
    }

    /// Channels that are switched on and have all that they need.
    pub fn configured(&self) -> Vec<&'static str> {
        let has_all = |needs: &Needs| needs.iter().all(|(_, _, there)| *there);
        self.needs().into_iter().filter(|(_, on, needs)| *on && has_all(needs)).map(|(name, ..)| name).collect()
    }

    /// Channels that are switched on and have only some of what they need, so that nobody is told by them: a sentence each.
    pub fn half_configured(&self) -> Vec<String> {
        let extras = [
            ("webhook", "secret", self.webhook.secret.is_some() || self.webhook.secret_file.is_some()),
            ("pagerduty", "service_id", self.pagerduty.service_id.is_some()),
            ("sms", "token", self.sms.token.is_some() || self.sms.token_file.is_some()),
            ("email", "password_file", self.email.password_file.is_some()),
        ];
        let named = |(key, variable, _): &(&str, Option<&str>, bool), channel: &str| {
            let variable = variable.map_or_else(String::new, |variable| format!(" ({variable})"));
            format!("`notify.{channel}.{key}`{variable}")
        };
        let half = |(channel, on, needs): (&'static str, bool, Needs)| {
            let (there, missing): (Vec<_>, Vec<_>) = needs.iter().partition(|(_, _, there)| *there);
            let mut there: Vec<String> = there.into_iter().map(|need| named(need, channel)).collect();
            let extra = extras.iter().filter(|(of, _, set)| *of == channel && *set);
            there.extend(extra.map(|(_, key, _)| format!("`notify.{channel}.{key}`")));
            if !on || missing.is_empty() || there.is_empty() {
                return None;
            }
            let missing: Vec<String> = missing.into_iter().map(|need| named(need, channel)).collect();
            Some(format!(
                "nobody is told of alerts by {channel}: {} is set, and {} is not; set it too, or `notify.{channel}.enabled = false`",
                there.join(", "),
                missing.join(", ")
            ))
        };
        self.needs().into_iter().filter_map(half).collect()
    }
}

impl Default for NotifySettings {
    fn default() -> Self {
        Self {
            dashboard_url: None,
            runbook_url: None,
            subject: NoticeTemplate::built_in("[{severity}] {type}: {subject} ({occasion})"),
            body: NoticeTemplate::built_in(
                "{message}\n\nType: {type}\nSubject: {subject}\nSeverity: {severity}\nStatus: {status}\nValue: {value}\n\
                 Threshold: {threshold}\nSince: {created_at}\nAcknowledged by: {acknowledged_by}\nNotes: {notes}\n\
                 Resolved by: {resolved_by}\nResolution: {resolution}\nDashboard: {link}\nRunbook: {runbook}\nAlert: {id}",
            ),
            queue: 100,
            attempts: 8,
            give_up_after: Duration::from_mins(5),
            timeout: Duration::from_secs(10),
            email: EmailSettings::default(),
            webhook: WebhookSettings::default(),
            slack: SlackSettings::default(),
            pagerduty: PagerDutySettings::default(),
            sms: SmsSettings::default(),
        }
    }
}

/// What a person reads in a minute, and providers allow. Source: a guess.
const USUAL_RATE: Rate = Rate::new(30, Duration::from_mins(1));

fn every_occasion() -> Vec<Occasion> {
    vec![Occasion::Opened, Occasion::Acknowledged, Occasion::Resolved]
}

impl Default for EmailSettings {
    fn default() -> Self {
        Self {
            enabled: true,
            url: None,
            password_file: None,
            starttls: None,
            ca_file: None,
            from: None,
            to: None,
            min_severity: None,
            severities: Vec::new(),
            occasions: every_occasion(),
            rate: USUAL_RATE,
            subject: None,
            body: None,
        }
    }
}

impl Default for WebhookSettings {
    fn default() -> Self {
        Self {
            enabled: true,
            url: None,
            secret: None,
            secret_file: None,
            allow_private: false,
            ca_file: None,
            min_severity: None,
            severities: Vec::new(),
            occasions: every_occasion(),
            rate: Rate::new(120, Duration::from_mins(1)),
            subject: None,
            body: None,
        }
    }
}

impl Default for SlackSettings {
    fn default() -> Self {
        Self {
            enabled: true,
            url: Endpoint::built_in("https://slack.com/api"),
            token: None,
            token_file: None,
            channel: None,
            min_severity: None,
            severities: Vec::new(),
            occasions: every_occasion(),
            rate: USUAL_RATE,
            subject: None,
            body: None,
        }
    }
}

impl Default for PagerDutySettings {
    fn default() -> Self {
        Self {
            enabled: true,
            url: Endpoint::built_in("https://events.pagerduty.com"),
            token: None,
            token_file: None,
            service_id: None,
            min_severity: None,
            severities: Vec::new(),
            occasions: every_occasion(),
            // The service's own limit is 120 a minute for an integration.
            rate: Rate::new(100, Duration::from_mins(1)),
            subject: None,
        }
    }
}

impl Default for SmsSettings {
    fn default() -> Self {
        Self {
            enabled: true,
            url: None,
            token: None,
            token_file: None,
            phone: None,
            format: SmsFormat::Json,
            fields: BTreeMap::new(),
            allow_private: false,
            ca_file: None,
            min_severity: None,
            severities: Vec::new(),
            occasions: vec![Occasion::Opened, Occasion::Resolved],
            // Each of them costs money.
            rate: Rate::new(10, Duration::from_mins(10)),
            body: None,
        }
    }
}

/// Reads a list, or a text with commas between.
fn listed<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + for<'t> FromWord<'t>,
{
    struct Listed<T>(std::marker::PhantomData<T>);

    impl<'de, T: Deserialize<'de> + for<'t> FromWord<'t>> Visitor<'de> for Listed<T> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list, or a text with commas between")
        }

        fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Vec<T>, E> {
            text.split(',').map(str::trim).filter(|word| !word.is_empty()).map(T::from_word).collect()
        }

        fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Vec<T>, A::Error> {
            Vec::deserialize(SeqAccessDeserializer::new(list))
        }
    }

    deserializer.deserialize_any(Listed(std::marker::PhantomData))
}

/// The same, where there is one.
fn listed_if_any<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<String>>, D::Error> {
    #[derive(Deserialize)]
    #[serde(transparent)]
    struct Words(#[serde(deserialize_with = "listed")] Vec<String>);
    Ok(Option::<Words>::deserialize(deserializer)?.map(|words| words.0))
}

/// A word of a list.
trait FromWord<'t>: Sized {
    /// Reads it as it stands between commas.
    fn from_word<E: serde::de::Error>(word: &'t str) -> Result<Self, E>;
}

impl<'t, T: Deserialize<'t>> FromWord<'t> for T {
    fn from_word<E: serde::de::Error>(word: &'t str) -> Result<Self, E> {
        T::deserialize(serde::de::value::BorrowedStrDeserializer::new(word))
    }
}
