//! `sluice top`: what it shows of a live daemon, what keys do, and the terminal that is given back.

use std::io::{Read, Write};
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use sluice::cli::top::{Key, Panel, Snapshot, Sort, State, text};

use super::changing::{command, takes};
use super::processes::{Daemon, Feed, Settings, until};
use super::support::Workplace;

fn daemon_with_two_monitors(place: &Workplace) -> (Feed, Daemon) {
    let feed = Feed::start(place, &["--dialect", "binance", "--rate", "300"]);
    let settings = Settings::new()
        .with("[batch]\ntimeout = \"20ms\"\n[sinks.files]\nkind = \"jsonl\"\nfolder = \"files\"")
        .upstream("feed", "binance", feed.url())
        .monitor("alpha", "spot", "feed", &["btcusdt@trade"], "")
        .monitor("beta", "spot", "feed", &["ethusdt@trade"], "");
    let daemon = Daemon::start(place, &settings);
    takes(&daemon, "alpha");
    takes(&daemon, "beta");
    (feed, daemon)
}

fn snapshot(daemon: &Daemon) -> Snapshot {
    let ask = |path: &str| match daemon.get(path) {
        (200, body) => Ok(body.into_bytes()),
        (status, body) => Err(format!("{status}: {body}")),
    };
    Snapshot::read(ask).expect("a daemon that answers")
}

fn shows(state: &State, (width, height): (u16, u16), wanted: &[&str]) -> String {
    let lines = text(state, width, height);
    assert_eq!(lines.len(), usize::from(height));
    assert!(lines.iter().all(|line| line.chars().count() <= usize::from(width)));
    let frame = lines.join("\n");
    for wanted in wanted {
        assert!(frame.contains(wanted), "no `{wanted}` in\n{frame}");
    }
    frame
}

#[test]
fn a_frame_shows_every_part_of_a_live_daemon_in_a_small_terminal_and_a_large_one() {
    let place = Workplace::new();
    let (_feed, daemon) = daemon_with_two_monitors(&place);
    let mut state = State::default();
    shows(&state, (80, 24), &["asking the daemon"]);
    state.take(Ok(snapshot(&daemon)), Duration::ZERO);
    takes(&daemon, "alpha");
    state.take(Ok(snapshot(&daemon)), Duration::from_secs(1));
    let parts = [
        "sluice top",
        "journal writable",
        "events/s",
        "Monitors (2)",
        "alpha",
        "beta",
        "live",
        "Upstreams",
        "feed",
        "1/1",
        "Sinks",
        "files",
        "connected",
        "Breakers",
        "closed",
        "Canary",
        "fraction",
        "Alerts",
        "q quit",
    ];
    for size in [(80, 24), (200, 60)] {
        let frame = shows(&state, size, &parts);
        assert!(frame.contains('█') || frame.contains('▇') || frame.contains('▁'), "a curve of what came: {frame}");
    }
    shows(&state, (79, 24), &["needs 80x24"]);
    shows(&state, (80, 23), &["needs 80x24"]);
    shows(&state, (10, 3), &["This"]);

    state.take(Err("nobody is there".to_owned()), Duration::from_secs(2));
    shows(&state, (80, 24), &["AWAY", "nobody is there", "alpha"]);
    state.take(Ok(snapshot(&daemon)), Duration::from_secs(3));
    assert!(!shows(&state, (80, 24), &[]).contains("AWAY"));
    daemon.stop();
}

