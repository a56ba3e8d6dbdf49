//! Texts that leave this machine, without the secrets that may be in them.
//!
//! Two ways at once: every secret that settings and environment have is looked for by itself, and whatever has the form of one
//! (a login in an address, a bearer token, a parameter called `key`) is taken out whoever's it is.

use std::ffi::OsString;
use std::path::Path;

use super::SCRUBBED_BYTES_MIN;
use super::secret::CREDENTIALS_FOLDER;
use crate::config::Hidden;

/// What stands in the place of a secret.
const REDACTED: &str = "***";

/// A line of a file of credentials that is shorter is looked at as a word of its form (`-----BEGIN…` is none either).
const FILE_LINE_BYTES_MIN: usize = 6;

/// A variable's value that is shorter is no secret only because of its name: `AUTH=true` would take every `true` out.
const GUESSED_BYTES_MIN: usize = 6;

/// The most that is read of a file of secrets.
const FILE_BYTES_MAX: usize = 256 << 10;

/// Parts of a variable's name that make its value a secret.
const VARIABLES: [&str; 10] =
    ["PASS", "SECRET", "TOKEN", "CREDENTIAL", "API_KEY", "APIKEY", "PRIVATE", "ACCESS_KEY", "AUTH", "SMTP_URL"];

/// Names of parameters whose values are secrets, in an address or elsewhere.
const PARAMETERS: [&str; 12] = [
    "password",
    "passwd",
    "secret",
    "token",
    "access_token",
    "api_key",
    "apikey",
    "api-key",
    "signature",
    "listenkey",
    "passphrase",
    "authorization",
];

/// Takes secrets out of texts.
pub struct Scrubber {
    /// Longest first, so that of two of which one is a part of the other nothing stays.
    secrets: Vec<String>,
}

impl Scrubber {
    /// One that knows the secrets of these settings and of this environment. Reads the files that settings name: it may block for as
    /// long as a local disk does. What cannot be read is no secret of ours that could be in a text.
    pub fn new(mut hidden: Hidden, environment: &[(OsString, OsString)]) -> Self {
        for (name, value) in environment {
            let (name, value) = (name.to_string_lossy(), value.to_string_lossy());
            let by_name = VARIABLES.iter().any(|part| name.to_ascii_uppercase().contains(part));
            if by_name && value.len() >= GUESSED_BYTES_MIN || hidden.variables.iter().any(|variable| *variable == name)
            {
                hidden.texts.push(value.clone().into_owned());
            }
            if value.contains("://") {
                hidden.add(&value);
            }
        }
        let folder = environment.iter().find(|(name, _)| name == CREDENTIALS_FOLDER).map(|(_, folder)| folder);
        let credentials = folder.into_iter().flat_map(|folder| {
            let folder = Path::new(folder);
            hidden.credentials.iter().map(|name| folder.join(name)).collect::<Vec<_>>()
        });
        let files: Vec<_> = hidden.files.iter().cloned().chain(credentials).collect();
        let mut secrets = hidden.texts;
        for file in files {
            secrets.extend(lines_of(&file));
        }
        let written = secrets.iter().flat_map(|secret| forms_of(secret)).collect::<Vec<_>>();
        secrets = written;
        secrets.retain(|secret| secret.len() >= SCRUBBED_BYTES_MIN && secret != REDACTED);
        secrets.sort_unstable_by(|one, other| other.len().cmp(&one.len()).then_with(|| one.cmp(other)));
        secrets.dedup();
        Self { secrets }
    }

    /// A text without secrets.
    pub fn scrub(&self, text: &str) -> String {
        let known = self.secrets.iter().fold(text.to_owned(), |text, secret| {
            if text.contains(secret) { text.replace(secret, REDACTED) } else { text }
        });
        let without_logins = without_logins(&known);
        without_parameters(&without_headers(&without_logins))
    }
}

/// The lines of a file of secrets that could be one.
fn lines_of(file: &Path) -> Vec<String> {
    let Ok(bytes) = std::fs::read(file) else { return Vec::new() };
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(FILE_BYTES_MAX)]).into_owned();
    let whole = text.trim();
    let lines =
        whole.lines().map(str::trim).filter(|line| line.len() >= FILE_LINE_BYTES_MIN && !line.starts_with("--"));
    lines.map(str::to_owned).chain([whole.to_owned()]).collect()
}

/// A secret as it may stand in a text: as it is, in a JSON string, in an address.
fn forms_of(secret: &str) -> [String; 3] {
    let quoted = serde_json::Value::from(secret).to_string();
    let encoded = percent_encoding::utf8_percent_encode(secret, percent_encoding::NON_ALPHANUMERIC).to_string();
    [secret.to_owned(), quoted[1..quoted.len() - 1].to_owned(), encoded]
}

