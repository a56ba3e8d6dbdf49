//! How a request is refused: problem details (RFC 9457), everywhere.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, Response as HttpResponse, StatusCode, header};
use axum::response::{IntoResponse, Response};
use http_body_util::{BodyExt as _, Collected, Limited};
use serde_json::{Map, Value};

use super::operations::Refusal;

/// The media type.
pub(super) const PROBLEM_JSON: &str = "application/problem+json";

/// The longest text of a refusal that was not made here.
const FOREIGN_BYTES_MAX: usize = 256 * 1024;

/// Why a request is not done: what is wrong, where, and what to do.
#[derive(Debug, Clone)]
pub(super) struct Problem {
    status: StatusCode,
    detail: String,
    /// Further members, such as `parameter`.
    more: Map<String, Value>,
    retry_after: Option<Duration>,
}

impl Problem {
    /// One that is said in a sentence or two.
    pub(super) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self { status, detail: detail.into(), more: Map::new(), retry_after: None }
    }

    /// A parameter that cannot be used.
    pub(super) fn parameter(name: &str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail).with("parameter", name)
    }

    /// With a member more.
    pub(super) fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.more.insert(name.to_owned(), value.into());
        self
    }

    /// With the time after which it is worth while to ask again.
    pub(super) fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// Something broke off.
    pub(super) fn bug(error: impl std::fmt::Display) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, format!("a bug of Sluice: {error}; please report it"))
    }

    fn render(&self, request_id: Option<&str>) -> Response {
        let mut body = Map::new();
        body.insert("type".into(), "about:blank".into());
        body.insert("title".into(), self.status.canonical_reason().unwrap_or("Refused").into());
        body.insert("status".into(), self.status.as_u16().into());
        body.insert("detail".into(), self.detail.as_str().into());
        body.extend(self.more.clone());
        if let Some(id) = request_id {
            body.insert("request_id".into(), id.into());
        }
        let mut response = HttpResponse::new(Body::from(Value::Object(body).to_string()));
        *response.status_mut() = self.status;
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        if let Some(wait) = self.retry_after {
            // In whole seconds, and never 0, which would say "now".
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(wait.as_secs().max(1)));
        }
        response
    }
}

impl From<Refusal> for Problem {
    fn from(Refusal { status, error }: Refusal) -> Self {
        Self::new(StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), error)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.render(None);
        // So that the request's id can be put in where it is known.
        response.extensions_mut().insert(self);
        response
    }
}

/// A refusal as all of them are, with the id of its request. What frameworks say in a text of their own is taken over as it is.
pub(super) async fn finished(response: Response, request_id: &str) -> Response {
    let status = response.status();
    if !status.is_client_error() && !status.is_server_error() {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let problem = if let Some(problem) = parts.extensions.remove::<Problem>() {
        problem
    } else {
        let Ok(text) = Limited::new(body, FOREIGN_BYTES_MAX).collect().await.map(Collected::to_bytes) else {
            return Problem::bug("a refusal cannot be read").render(Some(request_id));
        };
        let media = parts.headers.get(header::CONTENT_TYPE).and_then(|media| media.to_str().ok());
        let json = media.is_some_and(|media| media.starts_with("application/"));
        match foreign(status, &text, json) {
            Some(problem) => problem,
            None => return Response::from_parts(parts, Body::from(text)),
        }
    };
    let mut rendered = problem.render(Some(request_id));
    // `Allow`, `Retry-After` and the like stay.
    for (name, value) in &parts.headers {
        if !matches!(*name, header::CONTENT_TYPE | header::CONTENT_LENGTH) && !rendered.headers().contains_key(name) {
            rendered.headers_mut().append(name, value.clone());
        }
    }
    *rendered.extensions_mut() = parts.extensions;
    rendered
}

/// None where it is no refusal: health tells with 503 how it is.
fn foreign(status: StatusCode, text: &Bytes, json: bool) -> Option<Problem> {
    if json {
        let mut fields = serde_json::from_slice::<Map<String, Value>>(text).ok()?;
        let Some(Value::String(detail)) = fields.remove("error") else { return None };
        return Some(Problem { more: fields, ..Problem::new(status, detail) });
    }
    let said = String::from_utf8_lossy(text).trim().to_owned();
    let said = match status {
        _ if !said.is_empty() => said,
        StatusCode::NOT_FOUND => {
            "there is nothing at this path; `/api/openapi.json` lists all that there is".to_owned()
        }
        StatusCode::METHOD_NOT_ALLOWED => "this path does not take this method; `Allow` says which it takes".to_owned(),
        _ => status.canonical_reason().unwrap_or("refused").to_lowercase(),
    };
    Some(Problem::new(status, said))
}
