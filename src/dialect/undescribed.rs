//! A feed that nobody has described: it is told what an operator says, and nothing of it is understood.

use std::sync::Arc;
use std::time::Duration;

use super::{
    Dialect, Frame, Intake, Limits, Opening, OutFrame, Outbox, ReadingPlan, Session, Topic, TopicId, Transport,
};

/// Says texts once the connection is open, and takes whatever comes.
#[derive(Debug)]
pub struct Undescribed {
    said: Arc<[String]>,
    path: Option<String>,
}

impl Undescribed {
    /// Says `said`, in this order. `path` is put behind an `http:` address, whose answer is a stream of events.
    pub fn new(said: Vec<String>, path: Option<String>) -> Self {
        Self { said: said.into(), path }
    }
}

impl Dialect for Undescribed {
    fn limits(&self) -> Limits {
        Limits { idle_links: true, send_interval: Duration::ZERO, ..super::LimitSettings::default().limits() }
    }

    fn transports(&self) -> &'static [Transport] {
        &[Transport::WebSocket, Transport::NulEnded, Transport::EventStream]
    }

    fn opening(&self, _topics: &[&str], _point: Option<&str>) -> Opening {
        Opening { path: self.path.clone(), ..Opening::default() }
    }

    fn keep_alive_interval(&self) -> Option<Duration> {
        None
    }

    fn check_topic(&self, _topic: &str) -> Result<(), String> {
        Err("an address alone has no topics; say what to send".to_owned())
    }

    fn session(&self, _topics: &Arc<[Topic]>, _plan: &ReadingPlan) -> Box<dyn Session> {
        Box::new(Speech { said: Arc::clone(&self.said) })
    }
}

struct Speech {
    said: Arc<[String]>,
}

impl Session for Speech {
    fn opened(&mut self, _name: &str, _greeting: &[String], out: &mut Outbox) {
        out.extend(self.said.iter().cloned().map(OutFrame::Text));
    }

    fn subscribe(&mut self, _topics: &[TopicId], _out: &mut Outbox) {}

    fn unsubscribe(&mut self, _topics: &[TopicId], _out: &mut Outbox) {}

    fn adopt(&mut self, _topics: &Arc<[Topic]>, _plan: &ReadingPlan) {}

    fn keep_alive(&mut self, _out: &mut Outbox) {}

    fn receive(&mut self, frame: Frame<'_>, intake: &mut dyn Intake, _out: &mut Outbox) {
        intake.unreadable(None, "nobody has described this feed", frame.bytes());
    }
}
