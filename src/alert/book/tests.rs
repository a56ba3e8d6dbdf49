use super::*;
use crate::alert::notify::Outcome;
use crate::alert::rules;
use crate::alert::silence::Pattern;

const COOLDOWN: Duration = Duration::from_mins(5);

fn at(seconds: u64) -> UnixNanos {
    UnixNanos(1_700_000_000_000_000_000).saturating_add(Duration::from_secs(seconds))
}

fn rule() -> Rule {
    Rule::built_in(rules::reference(AlertKind::SinkDown).unwrap(), COOLDOWN)
}

const FOUND: Found<'_> = Found { subject: "files", value: 1.0, message: "sink `files` takes nothing" };

fn cooldown(_: &str) -> Duration {
    COOLDOWN
}

/// As a restart finds it: out of a snapshot.
fn restored(book: &Book) -> Book {
    let text = serde_json::to_vec(&book.record()).unwrap();
    let mut again = Book::default();
    again.restore(serde_json::from_slice(&text).unwrap());
    again
}

/// As a restart finds it: out of changes that are on record.
fn replayed(changes: &[&Change]) -> Book {
    let mut book = Book::default();
    for change in changes {
        let text = serde_json::to_vec(&change.held).unwrap();
        book.replay(serde_json::from_slice(&text).unwrap(), cooldown);
    }
    book
}

#[test]
fn an_alert_is_opened_once_acknowledged_and_over_and_each_is_told() {
    let mut book = Book::default();
    let opened = book.firing(&rule(), FOUND, at(0)).unwrap();
    assert_eq!((opened.tell, opened.held.alert.status), (Some(Occasion::Opened), AlertStatus::Open));
    assert_eq!(book.firing(&rule(), Found { value: 2.0, ..FOUND }, at(1)), None, "it is open already");
    assert!((book.live().next().unwrap().alert.value - 2.0).abs() < 1e-9, "its value is brought up to date");
    let id = opened.held.alert.id;
    let seen = book.acknowledge(&id, Some("anna"), Some("on it"), at(2)).unwrap();
    assert_eq!((seen.tell, seen.held.alert.status), (Some(Occasion::Acknowledged), AlertStatus::Acknowledged));
    assert_eq!(seen.held.alert.acknowledged_by.as_deref(), Some("anna"));
    assert_eq!(book.firing(&rule(), FOUND, at(3)), None);
    let over = book.clear("SINK_DOWN", "files", "it is back", at(4)).unwrap();
    assert_eq!((over.tell, over.held.alert.status), (Some(Occasion::Resolved), AlertStatus::Resolved));
    assert_eq!(
        (over.held.alert.resolved_by.as_deref(), over.held.alert.resolution.as_deref()),
        (Some("sluice"), Some("it is back"))
    );
    assert_eq!(book.clear("SINK_DOWN", "files", "it is back", at(5)), None);
    assert_eq!((book.live().count(), book.resolved().count()), (0, 1));
}

#[test]
fn what_is_in_another_state_is_refused() {
    let mut book = Book::default();
    let id = book.firing(&rule(), FOUND, at(0)).unwrap().held.alert.id;
    assert!(matches!(book.acknowledge("x", None, None, at(1)), Err(Refused::Unknown(_))));
    book.acknowledge(&id, None, None, at(1)).unwrap();
    let twice = book.acknowledge(&id, None, None, at(2));
    assert!(matches!(twice, Err(Refused::State { status: AlertStatus::Acknowledged, .. })), "{twice:?}");
    book.resolve(&id, "anna", None, COOLDOWN, at(3)).unwrap();
    for refused in [book.resolve(&id, "anna", None, COOLDOWN, at(4)), book.acknowledge(&id, None, None, at(4))] {
        assert!(matches!(refused, Err(Refused::State { status: AlertStatus::Resolved, .. })), "{refused:?}");
    }
}

#[test]
fn within_the_cooldown_nobody_is_told_of_the_same_rule_and_subject_again_over_restarts_too() {
    let mut book = Book::default();
    let first = book.firing(&rule(), FOUND, at(0)).unwrap();
    let over = book.clear("SINK_DOWN", "files", "", at(10)).unwrap();
    assert!(first.tell.is_some() && over.tell.is_some());
    for mut book in [book.clone(), restored(&book), replayed(&[&first, &over])] {
        let again = book.firing(&rule(), FOUND, at(20)).unwrap();
        assert_eq!((again.tell, again.held.suppressed), (None, true), "it is recorded all the same");
        let other = book.firing(&rule(), Found { subject: "others", ..FOUND }, at(20)).unwrap();
        assert!(other.tell.is_some(), "another subject has a cooldown of its own");
        let ended = book.clear("SINK_DOWN", "files", "", at(30)).unwrap();
        assert_eq!(ended.tell, None, "nobody heard of its beginning");
        book.due(cooldown, at(299));
        assert_eq!(book.firing(&rule(), FOUND, at(299)).unwrap().tell, None);
        // It goes on when the cooldown is over: now it is told, once.
        let told = book.due(cooldown, at(301));
        assert_eq!(told.iter().map(|change| change.tell).collect::<Vec<_>>(), [Some(Occasion::Opened)]);
        assert_eq!(told[0].held.what, What::Told);
        assert_eq!(book.due(cooldown, at(302)), []);
    }
}

