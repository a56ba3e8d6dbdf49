//! Settings: layers win in order, mistakes are named by place and nearest name, secrets are never shown.

use std::collections::BTreeMap;
use std::ffi::OsString;

use serde_json::{Value, json};
use sluice::config::{LoadOptions, RunTimeLayer, Settings, load};

use crate::support::{Outcome, Workplace, project_file};

const UPSTREAM: &str = "[upstreams.feed]\nurl = \"wss://example.com/ws\"\ndialect = \"binance\"\n";

/// Value and origin of each setting in force.
fn shown(place: &Workplace, arguments: &[&str]) -> BTreeMap<String, (Value, String)> {
    let outcome = place.run(["config", "show", "--output", "json"].iter().chain(arguments));
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    let rows: Vec<BTreeMap<String, Value>> = serde_json::from_str(&outcome.stdout).expect("rows of JSON");
    rows.into_iter()
        .map(|mut row| {
            let text = |value: Value| value.as_str().expect("a text").to_owned();
            let (key, origin) = (text(row.remove("key").expect("key")), text(row.remove("origin").expect("origin")));
            (key, (row.remove("value").expect("value"), origin))
        })
        .collect()
}

/// The refusal of a file of settings, checked to be one.
fn refused(text: &str) -> String {
    let outcome = Workplace::new().with_file("s.toml", text).run(["config", "check", "--config", "s.toml"]);
    assert_eq!(outcome.code, Some(78), "{text}\n{outcome:?}");
    assert!(outcome.stderr.starts_with("error: "), "{}", outcome.stderr);
    assert_eq!(outcome.stdout, "");
    outcome.stderr
}

fn assert_says(outcome: &str, parts: &[&str]) {
    for part in parts {
        assert!(outcome.contains(part), "{part:?} is missing in:\n{outcome}");
    }
}

#[test]
fn a_later_layer_wins_and_show_says_which() {
    let place = Workplace::new();
    let timeout = |place: &Workplace, arguments: &[&str]| shown(place, arguments).remove("batch.timeout").unwrap();
    assert_eq!(timeout(&place, &[]), (json!("500ms"), "built-in default".into()));

    place.write("config/sluice.toml", "# first\n[batch]\ntimeout = \"1s\"\n");
    assert_eq!(timeout(&place, &[]), (json!("1s"), "config/sluice.toml:3".into()));

    place.write("config/.env", "OTHER=\"two\nlines\"\n\nexport BATCH_TIMEOUT=2000\n");
    assert_eq!(timeout(&place, &[]), (json!("2s"), "config/.env:4".into()));

    let place = place.with_variable("BATCH_TIMEOUT", "3000");
    assert_eq!(timeout(&place, &[]), (json!("3s"), "environment variable BATCH_TIMEOUT".into()));

    let place = place.with_variable("SLUICE_BATCH__TIMEOUT", "4s");
    assert_eq!(timeout(&place, &[]), (json!("4s"), "environment variable SLUICE_BATCH__TIMEOUT".into()));

    let set = ["--set", "batch.timeout=5s", "--set", "batch.timeout=6s"];
    assert_eq!(timeout(&place, &set), (json!("6s"), "--set".into()));

    // A file that is asked for takes the place of the usual one, and its folder's `.env` of the other.
    let place = Workplace::new()
        .with_file("config/sluice.toml", "[batch]\ntimeout = \"1s\"\n")
        .with_file("elsewhere/mine.toml", "[batch]\nmin_size = 7\n");
    let rows = shown(&place, &["--config", "elsewhere/mine.toml"]);
    assert_eq!(rows["batch.min_size"], (json!(7), "elsewhere/mine.toml:2".into()));
    assert_eq!(rows["batch.timeout"].1, "built-in default");
}

