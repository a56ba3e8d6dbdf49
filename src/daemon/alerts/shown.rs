//! Alerts as the server shows them, and as people change them.

use std::collections::BTreeMap;

use uuid::Uuid;

use super::{Alerts, cooldown_of, lock};
use crate::alert::book::{Change, Refused, SLUICE, Withheld};
use crate::alert::silence::Silence;
use crate::alert::{AlertStatus, Severity};
use crate::clock::UnixNanos;
use crate::config::units::{parse_duration, parse_moment};
use crate::server::{
    self, AcknowledgeRequest, AlertCounts, AlertQuery, AlertRow, AlertSummary, Refusal, ResolveRequest, RuleRow,
    RuleSubject, SilenceRequest,
};

/// Who resolves an alert without a name.
const OPERATOR: &str = "operator";

impl server::Alerts for Alerts {
    fn list(&self, query: &AlertQuery) -> Vec<AlertRow> {
        let book = self.board.lock();
        let all = book.live().chain(book.resolved());
        let mut rows: Vec<AlertRow> = all.filter(|held| query.admits(held)).cloned().collect();
        drop(book);
        // Ids begin with the time.
        rows.sort_by(|a, b| (&b.alert.created_at, &b.alert.id).cmp(&(&a.alert.created_at, &a.alert.id)));
        rows.truncate(query.limit);
        rows
    }

    fn get(&self, id: &str) -> Option<AlertRow> {
        self.board.lock().get(id).cloned()
    }

    fn summary(&self) -> AlertSummary {
        let book = self.board.lock();
        let mut summary = AlertSummary { silences: book.silences(UnixNanos::now()).count(), ..AlertSummary::default() };
        for severity in [Severity::Info, Severity::Warning, Severity::Critical] {
            summary.by_severity.entry(severity.as_str().to_owned()).or_default();
        }
        for held in book.live().chain(book.resolved()) {
            let of_severity = summary.by_severity.entry(held.alert.severity.as_str().to_owned()).or_default();
            count(of_severity, held.alert.status);
            count(summary.by_type.entry(held.alert.kind.as_str().to_owned()).or_default(), held.alert.status);
            count(&mut summary.total, held.alert.status);
        }
        for held in book.live() {
            summary.suppressed += usize::from(held.withheld == Some(Withheld::Cooldown));
            summary.silenced += usize::from(held.withheld == Some(Withheld::Silence));
        }
        summary
    }

    fn rules(&self) -> Vec<RuleRow> {
        let rules = self.rules();
        let seen: Vec<_> = {
            let engine = lock(&self.engine);
            rules.iter().map(|rule| engine.seen(&rule.name)).collect()
        };
        let stands: BTreeMap<(String, String), AlertStatus> = {
            let book = self.board.lock();
            let stand = |held: &AlertRow| ((held.rule.clone(), held.alert.subject.clone()), held.alert.status);
            book.live().map(stand).collect()
        };
        let state = |rule: &str, subject: &str, wrong: bool| match stands.get(&(rule.to_owned(), subject.to_owned())) {
            Some(AlertStatus::Acknowledged) => "acknowledged",
            Some(_) => "open",
            None if wrong => "pending",
            None => "ok",
        };
        let row = |(rule, seen): (&crate::alert::rules::Rule, Vec<crate::alert::Seen>)| RuleRow {
            rule: rule.name.to_string(),
            kind: rule.kind,
            what: rule.what.to_string(),
            figure: rule.figure,
            nature: rule.nature,
            side: rule.side,
            threshold: rule.threshold,
            unit: rule.unit.to_string(),
            lasts: rule.lasts.as_secs_f64(),
            window_seconds: rule.window.as_secs_f64(),
            severity: rule.severity,
            cooldown_seconds: rule.cooldown.as_secs_f64(),
            enabled: rule.enabled,
            subjects: seen
                .into_iter()
                .map(|seen| RuleSubject {
                    subject: seen.subject.to_string(),
                    value: seen.value,
                    state: state(&rule.name, &seen.subject, seen.wrong).to_owned(),
                })
                .collect(),
        };
        rules.iter().zip(seen).map(row).collect()
    }

    fn acknowledge(&self, id: &str, request: &AcknowledgeRequest) -> Result<AlertRow, Refusal> {
        let AcknowledgeRequest { acknowledged_by, notes } = request;
        let change = self.change(
            |book, now| book.acknowledge(id, acknowledged_by.as_deref(), notes.as_deref(), now).map_err(Refusal::from),
            |change| self.held_event(change),
        )?;
        Ok(self.done(change))
    }

    fn resolve(&self, id: &str, request: &ResolveRequest) -> Result<AlertRow, Refusal> {
        // Who ends a condition is told from who says that it has ended.
        let by = request.resolved_by.as_deref().filter(|by| !by.is_empty() && *by != SLUICE).unwrap_or(OPERATOR);
        let rules = self.rules();
        let change = self.change(
            |book, now| {
                let rule = book.get(id).map(|held| held.rule.clone()).unwrap_or_default();
                book.resolve(id, by, request.resolution.as_deref(), cooldown_of(&rules)(&rule), now)
                    .map_err(Refusal::from)
            },
            |change| self.held_event(change),
        )?;
        Ok(self.done(change))
    }

    fn silences(&self) -> Vec<Silence> {
        self.board.lock().silences(UnixNanos::now()).cloned().collect()
    }

    fn silence(&self, request: &SilenceRequest) -> Result<Silence, Refusal> {
        let SilenceRequest { rule, subject, severity, until, reason, by } = request;
        let bad = |error: String| Refusal { status: 400, error };
        if rule.is_none() && subject.is_none() && severity.is_none() {
            return Err(bad("say which alerts: by `rule`, `subject` or `severity`; `\"rule\": \"*\"` is all".into()));
        }
        let now = UnixNanos::now();
        let until = match parse_duration(until) {
            Ok(span) => now.saturating_add(span),
            Err(_) => parse_moment(until).map_err(|error| bad(format!("`until`: {error}")))?,
        };
        if until <= now {
            return Err(bad(format!("`until` is {until}, which is over")));
        }
        let silence = Silence {
            id: Uuid::now_v7().to_string(),
            rule: rule.clone(),
            subject: subject.clone(),
            severity: *severity,
            reason: reason.clone(),
            by: by.clone(),
            since: now.to_string(),
            until: until.to_string(),
        };
        self.change(
            |book, _| {
                let error = "there are too many silences; end some by `sluice alerts unsilence`".to_owned();
                book.silence(silence.clone()).then_some(silence).ok_or(Refusal { status: 409, error })
            },
            |silence| self.silence_event(silence),
        )
    }

    fn unsilence(&self, id: &str) -> Result<Silence, Refusal> {
        self.change(
            |book, now| {
                let error = format!("there is no silence `{id}`; it may have ended");
                book.unsilence(id, now).ok_or(Refusal { status: 404, error })
            },
            |silence| self.silence_event(silence),
        )
    }
}

impl Alerts {
    fn done(&self, change: Change) -> AlertRow {
        let row = change.held.clone();
        self.tell(change);
        self.measure();
        row
    }
}

fn count(counts: &mut AlertCounts, status: AlertStatus) {
    match status {
        AlertStatus::Open => counts.open += 1,
        AlertStatus::Acknowledged => counts.acknowledged += 1,
        AlertStatus::Resolved => counts.resolved += 1,
    }
}

impl From<Refused> for Refusal {
    fn from(refused: Refused) -> Self {
        let status = match refused {
            Refused::Unknown(_) => 404,
            Refused::State { .. } => 409,
        };
        Self { status, error: refused.to_string() }
    }
}
