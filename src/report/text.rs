//! A report on a terminal.

use std::fmt::Write as _;

use comfy_table::{ContentArrangement, Table, presets};

use super::{Report, on_one_line};

/// The report as text, its tables as wide as the terminal.
pub(super) fn render(report: &Report) -> String {
    let mut text = String::new();
    line(&mut text, &report.title);
    line(&mut text, &report.verdict.text);
    let width = report.facts.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    if !report.facts.is_empty() {
        text.push('\n');
    }
    for (name, value) in &report.facts {
        line(&mut text, &format!("{name:<width$}  {}", value.text));
    }
    for table in report.shown_tables() {
        text.push('\n');
        line(&mut text, &table.heading);
        let mut drawn = Table::new();
        drawn.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
        drawn.set_header(table.columns.iter().map(|name| name.to_uppercase()));
        drawn.add_rows(table.rows.iter().map(|row| row.iter().map(|cell| on_one_line(&cell.text)).collect::<Vec<_>>()));
        for column in drawn.column_iter_mut() {
            column.set_padding((0, 1));
        }
        for row in drawn.lines() {
            // A string takes whatever is written to it.
            writeln!(text, "{}", row.trim_end()).ok();
        }
    }
    if !report.notes.is_empty() {
        text.push('\n');
    }
    for note in &report.notes {
        line(&mut text, note);
    }
    text
}

fn line(text: &mut String, words: &str) {
    text.push_str(on_one_line(words).trim_end());
    text.push('\n');
}
