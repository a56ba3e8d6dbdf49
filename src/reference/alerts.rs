//! `docs/reference/alerts.md`, of the rules that are built in.

use std::fmt::Write as _;

use super::{cell, hold_current};
use crate::alert::rules::REFERENCE;
use crate::alert::{AlertKind, Figure};

const HEAD: &str = "# Alerts\n\n\
    Made of the rules by `src/reference/alerts.rs`; do not edit it by hand.\n\n\
    About once a second each rule looks at a figure of each of its subjects. The alert is opened when it is true for as long as *for* says, and is over when it is untrue for \
    as long. Every number can be changed under `[alerts.rules.TYPE]`, or the threshold by the name in the environment; [settings](settings.md) has the keys. A type leads \
    to its runbook. `sluice alerts rules` shows the rules as they are in force, and what each sees now.\n";

fn number(value: f64) -> String {
    value.to_string()
}

fn with_unit(value: f64, unit: &str) -> String {
    // Of what is or is not, only that it is counts.
    if unit == "0 or 1" { number(value) } else { format!("{value} {unit}") }
}

fn time(time: std::time::Duration) -> String {
    if time.is_zero() { "–".to_owned() } else { humantime::format_duration(time).to_string() }
}

fn alerts_page() -> String {
    let mut page = String::from(HEAD);
    page.push_str("\n## Built-in rules\n\n| type | severity | opened when | figure | threshold | for | window | least | environment |\n");
    page.push_str("| --- | --- | --- | --- | --- | --- | --- | --- | --- |\n");
    for rule in REFERENCE {
        let name = rule.kind.as_str();
        let figure = match rule.of {
            Some(of) => format!("`{}` of `{of}`, {}", rule.figure, rule.nature.as_str()),
            None => format!("`{}`, {}", rule.figure, rule.nature.as_str()),
        };
        writeln!(
            page,
            "| [`{name}`](../runbooks/{name}.md) | {} | {} | {figure} | {} {} | {} | {} | {} | {} |",
            rule.kind.severity().as_str(),
            cell(rule.what),
            rule.side.as_str(),
            with_unit(rule.threshold, rule.unit),
            time(rule.lasts),
            time(rule.window),
            if rule.least > 0.0 { number(rule.least) } else { "–".to_owned() },
            rule.environment.map(|name| format!("`{name}`")).unwrap_or_default(),
        )
        .ok();
    }
    page.push_str(
        "\n*Opened when* goes on with the threshold: \"the host's CPUs are busier\" than 80 %. *Least*: of less than so much within the window nothing is said. \
         Rules of your own, `[alerts.custom.NAME]`, have the type [`CUSTOM`](../runbooks/CUSTOM.md) and look at any of these figures.\n\
         \n## Figures\n\n| figure | of each | in |\n| --- | --- | --- |\n",
    );
    for figure in Figure::ALL {
        writeln!(page, "| `{figure}` | {} | {} |", cell(figure.subject()), cell(figure.unit())).ok();
    }
    page
}

#[test]
fn the_reference_of_alerts_has_every_type() {
    let page = alerts_page();
    for kind in AlertKind::ALL {
        assert!(page.contains(&format!("[`{0}`](../runbooks/{0}.md)", kind.as_str())), "{}", kind.as_str());
    }
    hold_current("alerts.md", &page);
}