/// `scheme://user:password@host` without what stands before the `@`.
fn without_logins(text: &str) -> String {
    let (mut out, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(at) = rest.find("://") {
        let behind = at + 3;
        out.push_str(&rest[..behind]);
        rest = &rest[behind..];
        let end = rest.find(|end: char| "/?#\"'<> \t\r\n\\".contains(end)).unwrap_or(rest.len());
        if let Some(login) = rest[..end].rfind('@') {
            out.push_str(REDACTED);
            rest = &rest[login..];
        }
    }
    out.push_str(rest);
    out
}

/// What follows `Bearer` and `Basic`.
fn without_headers(text: &str) -> String {
    ["Bearer ", "bearer ", "Basic "].iter().fold(text.to_owned(), |text, word| {
        let (mut out, mut rest) = (String::with_capacity(text.len()), text.as_str());
        while let Some(at) = rest.find(word) {
            let behind = at + word.len();
            out.push_str(&rest[..behind]);
            rest = &rest[behind..];
            let end = rest.find(|end: char| !is_of_a_token(end)).unwrap_or(rest.len());
            // A word of a sentence is none: `Bearer token is missing`.
            if end >= 8 {
                out.push_str(REDACTED);
                rest = &rest[end..];
            }
        }
        out.push_str(rest);
        out
    })
}

fn is_of_a_token(character: char) -> bool {
    character.is_ascii_alphanumeric() || "-._~+/=".contains(character)
}

/// `name=value` and `"name":"value"` without the value, where the name is that of a secret.
fn without_parameters(text: &str) -> String {
    let lower = text.to_ascii_lowercase();
    let mut cuts: Vec<(usize, usize)> = Vec::new();
    for name in PARAMETERS {
        for (at, _) in lower.match_indices(name) {
            let after = &text[at + name.len()..];
            let opened = ["=\"", "=", "\":\"", "\": \"", "\\\":\\\"", "\\\": \\\""];
            let Some(opening) = opened.iter().find(|opening| after.starts_with(**opening)) else { continue };
            let start = at + name.len() + opening.len();
            let value = &text[start..];
            let quoted = opening.ends_with('"');
            let ends = |end: char| if quoted { end == '"' || end == '\\' } else { "&\"' \t\r\n,;)}<>\\".contains(end) };
            let end = start + value.find(ends).unwrap_or(value.len());
            if end > start {
                cuts.push((start, end));
            }
        }
    }
    cuts.sort_unstable();
    let (mut out, mut done) = (String::with_capacity(text.len()), 0);
    for (start, end) in cuts {
        if start >= done {
            out.push_str(&text[done..start]);
            out.push_str(REDACTED);
            done = end;
        }
    }
    out.push_str(&text[done..]);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn knowing(secrets: &[&str]) -> Scrubber {
        let hidden = Hidden { texts: secrets.iter().map(|text| (*text).to_owned()).collect(), ..Hidden::default() };
        Scrubber::new(hidden, &[])
    }

    #[test]
    fn a_known_secret_is_taken_out_in_each_of_its_forms() {
        let scrubber = knowing(&["hun\"ter/2", "hun"]);
        let scrubbed = scrubber.scrub(r#"{"a":"hun\"ter/2"} hun"ter/2 x=hun%22ter%2F2"#);
        assert!(!scrubbed.contains("ter"), "{scrubbed}");
    }

    #[test]
    fn what_has_the_form_of_a_secret_is_taken_out_whoever_s_it_is() {
        let scrubber = knowing(&[]);
        for (text, scrubbed) in [
            ("cannot connect to wss://u:p4ss@h/x", "cannot connect to wss://***@h/x"),
            ("https://h/a?token=abc&b=1", "https://h/a?token=***&b=1"),
            ("Authorization: Bearer abcdefgh.ijk", "Authorization: Bearer ***"),
            (r#"{"password":"x y","n":1}"#, r#"{"password":"***","n":1}"#),
            ("a Bearer token is missing", "a Bearer token is missing"),
            ("nothing to hide: a=b c://d", "nothing to hide: a=b c://d"),
        ] {
            assert_eq!(scrubber.scrub(text), scrubbed);
        }
    }

    #[test]
    fn secrets_are_those_of_files_and_of_the_environment_too() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        std::fs::write(&file, "from-a-file\n").unwrap();
        let hidden = Hidden { files: vec![file], variables: vec!["PLAIN".into()], ..Hidden::default() };
        let variable = |name: &str, value: &str| (OsString::from(name), OsString::from(value));
        let environment = [
            variable("PLAIN", "from-a-variable"),
            variable("SLACK_TOKEN", "xoxb-slack"),
            variable("DATABASE", "postgres://u:fr0mpg@h/d"),
            variable("HOME", "/root"),
        ];
        let scrubbed = Scrubber::new(hidden, &environment).scrub("from-a-file from-a-variable xoxb-slack fr0mpg /root");
        assert_eq!(scrubbed, "*** *** *** *** /root");
    }
}
