//! What a check found.

use serde::Serialize;

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    /// Which check.
    pub(super) check: &'static str,
    /// Of what: an upstream, a sink, a folder, the host.
    pub(super) subject: String,
    /// How it is.
    pub(super) result: Verdict,
    /// What was found.
    pub(super) found: String,
    /// What to do about it.
    pub(super) advice: Option<String>,
}

/// How it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Verdict {
    /// As it should be.
    Ok,
    /// It works, and should be seen to.
    Warning,
    /// It does not work.
    Failed,
    /// It could not be looked at.
    Skipped,
}

impl Verdict {
    /// As it is shown.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
        }
    }
}

/// Makes the findings of one check.
#[derive(Debug, Clone)]
pub(super) struct Check {
    name: &'static str,
    subject: String,
}

impl Check {
    pub(super) fn new(name: &'static str, subject: impl Into<String>) -> Self {
        Self { name, subject: subject.into() }
    }

    pub(super) fn ok(&self, found: impl Into<String>) -> Finding {
        self.finding(Verdict::Ok, found.into(), None)
    }

    pub(super) fn skipped(&self, why: impl Into<String>) -> Finding {
        self.finding(Verdict::Skipped, why.into(), None)
    }

    pub(super) fn warning(&self, found: impl Into<String>, advice: impl Into<String>) -> Finding {
        self.finding(Verdict::Warning, found.into(), Some(advice.into()))
    }

    pub(super) fn failed(&self, found: impl Into<String>, advice: impl Into<String>) -> Finding {
        self.finding(Verdict::Failed, found.into(), Some(advice.into()))
    }

    /// Where the error itself says what to do.
    pub(super) fn broken(&self, found: impl Into<String>) -> Finding {
        self.finding(Verdict::Failed, found.into(), None)
    }

    fn finding(&self, result: Verdict, found: String, advice: Option<String>) -> Finding {
        Finding { check: self.name, subject: self.subject.clone(), result, found, advice }
    }
}
