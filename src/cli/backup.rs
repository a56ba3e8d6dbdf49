//! `sluice backup`: a copy of the journal, consistent to one offset, while the daemon runs or not.

use std::path::PathBuf;

use super::run::journal_error;
use super::{CliError, Context, Exit, Format, OutputArgs, print_json, print_line};
use crate::checkpoint::{self, EntryState};
use crate::config::Settings;
use crate::journal::{self, BackupError, JournalId, Offset};

/// `sluice backup`
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A new or empty folder; on the journal's own file system sealed segments are linked and take no room
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    #[command(flatten)]
    output: OutputArgs,
}

impl Args {
    pub(super) fn run(self, context: &Context) -> Result<Exit, CliError> {
        let settings = context.load()?.settings;
        let dir = journal::folder(&settings.daemon.data_dir);
        let place = std::path::absolute(&self.dir).unwrap_or_else(|_| self.dir.clone());
        if place.starts_with(&dir) {
            let reason =
                format!("{} is inside the journal that is to be backed up; name another place", place.display());
            return Err(CliError::plain(Exit::Usage, reason));
        }
        let manifest =
            journal::back_up(&dir, &self.dir, |journal, offset| newest_checkpoint(&settings, journal, offset))
                .map_err(backup_error)?;
        match self.output.output {
            Format::Json => print_json(&manifest)?,
            Format::Table => {
                let journal::Manifest { offset, earliest_offset, segments, bytes, linked, checkpoint, .. } = &manifest;
                print_line(format!(
                    "backed up and checked: events {earliest_offset} up to {offset} of journal {}, {segments} segments \
                     ({linked} linked), {bytes} bytes, {}",
                    manifest.journal,
                    checkpoint.as_ref().map_or("no checkpoint".into(), |name| format!("checkpoint {name}")),
                ))?;
            }
        }
        Ok(Exit::Done)
    }
}

/// The newest checkpoint that speaks of nothing behind the backup's end.
fn newest_checkpoint(settings: &Settings, journal: JournalId, end: Offset) -> Option<PathBuf> {
    let entries = checkpoint::list(&settings.checkpoint.dir, Some(journal)).ok()?;
    let good =
        entries.into_iter().filter(|entry| matches!(entry.state, EntryState::Good(_)) && entry.name.durable <= end);
    let newest = good.max_by_key(|entry| entry.name.durable)?;
    Some(settings.checkpoint.dir.join(newest.name.to_string()))
}

/// With the exit code that belongs to it.
pub(super) fn backup_error(error: BackupError) -> CliError {
    match error {
        BackupError::Journal(error) => journal_error(error),
        BackupError::Damaged { .. } => CliError::from_error(Exit::Damaged, error),
        BackupError::NotEmpty { .. } | BackupError::Occupied { .. } | BackupError::NoBackup { .. } => {
            CliError::from_error(Exit::Usage, error)
        }
        BackupError::Unsettled { .. } | BackupError::Io { .. } => CliError::from_error(Exit::No, error),
    }
}
