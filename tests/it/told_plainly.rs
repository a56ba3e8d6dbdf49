//! What goes wrong at the first try is told in words that say what to do.

use std::io::Read as _;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;

use rustix::process::Signal;

use super::processes::{Daemon, Feed, Process, Settings, json, until};
use super::support::Workplace;

/// A session whose provider waits to be asked.
const ASKED: &str = concat!(
    "{\"t\":\"1\",\"dir\":\"open\",\"url\":\"ws://h/\"}\n",
    "{\"t\":\"1\",\"dir\":\"out\",\"text\":\"{\\\"op\\\":\\\"subscribe\\\"}\"}\n",
    "{\"t\":\"2\",\"dir\":\"in\",\"text\":\"{\\\"n\\\":1}\"}\n",
);

/// Exit code and standard error of a command that fails.
fn refused(place: &Workplace, arguments: &[&str]) -> (i32, String) {
    let outcome = place.run(arguments);
    assert_ne!(outcome.code, Some(0), "{arguments:?}: {}{}", outcome.stdout, outcome.stderr);
    (outcome.code.expect("an exit"), outcome.stderr)
}

#[test]
fn a_recording_is_served_to_a_client_that_only_listens_and_the_summary_says_so() {
    let place = Workplace::new().with_file("asked.session.jsonl", ASKED);
    let feed = Feed::start(&place, &["--recording", "asked.session.jsonl"]);
    let recorded = place.run(["record", "--url", feed.url(), "--frames", "1", "--out", "heard.session.jsonl"]);
    assert_eq!(recorded.code, Some(0), "{}", recorded.stderr);
    assert!(std::fs::read_to_string(place.path("heard.session.jsonl")).unwrap().contains("\"n\\\":1"));
    let figures = feed.stop();
    assert!(figures.contains("1 begun unasked"), "{figures}");
}

#[test]
fn a_recorder_to_which_nothing_comes_says_so_and_how_to_ask() {
    let place = Workplace::new();
    // It sends nothing before somebody subscribes.
    let feed = Feed::start(&place, &["--dialect", "binance"]);
    let url = feed.url().to_owned();
    let mut recorder = Process::start(&place, &["record", "--url", &url, "--out", "heard.session.jsonl"]);
    until("it says so", || recorder.stderr().contains("nothing has come").then_some(()));
    assert!(recorder.stderr().contains("`--send TEXT`"), "{}", recorder.stderr());
    recorder.signal(Signal::INT);
    assert!(recorder.end().success());
}

#[test]
fn a_recorder_without_anything_to_record_names_both_ways() {
    let (_, said) = refused(&Workplace::new(), &["record"]);
    assert!(said.contains("name an upstream") && said.contains("`--url`"), "{said}");
}

#[test]
fn files_that_are_named_and_not_there_are_refused_with_their_place() {
    let place = Workplace::new();
    let settings = |enrich: &str, upstream: &str| {
        Settings::new().upstream("feed", "okx", "ws://127.0.0.1:1/").with(upstream).monitor(
            "m",
            "d",
            "feed",
            &["trades:BTC-USDT"],
            enrich,
        )
    };
    settings("enrich.names = { file = \"names.csv\", key = \"{key}\", fields = { name = \"name\" } }", "")
        .write(&place);
    let (code, said) = refused(&place, &["--config", "sluice.toml", "config", "check"]);
    assert!(code == 78 && said.contains("monitors.m.enrich.names.file") && said.contains("names.csv"), "{code} {said}");
    place.write("names.csv", "key,name\na,b\n");
    assert_eq!(place.run(["--config", "sluice.toml", "config", "check"]).code, Some(0));
    settings("", "ca_file = \"own.pem\"").write(&place);
    let (code, said) = refused(&place, &["--config", "sluice.toml", "config", "check"]);
    assert!(code == 78 && said.contains("own.pem"), "{code} {said}");
}

#[test]
fn a_gap_that_goes_on_is_counted_to_the_journals_end_and_this_is_said() {
    let place = Workplace::new();
    let feed = Feed::start(&place, &["--dialect", "okx"]);
    let settings =
        Settings::new().upstream("feed", "okx", feed.url()).monitor("m", "d", "feed", &["trades:BTC-USDT"], "");
    let daemon = Daemon::start(&place, &settings);
    until("it is watched", || (daemon.frames("feed") > 10).then_some(()));
    let gaps = || place.run(["--config", "sluice.toml", "gaps"]);
    assert!(!gaps().stderr.contains("no daemon runs"));
    daemon.stop();
    feed.stop();
    let outcome = gaps();
    assert!(outcome.stdout.contains("goes on"), "{}", outcome.stdout);
    assert!(
        outcome.stderr.contains("no daemon runs: what goes on is counted to the journal's end"),
        "{}",
        outcome.stderr
    );
    assert!(json(&place, &["gaps", "--open"]).contains("\"end\""));
}

#[test]
fn a_simulator_takes_no_options_that_contradict_each_other_and_says_what_it_can_be() {
    let place = Workplace::new().with_file("asked.session.jsonl", ASKED);
    let of = |more: &[&str]| refused(&place, &[&["simulate"], more].concat()).1;
    let said = of(&["--recording", "asked.session.jsonl", "--pace", "fast", "--speed", "2"]);
    assert!(said.contains("--pace") && said.contains("--speed") && said.contains("cannot be used with"), "{said}");
    let said = of(&["--dialect", "okx", "--rate", "-1"]);
    assert!(said.contains("a rate is a whole number"), "{said}");
    let said = of(&[]);
    assert!(["--dialect", "--recording", "--flood"].iter().all(|way| said.contains(way)), "{said}");
}

