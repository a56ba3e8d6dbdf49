//! What commands print: a table for people, JSON for programs.

use std::fmt;
use std::io::{self, Write};

use clap::ValueEnum;
use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;

use super::exit::PrintError;

/// For whom data is printed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people
    #[default]
    Table,
    /// For programs
    Json,
}

/// `--output`, for commands that print data: `#[command(flatten)]` it.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct OutputArgs {
    /// How to print
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    pub output: Format,
}

/// Prints one line.
///
/// # Errors
/// When standard output cannot be written.
pub fn print_line(line: impl fmt::Display) -> Result<(), PrintError> {
    writeln!(io::stdout().lock(), "{line}")?;
    Ok(())
}

/// Prints rows under a header.
///
/// # Errors
/// When standard output cannot be written.
pub fn print_table<const N: usize>(
    header: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
) -> Result<(), PrintError> {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic).set_header(header);
    table.add_rows(rows);
    for column in table.column_iter_mut() {
        column.set_padding((0, 1));
    }
    let mut out = io::stdout().lock();
    for line in table.lines() {
        writeln!(out, "{}", line.trim_end())?;
    }
    out.flush()?;
    Ok(())
}

/// Prints one JSON document.
///
/// # Errors
/// When standard output cannot be written.
pub fn print_json(document: &impl Serialize) -> Result<(), PrintError> {
    let mut out = io::stdout().lock();
    serde_json::to_writer_pretty(&mut out, document).map_err(io::Error::from)?;
    writeln!(out)?;
    out.flush()?;
    Ok(())
}
