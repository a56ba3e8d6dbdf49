use std::time::Duration;

use super::*;

/// Both paths of one upstream, driven second by second.
struct Scene {
    guard: Guard,
    settings: GuardSettings,
    now: Instant,
    smart: PathFigures,
    legacy: PathFigures,
    memory: MemoryUse,
    fraction: Fraction,
}

fn path(path: Path, monitors: usize, links: usize) -> PathFigures {
    PathFigures {
        upstream: "feed".into(),
        path,
        monitors,
        links,
        open: links,
        messages: 0,
        events: 0,
        quarantined: 0,
        repeats: 0,
        control: 0,
        connection_failures: 0,
        refused: 0,
    }
}

impl Scene {
    /// Smart has five monitors on two links, legacy so many.
    fn new(legacy: usize) -> Self {
        Self {
            guard: Guard::default(),
            settings: GuardSettings { window: Duration::from_mins(1), min_samples: 100, ..GuardSettings::default() },
            now: Instant::now(),
            smart: path(Path::Smart, 5, 2),
            legacy: path(Path::Legacy, legacy, legacy),
            memory: MemoryUse { used: 10, limit: 100 },
            fraction: Fraction::new(0.5).unwrap(),
        }
    }

    /// A second passes in which so many messages came on each path, and so many of them could not be read.
    fn second(&mut self, smart: (u64, u64), legacy: (u64, u64)) -> Finding {
        for (figures, (messages, quarantined)) in [(&mut self.smart, smart), (&mut self.legacy, legacy)] {
            figures.messages += messages;
            figures.quarantined += quarantined;
            figures.events += messages - quarantined;
        }
        self.look()
    }

    fn look(&mut self) -> Finding {
        self.now += Duration::from_secs(1);
        let mut figures = vec![self.smart.clone()];
        if self.legacy.monitors > 0 {
            figures.push(self.legacy.clone());
        }
        let sight = Sight { figures: &figures, memory: self.memory, fraction: self.fraction, settled: true };
        self.guard.look(self.now, &self.settings, true, sight)
    }

    /// So many good seconds; the last finding.
    fn good(&mut self, seconds: usize) -> Finding {
        let legacy = if self.legacy.monitors > 0 { (100, 0) } else { (0, 0) };
        (0..seconds).map(|_| self.second((100, 0), legacy)).last().unwrap()
    }

    /// The first verdict within so many such seconds.
    fn verdict_within(&mut self, seconds: usize, smart: (u64, u64), legacy: (u64, u64)) -> Option<Verdict> {
        (0..seconds).find_map(|_| self.second(smart, legacy).verdict)
    }
}

#[test]
fn messages_that_only_the_smart_path_cannot_read_are_found_with_the_figures_of_both() {
    let mut scene = Scene::new(5);
    assert_eq!(scene.good(30).state, GuardState::Healthy);
    scene.settings.errors = 1000.0;
    let verdict = scene.verdict_within(60, (100, 80), (100, 1)).unwrap();
    assert_eq!(
        (verdict.check, verdict.against, verdict.upstream.as_deref()),
        (Check::ParseRate, Against::Legacy, Some("feed"))
    );
    assert!(verdict.value < 0.9 && verdict.other.unwrap() > 0.98, "{verdict:?}");
    assert!(verdict.smart.quarantined >= 80 && verdict.legacy.as_ref().unwrap().messages >= 100, "{verdict:?}");
    let message = verdict.message();
    assert!(message.contains("`feed`") && message.contains("could be read, on the legacy path"), "{message}");
}

#[test]
fn messages_that_neither_path_can_read_say_nothing() {
    let mut scene = Scene::new(5);
    scene.good(30);
    assert_eq!(scene.verdict_within(300, (100, 80), (100, 75)), None);
    assert_eq!(scene.verdict_within(300, (50, 40), (500, 400)), None, "by their shares, not by their number");
}

#[test]
fn without_a_legacy_path_the_smart_one_is_held_against_its_last_good_window() {
    let mut scene = Scene::new(0);
    assert_eq!(scene.verdict_within(100, (100, 80), (0, 0)), None, "there was no good one yet");
    let mut scene = Scene::new(0);
    assert_eq!((0..70).filter(|_| scene.good(1).good).count(), 1, "once a window");
    let verdict = scene.verdict_within(60, (100, 80), (0, 0)).unwrap();
    assert_eq!((verdict.against, verdict.legacy), (Against::LastGoodWindow, None));
}

#[test]
fn what_was_never_readable_is_not_worse_than_it_was() {
    let mut scene = Scene::new(0);
    scene.settings.parse_rate = 0.9;
    for _ in 0..70 {
        scene.second((100, 50), (0, 0));
    }
    assert_eq!(scene.verdict_within(200, (100, 50), (0, 0)), None);
}

