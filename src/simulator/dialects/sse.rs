//! Server-sent events in the form of Wikimedia's `EventStreams`: a topic is a path without its first `/`. An event's id says where
//! it stands, and a client that gives it as `Last-Event-ID` gets what comes behind.

use std::fmt::Write as _;

use serde_json::Value;

use super::market::{hash, hex};
use super::{Desk, Draft, Greeting, Moment, Series, Speaker, Standing, Wrapped};

#[derive(Debug)]
pub(super) struct SseSpeaker;

impl Speaker for SseSpeaker {
    fn greet(&mut self, Greeting { target, last_event_id }: &Greeting, desk: &mut Desk<'_>) {
        let behind = last_event_id.as_deref().and_then(position_of).map(|position| position + 1);
        desk.say(String::from(":ok\n\n"));
        desk.resume(vec![target.trim_start_matches('/').to_owned()], "", behind, None);
    }

    fn hear(&mut self, _text: &str, _desk: &mut Desk<'_>) {}

    fn beat(&mut self, desk: &mut Desk<'_>) {
        desk.pong(String::from(":\n\n"));
    }

    fn wrap(&mut self, draft: &Draft, _token: &str, text: &[u8], _standing: &Standing) -> Wrapped {
        let mut frame = b"event: message\n".to_vec();
        if let Some(position) = draft.position {
            let id = format!("id: [{{\"topic\":\"simulated\",\"partition\":0,\"offset\":{position}}}]\n");
            frame.extend_from_slice(id.as_bytes());
        }
        // A line that ends within the text goes on in a further field, as the form of such streams wants it.
        for line in text.split(|byte| matches!(byte, b'\n' | b'\r')) {
            frame.extend([b"data: ", line, b"\n"].concat());
        }
        frame.push(b'\n');
        Wrapped::Text(frame)
    }
}

/// The offset in an id of ours.
fn position_of(id: &str) -> Option<u64> {
    let id: Value = serde_json::from_str(id).ok()?;
    id.get(0)?.get("offset")?.as_u64()
}

struct Changes {
    seed: u64,
    last_id: u64,
}

pub(super) fn series(topic: &str, seed: u64, first_id: u64) -> Option<Box<dyn Series>> {
    let plain = !topic.is_empty() && !topic.contains(char::is_whitespace);
    plain.then(|| Box::new(Changes { seed: hash(seed, topic), last_id: first_id }) as _)
}

impl Series for Changes {
    fn next(&mut self, moment: Moment) -> Draft {
        self.last_id += 1;
        let id = self.last_id;
        let mut draft = Draft { position: Some(id), ..Draft::new() };
        draft.text.push_str(r#"{"$schema":"/mediawiki/recentchange/1.0.0","meta":{"id":"#);
        // Two topics make different events: the seed stands in front.
        let digits = format!("{}{:024x}", &hex(self.seed, 4)[2..], id);
        let parts = [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..32]];
        draft.push_id(&parts.join("-"), true);
        _ = write!(
            draft.text,
            r#","domain":"{}.wikipedia.org","dt":"{}"}},"id":{id},"type":"edit","title":"Page {}"#,
            ["en", "de", "ja", "fr"][(id % 4) as usize],
            moment.rfc3339(),
            id % 1000
        );
        draft.mark_twist();
        draft.text.push_str(r#"","bot":false}"#);
        draft
    }
}