#[test]
fn each_environment_name_works_as_it_is() {
    let names = [
        ("USE_SMART_STREAMING", "true", "smart_streaming.enabled", json!(true)),
        ("SMART_STREAMING_CANARY", "0.5", "smart_streaming.canary", json!(0.5)),
        ("FAULT_TOLERANCE_ENABLED", "false", "fault_tolerance.enabled", json!(false)),
        ("POOL_MIN_CONNECTIONS", "1", "pool.min_connections", json!(1)),
        ("POOL_MAX_CONNECTIONS", "9", "pool.max_connections", json!(9)),
        ("POOL_HEALTH_CHECK_INTERVAL", "15000", "pool.health_check_interval", json!("15s")),
        ("BATCH_MIN_SIZE", "3", "batch.min_size", json!(3)),
        ("BATCH_MAX_SIZE", "4000", "batch.max_size", json!(4000)),
        ("BATCH_TIMEOUT", "250", "batch.timeout", json!("250ms")),
        ("CACHE_TTL_MULTIPLIER", "2", "cache.ttl_multiplier", json!(2.0)),
        ("CACHE_COMPRESSION_THRESHOLD", "6001", "cache.compression_threshold", json!("6001B")),
        ("FAULT_TOLERANCE_ENABLED", "false", "fault_tolerance.enabled", json!(false)),
        (
            "CORS_ORIGINS",
            "https://a.example, https://b.example:1",
            "server.cors_origins",
            json!(["https://a.example", "https://b.example:1"]),
        ),
        ("CHECKPOINT_DIR", "/srv/2026", "checkpoint.dir", json!("/srv/2026")),
        ("EVENT_MONITORING_ENABLED", "true", "sinks.events.enabled", json!(true)),
        ("EVENT_MONITORING_DB_PATH", "/srv/events", "sinks.events.folder", json!("/srv/events")),
        ("EVENT_MONITORING_RETENTION_DAYS", "7", "sinks.events.retention_days", json!(7)),
        ("EVENT_MONITORING_BUFFER_SIZE", "250", "sinks.events.batch_max", json!(250)),
        ("EVENT_MONITORING_FLUSH_INTERVAL", "50", "sinks.events.flush_interval", json!("50ms")),
        ("MONITORING_ENABLE_EMAIL_ALERTS", "false", "notify.email.enabled", json!(false)),
        ("MONITORING_ENABLE_SMS_ALERTS", "false", "notify.sms.enabled", json!(false)),
        ("MONITORING_ENABLE_WEBHOOK_ALERTS", "false", "notify.webhook.enabled", json!(false)),
        ("MONITORING_ALERT_WEBHOOK_URL", "https://h.example/x", "notify.webhook.url", json!("https://h.example/x")),
        ("ALERT_EMAIL_FROM", "a@example.org", "notify.email.from", json!("a@example.org")),
        ("ALERT_EMAIL_TO", "a@example.org,b@example.org", "notify.email.to", json!(["a@example.org", "b@example.org"])),
        ("ALERT_SMS_PHONE", "+4930123456", "notify.sms.phone", json!(["+4930123456"])),
        ("SMTP_URL", "smtp://u:hunter2@m.example", "notify.email.url", json!("smtp://u:***@m.example")),
        ("SLACK_TOKEN", "xoxb-hunter2", "notify.slack.token", json!("***")),
        ("SLACK_CHANNEL", "alerts", "notify.slack.channel", json!("alerts")),
        ("PAGERDUTY_TOKEN", "hunter2", "notify.pagerduty.token", json!("***")),
        ("PAGERDUTY_SERVICE_ID", "P123", "notify.pagerduty.service_id", json!("P123")),
        ("DASHBOARD_URL", "https://d.example/", "notify.dashboard_url", json!("https://d.example/")),
    ];
    for (name, text, setting, value) in names {
        let rows = shown(&Workplace::new().with_variable(name, text), &[]);
        assert_eq!(rows[setting], (value.clone(), format!("environment variable {name}")));
        let rows = shown(&Workplace::new().with_file(".env", format!("{name}='{text}'\n")), &[]);
        assert_eq!(rows[setting], (value, ".env:1".into()));
    }
}

/// What a setting without a default may be.
fn unset(setting: &str) -> &'static str {
    match setting {
        "pool.proxy" => "http://proxy:3128/",
        "notify.email.url" => "smtp://mail:587",
        "notify.webhook.url" | "notify.sms.url" => "https://example.org/",
        "notify.email.starttls" => "none",
        "notify.email.from" | "notify.email.to" => "a@example.org",
        "notify.webhook.secret" => "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        severity if severity.ends_with(".min_severity") => "critical",
        _ => "/token",
    }
}

#[test]
fn every_setting_of_a_fixed_section_has_a_variable() {
    for (setting, (value, _)) in shown(&Workplace::new(), &[]) {
        if setting.starts_with("sinks.") {
            continue;
        }
        let name = format!("SLUICE_{}", setting.replace('.', "__").to_uppercase());
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned).replace("null", unset(&setting));
        // The one without the other is refused.
        let other = match setting.as_str() {
            "server.tls.certificate" => ["--set", "server.tls.key=k"].as_slice(),
            "server.tls.key" => &["--set", "server.tls.certificate=c"],
            _ => &[],
        };
        let rows = shown(&Workplace::new().with_variable(&name, &text), other);
        assert_eq!(rows[&setting].1, format!("environment variable {name}"));
    }
}

