//! The `json` dialect: a protocol of JSON messages, declared by settings alone.
//!
//! What is declared, and how a frame is read with it, is in [`settings`]; the presets of exchanges are nothing but such
//! declarations.

#[cfg(test)]
mod feature_tests;
mod rules;
mod session;
mod settings;
#[cfg(test)]
mod tests;

use std::sync::Arc;

pub use settings::{
    AcknowledgementSettings, AnswerTo, JsonDialectSettings, RefusalSettings, RouteSettings, WrappedSettings,
};

use self::rules::Rules;
use self::session::JsonSession;
use super::declaration::{Declaration, DeclaredDialect, Nature};
use super::declared::CommonSettings;
use super::error::Fault;
use super::resume::ResumeSettings;
use super::scanned::PointerList;
use super::{ReadingPlan, Session, Topic};

/// A protocol as its settings declare it.
pub(crate) type JsonDialect = DeclaredDialect<JsonDialectSettings>;

impl Nature for JsonDialectSettings {
    type Rules = Rules;

    fn common(&self) -> CommonSettings<'_> {
        let Self { limits, headers, ping, topics, event, .. } = self;
        CommonSettings { limits, headers, ping: ping.as_ref(), topics, event }
    }

    fn resume(&self) -> Option<&ResumeSettings> {
        self.resume.as_ref()
    }

    fn compile(&self, plan: PointerList) -> Result<Rules, Fault> {
        Rules::compile(self, plan)
    }

    fn session(declaration: &Arc<Declaration<Self>>, topics: &Arc<[Topic]>, plan: &ReadingPlan) -> Box<dyn Session> {
        Box::new(JsonSession::new(declaration, topics, plan))
    }
}
