//! What a stream begins with: how the daemon is, and where the client is in the journal.

use serde_json::{Value, json};

use super::desk::StreamDesk;
use crate::journal::Offset;
use crate::live::Wanted;

/// The text of a snapshot for a client whose next event is `next`. Of the monitors only those whose events it wants.
pub(super) fn text(desk: &StreamDesk, wanted: &Wanted, next: Offset) -> String {
    let state = desk.state();
    let name = |row: &Value, name: &str| row.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let monitors = state.get("monitors").and_then(Value::as_array);
    let monitors: Vec<&Value> = monitors
        .into_iter()
        .flatten()
        .filter(|row| wanted.takes_monitor(&name(row, "name"), &name(row, "domain")))
        .collect();
    let mut snapshot = json!({
        "type": "initial",
        "next_offset": next.0,
        "durable_offset": desk.durable().0,
        "monitors": monitors,
    });
    let rest = state.as_object().into_iter().flatten().filter(|(name, _)| *name != "monitors");
    for (name, value) in rest {
        snapshot[name] = value.clone();
    }
    snapshot.to_string()
}
