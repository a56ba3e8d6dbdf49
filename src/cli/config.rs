//! `sluice config check|show`.

use clap::Subcommand;

use super::{CliError, Context, Exit, Format, OutputArgs, print_json, print_line, print_table};
use crate::config::{require_smart_path, show};
use crate::daemon;
use crate::server::Access;
use crate::sink;
use crate::upstream;

/// `sluice config`
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Say whether `sluice run` would start with these settings
    Check,
    /// Print every setting with the layer it came from; secrets are not shown
    Show(OutputArgs),
}

impl Args {
    pub(super) fn run(self, context: &Context) -> Result<Exit, CliError> {
        match self.action {
            Action::Check => check(context),
            Action::Show(args) => print_settings(context, args),
        }
    }
}

fn check(context: &Context) -> Result<Exit, CliError> {
    let loaded = context.load()?;
    require_smart_path(&loaded)?;
    let settings = &loaded.settings;
    // The key of the hasher does not matter for whether rules can be used.
    daemon::check(settings).map_err(|error| super::run::assembly_error(&loaded, &error))?;
    Access::new(settings.server.listen, settings.server.token_file.as_deref())
        .map_err(|error| CliError::from_error(Exit::BadSettings, error))?;
    for (name, upstream) in &settings.upstreams {
        upstream::check_trust(name, upstream).map_err(|error| CliError::from_error(Exit::BadSettings, error))?;
    }
    sink::check(settings).map_err(|error| super::run::sink_error(&loaded, &error))?;
    let topics: usize = settings.monitors.values().map(|monitor| monitor.topics.len()).sum();
    let source = match &loaded.file {
        Some(path) => path.display().to_string(),
        None => "no settings file, built-in defaults".to_owned(),
    };
    let summary = format!(
        "ok: {source}: {}, {}, {}{}",
        counted(settings.upstreams.len(), "upstream"),
        counted(settings.monitors.len(), "monitor"),
        counted(topics, "topic"),
        match settings.sinks.len() {
            0 => String::new(),
            sinks => format!(", {}", counted(sinks, "sink")),
        }
    );
    print_line(summary)?;
    if settings.monitors.is_empty() {
        print_line(
            "note: there is no monitor yet, and `sluice run` wants one; README.md shows how to add it".to_owned(),
        )?;
    }
    Ok(Exit::Done)
}

fn print_settings(context: &Context, args: OutputArgs) -> Result<Exit, CliError> {
    let rows = show(&context.load()?);
    match args.output {
        Format::Json => print_json(&rows)?,
        Format::Table => {
            let shown = rows.into_iter().map(|row| {
                let value = match row.value {
                    serde_json::Value::Null => "-".to_owned(),
                    serde_json::Value::String(text) => text,
                    other => other.to_string(),
                };
                [row.key, value, row.origin]
            });
            print_table(["SETTING", "VALUE", "SET BY"], shown)?;
        }
    }
    Ok(Exit::Done)
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}
