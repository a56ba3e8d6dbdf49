//! One-time passes: a browser cannot show a token with a WebSocket or an event source, but it can put a ticket into the address, where
//! it is worth nothing afterwards.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::extract::State;
use axum::routing::post;
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::time::Instant;
use uuid::Uuid;

use crate::server::serve::Shown;

/// How long one is good. Source: a guess; a page uses it at once.
const LIFE: Duration = Duration::from_secs(30);

/// The most that wait to be used; the oldest go.
const TICKETS_MAX: usize = 10_000;

/// Tickets that were given and not yet used.
#[derive(Debug, Default)]
pub(in crate::server) struct Tickets {
    given: Mutex<HashMap<Uuid, Instant>>,
}

impl Tickets {
    fn give(&self) -> Uuid {
        let mut given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if given.len() >= TICKETS_MAX {
            given.retain(|_, ends| *ends > now);
        }
        if given.len() >= TICKETS_MAX
            && let Some(oldest) = given.iter().min_by_key(|(_, ends)| **ends).map(|(ticket, _)| *ticket)
        {
            given.remove(&oldest);
        }
        // 122 random bits.
        let ticket = Uuid::new_v4();
        given.insert(ticket, now + LIFE);
        ticket
    }

    /// Whether this is one that may be used; it may not be again.
    pub(in crate::server) fn take(&self, ticket: &str) -> bool {
        let Ok(ticket) = Uuid::parse_str(ticket) else { return false };
        let ends = self.given.lock().unwrap_or_else(PoisonError::into_inner).remove(&ticket);
        ends.is_some_and(|ends| ends > Instant::now())
    }
}

pub(super) fn routes() -> Router<Shown> {
    Router::new().route("/v1/stream-tickets", post(ticket))
}

async fn ticket(State(shown): State<Shown>) -> Json<Value> {
    let ticket = shown.tickets.give();
    Json(json!({"ticket": ticket.to_string(), "expires_in": LIFE.as_secs()}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_ticket_is_good_once_and_not_for_long() {
        let tickets = Tickets::default();
        let (one, late) = (tickets.give().to_string(), tickets.give().to_string());
        assert!(tickets.take(&one) && !tickets.take(&one) && !tickets.take("x"));
        tokio::time::advance(LIFE).await;
        assert!(!tickets.take(&late));
    }
}
