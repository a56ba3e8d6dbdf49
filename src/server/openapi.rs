//! `/api/openapi.json`: all routes as OpenAPI 3.1, for generic clients. What each is, says [`table`]; what all have in common is put in
//! here: how callers prove themselves, scopes, and refusals.

mod table;

use std::sync::LazyLock;

use axum::Router;
use axum::body::Bytes;
use axum::http::{Method, header};
use axum::response::IntoResponse;
use axum::routing::get;
use serde_json::{Map, Value, json};

use self::table::{Answered, OPERATIONS, Operation};
use super::problem::PROBLEM_JSON;
use super::scope;
use super::serve::Shown;

/// Made once: it is the same as long as the program is.
static DOCUMENT: LazyLock<Bytes> = LazyLock::new(|| document().to_string().into());

/// Its routes.
pub(super) fn routes() -> Router<Shown> {
    Router::new().route("/api/openapi.json", get(openapi))
}

async fn openapi() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], DOCUMENT.clone())
}

/// Refusals that any guarded route may give, beside those of its own.
const REFUSALS: [(u16, &str); 10] = [
    (400, "A parameter or the body cannot be used; `parameter` names which"),
    (401, "No token, or one that is not known"),
    (403, "The token's scope does not suffice, or the origin or host is foreign"),
    (404, "There is nothing of this name"),
    (408, "The body did not come in time"),
    (409, "Not in this state"),
    (413, "The body is too large"),
    (415, "The body is no JSON"),
    (422, "The settings would not do"),
    (429, "Too many wrong tokens from this address"),
];
/// The same of the server's own faults.
const FAULTS: [(u16, &str); 3] =
    [(500, "A bug"), (502, "A store cannot be asked"), (503, "Not now; `Retry-After` may say when")];

fn document() -> Value {
    let mut paths = Map::new();
    for operation in OPERATIONS {
        let methods = paths.entry(operation.path).or_insert_with(|| json!({}));
        methods[operation.method.to_lowercase()] = described(operation);
    }
    let problem = json!({
        "type": "object",
        "description": "Problem details, RFC 9457",
        "required": ["type", "title", "status", "detail"],
        "properties": {
            "type": { "type": "string" },
            "title": { "type": "string" },
            "status": { "type": "integer" },
            "detail": { "type": "string", "description": "What is wrong, where, and what to do" },
            "parameter": { "type": "string", "description": "The parameter that cannot be used" },
            "earliest": { "type": "integer", "description": "The first offset that is still in the journal" },
            "problems": { "type": "array", "description": "What is wrong with settings, one by one" },
            "request_id": { "type": "string" },
        },
    });
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Sluice",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "The API of a running daemon. Scopes of tokens: read, operate, admin; each includes those before it.",
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "paths": paths,
        "components": {
            "schemas": { "Problem": problem, "Event": table::event(), "EventPage": table::page() },
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A token of `server.tokens_file` or `server.token_file`. Where there are none, programs on this host need none.",
                },
            },
        },
    })
}

fn described(operation: &Operation) -> Value {
    let Operation { method, path, summary, query, body, answers } = operation;
    let in_path = path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let in_path = in_path.map(
        |name| json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string", "minLength": 1 } }),
    );
    let in_query = query.iter().map(|(name, kind, description)| {
        let (schema, explode) = match kind.strip_suffix("[]") {
            Some(kind) => (json!({ "type": "array", "items": { "type": kind } }), true),
            None if *kind == "count" => (json!({ "type": "integer", "minimum": 1 }), false),
            None if *kind == "offset" => (json!({ "type": "integer", "minimum": 0 }), false),
            None => (json!({ "type": kind }), false),
        };
        let mut parameter = json!({ "name": name, "in": "query", "description": description, "schema": schema });
        if explode {
            parameter["explode"] = true.into();
        }
        parameter
    });
    let parameters: Vec<Value> = in_path.chain(in_query).collect();
    let mut responses = Map::new();
    for (status, answered) in *answers {
        responses.insert(status.to_string(), answer(answered));
    }
    let is_method = |known: &Method| known.as_str() == *method;
    let known = [Method::GET, Method::POST, Method::PUT, Method::DELETE].into_iter().find(is_method);
    let wanted = known.and_then(|method| scope::required(&method, path));
    let refusals = REFUSALS.iter().filter(|(status, _)| wanted.is_some() || matches!(status, 400 | 413));
    for (status, description) in refusals.chain(&FAULTS) {
        let content = json!({ PROBLEM_JSON: { "schema": { "$ref": "#/components/schemas/Problem" } } });
        let refusal = json!({ "description": description, "content": content });
        responses.entry(status.to_string()).or_insert(refusal);
    }
    let mut described = json!({
        "summary": summary,
        "operationId": operation_id(method, path),
        "responses": responses,
        "security": wanted.map_or_else(|| json!([]), |scope| json!([{ "bearer": [scope.as_str()] }])),
    });
    if !parameters.is_empty() {
        described["parameters"] = parameters.into();
    }
    if let Some(body) = body {
        // A text of ours, which a test has read.
        let schema: Value = serde_json::from_str(body).unwrap_or_default();
        described["requestBody"] = json!({ "required": true, "content": { "application/json": { "schema": schema } } });
    }
    described
}

fn answer(answered: &Answered) -> Value {
    let content = |media: &str, schema: Value| json!({ media: { "schema": schema } });
    let (description, content) = match answered {
        Answered::Object(description) => (*description, content("application/json", json!({ "type": "object" }))),
        Answered::Rows(description) => {
            let rows = json!({ "type": "array", "items": { "type": "object" } });
            (*description, content("application/json", rows))
        }
        Answered::Text(description) => (*description, content("text/plain", json!({ "type": "string" }))),
        // What the messages of a stream hold no schema of this version can say.
        Answered::Stream(description) => (*description, json!({ "text/event-stream": {} })),
        Answered::Events(description) => {
            let text = || json!({ "schema": { "type": "string" } });
            let page = json!({ "schema": { "$ref": "#/components/schemas/EventPage" } });
            let forms = json!({ "application/json": page, "application/x-ndjson": text(), "text/csv": text() });
            (*description, forms)
        }
        Answered::Problem(description) => {
            (*description, content(PROBLEM_JSON, json!({ "$ref": "#/components/schemas/Problem" })))
        }
        Answered::Nothing(description) => return json!({ "description": description }),
    };
    json!({ "description": description, "content": content })
}

/// `GET /api/v1/sinks/{name}/parked`: `get_sinks_name_parked`.
fn operation_id(method: &str, path: &str) -> String {
    let words = path.split(['/', '-', '.']).filter(|word| !matches!(*word, "" | "api" | "v1"));
    let words = words.map(|word| word.trim_matches(['{', '}']));
    std::iter::once(method.to_lowercase().as_str()).chain(words).collect::<Vec<_>>().join("_")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_table_can_be_read_and_names_each_operation_once() {
        let mut ids = BTreeSet::new();
        for operation in OPERATIONS {
            assert!(ids.insert(operation_id(operation.method, operation.path)), "{} is twice", operation.path);
            if let Some(body) = operation.body {
                serde_json::from_str::<Value>(body).unwrap_or_else(|error| panic!("{}: {error}", operation.path));
            }
        }
    }
}
