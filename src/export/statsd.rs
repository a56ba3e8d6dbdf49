//! StatsD, and DogStatsD with its tags and events: a line each, several a datagram.
//!
//! Counters are sent as what came since the last line that could be sent, from 0 at the start, so that the sums agree with `/metrics`. Of a
//! histogram each bucket is a counter, with its bound as `le`, as well as its `_sum` and `_count`. No crate does more of it than format the line.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::time::Duration;

use tokio::net::UdpSocket;

use super::Standing;
use super::events::{OwnEvent, OwnEvents};
use crate::config::{StatsdFormat, StatsdSettings};
use crate::telemetry::{ExportMetrics, Family, MetricsHandle, Value};

/// The name of it in metrics and logs.
const NAME: &str = "statsd";

/// What fits a frame of Ethernet behind the headers of IPv6 and UDP.
const UDP_BYTES_MAX: usize = 1_432;

/// What agents of DogStatsD read at once.
const UNIX_BYTES_MAX: usize = 8_192;

/// The most of an event's text, in bytes; agents take some 8 KiB at most.
const EVENT_BYTES_MAX: usize = 1_000;

/// Where it goes.
enum Address {
    Udp(String),
    Unix(PathBuf),
}

/// What it goes through, for one round.
enum Socket {
    Udp(UdpSocket),
    Unix(UnixDatagram),
}

impl Address {
    fn of(text: &str) -> Self {
        text.strip_prefix("unix:").map_or_else(|| Self::Udp(text.to_owned()), |path| Self::Unix(path.into()))
    }

    fn bytes_max(&self) -> usize {
        match self {
            Self::Udp(_) => UDP_BYTES_MAX,
            Self::Unix(_) => UNIX_BYTES_MAX,
        }
    }

    /// Anew for each round: names change their address, and agents their socket.
    async fn socket(&self) -> io::Result<Socket> {
        match self {
            Self::Udp(address) => {
                let found = tokio::net::lookup_host(address).await?.next();
                let address = found.ok_or_else(|| io::Error::other("the name has no address"))?;
                let any: IpAddr =
                    if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
                let socket = UdpSocket::bind((any, 0)).await?;
                socket.connect(address).await?;
                Ok(Socket::Udp(socket))
            }
            Self::Unix(path) => {
                let socket = UnixDatagram::unbound()?;
                // An agent that does not read makes us wait for the next round, not here.
                socket.set_nonblocking(true)?;
                socket.connect(path)?;
                Ok(Socket::Unix(socket))
            }
        }
    }
}

impl Socket {
    async fn send(&self, datagram: &str) -> io::Result<()> {
        match self {
            Self::Udp(socket) => socket.send(datagram.as_bytes()).await.map(drop),
            Self::Unix(socket) => socket.send(datagram.as_bytes()).map(drop),
        }
    }
}

impl StatsdSettings {
    /// Whether own events have a form there.
    pub(super) fn has_events(&self) -> bool {
        self.events && self.format == StatsdFormat::Dogstatsd
    }
}

pub(super) struct Statsd {
    address: Address,
    shown: String,
    format: StatsdFormat,
    interval: Duration,
    metrics: MetricsHandle,
    events: Option<OwnEvents>,
    sent: Sent,
}

/// What counters were when they were sent last, by the name of their line.
type Sent = HashMap<String, f64>;

/// A line, and what is known to be there once it was sent.
struct Line {
    text: String,
    counted: Option<(String, f64)>,
}

impl Statsd {
    pub(super) fn new(settings: &StatsdSettings, metrics: MetricsHandle, events: Option<OwnEvents>) -> Self {
        Self {
            address: Address::of(&settings.address),
            shown: settings.address.clone(),
            format: settings.format,
            interval: settings.interval,
            metrics,
            events,
            sent: Sent::new(),
        }
    }

    pub(super) async fn run(mut self) {
        let mut ticks = tokio::time::interval(self.interval);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut standing = Standing::default();
        loop {
            ticks.tick().await;
            let outcome = self.round().await.map_err(|error| format!("{}: {error}", self.shown));
            standing.note(NAME, &outcome);
        }
    }

