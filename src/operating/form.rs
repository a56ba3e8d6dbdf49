//! In which form a report is given.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use super::OperatingReport;
use crate::report::ReportFormat;

/// A form, on the command line and in settings.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OperatingFormat {
    /// Text for a terminal
    Table,
    /// One page that needs nothing else, with charts, light and dark
    #[default]
    Html,
    /// Markdown
    #[value(alias = "markdown")]
    Md,
    /// For programs, and as a baseline
    Json,
    /// Rows of section, name, value, unit, target, verdict
    Csv,
}

impl OperatingFormat {
    /// Its media type, and how names of its files end.
    pub fn media_type(self) -> (&'static str, &'static str) {
        match self {
            Self::Table => ("text/plain; charset=utf-8", "txt"),
            Self::Html => ("text/html; charset=utf-8", "html"),
            Self::Md => ("text/markdown; charset=utf-8", "md"),
            Self::Json => ("application/json", "json"),
            Self::Csv => ("text/csv; charset=utf-8", "csv"),
        }
    }
}

/// Why a report cannot be written in a form.
#[derive(Debug, thiserror::Error)]
pub enum FormError {
    /// As JSON.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    /// As comma-separated values.
    #[error(transparent)]
    Csv(#[from] csv::Error),
}

impl OperatingReport {
    /// In a form.
    ///
    /// # Errors
    /// When it cannot be written so.
    pub fn render(&self, format: OperatingFormat) -> Result<String, FormError> {
        let format = match format {
            OperatingFormat::Csv => return Ok(self.csv()?),
            OperatingFormat::Table => ReportFormat::Table,
            OperatingFormat::Html => ReportFormat::Html,
            OperatingFormat::Md => ReportFormat::Markdown,
            OperatingFormat::Json => ReportFormat::Json,
        };
        Ok(self.report().render(format, self)?)
    }
}