#[test]
fn errors_that_are_half_as_many_again_are_found_and_fewer_are_not() {
    let mut scene = Scene::new(5);
    scene.settings.parse_rate = 0.0;
    assert_eq!(scene.verdict_within(120, (1000, 11), (1000, 10)), None);
    let mut scene = Scene::new(5);
    scene.settings.parse_rate = 0.0;
    let verdict = scene.verdict_within(120, (1000, 18), (1000, 10)).unwrap();
    assert_eq!(verdict.check, Check::Errors);
    let mut scene = Scene::new(5);
    assert_eq!(scene.verdict_within(9, (1000, 1), (1000, 0)), None, "nine are no evidence");
}

#[test]
fn refused_subscriptions_are_errors() {
    let mut scene = Scene::new(5);
    scene.good(10);
    scene.smart.refused += 200;
    let verdict = scene.verdict_within(10, (100, 0), (100, 0)).unwrap();
    assert_eq!((verdict.check, verdict.smart.refused), (Check::Errors, 200));
}

#[test]
fn a_side_with_too_few_messages_is_not_judged() {
    let mut scene = Scene::new(5);
    for _ in 0..50 {
        let finding = scene.second((1, 1), (100, 0));
        assert_eq!((finding.state, finding.verdict), (GuardState::Waiting, None));
    }
}

/// One link of a path is lost, and there again at the next look.
fn lose(scene: &mut Scene, smart: u64, legacy: u64) -> Option<Verdict> {
    scene.smart.connection_failures += smart;
    scene.legacy.connection_failures += legacy;
    scene.smart.open = 2 - usize::try_from(smart).unwrap().min(2);
    let there = scene.legacy.links;
    scene.legacy.open = there - usize::try_from(legacy).unwrap().min(there);
    let first = scene.second((100, 0), (100, 0)).verdict;
    (scene.smart.open, scene.legacy.open) = (2, there);
    first.or_else(|| scene.verdict_within(19, (100, 0), (100, 0)))
}

#[test]
fn connections_that_only_the_smart_path_loses_are_found_beyond_three_an_hour() {
    let mut scene = Scene::new(5);
    scene.good(10);
    for lost in 1..=3 {
        assert_eq!(lose(&mut scene, 1, 0), None, "{lost}");
    }
    let verdict = lose(&mut scene, 1, 0).unwrap();
    assert_eq!((verdict.check, verdict.smart.connection_failures), (Check::ConnectionFailures, 4));
    assert!(verdict.message().contains("4 connections were lost"), "{}", verdict.message());
}

#[test]
fn three_connections_an_hour_are_never_too_many() {
    let mut scene = Scene::new(5);
    for _ in 0..12 {
        assert_eq!(lose(&mut scene, 1, 0), None);
        assert_eq!(scene.verdict_within(1260, (100, 0), (100, 0)), None);
    }
}

#[test]
fn connections_that_both_paths_lose_say_nothing() {
    let mut scene = Scene::new(5);
    scene.good(10);
    for _ in 0..20 {
        // Each of two links, each of five.
        assert_eq!(lose(&mut scene, 2, 5), None);
    }
    // One at a time, in proportion.
    for _ in 0..20 {
        assert_eq!(lose(&mut scene, 1, 3), None);
    }
}

#[test]
fn an_upstream_that_neither_path_reaches_says_nothing_however_often_it_is_tried() {
    let mut scene = Scene::new(5);
    scene.good(20);
    (scene.smart.open, scene.legacy.open) = (0, 0);
    for _ in 0..120 {
        // The smart path tries more often.
        scene.smart.connection_failures += 2;
        scene.legacy.connection_failures += 1;
        let finding = scene.look();
        assert_eq!((finding.state, finding.verdict), (GuardState::Outage, None));
    }
    (scene.smart.open, scene.legacy.open) = (2, 5);
    assert_eq!(scene.verdict_within(120, (100, 0), (100, 0)), None);
    assert_eq!(scene.good(1).state, GuardState::Healthy);
}

#[test]
fn a_dead_network_that_the_smart_path_notices_first_says_nothing() {
    let mut scene = Scene::new(5);
    scene.good(60);
    // Silence on both; the smart path's links are given up after ten seconds, the legacy ones' after thirty.
    for second in 0..60 {
        if second >= 10 {
            scene.smart.open = 0;
            scene.smart.connection_failures += 1;
        }
        if second >= 30 {
            scene.legacy.open = 0;
            scene.legacy.connection_failures += 5;
        }
        assert_eq!(scene.look().verdict, None, "{second}");
    }
    (scene.smart.open, scene.legacy.open) = (2, 5);
    assert_eq!(scene.verdict_within(120, (100, 0), (100, 0)), None);
}

#[test]
fn a_smart_path_that_cannot_connect_where_the_legacy_one_can_is_found() {
    let mut scene = Scene::new(5);
    scene.good(60);
    scene.smart.open = 0;
    let found = (0..30).find_map(|_| {
        scene.smart.connection_failures += 1;
        scene.second((0, 0), (100, 0)).verdict
    });
    assert_eq!(found.unwrap().check, Check::ConnectionFailures);
}

