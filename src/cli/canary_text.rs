//! What `sluice canary` prints for people.

use std::time::Duration;

use super::exit::PrintError;
use super::{print_line, print_table};
use crate::config::units::show_duration;
use crate::journal::Path;
use crate::rollout::Fraction;
use crate::server::{CanaryAnswer, CanaryStatus, PathCount, PlanShown};

/// Monitors that are named; the others are only counted.
const MONITORS_NAMED: usize = 20;

/// Crossings that are shown; the others are only counted.
const CROSSINGS_SHOWN: usize = 10;

/// Prints what was decided, or would be.
pub(super) fn print_answer(answer: &CanaryAnswer) -> Result<(), PrintError> {
    let CanaryAnswer { dry_run, fraction, to_smart, to_legacy, way_back, warnings, notes, status } = answer;
    let are = if *dry_run { "would be" } else { "are to be" };
    print_line(format!("{fraction} of the monitors {are} on the smart path"))?;
    for (word, monitors) in [("smart", to_smart), ("legacy", to_legacy)] {
        if monitors.is_empty() {
            continue;
        }
        let names = monitors.iter().take(MONITORS_NAMED).map(String::as_str).collect::<Vec<_>>().join(", ");
        let more = monitors.len().saturating_sub(MONITORS_NAMED);
        let more = if more > 0 { format!(", and {more} more") } else { String::new() };
        print_line(format!("to the {word} path: {} ({names}{more})", monitors.len()))?;
    }
    if to_smart.is_empty() && to_legacy.is_empty() {
        print_line("no monitor changes paths")?;
    }
    if !way_back.upstreams.is_empty() {
        print_line(format!("the way back from there takes {} at least", seconds(way_back.seconds)))?;
    }
    for warning in warnings {
        print_line(format!("warning: {warning}"))?;
    }
    for note in notes {
        print_line(format!("note: {note}"))?;
    }
    if !dry_run && status.plan.state.is_some() {
        print_line(format!("plan: {}", view::plan(&status.plan)))?;
    }
    Ok(())
}

/// Prints how the change-over stands.
pub(super) fn print_status(status: &CanaryStatus) -> Result<(), PrintError> {
    for line in view::head(status) {
        print_line(line)?;
    }
    print_table(["PATH", "MONITORS", "WANTED", "PINNED"], status.paths.iter().map(path_row))?;
    if !status.crossings.is_empty() {
        print_line("")?;
        let rows = status.crossings.iter().take(CROSSINGS_SHOWN).map(|row| {
            let way = format!("{} to {}", row.from.as_str(), row.to.as_str());
            [row.monitor.clone(), way, row.since.clone(), row.waits_for.clone()]
        });
        print_table(["CHANGING PATHS", "WAY", "SINCE", "WAITS FOR"], rows)?;
        let more = status.crossings.len().saturating_sub(CROSSINGS_SHOWN);
        if more > 0 {
            print_line(format!("… and {more} more"))?;
        }
    }
    for note in &status.notes {
        print_line(format!("note: {note}"))?;
    }
    Ok(())
}

fn path_row(row: &PathCount) -> [String; 4] {
    [row.path.as_str().to_owned(), row.now.to_string(), row.wanted.to_string(), row.pinned.to_string()]
}

fn seconds(seconds: f64) -> String {
    let step = if seconds < 10.0 { 10.0 } else { 1.0 };
    let rounded = (seconds * step).round() / step;
    show_duration(Duration::try_from_secs_f64(rounded).unwrap_or_default())
}

/// What status and watch show alike.
pub(super) mod view {
    use super::{CanaryStatus, Fraction, Path, PlanShown, PrintError, print_line, print_table, seconds, show_duration};
    use crate::rollout::guard::PathRates;
    use crate::server::{GuardShown, RollBackShown};

    /// The sentences above the tables.
    pub(in crate::cli) fn head(status: &CanaryStatus) -> Vec<String> {
        let settings = &status.settings;
        let mut lines = Vec::new();
        let decided = match (&status.by, &status.since) {
            (Some(by), Some(since)) => {
                let reason = status.reason.as_ref().map_or_else(String::new, |reason| format!(": {reason}"));
                format!("decided by {} at {since}{reason}", by.as_str())
            }
            _ => format!("from {}", settings.origin),
        };
        lines.push(format!("fraction  {} ({decided})", status.fraction));
        let own = Fraction::new(settings.fraction).unwrap_or(Fraction::NONE);
        let enabled = if settings.enabled { "enabled" } else { "disabled" };
        lines.push(format!("settings  {own} ({}), {enabled} ({})", settings.origin, settings.enabled_origin));
        lines.push(format!("plan      {}", plan(&status.plan)));
        lines.push(format!("guard     {}", guard(&status.guard)));
        if let Some(roll_back) = &status.roll_back {
            lines.push(format!("ROLL BACK {}", rolled(roll_back)));
        }
        let memory = status.memory;
        let mib = |bytes: u64| bytes >> 20;
        lines.push(format!(
            "memory    {} MiB, {:.1} % of {} MiB",
            mib(memory.used),
            memory.share * 100.0,
            mib(memory.limit)
        ));
        lines
    }

