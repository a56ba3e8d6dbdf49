//! What is on the disk: settings, journal, checkpoints, and which files there are.

use std::path::Path;

use serde::Serialize;

use super::bundle::Bundle;
use crate::cli::{CliError, Context, checkpoint, journal};
use crate::config::{Loaded, show};

/// Files that are listed of a folder, and how deep.
const FILES_MAX: usize = 5_000;
const DEPTH_MAX: usize = 6;

/// Adds the settings as `sluice config show` has them, or what is wrong with them.
pub(super) fn settings(bundle: &mut Bundle, loaded: &Result<Loaded, CliError>) {
    match loaded {
        Ok(loaded) => bundle.json("settings.json", &show(loaded)),
        Err(error) => {
            bundle.miss("settings.json", "they cannot be used: see settings-error.txt");
            bundle.text("settings-error.txt", &error.to_string());
        }
    }
}

/// Adds what the journal and the folder of checkpoints hold, and the names of all files.
pub(super) fn gather(bundle: &mut Bundle, context: &Context, loaded: &Loaded) {
    match journal::stat_json(context) {
        Ok(stat) => bundle.json("journal.json", &stat),
        Err(error) => bundle.miss("journal.json", &error.to_string()),
    }
    match checkpoint::rows(context) {
        Ok(rows) => bundle.json("checkpoints.json", &rows),
        Err(error) => bundle.miss("checkpoints.json", &error.to_string()),
    }
    let settings = &loaded.settings;
    let mut listed = Vec::new();
    for folder in [&settings.daemon.data_dir, &settings.checkpoint.dir] {
        list(folder, 0, &mut listed);
    }
    if listed.len() >= FILES_MAX {
        bundle.miss("files.json", "there are more files than are listed");
    }
    bundle.json("files.json", &listed);
}

/// A file, by name and size: never what is in it.
#[derive(Debug, Serialize)]
struct Listed {
    path: String,
    bytes: u64,
    modified: Option<String>,
}

fn list(folder: &Path, depth: usize, listed: &mut Vec<Listed>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        if listed.len() >= FILES_MAX {
            return;
        }
        let Ok(metadata) = entry.metadata() else { continue };
        if metadata.is_dir() {
            if depth < DEPTH_MAX {
                list(&entry.path(), depth + 1, listed);
            }
            continue;
        }
        let modified = metadata.modified().ok().and_then(|time| jiff::Timestamp::try_from(time).ok());
        listed.push(Listed {
            path: entry.path().display().to_string(),
            bytes: metadata.len(),
            modified: modified.map(|time| time.to_string()),
        });
    }
}