#[test]
fn keys_change_what_is_shown_and_nothing_else() {
    let place = Workplace::new();
    let (_feed, daemon) = daemon_with_two_monitors(&place);
    let mut state = State::default();
    let first = snapshot(&daemon);
    state.take(Ok(first), Duration::ZERO);
    assert_eq!(state.names(Panel::Monitors), ["alpha feed", "beta feed"]);
    state.key(Key::Reverse);
    assert_eq!(state.names(Panel::Monitors), ["beta feed", "alpha feed"]);
    assert_eq!(state.chosen().as_deref(), Some("beta feed"));
    state.key(Key::Down);
    assert_eq!(state.chosen().as_deref(), Some("alpha feed"));
    state.key(Key::Down);
    assert_eq!(state.chosen().as_deref(), Some("alpha feed"), "there is none below");
    state.key(Key::Reverse);
    assert_eq!(state.chosen().as_deref(), Some("alpha feed"), "it stays chosen where rows change places");
    for sort in [Sort::Rate, Sort::Events, Sort::Quarantined, Sort::Name] {
        state.key(Key::Sort);
        assert_eq!(state.sort, sort);
    }
    state.key(Key::Open);
    shows(&state, (80, 24), &["Monitor alpha", "parse_rate:", "esc: back"]);
    state.key(Key::NextPanel);
    assert_eq!(state.panel, Panel::Monitors, "not out of one row");
    state.key(Key::Back);
    state.key(Key::NextPanel);
    state.key(Key::Open);
    shows(&state, (200, 60), &["Upstream feed", "links_open: 1", "links:", "state open"]);
    state.key(Key::Back);
    state.key(Key::NextPanel);
    state.key(Key::Open);
    shows(&state, (80, 24), &["Sink files", "cursor:"]);
    state.key(Key::Back);
    state.key(Key::PreviousPanel);
    assert_eq!(state.panel, Panel::Upstreams);

    state.key(Key::Pause);
    let paused = shows(&state, (80, 24), &["PAUSED"]);
    takes(&daemon, "alpha");
    state.take(Ok(snapshot(&daemon)), Duration::from_secs(1));
    let in_all = |frame: &str| frame.split_once("in all ").unwrap().1.split(' ').next().unwrap().to_owned();
    assert_eq!(in_all(&shows(&state, (80, 24), &["PAUSED"])), in_all(&paused), "it stands still");
    state.key(Key::Pause);
    state.take(Ok(snapshot(&daemon)), Duration::from_secs(2));
    assert_ne!(in_all(&shows(&state, (80, 24), &[])), in_all(&paused));

    state.key(Key::Help);
    shows(&state, (80, 24), &["Keys", "the other way round"]);
    state.key(Key::Sort);
    assert!(!state.help && state.sort == Sort::Name, "the first key only closes the page");
    state.key(Key::Quit);
    assert!(state.over);
    daemon.stop();
}

#[test]
fn without_a_terminal_it_says_what_to_do_and_once_prints_a_frame() {
    let place = Workplace::new();
    let (_feed, daemon) = daemon_with_two_monitors(&place);
    let refused = command(&place, &daemon, &["top"]);
    assert_eq!(refused.code, Some(2));
    assert!(refused.stderr.contains("needs a terminal") && refused.stderr.contains("--once"), "{}", refused.stderr);
    let once = command(&place, &daemon, &["top", "--once"]);
    assert_eq!(once.code, Some(0), "{}", once.stderr);
    assert!(
        once.stdout.contains("alpha") && once.stdout.contains("Upstreams") && !once.stdout.contains('\u{1b}'),
        "{}",
        once.stdout
    );
    let listen = format!("server.listen={}", daemon.address());
    daemon.stop();
    let away = place.run(["--config", "sluice.toml", "--set", &listen, "top", "--once"]);
    assert_eq!((away.code, away.stdout.as_str()), (Some(3), ""), "{}", away.stderr);
}

/// A shell in a terminal of its own, by util-linux' `script`.
struct Terminal {
    script: Child,
    screen: Arc<Mutex<String>>,
}