#[test]
fn the_sink_events_is_off_until_it_is_switched_on_or_declared() {
    let sinks = |place: &Workplace, set: &[&str]| {
        let environment = place.environment().iter().map(|(name, text)| (name.into(), text.into())).collect();
        let set = set.iter().map(|&text| text.to_owned()).collect();
        let current_dir = place.path("");
        load(&LoadOptions { file: None, set, environment, current_dir, run_time: RunTimeLayer::default() })
            .unwrap()
            .settings
            .sinks
    };
    // There, with all its keys, and neither run nor listed.
    let place = Workplace::new().with_variable("EVENT_MONITORING_RETENTION_DAYS", "3");
    let rows = shown(&place, &[]);
    for (key, value) in [
        ("kind", json!("sqlite")),
        ("enabled", json!(false)),
        ("retention_days", json!(3)),
        ("batch_max", json!(1000)),
        ("flush_interval", json!("100ms")),
        ("folder", json!(place.path("data/events"))),
    ] {
        assert_eq!(rows[&format!("sinks.events.{key}")].0, value, "{key}");
    }
    assert!(sinks(&place, &[]).is_empty());

    let place = Workplace::new().with_variable("EVENT_MONITORING_ENABLED", "true");
    place.write("config/sluice.toml", "[daemon]\ndata_dir = \"../here\"\n");
    assert_eq!(sinks(&place, &[])["events"].folder, Some(place.path("here/events")));
    assert_eq!(sinks(&place, &["daemon.data_dir=there"])["events"].folder, Some(place.path("there/events")));

    // Declared, it runs like any other, unless a later layer says otherwise.
    let place = Workplace::new().with_file("config/sluice.toml", "[sinks.events]\nretention_days = 5\n");
    let events = &sinks(&place, &[])["events"];
    assert_eq!((events.enabled, events.kind.as_str(), events.batch_max), (true, "sqlite", 1000));
    let place = place.with_variable("EVENT_MONITORING_ENABLED", "false");
    assert!(!sinks(&place, &[])["events"].enabled);

    // Of another kind, it has nothing of ours.
    let place = Workplace::new();
    place.write("config/sluice.toml", "[sinks.events]\nkind = \"jsonl\"\nfolder = \"/srv/lines\"\n");
    let events = &sinks(&place, &[])["events"];
    assert_eq!((events.kind.as_str(), events.enabled, events.retention_days), ("jsonl", true, None));
    assert_eq!(events.batch_max, 5000);
}

#[test]
fn checkpoints_are_in_the_state_folder_of_a_service_unless_somebody_says_otherwise() {
    let dir = |place: &Workplace| shown(place, &[])["checkpoint.dir"].clone();
    let place = Workplace::new();
    assert_eq!(dir(&place), (json!(place.path("checkpoints")), "built-in default".into()));
    let place = place.with_variable("STATE_DIRECTORY", "/var/lib/sluice:/var/lib/other");
    assert_eq!(dir(&place), (json!("/var/lib/sluice/checkpoints"), "environment variable STATE_DIRECTORY".into()));
    place.write("config/sluice.toml", "[checkpoint]\ndir = \"../kept\"\n");
    assert_eq!(dir(&place), (json!(place.path("kept")), "config/sluice.toml:2".into()));
}

#[test]
fn a_variable_that_is_nearly_ours_is_refused_and_another_program_s_is_not() {
    let outcome = Workplace::new().with_variable("SLUICE_POOL__MAX_CONECTIONS", "5").run(["config", "show"]);
    assert_eq!(outcome.code, Some(78));
    assert_says(&outcome.stderr, &["SLUICE_POOL__MAX_CONECTIONS", "did you mean `SLUICE_POOL__MAX_CONNECTIONS`?"]);

    let outcome = Workplace::new().with_variable("POOL_MAX_CONNECTIONS", "many").run(["config", "show"]);
    assert_eq!(outcome.code, Some(78));
    assert_says(
        &outcome.stderr,
        &["environment variable POOL_MAX_CONNECTIONS", "pool.max_connections = \"many\"", "number"],
    );

    // What Kubernetes puts into containers beside a service called `sluice`.
    let place = Workplace::new()
        .with_variable("SLUICE_SERVICE_HOST", "10.0.0.1")
        .with_variable("SLUICE_PORT", "tcp://10.0.0.1:9464")
        .with_variable("SLUICE_PORT_9464_TCP_ADDR", "10.0.0.1")
        .with_variable("POOL_COLOUR", "blue");
    assert_eq!(place.run(["config", "show"]).code, Some(0));
}

#[test]
fn an_unknown_key_is_named_with_its_line_and_the_nearest_known_key() {
    assert_says(
        &refused("[pool]\nmin_connections = 1\nmax_conections = 5\n"),
        &["s.toml:3: ", "pool.max_conections", "did you mean `max_connections`?"],
    );
    assert_says(&refused("\n[monitor.x]\n"), &["s.toml:2: ", "`monitors`"]);
    assert_says(
        &refused(&format!(
            "{UPSTREAM}[monitors.x]\ndomain = \"d\"\nupstream = \"feed\"\ntopics = [\"t\"]\nevent = [\n  {{ id = \"/a\" }},\n  {{ idd = \"/a\" }},\n]\n"
        )),
        &["s.toml:10: ", "monitors.x.event[1].idd", "did you mean `id`?"],
    );
}

