//! A notice in words: templates filled, without anything that could end a line where one must not.

use super::{Notice, Occasion};
use crate::config::{NoticeTemplate, NotifySettings};

/// No message is longer, in characters: what an alert is about may come from a feed. Source: a guess; mail and chat take more.
const BODY_CHARACTERS_MAX: usize = 8000;
/// No first line is.
const SUBJECT_CHARACTERS_MAX: usize = 250;

/// What a channel says.
#[derive(Debug, Clone)]
pub(super) struct Wording {
    subject: NoticeTemplate,
    body: NoticeTemplate,
    link: Option<NoticeTemplate>,
    runbook: Option<NoticeTemplate>,
}

/// A notice in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Message {
    /// One line.
    pub(super) subject: String,
    /// Lines.
    pub(super) body: String,
    /// Where it can be looked at.
    pub(super) link: Option<String>,
    /// What to do.
    pub(super) runbook: Option<String>,
}

impl Wording {
    /// A channel's own, and else what all of them say.
    pub(super) fn new(
        settings: &NotifySettings,
        subject: Option<&NoticeTemplate>,
        body: Option<&NoticeTemplate>,
    ) -> Self {
        Self {
            subject: subject.unwrap_or(&settings.subject).clone(),
            body: body.unwrap_or(&settings.body).clone(),
            link: settings.dashboard_url.clone(),
            runbook: settings.runbook_url.clone(),
        }
    }

    /// A notice in these words.
    pub(super) fn message(&self, notice: &Notice) -> Message {
        let link = self.link.as_ref().map(|link| address(link, notice));
        let runbook = self.runbook.as_ref().map(|runbook| address(runbook, notice));
        let value = |name: &str| match name {
            "link" => link.clone().unwrap_or_default(),
            "runbook" => runbook.clone().unwrap_or_default(),
            other => value_of(notice, other),
        };
        let test = notice.occasion == Occasion::Test;
        // Whatever the templates say, a test is to be known for one.
        let (mark, note) = if test {
            ("TEST: ", "This is a test of Sluice's notifications. Nothing has happened.\n\n")
        } else {
            ("", "")
        };
        let subject = one_line(&format!("{mark}{}", self.subject.fill(value)));
        let body = plain_lines(&format!("{note}{}", self.body.fill_lines(value)));
        Message { subject: cut(&subject, SUBJECT_CHARACTERS_MAX), body: cut(&body, BODY_CHARACTERS_MAX), link, runbook }
    }
}

/// What a hole stands for; empty where the alert has nothing of it.
pub(super) fn value_of(notice: &Notice, name: &str) -> String {
    let alert = &notice.alert;
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    match name {
        "id" => alert.id.clone(),
        "type" => alert.kind.as_str().to_owned(),
        "severity" => alert.severity.as_str().to_owned(),
        "status" => status_of(notice).to_owned(),
        "occasion" => notice.occasion.as_str().to_owned(),
        "subject" => alert.subject.clone(),
        "message" => alert.message.clone(),
        "value" => number(alert.value),
        "threshold" => number(alert.threshold),
        "created_at" => alert.created_at.clone(),
        "acknowledged_at" => text(&alert.acknowledged_at),
        "acknowledged_by" => text(&alert.acknowledged_by),
        "notes" => text(&alert.notes),
        "resolved_at" => text(&alert.resolved_at),
        "resolved_by" => text(&alert.resolved_by),
        "resolution" => text(&alert.resolution),
        _ => String::new(),
    }
}

fn status_of(notice: &Notice) -> &'static str {
    match notice.alert.status {
        crate::alert::AlertStatus::Open => "OPEN",
        crate::alert::AlertStatus::Acknowledged => "ACKNOWLEDGED",
        crate::alert::AlertStatus::Resolved => "RESOLVED",
    }
}

/// An address with holes: what fills them may have any characters.
fn address(template: &NoticeTemplate, notice: &Notice) -> String {
    const KEPT: percent_encoding::AsciiSet =
        percent_encoding::NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');
    let filled =
        template.fill(|name| percent_encoding::utf8_percent_encode(&value_of(notice, name), &KEPT).to_string());
    one_line(&filled)
}

/// As people read it: at most three digits behind the point.
fn number(value: f64) -> String {
    let text = format!("{value:.3}");
    match text.split_once('.') {
        Some(_) => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        None => text,
    }
}

