//! `sluice alerts`: what a person should know of; seeing to it, silencing it; the rules.

use std::fmt::Display;

use super::{
    CliError, Context, Exit, Format, OutputArgs, api, change, notifications, print_json, print_line, print_table,
};
use crate::alert::rules::Side;
use crate::alert::silence::{Pattern, Silence};
use crate::alert::{AlertStatus, Severity};
use crate::server::{
    AcknowledgeRequest, AlertCounts, AlertRow, AlertSummary, ResolveRequest, RuleRow, RuleSubject, SilenceRequest,
};

/// Where they are.
const PATH: &str = "/api/v1/monitoring/alerts";

/// `sluice alerts`
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Args {
    #[command(flatten)]
    output: OutputArgs,
    #[command(subcommand)]
    command: Option<Command>,
}

// Not a doc comment: clap would print it as what the command does.
#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Alerts, newest first; those that are not over, where nothing else is asked for
    List(List),
    /// One alert with all that is known of it
    Show(One),
    /// Say that you see to an alert
    Ack(Ack),
    /// Say that an alert is over
    Resolve(Resolve),
    /// How many alerts there are, by severity and type
    Summary(Printed),
    /// The rules as they are in force, and what each sees now
    Rules(Rules),
    /// Have nobody told of some alerts for a while; they are recorded all the same
    Silence(NewSilence),
    /// End a silence before its time
    Unsilence(One),
    /// Silences in force
    Silences(Printed),
    /// Try a channel, or how alerts of a type are told: sends a notice that says that it is a test
    Test(notifications::Test),
    /// What became of notices, newest first
    Deliveries(notifications::Deliveries),
}

#[derive(Debug, clap::Args)]
struct Printed {
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Debug, clap::Args)]
struct List {
    /// Where they stand: open, acknowledged, resolved; may be repeated
    #[arg(long, value_enum)]
    status: Vec<Status>,
    /// All, those that are over too
    #[arg(long, conflicts_with = "status")]
    all: bool,
    /// Of which type, such as `SINK_DOWN`, or found by which own rule; may be repeated
    #[arg(long = "type", value_name = "TYPE")]
    types: Vec<String>,
    /// How bad; may be repeated
    #[arg(long, value_enum)]
    severity: Vec<SeverityArg>,
    /// About what: a name, with * for any run of characters; may be repeated
    #[arg(long)]
    subject: Vec<String>,
    /// Opened then or later: 2026-11-20T12:00:00Z, or 24h ago as 24h
    #[arg(long)]
    since: Option<String>,
    /// At most so many
    #[arg(long)]
    limit: Option<usize>,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Status {
    Open,
    Acknowledged,
    Resolved,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum SeverityArg {
    Info,
    Warning,
    Critical,
}

impl From<SeverityArg> for Severity {
    fn from(severity: SeverityArg) -> Self {
        match severity {
            SeverityArg::Info => Self::Info,
            SeverityArg::Warning => Self::Warning,
            SeverityArg::Critical => Self::Critical,
        }
    }
}

#[derive(Debug, clap::Args)]
struct One {
    /// Which: its id, or as much of its end as only it has
    id: String,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Debug, clap::Args)]
struct Ack {
    #[command(flatten)]
    one: One,
    /// Who sees to it [default: the user of this shell]
    #[arg(long)]
    by: Option<String>,
    /// What is to be noted
    #[arg(long)]
    notes: Option<String>,
}

#[derive(Debug, clap::Args)]
struct Resolve {
    #[command(flatten)]
    one: One,
    /// Who says so [default: the user of this shell]
    #[arg(long)]
    by: Option<String>,
    /// How it was resolved
    #[arg(long)]
    resolution: Option<String>,
}

#[derive(Debug, clap::Args)]
struct Rules {
    /// Only this one, with each subject
    rule: Option<String>,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Debug, clap::Args)]
