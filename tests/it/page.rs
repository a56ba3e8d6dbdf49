//! The web page in a browser, against the daemon under load and with faults. The cases are in tests/page; here is what they are shown.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use sluice::simulator::{Faults, SimulatedDialect, Simulator, SimulatorSettings};
use tokio::runtime::Runtime;
use tokio_tungstenite::tungstenite::Message;

use super::anvil_node::free_port;
use super::processes::{Daemon, Feed, Process, Settings, until_within};
use super::raw_upstream::{Manner, RawUpstream};
use super::support::{Workplace, project_file};

/// A browser beside the daemon, on a machine that other tests share.
const PATIENCE: Duration = Duration::from_mins(4);

const TOKEN: &str = "0123456789abcdef-of-the-page";

/// A case under way.
struct Case(Process);

impl Case {
    /// None: there is no Playwright here, which `scripts/test` brings along.
    fn start(name: &str, daemon: &Daemon, token: Option<&str>) -> Option<Self> {
        let Some(playwright) = std::env::var_os("PLAYWRIGHT") else {
            assert!(project_file("scripts/test").contains("need_playwright"), "scripts/test brings it along");
            return None;
        };
        let mut command = Command::new("node");
        command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/page").join(name));
        command.env("PLAYWRIGHT", playwright).env("PAGE", format!("http://{}", daemon.address()));
        command.env_remove("TOKEN").envs(token.map(|token| ("TOKEN", token)));
        Some(Self(Process::of(command)))
    }

    /// Waits until the case asks for something.
    fn asks(&mut self, words: &str) {
        until_within(PATIENCE, words, || {
            assert!(!self.0.has_ended(), "{}\n{}", self.0.stdout(), self.0.stderr());
            self.0.stdout().contains(words).then_some(())
        });
    }

    fn ends_well(mut self) {
        until_within(PATIENCE, "the case ends", || self.0.has_ended().then_some(()));
        assert!(self.0.end().success(), "{}\n{}", self.0.stdout(), self.0.stderr());
    }
}

/// Settings whose daemon comes back at the same address. Alerts are on.
fn settings(canary: f64, more: &str) -> Settings {
    Settings::of(format!(
        "[smart_streaming]\nenabled = true\ncanary = {canary:?}\n[batch]\ntimeout = \"20ms\"\n\
         [pool]\nmin_connections = 1\nmax_connections = 1\nbackoff_min = \"50ms\"\nbackoff_max = \"500ms\"\n\
         [server]\nlisten = \"127.0.0.1:{}\"\n{more}\n",
        free_port()
    ))
}

#[test]
fn each_view_shows_what_the_api_says_and_the_token_is_asked_for_once() {
    let place = Workplace::new().with_file("token", TOKEN);
    let feed = Feed::start(&place, &["--dialect", "binance", "--rate", "300", "--bad-frames", "0.005"]);
    let more = "token_file = \"token\"\n[sinks.archive]\nkind = \"sqlite\"\nfolder = \"events\"";
    let settings = settings(0.5, more)
        .upstream("feed", "binance", feed.url())
        .monitor("trades", "spot", "feed", &["btcusdt@trade", "ethusdt@trade"], "path = \"smart\"")
        .monitor("books", "liquidity", "feed", &["btcusdt@bookTicker"], "path = \"legacy\"");
    let daemon = Daemon::start(&place, &settings);
    if let Some(case) = Case::start("views.mjs", &daemon, Some(TOKEN)) {
        case.ends_well();
    }
    daemon.stop();
}

#[test]
fn an_upstream_a_sink_and_the_daemon_that_are_down_are_shown_and_alerts_are_seen_to() {
    let place = Workplace::new();
    let feed = Feed::start(&place, &["--dialect", "binance", "--rate", "100"]);
    let listen = feed.url().split("://").nth(1).unwrap().split('/').next().unwrap().to_owned();
    let dead = "[sinks.dead]\nkind = \"postgres\"\nurl = \"postgresql://nobody@127.0.0.1:1/nothing\"";
    let settings = settings(1.0, dead).upstream("feed", "binance", feed.url()).monitor(
        "trades",
        "spot",
        "feed",
        &["btcusdt@trade"],
        "",
    );
    let daemon = Daemon::start(&place, &settings);
    let Some(mut case) = Case::start("faults.mjs", &daemon, None) else {
        daemon.stop();
        return;
    };
    case.asks("take the upstream away");
    feed.kill();
    case.asks("bring the upstream back");
    let feed = Feed::start(&place, &["--dialect", "binance", "--rate", "100", "--listen", &listen]);
    case.asks("take the daemon away");
    daemon.kill();
    case.asks("bring the daemon back");
    let daemon = Daemon::again(&place);
    case.ends_well();
    daemon.stop();
    feed.stop();
}

#[test]
fn a_roll_back_is_shown_while_it_is_under_way() {
    let runtime = Runtime::new().unwrap();
    let feed = SimulatorSettings { rate: 200, ..SimulatorSettings::synthetic(SimulatedDialect::Binance) };
    let feed = runtime.block_on(Simulator::start(feed)).unwrap();
    let place = Workplace::new();
    // A connection in a second, so that the way back takes as many as there are monitors.
    let limits = "[upstreams.feed.limits]\nconnects = { count = 1, per = \"1s\" }\nsend_interval = \"1ms\"";
    let settings = settings(1.0, "[guard]\nwindow = \"4s\"\nmin_samples = 50\nerrors = 1000.0")
        .upstream("feed", "binance", &feed.url())
        .with(limits);
    let settings = ["btcusdt", "ethusdt", "solusdt", "bnbusdt", "xrpusdt", "adausdt"]
        .iter()
        .fold(settings, |settings, symbol| settings.monitor(symbol, "spot", "feed", &[&format!("{symbol}@trade")], ""));
    let daemon = Daemon::start(&place, &settings);
    if let Some(mut case) = Case::start("canary.mjs", &daemon, None) {
        case.asks("make the smart path worse");
        feed.set_faults(Faults { bad_frames: 1.0, from_topics: 2, ..Faults::default() }).unwrap();
        case.ends_well();
    }
    daemon.stop();
}

#[test]
fn the_page_is_for_phones_and_keyboards_and_what_a_feed_sends_stays_text() {
    let place = Workplace::new();
    // It closes behind its frames and sends others to the next connection, so that there is always something that comes.
    let upstream = RawUpstream::start(Manner::Acknowledges, |connection| {
        let trade = |id: usize| {
            let data = format!(
                r#"{{"e":"trade","E":1700000000000,"s":"<img src=x onerror=\"window.hit=1\">","t":{id},"p":"<script>window.hit=1</script>"}}"#
            );
            Message::text(format!(r#"{{"stream":"btcusdt@trade","data":{data}}}"#))
        };
        let unreadable = Message::text("<img src=y onerror=window.hit=1>");
        let trades = (1..=5).map(|number| trade(connection * 100 + number));
        trades.chain([unreadable, Message::Close(None)]).collect()
    });
    let settings = settings(1.0, "[fault_tolerance]\nenabled = false")
        .upstream("feed", "binance", &upstream.url())
        .with("[upstreams.feed.limits]\nconnects = { count = 1000, per = \"1s\" }")
        .monitor("trades", "spot", "feed", &["btcusdt@trade"], "");
    let daemon = Daemon::start(&place, &settings);
    if let Some(case) = Case::start("usable.mjs", &daemon, None) {
        case.ends_well();
    }
    daemon.stop();
}
