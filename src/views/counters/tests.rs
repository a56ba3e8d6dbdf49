use std::sync::Arc;

use super::*;
use crate::config::JournalSettings;
use crate::journal::{
    AccountDelta, BlockBuilder, Encoder, EventId, Journal, JournalOptions, MonitorIdentity, NewEvent, Path, SourceSlot,
};

/// Events of the monitor `m`, a block for every two.
fn journal(payloads: &[String]) -> (tempfile::TempDir, Journal) {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(dir.path(), JournalOptions::new(JournalSettings::default())).unwrap().0;
    let monitor = Arc::new(MonitorIdentity { index: 0, name: "m".into(), domain: "d".into() });
    for pair in payloads.chunks(2) {
        let mut builder = BlockBuilder::new(Path::Smart);
        let source = builder.source(&monitor, "t", SourceSlot(0));
        builder.account(&monitor, AccountDelta { messages: pair.len() as u64, ..AccountDelta::default() });
        for payload in pair {
            builder.push(&NewEvent {
                source,
                received: UnixNanos::now(),
                event_time: None,
                payload: payload.as_bytes(),
                id: EventId::None,
                key: None,
                hash: None,
                conflict: false,
                handover: false,
            });
        }
        let mut block = builder.finish(&mut Encoder::new());
        // The queue may be full: its writer is at work.
        while let Err(back) = journal.try_submit(block) {
            block = back;
            std::thread::yield_now();
        }
    }
    journal.close().unwrap();
    (dir, journal)
}

fn wanted(counter: &str, settings: &str) -> Wanted {
    Wanted { name: ("m".into(), counter.into()), settings: toml::from_str(settings).unwrap() }
}

fn beginnings() -> Beginnings {
    Beginnings { earliest: Offset(0), hour_ago: Offset(0) }
}

/// To the journal's end.
fn follow(counters: &mut Counters, journal: &Journal) {
    while let Some((_, least)) = counters.places()
        && least < journal.durable()
    {
        counters.follow(&mut journal.reader(), least, 1).unwrap();
    }
}

fn totals(counters: &Counters) -> Vec<(String, u64)> {
    counters.now().into_iter().map(|now| (now.counter, now.total)).collect()
}

fn orders(count: usize) -> Vec<String> {
    let event = |number: usize| match number % 4 {
        0 => format!(r#"{{"type":"order_created","mint":"m{}"}}"#, number % 20),
        1 => format!(r#"{{"type":"order_created","mint":{}}}"#, number % 12),
        2 => r#"{"type":"other","mint":null}"#.to_owned(),
        _ => "no JSON".to_owned(),
    };
    (0..count).map(event).collect()
}

const EQUALS: &str = "pointer = '/type'\nequals = 'order_created'";
const FIRST: &str = "first_seen = '/mint'";

fn both() -> [Wanted; 2] {
    [wanted("orders", EQUALS), wanted("tokens", FIRST)]
}

/// Of `orders(101)`: 26 + 25, and `m0 m4 m8 m12 m16` with 1, 5 and 9.
fn expected() -> Vec<(String, u64)> {
    vec![("orders".into(), 51), ("tokens".into(), 8)]
}

/// What the folder would have.
fn saved(counters: &mut Counters) -> Counters {
    let mut again = Counters::default();
    for (key, value) in counters.take_changes() {
        again.load(&key, &value.unwrap()).unwrap();
    }
    again
}

#[test]
fn wherever_it_is_broken_off_each_event_is_counted_once() {
    let (_dir, journal) = journal(&orders(101));
    for steps in 0..51 {
        let mut counters = Counters::default();
        counters.adopt(&both(), |_| None, &beginnings());
        counters.follow(&mut journal.reader(), Offset(0), steps).unwrap();
        let mut again = saved(&mut counters);
        again.adopt(&both(), |_| None, &beginnings());
        follow(&mut again, &journal);
        assert_eq!(totals(&again), expected(), "after {steps} blocks");
    }
}

#[test]
fn a_lost_folder_goes_on_from_the_record_and_reads_the_keys_again() {
    let (_dir, journal) = journal(&orders(101));
    for steps in 0..51 {
        let mut counters = Counters::default();
        counters.adopt(&both(), |_| None, &beginnings());
        counters.follow(&mut journal.reader(), Offset(0), steps).unwrap();
        let records = counters.records();
        let on_record = |wanted: &Wanted| records.iter().find(|record| *record.counter == *wanted.name.1).cloned();
        let mut anew = Counters::default();
        anew.adopt(&both(), on_record, &beginnings());
        assert_eq!(totals(&anew), totals(&counters), "at once");
        follow(&mut anew, &journal);
        assert_eq!(totals(&anew), expected(), "after {steps} blocks");
        assert_eq!(anew.now()[0].last_hour, 51);
    }
}

#[test]
fn what_retention_deleted_stays_counted_by_the_record() {
    let (_dir, journal) = journal(&orders(101));
    let record = CounterRecord {
        monitor: "m".into(),
        counter: "orders".into(),
        counts: toml::from_str(EQUALS).unwrap(),
        up_to: 60,
        total: 1000,
    };
    let beginnings = Beginnings { earliest: Offset(40), hour_ago: Offset(0) };
    let mut counters = Counters::default();
    counters.adopt(&both()[..1], |_| Some(record.clone()), &beginnings);
    follow(&mut counters, &journal);
    assert_eq!(totals(&counters), [("orders".to_owned(), 1000 + 21)], "41 events behind the record, 21 of them orders");
    assert_eq!(counters.now()[0].missed, 0);
}

#[test]
fn a_new_counter_counts_from_the_beginning_and_holds_up_no_other() {
    let (_dir, journal) = journal(&orders(101));
    let mut counters = Counters::default();
    counters.adopt(&both()[..1], |_| None, &beginnings());
    follow(&mut counters, &journal);
    counters.adopt(&both(), |_| None, &beginnings());
    assert_eq!(counters.places(), Some((Offset(101), Offset(0))));
    assert!(!counters.follow(&mut journal.reader(), Offset(101), 1).unwrap());
    follow(&mut counters, &journal);
    assert_eq!(totals(&counters), expected());
    // One that counts something else begins anew, and one that is gone leaves nothing.
    saved(&mut counters);
    counters.adopt(&[wanted("orders", "pointer = '/type'\nequals = ['other', 1]")], |_| None, &beginnings());
    follow(&mut counters, &journal);
    assert_eq!(totals(&counters), [("orders".to_owned(), 25)]);
    let gone: Vec<u8> =
        counters.take_changes().into_iter().filter(|(_, value)| value.is_none()).map(|(key, _)| key[0]).collect();
    assert_eq!(gone, [b'c', b'k']);
}

#[test]
fn keys_beyond_the_bound_are_forgotten_and_told() {
    let payloads: Vec<String> = (0..1000).map(|number| format!(r#"{{"mint":{number}}}"#)).collect();
    let (_dir, journal) = journal(&payloads);
    let mut counters = Counters { keys_max: Some(600), ..Counters::default() };
    counters.adopt(&both()[1..], |_| None, &beginnings());
    follow(&mut counters, &journal);
    let now = counters.now().remove(0);
    assert_eq!((now.total, now.keys, now.forgotten), (1000, Some(488), 512));
}
