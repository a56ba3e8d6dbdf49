//! What changes of settings print: what was done, or would be.

use super::{CliError, Exit, Format, print_json, print_line, print_table};
use crate::config::{Plan, PlannedTopic, Risk};
use crate::server::Changed;

/// Topics that are named; the others are only counted.
const TOPICS_NAMED: usize = 20;

/// Reads a daemon's answer.
pub(super) fn read<T: serde::de::DeserializeOwned>(answer: &super::api::Answer) -> Result<T, CliError> {
    serde_json::from_slice(&answer.body)
        .map_err(|error| CliError::new(Exit::No, "the daemon's answer cannot be read", error))
}

/// Prints what a change did or would do.
pub(super) fn print(changed: &Changed, format: Format) -> Result<(), CliError> {
    if format == Format::Json {
        return Ok(print_json(changed)?);
    }
    let Changed { plan, dry_run, notes } = changed;
    for note in notes {
        print_line(format!("note: {note}"))?;
    }
    if plan.risk == Risk::None && plan.is_empty() {
        return Ok(print_line("nothing changes")?);
    }
    print_line(format!("{} (risk: {})", if *dry_run { "would change" } else { "changed" }, plan.risk.as_str()))?;
    print_table(["WHAT", "NAME", "CHANGE", "KEYS"], rows(plan))?;
    let figures = [
        ("links opened", plan.connections_opened),
        ("links closed", plan.connections_closed),
        ("topics added", plan.topics_added.len()),
        ("topics removed", plan.topics_removed.len()),
        ("topics moved", plan.topics_moved.len()),
    ];
    let figures: Vec<String> = figures.iter().map(|(what, count)| format!("{what}: {count}")).collect();
    print_line(figures.join(", "))?;
    for (sign, topics) in [('+', &plan.topics_added), ('-', &plan.topics_removed), ('>', &plan.topics_moved)] {
        for PlannedTopic { upstream, topic } in topics.iter().take(TOPICS_NAMED) {
            print_line(format!("  {sign} {upstream} {topic}"))?;
        }
        if topics.len() > TOPICS_NAMED {
            print_line(format!("  {sign} … and {} more", topics.len() - TOPICS_NAMED))?;
        }
    }
    if !plan.restart_needed.is_empty() {
        let keys = plan.restart_needed.join(", ");
        print_line(format!("needs a restart of the daemon, and is not applied until then: {keys}"))?;
    }
    Ok(())
}

fn rows(plan: &Plan) -> Vec<[String; 4]> {
    let mut rows = Vec::new();
    for upstream in &plan.upstreams {
        let (name, change) = (upstream.upstream.clone(), upstream.change.as_str().to_owned());
        rows.push(["upstream".to_owned(), name, change, upstream.keys.join(", ")]);
    }
    for monitor in &plan.monitors {
        let (name, change) = (monitor.monitor.clone(), monitor.change.as_str().to_owned());
        rows.push(["monitor".to_owned(), name, change, monitor.keys.join(", ")]);
    }
    for path in &plan.paths {
        rows.push(["path".to_owned(), path.monitor.clone(), format!("to {}", path.to.as_str()), String::new()]);
    }
    let others = plan
        .at_once
        .iter()
        .map(|key| (key, "changed"))
        .chain(plan.restart_needed.iter().map(|key| (key, "at a restart")));
    rows.extend(others.map(|(key, change)| ["setting".to_owned(), key.clone(), change.to_owned(), String::new()]));
    rows
}
