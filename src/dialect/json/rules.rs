//! A declaration made ready for reading: every pointer is a slot of a scan.

use super::settings::{
    AcknowledgementSettings, AnswerTo, JsonDialectSettings, RefusalSettings, RouteSettings, WrappedSettings,
};
use crate::dialect::ResumeScope;
use crate::dialect::condition::When;
use crate::dialect::declared::{Control, Reason, compile_patterns, compile_when};
use crate::dialect::decoding::DecodeStep;
use crate::dialect::error::Fault;
use crate::dialect::pattern::TopicPattern;
use crate::dialect::scanned::{PointerList, Scanned};
use crate::dialect::template::Template;
use crate::dialect::topic_form::Purpose;
use crate::scanner::{Fields, PointerSet, Utf8, elements};

/// Everything that reads frames. Data is found with one scan for what monitors and routes look at; all that is only in
/// answers and heartbeats is looked for in a second scan of the few frames that no route takes, so that it costs data
/// nothing.
#[derive(Debug)]
pub(crate) struct Rules {
    pub(super) data: PointerSet,
    pub(super) wrapped: Vec<Wrapped>,
    pub(super) routes: Vec<Route>,
    /// Where a message's resume token is.
    pub(super) token: Option<(usize, ResumeScope)>,
    pub(super) answers: PointerSet,
    pub(super) refusals: Vec<Refusal>,
    pub(super) acknowledgements: Vec<Acknowledgement>,
    pub(super) controls: Vec<Control>,
    pub(super) hello: Vec<Template>,
}

#[derive(Debug)]
pub(super) struct Wrapped {
    pub(super) when: When,
    pub(super) each: Option<Each>,
    pub(super) at: usize,
    pub(super) decode: Vec<DecodeStep>,
}

#[derive(Debug)]
pub(super) struct Route {
    pub(super) when: When,
    pub(super) lead: Lead,
}

/// How a route comes to its topic.
#[derive(Debug)]
pub(super) enum Lead {
    /// By texts that name it.
    Named(Vec<TopicPattern>),
    /// By an id that was given for it.
    Learned(usize),
}

#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) when: When,
    pub(super) topics: Vec<TopicPattern>,
    pub(super) id: Option<usize>,
    pub(super) parts: Vec<(String, usize)>,
    pub(super) in_order: bool,
    pub(super) reason: Reason,
}

#[derive(Debug)]
pub(super) struct Acknowledgement {
    pub(super) when: When,
    pub(super) purpose: Purpose,
    pub(super) each: Option<Each>,
    pub(super) topics: Vec<TopicPattern>,
    pub(super) id: Option<usize>,
    pub(super) in_order: bool,
    /// Where the topic's id is from here on.
    pub(super) learn: Option<usize>,
    pub(super) numbered: bool,
}

/// A list with pointers for its elements.
#[derive(Debug)]
pub(super) struct Each {
    pub(super) list: usize,
    pub(super) pointers: PointerSet,
}

impl Rules {
    pub(super) fn compile(settings: &JsonDialectSettings, mut plan: PointerList) -> Result<Self, Fault> {
        if settings.routes.is_empty() {
            return Err(Fault::new("routes", "is missing; it says which topic a message belongs to"));
        }
        let pointers = &mut plan;
        let compile = |(index, wrapped)| Wrapped::compile(wrapped, &format!("wrapped[{index}]"), pointers);
        let wrapped = settings.wrapped.iter().enumerate().map(compile).collect::<Result<_, _>>()?;
        let compile = |(index, route)| Route::compile(route, &format!("routes[{index}]"), pointers);
        let routes = settings.routes.iter().enumerate().map(compile).collect::<Result<_, _>>()?;
        let token = settings.resume.as_ref().map(|resume| Ok((pointers.slot(&resume.token)?, resume.scope)));
        let token = token.transpose().map_err(|reason: String| Fault::new("resume.token", reason))?;
        let pointers = &mut PointerList::default();
        let compile = |(index, refusal)| Refusal::compile(refusal, &format!("refusals[{index}]"), pointers);
        let refusals = settings.refusals.iter().enumerate().map(compile).collect::<Result<_, _>>()?;
        let compile = |(index, rule)| Acknowledgement::compile(rule, &format!("acknowledgements[{index}]"), pointers);
        let acknowledgements = settings.acknowledgements.iter().enumerate().map(compile).collect::<Result<_, _>>()?;
        let compile = |(index, control)| Control::compile(control, &format!("controls[{index}]"), pointers);
        let controls = settings.controls.iter().enumerate().map(compile).collect::<Result<_, _>>()?;
        let answers = std::mem::take(pointers).into_set();
        let hello = settings.hello.iter().map(|text| compile_hello(text)).collect::<Result<_, _>>()?;
        let data = plan.into_set();
        Ok(Self { data, wrapped, routes, token, answers, refusals, acknowledgements, controls, hello })
    }
}

