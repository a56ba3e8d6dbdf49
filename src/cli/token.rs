//! `sluice token`: tokens of the HTTP API.

use super::{CliError, Context, Exit, print_line};
use crate::config::Scope;
use crate::server::NewToken;

/// `sluice token`
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Make a token: it is printed once; its hash is the line for `server.tokens_file`
    Create {
        /// What it may be used for: `read`; `operate`, what runs; `admin`, what is set
        #[arg(long, value_name = "SCOPE", value_parser = scope)]
        scope: Scope,
        /// What it is called in the audit
        #[arg(long, value_name = "NAME", default_value = "token")]
        name: String,
    },
}

fn scope(text: &str) -> Result<Scope, String> {
    let known = Scope::ALL.into_iter().find(|scope| scope.as_str() == text);
    known.ok_or_else(|| "expected `read`, `operate` or `admin`".to_owned())
}

impl Args {
    pub(super) fn run(self, _: &Context) -> Result<Exit, CliError> {
        let Action::Create { scope, name } = self.action;
        let NewToken { token, line } =
            NewToken::create(&name, scope).map_err(|reason| CliError::plain(Exit::Usage, reason))?;
        print_line(format!("token: {token}"))?;
        print_line(format!("hash:  {line}"))?;
        Ok(Exit::Done)
    }
}