#[test]
fn a_wrong_value_is_named_with_its_line_and_what_is_expected() {
    let mistakes = [
        (
            "[pool]\nmax_connections = \"three\"\n",
            "s.toml:2: pool.max_connections = \"three\": expected a whole number",
        ),
        ("[pool]\nmax_connections = 2.5\n", "s.toml:2: pool.max_connections = 2.5: expected a whole number"),
        ("[pool]\nmax_connections = -1\n", "s.toml:2: pool.max_connections = -1: expected a whole number from 0"),
        ("[smart_streaming]\nenabled = 1\n", "s.toml:2: smart_streaming.enabled = 1: expected `true` or `false`"),
        ("[daemon]\ndata_dir = 7\n", "s.toml:2: daemon.data_dir = 7: expected a text"),
        ("[batch]\ntimeout = 500\n", "s.toml:2: batch.timeout = 500: expected a duration such as"),
        ("[batch]\ntimeout = \"500 parsecs\"\n", "s.toml:2: batch.timeout: `500 parsecs` is not a duration"),
        ("[batch]\nmax_bytes = \"1 parsec\"\n", "s.toml:2: batch.max_bytes: `1 parsec` is not a size"),
        ("[log]\nformat = \"jsn\"\n", "s.toml:2: log.format = \"jsn\": expected one of `human`, `json`"),
        (
            "[server]\nlisten = \"localhost\"\n",
            "s.toml:2: server.listen = \"localhost\": expected an address with a port",
        ),
        (
            "[upstreams.a]\nurl = \"ws://h\"\ndialect = \"okx\"\n[upstreams.a.limits]\nconnects = { count = 0, per = \"1s\" }\n",
            "s.toml:5: upstreams.a.limits.connects.count = 0: ",
        ),
        (
            "[upstreams.a]\nurl = \"ws://h\"\ndialect = \"okx\"\n[upstreams.a.limits]\nmessages = { count = 5, per = \"0s\" }\n",
            "s.toml:5: upstreams.a.limits.messages: `per` must be longer than 0",
        ),
        ("pool = 3\n", "s.toml:1: pool = 3: expected a table"),
        ("[upstreams.a]\n[upstreams.b]\n", "s.toml:1: upstreams.a: `url` is missing"),
        ("[pool]\nmax_connections = 99999999999999999999\n", "s.toml:2: pool.max_connections: the number does not fit"),
        ("[daemon]\ndata_dir = 2026-01-01\n", "s.toml:2: daemon.data_dir: no setting is a date"),
        ("[pool]\nmax_connections = \n", "s.toml:2: not valid TOML"),
        ("[pool]\n[pool]\n", "s.toml:2: not valid TOML"),
    ];
    for (text, expected) in mistakes {
        assert_says(&refused(text), &[expected]);
    }
}

#[test]
fn all_mistakes_are_named_at_once() {
    let text = "[pool]\nmax_conections = 5\nmin_connections = true\n[batch]\ntimeout = 5\n[upstreams.a]\nurl = 3\n";
    let said = refused(text);
    assert_says(&said, &["4 problems", "s.toml:2: ", "s.toml:3: ", "s.toml:5: ", "s.toml:7: "]);
    // What follows from a mistake already named is not one more: `url` is there.
    assert!(!said.contains("`url` is missing"), "{said}");
}

