//! `sluice checkpoint`: bookmarks of the journal. Listing and showing them needs no daemon.

use std::path::PathBuf;

use clap::Subcommand;
use serde_json::Value;

use super::run::journal_error;
use super::{CliError, Context, Exit, Format, OutputArgs, api, print_json, print_line, print_table};
use crate::checkpoint::{self, CheckpointError, CheckpointRow, FORMAT_VERSION};
use crate::journal::{self, JournalId};

/// `sluice checkpoint`
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    action: Action,
}

// Not a doc comment: clap would print it as what the command does.
#[derive(Debug, Subcommand)]
enum Action {
    /// Have the running daemon write one now
    Create(OutputArgs),
    /// List those that are kept, oldest first
    List(OutputArgs),
    /// Show what is in one: by its id or its offset; without, in the newest that can be used
    Show {
        /// Which
        id: Option<String>,
        #[command(flatten)]
        output: OutputArgs,
    },
}

/// Where checkpoints are, and of which journal they are to be.
fn folder(context: &Context) -> Result<(PathBuf, Option<JournalId>), CliError> {
    let settings = context.load()?.settings;
    let journal = journal::identity(&journal::folder(&settings.daemon.data_dir)).map_err(journal_error)?;
    Ok((settings.checkpoint.dir, journal))
}

/// A folder's error with the exit code that belongs to it.
pub(super) fn checkpoint_error(error: CheckpointError) -> CliError {
    let exit = match error {
        CheckpointError::Locked { .. } => Exit::Locked,
        CheckpointError::Io { .. } | CheckpointError::Refused { .. } | CheckpointError::Unknown { .. } => Exit::No,
    };
    CliError::from_error(exit, error)
}

impl Args {
    pub(super) fn run(self, context: &Context) -> Result<Exit, CliError> {
        match self.action {
            Action::Create(args) => create(context, args),
            Action::List(args) => list(context, args),
            Action::Show { id, output } => show(context, id.as_deref(), output),
        }
    }
}

fn create(context: &Context, args: OutputArgs) -> Result<Exit, CliError> {
    let answer = api::send(context, "POST", "/api/v1/checkpoints", Some(b"{}"))?;
    let row: CheckpointRow = serde_json::from_slice(&answer.body)
        .map_err(|error| CliError::new(Exit::No, "the daemon's answer cannot be read", error))?;
    match args.output {
        Format::Json => print_json(&row)?,
        Format::Table => print_line(format!("{} is written, durable up to offset {}", row.id, row.durable_offset))?,
    }
    Ok(Exit::Done)
}

/// Those that are kept, oldest first.
pub(super) fn rows(context: &Context) -> Result<Vec<CheckpointRow>, CliError> {
    let (dir, journal) = folder(context)?;
    let entries = checkpoint::list(&dir, journal).map_err(checkpoint_error)?;
    Ok(entries.iter().map(CheckpointRow::of).collect())
}

fn list(context: &Context, args: OutputArgs) -> Result<Exit, CliError> {
    let rows = rows(context)?;
    match args.output {
        Format::Json => print_json(&rows)?,
        Format::Table => print(rows)?,
    }
    Ok(Exit::Done)
}

fn print(rows: Vec<CheckpointRow>) -> Result<(), CliError> {
    let reasons: Vec<(String, String)> =
        rows.iter().filter_map(|row| Some((row.id.clone(), row.reason.clone()?))).collect();
    let dash = || String::from("-");
    let lines = rows.into_iter().map(|row| {
        [
            row.id,
            row.state,
            row.durable_offset.to_string(),
            row.written.unwrap_or_else(dash),
            row.cause.map_or_else(dash, |cause| cause.to_string()),
            row.sinks.map_or_else(dash, |sinks| sinks.to_string()),
            row.resume_tokens.map_or_else(dash, |tokens| tokens.to_string()),
            row.bytes.map_or_else(dash, |bytes| bytes.to_string()),
        ]
    });
    print_table(["ID", "STATE", "DURABLE", "WRITTEN", "CAUSE", "SINKS", "TOKENS", "BYTES"], lines)?;
    // Below, where they have room.
    for (id, reason) in reasons {
        print_line(format!("{id}: {reason}"))?;
    }
    Ok(())
}

fn show(context: &Context, id: Option<&str>, args: OutputArgs) -> Result<Exit, CliError> {
    let (dir, journal) = folder(context)?;
    let checkpoint = checkpoint::read(&dir, journal, id).map_err(checkpoint_error)?;
    if args.output == Format::Json {
        let mut json = checkpoint.to_json();
        if let Value::Object(members) = &mut json {
            members.insert("version".to_owned(), FORMAT_VERSION.into());
        }
        print_json(&json)?;
        return Ok(Exit::Done);
    }
    let rows = [
        ("journal", checkpoint.journal.to_string()),
        ("durable offset", checkpoint.durable.to_string()),
        ("written", checkpoint.written.to_string()),
        ("cause", checkpoint.cause.to_string()),
        ("by release", checkpoint.program),
        ("format version", FORMAT_VERSION.to_string()),
    ];
    print_table(["WHAT", "VALUE"], rows.map(|(name, value)| [name.to_owned(), value]))?;
    if !checkpoint.sinks.is_empty() {
        println!();
        let rows = checkpoint.sinks.into_iter().map(|mark| {
            let sequence = mark.sequence.map_or_else(|| String::from("-"), |sequence| sequence.to_string());
            [mark.name, mark.kind.as_str().to_owned(), mark.next.to_string(), sequence]
        });
        print_table(["SINK", "KIND", "CURSOR", "SEQUENCE"], rows)?;
    }
    if !checkpoint.tokens.is_empty() {
        println!();
        let rows = checkpoint.tokens.into_iter().map(|mark| {
            let token = String::from_utf8_lossy(&mark.token).into_owned();
            [mark.upstream, token, mark.offset.to_string(), mark.received.to_string(), mark.topics.join(", ")]
        });
        print_table(["UPSTREAM", "TOKEN", "OFFSET", "RECEIVED", "TOPICS"], rows)?;
    }
    for (name, value) in checkpoint.settings {
        print_line(format!("set while the daemon ran: {name} = {value}"))?;
    }
    Ok(Exit::Done)
}
