//! Settings from `--set KEY=VALUE`.

use config::ValueKind;
use toml::de::DeTable;

use super::layer::{Layer, find, from_text};
use super::problem::Problem;

/// The origin of what the command line says.
pub(super) const ORIGIN: &str = "--set";

/// The layer of all `--set`, in their order: a later one wins.
pub(super) fn layer(assignments: &[String], defaults: &Layer, problems: &mut Vec<Problem>) -> Layer {
    let mut layer = Layer::empty(ORIGIN);
    for assignment in assignments {
        let Some((key, text)) = split(assignment) else {
            // Not the text itself, which may hold a secret.
            problems.push(Problem::at(ORIGIN, "write it as KEY=VALUE, such as `--set batch.timeout=100ms`"));
            continue;
        };
        let Some(keys) = parse_key(key) else {
            problems.push(Problem::at(
                ORIGIN,
                format!(
                    "`{}` is not a key; write one such as `batch.timeout` or `monitors.\"a.b\".topics`",
                    key.escape_debug()
                ),
            ));
            continue;
        };
        let default: Option<&ValueKind> = find(defaults.root(), &keys.iter().collect()).map(|value| &value.kind);
        layer.set(keys.iter().map(String::as_str), from_text(text, default, ORIGIN));
    }
    layer
}

/// Cuts at the first `=` that is not inside quotes.
fn split(assignment: &str) -> Option<(&str, &str)> {
    let mut quote = None;
    for (at, byte) in assignment.bytes().enumerate() {
        match (quote, byte) {
            (None, b'=') => return Some((&assignment[..at], &assignment[at + 1..])),
            (None, b'"' | b'\'') => quote = Some(byte),
            (Some(open), byte) if open == byte => quote = None,
            _ => {}
        }
    }
    None
}

/// Reads a dotted key with TOML's own rules for quotes.
fn parse_key(key: &str) -> Option<Vec<String>> {
    if key.contains(|character: char| character.is_control()) || key.trim_start().starts_with(['[', '#']) {
        return None;
    }
    let text = format!("{key} = 0");
    let parsed = DeTable::parse(&text).ok()?;
    let mut keys = Vec::new();
    let mut table = parsed.get_ref();
    loop {
        let (name, value) = table.iter().next()?;
        keys.push(name.get_ref().clone().into_owned());
        match value.get_ref().as_table() {
            Some(inner) => table = inner,
            None => return Some(keys),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_as_toml_writes_them() {
        assert_eq!(parse_key("batch.timeout").unwrap(), ["batch", "timeout"]);
        assert_eq!(parse_key("monitors.\"a.b\".when.'/x=y'").unwrap(), ["monitors", "a.b", "when", "/x=y"]);
        assert_eq!(split("a.'x=y'=1=2"), Some(("a.'x=y'", "1=2")));
        for bad in ["", ".", "a..b", "[a", "a b", "a\n[b]\nc", "#"] {
            assert_eq!(parse_key(bad), None, "{bad:?}");
        }
    }
}
