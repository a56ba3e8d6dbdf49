use super::*;
use crate::alert::Severity;
use crate::alert::rules::{self, Rule};

/// A rule of a figure, with nothing to wait for.
fn rule(figure: Figure, nature: Nature, threshold: f64) -> Rule {
    let reference = rules::reference(AlertKind::HighCpu).unwrap();
    let window = if nature.has_window() { Duration::from_mins(1) } else { Duration::ZERO };
    Rule {
        figure,
        nature,
        threshold,
        window,
        lasts: Duration::ZERO,
        severity: Severity::Warning,
        ..Rule::built_in(reference, Duration::ZERO)
    }
}

/// What an engine finds of subject `a` when its figure is this, second after second.
struct Bench {
    engine: Engine,
    rules: Vec<Rule>,
    start: Instant,
    seconds: u64,
}

impl Bench {
    fn new(rule: Rule) -> Self {
        Self { engine: Engine::default(), rules: vec![rule], start: Instant::now(), seconds: 0 }
    }

    fn samples(&mut self, samples: &[Sample]) -> Option<bool> {
        self.seconds += 1;
        let now = self.start + Duration::from_secs(self.seconds);
        let findings = self.engine.look(now, &self.rules, samples);
        assert!(findings.len() <= 1, "{findings:?}");
        findings.first().map(|finding| matches!(finding, Finding::Firing { .. }))
    }

    /// Whether it is found wrong (true) or well (false).
    fn see(&mut self, value: f64) -> Option<bool> {
        let figure = self.rules[0].figure;
        self.samples(&[Sample::new(figure, "a", value)])
    }

    fn value(&self) -> Option<f64> {
        self.engine.seen(&self.rules[0].name)[0].value
    }
}

#[test]
fn what_must_last_is_found_only_when_it_has_and_is_over_only_when_that_has() {
    let rule = Rule { lasts: Duration::from_secs(3), ..rule(Figure::HostCpu, Nature::Threshold, 80.0) };
    let mut bench = Bench::new(rule);
    assert_eq!([90.0, 90.0, 90.0, 90.0, 90.0].map(|cpu| bench.see(cpu)), [None, None, None, Some(true), Some(true)]);
    // It comes and goes: neither is found.
    for _ in 0..5 {
        assert_eq!([10.0, 10.0, 90.0, 90.0].map(|cpu| bench.see(cpu)), [None; 4]);
    }
    assert_eq!(
        [80.0, 80.0, 80.0, 80.0].map(|cpu| bench.see(cpu)),
        [None, None, None, Some(false)],
        "80 is not above 80"
    );
}

#[test]
fn a_crossing_is_told_at_once_and_one_that_goes_to_and_fro_seldom() {
    let rule = Rule { lasts: Duration::from_hours(1), ..rule(Figure::HostCpu, Nature::Threshold, 80.0) };
    let mut bench = Bench::new(rule);
    let mut see = |cpu: f64| {
        bench.see(cpu);
        bench.engine.take_crossings().iter().map(|crossing| (crossing.over, crossing.value)).collect::<Vec<_>>()
    };
    assert_eq!(see(10.0), [], "that it is well from the beginning is no news");
    assert_eq!(see(90.0), [(true, Some(90.0))]);
    assert_eq!(see(91.0), []);
    let told: Vec<_> = (0..20).flat_map(|second| see(if second % 2 == 0 { 10.0 } else { 90.0 })).collect();
    assert!(told.len() <= 2, "{told:?}");
    let told: Vec<_> = (0..20).flat_map(|_| see(10.0)).collect();
    assert!(told.len() <= 1, "{told:?}");
}

#[test]
fn a_rate_is_by_how_much_a_count_has_grown_within_the_window() {
    let mut bench = Bench::new(rule(Figure::ConnectionFailures, Nature::Rate, 3.0));
    // What was before the process was looked at does not count, and a window that is not whole does not say that all is well.
    assert_eq!([100.0, 101.0, 103.0].map(|count| bench.see(count)), [None; 3]);
    assert_eq!(bench.see(104.0), Some(true), "four more than at the beginning");
    for _ in 0..55 {
        assert_eq!(bench.see(104.0), Some(true));
    }
    // As precise as a twelfth of the window.
    let over = (0..12).find_map(|_| (bench.see(104.0) == Some(false)).then_some(()));
    assert!(over.is_some(), "they are out of the window: {:?}", bench.value());
}

