//! `sluice replay`: writes a span of the journal into a sink anew. In the daemon where one runs, else in this process, which then
//! has the journal to itself.

use std::io::{self, IsTerminal as _, Write as _};
use std::sync::Arc;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::checkpoint::checkpoint_error;
use super::run::journal_error;
use super::{CliError, Context, Exit, Format, OutputArgs, api, print_json, print_line, print_table};
use crate::journal::{self, JournalError, JournalReader, LockedJournal, Offset};
use crate::recovery::replay::{self, Counted, Outcome, Plan, Progress, ReplayError, ReplayRequest, Scene};
use crate::server::{OperationRow, OperationState, ReplayAnswer};
use crate::sink::{AnyStore, Interest, Opening, Purpose};

/// How often progress is looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);
/// How often it is told where there is no terminal.
const LINE_INTERVAL: Duration = Duration::from_secs(2);

/// `sluice replay`
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Into this sink; needed where there are several
    #[arg(long, value_name = "NAME")]
    sink: Option<String>,
    /// From where the sink was at this checkpoint; without an id at the newest
    #[arg(long, value_name = "ID", num_args = 0..=1, default_missing_value = "newest", group = "beginning")]
    from_checkpoint: Option<String>,
    /// From this offset on
    #[arg(long, value_name = "OFFSET", group = "beginning")]
    from_offset: Option<u64>,
    /// What was received since: `5m` (ago), or RFC 3339
    #[arg(long, value_name = "TIME", group = "beginning")]
    since: Option<String>,
    /// Up to, but without, this offset; else up to what is durable when it begins
    #[arg(long, value_name = "OFFSET")]
    to_offset: Option<u64>,
    /// Into this stream, which must be empty; for sinks of kind nats
    #[arg(long, value_name = "STREAM")]
    to: Option<String>,
    /// Only this monitor (may be repeated)
    #[arg(long, value_name = "NAME")]
    monitor: Vec<String>,
    /// Say what would be written, and write nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    output: OutputArgs,
}

impl Args {
    pub(super) fn run(self, context: &Context) -> Result<Exit, CliError> {
        let output = self.output.output;
        let request = ReplayRequest {
            sink: self.sink,
            from_checkpoint: self.from_checkpoint,
            from_offset: self.from_offset,
            since: self.since,
            to_offset: self.to_offset,
            to: self.to,
            monitors: self.monitor,
            dry_run: self.dry_run,
        };
        if request.from_checkpoint.is_none() && request.from_offset.is_none() && request.since.is_none() {
            let reason = "say where to begin: --from-checkpoint [ID], --from-offset N, or --since TIME";
            return Err(CliError::plain(Exit::Usage, reason));
        }
        // Strings and numbers: serialization has nothing to refuse.
        let body = serde_json::to_vec(&request).unwrap_or_default();
        match api::send(context, "POST", "/api/v1/replay", Some(&body)) {
            Ok(answer) => {
                let answer: ReplayAnswer = serde_json::from_slice(&answer.body)
                    .map_err(|error| CliError::new(Exit::No, "the daemon's answer cannot be read", error))?;
                in_daemon(context, answer, output)
            }
            // No daemon, or none whose port is known: if there is one all the same it has the journal's lock.
            Err(error) if matches!(error.exit(), Exit::Unreachable | Exit::Usage) => here(context, &request, output),
            Err(error) => Err(error),
        }
    }
}

// --- in the daemon ---

fn in_daemon(context: &Context, answer: ReplayAnswer, output: Format) -> Result<Exit, CliError> {
    let ReplayAnswer { plan, resumed, would_write, operation } = answer;
    if let Some(counted) = would_write {
        return print_dry_run(&plan, resumed, &counted, output);
    }
    let Some(mut row) = operation else {
        return Err(CliError::plain(Exit::No, "the daemon's answer names no operation"));
    };
    let shown = Shown::begin(&plan, resumed);
    shown.note(&format!("the daemon does it (operation {}); it goes on there if this command is ended", row.id));
    while row.state == OperationState::Running {
        std::thread::sleep(LOOK_INTERVAL);
        let answer = api::get(context, &format!("/api/v1/operations/{}", row.id))?;
        row = serde_json::from_slice(&answer.body)
            .map_err(|error| CliError::new(Exit::No, "the daemon's answer cannot be read", error))?;
        shown.look(Offset(plan.from + row.done), row.events, row.waiting.as_deref());
    }
    shown.end();
    let OperationRow { outcome, error, .. } = row;
    match outcome.map(serde_json::from_value::<Outcome>) {
        Some(Ok(outcome)) => print_outcome(&outcome, output),
        _ => {
            Err(CliError::plain(Exit::No, error.unwrap_or_else(|| "the daemon does not say what became of it".into())))
        }
    }
}

// --- here ---