#[test]
fn settings_that_contradict_each_other_are_refused() {
    let monitor = |rest: &str| {
        format!("{UPSTREAM}[monitors.x]\ndomain = \"d\"\nupstream = \"feed\"\ntopics = [\"t\"]\nevent = {rest}\n")
    };
    let named =
        |name: &str| format!("{UPSTREAM}[monitors.{name}]\ndomain = \"d\"\nupstream = \"feed\"\ntopics = [\"t\"]\n");
    let contradictions: Vec<(String, &[&str])> = vec![
        (
            "[pool]\nmin_connections = 5\nmax_connections = 4\n".into(),
            &["s.toml:2: pool.min_connections = 5: must be at most `pool.max_connections` = 4 (s.toml:3)"],
        ),
        ("[pool]\nmin_connections = 4\n".into(), &["s.toml:2: ", "`pool.max_connections` = 3 (built-in default)"]),
        (
            "[pool]\nmin_connections = 0\nmax_connections = 0\n".into(),
            &["s.toml:3: pool.max_connections = 0: must be at least 1"],
        ),
        (
            format!("{UPSTREAM}pool.max_connections = 1\n"),
            &["pool.min_connections = 2: must be at most `upstreams.feed.pool.max_connections` = 1 (s.toml:4)"],
        ),
        (
            "[pool]\nbackoff_min = \"1m\"\n".into(),
            &["s.toml:2: pool.backoff_min = 1m: must be at most `pool.backoff_max` = 30s"],
        ),
        (
            format!("{UPSTREAM}limits = {{ max_age = \"1h\", max_age_margin = \"2h\" }}\n"),
            &["s.toml:4: upstreams.feed.limits.max_age_margin = 2h: must be less than", "max_age` = 1h"],
        ),
        (
            "[pool]\nsilence_max = \"10s\"\n".into(),
            &["pool.silence_min = 30s: must be at most `pool.silence_max` = 10s (s.toml:2)"],
        ),
        ("[pool]\npong_timeout = \"0s\"\n".into(), &["s.toml:2: pool.pong_timeout = 0s: must be longer than 0"]),
        ("[batch]\nmin_size = 0\n".into(), &["s.toml:2: batch.min_size = 0: must be at least 1"]),
        ("[batch]\nmin_size = 6000\n".into(), &["s.toml:2: ", "at most `batch.max_size` = 5000 (built-in default)"]),
        ("[smart_streaming]\ncanary = 1.5\n".into(), &["s.toml:2: smart_streaming.canary = 1.5: must be from 0 to 1"]),
        ("[smart_streaming]\ncanary = nan\n".into(), &["s.toml:2: smart_streaming.canary"]),
        ("[cache]\nttl_multiplier = 0\n".into(), &["s.toml:2: cache.ttl_multiplier = 0: must be more than 0"]),
        (
            "[journal]\nsegment_size = \"1MiB\"\n".into(),
            &["s.toml:2: ", "twice `batch.max_bytes` = 1MiB (built-in default)"],
        ),
        ("[journal]\nmax_size = \"100MiB\"\n".into(), &["s.toml:2: ", "twice `journal.segment_size` = 64MiB"]),
        ("[journal]\nretention = \"99999years\"\n".into(), &["s.toml:2: journal.retention", "at most 36500d"]),
        ("[log]\nlevel = \"inof\"\n".into(), &["s.toml:2: log.level", "did you mean `info`?"]),
        (
            named("x").replace("\"feed\"\nt", "\"fed\"\nt"),
            &["s.toml:6: monitors.x.upstream = \"fed\": no such upstream; did you mean `feed`?"],
        ),
        (named("x").replace("[\"t\"]", "[]"), &["s.toml:7: monitors.x.topics = []: must have at least one"]),
        (
            named("x").replace("[\"t\"]", "[\n\"t\",\n\"t\"]"),
            &["s.toml:9: monitors.x.topics[1] = \"t\": is listed twice"],
        ),
        (named("_x"), &["s.toml:4: monitors._x: a monitor's name must not start with `_`"]),
        (named("\"a b\""), &["s.toml:4: monitors.\"a b\": a monitor's name may have letters, digits"]),
        (named("x").replace("\"d\"", "\"_d\""), &["s.toml:5: monitors.x.domain: a domain must not start with `_`"]),
        (
            monitor("{ id = \"data/t\" }"),
            &["s.toml:8: monitors.x.event.id = \"data/t\": not a JSON Pointer", "`/data/t`"],
        ),
        (monitor("[{ key = \"/a~2\" }]"), &["s.toml:8: monitors.x.event[0].key = \"/a~2\": not a JSON Pointer"]),
        (monitor("{ when = { \"e\" = 1 } }"), &["s.toml:8: monitors.x.event.when.e"]),
        (monitor("{ each = \"frame:/a\" }"), &["s.toml:8: monitors.x.event.each", "`frame:` is not possible here"]),
        (monitor("{ id = [\"hash\", \"/a\"] }"), &["s.toml:8: monitors.x.event.id", "stands alone"]),
        (monitor("{ ignore = true, id = \"/a\" }"), &["s.toml:8: monitors.x.event.ignore", "no use for `id`"]),
    ];
    for (text, expected) in contradictions {
        assert_says(&refused(&text), expected);
    }
}

#[test]
fn names_and_pointers_keep_their_dots_and_capitals() {
    let text = format!(
        "{UPSTREAM}[monitors.\"BTC.usd-1\"]\ndomain = \"d\"\nupstream = \"feed\"\ntopics = [\"BTC.USD@Trade\"]\n\
         event = {{ when = {{ \"/Data/a.b\" = \"X\" }}, id = [\"frame:/A.b/0\", \"\"] }}\n"
    );
    let place = Workplace::new().with_file("config/sluice.toml", text);
    let rows = shown(&place, &["--set", "monitors.\"BTC.usd-1\".priority=high"]);
    assert_eq!(rows["monitors.\"BTC.usd-1\".topics"].0, json!(["BTC.USD@Trade"]));
    assert_eq!(rows["monitors.\"BTC.usd-1\".priority"], (json!("high"), "--set".into()));
    let rules = &rows["monitors.\"BTC.usd-1\".event"].0;
    assert_eq!(rules[0]["when"], json!({ "/Data/a.b": "X" }));
    assert_eq!(rules[0]["id"], json!(["frame:/A.b/0", ""]));
}