    async fn round(&mut self) -> io::Result<()> {
        let families = self.metrics.snapshot();
        let (lines, known) = lines(&families, self.format, &self.sent);
        // Series that are no more are forgotten; should they come back they begin anew.
        self.sent.retain(|name, _| known.contains(name));
        let socket = self.address.socket().await?;
        let mut lines = lines.into_iter().peekable();
        while lines.peek().is_some() {
            let mut datagram = String::with_capacity(self.address.bytes_max());
            let mut counted = Vec::new();
            while let Some(line) = lines
                .next_if(|line| datagram.is_empty() || datagram.len() + 1 + line.text.len() <= self.address.bytes_max())
            {
                if !datagram.is_empty() {
                    datagram.push('\n');
                }
                datagram.push_str(&line.text);
                counted.extend(line.counted);
            }
            socket.send(&datagram).await?;
            self.sent.extend(counted);
        }
        if let Some(events) = &mut self.events {
            loop {
                let next = events.next();
                if next.is_empty() {
                    break;
                }
                for event in next {
                    socket.send(&event_line(event)).await?;
                }
                ExportMetrics::events(NAME, true, events.confirm());
            }
        }
        Ok(())
    }
}

/// A round's lines, and the name of every counter there is.
#[expect(clippy::cast_precision_loss, reason = "the format has decimal numbers")]
fn lines(families: &[Family], format: StatsdFormat, sent: &Sent) -> (Vec<Line>, HashSet<String>) {
    let (mut lines, mut known) = (Vec::new(), HashSet::new());
    for family in families {
        for series in &family.series {
            let labels: Vec<(&str, &str)> = series.labels.iter().map(|(key, value)| (&key[..], &value[..])).collect();
            let mut count = |suffix: &str, bound: Option<&str>, total: f64| {
                let labels = || labels.iter().copied().chain(bound.map(|bound| ("le", bound)));
                let (name, tags) = identity(&format!("{}{suffix}", family.name), labels(), format);
                let key = format!("{name}{tags}");
                known.insert(key.clone());
                let before = sent.get(&key).copied().unwrap_or(0.0);
                // A series that was let go and came back counts from 0.
                let more = if total < before { total } else { total - before };
                if more > 0.0 {
                    lines.push(Line { text: format!("{name}:{more}|c{tags}"), counted: Some((key, total)) });
                }
            };
            match &series.value {
                Value::Counter(total) => count("", None, *total as f64),
                Value::Histogram { bounds, counts, sum } => {
                    let mut below = 0;
                    for (bound, bucket) in bounds.iter().copied().chain([f64::INFINITY]).zip(counts) {
                        below += bucket;
                        let bound = if bound.is_infinite() { "+Inf".to_owned() } else { bound.to_string() };
                        count("_bucket", Some(&bound), below as f64);
                    }
                    count("_sum", None, *sum);
                    count("_count", None, below as f64);
                }
                // What is not known has no form.
                Value::Gauge(value) if !value.is_finite() => {}
                Value::Gauge(value) => {
                    let (name, tags) = identity(&family.name, labels.iter().copied(), format);
                    // A sign would have StatsD add; from 0 it takes away what it is.
                    let reset = (*value < 0.0 && format == StatsdFormat::Statsd).then(|| format!("{name}:0|g\n"));
                    let text = format!("{}{name}:{value}|g{tags}", reset.unwrap_or_default());
                    lines.push(Line { text, counted: None });
                }
            }
        }
    }
    (lines, known)
}

/// How a series is called, and its tags.
fn identity<'l>(
    name: &str,
    labels: impl Iterator<Item = (&'l str, &'l str)>,
    format: StatsdFormat,
) -> (String, String) {
    let (mut name, mut tags) = (name.to_owned(), String::new());
    for (key, value) in labels {
        match format {
            StatsdFormat::Dogstatsd => {
                let lead = if tags.is_empty() { "|#" } else { "," };
                // A string takes whatever is written to it.
                write!(tags, "{lead}{key}:{}", value.replace([',', '|', '\n'], "_")).ok();
            }
            StatsdFormat::Statsd => {
                let fits = |letter: char| letter.is_ascii_alphanumeric() || letter == '-';
                name.push('.');
                name.extend(value.chars().map(|letter| if fits(letter) { letter } else { '_' }));
            }
        }
    }
    (name, tags)
}