fn compile_hello(text: &str) -> Result<Template, Fault> {
    let template = Template::request(text).map_err(|reason| Fault::new("hello", reason))?;
    if let Some(hole) = template.names().find(|hole| *hole != "id") {
        return Err(Fault::new("hello", format!("knows no `{{{hole}}}`; known is `{{id}}`")));
    }
    Ok(template)
}

impl Wrapped {
    fn compile(settings: &WrappedSettings, key: &str, pointers: &mut PointerList) -> Result<Self, Fault> {
        let when = compile_when(&settings.when, key, pointers)?;
        let slot = |name: &str, text: &str, pointers: &mut PointerList| {
            pointers.slot(text).map_err(|reason| Fault::new(format!("{key}.{name}"), reason))
        };
        let (each, at) = match &settings.each {
            None => (None, slot("at", &settings.at, pointers)?),
            Some(list) => {
                let list = slot("each", list, pointers)?;
                let mut inner = PointerList::default();
                let at = slot("at", &settings.at, &mut inner)?;
                (Some(Each { list, pointers: inner.into_set() }), at)
            }
        };
        Ok(Self { when, each, at, decode: settings.decode.clone() })
    }
}

impl Route {
    fn compile(settings: &RouteSettings, key: &str, pointers: &mut PointerList) -> Result<Self, Fault> {
        let when = compile_when(&settings.when, key, pointers)?;
        let lead = match &settings.learned {
            Some(id) if settings.topic.is_empty() => {
                Lead::Learned(pointers.slot(id).map_err(|reason| Fault::new(format!("{key}.learned"), reason))?)
            }
            Some(_) => {
                return Err(Fault::new(format!("{key}.learned"), "goes in the place of `topic`; write one of them"));
            }
            None if settings.topic.is_empty() => {
                let reason = "is missing; write one such as `{/stream}`, or `learned` with a pointer to an id";
                return Err(Fault::new(format!("{key}.topic"), reason));
            }
            None => Lead::Named(compile_patterns(&settings.topic, key, pointers)?),
        };
        Ok(Self { when, lead })
    }
}

impl Refusal {
    fn compile(settings: &RefusalSettings, key: &str, pointers: &mut PointerList) -> Result<Self, Fault> {
        let parts = settings.parts.iter().map(|(part, pointer)| Ok((part.clone(), pointers.slot(pointer)?)));
        Ok(Self {
            parts: parts.collect::<Result<_, String>>().map_err(|reason| Fault::new(format!("{key}.parts"), reason))?,
            when: compile_when(&settings.when, key, pointers)?,
            topics: compile_patterns(&settings.topic, key, pointers)?,
            id: compile_id(settings.id.as_deref(), key, pointers)?,
            in_order: settings.in_order,
            reason: Reason::compile(&settings.reason, key, pointers)?,
        })
    }
}

impl Acknowledgement {
    fn compile(settings: &AcknowledgementSettings, key: &str, pointers: &mut PointerList) -> Result<Self, Fault> {
        let (each, topics) = match &settings.each {
            None => (None, compile_patterns(&settings.topic, key, pointers)?),
            Some(list) => {
                let list = pointers.slot(list).map_err(|reason| Fault::new(format!("{key}.each"), reason))?;
                let mut inner = PointerList::default();
                let topics = compile_patterns(&settings.topic, key, &mut inner)?;
                (Some(Each { list, pointers: inner.into_set() }), topics)
            }
        };
        Ok(Self {
            when: compile_when(&settings.when, key, pointers)?,
            purpose: match settings.of {
                AnswerTo::Subscribe => Purpose::Subscribe,
                AnswerTo::Unsubscribe => Purpose::Unsubscribe,
            },
            each,
            topics,
            id: compile_id(settings.id.as_deref(), key, pointers)?,
            in_order: settings.in_order,
            learn: settings
                .learn
                .as_deref()
                .map(|pointer| pointers.slot(pointer))
                .transpose()
                .map_err(|reason| Fault::new(format!("{key}.learn"), reason))?,
            numbered: settings.numbered,
        })
    }

    /// All texts that the message gives for topics.
    pub(super) fn named(&self, scanned: Scanned<'_>) -> Vec<Vec<u8>> {
        let Some(each) = &self.each else {
            return self.topics.iter().flat_map(|pattern| pattern.keys(scanned)).collect();
        };
        let Some(list) = scanned.fields.get(each.list) else { return Vec::new() };
        if !list.of(scanned.text).starts_with(b"[") {
            return Vec::new();
        }
        let mut keys = Vec::new();
        let mut fields = Fields::default();
        for element in elements(scanned.text, list) {
            let text = element.of(scanned.text);
            if each.pointers.scan(text, Utf8::Checked, &mut fields).is_ok() {
                let element = Scanned { text, fields: &fields };
                keys.extend(self.topics.iter().flat_map(|pattern| pattern.keys(element)));
            }
        }
        keys
    }
}

fn compile_id(pointer: Option<&str>, key: &str, pointers: &mut PointerList) -> Result<Option<usize>, Fault> {
    let slot = pointer.map(|pointer| pointers.slot(pointer)).transpose();
    slot.map_err(|reason| Fault::new(format!("{key}.id"), reason))
}
