//! What a link proved itself with, and how it stays proved: it logs in again, or says that it should be replaced.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::Link;
use super::ending::LinkEnd;
use crate::config::OnRefresh;
use crate::credentials::{Credentials, LoginAnswer, Pass, renewed_after};
use crate::upstream::connect::Proof;
use crate::upstream::wire::{Incoming, Outgoing};

/// A link that proved itself.
pub(super) struct Proved {
    pass: Arc<Pass>,
    url: url::Url,
    login_again: Option<Instant>,
    /// A login over the open link that is not answered yet, and until when it is waited for.
    awaited: Option<Instant>,
    /// The newest token that this link has done something about.
    generation: u64,
    /// When it says that it should be replaced: not all links of an upstream at once.
    replace_at: Option<Instant>,
    refused: Option<String>,
    /// Whether what it proved itself with must hold as long as it is open.
    lasting: bool,
}

impl Proved {
    pub(super) fn new(proof: Proof) -> (Self, Vec<Incoming>) {
        let Proof { pass, url, login_again, early, lasting, .. } = proof;
        let generation = pass.generation();
        let proved =
            Self { pass, url, login_again, awaited: None, generation, replace_at: None, refused: None, lasting };
        (proved, early)
    }

    /// It was opened with other credentials of the same settings, whose tokens are numbered apart.
    pub(super) fn goes_on_with(&mut self, credentials: &Credentials) {
        self.generation = credentials.generation();
    }
}

impl Link<'_> {
    /// Goes on with what the connection proved itself with; gives back what came meanwhile.
    pub(super) fn prove(&mut self, proof: Option<Proof>) -> Vec<Incoming> {
        let (proved, early) = proof.map(Proved::new).unzip();
        self.proved = proved;
        early.unwrap_or_default()
    }

    /// Reads what came before the answer to the login.
    pub(super) fn take_early(&mut self, early: &[Incoming]) {
        if early.is_empty() {
            return;
        }
        self.received = self.shared.clock.stamp();
        self.reading.begin(self.received);
        for message in early {
            self.take(message);
        }
        self.absorb(Instant::now());
    }

    /// A message of the dialect with what it names of our credentials. Filled when it is sent, since signatures are over that
    /// moment.
    pub(super) fn with_credentials(&self, message: Outgoing) -> Outgoing {
        let named = &self.shared.credentials_named;
        match (message, &self.proved) {
            (Outgoing::Text(text), Some(proved)) if !named.is_empty() => {
                Outgoing::Text(proved.pass.fill(&text, named, &proved.url))
            }
            (message, _) => message,
        }
    }

    /// What the dialect greets with. Names that nothing is known about were refused with the settings.
    pub(super) fn greeting(&self) -> Vec<String> {
        let greeting = self.shared.dialect.greeting();
        let Some(proved) = &self.proved else { return greeting };
        let fill = |text| proved.pass.fill_plain(text, &self.shared.credentials_named, &proved.url);
        greeting.into_iter().map(fill).collect()
    }

    /// What the upstream says, without what it repeats of our secrets.
    pub(super) fn scrubbed(&self, text: &str) -> String {
        self.proved.as_ref().map_or_else(|| text.to_owned(), |proved| proved.pass.scrub(text))
    }

    /// Whether a frame is the answer to a login over this link. Called while one is awaited only.
    #[cold]
    pub(super) fn answers_login(&mut self, message: &Incoming) -> bool {
        let text = match message {
            Incoming::Text(text) => text.as_str(),
            Incoming::Binary(bytes) => std::str::from_utf8(bytes).unwrap_or_default(),
            _ => return false,
        };
        let Some(proved) = &mut self.proved else { return false };
        match proved.pass.judge_login(text) {
            None => return false,
            Some(LoginAnswer::Accepted(lifetime)) => {
                proved.login_again = lifetime.map(|lifetime| Instant::now() + renewed_after(lifetime));
                tracing::info!(upstream = %self.shared.name, link = self.number, "logged in again over the open link");
            }
            Some(LoginAnswer::Refused(reason)) => proved.refused = Some(format!("the login was refused: {reason}")),
        }
        proved.awaited = None;
        self.awaits_login = false;
        true
    }

    /// Whether it has to log in again, or to be replaced, once a second.
    pub(super) fn stay_proved(&mut self, now: Instant) -> Option<LinkEnd> {
        let shared = self.shared;
        let proved = self.proved.as_mut()?;
        let lost = |reason: String| Some(LinkEnd::Lost { reason, cause: "login" });
        if let Some(reason) = proved.refused.take() {
            shared.credentials.refused(&proved.pass);
            return lost(reason);
        }
        if proved.awaited.is_some_and(|until| now >= until) {
            return lost("it did not answer a login over the open link".into());
        }
        let newest = shared.credentials.generation();
        if newest != proved.generation {
            proved.generation = newest;
            match shared.credentials.on_refresh() {
                _ if !proved.lasting => {}
                OnRefresh::Keep => {
                    // What is subscribed from now on goes with the new one.
                    if let Ok(pass) = shared.credentials.pass_now() {
                        proved.pass = Arc::new(pass);
                    }
                }
                OnRefresh::Login => proved.login_again = Some(now),
                OnRefresh::Replace => {
                    let left =
                        proved.pass.token_ends().map_or(Duration::ZERO, |ends| ends.saturating_duration_since(now));
                    proved.replace_at.get_or_insert(now + left.mul_f64(fastrand::f64() / 2.0));
                }
            }
        }
        if proved.login_again.is_some_and(|at| now >= at) && proved.awaited.is_none() {
            return self.log_in_again(now);
        }
        if proved.replace_at.take_if(|at| now >= *at).is_some() {
            self.tell_sick("its token is about to end, and there is another".into(), "token");
        }
        None
    }

    fn log_in_again(&mut self, now: Instant) -> Option<LinkEnd> {
        let proved = self.proved.as_mut()?;
        let pass = match self.shared.credentials.pass_now() {
            Ok(pass) => pass,
            Err(error) => {
                // What holds still is not given up for it.
                tracing::warn!(upstream = %self.shared.name, link = self.number, "no login over the open link: {error}");
                proved.login_again = Some(now + self.shared.pool.backoff_max);
                return None;
            }
        };
        proved.pass = Arc::new(pass);
        let text = proved.pass.login(&proved.url)?;
        proved.login_again = None;
        match proved.pass.login_answer_within() {
            Some(limit) => {
                proved.awaited = Some(now + limit);
                self.awaits_login = true;
            }
            None => {
                proved.login_again = proved.pass.login_lifetime().map(|lifetime| now + renewed_after(lifetime));
            }
        }
        self.outgoing.push_back(Outgoing::Text(text));
        None
    }
}
