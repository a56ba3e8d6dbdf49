//! The login of a new connection: before anything is subscribed.

use std::future::poll_fn;
use std::sync::Arc;

use tokio::time::{Instant, timeout};
use url::Url;

use super::{ConnectError, Connector};
use crate::credentials::{LoginAnswer, Pass, renewed_after};
use crate::upstream::wire::{Incoming, Outgoing, Wire, WireError};

/// Frames that may come before the answer to a login: greetings and states. More says that none comes.
const EARLY_FRAMES_MAX: usize = 256;

/// What a connection proved itself with.
pub(in crate::upstream) struct Proof {
    pub(in crate::upstream) pass: Arc<Pass>,
    /// The address that it was opened with, which signatures may be over.
    pub(in crate::upstream) url: Url,
    /// When it is to log in anew.
    pub(in crate::upstream) login_again: Option<Instant>,
    /// What came while it logged in, and was about something else.
    pub(in crate::upstream) early: Vec<Incoming>,
    /// What let us in, where something had to.
    pub(in crate::upstream) answer: Option<Incoming>,
    /// Whether it holds for as long as the connection is open.
    pub(in crate::upstream) lasting: bool,
}

impl Connector {
    /// Sends the login, if there is one, and waits for its answer.
    pub(super) async fn log_in(&self, wire: &mut Wire, pass: Arc<Pass>, url: Url) -> Result<Proof, ConnectError> {
        let mut proof = Proof { url, login_again: None, early: Vec::new(), answer: None, lasting: true, pass };
        let Some(text) = proof.pass.login(&proof.url) else { return Ok(proof) };
        let address = self.address();
        let broken = |error: WireError| ConnectError::LoginRefused {
            address: address.clone(),
            reason: proof.pass.scrub(&error.to_string()),
        };
        let send = async {
            poll_fn(|cx| wire.poll_ready(cx)).await?;
            wire.start_send(Outgoing::Text(text))?;
            poll_fn(|cx| wire.poll_flush(cx)).await
        };
        let limit = proof.pass.login_answer_within().unwrap_or(self.handshake_timeout);
        let late = || ConnectError::Timeout { address: self.address(), what: "the login", limit };
        timeout(limit, send).await.map_err(|_| late())?.map_err(broken)?;
        let lifetime = match proof.pass.login_answer_within() {
            None => proof.pass.login_lifetime(),
            Some(_) => timeout(limit, self.login_answer(wire, &mut proof)).await.map_err(|_| late())??,
        };
        proof.login_again = lifetime.map(|lifetime| Instant::now() + renewed_after(lifetime));
        Ok(proof)
    }

    async fn login_answer(
        &self,
        wire: &mut Wire,
        proof: &mut Proof,
    ) -> Result<Option<std::time::Duration>, ConnectError> {
        let Proof { pass, early, answer: accepted_by, .. } = proof;
        let refused = |reason: &str| ConnectError::LoginRefused { address: self.address(), reason: pass.scrub(reason) };
        loop {
            let incoming = match poll_fn(|cx| wire.poll_incoming(cx)).await {
                Some(Ok(incoming)) => incoming,
                Some(Err(error)) => return Err(refused(&error.to_string())),
                None => return Err(refused("the upstream closed it")),
            };
            let answer = match &incoming {
                Incoming::Text(text) => pass.judge_login(text),
                Incoming::Binary(bytes) => std::str::from_utf8(bytes).ok().and_then(|text| pass.judge_login(text)),
                Incoming::Closed(reason) => return Err(refused(reason)),
                Incoming::Pong(_) | Incoming::Nothing => continue,
            };
            match answer {
                Some(LoginAnswer::Accepted(lifetime)) => {
                    *accepted_by = Some(incoming);
                    return Ok(lifetime);
                }
                Some(LoginAnswer::Refused(reason)) => return Err(refused(&reason)),
                None if early.len() == EARLY_FRAMES_MAX => {
                    return Err(refused("other messages came instead of an answer; look at `auth.login.accepted`"));
                }
                None => early.push(incoming),
            }
        }
    }
}
