//! `sluice config infer`: a declaration proposed for a recorded feed.

use std::path::PathBuf;

use super::{CliError, Exit, Format, OutputArgs, print_json, print_line};
use crate::infer::{InferError, infer};

/// `sluice config infer`
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A recording: .session.jsonl, or .jsonl of one message a line, also with .gz
    recording: PathBuf,
    /// What the dialect, the upstream and the monitor are called
    #[arg(long, value_name = "NAME", default_value = "feed", value_parser = parse_name)]
    name: String,
    #[command(flatten)]
    output: OutputArgs,
}

fn parse_name(text: &str) -> Result<String, String> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_' || byte == b'-';
    if !text.is_empty() && text.bytes().all(plain) {
        Ok(text.to_owned())
    } else {
        Err("a name has small letters, digits, `_` and `-`".to_owned())
    }
}

impl Args {
    pub(super) fn run(self) -> Result<Exit, CliError> {
        let proposal = infer(&self.recording, &self.name).map_err(|error| {
            let exit = if matches!(error, InferError::NoJson { .. }) { Exit::No } else { Exit::Usage };
            CliError::from_error(exit, error)
        })?;
        match self.output.output {
            Format::Json => print_json(&proposal.evidence())?,
            Format::Table => print_line(proposal.to_toml().trim_end())?,
        }
        Ok(Exit::Done)
    }
}