impl Terminal {
    fn run(place: &Workplace, line: &str) -> Self {
        let path = std::env::var("PATH").unwrap_or_default();
        let mut command = std::process::Command::new("script");
        command.args(["--quiet", "--return", "--command", line, "/dev/null"]);
        command
            .current_dir(place.path(""))
            .env_clear()
            .env("PATH", path)
            .env("TERM", "xterm-256color")
            .env("SHELL", "/bin/sh");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut script = command.spawn().expect("script of util-linux");
        let mut output = script.stdout.take().expect("it is piped");
        let screen = Arc::<Mutex<String>>::default();
        let into = Arc::clone(&screen);
        std::thread::spawn(move || {
            let mut chunk = [0; 4096];
            while let Ok(read @ 1..) = output.read(&mut chunk) {
                into.lock().unwrap().push_str(&String::from_utf8_lossy(&chunk[..read]));
            }
        });
        Self { script, screen }
    }

    fn screen(&self) -> String {
        self.screen.lock().unwrap().clone()
    }

    fn until(&self, what: &str, from: usize) -> usize {
        until(&format!("the terminal shows `{what}`"), || {
            self.screen().get(from..)?.find(what).map(|at| from + at + what.len())
        })
    }

    fn types(&mut self, keys: &str) {
        let stdin = self.script.stdin.as_mut().expect("it is piped");
        stdin.write_all(keys.as_bytes()).and_then(|()| stdin.flush()).expect("the terminal takes keys");
    }

    /// What the terminal is like after the program: its modes as `stty -a` says, and that it left the other screen.
    fn is_given_back(&self) {
        let at = self.until("ended 0", 0);
        self.until("over", at);
        let screen = self.screen();
        let modes = &screen[at..];
        assert!(modes.contains(" icanon") && modes.contains(" echo ") && !modes.contains("-icanon"), "{modes}");
        let (entered, left) = (screen.rfind("\u{1b}[?1049h"), screen.rfind("\u{1b}[?1049l"));
        assert!(entered.is_some() && left > entered, "the screen of before is shown again");
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // It may have ended by itself.
        self.script.kill().ok();
        self.script.wait().ok();
    }
}

fn line(place: &Workplace, address: &str) -> String {
    let command = place.command(["--config", "sluice.toml", "--set", &format!("server.listen={address}"), "top"]);
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words: Vec<String> = words.map(|word| format!("'{}'", word.to_string_lossy())).collect();
    format!(
        "stty rows 30 cols 100; sh -c 'echo pid=$$; exec \"$0\" \"$@\"' {}; echo ended $?; stty -a; echo over",
        words.join(" ")
    )
}

#[test]
fn on_a_terminal_it_follows_the_daemon_also_when_that_goes_and_comes_back_and_q_gives_the_terminal_back() {
    let place = Workplace::new();
    let (_feed, daemon) = daemon_with_two_monitors(&place);
    let address = daemon.address().to_owned();
    let mut terminal = Terminal::run(&place, &line(&place, &address));
    terminal.until("alpha", 0);
    terminal.until("beta", 0);
    terminal.types("?");
    let at = terminal.until("any of them goes back", 0);
    terminal.types("x");
    terminal.types("\u{1b}");
    daemon.stop();
    let at = terminal.until("AWAY", at);
    let daemon =
        Daemon::of(place.command(["run", "--config", "sluice.toml", "--set", &format!("server.listen={address}")]));
    terminal.until("event", at);
    terminal.types("q");
    terminal.is_given_back();
    daemon.stop();
}

#[test]
fn a_signal_ends_it_with_the_terminal_given_back() {
    let place = Workplace::new();
    let (_feed, daemon) = daemon_with_two_monitors(&place);
    let terminal = Terminal::run(&place, &line(&place, daemon.address()));
    terminal.until("alpha", 0);
    let screen = terminal.screen();
    let pid = screen.split_once("pid=").unwrap().1.split(['\r', '\n']).next().unwrap();
    let pid = Pid::from_raw(pid.parse().unwrap()).expect("a process");
    kill_process(pid, Signal::TERM).unwrap();
    terminal.is_given_back();
    daemon.stop();
}
