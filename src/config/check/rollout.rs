//! What must hold for `[rollout]` and `[guard]`.

use super::Checker;
use crate::config::key::KeyPath;
use crate::config::units::show_duration;
use crate::config::{GuardSettings, RolloutSettings};

/// Errors that are so many times as many are no measure any more.
const ERRORS_MAX: f64 = 1000.0;

impl Checker<'_> {
    pub(super) fn rollout(&mut self, rollout: &RolloutSettings) {
        let stages = KeyPath::from(["rollout", "stages"]);
        if rollout.stages.is_empty() {
            self.refuse(&stages, "[]", "must have at least one stage, such as `{ fraction = 0.25, for = \"12h\" }`");
        } else if rollout.stages.len() > RolloutSettings::STAGES_MAX {
            let limit = format!("must be at most {} stages", RolloutSettings::STAGES_MAX);
            self.refuse(&stages, rollout.stages.len(), limit);
        }
        for (index, stage) in rollout.stages.iter().enumerate() {
            let key = stages.index(index);
            let fraction = stage.fraction.get();
            if fraction <= 0.0 {
                self.refuse(
                    &key.key("fraction"),
                    fraction,
                    "must be more than 0; a stage puts monitors on the smart path",
                );
            }
            if let Some(before) = index.checked_sub(1).map(|before| rollout.stages[before].fraction.get())
                && fraction <= before
            {
                let limit = format!("must be more than that of the stage before, {before}; a plan only adds");
                self.refuse(&key.key("fraction"), fraction, limit);
            }
            match stage.lasts {
                Some(lasts) => self.duration(&key.key("for"), lasts),
                None if index + 1 < rollout.stages.len() => {
                    self.refuse_key(
                        &key,
                        "must say how long it lasts, such as `for = \"8h\"`; only the last stage has no end",
                    );
                }
                None => {}
            }
        }
    }

    pub(super) fn guard(&mut self, guard: &GuardSettings) {
        let key = |name: &str| KeyPath::from(["guard", name]);
        for (name, share) in [("parse_rate", guard.parse_rate), ("memory", guard.memory)] {
            if !(0.0..=1.0).contains(&share) {
                self.refuse(&key(name), share, "must be from 0 to 1, such as 0.9 for 90 %");
            }
        }
        if !(0.0..=ERRORS_MAX).contains(&guard.errors) {
            self.refuse(
                &key("errors"),
                guard.errors,
                format!("must be from 0 to {ERRORS_MAX}; 0.5 is half as many again"),
            );
        }
        self.duration(&key("window"), guard.window);
        if guard.window > std::time::Duration::from_hours(24) {
            self.refuse(&key("window"), show_duration(guard.window), "must be at most 24h");
        }
        if guard.min_samples == 0 {
            self.refuse(&key("min_samples"), 0, "must be at least 1");
        }
        self.not_forever(&key("cooldown"), guard.cooldown);
    }
}
