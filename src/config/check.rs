//! What must hold between settings that are each of the right type.

mod counters;
mod enrich;
mod export;
mod reports;
mod rollout;
mod server;
mod sinks;

use std::collections::BTreeSet;
use std::fmt::Display;
use std::time::Duration;

use tracing_subscriber::EnvFilter;

use super::key::KeyPath;
use super::limits::LimitOverrides;
use super::load::Origins;
use super::problem::{Problem, nearest, redacted, suggestion};
use super::units::{ByteSize, show_duration};
use super::{EventRuleSettings, MonitorSettings, PoolSettings, SequencePer, SequenceSettings, SequenceTable, Settings};

/// No duration is longer: a hundred years is forever here, and sums of times stay far from their types' limits.
const DURATION_MAX: Duration = Duration::from_hours(100 * 365 * 24);

/// No segment is larger. A guess: readers hold a segment's index in memory, and deletion frees whole segments.
const SEGMENT_SIZE_MAX: ByteSize = ByteSize::gib(4);

/// Multipliers beyond this are typing errors.
const TTL_MULTIPLIER_MAX: f64 = 1000.0;

/// All that is wrong, in the order of the settings file.
pub(super) fn check(settings: &Settings, origins: &Origins) -> Vec<Problem> {
    let mut checker = Checker { origins, problems: Vec::new() };
    checker.sections(settings);
    for (name, upstream) in &settings.upstreams {
        let path = KeyPath::from(["upstreams", name]);
        checker.name(&path, name, "an upstream's name");
        checker.positive(&path.key("max_message"), upstream.max_message);
        if upstream.topics_per_link == Some(0) {
            checker.refuse(&path.key("topics_per_link"), 0, "must be at least 1");
        }
        checker.limits(&path.key("limits"), &upstream.limits);
        // Where the upstream says nothing of its own, `[pool]` was checked already.
        if upstream.pool != super::PoolOverrides::default() {
            checker.pool(&settings.pool.overridden_by(&upstream.pool), Some(&path.key("pool")));
        }
    }
    for name in settings.dialects.keys() {
        checker.name(&KeyPath::from(["dialects", name]), name, "a dialect's name");
    }
    for (name, monitor) in &settings.monitors {
        checker.monitor(name, monitor, settings);
    }
    checker.sinks(settings);
    checker.reports(settings);
    checker.problems
}

struct Checker<'a> {
    origins: &'a Origins,
    problems: Vec<Problem>,
}

