//! `/v1/consumers`: who they are and where, and committing over HTTP.

use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{get, put};
use axum::{Json, Router};
use serde::Deserialize;

use crate::journal::Offset;
use crate::live::{ConsumerError, ConsumerRow};
use crate::server::problem::Problem;
use crate::server::serve::Shown;

pub(super) fn routes() -> Router<Shown> {
    Router::new()
        .route("/v1/consumers", get(consumers))
        .route("/v1/consumers/{name}", put(place).get(consumer).delete(remove))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Place {
    /// Everything up to and with this event is done.
    offset: Option<u64>,
    /// The next event that it gets.
    next: Option<u64>,
}

fn rows(shown: &Shown) -> Vec<ConsumerRow> {
    let desk = shown.view.streams();
    desk.consumers().rows(desk.durable(), desk.settings().consumer_ttl)
}

async fn consumers(State(shown): State<Shown>) -> Json<Vec<ConsumerRow>> {
    Json(rows(&shown))
}

async fn consumer(State(shown): State<Shown>, Path(name): Path<String>) -> Result<Json<ConsumerRow>, Problem> {
    let row = rows(&shown).into_iter().find(|row| row.name == name);
    row.map(Json).ok_or_else(|| ConsumerError::Unknown(name).into())
}

/// Answers when it is durable.
async fn place(
    State(shown): State<Shown>,
    Path(name): Path<String>,
    body: Result<Json<Place>, JsonRejection>,
) -> Result<Json<ConsumerRow>, Problem> {
    let expected = r#"expected {"offset": N} (done up to and with it) or {"next": N}"#;
    let Json(place) =
        body.map_err(|error| Problem::new(error.status(), format!("{expected}: {}", error.body_text())))?;
    let next = match place {
        Place { offset: Some(offset), next: None } => Offset(offset).plus(1),
        Place { offset: None, next: Some(next) } => Offset(next),
        _ => return Err(Problem::new(StatusCode::BAD_REQUEST, expected)),
    };
    let desk = shown.view.streams();
    let commit = desk.consumers().put(&name, next, desk.durable())?;
    commit.durable().await;
    consumer(State(shown), Path(name)).await
}

async fn remove(State(shown): State<Shown>, Path(name): Path<String>) -> Result<StatusCode, Problem> {
    let desk = shown.view.streams();
    let commit = desk.consumers().remove(&name)?;
    commit.durable().await;
    Ok(StatusCode::NO_CONTENT)
}
