//! Bluesky's Jetstream: a topic is a collection, an account, or both with `@` between them, as far as the filters of an address
//! make pairs of them; `*` where nothing is asked for. Messages of kinds `identity` and `account` come to everybody.

use std::fmt::Write as _;

use serde_json::Value;

use super::market::{Market, hash, hex};
use super::{Desk, Draft, Greeting, Moment, Series, Speaker, strings};

/// What comes whatever is asked for.
const ALWAYS: [&str; 2] = ["#identity", "#account"];
/// Collections that are there where no one is asked for.
const COLLECTIONS: [&str; 4] =
    ["app.bsky.feed.like", "app.bsky.feed.post", "app.bsky.feed.repost", "app.bsky.graph.follow"];

#[derive(Debug, Default)]
pub(super) struct JetstreamSpeaker {
    topics: Vec<String>,
}

impl JetstreamSpeaker {
    fn serve(&mut self, collections: &[String], accounts: &[String], cursor: Option<u64>, desk: &mut Desk<'_>) {
        let mut topics: Vec<String> = match (collections, accounts) {
            ([], []) => vec!["*".to_owned()],
            (collections, []) => collections.to_vec(),
            ([], accounts) => accounts.to_vec(),
            (collections, accounts) => collections
                .iter()
                .flat_map(|collection| accounts.iter().map(move |account| format!("{collection}@{account}")))
                .collect(),
        };
        topics.retain(|topic| !desk.refuses(topic));
        topics.extend(ALWAYS.map(str::to_owned));
        for topic in self.topics.iter().filter(|topic| !topics.contains(topic)) {
            desk.unsubscribe(topic.clone(), "");
        }
        desk.resume(topics.clone(), "", cursor, None);
        self.topics = topics;
    }
}

impl Speaker for JetstreamSpeaker {
    fn greet(&mut self, Greeting { target, .. }: &Greeting, desk: &mut Desk<'_>) {
        let Ok(url) = url::Url::parse(&format!("ws://simulator{target}")) else { return };
        let all = |wanted: &str| -> Vec<String> {
            url.query_pairs().filter(|(name, _)| name == wanted).map(|(_, value)| value.into_owned()).collect()
        };
        let cursor = all("cursor").first().and_then(|cursor| cursor.parse().ok());
        self.serve(&all("wantedCollections"), &all("wantedDids"), cursor, desk);
    }

    fn hear(&mut self, text: &str, desk: &mut Desk<'_>) {
        let request: Value = serde_json::from_str(text).unwrap_or_default();
        if request["type"] == "options_update" {
            let list = |name: &str| strings(request["payload"].get(name));
            self.serve(&list("wantedCollections"), &list("wantedDids"), None, desk);
        }
    }
}

struct Commits {
    topic: String,
    account: Option<String>,
    market: Market,
}

pub(super) fn series(topic: &str, seed: u64, first_id: u64) -> Option<Box<dyn Series>> {
    let (collection, account) = topic.split_once('@').map_or((topic, None), |(name, account)| (name, Some(account)));
    let is_name = collection.split('.').count() > 1 && collection.split('.').all(|part| !part.is_empty());
    if !(is_name || collection == "*" || ALWAYS.contains(&collection) || collection.starts_with("did:")) {
        return None;
    }
    let account = account.or(Some(collection).filter(|name| name.starts_with("did:")));
    let market = Market::new(topic, "", hash(seed, topic), first_id);
    Some(Box::new(Commits { topic: collection.to_owned(), account: account.map(str::to_owned), market }))
}

impl Series for Commits {
    fn next(&mut self, moment: Moment) -> Draft {
        let Self { topic, account, market } = self;
        let id = market.next_id();
        // Not quite in order, as recorded.
        let time = moment.micros() - market.rng.i64(0..3_000);
        let account = account.clone().unwrap_or_else(|| format!("did:plc:{}", &hex(id % 500, 12)[2..]));
        let mut draft = Draft { position: u64::try_from(time).ok(), ..Draft::new() };
        _ = write!(draft.text, r#"{{"did":"{account}","time_us":{time},"kind":""#);
        if let Some(kind) = topic.strip_prefix('#') {
            _ = write!(draft.text, r#"{kind}","{kind}":{{"did":"{account}","seq":"#);
            draft.push_id(&id.to_string(), false);
            _ = write!(draft.text, r#","time":"{}"}}}}"#, moment.rfc3339());
            return draft;
        }
        let collection = match topic.strip_suffix('*') {
            Some("") => COLLECTIONS[market.rng.usize(..COLLECTIONS.len())].to_owned(),
            Some(prefix) => format!("{prefix}example"),
            None if topic.starts_with("did:") => COLLECTIONS[market.rng.usize(..COLLECTIONS.len())].to_owned(),
            None => topic.clone(),
        };
        _ = write!(
            draft.text,
            r#"commit","commit":{{"rev":"{}","operation":"create","collection":"{collection}","rkey":"#,
            &hex(id, 6)[2..]
        );
        draft.push_id(&format!("3s{id}"), true);
        _ = write!(
            draft.text,
            r#","record":{{"$type":"{collection}","createdAt":"{}","text":"entry {id}"#,
            moment.rfc3339()
        );
        draft.mark_twist();
        _ = write!(draft.text, r#""}},"cid":"bafyrei{}"}}}}"#, &hex(id, 26)[2..]);
        draft
    }
}