struct NewSilence {
    /// Of which rule: a type such as `SINK_DOWN`, or an own rule's name, with * for any run of characters
    #[arg(long, required_unless_present_any = ["subject", "severity"])]
    rule: Option<String>,
    /// About what: a name, with * for any run of characters
    #[arg(long)]
    subject: Option<String>,
    /// How bad
    #[arg(long, value_enum)]
    severity: Option<SeverityArg>,
    /// How long, such as 2h; or until when, such as 2026-11-20T12:00:00Z
    #[arg(long = "for", visible_alias = "until", value_name = "TIME")]
    until: String,
    /// Why
    #[arg(long)]
    reason: Option<String>,
    /// Who wants it [default: the user of this shell]
    #[arg(long)]
    by: Option<String>,
    #[command(flatten)]
    output: OutputArgs,
}

impl Args {
    pub(super) fn run(self, context: &Context) -> Result<Exit, CliError> {
        match self.command {
            None => print_live(context, self.output.output),
            Some(Command::List(list)) => list.run(context),
            Some(Command::Show(one)) => one.show(context),
            Some(Command::Ack(ack)) => ack.run(context),
            Some(Command::Resolve(resolve)) => resolve.run(context),
            Some(Command::Summary(printed)) => summary(context, printed.output.output),
            Some(Command::Rules(rules)) => rules.run(context),
            Some(Command::Silence(silence)) => silence.run(context),
            Some(Command::Unsilence(one)) => one.unsilence(context),
            Some(Command::Silences(printed)) => silences(context, printed.output.output),
            Some(Command::Test(test)) => test.run(context),
            Some(Command::Deliveries(deliveries)) => deliveries.run(context),
        }
    }
}

/// Who asks, as far as the shell says.
fn user(given: Option<String>) -> Option<String> {
    given.or_else(|| std::env::var("USER").ok().filter(|user| !user.is_empty()))
}

fn body(request: &impl serde::Serialize) -> Result<Vec<u8>, CliError> {
    serde_json::to_vec(request).map_err(|error| CliError::new(Exit::No, "the request cannot be written", error))
}

fn print_live(context: &Context, format: Format) -> Result<Exit, CliError> {
    print_rows(&rows(context, "?status=open&status=acknowledged")?, format)
}

fn rows(context: &Context, query: &str) -> Result<Vec<AlertRow>, CliError> {
    change::read(&api::get(context, &format!("{PATH}{query}"))?)
}

impl List {
    fn run(self, context: &Context) -> Result<Exit, CliError> {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        let live = self.status.is_empty() && !self.all;
        let statuses = if live { vec![Status::Open, Status::Acknowledged] } else { self.status };
        for status in statuses {
            query.append_pair(
                "status",
                match status {
                    Status::Open => "open",
                    Status::Acknowledged => "acknowledged",
                    Status::Resolved => "resolved",
                },
            );
        }
        query.extend_pairs(self.types.iter().map(|name| ("type", name)));
        query.extend_pairs(self.severity.iter().map(|severity| ("severity", Severity::from(*severity).as_str())));
        query.extend_pairs(self.subject.iter().map(|subject| ("subject", subject)));
        query.extend_pairs(self.since.iter().map(|since| ("since", since)));
        query.extend_pairs(self.limit.iter().map(|limit| ("limit", limit.to_string())));
        print_rows(&rows(context, &format!("?{}", query.finish()))?, self.output.output)
    }
}

fn print_rows(rows: &[AlertRow], format: Format) -> Result<Exit, CliError> {
    if format == Format::Json {
        print_json(&rows)?;
        return Ok(Exit::Done);
    }
    if rows.is_empty() {
        print_line("no alerts")?;
        return Ok(Exit::Done);
    }
    let header = ["ID", "SEVERITY", "STATUS", "TYPE", "SUBJECT", "SINCE"];
    let shown = rows.iter().map(|row| {
        let alert = &row.alert;
        [
            short(&alert.id).to_owned(),
            alert.severity.as_str().to_owned(),
            status(row),
            if row.rule.is_empty() { alert.kind.as_str().to_owned() } else { row.rule.clone() },
            alert.subject.clone(),
            moment(&alert.created_at),
        ]
    });
    print_table(header, shown)?;
    // Below, where they have room.
    for row in rows {
        print_line(format!("{}: {}", short(&row.alert.id), row.alert.message))?;
    }
    Ok(Exit::Done)
}

/// Enough of an id to tell it from others: ids begin with the time and end by chance.
fn short(id: &str) -> &str {
    id.get(id.len().saturating_sub(8)..).unwrap_or(id)
}