#[test]
fn a_share_is_of_what_came_within_the_window_and_nothing_is_said_of_too_little() {
    let low = Rule {
        of: Some(Figure::MonitorReadable),
        side: Side::Below,
        least: 20.0,
        ..rule(Figure::MonitorRead, Nature::Ratio, 90.0)
    };
    let mut bench = Bench::new(low);
    let see = |bench: &mut Bench, read: f64, all: f64| {
        bench.samples(&[Sample::new(Figure::MonitorRead, "a", read), Sample::new(Figure::MonitorReadable, "a", all)])
    };
    assert_eq!(see(&mut bench, 1000.0, 1000.0), None);
    assert_eq!(see(&mut bench, 1000.0, 1010.0), None, "10 are too few to be judged");
    assert_eq!(see(&mut bench, 1010.0, 1040.0), Some(true), "10 of 40");
    assert_eq!(bench.value(), Some(25.0));
    // All can be read again; the window still has what could not.
    assert_eq!(see(&mut bench, 1020.0, 1050.0), Some(true));
    let mut all = 1050.0;
    let over = (0..80).find(|_| {
        all += 10.0;
        see(&mut bench, all - 30.0, all) == Some(false)
    });
    assert!(over.is_some_and(|seconds| seconds > 50), "{over:?}");
    // When nothing comes any more there is nothing that could not be read.
    for _ in 0..70 {
        see(&mut bench, all - 30.0, all);
    }
    assert_eq!((see(&mut bench, all - 30.0, all), bench.value()), (Some(false), None));
}

#[test]
fn a_figure_that_does_not_change_is_missed_and_is_not_well_before_it_changed_once() {
    let mut bench = Bench::new(rule(Figure::MonitorMessages, Nature::Absence, 5.0));
    assert_eq!([7.0; 6].map(|count| bench.see(count)), [None; 6], "not known to be well, and not wrong yet");
    assert_eq!(bench.see(7.0), Some(true), "6 s without a message");
    assert_eq!(bench.see(8.0), Some(false));
    assert_eq!([8.0; 6].map(|count| bench.see(count)).last(), Some(&Some(true)));
}

#[test]
fn memory_grows_against_what_it_was_a_window_ago_and_not_while_the_process_is_younger() {
    let mut bench = Bench::new(rule(Figure::ProcessMemory, Nature::Growth, 50.0));
    for second in 0..59_u32 {
        assert_eq!(bench.see(100.0 + f64::from(second) * 10.0), None, "it fills its caches");
    }
    for _ in 0..2 {
        bench.see(690.0);
    }
    assert_eq!(bench.see(690.0), Some(true), "{:?}", bench.value());
    for _ in 0..75 {
        bench.see(690.0);
    }
    assert_eq!(bench.see(690.0), Some(false), "it stays as it is");
}

#[test]
fn a_rate_far_from_its_own_baseline_is_found_and_becomes_usual_if_it_stays() {
    let anomaly =
        Rule { window: Duration::from_secs(10), least: 10.0, ..rule(Figure::MonitorMessages, Nature::Deviation, 6.0) };
    let mut bench = Bench::new(anomaly);
    let mut count = 0.0;
    let mut go = |bench: &mut Bench, a_second: f64, seconds: u32| {
        let mut found = Vec::new();
        for _ in 0..seconds {
            count += a_second;
            found.push(bench.see(count));
        }
        found
    };
    let learning = go(&mut bench, 20.0, 60);
    assert!(learning.iter().all(Option::is_none), "nothing is usual yet");
    let steady = go(&mut bench, 20.0, 100);
    assert_eq!((steady.last(), steady.contains(&Some(true))), (Some(&Some(false)), false), "a steady feed is well");
    let burst = go(&mut bench, 200.0, 20);
    assert!(burst.contains(&Some(true)), "ten times as many are not");
    let silence = go(&mut bench, 0.0, 30);
    assert_eq!(silence.last(), Some(&Some(true)), "nor is nothing at all");
    let slow = go(&mut bench, 10.0, 900);
    assert_eq!(slow.last(), Some(&Some(false)), "half as many are usual in the end");
}

#[test]
fn a_subject_that_is_gone_is_no_longer_wrong() {
    let mut bench = Bench::new(rule(Figure::CircuitOpen, Nature::Threshold, 0.0));
    assert_eq!(bench.see(1.0), Some(true));
    let over = (0..40).find_map(|_| bench.samples(&[]));
    assert_eq!(over, Some(false), "it is no longer measured");
    assert!(!bench.engine.is_watched(&bench.rules[0].name, "a"), "and no longer remembered");
}

#[test]
fn a_rule_that_is_off_finds_nothing_and_an_own_one_only_of_its_subjects() {
    let own = Rule {
        subjects: Some(crate::alert::silence::Pattern::new("b*")),
        ..rule(Figure::SinkLagEvents, Nature::Threshold, 10.0)
    };
    let samples = ["a", "b1", "c"].map(|name| Sample::new(Figure::SinkLagEvents, name, 11.0));
    let mut engine = Engine::default();
    let now = Instant::now();
    let found = engine.look(now, std::slice::from_ref(&own), &samples);
    assert!(matches!(&found[..], [Finding::Firing { subject, .. }] if &**subject == "b1"), "{found:?}");
    let off = Rule { enabled: false, ..own };
    assert_eq!(engine.look(now, &[off], &samples), []);
}
