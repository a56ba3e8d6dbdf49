//! `sluice config check|show|set|unset|plan|infer|doctor`.

use std::io::{self, Write as _};
use std::path::PathBuf;

use clap::Subcommand;
use serde_json::json;

use super::api::{self, CHANGE_PATIENCE};
use super::{CliError, Context, Exit, Format, OutputArgs, change, print_json, print_line, print_table};
use crate::config::{Base, Fitted, KeyPath, Loaded, RunTimeLayer, RunTimeRefusal, show};
use crate::credentials::Credentials;
use crate::daemon;
use crate::enrich;
use crate::server::{Access, Changed, ProposedFile};
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
    /// Set one setting of the running daemon; it stays set over restarts
    Set(Set),
    /// Take back what was set at run time of a key and of everything inside it
    Unset(Unset),
    /// Say what another settings file would do to the running daemon
    Plan(PlanArgs),
    /// Dial every upstream and sink, and look at disk, files, clock and port: what works, what does not, and what to do
    Doctor(super::doctor::Args),
    /// Propose how to declare a feed that nobody has described, out of a recording of it
    Infer(super::infer::Args),
}

#[derive(Debug, clap::Args)]
struct Set {
    /// Which, such as log.level or monitors.NAME.topics
    key: String,
    /// Its value, written as --set takes it
    value: String,
    /// Only say what it would do
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Debug, clap::Args)]
struct Unset {
    /// Which
    key: String,
    /// Only say what it would do
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Debug, clap::Args)]
struct PlanArgs {
    /// The file
    file: PathBuf,
    #[command(flatten)]
    output: OutputArgs,
}

impl Args {
    pub(super) fn run(self, context: &Context) -> Result<Exit, CliError> {
        match self.action {
            Action::Check => check(context),
            Action::Show(args) => print_settings(context, args),
            Action::Set(args) => args.run(context),
            Action::Unset(args) => args.run(context),
            Action::Plan(args) => args.run(context),
            Action::Infer(args) => args.run(),
            Action::Doctor(args) => args.run(context),
        }
    }
}

impl Set {
    fn run(self, context: &Context) -> Result<Exit, CliError> {
        let Self { key, value, dry_run, output } = self;
        let path = KeyPath::parse(&key)
            .ok_or_else(|| CliError::from_error(Exit::Usage, RunTimeRefusal::NoKey(key.escape_debug().to_string())))?;
        let body = json!({ "value": RunTimeLayer::value_of_text(&path, &value) }).to_string();
        change_key(context, ("PUT", &path), Some(&body), dry_run, output)
    }
}

impl Unset {
    fn run(self, context: &Context) -> Result<Exit, CliError> {
        let Self { key, dry_run, output } = self;
        let path = KeyPath::parse(&key)
            .ok_or_else(|| CliError::from_error(Exit::Usage, RunTimeRefusal::NoKey(key.escape_debug().to_string())))?;
        change_key(context, ("DELETE", &path), None, dry_run, output)
    }
}

fn change_key(
    context: &Context,
    (method, key): (&str, &KeyPath),
    body: Option<&str>,
    dry_run: bool,
    output: OutputArgs,
) -> Result<Exit, CliError> {
    let path = format!("/api/v1/settings/{}?dry_run={dry_run}", api::in_path(&key.to_string()));
    let answer = api::send_patiently(context, method, &path, body.map(str::as_bytes), CHANGE_PATIENCE)?;
    let changed: Changed = change::read(&answer)?;
    change::print(&changed, output.output)?;
    Ok(Exit::Done)
}

impl PlanArgs {
    fn run(self, context: &Context) -> Result<Exit, CliError> {
        let text = std::fs::read_to_string(&self.file).map_err(|error| {
            CliError::new(Exit::BadSettings, format!("settings file {} cannot be read", self.file.display()), error)
        })?;
        let body = json!(ProposedFile { file: self.file.display().to_string(), text }).to_string();
        let answer = api::send_patiently(context, "POST", "/api/v1/plan", Some(body.as_bytes()), CHANGE_PATIENCE)?;
        let changed: Changed = change::read(&answer)?;
        change::print(&changed, self.output.output)?;
        Ok(Exit::Done)
    }
}

/// Whether a daemon would start with these settings.
pub(super) fn check_loaded(loaded: &Loaded) -> Result<(), CliError> {
    let settings = &loaded.settings;
    // The key of the hasher does not matter for whether rules can be used.
    daemon::check(settings).map_err(|error| super::run::assembly_error(loaded, &error))?;
    Access::new(&settings.server).map_err(|error| CliError::from_error(Exit::BadSettings, error))?;
    for (name, upstream) in &settings.upstreams {
        // What a running daemon waits for, since it may come, is said here: that a secret is not there.
        let checked = upstream::check_trust(name, upstream, settings)
            .and_then(|()| Ok(Credentials::check(name, upstream, &settings.pool)?));
        checked.map_err(|error| {
            CliError::plain(Exit::BadSettings, format!("{}: {error}", loaded.origins.nearest(&error.key())))
        })?;
    }
    enrich::check(settings).map_err(|error| {
        CliError::plain(Exit::BadSettings, format!("{}: {error}", loaded.origins.nearest(&error.key())))
    })?;
    sink::check(settings).map_err(|error| super::run::sink_error(loaded, &error))
}

fn check(context: &Context) -> Result<Exit, CliError> {
    let loaded = context.load()?;
    check_loaded(&loaded)?;
    let settings = &loaded.settings;
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

/// Settings with what operators have set at run time, as far as it fits.
pub(super) fn fitted(base: &Base, run_time: &RunTimeLayer) -> Result<Fitted, CliError> {
    let data_dir = base.with(run_time)?.settings.daemon.data_dir;
    let run_time = daemon::run_time_layer(&data_dir);
    // Settings that no daemon would start with are shown too.
    Ok(base.fit(&run_time, daemon::usable).or_else(|_| base.fit(&run_time, |_| Ok(())))?)
}

fn print_settings(context: &Context, args: OutputArgs) -> Result<Exit, CliError> {
    let options = context.options()?;
    let base = Base::read(&options)?;
    let fitted = fitted(&base, &options.run_time)?;
    for left in &fitted.left_out {
        // Beside the data: its loss costs nothing.
        writeln!(io::stderr().lock(), "note: set at run time and left out: `{}`: {}", left.key, left.reason).ok();
    }
    let rows = show(&fitted.loaded);
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
