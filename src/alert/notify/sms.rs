//! Short messages, through whatever provider is asked over HTTP.

use std::collections::BTreeMap;

use reqwest::RequestBuilder;
use url::form_urlencoded;

use super::NotifierError;
use super::channel::Failure;
use super::message::{Wording, cut, one_line, value_of};
use super::poster::{Poster, secret_of};
use super::queue::Waiting;
use crate::config::{Endpoint, NoticeTemplate, NotifySettings, SmsFormat, SmsSettings};

/// Three short messages put together. Source: a guess at what somebody reads there.
const TEXT_CHARACTERS_MAX: usize = 450;

/// A provider of short messages.
pub(super) struct Sms {
    url: Endpoint,
    settings: SmsSettings,
    fields: BTreeMap<String, NoticeTemplate>,
    wording: Wording,
    poster: Poster,
    /// The message in hand, and how many have it: who has it is not sent it again because another has not.
    told: (String, usize),
}

impl Sms {
    pub(super) fn new(notify: &NotifySettings, url: &Endpoint) -> Result<Self, NotifierError> {
        let settings = notify.sms.clone();
        let template = |text| NoticeTemplate::parse(text).map_err(NotifierError::Settings);
        let fields = if settings.fields.is_empty() {
            BTreeMap::from([("to".to_owned(), template("{phone}")?), ("body".to_owned(), template("{text}")?)])
        } else {
            settings.fields.clone()
        };
        let short = template("{severity} {type} {subject} {occasion}: {message} {link}")?;
        let body = settings.body.clone().unwrap_or(short);
        Ok(Self {
            url: url.clone(),
            fields,
            wording: Wording::new(notify, Some(&body), None),
            poster: Poster::guarded(notify.timeout, settings.ca_file.as_deref(), settings.allow_private)?,
            settings,
            told: (String::new(), 0),
        })
    }

    pub(super) async fn send(&mut self, waiting: &Waiting) -> Result<(), Failure> {
        if self.told.0 != waiting.id {
            self.told = (waiting.id.clone(), 0);
        }
        let token = secret_of(self.settings.token_file.as_deref(), self.settings.token.as_ref())?;
        let password = self.url.reveal().password().map(str::to_owned);
        let secrets = [token.as_deref().unwrap_or_default(), password.as_deref().unwrap_or_default()];
        while let Some(phone) = self.settings.phone.as_ref().and_then(|phones| phones.get(self.told.1)) {
            let request = self.request(waiting, phone);
            let request = match &token {
                Some(token) => request.bearer_auth(token),
                None => request,
            };
            self.poster.post(request, &secrets).await?;
            self.told.1 += 1;
        }
        Ok(())
    }

    fn request(&self, waiting: &Waiting, phone: &str) -> RequestBuilder {
        let message = self.wording.message(&waiting.notice);
        let text = cut(&one_line(&message.subject), TEXT_CHARACTERS_MAX);
        let value = |name: &str| match name {
            "phone" => phone.to_owned(),
            "text" => text.clone(),
            "link" => message.link.clone().unwrap_or_default(),
            "runbook" => message.runbook.clone().unwrap_or_default(),
            other => value_of(&waiting.notice, other),
        };
        let fields = self.fields.iter().map(|(name, template)| (name, template.fill(value)));
        let request = self.poster.client().post(self.url.reveal().clone());
        match self.settings.format {
            SmsFormat::Json => {
                let object: serde_json::Map<String, serde_json::Value> =
                    fields.map(|(name, value)| (name.clone(), value.into())).collect();
                let body = serde_json::Value::Object(object).to_string();
                request.header("content-type", "application/json").body(body)
            }
            SmsFormat::Form => {
                let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
                request.header("content-type", "application/x-www-form-urlencoded").body(body)
            }
        }
    }
}
