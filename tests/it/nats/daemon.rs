//! The daemon with a sink of kind `nats`: the promise at the head of the faults, whatever is killed.

use std::time::Duration;

use serde_json::Value;

use super::bus::{header, messages};
use crate::nats_server::NatsServer;
use crate::processes::{Daemon, Feed, Settings, query, until};
use crate::support::Workplace;

fn sink_row(daemon: &Daemon) -> Value {
    let (status, body) = daemon.get("/api/v1/sinks");
    assert_eq!(status, 200, "{body}");
    let rows: Value = serde_json::from_str(&body).unwrap();
    rows[0].clone()
}

#[test]
fn every_durable_event_is_in_the_stream_once_and_in_order_whatever_is_killed() {
    let place = Workplace::new();
    let mut server = NatsServer::start();
    let feed = Feed::start(&place, &["--dialect", "binance", "--rate", "2000"]);
    let settings = Settings::new()
        .upstream("feed", "binance", feed.url())
        .monitor("spot-trades", "trading", "feed", &["btcusdt@trade", "ethusdt@trade"], "")
        .with(&format!("[sinks.bus]\nkind = \"nats\"\nurl = \"{}\"\nflush_interval = \"10ms\"", server.url()));
    let mut daemon = Daemon::start(&place, &settings);
    let mut random = fastrand::Rng::with_seed(22);
    for round in 0..8 {
        let before = sink_row(&daemon)["cursor"].as_u64();
        until("the sink goes on", || (sink_row(&daemon)["cursor"].as_u64() > before).then_some(()));
        std::thread::sleep(Duration::from_millis(random.u64(0..200)));
        if round % 3 != 0 {
            server.kill();
        }
        if round % 3 != 1 {
            daemon.kill();
            daemon = Daemon::again(&place);
        }
        if round % 3 != 0 {
            server.begin();
        }
    }
    feed.kill();
    until("the sink has everything", || {
        let row = sink_row(&daemon);
        let none_waits = row["lag_events"] == 0 && row["error"].is_null();
        none_waits.then_some(())
    });
    let row = sink_row(&daemon);
    assert_eq!((&row["parked"], &row["lost"]), (&Value::from(0), &Value::from(0)), "{row}");
    daemon.stop();

    let durable = query(&place, &["--domain", "trading"]);
    assert!(durable.len() > 1000, "{} events", durable.len());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let stream = runtime.block_on(messages(&server, "SLUICE_BUS"));
    let found: Vec<u64> =
        stream.iter().map(|message| header(message, "Sluice-Offset").unwrap().parse().unwrap()).collect();
    let wanted: Vec<u64> = durable.iter().map(|event| event.offset).collect();
    assert_eq!(found, wanted);
    for (message, event) in stream.iter().zip(&durable) {
        assert_eq!(message.payload, event.payload.get().as_bytes());
        assert_eq!(header(message, "Sluice-Topic").as_deref(), Some(event.topic.as_str()));
        assert_eq!(header(message, "Sluice-Received-Time").as_deref(), Some(event.received_time.as_str()));
    }
}

#[test]
fn a_deleted_stream_is_made_anew_when_an_operator_says_so() {
    let place = Workplace::new();
    let server = NatsServer::start();
    let feed = Feed::start(&place, &["--dialect", "binance", "--rate", "500"]);
    let settings = Settings::new()
        .upstream("feed", "binance", feed.url())
        .monitor("spot", "trading", "feed", &["btcusdt@trade"], "")
        .with(&format!("[sinks.bus]\nkind = \"nats\"\nurl = \"{}\"", server.url()));
    let daemon = Daemon::start(&place, &settings);
    until("the sink has something", || (sink_row(&daemon)["rows"].as_u64()? > 100).then_some(()));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async { server.jetstream().await.delete_stream("SLUICE_BUS").await.unwrap() });
    let row = until("the sink stands still", || Some(sink_row(&daemon)).filter(|row| row["state"] == "refused"));
    let error = row["error"].as_str().unwrap();
    assert!(error.contains("is gone") && error.contains("sluice sinks enable bus --anew"), "{error}");

    let outcome = place.run([
        "--config",
        "sluice.toml",
        "--set",
        &format!("server.listen={}", daemon.address()),
        "sinks",
        "enable",
        "bus",
        "--anew",
    ]);
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    feed.kill();
    until("the sink has everything", || {
        let row = sink_row(&daemon);
        (row["lag_events"] == 0 && row["state"] == "connected").then_some(())
    });
    daemon.stop();
    let wanted: Vec<u64> = query(&place, &["--domain", "trading"]).iter().map(|event| event.offset).collect();
    let stream = runtime.block_on(messages(&server, "SLUICE_BUS"));
    let found: Vec<u64> =
        stream.iter().map(|message| header(message, "Sluice-Offset").unwrap().parse().unwrap()).collect();
    assert_eq!(found, wanted);
}