/// To the second.
fn moment(time: &str) -> String {
    match time.split_once('.') {
        Some((seconds, _)) => format!("{seconds}Z"),
        None => time.to_owned(),
    }
}

fn status(row: &AlertRow) -> String {
    let word = match row.alert.status {
        AlertStatus::Open => "open",
        AlertStatus::Acknowledged => "acked",
        AlertStatus::Resolved => "resolved",
    };
    match row.withheld {
        Some(crate::alert::book::Withheld::Cooldown) => format!("{word}, cooldown"),
        Some(crate::alert::book::Withheld::Silence) => format!("{word}, silenced"),
        None => word.to_owned(),
    }
}

/// The whole id of which an end is given.
fn whole_id(context: &Context, given: &str) -> Result<String, CliError> {
    if given.len() >= 36 {
        return Ok(given.to_owned());
    }
    if given.is_empty() {
        return Err(CliError::plain(
            Exit::Usage,
            "an id is wanted, or its end; `sluice alerts list` has them".to_owned(),
        ));
    }
    let rows = rows(context, "?limit=10000")?;
    let mut ids = rows.iter().map(|row| &row.alert.id).filter(|id| id.ends_with(given));
    match (ids.next(), ids.next()) {
        (Some(id), None) => Ok(id.clone()),
        (Some(_), Some(_)) => Err(CliError::plain(
            Exit::Usage,
            format!("several alerts have an id that ends in `{given}`; give more of it"),
        )),
        (None, _) => {
            let error = format!("there is no alert whose id ends in `{given}`; `sluice alerts list --all` lists them");
            Err(CliError::plain(Exit::No, error))
        }
    }
}

impl One {
    fn show(self, context: &Context) -> Result<Exit, CliError> {
        let path = format!("{PATH}/{}", api::in_path(&whole_id(context, &self.id)?));
        let row: AlertRow = change::read(&api::get(context, &path)?)?;
        match self.output.output {
            Format::Json => print_json(&row)?,
            Format::Table => print_one(&row)?,
        }
        Ok(Exit::Done)
    }

    fn unsilence(self, context: &Context) -> Result<Exit, CliError> {
        let known: Vec<Silence> = change::read(&api::get(context, &format!("{PATH}/silences"))?)?;
        let mut ids = known.iter().map(|silence| &silence.id).filter(|id| id.ends_with(&self.id));
        let id = match (ids.next(), ids.next()) {
            (Some(id), None) => id.clone(),
            _ => self.id,
        };
        let path = format!("{PATH}/silences/{}", api::in_path(&id));
        let answer = api::send_patiently(context, "DELETE", &path, None, api::CHANGE_PATIENCE)?;
        let silence: Silence = change::read(&answer)?;
        match self.output.output {
            Format::Json => print_json(&silence)?,
            Format::Table => print_line(format!("silence {} has ended", short(&silence.id)))?,
        }
        Ok(Exit::Done)
    }
}

fn print_one(row: &AlertRow) -> Result<(), CliError> {
    let alert = &row.alert;
    let optional = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".into());
    let lines = [
        ("id", alert.id.clone()),
        ("type", alert.kind.as_str().to_owned()),
        ("rule", row.rule.clone()),
        ("severity", alert.severity.as_str().to_owned()),
        ("status", status(row)),
        ("subject", alert.subject.clone()),
        ("message", alert.message.clone()),
        ("value", number(alert.value)),
        ("threshold", number(alert.threshold)),
        ("opened", alert.created_at.clone()),
        ("told", optional(&row.told_at)),
        ("acknowledged", optional(&alert.acknowledged_at)),
        ("acknowledged by", optional(&alert.acknowledged_by)),
        ("notes", optional(&alert.notes)),
        ("resolved", optional(&alert.resolved_at)),
        ("resolved by", optional(&alert.resolved_by)),
        ("resolution", optional(&alert.resolution)),
    ];
    for (name, value) in lines {
        print_line(format!("{name:<16} {value}"))?;
    }
    for delivery in &alert.notifications {
        let occasion = serde_json::to_value(delivery.occasion).unwrap_or_default();
        let outcome = serde_json::to_value(delivery.outcome).unwrap_or_default();
        let word = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        let error = delivery.error.as_ref().map_or_else(String::new, |error| format!(": {error}"));
        let (channel, at) = (&delivery.channel, moment(&delivery.at));
        print_line(format!("{at} {channel} {} {}{error}", word(&occasion), word(&outcome)))?;
    }
    Ok(())
}

