//! Topics: which events, and what the upstream is asked for so that they come.
//!
//! | topic | events |
//! | --- | --- |
//! | `app.bsky.feed.post` | commits to this collection |
//! | `app.bsky.graph.*` | commits to collections whose names begin so |
//! | `did:plc:x` | everything of this account |
//! | `app.bsky.feed.post@did:plc:x` | commits of this account to this collection |
//! | `#identity`, `#account` | messages of this kind, of any account |
//! | `*` | everything |

/// A collection that nobody has: asked for where nothing is wanted but what comes in any case. Nothing asked for would mean
/// everything. Source: RFC 2606 keeps `invalid` for names that are none.
const NOTHING: &str = "invalid.sluice.nothing";

/// A topic, read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape<'a> {
    Everything,
    Kind(&'a str),
    Account(&'a str),
    Commits { collection: Collection<'a>, account: Option<&'a str> },
}

/// Which collections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Collection<'a> {
    One(&'a str),
    /// Those whose names begin so; with the point at the end.
    Under(&'a str),
}

/// What a message says of itself.
#[derive(Debug, Clone, Copy)]
pub(super) struct Said<'a> {
    pub(super) kind: &'a [u8],
    pub(super) account: &'a [u8],
    /// Of a commit.
    pub(super) collection: Option<&'a [u8]>,
}

/// Reads a topic. The error says how it should look.
pub(super) fn read(topic: &str) -> Result<Shape<'_>, String> {
    let wrong = || {
        format!(
            "topic `{topic}` is neither a collection such as `app.bsky.feed.post` or `app.bsky.graph.*`, nor an account such as \
             `did:plc:…`, nor both as `COLLECTION@did:plc:…`, nor `#identity`, `#account` or `*`"
        )
    };
    if topic == "*" {
        return Ok(Shape::Everything);
    }
    if let Some(kind) = topic.strip_prefix('#') {
        return if matches!(kind, "identity" | "account") { Ok(Shape::Kind(kind)) } else { Err(wrong()) };
    }
    if is_account(topic) {
        return Ok(Shape::Account(topic));
    }
    let (collection, account) = topic.split_once('@').map_or((topic, None), |(name, account)| (name, Some(account)));
    let is_sound = |name: &str, least: usize| {
        let is_part =
            |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        name.split('.').count() >= least && name.split('.').all(is_part)
    };
    let collection = match collection.strip_suffix(".*") {
        Some(prefix) if is_sound(prefix, 1) => Collection::Under(&collection[..collection.len() - 1]),
        None if is_sound(collection, 3) => Collection::One(collection),
        _ => return Err(wrong()),
    };
    if account.is_some_and(|account| !is_account(account)) {
        return Err(wrong());
    }
    Ok(Shape::Commits { collection, account })
}

fn is_account(text: &str) -> bool {
    let Some((method, id)) = text.strip_prefix("did:").and_then(|rest| rest.split_once(':')) else { return false };
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b':' | b'%' | b'-');
    !method.is_empty() && !id.is_empty() && id.bytes().all(is_plain)
}

impl Shape<'_> {
    /// Whether a message is of this topic.
    pub(super) fn takes(self, said: Said<'_>) -> bool {
        match self {
            Self::Everything => true,
            Self::Kind(kind) => kind.as_bytes() == said.kind,
            Self::Account(account) => account.as_bytes() == said.account,
            Self::Commits { collection, account } => {
                let within = said.collection.is_some_and(|name| match collection {
                    Collection::One(one) => one.as_bytes() == name,
                    Collection::Under(prefix) => name.starts_with(prefix.as_bytes()),
                });
                within && account.is_none_or(|account| account.as_bytes() == said.account)
            }
        }
    }
}

/// What the upstream is asked for. An empty list means any.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) collections: Vec<String>,
    pub(super) accounts: Vec<String>,
}

impl Wanted {
    /// The least that brings all of these topics: collections where every topic has one, accounts where every topic has one.
    pub(super) fn of<'a>(topics: impl Iterator<Item = &'a str>) -> Self {
        let (mut collections, mut accounts) = (Some(Vec::new()), Some(Vec::new()));
        let mut kinds_only = true;
        let add = |list: &mut Option<Vec<String>>, name: Option<String>| match (list.as_mut(), name) {
            (Some(list), Some(name)) => {
                if !list.contains(&name) {
                    list.push(name);
                }
            }
            _ => *list = None,
        };
        for shape in topics.filter_map(|topic| read(topic).ok()) {
            let (collection, account) = match shape {
                // They come in any case, but for accounts that are not asked for.
                Shape::Kind(_) => {
                    accounts = None;
                    continue;
                }
                Shape::Everything => (None, None),
                Shape::Account(account) => (None, Some(account.to_owned())),
                Shape::Commits { collection: Collection::One(name), account } => {
                    (Some(name.to_owned()), account.map(str::to_owned))
                }
                Shape::Commits { collection: Collection::Under(prefix), account } => {
                    (Some(format!("{prefix}*")), account.map(str::to_owned))
                }
            };
            kinds_only = false;
            add(&mut collections, collection);
            add(&mut accounts, account);
        }
        if kinds_only {
            collections = Some(vec![NOTHING.to_owned()]);
        }
        Self { collections: collections.unwrap_or_default(), accounts: accounts.unwrap_or_default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(topics: &[&str]) -> [String; 2] {
        let Wanted { collections, accounts } = Wanted::of(topics.iter().copied());
        [collections.join(" "), accounts.join(" ")]
    }

    #[test]
    fn the_least_is_asked_for_that_brings_all_topics() {
        assert_eq!(wanted(&["a.b.c", "a.b.*", "a.b.c"]), ["a.b.c a.b.*", ""]);
        assert_eq!(wanted(&["did:plc:x", "did:web:y.z"]), ["", "did:plc:x did:web:y.z"]);
        assert_eq!(wanted(&["a.b.c@did:plc:x"]), ["a.b.c", "did:plc:x"]);
        assert_eq!(wanted(&["a.b.c@did:plc:x", "a.b.d"]), ["a.b.c a.b.d", ""], "one account would hide the others");
        assert_eq!(wanted(&["a.b.c", "did:plc:x"]), ["", ""], "both filters at once would hide most of either");
        assert_eq!(wanted(&["a.b.c@did:plc:x", "did:plc:y"]), ["", "did:plc:x did:plc:y"]);
        assert_eq!(wanted(&["a.b.c@did:plc:x", "#account"]), ["a.b.c", ""]);
        assert_eq!(wanted(&["*", "a.b.c"]), ["", ""]);
        assert_eq!(wanted(&["#identity"]), [NOTHING, ""], "nothing asked for would be everything");
        assert_eq!(wanted(&[]), [NOTHING, ""]);
    }

    #[test]
    fn a_topic_that_the_upstream_would_refuse_is_refused_before() {
        for topic in ["", "posts", "app.bsky", "app..post", "did:plc:", "a.b.c@alice", "#commit", "a.b.c.*.d", "a.b c"]
        {
            assert!(read(topic).is_err_and(|said| said.contains("is neither a collection")), "{topic}");
        }
        assert_eq!(read("app.*"), Ok(Shape::Commits { collection: Collection::Under("app."), account: None }));
    }
}