/// Without anything that ends a line: in a mail's head another line would be another header.
pub(super) fn one_line(text: &str) -> String {
    text.chars()
        .map(|character| if is_break(character) { ' ' } else { character })
        .collect::<String>()
        .trim()
        .to_owned()
}

fn plain_lines(text: &str) -> String {
    let kept = |character: char| if character != '\n' && is_break(character) { ' ' } else { character };
    text.chars().map(kept).collect()
}

fn is_break(character: char) -> bool {
    character.is_control() || matches!(character, '\u{2028}' | '\u{2029}')
}

/// The first so many characters.
pub(super) fn cut(text: &str, characters_max: usize) -> String {
    match text.char_indices().nth(characters_max) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::alert::{Alert, AlertKind, AlertStatus};

    /// A notice to try with.
    pub(in crate::alert::notify) fn notice(kind: AlertKind) -> Notice {
        let alert = Alert {
            id: "0190-1".into(),
            kind,
            severity: kind.severity(),
            status: AlertStatus::Open,
            subject: "host".into(),
            message: "the CPUs are busy".into(),
            value: 93.25,
            threshold: 80.0,
            created_at: "2026-11-20T12:00:00Z".into(),
            acknowledged_at: None,
            acknowledged_by: None,
            notes: None,
            resolved_at: None,
            resolved_by: None,
            resolution: None,
            notifications: Vec::new(),
        };
        Notice { alert, occasion: Occasion::Opened }
    }

    fn wording(settings: &NotifySettings) -> Wording {
        Wording::new(settings, None, None)
    }

    #[test]
    fn a_message_says_what_it_is_about_and_leaves_out_what_it_has_not() {
        let settings = NotifySettings {
            dashboard_url: Some(NoticeTemplate::parse("https://d/alerts/{id}").unwrap()),
            ..NotifySettings::default()
        };
        let message = wording(&settings).message(&notice(AlertKind::HighCpu));
        assert_eq!(message.subject, "[warning] HIGH_CPU: host (opened)");
        assert!(message.body.starts_with("the CPUs are busy\n\nType: HIGH_CPU\n"), "{}", message.body);
        assert!(message.body.contains("\nValue: 93.25\nThreshold: 80\n"), "{}", message.body);
        assert!(message.body.contains("\nDashboard: https://d/alerts/0190-1\n"), "{}", message.body);
        assert!(!message.body.contains("Runbook") && !message.body.contains("Notes"), "{}", message.body);
    }

    #[test]
    fn nothing_that_an_alert_says_ends_a_line_of_the_subject_or_an_address() {
        let mut notice = notice(AlertKind::HighCpu);
        notice.alert.subject = "a\r\nBcc: everybody@example.org\u{2028}\u{0}".into();
        let settings = NotifySettings {
            dashboard_url: Some(NoticeTemplate::parse("https://d/?s={subject}").unwrap()),
            ..NotifySettings::default()
        };
        let message = wording(&settings).message(&notice);
        assert!(!message.subject.contains(is_break), "{message:?}");
        assert_eq!(message.link.unwrap(), "https://d/?s=a%0D%0ABcc%3A%20everybody%40example.org%E2%80%A8%00");
        assert!(!message.body.contains(['\r', '\0', '\u{2028}']), "{}", message.body);
    }

    #[test]
    fn a_test_is_marked_whatever_the_templates_say() {
        let settings = NotifySettings {
            subject: NoticeTemplate::parse("x").unwrap(),
            body: NoticeTemplate::parse("y").unwrap(),
            ..NotifySettings::default()
        };
        let test = Notice { occasion: Occasion::Test, ..notice(AlertKind::HighCpu) };
        let message = wording(&settings).message(&test);
        assert_eq!(message.subject, "TEST: x");
        assert!(message.body.contains("This is a test") && message.body.ends_with("\n\ny"), "{}", message.body);
    }

    #[test]
    fn what_is_too_long_is_cut_between_characters() {
        assert_eq!(cut("äöü", 2), "äö…");
        assert_eq!(cut("äöü", 3), "äöü");
        assert_eq!(number(0.1 + 0.2), "0.3");
        assert_eq!(number(100.0), "100");
    }
}