impl Checker<'_> {
    fn refuse(&mut self, key: &KeyPath, value: impl Display, message: impl Into<String>) {
        self.problems.push(Problem {
            origin: self.origins.nearest(key).to_owned(),
            key: key.clone(),
            value: Some(redacted(key, &value.to_string())),
            message: message.into(),
        });
    }

    /// What is wrong is the key and not its value.
    fn refuse_key(&mut self, key: &KeyPath, message: impl Into<String>) {
        self.problems.push(Problem {
            origin: self.origins.nearest(key).to_owned(),
            key: key.clone(),
            value: None,
            message: message.into(),
        });
    }

    fn positive(&mut self, key: &KeyPath, size: ByteSize) {
        if size.0 == 0 {
            self.refuse(key, size, "must be more than 0");
        }
    }

    /// Some time, but not forever.
    fn duration(&mut self, key: &KeyPath, duration: Duration) {
        if duration.is_zero() {
            self.refuse(key, "0s", "must be longer than 0");
        }
        self.not_forever(key, duration);
    }

    fn not_forever(&mut self, key: &KeyPath, duration: Duration) {
        if duration > DURATION_MAX {
            self.refuse(key, show_duration(duration), "must be at most 36500d (100 years)");
        }
    }

    fn sections(&mut self, settings: &Settings) {
        let key = |section: &str, name: &str| KeyPath::from([section, name]);
        self.duration(&key("daemon", "stop_timeout"), settings.daemon.stop_timeout);
        self.duration(&key("daemon", "take_over_timeout"), settings.daemon.take_over_timeout);
        if settings.daemon.data_dir.as_os_str().is_empty() {
            self.refuse(&key("daemon", "data_dir"), "\"\"", "must name a folder");
        }
        let canary = settings.smart_streaming.canary;
        if !(0.0..=1.0).contains(&canary) {
            self.refuse(&key("smart_streaming", "canary"), canary, "must be from 0 to 1, the fraction of monitors");
        }
        self.rollout(&settings.rollout);
        self.guard(&settings.guard);
        self.server(&settings.server);
        self.log_level(&settings.log.level);
        self.export(&settings.export);
        self.pool(&settings.pool, None);

        let batch = &settings.batch;
        if batch.min_size == 0 {
            self.refuse(&key("batch", "min_size"), 0, "must be at least 1");
        }
        if batch.min_size > batch.max_size {
            self.above(
                (&key("batch", "min_size"), &batch.min_size.to_string()),
                (&key("batch", "max_size"), &batch.max_size.to_string()),
            );
        }
        self.positive(&key("batch", "max_bytes"), batch.max_bytes);
        self.duration(&key("batch", "timeout"), batch.timeout);

        self.duration(&key("dedupe", "ttl"), settings.dedupe.ttl);
        self.positive(&key("dedupe", "max_bytes"), settings.dedupe.max_bytes);
        self.duration(&key("cache", "ttl"), settings.cache.ttl);
        let multiplier = settings.cache.ttl_multiplier;
        if !(multiplier > 0.0 && multiplier <= TTL_MULTIPLIER_MAX) {
            self.refuse(
                &key("cache", "ttl_multiplier"),
                multiplier,
                format!("must be more than 0 and at most {TTL_MULTIPLIER_MAX}"),
            );
        }
        self.journal(settings);
        let shedding = &settings.shedding;
        if !(1..=100).contains(&shedding.queue_percent) {
            self.refuse(&key("shedding", "queue_percent"), shedding.queue_percent, "must be from 1 to 100");
        }
        self.not_forever(&key("shedding", "after"), shedding.after);
        self.not_forever(&key("shedding", "wake_after"), shedding.wake_after);
        self.duration(&key("checkpoint", "interval"), settings.checkpoint.interval);
        if settings.checkpoint.keep == 0 {
            self.refuse(&key("checkpoint", "keep"), 0, "must be at least 1");
        }
        if settings.checkpoint.dir.as_os_str().is_empty() {
            self.refuse(&key("checkpoint", "dir"), "\"\"", "must name a folder");
        }
    }

    fn journal(&mut self, settings: &Settings) {
        let key = |name: &str| KeyPath::from(["journal", name]);
        let journal = &settings.journal;
        let batch_bytes = settings.batch.max_bytes;
        if journal.segment_size.0 < batch_bytes.0.saturating_mul(2) {
            let origin = self.origins.nearest(&KeyPath::from(["batch", "max_bytes"]));
            let limit = format!("must be at least twice `batch.max_bytes` = {batch_bytes} ({origin})");
            self.refuse(&key("segment_size"), journal.segment_size, limit);
        }
        if journal.segment_size > SEGMENT_SIZE_MAX {
            self.refuse(&key("segment_size"), journal.segment_size, format!("must be at most {SEGMENT_SIZE_MAX}"));
        }
        if journal.max_size.0 < journal.segment_size.0.saturating_mul(2) {
            let origin = self.origins.nearest(&key("segment_size"));
            let limit = format!("must be at least twice `journal.segment_size` = {} ({origin})", journal.segment_size);
            self.refuse(&key("max_size"), journal.max_size, limit);
        }
        // No wait between syncs is a choice; a wait of minutes would be a promise nobody expects.
        if journal.sync_interval > Duration::from_mins(1) {
            self.refuse(&key("sync_interval"), show_duration(journal.sync_interval), "must be at most 1m");
        }
        self.duration(&key("retention"), journal.retention);
    }

    /// A least value that is above its greatest: names both, for either may be the wrong one.
    fn above(&mut self, (least, value): (&KeyPath, &str), (greatest, limit): (&KeyPath, &str)) {
        let origin = self.origins.nearest(greatest);
        self.refuse(least, value, format!("must be at most `{greatest}` = {limit} ({origin})"));
    }

    /// A pool's settings; `own` is where an upstream says what differs from `[pool]`.
    fn pool(&mut self, pool: &PoolSettings, own: Option<&KeyPath>) {
        let key = |name: &str| match own {
            // A value that the upstream did not set itself is `[pool]`'s.
            Some(path) if self.origins.is_set(&path.key(name)) => path.key(name),
            _ => KeyPath::from(["pool", name]),
        };
        let min = key("min_connections");
        let max = key("max_connections");
        let (quiet_min, quiet_max) = (key("silence_min"), key("silence_max"));
        let durations = [
            (key("refused_wait"), pool.refused_wait),
            (quiet_min.clone(), pool.silence_min),
            (key("shrink_after"), pool.shrink_after),
            (key("health_check_interval"), pool.health_check_interval),
            (key("pong_timeout"), pool.pong_timeout),
            (key("connect_timeout"), pool.connect_timeout),
            (key("handshake_timeout"), pool.handshake_timeout),
            (key("confirm_timeout"), pool.confirm_timeout),
            (key("backoff_min"), pool.backoff_min),
            (key("backoff_max"), pool.backoff_max),
        ];
        let is_ours = |key: &KeyPath| own.is_none_or(|_| key.steps().len() > 2);
        if pool.max_connections == 0 && is_ours(&max) {
            self.refuse(&max, 0, "must be at least 1");
        } else if pool.min_connections > pool.max_connections && (is_ours(&min) || is_ours(&max)) {
            self.above((&min, &pool.min_connections.to_string()), (&max, &pool.max_connections.to_string()));
        }
        for (key, duration) in &durations {
            if is_ours(key) {
                self.duration(key, *duration);
            }
        }
        if is_ours(&quiet_max) {
            self.not_forever(&quiet_max, pool.silence_max);
        }
        let watched = !pool.silence_max.is_zero();
        if watched && pool.silence_min > pool.silence_max && (is_ours(&quiet_min) || is_ours(&quiet_max)) {
            self.above((&quiet_min, &show_duration(pool.silence_min)), (&quiet_max, &show_duration(pool.silence_max)));
        }
        let [.., (least, backoff_min), (greatest, backoff_max)] = &durations;
        if backoff_min > backoff_max && (is_ours(least) || is_ours(greatest)) {
            self.above((least, &show_duration(*backoff_min)), (greatest, &show_duration(*backoff_max)));
        }
    }

    fn limits(&mut self, path: &KeyPath, limits: &LimitOverrides) {
        for (name, duration) in [
            ("send_interval", limits.send_interval),
            ("max_age", limits.max_age),
            ("max_age_margin", limits.max_age_margin),
        ] {
            if let Some(duration) = duration {
                self.not_forever(&path.key(name), duration);
            }
        }
        if let (Some(age), Some(margin)) = (limits.max_age, limits.max_age_margin)
            && !age.is_zero()
            && margin >= age
        {
            let least = path.key("max_age_margin");
            let message = format!("must be less than `{}` = {}", path.key("max_age"), show_duration(age));
            self.refuse(&least, show_duration(margin), message);
        }
    }

    fn log_level(&mut self, level: &str) {
        const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
        let key = KeyPath::from(["log", "level"]);
        if let Err(error) = EnvFilter::builder().parse(level) {
            self.refuse(
                &key,
                format!("{level:?}"),
                format!("not a filter: {error}; write one such as `info` or `warn,sluice::upstream=debug`"),
            );
            return;
        }
        for word in level.split(',').map(str::trim) {
            // The filter takes a mistyped level for the name of a module, and then logs nothing at all.
            let bare = word.bytes().all(|byte| byte.is_ascii_alphabetic());
            if bare && word != "sluice" && !LEVELS.iter().any(|known| known.eq_ignore_ascii_case(word)) {
                self.refuse(&key, format!("{level:?}"), format!("`{word}` is not a level{}", suggestion(word, LEVELS)));
            }
        }
    }

    /// Names become parts of metrics, of files and of the journal's own rows.
    fn name(&mut self, path: &KeyPath, name: &str, what: &str) {
        const NAME_BYTES_MAX: usize = 128;
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        let fault = if name.is_empty() {
            "must not be empty".to_owned()
        } else if !name.bytes().all(plain) {
            "may have letters, digits, `.`, `_` and `-` only".to_owned()
        } else if name.starts_with('_') {
            "must not start with `_`; such names are the daemon's own".to_owned()
        } else if name.len() > NAME_BYTES_MAX {
            format!("must have at most {NAME_BYTES_MAX} characters")
        } else {
            return;
        };
        self.refuse_key(path, format!("{what} {fault}"));
    }

    fn monitor(&mut self, name: &str, monitor: &MonitorSettings, settings: &Settings) {
        let path = KeyPath::from(["monitors", name]);
        self.name(&path, name, "a monitor's name");
        self.name(&path.key("domain"), &monitor.domain, "a domain");
        self.upstreams_of(&path, monitor, settings);
        let topics = path.key("topics");
        if monitor.topics.is_empty() {
            self.refuse(&topics, "[]", "must have at least one topic");
        }
        let mut seen = BTreeSet::new();
        for (index, topic) in monitor.topics.iter().enumerate() {
            if topic.is_empty() {
                self.refuse(&topics.index(index), "\"\"", "must not be empty");
            } else if !seen.insert(topic) {
                self.refuse(&topics.index(index), format!("{topic:?}"), "is listed twice; a topic is subscribed once");
            }
        }
        for (index, rule) in monitor.event.iter().enumerate() {
            // One rule alone is not written as a list.
            let event = path.key("event");
            let listed = self.origins.is_set(&event.index(index));
            self.rule(&if listed { event.index(index) } else { event }, rule);
        }
        self.counters(&path.key("counters"), &monitor.counters);
        self.enrich(&path.key("enrich"), &monitor.enrich);
    }

    fn upstreams_of(&mut self, path: &KeyPath, monitor: &MonitorSettings, settings: &Settings) {
        let key = path.key("upstream");
        if monitor.upstream.is_empty() {
            self.refuse(&key, "[]", "must name at least one upstream");
        } else if monitor.upstream.len() > MonitorSettings::UPSTREAMS_MAX {
            let limit = MonitorSettings::UPSTREAMS_MAX;
            self.refuse(&key, monitor.upstream.len(), format!("must name at most {limit} upstreams"));
        }
        for (index, name) in monitor.upstream.iter().enumerate() {
            let listed = self.origins.is_set(&key.index(index));
            let key = if listed { key.index(index) } else { key.clone() };
            if monitor.upstream[..index].contains(name) {
                self.refuse(&key, format!("{name:?}"), "is listed twice");
            }
            if !settings.upstreams.contains_key(name) {
                let known = settings.upstreams.keys().map(String::as_str);
                let hint = if settings.upstreams.is_empty() {
                    format!("; declare it as `[upstreams.{name}]`")
                } else {
                    suggestion(name, known)
                };
                self.refuse(&key, format!("{name:?}"), format!("no such upstream{hint}"));
            }
        }
    }

    fn rule(&mut self, path: &KeyPath, rule: &EventRuleSettings) {
        for pointer in rule.when.keys() {
            self.pointer(&path.key("when").key(pointer), pointer, Reach::Frame);
        }
        if rule.ignore {
            let reads = [
                ("payload", rule.payload.is_some()),
                ("id", !rule.id.is_empty()),
                ("key", rule.key.is_some()),
                ("time", rule.time.is_some()),
                ("time_optional", rule.time_optional),
            ];
            for (key, _) in reads.into_iter().filter(|(_, given)| *given) {
                self.refuse(&path.key("ignore"), true, format!("a rule that ignores messages has no use for `{key}`"));
            }
        }
        if let Some(each) = &rule.each {
            self.pointer(&path.key("each"), each, Reach::Message);
        }
        for (key, pointer) in [("payload", &rule.payload), ("key", &rule.key), ("time", &rule.time)] {
            if let Some(pointer) = pointer {
                self.pointer(&path.key(key), pointer, Reach::Frame);
            }
        }
        let id = path.key("id");
        for (index, part) in rule.id.iter().enumerate() {
            if part == "hash" {
                if rule.id.len() > 1 {
                    self.refuse(&id, format!("{:?}", rule.id), "`hash` is of the whole payload and stands alone");
                }
                continue;
            }
            let listed = self.origins.is_set(&id.index(index));
            self.pointer(&if listed { id.index(index) } else { id.clone() }, part, Reach::Frame);
        }
        if let Some(sequence) = &rule.sequence {
            self.sequence(&path.key("sequence"), sequence, rule);
        }
        if rule.time_optional && rule.time.is_none() && !rule.ignore {
            self.refuse(&path.key("time_optional"), true, "says nothing without `time`");
        }
    }

    fn sequence(&mut self, path: &KeyPath, sequence: &SequenceSettings, rule: &EventRuleSettings) {
        let table = match sequence {
            SequenceSettings::Value(pointer) => return self.pointer(path, pointer, Reach::Frame),
            SequenceSettings::Table(table) => table,
        };
        let SequenceTable { value, previous, first, last, per } = table;
        let pointers = [("value", value), ("previous", previous), ("first", first), ("last", last)];
        for (key, pointer) in pointers {
            if let Some(pointer) = pointer {
                self.pointer(&path.key(key), pointer, Reach::Frame);
            }
        }
        let given: Vec<&str> = pointers.iter().filter(|(_, pointer)| pointer.is_some()).map(|(key, _)| *key).collect();
        if !matches!(given.as_slice(), ["value"] | ["value", "previous"] | ["first", "last"]) {
            let shown = if given.is_empty() { String::from("none of them") } else { given.join(", ") };
            self.refuse(path, shown, "must have `value`, or `value` and `previous`, or `first` and `last`");
        }
        if *per == SequencePer::Key && rule.key.is_none() {
            self.refuse(&path.key("per"), "\"key\"", "says nothing without `key`");
        }
    }

    fn pointer(&mut self, path: &KeyPath, text: &str, reach: Reach) {
        let shown = format!("{text:?}");
        let pointer = match (text.strip_prefix("frame:"), reach) {
            (Some(_), Reach::Message) => {
                self.refuse(path, shown, "`frame:` is not possible here: `each` already starts from the whole message");
                return;
            }
            (Some(rest), Reach::Frame) => rest,
            (None, _) => text,
        };
        if let Err(fault) = check_pointer(pointer) {
            self.refuse(path, shown, format!("not a JSON Pointer: {fault}"));
        }
    }
}

/// Whether a pointer may reach out of the element it is read in.
#[derive(Clone, Copy)]
enum Reach {
    Message,
    Frame,
}

/// RFC 6901's grammar.
fn check_pointer(pointer: &str) -> Result<(), String> {
    if !pointer.is_empty() && !pointer.starts_with('/') {
        let near = nearest(pointer, ["hash"]).map(|near| format!(", or `{near}` for an id")).unwrap_or_default();
        return Err(format!("it must start with `/`, such as `/{pointer}`{near}"));
    }
    let escapes = pointer.split('~').skip(1);
    for escape in escapes {
        if !escape.starts_with(['0', '1']) {
            return Err("`~` must be followed by 0 (for `~`) or 1 (for `/`)".to_owned());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::check_pointer;

    #[test]
    fn pointers_follow_rfc_6901() {
        for good in ["", "/", "/a/0", "/a~0b~1c", "//"] {
            assert_eq!(check_pointer(good), Ok(()), "{good:?}");
        }
        for bad in ["a", "data/t", "/a~", "/a~2", "~0"] {
            assert!(check_pointer(bad).is_err(), "{bad:?}");
        }
    }
}
