//! `sluice gaps fill`: has the running daemon fetch what was not seen.

use super::{CliError, Context, Exit, Format, OutputArgs, api, change, print_json, print_line, print_table};
use crate::server::{FillRequest, FillRow};

/// `sluice gaps fill`
#[derive(Debug, clap::Args)]
pub(super) struct Fill {
    /// Only this gap, by its number; without it all that were not filled
    number: Option<u64>,
    /// Only gaps of this monitor (may be repeated)
    #[arg(long, value_name = "NAME")]
    monitor: Vec<String>,
    /// Say what would be asked for, and ask nobody
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    output: OutputArgs,
}

impl Fill {
    pub(super) fn run(self, context: &Context) -> Result<Exit, CliError> {
        let request = FillRequest { gap: self.number, monitors: self.monitor, dry_run: self.dry_run };
        let body = serde_json::to_vec(&request)
            .map_err(|error| CliError::new(Exit::No, "the request cannot be written", error))?;
        let answer = api::send_patiently(context, "POST", "/api/v1/gaps/fill", Some(&body), api::CHANGE_PATIENCE)?;
        let rows: Vec<FillRow> = change::read(&answer)?;
        if self.output.output == Format::Json {
            print_json(&rows)?;
        } else if rows.is_empty() {
            print_line("no gap is left to fill")?;
        } else {
            let queued = rows.iter().filter(|row| row.state == "queued").count();
            let header = ["GAP", "MONITOR", "TOPIC", "CAUSE", "START", "END", "STATE", "FROM", "TO"];
            let mut reasons: Vec<String> = rows.iter().filter_map(|row| row.reason.clone()).collect();
            reasons.dedup();
            let shown = rows.into_iter().map(|row| {
                let FillRow { gap, monitor, topic, cause, start, end, state, from, to, .. } = row;
                [
                    gap.to_string(),
                    monitor,
                    topic,
                    cause,
                    start,
                    end,
                    state,
                    from.unwrap_or_default(),
                    to.unwrap_or_default(),
                ]
            });
            print_table(header, shown)?;
            for reason in reasons {
                print_line(reason)?;
            }
            if queued > 0 {
                print_line(format!(
                    "{queued} will be fetched; `GET /api/v1/operations` and `sluice gaps` tell how it goes"
                ))?;
            }
        }
        Ok(Exit::Done)
    }
}
