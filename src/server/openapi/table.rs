//! Every operation of the API.

use serde_json::{Value, json};

use self::Answered::{Events, Nothing, Object, Problem, Rows, Stream, Text};

/// What comes back.
#[derive(Debug)]
pub(super) enum Answered {
    Object(&'static str),
    Rows(&'static str),
    Text(&'static str),
    Stream(&'static str),
    Events(&'static str),
    Problem(&'static str),
    Nothing(&'static str),
}

/// One of them.
#[derive(Debug)]
pub(super) struct Operation {
    pub(super) method: &'static str,
    pub(super) path: &'static str,
    pub(super) summary: &'static str,
    /// Name, type (`string`, `boolean`, `count`, `offset`; `…[]` may be repeated), and what it means.
    pub(super) query: &'static [(&'static str, &'static str, &'static str)],
    /// The body's JSON schema.
    pub(super) body: Option<&'static str>,
    pub(super) answers: &'static [(u16, Answered)],
}

type Query = &'static [(&'static str, &'static str, &'static str)];
type Answers = &'static [(u16, Answered)];

const fn get(path: &'static str, summary: &'static str, query: Query, answers: Answers) -> Operation {
    Operation { method: "GET", path, summary, query, body: None, answers }
}

const fn change(
    method: &'static str,
    path: &'static str,
    summary: &'static str,
    query: Query,
    body: Option<&'static str>,
    answers: Answers,
) -> Operation {
    Operation { method, path, summary, query, body, answers }
}

const NONE: Query = &[];
const DRY_RUN: Query = &[("dry_run", "boolean", "Only say what would be")];
const ALERTS: Query = &[
    ("status", "string[]", "Where they stand: `open`, `acknowledged`, `resolved`"),
    ("type", "string[]", "Of which types, or found by which own rules"),
    ("severity", "string[]", "`info`, `warning`, `critical`"),
    ("subject", "string[]", "About what; `*` is any run of characters"),
    ("since", "string", "`5m` (ago), or RFC 3339"),
    ("limit", "count", "The most, the newest"),
];
const GAPS: Query = &[
    ("monitor", "string[]", "Only these monitors"),
    ("upstream", "string[]", "Only these upstreams"),
    ("topic", "string[]", "Only these topics"),
    ("cause", "string[]", "Only these causes"),
    ("since", "string", "`5m` (ago), or RFC 3339"),
    ("until", "string", "`5m` (ago), or RFC 3339"),
    ("open", "boolean", "Only those that go on"),
    ("unfilled", "boolean", "Only those that were not filled"),
    ("limit", "offset", "The most, the newest"),
];
const LATEST: Query = &[
    ("monitor", "string", "Only this monitor"),
    ("key", "string", "Only this key"),
    ("limit", "offset", "The most, the newest"),
];
const EVENTS: Query = &[
    ("monitor", "string[]", "Only these monitors"),
    ("domain", "string[]", "Only these domains; `_sluice` has the daemon's own events"),
    ("topic", "string[]", "Only these topics"),
    ("key", "string[]", "Only these keys"),
    ("path", "string", "Only what came by `smart` or `legacy`"),
    ("since", "string", "Received at or after: `5m` (ago), or RFC 3339"),
    ("until", "string", "Received before"),
    ("event_time", "boolean", "`since` and `until` mean the event's own time"),
    ("from", "offset", "From this offset on"),
    ("to", "offset", "Up to, but without, this offset"),
    ("limit", "count", "The most; of a page 1,000 where it is not said, at most 10,000"),
    ("cursor", "string", "The `next` of the page before, with the same filters"),
    ("format", "string", "`json`, `jsonl` or `csv`, in the place of `Accept`"),
];
const NAMED: &str = r#"{"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}}}"#;
const FIELDS: &str = r#"{"type": "object", "description": "The fields of its table in the settings file"}"#;
const CHANGED: Answers = &[(200, Object("What it did, or would do"))];

/// All of them, by path.
pub(super) const OPERATIONS: &[Operation] = &[
    get("/api/openapi.json", "This document", NONE, &[(200, Object("OpenAPI 3.1"))]),
    get("/api/v1/canary", "How the change-over to the smart path stands", NONE, &[(200, Object("Share, plan, guard"))]),
    change(
        "PUT",
        "/api/v1/canary",
        "Decide about the change-over",
        NONE,
        Some(
            r#"{"type": "object", "additionalProperties": false, "properties": {"action": {"enum": ["set", "clear", "start", "pause", "resume", "abort"]}, "fraction": {"type": "number", "minimum": 0, "maximum": 1}, "reason": {"type": "string"}, "dry_run": {"type": "boolean"}, "force": {"type": "boolean"}, "stay": {"type": "boolean"}}}"#,
        ),
        &[(200, Object("What it did, or would do"))],
    ),
    get(
        "/api/v1/canary/history",
        "What was decided",
        &[("limit", "offset", "The most, the newest")],
        &[(200, Rows("Decisions, oldest first"))],
    ),
    get("/api/v1/checkpoints", "Every checkpoint", NONE, &[(200, Rows("Checkpoints"))]),
    change(
        "POST",
        "/api/v1/checkpoints",
        "Write a checkpoint",
        DRY_RUN,
        None,
        &[(200, Object("What it would hold")), (201, Object("The checkpoint"))],
    ),
    get("/api/v1/circuits", "Every circuit breaker", NONE, &[(200, Rows("Breakers"))]),
    change(
        "PUT",
        "/api/v1/circuits/{kind}/{name}",
        "Hold a breaker, or let it go",
        NONE,
        Some(
            r#"{"type": "object", "required": ["action"], "properties": {"action": {"enum": ["open", "close", "reset"]}}}"#,
        ),
        &[(200, Object("The breaker"))],
    ),
    change(
        "POST",
        "/api/v1/emergency-stop",
        "Take nothing more from any upstream",
        NONE,
        Some(
            r#"{"type": "object", "properties": {"reason": {"type": ["string", "null"]}}, "additionalProperties": false}"#,
        ),
        &[(200, Object("Whether everything stands still"))],
    ),
    get(
        "/api/v1/events",
        "Events of the journal",
        EVENTS,
        &[
            (200, Events("A page, or all as lines or a table")),
            (406, Problem("None of the forms that there are is taken")),
            (410, Problem("What was asked for is gone by retention; `earliest` says what is there")),
        ],
    ),
    get("/api/v1/gaps", "What was not seen", GAPS, &[(200, Rows("Gaps"))]),
    get("/api/v1/gaps/completeness", "What share was seen", GAPS, &[(200, Object("Shares"))]),
    change(
        "POST",
        "/api/v1/gaps/fill",
        "Have gaps fetched",
        NONE,
        Some(
            r#"{"type": "object", "additionalProperties": false, "properties": {"gap": {"type": ["integer", "null"], "minimum": 0}, "monitors": {"type": "array", "items": {"type": "string"}}, "dry_run": {"type": "boolean"}}}"#,
        ),
        &[(202, Rows("What becomes of each gap"))],
    ),
    get("/api/v1/journal", "How far the journal is", NONE, &[(200, Object("The journal"))]),
    get("/api/v1/last-values", "As `latest`, by its first name", LATEST, &[(200, Object("Values"))]),
    get("/api/v1/latest", "The newest event of each monitor and key", LATEST, &[(200, Object("Values"))]),
    get(
        "/api/v1/logs",
        "The last lines of the log",
        &[("limit", "offset", "The most, the newest")],
        &[(200, Object("Lines, oldest first"))],
    ),
    get(
        "/api/v1/monitor-verdicts",
        "How well monitors are",
        &[("name", "string", "Only this one")],
        &[(200, Rows("Verdicts"))],
    ),
    change(
        "PUT",
        "/api/v1/monitor-states",
        "Stop monitors, put them to rest, have them go on",
        NONE,
        Some(
            r#"{"type": "object", "required": ["state"], "properties": {"state": {"enum": ["running", "stopped", "resting"]}, "names": {"type": "array", "items": {"type": "string"}}, "priority": {"enum": ["high", "medium", "low", null]}, "dry_run": {"type": "boolean"}}}"#,
        ),
        &[(200, Object("Monitors that were not in it before"))],
    ),
    get(
        "/api/v1/monitoring/dashboard",
        "All that a board shows, at once",
        NONE,
        &[(200, Object("Health, statistics, pools, sinks, breakers, canary, operations"))],
    ),
    get(
        "/api/v1/monitoring/health",
        "How the daemon is",
        NONE,
        &[(200, Object("Healthy or degraded")), (503, Object("Unhealthy"))],
    ),
    get("/api/v1/monitoring/metrics", "Figures of the daemon and its host", NONE, &[(200, Object("Figures"))]),
    get("/api/v1/monitoring/system-metrics", "Figures of the host and the process", NONE, &[(200, Object("Figures"))]),
    get("/api/v1/monitors", "Every monitor", NONE, &[(200, Rows("Monitors"))]),
    change(
        "POST",
        "/api/v1/monitors",
        "Make a monitor",
        DRY_RUN,
        Some(NAMED),
        &[(200, Object("What it would do")), (201, Object("What it did"))],
    ),
    get("/api/v1/monitors/{name}", "A monitor with its settings", NONE, &[(200, Object("The monitor"))]),
    change("PUT", "/api/v1/monitors/{name}", "Give a monitor other settings", DRY_RUN, Some(FIELDS), CHANGED),
    change(
        "DELETE",
        "/api/v1/monitors/{name}",
        "Take a monitor away",
        DRY_RUN,
        None,
        &[(200, Object("What it would do")), (204, Nothing("It is gone"))],
    ),
    change(
        "PUT",
        "/api/v1/monitors/{name}/shadow",
        "Have the other path take it as well, to be compared",
        NONE,
        Some(
            r#"{"type": "object", "required": ["seconds"], "properties": {"seconds": {"type": "number", "minimum": 0}}, "additionalProperties": false}"#,
        ),
        &[(200, Object("The shadow"))],
    ),
    change(
        "PUT",
        "/api/v1/monitors/{name}/state",
        "Stop a monitor, put it to rest, have it go on",
        NONE,
        Some(
            r#"{"type": "object", "required": ["state"], "properties": {"state": {"enum": ["running", "stopped", "resting"]}, "dry_run": {"type": "boolean"}}, "additionalProperties": false}"#,
        ),
        &[(200, Object("Monitors that were not in it before"))],
    ),
    get(
        "/api/v1/operations",
        "What is done once: what goes on, and what has ended lately",
        NONE,
        &[(200, Rows("Operations"))],
    ),
    get("/api/v1/operations/{id}", "One of these", NONE, &[(200, Object("The operation"))]),
    get("/api/v1/operations/{id}/events", "The same as it goes on", NONE, &[(200, Stream("`progress` until `end`"))]),
    change(
        "POST",
        "/api/v1/plan",
        "What another settings file would do",
        NONE,
        Some(
            r#"{"type": "object", "required": ["file", "text"], "properties": {"file": {"type": "string"}, "text": {"type": "string"}}, "additionalProperties": false}"#,
        ),
        &[(200, Object("What it would do"))],
    ),
    get("/api/v1/monitoring/alerts", "Alerts, newest first", ALERTS, &[(200, Rows("Alerts"))]),
    get("/api/v1/monitoring/alerts/summary", "How many alerts there are", NONE, &[(200, Object("Counts"))]),
    get("/api/v1/monitoring/alerts/rules", "Every rule, and what it sees", NONE, &[(200, Rows("Rules"))]),
    get("/api/v1/monitoring/alerts/silences", "Silences in force", NONE, &[(200, Rows("Silences"))]),
    change(
        "POST",
        "/api/v1/monitoring/alerts/silences",
        "Have nobody told of some alerts for a while",
        NONE,
        Some(
            r#"{"type": "object", "additionalProperties": false, "required": ["until"], "properties": {"rule": {"type": ["string", "null"]}, "subject": {"type": ["string", "null"]}, "severity": {"enum": ["info", "warning", "critical", null]}, "until": {"type": "string"}, "reason": {"type": ["string", "null"]}, "by": {"type": ["string", "null"]}}}"#,
        ),
        &[
            (201, Object("The silence")),
            (409, Problem("There are too many")),
            (503, Problem("It cannot be put on record")),
        ],
    ),
    get("/api/v1/monitoring/alerts/silences/{id}", "A silence", NONE, &[(200, Object("The silence"))]),
    change(
        "DELETE",
        "/api/v1/monitoring/alerts/silences/{id}",
        "End a silence",
        NONE,
        None,
        &[(200, Object("The silence")), (503, Problem("It cannot be put on record"))],
    ),
    get("/api/v1/monitoring/alerts/{id}", "An alert", NONE, &[(200, Object("The alert"))]),
    change(
        "POST",
        "/api/v1/monitoring/alerts/{id}/acknowledge",
        "See to an alert",
        NONE,
        Some(
            r#"{"type": "object", "additionalProperties": false, "properties": {"acknowledgedBy": {"type": ["string", "null"]}, "notes": {"type": ["string", "null"]}}}"#,
        ),
        &[(200, Object("The alert")), (409, Problem("It is not open")), (503, Problem("It cannot be put on record"))],
    ),
    change(
        "POST",
        "/api/v1/monitoring/alerts/{id}/resolve",
        "Say that an alert is over",
        NONE,
        Some(
            r#"{"type": "object", "additionalProperties": false, "properties": {"resolvedBy": {"type": ["string", "null"]}, "resolution": {"type": ["string", "null"]}}}"#,
        ),
        &[
            (200, Object("The alert")),
            (409, Problem("It is over already")),
            (503, Problem("It cannot be put on record")),
        ],
    ),
    get(
        "/api/v1/monitoring/notifications",
        "What became of notices of alerts",
        &[("limit", "integer", "At most so many deliveries")],
        &[(200, Object("Counts of channels, and deliveries"))],
    ),
    change(
        "POST",
        "/api/v1/monitoring/notifications/test",
        "Try how people are told of alerts",
        NONE,
        Some(
            r#"{"type": "object", "properties": {"channel": {"type": "string"}, "type": {"type": "string"}}, "additionalProperties": false}"#,
        ),
        &[(200, Rows("Deliveries"))],
    ),
    get("/api/v1/polls", "Monitors that have a fall-back over HTTP", NONE, &[(200, Rows("Fall-backs"))]),
    change(
        "PUT",
        "/api/v1/polls/{monitor}",
        "Hold a monitor to its fall-back, or off it",
        NONE,
        Some(
            r#"{"type": "object", "required": ["action"], "properties": {"action": {"enum": ["on", "off", "auto"]}}, "additionalProperties": false}"#,
        ),
        &[(200, Rows("Its fall-backs"))],
    ),
    get(
        "/api/v1/pool",
        "Links of every upstream",
        &[("upstream", "string", "Only this one"), ("topics", "boolean", "With each topic")],
        &[(200, Rows("Pools"))],
    ),
    get(
        "/api/v1/quarantine",
        "Frames that could not be read",
        &[
            ("monitor", "string", "Only this monitor's; `upstream:NAME` for those that belong to none"),
            ("since", "string", "`5m` (ago), or RFC 3339"),
            ("limit", "offset", "The most, the newest"),
        ],
        &[(200, Rows("Frames, oldest first"))],
    ),
    change(
        "POST",
        "/api/v1/quarantine/retry",
        "Parse frames again by the rules in force",
        NONE,
        Some(
            r#"{"type": "object", "additionalProperties": false, "properties": {"offsets": {"type": "array", "items": {"type": "integer", "minimum": 0}}, "monitor": {"type": ["string", "null"]}, "since": {"type": ["string", "null"]}, "limit": {"type": ["integer", "null"], "minimum": 0}, "dry_run": {"type": "boolean"}}}"#,
        ),
        &[(200, Object("What became of each"))],
    ),
    change("POST", "/api/v1/reload", "Read all settings again", DRY_RUN, None, CHANGED),
    change(
        "POST",
        "/api/v1/replay",
        "Write a span of the journal into a sink anew",
        NONE,
        Some(
            r#"{"type": "object", "properties": {"sink": {"type": ["string", "null"]}, "from_offset": {"type": ["integer", "null"], "minimum": 0}, "to_offset": {"type": ["integer", "null"], "minimum": 0}, "from_checkpoint": {"type": ["string", "null"]}, "since": {"type": ["string", "null"]}, "to": {"type": ["string", "null"]}, "monitors": {"type": "array", "items": {"type": "string"}}, "dry_run": {"type": "boolean"}}}"#,
        ),
        &[(200, Object("What it would write")), (202, Object("The operation"))],
    ),
    get("/api/v1/sequences", "What the feeds' own numbers tell", NONE, &[(200, Rows("Topics"))]),
    get("/api/v1/settings", "Every setting in force", NONE, &[(200, Rows("Settings"))]),
    change(
        "PUT",
        "/api/v1/settings/{key}",
        "Set a key while the daemon runs",
        DRY_RUN,
        Some(
            r#"{"type": "object", "required": ["value"], "properties": {"value": {}}, "additionalProperties": false}"#,
        ),
        CHANGED,
    ),
    change("DELETE", "/api/v1/settings/{key}", "Take back what was set", DRY_RUN, None, CHANGED),
    get("/api/v1/sinks", "Every sink", NONE, &[(200, Rows("Sinks"))]),
    change(
        "PUT",
        "/api/v1/sinks/{name}",
        "Switch a sink off or on",
        NONE,
        Some(
            r#"{"type": "object", "required": ["enabled"], "properties": {"enabled": {"type": "boolean"}, "resume": {"enum": ["catch_up", "start_now", "anew"]}}, "additionalProperties": false}"#,
        ),
        &[(200, Object("The sink"))],
    ),
    get(
        "/api/v1/sinks/{name}/parked",
        "Rows that a sink's store has put aside",
        &[("limit", "offset", "The most, oldest first")],
        &[(200, Rows("Rows"))],
    ),
    change(
        "POST",
        "/api/v1/start",
        "Take again after an emergency stop",
        NONE,
        None,
        &[(200, Object("Whether everything stands still"))],
    ),
    get(
        "/api/v1/statistics",
        "What was counted",
        &[("history", "boolean", "By hour and day as well"), ("monitor", "string", "Only this one")],
        &[(200, Object("Counts"))],
    ),
    get("/api/v1/upstreams", "Every upstream", NONE, &[(200, Rows("Upstreams"))]),
    change(
        "POST",
        "/api/v1/upstreams",
        "Make an upstream",
        DRY_RUN,
        Some(NAMED),
        &[(200, Object("What it would do")), (201, Object("What it did"))],
    ),
    get("/api/v1/upstreams/{name}", "An upstream with its settings", NONE, &[(200, Object("The upstream"))]),
    change("PUT", "/api/v1/upstreams/{name}", "Give an upstream other settings", DRY_RUN, Some(FIELDS), CHANGED),
    change(
        "DELETE",
        "/api/v1/upstreams/{name}",
        "Take an upstream away",
        DRY_RUN,
        None,
        &[(200, Object("What it would do")), (204, Nothing("It is gone"))],
    ),
    get("/metrics", "Figures for Prometheus", NONE, &[(200, Text("Prometheus text"))]),
    get("/v1/health/live", "Whether the process runs", NONE, &[(200, Text("`ok`"))]),
    get(
        "/v1/health/ready",
        "Whether what comes becomes durable",
        NONE,
        &[(200, Object("Healthy or degraded")), (503, Object("Unhealthy"))],
    ),
    get("/v1/health/streaming", "What is streamed, and to how many", NONE, &[(200, Object("Streams"))]),
    get(
        "/v1/sse/events",
        "Events as they become durable; ids are offsets, so that `Last-Event-ID` resumes",
        STREAM,
        &[(200, Stream("`initial`, `event`, `dropped`, `heartbeat`, `closed`"))],
    ),
    get(
        "/v1/ws/events",
        "The same over WebSocket; a named consumer commits by `{\"type\": \"commit\", \"offset\": N}`",
        STREAM,
        &[(101, Nothing("It is a WebSocket")), (426, Problem("It was not asked for as a WebSocket"))],
    ),
    change(
        "POST",
        "/v1/stream-tickets",
        "A pass for one stream, for browsers",
        NONE,
        None,
        &[(200, Object("`ticket`, and `expires_in` seconds"))],
    ),
    get("/v1/consumers", "Named consumers, and where they are", NONE, &[(200, Rows("Consumers"))]),
    get("/v1/consumers/{name}", "One of them", NONE, &[(200, Object("The consumer"))]),
    change(
        "PUT",
        "/v1/consumers/{name}",
        "Commit up to and with `offset`, or put it before `next`; answered when it is durable",
        NONE,
        Some(
            r#"{"type": "object", "properties": {"offset": {"type": "integer", "minimum": 0}, "next": {"type": "integer", "minimum": 0}}}"#,
        ),
        &[(200, Object("The consumer"))],
    ),
    change("DELETE", "/v1/consumers/{name}", "Forget it", NONE, None, &[(204, Nothing("It is forgotten"))]),
];

const STREAM: Query = &[
    (
        "events",
        "string",
        "`all`, a domain, `monitor:NAME`, `alerts`, `canary`, `gaps`, `operations`, `thresholds`; several with commas between",
    ),
    ("monitor", "string", "Only these, with commas between"),
    ("domain", "string", "Only these, with commas between"),
    ("topic", "string", "Only these, with commas between"),
    ("key", "string", "Only these, with commas between"),
    ("from", "offset", "The first event; then nothing is left out"),
    ("consumer", "string", "A name under which offsets are committed"),
    ("format", "string", "`plain` or `cloudevents`"),
    ("ticket", "string", "Of `/v1/stream-tickets`"),
];

/// An event.
pub(super) fn event() -> Value {
    json!({
        "type": "object",
        "required": ["offset", "path", "monitor", "domain", "topic", "key", "id", "event_time", "received_time"],
        "properties": {
            "offset": { "type": "integer", "minimum": 0 },
            "path": { "enum": ["smart", "legacy"] },
            "monitor": { "type": "string" },
            "domain": { "type": "string" },
            "topic": { "type": "string" },
            "key": { "type": ["string", "null"] },
            "id": { "type": ["string", "null"] },
            "event_time": { "type": ["string", "null"], "format": "date-time" },
            "received_time": { "type": "string", "format": "date-time" },
            "conflict": { "type": "boolean" },
            "handover": { "type": "boolean" },
            "retried_from": { "type": "integer", "minimum": 0 },
            "payload": { "description": "As it came: JSON, or any other text" },
            "payload_base64": { "type": "string" },
        },
    })
}

/// A page of them.
pub(super) fn page() -> Value {
    let offset = json!({ "type": "integer", "minimum": 0 });
    json!({
        "type": "object",
        "required": ["events", "next", "more", "earliest", "durable", "lost"],
        "properties": {
            "events": { "type": "array", "items": { "$ref": "#/components/schemas/Event" } },
            "next": { "type": "string", "description": "The `cursor` of the next page, also where it is still empty" },
            "more": { "type": "boolean", "description": "Whether the next page has events already" },
            "earliest": offset,
            "durable": offset,
            "lost": { "type": "array", "items": { "type": "array", "items": offset } },
        },
    })
}
