//! Metrics and own events that are sent: the same figures as `/metrics`, and nothing of it ever in the way of the feed.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::metrics::v1::Metric;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value as Number;
use prost::Message as _;

use super::super::processes::{Daemon, Feed, Settings, accounts, until};
use super::super::support::Workplace;
use super::at_work;

/// A receiver of OTLP that keeps what it is sent.
#[derive(Clone, Default)]
struct Receiver {
    metrics: Arc<Mutex<Vec<ExportMetricsServiceRequest>>>,
    logs: Arc<Mutex<Vec<ExportLogsServiceRequest>>>,
}

impl Receiver {
    /// Serves until the test's process ends; its address.
    fn start() -> (Self, String) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let receiver = Self::default();
        let serving = receiver.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let serving = serving.clone();
                thread::spawn(move || serving.serve(&stream));
            }
        });
        (receiver, address)
    }

    /// One connection, request by request; none at its end.
    fn serve(&self, mut stream: &TcpStream) -> Option<()> {
        let mut reader = BufReader::new(stream);
        loop {
            let (mut first, mut length, mut proto) = (String::new(), 0, false);
            reader.read_line(&mut first).ok().filter(|read| *read > 0)?;
            loop {
                let mut line = String::new();
                reader.read_line(&mut line).ok()?;
                let line = line.trim().to_ascii_lowercase();
                if line.is_empty() {
                    break;
                }
                if let Some(value) = line.strip_prefix("content-length:") {
                    length = value.trim().parse().ok()?;
                }
                proto |= line == "content-type: application/x-protobuf";
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).ok()?;
            assert!(proto, "{first}");
            match first.split(' ').nth(1)? {
                "/v1/metrics" => {
                    self.metrics.lock().unwrap().push(ExportMetricsServiceRequest::decode(&body[..]).unwrap());
                }
                "/v1/logs" => self.logs.lock().unwrap().push(ExportLogsServiceRequest::decode(&body[..]).unwrap()),
                other => panic!("{other}"),
            }
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").ok()?;
        }
    }

    /// The metric of this name, of the last push.
    fn metric(&self, name: &str) -> Option<Metric> {
        let requests = self.metrics.lock().unwrap();
        let metrics = requests.last()?.resource_metrics[0].scope_metrics[0].metrics.clone();
        metrics.into_iter().find(|metric| metric.name == name)
    }

    /// What of `name` was counted for a monitor.
    fn count(&self, name: &str, monitor: &str) -> Option<u64> {
        let Some(Data::Sum(sum)) = self.metric(name)?.data else { return None };
        let point = sum.data_points.into_iter().find(|point| text(&point.attributes, "monitor") == monitor)?;
        match point.value? {
            Number::AsInt(count) => u64::try_from(count).ok(),
            Number::AsDouble(_) => None,
        }
    }
}

fn text(attributes: &[KeyValue], key: &str) -> String {
    let attribute = attributes.iter().find(|attribute| attribute.key == key);
    match attribute.and_then(|attribute| attribute.value.clone()) {
        Some(AnyValue { value: Some(Any::StringValue(text)) }) => text,
        _ => String::new(),
    }
}

fn events(daemon: &Daemon, monitor: &str) -> u64 {
    daemon.metrics().value("sluice_events_total", &[("monitor", monitor)])
}

#[test]
fn what_is_pushed_by_otlp_is_what_metrics_show_and_own_events_are_its_logs() {
    let place = Workplace::new();
    let (receiver, address) = Receiver::start();
    let otlp = format!("[export.otlp]\nenabled = true\nurl = \"http://{address}\"\ninterval = \"200ms\"");
    let (feed, daemon) = at_work(&place, &otlp);
    // With the feed away nothing more comes, and its gaps open.
    feed.stop();
    until("gaps are told of", || (!receiver.logs.lock().unwrap().is_empty()).then_some(()));
    until("both say the same", || {
        let names =
            ["sluice_events_total", "sluice_repeats_total", "sluice_quarantined_total", "sluice_business_events_total"];
        let same = |name: &&str| {
            let shown = daemon.metrics().value(name, &[("monitor", "one")]);
            shown > 0 && receiver.count(name, "one") == Some(shown)
        };
        names.iter().all(same).then_some(())
    });
    until("histograms say the same", || {
        let Some(Data::Histogram(histogram)) = receiver.metric("sluice_event_durable_seconds")?.data else { panic!() };
        let shown = daemon.metrics().value("sluice_event_durable_seconds_count", &[]);
        (shown > 0 && histogram.data_points[0].count == shown).then_some(())
    });
    assert!(receiver.metric("sluice_host_memory_used_bytes").is_some_and(|metric| metric.unit == "By"));
    let logs = receiver.logs.lock().unwrap();
    let records = logs.iter().flat_map(|request| &request.resource_logs[0].scope_logs[0].log_records);
    let gap = records.into_iter().find(|record| record.event_name == "sluice.gaps").expect("a gap");
    let Some(Any::StringValue(body)) = gap.body.as_ref().and_then(|body| body.value.clone()) else { panic!("{gap:?}") };
    assert!(body.contains("\"cause\""), "{body}");
    drop(logs);
    daemon.stop();
}

/// What came, added up as a StatsD server does: counters by the line's name, with its tags.
#[derive(Clone, Default)]
struct Sums(Arc<Mutex<Taken>>);

#[derive(Default)]
struct Taken {
    sums: BTreeMap<String, f64>,
    events: Vec<String>,
}