#[test]
fn a_file_that_is_no_recording_is_called_what_it_is() {
    let place = Workplace::new()
        .with_file("stream.sse", "event: message\ndata: {}\n\n")
        .with_file("ok.sse", ":ok\n\nevent: message\ndata: {}\n\n")
        .with_file("pretty.json", "{\n  \"a\": 1\n}\n")
        .with_file("notes.txt", "hello\n")
        .with_file("empty.jsonl", "")
        .with_file("open.session.jsonl", "{\"t\":\"1\",\"dir\":\"open\",\"url\":\"ws://h/\"}\n");
    for (file, what) in [
        ("stream.sse", "a stream of server-sent events"),
        ("ok.sse", "a stream of server-sent events"),
        ("pretty.json", "JSON over several lines"),
        ("notes.txt", "no JSON"),
        ("empty.jsonl", "it has no frame that a"),
        ("open.session.jsonl", "it has no frame that a"),
    ] {
        for command in [&["simulate", "--recording", file][..], &["config", "infer", file]] {
            let (_, said) = refused(&place, command);
            assert!(said.contains(what) && said.contains(file), "{command:?}: {said}");
        }
    }
}

#[test]
fn a_secret_that_cannot_be_read_is_not_called_missing_and_a_place_without_a_name_is_refused() {
    let place = Workplace::new().with_file("key", "secret\n");
    let settings = |secret: &str| {
        Settings::new()
            .with("[upstreams.feed]\nurl = \"ws://127.0.0.1:1/\"\ndialect = \"okx\"\n[upstreams.feed.auth]")
            .with(&format!("secrets = {{ key = {secret} }}\nheaders = {{ X-Key = \"{{key}}\" }}"))
            .monitor("m", "d", "feed", &["trades:BTC-USDT"], "")
    };
    for empty in ["{ env = \"\" }", "{ file = \"\" }", "{ credential = \"\" }"] {
        settings(empty).write(&place);
        let (code, said) = refused(&place, &["--config", "sluice.toml", "config", "check"]);
        assert!(code == 78 && said.contains("names no place"), "{code} {said}");
    }
    // A folder can be opened by anybody, root too, and not be read.
    std::fs::create_dir(place.path("folder")).unwrap();
    std::fs::set_permissions(place.path("key"), std::fs::Permissions::from_mode(0o600)).unwrap();
    let daemon = Daemon::start(&place, &settings("{ file = \"folder\" }"));
    until("it is told", || daemon.log().contains("auth.secrets.key").then_some(()));
    let log = daemon.stop();
    assert!(log.contains("cannot be read: file") && !log.contains("is missing"), "{log}");
}

#[test]
fn braces_that_an_address_writes_out_are_no_hole() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let place = Workplace::new();
    let settings = |path: &str| {
        let url = format!("ws://{address}/{path}");
        Settings::new().upstream("feed", "okx", &url).monitor("m", "d", "feed", &["trades:BTC-USDT"], "")
    };
    settings("{foo}").write(&place);
    let (_, said) = refused(&place, &["--config", "sluice.toml", "config", "check"]);
    assert!(said.contains("knows no `{foo}`"), "{said}");
    let daemon = Daemon::start(&place, &settings("%7Bfoo%7D"));
    let (mut stream, _) = listener.accept().unwrap();
    let mut head = [0; 64];
    stream.read_exact(&mut head).unwrap();
    let head = String::from_utf8_lossy(&head).to_ascii_lowercase();
    assert!(head.starts_with("get /%7bfoo%7d http/1.1"), "{head}");
    drop(stream);
    daemon.stop();
}

#[test]
fn more_than_one_topic_on_a_link_of_server_sent_events_is_refused() {
    let place = Workplace::new();
    let settings = |own: &str, dialect: &str, more: &str| {
        let settings = Settings::new().with(own).upstream("feed", dialect, "http://127.0.0.1:1/").with(more);
        settings.monitor("m", "d", "feed", &["recentchange"], "").write(&place);
        refused(&place, &["--config", "sluice.toml", "config", "check"])
    };
    let (code, said) = settings("", "wikimedia", "topics_per_link = 2");
    assert!(code == 78 && said.contains("topics_per_link") && said.contains("one topic"), "{code} {said}");
    let own = "[dialects.own]\nkind = \"sse\"\nlimits = { topics_per_link = 2 }";
    let (code, said) = settings(own, "own", "");
    assert!(code == 78 && said.contains("topics_per_link") && said.contains("one topic"), "{code} {said}");
}

#[test]
fn an_event_longer_than_max_message_ends_the_link_and_says_which_setting_is_meant() {
    let place = Workplace::new();
    let feed = Feed::start(&place, &["--dialect", "sse", "--giant-frame", "3MiB"]);
    let settings = Settings::new().upstream("feed", "wikimedia", feed.url()).with("max_message = \"1MiB\"").monitor(
        "m",
        "d",
        "feed",
        &["recentchange"],
        "",
    );
    let daemon = Daemon::start(&place, &settings);
    until("the link is lost", || daemon.log().contains("raise `max_message`").then_some(()));
    let before = daemon.frames("feed");
    until("it goes on", || (daemon.frames("feed") > before + 20).then_some(()));
    daemon.stop();
    feed.stop();
}
