//! A list of trades that is asked for over HTTP; who shows it is [`crate::simulator::polled`]. A topic is a path with its query.

use std::fmt::Write as _;

use super::market::Market;
use super::{Desk, Draft, Moment, Series, Speaker};

/// Nobody talks: each request is by itself.
#[derive(Debug)]
pub(super) struct PollSpeaker;

impl Speaker for PollSpeaker {
    fn hear(&mut self, _text: &str, _desk: &mut Desk<'_>) {}
}

struct Trades(Market);

pub(super) fn series(topic: &str, seed: u64, first_id: u64) -> Option<Box<dyn Series>> {
    topic.starts_with('/').then(|| Box::new(Trades(Market::new(topic, topic, seed, first_id))) as _)
}

impl Series for Trades {
    fn next(&mut self, moment: Moment) -> Draft {
        let Self(market) = self;
        let id = market.next_id();
        market.step();
        let (price, size) = (market.price(2), market.size(4));
        let mut draft = Draft::new();
        draft.text.push_str(r#"{"id":"#);
        draft.push_id(&id.to_string(), false);
        _ = write!(draft.text, r#","time":{},"price":"{price}","size":"{size}"#, moment.millis());
        draft.mark_twist();
        draft.text.push_str(r#""}"#);
        draft
    }
}
