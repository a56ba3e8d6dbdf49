//! `sluice selftest`: it passes where all is well, fails where a step does, and leaves nothing behind.

use serde_json::Value;

use crate::support::{Outcome, Workplace};

/// Runs it with temporary folders in the test's own.
fn selftest(more: &[&str], variables: &[(&str, &str)]) -> (Outcome, Value) {
    let place = Workplace::new();
    std::fs::create_dir(place.path("tmp")).unwrap();
    let mut command = place.command(["selftest", "--output", "json"].iter().chain(more));
    command.env("TMPDIR", place.path("tmp")).envs(variables.iter().copied());
    let output = command.output().expect("the program starts");
    let outcome = Outcome {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    };
    let left = std::fs::read_dir(place.path("tmp")).unwrap().count();
    assert_eq!(left, 0, "it leaves nothing behind: {outcome:?}");
    let summary = serde_json::from_str(&outcome.stdout).unwrap_or_else(|error| panic!("{error}: {outcome:?}"));
    (outcome, summary)
}

fn result_of<'s>(summary: &'s Value, step: &str) -> &'s Value {
    let steps = summary["steps"].as_array().unwrap();
    steps.iter().find(|row| row["step"] == step).unwrap_or_else(|| panic!("no step {step}: {summary}"))
}

#[test]
fn the_whole_way_of_an_event_is_tried_and_passes() {
    let (outcome, summary) = selftest(&[], &[]);
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    assert_eq!(summary["passed"], summary["total"]);
    assert_eq!(summary["success_rate"], 100.0);
    for step in ["feed", "journal", "query", "stream", "sink", "alert", "checkpoint", "restart", "replay", "verify"] {
        assert_eq!(result_of(&summary, step)["result"], "ok", "{summary}");
    }
}

#[test]
fn a_sink_that_cannot_write_fails_its_step_and_what_needs_it_and_nothing_else() {
    let (outcome, summary) = selftest(&["--set", "sinks.rows.folder=/proc/nowhere"], &[]);
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    // The daemon says so at its start: it is not healthy.
    let failed: Vec<&Value> =
        summary["steps"].as_array().unwrap().iter().filter(|row| row["result"] == "failed").collect();
    assert_eq!(failed.len(), 1, "{summary}");
    assert_eq!(result_of(&summary, "verify")["result"], "skipped");
    assert!(summary["success_rate"].as_f64().unwrap() < 100.0);
}

#[test]
fn a_daemon_that_does_not_start_fails_with_its_last_words() {
    let (outcome, summary) = selftest(&["--set", "daemon.data_dir=/proc/nowhere"], &[]);
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    let start = result_of(&summary, "start");
    assert!(start["result"] == "failed" && start["found"].as_str().unwrap().contains("/proc/nowhere"), "{start}");
    assert_eq!(result_of(&summary, "journal")["result"], "skipped");
}

#[test]
fn settings_of_the_operator_s_environment_are_not_what_is_tested() {
    let variables =
        [("USE_SMART_STREAMING", "false"), ("SLUICE_SERVER__LISTEN", "127.0.0.1:1"), ("BATCH_TIMEOUT", "no")];
    let (outcome, _) = selftest(&[], &variables);
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
}

#[test]
fn settings_of_a_file_do_not_go_with_it() {
    let outcome = Workplace::new().run(["--config", "x.toml", "selftest"]);
    assert!(outcome.code == Some(2) && outcome.stderr.contains("config doctor"), "{outcome:?}");
}
