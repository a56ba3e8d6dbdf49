//! `sluice config doctor`: what does not work is found, named and told what to do about; what works is left as it was.

mod certificates;
mod places;
mod sinks;
mod upstreams;

use serde_json::Value;

use crate::processes::Settings;
use crate::support::Workplace;

/// What the doctor found.
struct Findings {
    code: Option<i32>,
    rows: Vec<Value>,
    /// As it was printed.
    text: String,
}

impl Findings {
    /// The one finding of a check of a subject.
    fn of(&self, check: &str, subject: &str) -> &Value {
        let fits = |row: &&Value| row["check"] == check && row["subject"] == subject;
        self.rows.iter().find(fits).unwrap_or_else(|| panic!("no `{check}` of `{subject}`: {}", self.text))
    }

    /// Asserts what a check found, and gives its words.
    fn assert(&self, (check, subject): (&str, &str), result: &str, words: &str) {
        let row = self.of(check, subject);
        let said = format!("{} {}", row["found"].as_str().unwrap(), row["advice"].as_str().unwrap_or_default());
        assert!(row["result"] == result && said.contains(words), "{check} {subject}: {row}");
        // Whatever fails is told what to do about it, by the advice or by the error itself.
        assert!(result != "failed" || row["advice"].is_string() || said.contains(';') || said.len() > 20, "{row}");
    }
}

/// With the settings that are there. Steps that wait give up after `timeout`.
fn doctor(place: &Workplace, timeout: &str, more: &[&str]) -> Findings {
    let command = ["--config", "sluice.toml", "config", "doctor", "--output", "json", "--timeout", timeout];
    let outcome = place.run(command.iter().chain(more));
    let rows: Vec<Value> = serde_json::from_str(&outcome.stdout).unwrap_or_else(|error| panic!("{error}: {outcome:?}"));
    Findings { code: outcome.code, rows, text: outcome.stdout }
}

/// An upstream `feed` of one topic. `more` belongs to its table.
fn feed(url: &str, more: &str) -> Settings {
    Settings::new().upstream("feed", "binance", url).with(more).monitor("m", "d", "feed", &["x@trade"], "")
}