impl Ack {
    fn run(self, context: &Context) -> Result<Exit, CliError> {
        let request = AcknowledgeRequest { acknowledged_by: user(self.by), notes: self.notes };
        change_one(context, &self.one, "acknowledge", &request, "is acknowledged")
    }
}

impl Resolve {
    fn run(self, context: &Context) -> Result<Exit, CliError> {
        let request = ResolveRequest { resolved_by: user(self.by), resolution: self.resolution };
        change_one(context, &self.one, "resolve", &request, "is resolved")
    }
}

fn change_one(
    context: &Context,
    one: &One,
    action: &str,
    request: &impl serde::Serialize,
    done: &str,
) -> Result<Exit, CliError> {
    let path = format!("{PATH}/{}/{action}", api::in_path(&whole_id(context, &one.id)?));
    let answer = api::send_patiently(context, "POST", &path, Some(&body(request)?), api::CHANGE_PATIENCE)?;
    let row: AlertRow = change::read(&answer)?;
    match one.output.output {
        Format::Json => print_json(&row)?,
        Format::Table => {
            print_line(format!("{} of {} {done}", row.alert.kind.as_str(), row.alert.subject))?;
        }
    }
    Ok(Exit::Done)
}

fn summary(context: &Context, format: Format) -> Result<Exit, CliError> {
    let summary: AlertSummary = change::read(&api::get(context, &format!("{PATH}/summary"))?)?;
    if format == Format::Json {
        print_json(&summary)?;
        return Ok(Exit::Done);
    }
    let row = |name: &str, counts: &AlertCounts| {
        [name.to_owned(), counts.open.to_string(), counts.acknowledged.to_string(), counts.resolved.to_string()]
    };
    // The worst first.
    let order = [Severity::Critical, Severity::Warning, Severity::Info].map(Severity::as_str);
    let by_severity = order.iter().filter_map(|name| Some(row(name, summary.by_severity.get(*name)?)));
    print_table(["SEVERITY", "OPEN", "ACKED", "RESOLVED"], by_severity.chain([row("all", &summary.total)]))?;
    if !summary.by_type.is_empty() {
        print_line("")?;
        let by_type = summary.by_type.iter().map(|(name, counts)| row(name, counts));
        print_table(["TYPE", "OPEN", "ACKED", "RESOLVED"], by_type)?;
    }
    let AlertSummary { suppressed, silenced, silences, .. } = summary;
    print_line(format!("in cooldown: {suppressed}, silenced: {silenced}, silences: {silences}"))?;
    Ok(Exit::Done)
}

impl Rules {
    fn run(self, context: &Context) -> Result<Exit, CliError> {
        let mut rows: Vec<RuleRow> = change::read(&api::get(context, &format!("{PATH}/rules"))?)?;
        if let Some(wanted) = &self.rule {
            rows.retain(|row| row.rule.eq_ignore_ascii_case(wanted));
            if rows.is_empty() {
                let error = format!("there is no rule `{wanted}`; `sluice alerts rules` lists them");
                return Err(CliError::plain(Exit::No, error));
            }
        }
        match (self.output.output, self.rule) {
            (Format::Json, _) => print_json(&rows)?,
            (Format::Table, None) => print_rules(&rows)?,
            (Format::Table, Some(_)) => rows.iter().try_for_each(print_rule)?,
        }
        Ok(Exit::Done)
    }
}

fn limit(row: &RuleRow) -> String {
    let sign = if row.side == Side::Above { '>' } else { '<' };
    let unit = if row.unit == "0 or 1" { "" } else { row.unit.as_str() };
    format!("{sign} {} {unit}", number(row.threshold)).trim_end().to_owned()
}