#[test]
fn secrets_are_never_shown() {
    const SECRET: &str = "hunter2hunter2hunter2";
    let leaks = |outcome: &Outcome| outcome.stdout.contains(SECRET) || outcome.stderr.contains(SECRET);
    let addresses = [
        format!("wss://me:{SECRET}@example.com/ws"),
        format!("wss://{SECRET}@example.com/ws"),
        format!("wss://example.com/ws?streams=a&token={SECRET}"),
        format!("wss://example.com/ws/v3/{SECRET}"),
        format!("http://me:{SECRET}@example.com/ws"),
        format!("wss//me:{SECRET}@example.com/ws"),
    ];
    for address in addresses {
        let text = format!("[upstreams.feed]\nurl = \"{address}\"\ndialect = \"binance\"\n");
        let place = Workplace::new().with_file("config/sluice.toml", &text);
        for output in ["json", "table"] {
            let outcome = place.run(["config", "show", "--output", output]);
            assert!(!leaks(&outcome), "{outcome:?}");
            assert!(outcome.stdout.contains("***") || outcome.code == Some(78), "{outcome:?}");
        }
        let outcome = Workplace::new().run([
            "config",
            "show",
            "--set",
            "upstreams.x.dialect=d",
            "--set",
            &format!("upstreams.x.url={address}"),
        ]);
        assert!(!leaks(&outcome), "{outcome:?}");
    }
    let elsewhere = [
        format!("[upstreams.feed]\nurl = [\"wss://me:{SECRET}@x\"]\n"),
        format!("[upstreams.feed]\npassword = \"{SECRET}\"\n"),
        format!("[upstreams.feed]\nurl = \"{SECRET}\n"),
        format!("[upstreams.feed]\nurl = {SECRET}\n"),
        format!("[upstreams.feed]\nurl = \"wss://x\"\nurl = \"wss://{SECRET}@x\"\n"),
        format!("[upstreams.feed]\ntopics_per_link = \"wss://me:{SECRET}@x\"\n"),
    ];
    for text in elsewhere {
        assert!(!refused(&text).contains(SECRET), "{}", refused(&text));
    }
    let outcome = Workplace::new().with_file(".env", format!("SLUICE_X={SECRET}\n={SECRET}\n")).run(["config", "show"]);
    assert_eq!(outcome.code, Some(78));
    assert!(!leaks(&outcome), "{outcome:?}");
    let outcome = Workplace::new().run(["config", "show", "--set", &format!("upstreams.x.url {SECRET}")]);
    assert_eq!(outcome.code, Some(78));
    assert!(!leaks(&outcome), "{outcome:?}");
}

#[test]
fn relative_paths_begin_at_the_settings_file() {
    let place = Workplace::new().with_file("config/sluice.toml", "[daemon]\ndata_dir = \"../data\"\n");
    let data_dir = |place: &Workplace, arguments: &[&str]| shown(place, arguments)["daemon.data_dir"].0.clone();
    assert_eq!(data_dir(&place, &[]), json!(place.path("data")));
    assert_eq!(data_dir(&place, &["--set", "daemon.data_dir=here"]), json!(place.path("here")));
    assert_eq!(data_dir(&Workplace::new(), &["--set", "daemon.data_dir=/there"]), json!("/there"));
}

#[test]
fn a_file_that_is_asked_for_must_exist() {
    let outcome = Workplace::new().run(["config", "show", "--config", "nowhere.toml"]);
    assert_eq!(outcome.code, Some(78));
    assert_says(&outcome.stderr, &["nowhere.toml", "does not exist"]);
}

#[test]
fn check_says_what_it_found() {
    let text = format!(
        "[smart_streaming]\nenabled = true\n{UPSTREAM}[monitors.x]\ndomain = \"d\"\nupstream = \"feed\"\ntopics = [\"a\", \"b\"]\n"
    );
    let outcome = Workplace::new().with_file("config/sluice.toml", text).run(["config", "check"]);
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    assert_eq!(outcome.stdout, "ok: config/sluice.toml: 1 upstream, 1 monitor, 2 topics\n");
}

