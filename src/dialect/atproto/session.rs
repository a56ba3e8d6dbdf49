//! One connection of an event stream.

use std::sync::Arc;

use minicbor::decode::Decoder;

use super::cbor;
use crate::dialect::asked::Asked;
use crate::dialect::error::Fault;
use crate::dialect::resume::ResumeSettings;
use crate::dialect::scanned::{PointerList, Scanned};
use crate::dialect::topic_book::Phase;
use crate::dialect::{Frame, Intake, Message, Outbox, ReadingPlan, Resumption, Session, SessionToken, Topic, TopicId};
use crate::scanner::{Fields, PointerSet, Utf8};

/// Where in the text is what a frame is told by.
#[derive(Debug)]
pub(super) struct Slots {
    pointers: PointerSet,
    op: usize,
    kind: usize,
    error: usize,
    message: usize,
    name: usize,
    token: Option<usize>,
}

impl Slots {
    pub(super) fn compile(resume: Option<&ResumeSettings>, mut plan: PointerList) -> Result<Self, Fault> {
        let token = resume.map(|resume| plan.slot(&resume.token)).transpose();
        let token = token.map_err(|reason| Fault::new("resume.token", reason))?;
        let mut own = |pointer| plan.slot(pointer).map_err(|reason| Fault::new("", reason));
        let (op, kind) = (own("/header/op")?, own("/header/t")?);
        let (error, message, name) = (own("/body/error")?, own("/body/message")?, own("/body/name")?);
        Ok(Self { op, kind, error, message, name, token, pointers: plan.into_set() })
    }

    fn of_plan(resume: Option<&ResumeSettings>, plan: &ReadingPlan) -> Self {
        let plan =
            PointerList::of_plan(&plan.pointers).expect("a plan's pointers were parsed when its monitors were read");
        Self::compile(resume, plan).expect("they were compiled once before")
    }
}

/// State of one link.
pub(super) struct AtprotoSession {
    resume: Option<ResumeSettings>,
    resumption: Option<Resumption>,
    slots: Slots,
    asked: Asked,
    /// Taken out while a frame is read.
    fields: Fields,
    view: Vec<u8>,
    token: Vec<u8>,
    has_token: bool,
}

impl AtprotoSession {
    pub(super) fn new(
        resume: Option<ResumeSettings>,
        resumption: Option<Resumption>,
        topics: &Arc<[Topic]>,
        plan: &ReadingPlan,
    ) -> Self {
        Self {
            slots: Slots::of_plan(resume.as_ref(), plan),
            resume,
            resumption,
            asked: Asked::new(topics),
            fields: Fields::default(),
            view: Vec::new(),
            token: Vec::new(),
            has_token: false,
        }
    }

    fn read(&mut self, raw: &[u8], scanned: Scanned<'_>, intake: &mut dyn Intake) {
        match scanned.raw(self.slots.op) {
            Some(b"1") => self.message(raw, scanned, intake),
            Some(b"-1") => self.error(scanned, intake),
            _ => intake.unreadable(None, "its header's `op` is neither 1 nor -1", raw),
        }
    }

    fn message(&mut self, raw: &[u8], scanned: Scanned<'_>, intake: &mut dyn Intake) {
        let Some(kind) = scanned.plain(self.slots.kind) else {
            return intake.unreadable(None, "its header has no `t`, which says what the body is", raw);
        };
        let mut wanted = false;
        for (topic, name) in self.asked.expected() {
            if **name == *kind || &**name == "*" {
                wanted = true;
                intake.converted(topic, raw, Message { bytes: scanned.text, fields: Some(scanned.fields) });
            }
        }
        if !wanted {
            intake.control(None);
        }
        if kind == "#info" && scanned.plain(self.slots.name).as_deref() == Some("OutdatedCursor") {
            let said = scanned.plain(self.slots.message).unwrap_or_default();
            let reason = format!(
                "OutdatedCursor: it keeps less of the past than was asked for, so that part of what was missed is lost. {said}"
            );
            intake.refused(&[], &reason);
        }
        let Some(token) = self.slots.token.and_then(|slot| scanned.plain(slot)) else { return };
        if self.resumption.as_ref().is_some_and(|resumption| resumption.is_token(token.as_bytes())) {
            self.token.clear();
            self.token.extend_from_slice(token.as_bytes());
            self.has_token = true;
        }
    }

