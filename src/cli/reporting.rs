//! What commands that compare share: in which form they report, where to, how far they are, and what they may take.

use std::io::{self, IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;
use tokio::time::Instant;

use super::exit::PrintError;
use super::run::journal_error;
use super::{CliError, Context, Exit, Format, OutputArgs};
use crate::config::ByteSize;
use crate::config::units::parse_duration;
use crate::journal::{self, JournalError, JournalReader};
use crate::recovery::compare::{CompareError, Join, PayloadForm, Progress, SourceError, Workroom};
use crate::report::{Report, ReportFormat};

/// Time between two lines of progress.
const LINE_INTERVAL: Duration = Duration::from_secs(1);

/// How a report is given.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct ReportArgs {
    /// In which form to report [default: table]
    #[arg(long, value_enum, value_name = "FORMAT")]
    format: Option<ReportFormat>,
    /// Write the report to this file
    #[arg(long, value_name = "FILE")]
    report_to: Option<PathBuf>,
    #[command(flatten)]
    output: OutputArgs,
}

impl ReportArgs {
    /// The form; `--output json` means the same as `--format json`.
    pub(super) fn format(&self) -> Result<ReportFormat, CliError> {
        match (self.format, self.output.output) {
            (None | Some(ReportFormat::Json), Format::Json) => Ok(ReportFormat::Json),
            (Some(_), Format::Json) => {
                Err(CliError::plain(Exit::Usage, "`--output json` and another `--format` do not go together"))
            }
            (format, Format::Table) => Ok(format.unwrap_or_default()),
        }
    }

    /// Whether it goes to the terminal as a table.
    pub(super) fn is_table_here(&self) -> Result<bool, CliError> {
        Ok(self.report_to.is_none() && self.format()? == ReportFormat::Table)
    }

    /// Gives a report; `value` is what programs get.
    pub(super) fn give(&self, report: &Report, value: &impl Serialize) -> Result<(), CliError> {
        let text = report.render(self.format()?, value);
        let text = text.map_err(|error| CliError::new(Exit::No, "the report cannot be written", error))?;
        if let Some(path) = &self.report_to {
            let written = std::fs::write(path, text);
            return written
                .map_err(|error| CliError::new(Exit::Usage, format!("cannot write {}", path.display()), error));
        }
        let mut out = io::stdout().lock();
        let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
        written.map_err(|error| PrintError::from(error).into())
    }
}

/// How payloads are compared, on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum PayloadArg {
    /// To the byte
    Bytes,
    /// As JSON values
    Json,
    /// Not at all
    None,
}

/// What events are joined by, on the command line.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum JoinArg {
    /// Their ids, and where they have none, their payloads
    #[default]
    Id,
    /// Their payloads
    Payload,
}

/// How two sides are compared.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct ComparingArgs {
    /// What makes two events the same
    #[arg(long, value_enum, default_value_t, value_name = "WHAT")]
    join: JoinArg,
    /// How payloads are compared [default: to the byte; as JSON where the store takes them apart]
    #[arg(long, value_enum, value_name = "HOW")]
    payload: Option<PayloadArg>,
    /// How far outside of the span the other side's event may lie
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = parse_duration)]
    pub(super) tolerance: Duration,
    /// Differences of each kind to show
    #[arg(long, value_name = "N", default_value_t = 20)]
    examples: usize,
    /// Memory for what is compared; more goes to files without a name
    #[arg(long, value_name = "SIZE", default_value = "64MiB")]
    memory: ByteSize,
    /// The folder of these files [default: the data folder]
    #[arg(long, value_name = "FOLDER")]
    tmp: Option<PathBuf>,
    /// Say how far it is, also where nobody looks on
    #[arg(long)]
    progress: bool,
}

impl Default for ComparingArgs {
    /// As the command line has them where nothing is said.
    fn default() -> Self {
        Self {
            join: JoinArg::default(),
            payload: None,
            tolerance: Duration::from_secs(10),
            examples: 20,
            memory: ByteSize(64 << 20),
            tmp: None,
            progress: false,
        }
    }
}

impl ComparingArgs {
    pub(super) fn join(&self) -> Join {
        match self.join {
            JoinArg::Id => Join::Id,
            JoinArg::Payload => Join::Payload,
        }
    }

    pub(super) fn payload(&self) -> Option<PayloadForm> {
        Some(match self.payload? {
            PayloadArg::Bytes => PayloadForm::Bytes,
            PayloadArg::Json => PayloadForm::Json,
            PayloadArg::None => PayloadForm::Ignored,
        })
    }

    pub(super) fn room(&self, context: &Context) -> Result<Workroom, CliError> {
        let folder = match &self.tmp {
            Some(folder) if !folder.is_dir() => {
                return Err(CliError::plain(Exit::Usage, format!("there is no folder {}", folder.display())));
            }
            Some(folder) => folder.clone(),
            None => context.load()?.settings.daemon.data_dir,
        };
        Ok(Workroom { folder, memory: self.memory, examples: self.examples })
    }

    pub(super) fn shown(&self) -> Shown {
        Shown { bar: None, doing: String::new(), lines: self.progress, told: Instant::now() }
    }
}

/// How far it is: a bar on a terminal, lines where they are asked for. Beside the data: its loss costs nothing.
pub(super) struct Shown {
    bar: Option<ProgressBar>,
    doing: String,
    lines: bool,
    told: Instant,
}

impl Shown {
    pub(super) fn look(&mut self, progress: Progress<'_>) {
        let begins = self.doing != progress.doing;
        if begins {
            progress.doing.clone_into(&mut self.doing);
        }
        let ends = progress.total == Some(progress.done);
        if io::stderr().is_terminal() {
            let bar = self.bar.get_or_insert_with(|| {
                let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
                let style = ProgressStyle::with_template("{wide_bar} {percent:>3}% {msg}");
                bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
                bar
            });
            match progress.total {
                Some(total) => bar.set_length(total),
                None => bar.unset_length(),
            }
            bar.set_position(progress.done);
            bar.set_message(format!("{}, {} records", progress.doing, progress.records));
        } else if self.lines && (begins || ends || self.told.elapsed() >= LINE_INTERVAL) {
            self.told = Instant::now();
            let share = match progress.total {
                Some(total) if total > 0 => format!(", {} %", progress.done.min(total) * 100 / total),
                _ => String::new(),
            };
            writeln!(io::stderr().lock(), "{}: {} records{share}", progress.doing, progress.records).ok();
        }
    }

    pub(super) fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// Why nothing was compared. Never the code of a difference.
pub(super) fn compare_error(error: CompareError) -> CliError {
    match error {
        CompareError::Source(error) => source_error(error),
        CompareError::Spill(error) => CliError::from_error(Exit::Unreachable, error),
    }
}

/// Why a source cannot be read.
pub(super) fn source_error(error: SourceError) -> CliError {
    match error {
        SourceError::Mapping(text) => CliError::plain(Exit::Usage, text),
        SourceError::Unreachable(text) => CliError::plain(Exit::Unreachable, text),
        SourceError::Journal(error) => unreadable(error),
    }
}

/// The journal of the settings.
pub(super) fn journal_of(context: &Context) -> Result<JournalReader, CliError> {
    let data_dir = context.load()?.settings.daemon.data_dir;
    JournalReader::open(&journal::folder(&data_dir)).map_err(unreadable)
}

/// The journal cannot be read. Its own codes stay; where it has none, never that of a difference.
pub(super) fn unreadable(error: JournalError) -> CliError {
    match journal_error(error) {
        error if error.exit() == Exit::No => CliError::from_error(Exit::Unreachable, error),
        error => error,
    }
}
