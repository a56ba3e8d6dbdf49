//! Which monitors a fraction puts on the smart path.
//!
//! A monitor has a place between 0 and 1, by a hash of its name alone, and is on the smart path where the fraction is greater. So a
//! greater fraction only adds, a smaller one only removes, and neither other monitors nor a restart change who is chosen.

use std::collections::BTreeMap;
use std::hash::Hasher as _;

use siphasher::sip::SipHasher13;

use super::Paths;
use crate::config::{MonitorSettings, Priority, Settings};
use crate::journal::Path;

/// Keys of the hash. Changing them would move monitors of every installation.
const PLACE_KEYS: (u64, u64) = (0x736c_7569_6365_2e63, 0x616e_6172_792e_7631);

/// The place of a monitor between 0 and 1, never 1.
pub fn place(monitor: &str) -> f64 {
    let mut hasher = SipHasher13::new_with_keys(PLACE_KEYS.0, PLACE_KEYS.1);
    hasher.write(monitor.as_bytes());
    // The upper 53 bits are what a float holds exactly.
    #[expect(clippy::cast_precision_loss, reason = "53 bits fit")]
    let place = (hasher.finish() >> 11) as f64 / (1_u64 << 53) as f64;
    place
}

/// Places of all monitors. With `low_first` the least important ones come before all others, each kind in the order of its hashes
/// within its share; who is chosen then also depends on how many there are of each kind.
pub fn places(monitors: &BTreeMap<String, MonitorSettings>, low_first: bool) -> BTreeMap<&str, f64> {
    if !low_first {
        return monitors.keys().map(|name| (name.as_str(), place(name))).collect();
    }
    let count = |priority: Priority| monitors.values().filter(|monitor| monitor.priority == priority).count();
    let (low, medium, high) = (count(Priority::Low), count(Priority::Medium), count(Priority::High));
    #[expect(clippy::cast_precision_loss, reason = "far fewer monitors than a float holds exactly")]
    let share = |monitor: &MonitorSettings| {
        let (before, among) = match monitor.priority {
            Priority::Low => (0, low),
            Priority::Medium => (low, medium),
            Priority::High => (low + medium, high),
        };
        let all = (low + medium + high).max(1) as f64;
        (before as f64 / all, among as f64 / all)
    };
    let place_of = |(name, monitor): (&'_ String, &MonitorSettings)| {
        let (before, among) = share(monitor);
        before + among * place(name)
    };
    monitors.iter().map(|(name, monitor)| (name.as_str(), place_of((name, monitor)))).collect()
}

/// Who is on which path. `fraction`: what was decided at run time, which wins over the settings' own. `enabled = false` wins over
/// both, and over what monitors say of themselves.
pub fn choose(settings: &Settings, fraction: Option<f64>) -> Paths {
    let smart = &settings.smart_streaming;
    let fraction = fraction.unwrap_or(smart.canary);
    let places = places(&settings.monitors, smart.low_priority_first);
    let mut paths = Paths::default();
    for (name, monitor) in &settings.monitors {
        let chosen = places.get(name.as_str()).is_some_and(|place| *place < fraction);
        let path = match monitor.path {
            _ if !smart.enabled => Path::Legacy,
            Some(pinned) => pinned,
            None if chosen => Path::Smart,
            None => Path::Legacy,
        };
        paths.put(name, path);
    }
    paths
}