impl Sums {
    fn take(&self, datagram: &[u8]) {
        let text = std::str::from_utf8(datagram).expect("text");
        let mut taken = self.0.lock().unwrap();
        for line in text.lines() {
            if line.starts_with("_e{") {
                taken.events.push(line.to_owned());
                continue;
            }
            let (name, rest) = line.split_once(':').expect("a value");
            let mut parts = rest.splitn(3, '|');
            let (value, kind, tags) =
                (parts.next().unwrap(), parts.next().expect("a kind"), parts.next().unwrap_or(""));
            let value: f64 = value.parse().unwrap_or_else(|_| panic!("{line}"));
            let sum = taken.sums.entry(format!("{name}{tags}")).or_default();
            match kind {
                "c" => *sum += value,
                "g" => *sum = value,
                other => panic!("{other}: {line}"),
            }
        }
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "counts of a test")]
    fn of(&self, name: &str) -> u64 {
        self.0.lock().unwrap().sums.get(name).copied().unwrap_or(0.0) as u64
    }
}

#[test]
fn what_dogstatsd_adds_up_is_what_metrics_show_and_own_events_are_its_events() {
    let place = Workplace::new();
    let path = place.path("dsd.socket");
    let socket = UnixDatagram::bind(&path).unwrap();
    let sums = Sums::default();
    let into = sums.clone();
    thread::spawn(move || {
        let mut datagram = vec![0; 65_536];
        while let Ok(read) = socket.recv(&mut datagram) {
            assert!(read <= 8_192, "agents read no more at once");
            into.take(&datagram[..read]);
        }
    });
    let statsd =
        format!("[export.statsd]\nenabled = true\naddress = \"unix:{}\"\ninterval = \"200ms\"", path.display());
    let (feed, daemon) = at_work(&place, &statsd);
    feed.stop();
    until("gaps are told of", || {
        sums.0
            .lock()
            .unwrap()
            .events
            .iter()
            .any(|event| event.contains("sluice gaps") && event.contains("|t:warning|#"))
            .then_some(())
    });
    until("both say the same", || {
        let shown = events(&daemon, "one");
        (shown > 0 && sums.of("sluice_events_total#monitor:one,domain:spot") == shown).then_some(())
    });
    until("histograms agree", || {
        let shown = daemon.metrics().value("sluice_event_durable_seconds_count", &[]);
        let beyond = sums.of("sluice_event_durable_seconds_bucket#le:+Inf");
        (shown > 0 && sums.of("sluice_event_durable_seconds_count") == shown && beyond == shown).then_some(())
    });
    assert_eq!(sums.of("sluice_journal_writable"), 1);
    daemon.stop();
}

#[test]
fn plain_statsd_has_values_of_labels_in_names_and_fits_its_datagrams() {
    let place = Workplace::new();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    // Room for a round: what a socket's buffer cannot hold is lost on the way, as UDP has it.
    let sums = Sums::default();
    let into = sums.clone();
    thread::spawn(move || {
        let mut datagram = vec![0; 65_536];
        while let Ok(read) = socket.recv(&mut datagram) {
            assert!(read <= 1_432, "no frame of Ethernet holds more");
            into.take(&datagram[..read]);
        }
    });
    let statsd =
        format!("[export.statsd]\nenabled = true\naddress = \"{address}\"\nformat = \"statsd\"\ninterval = \"100ms\"");
    let (_feed, daemon) = at_work(&place, &statsd);
    until("gauges and counts come", || {
        (sums.of("sluice_journal_writable") == 1 && sums.of("sluice_events_total.one.spot") > 0).then_some(())
    });
    assert!(sums.0.lock().unwrap().events.is_empty(), "it has no events");
    daemon.stop();
}

#[test]
fn with_every_exporter_dead_each_message_is_journaled_and_the_daemon_stops_in_time() {
    let place = Workplace::new();
    // One that takes connections and never answers, and a socket that nobody reads.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let unread = UnixDatagram::bind(place.path("unread.socket")).unwrap();
    let export = format!(
        "[export.otlp]\nenabled = true\nurl = \"http://{}\"\ninterval = \"20ms\"\ntimeout = \"30s\"\n\
         [export.statsd]\nenabled = true\naddress = \"unix:{}\"\ninterval = \"20ms\"",
        silent.local_addr().unwrap(),
        place.path("unread.socket").display()
    );
    let feed = Feed::start(
        &place,
        &["--dialect", "binance", "--flood", "--flood-total", "50000", "--flood-start-topics", "1"],
    );
    let settings = Settings::new().with(&export).upstream("feed", "binance", feed.url()).monitor(
        "one",
        "spot",
        "feed",
        &["btcusdt@trade"],
        "",
    );
    let daemon = Daemon::start(&place, &settings);
    until("everything is journaled", || (events(&daemon, "one") == 50_000).then_some(()));
    until("it is told that exports fail", || {
        daemon.log().contains("nothing is exported until that is over").then_some(())
    });
    assert!(daemon.metrics().value("sluice_exports_total", &[("exporter", "statsd"), ("outcome", "failed")]) > 0);
    let began = tokio::time::Instant::now();
    daemon.stop();
    assert!(began.elapsed() < Duration::from_secs(15), "a push that is under way is given up");
    let account = accounts(&place).remove("one").unwrap();
    assert!(account.adds_up() && account.events == 50_000, "{account:?}");
    feed.stop();
    drop((silent, unread));
}
