//! A provider that the network no longer reaches, while its connections stay open: nothing comes, and nothing says so.
//!
//! The provider runs in a network namespace of its own, whose way back is taken away. Needs root; without it the test says that it was
//! skipped.

use std::net::Ipv4Addr;
use std::process::Command;

use serde_json::Value;

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

    /// As [`Namespace::drop_the_way_out`], but for what goes to this port: that has a way of its own.
    fn leave_a_way_out_to(&self, port: u16) {
        let (to, port) = (format!("{}/32", self.outside), port.to_string());
        let way = ["rule", "add", "pref", "10", "to", &to, "ipproto", "tcp", "dport", &port, "lookup", "main"];
        self.ip(&way).expect("a rule");
        self.ip(&["rule", "add", "pref", "20", "to", &to, "blackhole"]).expect("a rule");
    }

    fn restore_all_ways_out(&self) {
        self.ip(&["rule", "del", "pref", "20"]).expect("the rule is there");
        self.ip(&["rule", "del", "pref", "10"]).expect("the rule is there");
    }

    /// A simulated Binance inside.
    fn feed(&self, place: &Workplace) -> Feed {
        let simulate = place.command(["simulate", "--dialect", "binance", "--rate", "500"]);
        let mut inside = Command::new("ip");
        inside.args(["netns", "exec", &self.name]).arg(simulate.get_program()).args(simulate.get_args());
        inside.args(["--listen", &format!("{}:0", self.inside)]).current_dir(place.path(""));
        Feed::of(inside)
    }

    /// Our ports of connections to a feed inside that are open.
    fn ports_to(&self, feed: &Feed) -> Vec<u16> {
        const ESTABLISHED: &str = "01";
        let inside: Ipv4Addr = self.inside.parse().expect("an address");
        let port: u16 = feed.url().trim_start_matches("ws://").split([':', '/']).nth(1).unwrap().parse().unwrap();
        // As the kernel writes it: the address in the machine's own order of bytes.
        let there = format!("{:08X}:{port:04X}", u32::from_ne_bytes(inside.octets()));
        let connections = std::fs::read_to_string("/proc/self/net/tcp").expect("connections can be listed");
        let open = connections.lines().filter_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let is_open = fields.get(2) == Some(&&*there) && fields.get(3) == Some(&ESTABLISHED);
            is_open.then(|| u16::from_str_radix(fields[1].split_once(':').unwrap().1, 16).unwrap())
        });
        open.collect()
    }
}

/// None without the right to make one, which is said.
fn namespace() -> Option<Namespace> {
    Namespace::new().inspect_err(|why| eprintln!("skipped, there is no network to take away: {why}")).ok()
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
    let Some(namespace) = namespace() else { return };
    let place = Workplace::new();
    let feed = namespace.feed(&place);
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

#[test]
fn topics_of_a_link_whose_route_is_gone_go_on_over_the_one_that_is_left_before_it_is_back() {
    let Some(namespace) = namespace() else { return };
    let place = Workplace::new();
    let feed = namespace.feed(&place);
    let settings = Settings::new()
        .with("health_check_interval = \"200ms\"\npong_timeout = \"500ms\"\nconnect_timeout = \"500ms\"")
        .upstream("feed", "binance", feed.url())
        .with("[upstreams.feed.pool]\nmin_connections = 2\nmax_connections = 2")
        .monitor("a", "d", "feed", &["btcusdt@trade"], "")
        .monitor("b", "d", "feed", &["ethusdt@trade"], "");
    let daemon = Daemon::start(&place, &settings);
    let live = || daemon.monitors().values().all(|row| row["state"] == "live");
    let metric = |name: &str, label: (&str, &str)| daemon.metrics().value(name, &[("upstream", "feed"), label]);
    let of_upstream = ("upstream", "feed");
    let open_links = || metric("sluice_links", ("state", "open"));
    let events = || ["a", "b"].map(|monitor| daemon.monitors()[monitor]["events"].as_u64().unwrap());
    let both_flow = |since: [u64; 2]| {
        let now = events();
        (now[0] > since[0] + 50 && now[1] > since[1] + 50).then_some(())
    };
    let gaps = || -> Vec<Value> { serde_json::from_str(&json(&place, &["gaps"])).expect("JSON") };
    until("both links have a topic", || (live() && open_links() == 2).then_some(()));
    until("events come", || both_flow([0, 0]));
    let ports =
        until("both connections are there", || Some(namespace.ports_to(&feed)).filter(|ports| ports.len() == 2));
    assert!(gaps().is_empty(), "nothing is missed yet");

    namespace.leave_a_way_out_to(ports[0]);
    until("the ping is missed", || (metric("sluice_link_failures_total", ("cause", "pong")) == 1).then_some(()));
    let since = events();
    until("both topics flow", || both_flow(since));
    until("the lost link is tried in vain", || {
        (metric("sluice_link_failures_total", ("cause", "timeout")) > 0).then_some(())
    });
    let since = events();
    until("both topics still flow", || both_flow(since));
    assert_eq!(metric("sluice_link_connects_total", of_upstream), 2, "the dead one is not back yet");
    until("one link is counted", || (open_links() == 1).then_some(()));
    assert!(namespace.ports_to(&feed).contains(&ports[0]), "it is the one that has a way");
    let lost = until("the gap is over", || Some(gaps()).filter(|gaps| !gaps.is_empty() && gaps[0]["end"].is_string()));
    let [gap] = &lost[..] else { panic!("of the topic of the lost link alone: {lost:?}") };
    assert_eq!(gap["cause"], "disconnect", "{gap}");

    namespace.restore_all_ways_out();
    until("there are two links again", || (open_links() == 2).then_some(()));
    let since = events();
    until("both topics flow", || both_flow(since));
    assert_eq!(metric("sluice_link_failures_total", ("cause", "pong")), 1, "the other was never touched");
    assert_eq!(gaps().len(), 1, "going back costs nothing");
    daemon.stop();
    feed.kill();
}
