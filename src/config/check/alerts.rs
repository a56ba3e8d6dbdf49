//! What must hold for `[alerts]`.

use std::time::Duration;

use super::Checker;
use crate::alert::rules::{self, Nature};
use crate::alert::{AlertKind, rules::Reference};
use crate::config::key::KeyPath;
use crate::config::units::show_duration;
use crate::config::{AlertSettings, CustomRuleSettings, RuleSettings};

/// No window is longer: sums of it would say nothing of now.
const WINDOW_MAX: Duration = Duration::from_hours(24);
/// The most own rules. Source: a guess; each is held against every subject of its figure.
const CUSTOM_MAX: usize = 100;

impl Checker<'_> {
    pub(super) fn alerts(&mut self, alerts: &AlertSettings) {
        self.not_forever(&KeyPath::from(["alerts", "cooldown"]), alerts.cooldown);
        for (kind, rule) in &alerts.rules {
            let key = KeyPath::from(["alerts", "rules", kind.as_str()]);
            match rules::reference(*kind) {
                Some(reference) => self.built_in_rule(&key, rule, reference),
                None => self.refuse_key(&key, "is no built-in rule; rules of your own are `[alerts.custom.NAME]`"),
            }
        }
        if alerts.custom.len() > CUSTOM_MAX {
            let limit = format!("must be at most {CUSTOM_MAX} rules");
            self.refuse(&KeyPath::from(["alerts", "custom"]), alerts.custom.len(), limit);
        }
        for (name, own) in &alerts.custom {
            let key = KeyPath::from(["alerts", "custom", name]);
            self.name(&key, name, "a rule's name");
            if AlertKind::parse(name).is_some() {
                self.refuse_key(&key, "has the name of a built-in rule; choose another");
            }
            self.own_rule(&key, own);
        }
    }

    fn built_in_rule(&mut self, key: &KeyPath, rule: &RuleSettings, reference: &Reference) {
        if let Some(threshold) = rule.threshold {
            self.number(&key.key("threshold"), threshold);
        }
        if let Some(least) = rule.least {
            self.number(&key.key("least"), least);
        }
        if let Some(window) = rule.window {
            if reference.nature.has_window() {
                self.window(&key.key("window"), window);
            } else {
                self.refuse_key(&key.key("window"), "is of no use: the rule looks at a moment");
            }
        }
        for (name, duration) in [("for", rule.lasts), ("cooldown", rule.cooldown)] {
            if let Some(duration) = duration {
                self.not_forever(&key.key(name), duration);
            }
        }
    }

    fn own_rule(&mut self, key: &KeyPath, own: &CustomRuleSettings) {
        self.number(&key.key("threshold"), own.threshold);
        self.number(&key.key("least"), own.least);
        self.not_forever(&key.key("for"), own.lasts);
        if own.kind.has_window() {
            self.window(&key.key("window"), own.window);
        }
        match (own.kind, own.of) {
            (Nature::Ratio, None) => {
                self.refuse_key(key, "says no `of`: a `ratio` is a share of another figure's growth");
            }
            (Nature::Ratio, Some(of)) if of.subject() != own.figure.subject() => {
                let limit = format!("must be of the same subjects as `{}`: {}", own.figure, own.figure.subject());
                self.refuse(&key.key("of"), of, limit);
            }
            (kind, Some(of)) if kind != Nature::Ratio => {
                self.refuse(&key.key("of"), of, "is of use for `kind = \"ratio\"` only");
            }
            _ => {}
        }
    }

    fn number(&mut self, key: &KeyPath, number: f64) {
        if !number.is_finite() || number < 0.0 {
            self.refuse(key, number, "must be 0 or more");
        }
    }

    fn window(&mut self, key: &KeyPath, window: Duration) {
        if window < Duration::from_secs(1) || window > WINDOW_MAX {
            self.refuse(key, show_duration(window), "must be from 1s to 24h");
        }
    }
}
