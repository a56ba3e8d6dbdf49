//! The file that a service's environment comes from, read by the daemon itself: a process's own environment stays as it was at its start,
//! so that who changes the file and reloads would wait in vain.

use std::ffi::OsString;
use std::path::PathBuf;

use super::environment;

/// Names the file.
pub(super) const NAME: &str = "SLUICE_ENVIRONMENT_FILE";

/// The file that is named, if one is.
pub(super) fn named_by(variables: &[(OsString, OsString)]) -> Option<PathBuf> {
    let (_, path) = variables.iter().find(|(name, _)| name == NAME)?;
    (!path.is_empty()).then(|| path.into())
}

/// The environment without what a service manager has put there from the file, which is read by itself each time. What is taken out of
/// the file later is then no longer set.
pub(super) fn without_its_names(mut variables: Vec<(OsString, OsString)>) -> Vec<(OsString, OsString)> {
    // Of a file that cannot be read, loading the settings says so.
    if let Some(text) = named_by(&variables).and_then(|path| std::fs::read_to_string(path).ok()) {
        let names = environment::names_in(&text);
        variables.retain(|(name, _)| !names.iter().any(|ours| name == ours.as_str()));
    }
    variables
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_file_says_is_left_to_the_file_and_nothing_else_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("environment");
        std::fs::write(&path, "BATCH_TIMEOUT=5\nFEED_KEY=secret\n").unwrap();
        let variable = |name: &str, value: &str| (OsString::from(name), OsString::from(value));
        let variables = vec![
            variable("BATCH_TIMEOUT", "5"),
            variable("BATCH_MIN_SIZE", "7"),
            variable("FEED_KEY", "secret"),
            variable(NAME, path.to_str().unwrap()),
        ];
        let left = without_its_names(variables.clone());
        assert_eq!(
            left,
            variables[1..],
            "a name that is no setting may be a secret, which is looked up in the environment"
        );
        assert_eq!(named_by(&left), Some(path));
        let gone = vec![variable(NAME, "/nowhere"), variable("BATCH_TIMEOUT", "5")];
        assert_eq!(without_its_names(gone.clone()), gone);
    }
}
