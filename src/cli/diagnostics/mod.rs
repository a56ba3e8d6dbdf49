//! `sluice diagnostics dump`: one archive of what helps to find a fault, with and without a running daemon, and without secrets.
//!
//! | file      | is                                                              |
//! |-----------|-----------------------------------------------------------------|
//! | `bundle`  | the archive: every text goes through the scrubber on its way in |
//! | `daemon`  | what the running daemon tells                                   |
//! | `files`   | settings, journal, checkpoints, what is in the folders          |
//! | `machine` | versions, the host, the process                                 |

mod bundle;
mod daemon;
mod files;
mod machine;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Subcommand;

use self::bundle::Bundle;
use super::config::fitted;
use super::{CliError, Context, Exit, Format, OutputArgs, print_json, print_line, print_table};
use crate::config::{Base, Hidden, Loaded};
use crate::credentials::Scrubber;
use crate::journal;

/// `sluice diagnostics`
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    action: Action,
}

// Not a doc comment: clap would print it as what the command does.
#[derive(Debug, Subcommand)]
enum Action {
    /// Write the archive: settings, metrics, state, recent logs, journal, host; secrets as ***
    Dump {
        /// The file [default: sluice-diagnostics-TIME.tar.gz]
        #[arg(long, value_name = "FILE")]
        to: Option<PathBuf>,
        #[command(flatten)]
        output: OutputArgs,
    },
}

impl Args {
    pub(super) fn run(self, context: &Context) -> Result<Exit, CliError> {
        let Action::Dump { to, output } = self.action;
        let path = to.unwrap_or_else(|| {
            PathBuf::from(format!("sluice-diagnostics-{}.tar.gz", jiff::Timestamp::now().strftime("%Y-%m-%dT%H%M%SZ")))
        });
        let options = context.options()?;
        let base = Base::read(&options);
        // Bad settings are a fault to be found too.
        let loaded = match &base {
            Ok(base) => fitted(base, &options.run_time).map(|fitted| fitted.loaded),
            Err(error) => Err(CliError::plain(Exit::BadSettings, error.to_string())),
        };
        let daemon = loaded.as_ref().ok().and_then(process_of);
        let hidden = base.as_ref().map_or_else(|_| Hidden::default(), Base::hidden);
        let mut environment = options.environment.clone();
        // Its secrets may be in its answers, and be others than those of this shell.
        let of_the_daemon = daemon.map(machine::environment_of).unwrap_or_default();
        environment.extend(of_the_daemon.iter().cloned());
        let mut bundle = Bundle::new(Scrubber::new(hidden, &environment));

        files::settings(&mut bundle, &loaded);
        names_of(&mut bundle, &options.environment, &of_the_daemon);
        machine::gather(&mut bundle, loaded.as_ref().ok(), daemon);
        match &loaded {
            Ok(loaded) => {
                daemon::gather(&mut bundle, context);
                files::gather(&mut bundle, context, loaded);
            }
            Err(_) => {
                for part in ["state", "logs.txt", "metrics.txt", "journal.json", "checkpoints.json"] {
                    bundle.miss(part, "the settings cannot be used, so that nobody knows where it is");
                }
            }
        }
        bundle
            .miss("memory-profile", "this build has no heap profiler; process/smaps_rollup has what the kernel knows");
        let written = bundle.write(&path, daemon)?;
        match output.output {
            Format::Json => print_json(&written)?,
            Format::Table => {
                let rows = written.entries.iter().map(|entry| [entry.name.clone(), entry.bytes.to_string()]);
                print_table(["PART", "BYTES"], rows)?;
                for missing in &written.missing {
                    print_line(format!("not there: {}: {}", missing.name, missing.why))?;
                }
                print_line(format!(
                    "\n{}: {} bytes. Secrets are ***; look it through all the same before you send it.",
                    path.display(),
                    written.bytes
                ))?;
            }
        }
        Ok(Exit::Done)
    }
}

/// The daemon that has the journal of these settings.
fn process_of(loaded: &Loaded) -> Option<u32> {
    journal::holder_of(&journal::folder(&loaded.settings.daemon.data_dir))
}

/// Names of variables, and none of their values.
fn names_of(bundle: &mut Bundle, ours: &[(OsString, OsString)], daemon: &[(OsString, OsString)]) {
    let names = |variables: &[(OsString, OsString)]| {
        let mut names: Vec<String> = variables.iter().map(|(name, _)| name.to_string_lossy().into_owned()).collect();
        names.sort();
        names
    };
    bundle.json("environment.json", &serde_json::json!({ "command": names(ours), "daemon": names(daemon) }));
}