/// The worst of what a rule sees.
fn worst(row: &RuleRow) -> Option<&RuleSubject> {
    let rank = |subject: &RuleSubject| match subject.state.as_str() {
        "open" => 0,
        "acknowledged" => 1,
        "pending" => 2,
        _ => 3,
    };
    let value = |subject: &RuleSubject| subject.value.unwrap_or(f64::NEG_INFINITY);
    let by_side = |a: &RuleSubject, b: &RuleSubject| match row.side {
        Side::Above => value(b).total_cmp(&value(a)),
        Side::Below => value(a).total_cmp(&value(b)),
    };
    row.subjects.iter().min_by(|a, b| rank(a).cmp(&rank(b)).then_with(|| by_side(a, b)))
}

fn print_rules(rows: &[RuleRow]) -> Result<(), CliError> {
    let shown = rows.iter().map(|row| {
        let worst = worst(row);
        let state = match worst {
            _ if !row.enabled => "off".to_owned(),
            Some(subject) => subject.state.clone(),
            None => "-".to_owned(),
        };
        let value = worst.and_then(|subject| subject.value).map_or_else(|| "-".into(), number);
        [row.rule.clone(), limit(row), value, state, row.subjects.len().to_string()]
    });
    print_table(["RULE", "LIMIT", "WORST", "STATE", "SUBJECTS"], shown).map_err(CliError::from)
}

fn print_rule(row: &RuleRow) -> Result<(), CliError> {
    let lines: [(&str, &dyn Display); 7] = [
        ("rule", &row.rule),
        ("when", &row.what),
        ("limit", &limit(row)),
        ("for", &format!("{} s", row.lasts)),
        ("window", &format!("{} s", row.window_seconds)),
        ("severity", &row.severity.as_str()),
        ("cooldown", &format!("{} s", row.cooldown_seconds)),
    ];
    for (name, value) in lines {
        print_line(format!("{name:<10} {value}"))?;
    }
    let subjects = row.subjects.iter().map(|subject| {
        let value = subject.value.map_or_else(|| "-".into(), number);
        [subject.subject.clone(), value, subject.state.clone()]
    });
    print_table(["SUBJECT", "VALUE", "STATE"], subjects).map_err(CliError::from)
}

/// As short as it says enough.
fn number(value: f64) -> String {
    if value.fract().abs() < 1e-9 || value.abs() >= 1000.0 { format!("{value:.0}") } else { format!("{value:.2}") }
}

impl NewSilence {
    fn run(self, context: &Context) -> Result<Exit, CliError> {
        let request = SilenceRequest {
            rule: self.rule.map(Pattern::new),
            subject: self.subject.map(Pattern::new),
            severity: self.severity.map(Severity::from),
            until: self.until,
            reason: self.reason,
            by: user(self.by),
        };
        let path = format!("{PATH}/silences");
        let answer = api::send_patiently(context, "POST", &path, Some(&body(&request)?), api::CHANGE_PATIENCE)?;
        let silence: Silence = change::read(&answer)?;
        match self.output.output {
            Format::Json => print_json(&silence)?,
            Format::Table => {
                print_line(format!("silence {} is in force until {}", short(&silence.id), moment(&silence.until)))?;
            }
        }
        Ok(Exit::Done)
    }
}

fn silences(context: &Context, format: Format) -> Result<Exit, CliError> {
    let silences: Vec<Silence> = change::read(&api::get(context, &format!("{PATH}/silences"))?)?;
    if format == Format::Json {
        print_json(&silences)?;
        return Ok(Exit::Done);
    }
    if silences.is_empty() {
        print_line("no silences")?;
        return Ok(Exit::Done);
    }
    let any = |pattern: &Option<Pattern>| pattern.as_ref().map_or_else(|| "*".into(), ToString::to_string);
    let shown = silences.iter().map(|silence| {
        [
            short(&silence.id).to_owned(),
            any(&silence.rule),
            any(&silence.subject),
            silence.severity.map_or("*", Severity::as_str).to_owned(),
            moment(&silence.until),
            silence.by.clone().unwrap_or_else(|| "-".into()),
        ]
    });
    print_table(["ID", "RULE", "SUBJECT", "SEVERITY", "UNTIL", "BY"], shown)?;
    for silence in &silences {
        if let Some(reason) = &silence.reason {
            print_line(format!("{}: {reason}", short(&silence.id)))?;
        }
    }
    Ok(Exit::Done)
}