#[test]
fn a_restart_in_each_state_goes_on_where_it_was() {
    let mut book = Book::default();
    let opened = book.firing(&rule(), FOUND, at(0)).unwrap();
    for mut again in [restored(&book), replayed(&[&opened])] {
        assert_eq!(again.firing(&rule(), FOUND, at(5)), None, "it is open still, and nobody is told twice");
        assert_eq!(again.due(cooldown, at(400)), []);
        assert!(again.clear("SINK_DOWN", "files", "", at(401)).is_some_and(|over| over.tell.is_some()));
    }
    let seen = book.acknowledge(&opened.held.alert.id, Some("anna"), None, at(1)).unwrap();
    for again in [restored(&book), replayed(&[&opened, &seen])] {
        let held = again.get(&opened.held.alert.id).unwrap();
        assert_eq!(
            (held.alert.status, held.alert.acknowledged_by.as_deref()),
            (AlertStatus::Acknowledged, Some("anna"))
        );
    }
    let over = book.resolve(&opened.held.alert.id, "anna", Some("restarted"), COOLDOWN, at(2)).unwrap();
    let again = replayed(&[&opened, &seen, &over]);
    assert_eq!(
        (again.live().count(), again.get(&opened.held.alert.id).unwrap().alert.status),
        (0, AlertStatus::Resolved)
    );
}

#[test]
fn what_an_operator_resolved_and_goes_on_is_opened_again_only_after_the_cooldown_or_when_it_was_well_between() {
    let mut book = Book::default();
    let opened = book.firing(&rule(), FOUND, at(0)).unwrap();
    let over = book.resolve(&opened.held.alert.id, "anna", None, COOLDOWN, at(10)).unwrap();
    for mut book in [book.clone(), restored(&book), replayed(&[&opened, &over])] {
        assert_eq!(book.firing(&rule(), FOUND, at(20)), None, "it goes on");
        assert!(book.clone().firing(&rule(), FOUND, at(311)).is_some());
        assert_eq!(book.clear("SINK_DOWN", "files", "", at(30)), None);
        assert!(book.firing(&rule(), FOUND, at(40)).is_some(), "it was well between");
    }
}

fn silence(until: UnixNanos) -> Silence {
    Silence {
        id: "s".into(),
        rule: Some(Pattern::new("SINK_*")),
        subject: None,
        severity: None,
        reason: None,
        by: None,
        since: at(0).to_string(),
        until: until.to_string(),
    }
}

#[test]
fn what_is_silenced_is_recorded_and_told_when_the_silence_ends_if_it_still_goes_on() {
    let mut book = Book::default();
    assert!(book.silence(silence(at(100))));
    let opened = book.firing(&rule(), FOUND, at(1)).unwrap();
    assert_eq!((opened.tell, opened.held.withheld, opened.held.suppressed), (None, Some(Withheld::Silence), false));
    for mut book in [book.clone(), restored(&book)] {
        assert_eq!((book.due(cooldown, at(99)), book.silences(at(99)).count()), (Vec::new(), 1));
        let told = book.due(cooldown, at(100));
        assert_eq!((told.len(), told[0].tell, book.silences(at(100)).count()), (1, Some(Occasion::Opened), 0));
    }
    // One that somebody has seen to meanwhile needs no telling.
    let mut seen = book.clone();
    seen.acknowledge(&opened.held.alert.id, None, None, at(5)).unwrap();
    assert_eq!(seen.due(cooldown, at(100)), []);
    // And one that ends before its time.
    assert_eq!(book.unsilence("s", at(50)).unwrap().until, at(50).to_string());
    assert_eq!(book.due(cooldown, at(50)).len(), 1);
    assert_eq!(book.unsilence("s", at(51)), None);
}

#[test]
fn what_is_remembered_is_bounded() {
    let mut book = Book::default();
    for number in 0..=LIVE_MAX {
        let subject = number.to_string();
        let opened = book.firing(&rule(), Found { subject: &subject, ..FOUND }, at(0));
        assert_eq!(opened.is_some(), number < LIVE_MAX);
    }
    assert_eq!(book.overflowed(), 1);
    for round in 0..3 {
        for number in 0..LIVE_MAX {
            book.clear("SINK_DOWN", &number.to_string(), "", at(round));
            book.firing(&rule(), Found { subject: &number.to_string(), ..FOUND }, at(round));
        }
    }
    assert_eq!((book.live().count(), book.resolved().count()), (LIVE_MAX, RESOLVED_MAX));
    for number in 0..=SILENCES_MAX {
        let silence = Silence { id: number.to_string(), ..silence(at(1000)) };
        assert_eq!(book.silence(silence), number < SILENCES_MAX);
    }
    let id = book.live().next().unwrap().alert.id.clone();
    for attempts in 0..200 {
        let (alert, channel) = (id.clone(), "webhook".to_owned());
        book.delivered(Delivery {
            alert,
            channel,
            occasion: Occasion::Opened,
            at: at(0).to_string(),
            attempts,
            outcome: Outcome::Sent,
            error: None,
        });
    }
    let known = &book.get(&id).unwrap().alert.notifications;
    assert_eq!((known.len(), known.last().unwrap().attempts), (DELIVERIES_MAX, 199));
}
