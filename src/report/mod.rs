//! Reports for people: a title, a verdict, facts, tables and notes, as text, Markdown or one HTML page. What programs get is the typed
//! value that a report is made of, as JSON.

mod chart;
mod html;
mod markdown;
mod text;

use clap::ValueEnum;
use serde::Serialize;

/// In which form a report is given.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum ReportFormat {
    /// Text for a terminal
    #[default]
    Table,
    /// For programs
    Json,
    /// Markdown
    #[value(alias = "md")]
    Markdown,
    /// One page that needs nothing else, light and dark
    Html,
}

/// What a word of a report says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Mark {
    /// Nothing in particular.
    #[default]
    Plain,
    /// As it should be.
    Good,
    /// Not as it should be.
    Bad,
    /// Nobody knows.
    Unknown,
}

/// A cell of a table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cell {
    /// Its text.
    pub text: String,
    /// What it says.
    pub mark: Mark,
}

impl Cell {
    /// One that says something in particular.
    pub fn marked(text: impl Into<String>, mark: Mark) -> Self {
        Self { text: text.into(), mark }
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self { text: text.into(), mark: Mark::Plain }
    }
}

/// A table with a heading.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReportTable {
    /// What is over it.
    pub heading: String,
    /// Names of its columns.
    pub columns: Vec<&'static str>,
    /// Its rows, each with a cell for each column.
    pub rows: Vec<Vec<Cell>>,
}

/// A curve over time.
#[derive(Debug, Clone)]
pub struct Chart {
    /// What is over it.
    pub heading: String,
    /// What each point is called, and its value; none where nobody knows.
    pub points: Vec<(String, Option<f64>)>,
    /// How a value is written.
    pub shown: fn(f64) -> String,
    /// A line to be held against.
    pub target: Option<f64>,
}

/// A report.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// What it is about.
    pub title: String,
    /// What came of it.
    pub verdict: Cell,
    /// Names and values.
    pub facts: Vec<(String, Cell)>,
    /// Tables, in the order in which they are shown; those without rows are not.
    pub tables: Vec<ReportTable>,
    /// Drawn in a page; elsewhere the tables have to do.
    pub charts: Vec<Chart>,
    /// Sentences.
    pub notes: Vec<String>,
}

impl Report {
    /// In a form. `value` is what programs get.
    ///
    /// # Errors
    /// When the value cannot be written as JSON.
    pub fn render(&self, format: ReportFormat, value: &impl Serialize) -> Result<String, serde_json::Error> {
        Ok(match format {
            ReportFormat::Table => text::render(self),
            ReportFormat::Markdown => markdown::render(self),
            ReportFormat::Html => html::render(self),
            ReportFormat::Json => serde_json::to_string_pretty(value)? + "\n",
        })
    }

    fn shown_tables(&self) -> impl Iterator<Item = &ReportTable> {
        self.tables.iter().filter(|table| !table.rows.is_empty())
    }
}

/// A text for a table, with an ellipsis where it is longer than `most` characters; a dash where there is none.
pub(crate) fn cut(text: Option<&str>, most: usize) -> Cell {
    let Some(text) = text else { return "-".into() };
    if text.chars().count() <= most {
        return text.into();
    }
    text.chars().take(most.saturating_sub(1)).chain(['…']).collect::<String>().into()
}

/// A time of RFC 3339 in UTC with so many digits of its second at most.
pub(crate) fn short_time(time: &str, digits: usize) -> String {
    let Some((whole, fraction)) = time.trim_end_matches('Z').split_once('.').filter(|_| time.ends_with('Z')) else {
        return time.to_owned();
    };
    if digits == 0 { format!("{whole}Z") } else { format!("{whole}.{fraction:.digits$}Z") }
}

/// A text on one line, without what could move a terminal's cursor.
fn on_one_line(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { ' ' } else { character }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hostile() -> Report {
        let text = "<script>alert('1')</script> & \"x\" | `y` *z*\n\u{1b}[31m";
        Report {
            title: text.into(),
            verdict: Cell::marked(text, Mark::Bad),
            facts: vec![(text.into(), text.into())],
            tables: vec![
                ReportTable {
                    heading: text.into(),
                    columns: vec!["A", "B"],
                    rows: vec![vec![text.into(), "2".into()]],
                },
                ReportTable { heading: "empty".into(), columns: vec!["A"], rows: Vec::new() },
            ],
            charts: vec![Chart {
                heading: text.into(),
                points: vec![(text.into(), Some(1.0)), (text.into(), None), (text.into(), Some(3.5))],
                shown: |value| format!("{value:.1} <a"),
                target: Some(2.0),
            }],
            notes: vec![text.into()],
        }
    }

    #[test]
    fn whatever_stands_in_it_is_text_in_a_page() {
        let page = hostile().render(ReportFormat::Html, &()).unwrap();
        assert!(!page.contains("<script") && !page.contains('\u{1b}'), "{page}");
        assert!(page.contains("&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt; &amp; &quot;x&quot;"), "{page}");
        for needed in
            ["<!doctype html>", "color-scheme", "prefers-color-scheme: dark", "default-src 'none'", "class=\"bad\""]
        {
            assert!(page.contains(needed), "{needed}");
        }
        for foreign in ["http://", "https://", "src=", "<link", "@import", "url("] {
            assert!(!page.contains(foreign), "a page that needs nothing else has no {foreign}");
        }
    }

    #[test]
    fn whatever_stands_in_it_breaks_no_table_of_markdown() {
        let page = hostile().render(ReportFormat::Markdown, &()).unwrap();
        let row = page.lines().find(|line| line.ends_with("| 2 |")).expect(&page);
        assert_eq!(row.replace("\\|", "").matches('|').count(), 3, "{row}");
        assert!(row.contains("\\*z\\*") && row.contains("\\`y\\`") && row.contains("&lt;script&gt;"), "{row}");
        assert!(!page.contains("empty"));
    }

    #[test]
    fn whatever_stands_in_it_moves_no_cursor() {
        let text = hostile().render(ReportFormat::Table, &()).unwrap();
        assert!(!text.contains('\u{1b}') && text.contains("<script>"), "{text}");
    }

    #[test]
    fn programs_get_the_value() {
        let text = hostile().render(ReportFormat::Json, &serde_json::json!({"equal": true})).unwrap();
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap()["equal"], true);
    }
}
