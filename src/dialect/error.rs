//! What can be wrong with a dialect's settings.

/// Why a dialect cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DialectError {
    /// No preset and no `[dialects]` table has this name.
    #[error("no dialect is called `{name}`{}; there are {known}", nearest_hint(.nearest.as_deref()))]
    Unknown {
        /// The name as written.
        name: String,
        /// The known name that looks most like it.
        nearest: Option<String>,
        /// All names, for people.
        known: String,
    },
    /// A key of the dialect's table says something that cannot be.
    #[error("dialect `{dialect}`: `{key}`: {reason}")]
    Settings {
        /// The dialect's name.
        dialect: String,
        /// The key's path: `topics[0].subscribe`.
        key: String,
        /// What is wrong, and how it should look.
        reason: String,
    },
}

fn nearest_hint(nearest: Option<&str>) -> String {
    nearest.map(|name| format!("; did you mean `{name}`?")).unwrap_or_default()
}

/// A mistake under a key, before it is known to which dialect the key belongs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) key: String,
    pub(crate) reason: String,
}

impl Fault {
    pub(crate) fn new(key: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { key: key.into(), reason: reason.into() }
    }

    pub(crate) fn of(self, dialect: &str) -> DialectError {
        DialectError::Settings { dialect: dialect.to_owned(), key: self.key, reason: self.reason }
    }
}