/// `config/sluice.toml` with its examples made real: lines that begin with `#` and no space.
#[test]
fn a_sink_is_told_what_belongs_to_its_kind_and_what_it_lacks() {
    let sink = |lines: &str| {
        format!(
            "{UPSTREAM}[monitors.trades]\ndomain = \"trading\"\nupstream = \"feed\"\ntopics = [\"t\"]\n[sinks.s]\n{lines}\n"
        )
    };
    let jsonl = |lines: &str| sink(&format!("kind = \"jsonl\"\nfolder = \"f\"\n{lines}"));
    let fields = |lines: &str| {
        format!(
            "{UPSTREAM}[monitors.a]\ndomain = \"d\"\nupstream = \"feed\"\ntopics = [\"t\"]\n[monitors.a.fields]\n{lines}\n"
        )
    };
    let mistakes: Vec<(String, &[&str])> = vec![
        (sink("kind = \"postgrse\""), &["s.toml:9: sinks.s.kind", "postgres"]),
        (sink("kind = \"postgres\""), &["s.toml:8: sinks.s: ", "needs `url`, such as \"postgres://"]),
        (sink("kind = \"sqlite\""), &["s.toml:8: sinks.s: ", "needs `folder`"]),
        (
            sink("kind = \"nats\"\nurl = \"postgres://me:hunter2@h/d\""),
            &["s.toml:10: sinks.s.url", "must begin with `nats://` or `tls://`", "me:***@h"],
        ),
        (
            jsonl("table = \"t\""),
            &["s.toml:11: sinks.s.table: belongs to sinks of kind `postgres`, and this one is `jsonl`"],
        ),
        (
            sink("kind = \"sqlite\"\nfolder = \"f\"\nurl = \"nats://h\"\ncompression = \"zstd\""),
            &[
                "s.toml:11: sinks.s.url: belongs to sinks of kind `postgres` and `nats`",
                "s.toml:12: sinks.s.compression",
            ],
        ),
        (jsonl("batch_max = 0"), &["s.toml:11: sinks.s.batch_max = 0: must be from 1 to"]),
        (jsonl("read_ahead = \"0B\""), &["s.toml:11: sinks.s.read_ahead = 0B: must be more than 0"]),
        (jsonl("timeout = \"0s\""), &["s.toml:11: sinks.s.timeout = 0s: must be longer than 0"]),
        (jsonl("retention_days = 0"), &["s.toml:11: sinks.s.retention_days = 0: must be at least 1"]),
        (
            jsonl("monitors = [\"gaps\", \"trade\"]"),
            &["s.toml:11: sinks.s.monitors[1] = \"trade\": no such monitor; did you mean `trades`?"],
        ),
        (
            jsonl("domains = [\"_sluice\", \"_shadow.trading\", \"tradin\"]"),
            &["s.toml:11: sinks.s.domains[2] = \"tradin\": no such domain; did you mean `trading`?"],
        ),
        (
            jsonl("[sinks.other]\nkind = \"sqlite\"\nfolder = \"f\""),
            &["sinks.s.folder", "is the folder of sink `other` already"],
        ),
        (
            sink("kind = \"jsonl\"\nfolder = \"f\"\n[sinks._x]\nkind = \"jsonl\"\nfolder = \"g\""),
            &["sinks._x: a sink's name must not start"],
        ),
        (
            fields("price = { pointer = \"p\" }"),
            &["s.toml:9: monitors.a.fields.price.pointer = \"p\": not a JSON Pointer"],
        ),
        (
            fields("price = { pointer = \"/p\", type = \"float\" }"),
            &["s.toml:9: monitors.a.fields.price.type", "double"],
        ),
        (
            fields("Payload = { pointer = \"/p\" }"),
            &["s.toml:9: monitors.a.fields.Payload: is a column that every event has"],
        ),
        (fields("\"a b\" = { pointer = \"/p\" }"), &["s.toml:9: monitors.a.fields.\"a b\": is a column's name"]),
        (
            fields(
                "p = { pointer = \"/p\", type = \"numeric\" }\n[monitors.b]\ndomain = \"d\"\nupstream = \"feed\"\ntopics = [\"t\"]\nfields.P = { pointer = \"/p\" }",
            ),
            &["s.toml:14: monitors.b.fields.P: monitor `a` has a field of this name with another type"],
        ),
    ];
    for (text, expected) in mistakes {
        assert_says(&refused(&text), expected);
    }
    let long = "c".repeat(64);
    assert_says(&refused(&fields(&format!("{long} = {{ pointer = \"/p\" }}"))), &["at most 63 characters"]);
    let place = Workplace::new().with_file("etc/s.toml", jsonl("rewind = \"0s\"\nmonitors = [\"trades\"]"));
    let rows = shown(&place, &["--config", "etc/s.toml"]);
    assert_eq!(rows["sinks.s.folder"].0, json!(place.path("etc/f")), "paths begin at the settings file");
}

fn shipped_with_its_examples() -> String {
    let text = project_file("config/sluice.toml");
    let real = |line: &str| match line.strip_prefix('#') {
        Some(example) if !example.is_empty() && !example.starts_with(' ') => format!("{example}\n"),
        _ => format!("{line}\n"),
    };
    text.lines().map(real).collect()
}

#[test]
fn the_shipped_file_shows_every_setting_with_its_default() {
    let text = project_file("config/sluice.toml");
    let place = Workplace::new().with_file("config/sluice.toml", &text);
    assert_eq!(place.run(["config", "check"]).code, Some(0));

    let bare = Workplace::new();
    // Each is said in the file not to be the default.
    let differ = ["daemon.data_dir", "smart_streaming.enabled", "checkpoint.dir", "sinks.events.folder"];
    let defaults = shown(&bare, &[]);
    let given = shown(&place, &[]);
    assert_eq!(given.keys().collect::<Vec<_>>(), defaults.keys().collect::<Vec<_>>());
    for (key, (value, origin)) in &given {
        if defaults[key].0.is_null() || key.starts_with("sinks.") {
            let name = key.rsplit('.').next().unwrap();
            assert!(text.contains(&format!("\n#{name} = ")), "{key} is not mentioned");
        } else {
            assert!(origin.starts_with("config/sluice.toml:"), "{key} is not given");
        }
        if !differ.contains(&key.as_str()) {
            assert_eq!(value, &defaults[key].0, "{key}");
        }
    }
    // The file keeps the data beside the folder it is in, where the default without a file has it.
    assert_eq!(given["daemon.data_dir"].0, json!(place.path("data")));
    assert_eq!(given["checkpoint.dir"].0, json!(place.path("checkpoints")));
    assert_eq!(given["sinks.events.folder"].0, json!(place.path("data/events")));

    let place = Workplace::new().with_file("config/sluice.toml", shipped_with_its_examples());
    place.write("config/token", "0123456789abcdef");
    let authority = rcgen::generate_simple_self_signed(vec!["example.org".to_owned()]).unwrap();
    place.write("config/ca.pem", authority.cert.pem());
    place.write("config/tokens", format!("board read sha256:{}\n", "0".repeat(64)));
    let outcome = place.run(["config", "check"]);
    assert_eq!(
        outcome.stdout, "ok: config/sluice.toml: 1 upstream, 1 monitor, 2 topics, 4 sinks\n",
        "{}",
        outcome.stderr
    );
}

