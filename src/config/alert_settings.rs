//! `[alerts]`: what is changed of the rules, and rules of the operator's own.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::units;
use crate::alert::rules::{Nature, Rule, Side};
use crate::alert::silence::Pattern;
use crate::alert::{AlertKind, Figure, Severity, rules};

/// `[alerts]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AlertSettings {
    /// Whether rules are looked at.
    pub enabled: bool,
    /// How long nobody is told of the same rule and subject again.
    #[serde(with = "units::duration")]
    pub cooldown: Duration,
    /// What is changed of the built-in rules, by type.
    pub rules: BTreeMap<AlertKind, RuleSettings>,
    /// Rules of one's own, by name.
    pub custom: BTreeMap<String, CustomRuleSettings>,
}

impl Default for AlertSettings {
    fn default() -> Self {
        Self { enabled: true, cooldown: Duration::from_mins(5), rules: BTreeMap::new(), custom: BTreeMap::new() }
    }
}

/// `[alerts.rules.TYPE]`: what is not there is as built in.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RuleSettings {
    /// Whether it is looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// What is still well, in the rule's unit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threshold: Option<f64>,
    /// How long it must be true before an alert is opened, and untrue before it is over.
    #[serde(rename = "for", with = "units::optional_duration", skip_serializing_if = "Option::is_none")]
    pub lasts: Option<Duration>,
    /// The span that the value is of, where it is of one.
    #[serde(with = "units::optional_duration", skip_serializing_if = "Option::is_none")]
    pub window: Option<Duration>,
    /// Of less than so much within the window nothing is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub least: Option<f64>,
    /// How bad it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub severity: Option<Severity>,
    /// How long nobody is told of the same subject again.
    #[serde(with = "units::optional_duration", skip_serializing_if = "Option::is_none")]
    pub cooldown: Option<Duration>,
}

/// `[alerts.custom.NAME]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CustomRuleSettings {
    /// What it looks at.
    pub figure: Figure,
    /// What that is a share of, of a `ratio`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<Figure>,
    /// How it looks at it.
    pub kind: Nature,
    /// What is still well.
    pub threshold: f64,
    /// On which side of it something is wrong.
    #[serde(default)]
    pub side: Side,
    /// Of which subjects, with `*` for any run of characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// How long it must be true before an alert is opened, and untrue before it is over.
    #[serde(rename = "for", default, with = "units::duration")]
    pub lasts: Duration,
    /// The span that the value is of.
    #[serde(default = "minutes", with = "units::duration")]
    pub window: Duration,
    /// Of less than so much within the window nothing is said.
    #[serde(default)]
    pub least: f64,
    /// How bad it is.
    #[serde(default = "warning")]
    pub severity: Severity,
    /// How long nobody is told of the same subject again.
    #[serde(default, with = "units::optional_duration", skip_serializing_if = "Option::is_none")]
    pub cooldown: Option<Duration>,
    /// Whether it is looked at.
    #[serde(default = "on")]
    pub enabled: bool,
}

fn minutes() -> Duration {
    Duration::from_mins(5)
}

fn warning() -> Severity {
    Severity::Warning
}

fn on() -> bool {
    true
}

impl AlertSettings {
    /// Every rule as these settings have it, built-in ones first.
    pub fn in_force(&self) -> Vec<Rule> {
        let built_in = rules::REFERENCE.iter().map(|reference| {
            let mut rule = Rule::built_in(reference, self.cooldown);
            if let Some(changed) = self.rules.get(&reference.kind) {
                rule.enabled = changed.enabled.unwrap_or(rule.enabled);
                rule.threshold = changed.threshold.unwrap_or(rule.threshold);
                rule.lasts = changed.lasts.unwrap_or(rule.lasts);
                rule.window = changed.window.unwrap_or(rule.window);
                rule.least = changed.least.unwrap_or(rule.least);
                rule.severity = changed.severity.unwrap_or(rule.severity);
                rule.cooldown = changed.cooldown.unwrap_or(rule.cooldown);
            }
            rule
        });
        let own = self.custom.iter().map(|(name, own)| Rule {
            name: name.as_str().into(),
            kind: AlertKind::Custom,
            what: format!("{} ({}) is {} the threshold", own.figure, own.kind.as_str(), own.side.as_str()).into(),
            figure: own.figure,
            of: own.of,
            nature: own.kind,
            side: own.side,
            unit: unit(own).into(),
            threshold: own.threshold,
            lasts: own.lasts,
            window: if own.kind.has_window() { own.window } else { Duration::ZERO },
            least: own.least,
            severity: own.severity,
            enabled: own.enabled,
            cooldown: own.cooldown.unwrap_or(self.cooldown),
            subjects: own.subject.clone().map(Pattern::new),
        });
        let mut all: Vec<Rule> = built_in.chain(own).collect();
        for rule in &mut all {
            rule.enabled &= self.enabled;
        }
        all
    }
}

fn unit(own: &CustomRuleSettings) -> &'static str {
    match own.kind {
        Nature::Threshold | Nature::Rate => own.figure.unit(),
        Nature::Ratio | Nature::Growth => "%",
        Nature::Absence => "s",
        Nature::Deviation => "deviations",
    }
}
