//! `sluice canary watch`: how the change-over goes on, once a second.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::Duration;

use super::canary::status;
use super::canary_text::{print_status, view};
use super::exit::PrintError;
use super::{CliError, Context, Exit, Format, OutputArgs, print_json, print_line};

/// Clears a terminal and begins at its top.
const CLEAR: &str = "\x1b[H\x1b[2J";

/// `sluice canary watch`
#[derive(Debug, clap::Args)]
pub(super) struct Watch {
    /// Look once, and end
    #[arg(long)]
    once: bool,
    #[command(flatten)]
    output: OutputArgs,
}

impl Watch {
    pub(super) fn run(self, context: &Context) -> Result<Exit, CliError> {
        let Self { once, output } = self;
        let on_terminal = io::stdout().is_terminal();
        loop {
            let status = status(context)?;
            match output.output {
                Format::Json => print_json(&status)?,
                Format::Table if once || on_terminal => {
                    if !once {
                        let mut out = io::stdout().lock();
                        write!(out, "{CLEAR}").map_err(PrintError::from)?;
                    }
                    print_status(&status)?;
                    print_line("")?;
                    view::print_figures(&status)?;
                }
                Format::Table => print_line(view::line(&status))?,
            }
            if once {
                return Ok(Exit::Done);
            }
            std::thread::sleep(Duration::from_secs(1));
        }
    }
}
