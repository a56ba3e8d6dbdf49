use super::*;
use crate::report::ReportFormat;

/// Moves one figure beyond its bound.
type Spoil = fn(&mut CanaryFigures);

fn good() -> CanaryFigures {
    let legacy = MeasuredPath {
        events_per_second: Some(100.0),
        memory_per_monitor: Some(1000.0),
        parse_rate: Some(0.99),
        ..MeasuredPath::default()
    };
    let smart = MeasuredPath {
        events_per_second: Some(150.0),
        memory_per_monitor: Some(1200.0),
        parse_rate: Some(0.981),
        latency_p95: Some(Duration::from_millis(99)),
        dropped_connections: Some(0),
        uptime: Some(0.999),
        recovery: Some(Duration::ZERO),
    };
    CanaryFigures { observed: DROPS_SPAN, smart, legacy, data_match: Some(1.0) }
}

fn verdict(figures: &CanaryFigures, name: &str) -> TargetVerdict {
    let report = CanaryReport::new(&Targets::default(), figures);
    report.targets.iter().find(|row| row.name == name).unwrap().verdict
}

#[test]
fn every_target_is_met_at_its_bound_and_not_met_beyond_it() {
    assert_eq!(CanaryReport::new(&Targets::default(), &good()).verdict, Go::Go);
    let beyond: [(&str, Spoil); 9] = [
        ("parse_rate", |figures| figures.smart.parse_rate = Some(0.95)),
        ("throughput_ratio", |figures| figures.smart.events_per_second = Some(149.9)),
        ("memory_ratio", |figures| figures.smart.memory_per_monitor = Some(1200.1)),
        ("dropped_connections", |figures| figures.smart.dropped_connections = Some(1)),
        ("data_match", |figures| figures.data_match = Some(0.999_999)),
        ("latency_p95_seconds", |figures| figures.smart.latency_p95 = Some(Duration::from_millis(100))),
        ("throughput", |figures| figures.smart.events_per_second = Some(99.9)),
        ("uptime", |figures| figures.smart.uptime = Some(0.998_999)),
        ("recovery_seconds", |figures| figures.smart.recovery = Some(Duration::from_secs(30))),
    ];
    for (name, spoil) in beyond {
        let mut figures = good();
        assert_eq!(verdict(&figures, name), TargetVerdict::Met, "{name}");
        spoil(&mut figures);
        assert_eq!(verdict(&figures, name), TargetVerdict::NotMet, "{name}");
        assert_eq!(CanaryReport::new(&Targets::default(), &figures).verdict, Go::NoGo, "{name}");
    }
}

#[test]
fn an_aim_that_is_not_met_holds_nothing_up() {
    let mut figures = good();
    figures.smart.parse_rate = Some(0.97);
    assert_eq!(verdict(&figures, "parse_rate_aim"), TargetVerdict::NotMet);
    assert_eq!(CanaryReport::new(&Targets::default(), &figures).verdict, Go::Go);
}

#[test]
fn what_was_not_measured_is_unknown_with_the_reason() {
    let report = CanaryReport::new(&Targets::default(), &CanaryFigures::default());
    assert_eq!(report.verdict, Go::Unknown);
    for row in &report.targets {
        assert_eq!(row.verdict, TargetVerdict::Unknown, "{}", row.name);
        assert!(row.reason.is_some() && row.value.is_none(), "{}", row.name);
    }
    let hour = CanaryFigures { observed: Duration::from_hours(1), ..good() };
    assert_eq!(verdict(&hour, "dropped_connections"), TargetVerdict::Unknown, "none is only none after a day");
    let mut lost = hour;
    lost.smart.dropped_connections = Some(1);
    assert_eq!(verdict(&lost, "dropped_connections"), TargetVerdict::NotMet, "one is one at once");
    let mut silent = good();
    silent.legacy.events_per_second = Some(0.0);
    assert_eq!(verdict(&silent, "throughput_ratio"), TargetVerdict::Unknown);
}

#[test]
fn targets_can_be_set() {
    let targets = Targets { dropped_connections: 5, ..Targets::default() };
    let mut figures = good();
    figures.smart.dropped_connections = Some(5);
    assert_eq!(CanaryReport::new(&targets, &figures).verdict, Go::Go);
}

#[test]
fn a_report_says_target_value_and_verdict_in_each_form() {
    let mut figures = good();
    figures.smart.parse_rate = Some(0.9);
    figures.data_match = None;
    let canary = CanaryReport::new(&Targets::default(), &figures);
    let text = canary.report().render(ReportFormat::Table, &canary).unwrap();
    let line = text.lines().find(|line| line.starts_with("parse rate ")).unwrap();
    assert!(line.contains("> 95 %") && line.contains("90 %") && line.contains("not met"), "{text}");
    assert!(text.contains("no go:") && text.contains("99.9 %") && text.contains("no monitor was shadowed"), "{text}");
    let json: serde_json::Value =
        serde_json::from_str(&canary.report().render(ReportFormat::Json, &canary).unwrap()).unwrap();
    assert_eq!((&json["verdict"], &json["targets"][0]["verdict"]), (&"no_go".into(), &"not_met".into()));
    assert!(canary.report().render(ReportFormat::Markdown, &canary).unwrap().contains("| parse rate |"));
    assert!(canary.report().render(ReportFormat::Html, &canary).unwrap().contains("<td>parse rate</td>"));
}