    /// The stream is about to be closed.
    fn error(&mut self, scanned: Scanned<'_>, intake: &mut dyn Intake) {
        let error = scanned.plain(self.slots.error).unwrap_or("it did not say why".into());
        let reason = match scanned.plain(self.slots.message) {
            Some(message) => format!("{error}: {message}"),
            None => error.into_owned(),
        };
        let topics: Vec<TopicId> = self.asked.expected().map(|(topic, _)| topic).collect();
        for topic in &topics {
            self.asked.set(*topic, Phase::Idle);
        }
        intake.refused(&topics, &reason);
        intake.control(None);
    }
}

/// Writes a frame as one JSON text.
pub(super) fn put_view(frame: &[u8], view: &mut Vec<u8>) -> Result<(), String> {
    let mut decoder = Decoder::new(frame);
    view.extend_from_slice(br#"{"header":"#);
    cbor::put_value(&mut decoder, view).map_err(|reason| format!("its header {reason}"))?;
    view.extend_from_slice(br#","body":"#);
    cbor::put_value(&mut decoder, view).map_err(|reason| format!("its body {reason}"))?;
    view.push(b'}');
    match frame.len() - decoder.position() {
        0 => Ok(()),
        more => Err(format!("has {more} bytes behind its body")),
    }
}

impl Session for AtprotoSession {
    fn subscribe(&mut self, topics: &[TopicId], _out: &mut Outbox) {
        for topic in topics {
            self.asked.ask(*topic);
        }
    }

    fn unsubscribe(&mut self, topics: &[TopicId], _out: &mut Outbox) {
        for topic in topics {
            self.asked.set(*topic, Phase::Ended);
        }
    }

    fn adopt(&mut self, topics: &Arc<[Topic]>, plan: &ReadingPlan) {
        self.slots = Slots::of_plan(self.resume.as_ref(), plan);
        self.asked.adopt(topics);
    }

    fn keep_alive(&mut self, _out: &mut Outbox) {}

    fn take_tokens(&mut self) -> Vec<SessionToken> {
        if !std::mem::take(&mut self.has_token) {
            return Vec::new();
        }
        vec![SessionToken { topic: None, token: self.token.clone() }]
    }

    fn view(&self, message: &[u8], view: &mut Vec<u8>) -> Result<bool, String> {
        put_view(message, view).map(|()| true)
    }

    fn receive(&mut self, frame: Frame<'_>, intake: &mut dyn Intake, _out: &mut Outbox) {
        let raw = match frame {
            Frame::Binary(bytes) => bytes,
            Frame::Text(text) => {
                return intake.unreadable(None, "is a text frame; this stream has binary ones", text.as_bytes());
            }
        };
        let mut view = std::mem::take(&mut self.view);
        let mut fields = std::mem::take(&mut self.fields);
        view.clear();
        let read = put_view(raw, &mut view).and_then(|()| {
            self.slots.pointers.scan(&view, Utf8::Checked, &mut fields).map_err(|error| error.to_string())
        });
        match read {
            Ok(()) => self.read(raw, Scanned { text: &view, fields: &fields }, intake),
            Err(reason) => intake.unreadable(None, &reason, raw),
        }
        self.fields = fields;
        self.view = view;
        // All of the stream comes over every connection: one that brings something brings everything.
        if self.asked.is_waiting() {
            for topic in self.asked.unconfirmed() {
                self.asked.confirm(topic);
                intake.acknowledged(topic);
            }
        }
    }
}