fn here(context: &Context, request: &ReplayRequest, output: Format) -> Result<Exit, CliError> {
    let settings = context.load()?.settings;
    let dir = journal::folder(&settings.daemon.data_dir);
    if !dir.is_dir() {
        return Err(journal_error(JournalError::NoJournal { dir }));
    }
    // Held to the end: no daemon may write, nor retention delete, meanwhile.
    let locked = LockedJournal::take(&dir).map_err(journal_error)?;
    let Some(journal) = locked.id().map_err(journal_error)? else {
        return Err(journal_error(JournalError::NoJournal { dir }));
    };
    let mut reader = JournalReader::open(&dir).map_err(journal_error)?;
    let scene = Scene { settings: &settings, journal };
    let plan = Plan::of(request, scene, &mut reader).map_err(replay_error)?;
    let Some(sink) = settings.sinks.get(&plan.sink) else {
        return Err(CliError::plain(Exit::No, format!("there is no sink `{}`", plan.sink)));
    };
    let resumed = plan.resumed;
    if request.dry_run {
        let counted = plan.count(&Interest::new(&plan.sink, sink), &mut reader).map_err(replay_error)?;
        return print_dry_run(&plan, resumed, &counted, output);
    }
    plan.keep().map_err(replay_error)?;
    let mut store =
        AnyStore::new(&plan.sink, sink, &settings).map_err(|error| CliError::from_error(Exit::BadSettings, error))?;
    let plan = Arc::new(plan);
    let opening = Opening {
        ancestors: reader.ancestors().map_err(journal_error)?.into(),
        purpose: Purpose::Replay { id: plan.id.clone(), to: plan.target.clone() },
        ..Opening::live(&plan.sink, journal)
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .map_err(|error| CliError::new(Exit::No, "threads cannot be started", error))?;
    let shown = Shown::begin(&plan, resumed);
    let (progress, stop) = (Progress::default(), CancellationToken::new());
    let outcome = runtime.block_on(async {
        let work = replay::run(&mut store, &opening, (Arc::clone(&plan), sink), reader, &progress, &stop, |_| {});
        tokio::pin!(work);
        let mut looks = tokio::time::interval(LOOK_INTERVAL);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                outcome = &mut work => break outcome,
                _ = looks.tick() => shown.look(progress.at(), progress.events(), progress.waiting().as_deref()),
                // Where signals cannot be had, Ctrl-C ends the process, which the next run recovers from.
                Ok(()) = tokio::signal::ctrl_c() => stop.cancel(),
            }
        }
    });
    // Blocking work of a store that hangs must not hold us up.
    runtime.shutdown_background();
    shown.end();
    let outcome = outcome.map_err(replay_error)?;
    plan.forget().map_err(replay_error)?;
    print_outcome(&outcome, output)
}

fn replay_error(error: ReplayError) -> CliError {
    match error {
        ReplayError::Journal(error) => journal_error(error),
        ReplayError::Checkpoint(error) => checkpoint_error(error),
        other => CliError::from_error(Exit::No, other),
    }
}

// --- what people see ---

/// A bar on a terminal, else a line now and then. Beside the data: its loss costs nothing.
struct Shown {
    bar: Option<ProgressBar>,
    from: Offset,
    to: Offset,
    began: Instant,
    told: std::cell::Cell<Instant>,
}

impl Shown {
    fn begin(plan: &Plan, resumed: bool) -> Self {
        let (from, to) = (Offset(plan.from), Offset(plan.to));
        let bar = io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::with_draw_target(Some(to.0 - from.0), ProgressDrawTarget::stderr());
            let style = ProgressStyle::with_template("{wide_bar} {percent:>3}% {msg}, {eta} left");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar
        });
        let now = Instant::now();
        let shown = Self { bar, from, to, began: now, told: std::cell::Cell::new(now) };
        let what =
            if resumed { format!("goes on with the replay begun at {}", plan.began) } else { "replay".to_owned() };
        shown.note(&format!("{what}: offsets {from} to {to} ({}) into `{}`", plan.from_what, plan.sink));
        shown
    }

    fn note(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.println(text),
            None => drop(writeln!(io::stderr().lock(), "{text}")),
        }
    }

    fn look(&self, at: Offset, events: u64, waiting: Option<&str>) {
        #[expect(clippy::cast_precision_loss, reason = "a rate has three digits")]
        let rate = events as f64 / self.began.elapsed().as_secs_f64().max(0.001);
        let done = at.max(self.from).0 - self.from.0;
        let waiting = waiting.map_or_else(String::new, |waiting| format!("; waiting: {waiting}"));
        if let Some(bar) = &self.bar {
            bar.set_position(done);
            bar.set_message(format!("{events} events, {rate:.0}/s{waiting}"));
        } else if self.told.get().elapsed() >= LINE_INTERVAL {
            self.told.set(Instant::now());
            let total = self.to.0 - self.from.0;
            self.note(&format!("{done} of {total} offsets, {events} events, {rate:.0}/s{waiting}"));
        }
    }

    fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn print_dry_run(plan: &Plan, resumed: bool, counted: &Counted, output: Format) -> Result<Exit, CliError> {
    if output == Format::Json {
        print_json(&serde_json::json!({
            "sink": plan.sink, "from_offset": plan.from, "to_offset": plan.to, "resumed": resumed,
            "events": counted.events, "monitors": counted.monitors,
        }))?;
        return Ok(Exit::Done);
    }
    let goes_on = if resumed { ", going on where it was broken off" } else { "" };
    print_line(format!(
        "would write {} events of offsets {} to {} ({}) into `{}`{goes_on}",
        counted.events, plan.from, plan.to, plan.from_what, plan.sink
    ))?;
    print_table(
        ["MONITOR", "EVENTS"],
        counted.monitors.iter().map(|(name, events)| [name.clone(), events.to_string()]),
    )?;
    Ok(Exit::Done)
}

fn print_outcome(outcome: &Outcome, output: Format) -> Result<Exit, CliError> {
    if output == Format::Json {
        print_json(outcome)?;
        return Ok(Exit::Done);
    }
    let parked = match outcome.parked {
        0 => String::new(),
        parked => format!("; {parked} of them were refused and put aside"),
    };
    let holes = match outcome.holes {
        0 => String::new(),
        holes => format!("; {holes} offsets are holes in the journal"),
    };
    print_line(format!(
        "replayed {} events of offsets {} to {} into `{}` in {:.1} s ({:.0}/s){parked}{holes}",
        outcome.events, outcome.from_offset, outcome.to_offset, outcome.sink, outcome.seconds, outcome.rate
    ))?;
    Ok(Exit::Done)
}