/// An event as DogStatsD has it.
fn event_line(event: &OwnEvent) -> String {
    let title = format!("sluice {}", event.monitor);
    let end = event.text.floor_char_boundary(EVENT_BYTES_MAX);
    let text = event.text[..end].replace('\n', "\\n");
    let kind = if event.is_warning() { "warning" } else { "info" };
    let (lengths, seconds) = (format!("{},{}", title.len(), text.len()), event.at.0.div_euclid(1_000_000_000));
    let topic = event.topic.replace([',', '|', '\n'], "_");
    format!("_e{{{lengths}}}:{title}|{text}|d:{seconds}|t:{kind}|#monitor:{},topic:{topic}", event.monitor)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::UnixNanos;
    use crate::telemetry::Series;
    use crate::telemetry::metrics::Kind;

    fn family(name: &str, kind: Kind, value: Value) -> Family {
        let labels = vec![("monitor".to_owned(), "a,b".to_owned()), ("domain".to_owned(), "x.y".to_owned())];
        Family { name: name.into(), kind, help: String::new(), series: vec![Series { labels, value }] }
    }

    fn texts(families: &[Family], format: StatsdFormat, sent: &mut Sent) -> Vec<String> {
        let (lines, _) = lines(families, format, sent);
        let taken = |line: Line| {
            sent.extend(line.counted);
            line.text
        };
        lines.into_iter().map(taken).collect()
    }

    #[test]
    fn counters_are_sent_as_what_came_since_the_last_time() {
        let mut sent = Sent::new();
        let at = |count| [family("sluice_a_total", Kind::Counter, Value::Counter(count))];
        let format = StatsdFormat::Dogstatsd;
        assert_eq!(texts(&at(7), format, &mut sent), ["sluice_a_total:7|c|#monitor:a_b,domain:x.y"]);
        assert_eq!(texts(&at(7), format, &mut sent), [""; 0]);
        assert_eq!(texts(&at(9), format, &mut sent), ["sluice_a_total:2|c|#monitor:a_b,domain:x.y"]);
        assert_eq!(texts(&at(3), format, &mut sent), ["sluice_a_total:3|c|#monitor:a_b,domain:x.y"], "it began anew");
    }

    #[test]
    fn without_tags_the_values_of_labels_are_parts_of_the_name() {
        let gauge = |value| [family("sluice_b", Kind::Gauge, Value::Gauge(value))];
        let mut sent = Sent::new();
        assert_eq!(texts(&gauge(1.5), StatsdFormat::Statsd, &mut sent), ["sluice_b.a_b.x_y:1.5|g"]);
        let below = "sluice_b.a_b.x_y:0|g\nsluice_b.a_b.x_y:-2|g";
        assert_eq!(texts(&gauge(-2.0), StatsdFormat::Statsd, &mut sent), [below]);
        assert_eq!(texts(&gauge(-2.0), StatsdFormat::Dogstatsd, &mut sent), ["sluice_b:-2|g|#monitor:a_b,domain:x.y"]);
        assert_eq!(texts(&gauge(f64::NAN), StatsdFormat::Dogstatsd, &mut sent), [""; 0]);
    }

    #[test]
    fn a_histogram_is_its_buckets_sum_and_count() {
        let value = Value::Histogram { bounds: &[0.5, 1.0], counts: vec![1, 0, 4], sum: 7.25 };
        let lines = texts(&[family("c_seconds", Kind::Histogram, value)], StatsdFormat::Dogstatsd, &mut Sent::new());
        let tags = "monitor:a_b,domain:x.y";
        let expected = [
            format!("c_seconds_bucket:1|c|#{tags},le:0.5"),
            format!("c_seconds_bucket:1|c|#{tags},le:1"),
            format!("c_seconds_bucket:5|c|#{tags},le:+Inf"),
            format!("c_seconds_sum:7.25|c|#{tags}"),
            format!("c_seconds_count:5|c|#{tags}"),
        ];
        assert_eq!(lines, expected);
    }

    #[test]
    fn an_event_says_its_lengths_in_bytes() {
        let event = OwnEvent {
            offset: 7,
            monitor: "gaps".into(),
            topic: "gap".into(),
            at: UnixNanos(1_500_000_000),
            text: "{\"a\":\n\"ä\"}".into(),
        };
        let expected = "_e{11,12}:sluice gaps|{\"a\":\\n\"ä\"}|d:1|t:warning|#monitor:gaps,topic:gap";
        assert_eq!(event_line(&event), expected);
    }
}
