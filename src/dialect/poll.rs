//! The `poll` dialect: an HTTP endpoint that is asked again and again.
//!
//! A topic is what is put behind the upstream's address: a path, or a query that begins with `?`. Each answer is one message; event
//! rules with `each` make several events of it. What a server does not send again, because it knows that we have it, counts as
//! control. An answer of another status ends the link, so that breaker, waits and gaps are those of any lost link.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;

use super::declared::{LimitSettings, header_list, read_table};
use super::error::Fault;
use super::{
    Dialect, Frame, Intake, Limits, Message, Opening, OutFrame, Outbox, ReadingPlan, Session, Topic, TopicId, Transport,
};
use crate::config::{EventRuleSettings, units};

/// A whole declaration.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PollSettings {
    /// What the declaration is for, for people.
    #[serde(default)]
    pub about: Option<String>,
    /// What the upstream allows.
    #[serde(default)]
    pub limits: LimitSettings,
    /// Time between two requests for a topic.
    #[serde(with = "units::duration")]
    pub interval: Duration,
    /// Headers of every request.
    #[serde(default)]
    pub headers: std::collections::BTreeMap<String, String>,
    /// Event rules for monitors that declare none.
    #[serde(default, deserialize_with = "units::one_or_many")]
    pub event: Vec<EventRuleSettings>,
}

/// An endpoint as the settings declare it.
#[derive(Debug)]
pub struct PollDialect {
    settings: PollSettings,
}

impl PollDialect {
    /// Reads and checks a declaration.
    pub(crate) fn from_table(table: toml::Table) -> Result<Self, Fault> {
        if !table.contains_key("interval") {
            return Err(Fault::new("interval", "is missing; write how often to ask, such as \"10s\""));
        }
        let settings: PollSettings = read_table(table)?;
        settings.limits.check()?;
        if settings.interval.is_zero() {
            return Err(Fault::new("interval", "must be longer than 0"));
        }
        Ok(Self { settings })
    }
}

impl Dialect for PollDialect {
    fn limits(&self) -> Limits {
        Limits { idle_links: false, ..self.settings.limits.limits() }
    }

    fn transports(&self) -> &'static [Transport] {
        &[Transport::Poll]
    }

    fn opening(&self, topics: &[&str], _point: Option<&str>) -> Opening {
        Opening { path: topics.first().map(|topic| (*topic).to_owned()), ..Opening::default() }
    }

    fn handshake_headers(&self) -> Vec<(String, String)> {
        header_list(&self.settings.headers)
    }

    fn keep_alive_interval(&self) -> Option<Duration> {
        Some(self.settings.interval)
    }

    fn default_event_rules(&self) -> &[EventRuleSettings] {
        &self.settings.event
    }

    fn check_topic(&self, topic: &str) -> Result<(), String> {
        let plain = |character: char| !character.is_whitespace() && !character.is_control() && character != '#';
        if topic.is_empty() || !topic.chars().all(plain) {
            return Err(
                "is neither a path nor a query; write what stands behind the address, such as `/ticker` or `?s=1`"
                    .into(),
            );
        }
        Ok(())
    }

    fn session(&self, topics: &Arc<[Topic]>, _plan: &ReadingPlan) -> Box<dyn Session> {
        Box::new(PollSession { topics: Arc::clone(topics), asked: Vec::new(), waiting: VecDeque::new() })
    }
}

/// What is asked for over one link.
struct PollSession {
    topics: Arc<[Topic]>,
    asked: Vec<TopicId>,
    /// Requests that are not answered, oldest first. Of each topic at most one, so that a slow server is not asked ever more.
    waiting: VecDeque<TopicId>,
}

impl PollSession {
    fn ask(&mut self, topic: TopicId, out: &mut Outbox) {
        if let Some(known) = self.topics.get(topic.0 as usize)
            && !self.waiting.contains(&topic)
        {
            self.waiting.push_back(topic);
            out.push(OutFrame::Text(known.name.to_string()));
        }
    }
}

impl Session for PollSession {
    fn subscribe(&mut self, topics: &[TopicId], out: &mut Outbox) {
        for topic in topics {
            if !self.asked.contains(topic) {
                self.asked.push(*topic);
            }
            self.ask(*topic, out);
        }
    }

    fn unsubscribe(&mut self, topics: &[TopicId], _out: &mut Outbox) {
        self.asked.retain(|topic| !topics.contains(topic));
    }

    fn adopt(&mut self, topics: &Arc<[Topic]>, _plan: &ReadingPlan) {
        self.topics = Arc::clone(topics);
    }

    fn keep_alive(&mut self, out: &mut Outbox) {
        for index in 0..self.asked.len() {
            self.ask(self.asked[index], out);
        }
    }

    fn receive(&mut self, frame: Frame<'_>, intake: &mut dyn Intake, _out: &mut Outbox) {
        let Some(topic) = self.waiting.pop_front() else {
            return intake.unreadable(None, "an answer to nothing that was asked", frame.bytes());
        };
        if !self.asked.contains(&topic) {
            return intake.control(Some(topic));
        }
        intake.acknowledged(topic);
        if frame.bytes().is_empty() {
            intake.alive(topic);
            intake.control(Some(topic));
        } else {
            intake.message(topic, Message { bytes: frame.bytes(), fields: None });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::recordings::Bench;
    use super::*;

    #[test]
    fn a_topic_is_asked_for_once_at_a_time_and_answers_go_to_whom_was_asked() {
        let own = "[own]\nkind = \"poll\"\ninterval = \"5s\"\n";
        let mut bench = Bench::declared("own", own, &["/a", "?b=1"], &[]);
        let [a, b] = [TopicId(0), TopicId(1)];
        bench.session.subscribe(&[a, b], &mut bench.out);
        bench.session.keep_alive(&mut bench.out);
        assert_eq!(bench.out, [OutFrame::Text("/a".into()), OutFrame::Text("?b=1".into())]);
        bench.receive_frame(Frame::Text("{}"));
        bench.receive_frame(Frame::Text(""));
        assert_eq!(bench.tally.texts, [(a, "{}".to_owned())]);
        assert_eq!((bench.tally.control, &*bench.tally.acknowledged), (1, &[a, b][..]));
        bench.out.clear();
        bench.session.unsubscribe(&[a], &mut bench.out);
        bench.session.keep_alive(&mut bench.out);
        assert_eq!(bench.out, [OutFrame::Text("?b=1".into())]);
    }
}
