//! The `json_rpc` dialect: JSON-RPC 2.0 subscriptions, declared by settings.
//!
//! A request's id leads to its topic; the answer gives a subscription's id; notifications carry that id, or name their
//! channel themselves. [`settings`] says what is declared.

mod session;
mod settings;
#[cfg(test)]
mod tests;

use std::sync::Arc;

pub use settings::{JsonRpcDialectSettings, NotificationSettings};

use self::session::{JsonRpcSession, Rules};
use super::declaration::{Declaration, DeclaredDialect, Nature};
use super::declared::CommonSettings;
use super::error::Fault;
use super::scanned::PointerList;
use super::{ReadingPlan, Session, Topic};

/// A JSON-RPC upstream as its settings declare it.
pub(crate) type JsonRpcDialect = DeclaredDialect<JsonRpcDialectSettings>;

impl Nature for JsonRpcDialectSettings {
    type Rules = Rules;

    fn common(&self) -> CommonSettings<'_> {
        let Self { limits, headers, ping, topics, event, .. } = self;
        CommonSettings { limits, headers, ping: ping.as_ref(), topics, event }
    }

    fn compile(&self, plan: PointerList) -> Result<Rules, Fault> {
        Rules::compile(self, plan)
    }

    fn session(declaration: &Arc<Declaration<Self>>, topics: &Arc<[Topic]>, plan: &ReadingPlan) -> Box<dyn Session> {
        Box::new(JsonRpcSession::new(declaration, topics, plan))
    }
}