    pub(in crate::cli) fn plan(plan: &PlanShown) -> String {
        let Some(state) = plan.state else { return "not started; `sluice canary plan start` does".into() };
        let mut text = vec![format!("{}, stage {} of {}", state.as_str(), plan.stage, plan.stages.len())];
        if let Some(stage) = plan.stage.checked_sub(1).and_then(|index| plan.stages.get(index)) {
            text.push(format!(" ({})", stage.fraction));
        }
        if let Some(left) = plan.left_seconds {
            text.push(format!(", {} left", seconds(left)));
        }
        if let Some(waits_for) = &plan.waits_for {
            text.push(format!("; waits for {waits_for}"));
        }
        text.concat()
    }

    fn guard(guard: &GuardShown) -> String {
        let mut text = vec![guard.state.as_str().to_owned()];
        if let Some(words) = &guard.words {
            text.push(format!(": {words}"));
        }
        if let Some(until) = &guard.cooling_until {
            text.push(format!("; nothing is put on the smart path until {until}"));
        }
        text.concat()
    }

    fn rolled(RollBackShown { roll_back, seconds: lasts, left }: &RollBackShown) -> String {
        format!(
            "from {} to {} for {}: {left} monitors left after {}, {} expected",
            roll_back.from,
            roll_back.to,
            roll_back.reason,
            seconds(*lasts),
            seconds(roll_back.expected_seconds)
        )
    }

    /// A plan's stages.
    pub(in crate::cli) fn print_plan(shown: &PlanShown) -> Result<(), PrintError> {
        print_line(plan(shown))?;
        let rows = shown.stages.iter().enumerate().map(|(index, stage)| {
            let lasts = stage.lasts.map_or_else(|| "-".to_owned(), show_duration);
            let here = if shown.state.is_some() && index + 1 == shown.stage { "*" } else { "" };
            [here.to_owned(), (index + 1).to_string(), stage.fraction.to_string(), lasts]
        });
        print_table(["", "STAGE", "FRACTION", "FOR"], rows)
    }

    /// Both paths side by side.
    pub(in crate::cli) fn print_figures(status: &CanaryStatus) -> Result<(), PrintError> {
        let header =
            ["UPSTREAM", "PATH", "MONITORS", "LINKS", "MESSAGES/S", "EVENTS/S", "PARSE RATE", "LOST IN 1H", "REFUSED"];
        print_table(header, status.figures.iter().map(figures))
    }

    fn figures(row: &PathRates) -> [String; 9] {
        [
            row.upstream.clone(),
            row.path.as_str().to_owned(),
            row.monitors.to_string(),
            format!("{}/{}", row.open, row.links),
            format!("{:.1}", row.messages_per_second),
            format!("{:.1}", row.events_per_second),
            row.parse_rate.map_or_else(|| "-".to_owned(), |rate| format!("{:.2} %", rate * 100.0)),
            row.connection_failures.to_string(),
            row.refused.to_string(),
        ]
    }

    /// One line, where there is no terminal to draw on.
    pub(in crate::cli) fn line(status: &CanaryStatus) -> String {
        let on = |path: Path| status.paths.iter().filter(|row| row.path == path).map(|row| row.now).sum::<usize>();
        let rate = |path: Path| {
            let rows = status.figures.iter().filter(|row| row.path == path);
            rows.map(|row| row.messages_per_second).sum::<f64>()
        };
        format!(
            "fraction {}; smart {} monitors, {:.1} messages/s; legacy {} monitors, {:.1} messages/s; crossing {}; plan {}; guard {}",
            status.fraction,
            on(Path::Smart),
            rate(Path::Smart),
            on(Path::Legacy),
            rate(Path::Legacy),
            status.crossings.len(),
            plan(&status.plan),
            guard(&status.guard)
        )
    }
}