#[test]
fn without_a_legacy_path_an_upstream_that_cannot_be_connected_to_says_nothing() {
    let mut scene = Scene::new(0);
    scene.good(70);
    for outage in 0..6 {
        scene.smart.open = 0;
        scene.smart.connection_failures += 2;
        scene.look();
        for _ in 0..30 {
            scene.smart.connection_failures += 1;
            assert_eq!(scene.look().verdict, None, "{outage}");
        }
        scene.smart.open = 2;
        assert_eq!(scene.verdict_within(30, (100, 0), (0, 0)), None, "{outage}");
    }
}

#[test]
fn without_a_legacy_path_links_that_are_lost_again_and_again_are_found() {
    let mut scene = Scene::new(0);
    scene.good(70);
    // All of them, and they are there again at once.
    let found = (0..10).find_map(|_| {
        scene.smart.connection_failures += 2;
        scene.smart.open = 0;
        scene.second((10, 0), (0, 0));
        scene.smart.open = 2;
        scene.verdict_within(20, (100, 0), (0, 0))
    });
    let found = found.unwrap();
    assert_eq!((found.check, found.against), (Check::ConnectionFailures, Against::LastGoodWindow));
}

#[test]
fn memory_above_its_limit_is_found_where_it_was_not_so_before() {
    let mut scene = Scene::new(5);
    scene.good(5);
    scene.memory.used = 81;
    assert_eq!((scene.good(1).verdict, scene.good(1).verdict), (None, None), "not for long enough");
    let verdict = scene.good(1).verdict.unwrap();
    assert_eq!((verdict.check, verdict.upstream.as_ref()), (Check::Memory, None));
    assert!(verdict.message().contains("81 %"), "{}", verdict.message());

    let mut scene = Scene::new(5);
    scene.memory.used = 90;
    scene.smart.monitors = 0;
    assert_eq!(scene.good(5).state, GuardState::Idle);
    scene.smart.monitors = 5;
    assert_eq!(scene.verdict_within(20, (100, 0), (100, 0)), None, "it was, without the smart path");
}

#[test]
fn nothing_is_found_where_the_guard_is_off_but_figures_are_shown() {
    let mut scene = Scene::new(5);
    let figures = |scene: &Scene| vec![scene.smart.clone(), scene.legacy.clone()];
    for _ in 0..60 {
        scene.smart.messages += 100;
        scene.smart.quarantined += 90;
        scene.now += Duration::from_secs(1);
        let figures = figures(&scene);
        let sight = Sight { figures: &figures, memory: scene.memory, fraction: scene.fraction, settled: true };
        let finding = scene.guard.look(scene.now, &scene.settings, false, sight);
        assert_eq!((finding.state, finding.verdict), (GuardState::Off, None));
    }
    let rates = scene.guard.rates(scene.now);
    assert_eq!((rates.len(), rates[0].path, rates[1].path), (2, Path::Smart, Path::Legacy));
    assert!((rates[0].messages_per_second - 100.0).abs() < 5.0, "{rates:?}");
    assert!((rates[0].parse_rate.unwrap() - 0.1).abs() < 0.01, "{rates:?}");
}

#[test]
fn a_fraction_is_good_after_a_window_in_which_it_was_well_and_in_force() {
    let mut scene = Scene::new(5);
    let goods = |scene: &mut Scene, seconds: usize| (0..seconds).filter(|_| scene.good(1).good).count();
    assert_eq!(goods(&mut scene, 59), 0);
    assert_eq!(goods(&mut scene, 2), 1);
    scene.fraction = Fraction::new(0.75).unwrap();
    assert_eq!(goods(&mut scene, 59), 0, "another one begins anew");
    scene.second((100, 90), (100, 0));
    assert_eq!(goods(&mut scene, 59), 0, "what is suspect as well");
}

#[test]
fn after_a_roll_back_what_was_found_before_counts_no_more() {
    let mut scene = Scene::new(5);
    scene.good(30);
    assert!(scene.verdict_within(60, (100, 80), (100, 0)).is_some());
    scene.guard.begin_anew();
    assert_eq!(scene.good(20).verdict, None);
}

#[test]
fn what_is_remembered_of_an_upstream_is_bounded_and_goes_with_it() {
    let mut scene = Scene::new(5);
    scene.settings.window = Duration::from_hours(1);
    for _ in 0..20_000 {
        scene.second((1, 0), (1, 0));
    }
    let text = format!("{:?}", scene.guard.upstreams["feed"]);
    assert!(text.len() < 100_000, "{}", text.len());
    scene.smart.upstream = "other".into();
    scene.legacy.monitors = 0;
    scene.look();
    assert_eq!(scene.guard.upstreams.keys().collect::<Vec<_>>(), ["other"]);
}
