//! `docs/reference/metrics.md`, of the one list of metrics.

use std::fmt::Write as _;

use super::{cell, hold_current};
use crate::telemetry::metrics::REFERENCE;

const HEAD: &str = "# Metrics\n\n\
    Made of the list of metrics by `src/reference/metrics.rs`; do not edit it by hand.\n\n\
    `/metrics` has them in the text format of Prometheus. Counters count from the start of the process. Times are seconds, sizes bytes, shares \
    0 to 1. A table is a stage. What is labelled by a monitor, upstream, link or sink that is no more goes.\n";

fn metrics_page() -> String {
    let mut page = String::from(HEAD);
    for stage in REFERENCE {
        page.push_str("\n| metric | type | unit | labels | says | there |\n| --- | --- | --- | --- | --- | --- |\n");
        for metric in *stage {
            let labels: Vec<String> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
            let there = if metric.when.is_empty() { "always" } else { metric.when };
            writeln!(
                page,
                "| `{}` | {} | {} | {} | {} | {} |",
                metric.name,
                metric.kind.as_str(),
                metric.unit(),
                labels.join(", "),
                cell(metric.help),
                cell(there),
            )
            .ok();
        }
    }
    page
}

#[test]
fn the_reference_of_metrics_has_each_with_its_labels() {
    hold_current("metrics.md", &metrics_page());
}

#[test]
fn every_metric_that_a_page_names_is_there() {
    let known: Vec<&str> = REFERENCE.iter().copied().flatten().map(|metric| metric.name).collect();
    // Series of a histogram have names of their own.
    let is_known = |name: &str| {
        let ends = ["", "_bucket", "_sum", "_count"];
        ends.iter().any(|end| name.strip_suffix(end).is_some_and(|name| known.contains(&name)))
    };
    let mut wrong = Vec::new();
    for page in super::pages::pages() {
        let text = super::project_file(&page);
        for name in text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_') {
            // Names with two parts only are others': a database, a table. `sluice_host_…` stands for all that begin so.
            let is_start = name.ends_with('_') && known.iter().any(|known| known.starts_with(name));
            if name.starts_with("sluice_") && name.matches('_').count() > 1 && !is_known(name) && !is_start {
                wrong.push(format!("{page}: {name}"));
            }
        }
    }
    assert!(wrong.is_empty(), "metrics that are none:\n{}", wrong.join("\n"));
}
