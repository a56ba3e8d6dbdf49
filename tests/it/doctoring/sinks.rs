//! Sinks: connected to, and tried without leaving anything.

use super::doctor;
use crate::nats_server::NatsServer;
use crate::postgres_server::PostgresServer;
use crate::processes::{Daemon, Settings, until};
use crate::support::Workplace;

fn settings(sink: &str) -> Settings {
    Settings::new().with(sink)
}

#[test]
fn a_database_that_takes_the_sink_s_tables_passes_and_has_none_of_them_afterwards() {
    let server = PostgresServer::start();
    let place = Workplace::new();
    settings(&format!("[sinks.warehouse]\nkind = 'postgres'\nurl = '{}'", server.url())).write(&place);
    let found = doctor(&place, "10s", &[]);
    assert_eq!(found.code, Some(0), "{}", found.text);
    found.assert(("sink", "warehouse"), "ok", "PostgreSQL ");
    found.assert(("sink", "warehouse"), "ok", "it may make what is missing");
    assert_eq!(server.sql("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"), "0");
}

#[test]
fn a_role_without_rights_is_told_what_it_lacks() {
    let server = PostgresServer::start();
    server.sql("CREATE ROLE poor LOGIN; REVOKE CREATE ON SCHEMA public FROM PUBLIC");
    let place = Workplace::new();
    let url = format!("postgres://poor:planted-s3cret@127.0.0.1:{}/postgres", server.port());
    settings(&format!("[sinks.warehouse]\nkind = 'postgres'\nurl = '{url}'")).write(&place);
    let found = doctor(&place, "10s", &[]);
    assert_eq!(found.code, Some(1), "{}", found.text);
    found.assert(("sink", "warehouse"), "failed", "let somebody who may run: CREATE TABLE");
    assert!(!found.text.contains("planted"), "{}", found.text);

    // Tables that are there, and may only be read.
    let owner = Workplace::new();
    let sink = |url: &str| format!("[sinks.warehouse]\nkind = 'postgres'\nurl = '{url}'");
    let monitored = settings(&sink(&server.url())).upstream("feed", "binance", "ws://127.0.0.1:1/x");
    let daemon = Daemon::start(&owner, &monitored.monitor("m", "d", "feed", &["x@trade"], ""));
    let tables = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'";
    until("the sink has made its tables", || (server.sql(tables) == "3").then_some(()));
    daemon.stop();
    server.sql("GRANT SELECT ON ALL TABLES IN SCHEMA public TO poor");
    let found = doctor(&place, "10s", &[]);
    assert_eq!(found.code, Some(1), "{}", found.text);
    found.assert(("sink", "warehouse"), "failed", "may not INSERT");
    found.assert(("sink", "warehouse"), "failed", "GRANT SELECT, INSERT, UPDATE, DELETE");
}

#[test]
fn a_database_that_is_not_there_is_told() {
    let place = Workplace::new();
    settings("[sinks.warehouse]\nkind = 'postgres'\nurl = 'postgres://u:planted@127.0.0.1:1/d'").write(&place);
    let found = doctor(&place, "5s", &[]);
    assert_eq!(found.code, Some(1), "{}", found.text);
    found.assert(("connect", "warehouse"), "failed", "refused");
    found.assert(("sink", "warehouse"), "skipped", "");
    assert!(!found.text.contains("planted"), "{}", found.text);
}

#[test]
fn a_nats_server_is_told_with_and_without_jetstream() {
    for (more, result, words) in [("", "ok", "with JetStream"), ("# jetstream is off\n", "failed", "JetStream")] {
        let server = NatsServer::with(more);
        let place = Workplace::new();
        settings(&format!("[sinks.bus]\nkind = 'nats'\nurl = '{}'", server.url())).write(&place);
        let found = doctor(&place, "5s", &[]);
        found.assert(("sink", "bus"), result, words);
    }
}
