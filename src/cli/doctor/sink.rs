//! A sink: whether its store is there and would take what it writes. Nothing stays of it.

use std::time::Duration;

use tokio::time::timeout;

use super::finding::{Check, Finding};
use super::host;
use super::reach::Place;
use crate::config::{Settings, SinkKind, SinkSettings};
use crate::sink::{AnyStore, StoreError, Trial};

/// The oldest PostgreSQL that its makers still mend. Source: https://www.postgresql.org/support/versioning/, November 2026.
const POSTGRES_MIN: u32 = 14;

/// Looks at the sink `name`.
pub(super) async fn look(name: &str, sink: &SinkSettings, settings: &Settings, limit: Duration) -> Vec<Finding> {
    let check = Check::new("sink", name);
    let sink = SinkSettings { timeout: sink.timeout.min(limit), ..sink.clone() };
    let store = match AnyStore::new(name, &sink, settings) {
        Ok(store) => store,
        Err(error) => return vec![check.broken(error.to_string())],
    };
    if let (SinkKind::Sqlite | SinkKind::Jsonl, Some(folder)) = (sink.kind, &sink.folder) {
        return host::folder(name, folder, host::Room::Advised);
    }
    let mut findings = Vec::new();
    let default_port = if sink.kind == SinkKind::Postgres { 5432 } else { 4222 };
    // Of PostgreSQL the host may be a socket in a folder, which is not resolved.
    if let Some(place) = sink.url.as_ref().and_then(|url| Place::of(name, url.reveal(), Some(default_port)))
        && !place.host.is_empty()
        && !place.host.starts_with('%')
    {
        findings.extend(place.resolve(limit).await);
        let (connected, stream) = place.connect(None, limit).await;
        findings.push(connected);
        if stream.is_none() {
            findings.push(check.skipped("there is no connection"));
            return findings;
        }
    }
    // Above its own limit, so that it says itself what it waited for.
    findings.push(match timeout(limit * 2, store.try_out()).await {
        Err(_) => check.failed(format!("no answer within {:?}", limit * 2), "look at the server's log"),
        Ok(Err(StoreError::Unavailable(reason) | StoreError::Moved(reason))) => {
            check.failed(reason, "look at the server and its log; the sink itself would try again")
        }
        Ok(Err(error)) => check.broken(error.to_string()),
        Ok(Ok(trial)) => found(&check, trial),
    });
    findings
}

fn found(check: &Check, trial: Trial) -> Finding {
    match trial {
        Trial::Files => check.ok("its folder can be written"),
        Trial::Postgres { version, encrypted, to_make } => {
            let how = if encrypted { "encrypted" } else { "in the clear" };
            let tables = match to_make {
                0 => "its tables are there".to_owned(),
                count => format!("it may make what is missing ({count} statements)"),
            };
            let found = format!("PostgreSQL {version}, {how}; {tables}, and it may write");
            let major = version.split(['.', ' ']).next().and_then(|major| major.parse::<u32>().ok());
            if major.is_some_and(|major| major < POSTGRES_MIN) {
                check.warning(found, format!("its makers mend only {POSTGRES_MIN} and later; plan an upgrade"))
            } else {
                check.ok(found)
            }
        }
        Trial::Nats { version, messages } => {
            let stream = match messages {
                Some(messages) => format!("its stream is at message {messages}"),
                None => "its stream is not there yet; whether it may be made, only the start tells".to_owned(),
            };
            check.ok(format!("NATS {version} with JetStream; {stream}"))
        }
    }
}
