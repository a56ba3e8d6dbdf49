//! `sluice man`: the manual's pages, one a command, made from the command line. `scripts/install` and packages have them written.

use std::path::{Path, PathBuf};

use clap_mangen::Man;

use super::{CliError, Context, Exit, print_line};

/// What pages say they are of.
const SOURCE: &str = concat!("sluice ", env!("CARGO_PKG_VERSION"));

/// `sluice man`
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Folder that the pages are written to; it is made where it is not there
    folder: PathBuf,
}

impl Args {
    pub(super) fn run(self, _context: &Context) -> Result<Exit, CliError> {
        let mut root = super::command();
        // Names the commands inside of others in full, and gives each its `help`, which has no page.
        root.build();
        let pages = pages(&root, "sluice");
        let failed = |error| CliError::new(Exit::No, format!("cannot write to {}", self.folder.display()), error);
        std::fs::create_dir_all(&self.folder).map_err(failed)?;
        for (name, text) in &pages {
            std::fs::write(self.folder.join(Path::new(&format!("{name}.1"))), text).map_err(failed)?;
        }
        print_line(format_args!("{} pages in {}", pages.len(), self.folder.display()))?;
        Ok(Exit::Done)
    }
}

/// A page for a command, and for each inside of it: `sluice-sinks-list`.
fn pages(command: &clap::Command, name: &str) -> Vec<(String, Vec<u8>)> {
    let mut text = Vec::new();
    // A vector takes whatever is written to it.
    let mut pages = match Man::new(command.clone()).title(name.to_uppercase()).source(SOURCE).render(&mut text) {
        Ok(()) => vec![(name.to_owned(), text)],
        Err(_) => Vec::new(),
    };
    for inner in command.get_subcommands().filter(|inner| !inner.is_hide_set() && inner.get_name() != "help") {
        pages.extend(self::pages(inner, &format!("{name}-{}", inner.get_name())));
    }
    pages
}
