//! A message that says who we are, before anything is subscribed, and what the upstream answers.

use std::time::Duration;

use serde_json::Value;

use super::answer;
use super::values::{Fault, TOKEN, Values, template_of};
use crate::config::LoginSettings;
use crate::dialect::template::Template;

/// A checked login.
#[derive(Debug)]
pub(super) struct Login {
    pub(super) template: Template,
    settings: LoginSettings,
    pub(super) has_token: bool,
}

/// What a frame says about a login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LoginAnswer {
    /// We are in; for so long, where the upstream says that.
    Accepted(Option<Duration>),
    /// We are not; its reason.
    Refused(String),
}

impl Login {
    pub(super) fn compile(settings: &LoginSettings, values: &Values) -> Result<Self, Fault> {
        let at = |key: &str| format!("login.{key}");
        let template = template_of(&settings.send).map_err(|reason| (at("send"), reason))?;
        values.check(&template, &at("send"))?;
        answer::check_pointers(&at("accepted"), settings.accepted.keys())?;
        answer::check_pointers(&at("refused"), settings.refused.keys())?;
        answer::check_pointers(&at("reason"), &settings.reason)?;
        answer::check_pointers(&at("lifetime_at"), &settings.lifetime_at)?;
        if settings.accepted.is_empty() && (!settings.refused.is_empty() || settings.lifetime_at.is_some()) {
            return Err((at("accepted"), "is missing; it says which answer lets us in".into()));
        }
        if settings.timeout.is_zero() {
            return Err((at("timeout"), "is 0; write a duration such as `10s`".into()));
        }
        let has_token = values.uses(&template, TOKEN);
        Ok(Self { template, settings: settings.clone(), has_token })
    }

    /// How long an answer is waited for; none where there is none.
    pub(super) fn answer_within(&self) -> Option<Duration> {
        (!self.settings.accepted.is_empty()).then_some(self.settings.timeout)
    }

    /// How long it holds, if the upstream did not say otherwise.
    pub(super) fn lifetime(&self) -> Option<Duration> {
        self.settings.lifetime
    }

    /// What a frame says about it; none where it is about something else.
    pub(super) fn judge(&self, text: &str) -> Option<LoginAnswer> {
        let answer: Value = serde_json::from_str(text).ok()?;
        let Self { settings, .. } = self;
        if !settings.refused.is_empty() && answer::holds(&settings.refused, &answer) {
            let reason = answer::reason(&settings.reason, &answer);
            return Some(LoginAnswer::Refused(reason.unwrap_or_else(|| "the upstream gave no reason".into())));
        }
        if answer::holds(&settings.accepted, &answer) {
            let seconds = settings.lifetime_at.as_deref().and_then(|at| answer::number(at, &answer));
            let lifetime = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()).or(settings.lifetime);
            return Some(LoginAnswer::Accepted(lifetime));
        }
        None
    }
}
