//! What the running daemon tells: over its API, as any command asks it.

use super::bundle::Bundle;
use crate::cli::api::{self, Answer};
use crate::cli::{CliError, Context, Exit};
use crate::server::LogLines;

/// Parts by the path that tells them.
const STATE: [(&str, &str); 20] = [
    ("health", "/api/v1/monitoring/health"),
    ("monitors", "/api/v1/monitors"),
    ("verdicts", "/api/v1/monitor-verdicts"),
    ("pool", "/api/v1/pool?topics=true"),
    ("circuits", "/api/v1/circuits"),
    ("sinks", "/api/v1/sinks"),
    ("gaps", "/api/v1/gaps"),
    ("completeness", "/api/v1/gaps/completeness"),
    ("canary", "/api/v1/canary"),
    ("canary-history", "/api/v1/canary/history"),
    ("operations", "/api/v1/operations"),
    ("alerts", "/api/v1/monitoring/alerts"),
    ("statistics", "/api/v1/statistics"),
    ("sequences", "/api/v1/sequences"),
    ("polls", "/api/v1/polls"),
    ("checkpoints", "/api/v1/checkpoints"),
    ("journal", "/api/v1/journal"),
    ("upstreams", "/api/v1/upstreams"),
    ("settings", "/api/v1/settings"),
    ("streams", "/v1/health/streaming"),
];

/// Adds all that it tells.
pub(super) fn gather(bundle: &mut Bundle, context: &Context) {
    let mut unreachable: Option<String> = None;
    let mut ask = |path: &str| {
        if let Some(why) = &unreachable {
            return Err(why.clone());
        }
        api::get_any(context, path).map_err(|error: CliError| {
            let why = error.to_string();
            if matches!(error.exit(), Exit::Unreachable | Exit::Usage) {
                unreachable = Some(why.clone());
            }
            why
        })
    };
    for (name, path) in STATE {
        let name = format!("state/{name}.json");
        // How it is, it says with 503 too.
        match ask(path).and_then(|answer| well(answer, name == "state/health.json")) {
            Ok(body) => match serde_json::from_slice::<serde_json::Value>(&body) {
                Ok(value) => bundle.json(&name, &value),
                Err(error) => bundle.miss(&name, &format!("what the daemon answers is no JSON: {error}")),
            },
            Err(why) => bundle.miss(&name, &why),
        }
    }
    match ask("/metrics").and_then(|answer| well(answer, false)) {
        Ok(body) => bundle.text("metrics.txt", &String::from_utf8_lossy(&body)),
        Err(why) => bundle.miss("metrics.txt", &why),
    }
    let lines = ask("/api/v1/logs").and_then(|answer| well(answer, false));
    match lines.and_then(|body| serde_json::from_slice::<LogLines>(&body).map_err(|error| error.to_string())) {
        Ok(LogLines { lines }) => bundle.text("logs.txt", &(lines.join("\n") + "\n")),
        Err(why) => bundle.miss("logs.txt", &why),
    }
}

/// The body of an answer that is one.
fn well(answer: Answer, any: bool) -> Result<Vec<u8>, String> {
    match answer.status {
        200..300 => Ok(answer.body),
        503 if any => Ok(answer.body),
        404 => Err("the daemon has no such thing".to_owned()),
        status => Err(format!("the daemon answers {status}: {}", String::from_utf8_lossy(&answer.body).trim())),
    }
}
