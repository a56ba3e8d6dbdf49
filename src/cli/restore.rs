//! `sluice restore`: a new journal out of a backup, and what that means for each sink.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::backup::backup_error;
use super::{CliError, Context, Exit, Format, OutputArgs, print_json, print_line, print_table};
use crate::checkpoint::{self, Checkpoint, CheckpointFolder};
use crate::config::Settings;
use crate::journal::{self, Restored};
use crate::sink::{AnyStore, Opening, Purpose, Store, StoreError};

/// How long a store is waited for. Source: a guess; one that is there answers within milliseconds.
const ASK_TIMEOUT: Duration = Duration::from_secs(5);

/// `sluice restore`
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A folder made by `sluice backup`
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    #[command(flatten)]
    output: OutputArgs,
}

/// The answer for programs.
#[derive(Debug, Serialize)]
struct RestoreObject {
    journal: String,
    backup_of: String,
    earliest_offset: u64,
    offset: u64,
    checkpoint: Option<String>,
    ancestors: Vec<AncestorObject>,
    sinks: Vec<SinkObject>,
}

#[derive(Debug, Serialize)]
struct AncestorObject {
    journal: String,
    end: u64,
}

/// What becomes of a sink's cursor.
#[derive(Debug, Serialize)]
struct SinkObject {
    sink: String,
    /// `mapped`, `new`, `refused` or `unknown`.
    cursor: &'static str,
    next: Option<u64>,
    reason: Option<String>,
}

impl Args {
    pub(super) fn run(self, context: &Context) -> Result<Exit, CliError> {
        let settings = context.load()?.settings;
        let mut checkpoint = Ok(None);
        let restored = journal::restore(&self.dir, &settings.daemon.data_dir, |restored| {
            checkpoint = restore_checkpoint(&self.dir, &settings, restored);
            Ok(())
        })
        .map_err(backup_error)?;
        let object = RestoreObject {
            journal: restored.journal.to_string(),
            backup_of: restored.backup.journal.clone(),
            earliest_offset: restored.backup.earliest_offset,
            offset: restored.backup.offset,
            checkpoint: checkpoint.unwrap_or_else(|reason: String| {
                // The journal alone suffices: without a checkpoint the start only has to look further.
                writeln!(io::stderr().lock(), "the checkpoint in the backup is left out: {reason}").ok();
                None
            }),
            ancestors: restored
                .ancestors
                .iter()
                .map(|ancestor| AncestorObject { journal: ancestor.journal.to_string(), end: ancestor.end.0 })
                .collect(),
            sinks: ask_sinks(&settings, &restored)?,
        };
        match self.output.output {
            Format::Json => print_json(&object)?,
            Format::Table => print(&object)?,
        }
        Ok(Exit::Done)
    }
}

/// The backup's checkpoint as one of the restored journal, in the folder of checkpoints; its name there.
fn restore_checkpoint(dir: &Path, settings: &Settings, restored: &Restored) -> Result<Option<String>, String> {
    let Some(name) = &restored.backup.checkpoint else { return Ok(None) };
    let path = dir.join("checkpoints").join(name);
    let bytes = std::fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let old = checkpoint::decode(&bytes).map_err(|reason| format!("{}: {reason}", path.display()))?;
    // Sinks' marks stay those of the old journal: its cursors are taken over by the stores themselves.
    let new = Checkpoint { journal: restored.journal, ..old };
    let folder = CheckpointFolder::open(&settings.checkpoint.dir).map_err(|error| error.to_string())?;
    let name = folder.write(&new, settings.checkpoint.keep).map_err(|error| error.to_string())?;
    Ok(Some(name.to_string()))
}

fn print(object: &RestoreObject) -> Result<(), CliError> {
    print_line(format!(
        "restored: journal {} has events {} up to {} of {}. It is a journal of its own",
        object.journal, object.earliest_offset, object.offset, object.backup_of
    ))?;
    if object.sinks.is_empty() {
        return Ok(());
    }
    print_line("")?;
    let rows = object.sinks.iter().map(|sink| {
        let next = sink.next.map_or("-".into(), |next| next.to_string());
        [sink.sink.clone(), sink.cursor.to_owned(), next, sink.reason.clone().unwrap_or_default()]
    });
    print_table(["SINK", "CURSOR", "NEXT", "WHY"], rows)?;
    Ok(())
}

/// What each store says to the new journal: it alone knows its cursor.
fn ask_sinks(settings: &Settings, restored: &Restored) -> Result<Vec<SinkObject>, CliError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| CliError::new(Exit::No, "threads cannot be started", error))?;
    let mut answers = Vec::new();
    for (name, sink) in &settings.sinks {
        let opening = Opening {
            ancestors: Arc::from(restored.ancestors.as_slice()),
            purpose: Purpose::Inspect,
            ..Opening::live(name, restored.journal)
        };
        let answer = match AnyStore::new(name, sink, settings) {
            Ok(mut store) => runtime.block_on(async {
                let late = || StoreError::Unavailable(format!("no answer within {} s", ASK_TIMEOUT.as_secs()));
                tokio::time::timeout(ASK_TIMEOUT, store.open(&opening)).await.unwrap_or_else(|_| Err(late()))
            }),
            Err(error) => Err(error),
        };
        let (cursor, next, reason) = match answer {
            Ok(Some(next)) => ("mapped", Some(next.0), None),
            Ok(None) => {
                ("new", None, Some("it has nothing of this history and begins with the oldest event".to_owned()))
            }
            Err(StoreError::Stop(reason)) => ("refused", None, Some(reason)),
            Err(error) => ("unknown", None, Some(format!("{error}; it is asked again when the daemon starts"))),
        };
        answers.push(SinkObject { sink: name.clone(), cursor, next, reason });
    }
    Ok(answers)
}
