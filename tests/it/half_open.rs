//! A provider that the network no longer reaches, while its connections stay open: nothing comes, and nothing says so.
//!
//! The provider runs in a network namespace of its own, whose way back is taken away. Needs root; without it the test says that it was
//! skipped.

use std::process::Command;

use super::processes::{Daemon, Feed, Settings, json, until};
use super::support::Workplace;

/// A namespace with one link to the outside. Addresses are of the block for benchmarks, which nobody else uses.
struct Namespace {
    name: String,
    link: String,
    outside: String,
    inside: String,
}

impl Namespace {
    fn new() -> Result<Self, String> {
        let id = std::process::id();
        let block = format!("198.18.{}", id % 256);
        let namespace = Self {
            name: format!("sluice{id}"),
            link: format!("slo{id}"),
            outside: format!("{block}.1"),
            inside: format!("{block}.2"),
        };
        let (name, link, peer) = (&namespace.name, &namespace.link, format!("sli{id}"));
        ip(&["netns", "add", name])?;
        ip(&["link", "add", link, "type", "veth", "peer", "name", &peer, "netns", name])?;
        ip(&["addr", "add", &format!("{}/30", namespace.outside), "dev", link])?;
        ip(&["link", "set", link, "up"])?;
        namespace.ip(&["addr", "add", &format!("{}/30", namespace.inside), "dev", &peer])?;
        namespace.ip(&["link", "set", &peer, "up"])?;
        Ok(namespace)
    }

    fn ip(&self, arguments: &[&str]) -> Result<(), String> {
        ip(&[&["-n", &self.name], arguments].concat())
    }

    /// Nothing that is sent inside comes out any more. Nobody is told.
    fn drop_the_way_out(&self) {
        self.ip(&["route", "add", "blackhole", &format!("{}/32", self.outside)]).expect("a route");
    }

    fn restore_the_way_out(&self) {
        self.ip(&["route", "del", "blackhole", &format!("{}/32", self.outside)]).expect("the route is there");
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // The namespace ends when the last process in it has; its link would end with it, and may at once.
        ip(&["link", "del", &self.link]).ok();
        ip(&["netns", "del", &self.name]).ok();
    }
}

fn ip(arguments: &[&str]) -> Result<(), String> {
    let output = Command::new("ip").args(arguments).output().map_err(|error| format!("ip: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("ip {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim()))
}

#[test]
fn a_link_whose_route_is_gone_is_given_up_by_its_ping_and_replaced() {
    let namespace = match Namespace::new() {
        Ok(namespace) => namespace,
        Err(why) => {
            eprintln!("skipped, there is no network to take away: {why}");
            return;
        }
    };
    let place = Workplace::new();
    let simulate = place.command(["simulate", "--dialect", "binance", "--rate", "500"]);
    let mut inside = Command::new("ip");
    inside.args(["netns", "exec", &namespace.name]).arg(simulate.get_program()).args(simulate.get_args());
    inside.args(["--listen", &format!("{}:0", namespace.inside)]).current_dir(place.path(""));
    let feed = Feed::of(inside);
    let settings = Settings::new()
        .with("health_check_interval = \"200ms\"\npong_timeout = \"500ms\"\nconnect_timeout = \"500ms\"")
        .upstream("feed", "binance", feed.url())
        .monitor("m", "d", "feed", &["btcusdt@trade", "ethusdt@trade"], "");
    let daemon = Daemon::start(&place, &settings);
    until("events come", || (daemon.frames("feed") > 100).then_some(()));

    namespace.drop_the_way_out();
    until("the ping is missed", || daemon.log().contains("link lost").then_some(()));
    let failures =
        |cause| daemon.metrics().value("sluice_link_failures_total", &[("upstream", "feed"), ("cause", cause)]);
    assert_eq!(failures("pong"), 1, "{}", daemon.log());
    until("it is tried again, and nobody answers", || (failures("timeout") > 0).then_some(()));
    let before = daemon.frames("feed");

    namespace.restore_the_way_out();
    until("a new link brings the same topics", || (daemon.frames("feed") > before + 100).then_some(()));
    daemon.stop();
    feed.kill();
    let gaps = json(&place, &["query", "--domain", "_sluice", "--monitor", "gaps"]);
    for topic in ["btcusdt@trade", "ethusdt@trade"] {
        assert!(gaps.contains(&format!("\"topic\":\"{topic}\"")), "{gaps}");
    }
}
