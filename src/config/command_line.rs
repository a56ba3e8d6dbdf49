//! Settings from `--set KEY=VALUE`.

use config::ValueKind;

use super::key::KeyPath;
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
        let Some(path) = KeyPath::parse(key) else {
            problems.push(Problem::at(
                ORIGIN,
                format!(
                    "`{}` is not a key; write one such as `batch.timeout` or `monitors.\"a.b\".topics`",
                    key.escape_debug()
                ),
            ));
            continue;
        };
        let default: Option<&ValueKind> = find(defaults.root(), &path).map(|value| &value.kind);
        layer.set_at(&path, from_text(text, default, ORIGIN));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_assignment_is_cut_at_the_first_equals_sign_outside_quotes() {
        assert_eq!(split("a.'x=y'=1=2"), Some(("a.'x=y'", "1=2")));
        assert_eq!(split("a"), None);
    }
}