#[test]
fn a_reader_that_goes_away_is_not_an_error() {
    let place = Workplace::new();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output =
        place.command(["config", "show"]).stdout(writer).stderr(std::process::Stdio::piped()).output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

/// Changes of one to three places: characters deleted, put in, replaced, lines doubled and exchanged.
fn mutated(text: &str, random: &mut fastrand::Rng) -> String {
    const NEW: [&str; 24] = [
        "\"", "'", "[", "]", "{", "}", "=", ".", ",", "#", "\n", "\0", "-", "0", "9e999", "1", "true", "nan", "~", "/",
        "é", "\u{feff}", "\\", "[[",
    ];
    let mut characters: Vec<char> = text.chars().collect();
    for _ in 0..random.usize(1..=3) {
        let at = random.usize(0..characters.len());
        let end = (at + random.usize(1..8)).min(characters.len());
        let new = NEW[random.usize(0..NEW.len())].chars();
        match random.u8(0..4) {
            0 => drop(characters.drain(at..end)),
            1 => drop(characters.splice(at..at, new)),
            2 => drop(characters.splice(at..=at, new)),
            _ => {
                let piece: Vec<char> = characters[at..end].to_vec();
                let to = random.usize(0..characters.len());
                drop(characters.splice(to..to, piece));
            }
        }
    }
    characters.into_iter().collect()
}

#[test]
fn a_damaged_file_is_refused_with_a_line_or_loads_and_never_panics() {
    const SEED: u64 = 26;
    let whole = shipped_with_its_examples();
    // Without its comments, so that most changes hit something.
    let bare: Vec<&str> = whole.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).collect();
    let bare = bare.join("\n");
    let place = Workplace::new();
    let options = LoadOptions {
        file: Some("s.toml".into()),
        set: Vec::new(),
        environment: Vec::<(OsString, OsString)>::new(),
        current_dir: place.path(""),
        run_time: RunTimeLayer::default(),
    };
    let mut random = fastrand::Rng::with_seed(SEED);
    let (mut loaded, mut refused) = (0, 0);
    for round in 0..3000 {
        let text = mutated(if round % 10 == 0 { &whole } else { &bare }, &mut random);
        place.write("s.toml", &text);
        match load(&options) {
            Ok(_) => loaded += 1,
            Err(error) => {
                refused += 1;
                let said = error.to_string();
                let line = said
                    .split("s.toml:")
                    .nth(1)
                    .and_then(|rest| rest.split(|character: char| !character.is_ascii_digit()).next())
                    .and_then(|digits| digits.parse::<usize>().ok());
                let lines = text.split('\n').count();
                assert!(
                    line.is_some_and(|line| (1..=lines).contains(&line)),
                    "round {round} of seed {SEED}: {said}\n{text}"
                );
            }
        }
        // The program itself says the same as the library; a few of them, since each is a process.
        if round % 100 == 0 {
            let outcome = place.run(["config", "show", "--config", "s.toml"]);
            assert!(matches!(outcome.code, Some(0 | 78)), "round {round} of seed {SEED}: {outcome:?}\n{text}");
            assert!(!outcome.stderr.contains("panicked"), "{outcome:?}");
        }
    }
    assert!(loaded > 100 && refused > 1000, "{loaded} loaded, {refused} refused: the changes miss");
}

#[test]
fn a_file_that_is_no_text_is_refused() {
    let outcome =
        Workplace::new().with_file("s.toml", b"[pool]\n\xff\xfe").run(["config", "show", "--config", "s.toml"]);
    assert_eq!(outcome.code, Some(78));
    assert_says(&outcome.stderr, &["s.toml:2: ", "not UTF-8"]);

    let deep = format!("x = {}", "[".repeat(100_000));
    assert_says(&refused(&deep), &["s.toml:1: not valid TOML"]);

    let place = Workplace::new();
    std::fs::create_dir(place.path("s.toml")).unwrap();
    let outcome = place.run(["config", "show", "--config", "s.toml"]);
    assert_eq!(outcome.code, Some(78));
    assert_says(&outcome.stderr, &["s.toml", "cannot be read"]);
}

#[test]
fn used_wrongly_ends_with_2() {
    assert_eq!(Workplace::new().run(["config", "chekc"]).code, Some(2));
    assert_eq!(Workplace::new().run::<&str>([]).code, Some(2));
    assert_eq!(Workplace::new().run(["--help"]).code, Some(0));
    assert_eq!(Workplace::new().run(["--version"]).code, Some(0));
}

#[test]
fn settings_survive_being_written_and_read_again() {
    let text = toml::to_string(&Settings::default()).unwrap();
    let place = Workplace::new().with_file("s.toml", text);
    let rows = shown(&place, &["--config", "s.toml"]);
    for (key, (value, _)) in shown(&Workplace::new(), &[]) {
        // Of a folder each.
        if !["daemon.data_dir", "checkpoint.dir", "sinks.events.folder"].contains(&key.as_str()) {
            assert_eq!(rows[&key].0, value, "{key}");
        }
    }
}
