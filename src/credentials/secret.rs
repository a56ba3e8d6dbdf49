//! Secrets, read from where settings say that they are.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use crate::config::SecretSource;

/// A secret is no longer: what is, is another file.
const SECRET_BYTES_MAX: u64 = 64 << 10;

/// Names a folder of systemd's with a file for each credential of the service.
pub(super) const CREDENTIALS_FOLDER: &str = "CREDENTIALS_DIRECTORY";

/// Why a secret cannot be had.
#[derive(Debug)]
pub(super) struct Unhad {
    /// What it is: missing, or something else.
    pub(super) state: &'static str,
    /// Where it was looked for, and what was found there.
    pub(super) looked: String,
}

impl Unhad {
    fn missing(looked: String) -> Self {
        Self { state: "is missing", looked }
    }

    fn unusable(looked: String) -> Self {
        Self { state: "cannot be used", looked }
    }
}

/// What we know and nobody else may see: `Debug` shows the names only.
#[derive(Clone, Default)]
pub(super) struct Secrets(BTreeMap<String, String>);

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Secrets {
    /// Reads all. Small files, and rarely: it may block for as long as a local disk does.
    ///
    /// # Errors
    /// The first name whose secret cannot be had, and why.
    pub(super) fn read(sources: &BTreeMap<String, SecretSource>) -> Result<Self, (String, Unhad)> {
        let read = |(name, source): (&String, &SecretSource)| match read(source) {
            Ok(text) => Ok((name.clone(), text)),
            Err(unhad) => Err((name.clone(), unhad)),
        };
        sources.iter().map(read).collect::<Result<_, _>>().map(Self)
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Their texts.
    pub(super) fn texts(&self) -> impl Iterator<Item = &str> {
        self.0.values().map(String::as_str)
    }
}

fn read(source: &SecretSource) -> Result<String, Unhad> {
    let text = match source {
        SecretSource::Env(name) => match std::env::var(name) {
            Ok(text) => text,
            Err(std::env::VarError::NotPresent) => {
                return Err(Unhad::missing(format!("environment variable `{name}` is not set")));
            }
            Err(std::env::VarError::NotUnicode(_)) => {
                return Err(Unhad::unusable(format!("environment variable `{name}` is not UTF-8")));
            }
        },
        SecretSource::File(path) => text_of(path)?,
        SecretSource::Credential(name) => {
            let folder = std::env::var_os(CREDENTIALS_FOLDER).map(PathBuf::from).ok_or_else(|| {
                Unhad::missing(format!(
                    "credential `{name}`: ${CREDENTIALS_FOLDER} is not set; it is for a service of systemd with \
                     `LoadCredential={name}:…`"
                ))
            })?;
            text_of(&folder.join(name))
                .map_err(|unhad| Unhad { looked: format!("credential `{name}`: {}", unhad.looked), ..unhad })?
        }
    };
    let text = text.trim_end_matches(['\n', '\r']);
    let place = || match source {
        SecretSource::Env(name) => format!("environment variable `{name}`"),
        SecretSource::File(path) => format!("file {}", path.display()),
        SecretSource::Credential(name) => format!("credential `{name}`"),
    };
    if text.is_empty() {
        return Err(Unhad::unusable(format!("{} is empty", place())));
    }
    if text.contains(char::is_control) {
        return Err(Unhad::unusable(format!("{} has more than one line, or characters that no secret has", place())));
    }
    Ok(text.to_owned())
}

fn text_of(path: &Path) -> Result<String, Unhad> {
    let unreadable = |error: std::io::Error| {
        let looked = format!("file {} cannot be read: {error}", path.display());
        match error.kind() {
            std::io::ErrorKind::NotFound => Unhad::missing(looked),
            _ => Unhad { state: "cannot be read", looked },
        }
    };
    let length = std::fs::metadata(path).map_err(unreadable)?.len();
    if length > SECRET_BYTES_MAX {
        return Err(Unhad::unusable(format!("file {} has {length} bytes, which no secret has", path.display())));
    }
    std::fs::read_to_string(path).map_err(unreadable)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_one(source: SecretSource) -> Result<String, String> {
        let sources = BTreeMap::from([("key".to_owned(), source)]);
        let secrets = Secrets::read(&sources).map_err(|(name, unhad)| format!("{name}: {}", unhad.looked))?;
        assert!(!format!("{secrets:?}").contains(secrets.get("key").unwrap()), "{secrets:?}");
        Ok(secrets.get("key").unwrap().to_owned())
    }

    #[test]
    fn a_secret_is_the_text_of_its_file_without_the_end_of_the_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        for (text, found) in [("s3cret\n", "s3cret"), ("s3cret\r\n", "s3cret"), (" s3 cret", " s3 cret")] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(read_one(SecretSource::File(path.clone())).as_deref(), Ok(found));
        }
        for (text, why) in [("", "is empty"), ("\n", "is empty"), ("a\nb", "more than one line")] {
            std::fs::write(&path, text).unwrap();
            let error = read_one(SecretSource::File(path.clone())).unwrap_err();
            assert!(error.starts_with("key: file ") && error.contains(why), "{error}");
        }
    }

    #[test]
    fn a_secret_that_is_not_there_is_told_with_where_it_was_looked_for() {
        let error = read_one(SecretSource::Env("SLUICE_TEST_NOT_SET".into())).unwrap_err();
        assert_eq!(error, "key: environment variable `SLUICE_TEST_NOT_SET` is not set");
        let error = read_one(SecretSource::File("/nowhere/key".into())).unwrap_err();
        assert!(error.contains("/nowhere/key") && error.contains("No such file"), "{error}");
    }
}
