//! References in `docs/reference` are made of the code, and whatever else in `docs` can be held against it is.
//!
//! Only tests are here. A page that is behind the code fails; `UPDATE_DOCS=1 cargo test --lib reference` writes it anew.

mod alerts;
mod commands;
mod metrics;
mod pages;
mod settings;

use std::fs;
use std::path::{Path, PathBuf};

/// A file of the project, by its path from the root.
fn project_path(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Its text.
fn project_file(path: &str) -> String {
    fs::read_to_string(project_path(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Holds `docs/reference/NAME` to `made`, or writes it where `UPDATE_DOCS` is set.
fn hold_current(name: &str, made: &str) {
    let path = format!("docs/reference/{name}");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::create_dir_all(project_path("docs/reference")).unwrap();
        fs::write(project_path(&path), made).unwrap_or_else(|error| panic!("{path}: {error}"));
        return;
    }
    let there = fs::read_to_string(project_path(&path)).unwrap_or_default();
    let differing = there.lines().zip(made.lines()).find(|(there, made)| there != made);
    assert!(
        there == made,
        "{path} is behind the code; run `UPDATE_DOCS=1 cargo test --lib reference` and look at what changed.\nFirst \
         difference: {differing:?}"
    );
}

/// A text within a cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ").trim().to_owned()
}
