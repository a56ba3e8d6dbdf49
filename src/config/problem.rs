//! What can be wrong with settings, said so that it can be put right: place, key, value, what is expected. A value that
//! may be a secret is never part of it.

use std::fmt;
use std::io;
use std::path::PathBuf;

use config::ValueKind;
use url::Url;

use super::endpoint::Endpoint;
use super::key::KeyPath;

/// Settings that cannot be used. Nothing was started with them; exit code 78.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file that was asked for is not there.
    #[error("settings file {} does not exist; correct `--config`, or leave it out to use config/sluice.toml", .path.display())]
    Missing {
        /// As it was asked for.
        path: PathBuf,
    },
    /// A file is there and cannot be read.
    #[error("settings file {} cannot be read", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// What the layers say is wrong; never empty.
    #[error("{}", list(.0))]
    Invalid(Vec<Problem>),
}

impl ConfigError {
    /// The single problems, where the settings themselves are wrong.
    pub fn problems(&self) -> &[Problem] {
        match self {
            Self::Invalid(problems) => problems,
            Self::Missing { .. } | Self::Unreadable { .. } => &[],
        }
    }
}

fn list(problems: &[Problem]) -> String {
    match problems {
        [only] => only.to_string(),
        several => several.iter().fold(format!("{} problems with the settings:", several.len()), |text, problem| {
            format!("{text}\n  {problem}")
        }),
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where it was set: `config/sluice.toml:12`, `environment variable POOL_MAX_CONNECTIONS`.
    pub origin: String,
    /// Which setting; the root where it is not about one.
    pub key: KeyPath,
    /// The value as it may be shown; none where there is none or the message has it.
    pub value: Option<String>,
    /// What is wrong and what is expected.
    pub message: String,
}

impl Problem {
    /// The line of the file it is in, where it is in one.
    pub(super) fn line(&self) -> Option<usize> {
        self.origin.rsplit_once(':').and_then(|(_, line)| line.parse().ok())
    }

    /// A problem that belongs to a place and to no setting.
    pub(super) fn at(origin: impl Into<String>, message: impl Into<String>) -> Self {
        Self { origin: origin.into(), key: KeyPath::default(), value: None, message: message.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.origin)?;
        if !self.key.is_root() {
            write!(f, "{}", self.key)?;
            if let Some(value) = &self.value {
                write!(f, " = {value}")?;
            }
            f.write_str(": ")?;
        }
        f.write_str(&self.message)
    }
}

/// The known name that `word` was most likely meant to be.
pub(super) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase();
    known
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(&word, &name.to_lowercase()), name))
        .min()
        // Further away than this a guess misleads: "url" is three steps from "id" and "key".
        .filter(|(distance, name)| *distance <= (name.len().max(word.len()) / 2).max(1))
        .map(|(_, name)| name)
}

/// `; did you mean …?`, or all that is known where nothing is near.
pub(crate) fn suggestion<'a>(word: &str, known: impl IntoIterator<Item = &'a str> + Clone) -> String {
    if let Some(name) = nearest(word, known.clone()) {
        return format!("; did you mean `{name}`?");
    }
    let mut names: Vec<&str> = known.into_iter().collect();
    names.sort_unstable();
    if names.is_empty() {
        return String::new();
    }
    format!("; known here: {}", names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", "))
}

/// What stands in the place of a secret.
const REDACTED: &str = "***";

/// Parts of a key's name that make its value a secret.
pub(super) const SECRET_NAMES: [&str; 9] =
    ["password", "passwd", "passphrase", "secret", "token", "credential", "api_key", "apikey", "private_key"];

/// A text of settings as it may be shown: secrets as `***`.
pub(super) fn redacted(key: &KeyPath, text: &str) -> String {
    let name = key.last_key().unwrap_or_default().to_lowercase();
    // Whatever a header is called, most that one declares are there to prove who one is.
    let above = key.parent().and_then(|above| above.last_key().map(str::to_owned));
    let header = above.as_deref() == Some("headers");
    // Whatever stands there of an upstream's `auth`, only the holes of a template are harmless.
    let auth = matches!(above.as_deref(), Some("query" | "secrets")) && key.key_at(2) == Some("auth");
    let secret =
        header || auth || (SECRET_NAMES.iter().any(|secret| name.contains(secret)) && !name.ends_with("_file"));
    if secret {
        return REDACTED.to_owned();
    }
    if name == "url" || text.contains("://") {
        // What is no address cannot be cut into its secret and its harmless parts.
        return match Url::parse(text) {
            Ok(url) if url.has_host() => {
                let written = url.to_string();
                let shown = Endpoint::from(url).to_string();
                // As it was written, where nothing has to be hidden: an origin has no `/` at its end.
                if shown == written { text.to_owned() } else { shown }
            }
            _ => REDACTED.to_owned(),
        };
    }
    text.to_owned()
}

/// Whether a text of settings is one that [`redacted`] would not show as it is, or was redacted before.
pub(super) fn hides_a_secret(key: &KeyPath, text: &str) -> bool {
    if text.contains(REDACTED) {
        return true;
    }
    match Url::parse(text) {
        // As addresses are written: a missing `/` at the end is no secret.
        Ok(url) if url.has_host() => !matches!(redacted(key, text), shown if shown == text || shown == url.as_str()),
        // One that is no address is refused with that reason.
        _ if key.last_key() == Some("url") => false,
        _ => redacted(key, text) != text,
    }
}

/// A value as a problem shows it: short, on one line, redacted. Tables are not shown.
pub(super) fn shown(key: &KeyPath, value: &ValueKind) -> Option<String> {
    /// Longer values are cut: the line number shows the rest.
    const SHOWN_CHARS_MAX: usize = 60;
    let full = match value {
        ValueKind::Nil | ValueKind::Table(_) => return None,
        ValueKind::String(text) => format!("{:?}", redacted(key, text)),
        ValueKind::Array(list) => {
            let items: Vec<String> = list.iter().filter_map(|item| shown(key, &item.kind)).collect();
            format!("[{}]", items.join(", "))
        }
        other => match redacted(key, "") {
            hidden if hidden == REDACTED => hidden,
            _ => other.to_string(),
        },
    };
    Some(match full.char_indices().nth(SHOWN_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &full[..end]),
        None => full,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_near_name_is_suggested_and_a_far_one_is_not() {
        let known = ["min_connections", "max_connections", "pong_timeout"];
        assert_eq!(nearest("max_conections", known), Some("max_connections"));
        assert_eq!(nearest("MaxConnections", known), Some("max_connections"));
        assert_eq!(nearest("colour", known), None);
        assert!(suggestion("colour", known).contains("known here: `max_connections`"));
    }

    #[test]
    fn a_secret_is_not_shown_whatever_its_shape() {
        let key = KeyPath::from(["upstreams", "x", "url"]);
        assert_eq!(redacted(&key, "wss://me:hunter2@example.com/a?key=hunter2"), "wss://me:***@example.com/a?key=***");
        assert_eq!(redacted(&key, "hunter2"), "***");
        assert_eq!(redacted(&KeyPath::from(["upstreams", "x", "password"]), "hunter2"), "***");
        assert_eq!(redacted(&KeyPath::from(["monitors", "x", "domain"]), "wss://hunter2 x/"), "***");
        assert_eq!(shown(&KeyPath::from(["x", "token"]), &ValueKind::I64(1234)).unwrap(), "***");
        assert_eq!(redacted(&KeyPath::from(["server", "token_file"]), "/run/token"), "/run/token");
    }
}
