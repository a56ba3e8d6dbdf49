//! Who changed what: a line of the log and an event of `_sluice` for each request that may change something.

use std::net::SocketAddr;

use axum::extract::{ConnectInfo, MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use serde::Serialize;

use super::observe::RequestId;
use super::scope;
use super::serve::Shown;
use super::tokens::Caller;

/// The longest path that is kept.
const PATH_BYTES_MAX: usize = 1024;

/// A change that was asked for, as it is journaled. Of what was sent only the path is kept: bodies may hold secrets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AuditRecord {
    /// `PUT`
    pub method: String,
    /// `/api/v1/sinks/{name}`
    pub route: String,
    /// The path as it came, still escaped, with its query.
    pub path: String,
    /// The name of the token.
    pub by: String,
    /// What it may be used for.
    pub scope: &'static str,
    /// The address that asked.
    pub peer: String,
    /// The request's id.
    pub request_id: String,
    /// The HTTP status.
    pub status: u16,
    /// `done`, `refused`, `failed`.
    pub outcome: &'static str,
}

pub(super) async fn audit(State(shown): State<Shown>, request: Request, next: Next) -> Response {
    let extensions = request.extensions();
    let (Some(caller), Some(route)) = (extensions.get::<Caller>(), extensions.get::<MatchedPath>()) else {
        return next.run(request).await;
    };
    if !scope::may_change(request.method(), route.as_str()) {
        return next.run(request).await;
    }
    let path = request.uri().path_and_query().map_or("", |path| path.as_str());
    let mut record = AuditRecord {
        method: request.method().to_string(),
        route: route.as_str().to_owned(),
        // A URI is ASCII, so any place is one to cut at.
        path: path[..path.len().min(PATH_BYTES_MAX)].to_owned(),
        by: caller.name.to_string(),
        scope: caller.scope.as_str(),
        peer: extensions.get::<ConnectInfo<SocketAddr>>().map_or_else(String::new, |peer| peer.0.to_string()),
        request_id: extensions.get::<RequestId>().map_or_else(String::new, |id| id.0.to_string()),
        status: 0,
        outcome: "failed",
    };
    let response = next.run(request).await;
    let status = response.status();
    record.status = status.as_u16();
    record.outcome = match status.as_u16() {
        ..400 => "done",
        400..500 => "refused",
        _ => "failed",
    };
    tracing::info!(
        request_id = record.request_id,
        method = record.method,
        path = record.path,
        by = record.by,
        peer = record.peer,
        status = record.status,
        "asked to change something: {}",
        record.outcome
    );
    shown.view.audit(&record);
    response
}
