//! Declared fields have columns of their own.

use sluice::sink::Store as _;

use super::super::postgres_server::PostgresServer;
use super::support::{Source, opened, store, store_at};

const TRADES: &str = r#"
[monitors.trades]
domain = "trading"
upstream = "feed"
topics = ["btcusdt@trade"]
[monitors.trades.fields]
price = { pointer = "/p", type = "numeric" }
quantity = { pointer = "/q", type = "double" }
trade = { pointer = "/t", type = "bigint" }
maker = { pointer = "/m", type = "boolean" }
kind = { pointer = "/e" }
"#;

const BOOKS: &str = r#"
[monitors.books]
domain = "trading"
upstream = "feed"
topics = ["btcusdt@depth"]
[monitors.books.fields]
price = { pointer = "/asks/0/0", type = "numeric" }
level = { pointer = "/asks/0" }
"#;

#[tokio::test]
async fn declared_fields_are_columns_and_what_does_not_fit_is_null() {
    let server = PostgresServer::start();
    let mut source = Source::new();
    source.append(
        0,
        &[
            r#"{"e":"trade","p":"40000.50000000","q":0.25,"t":18446744073709551615,"m":true}"#,
            r#"{"e":"tr\u00e4de","p":123456789012345678901234567890.123456789,"q":"1e-3","t":-7,"m":"true"}"#,
            r#"{"e":null,"p":"free","q":1e999,"t":"42","m":false}"#,
            r#"{"e":"nul\u0000byte","p":-0.0001,"t":1.0}"#,
            "not JSON at all",
        ],
    );
    source.append(1, &[r#"{"asks":[["1.10","3"]],"p":"9"}"#, r#"{"asks":[]}"#]);
    let mut store = store_at(&server.url(), "", &format!("{TRADES}{BOOKS}")).unwrap();
    opened(&mut store, &source.live()).await;
    store.write(&source.batch(0, 7)).await.unwrap();
    assert_eq!(
        server.sql(r#"SELECT kind, level, maker, price, quantity, trade FROM events ORDER BY "offset""#),
        "trade||t|40000.50000000|0.25|\n\
         träde|||123456789012345678901234567890.123456789|0.001|-7\n\
         ||f|||42\n\
         |||-0.0001||\n\
         |||||\n\
         |[\"1.10\",\"3\"]||1.10||\n\
         |||||"
    );
    assert_eq!(server.sql("SELECT count(*) FROM events WHERE length(payload) > 0"), "7", "no row is lost over a field");
}

#[tokio::test]
async fn numbers_arrive_as_the_server_itself_would_read_them() {
    let server = PostgresServer::start();
    let mut source = Source::new();
    let numbers = [
        "0",
        "-0",
        "0.000",
        "1",
        "-1",
        "10",
        "9999",
        "10000",
        "10001",
        "99999999",
        "100000000",
        "0.1",
        "0.0001",
        "0.00001",
        "0.00010001",
        "123.4500",
        "1e0",
        "1e3",
        "1E-3",
        "12.5e1",
        "12.5e-7",
        "1e20",
        "123456789e-20",
        "5e-324",
        "1.7976931348623157e308",
        "18446744073709551616",
        "00012.50",
        "+3",
        ".5",
        "5.",
        "100000.00001",
    ];
    let payloads: Vec<_> = numbers.iter().map(|number| format!(r#"{{"p":"{number}"}}"#)).collect();
    source.append(0, &payloads);
    let mut store = store_at(&server.url(), "", TRADES).unwrap();
    opened(&mut store, &source.live()).await;
    store.write(&source.batch(0, numbers.len() as u64)).await.unwrap();
    let wrong = r#"SELECT "offset", price::text, (payload::json->>'p')::numeric::text FROM events
                   WHERE price::text IS DISTINCT FROM (payload::json->>'p')::numeric::text"#;
    assert_eq!(server.sql(wrong), "");
    // Sums of what was written in binary form are those of what was written as text.
    assert_eq!(server.sql("SELECT sum(price) = sum((payload::json->>'p')::numeric) FROM events"), "t");
}

#[tokio::test]
async fn a_newly_declared_field_adds_its_column() {
    let server = PostgresServer::start();
    let mut source = Source::new();
    source.append(0, &[r#"{"p":"1"}"#, r#"{"p":"2"}"#]);
    let mut plain = store(&server);
    opened(&mut plain, &source.live()).await;
    plain.write(&source.batch(0, 1)).await.unwrap();
    let mut declared = store_at(&server.url(), "", TRADES).unwrap();
    assert_eq!(opened(&mut declared, &source.live()).await, Some(1));
    declared.write(&source.batch(1, 2)).await.unwrap();
    assert_eq!(server.sql(r#"SELECT "offset", price FROM events ORDER BY 1"#), "0|\n1|2");
    // And a field that is declared no longer leaves its column, which later rows do not fill.
    source.append(0, &[r#"{"p":"3"}"#]);
    assert_eq!(opened(&mut plain, &source.live()).await, Some(2));
    plain.write(&source.batch(2, 3)).await.unwrap();
    assert_eq!(server.sql(r#"SELECT "offset", price FROM events ORDER BY 1"#), "0|\n1|2\n2|");
}

#[test]
fn fields_that_cannot_be_columns_are_refused_with_their_names() {
    let url = "postgres://u@localhost/d";
    let other = BOOKS.replace("type = \"numeric\"", "type = \"text\"");
    let error = store_at(url, "", &format!("{TRADES}{other}")).expect_err("two types").to_string();
    assert!(error.contains("monitors.trades.fields.price") && error.contains("monitors.books.fields.price"), "{error}");
    // Only one of the two is taken.
    assert!(store_at(url, "monitors = [\"books\"]", &format!("{TRADES}{other}")).is_ok());
    let own = TRADES.replace("kind =", "payload =");
    let error = store_at(url, "", &own).expect_err("a column of ours").to_string();
    assert!(error.contains("monitors.trades.fields.payload"), "{error}");
}
