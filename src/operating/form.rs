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
