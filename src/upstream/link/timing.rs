//! What time brings: pings, deadlines, and the look once a second whether the link is of use still.

use std::pin::Pin;

use tokio::time::Instant;
use tokio::time::Sleep;

use super::BEAT;
use super::FAR;
use super::Link;
use super::ending::LinkEnd;
use super::ending::SILENCE;
use super::sending::Ping;
use super::takes_at;
use crate::monitor::gap::GapCause;
use crate::upstream::orders::Report;
use crate::upstream::quietness::QuietBounds;
use crate::upstream::status::Beat;
use crate::upstream::status::Silent;
use crate::upstream::status::SilentTopic;
use crate::upstream::wire::Outgoing;

impl Link<'_> {
    /// Whatever time has brought.
    pub(super) fn tick(&mut self, now: Instant) -> Option<LinkEnd> {
        self.close_if_due(now);
        if let Some(ping) = &self.ping {
            // An answer that nobody reads is not late.
            if !self.reads_nothing() && now >= ping.deadline(self.shared.pool.pong_timeout) {
                let limit = self.shared.pool.pong_timeout;
                return Some(LinkEnd::Lost {
                    reason: format!("it did not answer a ping within {limit:?}"),
                    cause: "pong",
                });
            }
        } else if now >= self.next_ping {
            self.pings += 1;
            self.next_ping = now + self.shared.pool.health_check_interval;
            if self.reads_nothing() {
                // Its pings lie unread; an unasked pong tells it that we are still here.
                self.outgoing.push_back(Outgoing::Pong);
            } else {
                self.ping = Some(Ping { token: self.pings, queued: now, sent: None });
                self.outgoing.push_back(Outgoing::Ping(self.pings));
            }
        }
        if let (Some(at), Some(interval)) = (self.next_keep_alive, self.shared.dialect.keep_alive_interval())
            && now >= at
        {
            self.session.keep_alive(&mut self.outbox);
            self.next_keep_alive = Some(now + interval);
        }
        if self.subscriptions.next_check().is_some_and(|at| now >= at) {
            self.check_subscriptions(now);
        }
        if !self.draining.is_empty() {
            self.let_go_drained(now);
        }
        if now < self.next_beat {
            return None;
        }
        self.stay_proved(now).or_else(|| self.beat(now))
    }

    /// Tells what came of each topic lately, and judges whether the link is of use still.
    pub(super) fn beat(&mut self, now: Instant) -> Option<LinkEnd> {
        let held = self.reads_nothing();
        let Self { reading, subscriptions, shared, .. } = self;
        let beat = Beat {
            link: self.number,
            since: self.last_beat.1,
            messages: self.messages,
            seconds: (now - self.last_beat.0).as_secs_f64(),
            now: shared.clock.stamp(),
            bounds: (!held).then(|| QuietBounds::new(&shared.pool)),
        };
        shared.status.note_ids(subscriptions.carried().map(|topic| (topic, reading.ids_seen(topic))));
        shared.metrics.link_messages(beat.link, beat.messages);
        let counts = subscriptions.carried().map(|topic| (topic, reading.take_messages(topic)));
        let silent = shared.status.beat(&beat, counts);
        self.health.frames(now, beat.messages, self.reading.take_unreadable());
        self.messages = 0;
        self.last_beat = (now, beat.now);
        self.next_beat = now + BEAT;
        if let Some(sick) = self.health.judge(now) {
            self.tell_sick(sick.to_string(), sick.cause());
        }
        self.silent(&silent)
    }

    /// A link that brings nothing is given up at once. Topics of which nothing comes, while others flow, are asked for anew.
    pub(super) fn silent(&mut self, silent: &Silent) -> Option<LinkEnd> {
        self.shared.metrics.silent(silent.topics.len());
        let all = silent.topics.first().filter(|_| silent.topics.len() == silent.judged).map(|first| first.silence);
        for SilentTopic { topic, whole_until, .. } in &silent.topics {
            self.lose(&[*topic], *whole_until, GapCause::Silence);
        }
        if let Some(silence) = silent.link.or(all) {
            let (quiet, usual) = (silence.quiet.as_secs(), silence.threshold.as_secs());
            let reason = format!("nothing came for {quiet} s, and usual are at most {usual} s");
            return Some(LinkEnd::Lost { reason, cause: SILENCE });
        }
        let first = silent.topics.first()?;
        tracing::warn!(
            upstream = %self.shared.name, link = self.number, topic = %self.roster.topic_name(first.topic),
            topics = silent.topics.len(), "nothing came for {} s, and usual are at most {} s; asking for it anew",
            first.silence.quiet.as_secs(), first.silence.threshold.as_secs()
        );
        let topics = silent.topics.iter().map(|silent| silent.topic).collect();
        self.report(Report::Silent { slot: self.number, topics });
        None
    }

    pub(super) fn tell_sick(&mut self, reason: String, cause: &'static str) {
        if !std::mem::replace(&mut self.told_sick, true) {
            self.report(Report::Sick { slot: self.number, reason, cause });
        }
    }

    pub(super) fn set_timer(&mut self, timer: Pin<&mut Sleep>) {
        let next_check = self.subscriptions.next_check();
        let mut next = match &self.ping {
            None => self.next_ping,
            // What it waits for tells.
            Some(_) if self.reads_nothing() => Instant::now() + FAR,
            Some(ping) => ping.deadline(self.shared.pool.pong_timeout),
        };
        let mut sooner = |at: Option<Instant>| next = at.map_or(next, |at| next.min(at));
        sooner(Some(self.next_beat));
        sooner(self.next_keep_alive);
        sooner(next_check);
        if self.waiting.is_empty() {
            sooner(self.batcher.due(takes_at(&self.shared.journal, Instant::now())));
        }
        // Sending belongs to `poll_io`, which comes after the timer: a moment that has passed would keep it from its turn.
        sooner(self.next_sending(Instant::now()).and_then(|(_, at)| at));
        if timer.deadline() != next {
            timer.reset(next);
        }
    }
}
