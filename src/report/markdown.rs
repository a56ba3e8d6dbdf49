//! A report as Markdown, with tables as GitHub writes them.

use std::fmt::Write as _;

use super::{Mark, Report, on_one_line};

/// The report as Markdown.
pub(super) fn render(report: &Report) -> String {
    let mut page = String::new();
    let mut line = |text: String| {
        // A string takes whatever is written to it.
        writeln!(page, "{text}").ok();
    };
    line(format!("# {}\n", escaped(&report.title)));
    line(format!("{}**{}**\n", sign(report.verdict.mark), escaped(&report.verdict.text)));
    for (name, value) in &report.facts {
        line(format!("- {}: {}", escaped(name), escaped(&value.text)));
    }
    for table in report.shown_tables() {
        line(format!("\n## {}\n", escaped(&table.heading)));
        line(format!("| {} |", table.columns.join(" | ")));
        line(format!("|{}", " --- |".repeat(table.columns.len())));
        for row in &table.rows {
            let cells: Vec<_> = row.iter().map(|cell| escaped(&cell.text)).collect();
            line(format!("| {} |", cells.join(" | ")));
        }
    }
    if !report.notes.is_empty() {
        line("\n## Notes\n".to_owned());
    }
    for note in &report.notes {
        line(format!("- {}", escaped(note)));
    }
    page
}

/// For who does not see colours.
fn sign(mark: Mark) -> &'static str {
    match mark {
        Mark::Plain => "",
        Mark::Good => "✓ ",
        Mark::Bad => "✗ ",
        Mark::Unknown => "? ",
    }
}

/// A text that says itself and nothing of the page's form.
fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for character in on_one_line(text).chars() {
        match character {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '\\' | '|' | '`' | '*' | '_' | '[' | ']' | '#' | '~' => escaped.extend(['\\', character]),
            other => escaped.push(other),
        }
    }
    escaped
}
