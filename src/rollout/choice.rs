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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const NAMES: usize = 10_000;

    /// Monitors `m0` and so on; `more` are lines of the n-th.
    fn settings(count: usize, more: impl Fn(usize) -> &'static str) -> Settings {
        let watched: MonitorSettings =
            toml::from_str("domain = \"d\"\nupstream = \"feed\"\ntopics = [\"x\"]\n").unwrap();
        let of = |number: usize| {
            let mut monitor = watched.clone();
            match more(number) {
                "smart" => monitor.path = Some(Path::Smart),
                "legacy" => monitor.path = Some(Path::Legacy),
                "low" => monitor.priority = Priority::Low,
                "high" => monitor.priority = Priority::High,
                _ => {}
            }
            (format!("m{number}"), monitor)
        };
        let mut settings = Settings { monitors: (0..count).map(of).collect(), ..Settings::default() };
        settings.smart_streaming.enabled = true;
        settings
    }

    fn smart(settings: &Settings, fraction: f64) -> BTreeSet<String> {
        let paths = choose(settings, Some(fraction));
        paths.iter().filter(|(_, way)| way.path == Path::Smart).map(|(name, _)| name.to_owned()).collect()
    }

    #[test]
    fn a_greater_fraction_only_adds_and_a_smaller_one_only_removes() {
        let settings = settings(NAMES, |_| "");
        let steps: Vec<BTreeSet<String>> =
            (0..=100_u32).map(|step| smart(&settings, f64::from(step) / 100.0)).collect();
        assert!(steps.windows(2).all(|pair| pair[0].is_subset(&pair[1]) && pair[0].len() < pair[1].len()));
        assert_eq!((steps[0].len(), steps[100].len()), (0, NAMES));
    }

    #[test]
    fn about_as_many_are_chosen_as_the_fraction_says() {
        let settings = settings(NAMES, |_| "");
        for percent in [1, 5, 25, 50, 75, 95, 99_u32] {
            #[expect(clippy::cast_precision_loss, reason = "ten thousand")]
            let share = smart(&settings, f64::from(percent) / 100.0).len() as f64 / NAMES as f64;
            // Four times the standard deviation of so many at a half.
            assert!((share - f64::from(percent) / 100.0).abs() < 0.02, "{percent} %: {share}");
        }
    }

    #[test]
    fn who_is_chosen_depends_on_no_other_monitor_and_on_no_run_of_the_program() {
        let (all, few) = (settings(NAMES, |_| ""), settings(100, |_| ""));
        let of_all = smart(&all, 0.5);
        let of_few = smart(&few, 0.5);
        assert!(few.monitors.keys().all(|name| of_all.contains(name) == of_few.contains(name)));
        // Written down once: another hash would move monitors of every installation.
        let places: Vec<String> = ["m0", "trades", "spot-trades"].map(|name| format!("{:.6}", place(name))).into();
        assert_eq!(places, PLACES);
    }

    /// Of the three names above; also as another program has them.
    const PLACES: [&str; 3] = ["0.562961", "0.511981", "0.836750"];

    #[test]
    fn pinned_monitors_stay_where_they_are_and_the_others_are_chosen_as_without_them() {
        let pin = |number: usize| match number % 10 {
            0 => "smart",
            1 => "legacy",
            _ => "",
        };
        let (pinned, plain) = (settings(NAMES, pin), settings(NAMES, |_| ""));
        for fraction in [0.0, 0.5, 1.0] {
            let (with, without) = (smart(&pinned, fraction), smart(&plain, fraction));
            for number in 0..NAMES {
                let name = format!("m{number}");
                let expected = match pin(number) {
                    "smart" => true,
                    "legacy" => false,
                    _ => without.contains(&name),
                };
                assert_eq!(with.contains(&name), expected, "{name} at {fraction}");
            }
        }
    }

    #[test]
    fn low_priority_goes_first_where_it_is_asked_for_and_a_greater_fraction_only_adds_there_too() {
        let kind = |number: usize| match number % 4 {
            0 => "low",
            1 => "high",
            _ => "",
        };
        let mut settings = settings(NAMES, kind);
        settings.smart_streaming.low_priority_first = true;
        let of = |kinds: &str, fraction: f64| {
            let chosen = smart(&settings, fraction);
            chosen.iter().filter(|name| kind(name[1..].parse().unwrap()) == kinds).count()
        };
        assert_eq!((of("low", 0.25), of("", 0.25), of("high", 0.25)), (2500, 0, 0));
        assert_eq!((of("low", 0.75), of("", 0.75), of("high", 0.75)), (2500, 5000, 0));
        let some = of("", 0.5);
        assert!((2300..2700).contains(&some) && of("high", 0.5) == 0, "{some}");
        let steps: Vec<BTreeSet<String>> = (0..=20_u32).map(|step| smart(&settings, f64::from(step) / 20.0)).collect();
        assert!(steps.windows(2).all(|pair| pair[0].is_subset(&pair[1])));
    }

    #[test]
    fn the_switch_wins_over_every_fraction_and_every_pin() {
        let mut settings = settings(100, |number| if number < 50 { "smart" } else { "" });
        settings.smart_streaming.enabled = false;
        assert!(smart(&settings, 1.0).is_empty());
        settings.smart_streaming.enabled = true;
        settings.smart_streaming.canary = 0.0;
        assert_eq!(smart(&settings, 1.0).len(), 100, "what was decided at run time wins over the settings' own");
        let own = choose(&settings, None);
        assert_eq!(own.count(Path::Smart), 50);
    }
}
